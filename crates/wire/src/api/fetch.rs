//! Fetch (1): record batches to read, for consumers and followers. Versions 4 to 18, topics by id from 13 on. Records
//! stay bytes.

use crate::primitives::Uuid;
use crate::records::Records;

structure! {
    /// The request.
    FetchRequest {
        cluster_id: Option<String> [12 tag 0];
        replica_id: i32 [0 to 14] = -1;
        replica_state: FetchReplicaState [15 tag 1];
        max_wait_ms: i32 [0];
        min_bytes: i32 [0];
        max_bytes: i32 [3] = i32::MAX;
        isolation_level: i8 [4];
        session_id: i32 [7];
        session_epoch: i32 [7] = -1;
        topics: Vec<FetchTopic> [0];
        forgotten_topics_data: Vec<ForgottenTopic> [7];
        rack_id: String [11];
    }
}
structure! {
    /// Who fetches, if it is a replica; a consumer leaves it at −1.
    FetchReplicaState {
        replica_id: i32 [15] = -1;
        replica_epoch: i64 [15] = -1;
    }
}
structure! {
    /// A topic.
    FetchTopic {
        topic: String [0 to 12];
        topic_id: Uuid [13];
        partitions: Vec<FetchPartition> [0];
    }
}
structure! {
    /// A partition and where to read on. The high watermark is the one that the follower knows, `i64::MAX` if it tells
    /// none (KIP-1166).
    FetchPartition {
        partition: i32 [0];
        current_leader_epoch: i32 [9] = -1;
        fetch_offset: i64 [0];
        last_fetched_epoch: i32 [12] = -1;
        log_start_offset: i64 [5] = -1;
        partition_max_bytes: i32 [0];
        replica_directory_id: Uuid [17 tag 0];
        high_watermark: i64 [18 tag 1] = i64::MAX;
    }
}
structure! {
    /// A topic that leaves the fetch session.
    ForgottenTopic {
        topic: String [7 to 12];
        topic_id: Uuid [13];
        partitions: Vec<i32> [7];
    }
}
structure! {
    /// The answer.
    FetchResponse {
        throttle_time_ms: i32 [1];
        error_code: i16 [7];
        session_id: i32 [7];
        responses: Vec<FetchableTopicResponse> [0];
        node_endpoints: Vec<NodeEndpoint> [16 tag 0];
    }
}
structure! {
    /// A topic.
    FetchableTopicResponse {
        topic: String [0 to 12];
        topic_id: Uuid [13];
        partitions: Vec<PartitionData> [0];
    }
}
structure! {
    /// A partition.
    PartitionData {
        partition_index: i32 [0];
        error_code: i16 [0];
        high_watermark: i64 [0];
        last_stable_offset: i64 [4] = -1;
        log_start_offset: i64 [5] = -1;
        diverging_epoch: EpochEndOffset [12 tag 0];
        current_leader: LeaderIdAndEpoch [12 tag 1];
        snapshot_id: SnapshotId [12 tag 2];
        aborted_transactions: Option<Vec<AbortedTransaction>> [4];
        preferred_read_replica: i32 [11] = -1;
        records: Option<Records> [0];
    }
}
structure! {
    /// Where the reader's log and the leader's part.
    EpochEndOffset {
        epoch: i32 [12] = -1;
        end_offset: i64 [12] = -1;
    }
}
structure! {
    /// Who leads, as far as the answerer knows; −1 where it does not (KIP-951).
    LeaderIdAndEpoch {
        leader_id: i32 [12] = -1;
        leader_epoch: i32 [12] = -1;
    }
}
structure! {
    /// The snapshot to read first.
    SnapshotId {
        end_offset: i64 [0] = -1;
        epoch: i32 [0] = -1;
    }
}
structure! {
    /// A transaction whose records are to be passed over.
    AbortedTransaction {
        producer_id: i64 [4];
        first_offset: i64 [4];
    }
}
structure! {
    /// Where a leader named in the answer listens (KIP-951).
    NodeEndpoint {
        node_id: i32 [16];
        host: String [16];
        port: i32 [16];
        rack: Option<String> [16];
    }
}
api!(1, versions 4 to 18, flexible 12, FetchRequest, FetchResponse);
