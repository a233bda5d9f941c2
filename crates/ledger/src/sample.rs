//! Timing samples of single messages, as load generators report them. They feed histograms and gap detectors and
//! are never stored: the history keeps the facts, the samples only the times.
//!
//! Times are microseconds on the run's monotonic clock; 0 is the start of load.

use crate::history::Tp;

/// How a send ended, for timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendEnd {
    /// Acknowledged.
    Acked,
    /// Definitely failed: right-censored at `done_us`.
    Failed,
    /// Indeterminate: right-censored at `done_us`.
    Unknown,
    /// Still open when the load ended: right-censored at `done_us`.
    Open,
}

/// One send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendSample {
    /// Index of the producer in the scenario.
    pub producer: u32,
    /// Where it went; partition −1 if it is not known (a keyed send that never was acknowledged).
    pub tp: Tp,
    /// When the open-loop schedule wanted it sent; equal to `sent_us` when unthrottled.
    pub intended_us: i64,
    /// When it was handed to the client.
    pub sent_us: i64,
    /// When its outcome was known.
    pub done_us: i64,
    /// Size of key and value, bytes.
    pub size_bytes: u32,
    /// How it ended.
    pub end: SendEnd,
}

/// One delivery to a group member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverySample {
    /// Index of the group in the scenario.
    pub group: u16,
    /// Member incarnation, unique in the run.
    pub member: u32,
    /// Where it was read.
    pub tp: Tp,
    /// Its offset.
    pub offset: i64,
    /// When the schedule wanted it sent.
    pub intended_us: i64,
    /// When the member was given it.
    pub delivered_us: i64,
    /// Size of key and value, bytes.
    pub size_bytes: u32,
}

/// What a client said of itself in its periodic statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientSample {
    /// Index of the producer in the scenario.
    pub producer: u32,
    /// When the statistics were emitted.
    pub at_us: i64,
    /// Their interval: nothing in them is known more exactly.
    pub interval_us: i64,
    /// Messages waiting in the client's queue.
    pub queued: u64,
    /// The queue's limit, messages.
    pub queue_limit: u64,
    /// The leader that the client believes in, per partition.
    pub leaders: Vec<(Tp, i32)>,
    /// Messages on the wire, unanswered.
    pub in_flight: u64,
    /// Share of one core that the process used in the interval, if known.
    pub cpu_share: Option<f64>,
}
