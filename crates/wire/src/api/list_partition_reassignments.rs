//! ListPartitionReassignments (46). Version 0.

structure! {
    /// The question; no list asks for all.
    ListPartitionReassignmentsRequest {
        timeout_ms: i32 [0] = 60_000;
        topics: Option<Vec<ListPartitionReassignmentsTopics>> [0];
    }
}
structure! {
    /// A topic.
    ListPartitionReassignmentsTopics {
        name: String [0];
        partition_indexes: Vec<i32> [0];
    }
}
structure! {
    /// The answer.
    ListPartitionReassignmentsResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        error_message: Option<String> [0];
        topics: Vec<OngoingTopicReassignment> [0];
    }
}
structure! {
    /// A topic.
    OngoingTopicReassignment {
        name: String [0];
        partitions: Vec<OngoingPartitionReassignment> [0];
    }
}
structure! {
    /// A partition that is being reassigned.
    OngoingPartitionReassignment {
        partition_index: i32 [0];
        replicas: Vec<i32> [0];
        adding_replicas: Vec<i32> [0];
        removing_replicas: Vec<i32> [0];
    }
}
api!(46, versions 0 to 0, flexible 0, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse);
