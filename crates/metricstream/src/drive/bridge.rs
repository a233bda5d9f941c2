//! From what an engine observed to the timeline: the same facts on the run's clock, in the ledger's words.

use metricstream_engine::observation::{Observation, Observed, ObservedAt};
use metricstream_ledger::timeline::{Clock, PartitionState, TimelineEvent, What};

use crate::clock::RunClock;

/// The timeline's form of one observation.
pub(crate) fn timeline_event(clock: &RunClock, seen: Observation) -> TimelineEvent {
    let (stamp, at, error) = match seen.at {
        ObservedAt::Now(at) => (Clock::Monotonic, at, std::time::Duration::ZERO),
        ObservedAt::Controller { at, error } => (Clock::Controller, at, error),
        ObservedAt::Polled { at, error } => (Clock::Polled, at, error),
    };
    TimelineEvent {
        at_us: clock.us_of(at),
        error_us: i64::try_from(error.as_micros()).unwrap_or(i64::MAX),
        clock: stamp,
        what: what(seen.what),
        cause: None,
    }
}

fn what(seen: Observed) -> What {
    match seen {
        Observed::BrokerRegistered { broker, broker_epoch } => What::BrokerRegistered { broker, broker_epoch },
        Observed::BrokerFenced { broker, broker_epoch } => What::BrokerFenced { broker, broker_epoch },
        Observed::BrokerUnfenced { broker, broker_epoch } => What::BrokerUnfenced { broker, broker_epoch },
        Observed::BrokerShuttingDown { broker, broker_epoch } => What::BrokerShuttingDown { broker, broker_epoch },
        Observed::Partition { topic, partition, replicas, isr, elr, leader, leader_epoch, partition_epoch } => {
            What::Partition(PartitionState {
                topic,
                partition,
                replicas,
                isr,
                elr,
                leader,
                leader_epoch,
                partition_epoch,
            })
        }
        Observed::TopicDeleted { topic } => What::TopicDeleted { topic },
        Observed::Controller { node, epoch } => What::Controller { node, epoch },
        Observed::NodeExited { node, status, expected: true } => {
            What::Note { text: format!("node {node} ended: {status}") }
        }
        Observed::NodeExited { node, status, expected: false } => {
            What::Note { text: format!("node {node} ended by itself: {status}") }
        }
        Observed::Note(text) => What::Note { text },
    }
}
