//! Record batches, magic 2 (KIP-98): the 61-byte header, its checksum, patching what the leader assigns, and the records
//! of a batch without compression. Compressed payloads stay as they are: codecs do not live here.

use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use crate::error_code::ErrorCode;
use crate::primitives::{Fixed, Reader, WireError};

/// Bytes from the base offset to the count of records.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the part that `batch_length` counts.
pub const PREFIX_BYTES: usize = 12;
/// The fewest bytes of a record: its length, attributes, two deltas, key, value and count of headers, a byte each.
const RECORD_BYTES_MIN: usize = 7;
/// The checksum covers everything from the attributes on.
pub(crate) const CHECKED_FROM: usize = 21;
pub(crate) const COMPRESSION_MASK: i16 = 0x07;
pub(crate) const LOG_APPEND_TIME: i16 = 0x08;
pub(crate) const TRANSACTIONAL: i16 = 0x10;
pub(crate) const CONTROL: i16 = 0x20;
const DELETE_HORIZON: i16 = 0x40;
/// The one magic byte that is spoken here.
pub(crate) const MAGIC: i8 = 2;

/// How the records of a batch are compressed, as its attributes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // The names are the codecs' own.
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The header of a batch. It is cheap to read: no record is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the protocol's own.
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after this field, so without the first 12.
    pub batch_length: i32,
    pub partition_leader_epoch: i32,
    pub magic: i8,
    /// CRC-32C of all from the attributes on.
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    /// With the delete horizon flag set (compaction) this is the horizon.
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    /// −1 if the producer is not idempotent.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records_count: i32,
}

/// Why a leader refuses a batch from a producer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedBatch {
    /// Of an impossible size, or with a wrong checksum.
    #[error("the batch is damaged: {0}")]
    Corrupt(#[from] WireError),
    /// No whole batch, or one that says what a producer may not.
    #[error("the batch is not valid: {0}")]
    Invalid(&'static str),
}

impl RefusedBatch {
    /// What Kafka answers: CORRUPT_MESSAGE or INVALID_RECORD.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Corrupt(_) => ErrorCode(2),
            Self::Invalid(_) => ErrorCode(87),
        }
    }
}

impl BatchHeader {
    /// Reads the header at the beginning of `bytes`; `None` if there are fewer than 61. Only the first 61 are looked at,
    /// so the batch may be cut; its checksum is not computed.
    ///
    /// # Errors
    /// If the magic is another, or lengths, offsets or the compression cannot be.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Self::parse(header);
        if header.magic != MAGIC {
            return Err(WireError::Range { what: "magic", value: i64::from(header.magic) });
        }
        let out_of_range = |what, value| Err(WireError::Range { what, value });
        if !usize::try_from(header.batch_length).is_ok_and(|n| n >= HEADER_BYTES - PREFIX_BYTES) {
            return out_of_range("batch length", i64::from(header.batch_length));
        }
        if header.last_offset_delta < 0 || header.base_offset < 0 || header.base_offset > i64::MAX / 2 {
            return out_of_range("batch offsets", header.base_offset);
        }
        if header.records_count < 0 {
            return out_of_range("records count", i64::from(header.records_count));
        }
        if header.attributes & COMPRESSION_MASK > 4 {
            return out_of_range("compression", i64::from(header.attributes & COMPRESSION_MASK));
        }
        Ok(Some(header))
    }

    fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        Self {
            base_offset: i64::from_be_bytes(at(bytes, 0)),
            batch_length: i32::from_be_bytes(at(bytes, 8)),
            partition_leader_epoch: i32::from_be_bytes(at(bytes, 12)),
            magic: i8::from_be_bytes(at(bytes, 16)),
            crc: u32::from_be_bytes(at(bytes, 17)),
            attributes: i16::from_be_bytes(at(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(at(bytes, 23)),
            base_timestamp_ms: i64::from_be_bytes(at(bytes, 27)),
            max_timestamp_ms: i64::from_be_bytes(at(bytes, 35)),
            producer_id: i64::from_be_bytes(at(bytes, 43)),
            producer_epoch: i16::from_be_bytes(at(bytes, 51)),
            base_sequence: i32::from_be_bytes(at(bytes, 53)),
            records_count: i32::from_be_bytes(at(bytes, 57)),
        }
    }

    /// Bytes of the whole batch.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        PREFIX_BYTES + self.batch_length as usize
    }

    /// The offset of its last record. After compaction no record may be there any more.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset after its last record.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Whether it holds control records: markers of transactions, leader changes, snapshot headers.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether it belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether its timestamps are those of the append (`max_timestamp_ms` for every record), not the producer's.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Whether `base_timestamp_ms` is the time from which on tombstones and markers in it may be removed (KIP-534).
    #[must_use]
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }

    /// Whether an idempotent producer wrote it.
    #[must_use]
    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }

    /// The sequence number of its last record; sequence numbers wrap to 0 after 2³¹ − 1.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// How its records are compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        match self.attributes & COMPRESSION_MASK {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            _ => Compression::Zstd,
        }
    }

    /// Checks the checksum over `batch`, which is the whole batch.
    ///
    /// # Errors
    /// If the batch is cut, or the checksum another.
    pub fn check_crc(&self, batch: &[u8]) -> Result<(), WireError> {
        let (what, needed) = ("record batch", self.size_bytes());
        let body = batch.get(CHECKED_FROM..needed).ok_or(WireError::Short { what, needed, left: batch.len() })?;
        let found = crc32c::crc32c(body);
        if found != self.crc {
            return Err(WireError::Checksum { what, found, expected: self.crc });
        }
        Ok(())
    }

    /// Checks what a producer sent for one partition, as a leader does before it appends: exactly one whole batch, its
    /// checksum, as many records as offsets, no control batch, a sequence number where there is a producer id. Records
    /// are not decoded, so what lies in a compressed batch is not looked at.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn of_produced(records: &[u8]) -> Result<Self, RefusedBatch> {
        if records.get(16).is_some_and(|magic| (0..MAGIC).contains(&magic.cast_signed())) {
            return Err(RefusedBatch::Invalid("a magic before 2"));
        }
        let header = Self::read(records)?.ok_or(RefusedBatch::Invalid("no batch"))?;
        if records.len() != header.size_bytes() {
            return Err(RefusedBatch::Invalid("not exactly one whole batch"));
        }
        header.check_crc(records)?;
        if header.last_offset_delta.checked_add(1) != Some(header.records_count) {
            return Err(RefusedBatch::Invalid("the count of records is not that of its offsets"));
        }
        if header.is_control() {
            return Err(RefusedBatch::Invalid("a producer writes no control batch"));
        }
        if header.has_producer_id() && (header.base_sequence < 0 || header.producer_epoch < 0) {
            return Err(RefusedBatch::Invalid("a producer id without a sequence number"));
        }
        if header.is_transactional() && !header.has_producer_id() {
            return Err(RefusedBatch::Invalid("a transaction without a producer id"));
        }
        let least = usize::try_from(header.records_count).unwrap_or(usize::MAX).saturating_mul(RECORD_BYTES_MIN);
        if header.compression() == Compression::None && least > header.size_bytes() - HEADER_BYTES {
            return Err(RefusedBatch::Invalid("more records than its bytes can hold"));
        }
        Ok(header)
    }
}

fn at<const N: usize>(bytes: &[u8; HEADER_BYTES], from: usize) -> [u8; N] {
    *bytes[from..].first_chunk().expect("the fields lie within the header")
}

/// Gives a batch its place: the offset of its first record (bytes 0–7) and the epoch of the leader that appends it
/// (bytes 12–15). Neither is under the checksum, so nothing else changes.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn assign(batch: &mut [u8], base_offset: i64, partition_leader_epoch: i32) {
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&partition_leader_epoch.to_be_bytes());
}

/// Gives a batch the time of its append as the time of all its records (message.timestamp.type = LogAppendTime). That
/// changes what the checksum covers, so it is computed anew.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn assign_append_time(batch: &mut [u8], now_ms: i64) {
    batch[22] |= LOG_APPEND_TIME as u8;
    batch[35..43].copy_from_slice(&now_ms.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// One batch: its header, whose fields it lends, and its bytes as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
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
    /// Headers, in their order; keys may repeat.
    pub headers: Vec<RecordHeader>,
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Option<Bytes>,
}

impl Deref for Batch {
    type Target = BatchHeader;

    fn deref(&self) -> &BatchHeader {
        &self.header
    }
}

impl Batch {
    /// Splits the next batch off `from` and checks its checksum. `None` where the rest is no whole batch: a fetch may
    /// end in the middle of one.
    ///
    /// # Errors
    /// If what is there is no sound batch of magic 2.
    pub fn next(from: &mut Bytes) -> Result<Option<Self>, WireError> {
        let batch = Self::next_unchecked(from)?;
        if let Some(batch) = &batch {
            batch.header.check_crc(&batch.bytes)?;
        }
        Ok(batch)
    }

    /// As [`Batch::next`], without the checksum: for bytes that were checked when they were appended.
    ///
    /// # Errors
    /// If the header cannot be one.
    pub fn next_unchecked(from: &mut Bytes) -> Result<Option<Self>, WireError> {
        let Some(header) = BatchHeader::read(from)? else { return Ok(None) };
        if from.len() < header.size_bytes() {
            return Ok(None);
        }
        Ok(Some(Self { header, bytes: from.split_to(header.size_bytes()) }))
    }

    /// Makes a patched or built batch one that can be read.
    ///
    /// # Errors
    /// If it is not exactly one whole batch.
    pub fn from_patched(bytes: BytesMut) -> Result<Self, WireError> {
        let mut bytes = bytes.freeze();
        let (needed, left) = (HEADER_BYTES, bytes.len());
        let batch = Self::next_unchecked(&mut bytes)?.ok_or(WireError::Short { what: "record batch", needed, left })?;
        Reader::new(bytes).finish().map(|()| batch)
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// All of it.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Its records.
    ///
    /// # Errors
    /// If they are compressed or damaged.
    pub fn records(&self) -> Result<Vec<Record>, WireError> {
        self.iter()?.collect()
    }

    /// Its records one by one, none copied. After an error there are no more.
    ///
    /// # Errors
    /// If they are compressed, or more than the bytes can hold.
    pub fn iter(&self) -> Result<RecordIter, WireError> {
        if self.compression() != Compression::None {
            return Err(WireError::Unsupported { what: "a compressed record batch" });
        }
        let payload = self.bytes.slice(HEADER_BYTES..);
        let left = usize::try_from(self.records_count).unwrap_or(0);
        if left > payload.len() / RECORD_BYTES_MIN {
            return Err(WireError::Range { what: "records count", value: i64::from(self.records_count) });
        }
        Ok(RecordIter { header: self.header, left, from: Reader::new(payload) })
    }
}

/// Goes over the records of a batch.
#[derive(Debug)]
pub struct RecordIter {
    header: BatchHeader,
    left: usize,
    from: Reader,
}

impl Iterator for RecordIter {
    type Item = Result<Record, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let record = record(&self.header, &mut self.from);
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

fn record(batch: &BatchHeader, from: &mut Reader) -> Result<Record, WireError> {
    let length = sized(from.varint("record length")?, "record length")?;
    let mut from = Reader::new(from.take("record", length)?);
    i8::read(&mut from, "record attributes")?;
    let timestamp_delta = from.varlong("timestamp delta")?;
    let offset_delta = from.varint("offset delta")?;
    if !(0..=batch.last_offset_delta).contains(&offset_delta) {
        return Err(WireError::Range { what: "offset delta", value: i64::from(offset_delta) });
    }
    let key = nullable(&mut from, "record key")?;
    let value = nullable(&mut from, "record value")?;
    let count = sized(from.varint("record headers")?, "record headers")?;
    // The shortest header is two bytes.
    if count > from.left() / 2 {
        return Err(WireError::Range { what: "record headers", value: count as i64 });
    }
    let headers = (0..count).map(|_| record_header(&mut from)).collect::<Result<_, _>>()?;
    from.finish()?;
    let timestamp_ms = if batch.is_log_append_time() {
        batch.max_timestamp_ms
    } else {
        batch.base_timestamp_ms.saturating_add(timestamp_delta)
    };
    Ok(Record { offset: batch.base_offset + i64::from(offset_delta), timestamp_ms, key, value, headers })
}

fn record_header(from: &mut Reader) -> Result<RecordHeader, WireError> {
    let what = "key of a record header";
    let key = nullable(from, what)?.ok_or(WireError::Null { what })?;
    let key = std::str::from_utf8(&key).map_err(|_| WireError::Utf8 { what })?.to_owned();
    Ok(RecordHeader { key, value: nullable(from, "value of a record header")? })
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
