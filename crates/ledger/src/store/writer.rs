//! Writes a history: append only, in blocks.

use std::io::Write;

use super::codec::Context;
use super::{BLOCK_BYTES, END, MAGIC, VERSION};
use crate::header::{Header, Invalid};
use crate::history::Record;

/// Why a history cannot be written on. What was written before stays readable.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The header cannot be written.
    #[error("the history's header is unusable: {0}")]
    Header(#[from] Invalid),
    /// The header is no JSON.
    #[error("the history's header cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The file cannot be written.
    #[error(
        "writing the history failed after {bytes} bytes and {records} records: {source}; free some space or choose another directory"
    )]
    Io {
        /// Whole bytes written.
        bytes: u64,
        /// Whole records written.
        records: u64,
        /// Why.
        source: std::io::Error,
    },
}

/// Appends records to a history. Give it a `File`: blocks are large enough without a buffer.
#[derive(Debug)]
pub struct HistoryWriter<W: Write> {
    inner: W,
    context: Context,
    block: Vec<u8>,
    in_block: u32,
    bytes: u64,
    records: u64,
    ended: bool,
}

impl<W: Write> HistoryWriter<W> {
    /// Begins a history with its header.
    ///
    /// # Errors
    /// [`WriteError`] if the header is unusable or cannot be written.
    pub fn new(inner: W, header: &Header) -> Result<Self, WriteError> {
        header.validate()?;
        let json = serde_json::to_vec(header)?;
        let mut start = Vec::with_capacity(json.len() + 20);
        start.extend(MAGIC);
        start.extend(VERSION.to_le_bytes());
        start.extend((json.len() as u32).to_le_bytes());
        start.extend(crc32c::crc32c(&json).to_le_bytes());
        start.extend(json);
        let block = Vec::with_capacity(BLOCK_BYTES + 1_024);
        let mut writer =
            Self { inner, context: Context::default(), block, in_block: 0, bytes: 0, records: 0, ended: false };
        writer.put(&start)?;
        Ok(writer)
    }

    /// Appends a record. It reaches the file when its block is full, or with [`Self::flush`].
    ///
    /// # Errors
    /// [`WriteError::Io`]; the record is then not written.
    pub fn write(&mut self, record: &Record) -> Result<(), WriteError> {
        if self.ended {
            return Ok(());
        }
        self.context.encode(&mut self.block, record);
        self.in_block += 1;
        if self.block.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    /// Writes out what was appended, so that a kill of this process cannot take it back.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn flush(&mut self) -> Result<(), WriteError> {
        self.close_block()?;
        let (bytes, records) = (self.bytes, self.records);
        self.inner.flush().map_err(|source| WriteError::Io { bytes, records, source })
    }

    /// Ends the history. Without its end it reads as cut off; what is written after it would be damage, so it is left
    /// out.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn end(&mut self) -> Result<(), WriteError> {
        if !self.ended {
            self.close_block()?;
            self.block.extend(self.records.to_le_bytes());
            self.put_block(END)?;
            self.ended = true;
        }
        self.flush()
    }

    /// Ends the history and gives its file back.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.end()?;
        Ok(self.inner)
    }

    /// Records written out so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    fn close_block(&mut self) -> Result<(), WriteError> {
        if self.in_block > 0 {
            let count = std::mem::take(&mut self.in_block);
            self.put_block(count)?;
            self.records += u64::from(count);
        }
        Ok(())
    }

    fn put_block(&mut self, count: u32) -> Result<(), WriteError> {
        let mut block = std::mem::take(&mut self.block);
        let mut framed = Vec::with_capacity(block.len() + 12);
        framed.extend((block.len() as u32).to_le_bytes());
        framed.extend(count.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&count.to_le_bytes()), &block);
        framed.extend(crc.to_le_bytes());
        framed.extend(&block);
        block.clear();
        self.block = block;
        self.context = Context::default();
        self.put(&framed)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let (written, records) = (self.bytes, self.records);
        self.inner.write_all(bytes).map_err(|source| WriteError::Io { bytes: written, records, source })?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}
