//! A follower's fetches: the request within its session with a leader, and what is taken from the answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use metricstream_wire::api::fetch::{FetchPartition, FetchReplicaState, FetchRequest, FetchTopic, ForgottenTopic};
use metricstream_wire::records::Records;
use metricstream_wire::{ErrorCode, Uuid, frame};

use super::VERSION;
use crate::broker::following::FollowerFetch;
use crate::config::Settings;
use crate::image::PartitionId;

/// A follower's fetch of what it copies from one leader.
pub(crate) fn follower_frame(
    settings: &Settings,
    replica_id: i32,
    replica_epoch: i64,
    ask: &FollowerFetch,
) -> impl FnOnce(i32) -> Bytes + use<> {
    let mut topics: BTreeMap<Uuid, Vec<FetchPartition>> = BTreeMap::new();
    for one in &ask.partitions {
        topics.entry(one.id.0).or_default().push(FetchPartition {
            partition: one.id.1,
            current_leader_epoch: one.leader_epoch,
            fetch_offset: one.offset,
            last_fetched_epoch: one.last_epoch,
            log_start_offset: one.log_start,
            partition_max_bytes: settings.replica_fetch_max_bytes,
            ..FetchPartition::default()
        });
    }
    let mut forgotten: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &ask.forgotten {
        forgotten.entry(*topic).or_default().push(*partition);
    }
    let body = FetchRequest {
        replica_state: FetchReplicaState { replica_id, replica_epoch },
        max_wait_ms: i32::try_from(settings.replica_fetch_wait_max_ms).unwrap_or(i32::MAX),
        min_bytes: settings.replica_fetch_min_bytes,
        max_bytes: settings.replica_fetch_response_max_bytes,
        topics: topics
            .into_iter()
            .map(|(topic_id, partitions)| FetchTopic { topic_id, partitions, ..FetchTopic::default() })
            .collect(),
        session_id: ask.session_id,
        session_epoch: ask.session_epoch,
        forgotten_topics_data: forgotten
            .into_iter()
            .map(|(topic_id, partitions)| ForgottenTopic { topic_id, partitions, ..ForgottenTopic::default() })
            .collect(),
        ..FetchRequest::default()
    };
    let client_id = format!("broker-{replica_id}-fetcher-0");
    move |correlation| frame::request(&body, VERSION, correlation, &client_id).expect("a version that is declared")
}

/// One partition of a leader's answer to a follower.
#[derive(Debug)]
pub(crate) struct CopiedPartition {
    pub(crate) id: PartitionId,
    pub(crate) error: ErrorCode,
    pub(crate) diverging: Option<(i32, i64)>,
    pub(crate) high_watermark: i64,
    pub(crate) log_start: i64,
    /// Where the leader's log ends, told with OFFSET_OUT_OF_RANGE; −1 else.
    pub(crate) log_end: i64,
    pub(crate) records: Bytes,
}

/// Whether the session was refused, and not the follower.
pub(crate) fn is_of_the_session(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
            | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
    )
}

/// What a leader sent: its session, and the partitions of which there is something to tell.
pub(crate) fn read_follower_answer(bytes: Bytes) -> Result<(i32, Vec<CopiedPartition>), ErrorCode> {
    let (_, body) = frame::response::<FetchRequest>(bytes, VERSION).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
    if body.error_code != 0 {
        return Err(ErrorCode(body.error_code));
    }
    let mut all = Vec::new();
    for topic in body.responses {
        for data in topic.partitions {
            let error = ErrorCode(data.error_code);
            let diverging = Some(data.diverging_epoch).filter(|d| d.end_offset >= 0);
            all.push(CopiedPartition {
                id: (topic.topic_id, data.partition_index),
                error,
                diverging: diverging.map(|d| (d.epoch, d.end_offset)),
                high_watermark: data.high_watermark,
                log_start: data.log_start_offset,
                log_end: if error == ErrorCode::OFFSET_OUT_OF_RANGE { data.high_watermark } else { -1 },
                records: data.records.map(Records::into_bytes).unwrap_or_default(),
            });
        }
    }
    Ok((body.session_id, all))
}
