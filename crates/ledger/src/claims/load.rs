//! Measures of the load: what producers noticed, how long they waited, what was lost. From counts, windows and gaps.

use metricstream_scenario::measures::Measure;
use metricstream_scenario::model::Claim;

use crate::measure::steps::StepSeen;
use crate::measure::windows::WindowStats;
use crate::reasons::counted;
use crate::result::{Messages, Unavailability};

use super::{Facts, Found, holds};

/// What hit a partition shows in its last acknowledgement before: windows may begin this much earlier, µs.
const BEFORE_STEP_US: i64 = 250_000;

pub(super) fn count(facts: &Facts<'_>, of: impl Fn(&Messages) -> u64) -> Found {
    match facts.messages {
        Some(messages) => Found::Number(of(messages) as f64),
        None => Found::NotMeasured("the audit was not finished: what the log holds is not known".to_owned()),
    }
}

/// Of one group, or of all.
pub(super) fn of_group(facts: &Facts<'_>, group: Option<&str>, kind: &str, all: impl Fn(&Messages) -> u64) -> Found {
    let (Some(group), Some(_)) = (group, facts.messages) else { return count(facts, all) };
    let rows = facts.anomalies.iter().filter(|row| row.kind.starts_with(kind) && row.group.as_deref() == Some(group));
    Found::Number(rows.map(|row| row.count).sum::<u64>() as f64)
}

/// What was counted for this claim.
pub(crate) fn window<'a>(facts: &Facts<'a>, claim: &Claim) -> Option<&'a WindowStats> {
    facts.measured.windows.iter().find(|window| window.claim == claim.id)
}

pub(super) fn success_rate(facts: &Facts<'_>, claim: &Claim, step: Option<&StepSeen>) -> Found {
    let Some((sent, acked)) = sent_and_acked(facts, claim, step) else {
        return Found::NotMeasured("no sends were counted".to_owned());
    };
    let rate = |acked: u64| Found::Number(if sent == 0 { 1.0 } else { acked as f64 / sent as f64 });
    let open = window(facts, claim).map_or(0, |window| window.open).min(sent - acked.min(sent));
    // Whom nobody waited for any more might have been acknowledged: an answer only stands if those change nothing.
    let (least, most) =
        (holds(claim, Measure::SuccessRate, &rate(acked)), holds(claim, Measure::SuccessRate, &rate(acked + open)));
    if open > 0 && (least != most || claim.op == "==") && facts.interrupted() {
        return Found::NotMeasured(format!(
            "{acked} of {} acknowledged when the run was interrupted, and {open} still open: those would have decided",
            counted(sent, "send was", "sends were")
        ));
    }
    rate(acked)
}

/// The sends that a claim on them is about, and how many of them were acknowledged.
pub(crate) fn sent_and_acked(facts: &Facts<'_>, claim: &Claim, step: Option<&StepSeen>) -> Option<(u64, u64)> {
    match (step, facts.messages, window(facts, claim)) {
        // Without an audit there are still the outcomes that the clients reported.
        (None, Some(messages), _) => Some((messages.sent, messages.acked)),
        (_, _, Some(window)) => Some((window.sent, window.acked)),
        _ => None,
    }
}

pub(super) fn notice(facts: &Facts<'_>, claim: &Claim, step: &StepSeen) -> Found {
    let sign = window(facts, claim).and_then(|window| window.sign);
    Found::after(step.at_us, sign.map(|(at_us, _)| at_us))
}

pub(super) fn go_on(facts: &Facts<'_>, claim: &Claim) -> Found {
    let Some(window) = window(facts, claim) else { return Found::Bool(false) };
    // None of them failed: whether those that nobody waited for any more would have is not known.
    if window.open > 0 && window.open == window.not_acked && facts.interrupted() {
        return Found::NotMeasured(format!(
            "{} of {} still open when the run was interrupted, and none had failed",
            window.open,
            counted(window.sent, "send in the window was", "sends in the window were")
        ));
    }
    let every = window.producers.len() == facts.scenario.workload.producers.len();
    Found::Bool(every && window.not_acked == 0)
}

pub(super) fn accepted(facts: &Facts<'_>, claim: &Claim) -> Found {
    Found::Bool(window(facts, claim).is_some_and(|window| window.accepted_us.is_some()))
}

/// The longest window of unavailability that the step is answerable for.
pub(crate) fn longest<'a>(
    facts: &Facts<'a>,
    op: &str,
    step: Option<&StepSeen>,
    of: Option<&str>,
) -> Option<&'a Unavailability> {
    let us = |s: f64| (s * 1e6).round() as i64;
    let counts = |row: &&Unavailability| {
        row.op == op
            && of.is_none_or(|of| format!("{}-{}", row.topic, row.partition) == of)
            && step.is_none_or(|step| {
                let (from_us, to_us) = (us(row.from_s), us(row.from_s + row.duration_s));
                from_us < facts.end_us(step) && to_us > step.at_us
            })
    };
    // Of equals the first, so that the answer names the same partition every time.
    facts.measured.unavailability.iter().filter(counts).rev().max_by(|a, b| a.duration_s.total_cmp(&b.duration_s))
}

pub(super) fn unavailable(facts: &Facts<'_>, op: &str, step: Option<&StepSeen>, of: Option<&str>) -> Found {
    if op == "read" && facts.scenario.workload.groups.is_empty() {
        return Found::NotMeasured("the scenario has no group that reads".to_owned());
    }
    Found::Number(longest(facts, op, step, of).map_or(0.0, |row| row.duration_s))
}

pub(super) fn slow(facts: &Facts<'_>, claim: &Claim, measure: Measure) -> Found {
    let Some(window) = window(facts, claim) else { return Found::NotMeasured("no sends were counted".to_owned()) };
    let seconds = |us: Option<i64>| us.map(|us| us as f64 / 1e6);
    let value = match measure {
        Measure::ResponseP99 => window.response_p99_ms,
        Measure::LongestResponse => seconds(window.longest_response_us),
        _ => seconds(window.longest_wait_us),
    };
    value.map_or_else(|| Found::NotMeasured("nothing was sent in the step's window".to_owned()), Found::Number)
}

/// Since when a gap counts for the step: a gap that began long before belongs to something else until t0.
pub(crate) fn since_us(step: &StepSeen, from_us: i64) -> i64 {
    if from_us >= step.at_us - BEFORE_STEP_US { from_us } else { step.at_us }
}
