//! SyncGroup (14), versions 0 to 5. Missing: throttling.

use metricstream_wire::api::sync_group::{SyncGroupRequest, SyncGroupResponse};

use crate::group::{GroupRequest, SyncGroup, SyncGroupAnswer};

/// From the wire.
#[must_use]
pub(crate) fn decode(request: SyncGroupRequest, version: i16) -> GroupRequest {
    let known = |text: Option<String>| if version >= 5 { text } else { None };
    GroupRequest::SyncGroup(SyncGroup {
        group_id: request.group_id,
        generation: request.generation_id,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        protocol_type: known(request.protocol_type),
        protocol_name: known(request.protocol_name),
        assignments: request.assignments.into_iter().map(|a| (a.member_id, super::own(&a.assignment))).collect(),
    })
}

/// To the wire; every version has the same answer.
#[must_use]
pub(crate) fn encode(answer: SyncGroupAnswer, _version: i16) -> SyncGroupResponse {
    SyncGroupResponse {
        throttle_time_ms: 0,
        error_code: answer.error.0,
        protocol_type: answer.protocol_type,
        protocol_name: answer.protocol_name,
        assignment: answer.assignment,
    }
}
