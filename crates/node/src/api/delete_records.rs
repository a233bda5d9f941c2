//! DeleteRecords (21), versions 0 to 2: nothing before an offset can be read any more (KIP-107). Answered when the logs of all
//! living replicas begin there, which followers learn with one fetch and say with the next, or when time is over.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

use super::{Parked, find_replica};
use crate::broker::waiting::WaitId;
use crate::image::PartitionId;
use crate::node::{Incoming, Node, ReplyTo};
use crate::time::Now;

#[derive(Debug)]
struct Outcome {
    topic: usize,
    answer: DeleteRecordsPartitionResult,
    /// Where all logs are to begin.
    waits_for: Option<(PartitionId, i64)>,
}

/// A request that waits for followers.
#[derive(Debug)]
pub(crate) struct ParkedDeleteRecords {
    pub(crate) to: ReplyTo,
    topics: Vec<String>,
    outcomes: Vec<Outcome>,
}

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<DeleteRecordsRequest>(now, &mut incoming) else { return };
    let mut parked = ParkedDeleteRecords { to: incoming.to, topics: Vec::new(), outcomes: Vec::new() };
    for (topic, asked) in body.topics.into_iter().enumerate() {
        for partition in &asked.partitions {
            let index = partition.partition_index;
            let mut answer = DeleteRecordsPartitionResult {
                partition_index: index,
                low_watermark: -1,
                ..DeleteRecordsPartitionResult::default()
            };
            let deleted = delete(node, &asked.name, index, partition.offset);
            answer.error_code = super::code(&deleted);
            parked.outcomes.push(Outcome { topic, answer, waits_for: deleted.ok() });
        }
        parked.topics.push(asked.name);
    }
    if is_settled(node, &mut parked) {
        return respond(node, parked);
    }
    let watches = parked.outcomes.iter().filter_map(|o| o.waits_for).map(|(id, _)| id).collect();
    if let Some(broker) = &mut node.broker {
        broker.waiting.park(Parked::DeleteRecords(parked), watches, now.after_ms(i64::from(body.timeout_ms)));
    }
}

fn delete(node: &mut Node, topic: &str, partition: i32, offset: i64) -> Result<(PartitionId, i64), ErrorCode> {
    let (id, _) = find_replica(node, topic, partition)?;
    let replica = node.broker.as_mut().and_then(|broker| broker.replicas.get_mut(&id));
    let replica = replica.ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    replica.delete_records(offset, &mut node.out).map(|offset| (id, offset))
}

/// Looks at what each partition has come to. Whether nothing is waited for any more.
fn is_settled(node: &Node, parked: &mut ParkedDeleteRecords) -> bool {
    let Some(broker) = &node.broker else { return true };
    let mut settled = true;
    for outcome in &mut parked.outcomes {
        let Some((id, offset)) = outcome.waits_for else { continue };
        let replica = broker.replicas.get(&id).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        match replica.and_then(|replica| replica.low_watermark(&node.image)) {
            Ok(low_watermark) => {
                outcome.answer.low_watermark = low_watermark;
                if low_watermark < offset {
                    settled = false;
                    continue;
                }
            }
            Err(error) => outcome.answer.error_code = error.0,
        }
        outcome.waits_for = None;
    }
    settled
}

/// Something moved on one of its partitions.
pub(crate) fn look_again(node: &mut Node, id: WaitId) {
    let done = {
        let Some(broker) = &node.broker else { return };
        let Some(Parked::DeleteRecords(parked)) = broker.waiting.get(id) else { return };
        parked.outcomes.iter().filter_map(|o| o.waits_for).all(|(id, offset)| {
            let low_watermark = broker.replicas.get(&id).and_then(|r| r.low_watermark(&node.image).ok());
            low_watermark.is_none_or(|low_watermark| low_watermark >= offset)
        })
    };
    if !done {
        return;
    }
    if let Some(Parked::DeleteRecords(mut parked)) = node.broker.as_mut().and_then(|b| b.waiting.take(id)) {
        is_settled(node, &mut parked);
        respond(node, parked);
    }
}

/// Some follower has not said that its log begins there.
pub(crate) fn out_of_time(node: &mut Node, mut parked: ParkedDeleteRecords) {
    is_settled(node, &mut parked);
    for outcome in parked.outcomes.iter_mut().filter(|o| o.waits_for.is_some()) {
        outcome.answer.error_code = ErrorCode::REQUEST_TIMED_OUT.0;
    }
    respond(node, parked);
}

fn respond(node: &mut Node, parked: ParkedDeleteRecords) {
    let mut topics: Vec<DeleteRecordsTopicResult> = parked
        .topics
        .into_iter()
        .map(|name| DeleteRecordsTopicResult { name, ..DeleteRecordsTopicResult::default() })
        .collect();
    for outcome in parked.outcomes {
        topics[outcome.topic].partitions.push(outcome.answer);
    }
    let body = DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() };
    node.respond::<DeleteRecordsRequest>(&parked.to, &body);
}
