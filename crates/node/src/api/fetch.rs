//! Fetch (1), versions 4 to 18: record batches to read, for consumers and followers; and the metadata log, which the quorum
//! answers. Records stay bytes. Deliberately missing: transactions (nothing is ever aborted), reading from followers.
//!
//! A request asks for everything that it names, or goes on in a session (KIP-227; [`sessions`]), which remembers what is
//! asked for and is told only what is new.

use std::sync::Arc;

use metricstream_wire::api::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use metricstream_wire::records::Records;
use metricstream_wire::{ErrorCode, Uuid};

use super::Parked;
use super::leader_hints::LeaderHints;
use super::quorum::TOPIC_ID;
use crate::broker::sessions::{Asked, Turn};
use crate::broker::waiting::WaitId;
use crate::broker::{Broker, FetchPosition, Replica};
use crate::flaws::Flaws;
use crate::image::PartitionId;
use crate::io::Listener;
use crate::log::ReadError;
use crate::node::{Incoming, Node, ReplyTo};
use crate::time::Now;

mod follower;
mod quorum;
mod sessions;

pub(crate) use follower::{CopiedPartition, follower_frame, is_of_the_session, read_follower_answer};
pub(crate) use quorum::{metadata_frame, read_metadata_answer, respond_metadata};

pub(crate) const KEY: i16 = 1;
/// Followers and voters speak this.
const VERSION: i16 = 18;
/// From this version on topics are named by id (KIP-516).
const BY_IDS_FROM: i16 = 13;
/// From this version on an answer may say who leads instead (KIP-951).
const TELLS_LEADER_FROM: i16 = 16;

/// What a fetch asks for.
#[derive(Debug)]
enum What {
    /// All that it names; a session is made of it if it is to begin one.
    Whole { asked: Vec<Asked>, begins: bool },
    /// What its session holds, as far as it is new.
    Within(Turn),
}

/// A fetch that waits for something to read.
#[derive(Debug)]
pub(crate) struct ParkedFetch {
    pub(crate) to: ReplyTo,
    follower: Option<(i32, i64)>,
    min_bytes: usize,
    max_bytes: usize,
    what: What,
}

/// What one look found.
#[derive(Default)]
struct Found {
    /// By its place in what was asked for.
    data: Vec<(u64, PartitionData)>,
    size_bytes: usize,
    /// An error or a divergence: nobody waits with that.
    at_once: bool,
}

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(mut body) = node.body::<FetchRequest>(now, &mut incoming) else { return };
    if incoming.listener == Listener::Controller {
        return quorum::handle(node, now, &incoming, &body);
    }
    let what = match sessions::enter(node, now, &incoming.to, &mut body) {
        Ok(what) => what,
        Err(error) => return refuse(node, &incoming.to, error, 0),
    };
    let state = &body.replica_state;
    let replica = if incoming.header.api_version >= 15 { state.replica_id } else { body.replica_id };
    let limit = usize::try_from(node.config.settings.fetch_max_bytes).unwrap_or(0);
    let parked = ParkedFetch {
        to: incoming.to,
        follower: (replica >= 0).then_some((replica, state.replica_epoch)),
        min_bytes: usize::try_from(body.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(body.max_bytes).unwrap_or(0).min(limit),
        what,
    };
    note_positions(node, now, &parked);
    let found = read(node, &parked);
    let wait_ms = i64::from(body.max_wait_ms);
    let waits = wait_ms > 0 && !parked.is_enough(&found) && !parked.asks_for_nothing();
    match &mut node.broker {
        Some(broker) if waits => park(broker, parked, now.after_ms(wait_ms)),
        _ => answer(node, now, parked, found),
    }
}

fn park(broker: &mut Broker, parked: ParkedFetch, deadline: crate::time::Ns) {
    let (watches, session) = match &parked.what {
        What::Whole { asked, .. } => (asked.iter().filter_map(|a| a.id).collect(), None),
        What::Within(turn) => {
            let kept = broker.sessions.kept(*turn).into_iter().flatten();
            (kept.filter_map(|(_, kept)| kept.asked.id).collect(), Some(turn.session))
        }
    };
    let id = broker.waiting.park(Parked::Fetch(parked), watches, deadline);
    if let Some(session) = session {
        broker.sessions.swap_parked(session, Some(id));
    }
}

impl ParkedFetch {
    /// Whether what was found, or why nothing can be, is an answer already.
    fn is_enough(&self, found: &Result<Found, ErrorCode>) -> bool {
        found.as_ref().map_or(true, |found| found.at_once || found.size_bytes >= self.min_bytes)
    }

    fn asks_for_nothing(&self) -> bool {
        matches!(&self.what, What::Whole { asked, .. } if asked.is_empty())
    }
}

/// A follower says with its fetch how far it is: that may commit records and let it into the ISR.
fn note_positions(node: &mut Node, now: Now, parked: &ParkedFetch) {
    let Some((replica, broker_epoch)) = parked.follower else { return };
    let flaws = &node.config.flaws;
    let lag_max_ms = node.config.settings.replica_lag_time_max_ms;
    let Some(broker) = &mut node.broker else { return };
    let mut all_moved = Vec::new();
    let mut note = |asked: &Asked| {
        let Some(id) = asked.id else { return };
        let Some(leader) = broker.replicas.get_mut(&id) else { return };
        // Only what is asked in this epoch and continues this history counts.
        let fits = leader.check_epoch(asked.leader_epoch, flaws).is_ok()
            && leader.is_leader()
            && leader.diverging(last_epoch(leader, asked, flaws), asked.offset).is_none()
            && (leader.log.start_offset()..=leader.log.end_offset()).contains(&asked.offset);
        if !fits {
            return;
        }
        let position = FetchPosition { replica, broker_epoch, offset: asked.offset, log_start: asked.log_start };
        if let Ok(moved) = leader.followed(position, &node.image, flaws, lag_max_ms, now, &mut node.out) {
            all_moved.push((id, moved));
        }
    };
    match &parked.what {
        What::Whole { asked, .. } => asked.iter().for_each(note),
        What::Within(turn) => {
            let kept = broker.sessions.kept(*turn).into_iter().flatten();
            kept.for_each(|(_, kept)| note(&kept.asked));
        }
    }
    for (id, moved) in all_moved {
        broker.moved(id, moved);
    }
}

/// The epoch of the last batch that a reader has, to compare its history by; −1 where nothing is compared.
fn last_epoch(replica: &Replica, asked: &Asked, flaws: &Flaws) -> i32 {
    let zombie = asked.leader_epoch >= 0 && asked.leader_epoch < replica.leader_epoch;
    if zombie && flaws.unfenced_fetch { -1 } else { asked.last_epoch }
}

/// Looks at everything that is asked for.
///
/// # Errors
/// If the session is gone, or a later request overtook this one.
fn read(node: &Node, parked: &ParkedFetch) -> Result<Found, ErrorCode> {
    let mut found = Found::default();
    match &parked.what {
        What::Whole { asked, .. } => {
            found.data.reserve_exact(asked.len());
            for (place, asked) in (0..).zip(asked) {
                let data = look_at(node, asked, parked, &mut found);
                found.data.push((place, data));
            }
        }
        What::Within(turn) => {
            let broker = node.broker.as_ref().ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
            for (place, kept) in broker.sessions.kept(*turn)? {
                let data = look_at(node, &kept.asked, parked, &mut found);
                if sessions::is_news(kept.told, &data) {
                    found.data.push((place, data));
                }
            }
        }
    }
    for (_, data) in &mut found.data {
        // Java's consumer wants empty records and not none.
        data.records.get_or_insert_default();
    }
    Ok(found)
}

/// One partition, beside what has been found before.
fn look_at(node: &Node, asked: &Asked, parked: &ParkedFetch, found: &mut Found) -> PartitionData {
    let left = parked.max_bytes.saturating_sub(found.size_bytes);
    let data = match asked.id {
        Some(id) => read_one(node, id, asked, parked, left, found.size_bytes == 0),
        None if asked.topic.id == [0; 16] => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        None => Err(ErrorCode::UNKNOWN_TOPIC_ID),
    };
    let mut data = data.unwrap_or_else(|error| PartitionData {
        error_code: error.0,
        high_watermark: -1,
        ..PartitionData::default()
    });
    data.partition_index = asked.partition;
    found.at_once |= sessions::is_wrong(&data);
    found.size_bytes += data.records.as_ref().map_or(0, Records::len);
    data
}

fn read_one(
    node: &Node,
    id: PartitionId,
    asked: &Asked,
    parked: &ParkedFetch,
    left_bytes: usize,
    first: bool,
) -> Result<PartitionData, ErrorCode> {
    let flaws = &node.config.flaws;
    let broker = node.broker.as_ref().ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
    let known = node.image.partition(id).is_some();
    let missing = if known { ErrorCode::NOT_LEADER_OR_FOLLOWER } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
    let replica = broker.replicas.get(&id).ok_or(missing)?;
    replica.check_epoch(asked.leader_epoch, flaws)?;
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
    if let Some((epoch, end_offset)) = replica.diverging(last_epoch(replica, asked, flaws), asked.offset) {
        data.diverging_epoch = EpochEndOffset { epoch, end_offset };
        return Ok(data);
    }
    let bound = if parked.follower.is_some() { replica.log.end_offset() } else { replica.visible_end(flaws) };
    let wanted = asked.max_bytes.min(left_bytes);
    let mut from = asked.offset;
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
pub(crate) fn look_again(node: &mut Node, now: Now, id: WaitId) {
    let done = {
        let Some(broker) = &node.broker else { return };
        let Some(Parked::Fetch(parked)) = broker.waiting.get(id) else { return };
        let found = read(node, parked);
        parked.is_enough(&found).then_some(found)
    };
    let Some(found) = done else { return };
    if let Some(Parked::Fetch(parked)) = node.broker.as_mut().and_then(|b| b.waiting.take(id)) {
        answer(node, now, parked, found);
    }
}

/// It has waited long enough: whatever there is.
pub(crate) fn out_of_time(node: &mut Node, now: Now, parked: ParkedFetch) {
    let found = read(node, &parked);
    answer(node, now, parked, found);
}

fn answer(node: &mut Node, now: Now, parked: ParkedFetch, found: Result<Found, ErrorCode>) {
    let (to, follows) = (parked.to, parked.follower.is_some());
    let within = if let What::Within(turn) = &parked.what { turn.session } else { 0 };
    let found = match found {
        Ok(found) => found,
        Err(error) => return refuse(node, &to, error, within),
    };
    let begins = matches!(&parked.what, What::Whole { begins: true, .. });
    let mut told = Vec::with_capacity(if begins { found.data.len() } else { 0 });
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut hints = LeaderHints::default();
    for (place, mut data) in found.data {
        let said = sessions::told(&data);
        let which = match &parked.what {
            What::Within(turn) => {
                let records = data.records.as_ref().is_some_and(|records| !records.is_empty());
                node.broker.as_mut().and_then(|b| b.sessions.tell(turn.session, place, said, records))
            }
            What::Whole { asked, .. } => {
                let asked = usize::try_from(place).ok().and_then(|place| asked.get(place));
                asked.map(|asked| (Arc::clone(&asked.topic), asked.id))
            }
        };
        let Some((topic, id)) = which else { continue };
        if begins {
            told.push(said);
        }
        let moved = [ErrorCode::NOT_LEADER_OR_FOLLOWER.0, ErrorCode::FENCED_LEADER_EPOCH.0].contains(&data.error_code);
        if moved
            && to.version >= TELLS_LEADER_FROM
            && let Some((leader_id, leader_epoch)) = id.and_then(|id| hints.leader(node, id))
        {
            data.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
        }
        match responses.last_mut() {
            Some(last) if last.topic == topic.name && last.topic_id == topic.id => last.partitions.push(data),
            _ => responses.push(FetchableTopicResponse {
                topic: topic.name.clone(),
                topic_id: topic.id,
                partitions: vec![data],
            }),
        }
    }
    let session_id = match (parked.what, &mut node.broker) {
        (What::Whole { asked, begins: true }, Some(broker)) => {
            let kept = asked.into_iter().zip(told).collect();
            broker.sessions.create(follows, to.version >= BY_IDS_FROM, kept, now)
        }
        _ => within,
    };
    let node_endpoints = hints.endpoints(|node_id, host, port, rack| NodeEndpoint { node_id, host, port, rack });
    let body = FetchResponse { session_id, responses, node_endpoints, ..FetchResponse::default() };
    node.respond::<FetchRequest>(&to, &body);
}

/// Refuses a request whose session is not what it believes.
fn refuse(node: &mut Node, to: &ReplyTo, error: ErrorCode, session_id: i32) {
    let body = FetchResponse { error_code: error.0, session_id, ..FetchResponse::default() };
    node.respond::<FetchRequest>(to, &body);
}

/// Whether a topic id is that of the metadata log.
pub(crate) fn is_metadata(id: &Uuid) -> bool {
    *id == TOPIC_ID
}
