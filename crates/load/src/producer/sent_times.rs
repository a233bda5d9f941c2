//! When each message in flight was handed to the client. A delivery report names its message by number, and so need not
//! read the value again, which by then has left the processor's cache.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

/// Fewest and most slots, 16 bytes each.
const SLOTS_MIN: usize = 1 << 10;
const SLOTS_MAX: usize = 1 << 20;
/// No message has this number.
const NONE: u64 = u64::MAX;

#[derive(Debug)]
struct Slot {
    number: AtomicU64,
    sent_us: AtomicI64,
}

/// A ring of the newest sends: one thread notes, another asks. A message that overtook its slot's owner while that was in
/// flight (one partition stands still, the others go on) takes its place; of the owner nothing is known here then.
#[derive(Debug)]
pub(super) struct SentTimes {
    slots: Box<[Slot]>,
}

impl SentTimes {
    /// For a client that keeps as many messages as that.
    pub(super) fn new(in_flight_max: usize) -> Self {
        let slots = in_flight_max.clamp(SLOTS_MIN, SLOTS_MAX).next_power_of_two();
        let empty = |_| Slot { number: AtomicU64::new(NONE), sent_us: AtomicI64::new(0) };
        Self { slots: (0..slots).map(empty).collect() }
    }

    fn slot(&self, number: u64) -> &Slot {
        &self.slots[number as usize & (self.slots.len() - 1)]
    }

    /// Message `number` is handed to the client at `sent_us`. Only ever called by one thread.
    pub(super) fn note(&self, number: u64, sent_us: i64) {
        let slot = self.slot(number);
        // A reader that sees the new time sees no number, or the new one.
        slot.number.store(NONE, Ordering::Relaxed);
        fence(Ordering::Release);
        slot.sent_us.store(sent_us, Ordering::Relaxed);
        slot.number.store(number, Ordering::Release);
    }

    /// When message `number` was handed over, if that is still known.
    pub(super) fn of(&self, number: u64) -> Option<i64> {
        let slot = self.slot(number);
        if slot.number.load(Ordering::Acquire) != number {
            return None;
        }
        let sent_us = slot.sent_us.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        (slot.number.load(Ordering::Relaxed) == number).then_some(sent_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_sends_are_known_and_what_they_displaced_is_not() {
        let times = SentTimes::new(1000);
        assert_eq!(times.of(0), None, "nothing was sent");
        (0..1030).for_each(|number| times.note(number, number as i64 * 10));
        // 1,024 slots: the first six were displaced.
        assert_eq!([5, 6, 1029].map(|number| times.of(number)), [None, Some(60), Some(10_290)]);
        // Refused, and handed over again later.
        times.note(1029, 77);
        assert_eq!(times.of(1029), Some(77));
    }

    #[test]
    fn a_time_is_never_told_for_another_message() {
        let times = SentTimes::new(1);
        let last = 200_000_u64;
        std::thread::scope(|scope| {
            scope.spawn(|| (0..=last).for_each(|number| times.note(number, number as i64)));
            while times.of(last).is_none() {
                for number in [1, last / 2, last - 1, last] {
                    assert!(times.of(number).is_none_or(|sent_us| sent_us == number as i64));
                }
            }
        });
    }
}
