//! CreatePartitions (37). Versions 0 to 3.

structure! {
    /// The request.
    CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic> [0];
        timeout_ms: i32 [0];
        validate_only: bool [0];
    }
}
structure! {
    /// A topic and how many partitions it is to have in all.
    CreatePartitionsTopic {
        name: String [0];
        count: i32 [0];
        assignments: Option<Vec<CreatePartitionsAssignment>> [0];
    }
}
structure! {
    /// The replicas of one new partition.
    CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0];
    }
}
structure! {
    /// The answer.
    CreatePartitionsResponse {
        throttle_time_ms: i32 [0];
        results: Vec<CreatePartitionsTopicResult> [0];
    }
}
structure! {
    /// What became of one topic.
    CreatePartitionsTopicResult {
        name: String [0];
        error_code: i16 [0];
        error_message: Option<String> [0];
    }
}
api!(37, versions 0 to 3, flexible 2, CreatePartitionsRequest, CreatePartitionsResponse);
