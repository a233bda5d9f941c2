//! Where writes and reads stood still, and why: what a fault did is told apart from what came without one.
//!
//! The ledger says of each window which fault began it, what stood in its way and which setting decided; nothing is guessed
//! here from times that lie close together.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_ledger::measure::steps::cuts_off;
use metricstream_ledger::result::{Failover, FaultRow, Hindrance, Latency, Phase, RunResult, Unavailability};

use super::{Block, Section, Tone, section};
use crate::tally::{nodes, spread, spread_text};
use crate::text::{count, number, seconds};

/// Lines about windows that no fault explains, of each operation.
const UNEXPLAINED_MAX: usize = 4;

/// Whether anything that was seen began the window: a fault, an election, a rebalance.
pub(crate) fn explained(row: &Unavailability) -> bool {
    row.fault.is_some() || row.cause.is_some()
}

/// Whether what stood in its way did so for at least half of it. Behind a leader clients have to learn of the next one.
fn held_for_most(row: &Unavailability) -> bool {
    row.open && row.cause.is_some() || row.held_s.is_some_and(|held_s| held_s * 2.0 >= row.duration_s)
}

/// Whether most of it has no reason although it began with a fault.
fn goes_on_unexplained(row: &Unavailability) -> bool {
    row.fault.is_some() && matches!(row.cause, None | Some(Hindrance::Isr)) && !held_for_most(row)
}

pub(super) fn unavailability(result: &RunResult) -> Section {
    let mut blocks = Vec::new();
    for (op, word) in [("write", "writes"), ("read", "reads")] {
        let of_op = || result.unavailability.iter().filter(|row| row.op == op);
        let rows: Vec<&Unavailability> = of_op().filter(|row| explained(row)).collect();
        blocks.extend(summary(op, word, &rows));
        blocks.extend(unexplained(result, op, word));
    }
    blocks.extend(held_up_by_a_follower(result).map(|text| Block::toned(Tone::Faint, text)));
    blocks.extend(beyond_the_fault(result).map(|text| Block::toned(Tone::Faint, text)));
    blocks.extend(overloaded(result).map(|text| Block::toned(Tone::Warn, text)));
    section("unavailable", blocks)
}

fn summary(op: &str, word: &str, rows: &[&Unavailability]) -> Option<Block> {
    let (_, longest) = spread(rows.iter().map(|row| row.duration_s))?;
    let total: f64 = rows.iter().map(|row| row.duration_s).sum();
    let mut text = format!("{word}: {}, longest {}{}", partitions(rows), at_least(rows, longest), seconds(longest));
    if rows.len() > 1 {
        text += &format!(", {} partition-seconds", number(total));
    }
    if let Some((_, error)) = spread(rows.iter().map(|row| row.resolution_ms)) {
        text += &format!(", each ± {}", seconds(error / 1_000.0));
    }
    let open = still_open(op, rows);
    text += &open;
    Some(Block::toned(if open.is_empty() { Tone::Plain } else { Tone::Bad }, text))
}

fn still_open(op: &str, rows: &[&Unavailability]) -> String {
    let open = rows.iter().filter(|row| row.open).count();
    let end = if op == "write" { "the load" } else { "the run" };
    if open > 0 { format!("; {open} still open when {end} ended") } else { String::new() }
}

fn partitions(rows: &[&Unavailability]) -> String {
    count(different(rows.iter().copied()), "partition", "partitions")
}

/// In how many partitions windows are.
fn different<'r>(rows: impl Iterator<Item = &'r Unavailability>) -> usize {
    rows.map(|row| (&*row.topic, row.partition)).collect::<BTreeSet<_>>().len()
}

/// `≥ ` if the longest of them was still open when it was cut: it was at least so long.
fn at_least(rows: &[&Unavailability], longest_s: f64) -> &'static str {
    let cut = rows.iter().any(|row| row.open && row.duration_s >= longest_s);
    if cut { "≥\u{a0}" } else { "" }
}

/// The last fault before a window, slow links apart: they break nothing.
fn fault_before<'r>(result: &'r RunResult, row: &Unavailability) -> Option<&'r FaultRow> {
    let before = result.faults.iter().filter(|fault| fault.kind != SLOW && fault.at_s <= row.from_s);
    before.max_by(|a, b| a.at_s.total_cmp(&b.at_s))
}

const SLOW: &str = "slow-link";

/// When it was that a window came which no fault explains.
fn when(result: &RunResult, row: &Unavailability) -> String {
    match fault_before(result, row) {
        Some(fault) => format!("after {}, when nothing stood in the way", fault.id),
        None if result.faults.iter().any(|fault| fault.kind != SLOW) => "before any fault".to_owned(),
        None => "without any fault".to_owned(),
    }
}

/// Windows of one operation that nothing of the run began, a line for each time between faults.
fn unexplained(result: &RunResult, op: &str, word: &str) -> Vec<Block> {
    let rows = result.unavailability.iter().filter(|row| row.op == op && !explained(row));
    let mut by_time: BTreeMap<String, Vec<&Unavailability>> = BTreeMap::new();
    rows.for_each(|row| by_time.entry(when(result, row)).or_default().push(row));
    let mut groups: Vec<_> = by_time.into_iter().collect();
    groups.sort_by(|a, b| a.1[0].from_s.total_cmp(&b.1[0].from_s));
    let what = if op == "write" { "an acknowledgement" } else { "a delivery" };
    let line = |(when, rows): &(String, Vec<&Unavailability>)| {
        let (_, longest) = spread(rows.iter().map(|row| row.duration_s))?;
        let (first, last) = spread(rows.iter().map(|row| row.from_s))?;
        let from =
            if last - first < 1.0 { format!("at {}", seconds(first)) } else { format!("from {} on", seconds(first)) };
        let slow = rows.iter().find_map(|row| slow_link(result, row));
        let why = match (slow, result.faults.is_empty()) {
            (Some(id), _) => format!("no fault of this run explains it, unless the slow links of {id} do"),
            (None, true) => "nothing of this run explains it".to_owned(),
            (None, false) => "no fault of this run explains it".to_owned(),
        };
        let open = still_open(op, rows);
        let text = format!(
            "{word} {when}: {} without {what}, for {}{} {from}; {why}{open}",
            partitions(rows),
            if rows.len() > 1 && at_least(rows, longest).is_empty() { "up to " } else { at_least(rows, longest) },
            seconds(longest)
        );
        Some(Block::toned(if open.is_empty() { Tone::Warn } else { Tone::Bad }, text))
    };
    let mut blocks: Vec<Block> = groups.iter().take(UNEXPLAINED_MAX).filter_map(line).collect();
    if groups.len() > UNEXPLAINED_MAX {
        let more = groups.len() - UNEXPLAINED_MAX;
        blocks.push(Block::toned(
            Tone::Faint,
            format!("… {word} at {} more in result.json", count(more, "time", "times")),
        ));
    }
    blocks
}

/// The step whose slow links were in force.
fn slow_link<'r>(result: &'r RunResult, row: &Unavailability) -> Option<&'r str> {
    let in_force = |fault: &&FaultRow| {
        fault.kind == SLOW && fault.at_s <= row.from_s && fault.healed_at_s.is_none_or(|healed_s| healed_s > row.from_s)
    };
    result.faults.iter().find(in_force).map(|fault| fault.id.as_str())
}

/// Why writes stop also where the node that was hit led nothing: with acks=all the ISR decides, and it was still in it.
fn held_up_by_a_follower(result: &RunResult) -> Option<String> {
    let told = |fault: &FaultRow| {
        let writes =
            || result.unavailability.iter().filter(|row| row.op == "write" && row.fault.as_ref() == Some(&fault.id));
        let waited = |row: &Unavailability| row.cause == Some(Hindrance::Isr) && held_for_most(row);
        let led = different(writes().filter(|row| row.cause == Some(Hindrance::Leader)));
        let followed = different(writes().filter(|row| waited(row)));
        if followed == 0 {
            return None;
        }
        let who = nodes(&fault.nodes);
        let timers: BTreeSet<&str> =
            writes().filter(|row| waited(row)).filter_map(|row| row.timer.as_deref()).collect();
        let timers: Vec<&str> = timers.into_iter().collect();
        let timers = if timers.is_empty() { String::new() } else { format!(" ({})", timers.join(", ")) };
        let held = spread_text(writes().filter(|row| waited(row)).filter_map(|row| row.held_s));
        let held = held.map_or_else(|| "to the end".to_owned(), |held| format!("for {held}"));
        Some(format!(
            "after {}: {who} led {led} of the {}, yet all of them stood still: with acks=all a leader waits for every \
             replica in the ISR, and {who} stayed in it {held}{timers}",
            fault.id,
            count(led + followed, "partition", "partitions")
        ))
    };
    result.faults.iter().find_map(told)
}

/// What began with a fault and lasted longer than anything that it did, as far as the cluster tells.
fn beyond_the_fault(result: &RunResult) -> Option<String> {
    let told = |fault: &FaultRow| {
        let known = |row: &&Unavailability| {
            result.isr.iter().any(|state| state.topic == row.topic && state.partition == row.partition)
        };
        let of_fault =
            result.unavailability.iter().filter(|row| row.op == "write" && row.fault.as_ref() == Some(&fault.id));
        let rows: Vec<&Unavailability> = of_fault.filter(|row| goes_on_unexplained(row)).filter(known).collect();
        let (_, longest) = spread(rows.iter().map(|row| row.duration_s - row.held_s.unwrap_or(0.0)))?;
        Some(format!(
            "after {}: {} went on standing still for up to {} when nothing stood in the way any longer; nothing in the \
             cluster explains that",
            fault.id,
            partitions(&rows),
            seconds(longest)
        ))
    };
    // What a cut did to clients the cluster does not tell.
    let seen = |fault: &&FaultRow| !fault.nodes.is_empty() && !cuts_off(&fault.kind);
    result.faults.iter().filter(seen).find_map(told)
}

/// That the machine had not enough for the load generator, if it was late where nothing in the cluster explains a window.
fn overloaded(result: &RunResult) -> Option<String> {
    let rows = result.unavailability.iter().filter(|row| !explained(row) || goes_on_unexplained(row));
    let (_, late_ms) = spread(rows.map(|row| row.delay_ms)).filter(|(_, late_ms)| *late_ms > 0.0)?;
    Some(format!(
        "the load generator itself was up to {} late then: this machine was overloaded, and the figures of this run are to \
         be read with that in mind",
        seconds(late_ms / 1_000.0)
    ))
}

/// How long writes stopped, in a few words: of a fault, and apart from it what no fault explains.
pub(super) fn writes_stopped(result: &RunResult) -> Option<String> {
    let writes = result.unavailability.iter().filter(|row| row.op == "write");
    let (of_faults, others): (Vec<&Unavailability>, Vec<_>) = writes.partition(|row| explained(row));
    let longest = |rows: &[&Unavailability]| spread(rows.iter().map(|row| row.duration_s)).map(|(_, longest)| longest);
    let mut told = Vec::new();
    if let Some(longest_s) = longest(&of_faults) {
        let one_fault = of_faults.iter().all(|row| row.fault == of_faults[0].fault);
        let up_to = match at_least(&of_faults, longest_s) {
            "" if one_fault => "",
            "" => "up to ",
            at_least => at_least,
        };
        let row = of_faults.iter().find(|row| row.duration_s >= longest_s);
        let why = row.map_or_else(String::new, |row| decided(result, row));
        told.push(format!("writes stopped for {up_to}{}{why}", seconds(longest_s)));
    }
    if let Some(longest_s) = longest(&others) {
        let first = others.iter().find(|row| row.duration_s >= longest_s)?;
        let long = format!("{}{}", at_least(&others, longest_s), seconds(longest_s));
        let when = when(result, first);
        let when = when.split(',').next().unwrap_or_default();
        let overloaded = first.delay_ms > 0.0;
        told.push(match (told.is_empty(), overloaded) {
            (true, true) => format!("writes stopped for {long} {when}: this machine was overloaded"),
            (true, false) => format!("writes stopped for {long} {when}, which nothing of the run explains"),
            (false, true) => format!("and for {long} {when}: this machine was overloaded"),
            (false, false) => format!("and for {long} {when}, unexplained"),
        });
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// What decided how long a window was, with a colon before it; nothing if that is not known.
fn decided(result: &RunResult, row: &Unavailability) -> String {
    // A fault whose election came later than its timer allows was decided by something else too.
    let late = result.failovers.iter().filter(|failover| failover.fault.is_some() && failover.fault == row.fault);
    let late = late.filter_map(|failover| Some((failover.elected_s? - failover.fault_s?, failover.predicted_max_s?)));
    let late = late.into_iter().any(|(took_s, most_s)| took_s > most_s);
    match (&row.timer, row.cause, row.held_s) {
        (Some(timer), ..) if !late => format!(": {timer} decided"),
        (None, Some(Hindrance::Leader), Some(held_s)) if held_s * 2.0 < row.duration_s => {
            let rest = seconds(row.duration_s - held_s);
            let of_it = |failover: &&Failover| {
                failover.fault == row.fault && failover.topic == row.topic && failover.partition == row.partition
            };
            // From the fault on, as everywhere; the window began with the last acknowledgement before it.
            let elected = result.failovers.iter().find(of_it).and_then(|of| Some(of.elected_s? - of.fault_s?));
            format!(
                ": another leader stood after {}, clients went on to it {rest} later",
                seconds(elected.unwrap_or(held_s))
            )
        }
        _ => String::new(),
    }
}

/// Why a phase shows latencies that are no phase's own: of the first of which that is known.
pub(super) fn waited(result: &RunResult, response: &[&Latency]) -> Option<String> {
    response.iter().find_map(|row| waited_in(result, row))
}

fn waited_in(result: &RunResult, row: &Latency) -> Option<String> {
    let phase = result.phases.iter().find(|phase| phase.name == row.phase)?;
    let max_s = row.max_ms? / 1_000.0;
    let (through, inside) = longest_waits(result, phase, max_s);
    let inside = inside.filter(|gap| !explained(gap));
    let first = "a send belongs to the phase in which it was wanted";
    let name = &row.phase;
    let stall = |gap: &Unavailability| {
        let when = when(result, gap);
        format!("{} without an acknowledgement at {}, {when}", seconds(gap.duration_s), seconds(gap.from_s))
    };
    let as_long = |gap: &&Unavailability| max_s <= gap.duration_s + LONGER_S;
    let Some(gap) = through else {
        let gap = inside.filter(as_long)?;
        return Some(format!("the slowest of `{name}` waited through {}", stall(gap)));
    };
    if let Some(inside) = inside.filter(as_long) {
        let stall = stall(inside);
        return Some(format!(
            "{first}: the slowest of `{name}` waited through the outage that followed, or through {stall}"
        ));
    }
    let unexplained = if explained(gap) { "" } else { ", which no fault explains" };
    let others = inside.map_or_else(String::new, |gap| format!("; others of it waited through {}", stall(gap)));
    Some(format!(
        "{first}: the last ones of `{name}` waited through the outage that followed{unexplained}, which is why its slowest are \
         so slow{others}"
    ))
}

/// Who waited for an outage waited this much longer than it, at most, s.
const LONGER_S: f64 = 0.1;

/// The outage beyond the end of a phase that is as long as somebody of the phase waited, and the longest inside it.
fn longest_waits<'r>(
    result: &'r RunResult,
    phase: &Phase,
    max_s: f64,
) -> (Option<&'r Unavailability>, Option<&'r Unavailability>) {
    /// The last acknowledgement before an outage is this near to the fault, at most, s.
    const NEAR_S: f64 = 0.25;
    let writes = || result.unavailability.iter().filter(|row| row.op == "write");
    let as_long = |gap: &&Unavailability| max_s <= gap.duration_s + LONGER_S;
    let end_s = |gap: &Unavailability| gap.from_s + gap.duration_s;
    let beyond = |gap: &&Unavailability| {
        let beyond_s = end_s(gap) - phase.to_s;
        gap.from_s < phase.to_s + NEAR_S && beyond_s > NEAR_S && max_s >= beyond_s
    };
    let inside = |gap: &&Unavailability| {
        gap.from_s >= phase.from_s - NEAR_S && end_s(gap) <= phase.to_s + NEAR_S && max_s >= gap.duration_s / 2.0
    };
    let longest = |a: &&Unavailability, b: &&Unavailability| a.duration_s.total_cmp(&b.duration_s);
    (writes().filter(beyond).filter(as_long).max_by(longest), writes().filter(inside).max_by(longest))
}
