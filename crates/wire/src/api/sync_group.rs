//! SyncGroup (14) of the classic group protocol. Versions 0 to 5.

use bytes::Bytes;

structure! {
    /// The request; from the leader with assignments.
    SyncGroupRequest {
        group_id: String [0];
        generation_id: i32 [0];
        member_id: String [0];
        group_instance_id: Option<String> [3];
        protocol_type: Option<String> [5];
        protocol_name: Option<String> [5];
        assignments: Vec<SyncGroupRequestAssignment> [0];
    }
}
structure! {
    /// What one member gets.
    SyncGroupRequestAssignment {
        member_id: String [0];
        assignment: Bytes [0];
    }
}
structure! {
    /// The answer, with the assignment of the member that asked.
    SyncGroupResponse {
        throttle_time_ms: i32 [1];
        error_code: i16 [0];
        protocol_type: Option<String> [5];
        protocol_name: Option<String> [5];
        assignment: Bytes [0];
    }
}
api!(14, versions 0 to 5, flexible 4, SyncGroupRequest, SyncGroupResponse);
