//! Produce (0): record batches to append. Versions 3 to 13, topics by id in 13. Records stay bytes.
//!
//! A broker advertises versions from 0 on and refuses 0 to 2, since clients take their absence for an ancient broker.

use bytes::Bytes;

use crate::primitives::Uuid;

structure! {
    /// The request; `acks` is 0, 1, or −1 for all in-sync replicas.
    ProduceRequest {
        transactional_id: Option<String> [3];
        acks: i16 [0];
        timeout_ms: i32 [0];
        topic_data: Vec<TopicProduceData> [0];
    }
}
structure! {
    /// A topic.
    TopicProduceData {
        name: String [0 to 12];
        topic_id: Uuid [13];
        partition_data: Vec<PartitionProduceData> [0];
    }
}
structure! {
    /// A partition and the one batch for it.
    PartitionProduceData {
        index: i32 [0];
        records: Option<Bytes> [0];
    }
}
structure! {
    /// The answer; none is sent with acks 0.
    ProduceResponse {
        responses: Vec<TopicProduceResponse> [0];
        throttle_time_ms: i32 [1];
        node_endpoints: Vec<NodeEndpoint> [10 tag 0];
    }
}
structure! {
    /// A topic.
    TopicProduceResponse {
        name: String [0 to 12];
        topic_id: Uuid [13];
        partition_responses: Vec<PartitionProduceResponse> [0];
    }
}
structure! {
    /// What became of a batch. A duplicate is answered with the offset that it got the first time.
    PartitionProduceResponse {
        index: i32 [0];
        error_code: i16 [0];
        base_offset: i64 [0];
        log_append_time_ms: i64 [2] = -1;
        log_start_offset: i64 [5] = -1;
        record_errors: Vec<BatchIndexAndErrorMessage> [8];
        error_message: Option<String> [8];
        current_leader: LeaderIdAndEpoch [10 tag 0];
    }
}
structure! {
    /// A record for which the batch was refused.
    BatchIndexAndErrorMessage {
        batch_index: i32 [8];
        batch_index_error_message: Option<String> [8];
    }
}
structure! {
    /// Who leads, as far as the answerer knows; −1 where it does not (KIP-951).
    LeaderIdAndEpoch {
        leader_id: i32 [10] = -1;
        leader_epoch: i32 [10] = -1;
    }
}
structure! {
    /// Where a leader named in the answer listens (KIP-951).
    NodeEndpoint {
        node_id: i32 [10];
        host: String [10];
        port: i32 [10];
        rack: Option<String> [10];
    }
}
api!(0, versions 3 to 13, flexible 9, ProduceRequest, ProduceResponse);
