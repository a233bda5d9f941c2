//! DescribeTopicPartitions (75): topics in pages, with eligible leader replicas. Version 0.

use crate::primitives::Uuid;

structure! {
    /// The question; without a cursor from the first topic on.
    DescribeTopicPartitionsRequest {
        topics: Vec<TopicRequest> [0];
        response_partition_limit: i32 [0] = 2000;
        cursor: Option<Cursor> [0];
    }
}
structure! {
    /// A topic asked for.
    TopicRequest {
        name: String [0];
    }
}
structure! {
    /// Where the next page begins.
    Cursor {
        topic_name: String [0];
        partition_index: i32 [0];
    }
}
structure! {
    /// The answer; without a next cursor if it is the last page.
    DescribeTopicPartitionsResponse {
        throttle_time_ms: i32 [0];
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0];
        next_cursor: Option<Cursor> [0];
    }
}
structure! {
    /// A topic.
    DescribeTopicPartitionsResponseTopic {
        error_code: i16 [0];
        name: Option<String> [0];
        topic_id: Uuid [0];
        is_internal: bool [0];
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0];
        topic_authorized_operations: i32 [0] = i32::MIN;
    }
}
structure! {
    /// A partition. Kafka's own admin client does not bear null for the eligible leader replicas, nullable as they are
    /// declared.
    DescribeTopicPartitionsResponsePartition {
        error_code: i16 [0];
        partition_index: i32 [0];
        leader_id: i32 [0];
        leader_epoch: i32 [0] = -1;
        replica_nodes: Vec<i32> [0];
        isr_nodes: Vec<i32> [0];
        eligible_leader_replicas: Vec<i32> [0 or null];
        last_known_elr: Vec<i32> [0 or null];
        offline_replicas: Vec<i32> [0];
    }
}
api!(75, versions 0 to 0, flexible 0, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse);
