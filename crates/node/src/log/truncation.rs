//! Cutting a log's end: where it parts from its leader's (KIP-101, KIP-279), or all of it.

use super::Log;
use crate::io::{Outputs, StorageAction};
use crate::time::Now;

impl Log {
    /// Cuts what is at `offset` or later. A batch around `offset` goes whole, and so the log may end before it: never
    /// with a hole that its leader does not have.
    pub fn truncate_to(&mut self, offset: i64, now: Now, out: &mut Outputs) {
        if offset >= self.end_offset {
            // Nothing to cut, but an epoch may have begun here in which nothing was written.
            if self.epochs.truncate_from_end(self.end_offset) {
                self.save_epochs(out);
            }
            return;
        }
        if offset <= self.segments[0].base_offset {
            self.truncate_fully_and_start_at(offset, now, out);
            return;
        }
        self.compaction.abandon();
        let kept = self.segments.partition_point(|s| s.base_offset <= offset);
        let count = self.segments.len();
        self.remove_segments(kept, count, out);
        let active = self.active();
        let batches = active.index_of(offset);
        if batches < active.batches.len() {
            active.keep_first(batches);
            let (file, size_bytes) = (active.file, active.size_bytes);
            self.operate(file, StorageAction::Truncate { size_bytes }, out);
        }
        self.end_offset = self.active().next_offset();
        self.ended(out);
        if self.start_offset > self.end_offset {
            self.start_offset = self.end_offset;
            self.save_start(out);
        }
    }

    /// Throws everything away and begins anew at `offset`: the leader's log starts there, or a snapshot ends there.
    pub fn truncate_fully_and_start_at(&mut self, offset: i64, now: Now, out: &mut Outputs) {
        self.compaction.abandon();
        let count = self.segments.len();
        self.remove_segments(0, count, out);
        self.new_segment(offset, now, out);
        self.start_offset = offset;
        self.end_offset = offset;
        self.save_start(out);
        if self.epochs.clear() {
            self.save_epochs(out);
        }
        self.ended(out);
    }

    /// What follows from another end of the log.
    fn ended(&mut self, out: &mut Outputs) {
        let end = self.end_offset;
        self.cache.truncate(end);
        self.compaction.limit_to(end);
        self.rebuild_producers();
        if self.epochs.truncate_from_end(end) {
            self.save_epochs(out);
        }
    }
}
