//! From which leader a follower fetches what, and when it may try again. One fetch at a time is under way to each leader.

use std::collections::{BTreeMap, BTreeSet};

use super::following::Following;
use crate::image::{Partition, PartitionId};
use crate::time::{Now, Ns};

/// Fetching from one leader.
#[derive(Debug, Default)]
struct Fetcher {
    partitions: BTreeSet<PartitionId>,
    /// Partitions that the leader refused, and when to ask again.
    delayed: BTreeMap<PartitionId, Ns>,
    in_flight: bool,
    /// The leader could not be reached.
    not_before: Ns,
    /// The fetch session with it.
    following: Following,
}

/// Fetching from all of them.
#[derive(Debug, Default)]
pub struct Fetchers {
    leaders: BTreeMap<i32, Fetcher>,
    of: BTreeMap<PartitionId, i32>,
}

impl Fetchers {
    /// The controller decided whom to follow.
    pub fn assign(&mut self, id: PartitionId, partition: &Partition, own: i32, anew: bool) {
        let leader = partition.leader;
        let follows = leader >= 0 && leader != own;
        if self.of.get(&id) != Some(&leader) || !follows {
            self.remove(id);
        }
        if follows {
            let fetcher = self.leaders.entry(leader).or_default();
            fetcher.partitions.insert(id);
            self.of.insert(id, leader);
            if anew {
                fetcher.delayed.remove(&id);
                fetcher.not_before = 0;
            }
        }
    }

    /// Nothing is fetched for this partition any more.
    pub fn remove(&mut self, id: PartitionId) {
        if let Some(leader) = self.of.remove(&id)
            && let Some(fetcher) = self.leaders.get_mut(&leader)
        {
            fetcher.partitions.remove(&id);
            fetcher.delayed.remove(&id);
        }
    }

    /// A leader that can be asked now, and for what; it counts as asked from here on.
    pub fn next(&mut self, now: Now) -> Option<(i32, Vec<PartitionId>)> {
        for (leader, fetcher) in &mut self.leaders {
            if fetcher.in_flight || !now.reached(fetcher.not_before) {
                continue;
            }
            fetcher.delayed.retain(|_, at| !now.reached(*at));
            let wanted: Vec<PartitionId> =
                fetcher.partitions.iter().filter(|id| !fetcher.delayed.contains_key(id)).copied().collect();
            if !wanted.is_empty() {
                fetcher.in_flight = true;
                return Some((*leader, wanted));
            }
        }
        None
    }

    /// The leader answered.
    pub fn answered(&mut self, leader: i32) {
        if let Some(fetcher) = self.leaders.get_mut(&leader) {
            fetcher.in_flight = false;
        }
    }

    /// It did not.
    pub fn failed(&mut self, leader: i32, not_before: Ns) {
        if let Some(fetcher) = self.leaders.get_mut(&leader) {
            fetcher.in_flight = false;
            fetcher.not_before = not_before;
            fetcher.following.begin_anew();
        }
    }

    /// Id and epoch of the fetch session with a leader, for tests and views.
    #[must_use]
    pub fn session(&self, leader: i32) -> Option<(i32, i32)> {
        self.leaders.get(&leader).map(|fetcher| fetcher.following.session())
    }

    /// The fetch session with a leader.
    pub fn following(&mut self, leader: i32) -> Option<&mut Following> {
        self.leaders.get_mut(&leader).map(|fetcher| &mut fetcher.following)
    }

    /// The leader refused a partition.
    pub fn delay(&mut self, id: PartitionId, until: Ns) {
        if let Some(fetcher) = self.of.get(&id).and_then(|leader| self.leaders.get_mut(leader)) {
            fetcher.delayed.insert(id, until);
        }
    }

    /// When one may be asked again that may not be now.
    #[must_use]
    pub fn next_timer(&self) -> Ns {
        let idle = self.leaders.values().filter(|f| !f.in_flight && !f.partitions.is_empty());
        idle.map(|f| {
            let asleep = f.partitions.iter().all(|id| f.delayed.contains_key(id));
            let first = if asleep { f.delayed.values().copied().min().unwrap_or(0) } else { 0 };
            f.not_before.max(first)
        })
        .min()
        .unwrap_or(Ns::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leader_is_asked_for_its_partitions_and_not_again_before_it_answered() {
        let at = |ns| Now { monotonic_ns: ns, wall_ms: 0 };
        let led_by = |leader| Partition { leader, ..Partition::default() };
        let (a, b) = (([1; 16], 0), ([1; 16], 1));
        let mut fetchers = Fetchers::default();
        fetchers.assign(a, &led_by(2), 1, true);
        fetchers.assign(b, &led_by(2), 1, true);
        assert_eq!(fetchers.next(at(0)), Some((2, vec![a, b])));
        assert_eq!(fetchers.next(at(0)), None);
        fetchers.answered(2);
        fetchers.delay(a, 50);
        assert_eq!(fetchers.next(at(10)), Some((2, vec![b])));
        fetchers.failed(2, 30);
        assert_eq!((fetchers.next(at(20)), fetchers.next_timer()), (None, 30));
        fetchers.assign(b, &led_by(1), 1, true);
        assert_eq!((fetchers.next(at(40)), fetchers.next_timer()), (None, 50));
        assert_eq!(fetchers.next(at(50)), Some((2, vec![a])));
    }
}
