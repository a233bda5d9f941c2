//! What tells of topics and partitions: they come, change and go.

use crate::primitives::Uuid;

structure! {
    /// A topic came (type 2).
    Topic {
        name: String [0];
        topic_id: Uuid [0];
    }
}
structure! {
    /// A partition came (type 3).
    Partition {
        partition_id: i32 [0] = -1;
        topic_id: Uuid [0];
        replicas: Vec<i32> [0];
        isr: Vec<i32> [0];
        removing_replicas: Vec<i32> [0];
        adding_replicas: Vec<i32> [0];
        leader: i32 [0] = -1;
        leader_recovery_state: i8 [0 tag 0];
        leader_epoch: i32 [0] = -1;
        partition_epoch: i32 [0] = -1;
        directories: Vec<Uuid> [1];
        eligible_leader_replicas: Option<Vec<i32>> [2 tag 1];
        last_known_elr: Option<Vec<i32>> [2 tag 2];
    }
}
structure! {
    /// A partition changed (type 5); what is null stays. Leader −2 stays too; any other raises the leader epoch. The
    /// partition epoch always rises.
    PartitionChange {
        partition_id: i32 [0] = -1;
        topic_id: Uuid [0];
        isr: Option<Vec<i32>> [0 tag 0];
        leader: i32 [0 tag 1] = PartitionChange::SAME_LEADER;
        replicas: Option<Vec<i32>> [0 tag 2];
        removing_replicas: Option<Vec<i32>> [0 tag 3];
        adding_replicas: Option<Vec<i32>> [0 tag 4];
        leader_recovery_state: i8 [0 tag 5] = -1;
        eligible_leader_replicas: Option<Vec<i32>> [2 tag 6];
        last_known_elr: Option<Vec<i32>> [2 tag 7];
        directories: Option<Vec<Uuid>> [1 tag 8];
    }
}
structure! {
    /// A topic went (type 9).
    RemoveTopic {
        topic_id: Uuid [0];
    }
}
structure! {
    /// The eligible leader replicas of a topic's partitions were cleared (type 28; KIP-966); no name means those of all
    /// topics.
    ClearElr {
        topic_name: String [0];
    }
}

impl PartitionChange {
    /// The leader stays.
    pub const SAME_LEADER: i32 = -2;
}
