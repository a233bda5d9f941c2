//! LeaveGroup (13), versions 0 to 5; of one member until 2, of several from 3 on. The reason (version 5) is not kept.
//! Missing: throttling.

use metricstream_wire::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};

use crate::group::{GroupRequest, LeaveGroup, LeaveGroupAnswer};

/// From the wire.
#[must_use]
pub(crate) fn decode(request: LeaveGroupRequest, version: i16) -> GroupRequest {
    let members = if version < 3 {
        vec![(request.member_id, None)]
    } else {
        request.members.into_iter().map(|m| (m.member_id, m.group_instance_id)).collect()
    };
    GroupRequest::LeaveGroup(LeaveGroup { group_id: request.group_id, members })
}

/// To the wire. Until version 2 the error of the only member is that of the answer.
#[must_use]
pub(crate) fn encode(answer: LeaveGroupAnswer, version: i16) -> LeaveGroupResponse {
    let mut error = answer.error;
    if version < 3 && error.is_none() {
        error = answer.members.first().map_or(error, |(_, _, of_member)| *of_member);
    }
    let member = |(member_id, group_instance_id, error): (String, Option<String>, metricstream_wire::ErrorCode)| {
        MemberResponse { member_id, group_instance_id, error_code: error.0 }
    };
    LeaveGroupResponse {
        throttle_time_ms: 0,
        error_code: error.0,
        members: answer.members.into_iter().map(member).collect(),
    }
}
