//! How a request comes to its session (KIP-227), and what is news in one.
//!
//! Epoch 0 asks for everything and for a new session; −1 for everything without one; both close the session that is named.
//! Any other goes on in the named session, whose epoch it must be.

use std::sync::Arc;

use metricstream_wire::api::fetch::{FetchRequest, FetchTopic, PartitionData};
use metricstream_wire::{ErrorCode, Uuid};

use super::{BY_IDS_FROM, What, out_of_time};
use crate::api::Parked;
use crate::broker::sessions::{Asked, Named, Told};
use crate::image::Image;
use crate::node::{Node, ReplyTo};
use crate::time::Now;

/// A full fetch that wants a session.
const INITIAL_EPOCH: i32 = 0;
/// A full fetch that wants none.
const FINAL_EPOCH: i32 = -1;

/// Takes what a request asks for out of it.
///
/// # Errors
/// What refuses the whole request, because its session is not there or not as it believes.
pub(super) fn enter(node: &mut Node, now: Now, to: &ReplyTo, body: &mut FetchRequest) -> Result<What, ErrorCode> {
    let by_ids = to.version >= BY_IDS_FROM;
    let (id, epoch) = (body.session_id, body.session_epoch);
    let topics = std::mem::take(&mut body.topics);
    let Some(broker) = &mut node.broker else { return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND) };
    if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
        broker.sessions.close(id);
        let mut asked = Vec::with_capacity(topics.iter().map(|topic| topic.partitions.len()).sum());
        asked.extend(topics.into_iter().flat_map(|topic| asked_of(topic, &node.image, by_ids)));
        return Ok(What::Whole { asked, begins: epoch == INITIAL_EPOCH });
    }
    broker.sessions.check(id, epoch, by_ids)?;
    // A connection is answered in order: what waits on this one for the same session is answered before.
    let before = broker.sessions.swap_parked(id, None);
    let before = before.filter(|id| broker.waiting.get(*id).is_some_and(|parked| parked.conn() == to.conn()));
    if let Some(Parked::Fetch(before)) = before.and_then(|id| broker.waiting.take(id)) {
        out_of_time(node, now, before);
    }
    let Some(broker) = &mut node.broker else { return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND) };
    let image = &node.image;
    let asked = topics.into_iter().flat_map(|topic| asked_of(topic, image, by_ids));
    let forgotten = std::mem::take(&mut body.forgotten_topics_data).into_iter().flat_map(|topic| {
        let partitions = topic.partitions;
        let named = Named { name: topic.topic, id: topic.topic_id };
        partitions.into_iter().map(move |partition| (named.clone(), partition))
    });
    let Some(turn) = broker.sessions.go_on(id, asked, forgotten, now)? else {
        return Ok(What::Whole { asked: Vec::new(), begins: false });
    };
    // Topics come and go while sessions last.
    let mut last: Option<(Arc<Named>, Option<Uuid>)> = None;
    for asked in broker.sessions.asked_mut(turn) {
        let topic = match &last {
            Some((named, id)) if Arc::ptr_eq(named, &asked.topic) => *id,
            _ => {
                let id = find(image, &asked.topic, by_ids);
                last = Some((Arc::clone(&asked.topic), id));
                id
            }
        };
        asked.id = topic.map(|topic| (topic, asked.partition));
    }
    Ok(What::Within(turn))
}

/// The id of a topic that there is.
fn find(image: &Image, named: &Named, by_ids: bool) -> Option<Uuid> {
    if by_ids {
        Some(named.id).filter(|id| image.topics.contains_key(id))
    } else {
        image.names.get(&named.name).copied()
    }
}

fn asked_of(topic: FetchTopic, image: &Image, by_ids: bool) -> impl Iterator<Item = Asked> + use<> {
    let named = Arc::new(Named { name: topic.topic, id: topic.topic_id });
    let id = find(image, &named, by_ids);
    topic.partitions.into_iter().map(move |p| Asked {
        topic: Arc::clone(&named),
        partition: p.partition,
        id: id.map(|id| (id, p.partition)),
        leader_epoch: p.current_leader_epoch,
        offset: p.fetch_offset,
        last_epoch: p.last_fetched_epoch,
        log_start: p.log_start_offset,
        max_bytes: usize::try_from(p.partition_max_bytes).unwrap_or(0),
    })
}

/// An error or a divergence: it is told at once and every time.
pub(super) fn is_wrong(data: &PartitionData) -> bool {
    data.error_code != 0 || data.diverging_epoch.end_offset >= 0
}

/// What a session notes as told: after something wrong the partition is told again when it is right.
pub(super) fn told(data: &PartitionData) -> Told {
    let high_watermark = if is_wrong(data) { -1 } else { data.high_watermark };
    Told { high_watermark, log_start: data.log_start_offset }
}

/// Whether there is something to tell whoever was told that.
pub(super) fn is_news(before: Told, data: &PartitionData) -> bool {
    is_wrong(data) || before != told(data) || data.records.as_ref().is_some_and(|records| !records.is_empty())
}
