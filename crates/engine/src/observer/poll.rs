//! Where no controller can be reached: brokers are asked for their metadata again and again. What is seen this way is
//! late by up to the interval and says so; fencing cannot be told from a broker's absence, so it is told as such.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metricstream_wire::api::metadata::MetadataResponse;
use tokio::sync::{mpsc, watch};

use super::image::{BrokerImage, Image, PartitionImage};
use crate::admin;
use crate::observation::{Observation, ObservedAt};

/// Polls until nobody listens.
pub(super) async fn run(
    brokers: Vec<SocketAddr>,
    every: Duration,
    seen: mpsc::Sender<Observation>,
    image: watch::Sender<Arc<Image>>,
) {
    let mut known = Image::default();
    let mut heard = Instant::now();
    let mut turn = 0;
    while !brokers.is_empty() {
        match admin::metadata(brokers[turn % brokers.len()], None).await {
            Err(error) => {
                tracing::debug!(%error, "polling metadata");
                turn += 1;
            }
            Ok(answer) => {
                let now = image_of(&answer, &known);
                let at = ObservedAt::Polled { at: Instant::now(), error: heard.elapsed() };
                heard = Instant::now();
                for what in now.differences(&known) {
                    if seen.send(Observation { at, what }).await.is_err() {
                        return;
                    }
                }
                known = now;
                image.send_replace(Arc::new(known.clone()));
            }
        }
        tokio::time::sleep(every).await;
    }
}

/// Internal topics are left out: nobody's scenario is about them.
fn image_of(answer: &MetadataResponse, before: &Image) -> Image {
    let mut image = Image::default();
    for broker in &answer.brokers {
        image.brokers.insert(broker.node_id, BrokerImage::default());
    }
    // A broker that is not listed any more is fenced or gone; a metadata answer does not say which.
    for (id, was) in &before.brokers {
        image.brokers.entry(*id).or_insert_with(|| BrokerImage { fenced: true, ..was.clone() });
    }
    for topic in answer.topics.iter().filter(|t| !t.is_internal && t.error_code == 0) {
        let Some(name) = &topic.name else { continue };
        for p in &topic.partitions {
            let key = (name.clone(), p.partition_index);
            let was = before.partitions.get(&key);
            let mut now = PartitionImage {
                replicas: p.replica_nodes.clone(),
                isr: p.isr_nodes.clone(),
                elr: Vec::new(),
                leader: p.leader_id,
                leader_epoch: p.leader_epoch,
                partition_epoch: was.map_or(0, |w| w.partition_epoch),
            };
            // Metadata does not carry the partition epoch; a changed partition must still not look the same.
            if was.is_some_and(|w| *w != now) {
                now.partition_epoch += 1;
            }
            image.partitions.insert(key, now);
        }
    }
    image
}
