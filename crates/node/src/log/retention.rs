//! What goes from a log's beginning, and when: by age, by size, by request (KIP-107), or because the node's memory is full.
//! Only whole segments below the high watermark go.

use super::Log;
use super::error::ReadError;
use crate::io::Outputs;
use crate::time::Now;

impl Log {
    /// What Kafka's background threads do: forgets expired producers, deletes what retention does not keep, and begins
    /// a compaction if one is due. To be called every `log.retention.check.interval.ms`, and for compacted topics every
    /// `log.cleaner.backoff.ms`.
    pub fn clean(&mut self, now: Now, high_watermark: i64, out: &mut Outputs) {
        self.producers.expire(now.wall_ms, self.config.producer_id_expiration_ms);
        while self.oldest_is_due(now, high_watermark) {
            self.delete_oldest(now, out);
        }
        if self.config.compact {
            self.start_compaction(now, high_watermark, out);
        }
    }

    /// Deletes the oldest segment whatever its age, if it is below the high watermark: for a node whose logs together
    /// have grown beyond `metricstream.log.total.max.bytes`. Where only the active segment is left it is rolled, so that
    /// it can go at a later call. Gives whether bytes were freed.
    pub fn drop_oldest_segment(&mut self, high_watermark: i64, now: Now, out: &mut Outputs) -> bool {
        if self.segments.len() == 1 {
            self.roll(now, out);
        }
        if !self.oldest_may_go(high_watermark) {
            return false;
        }
        self.delete_oldest(now, out);
        true
    }

    /// DeleteRecords: nothing before `offset` can be read from now on. Its segments go at the next [`Log::clean`]. Also
    /// how a follower takes over its leader's start offset. An offset below the start changes nothing.
    ///
    /// # Errors
    /// If `offset` is above the high watermark.
    pub fn delete_records_before(
        &mut self,
        offset: i64,
        high_watermark: i64,
        out: &mut Outputs,
    ) -> Result<(), ReadError> {
        if offset > high_watermark.min(self.end_offset) {
            let (start, end) = (self.start_offset, high_watermark);
            return Err(ReadError::OffsetOutOfRange { asked: offset, start, end });
        }
        if offset > self.start_offset {
            self.start_at(offset, out);
        }
        Ok(())
    }

    /// Where the segment after the oldest begins, or the log ends.
    fn second_base(&self) -> i64 {
        self.segments.get(1).map_or(self.end_offset, |s| s.base_offset)
    }

    fn oldest_may_go(&self, high_watermark: i64) -> bool {
        let last_and_empty = self.segments.len() == 1 && self.segments[0].size_bytes == 0;
        !last_and_empty && self.second_base() <= high_watermark
    }

    fn oldest_is_due(&self, now: Now, high_watermark: i64) -> bool {
        if !self.oldest_may_go(high_watermark) {
            return false;
        }
        let (oldest, config) = (&self.segments[0], &self.config);
        if self.second_base() <= self.start_offset {
            return true;
        }
        let age_ms = now.wall_ms.saturating_sub(oldest.largest_timestamp_ms());
        // One that compaction left empty has nothing to keep.
        let old = config.retention_ms >= 0 && (age_ms > config.retention_ms || oldest.batches.is_empty());
        let kept_bytes = u64::try_from(config.retention_bytes).ok();
        let large = kept_bytes.is_some_and(|kept| self.size_bytes() - oldest.size_bytes >= kept);
        config.delete && (old || large)
    }

    fn delete_oldest(&mut self, now: Now, out: &mut Outputs) {
        self.compaction.abandon();
        if self.segments.len() == 1 {
            self.roll(now, out);
        }
        self.remove_segments(0, 1, out);
        let first = self.segments[0].base_offset;
        self.cache.forget_before(first);
        if first > self.start_offset {
            self.start_at(first, out);
        }
    }

    fn start_at(&mut self, offset: i64, out: &mut Outputs) {
        self.start_offset = offset;
        self.save_start(out);
        if self.epochs.truncate_from_start(offset) {
            self.save_epochs(out);
        }
    }
}
