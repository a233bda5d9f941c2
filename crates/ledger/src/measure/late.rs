//! When the load generator itself was late: messages that were due and not yet handed to the client.
//!
//! A generator that an open loop leaves behind tells of the machine, not of the cluster, unless its client's queue was full:
//! then the cluster may have held it up. What that means for a window is not decided here.

use std::collections::BTreeMap;

use crate::sample::{ClientSample, SendSample};

use super::gaps::Gap;

/// From here on a message is late, µs: a hundred times what handing over takes.
const LATE_US: i64 = 100_000;
/// Most stretches that are kept.
const STRETCHES_MAX: usize = 10_000;

/// Stretches in which the generator was late.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Late {
    /// By their begin: their end, and the longest that a message was late.
    stretches: BTreeMap<i64, (i64, i64)>,
    /// When a client's queue was full: by their begin, their end.
    full: BTreeMap<i64, i64>,
    /// What found no room.
    pub(crate) dropped: u64,
}

impl Late {
    /// A send.
    pub(crate) fn send(&mut self, sample: &SendSample) {
        let late_us = sample.sent_us - sample.intended_us;
        if late_us < LATE_US {
            return;
        }
        let (mut from_us, mut to_us, mut longest_us) = (sample.intended_us, sample.sent_us, late_us);
        while let Some((before_us, (until_us, longest))) = self.touching(from_us, to_us) {
            self.stretches.remove(&before_us);
            (from_us, to_us, longest_us) = (from_us.min(before_us), to_us.max(until_us), longest_us.max(longest));
        }
        if self.stretches.len() < STRETCHES_MAX {
            self.stretches.insert(from_us, (to_us, longest_us));
        } else {
            self.dropped += 1;
        }
    }

    /// The last stretch that begins by `to_us`, if it reaches to `from_us`: stretches never overlap.
    fn touching(&self, from_us: i64, to_us: i64) -> Option<(i64, (i64, i64))> {
        let (before_us, stretch) = self.stretches.range(..=to_us).next_back()?;
        (stretch.0 >= from_us).then_some((*before_us, *stretch))
    }

    /// What a client says of its queue.
    pub(crate) fn client(&mut self, sample: &ClientSample) {
        // As where the limiting side is told: nine tenths are full.
        let full = sample.queue_limit > 0 && sample.queued * 10 >= sample.queue_limit * 9;
        if full && self.full.len() < STRETCHES_MAX {
            self.full.insert(sample.at_us - sample.interval_us, sample.at_us + sample.interval_us);
        }
    }

    /// How late the generator was in a gap, at most, µs; 0 if it was not, or where a full queue may have held it up.
    pub(crate) fn in_gap(&self, gap: Gap) -> i64 {
        let held_up = self.full.range(..gap.to_us).any(|(_, until_us)| *until_us > gap.from_us);
        let inside = self.stretches.range(..gap.to_us).filter(|(_, (until_us, _))| *until_us > gap.from_us);
        if held_up { 0 } else { inside.map(|(_, (_, longest_us))| *longest_us).max().unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Tp;
    use crate::sample::SendEnd;

    fn late(messages: &[(i64, i64)]) -> Late {
        let mut late = Late::default();
        for (intended_us, sent_us) in messages {
            late.send(&SendSample {
                producer: 0,
                tp: Tp { topic: 0, partition: 0 },
                intended_us: *intended_us,
                sent_us: *sent_us,
                done_us: *sent_us,
                size_bytes: 1,
                end: SendEnd::Acked,
            });
        }
        late
    }

    fn gap(from_us: i64, to_us: i64) -> Gap {
        Gap { from_us, to_us }
    }

    #[test]
    fn a_generator_that_stood_still_was_late_while_it_did_and_not_before_or_after() {
        let stood = late(&[(0, 10), (1_000_000, 1_400_000), (1_200_000, 1_400_001), (1_350_000, 1_400_002)]);
        assert_eq!(stood.stretches, [(1_000_000, (1_400_001, 400_000))].into());
        assert_eq!(stood.in_gap(gap(1_300_000, 2_000_000)), 400_000);
        assert_eq!(stood.in_gap(gap(0, 1_000_000)), 0);
        assert_eq!(stood.in_gap(gap(1_400_001, 2_000_000)), 0);
        // What comes out of order joins what it lies between.
        let joined = late(&[(0, 200_000), (400_000, 600_000), (150_000, 450_000)]);
        assert_eq!(joined.stretches, [(0, (600_000, 300_000))].into());
    }

    #[test]
    fn a_generator_that_waited_for_room_in_a_full_queue_says_nothing_of_the_machine() {
        let mut stood = late(&[(1_000_000, 1_400_000)]);
        let client = |at_us, queued| ClientSample {
            producer: 0,
            at_us,
            interval_us: 1_000_000,
            queued,
            queue_limit: 1_000,
            leaders: Vec::new(),
            in_flight: 0,
            cpu_share: None,
        };
        stood.client(&client(1_500_000, 100));
        assert_eq!(stood.in_gap(gap(900_000, 1_500_000)), 400_000);
        stood.client(&client(1_500_000, 950));
        assert_eq!(stood.in_gap(gap(900_000, 1_500_000)), 0);
    }
}
