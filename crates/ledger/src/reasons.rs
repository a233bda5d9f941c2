//! Reasons found in the run: measured times held against the effective settings, and the timer that fits is named.
//!
//! Nothing here is written into a scenario. Where no timer fits, that is said. Whether a claim holds is not decided here.

mod cluster;
mod gap;
mod group;
mod load;
#[cfg(test)]
mod outage_stories;
mod timers;

use metricstream_scenario::measures::Measure;
use metricstream_scenario::model::Claim;

use crate::claims::{Facts, Found};
use crate::measure::steps::StepSeen;

/// Commits this close belong together.
const TOGETHER_US: i64 = 300_000;

pub(crate) use gap::with_timers;

/// The reason for what was found.
pub(crate) fn reason(
    facts: &Facts<'_>,
    claim: &Claim,
    measure: Measure,
    step: Option<&StepSeen>,
    found: &Found,
) -> String {
    let of = claim.of.as_deref();
    let after_us = claim.after_s.map(|after_s| (after_s * 1e6) as i64);
    match (measure, step) {
        (Measure::Lost | Measure::LostPredicted, _) => load::lost(facts, claim),
        (Measure::LostToGroup | Measure::Redelivered, _) => load::of_group(facts, of, measure),
        (Measure::Duplicates, _) => load::guaranteed(facts, "no-duplicates-"),
        (Measure::Reordered, _) => load::guaranteed(facts, "order-"),
        (Measure::SuccessRate, step) => load::success(facts, claim, step),
        (Measure::WriteUnavailable, step) => gap::unavailable(facts, "write", step, of),
        (Measure::ReadUnavailable, step) => gap::unavailable(facts, "read", step, of),
        (Measure::ResponseP99 | Measure::LongestResponse | Measure::LongestWait, step) => load::slow(facts, step),
        (Measure::IsrAfter, step) => cluster::isr_after(facts, step, of),
        (Measure::UncleanElections, _) => cluster::unclean(facts),
        (Measure::FaultsDone, _) => cluster::faults_done(facts),
        (_, None) => "the claim names no step".to_owned(),
        (Measure::ProducersNotice, Some(step)) => load::notice(facts, claim, step),
        (Measure::ProducersContinue, Some(step)) => load::go_on(facts, claim, step),
        (Measure::WritesAccepted, Some(step)) => load::accepted(facts, claim, step),
        (Measure::Fenced, Some(step)) => cluster::fenced(facts, step),
        (Measure::ElectionStart, Some(step)) => cluster::first_reaction(facts, step),
        (Measure::NewLeaders, Some(step)) => cluster::new_leaders(facts, step, of),
        (Measure::IsrBefore, Some(step)) => cluster::isr_before(facts, step, of),
        (Measure::IsrDuring, Some(step)) => cluster::isr_during(facts, step, of),
        (Measure::CaughtUp | Measure::IsrFull, Some(step)) => cluster::back(facts, step),
        (Measure::AllNormal, Some(step)) => cluster::all_normal(facts, step),
        (
            Measure::LeadersDistinct
            | Measure::OnlyLeader
            | Measure::LeaderlessPartitions
            | Measure::DeadLeaderPartitions,
            Some(step),
        ) => cluster::leaders(facts, step, after_us),
        (Measure::ControllerChanged | Measure::ControllerFailover, Some(step)) => cluster::controller(facts, step),
        (Measure::QuorumAvailable, Some(step)) => cluster::quorum(facts, step, after_us),
        (Measure::GroupRebalanced | Measure::RebalanceAt | Measure::RebalanceDuration, Some(step)) => {
            group::rebalanced(facts, step, of, found)
        }
        (Measure::ConsumersPause, Some(step)) => group::pause(facts, step, of),
        (Measure::PartitionsPausedUnmovedShare, Some(step)) => group::unmoved(facts, step, of),
        (Measure::Assignment, Some(step)) => group::assignment(facts, step, of, after_us),
    }
}

/// `18.6 s`, on the run's clock.
pub(crate) fn at(us: i64) -> String {
    format!("{:.1} s", us as f64 / 1e6)
}

/// `1 send was`, `12 sends were`.
pub(crate) fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// `the only send was`, `all 12 sends were`.
pub(crate) fn all_of(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("the only {one}") } else { format!("all {n} {many}") }
}

/// Names, at most four of them.
pub(crate) fn few(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        [a, b, c, d, rest @ ..] if !rest.is_empty() => format!("{a}, {b}, {c}, {d} and {} more", rest.len()),
        all => all.join(", "),
    }
}
