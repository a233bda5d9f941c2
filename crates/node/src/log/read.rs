//! Reading: whole batches by offset, and offsets by timestamp.

use bytes::Bytes;
use metricstream_wire::record_batch::{Batch, BatchHeader, Compression};

use super::Log;
use super::error::ReadError;
use super::segment::{IndexedBatch, Segment};
use crate::io::{FileId, FileRange, Part};

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Whole batches, one behind the other. A part of a file stands for what the file has now: whoever resolves it does so
    /// before operations that are put out later.
    pub parts: Vec<Part>,
    /// Bytes of all parts.
    pub size_bytes: usize,
    /// Where to read on; the offset that was asked for if nothing was read.
    pub next_offset: i64,
    /// The first batch; it may begin before the offset that was asked for.
    pub first_batch: Option<BatchHeader>,
}

/// A record found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its offset; of a compressed batch, whose records are not looked at, the batch's first.
    pub offset: i64,
    /// Its timestamp; of a compressed batch the batch's latest.
    pub timestamp_ms: i64,
    /// The leader epoch that wrote it.
    pub leader_epoch: i32,
}

/// A batch that must be read from the store before the record in it can be named: [`Log::timestamp_in`] does, given its
/// bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBatch {
    /// The segment's file.
    pub file: FileId,
    /// The batch's first byte.
    pub position: u64,
    /// Its size.
    pub len: u32,
    /// What is looked for in it: the first record that is not earlier.
    pub timestamp_ms: i64,
    /// Where the next batch begins: to search on if there is no such record in this one after all.
    pub next_offset: i64,
}

/// Where a timestamp is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampLookup {
    /// No record is that late.
    None,
    /// The first one.
    Found(TimestampOffset),
    /// In this batch, which is not in memory.
    Stored(StoredBatch),
}

impl Log {
    /// Reads whole batches from the one that holds `from` (or follows it, where compaction left a gap) up to
    /// `upper_bound`, exclusive: the high watermark for consumers, the log's end for followers. No more than `max_bytes`,
    /// except that with `at_least_one` the first batch is given whatever its size (KIP-74).
    ///
    /// # Errors
    /// If `from` is before the log's start or behind its end.
    pub fn read(&self, from: i64, upper_bound: i64, max_bytes: usize, at_least_one: bool) -> Result<Read, ReadError> {
        if from < self.start_offset || from > self.end_offset {
            return Err(ReadError::OffsetOutOfRange { asked: from, start: self.start_offset, end: self.end_offset });
        }
        let mut read = Read { parts: Vec::new(), size_bytes: 0, next_offset: from, first_batch: None };
        for (segment, batch) in self.batches_from(from) {
            let size_bytes = batch.header.size_bytes();
            let fits = read.size_bytes + size_bytes <= max_bytes || (at_least_one && read.first_batch.is_none());
            if batch.header.next_offset() > upper_bound || !fits {
                break;
            }
            self.put_batch(segment, batch, &mut read.parts);
            read.size_bytes += size_bytes;
            read.next_offset = batch.header.next_offset();
            read.first_batch.get_or_insert(batch.header);
        }
        Ok(read)
    }

    fn put_batch(&self, segment: &Segment, batch: &IndexedBatch, parts: &mut Vec<Part>) {
        if let Some(bytes) = self.cache.get(batch.header.base_offset) {
            parts.push(Part::Bytes(bytes.clone()));
            return;
        }
        let size = u32::try_from(batch.header.size_bytes()).expect("a batch is below 4 GiB");
        if let Some(Part::File(FileRange { file, position, len_bytes: len })) = parts.last_mut()
            && *file == segment.file.0
            && *position + u64::from(*len) == batch.position
            && let Some(both) = len.checked_add(size)
        {
            *len = both;
            return;
        }
        parts.push(Part::File(FileRange { file: segment.file.0, position: batch.position, len_bytes: size }));
    }

    fn batches_from(&self, offset: i64) -> impl Iterator<Item = (&Segment, &IndexedBatch)> {
        let first = self.segments.partition_point(|s| s.base_offset <= offset).saturating_sub(1);
        self.segments[first..].iter().flat_map(move |segment| {
            let batches = &segment.batches[segment.index_of(offset)..];
            batches.iter().map(move |batch| (segment, batch))
        })
    }

    /// The first record whose timestamp is not before the given one (ListOffsets). Whether it is below the high
    /// watermark is for the caller to see.
    #[must_use]
    pub fn offset_for_timestamp(&self, timestamp_ms: i64) -> TimestampLookup {
        self.offset_for_timestamp_from(timestamp_ms, self.start_offset)
    }

    /// The same, of the batches that begin at or behind an offset or hold it.
    #[must_use]
    pub fn offset_for_timestamp_from(&self, timestamp_ms: i64, from: i64) -> TimestampLookup {
        let from = from.max(self.start_offset);
        let late = |s: &&Segment| s.largest_record_timestamp_ms() >= timestamp_ms;
        for segment in self.segments.iter().filter(late) {
            let batches = &segment.batches[segment.index_of(from)..];
            for batch in batches.iter().filter(|b| b.header.max_timestamp_ms >= timestamp_ms) {
                match self.look_into(segment, batch, timestamp_ms) {
                    TimestampLookup::None => {}
                    found => return found,
                }
            }
        }
        TimestampLookup::None
    }

    /// The first of the records with the latest timestamp (KIP-734).
    #[must_use]
    pub fn max_timestamp(&self) -> TimestampLookup {
        match self.segments.iter().map(Segment::largest_record_timestamp_ms).max() {
            Some(latest) if latest >= 0 => self.offset_for_timestamp(latest),
            _ => TimestampLookup::None,
        }
    }

    fn look_into(&self, segment: &Segment, batch: &IndexedBatch, timestamp_ms: i64) -> TimestampLookup {
        let header = &batch.header;
        if header.records_count == 0 {
            return TimestampLookup::None;
        }
        if header.compression() != Compression::None || header.is_log_append_time() {
            return TimestampLookup::Found(self.at_batch(header));
        }
        let Some(bytes) = self.cache.get(header.base_offset) else {
            let len = u32::try_from(header.size_bytes()).expect("a batch is below 4 GiB");
            let next_offset = header.next_offset();
            let (file, position) = (segment.file, batch.position);
            return TimestampLookup::Stored(StoredBatch { file, position, len, timestamp_ms, next_offset });
        };
        self.timestamp_in(bytes.clone(), timestamp_ms).map_or(TimestampLookup::None, TimestampLookup::Found)
    }

    fn at_batch(&self, header: &BatchHeader) -> TimestampOffset {
        TimestampOffset {
            offset: header.base_offset.max(self.start_offset),
            timestamp_ms: header.max_timestamp_ms,
            leader_epoch: header.partition_leader_epoch,
        }
    }

    /// The first record of a batch, given its bytes, whose timestamp is not before the given one; `None` if there is
    /// none, or the bytes are no batch any more.
    #[must_use]
    pub fn timestamp_in(&self, mut batch: Bytes, timestamp_ms: i64) -> Option<TimestampOffset> {
        let batch = Batch::next_unchecked(&mut batch).ok()??;
        let leader_epoch = batch.header().partition_leader_epoch;
        let records = batch.iter().ok()?.map_while(Result::ok);
        let mut late = records.filter(|r| r.timestamp_ms >= timestamp_ms && r.offset >= self.start_offset);
        late.next().map(|r| TimestampOffset { offset: r.offset, timestamp_ms: r.timestamp_ms, leader_epoch })
    }
}
