//! Recovery of a broker that was started or resumed: let back in, in every ISR of its own, every ISR full.

use std::collections::BTreeMap;

use crate::result::Recovery;
use crate::timeline::PartitionState;

use super::failover::{BrokerChange, BrokerEvent};
use super::isr::Cluster;
use super::seconds;
use super::steps::{Class, Steps, keeps_its_life};

/// Ids from here on are controllers of their own: nothing replicates there.
const FIRST_CONTROLLER: i32 = 101;

/// The committed state of every partition at one moment.
pub(crate) type State<'a> = BTreeMap<(&'a str, i32), &'a PartitionState>;

/// The earliest moment from `from_us` to `until_us` at which `holds` of the committed state.
pub(crate) fn first_when(
    cluster: &Cluster,
    from_us: i64,
    until_us: i64,
    holds: impl Fn(&State<'_>) -> bool,
) -> Option<i64> {
    let mut state = State::new();
    let mut rows = cluster.committed().iter().peekable();
    while let Some(row) = rows.next_if(|row| row.at_us <= from_us) {
        state.insert((&row.state.topic, row.state.partition), &row.state);
    }
    if !state.is_empty() && holds(&state) {
        return Some(from_us);
    }
    while let Some(row) = rows.next() {
        state.insert((&row.state.topic, row.state.partition), &row.state);
        // States of one commit belong together.
        if rows.peek().is_some_and(|next| next.at_us <= row.at_us) {
            continue;
        }
        if row.at_us >= until_us {
            return None;
        }
        if holds(&state) {
            return Some(row.at_us.max(from_us));
        }
    }
    None
}

/// Whether every ISR is full.
pub(crate) fn all_full(state: &State<'_>) -> bool {
    state.values().all(|state| state.replicas.iter().all(|replica| state.isr.contains(replica)))
}

/// Whether `broker` is in every ISR that it belongs to.
pub(crate) fn in_every_isr(state: &State<'_>, broker: i32) -> bool {
    state.values().all(|state| !state.replicas.contains(&broker) || state.isr.contains(&broker))
}

/// From when on the ISR speaks of the present life of `broker`, which was started at `at_us`: until the controller has let
/// it back in, an ISR may still name its former one. A resumed broker that was never fenced has one life only.
pub(crate) fn in_service_us(brokers: &[BrokerEvent], broker: i32, kind: &str, at_us: i64) -> Option<i64> {
    let of_broker = || brokers.iter().filter(|event| event.broker == broker);
    let unfenced =
        of_broker().find(|event| event.change == BrokerChange::Unfenced && event.at_us + event.error_us >= at_us);
    match unfenced {
        Some(event) => Some(event.at_us.max(at_us)),
        None if keeps_its_life(kind) && !was_out(brokers, broker, at_us) => Some(at_us),
        // No observer of brokers at all: the ISR is all there is to go by.
        None if brokers.is_empty() => Some(at_us),
        None => None,
    }
}

/// Whether the controller had fenced `broker`, or was shutting it down, and had not unfenced it again by `at_us`.
pub(crate) fn was_out(brokers: &[BrokerEvent], broker: i32, at_us: i64) -> bool {
    let earlier = |event: &&BrokerEvent| {
        event.broker == broker && event.at_us <= at_us && event.change != BrokerChange::Registered
    };
    brokers.iter().rfind(earlier).is_some_and(|event| event.change != BrokerChange::Unfenced)
}

/// The rows of the result: one per node of each start or resume.
pub(crate) fn rows(
    cluster: &Cluster,
    brokers: &[BrokerEvent],
    steps: &Steps,
    end_us: i64,
    not_measured: &mut Vec<String>,
) -> Vec<Recovery> {
    let mut rows = Vec::new();
    for step in steps.all().iter().filter(|step| step.class == Class::Heal) {
        for broker in step.nodes.iter().copied().filter(|node| *node < FIRST_CONTROLLER) {
            let hit_again = steps.faults().filter(|fault| fault.at_us > step.at_us && fault.nodes.contains(&broker));
            let until_us = hit_again.map(|fault| fault.at_us).min().unwrap_or(end_us);
            let service_us = in_service_us(brokers, broker, &step.kind, step.at_us).filter(|at_us| *at_us <= until_us);
            let unfenced = brokers.iter().find(|event| {
                event.broker == broker
                    && event.change == BrokerChange::Unfenced
                    && event.at_us + event.error_us >= step.at_us
            });
            // It came back to an ISR that it had never left: the ISR says nothing of how far it was behind.
            let at_once = |holds: &dyn Fn(&State<'_>) -> bool| {
                keeps_its_life(&step.kind)
                    && service_us == Some(step.at_us)
                    && first_when(cluster, step.at_us, step.at_us + 1, holds) == Some(step.at_us)
            };
            let never_left = at_once(&|state| in_every_isr(state, broker));
            let never_short = never_left && at_once(&all_full);
            if never_left {
                not_measured.push(format!(
                    "recovery of broker {broker} at {:.1} s: it was resumed before it had left an ISR, so none tells when it \
                     had caught up",
                    seconds(step.at_us)
                ));
            }
            let when = |until_us, holds: &dyn Fn(&State<'_>) -> bool| {
                service_us.and_then(|from_us| first_when(cluster, from_us, until_us, holds)).map(seconds)
            };
            rows.push(Recovery {
                broker,
                restarted_s: seconds(step.at_us),
                unfenced_s: unfenced.map(|event| event.at_us).filter(|at_us| *at_us <= until_us).map(seconds),
                caught_up_s: when(until_us, &|state| in_every_isr(state, broker)).filter(|_| !never_left),
                isr_full_s: when(i64::MAX, &all_full).filter(|_| !never_short),
                never_left,
            });
        }
    }
    rows
}
