//! AddPartitionsToTxn (24). Versions 0 to 5; from clients until 3, in batches from brokers from 4 on (KIP-890).

structure! {
    /// The request.
    AddPartitionsToTxnRequest {
        transactions: Vec<AddPartitionsToTxnTransaction> [4];
        v3_and_below_transactional_id: String [0 to 3];
        v3_and_below_producer_id: i64 [0 to 3];
        v3_and_below_producer_epoch: i16 [0 to 3];
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic> [0 to 3];
    }
}
structure! {
    /// A transaction; brokers only ask whether it has the partitions (`verify_only`).
    AddPartitionsToTxnTransaction {
        transactional_id: String [4];
        producer_id: i64 [4];
        producer_epoch: i16 [4];
        verify_only: bool [4];
        topics: Vec<AddPartitionsToTxnTopic> [4];
    }
}
structure! {
    /// A topic.
    AddPartitionsToTxnTopic {
        name: String [0];
        partitions: Vec<i32> [0];
    }
}
structure! {
    /// The answer.
    AddPartitionsToTxnResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [4];
        results_by_transaction: Vec<AddPartitionsToTxnResult> [4];
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> [0 to 3];
    }
}
structure! {
    /// A transaction.
    AddPartitionsToTxnResult {
        transactional_id: String [4];
        topic_results: Vec<AddPartitionsToTxnTopicResult> [4];
    }
}
structure! {
    /// A topic.
    AddPartitionsToTxnTopicResult {
        name: String [0];
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult> [0];
    }
}
structure! {
    /// What became of one partition.
    AddPartitionsToTxnPartitionResult {
        partition_index: i32 [0];
        partition_error_code: i16 [0];
    }
}
api!(24, versions 0 to 5, flexible 3, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse);
