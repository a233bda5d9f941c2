//! The timeline of a run: faults, elections, ISR changes, rebalances. One JSON line each in `events.jsonl`.

use serde::{Deserialize, Serialize};

/// Which clock stamped an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The run's own monotonic clock.
    Monotonic,
    /// The controller's wall clock, mapped onto the run's clock.
    Controller,
    /// Seen by polling; the uncertainty is the poll interval.
    Polled,
    /// From a client's periodic statistics; the uncertainty is their interval.
    Statistics,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineEvent {
    /// Microseconds on the run's clock, 0 = load starts.
    pub at_us: i64,
    /// The true time is within this many microseconds.
    pub error_us: i64,
    /// Clock that stamped it.
    pub clock: Clock,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
    /// What caused it, where that is known: a step id or a named timer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
}

/// The state of one partition as the controller committed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// Topic name.
    pub topic: String,
    /// Partition index.
    pub partition: i32,
    /// Assigned replicas, preferred leader first.
    pub replicas: Vec<i32>,
    /// In-sync replicas, in the controller's order.
    pub isr: Vec<i32>,
    /// Eligible leader replicas (KIP-966).
    pub elr: Vec<i32>,
    /// Leader, −1 for none.
    pub leader: i32,
    /// Leader epoch.
    pub leader_epoch: i32,
    /// Partition epoch: rises at every change.
    pub partition_epoch: i32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[allow(missing_docs)] // The field names are Kafka's and docs/result.md explains each.
pub enum What {
    /// Every broker unfenced, every leader known.
    ClusterReady { bootstrap: String, took_ms: u64 },
    /// A phase begins.
    Phase { name: String },
    /// A fault was carried out.
    Fault { id: String, kind: String, target: String, nodes: Vec<i32>, active_controller: bool },
    /// The fault of step `id` was healed by another step or at the end.
    Healed { id: String, by: String, kind: String, nodes: Vec<i32> },
    /// A fault could not be carried out.
    FaultFailed { id: String, error: String },
    /// The controller registered a broker.
    BrokerRegistered { broker: i32, broker_epoch: i64 },
    /// The controller fenced a broker.
    BrokerFenced { broker: i32, broker_epoch: i64 },
    /// The controller unfenced a broker.
    BrokerUnfenced { broker: i32, broker_epoch: i64 },
    /// A broker is in controlled shutdown.
    BrokerShuttingDown { broker: i32, broker_epoch: i64 },
    /// A partition changed.
    Partition(PartitionState),
    /// A topic was deleted.
    TopicDeleted { topic: String },
    /// Another active controller.
    Controller { node: i32, epoch: i32 },
    /// A member's assignment changed; `partitions` is all that it owns now, as `topic-partition`.
    Assignment { group: String, member: String, generation: i32, partitions: Vec<String> },
    /// A member came, left, crashed or stalled.
    Member { group: String, member: String, change: String },
    /// A client learned another leader.
    ClientLearned { topic: String, partition: i32, leader: i32 },
    /// A first acknowledgement after a gap.
    FirstAck { topic: String, partition: i32, gap_ms: f64 },
    /// Something worth a line.
    Note { text: String },
}
