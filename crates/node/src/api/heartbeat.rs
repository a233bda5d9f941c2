//! Heartbeat (12), versions 0 to 4. Missing: throttling.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use crate::group::{GroupRequest, Heartbeat};

/// From the wire.
#[must_use]
pub(crate) fn decode(request: HeartbeatRequest, _version: i16) -> GroupRequest {
    GroupRequest::Heartbeat(Heartbeat {
        group_id: request.group_id,
        generation: request.generation_id,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
    })
}

/// To the wire.
#[must_use]
pub(crate) fn encode(error: ErrorCode, _version: i16) -> HeartbeatResponse {
    HeartbeatResponse { throttle_time_ms: 0, error_code: error.0 }
}
