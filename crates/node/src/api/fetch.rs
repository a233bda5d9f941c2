//! Fetch (1), versions 4 to 18: record batches to read, for consumers and followers; and the metadata log, which the quorum
//! answers. Records stay bytes. Deliberately missing: fetch sessions (KIP-227: no session is ever given, so every fetch is
//! a full one), transactions (nothing is ever aborted), reading from followers.

use std::collections::BTreeMap;

use bytes::Bytes;
use metricstream_wire::api::fetch::{
    EpochEndOffset, FetchPartition, FetchReplicaState, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse,
    LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use metricstream_wire::records::Records;
use metricstream_wire::{ErrorCode, Uuid, frame};

use super::Parked;
use super::leader_hints::LeaderHints;
use super::quorum::TOPIC_ID;
use crate::broker::waiting::WaitId;
use crate::broker::{FetchPosition, Replica};
use crate::config::Settings;
use crate::flaws::Flaws;
use crate::image::PartitionId;
use crate::io::Listener;
use crate::log::ReadError;
use crate::node::{Incoming, Node, ReplyTo, SentFetch};
use crate::time::Now;

mod quorum;

pub(crate) use quorum::{metadata_frame, read_metadata_answer, respond_metadata};

pub(crate) const KEY: i16 = 1;
/// Followers and voters speak this.
const VERSION: i16 = 18;
/// From this version on an answer may say who leads instead (KIP-951).
const TELLS_LEADER_FROM: i16 = 16;

/// One partition as it was asked for.
#[derive(Debug, Clone)]
struct Asked {
    /// As the client named it.
    topic: (String, Uuid),
    /// `None` where there is no such topic.
    id: Option<PartitionId>,
    partition: FetchPartition,
}

/// A fetch that waits for something to read.
#[derive(Debug)]
pub(crate) struct ParkedFetch {
    pub(crate) to: ReplyTo,
    follower: Option<(i32, i64)>,
    min_bytes: usize,
    max_bytes: usize,
    asked: Vec<Asked>,
}

/// What one look found.
struct Found {
    data: Vec<PartitionData>,
    size_bytes: usize,
    /// An error or a divergence: nobody waits with that.
    at_once: bool,
}

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<FetchRequest>(now, &mut incoming) else { return };
    if incoming.listener == Listener::Controller {
        return quorum::handle(node, now, &incoming, &body);
    }
    if body.session_id != 0 {
        let error_code = ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0;
        return node.respond::<FetchRequest>(&incoming.to, &FetchResponse { error_code, ..FetchResponse::default() });
    }
    let state = &body.replica_state;
    let replica = if incoming.header.api_version >= 15 { state.replica_id } else { body.replica_id };
    let follower = (replica >= 0).then_some((replica, state.replica_epoch));
    let by_name = incoming.header.api_version < 13;
    let mut asked = Vec::new();
    for topic in body.topics {
        let id = if by_name {
            node.image.names.get(&topic.topic).copied()
        } else {
            Some(topic.topic_id).filter(|id| node.image.topics.contains_key(id))
        };
        let name = (topic.topic, topic.topic_id);
        asked.extend(topic.partitions.into_iter().map(|partition| {
            let id = id.map(|id| (id, partition.partition));
            Asked { topic: name.clone(), id, partition }
        }));
    }
    let limit = usize::try_from(node.config.settings.fetch_max_bytes).unwrap_or(0);
    let parked = ParkedFetch {
        to: incoming.to,
        follower,
        min_bytes: usize::try_from(body.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(body.max_bytes).unwrap_or(0).min(limit),
        asked,
    };
    note_positions(node, now, &parked);
    let found = read(node, &parked);
    let wait_ms = i64::from(body.max_wait_ms);
    if found.at_once || found.size_bytes >= parked.min_bytes || wait_ms <= 0 || parked.asked.is_empty() {
        return answer(node, &parked, found.data);
    }
    let watches = parked.asked.iter().filter_map(|a| a.id).collect();
    if let Some(broker) = &mut node.broker {
        broker.waiting.park(Parked::Fetch(parked), watches, now.after_ms(wait_ms));
    }
}

/// A follower says with its fetch how far it is: that may commit records and let it into the ISR.
fn note_positions(node: &mut Node, now: Now, parked: &ParkedFetch) {
    let Some((replica, broker_epoch)) = parked.follower else { return };
    let flaws = &node.config.flaws;
    let lag_max_ms = node.config.settings.replica_lag_time_max_ms;
    let Some(broker) = &mut node.broker else { return };
    for asked in &parked.asked {
        let Some(id) = asked.id else { continue };
        let Some(leader) = broker.replicas.get_mut(&id) else { continue };
        let partition = &asked.partition;
        // Only what is asked in this epoch and continues this history counts.
        let fits = leader.check_epoch(partition.current_leader_epoch, flaws).is_ok()
            && leader.is_leader()
            && leader.diverging(last_epoch(leader, partition, flaws), partition.fetch_offset).is_none()
            && (leader.log.start_offset()..=leader.log.end_offset()).contains(&partition.fetch_offset);
        if !fits {
            continue;
        }
        let position = FetchPosition {
            replica,
            broker_epoch,
            offset: partition.fetch_offset,
            log_start: partition.log_start_offset,
        };
        if let Ok(moved) = leader.followed(position, &node.image, flaws, lag_max_ms, now, &mut node.out) {
            broker.moved(id, moved);
        }
    }
}

/// The epoch of the last batch that a reader has, to compare its history by; −1 where nothing is compared.
fn last_epoch(replica: &Replica, asked: &FetchPartition, flaws: &Flaws) -> i32 {
    let zombie = asked.current_leader_epoch >= 0 && asked.current_leader_epoch < replica.leader_epoch;
    if zombie && flaws.unfenced_fetch { -1 } else { asked.last_fetched_epoch }
}

fn read(node: &Node, parked: &ParkedFetch) -> Found {
    let mut found = Found { data: Vec::with_capacity(parked.asked.len()), size_bytes: 0, at_once: false };
    for asked in &parked.asked {
        let left = parked.max_bytes.saturating_sub(found.size_bytes);
        let data = match asked.id {
            Some(id) => read_one(node, id, &asked.partition, parked, left, found.size_bytes == 0),
            None if asked.topic.1 == [0; 16] => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            None => Err(ErrorCode::UNKNOWN_TOPIC_ID),
        };
        let mut data = data.unwrap_or_else(|error| PartitionData {
            error_code: error.0,
            high_watermark: -1,
            ..PartitionData::default()
        });
        data.partition_index = asked.partition.partition;
        if data.error_code != 0 || data.diverging_epoch.end_offset >= 0 {
            found.at_once = true;
        }
        found.size_bytes += data.records.as_ref().map_or(0, Records::len);
        // Java's consumer wants empty records and not none.
        data.records.get_or_insert_default();
        found.data.push(data);
    }
    found
}

fn read_one(
    node: &Node,
    id: PartitionId,
    asked: &FetchPartition,
    parked: &ParkedFetch,
    left_bytes: usize,
    first: bool,
) -> Result<PartitionData, ErrorCode> {
    let flaws = &node.config.flaws;
    let broker = node.broker.as_ref().ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    let known = node.image.partition(id).is_some();
    let missing = if known { ErrorCode::NOT_LEADER_OR_FOLLOWER } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
    let replica = broker.replicas.get(&id).ok_or(missing)?;
    replica.check_epoch(asked.current_leader_epoch, flaws)?;
    let leading = replica.leading()?;
    if let Some((id, _)) = parked.follower
        && leading.follower(id).is_none()
    {
        return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let mut data = PartitionData {
        high_watermark: replica.high_watermark,
        last_stable_offset: replica.high_watermark,
        log_start_offset: replica.log.start_offset(),
        ..PartitionData::default()
    };
    if let Some((epoch, end_offset)) = replica.diverging(last_epoch(replica, asked, flaws), asked.fetch_offset) {
        data.diverging_epoch = EpochEndOffset { epoch, end_offset };
        return Ok(data);
    }
    let bound = if parked.follower.is_some() { replica.log.end_offset() } else { replica.visible_end(flaws) };
    let wanted = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(left_bytes);
    let mut from = asked.fetch_offset;
    // A consumer may ask for what is not committed yet: it waits.
    if from > bound && from <= replica.log.end_offset() {
        return Ok(data);
    }
    if flaws.skip_a_batch && parked.follower.is_none() && from > 0 && from % 11 == 0 && from < bound {
        from = replica.log.batches().map(|b| b.header.next_offset()).find(|next| *next > from).unwrap_or(from);
    }
    match replica.log.read(from, bound, wanted, first) {
        Ok(read) => data.records = Some(Records::from_parts(read.parts)),
        Err(ReadError::OffsetOutOfRange { start, end, .. }) => {
            data.error_code = ErrorCode::OFFSET_OUT_OF_RANGE.0;
            // What a follower needs to begin anew; Kafka's asks for it with ListOffsets.
            data.log_start_offset = start;
            data.high_watermark = if parked.follower.is_some() { end } else { data.high_watermark };
        }
    }
    Ok(data)
}

/// Something moved on one of its partitions: is there enough to answer now?
pub(crate) fn look_again(node: &mut Node, id: WaitId) {
    let done = {
        let Some(broker) = &node.broker else { return };
        let Some(Parked::Fetch(parked)) = broker.waiting.get(id) else { return };
        let found = read(node, parked);
        (found.at_once || found.size_bytes >= parked.min_bytes).then_some(found)
    };
    let Some(found) = done else { return };
    if let Some(Parked::Fetch(parked)) = node.broker.as_mut().and_then(|b| b.waiting.take(id)) {
        answer(node, &parked, found.data);
    }
}

/// It has waited long enough: whatever there is.
pub(crate) fn out_of_time(node: &mut Node, parked: ParkedFetch) {
    let found = read(node, &parked);
    answer(node, &parked, found.data);
}

fn answer(node: &mut Node, parked: &ParkedFetch, data: Vec<PartitionData>) {
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut hints = LeaderHints::default();
    for (asked, mut data) in parked.asked.iter().zip(data) {
        let moved = [ErrorCode::NOT_LEADER_OR_FOLLOWER.0, ErrorCode::FENCED_LEADER_EPOCH.0].contains(&data.error_code);
        if moved
            && parked.to.version >= TELLS_LEADER_FROM
            && let Some((leader_id, leader_epoch)) = asked.id.and_then(|id| hints.leader(node, id))
        {
            data.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
        }
        match responses.last_mut() {
            Some(last) if (&last.topic, last.topic_id) == (&asked.topic.0, asked.topic.1) => last.partitions.push(data),
            _ => responses.push(FetchableTopicResponse {
                topic: asked.topic.0.clone(),
                topic_id: asked.topic.1,
                partitions: vec![data],
            }),
        }
    }
    let node_endpoints = hints.endpoints(|node_id, host, port, rack| NodeEndpoint { node_id, host, port, rack });
    let body = FetchResponse { responses, node_endpoints, ..FetchResponse::default() };
    node.respond::<FetchRequest>(&parked.to, &body);
}

/// A follower's fetch of everything that it copies from one leader.
pub(crate) fn follower_frame(
    settings: &Settings,
    replica_id: i32,
    replica_epoch: i64,
    sent: &[SentFetch],
) -> impl FnOnce(i32) -> Bytes + use<> {
    let mut topics: BTreeMap<Uuid, Vec<FetchPartition>> = BTreeMap::new();
    for one in sent {
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
    let body = FetchRequest {
        replica_state: FetchReplicaState { replica_id, replica_epoch },
        max_wait_ms: i32::try_from(settings.replica_fetch_wait_max_ms).unwrap_or(i32::MAX),
        min_bytes: settings.replica_fetch_min_bytes,
        max_bytes: settings.replica_fetch_response_max_bytes,
        topics: topics
            .into_iter()
            .map(|(topic_id, partitions)| FetchTopic { topic_id, partitions, ..FetchTopic::default() })
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

/// What a leader sent.
pub(crate) fn read_follower_answer(bytes: Bytes) -> Result<Vec<CopiedPartition>, ErrorCode> {
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
    Ok(all)
}

/// Whether a topic id is that of the metadata log.
pub(crate) fn is_metadata(id: &Uuid) -> bool {
    *id == TOPIC_ID
}
