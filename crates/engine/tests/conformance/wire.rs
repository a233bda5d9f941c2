//! The protocol itself, for what clients hide: one connection to one broker, one request at a time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use metricstream_engine::client::Connection;
use metricstream_wire::ErrorCode;
use metricstream_wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use metricstream_wire::api::find_coordinator::FindCoordinatorRequest;
use metricstream_wire::api::init_producer_id::InitProducerIdRequest;
use metricstream_wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use metricstream_wire::api::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use metricstream_wire::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use metricstream_wire::frame::Request;

use crate::cluster::{Cluster, DEADLINE, until};
use crate::records::now_ms;

/// A connection to one broker.
pub(crate) struct Wire(Connection);

/// Values as a batch of an idempotent producer.
pub(crate) fn batch((id, epoch): (i64, i16), sequence: i32, values: &[&str]) -> Bytes {
    let timestamp_ms = now_ms();
    let mut batch = BatchBuilder::new().producer(id, epoch, sequence);
    for value in values {
        batch.push(NewRecord { timestamp_ms, key: None, value: Some(value.as_bytes()), headers: &[] });
    }
    batch.build(0, -1)
}

impl Wire {
    /// Connects to a broker.
    pub(crate) async fn to(cluster: &Cluster, id: i32) -> Self {
        Self(Connection::open(cluster.at(id), DEADLINE).await.expect("connected"))
    }

    /// Connects to the leader of partition 0 of a topic.
    pub(crate) async fn to_leader(cluster: &Cluster, topic: &str) -> Self {
        Self::to(cluster, cluster.leader(topic, 0).await).await
    }

    pub(crate) async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.0.call(request, version, DEADLINE).await.expect("an answer")
    }

    /// An id for an idempotent producer, and its epoch.
    pub(crate) async fn producer_id(&mut self) -> (i64, i16) {
        let request = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..Default::default() };
        let begun = Instant::now();
        loop {
            let told = self.call(&request, 4).await;
            match ErrorCode(told.error_code) {
                ErrorCode::NONE => return (told.producer_id, told.producer_epoch),
                // The broker is still asking the controller for a block of ids.
                code => {
                    assert!(code == ErrorCode::COORDINATOR_LOAD_IN_PROGRESS && begun.elapsed() < DEADLINE, "{code}")
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Writes a batch to partition 0 with acks=all: the answer's code and offset.
    pub(crate) async fn produce(&mut self, topic: &str, records: Bytes) -> (ErrorCode, i64) {
        let partition = PartitionProduceData { index: 0, records: Some(records) };
        let topic = TopicProduceData { name: topic.to_owned(), partition_data: vec![partition], ..Default::default() };
        let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
        let mut told = self.call(&request, 11).await;
        let told = told.responses.remove(0).partition_responses.remove(0);
        (ErrorCode(told.error_code), told.base_offset)
    }

    /// Fetches partition 0 from an offset, as one who knows of this leader epoch (−1: of none).
    pub(crate) async fn fetch(&mut self, topic: &str, offset: i64, epoch: i32, max_wait_ms: i32) -> PartitionData {
        let partition = FetchPartition {
            fetch_offset: offset,
            current_leader_epoch: epoch,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topic = FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..Default::default() };
        let request = FetchRequest { max_wait_ms, min_bytes: 1, topics: vec![topic], ..Default::default() };
        let mut told = self.call(&request, 12).await;
        assert_eq!(ErrorCode(told.error_code), ErrorCode::NONE);
        told.responses.remove(0).partitions.remove(0)
    }

    /// Asks for the end of partition 0, as one who knows of this leader epoch: the answer's code.
    pub(crate) async fn list_offsets(&mut self, topic: &str, current_leader_epoch: i32) -> ErrorCode {
        let partition = ListOffsetsPartition { partition_index: 0, current_leader_epoch, timestamp: -1 };
        let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let told = self.call(&request, 7).await;
        ErrorCode(told.topics[0].partitions[0].error_code)
    }

    /// Asks where an epoch of partition 0 ended, as one who knows of this leader epoch: the answer's code, epoch, offset.
    pub(crate) async fn epoch_end(&mut self, topic: &str, current: i32, leader_epoch: i32) -> (ErrorCode, i32, i64) {
        let partition = OffsetForLeaderPartition { partition: 0, current_leader_epoch: current, leader_epoch };
        let topic = OffsetForLeaderTopic { topic: topic.to_owned(), partitions: vec![partition] };
        let told = self.call(&OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic] }, 4).await;
        let told = &told.topics[0].partitions[0];
        (ErrorCode(told.error_code), told.leader_epoch, told.end_offset)
    }
}

/// The broker that coordinates a group, once one does that runs.
pub(crate) async fn coordinator(cluster: &Cluster, group: &str) -> i32 {
    until("a coordinator", || async {
        let asked = cluster.brokers().into_iter().find(|id| cluster.runs(*id))?;
        let request = FindCoordinatorRequest { coordinator_keys: vec![group.to_owned()], ..Default::default() };
        let told = Wire::to(cluster, asked).await.call(&request, 4).await;
        let found = told.coordinators.first()?;
        (found.error_code == 0 && cluster.runs(found.node_id)).then_some(found.node_id)
    })
    .await
}
