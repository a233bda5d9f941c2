//! Committed offsets: a map that records change, and what is asked of it.

use std::collections::BTreeMap;

use metricstream_wire::ErrorCode;
use metricstream_wire::group_record::{GroupRecord, OffsetCommit as OffsetValue, OffsetCommitKey};

use super::TopicsView;
use super::messages::{FetchedOffset, OffsetCommit, OffsetCommitAnswer, OffsetFetchGroup, OffsetFetchGroupAnswer};
use super::records;
use super::work::{Desk, Work};

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: String,
    pub(super) commit_timestamp_ms: i64,
    /// Only of clients that said how long it should be kept.
    pub(super) expire_timestamp_ms: Option<i64>,
}

/// Offsets of one group: by topic and partition.
pub(super) type OfGroup = BTreeMap<String, BTreeMap<i32, Committed>>;

/// All committed offsets of a shard.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    groups: BTreeMap<String, OfGroup>,
}

impl Offsets {
    pub(super) fn of(&self, group: &str) -> Option<&OfGroup> {
        self.groups.get(group)
    }

    fn get(&self, key: &OffsetCommitKey) -> Option<&Committed> {
        self.groups.get(&key.group)?.get(&key.topic)?.get(&key.partition)
    }

    /// Groups that have committed anything of one of these topics.
    pub(super) fn groups_with(&self, topics: &[String]) -> Vec<String> {
        let has = |of: &OfGroup| topics.iter().any(|topic| of.contains_key(topic));
        self.groups.iter().filter(|(_, of)| has(of)).map(|(group, _)| group.clone()).collect()
    }

    /// Every group that has committed something.
    pub(super) fn groups(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }

    /// Takes a record in; gives the one that takes it back.
    pub(super) fn apply(&mut self, key: OffsetCommitKey, value: Option<OffsetValue>) -> GroupRecord {
        let before = self.get(&key).map(records::offset_value);
        match value {
            Some(value) => {
                let committed = Committed {
                    offset: value.offset,
                    leader_epoch: value.leader_epoch,
                    metadata: value.metadata,
                    commit_timestamp_ms: value.commit_timestamp_ms,
                    expire_timestamp_ms: Some(value.expire_timestamp_ms).filter(|ms| *ms >= 0),
                };
                let group = self.groups.entry(key.group.clone()).or_default();
                group.entry(key.topic.clone()).or_default().insert(key.partition, committed);
            }
            None => self.remove(&key),
        }
        GroupRecord::OffsetCommit(key, before)
    }

    fn remove(&mut self, key: &OffsetCommitKey) {
        let Some(group) = self.groups.get_mut(&key.group) else { return };
        let Some(topic) = group.get_mut(&key.topic) else { return };
        topic.remove(&key.partition);
        if topic.is_empty() {
            group.remove(&key.topic);
        }
        if group.is_empty() {
            self.groups.remove(&key.group);
        }
    }

    /// Forgets those that `which` picks.
    pub(super) fn forget(&mut self, group: &str, which: impl Fn(&str, i32, &Committed) -> bool, work: &mut Work) {
        let mut gone = Vec::new();
        for (topic, partitions) in self.groups.get(group).into_iter().flatten() {
            for (partition, committed) in partitions {
                if which(topic, *partition, committed) {
                    let (group, topic) = (group.to_owned(), topic.clone());
                    gone.push(OffsetCommitKey { group, topic, partition: *partition });
                }
            }
        }
        for key in gone {
            let inverse = self.apply(key.clone(), None);
            work.changed(GroupRecord::OffsetCommit(key, None), inverse);
        }
    }

    /// Takes the offsets of a commit that is allowed; gives what became of each.
    pub(super) fn commit(&mut self, request: &OffsetCommit, desk: &Desk<'_>, work: &mut Work) -> OffsetCommitAnswer {
        let longest = usize::try_from(desk.settings.offset_metadata_max_bytes).unwrap_or(0);
        let mut topics = Vec::with_capacity(request.topics.len());
        for (topic, offsets) in &request.topics {
            let mut answers = Vec::with_capacity(offsets.len());
            for new in offsets {
                let error = if !exists(desk.topics, topic, new.partition) {
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                } else if new.metadata.len() > longest {
                    ErrorCode::OFFSET_METADATA_TOO_LARGE
                } else {
                    ErrorCode::NONE
                };
                answers.push((new.partition, error));
                if error.is_none() {
                    let (group, topic) = (request.group_id.clone(), topic.clone());
                    let key = OffsetCommitKey { group, topic, partition: new.partition };
                    let expires = request.retention_time_ms.map(|kept_ms| desk.now.wall_ms.saturating_add(kept_ms));
                    let value = OffsetValue {
                        offset: new.offset,
                        leader_epoch: new.leader_epoch,
                        metadata: new.metadata.clone(),
                        commit_timestamp_ms: desk.now.wall_ms,
                        expire_timestamp_ms: expires.unwrap_or(-1),
                        ..OffsetValue::default()
                    };
                    let inverse = self.apply(key.clone(), Some(value.clone()));
                    work.changed(GroupRecord::OffsetCommit(key, Some(value)), inverse);
                }
            }
            topics.push((topic.clone(), answers));
        }
        OffsetCommitAnswer { topics }
    }

    /// What a group has committed; −1 without an error where that is nothing, and where there is no such group.
    pub(super) fn fetch(&self, request: &OffsetFetchGroup) -> OffsetFetchGroupAnswer {
        let of = self.groups.get(&request.group_id);
        let shown = |partition: i32, committed: &Committed| FetchedOffset {
            partition,
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: committed.metadata.clone(),
            error: ErrorCode::NONE,
        };
        let topics = match &request.topics {
            None => {
                let all = |(topic, partitions): (&String, &BTreeMap<i32, Committed>)| {
                    (topic.clone(), partitions.iter().map(|(partition, c)| shown(*partition, c)).collect())
                };
                of.into_iter().flatten().map(all).collect()
            }
            Some(wanted) => {
                let one = |topic: &str, partition: i32| match of.and_then(|of| of.get(topic)?.get(&partition)) {
                    Some(committed) => shown(partition, committed),
                    None => FetchedOffset::none(partition, ErrorCode::NONE),
                };
                let each = |(topic, partitions): &(String, Vec<i32>)| {
                    (topic.clone(), partitions.iter().map(|p| one(topic, *p)).collect())
                };
                wanted.iter().map(each).collect()
            }
        };
        OffsetFetchGroupAnswer { group_id: request.group_id.clone(), error: ErrorCode::NONE, topics }
    }
}

/// Whether there is such a partition.
pub(super) fn exists(topics: &dyn TopicsView, topic: &str, partition: i32) -> bool {
    let count = topics.id_of(topic).map_or(0, |id| topics.partition_count(id));
    (0..count).contains(&partition)
}
