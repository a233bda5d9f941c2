//! The newest batches of a log, in memory: what consumers and followers that keep up read, without touching the store.

use std::collections::VecDeque;

use bytes::Bytes;

/// A smaller batch is copied, so that it does not keep the whole frame alive that it came in.
const COPIED_BELOW_BYTES: usize = 512;

/// The last batches of a log, whole, in the order of their offsets; bounded in bytes.
#[derive(Debug)]
pub(super) struct Cache {
    batches: VecDeque<(i64, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(super) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.shrink();
    }

    /// Takes the batch that was appended last.
    pub(super) fn push(&mut self, base_offset: i64, batch: Bytes) {
        let batch = if batch.len() < COPIED_BELOW_BYTES { Bytes::copy_from_slice(&batch) } else { batch };
        self.bytes += batch.len();
        self.batches.push_back((base_offset, batch));
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.batches.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    pub(super) fn get(&self, base_offset: i64) -> Option<&Bytes> {
        let found = self.batches.binary_search_by_key(&base_offset, |(offset, _)| *offset).ok()?;
        self.batches.get(found).map(|(_, bytes)| bytes)
    }

    #[cfg(test)]
    pub(super) fn first_offset(&self) -> Option<i64> {
        self.batches.front().map(|(offset, _)| *offset)
    }

    /// Forgets batches that begin at an offset or later.
    pub(super) fn truncate(&mut self, end_offset: i64) {
        while self.batches.back().is_some_and(|(offset, _)| *offset >= end_offset) {
            self.bytes -= self.batches.pop_back().map_or(0, |(_, bytes)| bytes.len());
        }
    }

    /// Forgets batches that begin before an offset.
    pub(super) fn forget_before(&mut self, offset: i64) {
        while self.batches.front().is_some_and(|(first, _)| *first < offset) {
            self.bytes -= self.batches.pop_front().map_or(0, |(_, bytes)| bytes.len());
        }
    }
}
