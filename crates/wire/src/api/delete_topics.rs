//! DeleteTopics (20). Version 6.

use crate::primitives::Uuid;

structure! {
    /// The request.
    DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6];
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
        name: Option<String> [0];
        topic_id: Uuid [6];
        error_code: i16 [0];
        error_message: Option<String> [5];
    }
}
api!(20, versions 6 to 6, flexible 4, DeleteTopicsRequest, DeleteTopicsResponse);
