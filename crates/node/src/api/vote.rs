//! Vote (52), versions 0 to 2: whether a voter may lead (KIP-595), or would be let lead (KIP-996). Directory ids are
//! neither sent nor compared: the set of voters is fixed.

use bytes::Bytes;
use metricstream_wire::api::vote::{
    VotePartition, VotePartitionResult, VoteRequest, VoteResponse, VoteTopic, VoteTopicResult,
};
use metricstream_wire::{ErrorCode, frame};

use super::quorum::{Context, TOPIC, leader_id, leader_of};
use crate::node::{Incoming, Node, ReplyTo};
use crate::quorum::{Answer, CurrentLeader, Request, Vote, VoteAnswer};
use crate::time::Now;

pub(crate) const KEY: i16 = 52;
const VERSION: i16 = 2;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<VoteRequest>(now, &mut incoming) else { return };
    let foreign = body.cluster_id.as_deref().is_some_and(|id| id != node.config.cluster_id);
    let asked = body.topics.first().filter(|t| t.topic_name == TOPIC).and_then(|t| t.partitions.first());
    let Some(asked) = asked.filter(|_| !foreign) else {
        let error = if foreign { ErrorCode::INCONSISTENT_CLUSTER_ID } else { ErrorCode::INVALID_REQUEST };
        return node
            .respond::<VoteRequest>(&incoming.to, &VoteResponse { error_code: error.0, ..VoteResponse::default() });
    };
    let vote = Vote {
        epoch: asked.replica_epoch,
        candidate: asked.replica_id,
        voter: if body.voter_id < 0 { node.config.node_id } else { body.voter_id },
        last_epoch: asked.last_offset_epoch,
        last_offset: asked.last_offset,
        pre_vote: asked.pre_vote,
    };
    node.ask_quorum(now, &incoming, Request::Vote(vote));
}

pub(crate) fn frame(context: &Context<'_>, vote: &Vote, correlation: i32) -> Bytes {
    let partition = VotePartition {
        replica_epoch: vote.epoch,
        replica_id: vote.candidate,
        last_offset_epoch: vote.last_epoch,
        last_offset: vote.last_offset,
        pre_vote: vote.pre_vote,
        ..VotePartition::default()
    };
    let body = VoteRequest {
        cluster_id: Some(context.cluster_id.to_owned()),
        voter_id: vote.voter,
        topics: vec![VoteTopic { topic_name: TOPIC.to_owned(), partitions: vec![partition] }],
    };
    frame::request(&body, VERSION, correlation, &context.client_id()).expect("a version that is declared")
}

pub(crate) fn respond(node: &mut Node, to: &ReplyTo, answer: &VoteAnswer) {
    let partition = VotePartitionResult {
        partition_index: 0,
        error_code: answer.error.0,
        leader_id: leader_id(answer.current.leader_id),
        leader_epoch: answer.current.leader_epoch,
        vote_granted: answer.granted,
    };
    let topics = vec![VoteTopicResult { topic_name: TOPIC.to_owned(), partitions: vec![partition] }];
    node.respond::<VoteRequest>(to, &VoteResponse { topics, ..VoteResponse::default() });
}

pub(crate) fn read_answer(bytes: Bytes) -> Option<Answer> {
    let (_, body) = frame::response::<VoteRequest>(bytes, VERSION).ok()?;
    let got = body.topics.first()?.partitions.first()?;
    Some(Answer::Vote(VoteAnswer {
        error: ErrorCode(got.error_code),
        current: CurrentLeader { leader_id: leader_of(got.leader_id), leader_epoch: got.leader_epoch },
        granted: got.vote_granted,
    }))
}
