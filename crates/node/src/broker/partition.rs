//! One replica of one partition: its log, and what it does with it as leader or as follower. **Here the high watermark
//! advances and here the ISR shrinks and grows**; the rules are in [`super::isr`].
//!
//! Nothing here knows connections, requests or the controller: appends, fetch positions and answers come in as plain
//! values, and what should happen (a proposal to the controller, somebody to wake) comes out as plain values.

use bytes::{Bytes, BytesMut};
use metricstream_wire::ErrorCode;

use super::isr::Leading;
use crate::flaws::Flaws;
use crate::image::{Image, Partition as PartitionImage, PartitionId};
use crate::io::{Event, Output, Outputs};
use crate::log::{AppendError, Appended, Log, Origin};
use crate::time::Now;

/// What a replica is at the moment.
#[derive(Debug)]
pub enum Role {
    /// It takes writes and tells followers what to copy.
    Leader(Leading),
    /// It copies from `leader`; −1 where nobody leads.
    Follower {
        /// Whom.
        leader: i32,
    },
}

/// A replica on this node.
#[derive(Debug)]
pub struct Replica {
    /// The partition.
    pub id: PartitionId,
    /// Its topic's name.
    pub topic: String,
    /// Its log.
    pub log: Log,
    /// Leader or follower.
    pub role: Role,
    /// The epoch in which it is that.
    pub leader_epoch: i32,
    /// Offsets below it are committed, as far as this replica knows.
    pub high_watermark: i64,
    /// In-sync replicas without which nothing is committed.
    pub min_isr: usize,
    /// The leader epoch in which this follower's history was last compared with its leader's.
    pub compared_in: i32,
    node_id: i32,
    partition_epoch: i32,
}

/// What an append or a fetch set off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// The log's end moved: followers may fetch.
    pub log_end: bool,
    /// The high watermark moved: consumers may read, producers may be answered.
    pub high_watermark: bool,
    /// There is an ISR to propose to the controller.
    pub proposal: bool,
    /// The least of all log starts moved: who deletes records may be answered.
    pub low_watermark: bool,
}

impl Moved {
    /// Either of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            log_end: self.log_end || other.log_end,
            high_watermark: self.high_watermark || other.high_watermark,
            proposal: self.proposal || other.proposal,
            low_watermark: self.low_watermark || other.low_watermark,
        }
    }
}

/// What a follower tells with a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPosition {
    /// Its node.
    pub replica: i32,
    /// The epoch of its registration; −1 in old versions.
    pub broker_epoch: i64,
    /// It has everything below.
    pub offset: i64,
    /// Its log begins here.
    pub log_start: i64,
}

/// What is to be appended by a leader.
#[derive(Debug)]
pub struct Write {
    /// Batches as they came.
    pub records: BytesMut,
    /// Who wrote them.
    pub origin: Origin,
    /// Whether they are refused where fewer than `min.insync.replicas` are in sync.
    pub acks_all: bool,
}

/// Why records were not appended, as a producer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The code.
    pub error: ErrorCode,
    /// A sentence, where there is one.
    pub message: Option<String>,
    /// The records of the batch that it was refused for, counted from 0; none: for all of them (KIP-467).
    pub records: Vec<i32>,
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Self {
        let (code, message) = (error.error_code(), Some(error.to_string()));
        let records = if let AppendError::WithoutKey { records } = error { records } else { Vec::new() };
        Self { error: code, message, records }
    }
}

impl Replica {
    /// A replica with the log that its store has; its high watermark as last written out, within the log.
    #[must_use]
    pub fn new(id: PartitionId, topic: String, log: Log, node_id: i32, high_watermark: i64) -> Self {
        let high_watermark = high_watermark.clamp(log.start_offset(), log.end_offset());
        Self {
            id,
            topic,
            log,
            role: Role::Follower { leader: -1 },
            leader_epoch: -1,
            high_watermark,
            min_isr: 1,
            compared_in: -1,
            node_id,
            partition_epoch: -1,
        }
    }

    /// The leader's state, or why there is none.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`.
    pub fn leading(&self) -> Result<&Leading, ErrorCode> {
        match &self.role {
            Role::Leader(leading) => Ok(leading),
            Role::Follower { .. } => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        }
    }

    /// Whether this replica leads.
    #[must_use]
    pub const fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Compares the epoch that a request believes in (KIP-320); −1 asks for no comparison.
    ///
    /// # Errors
    /// `FENCED_LEADER_EPOCH` where the request is behind, `UNKNOWN_LEADER_EPOCH` where this node is.
    pub fn check_epoch(&self, asked: i32, flaws: &Flaws) -> Result<(), ErrorCode> {
        match asked {
            -1 => Ok(()),
            asked if asked < self.leader_epoch && !flaws.unfenced_fetch => Err(ErrorCode::FENCED_LEADER_EPOCH),
            asked if asked > self.leader_epoch => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
            _ => Ok(()),
        }
    }

    /// Takes in what the controller decided. Gives whether the leader epoch changed: whoever waits here is then to be
    /// sent away, and a follower begins anew.
    pub fn decided(&mut self, image: &PartitionImage, flaws: &Flaws, now: Now, out: &mut Outputs) -> bool {
        if image.partition_epoch < self.partition_epoch || image.leader_epoch < self.leader_epoch {
            return false;
        }
        if image.partition_epoch == self.partition_epoch && image.leader_epoch == self.leader_epoch {
            return false;
        }
        self.partition_epoch = image.partition_epoch;
        let new_epoch = image.leader_epoch != self.leader_epoch;
        self.leader_epoch = image.leader_epoch;
        if image.leader == self.node_id {
            match &mut self.role {
                Role::Leader(leading) if !new_epoch => leading.committed(image),
                _ => self.lead(image, flaws, now, out),
            }
        } else if new_epoch || self.is_leader() {
            self.role = Role::Follower { leader: image.leader };
            if flaws.truncate_to_high_watermark && self.log.end_offset() > self.high_watermark {
                self.truncate(self.high_watermark, now, out);
            }
            out.push(Output::Event(Event::BecameFollower {
                topic: self.topic.clone(),
                partition: self.id.1,
                leader_epoch: self.leader_epoch,
                leader: image.leader,
            }));
        } else {
            self.role = Role::Follower { leader: image.leader };
        }
        new_epoch
    }

    fn lead(&mut self, image: &PartitionImage, flaws: &Flaws, now: Now, out: &mut Outputs) {
        if flaws.truncate_below_high_watermark && self.log.end_offset() > self.log.start_offset() {
            self.truncate(self.log.end_offset() - 1, now, out);
        }
        self.log.start_epoch(image.leader_epoch, out);
        let start_offset = self.log.end_offset();
        self.role = Role::Leader(Leading::new(self.node_id, image, start_offset, now));
        out.push(Output::Event(Event::BecameLeader {
            topic: self.topic.clone(),
            partition: self.id.1,
            leader_epoch: self.leader_epoch,
            start_offset,
        }));
    }

    /// Appends what a producer or a coordinator wrote. The offset of a duplicate is that of its first time.
    ///
    /// # Errors
    /// What answers the producer.
    pub fn append(
        &mut self,
        write: Write,
        image: &Image,
        flaws: &Flaws,
        now: Now,
        out: &mut Outputs,
    ) -> Result<(Appended, Moved), Refused> {
        let Write { records, origin, acks_all } = write;
        let isr = self.leading().map_err(|error| Refused { error, message: None, records: Vec::new() })?.isr().len();
        if acks_all && isr < self.min_isr {
            let text = format!("{isr} in-sync replicas of {} wanted by min.insync.replicas", self.min_isr);
            return Err(Refused { error: ErrorCode::NOT_ENOUGH_REPLICAS, message: Some(text), records: Vec::new() });
        }
        let appended =
            self.log.append_as_leader(records, self.leader_epoch, origin, flaws, now, out).map_err(Refused::from)?;
        let mut moved = self.advance(image, flaws, now, out);
        moved.log_end = !appended.duplicate;
        Ok((appended, moved))
    }

    /// A follower asked for what comes after `position.offset`: it has everything before.
    ///
    /// # Errors
    /// If this is not the leader or the replica not one of the partition's.
    pub fn followed(
        &mut self,
        position: FetchPosition,
        image: &Image,
        flaws: &Flaws,
        lag_max_ms: i64,
        now: Now,
        out: &mut Outputs,
    ) -> Result<Moved, ErrorCode> {
        let (end, high_watermark) = (self.log.end_offset(), self.high_watermark);
        let Role::Leader(leading) = &mut self.role else { return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) };
        let low_watermark = leading.fetched(&position, end, lag_max_ms, now)?;
        let proposal = leading.propose_growth(position.replica, high_watermark, image, flaws);
        Ok(self.advance(image, flaws, now, out).and(Moved { proposal, low_watermark, ..Moved::default() }))
    }

    /// The controller accepted what this leader proposed: the partition as it is now.
    pub fn accepted(&mut self, image: &PartitionImage) {
        let own = image.leader_epoch == self.leader_epoch && image.partition_epoch >= self.partition_epoch;
        if let Role::Leader(leading) = &mut self.role
            && own
        {
            self.partition_epoch = image.partition_epoch;
            leading.accepted(image);
        }
    }

    /// Deletes what lies before an offset, or everything that is committed with −1 (DeleteRecords, KIP-107). Gives the
    /// offset that it came to.
    ///
    /// # Errors
    /// If this is not the leader, records of this topic are not deleted, or the offset is not committed.
    pub fn delete_records(&mut self, offset: i64, out: &mut Outputs) -> Result<i64, ErrorCode> {
        self.leading()?;
        let offset = if offset == -1 { self.high_watermark } else { offset };
        if !self.log.config().delete {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        if offset < 0 {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let deleted = self.log.delete_records_before(offset, self.high_watermark, out);
        deleted.map(|()| offset).map_err(|_| ErrorCode::OFFSET_OUT_OF_RANGE)
    }

    /// Where the log begins on every replica that lives, as far as its leader knows; −1 until all have said it.
    ///
    /// # Errors
    /// If this is not the leader.
    pub fn low_watermark(&self, image: &Image) -> Result<i64, ErrorCode> {
        let up = |id: i32| image.brokers.get(&id).is_some_and(|b| !b.fenced);
        let others = self.leading()?.followers().filter(|(id, _)| up(*id)).map(|(_, f)| f.log_start);
        Ok(others.fold(self.log.start_offset(), i64::min))
    }

    /// Moves the high watermark as far as every replica that counts has come.
    pub fn advance(&mut self, image: &Image, flaws: &Flaws, now: Now, out: &mut Outputs) -> Moved {
        let Role::Leader(leading) = &self.role else { return Moved::default() };
        let committable = leading.committable(self.log.end_offset(), self.min_isr, image, flaws, now);
        let Some(offset) = committable.filter(|offset| *offset > self.high_watermark) else { return Moved::default() };
        self.high_watermark = offset;
        out.push(Output::Event(Event::HighWatermark {
            topic: self.topic.clone(),
            partition: self.id.1,
            leader_epoch: self.leader_epoch,
            offset,
        }));
        Moved { high_watermark: true, ..Moved::default() }
    }

    /// A broker's standing changed: it may be let in now.
    pub fn reconsider(&mut self, follower: i32, image: &Image, flaws: &Flaws) -> bool {
        let high_watermark = self.high_watermark;
        match &mut self.role {
            Role::Leader(leading) => leading.propose_growth(follower, high_watermark, image, flaws),
            Role::Follower { .. } => false,
        }
    }

    /// Looks whether a follower has fallen too far behind to count as in sync.
    pub fn shrink(&mut self, lag_max_ms: i64, now: Now) -> bool {
        let end = self.log.end_offset();
        match &mut self.role {
            Role::Leader(leading) => leading.propose_shrink(end, lag_max_ms, now),
            Role::Follower { .. } => false,
        }
    }

    /// Appends what the leader of this epoch sent, and takes its word for what is committed.
    ///
    /// # Errors
    /// If the bytes are no continuation of this log: the log's own text.
    pub fn copied(
        &mut self,
        records: Bytes,
        high_watermark: i64,
        log_start: i64,
        now: Now,
        out: &mut Outputs,
    ) -> Result<bool, String> {
        let grew = !records.is_empty();
        if grew {
            self.log.append_as_follower(&records, now, out).map_err(|error| error.to_string())?;
        }
        let known = high_watermark.clamp(self.log.start_offset(), self.log.end_offset());
        let moved = known > self.high_watermark;
        self.high_watermark = self.high_watermark.max(known);
        if log_start > self.log.start_offset() {
            let offset = log_start.min(self.high_watermark);
            self.log.delete_records_before(offset, self.high_watermark, out).map_err(|error| error.to_string())?;
        }
        Ok(grew || moved)
    }

    /// The leader says that the histories part: this log is cut to the common part as far as both know it (KIP-595's
    /// truncation on fetch). It may take several rounds, each by epochs; never to the high watermark.
    pub fn diverged(&mut self, epoch: i32, end_offset: i64, flaws: &Flaws, now: Now, out: &mut Outputs) {
        let own = self.log.end_offset_for_epoch(epoch);
        let mut common = if own.epoch < 0 { self.log.start_offset() } else { own.end_offset };
        if flaws.truncate_once_by_own_epoch {
            common = end_offset;
        }
        self.truncate(common.min(end_offset).min(self.log.end_offset()), now, out);
    }

    /// Throws the whole log away, as what the leader has begins only later.
    pub fn start_over(&mut self, offset: i64, now: Now, out: &mut Outputs) {
        self.log.truncate_fully_and_start_at(offset, now, out);
        self.high_watermark = offset;
        self.tell_truncated(offset, out);
    }

    fn truncate(&mut self, offset: i64, now: Now, out: &mut Outputs) {
        let cuts = offset < self.log.end_offset();
        // Where there is nothing to cut the log still forgets an epoch that began at its end, in which this replica led and
        // wrote nothing: its leader does not know that epoch and would find a divergence for ever.
        self.log.truncate_to(offset, now, out);
        if cuts {
            self.high_watermark = self.high_watermark.min(offset);
            self.tell_truncated(offset, out);
        }
    }

    fn tell_truncated(&self, offset: i64, out: &mut Outputs) {
        out.push(Output::Event(Event::Truncated { topic: self.topic.clone(), partition: self.id.1, offset }));
    }

    /// Where the history of a reader whose last batch was of `last_epoch` and ended at `offset` parts from this one: the
    /// largest epoch that both may have, and where it ends here (KIP-595). `None` where it does not, or nothing was told.
    #[must_use]
    pub fn diverging(&self, last_epoch: i32, offset: i64) -> Option<(i32, i64)> {
        if last_epoch < 0 {
            return None;
        }
        let here = self.log.end_offset_for_epoch(last_epoch);
        if here.epoch < 0 {
            // Nothing of that epoch or before is left here: what lies below the log's start says nothing.
            return (offset > self.log.end_offset()).then_some((last_epoch, self.log.end_offset()));
        }
        (here.epoch < last_epoch || here.end_offset < offset).then_some((here.epoch, here.end_offset))
    }

    /// How far a consumer may read.
    #[must_use]
    pub fn visible_end(&self, flaws: &Flaws) -> i64 {
        if flaws.read_uncommitted_tail { self.log.end_offset() } else { self.high_watermark }
    }

    /// Whether the leader's high watermark may still lie behind what an earlier leader reported (KIP-207): then offsets
    /// are not told.
    #[must_use]
    pub fn is_behind_its_epoch(&self) -> bool {
        self.leading().is_ok_and(|leading| self.high_watermark < leading.epoch_start())
    }
}
