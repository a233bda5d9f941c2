//! What a coordinator keeps of a consumer group of the new protocol (KIP-848): each key is of one group, or of one
//! member of it.

use bytes::Bytes;

use crate::primitives::{TaggedOption, Uuid};

structure! {
    /// Which group (types 3, 4 and 6).
    GroupKey {
        group_id: String [0];
    }
}
structure! {
    /// Which member (types 5, 7 and 8).
    MemberKey {
        group_id: String [0];
        member_id: String [0];
    }
}
structure! {
    /// Which regular expression (type 16).
    RegularExpressionKey {
        group_id: String [0];
        regular_expression: String [0];
    }
}
structure! {
    /// The group's epoch (type 3), and since 4.1 the hash of its topics' metadata (KIP-1101).
    ConsumerGroupMetadata {
        epoch: i32 [0];
        metadata_hash: i64 [0 tag 0];
    }
}
structure! {
    /// The topics that a group subscribed to (type 4): written up to 4.0, replaced by the hash since.
    ConsumerGroupPartitionMetadata {
        topics: Vec<SubscribedTopic> [0];
    }
}
structure! {
    /// A topic.
    SubscribedTopic {
        topic_id: Uuid [0];
        topic_name: String [0];
        num_partitions: i32 [0];
        partition_metadata: Vec<SubscribedPartition> [0];
    }
}
structure! {
    /// A partition and the racks of its replicas.
    SubscribedPartition {
        partition: i32 [0];
        racks: Vec<String> [0];
    }
}
structure! {
    /// A member and what it asked for (type 5). Of a member of the new protocol the classic metadata is null, and that
    /// has to be said: where the field is left out Kafka takes it for empty metadata of a classic member.
    ConsumerGroupMemberMetadata {
        instance_id: Option<String> [0];
        rack_id: Option<String> [0];
        client_id: String [0];
        client_host: String [0];
        subscribed_topic_names: Vec<String> [0];
        subscribed_topic_regex: Option<String> [0];
        rebalance_timeout_ms: i32 [0] = -1;
        server_assignor: Option<String> [0];
        classic_member_metadata: TaggedOption<ClassicMemberMetadata> [0 tag 0] = TaggedOption(Some(ClassicMemberMetadata::default()));
    }
}
structure! {
    /// What is kept of a member that speaks the classic protocol in a group of the new one.
    ClassicMemberMetadata {
        session_timeout_ms: i32 [0];
        supported_protocols: Vec<ClassicProtocol> [0];
    }
}
structure! {
    /// A protocol that it supports.
    ClassicProtocol {
        name: String [0];
        metadata: Bytes [0];
    }
}
structure! {
    /// The epoch of the target assignment (type 6), and since 4.3 when it was found (KIP-1263).
    ConsumerGroupTargetAssignmentMetadata {
        assignment_epoch: i32 [0];
        assignment_timestamp_ms: i64 [0 tag 0];
    }
}
structure! {
    /// What a member is to have (type 7).
    ConsumerGroupTargetAssignmentMember {
        topic_partitions: Vec<TopicPartitions> [0];
    }
}
structure! {
    /// What a member has, and what it is giving up (type 8). The state is Kafka's MemberState: 0 stable, 1 unrevoked
    /// partitions, 2 unreleased partitions, 127 unknown.
    ConsumerGroupCurrentMemberAssignment {
        member_epoch: i32 [0];
        previous_member_epoch: i32 [0];
        state: i8 [0];
        assigned_partitions: Vec<AssignedPartitions> [0];
        partitions_pending_revocation: Vec<AssignedPartitions> [0];
    }
}
structure! {
    /// Partitions of a topic.
    TopicPartitions {
        topic_id: Uuid [0];
        partitions: Vec<i32> [0];
    }
}
structure! {
    /// Partitions of a topic that a member has, and since 4.3 in which epoch each was assigned to it (KIP-1251).
    AssignedPartitions {
        topic_id: Uuid [0];
        partitions: Vec<i32> [0];
        assignment_epochs: Option<Vec<i32>> [0 tag 0];
    }
}
structure! {
    /// The topics that a regular expression was found to match (type 16), at which metadata version and time.
    ConsumerGroupRegularExpression {
        topics: Vec<String> [0];
        version: i64 [0];
        timestamp_ms: i64 [0];
    }
}
