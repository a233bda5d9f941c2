//! DeleteGroups (42), versions 0 to 2. Missing: throttling.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

use crate::group::GroupRequest;

/// From the wire.
#[must_use]
pub(crate) fn decode(request: DeleteGroupsRequest, _version: i16) -> GroupRequest {
    GroupRequest::DeleteGroups { groups: request.groups_names }
}

/// To the wire.
#[must_use]
pub(crate) fn encode(results: Vec<(String, ErrorCode)>, _version: i16) -> DeleteGroupsResponse {
    let result = |(group_id, error): (String, ErrorCode)| DeletableGroupResult { group_id, error_code: error.0 };
    DeleteGroupsResponse { throttle_time_ms: 0, results: results.into_iter().map(result).collect() }
}
