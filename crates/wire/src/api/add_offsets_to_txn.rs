//! AddOffsetsToTxn (25). Versions 0 to 4.

structure! {
    /// The request.
    AddOffsetsToTxnRequest {
        transactional_id: String [0];
        producer_id: i64 [0];
        producer_epoch: i16 [0];
        group_id: String [0];
    }
}
structure! {
    /// The answer.
    AddOffsetsToTxnResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
    }
}
api!(25, versions 0 to 4, flexible 3, AddOffsetsToTxnRequest, AddOffsetsToTxnResponse);
