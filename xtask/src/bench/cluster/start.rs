//! From the call that starts a cluster to the first acknowledgement by all replicas.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use metricstream_cluster::{Cluster, Profile};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};

use super::peer::{BROKERS, Peer};
use super::raw::RawProducer;

const TOPIC: &str = "metrics";
const PARTITIONS: i32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// Settings of librdkafka's producer, named with its figure. By default it makes connections half a reconnect backoff of
/// 100 ms apart, and asks for leaders again after 100 ms: many times what a start takes here.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("acks", "all"),
    ("linger.ms", "0"),
    ("reconnect.backoff.ms", "10"),
    ("topic.metadata.refresh.fast.interval.ms", "10"),
];

/// One start, ms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Started {
    /// Until `start()` came back: every broker is unfenced and the topic has its leaders.
    pub(super) ready_ms: f64,
    /// Until the first acknowledgement, that of one frame over one connection.
    pub(super) acked_ms: f64,
    /// The same, from a start of its own, with librdkafka as the client, its own start included.
    pub(super) librdkafka_ms: f64,
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Two starts of the embedded cluster in this process, with a topic of six partitions and three replicas.
pub(super) fn ours() -> anyhow::Result<Started> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let start = || {
        let builder = Cluster::builder().brokers(i32::try_from(BROKERS)?).profile(Profile::Fast);
        Ok::<_, anyhow::Error>(builder.topic(TOPIC, PARTITIONS, i16::try_from(BROKERS)?).start())
    };
    let begun = Instant::now();
    let (ready_ms, acked_ms) = runtime.block_on(async {
        let cluster = start()?.await?;
        let ready_ms = ms(begun);
        let at = cluster.brokers().first().context("a broker")?.1;
        RawProducer::connect(at, TOPIC, 1).await?.acknowledged().await?;
        Ok::<_, anyhow::Error>((ready_ms, ms(begun)))
    })?;
    let begun = Instant::now();
    let cluster = runtime.block_on(start()?)?;
    let producer = producer(&cluster.bootstrap())?;
    first_ack(&producer)?;
    let librdkafka_ms = ms(begun);
    Ok(Started { ready_ms, acked_ms, librdkafka_ms })
}

/// One start of Apache Kafka, seconds, and the cluster: until librdkafka has the first acknowledgement.
pub(super) fn kafka(start: impl FnOnce() -> anyhow::Result<Peer>) -> anyhow::Result<(f64, Peer)> {
    let begun = Instant::now();
    let peer = start()?;
    peer.create_topic(TOPIC, PARTITIONS)?;
    first_ack(&producer(&peer.bootstrap())?)?;
    Ok((begun.elapsed().as_secs_f64(), peer))
}

struct First(std::sync::mpsc::SyncSender<Result<(), KafkaError>>);

impl rdkafka::ClientContext for First {}

impl ProducerContext for First {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let _ = self.0.try_send(result.as_ref().map(drop).map_err(|(why, _)| why.clone()));
    }
}

type Waited = (ThreadedProducer<First>, std::sync::mpsc::Receiver<Result<(), KafkaError>>);

fn producer(bootstrap: &str) -> anyhow::Result<Waited> {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (name, value) in SETTINGS {
        config.set(*name, *value);
    }
    Ok((config.create_with_context(First(tell))?, told))
}

fn first_ack((producer, told): &Waited) -> anyhow::Result<()> {
    let sent = producer.send(BaseRecord::<(), _>::to(TOPIC).partition(0).payload(&[7_u8; 100][..]));
    sent.map_err(|(why, _)| anyhow!("the client did not take a message: {why}"))?;
    Ok(told.recv_timeout(PATIENCE)??)
}
