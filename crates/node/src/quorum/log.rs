//! The metadata log as the quorum uses it: what is appended, what of it is synced, what is committed and not told yet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use metricstream_wire::WireError;
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use metricstream_wire::control_record::{ControlRecord, ControlVoter, LeaderChange};
use metricstream_wire::record_batch::Batch;

use super::message::OffsetAndEpoch;
use super::{FOLDER, QuorumError, RecordBatch};
use crate::config::NodeConfig;
use crate::io::{Disk, Durability, FileId, OpId, Outputs, Part, StorageAction};
use crate::time::Now;

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

/// The log, from the last snapshot on.
#[derive(Debug)]
pub(super) struct MetadataLog {
    /// Where the log starts, and the epoch of the batch before.
    start: OffsetAndEpoch,
    batches: Vec<Batch>,
    bytes: u64,
    /// The first batch that the owner was not told of.
    untold: usize,
    synced: i64,
    syncing: VecDeque<Syncing>,
    file: FileId,
}

fn path(base: i64) -> String {
    format!("{FOLDER}/{base:020}.log")
}

impl MetadataLog {
    pub(super) fn open(
        _config: &NodeConfig,
        disk: &dyn Disk,
        io: &mut Outputs,
        snapshot: Option<OffsetAndEpoch>,
        _now: Now,
    ) -> Result<Self, QuorumError> {
        let start = snapshot.unwrap_or_default();
        let mut best: Option<(String, Vec<Batch>, u64)> = None;
        for (name, size) in disk.list()? {
            if !name.starts_with(FOLDER) || !name.ends_with(".log") {
                continue;
            }
            let mut bytes = disk.read(&name, 0, u32::try_from(size).unwrap_or(u32::MAX))?;
            let mut batches = Vec::new();
            while let Ok(Some(batch)) = Batch::next(&mut bytes) {
                batches.push(batch);
            }
            let end = |b: &[Batch]| b.last().map_or(-1, |b| b.next_offset());
            if best.as_ref().is_none_or(|(_, b, _)| end(&batches) >= end(b)) {
                best = Some((name, batches, size));
            }
        }
        let (name, mut batches, size) = best.unwrap_or_else(|| (path(start.offset), Vec::new(), 0));
        let whole: u64 = batches.iter().map(|b| b.size_bytes() as u64).sum();
        let file = io.open(name);
        if whole < size {
            io.written(file, StorageAction::Truncate { size_bytes: whole });
        }
        batches.retain(|b| b.base_offset >= start.offset);
        let bytes = batches.iter().map(|b| b.size_bytes() as u64).sum();
        let mut log = Self { start, batches, bytes, untold: 0, synced: 0, syncing: VecDeque::new(), file };
        log.synced = log.end().offset;
        Ok(log)
    }

    pub(super) fn start(&self) -> i64 {
        self.start.offset
    }

    pub(super) fn end(&self) -> OffsetAndEpoch {
        self.batches
            .last()
            .map_or(self.start, |b| OffsetAndEpoch { offset: b.next_offset(), epoch: b.partition_leader_epoch })
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
        while let Some(first) = self.syncing.pop_front_if(|s| s.done) {
            self.synced = self.synced.max(first.end);
        }
        self.synced > before
    }

    fn append(&mut self, io: &mut Outputs, batches: Vec<Batch>) {
        let bytes: Vec<Bytes> = batches.iter().map(|b| b.bytes().clone()).collect();
        self.bytes += bytes.iter().map(|b| b.len() as u64).sum::<u64>();
        self.batches.extend(batches);
        let op = io.wanted(self.file, StorageAction::Append { bytes }, Durability::Synced);
        self.syncing.push_back(Syncing { op, end: self.end().offset, done: false });
    }

    pub(super) fn append_as_leader(&mut self, now: Now, io: &mut Outputs, epoch: i32, records: &[Bytes]) {
        let mut builder = BatchBuilder::new();
        for value in records {
            builder.push(NewRecord { timestamp_ms: now.wall_ms, value: Some(value), ..Default::default() });
        }
        self.append_built(io, builder, epoch);
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
        self.append_built(io, builder, epoch);
    }

    fn append_built(&mut self, io: &mut Outputs, builder: BatchBuilder, epoch: i32) {
        let bytes = builder.build(self.end().offset, epoch);
        let batch = Batch::from_patched(BytesMut::from(&bytes[..])).expect("what was just built is whole");
        self.append(io, vec![batch]);
    }

    /// Appends the whole batches that a leader sent; a cut one at the end is left.
    pub(super) fn append_as_follower(
        &mut self,
        io: &mut Outputs,
        bytes: &mut Bytes,
        epoch_max: i32,
    ) -> Result<(), WireError> {
        let mut end = self.end();
        let mut batches = Vec::new();
        while let Some(batch) = Batch::next(bytes)? {
            if batch.base_offset != end.offset {
                return Err(WireError::Range { what: "base offset", value: batch.base_offset });
            }
            let epoch = batch.partition_leader_epoch;
            if epoch < end.epoch || epoch > epoch_max {
                return Err(WireError::Range { what: "leader epoch", value: i64::from(epoch) });
            }
            end = OffsetAndEpoch { offset: batch.next_offset(), epoch };
            batches.push(batch);
        }
        if !batches.is_empty() {
            self.append(io, batches);
        }
        Ok(())
    }

    /// Whole batches from an offset on.
    pub(super) fn read(&self, offset: i64, max_bytes: u32) -> Vec<Part> {
        let from = self.batches.partition_point(|b| b.next_offset() <= offset);
        let mut size = 0;
        let mut parts = Vec::new();
        for batch in &self.batches[from..] {
            size += batch.size_bytes();
            if size > max_bytes as usize && !parts.is_empty() {
                break;
            }
            parts.push(Part::Bytes(batch.bytes().clone()));
        }
        parts
    }

    /// The end of the largest epoch that is not above the one asked for. A log that starts with a snapshot ends the
    /// snapshot's epoch at its start.
    fn end_of_epoch(&self, epoch: i32) -> OffsetAndEpoch {
        let at = self.batches.partition_point(|b| b.partition_leader_epoch <= epoch);
        match at.checked_sub(1).map(|n| &self.batches[n]) {
            Some(b) => OffsetAndEpoch { offset: b.next_offset(), epoch: b.partition_leader_epoch },
            None => self.start,
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

    pub(super) fn truncate_to(&mut self, io: &mut Outputs, offset: i64) {
        let kept = self.batches.partition_point(|b| b.next_offset() <= offset);
        assert!(kept >= self.untold, "what was told is committed");
        let cut: u64 = self.batches.drain(kept..).map(|b| b.size_bytes() as u64).sum();
        self.bytes -= cut;
        io.written(self.file, StorageAction::Truncate { size_bytes: self.bytes });
        let end = self.end().offset;
        self.synced = self.synced.min(end);
        self.syncing.iter_mut().for_each(|s| s.end = s.end.min(end));
    }

    /// Everything is in a snapshot.
    pub(super) fn truncate_fully_and_start_at(&mut self, io: &mut Outputs, at: OffsetAndEpoch) {
        self.batches.clear();
        self.untold = 0;
        self.start_again(io, at);
        self.synced = at.offset;
        self.syncing.iter_mut().for_each(|s| s.end = s.end.min(at.offset));
    }

    /// What lies before is in a snapshot.
    pub(super) fn start_at(&mut self, io: &mut Outputs, at: OffsetAndEpoch) {
        let gone = self.batches.partition_point(|b| b.next_offset() <= at.offset);
        assert!(gone <= self.untold, "a snapshot holds what is committed");
        self.batches.drain(..gone);
        self.untold -= gone;
        self.start_again(io, at);
    }

    fn start_again(&mut self, io: &mut Outputs, at: OffsetAndEpoch) {
        self.start = at;
        let mut whole = BytesMut::new();
        self.batches.iter().for_each(|b| whole.extend_from_slice(b.bytes()));
        self.bytes = whole.len() as u64;
        let old = std::mem::replace(&mut self.file, io.open(path(at.offset)));
        let op = io.wanted(self.file, StorageAction::Replace { bytes: whole.freeze() }, Durability::Synced);
        io.written(old, StorageAction::Delete);
        self.syncing.push_back(Syncing { op, end: self.end().offset, done: false });
    }

    /// What is committed below `high_watermark` and was not told yet.
    pub(super) fn take_committed(&mut self, high_watermark: i64) -> Result<Vec<RecordBatch>, WireError> {
        let to = self.batches.partition_point(|b| b.next_offset() <= high_watermark);
        let told = self.batches[self.untold..to].iter().map(read_batch).collect::<Result<_, _>>()?;
        self.untold = to;
        Ok(told)
    }
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
        self.batches.iter().map(|b| (b.base_offset, b.partition_leader_epoch, u64::from(b.crc))).collect()
    }
}
