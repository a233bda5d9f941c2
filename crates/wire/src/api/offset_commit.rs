//! OffsetCommit (8). Versions 2 to 10, topics by id in 10.

use crate::primitives::Uuid;

structure! {
    /// The request. The generation is the member epoch in a KIP-848 group, −1 of who is no member.
    OffsetCommitRequest {
        group_id: String [0];
        generation_id_or_member_epoch: i32 [1] = -1;
        member_id: String [1];
        group_instance_id: Option<String> [7];
        retention_time_ms: i64 [2 to 4] = -1;
        topics: Vec<OffsetCommitRequestTopic> [0];
    }
}
structure! {
    /// A topic.
    OffsetCommitRequestTopic {
        name: String [0 to 9];
        topic_id: Uuid [10];
        partitions: Vec<OffsetCommitRequestPartition> [0];
    }
}
structure! {
    /// The offset to read from next.
    OffsetCommitRequestPartition {
        partition_index: i32 [0];
        committed_offset: i64 [0];
        committed_leader_epoch: i32 [6] = -1;
        committed_metadata: Option<String> [0];
    }
}
structure! {
    /// The answer.
    OffsetCommitResponse {
        throttle_time_ms: i32 [3];
        topics: Vec<OffsetCommitResponseTopic> [0];
    }
}
structure! {
    /// A topic.
    OffsetCommitResponseTopic {
        name: String [0 to 9];
        topic_id: Uuid [10];
        partitions: Vec<OffsetCommitResponsePartition> [0];
    }
}
structure! {
    /// A partition.
    OffsetCommitResponsePartition {
        partition_index: i32 [0];
        error_code: i16 [0];
    }
}
api!(8, versions 2 to 10, flexible 8, OffsetCommitRequest, OffsetCommitResponse);
