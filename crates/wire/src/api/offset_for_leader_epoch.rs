//! OffsetForLeaderEpoch (23): where an epoch ended in the leader's log. Versions 2 to 4.

structure! {
    /// The question; replica −1 is a consumer.
    OffsetForLeaderEpochRequest {
        replica_id: i32 [3] = -2;
        topics: Vec<OffsetForLeaderTopic> [0];
    }
}
structure! {
    /// A topic.
    OffsetForLeaderTopic {
        topic: String [0];
        partitions: Vec<OffsetForLeaderPartition> [0];
    }
}
structure! {
    /// A partition and the epoch asked for.
    OffsetForLeaderPartition {
        partition: i32 [0];
        current_leader_epoch: i32 [2] = -1;
        leader_epoch: i32 [0];
    }
}
structure! {
    /// The answer.
    OffsetForLeaderEpochResponse {
        throttle_time_ms: i32 [2];
        topics: Vec<OffsetForLeaderTopicResult> [0];
    }
}
structure! {
    /// A topic.
    OffsetForLeaderTopicResult {
        topic: String [0];
        partitions: Vec<EpochEndOffset> [0];
    }
}
structure! {
    /// The largest epoch that is not above the one asked for, and where it ends.
    EpochEndOffset {
        error_code: i16 [0];
        partition: i32 [0];
        leader_epoch: i32 [1] = -1;
        end_offset: i64 [0] = -1;
    }
}
api!(23, versions 2 to 4, flexible 4, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse);
