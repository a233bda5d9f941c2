//! Compaction: of each key the last record is kept (`cleanup.policy=compact`), by the rules of Kafka 4.1's `Cleaner`. All
//! segments but the active one, below the high watermark, are read one by one, first to learn each key's last offset,
//! then to write each without what is outdated. Offsets stay; gaps are left.
//!
//! Batches of transactions are not looked up in a list of aborted ones: their records are kept like others.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use metricstream_wire::WireError;
use metricstream_wire::record_batch::{BatchHeader, Compression};

use super::Log;
use super::batch::{RawRecord, RawRecords, delete_horizon_ms, with_records};
use super::segment::Segment;
use crate::io::{Completion, Durability, Event, Level, OpId, Output, Outputs, StorageAction, Stored};
use crate::time::Now;

/// Room for keys (Kafka's `log.cleaner.dedupe.buffer.size`); what does not fit is left for the next time.
const KEYS_BYTES_MAX: usize = 128 << 20;
/// What a key costs beside its own bytes.
const KEY_BYTES: usize = 64;

/// How far a log is compacted, and what is under way.
#[derive(Debug, Default)]
pub(super) struct Compaction {
    /// No record before is outdated by another one before. Not stored: after a restart all is looked at again.
    clean_to: i64,
    job: Option<Job>,
    /// It was said that this log cannot be compacted.
    told: bool,
}

#[derive(Debug)]
struct Job {
    /// Up to here, exclusive.
    end: i64,
    now_ms: i64,
    keys: BTreeMap<Bytes, i64>,
    keys_bytes: usize,
    /// Base offsets of segments whose keys are still to be learnt.
    to_learn: VecDeque<i64>,
    /// Base offsets of segments that are still to be written.
    to_write: VecDeque<i64>,
    /// Producers of whose open transaction something is kept.
    transactions: BTreeMap<i64, bool>,
    reading: Option<(OpId, i64)>,
}

impl Compaction {
    /// The segments are no longer what the job knows.
    pub(super) fn abandon(&mut self) {
        self.job = None;
    }

    /// The log ends here now.
    pub(super) fn limit_to(&mut self, end: i64) {
        self.clean_to = self.clean_to.min(end);
    }
}

impl Log {
    /// Takes the completion of an operation that this log asked for; false if it was another's.
    pub fn stored(&mut self, completion: &Completion, out: &mut Outputs) -> bool {
        let Some(mut job) = self.compaction.job.take() else { return false };
        let Some((id, base_offset)) = job.reading.filter(|(id, _)| *id == completion.id) else {
            self.compaction.job = Some(job);
            return false;
        };
        job.reading = None;
        let done = match &completion.result {
            Ok(Stored::Bytes(bytes)) => self.take_segment(&mut job, base_offset, bytes, out),
            Ok(Stored::Done) => Err(format!("operation {id:?} gave no bytes")),
            Err(failure) => Err(failure.to_string()),
        };
        match done {
            Ok(()) => self.go_on(job, out),
            Err(why) => self.warn(format!("{}: compaction is given up: {why}", self.folder), out),
        }
        true
    }

    /// Begins a compaction if enough is dirty and none is under way.
    pub(super) fn start_compaction(&mut self, now: Now, high_watermark: i64, out: &mut Outputs) {
        if self.compaction.job.is_some() {
            return;
        }
        let closed = self.segments.windows(2).take_while(|pair| pair[1].base_offset <= high_watermark).count();
        let closed = &self.segments[..closed];
        let Some(end) = closed.last().map(|_| self.segments[closed.len()].base_offset) else { return };
        let dirty_from = closed.partition_point(|s| s.base_offset < self.compaction.clean_to);
        let bytes = |segments: &[Segment]| segments.iter().map(|s| s.size_bytes).sum::<u64>();
        let (dirty, all) = (bytes(&closed[dirty_from..]), bytes(closed));
        if dirty == 0 || dirty as f64 <= self.config.min_cleanable_ratio * all as f64 {
            return;
        }
        if closed.iter().flat_map(|s| &s.batches).any(|b| b.header.compression() != Compression::None) {
            if !std::mem::replace(&mut self.compaction.told, true) {
                self.warn(format!("{}: not compacted: it has compressed batches", self.folder), out);
            }
            return;
        }
        let bases = |segments: &[Segment]| segments.iter().map(|s| s.base_offset).collect();
        let job = Job {
            end,
            now_ms: now.wall_ms,
            keys: BTreeMap::new(),
            keys_bytes: 0,
            to_learn: bases(&closed[dirty_from..]),
            to_write: bases(closed),
            transactions: BTreeMap::new(),
            reading: None,
        };
        self.go_on(job, out);
    }

    /// Asks for the next segment, or is done.
    fn go_on(&mut self, mut job: Job, out: &mut Outputs) {
        let Some(base_offset) = job.to_learn.front().or_else(|| job.to_write.front()).copied() else {
            self.compaction.clean_to = job.end;
            return;
        };
        let found = self.segments.iter().find(|s| s.base_offset == base_offset);
        let segment = found.expect("a job is abandoned when segments go");
        let len = u32::try_from(segment.size_bytes).expect("a segment is below 4 GiB");
        let id = out.wanted(segment.file, StorageAction::Read { position: 0, len }, Durability::Written);
        job.reading = Some((id, base_offset));
        self.compaction.job = Some(job);
    }

    fn take_segment(&mut self, job: &mut Job, base: i64, bytes: &Bytes, out: &mut Outputs) -> Result<(), String> {
        let number = self.segments.iter().position(|s| s.base_offset == base).ok_or("its segment is gone")?;
        let segment = &self.segments[number];
        if bytes.len() as u64 != segment.size_bytes {
            return Err(format!("{}: {} bytes of {} were read", segment.path, bytes.len(), segment.size_bytes));
        }
        let damaged = |why: WireError| format!("{}: {why}", segment.path);
        if job.to_learn.pop_front().is_some() {
            job.learn(segment, bytes).map_err(damaged)?;
            let next = self.segments[number + 1].base_offset;
            if job.keys_bytes > KEYS_BYTES_MAX {
                job.to_learn.clear();
                job.to_write.retain(|base| *base < next);
                job.end = next;
            }
            return Ok(());
        }
        job.to_write.pop_front();
        let keep_last = self.last_batch_before(job.end);
        let kept = self.kept_of(job, segment, bytes, keep_last).map_err(damaged)?;
        if let Some(kept) = kept {
            self.replace_segment(number, kept, out);
        }
        Ok(())
    }

    /// The batch that tells followers where the compacted part ends; it stays, if need be without records.
    fn last_batch_before(&self, end: i64) -> Option<i64> {
        self.segments
            .iter()
            .rev()
            .filter(|s| s.base_offset < end)
            .find_map(|s| s.batches.last())
            .map(|b| b.header.base_offset)
    }

    /// What stays of a segment; `None` if all of it does.
    fn kept_of(
        &self,
        job: &mut Job,
        segment: &Segment,
        bytes: &Bytes,
        keep_last: Option<i64>,
    ) -> Result<Option<Vec<(BatchHeader, Bytes)>>, WireError> {
        let mut kept = Vec::with_capacity(segment.batches.len());
        let mut changed = false;
        for batch in &segment.batches {
            let from = usize::try_from(batch.position).expect("within what was read");
            let bytes = bytes.slice(from..from + batch.header.size_bytes());
            let must_stay = keep_last == Some(batch.header.base_offset) || self.is_last_of_producer(&batch.header);
            match job.filter(&batch.header, &bytes, self.config.delete_retention_ms, must_stay)? {
                Filtered::Whole => kept.push((batch.header, bytes)),
                Filtered::Less(less) => {
                    let less = less.freeze();
                    let header = BatchHeader::read(&less)?.expect("it was just written");
                    kept.push((header, less));
                    changed = true;
                }
                Filtered::Nothing => changed = true,
            }
        }
        Ok(changed.then_some(kept))
    }

    /// The last batch of a producer stays, so that its sequence is known after a restart.
    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let known = self.producers.all().get(&header.producer_id);
        known.and_then(|p| p.batches().last()).is_some_and(|b| b.first_offset == header.base_offset)
    }

    fn replace_segment(&mut self, number: usize, kept: Vec<(BatchHeader, Bytes)>, out: &mut Outputs) {
        let next = self.segments[number + 1].base_offset;
        self.cache.forget_before(next);
        // The first one stays even empty: its name says where the log starts.
        if kept.is_empty() && number > 0 {
            self.remove_segments(number, number + 1, out);
            return;
        }
        let mut content = BytesMut::with_capacity(kept.iter().map(|(_, bytes)| bytes.len()).sum());
        kept.iter().for_each(|(_, bytes)| content.extend_from_slice(bytes));
        let segment = &mut self.segments[number];
        segment.set_batches(kept.into_iter().map(|(header, _)| header));
        let file = segment.file;
        self.operate(file, StorageAction::Replace { bytes: content.freeze() }, out);
    }

    fn warn(&self, text: String, out: &mut Outputs) {
        out.push(Output::Event(Event::Log { level: Level::Warn, text }));
    }
}

/// What stays of a batch.
enum Filtered {
    Whole,
    Less(BytesMut),
    Nothing,
}

impl Job {
    /// Takes each key's last offset from a segment.
    fn learn(&mut self, segment: &Segment, bytes: &Bytes) -> Result<(), WireError> {
        for batch in segment.batches.iter().filter(|b| !b.header.is_control()) {
            let from = usize::try_from(batch.position).expect("within what was read");
            for record in RawRecords::of(&batch.header, &bytes[from..]) {
                let record = record?;
                let Some(key) = record.key else { continue };
                let offset = batch.header.base_offset + i64::from(record.offset_delta);
                if let Some(known) = self.keys.get_mut(key) {
                    *known = offset.max(*known);
                } else {
                    self.keys.insert(Bytes::copy_from_slice(key), offset);
                    self.keys_bytes += key.len() + KEY_BYTES;
                }
            }
        }
        Ok(())
    }

    fn filter(
        &mut self,
        header: &BatchHeader,
        bytes: &Bytes,
        delete_retention_ms: i64,
        must_stay: bool,
    ) -> Result<Filtered, WireError> {
        if header.base_offset >= self.end {
            return Ok(Filtered::Whole);
        }
        let horizon = delete_horizon_ms(header);
        let expired = horizon.is_some_and(|horizon| self.now_ms >= horizon);
        let mut all = Vec::with_capacity(usize::try_from(header.records_count).unwrap_or(0).min(bytes.len()));
        for record in RawRecords::of(header, bytes) {
            all.push(record?);
        }
        // A marker stays for as long as something of its transaction does, then for delete.retention.ms.
        let marker_of_nothing = header.is_control() && !self.transactions.remove(&header.producer_id).unwrap_or(false);
        let stays = |record: &RawRecord<'_>| match (header.is_control(), record.key) {
            (true, _) => !(marker_of_nothing && expired),
            (false, None) => false,
            (false, Some(key)) => {
                let offset = header.base_offset + i64::from(record.offset_delta);
                let latest = self.keys.get(key).is_none_or(|latest| offset >= *latest);
                latest && (record.has_value || !expired)
            }
        };
        let kept: Vec<RawRecord<'_>> = all.iter().copied().filter(stays).collect();
        if header.is_transactional() && !header.is_control() && !kept.is_empty() {
            self.transactions.insert(header.producer_id, true);
        }
        let to_expire = marker_of_nothing || (!header.is_control() && kept.iter().any(|r| !r.has_value));
        let new_horizon = (to_expire && horizon.is_none() && !kept.is_empty())
            .then(|| self.now_ms.saturating_add(delete_retention_ms));
        if kept.is_empty() && !must_stay {
            return Ok(Filtered::Nothing);
        }
        if kept.len() == all.len() && new_horizon.is_none() {
            return Ok(Filtered::Whole);
        }
        Ok(Filtered::Less(with_records(header, bytes, &kept, new_horizon)))
    }
}
