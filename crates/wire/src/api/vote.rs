//! Vote (52): a candidate asks the voters of the metadata quorum. Versions 0 to 2: directories from 1 on (KIP-853),
//! pre-vote from 2 on (KIP-996).

use crate::primitives::Uuid;

structure! {
    /// The question.
    VoteRequest {
        cluster_id: Option<String> [0];
        voter_id: i32 [1] = -1;
        topics: Vec<VoteTopic> [0];
    }
}
structure! {
    /// `__cluster_metadata`.
    VoteTopic {
        topic_name: String [0];
        partitions: Vec<VotePartition> [0];
    }
}
structure! {
    /// Its partition 0: who asks, and how far its log reaches.
    VotePartition {
        partition_index: i32 [0];
        replica_epoch: i32 [0];
        replica_id: i32 [0];
        replica_directory_id: Uuid [1];
        voter_directory_id: Uuid [1];
        last_offset_epoch: i32 [0];
        last_offset: i64 [0];
        pre_vote: bool [2];
    }
}
structure! {
    /// The answer.
    VoteResponse {
        error_code: i16 [0];
        topics: Vec<VoteTopicResult> [0];
        node_endpoints: Vec<QuorumNodeEndpoint> [1 tag 0];
    }
}
structure! {
    /// `__cluster_metadata`.
    VoteTopicResult {
        topic_name: String [0];
        partitions: Vec<VotePartitionResult> [0];
    }
}
structure! {
    /// Its partition 0.
    VotePartitionResult {
        partition_index: i32 [0];
        error_code: i16 [0];
        leader_id: i32 [0];
        leader_epoch: i32 [0];
        vote_granted: bool [0];
    }
}
structure! {
    /// Where a leader named in the answer listens, in this and the other answers of the quorum (KIP-853).
    QuorumNodeEndpoint {
        node_id: i32 [1];
        host: String [1];
        port: u16 [1];
    }
}
api!(52, versions 0 to 2, flexible 0, VoteRequest, VoteResponse);
