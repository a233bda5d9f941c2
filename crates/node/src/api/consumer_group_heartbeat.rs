//! ConsumerGroupHeartbeat (68), versions 0 and 1. Missing: subscriptions by regular expression (refused with
//! INVALID_REGULAR_EXPRESSION), members that move between the protocols while the group is alive, throttling.

use metricstream_wire::api::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};

use crate::group::{Client, ConsumerGroupHeartbeat, ConsumerGroupHeartbeatAnswer, GroupRequest};

/// From the wire.
#[must_use]
pub(crate) fn decode(request: ConsumerGroupHeartbeatRequest, version: i16, client: Client) -> GroupRequest {
    let owned = request.topic_partitions.map(|ts| ts.into_iter().map(|t| (t.topic_id, t.partitions)).collect());
    GroupRequest::ConsumerGroupHeartbeat(ConsumerGroupHeartbeat {
        client,
        group_id: request.group_id,
        member_id: request.member_id,
        member_epoch: request.member_epoch,
        instance_id: request.instance_id,
        rack_id: request.rack_id,
        rebalance_timeout_ms: Some(request.rebalance_timeout_ms).filter(|ms| *ms != -1),
        subscribed_topics: request.subscribed_topic_names,
        subscribed_regex: request.subscribed_topic_regex,
        server_assignor: request.server_assignor,
        owned,
        member_chooses_id: version >= 1,
    })
}

/// To the wire.
#[must_use]
pub(crate) fn encode(answer: ConsumerGroupHeartbeatAnswer, _version: i16) -> ConsumerGroupHeartbeatResponse {
    let topic = |(topic_id, partitions)| TopicPartitions { topic_id, partitions };
    let assignment = answer.assignment.map(|ts| Assignment { topic_partitions: ts.into_iter().map(topic).collect() });
    ConsumerGroupHeartbeatResponse {
        throttle_time_ms: 0,
        error_code: answer.error.0,
        error_message: answer.message,
        member_id: answer.member_id,
        member_epoch: answer.member_epoch,
        heartbeat_interval_ms: answer.heartbeat_interval_ms,
        assignment,
    }
}
