//! The group coordinator joined to the node: its requests and answers, its appends to `__consumer_offsets`, and the loading
//! of a partition that this broker has come to lead.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use metricstream_wire::parts::Part;
use metricstream_wire::{ErrorCode, Uuid};

use super::{Node, ReplyTo};
use crate::api;
use crate::broker::Write;
use crate::group::{At, GroupOutput, GroupRequest, OFFSETS_TOPIC, Ticket, Token, TopicsView};
use crate::image::{Image, PartitionId, Touched};
use crate::io::{Completion, ConnId, Durability, FileId, Level, OpId, StorageAction, Stored};
use crate::log::Origin;
use crate::time::Now;

/// Bytes of a log that are loaded at once.
const LOAD_BYTES: usize = 1 << 20;

impl TopicsView for Image {
    fn version(&self) -> i64 {
        self.offset
    }

    fn id_of(&self, name: &str) -> Option<Uuid> {
        self.names.get(name).copied()
    }

    fn name_of(&self, id: Uuid) -> Option<&str> {
        self.topics.get(&id).map(|topic| topic.name.as_str())
    }

    fn partition_count(&self, id: Uuid) -> i32 {
        self.topics.get(&id).map_or(0, |topic| i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX))
    }
}

/// A partition whose log is being loaded.
#[derive(Debug)]
struct Loading {
    id: PartitionId,
    next: i64,
    /// Pieces that are read from the store, in order; `None` until they are there.
    pieces: Vec<Option<Bytes>>,
    /// Where the log goes on after them.
    after: i64,
}

/// What the coordinator has in hand.
#[derive(Debug, Default)]
pub(crate) struct Coordinating {
    next_token: u64,
    waiting: BTreeMap<Token, ReplyTo>,
    loading: BTreeMap<i32, Loading>,
    /// Reads under way: of which partition, and which piece.
    reads: BTreeMap<OpId, (i32, usize)>,
}

impl Node {
    /// A request to the coordinator.
    pub(crate) fn ask_groups(&mut self, now: Now, to: ReplyTo, request: GroupRequest) {
        let Some(broker) = &mut self.broker else { return };
        let token = Token(broker.coordinating.next_token);
        broker.coordinating.next_token += 1;
        broker.coordinating.waiting.insert(token, to);
        broker.groups.handle(token, request, At { now, topics: &self.image });
    }

    pub(super) fn forget_group_tokens(&mut self, conn: ConnId) {
        if let Some(broker) = &mut self.broker {
            broker.coordinating.waiting.retain(|_, to| to.conn() != conn);
        }
    }

    /// What is due, and what the coordinator wants done. Whether there was anything.
    pub(super) fn run_groups(&mut self, now: Now) -> bool {
        let Some(broker) = &mut self.broker else { return false };
        if self.judges && broker.groups.next_timer().is_some_and(|at| now.reached(at)) {
            broker.groups.on_timer(At { now, topics: &self.image });
        }
        let outputs = broker.groups.take();
        let moved = !outputs.is_empty();
        for output in outputs {
            match output {
                GroupOutput::Append { partition, records, ticket } => {
                    self.append_group_records(now, partition, &records, ticket);
                }
                GroupOutput::Answer { token, answer } => {
                    let waiting = self.broker.as_mut().and_then(|b| b.coordinating.waiting.remove(&token));
                    if let Some(to) = waiting {
                        api::groups::respond(self, &to, answer);
                    }
                }
            }
        }
        moved
    }

    fn append_group_records(&mut self, now: Now, partition: i32, records: &[(Bytes, Option<Bytes>)], ticket: Ticket) {
        let mut batch = BatchBuilder::new();
        for (key, value) in records {
            batch.push(NewRecord {
                timestamp_ms: now.wall_ms,
                key: Some(key),
                value: value.as_deref(),
                ..NewRecord::default()
            });
        }
        let bytes: BytesMut = batch.build(0, -1).into();
        let result = self.append_group_batch(now, partition, bytes);
        if let Some(broker) = &mut self.broker {
            broker.groups.appended(ticket, result, At { now, topics: &self.image });
        }
    }

    fn append_group_batch(&mut self, now: Now, partition: i32, bytes: BytesMut) -> Result<i64, ErrorCode> {
        let topic = self.image.id_of(OFFSETS_TOPIC).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        let id = (topic, partition);
        let broker = self.broker.as_mut().ok_or(ErrorCode::NOT_COORDINATOR)?;
        let replica = broker.replicas.get_mut(&id).ok_or(ErrorCode::NOT_COORDINATOR)?;
        let flaws = &self.config.flaws;
        let write = Write { records: bytes, origin: Origin::Coordinator, acks_all: true };
        let done = replica.append(write, &self.image, flaws, now, &mut self.out);
        match done.map_err(|refused| refused.error) {
            Ok((appended, moved)) => {
                broker.moved(id, moved);
                Ok(appended.last_offset)
            }
            // What a client of a coordinator is told in their place, as Kafka translates them.
            Err(ErrorCode::NOT_ENOUGH_REPLICAS | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {
                Err(ErrorCode::COORDINATOR_NOT_AVAILABLE)
            }
            Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) => Err(ErrorCode::NOT_COORDINATOR),
            Err(error) => Err(error),
        }
    }

    /// The high watermark of a partition moved.
    pub(super) fn groups_committed(&mut self, now: Now, id: PartitionId) {
        if self.image.id_of(OFFSETS_TOPIC) != Some(id.0) {
            return;
        }
        let Some(broker) = &mut self.broker else { return };
        if let Some(replica) = broker.replicas.get(&id).filter(|r| r.is_leader()) {
            broker.groups.committed(id.1, replica.high_watermark, At { now, topics: &self.image });
        }
    }

    /// A replica that is gone coordinates nothing.
    pub(super) fn groups_deposed(&mut self, id: PartitionId) {
        let Some(broker) = &mut self.broker else { return };
        if broker.coordinating.loading.get(&id.1).is_some_and(|l| l.id == id) && !broker.replicas.contains_key(&id) {
            broker.coordinating.loading.remove(&id.1);
            broker.groups.resigned(id.1);
        }
    }

    pub(super) fn groups_see_topics(&mut self, now: Now, touched: &Touched) {
        if touched.removed.is_empty() {
            return;
        }
        let names: Vec<String> = touched.removed.iter().map(|(_, name)| name.clone()).collect();
        if let Some(broker) = &mut self.broker {
            broker.groups.topics_deleted(&names, At { now, topics: &self.image });
        }
    }

    /// This broker has come to lead a partition, in another epoch, or leads it no more.
    pub(super) fn coordinator_changed(&mut self, now: Now, id: PartitionId, leads: bool) {
        if self.image.id_of(OFFSETS_TOPIC) != Some(id.0) {
            return;
        }
        let Some(broker) = &mut self.broker else { return };
        if !leads {
            broker.coordinating.loading.remove(&id.1);
            broker.groups.resigned(id.1);
            return;
        }
        let Some(replica) = broker.replicas.get(&id) else { return };
        if !broker.groups.elected(id.1, replica.leader_epoch) {
            return;
        }
        let next = replica.log.start_offset();
        let loading = Loading { id, next, pieces: Vec::new(), after: next };
        broker.coordinating.loading.insert(id.1, loading);
        self.load_groups(now, id.1);
    }

    /// Feeds the coordinator with the log from where it is, as far as the bytes are at hand.
    fn load_groups(&mut self, now: Now, partition: i32) {
        loop {
            let Some(broker) = &mut self.broker else { return };
            let Some(loading) = broker.coordinating.loading.get_mut(&partition) else { return };
            if loading.pieces.iter().any(Option::is_none) {
                return;
            }
            let pieces = std::mem::take(&mut loading.pieces);
            let mut bytes = BytesMut::new();
            pieces.into_iter().flatten().for_each(|piece| bytes.extend_from_slice(&piece));
            loading.next = loading.after;
            let id = loading.id;
            if let Err(error) = broker.groups.load(partition, bytes.freeze()) {
                let text = format!("{OFFSETS_TOPIC}-{partition} cannot be loaded: {error}");
                return self.say(Level::Error, text);
            }
            let Some(replica) = broker.replicas.get(&id) else { return };
            let Some(loading) = broker.coordinating.loading.get_mut(&partition) else { return };
            let end = replica.log.end_offset();
            if loading.next >= end {
                broker.coordinating.loading.remove(&partition);
                broker.groups.loaded(partition, replica.high_watermark, At { now, topics: &self.image });
                return;
            }
            let Ok(read) = replica.log.read(loading.next, end, LOAD_BYTES, true) else { return };
            loading.after = if read.next_offset > loading.next { read.next_offset } else { end };
            for (piece, part) in read.parts.into_iter().enumerate() {
                match part {
                    Part::Bytes(bytes) => loading.pieces.push(Some(bytes)),
                    Part::File(range) => {
                        loading.pieces.push(None);
                        let action = StorageAction::Read { position: range.position, len: range.len_bytes };
                        let op = self.out.wanted(FileId(range.file), action, Durability::Written);
                        broker.coordinating.reads.insert(op, (partition, piece));
                    }
                }
            }
        }
    }

    /// A read for loading ended; false if it was another's.
    pub(super) fn groups_stored(&mut self, now: Now, done: &Completion) -> bool {
        let Some(broker) = &mut self.broker else { return false };
        let Some((partition, piece)) = broker.coordinating.reads.remove(&done.id) else { return false };
        if let Ok(Stored::Bytes(bytes)) = &done.result
            && let Some(loading) = broker.coordinating.loading.get_mut(&partition)
            && let Some(place) = loading.pieces.get_mut(piece)
        {
            *place = Some(bytes.clone());
        }
        self.load_groups(now, partition);
        true
    }
}
