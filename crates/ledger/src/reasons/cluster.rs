//! Reasons in the cluster: fencing, elections, ISRs, controllers, quorum.

use std::collections::BTreeMap;

use metricstream_scenario::timers::Event;

use crate::claims::cluster::{
    all_normal_us, brokers_hit, fewest_voters, isr_text, led_at_start, next_controller, next_leader, service_us,
    taken_out, unclean_elections,
};
use crate::claims::{Facts, name};
use crate::measure::failover::{BrokerChange, bound_of};
use crate::measure::isr::Committed;
use crate::measure::recovery::was_out;
use crate::measure::steps::{Class, StepSeen, keeps_its_life};

use super::{TOGETHER_US, at, few, timers};

fn nodes_text(nodes: &[i32]) -> String {
    let ids: Vec<String> = nodes.iter().map(i32::to_string).collect();
    if ids.len() == 1 { format!("node {}", ids[0]) } else { format!("nodes {}", ids.join(", ")) }
}

/// Why the nodes hit were taken out when they were.
pub(super) fn fenced(facts: &Facts<'_>, step: &StepSeen) -> String {
    if step.class != Class::Fault {
        return format!("{} ({}) takes no node out", step.id, step.kind);
    }
    if brokers_hit(step).next().is_none() {
        return format!("{} are controllers: only brokers are fenced", nodes_text(&step.nodes));
    }
    let each = brokers_hit(step).map(|node| timers::taken_out_why(facts, step, node).ok_or(node));
    let (known, missing): (Vec<_>, Vec<_>) = each.partition(Result::is_ok);
    let missing: Vec<i32> = missing.into_iter().filter_map(Result::err).collect();
    let Some(node) = missing.first() else {
        // The last one decides.
        let last = brokers_hit(step).max_by_key(|node| taken_out(facts, step, *node).map(|event| event.at_us));
        return last
            .and_then(|node| timers::taken_out_why(facts, step, node))
            .or_else(|| known.into_iter().find_map(Result::ok))
            .unwrap_or_default();
    };
    not_fenced(facts, step, *node)
}

fn not_fenced(facts: &Facts<'_>, step: &StepSeen, node: i32) -> String {
    let session = timers::broker_setting(facts, "broker.session.timeout.ms");
    match facts.measured.steps.back_us(step, node) {
        Some(back_us) => format!(
            "broker {node} was back after {:.1} s, before it was fenced: {session}",
            (back_us - step.at_us) as f64 / 1e6
        ),
        None if !has_quorum(facts, step) => {
            let voters = fewest_voters(facts, step, None);
            format!(
                "broker {node} was never fenced: {} of {} voters up, no controller can commit it",
                voters.up, voters.of
            )
        }
        None => format!("broker {node} was not fenced by {}, though {session}", at(facts.measured.end_us)),
    }
}

fn has_quorum(facts: &Facts<'_>, step: &StepSeen) -> bool {
    let voters = fewest_voters(facts, step, None);
    voters.up * 2 > voters.of
}

/// What came first.
pub(super) fn first_reaction(facts: &Facts<'_>, step: &StepSeen) -> String {
    let first = brokers_hit(step).filter_map(|node| Some((taken_out(facts, step, node)?.at_us, node))).min();
    match first {
        Some((_, node)) => timers::taken_out_why(facts, step, node).unwrap_or_default(),
        None if brokers_hit(step).next().is_none() => {
            format!("{} are controllers and lead no partition", nodes_text(&step.nodes))
        }
        None => fenced(facts, step),
    }
}

/// Why the last of the partitions got its leader when it did.
pub(super) fn new_leaders(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>) -> String {
    let mut led = led_at_start(facts, step);
    led.retain(|row| of.is_none_or(|of| name(row) == of));
    if led.is_empty() {
        return format!("{} led nothing of it", nodes_text(&step.nodes));
    }
    let with_none: Vec<&Committed> =
        led.iter().copied().filter(|row| next_leader(facts, step, row).is_none()).collect();
    if let Some(row) = with_none.first() {
        return no_leader(facts, step, row);
    }
    let last = led.iter().filter_map(|row| Some((next_leader(facts, step, row)?, row.state.leader)));
    let Some((row, old)) = last.max_by_key(|(row, _)| row.at_us) else { return String::new() };
    let to: Vec<String> = led
        .iter()
        .filter_map(|row| Some(format!("{} → {}", name(row), next_leader(facts, step, row)?.state.leader)))
        .collect();
    let why = match taken_out(facts, step, old) {
        Some(event) if (row.at_us - event.at_us).abs() <= TOGETHER_US || event.change == BrokerChange::ShuttingDown => {
            timers::taken_out_why(facts, step, old).unwrap_or_default()
        }
        _ => {
            let after_s = (row.at_us - step.at_us).max(0) as f64 / 1e6;
            let events: Vec<Event> = bound_of(step, facts.scenario).into_iter().chain([Event::BrokerKilled]).collect();
            timers::named(facts, after_s, &events, &BTreeMap::new())
        }
    };
    format!("{}; {why}", few(&to))
}

fn no_leader(facts: &Facts<'_>, step: &StepSeen, row: &Committed) -> String {
    let partition = name(row);
    if !has_quorum(facts, step) {
        let voters = fewest_voters(facts, step, None);
        return format!(
            "{partition} got no other leader: {} of {} voters up at {}, no controller can elect one",
            voters.up,
            voters.of,
            at(voters.at_us)
        );
    }
    let last = facts.committed_of(&partition).filter(|row| row.at_us <= facts.end_us(step)).last().unwrap_or(row);
    if last.state.leader < 0 || !last.state.isr.iter().any(|node| !facts.measured.steps.is_down(*node, last.at_us)) {
        return format!(
            "{partition} got no other leader: nobody that is up is in its ISR {}, and an unclean election is not allowed",
            isr_text(&last.state.isr)
        );
    }
    brokers_hit(step)
        .next()
        .map_or_else(|| format!("{partition} got no other leader"), |node| not_fenced(facts, step, node))
}

pub(super) fn isr_before(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>) -> String {
    let row = facts.state_at(step.at_us - 1).into_iter().find(|row| Some(name(row).as_str()) == of);
    row.map_or_else(String::new, |row| {
        // What was committed while the cluster was made is told without a time: nobody waited for it.
        match row.at_us {
            at_us if at_us < 0 => "so since before the load started".to_owned(),
            at_us => format!("so since {}", at(at_us)),
        }
    })
}

/// Why the ISR shrank, or did not.
pub(super) fn isr_during(facts: &Facts<'_>, step: &StepSeen, of: Option<&str>) -> String {
    let Some(of) = of else { return String::new() };
    let end_us = facts.end_us(step);
    let rows: Vec<&Committed> = facts.measured.committed.iter().filter(|row| name(row) == of).collect();
    let shrunk = rows.windows(2).find_map(|pair| match pair {
        [before, now] if (step.at_us - now.error_us..end_us).contains(&now.at_us) => {
            let gone = before.state.isr.iter().find(|replica| !now.state.isr.contains(replica))?;
            Some((*gone, *now))
        }
        _ => None,
    });
    match shrunk {
        Some((gone, row)) => why_it_left(facts, step, gone, row.at_us),
        None if step.class == Class::Fault => format!(
            "it did not change from {} to {}{}",
            at(step.at_us),
            at(end_us),
            brokers_hit(step).next().map_or_else(String::new, |node| format!("; {}", still_in(facts, step, node)))
        ),
        None => format!("it did not shrink from {} to {}", at(step.at_us), at(end_us)),
    }
}

fn still_in(facts: &Facts<'_>, step: &StepSeen, node: i32) -> String {
    timers::taken_out_why(facts, step, node).unwrap_or_else(|| not_fenced(facts, step, node))
}

/// Why a replica left the ISR at that time.
fn why_it_left(facts: &Facts<'_>, step: &StepSeen, gone: i32, at_us: i64) -> String {
    let near = |change: BrokerChange| {
        let mut of_broker =
            facts.measured.brokers.iter().filter(|event| event.broker == gone && event.change == change);
        of_broker.any(|event| (event.at_us - at_us).abs() <= TOGETHER_US)
    };
    let fault = if step.nodes.contains(&gone) { Some(step) } else { facts.measured.steps.preceding_on(gone, at_us) };
    let after_s = fault.map_or(0.0, |fault| (at_us - fault.at_us).max(0) as f64 / 1e6);
    if near(BrokerChange::Fenced) || near(BrokerChange::ShuttingDown) {
        let why = fault.and_then(|fault| timers::taken_out_why(facts, fault, gone));
        return why.unwrap_or_else(|| format!("broker {gone} left it at {}, when it was fenced", at(at_us)));
    }
    if near(BrokerChange::Registered) {
        return format!("broker {gone} was taken out at {}, when it registered anew", at(at_us));
    }
    let setting = timers::broker_setting(facts, "replica.lag.time.max.ms");
    if fault.is_some() && timers::fell_behind(facts, after_s) {
        return format!("broker {gone} fell behind and left it at +{after_s:.1} s: {setting}");
    }
    format!("broker {gone} left it at {}, +{after_s:.1} s: no timer fits, {setting}", at(at_us))
}

pub(super) fn isr_after(facts: &Facts<'_>, step: Option<&StepSeen>, of: Option<&str>) -> String {
    let end_us = step.map_or(facts.measured.end_us, |step| facts.end_us(step));
    let row = facts.state_at(end_us - 1).into_iter().find(|row| Some(name(row).as_str()) == of);
    let Some(row) = row else { return String::new() };
    let missing: Vec<String> = row
        .state
        .replicas
        .iter()
        .filter(|replica| !row.state.isr.contains(replica))
        .map(|node| format!("broker {node}"))
        .collect();
    if missing.is_empty() {
        return format!("full since {}; a replica that comes back is added at the end", at(row.at_us));
    }
    let down = row
        .state
        .replicas
        .iter()
        .any(|node| !row.state.isr.contains(node) && facts.measured.steps.is_down(*node, end_us));
    format!("{} missing since {}{}", few(&missing), at(row.at_us), if down { ": still down" } else { "" })
}

/// Why a broker was back in its ISRs when it was.
pub(super) fn back(facts: &Facts<'_>, step: &StepSeen) -> String {
    if step.class != Class::Heal {
        let full = crate::claims::cluster::isr_full_us(facts, step);
        return match full {
            Some(full_us) if full_us > step.at_us => format!("every ISR was full again at {}", at(full_us)),
            Some(_) => "no ISR shrank in the window".to_owned(),
            None => "not every ISR was full again in the run".to_owned(),
        };
    }
    let Some(service_us) = service_us(facts, step) else {
        return format!("{} was not unfenced again by {}", nodes_text(&step.nodes), at(facts.measured.end_us));
    };
    let caught_us = crate::claims::cluster::caught_up_us(facts, step);
    let caught = match caught_us {
        Some(caught_us) if caught_us <= step.at_us => {
            "it had left no ISR, so none tells how far it was behind".to_owned()
        }
        Some(caught_us) => format!("its replicas were in sync {} later", took((caught_us - service_us).max(0))),
        None => "its replicas did not catch up in the run".to_owned(),
    };
    let brokers = &facts.measured.brokers;
    // Who is started registers anew, fenced before or not; who lived on need not have been fenced.
    let unfenced = |node: i32| was_out(brokers, node, step.at_us) || !keeps_its_life(&step.kind);
    match (brokers_hit(step).next(), brokers.is_empty()) {
        (None, _) => format!("{} are controllers: only brokers are fenced", nodes_text(&step.nodes)),
        (_, true) => format!("when {} was unfenced was not observed; {caught}", nodes_text(&step.nodes)),
        _ if !brokers_hit(step).any(unfenced) => format!("{} was never fenced; {caught}", nodes_text(&step.nodes)),
        _ => {
            let what = if keeps_its_life(&step.kind) { "unfencing" } else { "start-up, registration and unfencing" };
            format!("{what} took {}, which no setting decides; {caught}", took(service_us - step.at_us))
        }
    }
}

/// `4 ms`, `5.5 s`.
fn took(us: i64) -> String {
    if us < 100_000 { format!("{} ms", us / 1_000) } else { format!("{:.1} s", us as f64 / 1e6) }
}

pub(super) fn all_normal(facts: &Facts<'_>, step: &StepSeen) -> String {
    match all_normal_us(facts, step) {
        Some((at_us, Some(last))) => format!("the last thing was that {} at {}", last.ended(), at(at_us)),
        Some((_, None)) => "nothing was out of order".to_owned(),
        None => match facts.measured.abnormal.left(facts.measured.end_us) {
            Some(left) => format!("by the end of the run it had not come to this: {}", left.ended()),
            None => "a broker that was started was not unfenced again".to_owned(),
        },
    }
}

/// The leaders at that moment, and which of them are down and not yet found out.
pub(super) fn leaders(facts: &Facts<'_>, step: &StepSeen, after_us: Option<i64>) -> String {
    let at_us = (step.at_us + after_us.unwrap_or(0)).min(facts.measured.end_us);
    let mut by_leader: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for row in facts.state_at(at_us) {
        by_leader.entry(row.state.leader).or_default().push(name(row));
    }
    let mut parts = Vec::new();
    for (leader, partitions) in &by_leader {
        let down = facts.measured.steps.is_down(*leader, at_us);
        parts.push(match leader {
            -1 => format!("none: {}", few(partitions)),
            leader if down => format!("{leader} (down): {}", few(partitions)),
            leader => format!("{leader}: {}", few(partitions)),
        });
    }
    let dead = by_leader.keys().find(|leader| **leader >= 0 && facts.measured.steps.is_down(**leader, at_us));
    let why = dead.and_then(|node| {
        let fault = facts.measured.steps.preceding_on(*node, at_us)?;
        Some(format!("; {}", still_in(facts, fault, *node)))
    });
    format!("leaders at {}: {}{}", at(at_us), parts.join("; "), why.unwrap_or_default())
}

pub(super) fn unclean(facts: &Facts<'_>) -> String {
    let elections = unclean_elections(facts);
    if elections.is_empty() {
        return "every leader was elected from the ISR, or was eligible".to_owned();
    }
    let each: Vec<String> = elections
        .iter()
        .map(|(partition, leader, at_us)| format!("{partition} → {leader} at {}", at(*at_us)))
        .collect();
    format!("{}: unclean.leader.election.enable or the last known leader", few(&each))
}

pub(super) fn faults_done(facts: &Facts<'_>) -> String {
    let each: Vec<String> = facts.measured.steps.faults().map(|step| format!("{} ({})", step.id, step.kind)).collect();
    few(&each)
}

pub(super) fn controller(facts: &Facts<'_>, step: &StepSeen) -> String {
    let next = next_controller(facts, step);
    if !step.active_controller {
        let kept = "the active controller was not among the nodes hit";
        return match next.filter(|(at_us, ..)| *at_us < facts.end_us(step)) {
            Some((at_us, node, _)) => format!("{kept}, and yet node {node} took over at {}", at(at_us)),
            None => kept.to_owned(),
        };
    }
    match next {
        Some((at_us, node, epoch)) => {
            let after_s = (at_us - step.at_us).max(0) as f64 / 1e6;
            let why = if step.kind == "stop" {
                "it resigned as it stopped, no timer decides".to_owned()
            } else {
                timers::named(facts, after_s, &[Event::ActiveControllerKilled], &BTreeMap::new())
            };
            format!("the active controller was hit; node {node} took over at {} with epoch {epoch}; {why}", at(at_us))
        }
        None => {
            let voters = fewest_voters(facts, step, None);
            format!("the active controller was hit and nobody took over: {} of {} voters up", voters.up, voters.of)
        }
    }
}

pub(super) fn quorum(facts: &Facts<'_>, step: &StepSeen, after_us: Option<i64>) -> String {
    let voters = fewest_voters(facts, step, after_us);
    format!(
        "at worst {} of {} voters up (at {}); a majority is {}",
        voters.up,
        voters.of,
        at(voters.at_us),
        voters.of / 2 + 1
    )
}
