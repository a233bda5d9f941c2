//! What is asked of a group coordinator and what it answers, without versions. The fields are Kafka's own terms.
//!
//! An answer knows how to turn into the same answer with an error: that is what happens when the records behind it could
//! not be written.

use bytes::Bytes;
use metricstream_wire::{ErrorCode, Uuid};

/// Names a request until its answer; given by whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    /// `client.id`.
    pub id: String,
    /// Its address as Kafka shows it, such as `/127.0.0.1`.
    pub host: String,
}

/// Partitions by the ids of their topics.
pub type PartitionsById = Vec<(Uuid, Vec<i32>)>;

/// A request to a coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the request of that name.
pub enum GroupRequest {
    JoinGroup(JoinGroup),
    SyncGroup(SyncGroup),
    Heartbeat(Heartbeat),
    LeaveGroup(LeaveGroup),
    OffsetCommit(OffsetCommit),
    OffsetFetch(OffsetFetch),
    OffsetDelete(OffsetDelete),
    DescribeGroups { groups: Vec<String> },
    ListGroups(ListGroups),
    DeleteGroups { groups: Vec<String> },
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeat),
    ConsumerGroupDescribe { groups: Vec<String> },
}

/// The answer to the request of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the answer of that name.
pub enum GroupAnswer {
    JoinGroup(JoinGroupAnswer),
    SyncGroup(SyncGroupAnswer),
    Heartbeat(ErrorCode),
    LeaveGroup(LeaveGroupAnswer),
    OffsetCommit(OffsetCommitAnswer),
    OffsetFetch(Vec<OffsetFetchGroupAnswer>),
    OffsetDelete(OffsetDeleteAnswer),
    DescribeGroups(Vec<ClassicDescription>),
    ListGroups(ListGroupsAnswer),
    DeleteGroups(Vec<(String, ErrorCode)>),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatAnswer),
    ConsumerGroupDescribe(Vec<ConsumerDescription>),
}

/// JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct JoinGroup {
    pub client: Client,
    pub group_id: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    /// Empty if it is new.
    pub member_id: String,
    pub instance_id: Option<String>,
    pub protocol_type: String,
    /// In the member's order of preference.
    pub protocols: Vec<(String, Bytes)>,
    /// A new member must come again with the id that it is given (KIP-394).
    pub require_known_member_id: bool,
    /// It understands that it may lead without assigning (KIP-814).
    pub supports_skipping_assignment: bool,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct JoinedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub metadata: Bytes,
}

/// What a member learns when the group has formed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct JoinGroupAnswer {
    pub error: ErrorCode,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub leader: String,
    pub skip_assignment: bool,
    pub member_id: String,
    /// For the leader only.
    pub members: Vec<JoinedMember>,
}

impl JoinGroupAnswer {
    /// An error, to the member of this id.
    #[must_use]
    pub fn refused(error: ErrorCode, member_id: &str) -> Self {
        Self {
            error,
            generation: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members: Vec::new(),
        }
    }
}

/// SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct SyncGroup {
    pub group_id: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Checked where it is given (KIP-559).
    pub protocol_type: Option<String>,
    /// The same.
    pub protocol_name: Option<String>,
    /// From the leader only.
    pub assignments: Vec<(String, Bytes)>,
}

/// What a member is assigned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct SyncGroupAnswer {
    pub error: ErrorCode,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub assignment: Bytes,
}

/// Heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct Heartbeat {
    pub group_id: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
}

/// LeaveGroup, of one member or several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct LeaveGroup {
    pub group_id: String,
    /// Member id, which may be empty where the instance id is given.
    pub members: Vec<(String, Option<String>)>,
}

/// What became of those who leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct LeaveGroupAnswer {
    pub error: ErrorCode,
    pub members: Vec<(String, Option<String>, ErrorCode)>,
}

/// OffsetCommit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct OffsetCommit {
    pub group_id: String,
    /// Generation of a classic group, member epoch of a KIP-848 one, −1 of who is no member.
    pub generation_or_member_epoch: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// How long the offsets are kept, if the client said so (it could until version 4).
    pub retention_time_ms: Option<i64>,
    /// The client's version knows member epochs (version 9).
    pub knows_member_epochs: bool,
    pub topics: Vec<(String, Vec<NewOffset>)>,
}

/// An offset to commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct NewOffset {
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// An error for each partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct OffsetCommitAnswer {
    pub topics: Vec<(String, Vec<(i32, ErrorCode)>)>,
}

/// OffsetFetch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct OffsetFetch {
    pub groups: Vec<OffsetFetchGroup>,
    /// Wait out transactions; there are none.
    pub require_stable: bool,
}

/// The question about one group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct OffsetFetchGroup {
    pub group_id: String,
    pub member_id: Option<String>,
    /// −1 if it is no member that asks.
    pub member_epoch: i32,
    /// All that were committed if there is none.
    pub topics: Option<Vec<(String, Vec<i32>)>>,
}

/// What one group has committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct OffsetFetchGroupAnswer {
    pub group_id: String,
    pub error: ErrorCode,
    pub topics: Vec<(String, Vec<FetchedOffset>)>,
}

/// A committed offset; −1 where none is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct FetchedOffset {
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
    pub error: ErrorCode,
}

impl FetchedOffset {
    /// Of a partition of which nothing was committed.
    #[must_use]
    pub const fn none(partition: i32, error: ErrorCode) -> Self {
        Self { partition, offset: -1, leader_epoch: -1, metadata: String::new(), error }
    }
}

/// OffsetDelete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct OffsetDelete {
    pub group_id: String,
    pub topics: Vec<(String, Vec<i32>)>,
}

/// An error for the whole or for each partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct OffsetDeleteAnswer {
    pub error: ErrorCode,
    pub topics: Vec<(String, Vec<(i32, ErrorCode)>)>,
}

/// A classic group, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct ClassicDescription {
    pub error: ErrorCode,
    pub message: Option<String>,
    pub group_id: String,
    pub state: &'static str,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<ClassicMemberDescription>,
}

/// A member of a classic group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct ClassicMemberDescription {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client: Client,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// ListGroups; empty filters let everything through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct ListGroups {
    pub states: Vec<String>,
    pub types: Vec<String>,
}

/// Groups of this coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct ListGroupsAnswer {
    pub error: ErrorCode,
    pub groups: Vec<ListedGroup>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct ListedGroup {
    pub group_id: String,
    pub protocol_type: String,
    pub state: &'static str,
    /// `classic` or `consumer`.
    pub kind: &'static str,
}

/// ConsumerGroupHeartbeat (KIP-848). What is `None` has not changed since the member's last one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct ConsumerGroupHeartbeat {
    pub client: Client,
    pub group_id: String,
    /// May be empty with epoch 0 where the coordinator gives ids.
    pub member_id: String,
    /// 0 joins, −1 leaves, −2 leaves as a static member that will be back.
    pub member_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub rebalance_timeout_ms: Option<i32>,
    pub subscribed_topics: Option<Vec<String>>,
    pub subscribed_regex: Option<String>,
    pub server_assignor: Option<String>,
    /// What the member owns.
    pub owned: Option<PartitionsById>,
    /// The client chose its id (version 1).
    pub member_chooses_id: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct ConsumerGroupHeartbeatAnswer {
    pub error: ErrorCode,
    pub message: Option<String>,
    pub member_id: Option<String>,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// What the member is to own now; `None` where it has not changed.
    pub assignment: Option<PartitionsById>,
}

impl ConsumerGroupHeartbeatAnswer {
    /// An error, with its explanation.
    #[must_use]
    pub fn refused(error: ErrorCode, message: &str) -> Self {
        Self { error, message: Some(message.to_owned()), ..Self::default() }
    }
}

/// A KIP-848 group, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct ConsumerDescription {
    pub error: ErrorCode,
    pub message: Option<String>,
    pub group_id: String,
    pub state: &'static str,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub assignor: String,
    pub members: Vec<ConsumerMemberDescription>,
}

/// A member of a KIP-848 group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct ConsumerMemberDescription {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub member_epoch: i32,
    pub client: Client,
    pub subscribed_topics: Vec<String>,
    pub assignment: Vec<NamedPartitions>,
    pub target: Vec<NamedPartitions>,
}

/// Partitions of a topic of this id and name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct NamedPartitions {
    pub topic_id: Uuid,
    pub topic: String,
    pub partitions: Vec<i32>,
}

impl GroupRequest {
    /// The answer of the right form that says only this error.
    #[must_use]
    pub fn refused(&self, error: ErrorCode) -> GroupAnswer {
        match self {
            Self::JoinGroup(r) => GroupAnswer::JoinGroup(JoinGroupAnswer::refused(error, &r.member_id)),
            Self::SyncGroup(_) => GroupAnswer::SyncGroup(SyncGroupAnswer { error, ..Default::default() }),
            Self::Heartbeat(_) => GroupAnswer::Heartbeat(error),
            Self::LeaveGroup(_) => GroupAnswer::LeaveGroup(LeaveGroupAnswer { error, members: Vec::new() }),
            Self::OffsetCommit(r) => GroupAnswer::OffsetCommit(r.refused(error)),
            Self::OffsetFetch(r) => GroupAnswer::OffsetFetch(r.groups.iter().map(|g| g.refused(error)).collect()),
            Self::OffsetDelete(_) => GroupAnswer::OffsetDelete(OffsetDeleteAnswer { error, topics: Vec::new() }),
            Self::DescribeGroups { groups } => {
                GroupAnswer::DescribeGroups(groups.iter().map(|g| ClassicDescription::refused(g, error)).collect())
            }
            Self::ListGroups(_) => GroupAnswer::ListGroups(ListGroupsAnswer { error, groups: Vec::new() }),
            Self::DeleteGroups { groups } => {
                GroupAnswer::DeleteGroups(groups.iter().map(|g| (g.clone(), error)).collect())
            }
            Self::ConsumerGroupHeartbeat(_) => GroupAnswer::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatAnswer {
                error,
                ..ConsumerGroupHeartbeatAnswer::default()
            }),
            Self::ConsumerGroupDescribe { groups } => GroupAnswer::ConsumerGroupDescribe(
                groups.iter().map(|g| ConsumerDescription::refused(g, error)).collect(),
            ),
        }
    }
}

impl OffsetCommit {
    /// Every partition with the same error.
    #[must_use]
    pub fn refused(&self, error: ErrorCode) -> OffsetCommitAnswer {
        let each = |(name, partitions): &(String, Vec<NewOffset>)| {
            (name.clone(), partitions.iter().map(|p| (p.partition, error)).collect())
        };
        OffsetCommitAnswer { topics: self.topics.iter().map(each).collect() }
    }
}

impl OffsetFetchGroup {
    /// The group with an error. The partitions asked for are named, since old versions have only them to carry it.
    #[must_use]
    pub fn refused(&self, error: ErrorCode) -> OffsetFetchGroupAnswer {
        let each = |(name, partitions): &(String, Vec<i32>)| {
            (name.clone(), partitions.iter().map(|p| FetchedOffset::none(*p, error)).collect())
        };
        let topics = self.topics.iter().flatten().map(each).collect();
        OffsetFetchGroupAnswer { group_id: self.group_id.clone(), error, topics }
    }
}

impl ClassicDescription {
    /// No group, or one that cannot be described.
    #[must_use]
    pub fn refused(group_id: &str, error: ErrorCode) -> Self {
        Self { error, group_id: group_id.to_owned(), ..Self::default() }
    }
}

impl ConsumerDescription {
    /// No group, or one that cannot be described.
    #[must_use]
    pub fn refused(group_id: &str, error: ErrorCode) -> Self {
        Self { error, group_id: group_id.to_owned(), ..Self::default() }
    }
}

impl GroupAnswer {
    /// The same answer, if what it promises could not be written: everything that had gone well has this error.
    #[must_use]
    pub fn failed(self, error: ErrorCode) -> Self {
        let worse = |was: ErrorCode| if was.is_none() { error } else { was };
        match self {
            Self::JoinGroup(a) => Self::JoinGroup(JoinGroupAnswer::refused(worse(a.error), &a.member_id)),
            Self::SyncGroup(a) => Self::SyncGroup(SyncGroupAnswer { error: worse(a.error), ..Default::default() }),
            Self::Heartbeat(was) => Self::Heartbeat(worse(was)),
            Self::LeaveGroup(a) => Self::LeaveGroup(LeaveGroupAnswer { error: worse(a.error), members: Vec::new() }),
            Self::OffsetCommit(mut a) => {
                a.topics.iter_mut().flat_map(|(_, ps)| ps).for_each(|(_, was)| *was = worse(*was));
                Self::OffsetCommit(a)
            }
            Self::OffsetFetch(mut groups) => {
                for group in &mut groups {
                    group.error = worse(group.error);
                    for offset in group.topics.iter_mut().flat_map(|(_, offsets)| offsets) {
                        *offset = FetchedOffset::none(offset.partition, worse(offset.error));
                    }
                }
                Self::OffsetFetch(groups)
            }
            Self::OffsetDelete(a) => {
                Self::OffsetDelete(OffsetDeleteAnswer { error: worse(a.error), topics: Vec::new() })
            }
            Self::DescribeGroups(groups) => Self::DescribeGroups(
                groups.iter().map(|g| ClassicDescription::refused(&g.group_id, worse(g.error))).collect(),
            ),
            Self::ListGroups(a) => Self::ListGroups(ListGroupsAnswer { error: worse(a.error), groups: Vec::new() }),
            Self::DeleteGroups(mut groups) => {
                groups.iter_mut().for_each(|(_, was)| *was = worse(*was));
                Self::DeleteGroups(groups)
            }
            Self::ConsumerGroupHeartbeat(a) => Self::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatAnswer {
                error: worse(a.error),
                message: a.message,
                ..ConsumerGroupHeartbeatAnswer::default()
            }),
            Self::ConsumerGroupDescribe(groups) => Self::ConsumerGroupDescribe(
                groups.iter().map(|g| ConsumerDescription::refused(&g.group_id, worse(g.error))).collect(),
            ),
        }
    }
}
