//! BrokerHeartbeat (63): a broker tells the controller that it lives, and what it wants (KIP-631). Versions 0 to 1:
//! failed log directories from 1 on (KIP-858).

use crate::primitives::Uuid;

structure! {
    /// The request.
    BrokerHeartbeatRequest {
        broker_id: i32 [0];
        broker_epoch: i64 [0] = -1;
        current_metadata_offset: i64 [0];
        want_fence: bool [0];
        want_shut_down: bool [0];
        offline_log_dirs: Vec<Uuid> [1 tag 0];
    }
}
structure! {
    /// The answer.
    BrokerHeartbeatResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        is_caught_up: bool [0];
        is_fenced: bool [0] = true;
        should_shut_down: bool [0];
    }
}
api!(63, versions 0 to 1, flexible 0, BrokerHeartbeatRequest, BrokerHeartbeatResponse);
