//! DescribeProducers (61), version 0: what a replica remembers of idempotent producers (KIP-664). There are no transactions, so
//! none has begun.

use metricstream_wire::api::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};

use super::find_replica;
use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<DescribeProducersRequest>(now, &mut incoming) else { return };
    let topics = body.topics.into_iter().map(|topic| TopicResponse {
        partitions: topic.partition_indexes.iter().map(|index| told(node, &topic.name, *index)).collect(),
        name: topic.name,
    });
    let answer = DescribeProducersResponse { topics: topics.collect(), ..DescribeProducersResponse::default() };
    node.respond::<DescribeProducersRequest>(&incoming.to, &answer);
}

fn told(node: &Node, topic: &str, partition_index: i32) -> PartitionResponse {
    let one = PartitionResponse { partition_index, ..PartitionResponse::default() };
    let replica = match find_replica(node, topic, partition_index) {
        Ok((_, replica)) => replica,
        Err(error) => {
            return PartitionResponse { error_code: error.0, error_message: Some(error.to_string()), ..one };
        }
    };
    let producers = replica.log.producers().all().iter().map(|(id, state)| ProducerState {
        producer_id: *id,
        producer_epoch: i32::from(state.epoch),
        last_sequence: state.last_sequence(),
        last_timestamp: state.last_timestamp_ms,
        coordinator_epoch: -1,
        ..ProducerState::default()
    });
    PartitionResponse { active_producers: producers.collect(), ..one }
}
