//! Outputs, held back until what they promise is on the disk: whatever was put out after an epoch or a vote was written
//! leaves when that write is durable, and what comes behind it stays behind it.

use std::collections::VecDeque;

use super::QuorumOutput;

/// The number of a write of the ballot.
pub(super) type WriteNo = u64;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: Vec<QuorumOutput>,
    held: VecDeque<(WriteNo, QuorumOutput)>,
    issued: WriteNo,
    durable: WriteNo,
}

impl Outbox {
    pub(super) fn push(&mut self, output: QuorumOutput) {
        if self.durable >= self.issued {
            self.ready.push(output);
        } else {
            self.held.push_back((self.issued, output));
        }
    }

    /// What comes from now on waits for this write.
    pub(super) fn wait_for(&mut self, write: WriteNo) {
        self.issued = self.issued.max(write);
    }

    pub(super) fn durable(&mut self, write: WriteNo) {
        self.durable = self.durable.max(write);
        while self.held.front().is_some_and(|(needed, _)| *needed <= self.durable) {
            self.ready.extend(self.held.pop_front().map(|(_, output)| output));
        }
    }

    pub(super) fn take(&mut self) -> Vec<QuorumOutput> {
        std::mem::take(&mut self.ready)
    }

    pub(super) fn clear(&mut self) {
        self.ready.clear();
        self.held.clear();
    }
}
