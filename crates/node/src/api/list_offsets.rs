//! ListOffsets (2), versions 1 to 10: the offset of a time, or of one of the marks that are times below 0 (−1 the end: the
//! high watermark for consumers, the log's end for followers; −2 and −4 the start; −3 the latest timestamp, KIP-734; −5 the
//! end of what is tiered: nothing). A leader that may not know yet what was committed before it says so (KIP-207).
//!
//! Deliberately missing: tiered storage. In a compressed batch records are not looked at: its base offset is told.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::{Parked, find_replica};
use crate::broker::Replica;
use crate::broker::waiting::WaitId;
use crate::image::PartitionId;
use crate::io::{Durability, StorageAction, Stored};
use crate::log::{StoredBatch, TimestampLookup, TimestampOffset};
use crate::node::{Incoming, Node, ReplyTo};
use crate::time::Now;

const CONSUMER: i32 = -1;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
/// From this version on OFFSET_NOT_AVAILABLE is understood.
const TELLS_NOT_AVAILABLE_FROM: i16 = 5;
/// The store answers long before.
const PATIENCE_MS: i64 = 30_000;

/// A batch that is being read from the store for one partition.
#[derive(Debug, Clone, Copy)]
struct Reading {
    id: PartitionId,
    leader_epoch: i32,
    batch: StoredBatch,
}

#[derive(Debug)]
struct Outcome {
    topic: usize,
    answer: ListOffsetsPartitionResponse,
    reading: Option<Reading>,
}

/// A request that waits for batches that are not in memory.
#[derive(Debug)]
pub(crate) struct ParkedListOffsets {
    pub(crate) to: ReplyTo,
    consumer: bool,
    topics: Vec<String>,
    outcomes: Vec<Outcome>,
}

enum Look {
    Found(TimestampOffset),
    Nothing,
    Stored(StoredBatch),
}

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let version = incoming.header.api_version;
    let Some(body) = node.body::<ListOffsetsRequest>(now, &mut incoming) else { return };
    let consumer = body.replica_id == CONSUMER;
    let mut parked = ParkedListOffsets { to: incoming.to, consumer, topics: Vec::new(), outcomes: Vec::new() };
    for (index, topic) in body.topics.into_iter().enumerate() {
        for asked in &topic.partitions {
            parked.outcomes.push(Outcome { topic: index, ..one(node, &topic.name, asked, consumer, version) });
        }
        parked.topics.push(topic.name);
    }
    if parked.outcomes.iter().all(|o| o.reading.is_none()) {
        return answer(node, parked);
    }
    let places: Vec<(usize, StoredBatch)> =
        parked.outcomes.iter().enumerate().filter_map(|(place, o)| Some((place, o.reading?.batch))).collect();
    let Some(broker) = &mut node.broker else { return };
    let id = broker.waiting.park(Parked::ListOffsets(parked), Vec::new(), now.after_ms(PATIENCE_MS));
    for (place, batch) in places {
        read(node, id, place, batch);
    }
}

fn one(node: &Node, topic: &str, asked: &ListOffsetsPartition, consumer: bool, version: i16) -> Outcome {
    let mut outcome = Outcome {
        topic: 0,
        answer: ListOffsetsPartitionResponse {
            partition_index: asked.partition_index,
            ..ListOffsetsPartitionResponse::default()
        },
        reading: None,
    };
    let found = if is_supported(asked.timestamp, version) {
        find_replica(node, topic, asked.partition_index).and_then(|(id, replica)| {
            replica.check_epoch(asked.current_leader_epoch, &node.config.flaws)?;
            replica.leading()?;
            let look = look(replica, asked.timestamp);
            Ok((id, replica.leader_epoch, bounded(node, replica, asked.timestamp, look, consumer)?))
        })
    } else {
        Err(ErrorCode::UNSUPPORTED_VERSION)
    };
    match found {
        Ok((id, leader_epoch, Look::Stored(batch))) => outcome.reading = Some(Reading { id, leader_epoch, batch }),
        Ok((_, _, look)) => told(&mut outcome.answer, &look),
        Err(error) => outcome.answer.error_code = code(error, version),
    }
    outcome
}

/// Marks came with versions; times are always known.
const fn is_supported(timestamp: i64, version: i16) -> bool {
    match timestamp {
        0.. | LATEST | EARLIEST => true,
        MAX_TIMESTAMP => version >= 7,
        EARLIEST_LOCAL => version >= 8,
        LATEST_TIERED => version >= 9,
        _ => false,
    }
}

const fn code(error: ErrorCode, version: i16) -> i16 {
    if error.0 == ErrorCode::OFFSET_NOT_AVAILABLE.0 && version < TELLS_NOT_AVAILABLE_FROM {
        return ErrorCode::LEADER_NOT_AVAILABLE.0;
    }
    error.0
}

fn look(replica: &Replica, timestamp: i64) -> Look {
    let log = &replica.log;
    match timestamp {
        // How far it may be told is for `bounded` to say.
        LATEST => mark(log.end_offset(), Some(replica.leader_epoch)),
        EARLIEST | EARLIEST_LOCAL => mark(log.start_offset(), log.epochs().epoch_at(log.start_offset())),
        LATEST_TIERED => Look::Nothing,
        MAX_TIMESTAMP => of(log.max_timestamp()),
        time => of(log.offset_for_timestamp(time)),
    }
}

/// A mark has no time.
fn mark(offset: i64, epoch: Option<i32>) -> Look {
    Look::Found(TimestampOffset { offset, timestamp_ms: -1, leader_epoch: epoch.unwrap_or(-1) })
}

const fn of(lookup: TimestampLookup) -> Look {
    match lookup {
        TimestampLookup::None => Look::Nothing,
        TimestampLookup::Found(found) => Look::Found(found),
        TimestampLookup::Stored(batch) => Look::Stored(batch),
    }
}

/// What a consumer may be told: nothing that is not committed, and nothing at all while this leader may not know how far
/// that reaches (KIP-207).
fn bounded(node: &Node, replica: &Replica, timestamp: i64, look: Look, consumer: bool) -> Result<Look, ErrorCode> {
    if !consumer || matches!(timestamp, EARLIEST | EARLIEST_LOCAL | LATEST_TIERED) {
        return Ok(look);
    }
    let end = replica.visible_end(&node.config.flaws);
    let unsure = replica.is_behind_its_epoch();
    match look {
        Look::Found(_) | Look::Nothing if unsure && timestamp == LATEST => Err(ErrorCode::OFFSET_NOT_AVAILABLE),
        Look::Found(found) if timestamp == LATEST => Ok(Look::Found(TimestampOffset { offset: end, ..found })),
        Look::Found(found) if found.offset < end => Ok(Look::Found(found)),
        Look::Stored(batch) => Ok(Look::Stored(batch)),
        Look::Found(_) | Look::Nothing if unsure => Err(ErrorCode::OFFSET_NOT_AVAILABLE),
        Look::Found(_) | Look::Nothing => Ok(Look::Nothing),
    }
}

fn told(answer: &mut ListOffsetsPartitionResponse, look: &Look) {
    if let Look::Found(found) = look {
        answer.timestamp = found.timestamp_ms;
        answer.offset = found.offset;
        answer.leader_epoch = found.leader_epoch;
    }
}

fn read(node: &mut Node, id: WaitId, place: usize, batch: StoredBatch) {
    let action = StorageAction::Read { position: batch.position, len: batch.len };
    let op = node.out.wanted(batch.file, action, Durability::Written);
    if let Some(broker) = &mut node.broker {
        broker.reads.insert(op, (id, place));
    }
}

/// A batch has come from the store.
pub(crate) fn stored(node: &mut Node, id: WaitId, place: usize, result: &Stored) {
    let Stored::Bytes(bytes) = result else { return };
    let Some(broker) = &node.broker else { return };
    let Some(Parked::ListOffsets(parked)) = broker.waiting.get(id) else { return };
    let (consumer, version) = (parked.consumer, parked.to.version);
    let Some(reading) = parked.outcomes[place].reading else { return };
    let timestamp_ms = reading.batch.timestamp_ms;
    // Much may have happened meanwhile.
    let replica = broker.replicas.get(&reading.id).filter(|r| r.is_leader() && r.leader_epoch == reading.leader_epoch);
    let found = replica.ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER).and_then(|replica| {
        let look = match replica.log.timestamp_in(bytes.clone(), timestamp_ms) {
            Some(found) => Look::Found(found),
            None => of(replica.log.offset_for_timestamp_from(timestamp_ms, reading.batch.next_offset)),
        };
        bounded(node, replica, timestamp_ms, look, consumer)
    });
    let Some(broker) = &mut node.broker else { return };
    let Some(Parked::ListOffsets(parked)) = broker.waiting.get_mut(id) else { return };
    let outcome = &mut parked.outcomes[place];
    match found {
        Ok(Look::Stored(batch)) => {
            outcome.reading = Some(Reading { batch, ..reading });
            return read(node, id, place, batch);
        }
        Ok(look) => told(&mut outcome.answer, &look),
        Err(error) => outcome.answer.error_code = code(error, version),
    }
    outcome.reading = None;
    if parked.outcomes.iter().all(|o| o.reading.is_none())
        && let Some(Parked::ListOffsets(parked)) = broker.waiting.take(id)
    {
        answer(node, parked);
    }
}

/// The store took too long.
pub(crate) fn out_of_time(node: &mut Node, mut parked: ParkedListOffsets) {
    for outcome in parked.outcomes.iter_mut().filter(|o| o.reading.is_some()) {
        outcome.answer.error_code = ErrorCode::REQUEST_TIMED_OUT.0;
    }
    answer(node, parked);
}

fn answer(node: &mut Node, parked: ParkedListOffsets) {
    let mut topics: Vec<ListOffsetsTopicResponse> = parked
        .topics
        .into_iter()
        .map(|name| ListOffsetsTopicResponse { name, ..ListOffsetsTopicResponse::default() })
        .collect();
    for outcome in parked.outcomes {
        topics[outcome.topic].partitions.push(outcome.answer);
    }
    let body = ListOffsetsResponse { topics, ..ListOffsetsResponse::default() };
    node.respond::<ListOffsetsRequest>(&parked.to, &body);
}
