//! A client for tests in virtual time: it asks one thing at a time, finds leaders by itself, and gives up at a deadline.

use bytes::Bytes;
use metricstream_wire::ErrorCode;
use metricstream_wire::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use metricstream_wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic};
use metricstream_wire::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use metricstream_wire::frame::{self, Request};
use metricstream_wire::record_batch::Batch;

use super::world::{Party, World};
use crate::io::{ConnId, Listener};

impl World {
    /// A connection that stands; the node must run.
    pub(crate) fn connected(&mut self, node: Party) -> Option<ConnId> {
        let conn = self.connect(node);
        self.run_until(100, |w| w.stands(conn) || w.closed.contains(&conn));
        self.stands(conn).then_some(conn)
    }

    /// Sends a request; its answer is taken with [`answer`](Self::answer).
    pub(crate) fn ask<R: Request>(&mut self, conn: ConnId, version: i16, body: &R) {
        let bytes = frame::request(body, version, 77, "tester").expect("declared");
        self.send(conn, &bytes);
    }

    /// The next answer on a connection.
    pub(crate) fn answer<R: Request>(&mut self, conn: ConnId, version: i16, limit_ms: u64) -> Option<R::Response> {
        self.run_until(limit_ms, |w| !w.arrived[&conn].is_empty() || w.closed.contains(&conn));
        let bytes = self.arrived.get_mut(&conn).filter(|a| !a.is_empty())?.remove(0);
        let (correlation, body) = frame::response::<R>(bytes, version).expect("an answer that can be read");
        assert_eq!(correlation, 77);
        Some(body)
    }

    /// One question to one node on a connection of its own.
    pub(crate) fn query<R: Request>(
        &mut self,
        node: Party,
        version: i16,
        body: &R,
        limit_ms: u64,
    ) -> Option<R::Response> {
        self.query_at(node, Listener::Broker, version, body, limit_ms)
    }

    /// The same, through one of its doors.
    pub(crate) fn query_at<R: Request>(
        &mut self,
        node: Party,
        listener: Listener,
        version: i16,
        body: &R,
        limit_ms: u64,
    ) -> Option<R::Response> {
        let conn = self.connect_to(node, listener);
        self.run_until(100, |w| w.stands(conn) || w.closed.contains(&conn));
        if !self.stands(conn) {
            return None;
        }
        self.ask(conn, version, body);
        let answer = self.answer::<R>(conn, version, limit_ms);
        if self.stands(conn) {
            self.hang_up(conn);
        }
        answer
    }

    /// Waits until every running node sees all running brokers unfenced.
    pub(crate) fn wait_formed(&mut self, limit_ms: u64) -> bool {
        self.run_until(limit_ms, |w| {
            let brokers = w.brokers();
            w.running().iter().all(|id| {
                let image = w.node(*id).expect("it runs").image();
                brokers.iter().all(|other| image.is_active(*other))
            })
        })
    }

    /// Makes a topic through a node.
    pub(crate) fn create_topic(
        &mut self,
        via: Party,
        name: &str,
        partitions: i32,
        factor: i16,
        configs: &[(&str, &str)],
    ) -> Option<ErrorCode> {
        let config =
            |(name, value): &(&str, &str)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) };
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: factor,
            configs: configs.iter().map(config).collect(),
            ..CreatableTopic::default()
        };
        self.make_topic(via, topic, 5_000)
    }

    /// Makes a topic of one replica through a node that may take so long.
    pub(crate) fn create_topic_within(&mut self, via: Party, name: &str, limit_ms: u64) -> Option<ErrorCode> {
        let (name, num_partitions, replication_factor) = (name.to_owned(), 1, 1);
        let topic = CreatableTopic { name, num_partitions, replication_factor, ..CreatableTopic::default() };
        self.make_topic(via, topic, limit_ms)
    }

    fn make_topic(&mut self, via: Party, topic: CreatableTopic, limit_ms: u64) -> Option<ErrorCode> {
        let body = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        let answer = self.query(via, 7, &body, limit_ms)?;
        Some(ErrorCode(answer.topics[0].error_code))
    }

    /// The leader of a partition as a running node's image has it.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<Party> {
        let newest = self.running().into_iter().filter_map(|id| self.node(id)).max_by_key(|n| n.image().offset)?;
        let leader = newest.image().topic(topic)?.partitions.get(&partition)?.leader;
        (leader >= 0).then_some(leader)
    }

    /// Produces one record; the error, and the offset.
    pub(crate) fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        acks: i16,
        value: &[u8],
        limit_ms: u64,
    ) -> Option<(ErrorCode, i64)> {
        let leader = self.leader(topic, partition).filter(|l| self.node(*l).is_some())?;
        let answer =
            self.query(leader, 12, &produce_request(topic, partition, acks, value, limit_ms), limit_ms + 500)?;
        let one = &answer.responses[0].partition_responses[0];
        Some((ErrorCode(one.error_code), one.base_offset))
    }

    /// Produces a batch with acks=all; the error, and the offset.
    pub(crate) fn produce_batch(&mut self, topic: &str, partition: i32, batch: Bytes) -> (ErrorCode, i64) {
        let leader = self.leader(topic, partition).expect("somebody leads");
        let data = PartitionProduceData { index: partition, records: Some(batch) };
        let name = topic.to_owned();
        let topic_data = vec![TopicProduceData { name, partition_data: vec![data], ..TopicProduceData::default() }];
        let body = ProduceRequest { acks: -1, timeout_ms: 1_000, topic_data, ..ProduceRequest::default() };
        let answer = self.query(leader, 12, &body, 2_000).expect("an answer");
        let one = &answer.responses[0].partition_responses[0];
        (ErrorCode(one.error_code), one.base_offset)
    }

    /// Produces until it is acknowledged; the offset.
    pub(crate) fn produce_for_sure(&mut self, topic: &str, partition: i32, value: &[u8], limit_ms: u64) -> i64 {
        let end = self.now_ns + limit_ms * crate::time::MS;
        loop {
            if let Some((ErrorCode::NONE, offset)) = self.produce(topic, partition, -1, value, 500) {
                return offset;
            }
            assert!(self.now_ns < end, "nothing was acknowledged within {limit_ms} ms");
            self.run_ms(10);
        }
    }

    /// All values that a consumer sees on a partition.
    pub(crate) fn consume(&mut self, topic: &str, partition: i32) -> Vec<Bytes> {
        let mut values = Vec::new();
        let Some(mut leader) = self.leader(topic, partition) else { return values };
        let id = self.node(leader).expect("it runs").image().names[topic];
        let end_ns = self.now_ns + 5_000 * crate::time::MS;
        let mut offset = 0;
        loop {
            let asked = FetchPartition {
                partition,
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            };
            let topics = vec![FetchTopic { topic_id: id, partitions: vec![asked], ..FetchTopic::default() }];
            let body = FetchRequest { max_wait_ms: 0, max_bytes: 1 << 20, topics, ..FetchRequest::default() };
            let Some(mut answer) = self.query(leader, 17, &body, 1_000) else { return values };
            let data = answer.responses.remove(0).partitions.remove(0);
            if data.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER.0 && self.now_ns < end_ns {
                // Leadership may move while somebody reads.
                self.run_ms(10);
                leader = self.leader(topic, partition).unwrap_or(leader);
                continue;
            }
            assert_eq!(data.error_code, 0, "{data:?}");
            let mut records = data.records.expect("never null").into_bytes();
            let before = offset;
            while let Some(batch) = Batch::next(&mut records).expect("sound") {
                offset = batch.next_offset();
                if !batch.is_control() {
                    values.extend(batch.records().expect("sound").into_iter().filter_map(|r| r.value));
                }
            }
            if offset == before {
                return values;
            }
        }
    }
}

/// One record for one partition.
pub(crate) fn produce_request(topic: &str, partition: i32, acks: i16, value: &[u8], timeout_ms: u64) -> ProduceRequest {
    let mut batch = BatchBuilder::new();
    batch.push(NewRecord { timestamp_ms: 1_700_000_000_000, value: Some(value), ..NewRecord::default() });
    let data = PartitionProduceData { index: partition, records: Some(batch.build(0, -1)) };
    ProduceRequest {
        acks,
        timeout_ms: i32::try_from(timeout_ms).expect("short"),
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![data],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}
