//! Why a partition stood still: what happened to it last before it went on.

use metricstream_scenario::model::Topic;

use crate::claims::cluster::isr_text;
use crate::claims::load::longest;
use crate::claims::{Facts, name};
use crate::measure::gaps::Gap;
use crate::measure::isr::Committed;
use crate::measure::steps::{Class, StepSeen};

use super::{at, load, timers};

/// An acknowledgement may be seen this much before the commit that allowed it: clocks of two nodes.
const CLOCKS_US: i64 = 300_000;

/// Something that lets a partition go on.
struct Relief {
    at_us: i64,
    text: String,
    /// The node whose absence it ended, if a timer decided that.
    node: Option<i32>,
}

/// Why reads or writes stood still longest.
pub(super) fn unavailable(facts: &Facts<'_>, op: &str, step: Option<&StepSeen>, of: Option<&str>) -> String {
    let Some(row) = longest(facts, op, step, of) else {
        let threshold_us =
            if op == "write" { facts.measured.write_threshold_us } else { facts.measured.read_threshold_us };
        return format!("no gap was longer than {} ms", threshold_us / 1_000);
    };
    let us = |s: f64| (s * 1e6).round() as i64;
    let gap = Gap { from_us: us(row.from_s), to_us: us(row.from_s + row.duration_s) };
    let partition = format!("{}-{}", row.topic, row.partition);
    let span = format!("{partition} stood still from {} to {}", at(gap.from_us), at(gap.to_us));
    if !row.open {
        return format!("{span}; {}", why(facts, &partition, gap, op));
    }
    // Nothing ended it: what was still in its way is the reason, not what came after.
    let end = if op == "write" { "the load" } else { "the run" };
    let held_up = load::held_up(facts, gap.to_us - 1, Some(&partition));
    let held_up = if held_up.is_empty() { String::new() } else { format!("; {}", held_up.join("; ")) };
    format!("{span}, when {end} ended, and had not gone on by then{held_up}")
}

/// What ended a gap of a partition.
pub(super) fn why(facts: &Facts<'_>, partition: &str, gap: Gap, op: &str) -> String {
    let fault = facts.measured.steps.preceding(gap.from_us + CLOCKS_US, op == "read");
    let reliefs = reliefs(facts, partition, gap);
    let Some(relief) = reliefs.into_iter().max_by_key(|relief| relief.at_us) else {
        return no_relief(facts, gap, fault, op);
    };
    let mut text = relief.text;
    let node_fault = relief.node.and_then(|node| Some((node, facts.measured.steps.preceding_on(node, relief.at_us)?)));
    if let Some(why) = node_fault.and_then(|(node, fault)| timers::taken_out_why(facts, fault, node)) {
        text = format!("{text}; {why}");
    }
    let client_s = (gap.to_us - relief.at_us).max(0) as f64 / 1e6;
    if client_s >= 0.5 {
        text = format!("{text}; clients went on {client_s:.1} s after that{}", client_wait(facts, client_s, op));
    }
    text
}

/// A client's own timer that lasts about as long.
fn client_wait(facts: &Facts<'_>, length_s: f64, op: &str) -> String {
    let workload = &facts.scenario.workload;
    let timer = if op == "write" {
        let names = ["socket.timeout.ms", "request.timeout.ms", "message.timeout.ms", "reconnect.backoff.max.ms"];
        workload
            .producers
            .iter()
            .find_map(|producer| timers::client_timer(&facts.scenario.producer_config(producer), length_s, &names))
    } else {
        let names = ["socket.timeout.ms", "session.timeout.ms", "max.poll.interval.ms", "reconnect.backoff.max.ms"];
        workload
            .groups
            .iter()
            .find_map(|group| timers::client_timer(&facts.scenario.group_config(group), length_s, &names))
    };
    timer.map_or_else(String::new, |timer| format!(": {timer} is as long"))
}

fn no_relief(facts: &Facts<'_>, gap: Gap, fault: Option<&StepSeen>, op: &str) -> String {
    let length_s = gap.length_us() as f64 / 1e6;
    let waited = client_wait(facts, length_s, op);
    match fault {
        Some(fault) if matches!(fault.class, Class::Member { .. }) => {
            format!("the group was moving partitions after {} ({})", fault.id, fault.kind)
        }
        Some(fault) => format!(
            "after {} nothing changed for it in the cluster until then: the clients waited{}",
            fault.id,
            if waited.is_empty() { ", and no timer of theirs fits".to_owned() } else { waited }
        ),
        None => {
            format!("no fault came before{}", if waited.is_empty() { ", and no timer fits".to_owned() } else { waited })
        }
    }
}

/// Everything in the gap that can have let the partition go on.
fn reliefs(facts: &Facts<'_>, partition: &str, gap: Gap) -> Vec<Relief> {
    let inside = |at_us: i64| at_us > gap.from_us - CLOCKS_US && at_us <= gap.to_us + CLOCKS_US;
    let topics = &facts.scenario.topology.topics;
    let topic = partition.rsplit_once('-').and_then(|(name, _)| topics.iter().find(|topic| topic.name == name));
    let mut found = Vec::new();
    let rows: Vec<&Committed> = facts.measured.committed.iter().filter(|row| name(row) == partition).collect();
    for pair in rows.windows(2) {
        if let [before, now] = pair
            && inside(now.at_us)
        {
            found.extend(relief_of_change(before, now, topic));
        }
    }
    for step in facts.measured.steps.all().iter().filter(|step| step.class == Class::Heal && inside(step.at_us)) {
        // Only what brought back a leader or follower of this very partition.
        let before = rows.iter().rfind(|row| row.at_us <= step.at_us);
        let its_own = before.is_some_and(|row| {
            step.nodes.contains(&row.state.leader) || step.nodes.iter().any(|node| row.state.isr.contains(node))
        });
        if its_own {
            let text = format!("it went on when {} brought {:?} back at {}", step.id, step.nodes, at(step.at_us));
            found.push(Relief { at_us: step.at_us, text, node: None });
        }
    }
    found
}

fn relief_of_change(before: &Committed, now: &Committed, topic: Option<&Topic>) -> Option<Relief> {
    let at_us = now.at_us;
    let least = topic.map_or(1, |topic| usize::from(topic.min_insync_replicas.unsigned_abs()));
    if now.state.leader >= 0 && now.state.leader != before.state.leader {
        let text = match before.state.leader {
            -1 => format!("it had no leader until broker {} at {}", now.state.leader, at(at_us)),
            old => format!("it was led by broker {old} until broker {} took over at {}", now.state.leader, at(at_us)),
        };
        // A partition without a leader waited for somebody who had left before.
        let gone = (before.state.leader >= 0).then_some(before.state.leader);
        return Some(Relief { at_us, text, node: gone });
    }
    if before.state.isr.len() < least && now.state.isr.len() >= least {
        let text = format!(
            "the ISR {} was below min.insync.replicas = {least} until {}",
            isr_text(&before.state.isr),
            at(at_us)
        );
        return Some(Relief { at_us, text, node: None });
    }
    let gone = before.state.isr.iter().find(|replica| !now.state.isr.contains(replica))?;
    let text = format!("acknowledgements waited for broker {gone} until it left the ISR at {}", at(at_us));
    Some(Relief { at_us, text, node: Some(*gone) })
}
