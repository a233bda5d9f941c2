//! OffsetDelete (47): forgets committed offsets. Version 0, which was never made flexible.

structure! {
    /// The request.
    OffsetDeleteRequest {
        group_id: String [0];
        topics: Vec<OffsetDeleteRequestTopic> [0];
    }
}
structure! {
    /// A topic.
    OffsetDeleteRequestTopic {
        name: String [0];
        partitions: Vec<OffsetDeleteRequestPartition> [0];
    }
}
structure! {
    /// A partition.
    OffsetDeleteRequestPartition {
        partition_index: i32 [0];
    }
}
structure! {
    /// The answer.
    OffsetDeleteResponse {
        error_code: i16 [0];
        throttle_time_ms: i32 [0];
        topics: Vec<OffsetDeleteResponseTopic> [0];
    }
}
structure! {
    /// A topic.
    OffsetDeleteResponseTopic {
        name: String [0];
        partitions: Vec<OffsetDeleteResponsePartition> [0];
    }
}
structure! {
    /// A partition.
    OffsetDeleteResponsePartition {
        partition_index: i32 [0];
        error_code: i16 [0];
    }
}
api!(47, versions 0 to 0, never flexible, OffsetDeleteRequest, OffsetDeleteResponse);
