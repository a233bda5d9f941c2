//! Reasons in consumer groups: who noticed what by which timer, and why a broker's death moves no partition.

use std::collections::BTreeMap;

use metricstream_scenario::model::{Group, GroupProtocol};
use metricstream_scenario::text;
use metricstream_scenario::timers::Event;

use crate::claims::group::{first_sign_us, group_of, longest_gap, looked_at_us, rebalances};
use crate::claims::{Facts, Found};
use crate::measure::gaps::Gap;
use crate::measure::steps::{Class, StepSeen};
use crate::result::Rebalance;
use crate::timeline::What;

use super::{at, counted, few, gap, timers};

const OFFSETS_TOPIC: &str = "__consumer_offsets";

fn group_named<'a>(facts: &Facts<'a>, name: Option<&str>) -> Option<&'a Group> {
    let groups = &facts.scenario.workload.groups;
    name.map_or_else(|| groups.first(), |name| groups.iter().find(|group| group.name == name))
}

/// The partition of the offsets topic whose leader coordinates the group: Java's `hashCode`, without its sign.
fn coordinator_partition(group: &str, partitions: i32) -> i32 {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % partitions.max(1)
}

/// How the group's coordinator moved in the step's window, if it did.
fn coordinator_moved(facts: &Facts<'_>, step: &StepSeen, group: &Group) -> Option<String> {
    let states = facts.timeline.iter().filter_map(|event| match &event.what {
        What::Partition(state) if state.topic == OFFSETS_TOPIC && state.leader >= 0 => Some((event.at_us, state)),
        _ => None,
    });
    let mut leaders: BTreeMap<i32, Vec<(i64, i32)>> = BTreeMap::new();
    for (at_us, state) in states {
        leaders.entry(state.partition).or_default().push((at_us, state.leader));
    }
    let count = i32::try_from(leaders.len()).ok().filter(|count| *count > 0)?;
    let partition = coordinator_partition(&group.name, count);
    let of_group = leaders.get(&partition)?;
    let before = of_group.iter().rfind(|(at_us, _)| *at_us < step.at_us)?.1;
    let end_us = facts.end_us(step);
    let (at_us, after) =
        *of_group.iter().find(|(at_us, leader)| (step.at_us..end_us).contains(at_us) && *leader != before)?;
    Some(format!("its coordinator moved, broker {before} → {after} at {} ({OFFSETS_TOPIC}-{partition})", at(at_us)))
}

/// What a change of members is predicted to take.
fn events_of(group: &Group, change: &str) -> Vec<Event> {
    let classic = group.protocol == GroupProtocol::Classic;
    match change {
        change if change.contains("crash") && classic => vec![Event::ClassicCrash],
        change if change.contains("crash") => vec![Event::ConsumerCrash],
        change if change.contains("stall") => vec![Event::ClassicStall],
        "" if classic => vec![Event::ClassicNewGroup],
        _ if classic => vec![Event::ClassicChange, Event::ClassicNewGroup],
        _ => vec![Event::ConsumerChange],
    }
}

/// Which timer fits what a rebalance took.
fn timer_of(facts: &Facts<'_>, group: &Group, change: &str, row: &Rebalance) -> String {
    let config = facts.scenario.group_config(group);
    // The classic protocol's timers bound when the others notice, KIP-848's when all is done.
    let measured = match group.protocol {
        GroupProtocol::Classic => row.detection_s.or(row.duration_s),
        GroupProtocol::Consumer => row.duration_s.or(row.detection_s),
    };
    let Some(measured_s) = measured else { return "nobody noticed in the run".to_owned() };
    let timer = timers::named(facts, measured_s, &events_of(group, change), &config);
    let word = if group.protocol == GroupProtocol::Classic { "noticed" } else { "done" };
    format!("{word} {measured_s:.1} s after the {}: {timer}", if change.is_empty() { "start" } else { change })
}

/// Why the group rebalanced as it did, or did not.
pub(super) fn rebalanced(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>, found: &Found) -> String {
    let Some(group) = group_named(facts, group_of(step, of)) else { return "the scenario has no group".to_owned() };
    let rows = rebalances(facts, step, of);
    if let Class::Member { change, member, .. } = &step.class {
        let Some(row) = rows.first() else {
            return format!("{member} changed nothing: no member revoked or was assigned anything in the window");
        };
        let superseded = match (found, row.duration_s) {
            (Found::Never, None) => format!("; not every partition was owned once before {}", at(facts.end_us(step))),
            _ => String::new(),
        };
        return format!("{}{superseded}", timer_of(facts, group, change, row));
    }
    if first_sign_us(facts, step, of).is_none() {
        let moved = coordinator_moved(facts, step, group);
        let moved = moved.map_or_else(String::new, |moved| format!("; {moved}"));
        return format!("brokers are not members: a group rebalances when members come, go or fall silent{moved}");
    }
    let moved = coordinator_moved(facts, step, group).map(|moved| format!("{moved}; "));
    let first_us = first_sign_us(facts, step, of).unwrap_or(step.at_us);
    let after_s = (first_us - step.at_us) as f64 / 1e6;
    let config = facts.scenario.group_config(group);
    let crash = events_of(group, "crash");
    format!(
        "{}members revoked or were assigned at {}, though brokers are not members: {}",
        moved.unwrap_or_default(),
        at(first_us),
        timers::named(facts, after_s, &crash, &config)
    )
}

/// Why a partition was not delivered for so long.
pub(super) fn pause(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>) -> String {
    let Some((row, since_us)) = longest_gap(facts, step, of) else {
        return format!(
            "no partition with backlog was without a delivery for {} ms",
            facts.measured.read_threshold_us / 1_000
        );
    };
    let gap = Gap { from_us: since_us, to_us: row.gap.to_us };
    let span = format!("{} was not delivered from {} to {}", row.partition, at(gap.from_us), at(gap.to_us));
    let group = group_named(facts, Some(&row.group));
    let moving = facts.measured.rebalances.iter().find(|rebalance| {
        let from_us = (rebalance.at_s * 1e6) as i64;
        let done_us = from_us + (rebalance.duration_s.unwrap_or(0.0) * 1e6) as i64;
        rebalance.group == row.group && from_us <= gap.to_us && done_us >= gap.from_us
    });
    match (moving, group, &step.class) {
        (Some(rebalance), Some(group), Class::Member { change, .. }) => {
            format!("{span}, in the rebalance; {}", timer_of(facts, group, change, rebalance))
        }
        (Some(rebalance), ..) => format!("{span}, in a rebalance ({})", rebalance.trigger),
        _ => format!("{span}; {}", gap::why(facts, &row.partition, gap, "read")),
    }
}

pub(super) fn unmoved(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>) -> String {
    let rows = rebalances(facts, step, of);
    let Some(row) = rows.first() else { return "no rebalance followed".to_owned() };
    let unmoved: Vec<&crate::result::Pause> = row.pauses.iter().filter(|pause| !pause.moved).collect();
    if unmoved.is_empty() {
        return "every partition moved".to_owned();
    }
    let longest =
        unmoved.iter().filter_map(|pause| Some((pause.pause_s?, &pause.partition))).max_by(|a, b| a.0.total_cmp(&b.0));
    let longest =
        longest.map_or_else(String::new, |(pause_s, partition)| format!(", the longest {pause_s:.1} s ({partition})"));
    let group = group_named(facts, Some(&row.group));
    let assignor = group.map_or("", |group| group.assignor.as_str());
    let style = match (row.protocol.as_str(), assignor) {
        ("consumer", _) => "KIP-848 takes only what moves",
        (_, "cooperative-sticky") => "cooperative members give up only what moves",
        _ => "eager members give up everything first",
    };
    let stayed = counted(unmoved.len() as u64, "partition", "partitions");
    format!("{stayed} stayed{longest}: {style} ({assignor})")
}

pub(super) fn assignment(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>, after_us: Option<i64>) -> String {
    let Some(member) = of.and_then(text::member) else { return String::new() };
    let at_us = looked_at_us(facts, step, &member.group, after_us);
    let assignor = group_named(facts, Some(&member.group)).map_or("", |group| group.assignor.as_str());
    let rows = rebalances(facts, step, Some(&member.group));
    let pending =
        rows.iter().find(|row| row.duration_s.is_none_or(|duration_s| ((row.at_s + duration_s) * 1e6) as i64 > at_us));
    let mut state: Vec<String> = Vec::new();
    if let Some(row) = rows.last() {
        for change in &row.members {
            state.push(format!("{} had {}, got {}", change.id, few(&change.before), few(&change.after)));
        }
    }
    let done = match pending {
        Some(row) => format!(
            "the rebalance was not over then{}",
            row.duration_s.map_or_else(String::new, |duration_s| format!(" (it took {duration_s:.1} s)"))
        ),
        None if rows.is_empty() => "no rebalance followed".to_owned(),
        None => few(&state),
    };
    format!("at {} by assignor {assignor}: {done}", at(at_us))
}

#[cfg(test)]
mod tests {
    use super::coordinator_partition;

    #[test]
    fn the_coordinator_is_where_java_puts_it() {
        // "a".hashCode() = 97; "polygenelubricants".hashCode() = Integer.MIN_VALUE.
        assert_eq!(coordinator_partition("a", 50), 47);
        assert_eq!(coordinator_partition("", 4), 0);
        assert_eq!(coordinator_partition("polygenelubricants", 4), 0);
        let by_hand = "ab".bytes().fold(0_i32, |hash, byte| hash * 31 + i32::from(byte));
        assert_eq!(coordinator_partition("ab", 50), by_hand % 50);
    }
}
