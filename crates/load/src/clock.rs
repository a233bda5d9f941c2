//! The run's clock in this process: the machine's monotonic clock less the origin, so that every process of a run reads
//! the same time.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds on the run's clock.
#[derive(Debug, Clone, Copy)]
pub struct RunTime {
    origin_ns: i64,
}

impl RunTime {
    /// Of a run whose 0 is at `origin_ns` nanoseconds of CLOCK_MONOTONIC.
    #[must_use]
    pub const fn new(origin_ns: i64) -> Self {
        Self { origin_ns }
    }

    /// Now.
    #[must_use]
    pub fn now_us(self) -> i64 {
        let now = clock_gettime(ClockId::Monotonic);
        (now.tv_sec * 1_000_000_000 + now.tv_nsec - self.origin_ns).div_euclid(1000)
    }
}
