//! TxnOffsetCommit (28). Versions 0 to 5.

structure! {
    /// The request.
    TxnOffsetCommitRequest {
        transactional_id: String [0];
        group_id: String [0];
        producer_id: i64 [0];
        producer_epoch: i16 [0];
        generation_id: i32 [3] = -1;
        member_id: String [3];
        group_instance_id: Option<String> [3];
        topics: Vec<TxnOffsetCommitRequestTopic> [0];
    }
}
structure! {
    /// A topic.
    TxnOffsetCommitRequestTopic {
        name: String [0];
        partitions: Vec<TxnOffsetCommitRequestPartition> [0];
    }
}
structure! {
    /// The offset to read from next.
    TxnOffsetCommitRequestPartition {
        partition_index: i32 [0];
        committed_offset: i64 [0];
        committed_leader_epoch: i32 [2] = -1;
        committed_metadata: Option<String> [0];
    }
}
structure! {
    /// The answer.
    TxnOffsetCommitResponse {
        throttle_time_ms: i32 [0];
        topics: Vec<TxnOffsetCommitResponseTopic> [0];
    }
}
structure! {
    /// A topic.
    TxnOffsetCommitResponseTopic {
        name: String [0];
        partitions: Vec<TxnOffsetCommitResponsePartition> [0];
    }
}
structure! {
    /// A partition.
    TxnOffsetCommitResponsePartition {
        partition_index: i32 [0];
        error_code: i16 [0];
    }
}
api!(28, versions 0 to 5, flexible 3, TxnOffsetCommitRequest, TxnOffsetCommitResponse);
