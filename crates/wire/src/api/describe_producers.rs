//! DescribeProducers (61): producer states of partitions. Version 0.

structure! {
    /// The question.
    DescribeProducersRequest {
        topics: Vec<TopicRequest> [0];
    }
}
structure! {
    /// A topic.
    TopicRequest {
        name: String [0];
        partition_indexes: Vec<i32> [0];
    }
}
structure! {
    /// The answer.
    DescribeProducersResponse {
        throttle_time_ms: i32 [0];
        topics: Vec<TopicResponse> [0];
    }
}
structure! {
    /// A topic.
    TopicResponse {
        name: String [0];
        partitions: Vec<PartitionResponse> [0];
    }
}
structure! {
    /// A partition.
    PartitionResponse {
        partition_index: i32 [0];
        error_code: i16 [0];
        error_message: Option<String> [0];
        active_producers: Vec<ProducerState> [0];
    }
}
structure! {
    /// A producer that has written to it.
    ProducerState {
        producer_id: i64 [0];
        producer_epoch: i32 [0];
        last_sequence: i32 [0] = -1;
        last_timestamp: i64 [0] = -1;
        coordinator_epoch: i32 [0];
        current_txn_start_offset: i64 [0] = -1;
    }
}
api!(61, versions 0 to 0, flexible 0, DescribeProducersRequest, DescribeProducersResponse);
