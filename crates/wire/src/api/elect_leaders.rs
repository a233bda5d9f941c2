//! ElectLeaders (43). Versions 0 to 2; preferred leaders only in 0.

structure! {
    /// The request; election type 0 elects preferred leaders, 1 unclean ones. No list asks for every partition.
    ElectLeadersRequest {
        election_type: i8 [1];
        topic_partitions: Option<Vec<TopicPartitions>> [0];
        timeout_ms: i32 [0] = 60_000;
    }
}
structure! {
    /// Partitions of one topic.
    TopicPartitions {
        topic: String [0];
        partitions: Vec<i32> [0];
    }
}
structure! {
    /// The answer.
    ElectLeadersResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [1];
        replica_election_results: Vec<ReplicaElectionResult> [0];
    }
}
structure! {
    /// A topic.
    ReplicaElectionResult {
        topic: String [0];
        partition_result: Vec<PartitionResult> [0];
    }
}
structure! {
    /// What became of one partition.
    PartitionResult {
        partition_id: i32 [0];
        error_code: i16 [0];
        error_message: Option<String> [0];
    }
}
api!(43, versions 0 to 2, flexible 2, ElectLeadersRequest, ElectLeadersResponse);
