//! What was counted and timed: messages, latency, throughput, failover, recovery.

use std::collections::BTreeMap;

use metricstream_ledger::result::{Failover, Latency, Messages, RunResult, Throughput};

use super::{Block, Grid, Section, Tone, outages, section};
use crate::tally::{spread, spread_text};
use crate::text::{count, maybe_seconds, millis, number, percent, seconds, thousands};

/// Faults of which the failover is shown.
const FAILOVERS_MAX: usize = 12;

pub(super) fn messages(result: &RunResult) -> Section {
    let m = &result.messages;
    let mut parts = vec![format!("{} sent", thousands(m.sent)), format!("{} acked", thousands(m.acked))];
    let more = [(m.failed, "failed"), (m.unknown, "unknown")];
    parts.extend(more.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", thousands(*n))));
    if m.unknown_survived > 0 {
        parts.push(format!("{} of the unknown in the log", thousands(m.unknown_survived)));
    }
    parts.push(lost(m));
    let of_the_log = [(m.duplicates, "duplicated"), (m.reordered, "reordered")];
    let told = of_the_log.iter().filter_map(|(n, word)| Some(format!("{} {word}", thousands(m.if_audited(*n)?))));
    parts.extend(told);
    let rare = [
        (m.phantom, "phantom"),
        (m.alien, "alien"),
        (m.redelivered, "redelivered"),
        (m.lost_to_group, "lost to a group"),
    ];
    parts.extend(rare.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", thousands(*n))));
    if let Some(rate) = m.success_rate.filter(|rate| rate.is_finite()) {
        parts.push(format!("{} acknowledged", percent(rate)));
    }
    let bad = m.lost > m.lost_predicted || m.phantom > 0 || m.alien > 0 || m.lost_to_group > 0;
    section("messages", vec![Block::toned(if bad { Tone::Bad } else { Tone::Plain }, together(&parts))])
}

/// Joined so that a line breaks between parts only.
fn together(parts: &[String]) -> String {
    parts.iter().map(|part| part.replace(' ', "\u{a0}")).collect::<Vec<_>>().join(" · ")
}

fn lost(m: &Messages) -> String {
    match (m.lost, m.lost_predicted) {
        // An audit that was not finished has found no loss; that is not the same as none.
        (0, _) if !m.audited => "not audited to the end: none is known to be lost".to_owned(),
        (lost, 0) => format!("{} lost", thousands(lost)),
        (lost, predicted) if predicted >= lost => format!("{} lost, as predicted", thousands(lost)),
        (lost, predicted) => format!("{} lost, {} of them as predicted", thousands(lost), thousands(predicted)),
    }
}

pub(super) fn latency(result: &RunResult) -> Section {
    let mut blocks = Vec::new();
    let response = rows_of(result, "response");
    blocks.extend(percentiles("response, ms", &response));
    blocks.extend(parts_of_response(result, &response));
    blocks.extend(percentiles("end to end, ms", &rows_of(result, "end_to_end")));
    blocks.extend(outages::waited(result, &response).map(|text| Block::toned(Tone::Faint, text)));
    section("latency", blocks)
}

fn rows_of<'r>(result: &'r RunResult, kind: &str) -> Vec<&'r Latency> {
    result.latency.iter().filter(|row| row.kind == kind && row.count + row.open > 0).collect()
}

/// How a row is named: by its phase, and by its acks setting where there are several.
fn phase_of(row: &Latency, rows: &[&Latency]) -> String {
    let several_acks = rows.iter().any(|row| row.acks != rows[0].acks);
    if several_acks { format!("{}, acks={}", row.phase, row.acks) } else { row.phase.clone() }
}

fn percentiles(label: &str, rows: &[&Latency]) -> Option<Block> {
    let open = rows.iter().any(|row| row.open > 0);
    let mut head = vec![label, "p50", "p99", "p99.9", "max"];
    if open {
        head.push("unanswered");
    }
    let mut grid = Grid { head: head.into_iter().map(str::to_owned).collect(), rows: Vec::new(), numbers: true };
    for row in rows {
        let mut cells = vec![phase_of(row, rows)];
        cells.extend([row.p50_ms, row.p99_ms, row.p999_ms, row.max_ms].map(millis));
        if open {
            cells.push(thousands(row.open));
        }
        grid.rows.push(cells);
    }
    (!rows.is_empty()).then_some(Block::Table(grid))
}

/// The two parts of a response side by side, `p50 / p99 / max` each: three tables would be a page.
fn parts_of_response(result: &RunResult, response: &[&Latency]) -> Option<Block> {
    let head = ["p50 / p99 / max, ms", "delay until sent", "service until acked"].map(str::to_owned).to_vec();
    let mut grid = Grid { head, rows: Vec::new(), numbers: true };
    for row in response {
        let part = |kind: &str| {
            let same = |part: &&Latency| part.kind == kind && part.phase == row.phase && part.acks == row.acks;
            let part = result.latency.iter().find(same)?;
            Some([part.p50_ms, part.p99_ms, part.max_ms].map(millis).join(" / "))
        };
        let parts = [part("delay"), part("service")];
        // Of a phase in which nothing was acknowledged there is nothing to take apart.
        if row.count == 0 || parts.iter().all(Option::is_none) {
            continue;
        }
        let mut cells = vec![phase_of(row, response)];
        cells.extend(parts.map(|part| part.unwrap_or_else(|| "–".to_owned())));
        grid.rows.push(cells);
    }
    (!grid.rows.is_empty()).then_some(Block::Table(grid))
}

pub(super) fn throughput(result: &RunResult) -> Section {
    if result.throughput.is_empty() {
        return section("throughput", Vec::new());
    }
    let offered = result.throughput.iter().any(|row| row.offered_per_s.is_some());
    let mut head = vec!["per second"];
    head.extend(offered.then_some("offered"));
    head.extend(["acked", "delivered", "MB", "limited by"]);
    let mut grid = Grid { head: head.into_iter().map(str::to_owned).collect(), rows: Vec::new(), numbers: true };
    let whole = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| number(value.round()));
    for row in &result.throughput {
        let mut cells = vec![row.phase.clone()];
        cells.extend(offered.then(|| whole(row.offered_per_s)));
        cells.extend([row.acked_per_s, row.delivered_per_s].map(whole));
        cells.push(row.mb_per_s.map_or_else(|| "–".to_owned(), |mb| number((mb * 100.0).round() / 100.0)));
        cells.push(row.limited_by.clone().unwrap_or_else(|| "–".to_owned()));
        grid.rows.push(cells);
    }
    let mut blocks = vec![Block::Table(grid)];
    blocks.extend(result.throughput.iter().filter_map(late).map(|text| Block::toned(Tone::Faint, text)));
    section("throughput", blocks)
}

/// How much of a phase's rates is of earlier ones, if it is worth saying.
fn late(row: &Throughput) -> Option<String> {
    /// Of less than this share nothing need be explained.
    const WORTH: f64 = 0.01;
    let part = |late: Option<f64>, all: Option<f64>, word: &str| {
        let (late, all) = late.zip(all).filter(|(late, all)| *late >= 0.5 && *late >= WORTH * all)?;
        Some(format!("{} of the {} {word}", number(late.round()), number(all.round())))
    };
    let parts = [
        part(row.backlog_per_s, row.acked_per_s, "acked"),
        part(row.delivered_backlog_per_s, row.delivered_per_s, "delivered"),
    ];
    let told: Vec<String> = parts.into_iter().flatten().collect();
    let text = format!("{}: {} were wanted in an earlier phase and held up", row.phase, told.join(" and "));
    (!told.is_empty()).then_some(text)
}

/// One line per fault and old leader: what each part of the failover took, and what was to be expected.
pub(super) fn failovers(result: &RunResult) -> Section {
    let mut groups: BTreeMap<(Option<&str>, i32), Vec<&Failover>> = BTreeMap::new();
    for row in &result.failovers {
        groups.entry((row.fault.as_deref(), row.from)).or_default().push(row);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    let first =
        |rows: &[&Failover]| spread(rows.iter().filter_map(|row| row.elected_s)).map_or(f64::INFINITY, |(low, _)| low);
    groups.sort_by(|a, b| first(&a.1).total_cmp(&first(&b.1)));
    let left_out = groups.len().saturating_sub(FAILOVERS_MAX);
    let mut blocks = Vec::new();
    for ((fault, from), rows) in groups.into_iter().take(FAILOVERS_MAX) {
        let since_fault =
            |of: fn(&Failover) -> Option<f64>| spread_text(rows.iter().filter_map(|row| Some(of(row)? - row.fault_s?)));
        let steps = [
            ("fenced", since_fault(|row| row.fenced_s)),
            ("elected", since_fault(|row| row.elected_s)),
            ("learned", since_fault(|row| row.learned_s)),
            ("acknowledged", since_fault(|row| row.first_ack_s)),
        ];
        let told: Vec<String> =
            steps.into_iter().filter_map(|(word, took)| Some(format!("{word}\u{a0}{}", took?))).collect();
        let what = format!("{} from broker {from}", count(rows.len(), "leader", "leaders"));
        let after = fault.map(|id| format!(", after {id}")).unwrap_or_default();
        let told = if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) };
        blocks.push(Block::text(format!("{what}{after}{told}")));
        if let Some(predicted) = rows.iter().find_map(|row| row.predicted.as_deref()) {
            let late = rows.iter().any(|row| {
                let took_s = row.elected_s.zip(row.fault_s).map(|(elected, fault)| elected - fault);
                took_s.zip(row.predicted_max_s).is_some_and(|(took, most)| took > most)
            });
            let (tone, word) = if late { (Tone::Warn, "later than predicted: ") } else { (Tone::Faint, "predicted ") };
            blocks.push(Block::Text { tone, indent: true, text: format!("{word}{predicted}") });
        }
    }
    if left_out > 0 {
        blocks.push(Block::toned(Tone::Faint, format!("… {left_out} more in result.json")));
    }
    section("failover", blocks)
}

pub(super) fn recovery(result: &RunResult) -> Section {
    let after = |row: &metricstream_ledger::result::Recovery, at: Option<f64>| {
        at.map_or_else(|| "not seen".to_owned(), |at| format!("after {}", maybe_seconds(Some(at - row.restarted_s))))
    };
    let line = |row: &metricstream_ledger::result::Recovery| {
        if row.never_left {
            let text = format!(
                "broker {} back at {}: it had not left an ISR, so none tells when it had caught up",
                row.broker,
                seconds(row.restarted_s)
            );
            return Block::text(text);
        }
        let tone = if row.isr_full_s.is_some() { Tone::Plain } else { Tone::Warn };
        let text = format!(
            "broker {} back at {}: unfenced {}, caught up {}, every ISR full {}",
            row.broker,
            seconds(row.restarted_s),
            after(row, row.unfenced_s),
            after(row, row.caught_up_s),
            after(row, row.isr_full_s)
        );
        Block::toned(tone, text)
    };
    let mut blocks: Vec<Block> = result.recovery.iter().take(FAILOVERS_MAX).map(line).collect();
    if result.recovery.len() > FAILOVERS_MAX {
        let more = result.recovery.len() - FAILOVERS_MAX;
        blocks.push(Block::toned(Tone::Faint, format!("… {more} more in result.json")));
    }
    section("recovery", blocks)
}
