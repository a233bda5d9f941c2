//! WriteTxnMarkers (27): a transaction coordinator has the ends of transactions written to partitions (KIP-98). Version 1.

structure! {
    /// The request.
    WriteTxnMarkersRequest {
        markers: Vec<WritableTxnMarker> [0];
    }
}
structure! {
    /// The end of one producer's transaction; a true result commits it.
    WritableTxnMarker {
        producer_id: i64 [0];
        producer_epoch: i16 [0];
        transaction_result: bool [0];
        topics: Vec<WritableTxnMarkerTopic> [0];
        coordinator_epoch: i32 [0];
    }
}
structure! {
    /// A topic.
    WritableTxnMarkerTopic {
        name: String [0];
        partition_indexes: Vec<i32> [0];
    }
}
structure! {
    /// The answer.
    WriteTxnMarkersResponse {
        markers: Vec<WritableTxnMarkerResult> [0];
    }
}
structure! {
    /// Of one producer.
    WritableTxnMarkerResult {
        producer_id: i64 [0];
        topics: Vec<WritableTxnMarkerTopicResult> [0];
    }
}
structure! {
    /// A topic.
    WritableTxnMarkerTopicResult {
        name: String [0];
        partitions: Vec<WritableTxnMarkerPartitionResult> [0];
    }
}
structure! {
    /// A partition.
    WritableTxnMarkerPartitionResult {
        partition_index: i32 [0];
        error_code: i16 [0];
    }
}
api!(27, versions 1 to 1, flexible 1, WriteTxnMarkersRequest, WriteTxnMarkersResponse);
