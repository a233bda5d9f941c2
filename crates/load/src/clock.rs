//! The run's clock in this process: the machine's monotonic clock less the origin, so that every process of a run reads
//! the same time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Microseconds on the run's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunTime {
    origin_ns: i64,
}

impl RunTime {
    /// Of a run whose 0 is at `origin_ns` nanoseconds of CLOCK_MONOTONIC.
    #[must_use]
    pub const fn new(origin_ns: i64) -> Self {
        Self { origin_ns }
    }

    /// Of a run whose 0 is now.
    #[must_use]
    pub fn starting_now() -> Self {
        Self::new(monotonic_ns())
    }

    /// Where its 0 lies on CLOCK_MONOTONIC, nanoseconds.
    #[must_use]
    pub const fn origin_ns(self) -> i64 {
        self.origin_ns
    }

    /// Now.
    #[must_use]
    pub fn now_us(self) -> i64 {
        monotonic_ns().saturating_sub(self.origin_ns).div_euclid(1000)
    }

    /// How long until `at_us`; zero if it has passed.
    #[must_use]
    pub fn until(self, at_us: i64) -> Duration {
        Duration::from_micros(u64::try_from(at_us.saturating_sub(self.now_us())).unwrap_or(0))
    }
}

/// CLOCK_MONOTONIC, nanoseconds.
fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// Processor time that this process has used, µs.
pub(crate) fn process_cpu_us() -> i64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec.saturating_mul(1_000_000).saturating_add(used.tv_nsec / 1000)
}
