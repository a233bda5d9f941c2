//! EndTxn (26): commits or aborts a transaction. Versions 0 to 5; 5 raises the producer epoch (KIP-890).

structure! {
    /// The request.
    EndTxnRequest {
        transactional_id: String [0];
        producer_id: i64 [0];
        producer_epoch: i16 [0];
        committed: bool [0];
    }
}
structure! {
    /// The answer.
    EndTxnResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        producer_id: i64 [5] = -1;
        producer_epoch: i16 [5] = -1;
    }
}
api!(26, versions 0 to 5, flexible 3, EndTxnRequest, EndTxnResponse);
