//! Reads a history block by block and says exactly where it ends or breaks.

use std::io::{ErrorKind, Read};

use super::codec::{Context, Input};
use super::{END, LENGTH_MAX, MAGIC, StoreError, VERSION};
use crate::header::Header;
use crate::history::Record;

/// Reads the records of a history. Give it a `File`: it reads whole blocks.
#[derive(Debug)]
pub struct HistoryReader<R: Read> {
    inner: R,
    header: Header,
    context: Context,
    block: Vec<u8>,
    /// Next byte of the block to read, and records left in it.
    at: usize,
    left: u32,
    block_at_byte: u64,
    at_byte: u64,
    records: u64,
    done: bool,
}

impl<R: Read> HistoryReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`StoreError`] if it is no history of this version.
    pub fn new(mut inner: R) -> Result<Self, StoreError> {
        let mut start = [0; 20];
        match fill(&mut inner, &mut start) {
            Ok(read) if read < MAGIC.len() || start[..8] != MAGIC => return Err(StoreError::NotAHistory),
            Ok(read) if read < start.len() => return Err(StoreError::Cut { at_byte: read as u64, records: 0 }),
            Ok(_) => {}
            Err(source) => return Err(StoreError::Io { at_byte: 0, records: 0, source }),
        }
        let version = le_u32(&start, 8);
        if version != VERSION {
            return Err(StoreError::Version { found: version });
        }
        let (len, crc) = (le_u32(&start, 12), le_u32(&start, 16));
        let wrong = |what: String| StoreError::Header { what };
        if len > LENGTH_MAX {
            return Err(wrong(format!("{len} bytes long")));
        }
        let mut json = vec![0; len as usize];
        match fill(&mut inner, &mut json) {
            Ok(read) if read < json.len() => return Err(StoreError::Cut { at_byte: 20 + read as u64, records: 0 }),
            Ok(_) => {}
            Err(source) => return Err(StoreError::Io { at_byte: 20, records: 0, source }),
        }
        if crc32c::crc32c(&json) != crc {
            return Err(wrong("its checksum does not hold".to_owned()));
        }
        let header: Header = serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
        header.validate()?;
        let at_byte = 20 + u64::from(len);
        Ok(Self {
            inner,
            header,
            context: Context::default(),
            block: Vec::new(),
            at: 0,
            left: 0,
            block_at_byte: at_byte,
            at_byte,
            records: 0,
            done: false,
        })
    }

    /// The history's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Records read so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The next record; `None` after the last. After an error there is nothing more.
    ///
    /// # Errors
    /// [`StoreError`] where the history is cut off, damaged or unreadable.
    #[inline]
    pub fn read(&mut self) -> Result<Option<Record>, StoreError> {
        while self.left == 0 {
            if self.done || !self.next_block()? {
                return Ok(None);
            }
        }
        let mut input = Input::new(&self.block[self.at..]);
        let decoded = self.context.decode(&mut input);
        let consumed = self.block.len() - self.at - input.left();
        match decoded {
            Ok(record) => {
                self.at += consumed;
                self.left -= 1;
                self.records += 1;
                if self.left == 0 && self.at < self.block.len() {
                    return Err(self.corrupt("bytes are left over after its last record"));
                }
                Ok(Some(record))
            }
            Err(what) => Err(self.corrupt(what)),
        }
    }

    /// Reads the next block; false at the history's end.
    fn next_block(&mut self) -> Result<bool, StoreError> {
        self.block_at_byte = self.at_byte;
        let mut head = [0; 12];
        self.fill_exact(&mut head)?;
        let (len, count, crc) = (le_u32(&head, 0), le_u32(&head, 4), le_u32(&head, 8));
        if len > LENGTH_MAX || count == 0 {
            return Err(self.corrupt("its length or count is impossible"));
        }
        let mut block = std::mem::take(&mut self.block);
        block.resize(len as usize, 0);
        self.fill_exact(&mut block)?;
        if crc32c::crc32c_append(crc32c::crc32c(&count.to_le_bytes()), &block) != crc {
            return Err(self.corrupt("its checksum does not hold"));
        }
        self.at_byte += 12 + u64::from(len);
        if count == END {
            return self.end(&block).map(|()| false);
        }
        self.block = block;
        self.at = 0;
        self.left = count;
        self.context = Context::default();
        Ok(true)
    }

    fn end(&mut self, block: &[u8]) -> Result<(), StoreError> {
        if block != self.records.to_le_bytes() {
            return Err(self.corrupt("the end block counts other records than there are"));
        }
        match fill(&mut self.inner, &mut [0; 1]) {
            Ok(0) => {
                self.done = true;
                Ok(())
            }
            Ok(_) => Err(self.corrupt("something follows the end block")),
            Err(source) => Err(self.io(source)),
        }
    }

    fn fill_exact(&mut self, into: &mut [u8]) -> Result<(), StoreError> {
        match fill(&mut self.inner, into) {
            Ok(read) if read == into.len() => Ok(()),
            Ok(_) => {
                self.stop();
                Err(StoreError::Cut { at_byte: self.block_at_byte, records: self.records })
            }
            Err(source) => Err(self.io(source)),
        }
    }

    fn corrupt(&mut self, what: &str) -> StoreError {
        self.stop();
        StoreError::Corrupt { at_byte: self.block_at_byte, records: self.records, what: what.to_owned() }
    }

    fn io(&mut self, source: std::io::Error) -> StoreError {
        self.stop();
        StoreError::Io { at_byte: self.block_at_byte, records: self.records, source }
    }

    fn stop(&mut self) {
        self.done = true;
        self.left = 0;
    }
}

/// Reads until `into` is full or the input ends.
fn fill(from: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut at = 0;
    while at < into.len() {
        match from.read(&mut into[at..]) {
            Ok(0) => break,
            Ok(read) => at += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    let mut le = [0; 4];
    le.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(le)
}
