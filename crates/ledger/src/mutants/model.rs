//! A small model of a replicated log with producers and a consumer group, whose bugs can be switched on.
//!
//! It makes histories: clean ones however brokers die and members move, and mutants that show what each bug does.

use crate::header::{Expected, Header};
use crate::history::{LaneId, MessageId, Outcome, Record, Tp};
use crate::offsets::mix;
use crate::timeline::{Clock, PartitionState, TimelineEvent, What};

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    AckBeforeReplicating,
    ForgetDeduplication,
    CommitBeforeProcessing,
    TruncateBelowHighWatermark,
    FailThoughAppended,
    AckOtherOffset,
    AppendOutOfOrder,
    SkipOnTakeover,
    IgnoreCommitOnTakeover,
    OldOwnerGoesOn,
    CorruptOnAppend,
    ReuseEpoch,
}

impl Bug {
    pub(super) const ALL: [Self; 12] = [
        Self::AckBeforeReplicating,
        Self::ForgetDeduplication,
        Self::CommitBeforeProcessing,
        Self::TruncateBelowHighWatermark,
        Self::FailThoughAppended,
        Self::AckOtherOffset,
        Self::AppendOutOfOrder,
        Self::SkipOnTakeover,
        Self::IgnoreCommitOnTakeover,
        Self::OldOwnerGoesOn,
        Self::CorruptOnAppend,
        Self::ReuseEpoch,
    ];

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::AckBeforeReplicating => "acknowledge before replicating",
            Self::ForgetDeduplication => "forget deduplication",
            Self::CommitBeforeProcessing => "commit before processing",
            Self::TruncateBelowHighWatermark => "truncate below the high watermark",
            Self::FailThoughAppended => "report an appended message as failed",
            Self::AckOtherOffset => "acknowledge another offset",
            Self::AppendOutOfOrder => "append a retry behind what came after it",
            Self::SkipOnTakeover => "begin beyond the commit after a takeover",
            Self::IgnoreCommitOnTakeover => "begin below the commit after a takeover",
            Self::OldOwnerGoesOn => "let the old owner go on after a takeover",
            Self::CorruptOnAppend => "corrupt a value on append",
            Self::ReuseEpoch => "elect a leader at an old epoch",
        }
    }
}

const PARTITIONS: i32 = 3;
const GROUP: u16 = 0;

/// What one offset holds; a control marker holds no message.
type Entry = Option<MessageId>;

struct Batch {
    first: u64,
    count: u32,
    offset: usize,
}

struct Partition {
    log: Vec<Entry>,
    corrupt: Vec<i64>,
    /// The follower has this much; it is also the high watermark.
    replicated: usize,
    epoch: i32,
    leader: i32,
    lane: LaneId,
    next_seq: u64,
    /// Appended and not acknowledged.
    waiting: Vec<Batch>,
    owner: u32,
    position: usize,
    committed: usize,
}

/// The model and the history that it has made so far.
pub(super) struct Model {
    random: u64,
    bug: Option<Bug>,
    /// How often the bug did something.
    pub(super) fired: u32,
    at_us: i64,
    partitions: Vec<Partition>,
    member_next: u32,
    pub(super) header: Header,
    pub(super) records: Vec<Record>,
    pub(super) timeline: Vec<TimelineEvent>,
}

impl Model {
    /// Runs the model for so many steps, then heals and audits it.
    pub(super) fn run(seed: u64, steps: u32, bug: Option<Bug>) -> Self {
        let guarantee = Expected { durable: true, why: "acks=all".into(), ..Expected::default() };
        let mut model = Self {
            random: seed,
            bug,
            fired: 0,
            at_us: 0,
            partitions: Vec::new(),
            member_next: PARTITIONS as u32,
            header: Header::new(seed, &[("metrics", PARTITIONS)], &["group-1"], guarantee),
            records: Vec::new(),
            timeline: Vec::new(),
        };
        (0..PARTITIONS).for_each(|partition| model.begin(partition));
        for _ in 0..steps {
            let partition = model.below(PARTITIONS as u64) as usize;
            match model.below(20) {
                0..7 => model.produce(partition),
                7..11 => model.replicate(partition),
                11..15 => model.poll(partition),
                15..17 => model.commit(partition),
                17 => model.take_over(partition),
                18 => model.fail_over(partition),
                _ => model.marker(partition),
            }
        }
        model.audit();
        model
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = mix(self.random);
        self.random % limit
    }

    /// Whether the bug strikes now.
    fn strikes(&mut self, bug: Bug) -> bool {
        let strikes = self.bug == Some(bug) && self.below(2) == 0;
        self.fired += u32::from(strikes);
        strikes
    }

    fn now(&mut self) -> i64 {
        self.at_us += 1_000 + self.below(5_000) as i64;
        self.at_us
    }

    fn tp(partition: usize) -> Tp {
        Tp { topic: 0, partition: partition as i32 }
    }

    fn begin(&mut self, partition: i32) {
        let lane = LaneId { incarnation: 1, lane: partition as u32 };
        self.partitions.push(Partition {
            log: Vec::new(),
            corrupt: Vec::new(),
            replicated: 0,
            epoch: 0,
            leader: 1,
            lane,
            next_seq: 0,
            waiting: Vec::new(),
            owner: partition as u32,
            position: 0,
            committed: 0,
        });
        self.records.push(Record::Lane { lane, topic: 0, partition: Some(partition), idempotent: true });
        self.assigned(partition as usize);
        self.leader(partition as usize);
    }

    fn assigned(&mut self, partition: usize) {
        let at_us = self.now();
        let state = &self.partitions[partition];
        self.records.push(Record::Assigned {
            at_us,
            group: GROUP,
            member: state.owner,
            generation: 1,
            partitions: vec![(Self::tp(partition), state.position as i64)],
        });
    }

    fn leader(&mut self, partition: usize) {
        let at_us = self.now();
        let state = &self.partitions[partition];
        let what = What::Partition(PartitionState {
            topic: "metrics".into(),
            partition: partition as i32,
            replicas: vec![1, 2],
            isr: vec![1, 2],
            elr: Vec::new(),
            leader: state.leader,
            leader_epoch: state.epoch,
            partition_epoch: state.epoch,
        });
        self.timeline.push(TimelineEvent { at_us, error_us: 0, clock: Clock::Controller, what, cause: None });
    }

    fn outcome(&mut self, partition: usize, first_seq: u64, count: u32, outcome: Outcome) {
        let at_us = self.now();
        let lane = self.partitions[partition].lane;
        self.records.push(Record::Outcome { at_us, lane, first_seq, count, outcome });
    }

    fn produce(&mut self, partition: usize) {
        let count = 1 + self.below(8) as u32;
        let at_us = self.now();
        let state = &mut self.partitions[partition];
        let (lane, first) = (state.lane, state.next_seq);
        state.next_seq += u64::from(count);
        self.records.push(Record::Sent { at_us, lane, up_to_seq: first + u64::from(count) });
        match self.below(10) {
            0 if self.strikes(Bug::FailThoughAppended) => {
                self.append(partition, first, count);
                self.outcome(partition, first, count, Outcome::Fail);
            }
            0 => self.outcome(partition, first, count, Outcome::Fail),
            1 => {
                self.append(partition, first, count);
                self.outcome(partition, first, count, Outcome::Unknown);
            }
            _ => {
                let offset = self.append(partition, first, count);
                self.retry(partition, first, count);
                self.partitions[partition].waiting.push(Batch { first, count, offset });
                if self.strikes(Bug::AckBeforeReplicating) {
                    self.acknowledge(partition);
                }
            }
        }
    }

    fn append(&mut self, partition: usize, first: u64, count: u32) -> usize {
        let late = count > 1 && self.strikes(Bug::AppendOutOfOrder);
        let corrupt = self.strikes(Bug::CorruptOnAppend);
        let state = &mut self.partitions[partition];
        let offset = state.log.len();
        let order: Vec<u64> =
            if late { (1..u64::from(count)).chain([0]).collect() } else { (0..u64::from(count)).collect() };
        state.log.extend(order.iter().map(|i| Some(MessageId { lane: state.lane, seq: first + i })));
        if corrupt {
            state.corrupt.push(offset as i64);
        }
        offset
    }

    /// The response was lost and the client sends again; the broker knows the batch.
    fn retry(&mut self, partition: usize, first: u64, count: u32) {
        if self.below(4) == 0 && self.strikes(Bug::ForgetDeduplication) {
            self.append(partition, first, count);
        }
    }

    fn acknowledge(&mut self, partition: usize) {
        for batch in std::mem::take(&mut self.partitions[partition].waiting) {
            let off = if self.strikes(Bug::AckOtherOffset) { 1 } else { 0 };
            // The bug that appends out of order puts messages where no single base offset can tell.
            let base_offset = if self.bug == Some(Bug::AppendOutOfOrder) { -1 } else { batch.offset as i64 + off };
            let outcome = Outcome::Ok { tp: Self::tp(partition), base_offset };
            self.outcome(partition, batch.first, batch.count, outcome);
        }
    }

    fn replicate(&mut self, partition: usize) {
        let at_us = self.now();
        let state = &mut self.partitions[partition];
        state.replicated = state.log.len();
        let (epoch, offset) = (state.epoch, state.replicated as i64);
        self.records.push(Record::HighWatermark { at_us, tp: Self::tp(partition), epoch, offset });
        self.acknowledge(partition);
    }

    /// The leader dies; the follower leads with what it has.
    fn fail_over(&mut self, partition: usize) {
        let at_us = self.now();
        let node = self.partitions[partition].leader;
        let what = What::Fault {
            id: format!("kill-{at_us}"),
            kind: "kill".into(),
            target: format!("broker {node}"),
            nodes: vec![node],
            active_controller: false,
        };
        self.timeline.push(TimelineEvent { at_us, error_us: 0, clock: Clock::Monotonic, what, cause: None });
        let mut keep = self.partitions[partition].replicated;
        if keep > 0 && self.strikes(Bug::TruncateBelowHighWatermark) {
            keep -= 1 + self.below(keep.min(5) as u64) as usize;
        }
        let back = self.partitions[partition].epoch > 0 && self.strikes(Bug::ReuseEpoch);
        let state = &mut self.partitions[partition];
        state.log.truncate(keep);
        state.corrupt.retain(|offset| *offset < keep as i64);
        state.replicated = keep;
        state.epoch = if back { state.epoch - 1 } else { state.epoch + 1 };
        state.leader = 3 - state.leader;
        state.position = state.position.min(keep);
        for batch in std::mem::take(&mut state.waiting) {
            self.outcome(partition, batch.first, batch.count, Outcome::Unknown);
        }
        self.leader(partition);
    }

    fn marker(&mut self, partition: usize) {
        self.partitions[partition].log.push(None);
    }

    fn poll(&mut self, partition: usize) {
        let most = 1 + self.below(30) as usize;
        let state = &self.partitions[partition];
        let (from, to, member) = (state.position, state.replicated.min(state.position + most), state.owner);
        if from < to {
            self.deliver(partition, member, from, to);
            self.partitions[partition].position = to;
        }
    }

    fn deliver(&mut self, partition: usize, member: u32, from: usize, to: usize) {
        for (base_offset, id, count) in self.runs(partition, from, to) {
            let at_us = self.now();
            let (tp, lane, first_seq) = (Self::tp(partition), id.lane, id.seq);
            self.records.push(Record::Delivered {
                at_us,
                group: GROUP,
                member,
                tp,
                base_offset,
                lane,
                first_seq,
                count,
            });
        }
        for offset in self.partitions[partition].corrupt.clone() {
            if (from as i64..to as i64).contains(&offset) {
                let (tp, why) = (Self::tp(partition), crate::history::Alien::BadCrc);
                self.records.push(Record::Alien { group: Some(GROUP), tp, offset, why });
            }
        }
    }

    /// Runs of messages, cut at random as clients cut them.
    fn runs(&mut self, partition: usize, from: usize, to: usize) -> Vec<(i64, MessageId, u32)> {
        let mut runs: Vec<(i64, MessageId, u32)> = Vec::new();
        for offset in from..to.min(self.partitions[partition].log.len()) {
            let state = &self.partitions[partition];
            let Some(id) = state.log[offset].filter(|_| !state.corrupt.contains(&(offset as i64))) else { continue };
            let cut = self.below(10) == 0;
            match runs.last_mut() {
                Some((base, first, count))
                    if !cut
                        && *base + i64::from(*count) == offset as i64
                        && first.seq + u64::from(*count) == id.seq =>
                {
                    *count += 1;
                }
                _ => runs.push((offset as i64, id, 1)),
            }
        }
        runs
    }

    fn commit(&mut self, partition: usize) {
        let early = self.strikes(Bug::CommitBeforeProcessing);
        let at_us = self.now();
        let state = &mut self.partitions[partition];
        let offset = if early { state.replicated } else { state.position };
        if offset < state.committed {
            return;
        }
        state.committed = offset;
        let (member, tp) = (state.owner, Self::tp(partition));
        self.records.push(Record::Committed { at_us, group: GROUP, member, tp, offset: offset as i64 });
    }

    /// The partition goes to a new member; the old one leaves or dies.
    fn take_over(&mut self, partition: usize) {
        let old = self.partitions[partition].owner;
        let lost = self.below(2) == 0;
        let goes_on = self.strikes(Bug::OldOwnerGoesOn);
        let skip = if self.strikes(Bug::SkipOnTakeover) { 3 } else { 0 };
        let back = if self.strikes(Bug::IgnoreCommitOnTakeover) { 3 } else { 0 };
        if !goes_on {
            self.revoke(partition, old, lost);
        }
        let state = &mut self.partitions[partition];
        let reached = state.position;
        state.owner = self.member_next;
        self.member_next += 1;
        state.position = (state.committed + skip).saturating_sub(back).min(state.replicated);
        self.assigned(partition);
        if goes_on {
            self.poll(partition);
            let to = self.partitions[partition].replicated;
            self.deliver(partition, old, reached, to);
            self.revoke(partition, old, lost);
        }
    }

    fn revoke(&mut self, partition: usize, member: u32, lost: bool) {
        let at_us = self.now();
        let partitions = vec![Self::tp(partition)];
        self.records.push(Record::Revoked { at_us, group: GROUP, member, lost, partitions });
    }

    fn audit(&mut self) {
        for partition in 0..PARTITIONS as usize {
            self.replicate(partition);
            // Some groups have not read to the end when the run is over.
            if self.below(4) > 0 {
                while self.partitions[partition].position < self.partitions[partition].replicated {
                    self.poll(partition);
                }
                self.commit(partition);
            }
            let tp = Self::tp(partition);
            let end = self.partitions[partition].log.len();
            for (base_offset, id, count) in self.runs(partition, 0, end) {
                self.records.push(Record::Logged { tp, base_offset, lane: id.lane, first_seq: id.seq, count });
            }
            let state = &self.partitions[partition];
            for offset in &state.corrupt {
                let why = crate::history::Alien::BadCrc;
                self.records.push(Record::Alien { group: None, tp, offset: *offset, why });
            }
            self.records.push(Record::Bounds { tp, bounds: Some((0, end as i64)) });
            self.records.push(Record::FinalCommit { group: GROUP, tp, offset: state.committed as i64 });
        }
        let at_us = self.now();
        self.records.push(Record::AuditDone { at_us });
    }
}
