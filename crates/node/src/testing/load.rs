//! Clients that work while the world goes on: nobody waits for them. A producer keeps one batch under way and repeats it
//! until it is acknowledged; a consumer reads on from where it is and holds what it gets against the oracle.

use bytes::Bytes;
use metricstream_wire::ErrorCode;
use metricstream_wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic};
use metricstream_wire::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use metricstream_wire::frame::{self, Request};
use metricstream_wire::record_batch::Batch;

use super::oracle::{Entry, Oracle, Violation};
use super::world::{Party, World};
use crate::image::{NO_LEADER, PartitionId};
use crate::io::ConnId;
use crate::time::{MS, Ns};

const TOPIC: &str = "metrics";
const PRODUCE_VERSION: i16 = 12;
const FETCH_VERSION: i16 = 17;
/// Until a client gives a node up.
const PATIENCE_MS: u64 = 700;

/// One question at a time to whoever leads a partition.
#[derive(Debug, Default)]
struct Line {
    node: Party,
    conn: Option<ConnId>,
    asked: bool,
    deadline: Ns,
    not_before: Ns,
}

impl Line {
    /// The answer to `question`, once there is one. Whatever fails is tried again later, wherever the partition is then led.
    fn ask<R: Request>(
        &mut self,
        world: &mut World,
        leader: Party,
        version: i16,
        question: impl FnOnce() -> R,
    ) -> Option<R::Response> {
        if world.now_ns < self.not_before {
            return None;
        }
        let Some(conn) = self.conn else {
            if leader != NO_LEADER {
                self.node = leader;
                self.conn = Some(world.connect(leader));
                self.deadline = world.now_ns + PATIENCE_MS * MS;
            } else {
                self.not_before = world.now_ns + 5 * MS;
            }
            return None;
        };
        if !self.asked {
            if world.stands(conn) {
                world.ask(conn, version, &question());
                self.asked = true;
                self.deadline = world.now_ns + PATIENCE_MS * MS;
            } else if world.closed.contains(&conn) || world.now_ns > self.deadline {
                self.hang_up(world);
            }
            return None;
        }
        if let Some(bytes) = world.arrived.get_mut(&conn).filter(|a| !a.is_empty()).map(|a| a.remove(0)) {
            let (_, body) = frame::response::<R>(bytes, version).expect("an answer that can be read");
            self.asked = false;
            return Some(body);
        }
        if world.closed.contains(&conn) || world.now_ns > self.deadline {
            self.hang_up(world);
        }
        None
    }

    fn hang_up(&mut self, world: &mut World) {
        if let Some(conn) = self.conn.take() {
            if world.stands(conn) {
                world.hang_up(conn);
            }
            world.arrived.remove(&conn);
        }
        self.asked = false;
        self.not_before = world.now_ns + 10 * MS;
    }
}

/// A producer of unique values.
#[derive(Debug)]
pub(crate) struct Producer {
    number: u16,
    id: PartitionId,
    acks: i16,
    producer_id: i64,
    pause_ms: u64,
    sequence: i32,
    sent: u32,
    line: Line,
    /// The batch under way: its values.
    batch: Vec<Bytes>,
    next_at: Ns,
    /// No new batch is begun.
    pub(crate) stopped: bool,
    /// What was acknowledged, where.
    pub(crate) acknowledged: Vec<(i64, Bytes)>,
    /// What may or may not be in the log: once at most.
    pub(crate) unknown: Vec<Bytes>,
}

impl Producer {
    /// With a producer id (not −1) it is idempotent and repeats until it is acknowledged.
    pub(crate) fn new(number: u16, id: PartitionId, acks: i16, producer_id: i64, pause_ms: u64) -> Self {
        Self {
            number,
            id,
            acks,
            producer_id,
            pause_ms,
            sequence: 0,
            sent: 0,
            line: Line::default(),
            batch: Vec::new(),
            next_at: 0,
            stopped: false,
            acknowledged: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.batch.is_empty()
    }

    /// Whether what was acknowledged to it must be there for ever.
    pub(crate) fn promises(&self) -> bool {
        self.acks == -1
    }

    pub(crate) fn partition(&self) -> PartitionId {
        self.id
    }

    pub(crate) fn work(&mut self, world: &mut World, oracle: &Oracle) -> Result<(), Violation> {
        if self.batch.is_empty() {
            if self.stopped || world.now_ns < self.next_at {
                return Ok(());
            }
            for _ in 0..1 + self.sent % 7 {
                self.sent += 1;
                self.batch.push(Bytes::from(format!("{}-{}", self.number, self.sent)));
            }
        }
        let leader = leader(oracle, self.id);
        let (id, acks) = (self.id, self.acks);
        let (batch, producer_id, sequence) = (&self.batch, self.producer_id, self.sequence);
        let question = || request(id.1, acks, batch, producer_id, sequence);
        let before = self.line.asked;
        let answer = self.line.ask(world, leader, PRODUCE_VERSION, question);
        let Some(answer) = answer else {
            let gone = before && !self.line.asked;
            if gone && self.producer_id == -1 {
                self.give_up(world);
            }
            return Ok(());
        };
        let one = &answer.responses[0].partition_responses[0];
        let error = ErrorCode(one.error_code);
        if error == ErrorCode::NONE {
            let offsets = one.base_offset..;
            self.acknowledged.extend(offsets.zip(self.batch.drain(..)));
            self.sequence = i32::try_from(self.acknowledged.len()).expect("few");
            self.next_at = world.now_ns + self.pause_ms * MS;
            return Ok(());
        }
        let lost = [ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode::UNKNOWN_PRODUCER_ID].contains(&error);
        if lost && self.acks == -1 {
            return Err(format!(
                "Durability: producer {} is told {error:?}: the log lacks what it was told",
                self.number
            ));
        }
        if self.producer_id == -1 {
            self.give_up(world);
        }
        self.line.hang_up(world);
        Ok(())
    }

    fn give_up(&mut self, world: &World) {
        self.unknown.append(&mut self.batch);
        self.next_at = world.now_ns + self.pause_ms * MS;
    }
}

/// Who leads a partition, as far as a client can find out: from the newest node.
fn leader(oracle: &Oracle, id: PartitionId) -> Party {
    oracle.image().partition(id).map_or(NO_LEADER, |p| p.leader)
}

fn request(partition: i32, acks: i16, values: &[Bytes], producer_id: i64, sequence: i32) -> ProduceRequest {
    let mut batch = BatchBuilder::new();
    if producer_id >= 0 {
        batch = batch.producer(producer_id, 0, sequence);
    }
    for value in values {
        batch.push(NewRecord { timestamp_ms: 1_700_000_000_000, value: Some(value), ..NewRecord::default() });
    }
    let data = PartitionProduceData { index: partition, records: Some(batch.build(0, -1)) };
    let partition_data = vec![data];
    let topic = TopicProduceData { name: TOPIC.to_owned(), partition_data, ..TopicProduceData::default() };
    ProduceRequest { acks, timeout_ms: 400, topic_data: vec![topic], ..ProduceRequest::default() }
}

/// A consumer of one partition from its beginning.
#[derive(Debug)]
pub(crate) struct Consumer {
    id: PartitionId,
    offset: i64,
    line: Line,
}

impl Consumer {
    pub(crate) fn new(id: PartitionId) -> Self {
        Self { id, offset: 0, line: Line::default() }
    }

    pub(crate) fn work(&mut self, world: &mut World, oracle: &Oracle) -> Result<(), Violation> {
        let leader = leader(oracle, self.id);
        let (id, offset) = (self.id, self.offset);
        let question = || {
            let asked = FetchPartition {
                partition: id.1,
                fetch_offset: offset,
                partition_max_bytes: 300,
                ..FetchPartition::default()
            };
            let topics = vec![FetchTopic { topic_id: id.0, partitions: vec![asked], ..FetchTopic::default() }];
            FetchRequest { max_wait_ms: 100, min_bytes: 1, max_bytes: 1 << 20, topics, ..FetchRequest::default() }
        };
        let Some(mut answer) = self.line.ask(world, leader, FETCH_VERSION, question) else { return Ok(()) };
        let data = answer.responses.remove(0).partitions.remove(0);
        if data.error_code != 0 {
            self.line.hang_up(world);
            return Ok(());
        }
        let mut records = data.records.expect("never null").into_bytes();
        while let Some(batch) = Batch::next(&mut records).expect("sound") {
            let header = batch.header();
            let entry = Entry {
                base: header.base_offset,
                next: header.next_offset(),
                epoch: header.partition_leader_epoch,
                crc: header.crc,
            };
            if entry.base > self.offset {
                return Err(format!("ConsumerSkips: of {} at {} the consumer is given {entry:?}", id.1, self.offset));
            }
            if !oracle.is_committed(id, entry) {
                return Err(format!("ConsumerReadsCommitted: of {} the consumer is given {entry:?}", id.1));
            }
            self.offset = self.offset.max(entry.next);
        }
        Ok(())
    }
}
