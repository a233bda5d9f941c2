//! ListGroups (16): groups whose coordinator the broker is. Versions 0 to 5.

structure! {
    /// The question; empty filters let every group through.
    ListGroupsRequest {
        states_filter: Vec<String> [4];
        types_filter: Vec<String> [5];
    }
}
structure! {
    /// The answer.
    ListGroupsResponse {
        throttle_time_ms: i32 [1];
        error_code: i16 [0];
        groups: Vec<ListedGroup> [0];
    }
}
structure! {
    /// A group.
    ListedGroup {
        group_id: String [0];
        protocol_type: String [0];
        group_state: String [4];
        group_type: String [5];
    }
}
api!(16, versions 0 to 5, flexible 3, ListGroupsRequest, ListGroupsResponse);
