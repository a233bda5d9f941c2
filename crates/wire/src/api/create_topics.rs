//! CreateTopics (19). Versions 2 to 7.

use crate::primitives::Uuid;

structure! {
    /// The request.
    CreateTopicsRequest {
        topics: Vec<CreatableTopic> [0];
        timeout_ms: i32 [0] = 60_000;
        validate_only: bool [1];
    }
}
structure! {
    /// A topic to be. With assignments, both numbers are −1.
    CreatableTopic {
        name: String [0];
        num_partitions: i32 [0];
        replication_factor: i16 [0];
        assignments: Vec<CreatableReplicaAssignment> [0];
        configs: Vec<CreatableTopicConfig> [0];
    }
}
structure! {
    /// The replicas of one partition, preferred leader first.
    CreatableReplicaAssignment {
        partition_index: i32 [0];
        broker_ids: Vec<i32> [0];
    }
}
structure! {
    /// One setting.
    CreatableTopicConfig {
        name: String [0];
        value: Option<String> [0];
    }
}
structure! {
    /// The answer.
    CreateTopicsResponse {
        throttle_time_ms: i32 [2];
        topics: Vec<CreatableTopicResult> [0];
    }
}
structure! {
    /// What became of one topic. Kafka's own admin client does not bear null configs, nullable as they are declared.
    CreatableTopicResult {
        name: String [0];
        topic_id: Uuid [7];
        error_code: i16 [0];
        error_message: Option<String> [1];
        topic_config_error_code: i16 [5 tag 0];
        num_partitions: i32 [5] = -1;
        replication_factor: i16 [5] = -1;
        configs: Vec<CreatableTopicConfigs> [5 or null];
    }
}
structure! {
    /// One setting that it has.
    CreatableTopicConfigs {
        name: String [5];
        value: Option<String> [5];
        read_only: bool [5];
        config_source: i8 [5] = -1;
        is_sensitive: bool [5];
    }
}
api!(19, versions 2 to 7, flexible 5, CreateTopicsRequest, CreateTopicsResponse);
