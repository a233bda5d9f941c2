//! Why a partition stood still: what happened to it last before it went on.

use crate::claims::cluster::isr_text;
use crate::claims::load::longest;
use crate::claims::{Facts, name};
use crate::measure::gaps::Gap;
use crate::measure::isr::Committed;
use crate::measure::obstacles::{Evidence, Rule};
use crate::measure::steps::{Class, StepSeen};
use crate::measure::unavailability::{AROUND_US, is_unseen};
use crate::result::Unavailability;

use super::{at, load, timers};

/// An acknowledgement may be seen this much before the commit that allowed it: clocks of two nodes.
const CLOCKS_US: i64 = 300_000;

/// A rest of a gap that is worth a word, µs.
const REST_US: i64 = 500_000;

/// Something that lets a partition go on.
struct Relief {
    at_us: i64,
    text: String,
    /// The node whose absence it ended, if a timer decided that.
    node: Option<i32>,
    /// Whether clients have something to do before they go on: a leader answers at once what waited for its ISR.
    clients_follow: bool,
}

/// The windows of the run, each with the setting that decided its length: the one by which the node was taken out whose
/// absence was most of it.
pub(crate) fn with_timers(facts: &Facts<'_>) -> Vec<Unavailability> {
    let cluster = Evidence::new(&facts.measured.committed, &facts.measured.steps, &facts.measured.brokers);
    let with_timer = |row: &Unavailability| Unavailability { timer: timer_of(facts, &cluster, row), ..row.clone() };
    facts.measured.unavailability.iter().map(with_timer).collect()
}

fn timer_of(facts: &Facts<'_>, cluster: &Evidence<'_>, row: &Unavailability) -> Option<String> {
    let held_s = row.held_s.filter(|held_s| held_s * 2.0 >= row.duration_s)?;
    let gap = gap_of(row);
    let until_us = gap.from_us + us(held_s);
    let rule = Rule::of(facts.scenario, &row.topic, &row.op);
    let obstacles = cluster.of(&row.topic, row.partition, rule);
    // What was there last held it to the end.
    let last = obstacles.into_iter().filter(|one| one.share_us(gap).is_some() && (one.until_us - until_us).abs() <= 1);
    let last = last.max_by_key(|one| (one.fault.is_some(), one.from_us))?;
    let fault = facts.measured.steps.get(last.fault.as_deref()?)?;
    timers::decided(facts, fault, last.node?, last.until_us)
}

fn us(s: f64) -> i64 {
    (s * 1e6).round() as i64
}

fn gap_of(row: &Unavailability) -> Gap {
    Gap { from_us: us(row.from_s), to_us: us(row.from_s + row.duration_s) }
}

/// Why reads or writes stood still longest.
pub(super) fn unavailable(facts: &Facts<'_>, op: &str, step: Option<&StepSeen>, of: Option<&str>) -> String {
    let Some(row) = longest(facts, op, step, of) else {
        let threshold_us =
            if op == "write" { facts.measured.write_threshold_us } else { facts.measured.read_threshold_us };
        return format!("no gap was longer than {} ms", threshold_us / 1_000);
    };
    let gap = gap_of(row);
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
    let reliefs = reliefs(facts, partition, gap, op);
    let Some(relief) = reliefs.into_iter().max_by_key(|relief| relief.at_us) else {
        return no_relief(facts, partition, gap, op);
    };
    let mut text = relief.text;
    let node_fault = relief.node.and_then(|node| Some((node, facts.measured.steps.preceding_on(node, relief.at_us)?)));
    if let Some((_, fault)) = node_fault.filter(|(_, fault)| fault.at_us > gap.from_us + AROUND_US) {
        let before_s = (fault.at_us - gap.from_us) as f64 / 1e6;
        text = format!("it began {before_s:.1} s before {}, which did not begin it; {text}", fault.id);
    }
    if let Some(why) = node_fault.and_then(|(node, fault)| timers::taken_out_why(facts, fault, node)) {
        text = format!("{text}; {why}");
    }
    let rest_us = (gap.to_us - relief.at_us).max(0);
    let rest_s = rest_us as f64 / 1e6;
    if relief.clients_follow && rest_us >= REST_US {
        text = format!("{text}; clients went on {rest_s:.1} s after that{}", client_wait(facts, rest_s, op));
    } else if !relief.clients_follow && (rest_us >= REST_US || rest_us * 2 > gap.length_us()) {
        let late = late(facts, Gap { from_us: relief.at_us, to_us: gap.to_us });
        text =
            format!("{text}; it stood still for {rest_s:.1} s after that, which nothing in the cluster explains{late}");
    }
    text
}

/// That the load generator was late too, if it was: then the machine is the likelier reason.
fn late(facts: &Facts<'_>, gap: Gap) -> String {
    match facts.measured.late.in_gap(gap) {
        0 => String::new(),
        late_us => format!(
            "; the load generator itself was up to {:.1} s late then: this machine was overloaded",
            late_us as f64 / 1e6
        ),
    }
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

fn no_relief(facts: &Facts<'_>, partition: &str, gap: Gap, op: &str) -> String {
    let fault = facts.measured.steps.preceding(gap.from_us + CLOCKS_US, op == "read");
    let member = fault.filter(|fault| matches!(fault.class, Class::Member { .. }));
    if let Some(fault) = member.filter(|_| moving(facts, gap)) {
        return format!("the group was moving partitions after {} ({})", fault.id, fault.kind);
    }
    let broken = facts.measured.steps.preceding(gap.from_us + CLOCKS_US, false);
    let hindered = |fault: &&StepSeen| is_unseen(fault, gap.from_us) || in_its_way(facts, partition, gap, op);
    if let Some(fault) = broken.filter(hindered) {
        let length_s = gap.length_us() as f64 / 1e6;
        let waited = client_wait(facts, length_s, op);
        let waited = if waited.is_empty() { ", and no timer of theirs fits".to_owned() } else { waited };
        return format!(
            "after {} nothing changed for it in the cluster until then: the clients waited{waited}",
            fault.id
        );
    }
    let late = late(facts, gap);
    match broken {
        Some(fault) if (fault.at_us - gap.from_us).abs() <= AROUND_US => {
            format!("it began with {}, and yet nothing is known to have stood in its way{late}", fault.id)
        }
        Some(fault) => {
            let after_s = (gap.from_us - fault.at_us).max(0) as f64 / 1e6;
            format!(
                "it began {after_s:.1} s after {}, when nothing stood in its way: no fault of this run explains it{late}",
                fault.id
            )
        }
        None if facts.measured.steps.first_fault_us().is_some() => {
            format!("it began before any fault: no fault of this run explains it{late}")
        }
        None => format!("nothing was broken in this run: no fault explains it{late}"),
    }
}

/// Whether a group was moving partitions in the gap.
fn moving(facts: &Facts<'_>, gap: Gap) -> bool {
    facts.measured.rebalances.iter().any(|row| {
        let until_us = row.duration_s.map_or(i64::MAX, |duration_s| us(row.at_s + duration_s));
        us(row.at_s) <= gap.to_us && until_us >= gap.from_us
    })
}

/// Whether something is known to have stood in the partition's way when the gap began, or nothing is known of it at all.
fn in_its_way(facts: &Facts<'_>, partition: &str, gap: Gap, op: &str) -> bool {
    let Some((topic, index)) = partition.rsplit_once('-') else { return false };
    let index: i32 = index.parse().unwrap_or(-1);
    let cluster = Evidence::new(&facts.measured.committed, &facts.measured.steps, &facts.measured.brokers);
    let obstacles = cluster.of(topic, index, Rule::of(facts.scenario, topic, op));
    !cluster.knows(topic, index) || obstacles.iter().any(|one| one.share_us(gap).is_some())
}

/// Everything in the gap that can have let the partition go on.
fn reliefs(facts: &Facts<'_>, partition: &str, gap: Gap, op: &str) -> Vec<Relief> {
    let inside = |at_us: i64| at_us > gap.from_us - CLOCKS_US && at_us <= gap.to_us + CLOCKS_US;
    let rule = Rule::of(facts.scenario, partition.rsplit_once('-').map_or(partition, |(topic, _)| topic), op);
    let mut found = Vec::new();
    let rows: Vec<&Committed> = facts.measured.committed.iter().filter(|row| name(row) == partition).collect();
    for pair in rows.windows(2) {
        if let [before, now] = pair
            && inside(now.at_us)
        {
            // What left the ISR before the gap began did not hold it up.
            let held_up = |relief: &Relief| relief.clients_follow || now.at_us + now.error_us >= gap.from_us;
            found.extend(relief_of_change(before, now, rule).filter(held_up));
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
            found.push(Relief { at_us: step.at_us, text, node: None, clients_follow: true });
        }
    }
    found
}

fn relief_of_change(before: &Committed, now: &Committed, rule: Rule) -> Option<Relief> {
    let at_us = now.at_us;
    if now.state.leader >= 0 && now.state.leader != before.state.leader {
        let text = match before.state.leader {
            -1 => format!("it had no leader until broker {} at {}", now.state.leader, at(at_us)),
            old => format!("it was led by broker {old} until broker {} took over at {}", now.state.leader, at(at_us)),
        };
        // A partition without a leader waited for somebody who had left before.
        let gone = (before.state.leader >= 0).then_some(before.state.leader);
        return Some(Relief { at_us, text, node: gone, clients_follow: true });
    }
    let least = rule.least;
    if rule.needs_least && before.state.isr.len() < least && now.state.isr.len() >= least {
        let text = format!(
            "the ISR {} was below min.insync.replicas = {least} until {}",
            isr_text(&before.state.isr),
            at(at_us)
        );
        return Some(Relief { at_us, text, node: None, clients_follow: true });
    }
    let waited_for = before.state.isr.iter().filter(|_| rule.waits_for_isr);
    let gone = waited_for.copied().find(|replica| !now.state.isr.contains(replica))?;
    let what = if rule.needs_least { "acknowledgements" } else { "what may be read" };
    let text = format!("{what} waited for broker {gone} until it left the ISR at {}", at(at_us));
    Some(Relief { at_us, text, node: Some(gone), clients_follow: false })
}
