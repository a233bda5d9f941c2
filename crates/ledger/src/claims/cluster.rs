//! Measures of the cluster: fencing, elections, ISRs, controllers, quorum. From committed states and the steps.

use std::collections::BTreeSet;

use crate::measure::failover::{BrokerChange, BrokerEvent, absent_until_us, voters};
use crate::measure::isr::Committed;
use crate::measure::normal::Trouble;
use crate::measure::recovery::{State, all_full, in_service_us};
use crate::measure::steps::{Class, StepSeen};

use super::{Facts, Found, name};

/// Ids from here on are controllers of their own.
pub(crate) const FIRST_CONTROLLER: i32 = 101;

/// An ISR in its measured form, `[1,3]`.
pub(crate) fn isr_text(isr: &[i32]) -> String {
    let mut ids = isr.to_vec();
    ids.sort_unstable();
    format!("[{}]", ids.iter().map(i32::to_string).collect::<Vec<_>>().join(","))
}

/// The brokers among the nodes that the step hit.
pub(crate) fn brokers_hit(step: &StepSeen) -> impl Iterator<Item = i32> {
    step.nodes.iter().copied().filter(|node| *node < FIRST_CONTROLLER)
}

/// The event by which the controller took a node out, before the node came back.
pub(crate) fn taken_out<'a>(facts: &Facts<'a>, step: &StepSeen, node: i32) -> Option<&'a BrokerEvent> {
    let absent_until_us = absent_until_us(&facts.measured.steps, &facts.measured.brokers, step, node);
    facts.measured.brokers.iter().find(|event| {
        event.broker == node
            && matches!(event.change, BrokerChange::Fenced | BrokerChange::ShuttingDown)
            && event.at_us + event.error_us + step.error_us >= step.at_us
            && event.at_us < absent_until_us
    })
}

pub(super) fn fenced_us(facts: &Facts<'_>, step: &StepSeen) -> Option<i64> {
    let each: Vec<Option<i64>> =
        brokers_hit(step).map(|node| taken_out(facts, step, node).map(|event| event.at_us)).collect();
    if each.is_empty() { None } else { each.into_iter().collect::<Option<Vec<i64>>>()?.into_iter().max() }
}

/// The partitions that a node hit led at t0.
pub(crate) fn led_at_start<'a>(facts: &Facts<'a>, step: &StepSeen) -> Vec<&'a Committed> {
    // An event of the controller's clock may be mapped a little before the step that caused it.
    let mut rows = facts.state_at(step.at_us - 1);
    rows.retain(|row| step.nodes.contains(&row.state.leader));
    rows
}

pub(super) fn first_reaction_us(facts: &Facts<'_>, step: &StepSeen) -> Option<i64> {
    let end_us = facts.end_us(step);
    let out = brokers_hit(step).filter_map(|node| taken_out(facts, step, node)).map(|event| event.at_us);
    let led: BTreeSet<String> = led_at_start(facts, step).into_iter().map(name).collect();
    let changed = facts.measured.committed.iter().filter(|row| {
        led.contains(&name(row)) && row.at_us + row.error_us >= step.at_us && !step.nodes.contains(&row.state.leader)
    });
    out.chain(changed.map(|row| row.at_us)).filter(|at_us| *at_us <= end_us).min()
}

/// The first state of a partition, after the step, with a leader that was not hit, before one that was leads again.
pub(crate) fn next_leader<'a>(facts: &Facts<'a>, step: &StepSeen, led: &Committed) -> Option<&'a Committed> {
    let later = facts.measured.committed.iter().filter(|row| {
        row.state.topic == led.state.topic
            && row.state.partition == led.state.partition
            && row.at_us + row.error_us >= step.at_us
            && row.state.leader_epoch > led.state.leader_epoch
            && row.state.leader >= 0
    });
    // Equal epochs are no election; the first election decides.
    later.min_by_key(|row| row.state.leader_epoch).filter(|row| !step.nodes.contains(&row.state.leader))
}

pub(super) fn new_leaders_us(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>) -> Option<i64> {
    let mut last_us = step.at_us;
    for led in led_at_start(facts, step) {
        if of.is_none_or(|of| name(led) == of) {
            last_us = last_us.max(next_leader(facts, step, led)?.at_us);
        }
    }
    Some(last_us)
}

fn unknown_partition(of: Option<&str>) -> Found {
    Found::NotMeasured(format!("no state of {} was observed", of.unwrap_or("the partition")))
}

pub(super) fn isr_before(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>) -> Found {
    let before = facts.state_at(step.at_us - 1).into_iter().find(|row| Some(name(row).as_str()) == of);
    before.map_or_else(|| unknown_partition(of), |row| Found::Text(isr_text(&row.state.isr)))
}

pub(super) fn isr_during(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>, after_us: Option<i64>) -> Found {
    let Some(of) = of else { return unknown_partition(None) };
    let rows: Vec<&Committed> = facts.measured.committed.iter().filter(|row| name(row) == of).collect();
    let row = match after_us {
        Some(after_us) => rows.iter().rfind(|row| row.at_us <= step.at_us + after_us),
        None => {
            let end_us = facts.end_us(step);
            // Of equals the latest: `min_by_key` takes the first, so from the end.
            let in_window = rows.iter().rev().filter(|row| (step.at_us..end_us).contains(&row.at_us));
            let smallest = in_window.min_by_key(|row| row.state.isr.len());
            smallest.or_else(|| rows.iter().rfind(|row| row.at_us <= step.at_us))
        }
    };
    row.map_or_else(|| unknown_partition(Some(of)), |row| Found::Text(isr_text(&row.state.isr)))
}

pub(super) fn isr_after(facts: &Facts<'_>, step: Option<&StepSeen>, of: Option<&str>) -> Found {
    let end_us = step.map_or(facts.measured.end_us, |step| facts.end_us(step) - 1);
    let last = facts.state_at(end_us).into_iter().find(|row| Some(name(row).as_str()) == of);
    last.map_or_else(|| unknown_partition(of), |row| Found::Text(isr_text(&row.state.isr)))
}

/// When the ISRs speak of the present life of every broker that the step brought back.
pub(crate) fn service_us(facts: &Facts<'_>, step: &StepSeen) -> Option<i64> {
    let each = brokers_hit(step).map(|node| in_service_us(&facts.measured.brokers, node, &step.kind, step.at_us));
    let each = each.collect::<Option<Vec<i64>>>()?;
    Some(each.into_iter().fold(step.at_us, i64::max))
}

pub(crate) fn caught_up_us(facts: &Facts<'_>, step: &StepSeen) -> Option<i64> {
    let mut last_us = step.at_us;
    for node in brokers_hit(step) {
        let row = facts
            .measured
            .recovery
            .iter()
            .find(|row| row.broker == node && ((row.restarted_s * 1e6).round() as i64 - step.at_us).abs() <= 1)?;
        // By the claim's definition, who never left its ISRs is in them at once.
        let caught_up_s = if row.never_left { row.restarted_s } else { row.caught_up_s? };
        last_us = last_us.max((caught_up_s * 1e6).round() as i64);
    }
    Some(last_us)
}

/// Full from when on, at or after t0. After a fault: from when on again, if an ISR shrank for it.
pub(crate) fn isr_full_us(facts: &Facts<'_>, step: &StepSeen) -> Option<i64> {
    let end_us = facts.end_us(step);
    let from_us = match step.class {
        Class::Heal => service_us(facts, step)?,
        _ => {
            let mut shrunk = facts.measured.committed.iter().filter(|row| {
                (step.at_us - row.error_us..end_us).contains(&row.at_us)
                    && row.state.isr.len() < row.state.replicas.len()
            });
            shrunk.next().map_or(step.at_us, |row| row.at_us)
        }
    };
    let mut state = State::new();
    let mut rows = facts.measured.committed.iter().peekable();
    while let Some(row) = rows.next() {
        state.insert((&row.state.topic, row.state.partition), &row.state);
        // States of one commit belong together; what came before t0 only makes up the state at t0.
        let more = rows.peek().is_some_and(|next| next.at_us <= row.at_us.max(from_us));
        if !more && all_full(&state) {
            return Some(row.at_us.max(from_us));
        }
    }
    None
}

/// When all became normal, and what had to end before.
pub(crate) fn all_normal_us(facts: &Facts<'_>, step: &StepSeen) -> Option<(i64, Option<Trouble>)> {
    let from_us = if step.class == Class::Heal { service_us(facts, step)? } else { step.at_us };
    let (at_us, last) = facts.measured.abnormal.normal_from_us(from_us, facts.measured.end_us)?;
    Some((at_us, last.or_else(|| (from_us > step.at_us).then_some(Trouble::Fenced))))
}

fn moment(facts: &Facts<'_>, step: &StepSeen, after_us: Option<i64>) -> i64 {
    (step.at_us + after_us.unwrap_or(0)).min(facts.measured.end_us)
}

/// The brokers that lead something at t0 + after.
pub(crate) fn leaders_at(facts: &Facts<'_>, step: &StepSeen, after_us: Option<i64>) -> BTreeSet<i32> {
    let state = facts.state_at(moment(facts, step, after_us));
    state.into_iter().map(|row| row.state.leader).filter(|leader| *leader >= 0).collect()
}

pub(super) fn only_leader(facts: &Facts<'_>, step: &StepSeen, after_us: Option<i64>) -> Found {
    let leaders: Vec<i32> = leaders_at(facts, step, after_us).into_iter().collect();
    Found::Text(match leaders.as_slice() {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        _ => "several".to_owned(),
    })
}

/// The partitions whose leader at t0 + after is such.
pub(crate) fn led_by(
    facts: &Facts<'_>,
    step: &StepSeen,
    after_us: Option<i64>,
    such: impl Fn(i32, i64) -> bool,
) -> Vec<String> {
    let at_us = moment(facts, step, after_us);
    let state = facts.state_at(at_us);
    state.into_iter().filter(|row| such(row.state.leader, at_us)).map(name).collect()
}

/// Elections of a leader that was neither in sync nor eligible just before: partition, leader, time.
pub(crate) fn unclean_elections(facts: &Facts<'_>) -> Vec<(String, i32, i64)> {
    let mut before = std::collections::BTreeMap::new();
    let mut unclean = Vec::new();
    for row in &facts.measured.committed {
        let known: Option<&Committed> = before.insert((&row.state.topic, row.state.partition), row);
        let Some(known) = known else { continue };
        let elected = row.state.leader >= 0 && row.state.leader_epoch > known.state.leader_epoch;
        let was_clean = known.state.isr.contains(&row.state.leader) || known.state.elr.contains(&row.state.leader);
        if elected && row.state.leader != known.state.leader && !was_clean {
            unclean.push((name(row), row.state.leader, row.at_us));
        }
    }
    unclean
}

pub(super) fn controller_changed(facts: &Facts<'_>, step: &StepSeen) -> Found {
    let controllers = facts.controllers();
    if controllers.is_empty() {
        return Found::NotMeasured("the active controller was not observed".to_owned());
    }
    let before = controllers.iter().rfind(|(at_us, ..)| *at_us <= step.at_us).map(|(_, node, _)| *node);
    let end_us = facts.end_us(step);
    let mut later = controllers.iter().filter(|(at_us, ..)| *at_us > step.at_us && *at_us < end_us);
    Found::Bool(later.any(|(_, node, _)| Some(*node) != before))
}

/// The next active controller after the step.
pub(crate) fn next_controller(facts: &Facts<'_>, step: &StepSeen) -> Option<(i64, i32, i32)> {
    let controllers = facts.controllers();
    let epoch = controllers.iter().filter(|(at_us, ..)| *at_us <= step.at_us).map(|(.., epoch)| *epoch).max();
    controllers.into_iter().find(|(at_us, _, of)| *at_us > step.at_us && epoch.is_none_or(|epoch| *of > epoch))
}

pub(super) fn controller_failover(facts: &Facts<'_>, step: &StepSeen) -> Found {
    if !step.active_controller {
        return Found::Number(0.0);
    }
    Found::after(step.at_us, next_controller(facts, step).map(|(at_us, ..)| at_us))
}

/// How many voters were up at the worst moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voters {
    pub(crate) up: usize,
    pub(crate) of: usize,
    pub(crate) at_us: i64,
}

pub(crate) fn fewest_voters(facts: &Facts<'_>, step: &StepSeen, after_us: Option<i64>) -> Voters {
    let voters = voters(&facts.scenario.topology);
    let from_us = moment(facts, step, after_us);
    let end_us = facts.end_us(step);
    let faults = facts.measured.steps.faults().map(|fault| fault.at_us);
    let moments = faults.filter(|at_us| *at_us > from_us && *at_us < end_us).chain(std::iter::once(from_us));
    let up_at = |at_us| voters.iter().filter(|node| !facts.measured.steps.is_down(**node, at_us)).count();
    let each = moments.map(|at_us| Voters { up: up_at(at_us), of: voters.len(), at_us });
    each.min_by_key(|voters| (voters.up, voters.at_us)).unwrap_or(Voters { up: 0, of: voters.len(), at_us: from_us })
}
