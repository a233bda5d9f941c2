//! InitProducerId (22): a producer id and epoch. Versions 0 to 5.

structure! {
    /// The request; an idempotent producer has no transactional id.
    InitProducerIdRequest {
        transactional_id: Option<String> [0];
        transaction_timeout_ms: i32 [0];
        producer_id: i64 [3] = -1;
        producer_epoch: i16 [3] = -1;
    }
}
structure! {
    /// The answer.
    InitProducerIdResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        producer_id: i64 [0] = -1;
        producer_epoch: i16 [0];
    }
}
api!(22, versions 0 to 5, flexible 2, InitProducerIdRequest, InitProducerIdResponse);
