//! What members of the quorum say to each other, free of versions: the fields of Vote (52), BeginQuorumEpoch (53),
//! EndQuorumEpoch (54), Fetch (1) and FetchSnapshot (59) as far as the quorum reads them, and what DescribeQuorum (55)
//! tells. Cluster ids, topic names and partition indexes are checked by who decodes the bytes.

use metricstream_wire::ErrorCode;

use crate::io::Part;

/// An offset and the epoch of the batch before it: where a log ends, or what a snapshot holds (`endOffset`, `epoch`).
/// The order is that of logs: the one of the later epoch is ahead, then the longer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct OffsetAndEpoch {
    /// Epoch of the last batch below `offset`; 0 where there is none.
    pub epoch: i32,
    /// The first offset that is not part of it.
    pub offset: i64,
}

/// A request to a member of the quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Each holds the structure that says what it is.
pub enum Request {
    Vote(Vote),
    BeginEpoch(BeginEpoch),
    EndEpoch(EndEpoch),
    Fetch(Fetch),
    FetchSnapshot(FetchSnapshot),
}

impl Request {
    /// Whether it asks for the log. A fetch may be parked, and answers on one connection leave in the order of their
    /// requests: what asks for the log goes over another connection than the rest, so that a vote never waits behind it.
    #[must_use]
    pub const fn is_fetch(&self) -> bool {
        matches!(self, Self::Fetch(_) | Self::FetchSnapshot(_))
    }
}

/// The answer to a [`Request`] of the same kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Each holds the structure that says what it is.
pub enum Answer {
    Vote(VoteAnswer),
    BeginEpoch(EpochAnswer),
    EndEpoch(EpochAnswer),
    Fetch(FetchAnswer),
    FetchSnapshot(FetchSnapshotAnswer),
}

/// Who leads in which epoch, as whoever answers knows it. On the wire an unknown leader is −1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CurrentLeader {
    /// The leader, if it is known.
    pub leader_id: Option<i32>,
    /// The epoch.
    pub leader_epoch: i32,
}

/// Asks for a vote, or whether a vote would be given (pre-vote, KIP-996).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// `ReplicaEpoch`: the epoch to lead; in a pre-vote the one that the asker is in.
    pub epoch: i32,
    /// `ReplicaId`: who wants to lead.
    pub candidate: i32,
    /// `VoterId`: who is asked.
    pub voter: i32,
    /// `LastOffsetEpoch` of the candidate's log.
    pub last_epoch: i32,
    /// `LastOffset`: where its log ends.
    pub last_offset: i64,
    /// `PreVote`.
    pub pre_vote: bool,
}

/// Whether the vote is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoteAnswer {
    /// INVALID_REQUEST, FENCED_LEADER_EPOCH, INCONSISTENT_VOTER_SET.
    pub error: ErrorCode,
    /// As the voter knows it, after it took the request's epoch in.
    pub current: CurrentLeader,
    /// `VoteGranted`.
    pub granted: bool,
}

/// A new leader makes itself known to voters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginEpoch {
    /// The leader.
    pub leader_id: i32,
    /// Its epoch.
    pub epoch: i32,
    /// Who is told.
    pub voter: i32,
}

/// A leader resigns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndEpoch {
    /// The leader that was.
    pub leader_id: i32,
    /// Its epoch.
    pub epoch: i32,
    /// Voters whose logs are longest first: the first begins its election at once, the others later.
    pub preferred_candidates: Vec<i32>,
}

/// The answer to [`BeginEpoch`] and [`EndEpoch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochAnswer {
    /// FENCED_LEADER_EPOCH, INVALID_REQUEST, INCONSISTENT_VOTER_SET.
    pub error: ErrorCode,
    /// As whoever answers knows it.
    pub current: CurrentLeader,
}

/// Reads the log on. It tells the leader what the replica has: all below `fetch_offset`, synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// Who fetches; −1 for one that is no node of the cluster and leaves no trace.
    pub replica_id: i32,
    /// The epoch in which the leader is asked.
    pub current_leader_epoch: i32,
    /// Where its log ends.
    pub fetch_offset: i64,
    /// The epoch of the batch before that; 0 where there is none.
    pub last_fetched_epoch: i32,
    /// The high watermark that it knows; an advance past it answers at once (KIP-1166). −1 if it knows none, `i64::MAX`
    /// from those that do not say.
    pub high_watermark: i64,
    /// Bytes wanted; the first batch comes whole in any case.
    pub max_bytes: u32,
    /// How long the leader may park it.
    pub max_wait_ms: i64,
}

/// What a fetch gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchAnswer {
    /// INVALID_REQUEST, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER.
    pub error: ErrorCode,
    /// As whoever answers knows it.
    pub current: CurrentLeader,
    /// The leader's; −1 while it has none.
    pub high_watermark: i64,
    /// Where its log starts.
    pub log_start: i64,
    /// Cut the log at this end of this epoch, then ask again.
    pub diverging: Option<OffsetAndEpoch>,
    /// Fetch this snapshot, then ask again.
    pub snapshot: Option<OffsetAndEpoch>,
    /// Whole batches from the fetch offset on, committed or not.
    pub records: Vec<Part>,
}

/// Reads a snapshot, piece by piece (KIP-630).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchSnapshot {
    /// Who fetches.
    pub replica_id: i32,
    /// The epoch in which the leader is asked.
    pub current_leader_epoch: i32,
    /// Which snapshot.
    pub snapshot: OffsetAndEpoch,
    /// From which byte on.
    pub position: i64,
    /// Bytes wanted.
    pub max_bytes: u32,
}

/// A piece of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchSnapshotAnswer {
    /// SNAPSHOT_NOT_FOUND, POSITION_OUT_OF_RANGE, and those of a fetch.
    pub error: ErrorCode,
    /// As whoever answers knows it.
    pub current: CurrentLeader,
    /// Of which snapshot.
    pub snapshot: OffsetAndEpoch,
    /// Bytes of the whole.
    pub size: u64,
    /// Where this piece begins.
    pub position: u64,
    /// The piece, not cut at batches.
    pub records: Vec<Part>,
}

/// The quorum as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The leader: whoever answers.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
    /// −1 while it has none.
    pub high_watermark: i64,
    /// In the order of their ids, the leader among them.
    pub voters: Vec<ReplicaState>,
    /// Brokers that follow without a vote.
    pub observers: Vec<ReplicaState>,
}

/// How far a replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaState {
    /// Which.
    pub replica_id: i32,
    /// −1 if it has not fetched in this epoch.
    pub log_end_offset: i64,
    /// Wall clock of its last fetch; −1 if there was none.
    pub last_fetch_ms: i64,
    /// Wall clock of when it last had all that the leader had; −1 if never.
    pub last_caught_up_ms: i64,
}
