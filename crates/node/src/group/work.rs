//! What one step of a coordinator gathers: records, how to undo them, and what follows when they are committed or not.

use std::collections::BTreeMap;

use bytes::Bytes;
use metricstream_wire::ErrorCode;
use metricstream_wire::group_record::GroupRecord;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;

use super::gather::ReplyTo;
use super::messages::{GroupAnswer, JoinGroupAnswer};
use super::{Ticket, TopicsView, classic};
use crate::config::Settings;
use crate::flaws::Flaws;
use crate::time::Now;

/// What is at hand in every step.
pub(super) struct Desk<'a> {
    pub(super) now: Now,
    pub(super) topics: &'a dyn TopicsView,
    pub(super) settings: &'a Settings,
    pub(super) flaws: Flaws,
    pub(super) random: &'a mut ChaCha8Rng,
    pub(super) next_ticket: &'a mut u64,
    pub(super) emitted: Vec<Emitted>,
}

impl Desk<'_> {
    /// A new member id.
    pub(super) fn new_id(&mut self) -> String {
        let mut b = [0_u8; 16];
        self.random.fill_bytes(&mut b);
        let n = u128::from_be_bytes(b);
        // A version 4 UUID, as Java writes it.
        let n = n & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{n:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    pub(super) fn new_ticket(&mut self) -> Ticket {
        *self.next_ticket += 1;
        Ticket(*self.next_ticket)
    }

    pub(super) fn reply(&mut self, to: ReplyTo, answer: GroupAnswer) {
        self.emitted.push(Emitted::Reply(to, answer));
    }
}

/// What comes out of a shard.
#[derive(Debug)]
pub(super) enum Emitted {
    Append { records: Vec<(Bytes, Option<Bytes>)>, ticket: Ticket },
    Reply(ReplyTo, GroupAnswer),
}

/// What follows when the step's records are committed, or is turned into its opposite when they are not.
#[derive(Debug)]
pub(super) enum Effect {
    /// An answer leaves.
    Answer(ReplyTo, GroupAnswer),
    /// The leader's assignments of a classic generation take hold.
    Synced { generation: i32, assignments: BTreeMap<String, Bytes> },
    /// A classic group exists. If not, who was joining it is told.
    Created,
    /// A static member of a stable classic group has come back under a new id.
    Replaced { to: ReplyTo, answer: JoinGroupAnswer, before: Box<classic::Member> },
}

/// What one step of one group wants.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// To be appended.
    pub(super) records: Vec<GroupRecord>,
    /// Records whose application, last first, takes the step back.
    pub(super) undo: Vec<GroupRecord>,
    /// In order.
    pub(super) effects: Vec<Effect>,
}

impl Work {
    pub(super) fn answer(&mut self, to: ReplyTo, answer: GroupAnswer) {
        self.effects.push(Effect::Answer(to, answer));
    }

    /// A record that was applied, and the one that takes it back.
    pub(super) fn changed(&mut self, record: GroupRecord, inverse: GroupRecord) {
        self.records.push(record);
        self.undo.push(inverse);
    }
}

/// The answer when its append fails.
pub(super) fn failed(answer: GroupAnswer, error: ErrorCode) -> GroupAnswer {
    let told = match (&answer, told(error)) {
        (GroupAnswer::OffsetCommit(_), ErrorCode::UNKNOWN_SERVER_ERROR) => ErrorCode::INVALID_COMMIT_OFFSET_SIZE,
        (_, told) => told,
    };
    answer.failed(told)
}

/// What a client of the coordinator is told when an append fails (Kafka's `CoordinatorOperationExceptionHelper`).
pub(super) fn told(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::NOT_ENOUGH_REPLICAS
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | ErrorCode::REQUEST_TIMED_OUT => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE | ErrorCode::INVALID_FETCH_SIZE => {
            ErrorCode::UNKNOWN_SERVER_ERROR
        }
        other => other,
    }
}
