//! Consumer groups: who owned what before and after each rebalance, who paused for how long, and catching up.

use metricstream_ledger::result::{Pause, Rebalance, RunResult};

use super::{Block, Section, Tone, section};
use crate::tally::{shared_topic, short_assignment, spread, spread_text};
use crate::text::{count, number, percent, seconds, thousands};

/// Rebalances that are shown in full.
const REBALANCES_MAX: usize = 12;
/// Members of one rebalance that are shown.
const MEMBERS_MAX: usize = 12;
/// Pauses that are shown one by one.
const PAUSES_MAX: usize = 8;

pub(super) fn rebalances(result: &RunResult) -> Section {
    let mut blocks = Vec::new();
    for row in result.rebalances.iter().take(REBALANCES_MAX) {
        one(row, &mut blocks);
    }
    if result.rebalances.len() > REBALANCES_MAX {
        let more = result.rebalances.len() - REBALANCES_MAX;
        blocks.push(Block::toned(Tone::Faint, format!("… {more} more in result.json")));
    }
    section("rebalances", blocks)
}

fn one(row: &Rebalance, blocks: &mut Vec<Block>) {
    let mut text = format!("{} ({}), {} at {}: ", row.group, row.protocol, row.trigger, seconds(row.at_s));
    let tone = match row.duration_s {
        Some(took) => {
            text += &format!("took {}", seconds(took));
            Tone::Plain
        }
        None => {
            text += "not every partition was owned again";
            Tone::Bad
        }
    };
    if let Some(detection) = row.detection_s {
        text += &format!(", {} of it until a member noticed", seconds(detection));
    }
    blocks.push(Block::toned(tone, text));
    let topic = shared_topic(row.members.iter().flat_map(|m| m.before.iter().chain(&m.after)));
    let longest = row.members.iter().take(MEMBERS_MAX).map(|m| crate::text::columns(&m.id)).max().unwrap_or(0);
    for member in row.members.iter().take(MEMBERS_MAX) {
        let (before, after) = (short_assignment(&member.before, topic), short_assignment(&member.after, topic));
        let moved = if before == after { format!("{before} stays") } else { format!("{before} → {after}") };
        blocks.push(Block::under(format!("{}  {moved}", crate::text::pad(&member.id, longest.min(24)))));
    }
    if row.members.len() > MEMBERS_MAX {
        let more = count(row.members.len() - MEMBERS_MAX, "more member", "more members");
        blocks.push(Block::under(format!("… {more}")));
    }
    pauses(row, blocks);
}

fn pauses(row: &Rebalance, blocks: &mut Vec<Block>) {
    let topic = shared_topic(row.pauses.iter().map(|pause| &pause.partition));
    for (moved, word) in [(true, "moved"), (false, "stayed")] {
        let of: Vec<&Pause> = row.pauses.iter().filter(|pause| pause.moved == moved).collect();
        let known: Vec<(&Pause, f64)> = of.iter().filter_map(|pause| Some((*pause, pause.pause_s?))).collect();
        if of.is_empty() {
            continue;
        }
        let told = if known.is_empty() {
            format!("{} without a measured pause", count(of.len(), "partition", "partitions"))
        } else if known.len() <= PAUSES_MAX {
            let name = |pause: &Pause| {
                short_assignment(std::slice::from_ref(&pause.partition), topic).trim_matches(['[', ']']).to_owned()
            };
            known
                .iter()
                .map(|(p, s)| format!("{}\u{a0}for\u{a0}{}", name(p), seconds(*s)))
                .collect::<Vec<_>>()
                .join(", ")
        } else {
            let spread = spread_text(known.iter().map(|(_, s)| *s)).unwrap_or_default();
            format!("{} for {spread}", count(known.len(), "partition", "partitions"))
        };
        let mut text = format!("paused, {word}: {told}");
        if let Some(share) = row.unmoved_paused_share.filter(|_| !moved) {
            text += &format!(" ({} of what did not move)", percent(share));
        }
        blocks.push(Block::under(text));
    }
}

/// The longest measured pause of any rebalance that a step or a member set off.
pub(super) fn longest_pause_s(result: &RunResult) -> Option<f64> {
    let after_start = result.rebalances.iter().filter(|row| row.at_s >= 0.0);
    spread(after_start.flat_map(|row| &row.pauses).filter_map(|pause| pause.pause_s)).map(|(_, longest)| longest)
}

pub(super) fn catch_up(result: &RunResult) -> Section {
    let mut blocks = Vec::new();
    for row in result.catch_up.iter().take(REBALANCES_MAX) {
        let mut text = format!("{} after {}: ", row.group, row.fault);
        text += &format!("{} behind at most, ", thousands(row.peak_lag));
        let tone = match (row.duration_s, row.baseline_lag) {
            (Some(took), _) => {
                text += &format!("worked off in {}", seconds(took));
                Tone::Plain
            }
            (None, Some(_)) => {
                text += "not caught up";
                Tone::Warn
            }
            (None, None) => {
                text += &format!("when it had caught up was not measured{}", why_not(result, &row.group));
                Tone::Warn
            }
        };
        if let Some(ideal) = row.ideal_s {
            text += &format!(" (as fast as it ever read: {})", seconds(ideal));
        }
        if let Some(rate) = row.drain_per_s {
            text += &format!(", {}/s", number(rate.round()));
        }
        blocks.push(Block::toned(tone, text));
    }
    section("catch-up", blocks)
}

/// Why a group's catching up was not measured, as `: no baseline, …`.
fn why_not(result: &RunResult, group: &str) -> String {
    let of_group = format!("catch_up of {group}: ");
    let why = result.not_measured.iter().find_map(|line| line.strip_prefix(&of_group));
    why.map_or_else(String::new, |why| format!(": {why}"))
}
