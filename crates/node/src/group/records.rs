//! A shard's state as a function of its records, and the records as Apache Kafka 4.1 writes them.
//!
//! Applying a record gives the one that takes it back, so that a step whose append failed is undone exactly. Classic
//! groups are written as a whole; of them only this changes here: that there is one, and that there is none.

use std::collections::BTreeMap;

use bytes::Bytes;
use metricstream_wire::group_record::{GroupKey, GroupRecord, OffsetCommit as OffsetValue};

use super::classic::ClassicGroup;
use super::consumer::ConsumerGroup;
use super::offsets::{Committed, Offsets};
use super::work::Work;

/// A group of either kind.
#[derive(Debug)]
pub(super) enum Group {
    /// Of the classic protocol, or one that only commits offsets.
    Classic(ClassicGroup),
    /// Of the new one.
    Consumer(ConsumerGroup),
}

/// Groups and offsets of a shard.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) offsets: Offsets,
}

impl State {
    /// Takes a record in; gives the one that takes it back.
    pub(super) fn apply(&mut self, record: GroupRecord) -> Option<GroupRecord> {
        match record {
            GroupRecord::OffsetCommit(key, value) | GroupRecord::LegacyOffsetCommit(key, value) => {
                Some(self.offsets.apply(key, value))
            }
            GroupRecord::GroupMetadata(key, value) => {
                let before = match self.groups.get(&key.group_id) {
                    Some(Group::Classic(group)) => group.recorded(),
                    _ => None,
                };
                match value {
                    Some(value) => {
                        let group = ClassicGroup::restored(&key.group_id, value);
                        self.groups.insert(key.group_id.clone(), Group::Classic(group));
                    }
                    None if matches!(self.groups.get(&key.group_id), Some(Group::Classic(_))) => {
                        self.groups.remove(&key.group_id);
                    }
                    None => {}
                }
                Some(GroupRecord::GroupMetadata(key, before))
            }
            other => self.apply_to_consumer(other),
        }
    }

    fn apply_to_consumer(&mut self, record: GroupRecord) -> Option<GroupRecord> {
        let id = consumer_group_of(&record)?.to_owned();
        // A consumer group that follows an empty classic one in a log whose tombstone was compacted away.
        if !matches!(self.groups.get(&id), Some(Group::Consumer(_))) {
            self.groups.insert(id.clone(), Group::Consumer(ConsumerGroup::new(&id)));
        }
        let Some(Group::Consumer(group)) = self.groups.get_mut(&id) else { return None };
        let inverse = group.apply(record);
        if group.is_void() {
            self.groups.remove(&id);
        }
        inverse
    }

    /// Applies a record and notes it.
    pub(super) fn change(&mut self, record: GroupRecord, work: &mut Work) {
        work.records.push(record.clone());
        work.undo.extend(self.apply(record));
    }

    /// Removes a group that has no members.
    pub(super) fn remove_group(&mut self, id: &str, work: &mut Work) {
        let tombstones = match self.groups.get(id) {
            Some(Group::Classic(_)) => vec![GroupRecord::GroupMetadata(key(id), None)],
            Some(Group::Consumer(group)) => group.tombstones(),
            None => Vec::new(),
        };
        for tombstone in tombstones {
            self.change(tombstone, work);
        }
    }
}

/// The group that a record of the new protocol is of.
fn consumer_group_of(record: &GroupRecord) -> Option<&str> {
    match record {
        GroupRecord::ConsumerGroupMetadata(key, _) | GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, _) => {
            Some(&key.group_id)
        }
        GroupRecord::ConsumerGroupMemberMetadata(key, _)
        | GroupRecord::ConsumerGroupTargetAssignmentMember(key, _)
        | GroupRecord::ConsumerGroupCurrentMemberAssignment(key, _) => Some(&key.group_id),
        // What 4.0 kept of topics, and regular expressions: neither is needed here.
        _ => None,
    }
}

pub(super) fn key(group_id: &str) -> GroupKey {
    GroupKey { group_id: group_id.to_owned() }
}

/// A committed offset as its record's value.
pub(super) fn offset_value(committed: &Committed) -> OffsetValue {
    OffsetValue {
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata.clone(),
        commit_timestamp_ms: committed.commit_timestamp_ms,
        expire_timestamp_ms: committed.expire_timestamp_ms.unwrap_or(-1),
        ..OffsetValue::default()
    }
}

/// Key and value in the versions that Kafka 4.1 writes: the highest that is not flexible for classic records, and that
/// with an expiry for offsets which have one.
pub(super) fn encoded(record: &GroupRecord) -> (Bytes, Option<Bytes>) {
    match record {
        GroupRecord::OffsetCommit(_, Some(value)) if value.expire_timestamp_ms >= 0 => record.encode_version(1),
        GroupRecord::OffsetCommit(..) | GroupRecord::GroupMetadata(..) => record.encode_version(3),
        _ => record.encode(),
    }
}
