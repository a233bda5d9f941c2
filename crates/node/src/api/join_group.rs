//! JoinGroup (11), versions 0 to 9. Missing: throttling.

use metricstream_wire::api::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};

use crate::group::{Client, GroupRequest, JoinGroup, JoinGroupAnswer};

/// From the wire.
#[must_use]
pub(crate) fn decode(request: JoinGroupRequest, version: i16, client: Client) -> GroupRequest {
    // Version 0 had one timeout for both.
    let rebalance_timeout_ms = if version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
    GroupRequest::JoinGroup(JoinGroup {
        client,
        group_id: request.group_id,
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        require_known_member_id: version >= 4 && request.group_instance_id.is_none(),
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        protocol_type: request.protocol_type,
        protocols: request.protocols.into_iter().map(|p| (p.name, super::own(&p.metadata))).collect(),
        supports_skipping_assignment: version >= 9,
    })
}

/// To the wire.
#[must_use]
pub(crate) fn encode(answer: JoinGroupAnswer, version: i16) -> JoinGroupResponse {
    // The name could not be null until version 7.
    let protocol_name = answer.protocol_name.or_else(|| (version < 7).then(String::new));
    let member = |m: crate::group::JoinedMember| JoinGroupResponseMember {
        member_id: m.member_id,
        group_instance_id: m.instance_id,
        metadata: m.metadata,
    };
    JoinGroupResponse {
        throttle_time_ms: 0,
        error_code: answer.error.0,
        generation_id: answer.generation,
        protocol_type: answer.protocol_type,
        protocol_name,
        leader: answer.leader,
        skip_assignment: answer.skip_assignment,
        member_id: answer.member_id,
        members: answer.members.into_iter().map(member).collect(),
    }
}
