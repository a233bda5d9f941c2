//! Our own KRaft state machine for the one partition `__cluster_metadata-0` (KIP-595), with pre-vote (KIP-996),
//! check-quorum (KAFKA-15489) and snapshots (KIP-630), over a fixed set of voters. Sans-IO and free of wire versions.
//!
//! * [`state`]: roles, and every way from one to another. [`ballot`]: epoch and vote, and that they are on the disk before
//!   anybody hears of them. [`election`]: votes, and how leaders come and go. [`replication`]: fetches from both sides, and
//!   where the high watermark advances. [`snapshot`]: taking, serving and installing them. [`log`]: batches and offsets.
//! * What the records mean is no business of this module; the controller's image lives elsewhere.
//!
//! **How its owner works with it.** Every input takes the time and the queue of storage operations. After each input (or
//! several) the owner takes [`Quorum::take`] and asks [`Quorum::next_timer`]. Requests come with a [`Token`] of the owner's
//! choice and are answered once, at once or later, by [`QuorumOutput::Answer`]. Requests go out with a [`RequestId`] and
//! come back by [`Quorum::on_response`] or [`Quorum::on_failed`]; that a peer's process dropped a connection is told to
//! [`Quorum::on_disconnect`] besides. Fetches go over a connection of their own ([`Request::is_fetch`]).
//!
//! **A new cluster.** All voters start unattached with an election timeout, except for one: where no epoch is known and
//! the log is empty, the voter of the lowest id stands at once, so that a cluster which starts anew elects in a round
//! trip or two. It asks for pre-votes like anybody else; a voter that was wiped and meets a living quorum is refused.
//! A quorum of one leads at once, always.

pub mod ballot;
pub mod election;
pub mod log;
pub mod message;
mod outbox;
mod peers;
pub mod replication;
pub mod snapshot;
pub mod state;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use metricstream_wire::WireError;
use rand_chacha::ChaCha8Rng;

pub use self::message::{
    Answer, BeginEpoch, CurrentLeader, Description, EndEpoch, EpochAnswer, Fetch, FetchAnswer, FetchSnapshot,
    FetchSnapshotAnswer, OffsetAndEpoch, ReplicaState, Request, Vote, VoteAnswer,
};
pub use self::state::RoleName;

use self::ballot::Ballot;
use self::log::MetadataLog;
use self::outbox::Outbox;
use self::peers::Peers;
use self::replication::Parked;
use self::snapshot::Snapshots;
use self::state::{Clocks, Role};
use crate::config::NodeConfig;
use crate::flaws::Flaws;
use crate::io::{Completion, Disk, Event, Level, Output, Outputs, StorageFailure};
use crate::time::{Now, Ns};

/// The folder of the partition.
pub const FOLDER: &str = "__cluster_metadata-0";

/// The owner's name for a request that it handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// The quorum's name for a request that it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What the quorum wants its owner to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum QuorumOutput {
    /// Send a request to a voter.
    Request {
        /// To whom.
        to: i32,
        /// To name the answer by.
        id: RequestId,
        /// What.
        request: Request,
    },
    /// Answer a request.
    Answer {
        /// Which.
        token: Token,
        /// With what.
        answer: Answer,
    },
    /// Records are committed: each is told once, in the order of the log, on every node.
    Committed(Committed),
    /// Forget the image and make one from this snapshot: at the start, or because the log before it is gone.
    LoadSnapshot(LoadedSnapshot),
    /// This node's role, the epoch or the leader changed. On losing leadership, what was appended and not committed is to
    /// be forgotten: it may be committed yet, and is then told by `Committed`.
    RoleChanged {
        /// What it is now.
        role: RoleName,
        /// The epoch.
        epoch: i32,
        /// The leader, if it is known.
        leader: Option<i32>,
    },
    /// This leader's high watermark passed the first record of its own epoch: it knows all that was ever committed, has
    /// told it all to its owner, and takes appends.
    Active {
        /// Its epoch.
        epoch: i32,
    },
    /// A snapshot that the owner asked for is on the disk, and the log before it is gone.
    SnapshotTaken {
        /// Which.
        id: OffsetAndEpoch,
    },
}

/// Committed records.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The batches.
    pub batches: Vec<RecordBatch>,
    /// All below it is committed and was told.
    pub high_watermark: i64,
}

/// A batch of the metadata log.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordBatch {
    /// Offset of its first record.
    pub base_offset: i64,
    /// The offset after its last one.
    pub next_offset: i64,
    /// Epoch of the leader that appended it.
    pub epoch: i32,
    /// Wall clock of the leader when it did.
    pub timestamp_ms: i64,
    /// Its size in the log.
    pub size_bytes: usize,
    /// The values of its records; none if it holds control records.
    pub records: Vec<Bytes>,
}

/// A snapshot's content.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedSnapshot {
    /// Which: the state after all records below its offset.
    pub id: OffsetAndEpoch,
    /// The leader's wall clock of the last record in it.
    pub last_timestamp_ms: i64,
    /// The values of its records.
    pub records: Vec<Bytes>,
}

/// Why a node's quorum cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// The store cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// A file does not hold what it should; nothing is repaired silently.
    #[error("{path}: {why}")]
    Corrupt {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The metadata log cannot be opened.
    #[error(transparent)]
    Log(#[from] crate::log::LogError),
    /// The voters are not 1, 3 or 5, or named twice.
    #[error("controller.quorum.voters: {0}")]
    Voters(String),
}

impl QuorumError {
    fn corrupt(path: &str, why: impl ToString) -> Self {
        Self::Corrupt { path: path.to_owned(), why: why.to_string() }
    }
}

/// Why records were not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Only an active leader appends.
    #[error("this node is not the active leader of the metadata quorum")]
    NotLeader(CurrentLeader),
    /// What belongs together goes into one batch, and that is bounded.
    #[error("{0} bytes of records do not fit into one batch")]
    TooLarge(usize),
}

/// A member of the quorum, voter or observer.
#[derive(Debug)]
pub struct Quorum {
    me: i32,
    /// In the order of their ids.
    voters: Vec<i32>,
    clocks: Clocks,
    flaws: Flaws,
    rng: ChaCha8Rng,
    ballot: Ballot,
    role: Role,
    log: MetadataLog,
    snapshots: Snapshots,
    peers: Peers,
    parked: Vec<Parked>,
    /// All below it is committed as far as this node knows, and was told to the owner.
    committed: i64,
    gathering: replication::Gathering,
    outbox: Outbox,
    /// Set once the owner shuts the node down: it does not stand for election again.
    leaving: bool,
    /// What the owner was told last of the role.
    told_role: Option<(RoleName, CurrentLeader)>,
    /// When what is due was last looked at.
    polled_at: Ns,
    /// The store failed; nothing more is done.
    halted: bool,
}

impl Quorum {
    /// Recovers from the store. The generator is this quorum's own; all that is drawn is waiting times.
    ///
    /// # Errors
    /// If the store cannot be read or does not hold what it should.
    pub fn open(
        config: &NodeConfig,
        disk: &dyn Disk,
        rng: ChaCha8Rng,
        now: Now,
        io: &mut Outputs,
    ) -> Result<Self, QuorumError> {
        let mut voters: Vec<i32> = config.voters.iter().map(|v| v.id).collect();
        voters.sort_unstable();
        if ![1, 3, 5].contains(&voters.len()) || voters.windows(2).any(|w| w[0] == w[1]) {
            return Err(QuorumError::Voters(format!("{voters:?} are not 1, 3 or 5 different nodes")));
        }
        let mut outbox = Outbox::default();
        let (snapshots, loaded) = Snapshots::open(disk, io)?;
        let log = MetadataLog::open(config, disk, io, snapshots.latest(), now)?;
        let ballot = Ballot::open(disk, io, &voters, log.end().epoch)?;
        let committed = snapshots.latest().map_or(0, |id| id.offset);
        if let Some(loaded) = loaded {
            outbox.push(QuorumOutput::LoadSnapshot(loaded));
        }
        let mut quorum = Self {
            me: config.node_id,
            clocks: Clocks::of(&config.settings),
            flaws: config.flaws,
            rng,
            ballot,
            role: Role::none(),
            log,
            snapshots,
            peers: Peers::new(&voters, config.node_id),
            voters,
            parked: Vec::new(),
            committed,
            gathering: replication::Gathering::default(),
            outbox,
            leaving: false,
            told_role: None,
            polled_at: now.monotonic_ns,
            halted: false,
        };
        quorum.start(config.roles.controller, now, io);
        quorum.on_timer(now, io);
        Ok(quorum)
    }

    /// A request came.
    pub fn handle(&mut self, now: Now, io: &mut Outputs, token: Token, request: Request) {
        if self.halted {
            return;
        }
        match request {
            Request::Vote(vote) => self.handle_vote(now, io, token, &vote),
            Request::BeginEpoch(begin) => self.handle_begin_epoch(now, io, token, &begin),
            Request::EndEpoch(end) => self.handle_end_epoch(now, io, token, &end),
            Request::Fetch(fetch) => self.handle_fetch(now, io, token, fetch),
            Request::FetchSnapshot(fetch) => self.handle_fetch_snapshot(now, token, &fetch),
        }
        self.poll(now, io);
    }

    /// Whoever sent a request is gone; no answer is wanted.
    pub fn forget(&mut self, token: Token) {
        self.parked.retain(|p| p.token != token);
    }

    /// An answer came. One that nobody waits for any more is passed over.
    pub fn on_response(&mut self, now: Now, io: &mut Outputs, id: RequestId, answer: Answer) {
        if self.halted {
            return;
        }
        if let Some(from) = self.peers.answered(id) {
            match answer {
                Answer::Vote(answer) => self.on_vote_answer(now, io, from, &answer),
                Answer::BeginEpoch(answer) => self.on_begin_answer(now, io, from, &answer),
                Answer::EndEpoch(answer) => self.on_end_answer(now, io, from, &answer),
                Answer::Fetch(answer) => self.on_fetch_answer(now, io, from, answer),
                Answer::FetchSnapshot(answer) => self.on_snapshot_answer(now, io, from, answer),
            }
        }
        self.poll(now, io);
    }

    /// A request could not be sent, or its connection is gone without an answer.
    pub fn on_failed(&mut self, now: Now, io: &mut Outputs, id: RequestId) {
        if self.halted {
            return;
        }
        if let Some(to) = self.peers.answered(id) {
            self.request_failed(now, io, to);
        }
        self.poll(now, io);
    }

    /// A peer closed or reset a connection: its process is gone, or has dropped us. Whether that counts for more than a
    /// lost request is a setting (`metricstream.elect.after.disconnect.ms`).
    pub fn on_disconnect(&mut self, now: Now, io: &mut Outputs, peer: i32) {
        if self.halted {
            return;
        }
        if self.peers.drop_request(peer) {
            self.request_failed(now, io, peer);
        }
        self.suspect(now, peer);
        self.poll(now, io);
    }

    /// Time has passed, and all that came before has been handed in: only here does anybody's time run out.
    pub fn on_timer(&mut self, now: Now, io: &mut Outputs) {
        if !self.halted {
            self.expire(now, io);
        }
        self.poll(now, io);
    }

    /// A storage operation ended. Whether it was one of the quorum's.
    pub fn on_stored(&mut self, now: Now, io: &mut Outputs, done: &Completion) -> bool {
        if self.halted {
            return false;
        }
        let ours = self.ballot.owns(done.id) || self.log.owns(done.id) || self.snapshots.owns(done.id);
        if !ours {
            return false;
        }
        if let Err(failure) = &done.result {
            self.halt(io, &format!("the metadata quorum cannot write: {failure}"));
            return true;
        }
        if let Some(written) = self.ballot.on_stored(done.id) {
            self.outbox.durable(written);
        }
        if self.log.on_stored(done.id) {
            self.advance_high_watermark(io);
        }
        self.on_snapshot_stored(now, io, done.id);
        self.poll(now, io);
        true
    }

    /// Appends the values of records that belong together, in one batch, and says the offset that the last one gets. They
    /// are committed when [`QuorumOutput::Committed`] tells them, and lost with the leadership else.
    ///
    /// # Errors
    /// If this node is not the active leader, or they are too many for one batch.
    ///
    /// # Panics
    /// If there are none.
    pub fn append(&mut self, now: Now, io: &mut Outputs, records: Vec<Bytes>) -> Result<i64, AppendError> {
        let last = self.gather(now, io, records)?;
        self.poll(now, io);
        Ok(last)
    }

    /// Appends what was gathered without waiting for `controller.quorum.append.linger.ms` to pass.
    pub fn flush(&mut self, now: Now, io: &mut Outputs) {
        self.drain(now, io);
        self.poll(now, io);
    }

    /// Writes a snapshot: the records that make the state after all committed records below `id.offset`, whose last
    /// batch has `id.epoch`. The log before it is removed when it is on the disk. Whether it is being written: not if it
    /// holds nothing new, or another one is being written.
    pub fn take_snapshot(
        &mut self,
        io: &mut Outputs,
        id: OffsetAndEpoch,
        last_timestamp_ms: i64,
        records: &[Bytes],
    ) -> bool {
        !self.halted && self.write_snapshot(io, id, last_timestamp_ms, records)
    }

    /// Leaves in order: a leader tells the voters that it resigns. The node does not stand for election again.
    pub fn shut_down(&mut self, now: Now, io: &mut Outputs) {
        self.leaving = true;
        if matches!(self.role, Role::Leader(_)) {
            self.resign(now, io);
        }
        self.poll(now, io);
    }

    /// What there is to do, in order.
    pub fn take(&mut self) -> Vec<QuorumOutput> {
        self.outbox.take()
    }

    /// When to call [`Quorum::on_timer`] at the latest.
    #[must_use]
    pub fn next_timer(&self) -> Ns {
        if self.halted { Ns::MAX } else { self.deadline().max(self.polled_at + 1) }
    }

    /// The leader as this node knows it.
    #[must_use]
    pub fn current(&self) -> CurrentLeader {
        CurrentLeader { leader_id: self.leader(), leader_epoch: self.ballot.epoch() }
    }

    /// This node's role.
    #[must_use]
    pub fn role(&self) -> RoleName {
        self.role.name()
    }

    /// Whether this node leads and takes appends.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.is_active())
    }

    /// All below it is committed as far as this node knows.
    #[must_use]
    pub const fn high_watermark(&self) -> i64 {
        self.committed
    }

    /// Where the log ends, without what is still being gathered.
    #[must_use]
    pub fn log_end(&self) -> OffsetAndEpoch {
        self.log.end()
    }

    /// Bytes of committed records that lie in the log behind the last snapshot.
    #[must_use]
    pub fn bytes_since_snapshot(&self) -> u64 {
        self.log.size_bytes()
    }

    fn is_voter(&self) -> bool {
        self.clocks.votes
    }

    fn halt(&mut self, io: &mut Outputs, why: &str) {
        self.halted = true;
        self.outbox.clear();
        io.push(Output::Halt { why: why.to_owned() });
    }

    fn say(&self, io: &mut Outputs, level: Level, text: String) {
        io.push(Output::Event(Event::Log { level, text: format!("quorum of node {}: {text}", self.me) }));
    }

    fn damaged(path: &str, error: &WireError) -> QuorumError {
        QuorumError::corrupt(path, error)
    }
}
