//! DescribeGroups (15), versions 0 to 6: classic groups. Missing: authorized operations (there is no authorizer),
//! throttling.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};

use crate::group::{ClassicDescription, ClassicMemberDescription, GroupRequest};

/// From the wire.
#[must_use]
pub(crate) fn decode(request: DescribeGroupsRequest, _version: i16) -> GroupRequest {
    GroupRequest::DescribeGroups { groups: request.groups }
}

/// To the wire. A group that is not there is `Dead` without an error until version 5, and an error from 6 on (KIP-1043).
#[must_use]
pub(crate) fn encode(groups: Vec<ClassicDescription>, version: i16) -> DescribeGroupsResponse {
    let group = |g: ClassicDescription| {
        let absent = g.error == ErrorCode::GROUP_ID_NOT_FOUND;
        let error = if absent && version < 6 { ErrorCode::NONE } else { g.error };
        DescribedGroup {
            error_code: error.0,
            error_message: g.message,
            group_id: g.group_id,
            group_state: if absent { "Dead" } else { g.state }.to_owned(),
            protocol_type: g.protocol_type,
            protocol_data: g.protocol,
            members: g.members.into_iter().map(member).collect(),
            ..DescribedGroup::default()
        }
    };
    DescribeGroupsResponse { throttle_time_ms: 0, groups: groups.into_iter().map(group).collect() }
}

fn member(m: ClassicMemberDescription) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: m.member_id,
        group_instance_id: m.instance_id,
        client_id: m.client.id,
        client_host: m.client.host,
        member_metadata: m.metadata,
        member_assignment: m.assignment,
    }
}
