//! Record batches, magic 2 (KIP-98): the 61-byte header, its checksum, and the records of a batch without compression.

use bytes::Bytes;

use crate::primitives::{Fixed, Reader, WireError};

/// Bytes from the base offset to the count of records.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the part that `batch_length` counts.
const PREFIX_BYTES: usize = 12;
/// The checksum covers everything from the attributes on.
const CHECKED_FROM: usize = 21;
const CONTROL: i16 = 0x20;
const COMPRESSION: i16 = 0x07;

/// One batch: its header, and its records as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the protocol's own.
pub struct Batch {
    pub base_offset: i64,
    pub partition_leader_epoch: i32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records_count: i32,
    payload: Bytes,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<Bytes>,
    /// Value.
    pub value: Option<Bytes>,
}

impl Batch {
    /// Splits the next batch off `from` and checks its checksum. `None` where the rest is no whole batch: a fetch may
    /// end in the middle of one.
    ///
    /// # Errors
    /// If what is there is no sound batch of magic 2.
    pub fn next(from: &mut Bytes) -> Result<Option<Self>, WireError> {
        if from.len() < PREFIX_BYTES {
            return Ok(None);
        }
        let length = i32::from_be_bytes([from[8], from[9], from[10], from[11]]);
        let body = usize::try_from(length).ok().filter(|n| *n >= HEADER_BYTES - PREFIX_BYTES);
        let body = body.ok_or_else(|| WireError::Range { what: "batch length", value: i64::from(length) })?;
        if from.len() - PREFIX_BYTES < body {
            return Ok(None);
        }
        let whole = from.split_to(PREFIX_BYTES + body);
        let found = crc32c::crc32c(&whole[CHECKED_FROM..]);
        Self::read(whole, found).map(Some)
    }

    fn read(whole: Bytes, found: u32) -> Result<Self, WireError> {
        let mut from = Reader::new(whole);
        let base_offset = i64::read(&mut from, "base offset")?;
        i32::read(&mut from, "batch length")?;
        let partition_leader_epoch = i32::read(&mut from, "partition leader epoch")?;
        let magic = i8::read(&mut from, "magic")?;
        if magic != 2 {
            return Err(WireError::Range { what: "magic", value: i64::from(magic) });
        }
        let expected = u32::read(&mut from, "checksum")?;
        if found != expected {
            return Err(WireError::Checksum { what: "record batch", found, expected });
        }
        let batch = Self {
            base_offset,
            partition_leader_epoch,
            attributes: i16::read(&mut from, "attributes")?,
            last_offset_delta: i32::read(&mut from, "last offset delta")?,
            base_timestamp_ms: i64::read(&mut from, "base timestamp")?,
            max_timestamp_ms: i64::read(&mut from, "max timestamp")?,
            producer_id: i64::read(&mut from, "producer id")?,
            producer_epoch: i16::read(&mut from, "producer epoch")?,
            base_sequence: i32::read(&mut from, "base sequence")?,
            records_count: i32::read(&mut from, "records count")?,
            payload: Bytes::new(),
        };
        if batch.last_offset_delta < 0 || batch.base_offset < 0 || batch.base_offset > i64::MAX / 2 {
            return Err(WireError::Range { what: "batch offsets", value: batch.base_offset });
        }
        let left = from.left();
        Ok(Self { payload: from.take("records", left)?, ..batch })
    }

    /// The offset after its last record.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// Whether it holds control records: markers of transactions, leader changes, snapshot headers.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Its records.
    ///
    /// # Errors
    /// If they are compressed or damaged.
    pub fn records(&self) -> Result<Vec<Record>, WireError> {
        if self.attributes & COMPRESSION != 0 {
            return Err(WireError::Unsupported { what: "a compressed record batch" });
        }
        let mut from = Reader::new(self.payload.clone());
        let count = usize::try_from(self.records_count).unwrap_or(0);
        // The shortest record is seven bytes.
        if self.records_count < 0 || count > from.left() {
            return Err(WireError::Range { what: "records count", value: i64::from(self.records_count) });
        }
        (0..count).map(|_| self.record(&mut from)).collect()
    }

    fn record(&self, from: &mut Reader) -> Result<Record, WireError> {
        let length = sized(from.varint("record length")?, "record length")?;
        let mut from = Reader::new(from.take("record", length)?);
        i8::read(&mut from, "record attributes")?;
        let timestamp_delta = from.varlong("timestamp delta")?;
        let offset_delta = from.varint("offset delta")?;
        let key = nullable(&mut from, "record key")?;
        let value = nullable(&mut from, "record value")?;
        // Headers follow; nothing that this product reads has any, so they are passed over with the record.
        Ok(Record {
            offset: self.base_offset + i64::from(offset_delta),
            timestamp_ms: self.base_timestamp_ms.saturating_add(timestamp_delta),
            key,
            value,
        })
    }
}

fn sized(length: i32, what: &'static str) -> Result<usize, WireError> {
    usize::try_from(length).map_err(|_| WireError::Range { what, value: i64::from(length) })
}

fn nullable(from: &mut Reader, what: &'static str) -> Result<Option<Bytes>, WireError> {
    match from.varint(what)? {
        -1 => Ok(None),
        length => from.take(what, sized(length, what)?).map(Some),
    }
}
