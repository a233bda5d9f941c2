//! Producer ids: blocks of them from the controller, single ones to producers; and topics that are made because somebody
//! asked for them.

use std::collections::BTreeMap;

use bytes::Bytes;
use metricstream_wire::ErrorCode;

use super::{Expect, Node};
use crate::api;
use crate::controller::NewTopic;
use crate::net::peers::Channel;
use crate::time::Now;

/// How long the controller may take.
const PATIENCE_MS: i64 = 5_000;
/// Between attempts to get a block of producer ids.
const RETRY_MS: i64 = 50;
/// Topics that may be in the making because somebody asked for them; beyond that askers have to come again.
const MAKING_MAX: usize = 1_000;

impl Node {
    /// A producer id, if there is one at the moment.
    pub(crate) fn next_producer_id(&mut self) -> Option<i64> {
        self.broker.as_mut()?.producer_ids.take()
    }

    /// Asks for a block before the first producer needs one. Whether it did.
    pub(super) fn run_producer_ids(&mut self, now: Now) -> bool {
        let Some(broker) = &mut self.broker else { return false };
        if !broker.wants_producer_ids() || !now.reached(broker.producer_ids.not_before) {
            return false;
        }
        broker.producer_ids.not_before = now.after_ms(RETRY_MS);
        let Some(epoch) = broker.lifecycle.epoch else { return false };
        let Some((leader, at)) = self.controller_address() else { return false };
        let frame = api::allocate_producer_ids::frame(self.config.node_id, epoch);
        let to = (leader, &at, Channel::Controller);
        let deadline = now.after_ms(PATIENCE_MS);
        let sent = self.peers.send(to, frame, Expect::ProducerIds, deadline, &mut self.out);
        if let Some(broker) = &mut self.broker {
            broker.producer_ids.in_flight = sent.is_ok();
        }
        true
    }

    pub(super) fn producer_ids_answered(&mut self, frame: Bytes) {
        let Some(broker) = &mut self.broker else { return };
        broker.producer_ids.in_flight = false;
        if let Ok((first, count)) = api::allocate_producer_ids::read_answer(frame) {
            broker.producer_ids.refill(first, count);
            api::init_producer_id::block_came(self);
        }
    }

    pub(super) fn producer_ids_failed(&mut self) {
        if let Some(broker) = &mut self.broker {
            broker.producer_ids.in_flight = false;
        }
    }

    /// Has a topic made because a client asked for it; gives what the client is told meanwhile.
    pub(crate) fn make_topic(&mut self, now: Now, name: &str) -> ErrorCode {
        let Some(broker) = &mut self.broker else { return ErrorCode::LEADER_NOT_AVAILABLE };
        match broker.making.get(name).copied() {
            Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => return ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Some(refused) => {
                broker.making.remove(name);
                return refused;
            }
            None if broker.making.len() >= MAKING_MAX => return ErrorCode::LEADER_NOT_AVAILABLE,
            None => {}
        }
        let settings = &self.config.settings;
        let (mut partitions, mut factor, mut configs) = (-1, -1, BTreeMap::new());
        if name == "__consumer_offsets" {
            partitions = settings.offsets_topic_num_partitions;
            factor = i16::try_from(settings.offsets_topic_replication_factor).unwrap_or(3);
            configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
            configs.insert("segment.bytes".to_owned(), settings.offsets_topic_segment_bytes.to_string());
            configs.insert("compression.type".to_owned(), "producer".to_owned());
        }
        let topic =
            NewTopic { name: name.to_owned(), partitions, replication_factor: factor, configs, ..NewTopic::default() };
        let Some((leader, at)) = self.controller_address() else { return ErrorCode::LEADER_NOT_AVAILABLE };
        let frame = api::create_topics::frame(self.config.node_id, &topic, PATIENCE_MS);
        let to = (leader, &at, Channel::Controller);
        let deadline = now.after_ms(PATIENCE_MS);
        let expect = Expect::AutoCreated(name.to_owned());
        let sent = self.peers.send(to, frame, expect, deadline, &mut self.out);
        let (Some(broker), true) = (&mut self.broker, sent.is_ok()) else { return ErrorCode::LEADER_NOT_AVAILABLE };
        broker.making.insert(name.to_owned(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    }

    /// What became of it. A refusal is told to whoever asks next, once.
    pub(super) fn topic_made(&mut self, name: &str, frame: Option<Bytes>) {
        if let Some(broker) = &mut self.broker {
            broker.making.remove(name);
        }
        if let Some(Err((error, text))) = frame.map(api::create_topics::read_answer)
            && error != ErrorCode::TOPIC_ALREADY_EXISTS
        {
            if let Some(broker) = &mut self.broker {
                broker.making.insert(name.to_owned(), error);
            }
            self.say(crate::io::Level::Info, format!("topic {name} was asked for and not made: {error}: {text}"));
        }
    }
}
