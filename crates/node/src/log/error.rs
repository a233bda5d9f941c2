//! What can go wrong with a log, and which of Kafka's errors a client is told.

use metricstream_wire::record_batch::RefusedBatch;
use metricstream_wire::{ErrorCode, WireError};

use crate::io::StorageFailure;

/// Why a log cannot be opened. Nothing was changed: what Kafka's own rules do not cut is left to people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StorageFailure),
    /// A segment before the last is damaged.
    #[error(
        "{path}: damaged at byte {position}: {why}: restore the file from a copy, or delete its folder, so that the \
         replica is copied from its leader"
    )]
    Damaged {
        /// The segment's file.
        path: String,
        /// Where the batch begins that is not sound.
        position: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A file whose name or text is not of Kafka's form.
    #[error("{path}: {why}: restore the file from a copy, or remove it")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// Why an append was refused. The log is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The bytes are damaged.
    #[error("the batch is damaged: {0}")]
    Corrupt(#[from] WireError),
    /// The batch breaks a rule of the protocol.
    #[error("the batch is not valid: {0}")]
    InvalidRecord(&'static str),
    /// A compacted topic takes no record without a key.
    #[error("a compacted topic takes no record without a key")]
    WithoutKey {
        /// Which records of the batch have none, counted from 0: clients fail these for good (KIP-467).
        records: Vec<i32>,
    },
    /// Larger than `max.message.bytes`.
    #[error("a batch of {size_bytes} bytes; at most {max_bytes} are allowed (max.message.bytes)")]
    TooLarge {
        /// The batch.
        size_bytes: usize,
        /// What is allowed.
        max_bytes: usize,
    },
    /// Larger than a whole segment.
    #[error("records of {size_bytes} bytes; a segment has at most {max_bytes} (segment.bytes)")]
    LargerThanSegment {
        /// The records.
        size_bytes: usize,
        /// What is allowed.
        max_bytes: usize,
    },
    /// The sequence does not follow the producer's last one, and is none of its last five batches.
    #[error("producer {producer_id}: sequence {found} after {last}")]
    OutOfOrderSequence {
        /// Who.
        producer_id: i64,
        /// What was sent.
        found: i32,
        /// The last sequence that is here; −1 if none of this epoch is.
        last: i32,
    },
    /// A producer of an earlier epoch.
    #[error("producer {producer_id}: epoch {found} is older than {current}")]
    InvalidProducerEpoch {
        /// Who.
        producer_id: i64,
        /// What was sent.
        found: i16,
        /// What is known.
        current: i16,
    },
    /// A timestamp too far from the broker's clock.
    #[error("timestamp {timestamp_ms} is not within the allowed range of {now_ms}")]
    InvalidTimestamp {
        /// The batch's latest.
        timestamp_ms: i64,
        /// The broker's clock.
        now_ms: i64,
    },
    /// A batch of a transaction; there are none yet.
    #[error("transactions are not supported")]
    Transactional,
    /// Compressed records on a compacted topic: their keys cannot be looked at.
    #[error("compressed records are not supported on compacted topics")]
    CompressedKeys,
    /// What a follower was given does not continue its log.
    #[error("a batch at offset {found} where the log ends at {end}")]
    UnexpectedOffset {
        /// The batch's base offset.
        found: i64,
        /// The log's end.
        end: i64,
    },
}

impl From<RefusedBatch> for AppendError {
    fn from(refused: RefusedBatch) -> Self {
        match refused {
            RefusedBatch::Corrupt(damage) => Self::Corrupt(damage),
            RefusedBatch::Invalid(why) => Self::InvalidRecord(why),
        }
    }
}

impl AppendError {
    /// What a client is told.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        ErrorCode(match self {
            Self::Corrupt(_) => 2,                                  // CORRUPT_MESSAGE
            Self::InvalidRecord(_) | Self::WithoutKey { .. } => 87, // INVALID_RECORD
            Self::TooLarge { .. } => 10,                            // MESSAGE_TOO_LARGE
            Self::LargerThanSegment { .. } => 18,                   // RECORD_LIST_TOO_LARGE
            Self::OutOfOrderSequence { .. } => 45,                  // OUT_OF_ORDER_SEQUENCE_NUMBER
            Self::InvalidProducerEpoch { .. } => 47,                // INVALID_PRODUCER_EPOCH
            Self::InvalidTimestamp { .. } => 32,                    // INVALID_TIMESTAMP
            // Fatal to every client, where the errors of transactions proper are retried for ever.
            Self::Transactional => 53,           // TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            Self::CompressedKeys => 76,          // UNSUPPORTED_COMPRESSION_TYPE
            Self::UnexpectedOffset { .. } => -1, // UNKNOWN_SERVER_ERROR
        })
    }
}

/// Why a read was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The offset is outside the log (OFFSET_OUT_OF_RANGE).
    #[error("offset {asked} is outside {start}..={end}")]
    OffsetOutOfRange {
        /// What was asked for.
        asked: i64,
        /// The log's start.
        start: i64,
        /// The log's end.
        end: i64,
    },
}
