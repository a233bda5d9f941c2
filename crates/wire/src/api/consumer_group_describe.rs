//! ConsumerGroupDescribe (69): KIP-848 groups. Versions 0 and 1.

use crate::primitives::Uuid;

structure! {
    /// The question.
    ConsumerGroupDescribeRequest {
        group_ids: Vec<String> [0];
        include_authorized_operations: bool [0];
    }
}
structure! {
    /// The answer.
    ConsumerGroupDescribeResponse {
        throttle_time_ms: i32 [0];
        groups: Vec<DescribedGroup> [0];
    }
}
structure! {
    /// A group.
    DescribedGroup {
        error_code: i16 [0];
        error_message: Option<String> [0];
        group_id: String [0];
        group_state: String [0];
        group_epoch: i32 [0];
        assignment_epoch: i32 [0];
        assignor_name: String [0];
        members: Vec<Member> [0];
        authorized_operations: i32 [0] = i32::MIN;
    }
}
structure! {
    /// A member; of type 0 if it speaks the classic protocol, 1 if the new one, −1 if unknown.
    Member {
        member_id: String [0];
        instance_id: Option<String> [0];
        rack_id: Option<String> [0];
        member_epoch: i32 [0];
        client_id: String [0];
        client_host: String [0];
        subscribed_topic_names: Vec<String> [0];
        subscribed_topic_regex: Option<String> [0];
        assignment: Assignment [0];
        target_assignment: Assignment [0];
        member_type: i8 [1] = -1;
    }
}
structure! {
    /// What a member owns or is to own.
    Assignment {
        topic_partitions: Vec<TopicPartitions> [0];
    }
}
structure! {
    /// Partitions of one topic.
    TopicPartitions {
        topic_id: Uuid [0];
        topic_name: String [0];
        partitions: Vec<i32> [0];
    }
}
api!(69, versions 0 to 1, flexible 0, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse);
