//! The fate of every message: per lane, chunked bitmaps of 65,536 sequences.
//!
//! A chunk that is all acknowledged, in the log and delivered collapses into a marker. Judging is not done here.

use std::collections::BTreeMap;

use crate::bitmap::{Bits, CHUNK, Chunked, pieces, runs_of};
use crate::history::LaneId;
use crate::offsets::{factor, sum};
use crate::runs::RunList;

/// Lanes that one ledger holds.
pub(crate) const LANES_MAX: usize = 1 << 20;
const CACHE: usize = 256;

/// The fates of 65,536 sequences.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    pub(crate) acked: Bits,
    pub(crate) failed: Bits,
    pub(crate) in_log: Bits,
    pub(crate) duplicate: Bits,
    /// One per group that was given anything.
    pub(crate) delivered: Vec<Bits>,
    /// Sum of hash(sequence, offset) over acknowledgements and over the log.
    ack_sum: u64,
    log_sum: u64,
    /// An acknowledgement came without an offset, or twice: the sums cannot be compared.
    sums_unclear: bool,
}

impl Chunk {
    pub(crate) fn delivered(&self, group: usize) -> &Bits {
        self.delivered.get(group).unwrap_or(&Bits::Empty)
    }

    /// Whether the sums prove that every acknowledged offset is the logged one.
    pub(crate) fn acks_agree(&self) -> bool {
        let same_set = (0..CHUNK as usize / 64).all(|i| self.acked.word(i) == self.in_log.word(i));
        same_set && !self.sums_unclear && self.duplicate.is_empty() && self.ack_sum == self.log_sum
    }

    fn is_complete(&self, groups: usize) -> bool {
        self.acked.is_full()
            && self.in_log.is_full()
            && self.delivered.len() == groups
            && self.delivered.iter().all(Bits::is_full)
            && self.failed.is_empty()
            && self.acks_agree()
    }

    fn allocated_bytes(&self) -> usize {
        let own = [&self.acked, &self.failed, &self.in_log, &self.duplicate];
        let bits: usize = own.into_iter().chain(&self.delivered).map(Bits::allocated_bytes).sum();
        size_of::<Self>() + self.delivered.capacity() * size_of::<Bits>() + bits
    }
}

/// A chunk, or the marker that everything in it is well.
#[derive(Debug, Clone, Default)]
enum Slot {
    #[default]
    Untouched,
    Open(Box<Chunk>),
    Collapsed,
}

/// How far a stream went and how often it went back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// One past the highest sequence seen.
    pub(crate) high: u64,
    /// First sightings below the highest.
    pub(crate) reordered: u64,
    /// Largest distance back.
    pub(crate) displacement_max: u64,
    /// Where the first of them was.
    pub(crate) first: Option<(u64, i64)>,
}

impl Order {
    fn see(&mut self, from: u64, to: u64, offset: i64) {
        let late = self.high.min(to).saturating_sub(from);
        if late > 0 {
            self.reordered += late;
            self.displacement_max = self.displacement_max.max(self.high - 1 - from);
            self.first.get_or_insert((from, offset));
        }
        self.high = self.high.max(to);
    }
}

/// One lane.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    /// Dense number of the partition: pinned, or learned from the first sighting.
    pub(crate) place: Option<u32>,
    pub(crate) idempotent: bool,
    /// One past the highest sequence handed to the client.
    pub(crate) sent: u64,
    pub(crate) duplicates: u64,
    chunks: Chunked<Slot>,
    pub(crate) log_order: Order,
    pub(crate) group_order: Vec<Order>,
    pub(crate) acks: RunList,
    pub(crate) logged: RunList,
    pub(crate) delivered: Vec<RunList>,
}

impl Lane {
    fn new(id: LaneId) -> Self {
        Self {
            id,
            place: None,
            idempotent: false,
            sent: 0,
            duplicates: 0,
            chunks: Chunked::default(),
            log_order: Order::default(),
            group_order: Vec::new(),
            acks: RunList::default(),
            logged: RunList::default(),
            delivered: Vec::new(),
        }
    }

    /// Changes the chunks under `[first, first + count)` and collapses those that became complete.
    #[inline]
    fn change(&mut self, first: u64, count: u32, groups: usize, mut each: impl FnMut(&mut Chunk, u32, u32, u64)) {
        for (chunk, from, to, at) in pieces(first, u64::from(count)) {
            let slot = self.chunks.at(chunk);
            if !matches!(slot, Slot::Open(_)) {
                let reopened = if matches!(slot, Slot::Collapsed) { collapsed(groups) } else { Chunk::default() };
                *slot = Slot::Open(Box::new(reopened));
            }
            let Slot::Open(open) = slot else { continue };
            each(open, from, to, at);
            if open.acked.is_full() && open.is_complete(groups) {
                *slot = Slot::Collapsed;
            }
        }
    }

    /// Acknowledged at `offset` on; −1: unreported.
    pub(crate) fn ack(&mut self, first: u64, count: u32, offset: i64, place: u32, groups: usize) {
        let factor = factor_at(place, first, offset);
        self.change(first, count, groups, |chunk, from, to, at| {
            let added = chunk.acked.set_range(from, to);
            chunk.sums_unclear |= offset < 0 || added < to - from;
            chunk.ack_sum = chunk.ack_sum.wrapping_add(sum(factor, at, at + u64::from(to - from)));
        });
    }

    /// Definitely failed.
    pub(crate) fn fail(&mut self, first: u64, count: u32, groups: usize) {
        self.change(first, count, groups, |chunk, from, to, _| {
            chunk.failed.set_range(from, to);
        });
    }

    /// Found in the log at `offset` on, at offsets that the audit had not read before.
    pub(crate) fn log(&mut self, first: u64, count: u32, offset: i64, place: u32, groups: usize) {
        let factor = factor_at(place, first, offset);
        let (mut order, mut duplicates) = (self.log_order, 0);
        self.change(first, count, groups, |chunk, from, to, at| {
            let start = at - u64::from(from);
            let seen_at = |seq: u64| offset + (seq - first) as i64;
            if chunk.in_log.set_if_clear(from, to) {
                order.see(at, at + u64::from(to - from), seen_at(at));
            } else {
                duplicates += u64::from(chunk.in_log.count_range(from, to));
                let before = std::mem::take(&mut chunk.in_log);
                runs_of(
                    from,
                    to,
                    |i| before.word(i),
                    |a, b| {
                        chunk.duplicate.set_range(a, b);
                    },
                );
                runs_of(
                    from,
                    to,
                    |i| !before.word(i),
                    |a, b| {
                        order.see(start + u64::from(a), start + u64::from(b), seen_at(start + u64::from(a)));
                    },
                );
                chunk.in_log = before;
                chunk.in_log.set_range(from, to);
            }
            chunk.log_sum = chunk.log_sum.wrapping_add(sum(factor, at, at + u64::from(to - from)));
        });
        self.log_order = order;
        self.duplicates += duplicates;
    }

    /// Delivered to a group.
    pub(crate) fn deliver(&mut self, group: usize, first: u64, count: u32, offset: i64, groups: usize) {
        if self.group_order.len() <= group {
            self.group_order.resize(group + 1, Order::default());
        }
        let mut order = self.group_order[group];
        self.change(first, count, groups, |chunk, from, to, at| {
            if chunk.delivered.len() <= group {
                chunk.delivered.reserve_exact(group + 1 - chunk.delivered.len());
                chunk.delivered.resize(group + 1, Bits::Empty);
            }
            let bits = &mut chunk.delivered[group];
            let start = at - u64::from(from);
            if bits.set_if_clear(from, to) {
                order.see(at, at + u64::from(to - from), offset + (at - first) as i64);
            } else {
                runs_of(
                    from,
                    to,
                    |i| !bits.word(i),
                    |a, b| {
                        let seq = start + u64::from(a);
                        order.see(seq, start + u64::from(b), offset + (seq - first) as i64);
                    },
                );
                bits.set_range(from, to);
            }
        });
        self.group_order[group] = order;
    }

    /// Calls `each` for every chunk, collapsed ones as the full chunks that they stand for.
    pub(crate) fn each_chunk(&self, groups: usize, mut each: impl FnMut(u64, &Chunk)) {
        let full = collapsed(groups);
        for (index, slot) in self.chunks.iter() {
            match slot {
                Slot::Open(chunk) => each(index, chunk),
                Slot::Collapsed => each(index, &full),
                Slot::Untouched => {}
            }
        }
    }

    /// Maximal runs of sequences whose bits `word(chunk, word index)` are set, over all chunks.
    pub(crate) fn runs_where(&self, groups: usize, word: impl Fn(u64, &Chunk, usize) -> u64) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        self.each_chunk(groups, |index, chunk| {
            let start = index * u64::from(CHUNK);
            runs_of(
                0,
                CHUNK,
                |i| word(index, chunk, i),
                |a, b| {
                    let (from, to) = (start + u64::from(a), start + u64::from(b));
                    match runs.last_mut() {
                        Some(last) if last.1 == from => last.1 = to,
                        _ => runs.push((from, to)),
                    }
                },
            );
        });
        runs
    }

    /// Chunks that are still open, and those that collapsed.
    pub(crate) fn open_and_collapsed(&self) -> (usize, usize) {
        self.chunks.iter().fold((0, 0), |(open, collapsed), (_, slot)| match slot {
            Slot::Open(_) => (open + 1, collapsed),
            Slot::Collapsed => (open, collapsed + 1),
            Slot::Untouched => (open, collapsed),
        })
    }

    pub(crate) fn allocated_bytes(&self) -> usize {
        let slots: usize = self
            .chunks
            .iter()
            .map(|(_, slot)| {
                size_of::<(u64, Slot)>() + if let Slot::Open(chunk) = slot { chunk.allocated_bytes() } else { 0 }
            })
            .sum();
        let runs = [&self.acks, &self.logged].into_iter().chain(&self.delivered).map(RunList::allocated_bytes);
        size_of::<Self>() + slots + runs.sum::<usize>()
    }

    pub(crate) fn forget_detail(&mut self) {
        self.acks.clear();
        self.logged.clear();
        self.delivered.iter_mut().for_each(RunList::clear);
    }
}

fn factor_at(place: u32, seq: u64, offset: i64) -> u64 {
    factor(LaneId { incarnation: place, lane: 0 }, seq, offset)
}

fn collapsed(groups: usize) -> Chunk {
    Chunk { acked: Bits::Full, in_log: Bits::Full, delivered: vec![Bits::Full; groups], ..Chunk::default() }
}

/// Every lane, found by identity.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    index: BTreeMap<LaneId, u32>,
    /// Where the lanes last used are; a tree walk per record would be most of its cost.
    cache: Vec<(LaneId, u32)>,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        let nothing = (LaneId { incarnation: u32::MAX, lane: u32::MAX }, u32::MAX);
        Self { lanes: Vec::new(), index: BTreeMap::new(), cache: vec![nothing; CACHE] }
    }

    /// The number of a lane, made if it is new; `None` if there are too many.
    #[inline]
    pub(crate) fn number(&mut self, id: LaneId) -> Option<usize> {
        let hash = id.incarnation.wrapping_mul(31).wrapping_add(id.lane) as usize % CACHE;
        let (cached, number) = self.cache[hash];
        if cached == id && number != u32::MAX {
            return Some(number as usize);
        }
        self.number_from_tree(id, hash)
    }

    fn number_from_tree(&mut self, id: LaneId, hash: usize) -> Option<usize> {
        let number = match self.index.get(&id) {
            Some(number) => *number,
            None if self.lanes.len() >= LANES_MAX => return None,
            None => {
                let number = self.lanes.len() as u32;
                self.lanes.push(Lane::new(id));
                self.index.insert(id, number);
                number
            }
        };
        self.cache[hash] = (id, number);
        Some(number as usize)
    }

    pub(crate) fn get_mut(&mut self, number: usize) -> &mut Lane {
        &mut self.lanes[number]
    }

    pub(crate) fn all(&self) -> &[Lane] {
        &self.lanes
    }

    pub(crate) fn all_mut(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// Every lane by identity.
    pub(crate) fn sorted(&self) -> impl Iterator<Item = &Lane> {
        self.index.values().map(|number| &self.lanes[*number as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LaneId = LaneId { incarnation: 0, lane: 0 };

    #[test]
    fn a_complete_chunk_collapses_and_memory_follows_the_window() {
        let mut lane = Lane::new(ID);
        let mut bytes_max = 0;
        for batch in 0..2_000_u64 {
            let first = batch * 1_000;
            lane.ack(first, 1_000, first as i64, 0, 1);
            lane.log(first, 1_000, first as i64, 0, 1);
            if let Some(behind) = batch.checked_sub(3) {
                lane.deliver(0, behind * 1_000, 1_000, behind as i64 * 1_000, 1);
            }
            bytes_max = bytes_max.max(lane.allocated_bytes());
        }
        assert_eq!(lane.open_and_collapsed(), (1, 30));
        assert!(bytes_max < 80_000, "{bytes_max} bytes for 2 M messages");
    }

    #[test]
    fn a_collapsed_chunk_opens_again_for_a_duplicate() {
        let mut lane = Lane::new(ID);
        lane.ack(0, CHUNK, 0, 0, 1);
        lane.log(0, CHUNK, 0, 0, 1);
        lane.deliver(0, 0, CHUNK, 0, 1);
        assert_eq!(lane.open_and_collapsed(), (0, 1));
        lane.log(7, 2, 70_000, 0, 1);
        assert_eq!(lane.open_and_collapsed(), (1, 0));
        assert_eq!(lane.duplicates, 2);
        assert_eq!(lane.runs_where(1, |_, chunk, i| chunk.duplicate.word(i)), [(7, 9)]);
        assert_eq!(lane.runs_where(1, |_, chunk, i| chunk.acked.word(i) & !chunk.in_log.word(i)), []);
        assert_eq!(lane.log_order.reordered, 0);
    }

    #[test]
    fn a_wrong_offset_keeps_a_full_chunk_open() {
        let mut lane = Lane::new(ID);
        lane.ack(0, CHUNK, 0, 0, 0);
        lane.log(0, CHUNK - 1, 0, 0, 0);
        lane.log(u64::from(CHUNK) - 1, 1, i64::from(CHUNK), 0, 0);
        assert_eq!(lane.open_and_collapsed(), (1, 0));
        lane.each_chunk(0, |_, chunk| assert!(!chunk.acks_agree()));
    }

    #[test]
    fn order_counts_first_sightings_only() {
        let mut lane = Lane::new(ID);
        lane.log(0, 10, 0, 0, 0);
        lane.log(20, 10, 10, 0, 0);
        lane.log(15, 10, 20, 0, 0);
        // 20..25 are duplicates; 15..20 are late, at most by 14.
        assert_eq!(lane.duplicates, 5);
        assert_eq!((lane.log_order.reordered, lane.log_order.displacement_max), (5, 14));
        assert_eq!(lane.log_order.first, Some((15, 20)));
    }
}
