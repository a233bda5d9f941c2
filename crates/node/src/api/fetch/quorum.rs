//! Fetches of `__cluster_metadata`: by voters, brokers and observers, answered by the quorum (KIP-595).

use bytes::Bytes;
use metricstream_wire::api::fetch::{
    EpochEndOffset, FetchPartition, FetchReplicaState, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse,
    LeaderIdAndEpoch, PartitionData, SnapshotId,
};
use metricstream_wire::parts::Part;
use metricstream_wire::records::Records;
use metricstream_wire::{ErrorCode, frame};

use super::{VERSION, is_metadata};
use crate::api::quorum::{Context, TOPIC, TOPIC_ID, leader_id, leader_of};
use crate::node::{Incoming, Node, ReplyTo};
use crate::quorum::{Answer, CurrentLeader, Fetch, FetchAnswer, OffsetAndEpoch, Request};
use crate::time::Now;

pub(super) fn handle(node: &mut Node, now: Now, incoming: &Incoming, body: &FetchRequest) {
    let version = incoming.header.api_version;
    let foreign = body.cluster_id.as_deref().is_some_and(|id| id != node.config.cluster_id);
    let right = |t: &&FetchTopic| if version >= 13 { is_metadata(&t.topic_id) } else { t.topic == TOPIC };
    let asked = body.topics.iter().find(right).and_then(|t| t.partitions.first());
    let Some(asked) = asked.filter(|_| !foreign) else {
        let error = if foreign { ErrorCode::INCONSISTENT_CLUSTER_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
        let refused = FetchResponse { error_code: error.0, ..FetchResponse::default() };
        return node.respond::<FetchRequest>(&incoming.to, &refused);
    };
    let fetch = Fetch {
        replica_id: if version >= 15 { body.replica_state.replica_id } else { body.replica_id },
        current_leader_epoch: asked.current_leader_epoch,
        fetch_offset: asked.fetch_offset,
        last_fetched_epoch: asked.last_fetched_epoch,
        high_watermark: asked.high_watermark,
        max_bytes: u32::try_from(body.max_bytes.min(asked.partition_max_bytes).max(1)).unwrap_or(1),
        max_wait_ms: i64::from(body.max_wait_ms),
    };
    node.ask_quorum(now, incoming, Request::Fetch(fetch));
}

pub(crate) fn metadata_frame(context: &Context<'_>, fetch: &Fetch, correlation: i32) -> Bytes {
    let max_bytes = i32::try_from(fetch.max_bytes).unwrap_or(i32::MAX);
    let partition = FetchPartition {
        current_leader_epoch: fetch.current_leader_epoch,
        fetch_offset: fetch.fetch_offset,
        last_fetched_epoch: fetch.last_fetched_epoch,
        log_start_offset: -1,
        partition_max_bytes: max_bytes,
        high_watermark: fetch.high_watermark,
        ..FetchPartition::default()
    };
    let body = FetchRequest {
        cluster_id: Some(context.cluster_id.to_owned()),
        replica_state: FetchReplicaState { replica_id: fetch.replica_id, replica_epoch: -1 },
        max_wait_ms: i32::try_from(fetch.max_wait_ms).unwrap_or(i32::MAX),
        min_bytes: 0,
        max_bytes,
        topics: vec![FetchTopic { topic_id: TOPIC_ID, partitions: vec![partition], ..FetchTopic::default() }],
        ..FetchRequest::default()
    };
    frame::request(&body, VERSION, correlation, &context.client_id()).expect("a version that is declared")
}

pub(crate) fn respond_metadata(node: &mut Node, to: &ReplyTo, answer: FetchAnswer) {
    let data = PartitionData {
        error_code: answer.error.0,
        high_watermark: answer.high_watermark,
        last_stable_offset: answer.high_watermark,
        log_start_offset: answer.log_start,
        diverging_epoch: answer
            .diverging
            .map_or_else(EpochEndOffset::default, |d| EpochEndOffset { epoch: d.epoch, end_offset: d.offset }),
        current_leader: LeaderIdAndEpoch {
            leader_id: leader_id(answer.current.leader_id),
            leader_epoch: answer.current.leader_epoch,
        },
        snapshot_id: answer
            .snapshot
            .map_or_else(SnapshotId::default, |s| SnapshotId { end_offset: s.offset, epoch: s.epoch }),
        records: Some(Records::from_parts(answer.records)),
        ..PartitionData::default()
    };
    let topic = FetchableTopicResponse { topic: TOPIC.to_owned(), topic_id: TOPIC_ID, partitions: vec![data] };
    node.respond::<FetchRequest>(to, &FetchResponse { responses: vec![topic], ..FetchResponse::default() });
}

pub(crate) fn read_metadata_answer(bytes: Bytes) -> Option<Answer> {
    let (_, mut body) = frame::response::<FetchRequest>(bytes, VERSION).ok()?;
    let got = body.responses.first_mut()?.partitions.pop()?;
    let records = got.records.map(Records::into_bytes).unwrap_or_default();
    let diverging = Some(got.diverging_epoch).filter(|d| d.end_offset >= 0);
    let snapshot = Some(got.snapshot_id).filter(|s| s.end_offset >= 0);
    Some(Answer::Fetch(FetchAnswer {
        error: ErrorCode(got.error_code),
        current: CurrentLeader {
            leader_id: leader_of(got.current_leader.leader_id),
            leader_epoch: got.current_leader.leader_epoch,
        },
        high_watermark: got.high_watermark,
        log_start: got.log_start_offset,
        diverging: diverging.map(|d| OffsetAndEpoch { offset: d.end_offset, epoch: d.epoch }),
        snapshot: snapshot.map(|s| OffsetAndEpoch { offset: s.end_offset, epoch: s.epoch }),
        records: if records.is_empty() { Vec::new() } else { vec![Part::Bytes(records)] },
    }))
}
