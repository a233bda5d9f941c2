//! What must hold over all nodes and all their lives, looked at with every output. A violation ends the test.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::quorum::{Answer, Committed, LoadedSnapshot, QuorumOutput, Request, RoleName};

/// One record of the committed log: the epoch of its batch and a hash of the value.
type Entry = (i32, u64);

#[derive(Debug, Default)]
pub(super) struct Invariants {
    /// The committed log, record by record, as whoever heard first was told it.
    committed: Vec<Entry>,
    /// Hash of all values below each offset.
    states: Vec<u64>,
    /// Who led an epoch, and in which of its lives.
    leaders: BTreeMap<i32, (i32, u32)>,
    votes: BTreeMap<(i32, i32), i32>,
    /// The latest epoch that each node let others see.
    seen: BTreeMap<i32, i32>,
    /// The offset up to which each node was told.
    told: BTreeMap<i32, i64>,
}

pub(super) fn hash(state: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(state ^ 0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

impl Invariants {
    pub(super) fn committed_end(&self) -> i64 {
        i64::try_from(self.committed.len()).unwrap()
    }

    pub(super) fn told(&self, node: i32) -> i64 {
        self.told.get(&node).copied().unwrap_or(0)
    }

    /// Hash of the state after all records below an offset: what a snapshot in these tests holds.
    pub(super) fn state_at(&self, offset: i64) -> u64 {
        usize::try_from(offset).unwrap().checked_sub(1).map_or(0, |n| self.states[n])
    }

    pub(super) fn epoch_before(&self, offset: i64) -> i32 {
        usize::try_from(offset).unwrap().checked_sub(1).map_or(0, |n| self.committed[n].0)
    }

    pub(super) fn elections(&self) -> usize {
        self.leaders.len()
    }

    /// A node starts with what its store holds.
    pub(super) fn restarted(&mut self, node: i32) {
        self.told.insert(node, 0);
    }

    pub(super) fn wiped(&mut self, node: i32) {
        self.seen.remove(&node);
        self.told.remove(&node);
    }

    pub(super) fn watch(&mut self, node: i32, life: u32, output: &QuorumOutput) {
        match output {
            QuorumOutput::Request { request, .. } => self.saw_epoch(node, epoch_of_request(request)),
            QuorumOutput::Answer { answer, .. } => self.saw_epoch(node, epoch_of_answer(answer)),
            QuorumOutput::Committed(committed) => self.committed(node, committed),
            QuorumOutput::LoadSnapshot(loaded) => self.loaded(node, loaded),
            QuorumOutput::RoleChanged { role: RoleName::Leader, epoch, .. } => {
                let first = *self.leaders.entry(*epoch).or_insert((node, life));
                assert_eq!(first, (node, life), "one leader an epoch: epoch {epoch}");
            }
            QuorumOutput::Active { epoch } => {
                let told = self.told(node);
                assert_eq!(told, self.committed_end(), "the leader of epoch {epoch} has all that was ever committed");
            }
            QuorumOutput::RoleChanged { role: RoleName::Resigned, epoch, .. } => {
                let (leader, _) = self.leaders[epoch];
                assert_eq!(leader, node, "who led epoch {epoch} resigns from it");
            }
            QuorumOutput::RoleChanged { .. } | QuorumOutput::SnapshotTaken { .. } => {}
        }
    }

    /// A vote that leaves its voter.
    pub(super) fn voted(&mut self, voter: i32, epoch: i32, candidate: i32) {
        let first = *self.votes.entry((voter, epoch)).or_insert(candidate);
        assert_eq!(first, candidate, "voter {voter} voted twice in epoch {epoch}");
    }

    fn saw_epoch(&mut self, node: i32, epoch: i32) {
        let seen = self.seen.entry(node).or_insert(0);
        assert!(epoch >= *seen, "node {node} said epoch {seen}, and {epoch} now");
        *seen = epoch;
    }

    fn committed(&mut self, node: i32, committed: &Committed) {
        let mut told = self.told(node);
        for batch in &committed.batches {
            assert_eq!(batch.base_offset, told, "node {node} is told every batch once and in order");
            // Control batches here hold one record.
            let values: Vec<u64> = match batch.records.as_slice() {
                [] => vec![0],
                records => records.iter().map(|value| hash(1, value)).collect(),
            };
            for value in values {
                self.committed_record(told, (batch.epoch, value), batch.records.is_empty());
                told += 1;
            }
            assert_eq!(batch.next_offset, told);
        }
        assert_eq!(committed.high_watermark, told, "the high watermark is where batches end");
        self.told.insert(node, told);
    }

    fn committed_record(&mut self, offset: i64, entry: Entry, control: bool) {
        match self.committed.get(usize::try_from(offset).unwrap()) {
            Some(known) => assert_eq!(*known, entry, "what is committed at {offset} never changes"),
            None => {
                assert_eq!(offset, self.committed_end());
                let before = self.state_at(offset);
                self.committed.push(entry);
                self.states.push(if control { before } else { hash(before, &entry.1.to_be_bytes()) });
            }
        }
    }

    fn loaded(&mut self, node: i32, loaded: &LoadedSnapshot) {
        let told = self.told(node);
        assert!(loaded.id.offset > told, "a snapshot brings news");
        assert!(loaded.id.offset <= self.committed_end());
        assert_eq!(loaded.id.epoch, self.epoch_before(loaded.id.offset));
        let state = self.state_at(loaded.id.offset).to_be_bytes();
        assert_eq!(loaded.records.first(), Some(&Bytes::copy_from_slice(&state)), "a snapshot is a state of the log");
        self.told.insert(node, loaded.id.offset);
    }
}

fn epoch_of_request(request: &Request) -> i32 {
    match request {
        Request::Vote(r) => r.epoch,
        Request::BeginEpoch(r) => r.epoch,
        Request::EndEpoch(r) => r.epoch,
        Request::Fetch(r) => r.current_leader_epoch,
        Request::FetchSnapshot(r) => r.current_leader_epoch,
    }
}

fn epoch_of_answer(answer: &Answer) -> i32 {
    match answer {
        Answer::Vote(a) => a.current.leader_epoch,
        Answer::BeginEpoch(a) | Answer::EndEpoch(a) => a.current.leader_epoch,
        Answer::Fetch(a) => a.current.leader_epoch,
        Answer::FetchSnapshot(a) => a.current.leader_epoch,
    }
}
