//! How long a cluster may take to get over a node that falls silent without a closed connection: a black hole, a machine
//! that stands still. Derived from the settings; what is not there is the time of the messages themselves.

use super::Settings;

/// Of the session, a controller looks for those that are over eight times.
const LOOKS_PER_SESSION: i64 = 8;

impl Settings {
    /// At most so long a broker that fell silent leads its partitions, and counts in their ISRs, as long as the active
    /// controller lives: its session, and the time between two looks for those that are over.
    #[must_use]
    pub const fn silent_broker_bound_ms(&self) -> i64 {
        self.broker_session_timeout_ms + self.session_look_ms()
    }

    /// The same where the silent node is the active controller as well. First another one is elected: each voter waits a
    /// fetch timeout for the leader; one that stood in vain, because its log is shorter or another voter still heard the
    /// leader, stands for up to two election timeouts and waits for as long before it, or another one, stands again; two
    /// that take the votes from each other wait for a backoff besides. The new one knows nothing of sessions and gives
    /// every broker a whole one.
    #[must_use]
    pub const fn silent_controller_bound_ms(&self) -> i64 {
        let election_ms =
            self.quorum_fetch_timeout_ms + 4 * self.quorum_election_timeout_ms + self.quorum_election_backoff_max_ms;
        election_ms + self.silent_broker_bound_ms()
    }

    /// Between two looks for sessions that are over.
    pub(crate) const fn session_look_ms(&self) -> i64 {
        let ms = self.broker_session_timeout_ms / LOOKS_PER_SESSION;
        if ms > 0 { ms } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FAST;
    use super::*;

    #[test]
    fn the_bounds_of_the_profiles_are_those_that_are_written_down() {
        let bounds = |s: &Settings| (s.silent_broker_bound_ms(), s.silent_controller_bound_ms());
        let mut settings = Settings::default();
        assert_eq!(bounds(&settings), (10_125, 17_125), "apache");
        for (name, value) in FAST {
            settings.set(name, value).expect(name);
        }
        assert_eq!(bounds(&settings), (1_125, 2_575), "fast");
    }
}
