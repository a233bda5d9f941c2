//! Heartbeat (12) of the classic group protocol. Versions 0 to 4.

structure! {
    /// The request.
    HeartbeatRequest {
        group_id: String [0];
        generation_id: i32 [0];
        member_id: String [0];
        group_instance_id: Option<String> [3];
    }
}
structure! {
    /// The answer.
    HeartbeatResponse {
        throttle_time_ms: i32 [1];
        error_code: i16 [0];
    }
}
api!(12, versions 0 to 4, flexible 4, HeartbeatRequest, HeartbeatResponse);
