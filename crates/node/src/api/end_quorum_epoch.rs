//! EndQuorumEpoch (54), versions 0 and 1: a leader of the quorum resigns (KIP-595).

use bytes::Bytes;
use metricstream_wire::api::end_quorum_epoch::{
    EndQuorumEpochPartition, EndQuorumEpochRequest, EndQuorumEpochResponse, EndQuorumEpochTopic, PreferredCandidate,
};
use metricstream_wire::{ErrorCode, frame};

use super::begin_quorum_epoch::{answer_of, endpoints, result};
use super::quorum::{Context, TOPIC};
use crate::node::{Incoming, Node, ReplyTo};
use crate::quorum::{Answer, EndEpoch, EpochAnswer, Request};
use crate::time::Now;

pub(crate) const KEY: i16 = 54;
const VERSION: i16 = 1;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<EndQuorumEpochRequest>(now, &mut incoming) else { return };
    let foreign = body.cluster_id.as_deref().is_some_and(|id| id != node.config.cluster_id);
    let asked = body.topics.first().filter(|t| t.topic_name == TOPIC).and_then(|t| t.partitions.first());
    let Some(asked) = asked.filter(|_| !foreign) else {
        let error = if foreign { ErrorCode::INCONSISTENT_CLUSTER_ID } else { ErrorCode::INVALID_REQUEST };
        let refused = EndQuorumEpochResponse { error_code: error.0, ..EndQuorumEpochResponse::default() };
        return node.respond::<EndQuorumEpochRequest>(&incoming.to, &refused);
    };
    let candidates = asked.preferred_candidates.iter().map(|c| c.candidate_id);
    let end = EndEpoch {
        leader_id: asked.leader_id,
        epoch: asked.leader_epoch,
        preferred_candidates: asked.preferred_successors.iter().copied().chain(candidates).collect(),
    };
    node.ask_quorum(now, &incoming, Request::EndEpoch(end));
}

pub(crate) fn frame(context: &Context<'_>, end: &EndEpoch, correlation: i32) -> Bytes {
    let candidate = |id: &i32| PreferredCandidate { candidate_id: *id, ..PreferredCandidate::default() };
    let partition = EndQuorumEpochPartition {
        leader_id: end.leader_id,
        leader_epoch: end.epoch,
        preferred_candidates: end.preferred_candidates.iter().map(candidate).collect(),
        ..EndQuorumEpochPartition::default()
    };
    let body = EndQuorumEpochRequest {
        cluster_id: Some(context.cluster_id.to_owned()),
        topics: vec![EndQuorumEpochTopic { topic_name: TOPIC.to_owned(), partitions: vec![partition] }],
        leader_endpoints: endpoints(context),
    };
    frame::request(&body, VERSION, correlation, &context.client_id()).expect("a version that is declared")
}

pub(crate) fn respond(node: &mut Node, to: &ReplyTo, answer: &EpochAnswer) {
    let body = EndQuorumEpochResponse { topics: result(answer), ..EndQuorumEpochResponse::default() };
    node.respond::<EndQuorumEpochRequest>(to, &body);
}

pub(crate) fn read_answer(bytes: Bytes) -> Option<Answer> {
    let (_, body) = frame::response::<EndQuorumEpochRequest>(bytes, VERSION).ok()?;
    answer_of(&body.topics).map(Answer::EndEpoch)
}
