//! Runs of consecutive sequences at consecutive offsets: the detail that turns a count into offsets.
//!
//! Detail is bounded. Beyond its budget it is dropped, and a second pass over the stored history keeps the detail of
//! the suspects only; counts come from the bitmaps and never depend on it.

use std::collections::BTreeSet;

use crate::history::{LaneId, Tp};

/// Offset of a message whose acknowledgement did not say.
pub(crate) const UNREPORTED: i64 = -1;

/// Runs kept in a first pass: 8 MB of them, at most twice that allocated.
pub(crate) const BUDGET: usize = 250_000;
/// Runs kept in a second pass, of suspects only.
pub(crate) const BUDGET_FOCUSED: usize = 4_000_000;

/// Acknowledgements further apart than this stay separate runs, so that the election that lost them can be told.
pub(crate) const ACK_MERGE_US: i64 = 100_000;

/// Consecutive sequences at consecutive offsets of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) seq: u64,
    pub(crate) offset: i64,
    /// When the first of them was seen.
    pub(crate) at_us: i64,
    pub(crate) count: u32,
    /// Dense partition number.
    pub(crate) place: u32,
}

impl Run {
    pub(crate) fn end_seq(&self) -> u64 {
        self.seq + u64::from(self.count)
    }

    fn delta(&self) -> i64 {
        if self.offset == UNREPORTED { i64::MIN } else { self.offset - self.seq as i64 }
    }

    /// The part of the run that lies in `[from, to)`.
    pub(crate) fn clip(&self, from: u64, to: u64) -> Option<Self> {
        let (start, end) = (self.seq.max(from), self.end_seq().min(to));
        if start >= end {
            return None;
        }
        let offset = if self.offset == UNREPORTED { UNREPORTED } else { self.offset + (start - self.seq) as i64 };
        Some(Self { seq: start, offset, count: (end - start) as u32, ..*self })
    }

    fn continues(&self, next: &Self, merge_us: i64) -> bool {
        self.place == next.place
            && self.end_seq() == next.seq
            && self.delta() == next.delta()
            && next.at_us - self.at_us <= merge_us
            && self.count.checked_add(next.count).is_some()
    }
}

/// Runs of one kind of one lane.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunList {
    runs: Vec<Run>,
}

impl RunList {
    /// Adds a run; returns whether the list grew (the run did not continue the last one).
    #[inline]
    pub(crate) fn push(&mut self, run: Run, merge_us: i64) -> bool {
        if let Some(last) = self.runs.last_mut()
            && last.continues(&run, merge_us)
        {
            last.count += run.count;
            return false;
        }
        self.runs.push(run);
        true
    }

    pub(crate) fn clear(&mut self) {
        self.runs = Vec::new();
    }

    pub(crate) fn allocated_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
    }

    /// The runs by sequence.
    pub(crate) fn by_seq(&self) -> Vec<Run> {
        let mut runs = self.runs.clone();
        runs.sort_by_key(|run| run.seq);
        runs
    }
}

/// What is in `these` and, at the same offset, not in `those`.
pub(crate) fn subtract(these: &RunList, those: &RunList) -> Vec<Run> {
    let key = |run: &Run| (run.place, run.delta(), run.seq);
    let mut left: Vec<Run> = these.runs.iter().filter(|run| run.offset != UNREPORTED).copied().collect();
    let mut right = those.runs.clone();
    left.sort_by_key(key);
    right.sort_by_key(key);
    let mut rest = Vec::new();
    let mut first = 0;
    for run in left {
        let line = (run.place, run.delta());
        // `right` may overlap itself (an offset read twice); ends still rise closely enough to skip what is behind.
        while first < right.len() && ((right[first].place, right[first].delta()) < line) {
            first += 1;
        }
        while first < right.len()
            && (right[first].place, right[first].delta()) == line
            && right[first].end_seq() <= run.seq
        {
            first += 1;
        }
        let mut at = run.seq;
        for cover in right[first..].iter().take_while(|c| (c.place, c.delta()) == line && c.seq < run.end_seq()) {
            rest.extend(run.clip(at, cover.seq));
            at = at.max(cover.end_seq());
        }
        rest.extend(run.clip(at, run.end_seq()));
    }
    rest
}

/// Where a first pass found something whose detail it did not keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspects {
    /// Chunks of 65,536 sequences of lanes.
    pub chunks: BTreeSet<(LaneId, u64)>,
    /// Blocks of 4,096 offsets of partitions.
    pub blocks: BTreeSet<(Tp, u64)>,
}

impl Suspects {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.blocks.is_empty()
    }
}

/// How much detail is kept.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pub(crate) kept: usize,
    pub(crate) most: usize,
    /// Detail was dropped: what is kept proves nothing by its absence.
    pub(crate) overflowed: bool,
}

impl Budget {
    pub(crate) fn new(most: usize) -> Self {
        Self { kept: 0, most, overflowed: false }
    }

    /// Counts a run; returns whether everything must now be dropped.
    pub(crate) fn grew(&mut self) -> bool {
        self.kept += 1;
        if self.kept > self.most {
            self.overflowed = true;
        }
        self.overflowed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(seq: u64, offset: i64, count: u32) -> Run {
        Run { seq, offset, count, place: 0, at_us: 0 }
    }

    fn list(runs: &[Run]) -> RunList {
        let mut list = RunList::default();
        for run in runs {
            list.push(*run, 0);
        }
        list
    }

    #[test]
    fn consecutive_runs_are_one() {
        let mut runs = RunList::default();
        assert!(runs.push(run(0, 10, 5), 0));
        assert!(!runs.push(run(5, 15, 5), 0));
        assert!(runs.push(run(10, 30, 5), 0));
        assert!(runs.push(Run { at_us: 9, ..run(15, 35, 5) }, 8));
        assert_eq!(runs.by_seq().len(), 3);
    }

    #[test]
    fn subtraction_is_by_offset() {
        let rest = subtract(&list(&[run(0, 10, 10)]), &list(&[run(2, 12, 3), run(6, 17, 4)]));
        assert_eq!(rest, [run(0, 10, 2), run(5, 15, 5)]);
    }

    proptest! {
        #[test]
        fn subtraction_is_set_difference(
            these in prop::collection::vec((0..60_u64, 0..3_i64, 1..20_u32), 0..8),
            those in prop::collection::vec((0..60_u64, 0..3_i64, 1..20_u32), 0..8),
        ) {
            let runs = |from: &[(u64, i64, u32)]| -> Vec<Run> {
                from.iter().map(|(seq, delta, count)| run(*seq, *seq as i64 + delta, *count)).collect()
            };
            let set = |runs: &[Run]| -> BTreeSet<(u64, i64)> {
                runs.iter().flat_map(|r| (0..u64::from(r.count)).map(|i| (r.seq + i, r.offset + i as i64))).collect()
            };
            let (these, those) = (runs(&these), runs(&those));
            let rest = subtract(&list(&these), &list(&those));
            let expected: BTreeSet<_> = set(&these).difference(&set(&those)).copied().collect();
            prop_assert_eq!(set(&rest), expected);
        }
    }
}
