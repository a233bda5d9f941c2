//! Metadata (3): brokers, topics, leaders, in-sync replicas. Versions 0 to 13.

use crate::primitives::Uuid;

structure! {
    /// The question; no list of topics asks for all of them, which version 0 says with an empty one.
    MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>> [0 null 1];
        allow_auto_topic_creation: bool [4] = true;
        include_cluster_authorized_operations: bool [8 to 10];
        include_topic_authorized_operations: bool [8];
    }
}
structure! {
    /// A topic asked for.
    MetadataRequestTopic {
        topic_id: Uuid [10];
        name: Option<String> [0 null 10];
    }
}
structure! {
    /// The answer.
    MetadataResponse {
        throttle_time_ms: i32 [3];
        brokers: Vec<MetadataBroker> [0];
        cluster_id: Option<String> [2];
        controller_id: i32 [1] = -1;
        topics: Vec<MetadataTopic> [0];
        cluster_authorized_operations: i32 [8 to 10] = i32::MIN;
        error_code: i16 [13];
    }
}
structure! {
    /// A broker that is not fenced.
    MetadataBroker {
        node_id: i32 [0];
        host: String [0];
        port: i32 [0];
        rack: Option<String> [1];
    }
}
structure! {
    /// A topic.
    MetadataTopic {
        error_code: i16 [0];
        name: Option<String> [0 null 12];
        topic_id: Uuid [10];
        is_internal: bool [1];
        partitions: Vec<MetadataPartition> [0];
        topic_authorized_operations: i32 [8] = i32::MIN;
    }
}
structure! {
    /// A partition.
    MetadataPartition {
        error_code: i16 [0];
        partition_index: i32 [0];
        leader_id: i32 [0];
        leader_epoch: i32 [7] = -1;
        replica_nodes: Vec<i32> [0];
        isr_nodes: Vec<i32> [0];
        offline_replicas: Vec<i32> [5];
    }
}
api!(3, versions 0 to 13, flexible 9, MetadataRequest, MetadataResponse);
