//! EndQuorumEpoch (54): a leader of the metadata quorum resigns and says who should be elected. Versions 0 to 1:
//! directories and endpoints from 1 on (KIP-853).

use super::begin_quorum_epoch::{LeaderEndpoint, QuorumEpochTopicResult};
use super::vote::QuorumNodeEndpoint;
use crate::primitives::Uuid;

structure! {
    /// The request.
    EndQuorumEpochRequest {
        cluster_id: Option<String> [0];
        topics: Vec<EndQuorumEpochTopic> [0];
        leader_endpoints: Vec<LeaderEndpoint> [1];
    }
}
structure! {
    /// `__cluster_metadata`.
    EndQuorumEpochTopic {
        topic_name: String [0];
        partitions: Vec<EndQuorumEpochPartition> [0];
    }
}
structure! {
    /// Its partition 0, and the voters in the order in which they should follow.
    EndQuorumEpochPartition {
        partition_index: i32 [0];
        leader_id: i32 [0];
        leader_epoch: i32 [0];
        preferred_successors: Vec<i32> [0 to 0];
        preferred_candidates: Vec<PreferredCandidate> [1];
    }
}
structure! {
    /// A voter that should follow.
    PreferredCandidate {
        candidate_id: i32 [1];
        candidate_directory_id: Uuid [1];
    }
}
structure! {
    /// The answer.
    EndQuorumEpochResponse {
        error_code: i16 [0];
        topics: Vec<QuorumEpochTopicResult> [0];
        node_endpoints: Vec<QuorumNodeEndpoint> [1 tag 0];
    }
}
api!(54, versions 0 to 1, flexible 1, EndQuorumEpochRequest, EndQuorumEpochResponse);
