//! Appending: what a leader takes from clients and coordinators, and what a follower takes from its leader. The rules are
//! those of Kafka 4.1's `LogValidator` and `UnifiedLog`.

use bytes::{Bytes, BytesMut};
use metricstream_wire::record_batch::{BatchHeader, Compression, HEADER_BYTES, assign, assign_append_time};

use super::Log;
use super::config::TimestampType;
use super::error::AppendError;
use super::producer_state::{ProducedBatch, Standing};
use crate::flaws::Flaws;
use crate::io::{Durability, OpId, Outputs, StorageAction};
use crate::time::Now;

/// Who made the records that a leader appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A producer: exactly one batch, everything is checked, its checksum too.
    Client,
    /// A coordinator of this node: any number of batches, without sequences.
    Coordinator,
    /// The leader of the metadata quorum.
    Raft,
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub first_offset: i64,
    /// Offset of the last record; one before the first if there was none.
    pub last_offset: i64,
    /// The time that the records were given, with `message.timestamp.type` LogAppendTime.
    pub append_time_ms: Option<i64>,
    /// The batch was here already and nothing was appended. Its acknowledgement waits for the high watermark all the same.
    pub duplicate: bool,
    /// In a log of durability [`Durability::Synced`]: the operation after whose completion the records are safe.
    pub sync: Option<OpId>,
}

impl Log {
    /// Appends whole batches as the leader of `epoch`. Their offsets and epoch are patched in place, so nothing is copied.
    ///
    /// # Errors
    /// Why it is refused; nothing was appended then.
    ///
    /// # Panics
    /// If the log has records of a later epoch: whoever leads has the latest.
    pub fn append_as_leader(
        &mut self,
        mut records: BytesMut,
        epoch: i32,
        origin: Origin,
        flaws: &Flaws,
        now: Now,
        out: &mut Outputs,
    ) -> Result<Appended, AppendError> {
        assert!(self.last_epoch().is_none_or(|last| last <= epoch), "{}: epoch {epoch} is no leader's", self.folder);
        let headers = match origin {
            Origin::Client => vec![self.check_produced(&mut records, now)?],
            Origin::Coordinator | Origin::Raft => whole_batches(&records)?,
        };
        if let Some(duplicate) = self.check_producers(&headers, origin, flaws)? {
            return Ok(self.duplicate(duplicate));
        }
        self.check_sizes(&headers, origin)?;
        let append_time = origin != Origin::Raft && self.config.timestamp_type == TimestampType::LogAppendTime;
        let first_offset = self.end_offset;
        let (mut offset, mut position) = (first_offset, 0);
        for header in &headers {
            let batch = &mut records[position..position + header.size_bytes()];
            assign(batch, offset, epoch);
            if flaws.change_a_value && origin == Origin::Client && offset % 7 == 0 {
                super::batch::change_last_value(header, batch);
            }
            if flaws.swap_records && origin == Origin::Client {
                super::batch::swap_first_records(header, batch);
            }
            if append_time {
                assign_append_time(batch, now.wall_ms);
            }
            offset += i64::from(header.last_offset_delta) + 1;
            position += header.size_bytes();
        }
        let headers = whole_batches(&records)?;
        let sync = self.write(&records.freeze(), &headers, now, out);
        Ok(Appended {
            first_offset,
            last_offset: self.end_offset - 1,
            append_time_ms: append_time.then_some(now.wall_ms),
            duplicate: false,
            sync,
        })
    }

    /// Appends what a leader sent: whole batches with the leader's own offsets and epochs, from this log's end on. What
    /// is left of a batch that was cut by the fetch is ignored.
    ///
    /// # Errors
    /// [`AppendError::Corrupt`] or [`AppendError::UnexpectedOffset`]; nothing was appended then.
    pub fn append_as_follower(
        &mut self,
        records: &Bytes,
        now: Now,
        out: &mut Outputs,
    ) -> Result<Appended, AppendError> {
        let headers = whole_batches(records)?;
        let mut position = 0;
        let mut end = self.end_offset;
        for (n, header) in headers.iter().enumerate() {
            header.check_crc(&records[position..])?;
            position += header.size_bytes();
            // A log that was emptied at its leader's start offset may be given the batch around that offset (KIP-107).
            let around = n == 0 && self.size_bytes() == 0 && header.next_offset() > end;
            if header.base_offset < end && !around {
                return Err(AppendError::UnexpectedOffset { found: header.base_offset, end });
            }
            end = header.next_offset();
        }
        let first_offset = headers.first().map_or(self.end_offset, |h| h.base_offset);
        if first_offset < self.end_offset {
            self.begin_at_batch(first_offset, now, out);
        }
        let sync = self.write(&records.slice(..position), &headers, now, out);
        Ok(Appended { first_offset, last_offset: self.end_offset - 1, append_time_ms: None, duplicate: false, sync })
    }

    /// Moves the one empty segment back to where a batch begins, while what can be read still starts later.
    fn begin_at_batch(&mut self, base_offset: i64, now: Now, out: &mut Outputs) {
        let count = self.segments.len();
        self.remove_segments(0, count, out);
        self.new_segment(base_offset, now, out);
        self.end_offset = base_offset;
        self.save_start(out);
    }

    fn check_produced(&self, records: &mut BytesMut, now: Now) -> Result<BatchHeader, AppendError> {
        if let Some(header) = BatchHeader::read(records)?
            && records.len() - header.size_bytes().min(records.len()) < HEADER_BYTES
        {
            // As Kafka, bytes that are no whole header behind the batch do not count.
            records.truncate(header.size_bytes());
        }
        let header = BatchHeader::of_produced(records)?;
        if header.base_offset != 0 {
            return Err(AppendError::InvalidRecord("a producer's batch has base offset 0"));
        }
        if header.is_transactional() {
            return Err(AppendError::Transactional);
        }
        self.check_timestamp(&header, now)?;
        if self.config.compact {
            check_keys(&header, records)?;
        }
        Ok(header)
    }

    fn check_timestamp(&self, header: &BatchHeader, now: Now) -> Result<(), AppendError> {
        let timestamp_ms = header.max_timestamp_ms;
        if self.config.timestamp_type == TimestampType::LogAppendTime || timestamp_ms < 0 {
            return Ok(());
        }
        let ahead_ms = timestamp_ms.saturating_sub(now.wall_ms);
        if ahead_ms > self.config.timestamp_after_max_ms || -ahead_ms > self.config.timestamp_before_max_ms {
            return Err(AppendError::InvalidTimestamp { timestamp_ms, now_ms: now.wall_ms });
        }
        Ok(())
    }

    fn check_sizes(&self, headers: &[BatchHeader], origin: Origin) -> Result<(), AppendError> {
        let max_bytes = self.config.max_message_bytes;
        let too_large = |h: &&BatchHeader| h.size_bytes() > max_bytes && origin != Origin::Raft;
        if let Some(header) = headers.iter().find(too_large) {
            return Err(AppendError::TooLarge { size_bytes: header.size_bytes(), max_bytes });
        }
        let max_bytes = usize::try_from(self.config.roll_bytes()).unwrap_or(usize::MAX);
        match headers.iter().find(|h| h.size_bytes() > max_bytes) {
            Some(header) => Err(AppendError::LargerThanSegment { size_bytes: header.size_bytes(), max_bytes }),
            None => Ok(()),
        }
    }

    /// The batch of which this one is a repetition, if it is one.
    fn check_producers(
        &self,
        headers: &[BatchHeader],
        origin: Origin,
        flaws: &Flaws,
    ) -> Result<Option<ProducedBatch>, AppendError> {
        for header in headers.iter().filter(|h| h.has_producer_id()) {
            match origin {
                Origin::Client => match self.producers.check(header)? {
                    Standing::Duplicate(batch) if !flaws.forget_deduplication => return Ok(Some(batch)),
                    Standing::Duplicate(_) | Standing::New => {}
                },
                Origin::Coordinator | Origin::Raft => self.producers.check_epoch(header)?,
            }
        }
        Ok(None)
    }

    fn duplicate(&self, batch: ProducedBatch) -> Appended {
        let append_time = self.config.timestamp_type == TimestampType::LogAppendTime;
        Appended {
            first_offset: batch.first_offset,
            last_offset: batch.last_offset,
            append_time_ms: append_time.then_some(batch.timestamp_ms),
            duplicate: true,
            sync: None,
        }
    }

    /// Writes checked batches behind the log's end: one operation for all that go to the same segment.
    fn write(&mut self, records: &Bytes, headers: &[BatchHeader], now: Now, out: &mut Outputs) -> Option<OpId> {
        let (mut written, mut position) = (0, 0);
        let mut sync = None;
        let mut new_epoch = false;
        for header in headers {
            if self.must_roll(header, now) {
                sync = self.append_bytes(records.slice(written..position), out).or(sync);
                written = position;
                self.roll(now, out);
            }
            new_epoch |= self.epochs.assign(header.partition_leader_epoch, header.base_offset);
            self.producers.appended(header);
            let end = position + header.size_bytes();
            self.cache.push(header.base_offset, records.slice(position..end));
            self.active().push(*header);
            self.end_offset = header.next_offset();
            position = end;
        }
        let sync = self.append_bytes(records.slice(written..position), out).or(sync);
        if new_epoch {
            self.save_epochs(out);
        }
        sync
    }

    fn append_bytes(&mut self, bytes: Bytes, out: &mut Outputs) -> Option<OpId> {
        if bytes.is_empty() {
            return None;
        }
        let file = self.active().file;
        let action = StorageAction::Append { bytes: vec![bytes] };
        match self.config.durability {
            Durability::Synced => Some(out.wanted(file, action, Durability::Synced)),
            Durability::Written => {
                out.written(file, action);
                None
            }
        }
    }

    fn must_roll(&self, coming: &BatchHeader, now: Now) -> bool {
        let active = self.segments.last().expect("a log has a segment");
        if active.size_bytes == 0 {
            return false;
        }
        active.size_bytes + coming.size_bytes() as u64 > self.config.roll_bytes()
            || active.age_ms(now.wall_ms, coming.max_timestamp_ms) > self.config.roll_ms
            || coming.last_offset() - active.base_offset > i64::from(i32::MAX)
    }
}

/// The headers of all whole batches at the beginning of `records`.
fn whole_batches(records: &[u8]) -> Result<Vec<BatchHeader>, AppendError> {
    let mut headers = Vec::new();
    let mut rest = records;
    while let Some(header) = BatchHeader::read(rest)? {
        let Some(behind) = rest.get(header.size_bytes()..) else { break };
        headers.push(header);
        rest = behind;
    }
    Ok(headers)
}

/// On a compacted topic every record has a key.
fn check_keys(header: &BatchHeader, records: &BytesMut) -> Result<(), AppendError> {
    if header.compression() != Compression::None {
        return Err(AppendError::CompressedKeys);
    }
    let mut keyless = Vec::new();
    for (index, record) in (0..).zip(super::batch::RawRecords::of(header, records)) {
        if record?.key.is_none() {
            keyless.push(index);
        }
    }
    if keyless.is_empty() { Ok(()) } else { Err(AppendError::WithoutKey { records: keyless }) }
}
