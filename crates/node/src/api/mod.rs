//! What a node answers: one file per API, which alone names that API's versioned wire structures. Each says at its top
//! which versions there are and what is deliberately missing.
//!
//! A handler decodes, asks the part of the node that decides, and answers, at once or later.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::envelope::EnvelopeRequest;

use crate::broker::Replica;
use crate::broker::waiting::WaitId;
use crate::image::PartitionId;
use crate::io::{ConnId, Listener};
use crate::node::{Incoming, Node, ReplyTo};
use crate::time::Now;

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod allocate_producer_ids;
pub(crate) mod alter_configs;
pub(crate) mod alter_partition;
pub(crate) mod alter_partition_reassignments;
pub(crate) mod api_versions;
pub(crate) mod begin_quorum_epoch;
pub(crate) mod broker_heartbeat;
pub(crate) mod broker_registration;
pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod consumer_protocol;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_quorum;
pub(crate) mod describe_topic_partitions;
pub(crate) mod elect_leaders;
pub(crate) mod end_quorum_epoch;
pub(crate) mod end_txn;
pub(crate) mod fetch;
pub(crate) mod fetch_snapshot;
pub(crate) mod find_coordinator;
pub(crate) mod forward;
#[cfg(test)]
mod group_tests;
pub(crate) mod groups;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
mod leader_hints;
pub(crate) mod leave_group;
pub(crate) mod list_config_resources;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod list_partition_reassignments;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod quorum;
pub(crate) mod sync_group;
pub(crate) mod txn_offset_commit;
pub(crate) mod unregister_broker;
pub(crate) mod update_features;
pub(crate) mod vote;

/// A request that waits for something to happen to a partition.
#[derive(Debug)]
pub(crate) enum Parked {
    Produce(produce::ParkedProduce),
    Fetch(fetch::ParkedFetch),
    DeleteRecords(delete_records::ParkedDeleteRecords),
    /// Waits for the store, which tells it itself.
    ListOffsets(list_offsets::ParkedListOffsets),
    /// Waits for the controller, whose answer finds it.
    InitProducerId(init_producer_id::ParkedInitProducerId),
}

impl Parked {
    /// Who waits.
    pub(crate) fn conn(&self) -> ConnId {
        match self {
            Self::Produce(parked) => parked.to.conn(),
            Self::Fetch(parked) => parked.to.conn(),
            Self::DeleteRecords(parked) => parked.to.conn(),
            Self::ListOffsets(parked) => parked.to.conn(),
            Self::InitProducerId(parked) => parked.to.conn(),
        }
    }
}

/// Something happened to a partition that a parked request watches.
pub(crate) fn look_again(node: &mut Node, now: Now, id: WaitId) {
    let Some(parked) = node.broker.as_mut().and_then(|broker| broker.waiting.get_mut(id)) else { return };
    match parked {
        Parked::Produce(_) => produce::look_again(node, id),
        Parked::Fetch(_) => fetch::look_again(node, now, id),
        Parked::DeleteRecords(_) => delete_records::look_again(node, id),
        // These watch no partition.
        Parked::ListOffsets(_) | Parked::InitProducerId(_) => {}
    }
}

/// A parked request has waited as long as it may.
pub(crate) fn out_of_time(node: &mut Node, now: Now, id: WaitId) {
    match node.broker.as_mut().and_then(|broker| broker.waiting.take(id)) {
        Some(Parked::Produce(parked)) => produce::out_of_time(node, parked),
        Some(Parked::Fetch(parked)) => fetch::out_of_time(node, now, parked),
        Some(Parked::DeleteRecords(parked)) => delete_records::out_of_time(node, parked),
        Some(Parked::ListOffsets(parked)) => list_offsets::out_of_time(node, parked),
        Some(Parked::InitProducerId(parked)) => init_producer_id::out_of_time(node, &parked),
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
    /// Whether ApiVersions tells of it.
    pub(crate) advertised: bool,
    pub(crate) handle: Handler,
}

const fn on(door: Door, key: i16, low: i16, high: i16, handle: Handler) -> Served {
    Served { key, low, high, door, forwarded: false, advertised: true, handle }
}

/// What the active controller answers, also through any broker.
const fn forwarded(key: i16, low: i16, high: i16, handle: Handler) -> Served {
    Served { key, low, high, door: Door::Controller, forwarded: true, advertised: true, handle }
}

/// What a broker refuses, and does not advertise.
const fn refused(key: i16, low: i16, high: i16, handle: Handler) -> Served {
    Served { key, low, high, door: Door::Broker, forwarded: false, advertised: false, handle }
}

/// Everything that is served, in the order of keys. The highest versions are those of Apache Kafka 4.1.
pub(crate) const SERVED: &[Served] = &[
    on(Door::Broker, 0, 3, 13, produce::handle),
    on(Door::Both, 1, 4, 18, fetch::handle),
    on(Door::Broker, 2, 1, 10, list_offsets::handle),
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
    forwarded(20, 1, 6, delete_topics::handle),
    on(Door::Broker, 21, 0, 2, delete_records::handle),
    on(Door::Broker, 22, 0, 5, init_producer_id::handle),
    on(Door::Broker, 23, 2, 4, offset_for_leader_epoch::handle),
    refused(24, 0, 5, add_partitions_to_txn::handle),
    refused(25, 0, 4, add_offsets_to_txn::handle),
    refused(26, 0, 5, end_txn::handle),
    refused(28, 0, 5, txn_offset_commit::handle),
    on(Door::Both, 32, 1, 4, describe_configs::handle),
    forwarded(33, 0, 2, alter_configs::handle),
    on(Door::Broker, 35, 1, 4, describe_log_dirs::handle),
    forwarded(37, 0, 3, create_partitions::handle),
    on(Door::Broker, 42, 0, 2, groups::delete_groups),
    forwarded(43, 0, 2, elect_leaders::handle),
    forwarded(44, 0, 1, incremental_alter_configs::handle),
    forwarded(45, 0, 1, alter_partition_reassignments::handle),
    forwarded(46, 0, 0, list_partition_reassignments::handle),
    on(Door::Broker, 47, 0, 0, groups::offset_delete),
    on(Door::Controller, 52, 0, 2, vote::handle),
    on(Door::Controller, 53, 0, 1, begin_quorum_epoch::handle),
    on(Door::Controller, 54, 0, 1, end_quorum_epoch::handle),
    forwarded(55, 0, 2, describe_quorum::handle),
    on(Door::Controller, 56, 2, 3, alter_partition::handle),
    forwarded(57, 0, 2, update_features::handle),
    on(Door::Controller, 58, 0, 0, envelope),
    on(Door::Controller, 59, 0, 1, fetch_snapshot::handle),
    on(Door::Both, 60, 0, 2, describe_cluster::handle),
    on(Door::Broker, 61, 0, 0, describe_producers::handle),
    on(Door::Controller, 62, 0, 4, broker_registration::handle),
    on(Door::Controller, 63, 0, 1, broker_heartbeat::handle),
    forwarded(64, 0, 0, unregister_broker::handle),
    on(Door::Controller, 67, 0, 0, allocate_producer_ids::handle),
    on(Door::Broker, 68, 0, 1, groups::consumer_group_heartbeat),
    on(Door::Broker, 69, 0, 1, groups::consumer_group_describe),
    on(Door::Broker, 74, 0, 1, list_config_resources::handle),
    on(Door::Broker, 75, 0, 0, describe_topic_partitions::handle),
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

/// This node's replica of a partition that a client names, whatever it is at the moment.
pub(crate) fn find_replica<'a>(
    node: &'a Node,
    topic: &str,
    partition: i32,
) -> Result<(PartitionId, &'a Replica), ErrorCode> {
    let topic = node.image.topic(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if !topic.partitions.contains_key(&partition) {
        return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let id = (topic.id, partition);
    let here = node.broker.as_ref().and_then(|broker| broker.replicas.get(&id));
    here.map(|replica| (id, replica)).ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)
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
