//! Consumer groups of the new protocol (KIP-848): the coordinator assigns, and leads each member to its part step by step.
//! As Kafka's `ConsumerGroup`.
//!
//! What must survive is changed only by applying records; sessions and deadlines are soft and start anew with a new
//! coordinator. The group's epoch moves when members, subscriptions or topics do; the target assignment follows it; each
//! member's epoch follows that when it has let go of what it is to let go.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_wire::group_record::{
    AssignedPartitions, ConsumerGroupCurrentMemberAssignment as CurrentValue,
    ConsumerGroupMemberMetadata as MemberValue, ConsumerGroupMetadata as GroupValue,
    ConsumerGroupTargetAssignmentMember as TargetValue, ConsumerGroupTargetAssignmentMetadata as TargetEpochValue,
    GroupRecord, MemberKey, TopicPartitions,
};
use metricstream_wire::{ErrorCode, TaggedOption, Uuid};

use super::messages::{Client, OffsetCommit, OffsetFetchGroup, PartitionsById};
use super::records;
use super::work::{Desk, Work};
use crate::time::Ns;

mod check;
mod describe;
mod heartbeat;
mod reconcile;
mod target;

pub(super) use check::check_heartbeat;
#[cfg(test)]
pub(super) use describe::MemberView;

/// The member epoch of one that leaves.
const LEAVES: i32 = -1;
/// The member epoch of a static member that leaves for a while.
const LEAVES_FOR_A_WHILE: i32 = -2;

/// Partitions by topic.
pub(super) type Parts = BTreeMap<Uuid, BTreeSet<i32>>;

/// How far a member is on its way to its target (Kafka's `MemberState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberState {
    /// It has what it is to have.
    Stable,
    /// It must let go of partitions and has not said that it did.
    UnrevokedPartitions,
    /// It waits for partitions that others have not let go of.
    UnreleasedPartitions,
}

impl MemberState {
    const fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
        }
    }

    /// An unknown state is looked at as one that has to be reconciled.
    const fn from_code(code: i8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            _ => Self::UnreleasedPartitions,
        }
    }
}

/// A member: what it asked for, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    instance_id: Option<String>,
    rack_id: Option<String>,
    client: Client,
    subscribed: Vec<String>,
    rebalance_timeout_ms: i32,
    server_assignor: Option<String>,
    /// There is a record of what it asked for.
    is_known: bool,
    /// There is a record of what it has.
    has_current: bool,
    epoch: i32,
    previous_epoch: i32,
    state: MemberState,
    assigned: Parts,
    revoking: Parts,
}

impl Default for Member {
    fn default() -> Self {
        Self {
            instance_id: None,
            rack_id: None,
            client: Client::default(),
            subscribed: Vec::new(),
            rebalance_timeout_ms: -1,
            server_assignor: None,
            is_known: false,
            has_current: false,
            epoch: 0,
            previous_epoch: 0,
            state: MemberState::Stable,
            assigned: Parts::new(),
            revoking: Parts::new(),
        }
    }
}

/// A member that must let go: until when, and the epoch in which it was told.
#[derive(Debug, Clone, Copy)]
struct Revocation {
    deadline: Ns,
    epoch: i32,
}

/// A group.
#[derive(Debug)]
pub(super) struct ConsumerGroup {
    id: String,
    epoch: i32,
    metadata_hash: i64,
    assignment_epoch: i32,
    members: BTreeMap<String, Member>,
    statics: BTreeMap<String, String>,
    targets: BTreeMap<String, Parts>,
    /// Who has a partition, or has not let go of it yet.
    owners: BTreeMap<(Uuid, i32), String>,
    sessions: BTreeMap<String, Ns>,
    revocations: BTreeMap<String, Revocation>,
    /// The version of the topics when they were last looked at.
    seen_version: Option<i64>,
    assigned_at: Option<Ns>,
    /// When the target is computed, if that was put off.
    assign_due: Option<Ns>,
}

impl ConsumerGroup {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            epoch: 0,
            metadata_hash: 0,
            assignment_epoch: 0,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            targets: BTreeMap::new(),
            owners: BTreeMap::new(),
            sessions: BTreeMap::new(),
            revocations: BTreeMap::new(),
            seen_version: None,
            assigned_at: None,
            assign_due: None,
        }
    }

    /// Nothing would be lost if it were not there.
    pub(super) fn is_void(&self) -> bool {
        self.epoch == 0 && self.assignment_epoch == 0 && self.members.is_empty() && self.targets.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn subscribes_to(&self, topic: &str) -> bool {
        self.members.values().any(|m| m.subscribed.iter().any(|t| t == topic))
    }

    /// Records that remove it; it has no members.
    pub(super) fn tombstones(&self) -> Vec<GroupRecord> {
        let key = records::key(&self.id);
        vec![
            GroupRecord::ConsumerGroupTargetAssignmentMetadata(key.clone(), None),
            GroupRecord::ConsumerGroupMetadata(key, None),
        ]
    }

    fn member_key(&self, member_id: &str) -> MemberKey {
        MemberKey { group_id: self.id.clone(), member_id: member_id.to_owned() }
    }

    /// Applies a record and notes it.
    fn change(&mut self, record: GroupRecord, work: &mut Work) {
        if let Some(inverse) = self.apply(record.clone()) {
            work.changed(record, inverse);
        }
    }

    /// Takes a record in; gives the one that takes it back.
    pub(super) fn apply(&mut self, record: GroupRecord) -> Option<GroupRecord> {
        use GroupRecord as R;
        Some(match record {
            R::ConsumerGroupMetadata(key, value) => {
                let before = GroupValue { epoch: self.epoch, metadata_hash: self.metadata_hash };
                let before = (self.epoch > 0).then_some(before);
                let now = value.unwrap_or_default();
                (self.epoch, self.metadata_hash) = (now.epoch, now.metadata_hash);
                R::ConsumerGroupMetadata(key, before)
            }
            R::ConsumerGroupTargetAssignmentMetadata(key, value) => {
                let before =
                    TargetEpochValue { assignment_epoch: self.assignment_epoch, ..TargetEpochValue::default() };
                let before = (self.assignment_epoch > 0).then_some(before);
                self.assignment_epoch = value.map_or(0, |v| v.assignment_epoch);
                R::ConsumerGroupTargetAssignmentMetadata(key, before)
            }
            R::ConsumerGroupTargetAssignmentMember(key, value) => {
                let before = match value {
                    Some(v) => self.targets.insert(key.member_id.clone(), from_record(v.topic_partitions)),
                    None => self.targets.remove(&key.member_id),
                };
                let before = before.map(|parts| TargetValue { topic_partitions: to_record(&parts) });
                R::ConsumerGroupTargetAssignmentMember(key, before)
            }
            R::ConsumerGroupMemberMetadata(key, value) => {
                let before = self.apply_member(&key.member_id, value);
                R::ConsumerGroupMemberMetadata(key, before)
            }
            R::ConsumerGroupCurrentMemberAssignment(key, value) => {
                let before = self.apply_current(&key.member_id, value);
                R::ConsumerGroupCurrentMemberAssignment(key, before)
            }
            _ => return None,
        })
    }

    fn apply_member(&mut self, id: &str, value: Option<MemberValue>) -> Option<MemberValue> {
        let before = self.members.get(id).filter(|m| m.is_known).map(member_value);
        if let Some(instance) = before.as_ref().and_then(|v| v.instance_id.as_ref())
            && self.statics.get(instance).is_some_and(|now| now == id)
        {
            self.statics.remove(instance);
        }
        match value {
            Some(v) => {
                if let Some(instance) = &v.instance_id {
                    self.statics.insert(instance.clone(), id.to_owned());
                }
                let member = self.members.entry(id.to_owned()).or_default();
                member.is_known = true;
                member.instance_id = v.instance_id;
                member.rack_id = v.rack_id;
                member.client = Client { id: v.client_id, host: v.client_host };
                member.subscribed = v.subscribed_topic_names;
                member.rebalance_timeout_ms = v.rebalance_timeout_ms;
                member.server_assignor = v.server_assignor;
            }
            None => {
                if let Some(member) = self.members.remove(id) {
                    self.disown(id, &member);
                }
            }
        }
        before
    }

    fn apply_current(&mut self, id: &str, value: Option<CurrentValue>) -> Option<CurrentValue> {
        let member = match self.members.remove(id) {
            Some(member) => member,
            // The tombstone of a member that compaction has left nothing else of.
            None if value.is_none() => return None,
            None => Member::default(),
        };
        let before = member.has_current.then(|| current_value(&member));
        self.disown(id, &member);
        let now = value.map_or_else(
            || Member {
                has_current: false,
                epoch: 0,
                previous_epoch: 0,
                state: MemberState::Stable,
                assigned: Parts::new(),
                revoking: Parts::new(),
                ..member.clone()
            },
            |v| Member {
                has_current: true,
                epoch: v.member_epoch,
                previous_epoch: v.previous_member_epoch,
                state: MemberState::from_code(v.state),
                assigned: from_current(v.assigned_partitions),
                revoking: from_current(v.partitions_pending_revocation),
                ..member.clone()
            },
        );
        for (topic, partition) in each(&now.assigned).chain(each(&now.revoking)) {
            self.owners.insert((topic, partition), id.to_owned());
        }
        self.members.insert(id.to_owned(), now);
        before
    }

    fn disown(&mut self, id: &str, member: &Member) {
        for part in each(&member.assigned).chain(each(&member.revoking)) {
            if self.owners.get(&part).is_some_and(|owner| owner == id) {
                self.owners.remove(&part);
            }
        }
    }

    /// Whether somebody may commit offsets: a member in its epoch, or anybody while the group is empty.
    pub(super) fn check_commit(&self, commit: &OffsetCommit) -> Result<(), ErrorCode> {
        if commit.generation_or_member_epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(&commit.member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        match () {
            () if !commit.knows_member_epochs => Err(ErrorCode::UNSUPPORTED_VERSION),
            () if commit.generation_or_member_epoch != member.epoch => Err(ErrorCode::STALE_MEMBER_EPOCH),
            () => Ok(()),
        }
    }

    /// Whether a member that asks for offsets is in its epoch; who names none may always ask.
    pub(super) fn check_fetch(&self, fetch: &OffsetFetchGroup) -> Result<(), ErrorCode> {
        let member_id = fetch.member_id.as_deref().unwrap_or_default();
        if member_id.is_empty() && fetch.member_epoch < 0 {
            return Ok(());
        }
        let member = self.members.get(member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if fetch.member_epoch == member.epoch { Ok(()) } else { Err(ErrorCode::STALE_MEMBER_EPOCH) }
    }

    /// A coordinator has loaded the group: every member has a whole session, and the whole time to let go.
    pub(super) fn start_sessions(&mut self, desk: &Desk<'_>) {
        self.start_missing_sessions(desk);
        let revoking = self.members.iter().filter(|(_, m)| m.state == MemberState::UnrevokedPartitions);
        for (id, member) in revoking {
            let deadline = desk.now.after_ms(member.rebalance_timeout_ms.into());
            self.revocations.insert(id.clone(), Revocation { deadline, epoch: member.epoch });
        }
    }

    /// Members that are there again after a step was undone get a session; those that are not lose it.
    pub(super) fn start_missing_sessions(&mut self, desk: &Desk<'_>) {
        let deadline = desk.now.after_ms(desk.settings.group_consumer_session_timeout_ms);
        self.sessions.retain(|id, _| self.members.contains_key(id));
        for id in self.members.keys() {
            self.sessions.entry(id.clone()).or_insert(deadline);
        }
    }

    pub(super) fn next_timer(&self) -> Option<Ns> {
        let revocations = self.revocations.values().map(|r| r.deadline);
        self.sessions.values().copied().chain(revocations).chain(self.assign_due).min()
    }

    /// Everything whose time has come: members that are silent or do not let go are fenced, and what was put off is done.
    pub(super) fn on_timer(&mut self, desk: &Desk<'_>, work: &mut Work) {
        let silent = self.sessions.iter().filter(|(_, deadline)| desk.now.reached(**deadline));
        let mut fenced: BTreeSet<String> = silent.map(|(id, _)| id.clone()).collect();
        let due: Vec<(String, Revocation)> = self
            .revocations
            .iter()
            .filter(|(_, r)| desk.now.reached(r.deadline))
            .map(|(id, r)| (id.clone(), *r))
            .collect();
        for (id, revocation) in due {
            self.revocations.remove(&id);
            let stuck = |m: &Member| m.state == MemberState::UnrevokedPartitions && m.epoch == revocation.epoch;
            if self.members.get(&id).is_some_and(stuck) {
                fenced.insert(id);
            }
        }
        for id in &fenced {
            self.remove_member(id, work);
        }
        if !fenced.is_empty() {
            self.bump_epoch(desk, work);
        }
        if self.assign_due.is_some_and(|due| desk.now.reached(due)) {
            self.maybe_assign(desk, work);
        }
    }

    /// Takes a member out; whoever calls it bumps the epoch.
    fn remove_member(&mut self, id: &str, work: &mut Work) {
        self.sessions.remove(id);
        self.revocations.remove(id);
        if !self.members.contains_key(id) {
            return;
        }
        let key = self.member_key(id);
        self.change(GroupRecord::ConsumerGroupCurrentMemberAssignment(key.clone(), None), work);
        self.change(GroupRecord::ConsumerGroupTargetAssignmentMember(key.clone(), None), work);
        self.change(GroupRecord::ConsumerGroupMemberMetadata(key, None), work);
    }

    fn bump_epoch(&mut self, desk: &Desk<'_>, work: &mut Work) {
        let metadata_hash = self.hash_of_topics(desk.topics);
        self.seen_version = Some(desk.topics.version());
        let value = GroupValue { epoch: self.epoch + 1, metadata_hash };
        self.change(GroupRecord::ConsumerGroupMetadata(records::key(&self.id), Some(value)), work);
    }
}

/// Every partition.
pub(super) fn each(parts: &Parts) -> impl Iterator<Item = (Uuid, i32)> {
    parts.iter().flat_map(|(topic, partitions)| partitions.iter().map(|p| (*topic, *p)))
}

fn insert(parts: &mut Parts, (topic, partition): (Uuid, i32)) {
    parts.entry(topic).or_default().insert(partition);
}

/// As requests and answers carry them.
fn to_list(parts: &Parts) -> PartitionsById {
    parts.iter().map(|(topic, partitions)| (*topic, partitions.iter().copied().collect())).collect()
}

fn from_list(list: &PartitionsById) -> Parts {
    let mut parts = Parts::new();
    for (topic, partitions) in list {
        partitions.iter().for_each(|p| insert(&mut parts, (*topic, *p)));
    }
    parts
}

fn to_record(parts: &Parts) -> Vec<TopicPartitions> {
    to_list(parts).into_iter().map(|(topic_id, partitions)| TopicPartitions { topic_id, partitions }).collect()
}

fn from_record(list: Vec<TopicPartitions>) -> Parts {
    list.into_iter().map(|t| (t.topic_id, t.partitions.into_iter().collect())).collect()
}

/// In which epoch each was assigned is told only since 4.3; this is 4.1's form.
fn to_current(parts: &Parts) -> Vec<AssignedPartitions> {
    let one = |(topic_id, partitions)| AssignedPartitions { topic_id, partitions, assignment_epochs: None };
    to_list(parts).into_iter().map(one).collect()
}

fn from_current(list: Vec<AssignedPartitions>) -> Parts {
    list.into_iter().map(|t| (t.topic_id, t.partitions.into_iter().collect())).collect()
}

fn member_value(member: &Member) -> MemberValue {
    MemberValue {
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client.id.clone(),
        client_host: member.client.host.clone(),
        subscribed_topic_names: member.subscribed.clone(),
        subscribed_topic_regex: None,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: member.server_assignor.clone(),
        // Absent, Kafka would take it for an empty one.
        classic_member_metadata: TaggedOption(None),
    }
}

fn current_value(member: &Member) -> CurrentValue {
    CurrentValue {
        member_epoch: member.epoch,
        previous_member_epoch: member.previous_epoch,
        state: member.state.code(),
        assigned_partitions: to_current(&member.assigned),
        partitions_pending_revocation: to_current(&member.revoking),
    }
}
