//! The log's way from the leader to everybody else, by fetches: the leader's side, where the high watermark advances
//! ([`Quorum::advance_high_watermark`]), and the follower's.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use metricstream_wire::ErrorCode;
use rand_chacha::rand_core::RngCore;

use super::log::Position;
use super::message::{Answer, CurrentLeader, Description, Fetch, FetchAnswer, OffsetAndEpoch, ReplicaState, Request};
use super::snapshot::Download;
use super::state::Role;
use super::{AppendError, Committed, Quorum, QuorumOutput, Token};
use crate::io::{Event, Level, Outputs, Part};
use crate::time::{Now, Ns};

/// Largest batch of metadata records, as Kafka's `MAX_BATCH_SIZE_BYTES`.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that a follower asks for, as Kafka's `MAX_FETCH_SIZE_BYTES`.
const FETCH_BYTES_MAX: u32 = 8 * 1024 * 1024;
/// More fetches than this are answered without being parked.
const PARKED_MAX: usize = 10_000;
/// Observers beyond this number are served without being noted.
const OBSERVERS_MAX: usize = 1_000;
/// An observer silent for this long is forgotten (Kafka's `OBSERVER_SESSION_TIMEOUT_MS`).
const OBSERVER_SESSION_MS: u64 = 300_000;
/// What a record needs in a batch besides its value, at most.
const RECORD_OVERHEAD_BYTES: usize = 24;

/// A fetch that waits for something to tell.
#[derive(Debug)]
pub struct Parked {
    pub(super) token: Token,
    pub(super) until: Ns,
    fetch: Fetch,
}

/// Records that the active leader gathers before it appends them in one batch.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    records: Vec<Bytes>,
    bytes: usize,
    pub(super) due: Option<Ns>,
}

impl Gathering {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[derive(Debug, Clone)]
struct Progress {
    end: Option<i64>,
    fetched_at: Option<Ns>,
    fetched_wall_ms: i64,
    caught_up_wall_ms: i64,
    /// Where the leader's log ended at the last fetch.
    leader_end: i64,
}

impl Progress {
    const NONE: Self =
        Self { end: None, fetched_at: None, fetched_wall_ms: -1, caught_up_wall_ms: -1, leader_end: i64::MAX };

    fn fetched(&mut self, now: Now, offset: i64, leader_end: i64) {
        if offset >= leader_end {
            self.caught_up_wall_ms = now.wall_ms;
        } else if offset >= self.leader_end {
            self.caught_up_wall_ms = self.caught_up_wall_ms.max(self.fetched_wall_ms);
        }
        // A replica that was wiped begins anew: its end may go back, what is committed stays.
        self.end = Some(offset);
        self.fetched_at = Some(now.monotonic_ns);
        self.fetched_wall_ms = now.wall_ms;
        self.leader_end = leader_end;
    }

    fn state(&self, replica_id: i32) -> ReplicaState {
        ReplicaState {
            replica_id,
            log_end_offset: self.end.unwrap_or(-1),
            last_fetch_ms: self.fetched_wall_ms,
            last_caught_up_ms: self.caught_up_wall_ms,
        }
    }
}

/// What a leader knows.
#[derive(Debug)]
pub(super) struct Leader {
    /// Where its epoch begins: the offset of its leader change record.
    epoch_start: i64,
    /// Of its own epoch: none until it passed `epoch_start`.
    high_watermark: Option<i64>,
    voters: BTreeMap<i32, Progress>,
    observers: BTreeMap<i32, Progress>,
    /// Voters that fetched since the last majority of them.
    fetched: BTreeSet<i32>,
    pub(super) check_at: Ns,
}

impl Leader {
    pub(super) fn new(voters: &[i32], me: i32, epoch_start: i64, check_at: Ns) -> Self {
        Self {
            epoch_start,
            high_watermark: None,
            voters: voters.iter().filter(|v| **v != me).map(|v| (*v, Progress::NONE)).collect(),
            observers: BTreeMap::new(),
            fetched: BTreeSet::new(),
            check_at,
        }
    }

    pub(super) const fn is_active(&self) -> bool {
        self.high_watermark.is_some()
    }

    /// Voters that have not fetched in this epoch, or not for so long.
    pub(super) fn silent_voters(&self, now: Now, silent_ms: u64) -> Vec<i32> {
        let silent = |p: &Progress| p.fetched_at.is_none_or(|at| now.since_ms(at) >= silent_ms);
        self.voters.iter().filter(|(_, p)| silent(p)).map(|(id, _)| *id).collect()
    }

    /// The other voters, the longest log first.
    pub(super) fn by_log_end(&self, me: i32) -> Vec<i32> {
        let mut ids: Vec<i32> = self.voters.keys().copied().filter(|v| *v != me).collect();
        ids.sort_by_key(|id| std::cmp::Reverse(self.voters[id].end.unwrap_or(-1)));
        ids
    }

    /// A majority of the voters has all below this on the disk.
    fn majority_end(&self, own_synced_end: i64) -> i64 {
        let mut ends: Vec<i64> = self.voters.values().map(|p| p.end.unwrap_or(-1)).collect();
        ends.push(own_synced_end);
        ends.sort_unstable_by_key(|end| std::cmp::Reverse(*end));
        ends[ends.len() / 2]
    }

    /// A voter is alive: that counts for check-quorum.
    pub(super) fn heard_of(&mut self, now: Now, replica: i32, wait_ms: i64) {
        if !self.voters.contains_key(&replica) || self.check_at == Ns::MAX {
            return;
        }
        self.fetched.insert(replica);
        if self.fetched.len() > self.voters.len().div_ceil(2) - 1 {
            self.fetched.clear();
            self.check_at = now.after_ms(wait_ms);
        }
    }

    fn note(&mut self, now: Now, replica: i32, offset: i64, end: i64) {
        if let Some(progress) = self.voters.get_mut(&replica) {
            progress.fetched(now, offset, end);
        } else if replica >= 0 {
            let stale = |p: &Progress| p.fetched_at.is_some_and(|at| now.since_ms(at) > OBSERVER_SESSION_MS);
            self.observers.retain(|_, p| !stale(p));
            if self.observers.len() < OBSERVERS_MAX || self.observers.contains_key(&replica) {
                self.observers.entry(replica).or_insert(Progress::NONE).fetched(now, offset, end);
            }
        }
    }
}

impl Quorum {
    // --- the leader's side ---

    /// Whether this node may answer for the log in the epoch that the asker is in.
    pub(super) fn check_leader(&self, epoch: i32) -> Result<(), ErrorCode> {
        match epoch.cmp(&self.ballot.epoch()) {
            std::cmp::Ordering::Less => Err(ErrorCode::FENCED_LEADER_EPOCH),
            std::cmp::Ordering::Greater => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
            std::cmp::Ordering::Equal if matches!(self.role, Role::Leader(_)) => Ok(()),
            std::cmp::Ordering::Equal => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        }
    }

    fn check_fetch(&self, fetch: &Fetch) -> Result<Position, ErrorCode> {
        if fetch.fetch_offset < 0 || fetch.last_fetched_epoch < 0 || fetch.current_leader_epoch < 0 {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.check_leader(fetch.current_leader_epoch)?;
        let at = OffsetAndEpoch { offset: fetch.fetch_offset, epoch: fetch.last_fetched_epoch };
        Ok(self.log.position(at, self.snapshots.latest()))
    }

    pub(super) fn handle_fetch(&mut self, now: Now, io: &mut Outputs, token: Token, fetch: Fetch) {
        if let Ok(Position::Valid) = self.check_fetch(&fetch) {
            let end = self.log.end().offset;
            let wait_ms = self.clocks.check_quorum_ms();
            if let Role::Leader(leader) = &mut self.role {
                leader.note(now, fetch.replica_id, fetch.fetch_offset, end);
                leader.heard_of(now, fetch.replica_id, wait_ms);
            }
            self.advance_high_watermark(io);
        }
        let answer = self.fetch_answer(&fetch);
        if worth_telling(&answer, &fetch) || fetch.max_wait_ms <= 0 || self.parked.len() >= PARKED_MAX {
            self.outbox.push(QuorumOutput::Answer { token, answer: Answer::Fetch(answer) });
            return;
        }
        let until = now.after_ms(fetch.max_wait_ms.min(self.clocks.fetch_wait_max_ms));
        self.parked.push(Parked { token, until, fetch });
    }

    fn fetch_answer(&self, fetch: &Fetch) -> FetchAnswer {
        let position = self.check_fetch(fetch);
        let mut answer = FetchAnswer {
            error: ErrorCode::NONE,
            current: self.current(),
            high_watermark: -1,
            log_start: -1,
            diverging: None,
            snapshot: None,
            records: Vec::new(),
        };
        match position {
            Err(error) => {
                answer.error = error;
                return answer;
            }
            Ok(Position::Valid) => answer.records = self.log.read(fetch.fetch_offset, fetch.max_bytes),
            Ok(Position::Diverging(end)) => answer.diverging = Some(end),
            Ok(Position::Snapshot(id)) => answer.snapshot = Some(id),
        }
        answer.log_start = self.log.start();
        if let Role::Leader(leader) = &self.role {
            answer.high_watermark = leader.high_watermark.unwrap_or(-1);
        }
        answer
    }

    /// Answers parked fetches: those that pass the filter.
    fn answer_parked(&mut self, wake: impl Fn(&Parked) -> bool) {
        let (woken, parked) = std::mem::take(&mut self.parked).into_iter().partition(wake);
        self.parked = parked;
        for Parked { token, fetch, .. } in woken {
            let answer = Answer::Fetch(self.fetch_answer(&fetch));
            self.outbox.push(QuorumOutput::Answer { token, answer });
        }
    }

    /// The role changed: what was parked is answered by what this node is now.
    pub(super) fn release_parked(&mut self) {
        self.answer_parked(|_| true);
    }

    pub(super) fn answer_overdue(&mut self, now: Now) {
        self.answer_parked(|p| now.reached(p.until));
    }

    /// Voters hear of an append at once: it waits for them. Observers hear when it is committed.
    pub(super) fn wake_voters(&mut self) {
        let voters = self.voters.clone();
        let end = self.log.end().offset;
        self.answer_parked(|p| voters.contains(&p.fetch.replica_id) && p.fetch.fetch_offset < end);
    }

    /// The leader's high watermark: what a majority of voters has on the disk, once that holds a record of the leader's
    /// own epoch. Only then is it sure that what earlier leaders left is committed too.
    pub(super) fn advance_high_watermark(&mut self, io: &mut Outputs) {
        let synced = self.log.synced_end();
        let Role::Leader(leader) = &mut self.role else { return };
        let end = leader.majority_end(synced);
        if end <= leader.epoch_start || leader.high_watermark.is_some_and(|hw| hw >= end) {
            return;
        }
        let first = leader.high_watermark.replace(end).is_none();
        assert!(end >= self.committed, "a leader has all that was ever committed");
        self.commit(io, end);
        if first && !self.halted {
            let epoch = self.ballot.epoch();
            io.push(crate::io::Output::Event(Event::ControllerActive { epoch }));
            self.outbox.push(QuorumOutput::Active { epoch });
        }
        self.answer_parked(|_| true);
    }

    /// Tells the owner what is committed now.
    fn commit(&mut self, io: &mut Outputs, high_watermark: i64) {
        if high_watermark <= self.committed {
            return;
        }
        match self.log.take_committed(high_watermark) {
            Ok(batches) => {
                self.committed = high_watermark;
                self.outbox.push(QuorumOutput::Committed(Committed { batches, high_watermark }));
            }
            Err(error) => self.halt(io, &format!("a committed batch of the metadata log cannot be read: {error}")),
        }
    }

    pub(super) fn gather(&mut self, now: Now, io: &mut Outputs, records: Vec<Bytes>) -> Result<i64, AppendError> {
        assert!(!records.is_empty(), "an append has at least one record");
        if self.halted || !self.is_active() {
            return Err(AppendError::NotLeader(self.current()));
        }
        let bytes: usize = records.iter().map(|r| r.len() + RECORD_OVERHEAD_BYTES).sum();
        if bytes > BATCH_BYTES_MAX {
            return Err(AppendError::TooLarge(bytes));
        }
        if self.gathering.bytes + bytes > BATCH_BYTES_MAX {
            self.drain(now, io);
        }
        self.gathering.bytes += bytes;
        self.gathering.records.extend(records);
        let count = i64::try_from(self.gathering.records.len()).expect("records are counted in memory");
        let last = self.log.end().offset + count - 1;
        if self.clocks.append_linger_ms <= 0 {
            self.drain(now, io);
        } else if self.gathering.due.is_none() {
            self.gathering.due = Some(now.after_ms(self.clocks.append_linger_ms));
        }
        Ok(last)
    }

    /// Appends what was gathered.
    pub(super) fn drain(&mut self, now: Now, io: &mut Outputs) {
        let Gathering { records, .. } = std::mem::take(&mut self.gathering);
        if !records.is_empty() {
            self.log.append_as_leader(now, io, self.ballot.epoch(), &records);
            self.wake_voters();
        }
    }

    /// The quorum, if this node leads it.
    ///
    /// # Errors
    /// With the leader that is known, if it is another.
    pub fn describe(&self, now: Now) -> Result<Description, CurrentLeader> {
        let Role::Leader(leader) = &self.role else { return Err(self.current()) };
        let own = ReplicaState {
            replica_id: self.me,
            log_end_offset: self.log.end().offset,
            last_fetch_ms: now.wall_ms,
            last_caught_up_ms: now.wall_ms,
        };
        let mut voters: Vec<ReplicaState> = leader.voters.iter().map(|(id, p)| p.state(*id)).collect();
        voters.push(own);
        voters.sort_by_key(|v| v.replica_id);
        Ok(Description {
            leader_id: self.me,
            leader_epoch: self.ballot.epoch(),
            high_watermark: leader.high_watermark.unwrap_or(-1),
            voters,
            observers: leader.observers.iter().map(|(id, p)| p.state(*id)).collect(),
        })
    }

    // --- asking others ---

    /// Sends what this role has to send, to whom is free.
    pub(super) fn ask(&mut self, now: Now) {
        match &self.role {
            Role::Unattached { leader, .. } => {
                let hint = *leader;
                self.look_for_leader(now, hint);
            }
            Role::Prospective { .. } | Role::Candidate(_) => self.ask_for_votes(now),
            Role::Leader(_) => self.ask_to_begin(now),
            Role::Resigned { .. } => self.ask_to_end(now),
            Role::Follower(_) => self.ask_for_log(now),
        }
    }

    pub(super) fn send(&mut self, now: Now, to: i32, request: Request) {
        if self.peers.is_free(to, now.monotonic_ns) {
            let id = self.peers.sent(to, now.after_ms(self.clocks.request_timeout_ms));
            self.outbox.push(QuorumOutput::Request { to, id, request });
        }
    }

    pub(super) fn back_off(&mut self, now: Now, peer: i32) {
        self.peers.wait_until(peer, now.after_ms(self.clocks.retry_backoff_ms));
    }

    /// A request to a peer failed. A broker that lost its leader asks around at once; a voter has its fetch timeout.
    pub(super) fn request_failed(&mut self, now: Now, io: &mut Outputs, peer: i32) {
        let lost = matches!(&self.role, Role::Follower(following) if following.leader == peer);
        if lost && !self.is_voter() {
            self.become_unattached(now, io, Some(peer), 0);
        }
        self.back_off(now, peer);
        self.voter_unreachable(now, io, peer);
    }

    /// Asks one voter after another for the log: whoever answers names the leader.
    fn look_for_leader(&mut self, now: Now, hint: Option<i32>) {
        if self.peers.any_under_way() || self.snapshots.is_installing() || !self.may_fetch() {
            return;
        }
        let free: Vec<i32> = self.peers.ids().filter(|p| self.peers.is_free(*p, now.monotonic_ns)).collect();
        if free.is_empty() {
            return;
        }
        let drawn = self.rng.next_u64() % u64::try_from(free.len()).expect("few voters");
        let drawn = free[usize::try_from(drawn).expect("few voters")];
        let to = hint.filter(|h| free.contains(h)).unwrap_or(drawn);
        let fetch = self.fetch();
        self.send(now, to, Request::Fetch(fetch));
    }

    fn ask_for_log(&mut self, now: Now) {
        let Role::Follower(following) = &self.role else { return };
        if self.snapshots.is_installing() || !self.may_fetch() {
            return;
        }
        let leader = following.leader;
        let request = match &following.download {
            Some(download) => Request::FetchSnapshot(download.request(self.me, self.ballot.epoch())),
            None => Request::Fetch(self.fetch()),
        };
        self.send(now, leader, request);
    }

    /// A fetch tells a leader that all before it is on this voter's disk.
    fn may_fetch(&self) -> bool {
        !self.is_voter() || self.log.synced_end() == self.log.end().offset
    }

    fn fetch(&self) -> Fetch {
        let end = self.log.end();
        Fetch {
            replica_id: self.me,
            current_leader_epoch: self.ballot.epoch(),
            fetch_offset: end.offset,
            last_fetched_epoch: end.epoch,
            high_watermark: self.committed,
            max_bytes: FETCH_BYTES_MAX,
            max_wait_ms: self.clocks.fetch_wait_max_ms,
        }
    }

    // --- the follower's side ---

    /// Takes in what every answer says of the epoch and its leader. Whether the rest of the answer is worth reading.
    pub(super) fn take_current(
        &mut self,
        now: Now,
        io: &mut Outputs,
        from: i32,
        error: ErrorCode,
        current: CurrentLeader,
    ) -> bool {
        if current.leader_epoch < self.ballot.epoch() {
            return false;
        }
        if current.leader_epoch > self.ballot.epoch() {
            self.take_epoch(now, io, current.leader_epoch, current.leader_id);
            return false;
        }
        // A leader that is known and was lost is followed again on its own word only.
        let known = self.leader();
        if let Some(leader) = current.leader_id
            && leader != self.me
            && (known.is_none() || (known == Some(leader) && from == leader && error.is_none()))
        {
            self.take_epoch(now, io, current.leader_epoch, Some(leader));
        }
        error.is_none()
    }

    pub(super) fn on_fetch_answer(&mut self, now: Now, io: &mut Outputs, from: i32, answer: FetchAnswer) {
        if !self.take_current(now, io, from, answer.error, answer.current) {
            self.back_off(now, from);
            return;
        }
        if !self.heard_leader(now, from) {
            return;
        }
        if let Some(end) = answer.diverging {
            self.cut(now, io, from, end);
        } else if let Some(id) = answer.snapshot {
            self.download(now, from, id);
        } else {
            self.take_records(now, io, from, &answer.records);
        }
        let high_watermark = answer.high_watermark.min(self.log.end().offset);
        if answer.diverging.is_none() && answer.snapshot.is_none() && !self.halted {
            self.commit(io, high_watermark);
        }
    }

    /// The leader that is followed answered without an error. Whether it was that one.
    pub(super) fn heard_leader(&mut self, now: Now, from: i32) -> bool {
        let fetch_by = now.after_ms(self.clocks.fetch_timeout_ms);
        let Role::Follower(following) = &mut self.role else { return false };
        if following.leader != from {
            return false;
        }
        (following.fetch_by, following.heard, following.suspected) = (fetch_by, true, false);
        true
    }

    fn download(&mut self, now: Now, from: i32, id: OffsetAndEpoch) {
        if id.offset <= self.committed {
            return self.back_off(now, from);
        }
        if let Role::Follower(following) = &mut self.role {
            following.download = Some(Download::of(id));
        }
    }

    /// This log and the leader's part at the end of an epoch.
    fn cut(&mut self, now: Now, io: &mut Outputs, from: i32, end: OffsetAndEpoch) {
        let offset = self.log.common_end(end);
        if offset < self.committed {
            let committed = self.committed;
            self.halt(io, &format!("leader {from} has another metadata log below {committed}, which is committed"));
            return;
        }
        if offset >= self.log.end().offset {
            self.back_off(now, from);
            return;
        }
        self.say(io, Level::Info, format!("cuts its log at {offset}"));
        self.log.truncate_to(now, io, offset);
        let (topic, partition) = ("__cluster_metadata".to_owned(), 0);
        io.push(crate::io::Output::Event(Event::Truncated { topic, partition, offset }));
    }

    fn take_records(&mut self, now: Now, io: &mut Outputs, from: i32, parts: &[Part]) {
        if let Err(why) = self.log.append_as_follower(now, io, &joined(parts), self.ballot.epoch()) {
            self.say(io, Level::Error, format!("leader {from} sent what is no continuation of the log: {why}"));
            self.back_off(now, from);
        }
    }
}

/// Whether a fetch is answered with this now, or waits for something to tell.
fn worth_telling(answer: &FetchAnswer, fetch: &Fetch) -> bool {
    !answer.error.is_none()
        || answer.diverging.is_some()
        || answer.snapshot.is_some()
        || !answer.records.is_empty()
        || answer.high_watermark > fetch.high_watermark
}

/// The bytes of an answer that arrived: one part, as a rule.
///
/// # Panics
/// If a part lies in a file: nothing that arrives does.
pub(super) fn joined(parts: &[Part]) -> Bytes {
    let bytes = |part: &Part| match part {
        Part::Bytes(bytes) => bytes.clone(),
        Part::File(_) => panic!("what arrives is in memory"),
    };
    match parts {
        [one] => bytes(one),
        parts => {
            let mut whole = BytesMut::new();
            parts.iter().for_each(|part| whole.extend_from_slice(&bytes(part)));
            whole.freeze()
        }
    }
}
