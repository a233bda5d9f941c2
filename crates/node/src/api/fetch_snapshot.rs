//! FetchSnapshot (59), versions 0 and 1: a snapshot of the metadata, piece by piece (KIP-630).

use bytes::Bytes;
use metricstream_wire::api::fetch::SnapshotId;
use metricstream_wire::api::fetch_snapshot::{
    FetchSnapshotRequest, FetchSnapshotResponse, PartitionSnapshot, PartitionSnapshotRequest, SnapshotLeader,
    TopicSnapshot, TopicSnapshotRequest,
};
use metricstream_wire::parts::Part;
use metricstream_wire::records::Records;
use metricstream_wire::{ErrorCode, frame};

use super::quorum::{Context, TOPIC, leader_id, leader_of};
use crate::node::{Incoming, Node, ReplyTo};
use crate::quorum::{Answer, CurrentLeader, FetchSnapshot, FetchSnapshotAnswer, OffsetAndEpoch, Request};
use crate::time::Now;

pub(crate) const KEY: i16 = 59;
const VERSION: i16 = 1;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<FetchSnapshotRequest>(now, &mut incoming) else { return };
    let foreign = body.cluster_id.as_deref().is_some_and(|id| id != node.config.cluster_id);
    let asked = body.topics.first().filter(|t| t.name == TOPIC).and_then(|t| t.partitions.first());
    let Some(asked) = asked.filter(|_| !foreign) else {
        let error = if foreign { ErrorCode::INCONSISTENT_CLUSTER_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
        let refused = FetchSnapshotResponse { error_code: error.0, ..FetchSnapshotResponse::default() };
        return node.respond::<FetchSnapshotRequest>(&incoming.to, &refused);
    };
    let fetch = FetchSnapshot {
        replica_id: body.replica_id,
        current_leader_epoch: asked.current_leader_epoch,
        snapshot: OffsetAndEpoch { offset: asked.snapshot_id.end_offset, epoch: asked.snapshot_id.epoch },
        position: asked.position,
        max_bytes: u32::try_from(body.max_bytes).unwrap_or(0),
    };
    node.ask_quorum(now, &incoming, Request::FetchSnapshot(fetch));
}

pub(crate) fn frame(context: &Context<'_>, fetch: &FetchSnapshot, correlation: i32) -> Bytes {
    let partition = PartitionSnapshotRequest {
        current_leader_epoch: fetch.current_leader_epoch,
        snapshot_id: SnapshotId { end_offset: fetch.snapshot.offset, epoch: fetch.snapshot.epoch },
        position: fetch.position,
        ..PartitionSnapshotRequest::default()
    };
    let body = FetchSnapshotRequest {
        cluster_id: Some(context.cluster_id.to_owned()),
        replica_id: fetch.replica_id,
        max_bytes: i32::try_from(fetch.max_bytes).unwrap_or(i32::MAX),
        topics: vec![TopicSnapshotRequest { name: TOPIC.to_owned(), partitions: vec![partition] }],
    };
    frame::request(&body, VERSION, correlation, &context.client_id()).expect("a version that is declared")
}

pub(crate) fn respond(node: &mut Node, to: &ReplyTo, answer: FetchSnapshotAnswer) {
    let current = answer.current;
    let partition = PartitionSnapshot {
        index: 0,
        error_code: answer.error.0,
        snapshot_id: SnapshotId { end_offset: answer.snapshot.offset, epoch: answer.snapshot.epoch },
        current_leader: SnapshotLeader { leader_id: leader_id(current.leader_id), leader_epoch: current.leader_epoch },
        size: i64::try_from(answer.size).unwrap_or(i64::MAX),
        position: i64::try_from(answer.position).unwrap_or(i64::MAX),
        unaligned_records: Records::from_parts(answer.records),
    };
    let topics = vec![TopicSnapshot { name: TOPIC.to_owned(), partitions: vec![partition] }];
    node.respond::<FetchSnapshotRequest>(to, &FetchSnapshotResponse { topics, ..FetchSnapshotResponse::default() });
}

pub(crate) fn read_answer(bytes: Bytes) -> Option<Answer> {
    let (_, mut body) = frame::response::<FetchSnapshotRequest>(bytes, VERSION).ok()?;
    let got = body.topics.first_mut()?.partitions.pop()?;
    let leader = got.current_leader;
    Some(Answer::FetchSnapshot(FetchSnapshotAnswer {
        error: ErrorCode(got.error_code),
        current: CurrentLeader { leader_id: leader_of(leader.leader_id), leader_epoch: leader.leader_epoch },
        snapshot: OffsetAndEpoch { offset: got.snapshot_id.end_offset, epoch: got.snapshot_id.epoch },
        size: u64::try_from(got.size).ok()?,
        position: u64::try_from(got.position).ok()?,
        records: vec![Part::Bytes(got.unaligned_records.into_bytes())],
    }))
}
