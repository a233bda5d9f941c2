//! Epoch, vote and leader, in Kafka's `quorum-state` file: JSON, version 0 as long as the voters are fixed. Epoch and
//! vote are on the disk before anybody hears of them; the leader is written along for people and for the next start.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::Value;

use super::outbox::WriteNo;
use super::{FOLDER, QuorumError};
use crate::io::{Disk, Durability, FileId, OpId, Outputs, StorageAction};

/// Larger than any such file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where the file lies.
#[must_use]
pub fn path() -> String {
    format!("{FOLDER}/quorum-state")
}

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuorumState {
    /// `leaderEpoch`.
    pub epoch: i32,
    /// `leaderId`.
    pub leader: Option<i32>,
    /// `votedId`: to whom the vote of this epoch went.
    pub voted: Option<i32>,
}

impl QuorumState {
    /// The file's content.
    #[must_use]
    pub fn encode(&self, voters: &[i32]) -> Bytes {
        let voters: Vec<String> = voters.iter().map(|v| format!("{{\"voterId\":{v}}}")).collect();
        let text = format!(
            "{{\"clusterId\":\"\",\"leaderId\":{},\"leaderEpoch\":{},\"votedId\":{},\"appliedOffset\":0,\
             \"currentVoters\":[{}],\"data_version\":0}}",
            self.leader.unwrap_or(-1),
            self.epoch,
            self.voted.unwrap_or(-1),
            voters.join(",")
        );
        Bytes::from(text)
    }

    /// Reads versions 0 and 1.
    ///
    /// # Errors
    /// If it is damaged or of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, QuorumError> {
        let damaged = |why: String| QuorumError::corrupt(&path(), why);
        let json: Value = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        let number = |name: &str| {
            let n = json.get(name).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
            n.ok_or_else(|| damaged(format!("{name} is missing or no number of 32 bits")))
        };
        let version = number("data_version")?;
        if !(0..=1).contains(&version) {
            return Err(damaged(format!("version {version} is newer than what is read here")));
        }
        let node = |name: &str| number(name).map(|n| (n >= 0).then_some(n));
        let state = Self { epoch: number("leaderEpoch")?, leader: node("leaderId")?, voted: node("votedId")? };
        if state.epoch < 0 {
            return Err(damaged(format!("leaderEpoch {} is negative", state.epoch)));
        }
        Ok(state)
    }
}

/// The state and its file.
#[derive(Debug)]
pub struct Ballot {
    state: QuorumState,
    file: FileId,
    voters: Vec<i32>,
    writes: WriteNo,
    under_way: VecDeque<(OpId, WriteNo)>,
}

impl Ballot {
    /// Reads the file, if there is one. A log that knows a later epoch than the file is believed: a single voter leads
    /// before its vote is on the disk.
    pub(super) fn open(disk: &dyn Disk, io: &mut Outputs, voters: &[i32], log_epoch: i32) -> Result<Self, QuorumError> {
        let path = path();
        let size = disk.list()?.into_iter().find(|(name, _)| *name == path).map_or(0, |(_, size)| size);
        let mut state = QuorumState::default();
        if size > FILE_BYTES_MAX {
            return Err(QuorumError::corrupt(&path, format!("{size} bytes are too many")));
        }
        if size > 0 {
            state = QuorumState::decode(&disk.read(&path, 0, u32::try_from(size).unwrap_or(u32::MAX))?)?;
        }
        if log_epoch > state.epoch {
            state = QuorumState { epoch: log_epoch, leader: None, voted: None };
        }
        let file = io.open(path);
        Ok(Self { state, file, voters: voters.to_vec(), writes: 0, under_way: VecDeque::new() })
    }

    pub(super) const fn epoch(&self) -> i32 {
        self.state.epoch
    }

    pub(super) const fn voted(&self) -> Option<i32> {
        self.state.voted
    }

    pub(super) const fn leader(&self) -> Option<i32> {
        self.state.leader
    }

    /// Writes epoch and vote; what follows from them waits for the write of this number.
    #[must_use]
    pub(super) fn set(&mut self, epoch: i32, voted: Option<i32>, io: &mut Outputs) -> WriteNo {
        assert!(epoch >= self.state.epoch, "an epoch never goes back");
        let revoted = epoch == self.state.epoch && self.state.voted.is_some() && self.state.voted != voted;
        assert!(!revoted, "one vote an epoch");
        let leader = self.state.leader.filter(|_| epoch == self.state.epoch);
        self.state = QuorumState { epoch, leader, voted };
        self.write(io)
    }

    /// Notes the leader of this epoch. Nothing waits for that.
    pub(super) fn set_leader(&mut self, leader: i32, io: &mut Outputs) {
        if self.state.leader != Some(leader) {
            self.state.leader = Some(leader);
            self.write(io);
        }
    }

    fn write(&mut self, io: &mut Outputs) -> WriteNo {
        let bytes = self.state.encode(&self.voters);
        let op = io.wanted(self.file, StorageAction::Replace { bytes }, Durability::Synced);
        self.writes += 1;
        self.under_way.push_back((op, self.writes));
        self.writes
    }

    pub(super) fn owns(&self, op: OpId) -> bool {
        self.under_way.iter().any(|(id, _)| *id == op)
    }

    /// The number of the write that is durable now. Replacements of one file take effect in their order.
    pub(super) fn on_stored(&mut self, op: OpId) -> Option<WriteNo> {
        let at = self.under_way.iter().position(|(id, _)| *id == op)?;
        self.under_way.drain(..=at).next_back().map(|(_, write)| write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_kafkas_json_and_reads_back() {
        let state = QuorumState { epoch: 7, leader: None, voted: Some(2) };
        let bytes = state.encode(&[1, 2, 3]);
        assert_eq!(
            bytes,
            r#"{"clusterId":"","leaderId":-1,"leaderEpoch":7,"votedId":2,"appliedOffset":0,"currentVoters":[{"voterId":1},{"voterId":2},{"voterId":3}],"data_version":0}"#
        );
        assert_eq!(QuorumState::decode(&bytes), Ok(state));
        let newer = br#"{"leaderId":1,"leaderEpoch":3,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
        assert_eq!(QuorumState::decode(newer), Ok(QuorumState { epoch: 3, leader: Some(1), voted: None }));
    }

    #[test]
    fn a_damaged_file_is_refused_by_name() {
        for bad in [&b"{"[..], b"{}", br#"{"leaderId":1,"leaderEpoch":-3,"votedId":-1,"data_version":0}"#, b"[]"] {
            let error = QuorumState::decode(bad).expect_err("damaged");
            assert!(error.to_string().contains("__cluster_metadata-0/quorum-state"), "{error}");
        }
        let newer = br#"{"leaderId":1,"leaderEpoch":3,"votedId":-1,"data_version":9}"#;
        assert!(QuorumState::decode(newer).expect_err("newer").to_string().contains("newer"));
    }
}
