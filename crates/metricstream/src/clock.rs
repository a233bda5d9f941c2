//! The run's clock: the machine's monotonic clock with 0 where load starts. The only place of the binary that turns
//! the system's clocks into run time.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Monotonic time of this machine, nanoseconds; the same in every process.
pub(crate) fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Maps the system's clocks to microseconds on the run's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunClock {
    origin_ns: i64,
    origin: Instant,
    started_wall: jiff::Timestamp,
}

impl RunClock {
    /// A clock whose 0 lies `lead` in the future: whoever starts the load has that long to be ready.
    pub(crate) fn starting_in(lead: Duration) -> Self {
        let lead_ns = i64::try_from(lead.as_nanos()).unwrap_or(i64::MAX / 4);
        Self {
            origin_ns: monotonic_ns() + lead_ns,
            origin: Instant::now() + lead,
            started_wall: jiff::Timestamp::now() + lead,
        }
    }

    /// Monotonic nanoseconds at 0.
    pub(crate) fn origin_ns(&self) -> i64 {
        self.origin_ns
    }

    /// Wall clock at 0.
    pub(crate) fn started_wall(&self) -> jiff::Timestamp {
        self.started_wall
    }

    /// Now, µs.
    pub(crate) fn now_us(&self) -> i64 {
        (monotonic_ns() - self.origin_ns).div_euclid(1000)
    }

    /// An instant, µs.
    pub(crate) fn us_of(&self, at: Instant) -> i64 {
        let us = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        match at.checked_duration_since(self.origin) {
            Some(after) => us(after),
            None => -us(self.origin - at),
        }
    }

    /// The instant of a run time.
    pub(crate) fn instant_of(&self, at_us: i64) -> Instant {
        let d = Duration::from_micros(at_us.unsigned_abs());
        if at_us >= 0 { self.origin + d } else { self.origin.checked_sub(d).unwrap_or(self.origin) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_lies_where_it_was_asked_for_and_set_up_is_negative() {
        let clock = RunClock::starting_in(Duration::from_secs(10));
        let now = clock.now_us();
        assert!((-10_000_000..-9_000_000).contains(&now), "{now}");
        assert_eq!(clock.us_of(clock.instant_of(2_500_000)), 2_500_000);
        assert_eq!(clock.us_of(clock.instant_of(-1_000)), -1_000);
    }
}
