//! The log of one partition: record batches kept as bytes in segments of Kafka's own format, with the leader epochs and
//! the idempotent producers that follow from them. Appends, reads, truncation, retention, compaction and recovery.
//!
//! Sans-IO: operations go to [`Outputs`], and only [`Log::open`] reads a store. No high watermark is kept here (it is
//! handed in where something must stay below it), and nothing of leaders, followers or requests.

mod append;
mod batch;
mod cache;
mod compaction;
mod config;
mod epoch_cache;
mod error;
mod producer_state;
mod read;
mod recovery;
mod retention;
mod segment;
#[cfg(test)]
mod tests;
mod truncation;

use crate::io::{FileId, Output, Outputs, StorageAction, StorageOp};
use crate::time::Now;

pub use append::{Appended, Origin};
pub use config::{LogConfig, TimestampType};
pub use epoch_cache::{EpochCache, EpochEnd, EpochEntry};
pub use error::{AppendError, LogError, ReadError};
pub use producer_state::{ProducedBatch, ProducerState, ProducerStates};
pub use read::{Read, StoredBatch, TimestampLookup, TimestampOffset};
pub use segment::IndexedBatch;

use cache::Cache;
use compaction::Compaction;
use segment::Segment;

/// Kafka's name for the file of the epoch cache.
const EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// In Kafka one such file serves all partitions of a folder; here each has its own, in the same form.
const START_CHECKPOINT: &str = "log-start-offset-checkpoint";

/// One partition's log. Offsets ascend; they are dense until compaction leaves gaps.
#[derive(Debug)]
pub struct Log {
    folder: String,
    config: LogConfig,
    /// Ascending, never empty; appends go to the last, the active one.
    segments: Vec<Segment>,
    start_offset: i64,
    end_offset: i64,
    epochs: EpochCache,
    producers: ProducerStates,
    cache: Cache,
    compaction: Compaction,
    epoch_file: Option<FileId>,
    start_file: Option<FileId>,
}

impl Log {
    /// The folder of its files, such as `metrics-0`.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The first offset that can be read.
    #[must_use]
    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// The last leader epoch that began here, with or without records.
    #[must_use]
    pub fn last_epoch(&self) -> Option<i32> {
        self.epochs.latest()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.size_bytes).sum()
    }

    /// Number of segments; at least one.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Every batch, in the order of offsets: for observers that compare logs.
    pub fn batches(&self) -> impl Iterator<Item = &IndexedBatch> {
        self.segments.iter().flat_map(|s| &s.batches)
    }

    /// Leader epochs and where they began.
    #[must_use]
    pub fn epochs(&self) -> &EpochCache {
        &self.epochs
    }

    /// What is remembered of idempotent producers (DescribeProducers).
    #[must_use]
    pub fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// How it is configured.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Another configuration from now on.
    pub fn configure(&mut self, config: LogConfig) {
        self.cache.set_bytes_max(config.cache_bytes);
        self.config = config;
    }

    /// Where a leader epoch ends here, as OffsetForLeaderEpoch answers; see [`EpochCache::end_offset_for`].
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: i32) -> EpochEnd {
        self.epochs.end_offset_for(epoch, self.end_offset)
    }

    /// Where a leader epoch begins.
    #[must_use]
    pub fn epoch_start(&self, epoch: i32) -> Option<i64> {
        self.epochs.start_of(epoch)
    }

    /// A leader's epoch begins at the log's end, whether or not it will write something.
    pub fn start_epoch(&mut self, epoch: i32, out: &mut Outputs) {
        if self.epochs.assign(epoch, self.end_offset) {
            self.save_epochs(out);
        }
    }

    /// The topic is gone: its files go too.
    pub fn destroy(self, out: &mut Outputs) {
        for file in self.segments.iter().map(|s| s.file).chain(self.epoch_file).chain(self.start_file) {
            self.operate(file, StorageAction::Delete, out);
        }
    }

    /// This node no longer keeps it open; the files stay.
    pub fn close(self, out: &mut Outputs) {
        for file in self.segments.iter().map(|s| s.file).chain(self.epoch_file).chain(self.start_file) {
            self.operate(file, StorageAction::Close, out);
        }
    }

    fn active(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has a segment")
    }

    /// An operation of this log's durability whose success nobody waits for.
    fn operate(&self, file: FileId, action: StorageAction, out: &mut Outputs) {
        let durability = self.config.durability;
        out.push(Output::Storage(StorageOp { id: None, file, action, durability }));
    }

    fn new_segment(&mut self, base_offset: i64, now: Now, out: &mut Outputs) {
        let file = out.open(segment::path(&self.folder, base_offset));
        self.segments.push(Segment::new(&self.folder, base_offset, file, now.wall_ms));
    }

    /// Begins another segment at the log's end; an empty one is not followed by another.
    fn roll(&mut self, now: Now, out: &mut Outputs) {
        if self.active().size_bytes > 0 {
            self.new_segment(self.end_offset, now, out);
        }
    }

    /// Forgets and deletes the segments from `from` to before `to`, by their numbers.
    fn remove_segments(&mut self, from: usize, to: usize, out: &mut Outputs) {
        for segment in self.segments.drain(from..to).collect::<Vec<_>>() {
            self.operate(segment.file, StorageAction::Delete, out);
        }
    }

    fn save_epochs(&mut self, out: &mut Outputs) {
        let folder = &self.folder;
        let file = *self.epoch_file.get_or_insert_with(|| out.open(format!("{folder}/{EPOCH_CHECKPOINT}")));
        self.operate(file, StorageAction::Replace { bytes: self.epochs.to_text().into() }, out);
    }

    /// Writes the start offset where the segments alone do not say it.
    fn save_start(&mut self, out: &mut Outputs) {
        if self.start_file.is_none() && self.start_offset == self.segments[0].base_offset {
            return;
        }
        let folder = &self.folder;
        let file = *self.start_file.get_or_insert_with(|| out.open(format!("{folder}/{START_CHECKPOINT}")));
        let (topic, partition) = folder.rsplit_once('-').unwrap_or((folder, "0"));
        let text = format!("0\n1\n{topic} {partition} {}\n", self.start_offset);
        self.operate(file, StorageAction::Replace { bytes: text.into() }, out);
    }

    /// Makes the producers' state anew from the batches that are here.
    fn rebuild_producers(&mut self) {
        self.producers.clear();
        for batch in self.segments.iter().flat_map(|s| &s.batches) {
            self.producers.appended(&batch.header);
        }
    }
}
