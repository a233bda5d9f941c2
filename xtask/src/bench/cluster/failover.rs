//! How long writes stop when the leader of the partition that is written to is killed: the longest time between two
//! acknowledgements, as a producer sees it that sends at a steady rate and retries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};

use super::peer::Peer;

/// Messages per second: gaps are known to twice its inverse.
const RATE_PER_S: u32 = 1_000;
/// How long writes may stop before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of good writing before a kill, and after it.
const CALM: Duration = Duration::from_millis(300);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Settings of the producer, named with its figure.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("linger.ms", "0"),
    ("retry.backoff.ms", "20"),
    ("retry.backoff.max.ms", "50"),
    ("topic.metadata.refresh.fast.interval.ms", "20"),
];

#[derive(Debug, Default)]
struct Acks {
    last: Option<Instant>,
    longest: Duration,
    /// The last kill.
    since: Option<Instant>,
    failed: Option<String>,
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Acks>>);

impl ClientContext for Heard {
    fn error(&self, _: rdkafka::error::KafkaError, _: &str) {
        // Brokers that are killed are no news.
    }

    /// Only where it was asked for.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner).since;
        let at_ms = since.map_or(0.0, |since| since.elapsed().as_secs_f64() * 1e3);
        eprintln!("{at_ms:>9.1} ms  {facility:12} {text}");
    }
}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let now = Instant::now();
        let mut acks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err((why, _)) = result {
            acks.failed = Some(why.to_string());
            return;
        }
        if let Some(last) = acks.last {
            acks.longest = acks.longest.max(now - last);
        }
        acks.last = Some(now);
    }
}

impl Heard {
    /// A kill comes now.
    fn begin(&self) -> Instant {
        let mut acks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        (acks.longest, acks.since) = (Duration::ZERO, Some(now));
        now
    }

    /// The longest gap, once acknowledgements have come in for a while after `kill`.
    fn longest_gap(&self, kill: Instant) -> anyhow::Result<Duration> {
        let mut since: Option<Instant> = None;
        loop {
            std::thread::sleep(LOOK_AGAIN);
            let acks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(why) = &acks.failed {
                bail!("a message was given up: {why}");
            }
            // The first acknowledgements behind the kill may be of what was under way to the client already.
            let silent = acks.last.is_none_or(|last| last.elapsed() > Duration::from_millis(15));
            match since {
                _ if silent => since = None,
                None => since = Some(Instant::now()),
                Some(since) if since.elapsed() > CALM => return Ok(acks.longest),
                Some(_) => {}
            }
            if kill.elapsed() > PATIENCE {
                bail!("nothing was acknowledged for {PATIENCE:?}");
            }
        }
    }
}

/// Kills the leader so many times; how long writes stopped each time, ms, the shortest first.
///
/// With `contexts` the client's own log of these goes to standard error (librdkafka's `debug`), the time since the last
/// kill in front.
pub(super) fn kills(peer: &Peer, topic: &str, count: u32, contexts: Option<&str>) -> anyhow::Result<Vec<f64>> {
    peer.create_topic(topic, 1)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", peer.bootstrap()).set("log_level", if contexts.is_some() { "7" } else { "0" });
    if let Some(contexts) = contexts {
        config.set("debug", contexts);
    }
    for (name, value) in SETTINGS {
        config.set(*name, *value);
    }
    let heard = Heard::default();
    let producer: ThreadedProducer<Heard> = config.create_with_context(heard.clone())?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| send(&producer, topic, &ended));
        let gaps = (0..count).map(|_| one_kill(peer, topic, &heard)).collect::<anyhow::Result<Vec<f64>>>();
        ended.store(true, Ordering::Relaxed);
        let mut gaps = gaps?;
        gaps.sort_by(f64::total_cmp);
        Ok(gaps)
    })
}

fn send(producer: &ThreadedProducer<Heard>, topic: &str, ended: &AtomicBool) {
    let (begun, gap) = (Instant::now(), Duration::from_secs(1) / RATE_PER_S);
    let mut number = 0_u32;
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep((begun + gap * number).saturating_duration_since(Instant::now()));
        // What the client does not take stays due.
        if producer.send(BaseRecord::<(), _>::to(topic).partition(0).payload(&[0_u8; 100][..])).is_ok() {
            number += 1;
        }
    }
}

fn one_kill(peer: &Peer, topic: &str, heard: &Heard) -> anyhow::Result<f64> {
    let calm = Instant::now();
    heard.longest_gap(calm)?;
    let leader = peer.leader(topic)?;
    let kill = heard.begin();
    peer.kill(leader)?;
    // Where a cluster takes seconds, acknowledgements of before the kill must not be taken for the new leader's.
    std::thread::sleep(Duration::from_millis(20));
    let gap = heard.longest_gap(kill)?;
    peer.restart(leader)?;
    peer.wait_in_sync(topic)?;
    Ok(gap.as_secs_f64() * 1e3)
}
