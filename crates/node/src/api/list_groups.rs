//! ListGroups (16), versions 0 to 5. Missing: share and streams groups, throttling.

use metricstream_wire::api::list_groups::{self as wire, ListGroupsRequest, ListGroupsResponse};

use crate::group::{GroupRequest, ListGroups, ListGroupsAnswer, ListedGroup};

/// From the wire.
#[must_use]
pub(crate) fn decode(request: ListGroupsRequest, _version: i16) -> GroupRequest {
    GroupRequest::ListGroups(ListGroups { states: request.states_filter, types: request.types_filter })
}

/// To the wire.
#[must_use]
pub(crate) fn encode(answer: ListGroupsAnswer, _version: i16) -> ListGroupsResponse {
    let group = |g: ListedGroup| wire::ListedGroup {
        group_id: g.group_id,
        protocol_type: g.protocol_type,
        group_state: g.state.to_owned(),
        group_type: g.kind.to_owned(),
    };
    ListGroupsResponse {
        throttle_time_ms: 0,
        error_code: answer.error.0,
        groups: answer.groups.into_iter().map(group).collect(),
    }
}
