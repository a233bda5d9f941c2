//! Time as data. A node never asks what time it is; whoever drives it says so with every input.

/// Nanoseconds on the driver's monotonic clock, from an origin of the driver's choice.
pub type Ns = u64;

/// Nanoseconds of a millisecond.
pub const MS: Ns = 1_000_000;

/// The time of an input on both clocks that a node needs: the monotonic one for every timer, the wall clock for record
/// timestamps and retention only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Monotonic time.
    pub monotonic_ns: Ns,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

impl Now {
    /// The monotonic time so many milliseconds from now; negative values count as none.
    #[must_use]
    pub fn after_ms(self, ms: i64) -> Ns {
        self.monotonic_ns.saturating_add(u64::try_from(ms).unwrap_or(0).saturating_mul(MS))
    }

    /// Whole milliseconds since an earlier monotonic time; 0 where it lies ahead.
    #[must_use]
    pub const fn since_ms(self, earlier: Ns) -> u64 {
        self.monotonic_ns.saturating_sub(earlier) / MS
    }

    /// Whether a deadline has come.
    #[must_use]
    pub const fn reached(self, deadline: Ns) -> bool {
        self.monotonic_ns >= deadline
    }
}
