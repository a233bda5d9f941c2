//! DeleteTopics (20). Versions 1 to 6; names until 5, names or ids in 6.

use crate::primitives::Uuid;

structure! {
    /// The request: `topics` from version 6 on, `topic_names` before.
    DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6];
        topic_names: Vec<String> [0 to 5];
        timeout_ms: i32 [0];
    }
}
structure! {
    /// A topic, by name or by id.
    DeleteTopicState {
        name: Option<String> [6];
        topic_id: Uuid [6];
    }
}
structure! {
    /// The answer.
    DeleteTopicsResponse {
        throttle_time_ms: i32 [1];
        responses: Vec<DeletableTopicResult> [0];
    }
}
structure! {
    /// What became of one topic.
    DeletableTopicResult {
        name: Option<String> [0 null 6];
        topic_id: Uuid [6];
        error_code: i16 [0];
        error_message: Option<String> [5];
    }
}
api!(20, versions 1 to 6, flexible 4, DeleteTopicsRequest, DeleteTopicsResponse);
