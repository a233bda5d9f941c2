//! The metadata log as the quorum uses it: what is appended, what of it is synced, what is committed and not told yet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use metricstream_wire::WireError;
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use metricstream_wire::control_record::{ControlRecord, ControlVoter, LeaderChange};
use metricstream_wire::record_batch::Batch;

use super::message::OffsetAndEpoch;
use super::replication::BATCH_BYTES_MAX;
use super::{FOLDER, QuorumError, RecordBatch};
use crate::config::{NodeConfig, Settings};
use crate::flaws::Flaws;
use crate::io::{Disk, Durability, OpId, Outputs, Part};
use crate::log::{AppendError, Log, LogConfig, Origin, TimestampType};
use crate::time::Now;

/// `metadata.log.segment.bytes`.
const SEGMENT_BYTES: u64 = 1 << 30;

/// Where a replica stands against the leader's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// All it has is the leader's.
    Valid,
    /// The leader's log holds this much of the largest epoch that both may know.
    Diverging(OffsetAndEpoch),
    /// It needs what the leader has only as a snapshot.
    Snapshot(OffsetAndEpoch),
}

/// An append on its way to the disk, and where the log ends with it. Segments are files of their own, so that a later one
/// may be there first; it counts when those before it are.
#[derive(Debug)]
struct Syncing {
    op: OpId,
    end: i64,
    done: bool,
}

/// The log behind the last snapshot.
#[derive(Debug)]
pub(super) struct MetadataLog {
    log: Log,
    flaws: Flaws,
    /// Where it starts, and the epoch of the batch before: the last snapshot, or nothing.
    start: OffsetAndEpoch,
    /// Bytes from there on; the segments may hold more.
    bytes: u64,
    /// What the owner was not told of: all that is not known to be committed, and at the start of a node all there is.
    untold: VecDeque<Batch>,
    synced: i64,
    syncing: VecDeque<Syncing>,
}

impl MetadataLog {
    pub(super) fn open(
        config: &NodeConfig,
        disk: &dyn Disk,
        io: &mut Outputs,
        snapshot: Option<OffsetAndEpoch>,
        now: Now,
    ) -> Result<Self, QuorumError> {
        let start = snapshot.unwrap_or_default();
        let log = Log::open(FOLDER, log_config(&config.settings), disk, now, io)?;
        let mut log = Self {
            flaws: config.flaws,
            start,
            bytes: 0,
            untold: VecDeque::new(),
            synced: log.end_offset(),
            syncing: VecDeque::new(),
            log,
        };
        // Emptying a log that a snapshot took the place of may have been cut short with an empty segment left.
        if log.log.start_offset() > start.offset && (log.log.size_bytes() > 0 || snapshot.is_none()) {
            let why = format!("the log starts at {}, and no snapshot holds what was before", log.log.start_offset());
            return Err(QuorumError::corrupt(FOLDER, why));
        }
        if log.continues_snapshot() {
            log.untold = stored_batches(disk, start.offset, log.log.end_offset())?;
            log.start_at(now, io, start);
        } else {
            log.truncate_fully_and_start_at(now, io, start);
        }
        Ok(log)
    }

    /// Whether the log behind the snapshot is a continuation of it. Not so if the node stopped between having fetched a
    /// snapshot and emptying the log that it took the place of.
    fn continues_snapshot(&self) -> bool {
        let at = self.start.offset;
        if at == 0 || self.log.end_offset() < at || self.log.start_offset() > at {
            return at == 0;
        }
        match self.log.epochs().epoch_at(at - 1) {
            Some(epoch) => epoch == self.start.epoch,
            None => self.log.epochs().epoch_at(at).is_none_or(|epoch| epoch >= self.start.epoch),
        }
    }

    pub(super) const fn start(&self) -> i64 {
        self.start.offset
    }

    pub(super) fn end(&self) -> OffsetAndEpoch {
        let offset = self.log.end_offset();
        if offset == self.start.offset {
            return self.start;
        }
        OffsetAndEpoch { offset, epoch: self.log.last_epoch().expect("a log with batches has an epoch") }
    }

    pub(super) const fn synced_end(&self) -> i64 {
        self.synced
    }

    pub(super) const fn size_bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn owns(&self, op: OpId) -> bool {
        self.syncing.iter().any(|s| s.op == op)
    }

    /// Whether more is synced now.
    pub(super) fn on_stored(&mut self, op: OpId) -> bool {
        let Some(done) = self.syncing.iter_mut().find(|s| s.op == op) else { return false };
        done.done = true;
        let before = self.synced;
        let first = self.syncing.iter().position(|s| !s.done).unwrap_or(self.syncing.len());
        for done in self.syncing.drain(..first) {
            self.synced = self.synced.max(done.end);
        }
        self.synced > before
    }

    fn appended(&mut self, batches: Vec<Batch>, sync: Option<OpId>) {
        self.bytes += batches.iter().map(|b| b.size_bytes() as u64).sum::<u64>();
        self.untold.extend(batches);
        if let Some(op) = sync {
            self.syncing.push_back(Syncing { op, end: self.log.end_offset(), done: false });
        }
    }

    pub(super) fn append_as_leader(&mut self, now: Now, io: &mut Outputs, epoch: i32, records: &[Bytes]) {
        let mut builder = BatchBuilder::new();
        for value in records {
            builder.push(NewRecord { timestamp_ms: now.wall_ms, value: Some(value), ..Default::default() });
        }
        self.append_built(now, io, builder, epoch);
    }

    /// The first record of a leader's epoch (KIP-595).
    pub(super) fn append_leader_change(
        &mut self,
        now: Now,
        io: &mut Outputs,
        leader_id: i32,
        epoch: i32,
        voters: &[i32],
        granting: &[i32],
    ) {
        let named =
            |ids: &[i32]| ids.iter().map(|id| ControlVoter { voter_id: *id, ..Default::default() }).collect::<Vec<_>>();
        let change = LeaderChange { version: 0, leader_id, voters: named(voters), granting_voters: named(granting) };
        let (key, value) = ControlRecord::LeaderChange(change).encode();
        let mut builder = BatchBuilder::new().control();
        let (key, value) = (Some(&key[..]), Some(&value[..]));
        builder.push(NewRecord { timestamp_ms: now.wall_ms, key, value, ..Default::default() });
        self.append_built(now, io, builder, epoch);
    }

    fn append_built(&mut self, now: Now, io: &mut Outputs, builder: BatchBuilder, epoch: i32) {
        let mut bytes = builder.build(self.log.end_offset(), epoch);
        let copy = BytesMut::from(&bytes[..]);
        let appended = self.log.append_as_leader(copy, epoch, Origin::Raft, &self.flaws, now, io);
        let sync = appended.expect("a batch of ours is sound and fits").sync;
        let batch = Batch::next_unchecked(&mut bytes).ok().flatten().expect("what was just built is whole");
        self.appended(vec![batch], sync);
    }

    /// Appends the whole batches that a leader sent; a cut one at the end is left.
    pub(super) fn append_as_follower(
        &mut self,
        now: Now,
        io: &mut Outputs,
        bytes: &Bytes,
        epoch_max: i32,
    ) -> Result<(), AppendError> {
        let mut rest = bytes.clone();
        let mut end = self.end();
        let mut batches = Vec::new();
        while let Some(batch) = Batch::next(&mut rest)? {
            if batch.base_offset != end.offset {
                return Err(AppendError::UnexpectedOffset { found: batch.base_offset, end: end.offset });
            }
            let epoch = batch.partition_leader_epoch;
            if epoch < end.epoch || epoch > epoch_max {
                return Err(WireError::Range { what: "leader epoch", value: i64::from(epoch) }.into());
            }
            end = OffsetAndEpoch { offset: batch.next_offset(), epoch };
            batches.push(batch);
        }
        let appended = self.log.append_as_follower(&bytes.slice(..bytes.len() - rest.len()), now, io)?;
        self.appended(batches, appended.sync);
        Ok(())
    }

    /// Whole batches from an offset on; the first one in any case.
    pub(super) fn read(&self, offset: i64, max_bytes: u32) -> Vec<Part> {
        let read = self.log.read(offset, self.log.end_offset(), max_bytes as usize, true);
        read.map(|read| read.parts).unwrap_or_default()
    }

    /// The end of the largest epoch that is not above the one asked for. Below all that the log knows lies the snapshot.
    fn end_of_epoch(&self, epoch: i32) -> OffsetAndEpoch {
        let entries = self.log.epochs().entries();
        let above = entries.partition_point(|e| e.epoch <= epoch);
        let end = entries.get(above).map_or_else(|| self.log.end_offset(), |next| next.start_offset);
        match above.checked_sub(1) {
            Some(n) if end > self.start.offset => OffsetAndEpoch { offset: end, epoch: entries[n].epoch },
            _ => self.start,
        }
    }

    /// Kafka's `validateOffsetAndEpoch`.
    pub(super) fn position(&self, at: OffsetAndEpoch, snapshot: Option<OffsetAndEpoch>) -> Position {
        if at == OffsetAndEpoch::default() && self.start() == 0 {
            return Position::Valid;
        }
        if let Some(id) = snapshot
            && (at.offset < id.offset || (at.offset == id.offset && at.epoch != id.epoch) || at.epoch < id.epoch)
        {
            return Position::Snapshot(id);
        }
        let end = self.end_of_epoch(at.epoch);
        if end.epoch != at.epoch || end.offset < at.offset { Position::Diverging(end) } else { Position::Valid }
    }

    /// Where this log and that of a leader, of which this is the end of an epoch, part at the latest.
    pub(super) fn common_end(&self, theirs: OffsetAndEpoch) -> i64 {
        let ours = self.end_of_epoch(theirs.epoch);
        if ours.epoch == theirs.epoch { ours.offset.min(theirs.offset) } else { ours.offset }
    }

    pub(super) fn truncate_to(&mut self, now: Now, io: &mut Outputs, offset: i64) {
        self.log.truncate_to(offset, now, io);
        let end = self.log.end_offset();
        assert!(end >= self.start.offset, "what is in a snapshot is committed");
        while self.untold.back().is_some_and(|b| b.next_offset() > end) {
            self.untold.pop_back();
        }
        self.shortened(end);
    }

    /// Everything is in a snapshot.
    pub(super) fn truncate_fully_and_start_at(&mut self, now: Now, io: &mut Outputs, at: OffsetAndEpoch) {
        self.log.truncate_fully_and_start_at(at.offset, now, io);
        self.start = at;
        self.untold.clear();
        self.shortened(at.offset);
        // A snapshot is on the disk.
        self.synced = at.offset;
    }

    /// What lies before is in a snapshot. Whole segments go; one is ended here, so that it goes with the next snapshot.
    pub(super) fn start_at(&mut self, now: Now, io: &mut Outputs, at: OffsetAndEpoch) {
        self.log.delete_records_before(at.offset, at.offset, io).expect("a snapshot holds what is committed");
        if at.offset > 0 {
            while self.log.drop_oldest_segment(at.offset, now, io) {}
        }
        self.start = at;
        self.count_bytes();
    }

    fn shortened(&mut self, end: i64) {
        self.synced = self.synced.min(end);
        self.syncing.iter_mut().for_each(|s| s.end = s.end.min(end));
        self.count_bytes();
    }

    fn count_bytes(&mut self) {
        let behind = self.log.batches().filter(|b| b.header.base_offset >= self.start.offset);
        self.bytes = behind.map(|b| b.header.size_bytes() as u64).sum();
    }

    /// What is committed below `high_watermark` and was not told yet.
    pub(super) fn take_committed(&mut self, high_watermark: i64) -> Result<Vec<RecordBatch>, WireError> {
        let count = self.untold.partition_point(|b| b.next_offset() <= high_watermark);
        self.untold.drain(..count).map(|batch| read_batch(&batch)).collect()
    }
}

/// As Kafka configures the metadata log: nothing goes by age or size, and every append is synced.
fn log_config(settings: &Settings) -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        roll_ms: i64::MAX,
        retention_ms: -1,
        retention_bytes: -1,
        delete: false,
        compact: false,
        max_message_bytes: 2 * BATCH_BYTES_MAX,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        min_cleanable_ratio: settings.log_cleaner_min_cleanable_ratio,
        delete_retention_ms: settings.log_cleaner_delete_retention_ms,
        producer_id_expiration_ms: settings.producer_id_expiration_ms,
        cache_bytes: usize::try_from(settings.log_cache_bytes).unwrap_or(0),
        durability: Durability::Synced,
    }
}

/// The batches of the store in a range of offsets that was found sound.
fn stored_batches(disk: &dyn Disk, from: i64, to: i64) -> Result<VecDeque<Batch>, QuorumError> {
    let mut batches = VecDeque::new();
    for (path, size) in disk.list()? {
        if !path.starts_with(FOLDER) || !path.ends_with(".log") {
            continue;
        }
        let mut bytes = disk.read(&path, 0, u32::try_from(size).unwrap_or(u32::MAX))?;
        // What is not sound lies at the end and was cut.
        while let Ok(Some(batch)) = Batch::next_unchecked(&mut bytes) {
            if batch.base_offset >= from && batch.next_offset() <= to {
                batches.push_back(batch);
            }
        }
    }
    Ok(batches)
}

/// A batch with the values of its records.
pub(super) fn read_batch(batch: &Batch) -> Result<RecordBatch, WireError> {
    let mut records = Vec::new();
    if !batch.is_control() {
        for record in batch.iter()? {
            records.push(record?.value.ok_or(WireError::Null { what: "value of a metadata record" })?);
        }
    }
    Ok(RecordBatch {
        base_offset: batch.base_offset,
        next_offset: batch.next_offset(),
        epoch: batch.partition_leader_epoch,
        timestamp_ms: batch.base_timestamp_ms,
        size_bytes: batch.size_bytes(),
        records,
    })
}

#[cfg(test)]
impl MetadataLog {
    /// Offset, epoch and checksum of every batch, for comparing logs.
    pub(super) fn fingerprints(&self) -> Vec<(i64, i32, u64)> {
        let behind = self.log.batches().map(|b| b.header).filter(|h| h.base_offset >= self.start.offset);
        behind.map(|h| (h.base_offset, h.partition_leader_epoch, u64::from(h.crc))).collect()
    }
}
