//! The pure open-loop schedule of one producer: which message is wanted when, on which lane, with which bytes.
//!
//! The schedule is arithmetic on a message's number, so a stall changes nothing in it: what fell due during the stall
//! is still owed, with the time at which it was wanted. No clock lives here (now comes in) and no client.

use metricstream_ledger::history::{LaneId, MessageId};
use metricstream_scenario::Producer;

use crate::identity::{Identity, MIN_VALUE_SIZE_BYTES};

/// The most lanes that one producer may have: the ledger keeps state for each.
pub const LANES_MAX: u32 = 1 << 20;

/// The most messages that one schedule may intend. Times stay exact to the microsecond far beyond it.
pub const MESSAGES_MAX: u64 = 1 << 40;

const US_PER_S: f64 = 1e6;

/// Why a producer has no schedule.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum ScheduleError {
    #[error(
        "producer {producer}: rate_per_s = {rate_per_s} is not a rate; give a positive number, or none for unthrottled"
    )]
    Rate { producer: String, rate_per_s: f64 },
    #[error("producer {producer}: {lanes} lanes; give its topic partitions, or keys, from 1 to {LANES_MAX}")]
    Lanes { producer: String, lanes: i64 },
    #[error(
        "producer {producer}: message_size_bytes = {size_bytes} cannot carry the identity; {MIN_VALUE_SIZE_BYTES} is the least"
    )]
    Size { producer: String, size_bytes: usize },
    #[error("producer {producer}: a duration of {duration_us} µs is none; it must not be negative")]
    Duration { producer: String, duration_us: i64 },
    #[error(
        "producer {producer}: {intended:.0} messages are more than a schedule holds ({MESSAGES_MAX}); lower rate or duration"
    )]
    TooMany { producer: String, intended: f64 },
}

/// One message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Lane and sequence, with the incarnation.
    pub id: MessageId,
    /// The partition to send to; `None` for a keyed lane, whose key decides.
    pub partition: Option<i32>,
    /// When the schedule wanted it sent, µs on the run's clock.
    pub intended_us: i64,
}

/// The schedule of one producer incarnation.
///
/// Send loop: while [`due`](Self::due) is not 0, [`peek`](Self::peek), [`write_value`](Self::write_value), hand it to
/// the client, and only if the client took it [`advance`](Self::advance). Then sleep until
/// [`next_intended_us`](Self::next_intended_us).
#[derive(Debug, Clone)]
pub struct Schedule {
    run_id: u64,
    incarnation: u32,
    start_us: i64,
    end_us: i64,
    /// `None` is unthrottled.
    rate_per_s: Option<f64>,
    /// rate × duration; for an unthrottled one the limit [`MESSAGES_MAX`].
    total: u64,
    lanes: u32,
    keyed: bool,
    value_size_bytes: usize,
    /// Number of the next message, over all lanes.
    next: u64,
}

impl Schedule {
    /// The schedule of `producer` from `start_us` on for `duration_us`, for a topic of `partitions` partitions.
    ///
    /// # Errors
    /// [`ScheduleError`] if rate, lanes, size or duration make no schedule.
    pub fn new(
        producer: &Producer,
        partitions: i32,
        run_id: u64,
        incarnation: u32,
        start_us: i64,
        duration_us: i64,
    ) -> Result<Self, ScheduleError> {
        let name = || producer.name.clone();
        let wanted = producer.keys.map_or_else(|| i64::from(partitions), i64::from);
        let lanes = u32::try_from(wanted).ok().filter(|n| (1..=LANES_MAX).contains(n));
        let lanes = lanes.ok_or_else(|| ScheduleError::Lanes { producer: name(), lanes: wanted })?;
        let size_bytes = producer.message_size_bytes;
        if size_bytes < MIN_VALUE_SIZE_BYTES {
            return Err(ScheduleError::Size { producer: name(), size_bytes });
        }
        let end_us = start_us.checked_add(duration_us).filter(|_| duration_us >= 0);
        let end_us = end_us.ok_or_else(|| ScheduleError::Duration { producer: name(), duration_us })?;
        if let Some(rate_per_s) = producer.rate_per_s
            && (!rate_per_s.is_finite() || rate_per_s <= 0.0)
        {
            return Err(ScheduleError::Rate { producer: name(), rate_per_s });
        }
        let intended = intended(producer.rate_per_s, duration_us);
        if intended > MESSAGES_MAX as f64 {
            return Err(ScheduleError::TooMany { producer: name(), intended });
        }
        Ok(Self {
            run_id,
            incarnation,
            start_us,
            end_us,
            rate_per_s: producer.rate_per_s,
            total: intended as u64,
            lanes,
            keyed: producer.keys.is_some(),
            value_size_bytes: size_bytes,
            next: 0,
        })
    }

    /// Ends the schedule at `end_us`, before the end that it was made with: it intends rate × what is left of its duration,
    /// as if it had been made so. What was taken stays taken, and what it owes by then it still owes.
    pub fn end_at(&mut self, end_us: i64) {
        self.end_us = end_us.clamp(self.start_us, self.end_us);
        if self.rate_per_s.is_some() {
            let intended = intended(self.rate_per_s, self.end_us - self.start_us) as u64;
            self.total = intended.clamp(self.next, self.total);
        }
    }

    /// When the next message is wanted; it may lie in the past after a stall. `None` when all were taken.
    ///
    /// An unthrottled schedule wants its next message at once: its start, until [`finished`](Self::finished).
    #[must_use]
    pub fn next_intended_us(&self) -> Option<i64> {
        (self.next < self.total).then(|| self.intended_us(self.next))
    }

    /// How many messages are due at `now_us` and not yet taken. Unthrottled: all that may still be sent.
    #[must_use]
    pub fn due(&self, now_us: i64) -> u64 {
        if now_us < self.start_us {
            return 0;
        }
        let Some(rate_per_s) = self.rate_per_s else {
            return if now_us < self.end_us { self.total - self.next } else { 0 };
        };
        let elapsed_us = now_us.saturating_sub(self.start_us) as f64;
        // An estimate in floating point, then corrected: exactly those whose intended time is not after now.
        let mut wanted = ((elapsed_us * rate_per_s / US_PER_S) as u64).saturating_add(1).min(self.total);
        while wanted > 0 && self.intended_us(wanted - 1) > now_us {
            wanted -= 1;
        }
        while wanted < self.total && self.intended_us(wanted) <= now_us {
            wanted += 1;
        }
        wanted.saturating_sub(self.next)
    }

    /// The next message, if it is due. It stays the next one until [`advance`](Self::advance).
    #[must_use]
    pub fn peek(&self, now_us: i64) -> Option<Due> {
        let wanted = match (self.next < self.total, self.rate_per_s) {
            (false, _) => return None,
            (true, Some(_)) => Some(self.intended_us(self.next)).filter(|at| *at <= now_us),
            (true, None) => (self.start_us..self.end_us).contains(&now_us).then_some(now_us),
        };
        let id = self.id_of(self.next);
        wanted.map(|intended_us| Due { id, partition: self.lane_partition(id.lane.lane), intended_us })
    }

    /// What message `number` over all lanes says of itself if it was handed to the client at `sent_us`, which for an
    /// unthrottled one is also when it was wanted. Does not depend on what was taken.
    #[must_use]
    pub fn identity(&self, number: u64, sent_us: i64) -> Identity {
        let intended_us = self.rate_per_s.map_or(sent_us, |_| self.intended_us(number));
        Identity { run_id: self.run_id, id: self.id_of(number), intended_us, sent_us }
    }

    /// Lanes take turns.
    fn id_of(&self, number: u64) -> MessageId {
        let lanes = u64::from(self.lanes);
        MessageId { lane: self.lane_id((number % lanes) as u32), seq: number / lanes }
    }

    /// The message that [`peek`](Self::peek) showed was handed to the client.
    pub fn advance(&mut self) {
        self.next = self.next.saturating_add(1).min(self.total);
    }

    /// [`peek`](Self::peek) and [`advance`](Self::advance) in one.
    pub fn take(&mut self, now_us: i64) -> Option<Due> {
        let due = self.peek(now_us)?;
        self.advance();
        Some(due)
    }

    /// Whether nothing will ever be due again at or after `now_us`. A throttled schedule is not finished at its end
    /// while it still owes messages.
    #[must_use]
    pub fn finished(&self, now_us: i64) -> bool {
        self.next >= self.total || (self.rate_per_s.is_none() && now_us >= self.end_us)
    }

    /// How many messages it intends in all: rate × duration. `None` when unthrottled.
    #[must_use]
    pub fn intended_total(&self) -> Option<u64> {
        self.rate_per_s.map(|_| self.total)
    }

    /// How many messages were taken so far.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.next
    }

    /// When the last message has become due.
    #[must_use]
    pub const fn end_us(&self) -> i64 {
        self.end_us
    }

    /// Number of lanes; lanes are `0..lanes`.
    #[must_use]
    pub const fn lanes(&self) -> u32 {
        self.lanes
    }

    /// The id of lane number `lane`.
    #[must_use]
    pub const fn lane_id(&self, lane: u32) -> LaneId {
        LaneId { incarnation: self.incarnation, lane }
    }

    /// The partition that lane number `lane` is pinned to; `None` when keyed.
    #[must_use]
    pub const fn lane_partition(&self, lane: u32) -> Option<i32> {
        if self.keyed { None } else { Some(lane as i32) }
    }

    /// The key of lane number `lane`: `k-<lane>`; `None` when pinned.
    #[must_use]
    pub fn lane_key(&self, lane: u32) -> Option<Key> {
        self.keyed.then(|| Key::new(lane))
    }

    /// Size of every value, bytes.
    #[must_use]
    pub const fn value_size_bytes(&self) -> usize {
        self.value_size_bytes
    }

    /// Writes the value of `due` with its actual send time, see [`write_value`].
    ///
    /// # Panics
    /// If `value` is shorter than [`MIN_VALUE_SIZE_BYTES`]; one of [`value_size_bytes`](Self::value_size_bytes) is not.
    pub fn write_value(&self, value: &mut [u8], due: &Due, sent_us: i64) {
        write_value(value, &Identity { run_id: self.run_id, id: due.id, intended_us: due.intended_us, sent_us });
    }

    fn intended_us(&self, number: u64) -> i64 {
        match self.rate_per_s {
            // From the number, never from the previous message: errors do not add up and nothing resets.
            Some(rate_per_s) => self.start_us.saturating_add((number as f64 * US_PER_S / rate_per_s) as i64),
            None => self.start_us,
        }
    }
}

/// How many messages a schedule intends: rate × duration; an unthrottled one, [`MESSAGES_MAX`].
fn intended(rate_per_s: Option<f64>, duration_us: i64) -> f64 {
    rate_per_s.map_or(MESSAGES_MAX as f64, |rate_per_s| (rate_per_s * (duration_us as f64 / US_PER_S)).round())
}

/// The key of a lane, without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// `k-` and at most ten digits.
    text: [u8; 12],
    from: u8,
}

impl Key {
    fn new(lane: u32) -> Self {
        let mut text = [0; 12];
        let mut from = text.len();
        let mut rest = lane;
        loop {
            from -= 1;
            text[from] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        from -= 2;
        text[from..from + 2].copy_from_slice(b"k-");
        Self { text, from: from as u8 }
    }

    /// The key's bytes, as they are sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[usize::from(self.from)..]
    }
}

/// Fills `value` with filler that is a function of the message's id, and seals `identity` into it.
///
/// The filler does not compress, so that a codec is not flattered.
///
/// # Panics
/// If `value` is shorter than [`MIN_VALUE_SIZE_BYTES`].
pub fn write_value(value: &mut [u8], identity: &Identity) {
    let lane = u64::from(identity.id.lane.incarnation) << 32 | u64::from(identity.id.lane.lane);
    let mut state = identity.run_id ^ mix(lane) ^ mix(identity.id.seq.wrapping_add(1));
    let filler = value.get_mut(MIN_VALUE_SIZE_BYTES..).unwrap_or_default();
    for chunk in filler.chunks_mut(8) {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        chunk.copy_from_slice(&mix(state).to_le_bytes()[..chunk.len()]);
    }
    identity.seal(value);
}

/// The finaliser of SplitMix64: a bijection that scatters neighbouring numbers.
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SECOND_US: i64 = 1_000_000;

    fn producer(rate_per_s: Option<f64>, keys: Option<u32>) -> Producer {
        Producer {
            name: "p".into(),
            topic: "metrics".into(),
            rate_per_s,
            message_size_bytes: 100,
            keys,
            config: BTreeMap::new(),
        }
    }

    fn schedule(rate_per_s: Option<f64>, partitions: i32) -> Schedule {
        Schedule::new(&producer(rate_per_s, None), partitions, 7, 1, 0, 10 * SECOND_US).expect("a schedule")
    }

    #[test]
    fn a_stall_of_two_seconds_loses_no_intended_send_and_resets_nothing() {
        let mut stalled = schedule(Some(1000.0), 6);
        let mut steady = schedule(Some(1000.0), 6);
        let mut all = Vec::new();
        let mut now_us = 0;
        while !stalled.finished(now_us) {
            while let Some(due) = stalled.take(now_us) {
                all.push(due);
            }
            // The client stands still from 3 s to 5 s.
            now_us = if now_us == 3 * SECOND_US { 5 * SECOND_US } else { now_us + 500 };
        }
        assert_eq!(all.len(), 10_000);
        assert_eq!(stalled.intended_total(), Some(10_000));
        // The same messages as without a stall, each with the time at which it was wanted.
        let wanted: Vec<Due> = std::iter::from_fn(|| steady.take(20 * SECOND_US)).collect();
        assert_eq!(all, wanted);
        assert_eq!(wanted[3001].intended_us, 3_001_000);
    }

    #[test]
    fn a_schedule_that_is_ended_early_is_the_one_that_was_made_that_short() {
        let long = || Schedule::new(&producer(Some(333.0), None), 6, 7, 1, 0, 100 * SECOND_US).expect("a schedule");
        let end_us = 7 * SECOND_US + 654_321;
        let short = Schedule::new(&producer(Some(333.0), None), 6, 7, 1, 0, end_us).expect("a schedule");
        let all = |mut schedule: Schedule| std::iter::from_fn(|| schedule.take(200 * SECOND_US)).collect::<Vec<_>>();
        // Told while it runs, beforehand, and once more.
        let mut told = long();
        let first: Vec<Due> = std::iter::from_fn(|| told.take(5 * SECOND_US)).collect();
        told.end_at(end_us);
        told.end_at(end_us);
        assert_eq!((told.intended_total(), told.end_us()), (short.intended_total(), end_us));
        assert_eq!(short.intended_total(), Some(2549), "333 a second for 7.654321 s");
        assert_eq!([first, all(told)].concat(), all(short), "the same messages, wanted at the same times");

        // What was taken before it was told cannot be taken back; nothing follows it.
        let mut late = long();
        while late.take(8 * SECOND_US).is_some() {}
        let taken = late.taken();
        late.end_at(end_us);
        assert_eq!((late.intended_total(), late.finished(8 * SECOND_US)), (Some(taken), true));
        // It does not grow.
        late.end_at(50 * SECOND_US);
        assert_eq!((late.intended_total(), late.end_us()), (Some(taken), end_us));

        let mut unthrottled = schedule(None, 3);
        unthrottled.end_at(2 * SECOND_US);
        assert!(unthrottled.due(2 * SECOND_US - 1) > 0 && unthrottled.finished(2 * SECOND_US));
    }

    #[test]
    fn what_is_owed_at_the_end_stays_due() {
        let mut late = schedule(Some(100.0), 3);
        assert_eq!(late.due(60 * SECOND_US), 1000);
        assert!(!late.finished(60 * SECOND_US));
        while late.take(60 * SECOND_US).is_some() {}
        assert!(late.finished(60 * SECOND_US));
        assert_eq!((late.next_intended_us(), late.taken()), (None, 1000));
    }

    #[test]
    fn lanes_take_turns_and_sequences_are_dense() {
        let mut pinned = schedule(Some(100.0), 3);
        let seen: Vec<_> =
            std::iter::from_fn(|| pinned.take(60_000)).map(|d| (d.id.lane.lane, d.id.seq, d.partition)).collect();
        let wanted = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2)];
        assert_eq!(seen, wanted.map(|(lane, seq)| (lane, seq, Some(lane as i32))));

        let mut keyed = Schedule::new(&producer(Some(100.0), Some(2)), 6, 7, 1, 0, SECOND_US).expect("a schedule");
        assert_eq!((keyed.lanes(), keyed.lane_partition(1)), (2, None));
        assert_eq!(keyed.take(0).map(|due| due.partition), Some(None));
        assert_eq!(keyed.lane_key(1).map(|key| key.as_bytes().to_vec()), Some(b"k-1".to_vec()));
        assert_eq!(pinned.lane_key(1), None);
        assert_eq!(Key::new(u32::MAX).as_bytes(), b"k-4294967295");
        assert_eq!(Key::new(0).as_bytes(), b"k-0");
    }

    #[test]
    fn unthrottled_is_always_due_until_its_end() {
        let mut flood = schedule(None, 2);
        assert_eq!((flood.due(-1), flood.peek(-1)), (0, None));
        assert!(flood.due(5) > 1_000_000_000);
        assert_eq!(flood.take(5).map(|due| due.intended_us), Some(5));
        assert_eq!(flood.take(5).map(|due| due.id.lane.lane), Some(1));
        assert!(!flood.finished(10 * SECOND_US - 1));
        assert!(flood.finished(10 * SECOND_US));
        assert_eq!((flood.take(10 * SECOND_US), flood.due(10 * SECOND_US)), (None, 0));
    }

    #[test]
    fn what_makes_no_schedule_is_refused_by_name() {
        let refused = |producer: &Producer, partitions, duration_us| {
            Schedule::new(producer, partitions, 7, 1, 0, duration_us).expect_err("must be refused").to_string()
        };
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(refused(&producer(Some(rate), None), 3, 1).contains("rate_per_s"), "{rate}");
        }
        assert!(refused(&producer(None, None), 0, 1).contains("0 lanes"));
        assert!(refused(&producer(None, None), -4, 1).contains("-4 lanes"));
        assert!(refused(&producer(None, Some(0)), 3, 1).contains("0 lanes"));
        assert!(refused(&producer(None, Some(u32::MAX)), 3, 1).contains("lanes"));
        assert!(refused(&producer(None, None), 3, -1).contains("-1 µs"));
        assert!(refused(&producer(Some(1e15), None), 3, i64::MAX).contains("more than a schedule holds"));
        let small = Producer { message_size_bytes: 47, ..producer(None, None) };
        assert!(refused(&small, 3, 1).contains("message_size_bytes = 47"));
    }

    #[test]
    fn what_a_message_says_of_itself_follows_from_its_number() {
        for rate_per_s in [Some(700.0), None] {
            let fresh = schedule(rate_per_s, 3);
            let mut plan = fresh.clone();
            for number in 0..10 {
                let now_us = 100_000 + number as i64;
                assert_eq!(plan.taken(), number);
                let due = plan.take(now_us).expect("due");
                let mut value = [0; 100];
                plan.write_value(&mut value, &due, now_us);
                assert_eq!(Identity::open(&value, 7), Ok(fresh.identity(number, now_us)));
            }
        }
    }

    #[test]
    fn values_open_and_their_filler_depends_on_the_message_alone() {
        let mut plan = schedule(Some(1000.0), 2);
        let (first, second) = (plan.take(SECOND_US).expect("due"), plan.take(SECOND_US).expect("due"));
        let write = |due: &Due, size: usize| {
            let mut value = vec![0; size];
            plan.write_value(&mut value, due, 12);
            value
        };
        for size in [48, 49, 100, 1021] {
            let value = write(&second, size);
            let opened = Identity::open(&value, 7).expect("sound");
            assert_eq!((opened.id, opened.intended_us, opened.sent_us), (second.id, 1000, 12));
            assert_eq!(value, write(&second, size));
        }
        assert_ne!(write(&first, 100)[48..], write(&second, 100)[48..]);
    }

    proptest! {
        #[test]
        fn due_counts_exactly_the_intended_times(rate in 0.01f64..50_000.0, now_us in -10i64..12_000_000, start_us in -5i64..5) {
            let mut plan = Schedule::new(&producer(Some(rate), None), 3, 7, 1, start_us, 10 * SECOND_US).expect("a schedule");
            prop_assert_eq!(plan.intended_total(), Some((rate * 10.0).round() as u64));
            let due = plan.due(now_us);
            let mut taken = 0;
            let mut last_us = i64::MIN;
            while let Some(next) = plan.take(now_us) {
                prop_assert!(next.intended_us >= last_us && next.intended_us < start_us + 10 * SECOND_US);
                last_us = next.intended_us;
                taken += 1;
            }
            prop_assert_eq!(due, taken);
            prop_assert_eq!(plan.due(now_us), 0);
        }
    }
}
