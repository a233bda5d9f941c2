//! librdkafka, as the stories use it.

use std::time::Duration;

use rdkafka::Offset;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication, TopicResult};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use rdkafka::types::RDKafkaErrorCode;

use crate::cluster::{Cluster, DEADLINE, until};
use crate::librdkafka::with;
pub(crate) use crate::librdkafka::{admin, client, consumer, options, read, reader, send};

/// A producer with more settings; idempotent where these allow it, since what is tried again must not be there twice.
pub(crate) fn producer(cluster: &Cluster, more: &[(&str, &str)]) -> FutureProducer {
    let mut config = client(cluster);
    config.set("message.timeout.ms", DEADLINE.as_millis().to_string());
    let bars = |name: &str, value: &str| match name {
        "acks" => value != "all",
        _ => ["retries", "message.timeout.ms", "batch.num.messages"].contains(&name),
    };
    config.set("enable.idempotence", (!more.iter().any(|(name, value)| bars(name, value))).to_string());
    with(config, more).create().expect("a producer")
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
        let already = (asked > 1).then_some(RDKafkaErrorCode::TopicAlreadyExists);
        let (admin, wanted) = (admin(cluster), &wanted);
        async move { is_done("creating", topic, admin.create_topics([wanted], &soon()).await, already) }
    })
    .await;
    cluster.known_everywhere(topic, usize::try_from(partitions).expect("some")).await;
}

/// Deletes a topic.
pub(crate) async fn delete(cluster: &Cluster, topic: &str) {
    let mut asked = 0;
    until("the topic to be deleted", || {
        asked += 1;
        let already = (asked > 1).then_some(RDKafkaErrorCode::UnknownTopicOrPartition);
        let admin = admin(cluster);
        async move { is_done("deleting", topic, admin.delete_topics(&[topic], &soon()).await, already) }
    })
    .await;
}

/// Whether what was asked about a topic is done. Where the controller is just changing or a request was lost on its way it is
/// asked again; that an earlier request was carried out after all is seen by the code `already`.
fn is_done(
    what: &str,
    topic: &str,
    answer: Result<Vec<TopicResult>, KafkaError>,
    already: Option<RDKafkaErrorCode>,
) -> Option<()> {
    match answer.map(|mut answers| answers.remove(0)) {
        Ok(Ok(_)) => Some(()),
        Ok(Err((_, code))) if Some(code) == already => Some(()),
        Ok(Err((_, RDKafkaErrorCode::NotController | RDKafkaErrorCode::RequestTimedOut))) => None,
        Ok(Err((topic, code))) => panic!("{what} {topic}: {code}"),
        Err(error) => {
            eprintln!("{what} {topic}: {error}");
            None
        }
    }
}

/// What [`send`] sent.
pub(crate) fn values(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("v-{n}")).collect()
}

/// The values of one partition from its beginning, so many.
#[track_caller]
pub(crate) fn read_values(cluster: &Cluster, topic: &str, partition: i32, count: usize) -> Vec<String> {
    read(&reader(cluster, topic, partition, Offset::Beginning), count).into_values().collect()
}

/// Where a partition begins and where readers' view of it ends, once its leader says.
pub(crate) async fn watermarks(cluster: &Cluster, topic: &str, partition: i32) -> (i64, i64) {
    let looker = consumer(cluster, "nobody", &[]);
    until("watermarks", || async { looker.fetch_watermarks(topic, partition, Duration::from_secs(5)).ok() }).await
}
