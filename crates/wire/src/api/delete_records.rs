//! DeleteRecords (21): moves the log start offset. Versions 0 to 2.

structure! {
    /// The request.
    DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic> [0];
        timeout_ms: i32 [0];
    }
}
structure! {
    /// A topic.
    DeleteRecordsTopic {
        name: String [0];
        partitions: Vec<DeleteRecordsPartition> [0];
    }
}
structure! {
    /// A partition and its new log start offset, −1 for the high watermark.
    DeleteRecordsPartition {
        partition_index: i32 [0];
        offset: i64 [0];
    }
}
structure! {
    /// The answer.
    DeleteRecordsResponse {
        throttle_time_ms: i32 [0];
        topics: Vec<DeleteRecordsTopicResult> [0];
    }
}
structure! {
    /// A topic.
    DeleteRecordsTopicResult {
        name: String [0];
        partitions: Vec<DeleteRecordsPartitionResult> [0];
    }
}
structure! {
    /// What became of one partition.
    DeleteRecordsPartitionResult {
        partition_index: i32 [0];
        low_watermark: i64 [0];
        error_code: i16 [0];
    }
}
api!(21, versions 0 to 2, flexible 2, DeleteRecordsRequest, DeleteRecordsResponse);
