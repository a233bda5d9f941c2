//! What an engine observes of its cluster, as plain data. It knows no run and no ledger: who drives the engine maps it.

use std::time::{Duration, Instant};

/// Something that was observed, and when it happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// When.
    pub at: ObservedAt,
    /// What.
    pub what: Observed,
}

impl Observation {
    /// Seen now, by this process.
    #[must_use]
    pub fn now(what: Observed) -> Self {
        Self { at: ObservedAt::Now(Instant::now()), what }
    }
}

/// Which clock tells the time, and how exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ObservedAt {
    /// This process's own.
    Now(Instant),
    /// The controller's wall clock, mapped to this process's monotonic one.
    Controller {
        /// Where it lies.
        at: Instant,
        /// The truth is within this.
        error: Duration,
    },
    /// Seen by asking again and again.
    Polled {
        /// When it was seen.
        at: Instant,
        /// It happened at most this long before.
        error: Duration,
    },
}

/// What was observed.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // The field names are Kafka's.
pub enum Observed {
    /// The controller registered a broker: a new process of it.
    BrokerRegistered { broker: i32, broker_epoch: i64 },
    /// The controller fenced a broker: it leads and counts no more.
    BrokerFenced { broker: i32, broker_epoch: i64 },
    /// The controller unfenced a broker.
    BrokerUnfenced { broker: i32, broker_epoch: i64 },
    /// A broker asked to shut down.
    BrokerShuttingDown { broker: i32, broker_epoch: i64 },
    /// A partition came or changed; always its whole state.
    Partition {
        topic: String,
        partition: i32,
        replicas: Vec<i32>,
        isr: Vec<i32>,
        elr: Vec<i32>,
        leader: i32,
        leader_epoch: i32,
        partition_epoch: i32,
    },
    /// A topic was deleted.
    TopicDeleted { topic: String },
    /// Another controller is the active one.
    Controller { node: i32, epoch: i32 },
    /// A node's process ended.
    NodeExited { node: i32, status: String, expected: bool },
    /// Something worth a line.
    Note(String),
}
