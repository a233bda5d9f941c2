//! Where no controller can be read: the cluster is asked for its metadata again and again. What is seen this way is late
//! by up to the interval and says so; fencing cannot be told from a broker's absence, so it is told as such. Who asks is
//! not known here: it may take encryption and credentials.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::image::{BrokerImage, Image, PartitionImage};
use crate::observation::{Observation, ObservedAt};
use crate::remote::{Listing, MetadataSource};

/// What metadata does not tell: a partition's epochs, a broker's epoch.
const UNKNOWN: i32 = -1;

/// Polls until nobody listens.
pub(super) async fn run(
    source: Arc<dyn MetadataSource>,
    every: Duration,
    seen: mpsc::Sender<Observation>,
    image: watch::Sender<Arc<Image>>,
) {
    let mut known = Image::default();
    let mut heard = Instant::now();
    loop {
        let asked = Instant::now();
        let asking = Arc::clone(&source);
        match tokio::task::spawn_blocking(move || asking.listing()).await {
            // The program ends.
            Err(_) => return,
            Ok(Err(error)) => tracing::debug!(error, "polling metadata"),
            Ok(Ok(listing)) => {
                let now = image_of(&listing, &known);
                let at = ObservedAt::Polled { at: Instant::now(), error: heard.elapsed() };
                // What the answer does not show yet may have happened since it was asked for.
                heard = asked;
                for what in now.differences(&known) {
                    if seen.send(Observation { at, what }).await.is_err() {
                        return;
                    }
                }
                known = now;
                image.send_replace(Arc::new(known.clone()));
            }
        }
        if seen.is_closed() {
            return;
        }
        tokio::time::sleep(every).await;
    }
}

fn image_of(listing: &Listing, before: &Image) -> Image {
    let mut image = Image::default();
    let listed = BrokerImage { broker_epoch: i64::from(UNKNOWN), ..BrokerImage::default() };
    for broker in &listing.brokers {
        image.brokers.insert(*broker, listed.clone());
    }
    // A broker that is not listed any more is fenced or gone; a metadata answer does not say which.
    for (id, was) in &before.brokers {
        image.brokers.entry(*id).or_insert_with(|| BrokerImage { fenced: true, ..was.clone() });
    }
    for (key, p) in &listing.partitions {
        let now = PartitionImage {
            replicas: p.replicas.clone(),
            isr: p.isr.clone(),
            elr: Vec::new(),
            leader: p.leader,
            leader_epoch: UNKNOWN,
            partition_epoch: UNKNOWN,
        };
        image.partitions.insert(key.clone(), now);
    }
    image
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::observation::Observed;
    use crate::remote::ListedPartition;

    /// Answers in turn; the last for ever.
    #[derive(Debug)]
    struct Told(Mutex<VecDeque<Result<Listing, String>>>);

    impl MetadataSource for Told {
        fn listing(&self) -> Result<Listing, String> {
            let mut answers = self.0.lock().expect("unpoisoned");
            let next = answers.front().cloned().expect("an answer");
            if answers.len() > 1 {
                answers.pop_front();
            }
            next
        }
    }

    fn listing(brokers: &[i32], leader: i32, isr: &[i32]) -> Listing {
        let partition = ListedPartition { replicas: vec![1, 2], isr: isr.to_vec(), leader };
        Listing {
            brokers: brokers.iter().copied().collect(),
            partitions: [(("metrics".to_owned(), 0), partition)].into(),
        }
    }

    #[tokio::test]
    async fn what_is_polled_tells_what_changed_how_late_and_no_epoch() {
        let answers = [
            Ok(listing(&[1, 2], 1, &[1, 2])),
            Err("nobody answers".to_owned()),
            Ok(listing(&[2], 2, &[2])),
            Ok(listing(&[1, 2], 2, &[2, 1])),
        ];
        let source = Arc::new(Told(Mutex::new(answers.into())));
        let (tx, mut seen) = mpsc::channel(64);
        let (image, _watch) = watch::channel(Arc::default());
        let every = Duration::from_millis(20);
        let task = tokio::spawn(run(source, every, tx, image));
        let mut changes = Vec::new();
        let mut fenced = Vec::new();
        while changes.len() < 3 || fenced.len() < 4 {
            let Observation { at, what } = seen.recv().await.expect("observed");
            let ObservedAt::Polled { error, .. } = at else { panic!("{at:?}") };
            match what {
                Observed::Partition { leader, isr, leader_epoch, partition_epoch, .. } => {
                    assert_eq!((leader_epoch, partition_epoch), (UNKNOWN, UNKNOWN));
                    if leader == 2 && isr == [2] {
                        assert!(error >= every * 2, "an answer that was missed makes it later: {error:?}");
                    }
                    changes.push((leader, isr));
                }
                Observed::BrokerFenced { broker, .. } => fenced.push((broker, true)),
                Observed::BrokerUnfenced { broker, .. } => fenced.push((broker, false)),
                _ => {}
            }
        }
        assert_eq!(changes, [(1, vec![1, 2]), (2, vec![2]), (2, vec![2, 1])]);
        assert_eq!(fenced, [(1, false), (2, false), (1, true), (1, false)]);
        drop(seen);
        tokio::time::timeout(Duration::from_secs(10), task).await.expect("it ends with its reader").expect("in order");
    }
}
