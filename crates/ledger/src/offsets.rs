//! What one observer saw of a partition: which offsets, and per block of 4,096 a 64-bit sum of hash(offset, id).
//!
//! Two observers that saw the same offsets and have the same sum saw the same messages. The hash of a message is a
//! random 64-bit factor, made of its lane and of the distance between sequence and offset, times an odd number made of
//! the offset; so the sum over a run is that factor times a difference of squares, whatever the run's length.

use crate::bitmap::{Bits, CHUNK, Chunked, count_range, pieces, runs_of};
use crate::history::LaneId;

/// Offsets in one block.
pub(crate) const BLOCK: u64 = 4_096;
const BLOCKS: usize = (CHUNK as u64 / BLOCK) as usize;

#[derive(Debug, Clone, Default)]
struct Segment {
    seen: Bits,
    sums: [u64; BLOCKS],
}

/// The offsets that an observer saw and the sums over what it saw there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observer {
    segments: Chunked<Segment>,
}

/// What two observers make of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// Nothing seen by both.
    Apart,
    /// The same offsets and the same messages.
    Same,
    /// The same offsets and different messages.
    Different,
    /// Only some offsets were seen by both: sums prove nothing.
    Partly,
}

/// The factor of a message's hash.
pub(crate) fn factor(lane: LaneId, seq: u64, offset: i64) -> u64 {
    let lane = (u64::from(lane.incarnation) << 32) | u64::from(lane.lane);
    mix(mix(lane).wrapping_add((offset as u64).wrapping_sub(seq)))
}

/// The sum of hashes over `[from, to)`: 2·o + 1 summed over a range is a difference of squares.
pub(crate) fn sum(factor: u64, from: u64, to: u64) -> u64 {
    factor.wrapping_mul(to.wrapping_mul(to).wrapping_sub(from.wrapping_mul(from)))
}

/// A bijection of 64 bits that scatters neighbours (the finaliser of splitmix64).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Observer {
    /// Notes `count` consecutive messages from `base` on; calls `again(from, to)` for offsets that were seen before.
    /// Only a first sighting counts in the sums.
    #[inline]
    pub(crate) fn see(&mut self, base: u64, count: u32, factor: u64, mut again: impl FnMut(u64, u64)) {
        for (chunk, from, to, at) in pieces(base, u64::from(count)) {
            let segment = self.segments.at(chunk);
            if segment.seen.set_if_clear(from, to) {
                segment.add(at - u64::from(from), from, to, factor);
                continue;
            }
            let start = at - u64::from(from);
            let seen = std::mem::take(&mut segment.seen);
            runs_of(from, to, |i| seen.word(i), |a, b| again(start + u64::from(a), start + u64::from(b)));
            runs_of(from, to, |i| !seen.word(i), |a, b| segment.add(start, a, b, factor));
            segment.seen = seen;
            segment.seen.set_range(from, to);
        }
    }

    /// Notes an offset whose message has no identity.
    pub(crate) fn see_alien(&mut self, offset: u64) {
        self.see(offset, 1, 0, |_, _| ());
    }

    /// How many of `[from, to)` were seen.
    pub(crate) fn count(&self, from: u64, to: u64) -> u64 {
        count_range(&self.segments, |segment| &segment.seen, from, to)
    }

    pub(crate) fn seen(&self, chunk: u64) -> &Bits {
        self.segments.get(chunk).map_or(&Bits::Empty, |segment| &segment.seen)
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = (u64, &Bits)> {
        self.segments.iter().map(|(chunk, segment)| (chunk, &segment.seen))
    }

    /// Calls `each` for the runs of offsets in `[from, to)` that were seen.
    pub(crate) fn each_seen(&self, from: u64, to: u64, mut each: impl FnMut(u64, u64)) {
        for (chunk, a, b, at) in pieces(from, to.saturating_sub(from)) {
            let (seen, start) = (self.seen(chunk), at - u64::from(a));
            runs_of(a, b, |i| seen.word(i), |a, b| each(start + u64::from(a), start + u64::from(b)));
        }
    }

    /// Calls `each` for the runs of offsets in the window that this one saw and the other did not.
    pub(crate) fn missing_in(&self, other: &Self, (from, to): (u64, u64), mut each: impl FnMut(u64, u64)) {
        for (chunk, mine) in self.chunks() {
            let (theirs, start) = (other.seen(chunk), chunk * u64::from(CHUNK));
            runs_of(
                0,
                CHUNK,
                |i| mine.word(i) & !theirs.word(i),
                |a, b| {
                    let (a, b) = ((start + u64::from(a)).max(from), (start + u64::from(b)).min(to));
                    if a < b {
                        each(a, b);
                    }
                },
            );
        }
    }

    /// Every block of which both saw something, with what the comparison says.
    pub(crate) fn compare(&self, other: &Self, mut each: impl FnMut(u64, Compared)) {
        for (chunk, segment) in self.segments.iter() {
            let Some(theirs) = other.segments.get(chunk) else { continue };
            for block in 0..BLOCKS {
                let compared = segment.compare(theirs, block);
                if compared != Compared::Apart {
                    each(chunk * BLOCKS as u64 + block as u64, compared);
                }
            }
        }
    }

    pub(crate) fn allocated_bytes(&self) -> usize {
        let each = |(_, segment): (u64, &Segment)| segment.seen.allocated_bytes() + size_of::<(u64, Segment)>();
        self.segments.iter().map(each).sum()
    }
}

impl Segment {
    fn add(&mut self, start: u64, from: u32, to: u32, factor: u64) {
        let mut at = u64::from(from);
        while at < u64::from(to) {
            let block = at / BLOCK;
            let stop = u64::from(to).min((block + 1) * BLOCK);
            let slot = &mut self.sums[block as usize];
            *slot = slot.wrapping_add(sum(factor, start + at, start + stop));
            at = stop;
        }
    }

    fn compare(&self, other: &Self, block: usize) -> Compared {
        let words = BLOCK as usize / 64;
        let (mut both, mut same) = (false, true);
        for index in block * words..(block + 1) * words {
            let (a, b) = (self.seen.word(index), other.seen.word(index));
            both |= a & b != 0;
            same &= a == b;
        }
        match (both, same) {
            (false, _) => Compared::Apart,
            (true, false) => Compared::Partly,
            (true, true) if self.sums[block] == other.sums[block] => Compared::Same,
            (true, true) => Compared::Different,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: LaneId = LaneId { incarnation: 1, lane: 2 };

    fn comparison(a: &Observer, b: &Observer) -> Vec<(u64, Compared)> {
        let mut found = Vec::new();
        a.compare(b, |block, compared| found.push((block, compared)));
        found
    }

    #[test]
    fn the_sum_does_not_depend_on_how_a_run_was_cut() {
        let (mut whole, mut cut) = (Observer::default(), Observer::default());
        whole.see(65_000, 9_000, factor(LANE, 5, 65_000), |_, _| ());
        for i in 0..9_000_u64 {
            cut.see(65_000 + i, 1, factor(LANE, 5 + i, 65_000 + i as i64), |_, _| ());
        }
        assert!(comparison(&whole, &cut).iter().all(|(_, compared)| *compared == Compared::Same));
        assert_eq!(comparison(&whole, &cut).len(), 4);
        assert_eq!(cut.count(0, 1 << 60), 9_000);
        assert_eq!(cut.count(64_000, 65_010), 10);
    }

    #[test]
    fn one_other_message_is_seen_in_its_block() {
        let (mut a, mut b) = (Observer::default(), Observer::default());
        a.see(0, 10_000, factor(LANE, 0, 0), |_, _| ());
        b.see(0, 5_000, factor(LANE, 0, 0), |_, _| ());
        b.see(5_000, 1, factor(LANE, 5_001, 5_000), |_, _| ());
        b.see(5_001, 4_999, factor(LANE, 5_001, 5_001), |_, _| ());
        assert_eq!(comparison(&a, &b), [(0, Compared::Same), (1, Compared::Different), (2, Compared::Same)]);
    }

    #[test]
    fn swapped_neighbours_are_seen() {
        let (mut a, mut b) = (Observer::default(), Observer::default());
        a.see(0, 2, factor(LANE, 0, 0), |_, _| ());
        b.see(0, 1, factor(LANE, 1, 0), |_, _| ());
        b.see(1, 1, factor(LANE, 0, 1), |_, _| ());
        assert_eq!(comparison(&a, &b), [(0, Compared::Different)]);
    }

    #[test]
    fn what_is_seen_again_is_told_and_not_summed() {
        let (mut a, mut b) = (Observer::default(), Observer::default());
        let mut again = Vec::new();
        a.see(10, 20, factor(LANE, 0, 10), |from, to| again.push((from, to)));
        a.see(5, 10, factor(LANE, 90, 5), |from, to| again.push((from, to)));
        assert_eq!(again, [(10, 15)]);
        b.see(5, 5, factor(LANE, 90, 5), |_, _| ());
        b.see(10, 20, factor(LANE, 0, 10), |_, _| ());
        assert_eq!(comparison(&a, &b), [(0, Compared::Same)]);
    }
}
