//! One file of a log, named as Kafka names it after the offset that it begins at, and the index of its batches, which is
//! only in memory and made anew at recovery.

use metricstream_wire::record_batch::BatchHeader;

use crate::io::FileId;

/// Digits of a segment's name.
const NAME_DIGITS: usize = 20;

/// A batch, and where it lies in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexedBatch {
    /// Its header, as it stands in the log.
    pub header: BatchHeader,
    /// Its first byte in the segment's file.
    pub position: u64,
}

/// A segment.
#[derive(Debug)]
pub(super) struct Segment {
    /// No batch in it begins before.
    pub(super) base_offset: i64,
    pub(super) file: FileId,
    pub(super) path: String,
    pub(super) size_bytes: u64,
    /// In the order of their offsets.
    pub(super) batches: Vec<IndexedBatch>,
    /// When this process made it or found it; stands in where records carry no time.
    pub(super) created_ms: i64,
    largest_timestamp_ms: i64,
}

impl Segment {
    pub(super) fn new(folder: &str, base_offset: i64, file: FileId, created_ms: i64) -> Self {
        let path = path(folder, base_offset);
        Self { base_offset, file, path, size_bytes: 0, batches: Vec::new(), created_ms, largest_timestamp_ms: -1 }
    }

    /// Takes a batch into the index; its bytes are the business of the caller.
    pub(super) fn push(&mut self, header: BatchHeader) {
        self.batches.push(IndexedBatch { header, position: self.size_bytes });
        self.size_bytes += header.size_bytes() as u64;
        self.largest_timestamp_ms = self.largest_timestamp_ms.max(header.max_timestamp_ms);
    }

    /// Replaces the whole index.
    pub(super) fn set_batches(&mut self, headers: impl IntoIterator<Item = BatchHeader>) {
        self.batches.clear();
        self.size_bytes = 0;
        self.largest_timestamp_ms = -1;
        for header in headers {
            self.push(header);
        }
    }

    /// Keeps the first so many batches.
    pub(super) fn keep_first(&mut self, count: usize) {
        let headers: Vec<BatchHeader> = self.batches[..count].iter().map(|b| b.header).collect();
        self.set_batches(headers);
    }

    /// The offset after its last batch; its base offset if it has none.
    pub(super) fn next_offset(&self) -> i64 {
        self.batches.last().map_or(self.base_offset, |b| b.header.next_offset())
    }

    /// The number of the first batch that holds `offset` or something after it.
    pub(super) fn index_of(&self, offset: i64) -> usize {
        self.batches.partition_point(|b| b.header.last_offset() < offset)
    }

    /// The latest time in it, for retention.
    pub(super) fn largest_timestamp_ms(&self) -> i64 {
        if self.largest_timestamp_ms >= 0 { self.largest_timestamp_ms } else { self.created_ms }
    }

    /// The latest record timestamp; −1 if there is none.
    pub(super) fn largest_record_timestamp_ms(&self) -> i64 {
        self.largest_timestamp_ms
    }

    /// How old it is when a batch with this timestamp comes: by record time where it has one, as Kafka reckons.
    pub(super) fn age_ms(&self, now_ms: i64, coming_timestamp_ms: i64) -> i64 {
        match self.batches.first().map(|b| b.header.max_timestamp_ms).filter(|first| *first >= 0) {
            Some(first) => coming_timestamp_ms.saturating_sub(first),
            None => now_ms.saturating_sub(self.created_ms),
        }
    }
}

/// The file of a segment.
pub(super) fn path(folder: &str, base_offset: i64) -> String {
    format!("{folder}/{base_offset:0NAME_DIGITS$}.log")
}

/// The base offset that a file's name says, if it is a segment's: `Some(Err)` where it looks like one and is none.
pub(super) fn base_offset_of(name: &str) -> Option<Result<i64, String>> {
    let digits = name.strip_suffix(".log")?;
    let offset = digits.parse().ok().filter(|offset| *offset >= 0 && digits.len() == NAME_DIGITS);
    Some(offset.ok_or_else(|| format!("a segment's name is an offset of {NAME_DIGITS} digits")))
}
