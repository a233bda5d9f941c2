//! ConsumerGroupHeartbeat (68): the one request by which members of KIP-848 groups join, report and leave. Versions 0
//! and 1.

use crate::primitives::Uuid;

structure! {
    /// What a member says: member epoch 0 joins, −1 leaves, −2 leaves as a static member that will be back. Null is
    /// what has not changed since the last one.
    ConsumerGroupHeartbeatRequest {
        group_id: String [0];
        member_id: String [0];
        member_epoch: i32 [0];
        instance_id: Option<String> [0];
        rack_id: Option<String> [0];
        rebalance_timeout_ms: i32 [0] = -1;
        subscribed_topic_names: Option<Vec<String>> [0];
        subscribed_topic_regex: Option<String> [1];
        server_assignor: Option<String> [0];
        topic_partitions: Option<Vec<TopicPartitions>> [0];
    }
}
structure! {
    /// Partitions of one topic.
    TopicPartitions {
        topic_id: Uuid [0];
        partitions: Vec<i32> [0];
    }
}
structure! {
    /// The answer; without an assignment where it has not changed.
    ConsumerGroupHeartbeatResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        error_message: Option<String> [0];
        member_id: Option<String> [0];
        member_epoch: i32 [0];
        heartbeat_interval_ms: i32 [0];
        assignment: Option<Assignment> [0];
    }
}
structure! {
    /// What the member is to own.
    Assignment {
        topic_partitions: Vec<TopicPartitions> [0];
    }
}
api!(68, versions 0 to 1, flexible 0, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse);
