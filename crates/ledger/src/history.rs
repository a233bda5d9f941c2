//! The records of which a history is made: what clients did and what the audit read.
//!
//! Everything that the ledger says is a function of these records and of the timeline.
//! Times are microseconds on the run's monotonic clock; 0 is the start of load.

/// A dense index into the topics named by the history's header.
pub type TopicIndex = u16;

/// One partition of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tp {
    /// Index into the header's topics.
    pub topic: TopicIndex,
    /// Partition index.
    pub partition: i32,
}

/// An ordered stream of one producer incarnation; its partition is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    /// Producer incarnation, unique in the run: a restarted producer gets a new one.
    pub incarnation: u32,
    /// Lane within the incarnation.
    pub lane: u32,
}

/// The identity of one message within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Its lane.
    pub lane: LaneId,
    /// Dense sequence within the lane, from 0.
    pub seq: u64,
}

/// What is known of a send, as Jepsen names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged at this offset of this partition; `base_offset` is of the run's first message, −1 if unreported.
    Ok {
        /// Where it was written.
        tp: Tp,
        /// Offset of the first message of the run of messages.
        base_offset: i64,
    },
    /// Definitely never written.
    Fail,
    /// Indeterminate: timeout, disconnect, not-enough-replicas-after-append, any acks=0 send.
    Unknown,
}

/// Why a logged or delivered value is not one of the run's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alien {
    /// Its CRC32C does not hold, or it is too short.
    BadCrc,
    /// It belongs to another run.
    ForeignRun,
    /// Its lane is pinned to another partition.
    WrongPartition,
}

/// One record of a history. Runs of consecutive sequences (and offsets) share one record.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A lane begins. `partition` is set when it is pinned.
    Lane {
        /// Lane.
        lane: LaneId,
        /// Topic it writes to.
        topic: TopicIndex,
        /// Pinned partition.
        partition: Option<i32>,
        /// Whether the producer is idempotent.
        idempotent: bool,
    },
    /// Sequences below `up_to_seq` were handed to the client.
    Sent {
        /// Time of the last of them.
        at_us: i64,
        /// Lane.
        lane: LaneId,
        /// One past the last sequence.
        up_to_seq: u64,
    },
    /// The outcome of consecutive sends.
    Outcome {
        /// When the client reported it.
        at_us: i64,
        /// Lane.
        lane: LaneId,
        /// First sequence.
        first_seq: u64,
        /// Number of messages.
        count: u32,
        /// What became of them.
        outcome: Outcome,
    },
    /// The audit reader found consecutive messages at consecutive offsets.
    Logged {
        /// Where.
        tp: Tp,
        /// Offset of the first.
        base_offset: i64,
        /// Lane.
        lane: LaneId,
        /// First sequence.
        first_seq: u64,
        /// Number of messages.
        count: u32,
    },
    /// A group member was given consecutive messages at consecutive offsets.
    Delivered {
        /// When the last was delivered.
        at_us: i64,
        /// Index into the header's groups.
        group: u16,
        /// Member incarnation, unique in the run.
        member: u32,
        /// Where.
        tp: Tp,
        /// Offset of the first.
        base_offset: i64,
        /// Lane.
        lane: LaneId,
        /// First sequence.
        first_seq: u64,
        /// Number of messages.
        count: u32,
    },
    /// A member's commit was accepted: offsets below `offset` are done.
    Committed {
        /// When the client heard of it.
        at_us: i64,
        /// Group index.
        group: u16,
        /// Member incarnation.
        member: u32,
        /// Partition.
        tp: Tp,
        /// Next offset to read.
        offset: i64,
    },
    /// A member gained partitions, to read from these offsets (−1: not reported).
    Assigned {
        /// When.
        at_us: i64,
        /// Group index.
        group: u16,
        /// Member incarnation.
        member: u32,
        /// Generation or member epoch, −1 if the client does not say.
        generation: i32,
        /// Partitions and where reading starts.
        partitions: Vec<(Tp, i64)>,
    },
    /// A member gave partitions up, or lost them.
    Revoked {
        /// When.
        at_us: i64,
        /// Group index.
        group: u16,
        /// Member incarnation.
        member: u32,
        /// Whether they were lost (the member was fenced or died) rather than given up.
        lost: bool,
        /// Which.
        partitions: Vec<Tp>,
    },
    /// A member started to read somewhere else on purpose.
    Seek {
        /// When.
        at_us: i64,
        /// Group index.
        group: u16,
        /// Member incarnation.
        member: u32,
        /// Partition.
        tp: Tp,
        /// New position.
        offset: i64,
    },
    /// Somebody read a value that is not a message of this run (or not of this place).
    Alien {
        /// Group index; `None` for the audit reader.
        group: Option<u16>,
        /// Where.
        tp: Tp,
        /// Offset.
        offset: i64,
        /// What is wrong with it.
        why: Alien,
    },
    /// The high watermark that an observer saw.
    HighWatermark {
        /// When.
        at_us: i64,
        /// Partition.
        tp: Tp,
        /// Leader epoch in which it was seen, −1 if not known.
        epoch: i32,
        /// The high watermark.
        offset: i64,
    },
    /// The bounds of a partition at the audit; `None` if the topic is gone.
    Bounds {
        /// Partition.
        tp: Tp,
        /// Log start and log end (high watermark).
        bounds: Option<(i64, i64)>,
    },
    /// The group's final committed offset, read at the audit.
    FinalCommit {
        /// Group index.
        group: u16,
        /// Partition.
        tp: Tp,
        /// Committed offset.
        offset: i64,
    },
    /// The audit read every partition to its end.
    AuditDone {
        /// When.
        at_us: i64,
    },
}

impl Record {
    /// When it happened, for records that say.
    pub fn at_us(&self) -> Option<i64> {
        match self {
            Self::Sent { at_us, .. }
            | Self::Outcome { at_us, .. }
            | Self::Delivered { at_us, .. }
            | Self::Committed { at_us, .. }
            | Self::Assigned { at_us, .. }
            | Self::Revoked { at_us, .. }
            | Self::Seek { at_us, .. }
            | Self::HighWatermark { at_us, .. }
            | Self::AuditDone { at_us } => Some(*at_us),
            Self::Lane { .. }
            | Self::Logged { .. }
            | Self::Alien { .. }
            | Self::Bounds { .. }
            | Self::FinalCommit { .. } => None,
        }
    }
}
