//! librdkafka, as the stories use it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::cluster::{Cluster, DEADLINE, until};

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

/// A producer with more settings; idempotent where these allow it, since what is tried again must not be there twice.
pub(crate) fn producer(cluster: &Cluster, more: &[(&str, &str)]) -> FutureProducer {
    let mut config = client(cluster);
    config.set("message.timeout.ms", DEADLINE.as_millis().to_string());
    let bars = |name: &str, value: &str| match name {
        "acks" => value != "all",
        _ => ["retries", "message.timeout.ms", "batch.num.messages"].contains(&name),
    };
    config.set("enable.idempotence", (!more.iter().any(|(name, value)| bars(name, value))).to_string());
    for (name, value) in more {
        config.set(*name, *value);
    }
    config.create().expect("a producer")
}

/// A member of a group, or a plain reader, that begins at the beginning.
pub(crate) fn consumer(cluster: &Cluster, group: &str, more: &[(&str, &str)]) -> BaseConsumer {
    let mut config = client(cluster);
    config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    config.set("fetch.error.backoff.ms", "20").set("fetch.wait.max.ms", "100");
    for (name, value) in more {
        config.set(*name, *value);
    }
    config.create().expect("a consumer")
}

pub(crate) fn admin(cluster: &Cluster) -> AdminClient<DefaultClientContext> {
    client(cluster).create().expect("an admin client")
}

pub(crate) fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(DEADLINE)).operation_timeout(Some(DEADLINE))
}

/// As long as one of several attempts may take. A broker that died a moment ago may still be named as the one to ask for
/// what the controller decides, and a client that has heard so waits for it: each attempt is another client's.
fn soon() -> AdminOptions {
    let limit = Some(DEADLINE / 12);
    AdminOptions::new().request_timeout(limit).operation_timeout(limit)
}

/// Makes a topic and waits until every broker that runs knows its leaders.
pub(crate) async fn create(cluster: &Cluster, topic: &str, partitions: i32, factor: i32, config: &[(&str, &str)]) {
    let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(factor));
    for (name, value) in config {
        wanted = wanted.set(name, value);
    }
    let mut asked = 0;
    until("the topic to be created", || {
        asked += 1;
        created(admin(cluster), &wanted, asked > 1)
    })
    .await;
    cluster.known_everywhere(topic, usize::try_from(partitions).expect("some")).await;
}

/// Whether a topic is there. Where the controller is just changing, clients are told to ask again; that the first request
/// was carried out after all is seen by its name being taken.
async fn created(admin: AdminClient<DefaultClientContext>, wanted: &NewTopic<'_>, again: bool) -> Option<()> {
    match admin.create_topics([wanted], &soon()).await {
        Ok(made) => match &made[0] {
            Ok(_) => Some(()),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) if again => Some(()),
            Err((_, RDKafkaErrorCode::NotController | RDKafkaErrorCode::RequestTimedOut)) => None,
            Err((topic, code)) => panic!("creating {topic}: {code}"),
        },
        Err(error) => {
            eprintln!("creating {}: {error}", wanted.name);
            None
        }
    }
}

/// Deletes a topic; asks again where the controller is just changing or the request was lost on its way.
pub(crate) async fn delete(cluster: &Cluster, topic: &str) {
    let mut asked = 0;
    until("the topic to be deleted", || {
        asked += 1;
        deleted(admin(cluster), topic, asked > 1)
    })
    .await;
}

async fn deleted(admin: AdminClient<DefaultClientContext>, topic: &str, again: bool) -> Option<()> {
    match admin.delete_topics(&[topic], &soon()).await {
        Ok(gone) => match &gone[0] {
            Ok(_) => Some(()),
            Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) if again => Some(()),
            Err((_, RDKafkaErrorCode::NotController | RDKafkaErrorCode::RequestTimedOut)) => None,
            Err((topic, code)) => panic!("deleting {topic}: {code}"),
        },
        Err(error) => {
            eprintln!("deleting {topic}: {error}");
            None
        }
    }
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

/// What [`send`] sent.
pub(crate) fn values(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("v-{n}")).collect()
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

/// The values of one partition from its beginning, so many.
#[track_caller]
pub(crate) fn read_values(cluster: &Cluster, topic: &str, partition: i32, count: usize) -> Vec<String> {
    read(&reader(cluster, topic, partition, Offset::Beginning), count).into_values().collect()
}

/// A reader outside any group, of one partition from an offset.
pub(crate) fn reader(cluster: &Cluster, topic: &str, partition: i32, from: Offset) -> BaseConsumer {
    let reader = consumer(cluster, "nobody", &[]);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, from).expect("an offset");
    reader.assign(&list).expect("assigned");
    reader
}

/// Where a partition begins and where readers' view of it ends, once its leader says.
pub(crate) async fn watermarks(cluster: &Cluster, topic: &str, partition: i32) -> (i64, i64) {
    let looker = consumer(cluster, "nobody", &[]);
    until("watermarks", || async { looker.fetch_watermarks(topic, partition, Duration::from_secs(5)).ok() }).await
}
