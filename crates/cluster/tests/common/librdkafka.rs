//! librdkafka, and a client's bare bytes, as the tests use them, whichever cluster they are told of: this one's own tests and the
//! conformance suite of `engine`. Each brings its `Cluster`, how long it waits (`DEADLINE`) and how often it looks (`LOOK`).

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Cluster, DEADLINE, LOOK};

/// Waits until there is something.
#[track_caller]
pub(crate) fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let from = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(begun.elapsed() < DEADLINE, "{from}: waited {DEADLINE:?} for: {what}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Settings of a client that learns quickly of what changed.
pub(crate) fn client(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap())
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "50")
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50")
        .set("topic.metadata.refresh.fast.interval.ms", "20");
    config
}

/// The same with more settings.
pub(crate) fn with(mut config: ClientConfig, more: &[(&str, &str)]) -> ClientConfig {
    for (name, value) in more {
        config.set(*name, *value);
    }
    config
}

/// A member of a group, or a plain reader, that begins at the beginning.
pub(crate) fn consumer(cluster: &Cluster, group: &str, more: &[(&str, &str)]) -> BaseConsumer {
    let mut config = client(cluster);
    config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    config.set("fetch.error.backoff.ms", "20").set("fetch.wait.max.ms", "100");
    with(config, more).create().expect("a consumer")
}

pub(crate) fn admin(cluster: &Cluster) -> AdminClient<DefaultClientContext> {
    client(cluster).create().expect("an admin client")
}

pub(crate) fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(DEADLINE)).operation_timeout(Some(DEADLINE))
}

/// Sends `from..to` as values `v-N` to one partition; panics where one is not acknowledged. Returns the offsets.
pub(crate) async fn send(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    numbers: std::ops::Range<u32>,
) -> Vec<i64> {
    let mut sent = Vec::new();
    for number in numbers {
        let (key, value) = (format!("k-{number}"), format!("v-{number}"));
        let record = FutureRecord::to(topic).partition(partition).key(&key).payload(&value);
        sent.push(producer.send_result(record).map_err(|(error, _)| error).expect("the queue has room"));
    }
    let mut offsets = Vec::new();
    for delivery in sent {
        let delivery = delivery.await.expect("a report");
        offsets.push(delivery.map_err(|(error, _)| error).expect("acknowledged").offset);
    }
    offsets
}

/// What a reader got: values by partition and offset.
pub(crate) type Got = BTreeMap<(i32, i64), String>;

/// Reads until `count` distinct messages are there.
#[track_caller]
pub(crate) fn read(consumer: &BaseConsumer, count: usize) -> Got {
    let mut got = Got::new();
    let begun = Instant::now();
    while got.len() < count {
        assert!(begun.elapsed() < DEADLINE, "{} of {count} messages after {DEADLINE:?}", got.len());
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(m)) => {
                let value = m.payload().map(|v| String::from_utf8_lossy(v).into_owned()).unwrap_or_default();
                got.insert((m.partition(), m.offset()), value);
            }
            Some(Err(error)) => eprintln!("consumer: {error}"),
            None => {}
        }
    }
    got
}

/// A reader outside any group, of one partition from an offset.
pub(crate) fn reader(cluster: &Cluster, topic: &str, partition: i32, from: Offset) -> BaseConsumer {
    let reader = consumer(cluster, "nobody", &[]);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, from).expect("an offset");
    reader.assign(&list).expect("assigned");
    reader
}

/// A frame: its length, then a header of the first version, then a body.
pub(crate) fn frame(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 10).expect("small");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(api.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(7_i32.to_be_bytes());
    bytes.extend((-1_i16).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Sends bytes; true where the broker ends the connection instead of answering.
pub(crate) async fn is_cut(at: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(at).await.expect("connected");
    stream.write_all(bytes).await.expect("sent");
    let mut answer = [0; 64];
    let read = timeout(DEADLINE, stream.read(&mut answer)).await.expect("an answer or an end");
    read.is_err() || read.is_ok_and(|count| count == 0)
}
