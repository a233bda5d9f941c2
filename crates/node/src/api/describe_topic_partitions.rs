//! DescribeTopicPartitions (75), version 0: topics in pages, with their eligible leader replicas (KIP-966). Rights are not
//! told, since there are none.

use std::collections::BTreeSet;

use metricstream_wire::ErrorCode;
use metricstream_wire::api::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};

use super::metadata::INTERNAL;
use crate::image::{Image, Partition};
use crate::node::{Incoming, Node};
use crate::time::Now;

/// Kafka's `max.request.partition.size.limit`.
const PAGE_MAX: usize = 2_000;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<DescribeTopicPartitionsRequest>(now, &mut incoming) else { return };
    let (topics, next_cursor) = page(&node.image, &body);
    let answer = DescribeTopicPartitionsResponse { topics, next_cursor, ..DescribeTopicPartitionsResponse::default() };
    node.respond::<DescribeTopicPartitionsRequest>(&incoming.to, &answer);
}

/// Topics in the order of their names, from the cursor on, until the page is full; and where the next one begins.
fn page(
    image: &Image,
    body: &DescribeTopicPartitionsRequest,
) -> (Vec<DescribeTopicPartitionsResponseTopic>, Option<Cursor>) {
    let (from, first) = body.cursor.as_ref().map_or(("", 0), |c| (c.topic_name.as_str(), c.partition_index));
    let named: BTreeSet<&str> = if body.topics.is_empty() {
        image.names.keys().map(String::as_str).collect()
    } else {
        body.topics.iter().map(|t| t.name.as_str()).collect()
    };
    let mut left = usize::try_from(body.response_partition_limit).unwrap_or(0).clamp(1, PAGE_MAX);
    let mut topics = Vec::new();
    for name in named.into_iter().filter(|name| *name >= from) {
        let first = if name == from { first } else { 0 };
        if left == 0 {
            return (topics, Some(Cursor { topic_name: name.to_owned(), partition_index: first }));
        }
        let Some(topic) = image.topic(name) else {
            // One that was deleted between two pages is not an error of who turns them.
            if body.topics.is_empty() || name != from {
                topics.push(unknown(name));
            }
            continue;
        };
        let mut rest = topic.partitions.range(first.max(0)..);
        let partitions: Vec<_> = rest.by_ref().take(left).map(|(index, p)| told(image, *index, p)).collect();
        left -= partitions.len();
        topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(name.to_owned()),
            topic_id: topic.id,
            is_internal: INTERNAL.contains(&name),
            partitions,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        if let Some((next, _)) = rest.next() {
            return (topics, Some(Cursor { topic_name: name.to_owned(), partition_index: *next }));
        }
    }
    (topics, None)
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let sound = crate::controller::is_topic_name(name);
    let error = if sound { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION } else { ErrorCode::INVALID_TOPIC_EXCEPTION };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.0,
        name: Some(name.to_owned()),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn told(image: &Image, partition_index: i32, p: &Partition) -> DescribeTopicPartitionsResponsePartition {
    let up = |id: &i32| image.brokers.get(id).is_some_and(|b| !b.fenced);
    let leader = Some(p.leader).filter(up);
    DescribeTopicPartitionsResponsePartition {
        error_code: if leader.is_none() { ErrorCode::LEADER_NOT_AVAILABLE.0 } else { 0 },
        partition_index,
        leader_id: leader.unwrap_or(-1),
        leader_epoch: p.leader_epoch,
        replica_nodes: p.replicas.clone(),
        isr_nodes: p.isr.clone(),
        eligible_leader_replicas: p.elr.clone(),
        last_known_elr: p.last_known_elr.clone(),
        offline_replicas: p.replicas.iter().copied().filter(|id| !up(id)).collect(),
    }
}
