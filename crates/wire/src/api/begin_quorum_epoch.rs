//! BeginQuorumEpoch (53): a new leader of the metadata quorum makes itself known. Versions 0 to 1: directories and
//! endpoints from 1 on (KIP-853).

use super::vote::QuorumNodeEndpoint;
use crate::primitives::Uuid;

structure! {
    /// The request.
    BeginQuorumEpochRequest {
        cluster_id: Option<String> [0];
        voter_id: i32 [1] = -1;
        topics: Vec<BeginQuorumEpochTopic> [0];
        leader_endpoints: Vec<LeaderEndpoint> [1];
    }
}
structure! {
    /// `__cluster_metadata`.
    BeginQuorumEpochTopic {
        topic_name: String [0];
        partitions: Vec<BeginQuorumEpochPartition> [0];
    }
}
structure! {
    /// Its partition 0.
    BeginQuorumEpochPartition {
        partition_index: i32 [0];
        voter_directory_id: Uuid [1];
        leader_id: i32 [0];
        leader_epoch: i32 [0];
    }
}
structure! {
    /// Where the leader listens.
    LeaderEndpoint {
        name: String [1];
        host: String [1];
        port: u16 [1];
    }
}
structure! {
    /// The answer.
    BeginQuorumEpochResponse {
        error_code: i16 [0];
        topics: Vec<QuorumEpochTopicResult> [0];
        node_endpoints: Vec<QuorumNodeEndpoint> [1 tag 0];
    }
}
structure! {
    /// `__cluster_metadata`, in this answer and that of EndQuorumEpoch.
    QuorumEpochTopicResult {
        topic_name: String [0];
        partitions: Vec<QuorumEpochPartitionResult> [0];
    }
}
structure! {
    /// Its partition 0: who leads, as far as the answerer knows.
    QuorumEpochPartitionResult {
        partition_index: i32 [0];
        error_code: i16 [0];
        leader_id: i32 [0];
        leader_epoch: i32 [0];
    }
}
api!(53, versions 0 to 1, flexible 1, BeginQuorumEpochRequest, BeginQuorumEpochResponse);
