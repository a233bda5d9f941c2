//! The time on which a node lives: the driver's, without what passed while the node should have run and did not.
//!
//! A node judges others by their silence: the session of a broker, the fetches of a majority, the word of the leader, the
//! lag of a follower, the heartbeat of a group's member. Where the node itself was not run, because the machine had no
//! processor for it or because it was stopped, that silence says nothing: what others sent waits in its queues. So the time
//! from the moment at which it was to be woken to the one at which it was does not count for anything that it measures.
//!
//! How far this goes:
//! * The node is woken at least eight times within the shortest time by which it judges, so all but an eighth of it that
//!   passed unnoticed is noticed.
//! * Of each lateness [`GRACE_NS`] counts all the same. So a node that is always late still gets on, and a deadline of a
//!   second is reached when it has run two hundred times, at the latest.
//! * After it was away, however long, a judge waits no longer than the whole time by which it judges.
//! * Others notice that it was away, as they did before. Safety rests on epochs, votes and the ISR, never on these times.

use crate::config::Settings;
use crate::time::{MS, Now, Ns};

/// Lateness that counts as time like any other: what a timer may be late by on a machine that has nothing else to do.
pub(super) const GRACE_NS: Ns = 5 * MS;
/// A node is woken this many times within the shortest time by which it judges.
const LOOKS: i64 = 8;

/// The time on which a node lives.
#[derive(Debug)]
pub(super) struct RunningTime {
    /// The driver's time that does not count.
    away_ns: Ns,
    /// The driver's time at which the node asked to be woken.
    due: Ns,
    /// Between two looks at how late it is.
    look_ns: Ns,
}

impl RunningTime {
    pub(super) fn new(settings: &Settings) -> Self {
        let judged = [
            settings.broker_session_timeout_ms,
            settings.quorum_fetch_timeout_ms,
            settings.replica_lag_time_max_ms,
            settings.group_consumer_session_timeout_ms,
        ];
        let shortest_ms = judged.into_iter().fold(i64::MAX, i64::min).max(LOOKS);
        let look_ns = u64::try_from(shortest_ms / LOOKS).unwrap_or(1).saturating_mul(MS);
        Self { away_ns: 0, due: Ns::MAX, look_ns }
    }

    /// The node's time when the driver's is `told`, and how late it is.
    pub(super) fn at(&mut self, told: Now) -> (Now, Ns) {
        let late = told.monotonic_ns.saturating_sub(self.due);
        if late > GRACE_NS {
            self.away_ns += late - GRACE_NS;
            self.due = told.monotonic_ns;
        }
        (Now { monotonic_ns: told.monotonic_ns - self.away_ns, wall_ms: told.wall_ms }, late)
    }

    /// The driver's time at which the node is to be woken that has next to do something at `at` of its own; `None` where
    /// that has been asked for already.
    pub(super) fn wake(&mut self, now: Now, at: Ns) -> Option<Ns> {
        let look = (now.monotonic_ns / self.look_ns + 1) * self.look_ns;
        let due = at.min(look).max(now.monotonic_ns + 1) + self.away_ns;
        (std::mem::replace(&mut self.due, due) != due).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { monotonic_ns: ms * MS, wall_ms: 0 }
    }

    fn told(time: &mut RunningTime, ms: u64) -> u64 {
        time.at(at(ms)).0.monotonic_ns / MS
    }

    #[test]
    fn what_a_node_is_late_by_does_not_count_but_for_the_grace() {
        let mut time = RunningTime::new(&Settings::default());
        assert_eq!(told(&mut time, 100), 100);
        assert_eq!(time.wake(at(100), 150 * MS), Some(150 * MS));
        assert_eq!(time.wake(at(100), 150 * MS), None, "it is asked for once");
        assert_eq!(told(&mut time, 120), 120, "an input before the time is not late");
        assert_eq!(told(&mut time, 154), 154, "nor is what any timer may be late by");
        assert_eq!(time.wake(at(154), 200 * MS), Some(200 * MS));
        assert_eq!(told(&mut time, 2_200), 205);
        assert_eq!(told(&mut time, 2_201), 206, "it is away once");
        assert_eq!(time.wake(at(206), 240 * MS), Some(2_235 * MS), "the driver's time goes on from there");
        assert_eq!(told(&mut time, 2_235), 240);
    }

    #[test]
    fn a_node_that_is_always_late_gets_on() {
        let mut time = RunningTime::new(&Settings::default());
        let (mut driver, mut own, mut runs) = (0, 0, 0);
        while own < 1_000 {
            own = told(&mut time, driver);
            time.wake(at(own), 0);
            driver += 300;
            runs += 1;
        }
        assert!(runs <= 202, "{runs}");
    }

    #[test]
    fn a_node_is_woken_often_enough_to_notice_that_it_was_away() {
        let mut settings = Settings::default();
        settings.set("controller.quorum.fetch.timeout.ms", "1000").expect("known");
        let mut time = RunningTime::new(&settings);
        assert_eq!(time.wake(at(130), Ns::MAX), Some(250 * MS), "within an eighth of the shortest time");
        assert_eq!(time.wake(at(140), Ns::MAX), None);
    }
}
