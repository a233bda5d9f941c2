//! BeginQuorumEpoch (53), versions 0 and 1: a new leader of the quorum makes itself known (KIP-595).

use bytes::Bytes;
use metricstream_wire::api::begin_quorum_epoch::{
    BeginQuorumEpochPartition, BeginQuorumEpochRequest, BeginQuorumEpochResponse, BeginQuorumEpochTopic,
    LeaderEndpoint, QuorumEpochPartitionResult, QuorumEpochTopicResult,
};
use metricstream_wire::{ErrorCode, frame};

use super::quorum::{Context, LISTENER, TOPIC, leader_id, leader_of};
use crate::node::{Incoming, Node, ReplyTo};
use crate::quorum::{Answer, BeginEpoch, CurrentLeader, EpochAnswer, Request};
use crate::time::Now;

pub(crate) const KEY: i16 = 53;
const VERSION: i16 = 1;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<BeginQuorumEpochRequest>(now, &mut incoming) else { return };
    let foreign = body.cluster_id.as_deref().is_some_and(|id| id != node.config.cluster_id);
    let asked = body.topics.first().filter(|t| t.topic_name == TOPIC).and_then(|t| t.partitions.first());
    let Some(asked) = asked.filter(|_| !foreign) else {
        let error = if foreign { ErrorCode::INCONSISTENT_CLUSTER_ID } else { ErrorCode::INVALID_REQUEST };
        let refused = BeginQuorumEpochResponse { error_code: error.0, ..BeginQuorumEpochResponse::default() };
        return node.respond::<BeginQuorumEpochRequest>(&incoming.to, &refused);
    };
    let voter = if body.voter_id < 0 { node.config.node_id } else { body.voter_id };
    let begin = BeginEpoch { leader_id: asked.leader_id, epoch: asked.leader_epoch, voter };
    node.ask_quorum(now, &incoming, Request::BeginEpoch(begin));
}

pub(crate) fn frame(context: &Context<'_>, begin: &BeginEpoch, correlation: i32) -> Bytes {
    let partition = BeginQuorumEpochPartition {
        leader_id: begin.leader_id,
        leader_epoch: begin.epoch,
        ..BeginQuorumEpochPartition::default()
    };
    let body = BeginQuorumEpochRequest {
        cluster_id: Some(context.cluster_id.to_owned()),
        voter_id: begin.voter,
        topics: vec![BeginQuorumEpochTopic { topic_name: TOPIC.to_owned(), partitions: vec![partition] }],
        leader_endpoints: endpoints(context),
    };
    frame::request(&body, VERSION, correlation, &context.client_id()).expect("a version that is declared")
}

/// Where the leader listens.
pub(crate) fn endpoints(context: &Context<'_>) -> Vec<LeaderEndpoint> {
    let at = context.listener.into_iter();
    at.map(|at| LeaderEndpoint { name: LISTENER.to_owned(), host: at.host.clone(), port: at.port }).collect()
}

/// The answer's one partition.
pub(crate) fn result(answer: &EpochAnswer) -> Vec<QuorumEpochTopicResult> {
    let partition = QuorumEpochPartitionResult {
        partition_index: 0,
        error_code: answer.error.0,
        leader_id: leader_id(answer.current.leader_id),
        leader_epoch: answer.current.leader_epoch,
    };
    vec![QuorumEpochTopicResult { topic_name: TOPIC.to_owned(), partitions: vec![partition] }]
}

/// The answer that these topics hold.
pub(crate) fn answer_of(topics: &[QuorumEpochTopicResult]) -> Option<EpochAnswer> {
    let got = topics.first()?.partitions.first()?;
    let current = CurrentLeader { leader_id: leader_of(got.leader_id), leader_epoch: got.leader_epoch };
    Some(EpochAnswer { error: ErrorCode(got.error_code), current })
}

pub(crate) fn respond(node: &mut Node, to: &ReplyTo, answer: &EpochAnswer) {
    let body = BeginQuorumEpochResponse { topics: result(answer), ..BeginQuorumEpochResponse::default() };
    node.respond::<BeginQuorumEpochRequest>(to, &body);
}

pub(crate) fn read_answer(bytes: Bytes) -> Option<Answer> {
    let (_, body) = frame::response::<BeginQuorumEpochRequest>(bytes, VERSION).ok()?;
    answer_of(&body.topics).map(Answer::BeginEpoch)
}
