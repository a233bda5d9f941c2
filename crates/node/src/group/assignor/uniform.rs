//! Uniform: everyone has as many partitions as everyone else, as nearly as subscriptions allow, and keeps what it has as
//! far as that allows.
//!
//! Three steps: keep what is still there and wanted; give what nobody has to the one with the fewest who wants it; and
//! move single partitions from who has more to who has at least two fewer until there is no such pair. Each move lowers
//! the sum of the squares of the counts, so it ends.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_wire::Uuid;

use super::{Parts, Spec};

pub(super) fn assign(spec: &Spec) -> BTreeMap<String, Parts> {
    let ids: Vec<&String> = spec.members.keys().collect();
    let mut wanting: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    for (nth, member) in spec.members.values().enumerate() {
        for topic in &member.wants {
            wanting.entry(*topic).or_default().push(nth);
        }
    }
    let mut table = Table { owner: BTreeMap::new(), counts: vec![0; ids.len()] };
    table.keep(spec);
    table.give(spec, &wanting);
    table.balance(spec, &wanting);
    let mut assigned: BTreeMap<String, Parts> = ids.iter().map(|id| ((*id).clone(), Parts::new())).collect();
    for ((topic, partition), nth) in table.owner {
        let parts = assigned.entry(ids[nth].clone()).or_default();
        parts.entry(topic).or_default().insert(partition);
    }
    assigned
}

/// Who has what, by the members' places in the order of their ids.
struct Table {
    owner: BTreeMap<(Uuid, i32), usize>,
    counts: Vec<usize>,
}

impl Table {
    fn keep(&mut self, spec: &Spec) {
        for (nth, member) in spec.members.values().enumerate() {
            for (topic, partitions) in &member.has {
                let count = spec.topics.get(topic).copied().unwrap_or(0);
                for partition in partitions.iter().filter(|p| member.wants.contains(topic) && (0..count).contains(*p)) {
                    // What two had before is kept by the first.
                    if !self.owner.contains_key(&(*topic, *partition)) {
                        self.set((*topic, *partition), nth);
                    }
                }
            }
        }
    }

    /// Topics that few want first, so that those who want more fill up from the others.
    fn give(&mut self, spec: &Spec, wanting: &BTreeMap<Uuid, Vec<usize>>) {
        let mut topics: Vec<_> = wanting.iter().filter(|(_, who)| !who.is_empty()).collect();
        topics.sort_by_key(|(topic, who)| (who.len(), **topic));
        for (topic, who) in topics {
            let mut fewest: BTreeSet<(usize, usize)> = who.iter().map(|nth| (self.counts[*nth], *nth)).collect();
            for partition in 0..spec.topics.get(topic).copied().unwrap_or(0) {
                if self.owner.contains_key(&(*topic, partition)) {
                    continue;
                }
                let Some((_, nth)) = fewest.pop_first() else { break };
                self.set((*topic, partition), nth);
                fewest.insert((self.counts[nth], nth));
            }
        }
    }

    fn balance(&mut self, spec: &Spec, wanting: &BTreeMap<Uuid, Vec<usize>>) {
        loop {
            let mut moved = false;
            for (topic, who) in wanting {
                let count = spec.topics.get(topic).copied().unwrap_or(0);
                moved |= self.balance_topic(*topic, count, who);
            }
            if !moved {
                return;
            }
        }
    }

    fn balance_topic(&mut self, topic: Uuid, count: i32, who: &[usize]) -> bool {
        // The last partitions go first: those at the front stay where they have been.
        let mut of: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
        for partition in 0..count {
            if let Some(nth) = self.owner.get(&(topic, partition)) {
                of.entry(*nth).or_default().push(partition);
            }
        }
        let mut fewest: BTreeSet<(usize, usize)> = who.iter().map(|nth| (self.counts[*nth], *nth)).collect();
        let mut most: BTreeSet<(usize, usize)> = of.keys().map(|nth| (self.counts[*nth], *nth)).collect();
        let mut moved = false;
        while let (Some((more, from)), Some((fewer, to))) = (most.last().copied(), fewest.first().copied()) {
            if more <= fewer + 1 {
                break;
            }
            let Some(partition) = of.get_mut(&from).and_then(Vec::pop) else {
                most.remove(&(more, from));
                continue;
            };
            for nth in [from, to] {
                most.remove(&(self.counts[nth], nth));
                fewest.remove(&(self.counts[nth], nth));
            }
            self.counts[from] -= 1;
            self.set((topic, partition), to);
            of.entry(to).or_default().push(partition);
            for nth in [from, to] {
                fewest.insert((self.counts[nth], nth));
                if of.get(&nth).is_some_and(|left| !left.is_empty()) {
                    most.insert((self.counts[nth], nth));
                }
            }
            moved = true;
        }
        moved
    }

    fn set(&mut self, part: (Uuid, i32), nth: usize) {
        self.owner.insert(part, nth);
        self.counts[nth] += 1;
    }
}
