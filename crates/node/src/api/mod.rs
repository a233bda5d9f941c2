//! What a node answers: one file per API, which alone names that API's versioned wire structures. Each says at its top
//! which versions there are and what is deliberately missing.
//!
//! A handler decodes, asks the part of the node that decides, and answers, at once or later.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::envelope::EnvelopeRequest;

use crate::broker::waiting::WaitId;
use crate::io::{ConnId, Listener};
use crate::node::{Incoming, Node, ReplyTo};
use crate::time::Now;

pub(crate) mod allocate_producer_ids;
pub(crate) mod alter_partition;
pub(crate) mod api_versions;
pub(crate) mod begin_quorum_epoch;
pub(crate) mod broker_heartbeat;
pub(crate) mod broker_registration;
pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod consumer_protocol;
pub(crate) mod create_topics;
pub(crate) mod delete_groups;
pub(crate) mod describe_groups;
pub(crate) mod end_quorum_epoch;
pub(crate) mod fetch;
pub(crate) mod fetch_snapshot;
pub(crate) mod find_coordinator;
pub(crate) mod forward;
#[cfg(test)]
mod group_tests;
pub(crate) mod groups;
pub(crate) mod heartbeat;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_groups;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod produce;
pub(crate) mod quorum;
pub(crate) mod sync_group;
pub(crate) mod vote;

pub(crate) use forward::forward_failed;

/// A request that waits for something to happen to a partition.
#[derive(Debug)]
pub(crate) enum Parked {
    Produce(produce::ParkedProduce),
    Fetch(fetch::ParkedFetch),
}

impl Parked {
    /// Who waits.
    pub(crate) fn conn(&self) -> ConnId {
        match self {
            Self::Produce(parked) => parked.to.conn(),
            Self::Fetch(parked) => parked.to.conn(),
        }
    }
}

/// Something happened to a partition that a parked request watches.
pub(crate) fn look_again(node: &mut Node, now: Now, id: WaitId) {
    let Some(parked) = node.broker.as_mut().and_then(|broker| broker.waiting.get_mut(id)) else { return };
    match parked {
        Parked::Produce(_) => produce::look_again(node, now, id),
        Parked::Fetch(_) => fetch::look_again(node, now, id),
    }
}

/// A parked request has waited as long as it may.
pub(crate) fn out_of_time(node: &mut Node, now: Now, id: WaitId) {
    match node.broker.as_mut().and_then(|broker| broker.waiting.take(id)) {
        Some(Parked::Produce(parked)) => produce::out_of_time(node, parked),
        Some(Parked::Fetch(parked)) => fetch::out_of_time(node, now, parked),
        None => {}
    }
}

/// How a request is handled.
type Handler = fn(&mut Node, Now, Incoming);

/// Who may ask it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Broker,
    Controller,
    Both,
}

/// One API of a node.
pub(crate) struct Served {
    pub(crate) key: i16,
    /// Versions that are answered; those advertised may begin lower (Produce).
    pub(crate) low: i16,
    pub(crate) high: i16,
    pub(crate) door: Door,
    /// A broker passes it on to the active controller.
    pub(crate) forwarded: bool,
    pub(crate) handle: Handler,
}

const fn on(door: Door, key: i16, low: i16, high: i16, handle: Handler) -> Served {
    Served { key, low, high, door, forwarded: false, handle }
}

/// What the active controller answers, also through any broker.
const fn forwarded(key: i16, low: i16, high: i16, handle: Handler) -> Served {
    Served { key, low, high, door: Door::Controller, forwarded: true, handle }
}

/// Everything that is served, in the order of keys. The highest versions are those of Apache Kafka 4.1.
pub(crate) const SERVED: &[Served] = &[
    on(Door::Broker, 0, 3, 13, produce::handle),
    on(Door::Both, 1, 4, 18, fetch::handle),
    on(Door::Broker, 3, 0, 13, metadata::handle),
    on(Door::Broker, 8, 2, 9, groups::offset_commit),
    on(Door::Broker, 9, 1, 9, groups::offset_fetch),
    on(Door::Broker, 10, 0, 6, find_coordinator::handle),
    on(Door::Broker, 11, 0, 9, groups::join_group),
    on(Door::Broker, 12, 0, 4, groups::heartbeat),
    on(Door::Broker, 13, 0, 5, groups::leave_group),
    on(Door::Broker, 14, 0, 5, groups::sync_group),
    on(Door::Broker, 15, 0, 6, groups::describe_groups),
    on(Door::Broker, 16, 0, 5, groups::list_groups),
    on(Door::Both, 18, 0, 4, api_versions::handle),
    forwarded(19, 2, 7, create_topics::handle),
    on(Door::Broker, 42, 0, 2, groups::delete_groups),
    on(Door::Broker, 47, 0, 0, groups::offset_delete),
    on(Door::Controller, 52, 0, 2, vote::handle),
    on(Door::Controller, 53, 0, 1, begin_quorum_epoch::handle),
    on(Door::Controller, 54, 0, 1, end_quorum_epoch::handle),
    on(Door::Controller, 56, 2, 3, alter_partition::handle),
    on(Door::Controller, 58, 0, 0, envelope),
    on(Door::Controller, 59, 0, 1, fetch_snapshot::handle),
    on(Door::Controller, 62, 0, 4, broker_registration::handle),
    on(Door::Controller, 63, 0, 1, broker_heartbeat::handle),
    on(Door::Controller, 67, 0, 0, allocate_producer_ids::handle),
    on(Door::Broker, 68, 0, 1, groups::consumer_group_heartbeat),
    on(Door::Broker, 69, 0, 1, groups::consumer_group_describe),
];

/// Whether a door leads to it.
pub(crate) fn is_served(served: &Served, listener: Listener) -> bool {
    match served.door {
        Door::Both => true,
        Door::Broker => listener == Listener::Broker,
        Door::Controller => listener == Listener::Controller,
    }
}

/// Handles a request. What is not served here ends the connection, as in Kafka, but for ApiVersions (KIP-511).
pub(crate) fn dispatch(node: &mut Node, now: Now, incoming: Incoming) {
    let (key, version) = (incoming.header.api_key, incoming.header.api_version);
    let found = SERVED.iter().find(|s| s.key == key);
    let Some(served) = found.filter(|s| s.forwarded || is_served(s, incoming.listener)) else {
        return node.drop_connection(now, incoming.to.conn());
    };
    if key == api_versions::KEY && version > served.high {
        return api_versions::unsupported(node, &incoming);
    }
    if !(served.low..=served.high).contains(&version) {
        if key == produce::KEY && version >= 0 {
            return produce::refuse_old(node, now, incoming);
        }
        return node.drop_connection(now, incoming.to.conn());
    }
    if served.forwarded && incoming.listener == Listener::Broker {
        return forward::forward(node, now, incoming);
    }
    (served.handle)(node, now, incoming);
}

fn envelope(node: &mut Node, now: Now, mut incoming: Incoming) {
    if let Some(envelope) = node.body::<EnvelopeRequest>(now, &mut incoming) {
        node.unwrap_envelope(now, incoming, envelope);
    }
}

/// The error of a result.
pub(crate) fn code<T>(result: &Result<T, ErrorCode>) -> i16 {
    result.as_ref().err().map_or(0, |error| error.0)
}

/// The broker that a listener's requests come from, noted so that its death is seen by its connection.
pub(crate) fn note_broker(node: &mut Node, to: &ReplyTo, broker: i32) {
    node.inbound.spoken_by(to.conn(), broker);
}

/// A small slice that outlives its request is copied, so that it does not keep the whole frame in memory.
fn own(bytes: &bytes::Bytes) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(bytes)
}
