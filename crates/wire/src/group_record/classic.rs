//! Committed offsets, and what a coordinator keeps of a group of the classic protocol.

use bytes::Bytes;

use crate::primitives::Uuid;

structure! {
    /// Whose offset of which partition (types 0 and 1).
    OffsetCommitKey {
        group: String [0];
        topic: String [0];
        partition: i32 [0];
    }
}
structure! {
    /// A committed offset. Version 1 carries a time of expiry, version 3 the leader epoch; 4 is flexible and has the topic
    /// id since 4.1.
    OffsetCommit {
        offset: i64 [0];
        leader_epoch: i32 [3] = -1;
        metadata: String [0];
        commit_timestamp_ms: i64 [0];
        expire_timestamp_ms: i64 [1 to 1] = -1;
        topic_id: Uuid [4 tag 0];
    }
}
structure! {
    /// A group of the classic protocol after a rebalance (type 2). No members: empty.
    GroupMetadata {
        protocol_type: String [0];
        generation: i32 [0];
        protocol: Option<String> [0];
        leader: Option<String> [0];
        current_state_timestamp_ms: i64 [2] = -1;
        members: Vec<MemberMetadata> [0];
    }
}
structure! {
    /// A member, what it supports, and what it was assigned.
    MemberMetadata {
        member_id: String [0];
        group_instance_id: Option<String> [3];
        client_id: String [0];
        client_host: String [0];
        rebalance_timeout_ms: i32 [1] = -1;
        session_timeout_ms: i32 [0];
        subscription: Bytes [0];
        assignment: Bytes [0];
    }
}
