//! AlterPartitionReassignments (45). Versions 0 and 1.

structure! {
    /// The request.
    AlterPartitionReassignmentsRequest {
        timeout_ms: i32 [0] = 60_000;
        allow_replication_factor_change: bool [1] = true;
        topics: Vec<ReassignableTopic> [0];
    }
}
structure! {
    /// A topic.
    ReassignableTopic {
        name: String [0];
        partitions: Vec<ReassignablePartition> [0];
    }
}
structure! {
    /// A partition and its replicas to be; null cancels a reassignment under way.
    ReassignablePartition {
        partition_index: i32 [0];
        replicas: Option<Vec<i32>> [0];
    }
}
structure! {
    /// The answer.
    AlterPartitionReassignmentsResponse {
        throttle_time_ms: i32 [0];
        allow_replication_factor_change: bool [1] = true;
        error_code: i16 [0];
        error_message: Option<String> [0];
        responses: Vec<ReassignableTopicResponse> [0];
    }
}
structure! {
    /// A topic.
    ReassignableTopicResponse {
        name: String [0];
        partitions: Vec<ReassignablePartitionResponse> [0];
    }
}
structure! {
    /// What became of one partition.
    ReassignablePartitionResponse {
        partition_index: i32 [0];
        error_code: i16 [0];
        error_message: Option<String> [0];
    }
}
api!(45, versions 0 to 1, flexible 0, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse);
