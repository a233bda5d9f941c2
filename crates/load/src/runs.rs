//! Single messages to runs: consecutive sequences at consecutive offsets of one place share a record.

use std::collections::BTreeMap;

use metricstream_ledger::history::{LaneId, MessageId, Tp};

/// Consecutive messages at consecutive offsets (or at none: −1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) tp: Tp,
    pub(crate) base_offset: i64,
    pub(crate) lane: LaneId,
    pub(crate) first_seq: u64,
    pub(crate) count: u32,
}

impl Run {
    fn takes(&self, tp: Tp, offset: i64, id: MessageId) -> bool {
        let next_offset = if self.base_offset < 0 { -1 } else { self.base_offset + i64::from(self.count) };
        self.tp == tp
            && self.lane == id.lane
            && self.first_seq + u64::from(self.count) == id.seq
            && next_offset == offset
            && self.count < u32::MAX
    }
}

/// Builds runs; per partition one is open, so that partitions that take turns do not cut each other's.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    open: BTreeMap<Tp, Run>,
    done: Vec<Run>,
}

impl Runs {
    /// One more message.
    pub(crate) fn push(&mut self, tp: Tp, offset: i64, id: MessageId) {
        if let Some(run) = self.open.get_mut(&tp)
            && run.takes(tp, offset, id)
        {
            run.count += 1;
            return;
        }
        let run = Run { tp, base_offset: offset, lane: id.lane, first_seq: id.seq, count: 1 };
        self.done.extend(self.open.insert(tp, run));
    }

    /// All runs so far; within a partition in the order of their coming.
    pub(crate) fn take(&mut self) -> Vec<Run> {
        let mut all = std::mem::take(&mut self.done);
        all.extend(std::mem::take(&mut self.open).into_values());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(lane: u32, seq: u64) -> MessageId {
        MessageId { lane: LaneId { incarnation: 0, lane }, seq }
    }

    #[test]
    fn consecutive_messages_share_a_run_and_a_hole_in_either_count_ends_it() {
        let tp = |partition| Tp { topic: 0, partition };
        let mut runs = Runs::default();
        for (p, offset, lane, seq) in
            [(0, 5, 0, 0), (1, 9, 1, 0), (0, 6, 0, 1), (0, 8, 0, 2), (0, 9, 0, 4), (1, 10, 1, 1)]
        {
            runs.push(tp(p), offset, id(lane, seq));
        }
        let all: Vec<_> = runs.take().iter().map(|r| (r.tp.partition, r.base_offset, r.first_seq, r.count)).collect();
        assert_eq!(all, [(0, 5, 0, 2), (0, 8, 2, 1), (0, 9, 4, 1), (1, 9, 0, 2)]);
        assert!(runs.take().is_empty());
    }
}
