//! AlterPartition (56): a leader asks the controller to shrink or grow an ISR. Versions 2 to 3: topics by id; broker
//! epochs with the replicas from 3 on (KIP-903).

use crate::primitives::Uuid;

structure! {
    /// The request.
    AlterPartitionRequest {
        broker_id: i32 [0];
        broker_epoch: i64 [0] = -1;
        topics: Vec<AlterPartitionTopic> [0];
    }
}
structure! {
    /// A topic.
    AlterPartitionTopic {
        topic_id: Uuid [2];
        partitions: Vec<AlterPartitionPartition> [0];
    }
}
structure! {
    /// A partition and the ISR that its leader wants. The partition epoch is the one that the leader knows.
    AlterPartitionPartition {
        partition_index: i32 [0];
        leader_epoch: i32 [0];
        new_isr: Vec<i32> [0 to 2];
        new_isr_with_epochs: Vec<BrokerState> [3];
        leader_recovery_state: i8 [1];
        partition_epoch: i32 [0];
    }
}
structure! {
    /// A replica and the broker epoch with which it fetched; −1 where none is known.
    BrokerState {
        broker_id: i32 [3];
        broker_epoch: i64 [3] = -1;
    }
}
structure! {
    /// The answer.
    AlterPartitionResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        topics: Vec<AlterPartitionTopicResult> [0];
    }
}
structure! {
    /// A topic.
    AlterPartitionTopicResult {
        topic_id: Uuid [2];
        partitions: Vec<AlterPartitionPartitionResult> [0];
    }
}
structure! {
    /// A partition as it is after the change.
    AlterPartitionPartitionResult {
        partition_index: i32 [0];
        error_code: i16 [0];
        leader_id: i32 [0];
        leader_epoch: i32 [0];
        isr: Vec<i32> [0];
        leader_recovery_state: i8 [1];
        partition_epoch: i32 [0];
    }
}
api!(56, versions 2 to 3, flexible 0, AlterPartitionRequest, AlterPartitionResponse);
