//! AlterPartitionReassignments (45), versions 0 and 1. Deliberately missing: replicas are not moved here. What asks for the
//! replicas that a partition has is answered as done, a cancellation by there being none, anything else is refused.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopic, ReassignableTopicResponse,
};

use crate::controller::Controller;
use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<AlterPartitionReassignmentsRequest>(now, &mut incoming) else { return };
    let allow = body.allow_replication_factor_change;
    let responses = node.active().map(|controller| body.topics.iter().map(|t| judged(controller, t)).collect());
    let answer = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: allow,
        error_code: super::code(&responses),
        responses: responses.unwrap_or_default(),
        ..AlterPartitionReassignmentsResponse::default()
    };
    node.respond::<AlterPartitionReassignmentsRequest>(&incoming.to, &answer);
}

fn judged(controller: &Controller, topic: &ReassignableTopic) -> ReassignableTopicResponse {
    let partitions = topic.partitions.iter().map(|p| {
        let (error, error_message) = judge(controller, &topic.name, p);
        ReassignablePartitionResponse { partition_index: p.partition_index, error_code: error.0, error_message }
    });
    ReassignableTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
}

fn judge(controller: &Controller, topic: &str, wish: &ReassignablePartition) -> (ErrorCode, Option<String>) {
    let now = controller.image().topic(topic).and_then(|t| t.partitions.get(&wish.partition_index));
    match (now, &wish.replicas) {
        (None, _) => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None),
        (Some(_), None) => (ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, None),
        (Some(now), Some(replicas)) if now.replicas == *replicas => (ErrorCode::NONE, None),
        (Some(_), Some(_)) => {
            let text = "the embedded cluster does not move replicas".to_owned();
            (ErrorCode::UNSUPPORTED_VERSION, Some(text))
        }
    }
}
