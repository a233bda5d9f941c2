//! Metadata (3), versions 0 to 13: brokers, topics, leaders, in-sync replicas, as far as this broker knows. Rights are not
//! told, since there are none. A topic that is asked for by name and not there is made, if the client and the broker allow it.
//! Where closed connections are evidence of death, answers about a leader that has just died wait for the next one, and it
//! stays listed for a while (`node/departed.rs`).

use std::collections::BTreeSet;

use metricstream_wire::ErrorCode;
use metricstream_wire::api::metadata::{
    MetadataBroker, MetadataPartition, MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataTopic,
};

use crate::image::{Image, Partition, Topic};
use crate::node::{BROKER_LISTENER, Incoming, Node, ReplyTo};
use crate::time::Now;

/// Topics that only brokers make.
pub(crate) const INTERNAL: &[&str] = &["__consumer_offsets", "__transaction_state", "__share_group_state"];

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<MetadataRequest>(now, &mut incoming) else { return };
    if let Some(body) = node.held_for_election(now, &incoming.to, body) {
        answer(node, now, &incoming.to, body);
    }
}

/// Whether all topics are asked for.
fn asks_all(body: &MetadataRequest, version: i16) -> bool {
    body.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty())
}

/// Who leads the partitions that are asked for; −1 where nobody does.
pub(crate) fn leaders<'a>(image: &'a Image, body: &'a MetadataRequest, version: i16) -> impl Iterator<Item = i32> + 'a {
    let all = asks_all(body, version).then(|| image.topics.values()).into_iter().flatten();
    let named = body.topics.iter().flatten().filter_map(|asked| match &asked.name {
        Some(name) => image.names.get(name).and_then(|id| image.topics.get(id)),
        None => image.topics.get(&asked.topic_id),
    });
    all.chain(named).flat_map(|topic| topic.partitions.values().map(|p| p.leader))
}

/// Answers with what this broker knows now.
pub(crate) fn answer(node: &mut Node, now: Now, to: &ReplyTo, body: MetadataRequest) {
    let version = to.version;
    let topics = if asks_all(&body, version) {
        node.image.topics.values().map(|t| described(&node.image, t, version)).collect()
    } else {
        let asked = body.topics.unwrap_or_default();
        asked.iter().map(|t| one(node, now, t, body.allow_auto_topic_creation, version)).collect()
    };
    let answer = MetadataResponse {
        brokers: brokers(&node.image, &node.departed.still_listed(now, to.conn())),
        cluster_id: Some(node.config.cluster_id.clone()),
        controller_id: told_controller(node),
        topics,
        ..MetadataResponse::default()
    };
    node.respond::<MetadataRequest>(to, &answer);
}

/// Where brokers listen that are not fenced, or told of all the same.
fn brokers(image: &Image, still_listed: &BTreeSet<i32>) -> Vec<MetadataBroker> {
    let up = image.brokers.values().filter(|b| !b.fenced || still_listed.contains(&b.id));
    up.filter_map(|b| {
        let at = b.endpoints.iter().find(|e| e.name == BROKER_LISTENER)?;
        let port = i32::from(at.port);
        Some(MetadataBroker { node_id: b.id, host: at.host.clone(), port, rack: b.rack.clone() })
    })
    .collect()
}

/// Clients that know no forwarding send their administration there; every broker passes it on. Kafka names a random one.
pub(crate) fn told_controller(node: &Node) -> i32 {
    let up = |id: &i32| node.image.brokers.get(id).is_some_and(|b| !b.fenced);
    let active = node.controller().filter(up);
    active.or_else(|| node.image.brokers.values().find(|b| !b.fenced).map(|b| b.id)).unwrap_or(-1)
}

fn one(node: &mut Node, now: Now, asked: &MetadataRequestTopic, may_make: bool, version: i16) -> MetadataTopic {
    if let Some(name) = &asked.name {
        if let Some(topic) = node.image.topic(name) {
            return described(&node.image, topic, version);
        }
        let sound = crate::controller::is_topic_name(name);
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let mut error = if sound { unknown } else { ErrorCode::INVALID_TOPIC_EXCEPTION };
        if sound && may_make && node.config.settings.auto_create_topics_enable {
            error = node.make_topic(now, name);
        }
        return MetadataTopic { error_code: error.0, name: Some(name.clone()), ..MetadataTopic::default() };
    }
    match node.image.topics.get(&asked.topic_id) {
        Some(topic) => described(&node.image, topic, version),
        None => MetadataTopic {
            error_code: ErrorCode::UNKNOWN_TOPIC_ID.0,
            topic_id: asked.topic_id,
            ..MetadataTopic::default()
        },
    }
}

fn described(image: &Image, topic: &Topic, version: i16) -> MetadataTopic {
    MetadataTopic {
        error_code: 0,
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: INTERNAL.contains(&topic.name.as_str()),
        partitions: topic.partitions.iter().map(|(id, p)| partition(image, *id, p, version)).collect(),
        ..MetadataTopic::default()
    }
}

fn partition(image: &Image, partition_index: i32, p: &Partition, version: i16) -> MetadataPartition {
    let up = |id: &i32| image.brokers.get(id).is_some_and(|b| !b.fenced);
    let leader = Some(p.leader).filter(up);
    let only_up = |ids: &[i32]| ids.iter().copied().filter(|id| up(id)).collect::<Vec<_>>();
    MetadataPartition {
        error_code: if leader.is_none() { ErrorCode::LEADER_NOT_AVAILABLE.0 } else { 0 },
        partition_index,
        leader_id: leader.unwrap_or(-1),
        leader_epoch: p.leader_epoch,
        // Version 0 and its clients know only of brokers that are up.
        replica_nodes: if version == 0 { only_up(&p.replicas) } else { p.replicas.clone() },
        isr_nodes: if version == 0 { only_up(&p.isr) } else { p.isr.clone() },
        offline_replicas: p.replicas.iter().copied().filter(|id| !up(id)).collect(),
    }
}
