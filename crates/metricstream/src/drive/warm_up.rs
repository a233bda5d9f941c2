//! Some messages to a topic of their own before the run's second 0, so that its first seconds show a cluster and not the
//! cold code of freshly started Java machines. The topic is gone before load starts, and is not part of the story.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use metricstream_engine::observation::{Observation, Observed};
use metricstream_load::{config, tools};

const TOPIC: &str = "metricstream-warm-up";
const MESSAGES: usize = 4_000;
const SIZE_BYTES: usize = 200;

/// Whether an observation is about nothing but this.
pub(super) fn is_about(observation: &Observation) -> bool {
    match &observation.what {
        Observed::Partition { topic, .. } | Observed::TopicDeleted { topic } => topic == TOPIC,
        _ => false,
    }
}

/// Warms the cluster up. A failure is no reason not to run: then it stays cold.
pub(super) async fn run(bootstrap: &str, brokers: u32) {
    let mut client = config::base(bootstrap, &BTreeMap::new());
    client.set("enable.idempotence", "true").set("message.timeout.ms", "3000").set("linger.ms", "1");
    let partitions = i32::try_from(brokers.saturating_mul(2)).unwrap_or(2);
    let replication = i16::try_from(brokers.min(3)).unwrap_or(1);
    let made = tools::create_topic(&client, TOPIC, partitions, replication, &[]).await;
    if made.is_ok() {
        let sender = client.clone();
        let sent = tokio::task::spawn_blocking(move || {
            let mut values = (0..MESSAGES).map(|_| vec![b'.'; SIZE_BYTES]);
            tools::produce(&sender, TOPIC, &mut values, Some(4_000.0), &AtomicBool::new(false))
        });
        tracing::debug!(sent = ?sent.await, "warm-up");
    }
    if let Err(error) = tools::delete_topic(&client, TOPIC).await {
        tracing::debug!(%error, "warm-up");
    }
}
