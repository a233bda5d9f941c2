//! Measures of consumer groups: rebalances, pauses, assignments.

use metricstream_scenario::text;

use crate::measure::GroupGap;
use crate::measure::rebalance::sort_key;
use crate::measure::steps::{Class, StepSeen};
use crate::result::Rebalance;

use super::load::since_us;
use super::{Facts, Found};

/// The group that a claim about a step means: the named one, that of a member step, or any.
pub(crate) fn group_of<'a>(step: &'a StepSeen, of: Option<&'a str>) -> Option<&'a str> {
    match (&step.class, of) {
        (_, Some(of)) => Some(of),
        (Class::Member { group, .. }, None) => Some(group),
        _ => None,
    }
}

/// The first revocation or assignment in the step's window.
pub(crate) fn first_sign_us(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>) -> Option<i64> {
    facts.measured.ownership.first_sign_us(of, step.at_us, facts.end_us(step))
}

/// The rebalances that the step set off: those with its id, or those that began in its window.
pub(crate) fn rebalances<'a>(facts: &Facts<'a>, step: &StepSeen, of: Option<&str>) -> Vec<&'a Rebalance> {
    let end_us = facts.end_us(step);
    let group = group_of(step, of);
    let rows = facts.measured.rebalances.iter().filter(|row| group.is_none_or(|group| row.group == group));
    let (own, others): (Vec<&Rebalance>, Vec<&Rebalance>) = rows.partition(|row| row.step.as_ref() == Some(&step.id));
    if !own.is_empty() {
        return own;
    }
    let began = |row: &&Rebalance| (step.at_us..end_us).contains(&((row.at_s * 1e6).round() as i64));
    // Another step's rebalance is not this step's.
    others.into_iter().filter(|row| row.step.is_none()).filter(began).collect()
}

pub(super) fn duration(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>) -> Found {
    let rows = rebalances(facts, step, of);
    let ends = rows.iter().map(|row| Some(row.at_s + row.duration_s?)).collect::<Option<Vec<f64>>>();
    match ends.and_then(|ends| ends.into_iter().max_by(f64::total_cmp)) {
        Some(end_s) => Found::Number((end_s - step.at_us as f64 / 1e6).max(0.0)),
        None => Found::Never,
    }
}

/// The longest gap of a partition that the step is answerable for, and since when it counts.
pub(crate) fn longest_gap<'a>(facts: &Facts<'a>, step: &StepSeen, of: Option<&str>) -> Option<(&'a GroupGap, i64)> {
    let group = group_of(step, of);
    let end_us = facts.end_us(step);
    let of_step = facts.measured.group_gaps.iter().filter(|row| {
        group.is_none_or(|group| row.group == group) && row.gap.to_us > step.at_us && row.gap.from_us < end_us
    });
    of_step
        .map(|row| (row, since_us(step, row.gap.from_us)))
        .rev()
        .max_by_key(|(row, since_us)| row.gap.to_us - since_us)
}

pub(super) fn pause(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>) -> Found {
    if facts.scenario.workload.groups.is_empty() {
        return Found::NotMeasured("the scenario has no group that could pause".to_owned());
    }
    let longest = longest_gap(facts, step, of);
    Found::Number(longest.map_or(0.0, |(row, since_us)| (row.gap.to_us - since_us) as f64 / 1e6))
}

pub(super) fn unmoved_share(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>) -> Found {
    let shares = rebalances(facts, step, of).into_iter().filter_map(|row| row.unmoved_paused_share);
    Found::Number(shares.max_by(f64::total_cmp).unwrap_or(0.0))
}

/// The moment at which a claim about an assignment looks.
pub(crate) fn looked_at_us(facts: &Facts<'_>, step: &StepSeen, group: &str, after_us: Option<i64>) -> i64 {
    let mut end_us = facts.end_us(step);
    // A member that leaves gives up its partitions before it is gone: the window ends when it begins to.
    let next = facts
        .measured
        .steps
        .all()
        .iter()
        .find(|next| next.at_us == end_us && matches!(&next.class, Class::Member { group: of, .. } if of == group));
    let began = next.and_then(|next| facts.measured.rebalances.iter().find(|row| row.step.as_ref() == Some(&next.id)));
    if let Some(row) = began.filter(|row| row.group == group) {
        end_us = end_us.min((row.at_s * 1e6).round() as i64);
    }
    let after_us = after_us.map_or(i64::MAX, |after_us| step.at_us + after_us);
    (end_us - 1).min(after_us)
}

pub(super) fn assignment(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>, after_us: Option<i64>) -> Found {
    let Some(member) = of.and_then(text::member) else {
        return Found::NotMeasured("the claim names no member".to_owned());
    };
    let at_us = looked_at_us(facts, step, &member.group, after_us);
    let owned = facts.measured.ownership.owned_at(&member.group, &member.member, at_us);
    let one_topic = facts
        .scenario
        .workload
        .groups
        .iter()
        .find(|group| group.name == member.group)
        .is_none_or(|group| group.topics.len() == 1);
    let mut names: Vec<String> = owned.into_iter().collect();
    names.sort_by_key(|name| sort_key(name));
    let short = |name: &String| match name.rsplit_once('-') {
        Some((_, index)) if one_topic => format!("P{index}"),
        Some((topic, index)) => format!("{topic}-P{index}"),
        None => name.clone(),
    };
    Found::Text(format!("[{}]", names.iter().map(short).collect::<Vec<_>>().join(",")))
}
