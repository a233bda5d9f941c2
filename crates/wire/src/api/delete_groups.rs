//! DeleteGroups (42). Versions 0 to 2.

structure! {
    /// The request.
    DeleteGroupsRequest {
        groups_names: Vec<String> [0];
    }
}
structure! {
    /// The answer.
    DeleteGroupsResponse {
        throttle_time_ms: i32 [0];
        results: Vec<DeletableGroupResult> [0];
    }
}
structure! {
    /// What became of one group.
    DeletableGroupResult {
        group_id: String [0];
        error_code: i16 [0];
    }
}
api!(42, versions 0 to 2, flexible 2, DeleteGroupsRequest, DeleteGroupsResponse);
