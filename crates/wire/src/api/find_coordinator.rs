//! FindCoordinator (10): the broker of a group or transactional id. Versions 0 to 6; one key until 3, many from 4 on.

structure! {
    /// The question; key type 0 is a group, 1 a transactional id, 2 a share group.
    FindCoordinatorRequest {
        key: String [0 to 3];
        key_type: i8 [1];
        coordinator_keys: Vec<String> [4];
    }
}
structure! {
    /// The answer.
    FindCoordinatorResponse {
        throttle_time_ms: i32 [1];
        error_code: i16 [0 to 3];
        error_message: Option<String> [1 to 3];
        node_id: i32 [0 to 3];
        host: String [0 to 3];
        port: i32 [0 to 3];
        coordinators: Vec<Coordinator> [4];
    }
}
structure! {
    /// The coordinator of one key.
    Coordinator {
        key: String [4];
        node_id: i32 [4];
        host: String [4];
        port: i32 [4];
        error_code: i16 [4];
        error_message: Option<String> [4];
    }
}
api!(10, versions 0 to 6, flexible 3, FindCoordinatorRequest, FindCoordinatorResponse);
