//! ConsumerGroupDescribe (69), versions 0 and 1: KIP-848 groups. Every member speaks the new protocol. Missing:
//! authorized operations (there is no authorizer), throttling.

use metricstream_wire::api::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup, Member, TopicPartitions,
};

use crate::group::{ConsumerDescription, ConsumerMemberDescription, GroupRequest, NamedPartitions};

/// The member speaks the KIP-848 protocol (version 1).
const NEW_PROTOCOL: i8 = 1;

/// From the wire.
#[must_use]
pub(crate) fn decode(request: ConsumerGroupDescribeRequest, _version: i16) -> GroupRequest {
    GroupRequest::ConsumerGroupDescribe { groups: request.group_ids }
}

/// To the wire.
#[must_use]
pub(crate) fn encode(groups: Vec<ConsumerDescription>, _version: i16) -> ConsumerGroupDescribeResponse {
    let group = |g: ConsumerDescription| DescribedGroup {
        error_code: g.error.0,
        error_message: g.message,
        group_id: g.group_id,
        group_state: g.state.to_owned(),
        group_epoch: g.group_epoch,
        assignment_epoch: g.assignment_epoch,
        assignor_name: g.assignor,
        members: g.members.into_iter().map(member).collect(),
        ..DescribedGroup::default()
    };
    ConsumerGroupDescribeResponse { throttle_time_ms: 0, groups: groups.into_iter().map(group).collect() }
}

fn member(m: ConsumerMemberDescription) -> Member {
    Member {
        member_id: m.member_id,
        instance_id: m.instance_id,
        rack_id: m.rack_id,
        member_epoch: m.member_epoch,
        client_id: m.client.id,
        client_host: m.client.host,
        subscribed_topic_names: m.subscribed_topics,
        subscribed_topic_regex: None,
        assignment: assignment(m.assignment),
        target_assignment: assignment(m.target),
        member_type: NEW_PROTOCOL,
    }
}

fn assignment(partitions: Vec<NamedPartitions>) -> Assignment {
    let topic =
        |t: NamedPartitions| TopicPartitions { topic_id: t.topic_id, topic_name: t.topic, partitions: t.partitions };
    Assignment { topic_partitions: partitions.into_iter().map(topic).collect() }
}
