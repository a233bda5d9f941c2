//! Groups of the classic protocol: members join, one of them assigns, all learn their part; any change starts again.
//! As Kafka's `ClassicGroup`.
//!
//! The coordinator does not look into assignments: whether a group is eager or cooperative is its members' affair.
//! A generation is written when its leader's assignments come, and is stable when they are committed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use metricstream_wire::ErrorCode;
use metricstream_wire::group_record::{GroupMetadata, GroupRecord, MemberMetadata};

use super::gather::ReplyTo;
use super::messages::{
    ClassicDescription, ClassicMemberDescription, Client, GroupAnswer, JoinGroup, JoinGroupAnswer, SyncGroupAnswer,
};
use super::records;
use super::work::{Desk, Effect, Work};
use crate::api::consumer_protocol::subscribed_topics;
use crate::config::Settings;
use crate::time::Ns;

mod join;
mod members;
mod rebalance;

/// Protocol type of groups of consumers.
pub(super) const CONSUMER: &str = "consumer";
/// A member that is new to the group is not given up sooner while it waits for the group to form.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 300_000;

/// Where a group is in its life. A dead one is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No members.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// The leader is assigning.
    CompletingRebalance,
    /// Every member has its part.
    Stable,
}

/// A member.
#[derive(Debug, Clone)]
pub(super) struct Member {
    id: String,
    instance_id: Option<String>,
    client: Client,
    session_timeout_ms: i32,
    rebalance_timeout_ms: i32,
    protocols: Vec<(String, Bytes)>,
    assignment: Bytes,
    awaiting_join: Option<ReplyTo>,
    awaiting_sync: Option<ReplyTo>,
    is_new: bool,
    /// When it is given up unless it is heard of.
    deadline: Option<Ns>,
}

impl Member {
    fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }
}

/// How long members may still join.
#[derive(Debug, Clone, Copy)]
struct JoinPhase {
    deadline: Ns,
    /// In a group that was empty: how much longer it may wait for more members in all.
    initial_left_ms: Option<i64>,
}

/// A group.
#[derive(Debug)]
pub(super) struct ClassicGroup {
    id: String,
    state: State,
    /// Wall clock.
    state_since_ms: i64,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    generation: i32,
    members: BTreeMap<String, Member>,
    /// Static members: the id of the one that is each instance now.
    statics: BTreeMap<String, String>,
    /// Ids that were given out and have not come back yet.
    pending: BTreeMap<String, Ns>,
    /// Members of this generation that have not asked for their assignment.
    pending_sync: BTreeSet<String>,
    sync_deadline: Option<Ns>,
    join_phase: Option<JoinPhase>,
    /// Somebody came while the group that was empty waited for more.
    new_member_added: bool,
    /// There is a record of it.
    recorded: bool,
}

/// Whether a JoinGroup can be one at all.
pub(super) fn check_join(join: &JoinGroup, settings: &Settings) -> Result<(), ErrorCode> {
    let session_ms = i64::from(join.session_timeout_ms);
    let allowed = settings.group_min_session_timeout_ms..=settings.group_max_session_timeout_ms;
    match () {
        () if join.group_id.is_empty() => Err(ErrorCode::INVALID_GROUP_ID),
        () if !allowed.contains(&session_ms) => Err(ErrorCode::INVALID_SESSION_TIMEOUT),
        () => Ok(()),
    }
}

/// A group that has only ever committed offsets.
pub(super) fn describe_simple(id: &str) -> ClassicDescription {
    ClassicDescription { state: "Empty", ..ClassicDescription::refused(id, ErrorCode::NONE) }
}

impl ClassicGroup {
    pub(super) fn new(id: &str, desk: &Desk<'_>) -> Self {
        let mut group = Self::restored(id, GroupMetadata::default());
        group.state_since_ms = desk.now.wall_ms;
        group.protocol_type = None;
        group.recorded = false;
        group
    }

    /// From its record. Bytes are copied: they would keep the batch that they came in.
    pub(super) fn restored(id: &str, value: GroupMetadata) -> Self {
        let protocol = value.protocol;
        let member = |m: MemberMetadata| {
            let subscription = Bytes::copy_from_slice(&m.subscription);
            let member = Member {
                id: m.member_id.clone(),
                instance_id: m.group_instance_id,
                client: Client { id: m.client_id, host: m.client_host },
                session_timeout_ms: m.session_timeout_ms,
                rebalance_timeout_ms: m.rebalance_timeout_ms,
                protocols: protocol.iter().map(|name| (name.clone(), subscription.clone())).collect(),
                assignment: Bytes::copy_from_slice(&m.assignment),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
                deadline: None,
            };
            (m.member_id, member)
        };
        let members: BTreeMap<String, Member> = value.members.into_iter().map(member).collect();
        let statics = members.values().filter_map(|m| Some((m.instance_id.clone()?, m.id.clone()))).collect();
        Self {
            id: id.to_owned(),
            state: if members.is_empty() { State::Empty } else { State::Stable },
            state_since_ms: value.current_state_timestamp_ms,
            protocol_type: Some(value.protocol_type).filter(|kind| !kind.is_empty()),
            protocol: protocol.filter(|_| !members.is_empty()),
            leader: value.leader,
            generation: value.generation,
            members,
            statics,
            pending: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            sync_deadline: None,
            join_phase: None,
            new_member_added: false,
            recorded: true,
        }
    }

    /// Its record's value, if it has one.
    pub(super) fn recorded(&self) -> Option<GroupMetadata> {
        self.recorded.then(|| self.value(None))
    }

    /// What its record says: with these assignments, or those that it has.
    fn value(&self, assignments: Option<&BTreeMap<String, Bytes>>) -> GroupMetadata {
        let protocol = self.protocol.clone();
        let member = |m: &Member| MemberMetadata {
            member_id: m.id.clone(),
            group_instance_id: m.instance_id.clone(),
            client_id: m.client.id.clone(),
            client_host: m.client.host.clone(),
            rebalance_timeout_ms: m.rebalance_timeout_ms,
            session_timeout_ms: m.session_timeout_ms,
            subscription: protocol.as_ref().map(|name| m.metadata(name)).unwrap_or_default(),
            assignment: assignments.map_or(&m.assignment, |a| a.get(&m.id).unwrap_or(&m.assignment)).clone(),
        };
        GroupMetadata {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            leader: self.leader.clone(),
            current_state_timestamp_ms: self.state_since_ms,
            members: self.members.values().map(member).collect(),
            protocol: self.protocol.clone(),
        }
    }

    fn write(&mut self, assignments: Option<&BTreeMap<String, Bytes>>, work: &mut Work) {
        self.recorded = true;
        let value = self.value(assignments);
        work.records.push(GroupRecord::GroupMetadata(records::key(&self.id), Some(value)));
    }

    /// Makes a group that has just come to be known in the log. It is empty there until its first generation.
    pub(super) fn record_creation(&mut self, work: &mut Work) {
        if self.recorded || self.is_void() {
            return;
        }
        self.recorded = true;
        let mut value = self.value(None);
        (value.members, value.leader) = (Vec::new(), None);
        work.records.push(GroupRecord::GroupMetadata(records::key(&self.id), Some(value)));
        work.effects.push(Effect::Created);
    }

    /// Nothing would be lost if it were not there.
    pub(super) fn is_void(&self) -> bool {
        !self.recorded && self.members.is_empty() && self.pending.is_empty()
    }

    /// No members: it may be deleted or become a group of the other kind.
    pub(super) fn is_empty(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty()
    }

    pub(super) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    pub(super) fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    pub(super) fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }

    fn transition(&mut self, state: State, desk: &Desk<'_>) {
        self.state = state;
        self.state_since_ms = desk.now.wall_ms;
    }

    /// Whether a member of this group of consumers reads a topic.
    pub(super) fn subscribes_to(&self, topic: &str) -> bool {
        let Some(protocol) = self.protocol.as_deref().filter(|_| self.is_of_consumers()) else { return false };
        let topics = self.members.values().filter_map(|m| subscribed_topics(&m.metadata(protocol)));
        topics.flatten().any(|t| t == topic)
    }

    /// From when on the retention of an offset counts; `None` while it is in use (KIP-211, KIP-496).
    pub(super) fn offsets_count_from(&self, topic: &str, committed_ms: i64) -> Option<i64> {
        match (self.state, &self.protocol_type) {
            (State::Empty, Some(_)) if self.state_since_ms >= 0 => Some(self.state_since_ms),
            (State::Empty, _) => Some(committed_ms),
            (State::Stable, _) if self.is_of_consumers() && !self.subscribes_to(topic) => Some(committed_ms),
            _ => None,
        }
    }

    /// A coordinator has loaded the group: every member has a whole session.
    pub(super) fn start_sessions(&mut self, desk: &Desk<'_>) {
        for member in self.members.values_mut() {
            member.deadline = Some(desk.now.after_ms(member.session_timeout_ms.into()));
        }
    }

    pub(super) fn next_timer(&self) -> Option<Ns> {
        let members = self.members.values().filter_map(|m| m.deadline);
        let others = [self.sync_deadline, self.join_phase.map(|phase| phase.deadline)];
        members.chain(self.pending.values().copied()).chain(others.into_iter().flatten()).min()
    }

    /// Everyone who waits here, refused: the coordinator is elsewhere.
    pub(super) fn abandon(self) -> Vec<(ReplyTo, GroupAnswer)> {
        let error = ErrorCode::NOT_COORDINATOR;
        let mut refused = Vec::new();
        for member in self.members.into_values() {
            if let Some(to) = member.awaiting_join {
                refused.push((to, GroupAnswer::JoinGroup(JoinGroupAnswer::refused(error, &member.id))));
            }
            if let Some(to) = member.awaiting_sync {
                refused.push((to, GroupAnswer::SyncGroup(SyncGroupAnswer { error, ..SyncGroupAnswer::default() })));
            }
        }
        refused
    }

    pub(super) fn describe(&self) -> ClassicDescription {
        let stable = self.state == State::Stable;
        let protocol = self.protocol.clone().filter(|_| stable).unwrap_or_default();
        let member = |m: &Member| ClassicMemberDescription {
            member_id: m.id.clone(),
            instance_id: m.instance_id.clone(),
            client: m.client.clone(),
            metadata: if stable { m.metadata(&protocol) } else { Bytes::new() },
            assignment: if stable { m.assignment.clone() } else { Bytes::new() },
        };
        ClassicDescription {
            error: ErrorCode::NONE,
            message: None,
            group_id: self.id.clone(),
            state: self.state_name(),
            protocol_type: self.protocol_type().to_owned(),
            members: self.members.values().map(member).collect(),
            protocol,
        }
    }
}
