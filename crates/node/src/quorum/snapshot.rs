//! Snapshots (KIP-630): `<end offset>-<epoch>.checkpoint` beside the log, a header, the records of the state and a
//! footer. The owner gives the records; here they are written, served piece by piece, fetched and installed.

use bytes::{Bytes, BytesMut};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use metricstream_wire::control_record::{ControlRecord, SnapshotFooter, SnapshotHeader};
use metricstream_wire::record_batch::Batch;
use metricstream_wire::{ErrorCode, WireError};

use super::message::{Answer, FetchSnapshot, FetchSnapshotAnswer, OffsetAndEpoch};
use super::replication::joined;
use super::state::Role;
use super::{FOLDER, LoadedSnapshot, Quorum, QuorumError, QuorumOutput, Token};
use crate::io::{Disk, Durability, FileId, FileRange, Level, OpId, Outputs, Part, StorageAction};
use crate::time::Now;

/// A larger snapshot is neither fetched nor read.
pub const SNAPSHOT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of one piece that is asked for.
const PIECE_BYTES_MAX: u32 = 1024 * 1024;
/// A batch of a snapshot is ended behind the record that reaches this.
const BATCH_BYTES: usize = 512 * 1024;

/// The path of a snapshot.
#[must_use]
pub fn path(id: OffsetAndEpoch) -> String {
    format!("{FOLDER}/{:020}-{:010}.checkpoint", id.offset, id.epoch)
}

/// The snapshot that a path names. That of offset 0 is not the quorum's: it holds what a cluster is made with.
fn parse(path: &str) -> Option<OffsetAndEpoch> {
    let name = path.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".checkpoint")?;
    let (offset, epoch) = name.split_once('-')?;
    let id = OffsetAndEpoch { offset: offset.parse().ok()?, epoch: epoch.parse().ok()? };
    (id.offset > 0 && offset.len() == 20 && epoch.len() == 10).then_some(id)
}

/// A snapshot that is being fetched.
#[derive(Debug)]
pub(super) struct Download {
    id: OffsetAndEpoch,
    bytes: BytesMut,
}

impl Download {
    pub(super) fn of(id: OffsetAndEpoch) -> Self {
        Self { id, bytes: BytesMut::new() }
    }

    pub(super) fn request(&self, replica_id: i32, current_leader_epoch: i32) -> FetchSnapshot {
        let position = i64::try_from(self.bytes.len()).expect("it is bounded");
        FetchSnapshot { replica_id, current_leader_epoch, snapshot: self.id, position, max_bytes: PIECE_BYTES_MAX }
    }

    /// Takes a piece in. Whether it is whole now.
    fn take(&mut self, answer: &FetchSnapshotAnswer) -> Result<bool, String> {
        let piece = joined(&answer.records);
        let have = self.bytes.len() as u64;
        if answer.snapshot != self.id || answer.position != have {
            return Err(format!("a piece of {:?} at {} and not at {have}", answer.snapshot, answer.position));
        }
        let after = have + piece.len() as u64;
        if answer.size > SNAPSHOT_BYTES_MAX || after > answer.size || (piece.is_empty() && after < answer.size) {
            return Err(format!("{after} of {} bytes", answer.size));
        }
        self.bytes.extend_from_slice(&piece);
        Ok(after == answer.size)
    }
}

#[derive(Debug, Clone, Copy)]
struct Held {
    id: OffsetAndEpoch,
    file: FileId,
    size: u64,
}

#[derive(Debug)]
struct Writing {
    op: OpId,
    held: Held,
    /// What the owner is to load, if it came from a leader.
    fetched: Option<LoadedSnapshot>,
}

/// The last snapshot, and those on their way to the disk.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    held: Option<Held>,
    writing: Vec<Writing>,
}

impl Snapshots {
    /// Finds the last one and reads it; those before it are removed.
    pub(super) fn open(disk: &dyn Disk, io: &mut Outputs) -> Result<(Self, Option<LoadedSnapshot>), QuorumError> {
        let mut found: Vec<(OffsetAndEpoch, u64)> =
            disk.list()?.iter().filter_map(|(name, size)| Some((parse(name)?, *size))).collect();
        found.sort_unstable_by_key(|(id, size)| (*size > 0, id.offset, id.epoch));
        let last = found.pop_if(|(_, size)| *size > 0);
        // What is older goes, and what is empty: it was made, and its content never came.
        for (id, _) in found {
            let file = io.open(path(id));
            io.written(file, StorageAction::Delete);
        }
        let Some((id, size)) = last else { return Ok((Self::default(), None)) };
        let path_of = path(id);
        if size > SNAPSHOT_BYTES_MAX {
            return Err(QuorumError::corrupt(&path_of, format!("{size} bytes are too many")));
        }
        let bytes = disk.read(&path_of, 0, u32::try_from(size).unwrap_or(u32::MAX))?;
        let loaded = decode(id, bytes).map_err(|e| Quorum::damaged(&path_of, &e))?;
        let file = io.open(path_of);
        Ok((Self { held: Some(Held { id, file, size }), writing: Vec::new() }, Some(loaded)))
    }

    pub(super) fn latest(&self) -> Option<OffsetAndEpoch> {
        self.held.map(|h| h.id)
    }

    pub(super) fn owns(&self, op: OpId) -> bool {
        self.writing.iter().any(|w| w.op == op)
    }

    /// Whether a fetched one is being written: until then the log has a gap that nobody could fill.
    pub(super) fn is_installing(&self) -> bool {
        self.writing.iter().any(|w| w.fetched.is_some())
    }

    fn write(&mut self, io: &mut Outputs, id: OffsetAndEpoch, bytes: Bytes, fetched: Option<LoadedSnapshot>) {
        let size = bytes.len() as u64;
        let file = io.open(path(id));
        let op = io.wanted(file, StorageAction::Replace { bytes }, Durability::Synced);
        self.writing.push(Writing { op, held: Held { id, file, size }, fetched });
    }

    /// Takes the place of the one before, which is removed.
    fn hold(&mut self, io: &mut Outputs, held: Held) {
        if let Some(before) = self.held.replace(held) {
            io.written(before.file, StorageAction::Delete);
        }
    }
}

/// The bytes of a snapshot.
fn encode(id: OffsetAndEpoch, last_timestamp_ms: i64, records: &[Bytes]) -> Bytes {
    let mut whole = BytesMut::new();
    let mut offset = 0;
    let mut put = |builder: BatchBuilder| {
        let count = i64::try_from(builder.count()).expect("records are counted in memory");
        whole.extend_from_slice(&builder.build(offset, id.epoch));
        offset += count;
    };
    let control = |record: ControlRecord| {
        let (key, value) = record.encode();
        let mut builder = BatchBuilder::new().control();
        let (key, value) = (Some(&key[..]), Some(&value[..]));
        builder.push(NewRecord { timestamp_ms: last_timestamp_ms, key, value, ..Default::default() });
        builder
    };
    let header = SnapshotHeader { version: 0, last_contained_log_timestamp_ms: last_timestamp_ms };
    put(control(ControlRecord::SnapshotHeader(header)));
    let mut builder = BatchBuilder::new();
    for value in records {
        builder.push(NewRecord { timestamp_ms: last_timestamp_ms, value: Some(value), ..Default::default() });
        if builder.size_bytes() >= BATCH_BYTES {
            put(std::mem::take(&mut builder));
        }
    }
    if builder.count() > 0 {
        put(builder);
    }
    put(control(ControlRecord::SnapshotFooter(SnapshotFooter { version: 0 })));
    whole.freeze()
}

/// Reads a whole snapshot: from its header to its footer, every checksum right.
fn decode(id: OffsetAndEpoch, mut bytes: Bytes) -> Result<LoadedSnapshot, WireError> {
    let mut loaded = LoadedSnapshot { id, last_timestamp_ms: -1, records: Vec::new() };
    let (mut header, mut footer) = (false, false);
    while let Some(batch) = Batch::next(&mut bytes)? {
        for record in batch.iter()? {
            let record = record?;
            if !batch.is_control() {
                let value = record.value.ok_or(WireError::Null { what: "value of a metadata record" })?;
                // Copied: a piece of a few bytes must not keep the whole snapshot in memory.
                loaded.records.push(Bytes::copy_from_slice(&value));
                continue;
            }
            match ControlRecord::decode(record.key, record.value)? {
                ControlRecord::SnapshotHeader(h) => {
                    header = true;
                    loaded.last_timestamp_ms = h.last_contained_log_timestamp_ms;
                }
                ControlRecord::SnapshotFooter(_) => footer = true,
                _ => {}
            }
        }
    }
    let whole = header && footer && bytes.is_empty();
    if whole { Ok(loaded) } else { Err(WireError::Short { what: "snapshot", needed: 1, left: bytes.len() }) }
}

impl Quorum {
    pub(super) fn write_snapshot(
        &mut self,
        io: &mut Outputs,
        id: OffsetAndEpoch,
        last_timestamp_ms: i64,
        records: &[Bytes],
    ) -> bool {
        assert!(id.offset <= self.committed, "a snapshot holds what is committed");
        let newer = self.snapshots.latest().is_none_or(|held| id.offset > held.offset);
        if !newer || id.offset == 0 || !self.snapshots.writing.is_empty() {
            return false;
        }
        self.snapshots.write(io, id, encode(id, last_timestamp_ms, records), None);
        true
    }

    pub(super) fn on_snapshot_stored(&mut self, now: Now, io: &mut Outputs, op: OpId) {
        let Some(at) = self.snapshots.writing.iter().position(|w| w.op == op) else { return };
        let Writing { held, fetched, .. } = self.snapshots.writing.remove(at);
        let id = held.id;
        match fetched {
            Some(loaded) if id.offset > self.committed => {
                self.log.truncate_fully_and_start_at(now, io, id);
                self.committed = id.offset;
                self.snapshots.hold(io, held);
                self.outbox.push(QuorumOutput::LoadSnapshot(loaded));
            }
            // Passed meanwhile by another one: what is not newer is removed again.
            _ if self.snapshots.latest().is_some_and(|latest| latest.offset >= id.offset) => {
                io.written(held.file, StorageAction::Delete);
            }
            _ => {
                self.log.start_at(now, io, id);
                self.snapshots.hold(io, held);
                self.outbox.push(QuorumOutput::SnapshotTaken { id });
            }
        }
    }

    pub(super) fn handle_fetch_snapshot(&mut self, now: Now, token: Token, fetch: &FetchSnapshot) {
        let mut answer = FetchSnapshotAnswer {
            error: ErrorCode::NONE,
            current: self.current(),
            snapshot: fetch.snapshot,
            size: 0,
            position: u64::try_from(fetch.position).unwrap_or(0),
            records: Vec::new(),
        };
        match self.check_snapshot(fetch) {
            Err(error) => answer.error = error,
            Ok(held) => {
                let left = u32::try_from(held.size - answer.position).unwrap_or(u32::MAX);
                let len = left.min(fetch.max_bytes);
                answer.size = held.size;
                answer.records =
                    vec![Part::File(FileRange { file: held.file.0, position: answer.position, len_bytes: len })];
                let wait_ms = self.clocks.check_quorum_ms();
                if let Role::Leader(leader) = &mut self.role {
                    leader.heard_of(now, fetch.replica_id, wait_ms);
                }
            }
        }
        self.outbox.push(QuorumOutput::Answer { token, answer: Answer::FetchSnapshot(answer) });
    }

    fn check_snapshot(&self, fetch: &FetchSnapshot) -> Result<Held, ErrorCode> {
        self.check_leader(fetch.current_leader_epoch)?;
        let held = self.snapshots.held.filter(|h| h.id == fetch.snapshot).ok_or(ErrorCode::SNAPSHOT_NOT_FOUND)?;
        let inside = u64::try_from(fetch.position).is_ok_and(|at| at < held.size);
        if inside { Ok(held) } else { Err(ErrorCode::POSITION_OUT_OF_RANGE) }
    }

    pub(super) fn on_snapshot_answer(&mut self, now: Now, io: &mut Outputs, from: i32, answer: FetchSnapshotAnswer) {
        if !self.take_current(now, io, from, answer.error, answer.current) {
            self.back_off(now, from);
            return self.give_download_up();
        }
        if !self.heard_leader(now, from) {
            return;
        }
        let Role::Follower(following) = &mut self.role else { return };
        let Some(download) = &mut following.download else { return };
        match download.take(&answer) {
            Ok(false) => {}
            Ok(true) => self.install(now, io, from),
            Err(why) => {
                self.say(io, Level::Warn, format!("leader {from} sent no piece of its snapshot: {why}"));
                self.back_off(now, from);
                self.give_download_up();
            }
        }
    }

    /// Asks for the log again; the leader says which snapshot it has now.
    fn give_download_up(&mut self) {
        if let Role::Follower(following) = &mut self.role {
            following.download = None;
        }
    }

    fn install(&mut self, now: Now, io: &mut Outputs, from: i32) {
        let Role::Follower(following) = &mut self.role else { return };
        let Some(Download { id, bytes }) = following.download.take() else { return };
        let bytes = bytes.freeze();
        match decode(id, bytes.clone()) {
            Ok(loaded) => self.snapshots.write(io, id, bytes, Some(loaded)),
            Err(error) => {
                self.say(io, Level::Error, format!("leader {from} sent a damaged snapshot {id:?}: {error}"));
                self.back_off(now, from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_as_in_kafka_and_reads_back() {
        let id = OffsetAndEpoch { offset: 15, epoch: 2 };
        assert_eq!(path(id), "__cluster_metadata-0/00000000000000000015-0000000002.checkpoint");
        assert_eq!(parse(&path(id)), Some(id));
        assert_eq!(parse("__cluster_metadata-0/bootstrap.checkpoint"), None);
        assert_eq!(parse("__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"), None);
        let records: Vec<Bytes> = (0..3_000_u32).map(|n| Bytes::from(vec![n as u8; 400])).collect();
        let bytes = encode(id, 77, &records);
        let loaded = decode(id, bytes.clone()).unwrap();
        assert_eq!((loaded.id, loaded.last_timestamp_ms, loaded.records), (id, 77, records));
        let mut rest = bytes.clone();
        let mut batches = 0;
        while Batch::next(&mut rest).unwrap().is_some() {
            batches += 1;
        }
        assert!(batches > 3, "records are spread over batches of a bounded size: {batches}");
        assert!(decode(id, bytes.slice(..bytes.len() - 10)).is_err(), "cut");
        let mut flipped = BytesMut::from(&bytes[..]);
        flipped[200] ^= 1;
        assert!(decode(id, flipped.freeze()).is_err(), "damaged");
    }
}
