//! DescribeGroups (15): classic groups. Versions 0 to 6.

use bytes::Bytes;

structure! {
    /// The question.
    DescribeGroupsRequest {
        groups: Vec<String> [0];
        include_authorized_operations: bool [3];
    }
}
structure! {
    /// The answer.
    DescribeGroupsResponse {
        throttle_time_ms: i32 [1];
        groups: Vec<DescribedGroup> [0];
    }
}
structure! {
    /// A group. Of what is no group the state is `Dead`, and from version 6 on there is an error.
    DescribedGroup {
        error_code: i16 [0];
        error_message: Option<String> [6];
        group_id: String [0];
        group_state: String [0];
        protocol_type: String [0];
        protocol_data: String [0];
        members: Vec<DescribedGroupMember> [0];
        authorized_operations: i32 [3] = i32::MIN;
    }
}
structure! {
    /// A member, with its metadata for the protocol in use and its assignment.
    DescribedGroupMember {
        member_id: String [0];
        group_instance_id: Option<String> [4];
        client_id: String [0];
        client_host: String [0];
        member_metadata: Bytes [0];
        member_assignment: Bytes [0];
    }
}
api!(15, versions 0 to 6, flexible 5, DescribeGroupsRequest, DescribeGroupsResponse);
