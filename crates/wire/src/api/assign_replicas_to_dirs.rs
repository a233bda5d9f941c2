//! AssignReplicasToDirs (73): a broker tells the controller in which log directory its replicas lie (KIP-858). Version 0.

use crate::primitives::Uuid;

structure! {
    /// The request.
    AssignReplicasToDirsRequest {
        broker_id: i32 [0];
        broker_epoch: i64 [0] = -1;
        directories: Vec<DirectoryAssignment> [0];
    }
}
structure! {
    /// A directory and what lies in it.
    DirectoryAssignment {
        id: Uuid [0];
        topics: Vec<DirectoryTopic> [0];
    }
}
structure! {
    /// A topic.
    DirectoryTopic {
        topic_id: Uuid [0];
        partitions: Vec<DirectoryPartition> [0];
    }
}
structure! {
    /// A partition.
    DirectoryPartition {
        partition_index: i32 [0];
    }
}
structure! {
    /// The answer.
    AssignReplicasToDirsResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        directories: Vec<DirectoryAssignmentResult> [0];
    }
}
structure! {
    /// A directory.
    DirectoryAssignmentResult {
        id: Uuid [0];
        topics: Vec<DirectoryTopicResult> [0];
    }
}
structure! {
    /// A topic.
    DirectoryTopicResult {
        topic_id: Uuid [0];
        partitions: Vec<DirectoryPartitionResult> [0];
    }
}
structure! {
    /// A partition.
    DirectoryPartitionResult {
        partition_index: i32 [0];
        error_code: i16 [0];
    }
}
api!(73, versions 0 to 0, flexible 0, AssignReplicasToDirsRequest, AssignReplicasToDirsResponse);
