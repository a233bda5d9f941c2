//! The one clock of a cluster: every node of it gets the same time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use metricstream_node::time::{Now, Ns};

/// Monotonic time since the cluster was made, and the wall clock beside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    born_ns: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), born_ns: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// When the cluster was made, by the wall clock.
    pub(crate) fn born_ns(self) -> u64 {
        self.born_ns
    }

    pub(crate) fn now(self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            // Never 0: that is where a node's "at once" lies.
            monotonic_ns: u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(Ns::MAX).max(1),
            wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
        }
    }

    pub(crate) fn instant(self, at: Ns) -> tokio::time::Instant {
        // A timer for ever is one for a day: it is set again.
        let ahead = Duration::from_nanos(at).min(self.origin.elapsed() + Duration::from_secs(86_400));
        (self.origin + ahead).into()
    }
}
