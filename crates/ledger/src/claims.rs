//! Claims answered: each with the measured value, whether it held, and the reason found in the run.
//!
//! What each measure means is defined by the scenario's list of measures; the values are computed here and below, the
//! reasons in `reasons`. Nothing is decided about the verdict of the run.

pub(crate) mod cluster;
pub(crate) mod group;
pub(crate) mod load;

use metricstream_scenario::measures::{Measure, ValueType};
use metricstream_scenario::model::{Claim, ClaimValue, Scenario};

use crate::exactness;
use crate::measure::Measured;
use crate::measure::isr::Committed;
use crate::measure::steps::StepSeen;
use crate::reasons;
use crate::result::{self, AnomalyRow, ClaimRow, Loss, Messages};
use crate::timeline::{TimelineEvent, What};

/// The text that stands for something that did not happen.
pub const NEVER: &str = "never";

/// All that there is to answer from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// What was measured.
    pub measured: &'a Measured,
    /// What became of the messages; `None` if the audit was not finished.
    pub messages: Option<&'a Messages>,
    /// What the ledger found, and which messages were lost why.
    pub anomalies: &'a [AnomalyRow],
    /// Ranges of lost messages.
    pub losses: &'a [Loss],
    /// The whole timeline.
    pub timeline: &'a [TimelineEvent],
    /// Steps that were left out, because the user asked for it.
    pub left_out: &'a [String],
    /// Why the metadata log was not read, if it was not: then what it alone tells exactly is not known.
    pub polled: Option<&'a str>,
}

impl<'a> Facts<'a> {
    /// The end of the step's window.
    pub(crate) fn end_us(&self, step: &StepSeen) -> i64 {
        step.end_us.unwrap_or(self.measured.end_us).min(self.measured.end_us).max(step.at_us)
    }

    /// Committed states of one partition, in order.
    pub(crate) fn committed_of(&self, partition: &'a str) -> impl Iterator<Item = &'a Committed> {
        self.measured.committed.iter().filter(move |row| name(row) == partition)
    }

    /// The last committed state of every partition at or before `at_us`.
    pub(crate) fn state_at(&self, at_us: i64) -> Vec<&'a Committed> {
        let mut state = std::collections::BTreeMap::new();
        for row in self.measured.committed.iter().filter(|row| row.at_us <= at_us) {
            state.insert((&row.state.topic, row.state.partition), row);
        }
        state.into_values().collect()
    }

    /// Whether the run was ended before its timeline was over.
    pub(crate) fn interrupted(&self) -> bool {
        self.timeline.iter().any(|event| matches!(&event.what, What::Phase { name } if name == "interrupted"))
    }

    /// Changes of the active controller: when, node, epoch.
    pub(crate) fn controllers(&self) -> Vec<(i64, i32, i32)> {
        let of_event = |event: &TimelineEvent| match event.what {
            What::Controller { node, epoch } => Some((event.at_us, node, epoch)),
            _ => None,
        };
        self.timeline.iter().filter_map(of_event).collect()
    }
}

/// `topic-partition` of a committed state.
pub(crate) fn name(row: &Committed) -> String {
    format!("{}-{}", row.state.topic, row.state.partition)
}

/// What was found of a measure.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Yes or no.
    Bool(bool),
    /// In the measure's unit.
    Number(f64),
    /// Such as `[1,3]`.
    Text(String),
    /// It was waited for and did not happen.
    Never,
    /// It cannot be known, and why.
    NotMeasured(String),
}

impl Found {
    /// Seconds from `from_us` to `at_us`, or never.
    pub(crate) fn after(from_us: i64, at_us: Option<i64>) -> Self {
        at_us.map_or(Self::Never, |at_us| Self::Number((at_us - from_us).max(0) as f64 / 1e6))
    }
}

/// Answers every claim of the scenario, in its order.
pub fn answer(facts: &Facts<'_>) -> Vec<ClaimRow> {
    facts.scenario.claims.iter().map(|claim| answer_one(facts, claim)).collect()
}

fn answer_one(facts: &Facts<'_>, claim: &Claim) -> ClaimRow {
    let row = |unit: &str, measured, held, reason| ClaimRow {
        id: claim.id.clone(),
        text: claim.text.clone(),
        expected: format!("{} {}", claim.op, text_of(&claim.value)),
        measured,
        unit: unit.to_owned(),
        held,
        reason,
    };
    let Some(measure) = Measure::from_id(&claim.measure) else {
        return row("", None, None, format!("there is no measure `{}`", claim.measure));
    };
    let unit = measure.spec().unit;
    let step = claim.step.as_deref().map(|id| (id, facts.measured.steps.find(id)));
    if let Some((id, None)) = &step {
        return row(unit, None, None, not_carried_out(facts, id));
    }
    let step = step.and_then(|(_, step)| step);
    let found = match facts.polled.filter(|_| exactness::rests_on_the_log(measure)) {
        Some(why) => Found::NotMeasured(why.to_owned()),
        None => find(facts, claim, measure, step.as_ref()),
    };
    if let Found::NotMeasured(why) = &found {
        return row(unit, None, None, why.clone());
    }
    let reason = reasons::reason(facts, claim, measure, step.as_ref(), &found);
    let held = holds(claim, measure, &found);
    let measured = match found {
        Found::Bool(value) => result::Measured::Bool(value),
        Found::Number(value) => result::Measured::Number(value),
        Found::Text(value) => result::Measured::Text(value),
        Found::Never | Found::NotMeasured(_) => result::Measured::Text(NEVER.to_owned()),
    };
    row(unit, Some(measured), Some(held), reason)
}

fn not_carried_out(facts: &Facts<'_>, id: &str) -> String {
    if facts.left_out.iter().any(|step| step == id) {
        return format!("step {id} was left out, as was asked");
    }
    let failed = facts.timeline.iter().find_map(|event| match &event.what {
        What::FaultFailed { id: of, error } if of == id => Some(error),
        _ => None,
    });
    match failed {
        Some(error) => format!("step {id} was not carried out: {error}"),
        None => format!("step {id} was not carried out"),
    }
}

fn text_of(value: &ClaimValue) -> String {
    match value {
        ClaimValue::Bool(value) => value.to_string(),
        ClaimValue::Number(value) => value.to_string(),
        ClaimValue::Text(value) => value.clone(),
    }
}

/// Whether the found value is as claimed. What never happened holds nothing.
fn holds(claim: &Claim, measure: Measure, found: &Found) -> bool {
    // Values are given with six digits at most: what differs less is the same.
    const SAME: f64 = 1e-6;
    match (found, &claim.value) {
        (Found::Bool(found), ClaimValue::Bool(value)) => found == value,
        (Found::Number(found), ClaimValue::Number(value)) => match claim.op.as_str() {
            "<=" => *found <= value + SAME,
            ">=" => *found >= value - SAME,
            _ => (found - value).abs() <= SAME,
        },
        (Found::Text(found), ClaimValue::Text(value)) => match measure.spec().value {
            ValueType::Isr => metricstream_scenario::text::isr(value).as_ref() == Some(found),
            ValueType::Assignment => metricstream_scenario::text::assignment(value).as_ref() == Some(found),
            _ => found == value,
        },
        _ => false,
    }
}

/// Computes a measure. A step is there if the measure needs one.
fn find(facts: &Facts<'_>, claim: &Claim, measure: Measure, step: Option<&StepSeen>) -> Found {
    let of = claim.of.as_deref();
    let after_us = claim.after_s.map(|after_s| (after_s * 1e6) as i64);
    match (measure, step) {
        (Measure::Lost, _) => load::count(facts, |messages| messages.lost),
        (Measure::LostPredicted, _) => load::count(facts, |messages| messages.lost_predicted),
        (Measure::Duplicates, _) => load::count(facts, |messages| messages.duplicates),
        (Measure::Reordered, _) => load::count(facts, |messages| messages.reordered),
        (Measure::LostToGroup, _) => load::of_group(facts, of, "lost-to-group", |messages| messages.lost_to_group),
        (Measure::Redelivered, _) => load::of_group(facts, of, "redelivery", |messages| messages.redelivered),
        (Measure::SuccessRate, step) => load::success_rate(facts, claim, step),
        (Measure::WriteUnavailable, step) => load::unavailable(facts, "write", step, of),
        (Measure::ReadUnavailable, step) => load::unavailable(facts, "read", step, of),
        (Measure::ResponseP99 | Measure::LongestResponse | Measure::LongestWait, _) => {
            load::slow(facts, claim, measure)
        }
        (Measure::IsrAfter, step) => cluster::isr_after(facts, step, of),
        (Measure::UncleanElections, _) => Found::Number(cluster::unclean_elections(facts).len() as f64),
        (Measure::FaultsDone, _) => Found::Number(facts.measured.steps.faults().count() as f64),
        (_, None) => Found::NotMeasured(format!("`{measure}` needs a step")),
        (Measure::ProducersNotice, Some(step)) => load::notice(facts, claim, step),
        (Measure::ProducersContinue, Some(_)) => load::go_on(facts, claim),
        (Measure::WritesAccepted, Some(_)) => load::accepted(facts, claim),
        (Measure::Fenced, Some(step)) => Found::after(step.at_us, cluster::fenced_us(facts, step)),
        (Measure::ElectionStart, Some(step)) => Found::after(step.at_us, cluster::first_reaction_us(facts, step)),
        (Measure::NewLeaders, Some(step)) => Found::after(step.at_us, cluster::new_leaders_us(facts, step, of)),
        (Measure::IsrBefore, Some(step)) => cluster::isr_before(facts, step, of),
        (Measure::IsrDuring, Some(step)) => cluster::isr_during(facts, step, of, after_us),
        (Measure::CaughtUp, Some(step)) => Found::after(step.at_us, cluster::caught_up_us(facts, step)),
        (Measure::IsrFull, Some(step)) => Found::after(step.at_us, cluster::isr_full_us(facts, step)),
        (Measure::AllNormal, Some(step)) => {
            Found::after(step.at_us, cluster::all_normal_us(facts, step).map(|(at_us, _)| at_us))
        }
        (Measure::LeadersDistinct, Some(step)) => {
            Found::Number(cluster::leaders_at(facts, step, after_us).len() as f64)
        }
        (Measure::OnlyLeader, Some(step)) => cluster::only_leader(facts, step, after_us),
        (Measure::LeaderlessPartitions, Some(step)) => {
            Found::Number(cluster::led_by(facts, step, after_us, |leader, _| leader < 0).len() as f64)
        }
        (Measure::DeadLeaderPartitions, Some(step)) => {
            let dead = |leader: i32, at_us| leader >= 0 && facts.measured.steps.is_down(leader, at_us);
            Found::Number(cluster::led_by(facts, step, after_us, dead).len() as f64)
        }
        (Measure::ControllerChanged, Some(step)) => cluster::controller_changed(facts, step),
        (Measure::ControllerFailover, Some(step)) => cluster::controller_failover(facts, step),
        (Measure::QuorumAvailable, Some(step)) => {
            let worst = cluster::fewest_voters(facts, step, after_us);
            Found::Bool(worst.up * 2 > worst.of)
        }
        (Measure::GroupRebalanced, Some(step)) => Found::Bool(group::first_sign_us(facts, step, of).is_some()),
        (Measure::RebalanceAt, Some(step)) => Found::after(step.at_us, group::first_sign_us(facts, step, of)),
        (Measure::RebalanceDuration, Some(step)) => group::duration(facts, step, of),
        (Measure::ConsumersPause, Some(step)) => group::pause(facts, step, of),
        (Measure::PartitionsPausedUnmovedShare, Some(step)) => group::unmoved_share(facts, step, of),
        (Measure::Assignment, Some(step)) => group::assignment(facts, step, of, after_us),
    }
}

#[cfg(test)]
mod stories;
