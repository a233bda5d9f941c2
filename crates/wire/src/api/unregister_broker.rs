//! UnregisterBroker (64): an operator takes a broker out that will not come back (KIP-631). Version 0.

structure! {
    /// The request.
    UnregisterBrokerRequest {
        broker_id: i32 [0];
    }
}
structure! {
    /// The answer.
    UnregisterBrokerResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        error_message: Option<String> [0];
    }
}
api!(64, versions 0 to 0, flexible 0, UnregisterBrokerRequest, UnregisterBrokerResponse);
