//! The layout of the live view: which rows there are, what is left out where a terminal is small.

use crate::live::{GroupState, Live, Node, Partition, Process};
use crate::tally::{shared_topic, short_assignment};
use crate::text::{NO_BREAK, columns, fit, ids, pad, ranges, thousands, wrap};
use crate::view::Tone;

/// Columns of a section's label, as in the final report.
const LABEL: usize = 12;
/// Rows that the tail has at least, where there is room for anything.
const TAIL_MIN: usize = 3;
/// From this height on the curve has its row.
const ROOMY: usize = 18;
/// Columns of a time in the tail, and the gap behind it that a line that goes on keeps.
const TIME: usize = 7;
/// Groups that have a row of their own; more are counted.
const GROUPS_MAX: usize = 3;
const SPINNER: [&str; 4] = ["|", "/", "-", "\\"];

/// A piece of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Without control characters.
    pub text: String,
    /// For its colour; whatever it says is in the text as well.
    pub tone: Tone,
    /// Of more weight.
    pub bold: bool,
}

/// One row of the screen, no wider than was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// From left to right.
    pub spans: Vec<Span>,
}

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Seconds since the program began: what turns the spinner.
    pub since_begin_s: f64,
    /// On the run's clock, µs; `None` before it is known when load starts.
    pub at_us: Option<i64>,
}

impl Row {
    fn push(&mut self, text: impl Into<String>, tone: Tone) {
        self.spans.push(Span { text: text.into().replace(NO_BREAK, " "), tone, bold: false });
    }

    fn strong(&mut self, text: impl Into<String>, tone: Tone) {
        self.push(text, tone);
        if let Some(last) = self.spans.last_mut() {
            last.bold = true;
        }
    }

    fn labelled(label: &str) -> Self {
        let mut row = Self::default();
        row.strong(pad(&fit(label, LABEL - 1), LABEL), Tone::Plain);
        row
    }

    fn columns(&self) -> usize {
        self.spans.iter().map(|span| columns(&span.text)).sum()
    }

    /// Cut where the terminal ends.
    fn fit(mut self, width: usize) -> Self {
        let mut used = 0;
        for span in &mut self.spans {
            span.text = fit(&span.text, width.saturating_sub(used));
            used += columns(&span.text);
        }
        self
    }

    /// All of it, without tones.
    #[must_use]
    pub fn text(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }
}

/// The whole view, at most `height` rows of at most `width` columns.
#[must_use]
pub fn frame(live: &Live, now: Moment, width: usize, height: usize) -> Vec<Row> {
    let head = [title(live, width), status(live, now, width), bar(live, now, width)];
    let brokers = live.brokers(width);
    let messages = live.messages(width, height >= ROOMY);
    let groups = live.groups(width);
    let used = head.len() + brokers.len() + messages.len() + groups.len();
    let room = height.saturating_sub(used);
    let steps_wanted = live.steps.len();
    let steps_rows = steps_wanted.min((room / 4).max(2)).min(room.saturating_sub(TAIL_MIN));
    let partitions = live.partition_rows(width, room.saturating_sub(steps_rows + TAIL_MIN));
    let steps = live.step_rows(now, steps_rows);
    let sections = [brokers, partitions, messages, groups, steps];
    let filled = head.len() + sections.iter().map(Vec::len).sum::<usize>();
    let gaps = sections.iter().filter(|rows| !rows.is_empty()).count() + 1;
    // Air between the sections, where the tail does not suffer for it.
    let airy = height >= filled + gaps + TAIL_MIN + 2;
    let mut rows: Vec<Row> = head.into();
    for section in sections.into_iter().filter(|rows| !rows.is_empty()) {
        rows.extend(airy.then(Row::default));
        rows.extend(section);
    }
    rows.extend(airy.then(Row::default));
    rows.extend(live.tail_rows(width, height.saturating_sub(rows.len())));
    rows.truncate(height);
    rows.into_iter().map(|row| row.fit(width)).collect()
}

fn title(live: &Live, width: usize) -> Row {
    let mut row = Row::default();
    row.strong(live.title.clone(), Tone::Plain);
    row.push("   ", Tone::Plain);
    let room = width.saturating_sub(row.columns());
    // Whole facts, the first ones first: half a fact is none.
    let mut shown = String::new();
    for part in &live.header {
        let longer = if shown.is_empty() { part.clone() } else { format!("{shown} · {part}") };
        if columns(&longer) > room {
            break;
        }
        shown = longer;
    }
    row.push(shown, Tone::Faint);
    row
}

/// How to end the run, as long as there is room for.
const HINTS: [&str; 2] = ["Ctrl-C ends it in order", "Ctrl-C ends it"];
/// Columns between what happens and the hint, at least.
const HINT_GAP: usize = 3;
/// What happens is not cut to less than this for the hint's sake.
const TEXT_MIN: usize = 12;

/// What time it is in the run, longest form first; what happens; and what stands behind that.
fn status_parts(live: &Live, now: Moment) -> (Vec<String>, (Tone, String), String) {
    let turn = SPINNER[(now.since_begin_s * 4.0) as usize % SPINNER.len()];
    let s = |us: i64| us as f64 / 1e6;
    match (now.at_us, &live.doing) {
        (Some(at_us), _) if at_us < 0 => {
            (vec![format!("{turn} load starts in {:.1} s", -s(at_us))], (Tone::Plain, String::new()), String::new())
        }
        (None, doing) => {
            let doing = doing.clone().unwrap_or_else(|| "starting".to_owned());
            (vec![format!("{turn} ")], (Tone::Plain, doing), format!("  {:.0} s", now.since_begin_s))
        }
        (Some(at_us), doing) => {
            let of = match live.duration_s {
                Some(duration_s) if s(at_us) <= duration_s => format!(" of {duration_s:.0} s"),
                // After the load's end the clock goes on, and what it counts against is over.
                Some(_) => " s".to_owned(),
                None if live.load_is_over() => " s".to_owned(),
                None => " s, until healed".to_owned(),
            };
            let text = match (doing, live.phase.as_deref()) {
                (Some(doing), _) => (Tone::Plain, doing.clone()),
                (None, Some(phase)) => phase_text(phase),
                (None, None) => (Tone::Plain, String::new()),
            };
            (
                vec![format!("{turn} {:.1}{of}   ", s(at_us)), format!("{turn} {:.1} s   ", s(at_us))],
                text,
                String::new(),
            )
        }
    }
}

/// Where a terminal is narrow, first against what the time counts is left out, then what happens is cut: how to end it
/// must be known when something is broken.
fn status(live: &Live, now: Moment, width: usize) -> Row {
    let (times, (tone, text), behind) = status_parts(live, now);
    let shortest = times.last().cloned().unwrap_or_default();
    let room = |time: &str, hint: &str| width.checked_sub(columns(time) + columns(&behind) + HINT_GAP + columns(hint));
    let whole = times.iter().find(|time| room(time, HINTS[0]).is_some_and(|room| columns(&text) <= room));
    let cut = || {
        let fits = |hint: &&str| room(&shortest, hint).is_some_and(|room| room >= TEXT_MIN.min(columns(&text)));
        let hint = HINTS.into_iter().find(fits)?;
        Some((shortest.clone(), fit(&text, room(&shortest, hint)?), hint))
    };
    let (time, text, hint) = match whole {
        Some(time) => (time.clone(), text, HINTS[0]),
        None => cut().unwrap_or_else(|| (shortest.clone(), text.clone(), "")),
    };
    let mut row = Row::default();
    row.strong(time, Tone::Plain);
    row.strong(text, tone);
    row.strong(behind, Tone::Plain);
    if !hint.is_empty() {
        row.push(" ".repeat(width.saturating_sub(row.columns() + columns(hint))), Tone::Plain);
        row.push(hint, Tone::Faint);
    }
    row
}

fn phase_text(phase: &str) -> (Tone, String) {
    let (tone, text) = match phase {
        "healthy" => (Tone::Good, "healthy"),
        "healed" => (Tone::Good, "healed"),
        "recovering" => (Tone::Warn, "recovering"),
        "drain" => (Tone::Plain, "waiting for the outcome of open sends"),
        "catch-up" => (Tone::Plain, "waiting for the groups to read to the end"),
        "audit" => (Tone::Plain, "audit: reading everything back"),
        "interrupted" => (Tone::Warn, "interrupted: healing, stopping, writing"),
        broken => (Tone::Bad, broken),
    };
    (tone, text.to_owned())
}

/// How far the load is, and where the steps stand in it.
fn bar(live: &Live, now: Moment, width: usize) -> Row {
    let now_s = now.at_us.map_or(0.0, |us| us as f64 / 1e6);
    let whole_s = live.whole_s(now_s);
    let at = |s: f64| ((s / whole_s).clamp(0.0, 1.0) * width as f64) as usize;
    let done = at(now_s);
    let marks: Vec<usize> = live.steps.iter().filter_map(|step| step.due_s()).map(at).collect();
    let mut row = Row::default();
    let mut from = 0;
    while from < width {
        let kind = |column: usize| (marks.contains(&column), column < done);
        let length = (from..width).take_while(|column| kind(*column) == kind(from)).count();
        let (sign, tone) = match kind(from) {
            (true, true) => ("▼", Tone::Plain),
            (true, false) => ("▼", Tone::Warn),
            (false, true) => ("━", Tone::Good),
            (false, false) => ("─", Tone::Faint),
        };
        row.push(sign.repeat(length), tone);
        from += length;
    }
    row
}

/// Cells side by side, wrapped, each at least `cell` columns wide.
fn grid(label: &str, cells: &[(Tone, String)], cell: usize, width: usize) -> Vec<Row> {
    let per_row = (width.saturating_sub(LABEL) / cell.max(1)).max(1);
    let mut rows = Vec::new();
    for (index, part) in cells.chunks(per_row).enumerate() {
        let mut row = Row::labelled(if index == 0 { label } else { "" });
        for (tone, text) in part {
            row.push(pad(text, cell), *tone);
        }
        rows.push(row);
    }
    rows
}

/// Cells of different width, as many on a row as fit.
fn flow(label: &str, cells: &[(Tone, String)], width: usize) -> Vec<Row> {
    let mut rows = vec![Row::labelled(label)];
    for (tone, text) in cells {
        let row = rows.last().map_or(0, Row::columns);
        if row > LABEL && row + 3 + columns(text) > width {
            rows.push(Row::labelled(""));
        }
        if let Some(row) = rows.last_mut() {
            if row.columns() > LABEL {
                row.push("   ", Tone::Plain);
            }
            row.push(text.clone(), *tone);
        }
    }
    rows
}

impl Live {
    /// What the bar stands for, seconds. Where load has no duration: what is planned and a while, or what it took so far
    /// and a little, until it is over.
    fn whole_s(&self, now_s: f64) -> f64 {
        const LITTLE: f64 = 1.1;
        const PLANNED_SHARE: f64 = 0.6;
        let whole_s = self.duration_s.unwrap_or_else(|| {
            let so_far_s = if self.load_is_over() { now_s } else { now_s * LITTLE };
            so_far_s.max(self.planned_s / PLANNED_SHARE)
        });
        whole_s.max(0.001)
    }

    fn load_is_over(&self) -> bool {
        let at_the_end = ["drain", "catch-up", "audit", "interrupted"];
        self.phase.as_deref().is_some_and(|phase| at_the_end.contains(&phase))
    }

    fn brokers(&self, width: usize) -> Vec<Row> {
        let of = |broker: bool| -> Vec<(Tone, String)> {
            let nodes = self.nodes.iter().filter(|(_, node)| node.broker == broker);
            nodes.map(|(id, node)| node_text(*id, node, self.controller == Some(*id))).collect()
        };
        let mut rows = flow("brokers", &of(true), width);
        let controllers = of(false);
        if !controllers.is_empty() {
            rows.extend(flow("controllers", &controllers, width));
        }
        rows
    }

    /// Every partition where there is room; else those that are not as they should be first, and the rest counted.
    fn partition_rows(&self, width: usize, room: usize) -> Vec<Row> {
        if self.partitions.is_empty() || room == 0 {
            return Vec::new();
        }
        let one_topic = self.names.topics() == 1;
        let cell = |((topic, index), partition): (&(String, i32), &Partition)| {
            let name = if one_topic { index.to_string() } else { format!("{topic}-{index}") };
            partition_text(&name, partition)
        };
        let cells: Vec<(Tone, String)> = self.partitions.iter().map(cell).collect();
        let column = cells.iter().map(|(_, text)| columns(text)).max().unwrap_or(1) + 3;
        let per_row = (width.saturating_sub(LABEL) / column).max(1);
        if cells.len().div_ceil(per_row) <= room {
            return grid("leader, ISR", &cells, column, width);
        }
        let fits = (room * per_row).saturating_sub(1).max(1);
        let mut chosen: Vec<usize> = (0..cells.len()).collect();
        chosen.sort_by_key(|index| match cells[*index].0 {
            Tone::Bad => 0,
            Tone::Warn => 1,
            Tone::Good => 2,
            _ => 3,
        });
        let left = cells.len() - fits.min(cells.len());
        let hidden_bad =
            chosen.iter().skip(fits).filter(|index| matches!(cells[**index].0, Tone::Bad | Tone::Warn)).count();
        chosen.truncate(fits);
        chosen.sort_unstable();
        let mut shown: Vec<(Tone, String)> = chosen.into_iter().map(|index| cells[index].clone()).collect();
        let more = if hidden_bad > 0 {
            (Tone::Warn, format!("+ {left} more !"))
        } else {
            (Tone::Faint, format!("+ {left} more"))
        };
        shown.push(more);
        grid("leader, ISR", &shown, column, width)
    }

    fn messages(&self, width: usize, roomy: bool) -> Vec<Row> {
        let Some(counts) = self.readings.newest() else { return Vec::new() };
        let mut cells = vec![
            (Tone::Plain, format!("{} sent", thousands(counts.sent))),
            (Tone::Plain, format!("{} acked", thousands(counts.acked))),
            (Tone::Plain, format!("{} open", thousands(counts.open))),
        ];
        let mut bad = |count: u64, word: &str, tone| {
            if count > 0 {
                cells.push((tone, format!("{} {word}", thousands(count))));
            }
        };
        bad(counts.failed, "failed", Tone::Bad);
        bad(counts.unknown, "unknown", Tone::Bad);
        bad(counts.owed, "behind schedule", Tone::Warn);
        let mut rows = flow("messages", &cells, width);
        rows.truncate(1);
        let mut row = Row::labelled("per second");
        if let Some(rates) = self.readings.rates() {
            let number = |x: f64| thousands(x.round() as u64);
            let quiet = rates.acked < 0.5 && counts.open > 0;
            row.push(format!("{} sent   ", number(rates.sent)), Tone::Plain);
            row.push(format!("{} acked", number(rates.acked)), if quiet { Tone::Bad } else { Tone::Plain });
            row.push(format!("   {} delivered", number(rates.delivered)), Tone::Plain);
        }
        rows.push(row);
        let Some((curve, scale)) = self.readings.curve(width.saturating_sub(LABEL)).filter(|_| roomy) else {
            return rows;
        };
        let mut row = Row::labelled("acked/s");
        row.push(curve, Tone::Good);
        // The scale: how high it went, and how long a column is.
        let most = format!("  at most {}", thousands(scale.most_per_s.round() as u64));
        let whole = format!("{most}; {:.1} s each", scale.column_s);
        if let Some(told) = [whole, most].into_iter().find(|told| row.columns() + columns(told) <= width) {
            row.push(told, Tone::Faint);
        }
        rows.push(row);
        rows
    }

    fn groups(&self, width: usize) -> Vec<Row> {
        let lags = self.readings.newest().map(|counts| counts.lags.as_slice()).unwrap_or_default();
        let mut rows = Vec::new();
        for (index, group) in self.groups.iter().take(GROUPS_MAX).enumerate() {
            let lag = lags.get(index).copied().flatten();
            let mut of_group = flow(&group.name, &group.cells(lag), width);
            // A crowd of members must not push the rest off the screen.
            of_group.truncate(2);
            rows.extend(of_group);
        }
        if self.groups.len() > GROUPS_MAX {
            let mut row = Row::labelled("");
            row.push(format!("+ {} groups more", self.groups.len() - GROUPS_MAX), Tone::Faint);
            rows.push(row);
        }
        rows
    }

    /// The step that was done last and those to come; the older ones give way.
    fn step_rows(&self, now: Moment, room: usize) -> Vec<Row> {
        let rows: Vec<_> = self.steps.iter().map(|step| step.row(now.at_us)).collect();
        let first_open = rows.iter().position(|row| !row.over).unwrap_or(rows.len());
        let skip = first_open.saturating_sub(1).min(rows.len().saturating_sub(room));
        let left = rows.len().saturating_sub(skip + room);
        let mut shown = Vec::new();
        for (index, step) in rows.iter().skip(skip).take(room).enumerate() {
            let mut row = Row::labelled(if index == 0 { "steps" } else { "" });
            row.push(format!("{} ", step.mark), step.tone);
            row.push(format!("{:>6}  ", step.at), Tone::Faint);
            row.push(step.text.clone(), if step.over { Tone::Plain } else { step.tone });
            if index + 1 == room && left > 0 {
                row.push(format!("   + {left} more"), Tone::Faint);
            }
            shown.push(row);
        }
        shown
    }

    /// The newest lines, wrapped; what does not fit above is gone.
    fn tail_rows(&self, width: usize, room: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        for (at_us, line) in self.newest(room) {
            let at = at_us.map_or_else(String::new, |us| format!("{:.1}", us as f64 / 1e6));
            for (index, text) in wrap(&line.text, width.saturating_sub(TIME + 4)).into_iter().enumerate() {
                let mut row = Row::default();
                let (at, indent) = if index == 0 { (at.as_str(), "") } else { ("", "  ") };
                row.push(format!("{at:>TIME$}  {indent}"), Tone::Faint);
                row.push(text, line.tone);
                rows.push(row);
            }
        }
        rows.split_off(rows.len().saturating_sub(room))
    }
}

fn node_text(id: i32, node: &Node, active: bool) -> (Tone, String) {
    let (tone, word) = match (node.process, node.fenced) {
        (Process::Starting, _) => (Tone::Warn, "starting"),
        (Process::Up, false) => (Tone::Good, "up"),
        (Process::Up, true) => (Tone::Warn, "up, fenced"),
        (Process::Killed, false) => (Tone::Bad, "killed"),
        (Process::Killed, true) => (Tone::Bad, "killed, fenced"),
        (Process::Stopped, false) => (Tone::Bad, "stopped"),
        (Process::Stopped, true) => (Tone::Bad, "stopped, fenced"),
        (Process::Paused, false) => (Tone::Bad, "paused"),
        (Process::Paused, true) => (Tone::Bad, "paused, fenced"),
    };
    let active = match (active, node.broker) {
        (false, _) => "",
        (true, true) => ", controller",
        (true, false) => ", active",
    };
    (tone, format!("{id} {word}{active}"))
}

/// `0: 2 [2,1,3]`; `*` marks what is not as load found it.
fn partition_text(name: &str, partition: &Partition) -> (Tone, String) {
    let now = &partition.now;
    let leader = if now.leader < 0 { "none".to_owned() } else { now.leader.to_string() };
    let mark = if partition.changed() { " *" } else { "" };
    let tone = match (now.leader < 0, now.isr.len() < now.replicas.len()) {
        (true, _) => Tone::Bad,
        (false, true) => Tone::Warn,
        (false, false) if partition.changed() => Tone::Good,
        (false, false) => Tone::Plain,
    };
    (tone, format!("{name}: {leader} {}{mark}", ids(&now.isr)))
}

impl GroupState {
    fn cells(&self, lag: Option<u64>) -> Vec<(Tone, String)> {
        let mut cells = Vec::new();
        if let Some(lag) = lag {
            cells.push((Tone::Plain, format!("lag {}", thousands(lag))));
        }
        let shared = shared_topic(self.members.values().flatten().flatten());
        for (member, owned) in &self.members {
            cells.push(match owned {
                Some(owned) => {
                    let tone = if owned.is_empty() { Tone::Warn } else { Tone::Plain };
                    (tone, format!("{member} {}", owned_text(owned, shared)))
                }
                None => (Tone::Warn, format!("{member} joining")),
            });
        }
        if self.members.is_empty() {
            cells.push((Tone::Faint, "no members".to_owned()));
        }
        cells
    }
}

/// `[0–5]`: many partitions in a row are told by their ends.
fn owned_text(owned: &[String], shared: Option<&str>) -> String {
    let index = |name: &String| shared.and_then(|t| name.strip_prefix(t)?.strip_prefix('-')?.parse::<i32>().ok());
    match owned.iter().map(index).collect::<Option<Vec<i32>>>() {
        Some(mut indices) => {
            indices.sort_unstable();
            if indices.len() > 6 { format!("[{}]", ranges(&indices)) } else { ids(&indices) }
        }
        None => short_assignment(owned, shared),
    }
}
