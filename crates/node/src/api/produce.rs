//! Produce (0), versions 3 to 13: one record batch for each partition. Versions 0 to 2 are advertised and refused, since old
//! clients take their absence for an ancient broker. Transactional produce is refused with a fatal error: there are no
//! transactions yet. Records stay bytes: they are checked, patched in place and never decoded.

use bytes::BytesMut;
use metricstream_wire::api::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceRequest,
    ProduceResponse, TopicProduceResponse,
};
use metricstream_wire::records::into_patchable;
use metricstream_wire::{ErrorCode, Uuid};

use super::Parked;
use super::leader_hints::LeaderHints;
use crate::broker::Write;
use crate::broker::waiting::WaitId;
use crate::image::PartitionId;
use crate::log::Origin;
use crate::node::{Incoming, Node, ReplyTo};
use crate::time::Now;

pub(crate) const KEY: i16 = 0;
/// From this version on an answer may say who leads instead (KIP-951).
const TELLS_LEADER_FROM: i16 = 10;

/// What is known of one partition's batch.
#[derive(Debug)]
struct Outcome {
    topic: usize,
    answer: PartitionProduceResponse,
    /// With acks=all: the partition, its epoch, and the offset that must be committed.
    waits_for: Option<(PartitionId, i32, i64)>,
}

/// A produce request that waits for its records to be committed.
#[derive(Debug)]
pub(crate) struct ParkedProduce {
    pub(crate) to: ReplyTo,
    topics: Vec<(String, Uuid)>,
    outcomes: Vec<Outcome>,
}

/// A version that is advertised and not spoken.
pub(crate) fn refuse_old(node: &mut Node, now: Now, incoming: Incoming) {
    // Its body cannot be read, so neither can its partitions be named: the connection ends, as in Kafka.
    node.drop_connection(now, incoming.to.conn());
}

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(mut body) = node.body::<ProduceRequest>(now, &mut incoming) else { return };
    let refused = if body.transactional_id.is_some() {
        Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    } else if !(-1..=1).contains(&body.acks) {
        Some(ErrorCode::INVALID_REQUIRED_ACKS)
    } else {
        None
    };
    let by_name = incoming.header.api_version < 13;
    let topics: Vec<(String, Uuid)> = body.topic_data.iter().map(|t| (t.name.clone(), t.topic_id)).collect();
    let mut places = Vec::new();
    let mut slices = Vec::new();
    for (topic, data) in body.topic_data.iter_mut().enumerate() {
        for partition in &mut data.partition_data {
            places.push((topic, partition.index));
            slices.push(partition.records.take().unwrap_or_default());
        }
    }
    let frame = std::mem::take(&mut incoming.frame);
    let batches = into_patchable(frame, slices);
    let mut outcomes = Vec::with_capacity(places.len());
    for ((topic, index), batch) in places.into_iter().zip(batches) {
        let (name, id) = &topics[topic];
        let id = if by_name { node.image.names.get(name).copied() } else { Some(*id) };
        let outcome = match (refused, id) {
            (Some(error), _) => failed(index, error, None),
            (None, Some(id)) => append(node, now, (id, index), batch, body.acks, by_name),
            (None, None) => failed(index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None),
        };
        outcomes.push(Outcome { topic, ..outcome });
    }
    let parked = ParkedProduce { to: incoming.to, topics, outcomes };
    if body.acks == 0 {
        return acknowledge_nothing(node, now, &parked);
    }
    wait_or_answer(node, now, parked, body.timeout_ms);
}

fn failed(index: i32, error: ErrorCode, message: Option<String>) -> Outcome {
    let answer = PartitionProduceResponse {
        index,
        error_code: error.0,
        base_offset: -1,
        error_message: message,
        ..PartitionProduceResponse::default()
    };
    Outcome { topic: 0, answer, waits_for: None }
}

fn append(node: &mut Node, now: Now, id: PartitionId, batch: BytesMut, acks: i16, by_name: bool) -> Outcome {
    let unknown = if by_name || node.image.topics.contains_key(&id.0) {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    } else {
        ErrorCode::UNKNOWN_TOPIC_ID
    };
    let known = node.image.partition(id).is_some();
    let Some(broker) = &mut node.broker else { return failed(id.1, unknown, None) };
    let Some(replica) = broker.replicas.get_mut(&id) else {
        return failed(id.1, if known { ErrorCode::NOT_LEADER_OR_FOLLOWER } else { unknown }, None);
    };
    let all = acks == -1;
    let flaws = &node.config.flaws;
    let write = Write { records: batch, origin: Origin::Client, acks_all: all };
    match replica.append(write, &node.image, flaws, now, &mut node.out) {
        Ok((appended, moved)) => {
            let told = appended.first_offset + i64::from(flaws.wrong_ack_offset);
            let answer = PartitionProduceResponse {
                index: id.1,
                base_offset: told,
                log_append_time_ms: appended.append_time_ms.unwrap_or(-1),
                log_start_offset: replica.log.start_offset(),
                ..PartitionProduceResponse::default()
            };
            let waits_for = all.then_some((id, replica.leader_epoch, appended.last_offset + 1));
            broker.moved(id, moved);
            if flaws.refuse_after_append && !appended.duplicate && appended.first_offset % 13 == 12 {
                return failed(id.1, ErrorCode::INVALID_RECORD, None);
            }
            Outcome { topic: 0, answer, waits_for }
        }
        Err(refused) => {
            let mut outcome = failed(id.1, refused.error, refused.message);
            let named = refused.records.into_iter();
            outcome.answer.record_errors =
                named.map(|i| BatchIndexAndErrorMessage { batch_index: i, ..Default::default() }).collect();
            outcome
        }
    }
}

/// With acks=0 the client hears nothing, unless something failed: then its connection ends, so that it looks again.
fn acknowledge_nothing(node: &mut Node, now: Now, parked: &ParkedProduce) {
    if parked.outcomes.iter().any(|o| o.answer.error_code != 0) {
        node.drop_connection(now, parked.to.conn());
    } else {
        node.respond_nothing(&parked.to);
    }
}

/// Looks at what each partition has come to. Whether nothing is waited for any more.
fn is_settled(node: &Node, parked: &mut ParkedProduce) -> bool {
    let Some(broker) = &node.broker else { return true };
    let mut settled = true;
    for outcome in &mut parked.outcomes {
        let Some((id, epoch, offset)) = outcome.waits_for else { continue };
        let replica = broker.replicas.get(&id).filter(|r| r.is_leader() && r.leader_epoch == epoch);
        let error = match replica {
            None => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            Some(replica) if replica.high_watermark >= offset => {
                let enough = replica.leading().is_ok_and(|l| l.isr().len() >= replica.min_isr);
                if enough { ErrorCode::NONE } else { ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND }
            }
            Some(_) => {
                settled = false;
                continue;
            }
        };
        outcome.waits_for = None;
        outcome.answer.error_code = error.0;
        if !error.is_none() {
            outcome.answer.base_offset = -1;
        }
    }
    settled
}

fn wait_or_answer(node: &mut Node, now: Now, mut parked: ParkedProduce, timeout_ms: i32) {
    if is_settled(node, &mut parked) {
        return answer(node, &parked);
    }
    let watches = parked.outcomes.iter().filter_map(|o| o.waits_for).map(|(id, _, _)| id).collect();
    let deadline = now.after_ms(i64::from(timeout_ms));
    if let Some(broker) = &mut node.broker {
        broker.waiting.park(Parked::Produce(parked), watches, deadline);
    }
}

/// Something moved on one of its partitions.
pub(crate) fn look_again(node: &mut Node, id: WaitId) {
    // Most looks find nothing new, so the request is taken out only when it is done.
    let done = {
        let Some(broker) = &node.broker else { return };
        let Some(Parked::Produce(parked)) = broker.waiting.get(id) else { return };
        parked.outcomes.iter().filter_map(|o| o.waits_for).all(|(id, epoch, offset)| {
            let replica = broker.replicas.get(&id).filter(|r| r.is_leader() && r.leader_epoch == epoch);
            replica.is_none_or(|r| r.high_watermark >= offset)
        })
    };
    if !done {
        return;
    }
    if let Some(Parked::Produce(mut parked)) = node.broker.as_mut().and_then(|b| b.waiting.take(id)) {
        is_settled(node, &mut parked);
        answer(node, &parked);
    }
}

/// What is not committed by now may yet be: the client has to find out.
pub(crate) fn out_of_time(node: &mut Node, mut parked: ParkedProduce) {
    is_settled(node, &mut parked);
    for outcome in parked.outcomes.iter_mut().filter(|o| o.waits_for.is_some()) {
        outcome.answer.error_code = ErrorCode::REQUEST_TIMED_OUT.0;
        outcome.answer.base_offset = -1;
    }
    answer(node, &parked);
}

fn answer(node: &mut Node, parked: &ParkedProduce) {
    let mut responses: Vec<TopicProduceResponse> = parked
        .topics
        .iter()
        .map(|(name, id)| TopicProduceResponse { name: name.clone(), topic_id: *id, partition_responses: Vec::new() })
        .collect();
    let mut hints = LeaderHints::default();
    for outcome in &parked.outcomes {
        let mut one = outcome.answer.clone();
        if one.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER.0 && parked.to.version >= TELLS_LEADER_FROM {
            let (name, id) = &parked.topics[outcome.topic];
            let id = node.image.names.get(name).copied().unwrap_or(*id);
            if let Some((leader_id, leader_epoch)) = hints.leader(node, (id, one.index)) {
                one.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
            }
        }
        responses[outcome.topic].partition_responses.push(one);
    }
    let node_endpoints = hints.endpoints(|node_id, host, port, rack| NodeEndpoint { node_id, host, port, rack });
    let body = ProduceResponse { responses, throttle_time_ms: 0, node_endpoints };
    node.respond::<ProduceRequest>(&parked.to, &body);
}
