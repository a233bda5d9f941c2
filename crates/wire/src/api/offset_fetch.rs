//! OffsetFetch (9): what a group has committed. Versions 1 to 10; of one group until 7, of many from 8 on, topics by id
//! in 10.

use crate::primitives::Uuid;

structure! {
    /// The question; no list of topics asks for all.
    OffsetFetchRequest {
        group_id: String [0 to 7];
        topics: Option<Vec<OffsetFetchRequestTopic>> [0 to 7 null 2];
        groups: Vec<OffsetFetchRequestGroup> [8];
        require_stable: bool [7];
    }
}
structure! {
    /// A topic, until version 7.
    OffsetFetchRequestTopic {
        name: String [0 to 7];
        partition_indexes: Vec<i32> [0 to 7];
    }
}
structure! {
    /// A group; no list of topics asks for all.
    OffsetFetchRequestGroup {
        group_id: String [8];
        member_id: Option<String> [9];
        member_epoch: i32 [9] = -1;
        topics: Option<Vec<OffsetFetchRequestTopics>> [8];
    }
}
structure! {
    /// A topic, from version 8 on.
    OffsetFetchRequestTopics {
        name: String [0 to 9];
        topic_id: Uuid [10];
        partition_indexes: Vec<i32> [8];
    }
}
structure! {
    /// The answer.
    OffsetFetchResponse {
        throttle_time_ms: i32 [3];
        topics: Vec<OffsetFetchResponseTopic> [0 to 7];
        error_code: i16 [2 to 7];
        groups: Vec<OffsetFetchResponseGroup> [8];
    }
}
structure! {
    /// A topic, until version 7.
    OffsetFetchResponseTopic {
        name: String [0 to 7];
        partitions: Vec<OffsetFetchResponsePartition> [0 to 7];
    }
}
structure! {
    /// A partition, until version 7; offset −1 without an error where nothing was committed.
    OffsetFetchResponsePartition {
        partition_index: i32 [0 to 7];
        committed_offset: i64 [0 to 7];
        committed_leader_epoch: i32 [5 to 7] = -1;
        metadata: Option<String> [0 to 7];
        error_code: i16 [0 to 7];
    }
}
structure! {
    /// A group.
    OffsetFetchResponseGroup {
        group_id: String [8];
        topics: Vec<OffsetFetchResponseTopics> [8];
        error_code: i16 [8];
    }
}
structure! {
    /// A topic, from version 8 on.
    OffsetFetchResponseTopics {
        name: String [0 to 9];
        topic_id: Uuid [10];
        partitions: Vec<OffsetFetchResponsePartitions> [8];
    }
}
structure! {
    /// A partition, from version 8 on; offset −1 without an error where nothing was committed.
    OffsetFetchResponsePartitions {
        partition_index: i32 [8];
        committed_offset: i64 [8];
        committed_leader_epoch: i32 [8] = -1;
        metadata: Option<String> [8];
        error_code: i16 [8];
    }
}
api!(9, versions 1 to 10, flexible 6, OffsetFetchRequest, OffsetFetchResponse);
