//! Counters of the running load, cheap to read at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metricstream_ledger::history::{Outcome, Record, Tp};

use crate::event::EventSink;

/// Counts for a live view. Clones read the same counters.
#[derive(Debug, Clone)]
pub struct Progress {
    pub(crate) producers: Vec<Arc<ProducerCounters>>,
    pub(crate) groups: Vec<Arc<GroupCounters>>,
    pub(crate) sink: EventSink,
}

impl Progress {
    fn sum(&self, of: impl Fn(&ProducerCounters) -> &AtomicU64) -> u64 {
        self.producers.iter().map(|producer| of(producer).load(Ordering::Acquire)).sum()
    }

    /// Messages handed to the client library.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sum(|producer| &producer.sent)
    }

    /// Messages acknowledged.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.sum(|producer| &producer.acked)
    }

    /// Messages that definitely failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.sum(|producer| &producer.failed)
    }

    /// Messages whose outcome will not be known.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.sum(|producer| &producer.unknown)
    }

    /// Messages whose outcome is not known yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.producers.iter().map(|producer| producer.open()).sum()
    }

    /// Messages that the schedules want by now but that no client took, for lack of room.
    #[must_use]
    pub fn owed(&self) -> u64 {
        self.sum(|producer| &producer.owed)
    }

    /// Deliveries, over all groups; repeated ones count again.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.groups.iter().map(|group| group.delivered.load(Ordering::Relaxed)).sum()
    }

    /// Deliveries to one group, by its index in the scenario.
    #[must_use]
    pub fn delivered_to(&self, group: u16) -> u64 {
        self.groups.get(usize::from(group)).map_or(0, |group| group.delivered.load(Ordering::Relaxed))
    }

    /// One past the highest offset that a group was given, per partition.
    #[must_use]
    pub fn positions(&self, group: u16) -> BTreeMap<Tp, i64> {
        self.groups.get(usize::from(group)).map(|group| group.positions()).unwrap_or_default()
    }

    /// One past the highest offset that was acknowledged, per partition; partitions of which no acknowledgement named an
    /// offset (acks=0) are missing.
    #[must_use]
    pub fn acked_ends(&self) -> BTreeMap<Tp, i64> {
        let mut ends = BTreeMap::new();
        for producer in &self.producers {
            for (tp, end) in producer.ends.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let highest = ends.entry(*tp).or_insert(*end);
                *highest = (*highest).max(*end);
            }
        }
        ends
    }

    /// Messages of these topics that were acknowledged and not given to the group yet: a group that was given nothing of a
    /// partition lags by all of it. `None` if no acknowledgement named an offset.
    #[must_use]
    pub fn lag(&self, group: u16, topics: &BTreeSet<u16>) -> Option<u64> {
        let positions = self.positions(group);
        let mut lag = None;
        for (tp, end) in self.acked_ends().iter().filter(|(tp, _)| topics.contains(&tp.topic)) {
            let behind = end - positions.get(tp).copied().unwrap_or(0);
            *lag.get_or_insert(0) += u64::try_from(behind).unwrap_or(0);
        }
        lag
    }

    /// Live members of a group.
    #[must_use]
    pub fn members(&self, group: u16) -> u32 {
        self.groups.get(usize::from(group)).map_or(0, |group| group.members.load(Ordering::Relaxed))
    }

    /// How long clients were held up because nobody took their events, µs over all threads.
    #[must_use]
    pub fn blocked_us(&self) -> u64 {
        self.sink.blocked_us()
    }
}

/// What one producer counts.
#[derive(Debug, Default)]
pub(crate) struct ProducerCounters {
    pub(crate) sent: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) owed: AtomicU64,
    /// One past the highest offset acknowledged, per partition.
    ends: Mutex<BTreeMap<Tp, i64>>,
}

impl ProducerCounters {
    /// A batch of outcomes: how far the acknowledged offsets go. Once per batch, so that no send pays for it.
    pub(crate) fn note_ends(&self, records: &[Record]) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            if let Record::Outcome { count, outcome: Outcome::Ok { tp, base_offset }, .. } = record
                && *base_offset >= 0
            {
                let end = ends.entry(*tp).or_insert(0);
                *end = (*end).max(base_offset + i64::from(*count));
            }
        }
    }

    /// Sends whose outcome is not known yet.
    pub(crate) fn open(&self) -> u64 {
        // Outcomes first: nobody sees more of them than sends.
        let ended = [&self.acked, &self.failed, &self.unknown].map(|count| count.load(Ordering::Acquire));
        self.sent.load(Ordering::Acquire).saturating_sub(ended.iter().sum())
    }
}

/// What the members of one group have read.
#[derive(Debug, Default)]
pub(crate) struct GroupCounters {
    pub(crate) delivered: AtomicU64,
    pub(crate) members: AtomicU32,
    positions: Mutex<BTreeMap<Tp, i64>>,
}

impl GroupCounters {
    /// `count` deliveries, and how far they went per partition.
    pub(crate) fn delivered(&self, count: u64, up_to: &BTreeMap<Tp, i64>) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        for (tp, next) in up_to {
            let position = positions.entry(*tp).or_insert(0);
            *position = (*position).max(*next);
        }
    }

    /// One past the highest offset delivered, per partition.
    pub(crate) fn positions(&self) -> BTreeMap<Tp, i64> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metricstream_ledger::history::LaneId;
    use tokio::sync::mpsc;

    #[test]
    fn positions_only_rise_and_open_is_what_has_no_outcome() {
        let group = GroupCounters::default();
        let tp = Tp { topic: 0, partition: 1 };
        group.delivered(10, &[(tp, 10)].into());
        group.delivered(2, &[(tp, 4)].into());
        assert_eq!(group.positions(), [(tp, 10)].into());
        assert_eq!(group.delivered.load(Ordering::Relaxed), 12);
        let counters = ProducerCounters::default();
        counters.sent.store(10, Ordering::Relaxed);
        counters.acked.store(5, Ordering::Relaxed);
        counters.unknown.store(2, Ordering::Relaxed);
        assert_eq!(counters.open(), 3);
    }

    #[test]
    fn lag_is_what_was_acknowledged_and_not_delivered_of_the_groups_own_topics() {
        let producer = Arc::new(ProducerCounters::default());
        let group = Arc::new(GroupCounters::default());
        let (tx, _rx) = mpsc::channel(1);
        let progress = Progress {
            producers: vec![Arc::clone(&producer)],
            groups: vec![Arc::clone(&group)],
            sink: EventSink::new(tx),
        };
        let tp = |topic, partition| Tp { topic, partition };
        let acked = |tp, base_offset, count| Record::Outcome {
            at_us: 0,
            lane: LaneId { incarnation: 0, lane: 0 },
            first_seq: 0,
            count,
            outcome: Outcome::Ok { tp, base_offset },
        };
        // acks=0 names no offset: then nothing is known.
        producer.note_ends(&[acked(tp(0, 0), -1, 5)]);
        assert_eq!(progress.lag(0, &[0].into()), None);
        producer.note_ends(&[acked(tp(0, 0), 0, 10), acked(tp(0, 1), 4, 2), acked(tp(1, 0), 0, 100)]);
        group.delivered(7, &[(tp(0, 0), 7)].into());
        assert_eq!(progress.lag(0, &[0].into()), Some(3 + 6));
        assert_eq!(progress.lag(0, &[0, 1].into()), Some(109));
        // A group may be given what no acknowledgement came for.
        group.delivered(9, &[(tp(0, 0), 12), (tp(0, 1), 6)].into());
        assert_eq!(progress.lag(0, &[0].into()), Some(0));
    }
}
