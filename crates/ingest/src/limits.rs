//! Every bound of the front door, with its default. Nothing here decides anything.

use std::time::Duration;

/// The longest name of a metric or label, bytes.
pub const NAME_MAX_BYTES: usize = 200;
/// The earliest timestamp that is taken, milliseconds since 1970: a smaller one is a time in seconds by mistake.
pub const TIMESTAMP_MIN_MS: i64 = 100_000_000_000;
/// The latest timestamp that is taken, milliseconds since 1970: the end of the year 9999.
pub const TIMESTAMP_MAX_MS: i64 = 253_402_300_799_999;
/// When a client that was refused for the cluster's sake may come again, seconds.
pub const RETRY_AFTER_S: u64 = 1;
/// The longest wait that a client over its rate is told, seconds.
pub const RETRY_AFTER_MAX_S: u64 = 3_600;

/// Bounds of the front door.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The largest body, bytes; a larger one is answered 413.
    pub body_max_bytes: usize,
    /// What bodies that are being received or read may hold together, bytes; what goes beyond is answered 503.
    pub bodies_max_bytes: usize,
    /// What one metric may be.
    pub metric: MetricLimits,
    /// What one client may send; `None` is without bound.
    pub rate: Option<Rate>,
    /// Connections at a time; one more is answered 503 and closed.
    pub connections_max: usize,
    /// How long a request's head may take, and how long a connection may be idle.
    pub head_timeout: Duration,
    /// How long a body may take, from the end of the head; a slower one is answered 408.
    pub body_timeout: Duration,
    /// How long the log may take to acknowledge; then the answer is 503.
    pub ack_timeout: Duration,
    /// How long a client may refuse to take what was sent to it before its connection is closed.
    pub write_timeout: Duration,
    /// How long open requests may take once the server is asked to stop.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_max_bytes: 1024 * 1024,
            bodies_max_bytes: 256 * 1024 * 1024,
            metric: MetricLimits::default(),
            rate: Some(Rate { metrics_per_s: 10_000.0, burst: 20_000.0 }),
            connections_max: 8_192,
            head_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(15),
        }
    }
}

/// Bounds of a batch and of each metric in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricLimits {
    /// Metrics in a request; more are answered 413.
    pub batch_max: usize,
    /// Labels of a metric.
    pub labels_max: usize,
    /// The longest value of a label, bytes.
    pub label_value_max_bytes: usize,
}

impl Default for MetricLimits {
    fn default() -> Self {
        Self { batch_max: 1_000, labels_max: 32, label_value_max_bytes: 1_024 }
    }
}

/// A token bucket: so many metrics a second for ever, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Metrics a second.
    pub metrics_per_s: f64,
    /// Metrics at once.
    pub burst: f64,
}
