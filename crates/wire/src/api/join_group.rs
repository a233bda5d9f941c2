//! JoinGroup (11) of the classic group protocol. Versions 0 to 9.

use bytes::Bytes;

structure! {
    /// The request of a member, an empty member id if it is new.
    JoinGroupRequest {
        group_id: String [0];
        session_timeout_ms: i32 [0];
        rebalance_timeout_ms: i32 [1] = -1;
        member_id: String [0];
        group_instance_id: Option<String> [5];
        protocol_type: String [0];
        protocols: Vec<JoinGroupRequestProtocol> [0];
        reason: Option<String> [8];
    }
}
structure! {
    /// An assignor that the member knows, and its metadata for it: with consumers a [`super::consumer_protocol`]
    /// subscription.
    JoinGroupRequestProtocol {
        name: String [0];
        metadata: Bytes [0];
    }
}
structure! {
    /// The answer, which waits for the whole group. Only the leader gets the members.
    JoinGroupResponse {
        throttle_time_ms: i32 [2];
        error_code: i16 [0];
        generation_id: i32 [0] = -1;
        protocol_type: Option<String> [7];
        protocol_name: Option<String> [0 null 7];
        leader: String [0];
        skip_assignment: bool [9];
        member_id: String [0];
        members: Vec<JoinGroupResponseMember> [0];
    }
}
structure! {
    /// A member and its metadata for the protocol chosen.
    JoinGroupResponseMember {
        member_id: String [0];
        group_instance_id: Option<String> [5];
        metadata: Bytes [0];
    }
}
api!(11, versions 0 to 9, flexible 6, JoinGroupRequest, JoinGroupResponse);
