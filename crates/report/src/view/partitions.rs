//! The partition table: leader, in-sync replicas and epoch before, during and after; how long writes and reads stopped.

use std::collections::BTreeMap;

use metricstream_ledger::result::{IsrRow, RunResult, Unavailability};

use super::{Block, Grid, Section, Tone, outages, section};
use crate::tally::same_set;
use crate::text::{count, ids, seconds};

/// Rows that are shown; `result.json` has all of them.
const ROWS_MAX: usize = 24;
/// Leaders of one partition that are shown.
const LEADERS_MAX: usize = 4;
/// Marks times that no fault explains.
const UNEXPLAINED: &str = "*";

struct Row {
    name: String,
    leader: String,
    isr: String,
    epoch: String,
    writes: Option<String>,
    reads: Option<String>,
    changed: bool,
}

pub(super) fn table(result: &RunResult) -> Section {
    let mut rows = rows(result);
    if rows.is_empty() {
        return section("", Vec::new());
    }
    let quiet = |row: &Row| !row.changed && row.writes.is_none() && row.reads.is_none();
    if rows.iter().all(quiet) {
        let text =
            format!("{}: every leader, ISR and epoch stayed as it was", count(rows.len(), "partition", "partitions"));
        return section("partitions", vec![Block::text(text)]);
    }
    // Where not all fit, those to which something happened come first.
    if rows.len() > ROWS_MAX {
        rows.sort_by_key(|row| quiet(row));
    }
    let left_out = rows.len().saturating_sub(ROWS_MAX);
    let reads = rows.iter().any(|row| row.reads.is_some());
    // Short, so that a partition of three replicas fits in one line of eighty columns.
    let mut head = vec!["partition", "leader", "ISR", "epoch", "no writes"];
    if reads {
        head.push("no reads");
    }
    let mut grid = Grid { head: head.into_iter().map(str::to_owned).collect(), ..Grid::default() };
    for row in rows.into_iter().take(ROWS_MAX) {
        let mut cells = vec![row.name, row.leader, row.isr, row.epoch, row.writes.unwrap_or_else(none)];
        if reads {
            cells.push(row.reads.unwrap_or_else(none));
        }
        grid.rows.push(cells);
    }
    let mut blocks = vec![Block::Table(grid)];
    let order = "ISR: before → smallest → at the end, in Kafka's own order; the story and the claims sort it by id";
    blocks.push(Block::toned(Tone::Faint, order));
    if result.unavailability.iter().any(|row| !outages::explained(row)) {
        let text = format!("{UNEXPLAINED}\u{a0}explained by no fault; see `unavailable`");
        blocks.push(Block::toned(Tone::Faint, text));
    }
    if left_out > 0 {
        let more = count(left_out, "more partition", "more partitions");
        blocks.push(Block::toned(Tone::Faint, format!("… {more} in result.json")));
    }
    section("", blocks)
}

fn none() -> String {
    "–".to_owned()
}

fn rows(result: &RunResult) -> Vec<Row> {
    let mut history: BTreeMap<(&str, i32), Vec<&IsrRow>> = BTreeMap::new();
    for row in &result.isr {
        history.entry((&row.topic, row.partition)).or_default().push(row);
    }
    let one_topic = history.keys().all(|(topic, _)| history.keys().next().is_some_and(|(first, _)| first == topic));
    let fault_s = result.faults.iter().map(|fault| fault.at_s).fold(f64::INFINITY, f64::min);
    let before_s = if fault_s.is_finite() { fault_s } else { 0.0 };
    let mut rows = Vec::new();
    for ((topic, partition), mut states) in history {
        states.sort_by(|a, b| a.at_s.total_cmp(&b.at_s).then(a.partition_epoch.cmp(&b.partition_epoch)));
        let known = states.iter().rposition(|state| state.at_s <= before_s).unwrap_or(0);
        let states = &states[known..];
        let (Some(first), Some(last)) = (states.first(), states.last()) else { continue };
        rows.push(Row {
            name: if one_topic { partition.to_string() } else { format!("{topic}-{partition}") },
            leader: leaders(states),
            isr: isr(states),
            epoch: if first.leader_epoch == last.leader_epoch {
                epoch(first.leader_epoch)
            } else {
                format!("{} → {}", epoch(first.leader_epoch), epoch(last.leader_epoch))
            },
            writes: stopped(result, topic, partition, "write"),
            reads: stopped(result, topic, partition, "read"),
            changed: states.iter().any(|state| {
                state.leader != first.leader
                    || state.leader_epoch != first.leader_epoch
                    || !same_set(&state.isr, &first.isr)
            }),
        });
    }
    rows
}

/// Where metadata was polled it is not known.
fn epoch(epoch: Option<i32>) -> String {
    epoch.map_or_else(none, |epoch| epoch.to_string())
}

fn leaders(states: &[&IsrRow]) -> String {
    let mut path: Vec<String> = Vec::new();
    for state in states {
        let name = if state.leader < 0 { "none".to_owned() } else { state.leader.to_string() };
        if path.last() != Some(&name) {
            path.push(name);
        }
    }
    if path.len() > LEADERS_MAX {
        path.splice(2..path.len() - 1, ["…".to_owned()]);
    }
    path.join(" → ")
}

/// Before, at its smallest, and at the end; what did not change is not repeated.
fn isr(states: &[&IsrRow]) -> String {
    let (Some(first), Some(last)) = (states.first(), states.last()) else { return String::new() };
    let smallest = states.iter().min_by_key(|state| state.isr.len()).unwrap_or(first);
    let mut path = vec![ids(&first.isr)];
    if !same_set(&smallest.isr, &first.isr) {
        path.push(ids(&smallest.isr));
    }
    if path.last() != Some(&ids(&last.isr)) {
        path.push(ids(&last.isr));
    }
    path.join(" → ")
}

/// How long in all, and in how many windows if in several; apart from it, marked, what no fault explains.
fn stopped(result: &RunResult, topic: &str, partition: i32, op: &str) -> Option<String> {
    let windows =
        result.unavailability.iter().filter(|row| row.op == op && row.topic == topic && row.partition == partition);
    let (of_faults, others): (Vec<&Unavailability>, Vec<_>) = windows.partition(|row| outages::explained(row));
    let told = |windows: &[&Unavailability]| {
        let total: f64 = windows.iter().map(|row| row.duration_s).sum();
        let open = if windows.iter().any(|row| row.open) { "≥ " } else { "" };
        match windows.len() {
            0 => None,
            1 => Some(format!("{open}{}", seconds(total))),
            n => Some(format!("{open}{} in {n}", seconds(total))),
        }
    };
    let others = told(&others).map(|told| format!("{told}{UNEXPLAINED}"));
    let all: Vec<String> = told(&of_faults).into_iter().chain(others).collect();
    (!all.is_empty()).then(|| all.join("; "))
}
