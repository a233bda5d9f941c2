//! DescribeQuorum (55): leader, epoch and voters of the metadata quorum. Versions 0 to 2.

use crate::primitives::Uuid;

structure! {
    /// The question.
    DescribeQuorumRequest {
        topics: Vec<QuorumTopic> [0];
    }
}
structure! {
    /// `__cluster_metadata`.
    QuorumTopic {
        topic_name: String [0];
        partitions: Vec<QuorumPartition> [0];
    }
}
structure! {
    /// Its partition 0.
    QuorumPartition {
        partition_index: i32 [0];
    }
}
structure! {
    /// The answer.
    DescribeQuorumResponse {
        error_code: i16 [0];
        error_message: Option<String> [2];
        topics: Vec<QuorumTopicState> [0];
        nodes: Vec<QuorumNode> [2];
    }
}
structure! {
    /// `__cluster_metadata`.
    QuorumTopicState {
        topic_name: String [0];
        partitions: Vec<QuorumPartitionState> [0];
    }
}
structure! {
    /// The state of the quorum.
    QuorumPartitionState {
        partition_index: i32 [0];
        error_code: i16 [0];
        error_message: Option<String> [2];
        leader_id: i32 [0];
        leader_epoch: i32 [0];
        high_watermark: i64 [0];
        current_voters: Vec<ReplicaState> [0];
        observers: Vec<ReplicaState> [0];
    }
}
structure! {
    /// One replica of the log.
    ReplicaState {
        replica_id: i32 [0];
        replica_directory_id: Uuid [2];
        log_end_offset: i64 [0];
        last_fetch_timestamp: i64 [1] = -1;
        last_caught_up_timestamp: i64 [1] = -1;
    }
}
structure! {
    /// A voter, and where it listens.
    QuorumNode {
        node_id: i32 [2];
        listeners: Vec<QuorumListener> [2];
    }
}
structure! {
    /// A listener of a voter.
    QuorumListener {
        name: String [2];
        host: String [2];
        port: u16 [2];
    }
}
api!(55, versions 0 to 2, flexible 0, DescribeQuorumRequest, DescribeQuorumResponse);
