//! DescribeLogDirs (35): sizes of replicas on a broker. Versions 1 to 5.

structure! {
    /// The question; no list asks for every topic.
    DescribeLogDirsRequest {
        topics: Option<Vec<DescribableLogDirTopic>> [0];
    }
}
structure! {
    /// A topic.
    DescribableLogDirTopic {
        topic: String [0];
        partitions: Vec<i32> [0];
    }
}
structure! {
    /// The answer.
    DescribeLogDirsResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [3];
        results: Vec<DescribeLogDirsResult> [0];
    }
}
structure! {
    /// A log directory; cordoned ones get no new replicas (KIP-1066).
    DescribeLogDirsResult {
        error_code: i16 [0];
        log_dir: String [0];
        topics: Vec<DescribeLogDirsTopic> [0];
        total_bytes: i64 [4] = -1;
        usable_bytes: i64 [4] = -1;
        is_cordoned: bool [5];
    }
}
structure! {
    /// A topic.
    DescribeLogDirsTopic {
        name: String [0];
        partitions: Vec<DescribeLogDirsPartition> [0];
    }
}
structure! {
    /// A replica.
    DescribeLogDirsPartition {
        partition_index: i32 [0];
        partition_size: i64 [0];
        offset_lag: i64 [0];
        is_future_key: bool [0];
    }
}
api!(35, versions 1 to 5, flexible 2, DescribeLogDirsRequest, DescribeLogDirsResponse);
