//! The compact history on disk: a header as JSON, then blocks of records, each with a CRC32C, then an end block.
//!
//! The layout is described in docs/history.md. What records mean is not known here.

mod codec;
mod reader;
mod writer;

pub use reader::HistoryReader;
pub use writer::{HistoryWriter, WriteError};

use crate::header::Invalid;

/// The first bytes of every history file.
pub const MAGIC: [u8; 8] = *b"MSLEDGER";
/// Version of the binary layout.
pub const VERSION: u32 = 1;
/// File name extension.
pub const EXTENSION: &str = "mshist";

/// A block is closed when it reaches this size.
const BLOCK_BYTES: usize = 64 * 1024;
/// No block or header is larger than this; a larger length is damage.
const LENGTH_MAX: u32 = 16 * 1024 * 1024;
/// Record count of the end block.
const END: u32 = u32::MAX;

/// Why a stored history cannot be read on. `records` is how many were readable before.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not the file that it was taken for.
    #[error("not a history: it does not begin with {}", String::from_utf8_lossy(&MAGIC))]
    NotAHistory,
    /// Written by another version.
    #[error("history layout {found}; this build reads {VERSION}: use the version of metricstream that wrote it")]
    Version {
        /// Version found.
        found: u32,
    },
    /// The header is no header, or contradicts itself.
    #[error("the history's header is unusable: {what}")]
    Header {
        /// What is wrong.
        what: String,
    },
    /// The file ends before its end block.
    #[error("the history is cut off at byte {at_byte}, after {records} readable records")]
    Cut {
        /// Where the last whole block ends.
        at_byte: u64,
        /// Readable records.
        records: u64,
    },
    /// A block's checksum does not hold, or its content is no record.
    #[error("the history is damaged in the block at byte {at_byte} ({what}), after {records} readable records")]
    Corrupt {
        /// Where the block begins.
        at_byte: u64,
        /// Readable records.
        records: u64,
        /// What is wrong.
        what: String,
    },
    /// The file cannot be read.
    #[error("reading the history failed at byte {at_byte}, after {records} readable records: {source}")]
    Io {
        /// Where.
        at_byte: u64,
        /// Readable records.
        records: u64,
        /// Why.
        source: std::io::Error,
    },
}

impl From<Invalid> for StoreError {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Schema { found } => Self::Version { found },
            other => Self::Header { what: other.to_string() },
        }
    }
}

#[cfg(test)]
mod tests;
