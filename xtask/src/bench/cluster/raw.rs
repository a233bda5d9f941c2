//! The least client there is: one connection to the leader of partition 0, one frame after the other. What it sees is the
//! cluster's doing alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use metricstream_engine::admin;
use metricstream_engine::client::Connection;
use metricstream_wire::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};

const PATIENCE: Duration = Duration::from_secs(60);
/// The last version of Produce that names topics.
const BY_NAME: i16 = 12;
/// Bytes of each value.
const VALUE: [u8; 100] = [7; 100];

pub(in crate::bench) struct RawProducer {
    connection: Connection,
    request: ProduceRequest,
}

impl RawProducer {
    /// Asks any broker who leads, and connects to it. Every frame will have so many records of 100 B, with acks=all.
    pub(in crate::bench) async fn connect(any: SocketAddr, topic: &str, records: usize) -> anyhow::Result<Self> {
        let metadata = admin::metadata(any, Some(&[topic.to_owned()])).await?;
        let known = metadata.topics.first().context("the topic")?;
        let partition = known.partitions.iter().find(|p| p.partition_index == 0).context("partition 0")?;
        let leader = metadata.brokers.iter().find(|b| b.node_id == partition.leader_id).context("its leader")?;
        let at = format!("{}:{}", leader.host, leader.port).parse()?;
        let connection = Connection::open(at, PATIENCE).await?;
        let mut batch = BatchBuilder::new();
        for _ in 0..records {
            batch.push(NewRecord { timestamp_ms: -1, value: Some(&VALUE), ..NewRecord::default() });
        }
        let partition_data = vec![PartitionProduceData { index: 0, records: Some(batch.build(0, 0)) }];
        let topic_data =
            vec![TopicProduceData { name: topic.to_owned(), partition_data, ..TopicProduceData::default() }];
        let timeout_ms = i32::try_from(PATIENCE.as_millis())?;
        let request = ProduceRequest { acks: -1, timeout_ms, topic_data, ..ProduceRequest::default() };
        Ok(Self { connection, request })
    }

    /// Sends the frame, and waits until it is acknowledged.
    pub(in crate::bench) async fn acknowledged(&mut self) -> anyhow::Result<()> {
        let answer = self.connection.call(&self.request, BY_NAME, PATIENCE).await?;
        match answer.responses.iter().flat_map(|topic| &topic.partition_responses).map(|p| p.error_code).next() {
            Some(0) => Ok(()),
            error => bail!("the records were refused: {error:?}"),
        }
    }
}
