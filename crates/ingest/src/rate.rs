//! How much each client may send: one token bucket a client, in a table of fixed size, however many clients come.
//!
//! The table is set-associative: a client's hash says which set it belongs to, and each set has room for a few. A client
//! that finds its set full takes the fullest bucket there **with what is left in it**. So nobody gains anything by coming
//! under ever new ids: a place in the table never lets through more than one client's rate and burst. The hash has a key
//! that is drawn at the start, so that nobody can choose ids that fall into one set.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::limits::{RETRY_AFTER_MAX_S, Rate};

const SETS: usize = 8_192;
const WAYS: usize = 8;
/// How many clients are told apart.
pub const CLIENTS_KNOWN_MAX: usize = SETS * WAYS;

/// The buckets of all clients.
pub(crate) struct RateLimiter {
    rate: Rate,
    hasher: RandomState,
    sets: Vec<Mutex<[Bucket; WAYS]>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Hash of the client id; two clients with the same 64 bits share a bucket.
    client: Option<u64>,
    tokens: f64,
    /// When the tokens were counted.
    at: Duration,
}

impl Bucket {
    fn refill(&mut self, rate: &Rate, now: Duration) {
        let passed_s = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = passed_s.mul_add(rate.metrics_per_s, self.tokens).min(rate.burst);
        self.at = self.at.max(now);
    }
}

impl RateLimiter {
    pub(crate) fn new(rate: Rate) -> Self {
        let full = Bucket { client: None, tokens: rate.burst, at: Duration::ZERO };
        let sets = (0..SETS).map(|_| Mutex::new([full; WAYS])).collect();
        Self { rate, hasher: RandomState::new(), sets }
    }

    /// Takes this many metrics out of the client's bucket; `now` is of any monotonic clock. A batch larger than the burst
    /// needs a full bucket, and leaves a debt.
    ///
    /// # Errors
    /// When to come again, seconds, if there are not enough.
    pub(crate) fn take(&self, client: &str, metrics: usize, now: Duration) -> Result<(), u64> {
        let hash = self.hasher.hash_one(client);
        let set = &self.sets[(hash as usize) % SETS];
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let way = match set.iter().position(|bucket| bucket.client == Some(hash)) {
            Some(way) => way,
            None => {
                set.iter_mut().for_each(|bucket| bucket.refill(&self.rate, now));
                let fullest = (0..WAYS).max_by(|a, b| set[*a].tokens.total_cmp(&set[*b].tokens)).unwrap_or(0);
                set[fullest].client = Some(hash);
                fullest
            }
        };
        let bucket = &mut set[way];
        bucket.refill(&self.rate, now);
        let wanted = metrics as f64;
        let needed = wanted.min(self.rate.burst);
        if bucket.tokens >= needed {
            bucket.tokens -= wanted;
            return Ok(());
        }
        let wait_s = ((needed - bucket.tokens) / self.rate.metrics_per_s).ceil();
        Err((wait_s as u64).clamp(1, RETRY_AFTER_MAX_S))
    }

    pub(crate) const fn rate(&self) -> &Rate {
        &self.rate
    }
}

impl std::fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimiter").field("rate", &self.rate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { metrics_per_s: 10.0, burst: 20.0 };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let limiter = RateLimiter::new(RATE);
        assert_eq!(limiter.take("a", 20, ms(0)), Ok(()));
        assert_eq!(limiter.take("a", 1, ms(0)), Err(1));
        assert_eq!(limiter.take("a", 15, ms(0)), Err(2), "1.5 s, in whole seconds");
        assert_eq!(limiter.take("b", 20, ms(0)), Ok(()), "another client has a bucket of its own");
        assert_eq!(limiter.take("a", 1, ms(99)), Err(1));
        assert_eq!(limiter.take("a", 1, ms(100)), Ok(()));
        assert_eq!(limiter.take("a", 1, ms(100)), Err(1));
    }

    #[test]
    fn a_client_may_come_when_it_was_told_to() {
        let limiter = RateLimiter::new(RATE);
        assert_eq!(limiter.take("a", 20, ms(0)), Ok(()));
        let wait_s = limiter.take("a", 17, ms(0)).expect_err("too much");
        assert_eq!(limiter.take("a", 17, ms(wait_s * 1_000)), Ok(()));
    }

    #[test]
    fn a_batch_above_the_burst_passes_once_and_leaves_a_debt() {
        let limiter = RateLimiter::new(RATE);
        assert_eq!(limiter.take("a", 100, ms(0)), Ok(()));
        assert_eq!(limiter.take("a", 1, ms(8_000)), Err(1));
        assert_eq!(limiter.take("a", 1, ms(8_100)), Ok(()));
    }

    #[test]
    fn a_clock_that_reads_earlier_in_another_thread_gives_nothing_away() {
        let limiter = RateLimiter::new(RATE);
        assert_eq!(limiter.take("a", 20, ms(1_000)), Ok(()));
        assert_eq!(limiter.take("a", 1, ms(500)), Err(1));
        assert_eq!(limiter.take("a", 10, ms(2_000)), Ok(()));
        assert_eq!(limiter.take("a", 1, ms(2_000)), Err(1));
    }

    /// Ten times as many clients as fit: what passes is bounded by the places, and a known client gains nothing from it.
    #[test]
    fn ever_new_clients_cost_no_memory_and_gain_nothing() {
        let limiter = RateLimiter::new(RATE);
        assert_eq!(limiter.take("greedy", 20, ms(0)), Ok(()));
        let mut passed = 0;
        for number in 0..10 * CLIENTS_KNOWN_MAX {
            passed += usize::from(limiter.take(&format!("client-{number}"), 20, ms(0)).is_ok());
        }
        assert!(passed < CLIENTS_KNOWN_MAX, "{passed} bursts passed; the table has {CLIENTS_KNOWN_MAX} places");
        assert!(passed > CLIENTS_KNOWN_MAX * 9 / 10, "{passed}: most places are used");
        assert!(limiter.take("greedy", 1, ms(0)).is_err(), "its place was taken over, but not filled again");
    }
}
