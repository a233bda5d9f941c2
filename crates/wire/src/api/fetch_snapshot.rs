//! FetchSnapshot (59): a snapshot of the metadata log, piece by piece (KIP-630). Versions 0 to 1: directories and endpoints
//! from 1 on (KIP-853).

use super::fetch::SnapshotId;
use super::vote::QuorumNodeEndpoint;
use crate::primitives::Uuid;
use crate::records::Records;

structure! {
    /// The request.
    FetchSnapshotRequest {
        cluster_id: Option<String> [0 tag 0];
        replica_id: i32 [0] = -1;
        max_bytes: i32 [0] = i32::MAX;
        topics: Vec<TopicSnapshotRequest> [0];
    }
}
structure! {
    /// `__cluster_metadata`.
    TopicSnapshotRequest {
        name: String [0];
        partitions: Vec<PartitionSnapshotRequest> [0];
    }
}
structure! {
    /// Its partition 0, and from which byte on.
    PartitionSnapshotRequest {
        partition: i32 [0];
        current_leader_epoch: i32 [0];
        snapshot_id: SnapshotId [0];
        position: i64 [0];
        replica_directory_id: Uuid [1 tag 0];
    }
}
structure! {
    /// The answer.
    FetchSnapshotResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        topics: Vec<TopicSnapshot> [0];
        node_endpoints: Vec<QuorumNodeEndpoint> [1 tag 0];
    }
}
structure! {
    /// `__cluster_metadata`.
    TopicSnapshot {
        name: String [0];
        partitions: Vec<PartitionSnapshot> [0];
    }
}
structure! {
    /// A piece of it: not cut at batches.
    PartitionSnapshot {
        index: i32 [0];
        error_code: i16 [0];
        snapshot_id: SnapshotId [0];
        current_leader: SnapshotLeader [0 tag 0];
        size: i64 [0];
        position: i64 [0];
        unaligned_records: Records [0];
    }
}
structure! {
    /// Who leads.
    SnapshotLeader {
        leader_id: i32 [0];
        leader_epoch: i32 [0];
    }
}
api!(59, versions 0 to 1, flexible 0, FetchSnapshotRequest, FetchSnapshotResponse);
