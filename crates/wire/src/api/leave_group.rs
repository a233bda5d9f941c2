//! LeaveGroup (13) of the classic group protocol. Versions 0 to 5; one member until 2, many from 3 on.

structure! {
    /// The request.
    LeaveGroupRequest {
        group_id: String [0];
        member_id: String [0 to 2];
        members: Vec<MemberIdentity> [3];
    }
}
structure! {
    /// A member that leaves.
    MemberIdentity {
        member_id: String [3];
        group_instance_id: Option<String> [3];
        reason: Option<String> [5];
    }
}
structure! {
    /// The answer.
    LeaveGroupResponse {
        throttle_time_ms: i32 [1];
        error_code: i16 [0];
        members: Vec<MemberResponse> [3];
    }
}
structure! {
    /// What became of one member.
    MemberResponse {
        member_id: String [3];
        group_instance_id: Option<String> [3];
        error_code: i16 [3];
    }
}
api!(13, versions 0 to 5, flexible 4, LeaveGroupRequest, LeaveGroupResponse);
