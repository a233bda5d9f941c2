//! ListOffsets (2): the offset of a time, or of one of the marks that are times below 0. Versions 1 to 11.

structure! {
    /// The request; isolation level 1 reads only what is committed.
    ListOffsetsRequest {
        replica_id: i32 [0];
        isolation_level: i8 [2];
        topics: Vec<ListOffsetsTopic> [0];
        timeout_ms: i32 [10];
    }
}
structure! {
    /// A topic.
    ListOffsetsTopic {
        name: String [0];
        partitions: Vec<ListOffsetsPartition> [0];
    }
}
structure! {
    /// A partition and a time in ms, or a mark: −1 latest, −2 earliest, −3 largest timestamp, −4 earliest local, −5
    /// latest tiered, −6 earliest not yet tiered.
    ListOffsetsPartition {
        partition_index: i32 [0];
        current_leader_epoch: i32 [4] = -1;
        timestamp: i64 [0];
    }
}
structure! {
    /// The answer.
    ListOffsetsResponse {
        throttle_time_ms: i32 [2];
        topics: Vec<ListOffsetsTopicResponse> [0];
    }
}
structure! {
    /// A topic.
    ListOffsetsTopicResponse {
        name: String [0];
        partitions: Vec<ListOffsetsPartitionResponse> [0];
    }
}
structure! {
    /// The first offset whose timestamp is not before the time, and that timestamp; −1 if there is none.
    ListOffsetsPartitionResponse {
        partition_index: i32 [0];
        error_code: i16 [0];
        timestamp: i64 [1] = -1;
        offset: i64 [1] = -1;
        leader_epoch: i32 [4] = -1;
    }
}
api!(2, versions 1 to 11, flexible 6, ListOffsetsRequest, ListOffsetsResponse);
