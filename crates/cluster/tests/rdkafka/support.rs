//! What the tests of this cluster with librdkafka share.

use std::time::Duration;

use metricstream_cluster::{Builder, Cluster, Profile};
use metricstream_node::image::{Image, Partition};
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::producer::FutureProducer;

use crate::librdkafka::{admin, client, options, with};
pub(crate) use crate::librdkafka::{frame, is_cut, read, reader, send, until};

/// By when anything that a test waits for must be there. Generous: the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks for it.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// A quick cluster; what brokers tell of themselves goes where a failing test shows it.
pub(crate) fn fast() -> Builder {
    Cluster::builder().profile(Profile::Fast).on_event(|node, event| {
        if let metricstream_cluster::Event::Log { level, text } = event {
            eprintln!("node {node}: {level:?}: {text}");
        }
    })
}

/// A producer with more settings.
pub(crate) fn producer(cluster: &Cluster, more: &[(&str, &str)]) -> FutureProducer {
    let mut config = client(cluster);
    config.set("message.timeout.ms", DEADLINE.as_millis().to_string());
    with(config, more).create().expect("a producer")
}

/// Makes a topic.
pub(crate) async fn create(cluster: &Cluster, topic: &str, partitions: i32, factor: i32, config: &[(&str, &str)]) {
    let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(factor));
    for (name, value) in config {
        wanted = wanted.set(name, value);
    }
    let made = admin(cluster).create_topics([&wanted], &options()).await.expect("an answer");
    assert_eq!(made, vec![Ok(topic.to_owned())]);
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
