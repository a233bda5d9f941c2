//! AllocateProducerIds (67): a broker asks the controller for a block of producer ids (KIP-730). Version 0.

structure! {
    /// The request.
    AllocateProducerIdsRequest {
        broker_id: i32 [0];
        broker_epoch: i64 [0] = -1;
    }
}
structure! {
    /// The answer: the first id of the block, and how many there are.
    AllocateProducerIdsResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        producer_id_start: i64 [0];
        producer_id_len: i32 [0];
    }
}
api!(67, versions 0 to 0, flexible 0, AllocateProducerIdsRequest, AllocateProducerIdsResponse);
