//! What the tests with librdkafka share.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use metricstream_cluster::{Builder, Cluster, Profile};
use metricstream_node::image::{Image, Partition};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};

/// By when anything that a test waits for must be there. Generous: the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(5);

/// A quick cluster; what brokers tell of themselves goes where a failing test shows it.
pub(crate) fn fast() -> Builder {
    Cluster::builder().profile(Profile::Fast).on_event(|node, event| {
        if let metricstream_cluster::Event::Log { level, text } = event {
            eprintln!("node {node}: {level:?}: {text}");
        }
    })
}

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

/// A producer with more settings.
pub(crate) fn producer(cluster: &Cluster, more: &[(&str, &str)]) -> FutureProducer {
    let mut config = client(cluster);
    config.set("message.timeout.ms", DEADLINE.as_millis().to_string());
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

/// Makes a topic and waits until every broker that runs knows its leaders.
pub(crate) async fn create(cluster: &Cluster, topic: &str, partitions: i32, factor: i32, config: &[(&str, &str)]) {
    let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(factor));
    for (name, value) in config {
        wanted = wanted.set(name, value);
    }
    let made = admin(cluster).create_topics([&wanted], &options()).await.expect("an answer");
    assert_eq!(made, vec![Ok(topic.to_owned())]);
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
pub(crate) fn reader(cluster: &Cluster, topic: &str, partition: i32, from: rdkafka::Offset) -> BaseConsumer {
    let reader = consumer(cluster, "nobody", &[]);
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(topic, partition, from).expect("an offset");
    reader.assign(&list).expect("assigned");
    reader
}

/// A partition as a node that runs has it.
pub(crate) async fn partition(cluster: &Cluster, topic: &str, partition: i32) -> Option<Partition> {
    for id in running(cluster) {
        let image: Option<Image> = cluster.image(id).await;
        if let Some(found) = image.and_then(|i| i.topic(topic)?.partitions.get(&partition).cloned()) {
            return Some(found);
        }
    }
    None
}

/// Nodes that run.
pub(crate) fn running(cluster: &Cluster) -> Vec<i32> {
    let nodes = cluster.nodes().into_iter();
    nodes.filter(|(_, state)| *state == metricstream_cluster::NodeState::Running).map(|(id, _)| id).collect()
}

/// The leader of a partition, once there is one among the nodes that run.
pub(crate) async fn leader(cluster: &Cluster, topic: &str, number: i32) -> i32 {
    until("a leader that runs", || async {
        let leader = partition(cluster, topic, number).await?.leader;
        running(cluster).contains(&leader).then_some(leader)
    })
    .await
}
