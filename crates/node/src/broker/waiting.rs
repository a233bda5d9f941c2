//! Requests that wait for something to happen to a partition, or for their time to run out: Kafka's purgatory. It knows
//! neither what waits nor for what: whoever put it there looks again when it is told to.

use std::collections::{BTreeMap, BTreeSet};

use crate::image::PartitionId;
use crate::time::{Now, Ns};

/// Names a parked request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitId(u64);

/// Parked requests, by the partitions that they watch and by their deadlines.
#[derive(Debug)]
pub struct Waiting<T> {
    next: u64,
    parked: BTreeMap<WaitId, Parked<T>>,
    watched: BTreeMap<PartitionId, BTreeSet<WaitId>>,
    deadlines: BTreeSet<(Ns, WaitId)>,
}

#[derive(Debug)]
struct Parked<T> {
    what: T,
    watches: Vec<PartitionId>,
    deadline: Ns,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { next: 0, parked: BTreeMap::new(), watched: BTreeMap::new(), deadlines: BTreeSet::new() }
    }
}

impl<T> Waiting<T> {
    /// Parks something until one of `watches` moves, at most until `deadline`.
    pub fn park(&mut self, what: T, watches: Vec<PartitionId>, deadline: Ns) -> WaitId {
        let id = WaitId(self.next);
        self.next += 1;
        for partition in &watches {
            self.watched.entry(*partition).or_default().insert(id);
        }
        self.deadlines.insert((deadline, id));
        self.parked.insert(id, Parked { what, watches, deadline });
        id
    }

    /// What watches a partition, in the order in which it was parked.
    #[must_use]
    pub fn watching(&self, partition: PartitionId) -> Vec<WaitId> {
        self.watched.get(&partition).map_or_else(Vec::new, |ids| ids.iter().copied().collect())
    }

    /// Whether anything watches a partition.
    #[must_use]
    pub fn is_watched(&self, partition: PartitionId) -> bool {
        self.watched.contains_key(&partition)
    }

    /// A parked request.
    #[must_use]
    pub fn get(&self, id: WaitId) -> Option<&T> {
        self.parked.get(&id).map(|parked| &parked.what)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: WaitId) -> Option<&mut T> {
        self.parked.get_mut(&id).map(|parked| &mut parked.what)
    }

    /// Takes a request out.
    pub fn take(&mut self, id: WaitId) -> Option<T> {
        let parked = self.parked.remove(&id)?;
        self.deadlines.remove(&(parked.deadline, id));
        for partition in &parked.watches {
            if let Some(ids) = self.watched.get_mut(partition) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.watched.remove(partition);
                }
            }
        }
        Some(parked.what)
    }

    /// The next whose time has run out.
    #[must_use]
    pub fn expired(&self, now: Now) -> Option<WaitId> {
        self.deadlines.first().filter(|(deadline, _)| now.reached(*deadline)).map(|(_, id)| *id)
    }

    /// When the next one's time runs out.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Ns> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Every parked request that `which` picks: those of a connection that is gone.
    #[must_use]
    pub fn find(&self, which: impl Fn(&T) -> bool) -> Vec<WaitId> {
        self.parked.iter().filter(|(_, parked)| which(&parked.what)).map(|(id, _)| *id).collect()
    }

    /// How many are parked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_found_by_each_partition_it_watches_and_gone_from_all_once_taken() {
        let (a, b) = (([1; 16], 0), ([1; 16], 1));
        let mut waiting = Waiting::default();
        let first = waiting.park("first", vec![a, b], 50);
        let second = waiting.park("second", vec![b], 20);
        assert_eq!(waiting.watching(b), [first, second]);
        assert_eq!(waiting.next_deadline(), Some(20));
        assert_eq!(waiting.expired(Now { monotonic_ns: 19, wall_ms: 0 }), None);
        assert_eq!(waiting.expired(Now { monotonic_ns: 20, wall_ms: 0 }), Some(second));
        assert_eq!(waiting.take(second), Some("second"));
        assert_eq!(waiting.take(second), None);
        assert_eq!((waiting.watching(b), waiting.next_deadline()), (vec![first], Some(50)));
        assert_eq!(waiting.take(first), Some("first"));
        assert!(waiting.is_empty() && !waiting.is_watched(a) && !waiting.is_watched(b));
    }
}
