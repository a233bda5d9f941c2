//! How long writes stop when the leader of the partition that is written to is killed: the longest time between two
//! acknowledgements, as a producer sees it that sends at a steady rate and retries.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
/// Writing goes on for this long before a kill, and after it.
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

/// How often leaders are killed with [`SETTINGS`] alone. librdkafka doubles its wait before it connects to a broker with every
/// attempt, good or bad, from `reconnect.backoff.ms` (100) up to `reconnect.backoff.max.ms` (10 s), and begins anew only where
/// nothing was due for as long as that: a broker that dies more often is waited for, however quickly it leads again.
pub(super) const EVERY: Duration = Duration::from_secs(12);

/// One more setting, with which leaders may be killed in quick succession.
pub(super) const RECONNECTS: (&str, &str) = ("reconnect.backoff.max.ms", "100");

/// Or this one: who asks all the time hears that a broker is gone, and begins anew with it when it is back.
pub(super) const ASKS_AGAIN: (&str, &str) = ("topic.metadata.refresh.interval.ms", "50");

#[derive(Debug, Default)]
struct Acks {
    last: Option<Instant>,
    longest: Duration,
    highest: usize,
    /// The last kill.
    since: Option<Instant>,
    failed: Option<String>,
}

/// And whether the client's log is to be told.
#[derive(Clone)]
struct Heard(Arc<Mutex<Acks>>, bool);

impl ClientContext for Heard {
    fn error(&self, _: rdkafka::error::KafkaError, _: &str) {
        // Brokers that are killed are no news.
    }

    /// Only where it was asked for.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner).since;
        let at_ms = since.map_or(0.0, |since| since.elapsed().as_secs_f64() * 1e3);
        if self.1 {
            eprintln!("{at_ms:>9.1} ms  {facility:12} {text}");
        }
    }
}

impl ProducerContext for Heard {
    /// The message's number, from 1 on.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
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
        acks.highest = acks.highest.max(number);
    }
}

impl Heard {
    /// A kill comes now.
    fn begin(&self) {
        let mut acks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (acks.longest, acks.since) = (Duration::ZERO, Some(Instant::now()));
    }

    /// The longest gap, a while after a message was acknowledged that was sent later than `sent`: by a leader that lives.
    fn longest_gap(&self, sent: usize) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        loop {
            std::thread::sleep(LOOK_AGAIN);
            let acks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(why) = &acks.failed {
                bail!("a message was given up: {why}");
            }
            if acks.highest > sent {
                break;
            }
            if begun.elapsed() > PATIENCE {
                bail!("nothing was acknowledged for {PATIENCE:?}");
            }
        }
        std::thread::sleep(CALM);
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).longest)
    }
}

/// Which leaders are killed: how many, and how long after one another at least.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kills {
    pub(super) count: u32,
    pub(super) every: Duration,
}

/// Kills the leader so many times; how long writes stopped each time, ms, the shortest first.
///
/// With `contexts` the client's own log of these goes to standard error (librdkafka's `debug`), the time since the last
/// kill in front.
pub(super) fn kills(
    peer: &Peer,
    topic: &str,
    settings: &[(&str, &str)],
    wanted: Kills,
    contexts: Option<&str>,
) -> anyhow::Result<Vec<f64>> {
    peer.create_topic(topic, 1)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", peer.bootstrap()).set("log_level", if contexts.is_some() { "7" } else { "0" });
    if let Some(contexts) = contexts {
        config.set("debug", contexts).set_log_level(RDKafkaLogLevel::Debug);
    }
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let heard = Heard(Arc::default(), contexts.is_some());
    let producer: ThreadedProducer<Heard> = config.create_with_context(heard.clone())?;
    let (ended, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| send(&producer, topic, &sent, &ended));
        let gaps = (0..wanted.count)
            .map(|_| one_kill(peer, topic, &heard, &sent, wanted.every))
            .collect::<anyhow::Result<Vec<f64>>>();
        ended.store(true, Ordering::Relaxed);
        let mut gaps = gaps?;
        gaps.sort_by(f64::total_cmp);
        Ok(gaps)
    })
}

fn send(producer: &ThreadedProducer<Heard>, topic: &str, sent: &AtomicUsize, ended: &AtomicBool) {
    let (begun, gap) = (Instant::now(), Duration::from_secs(1) / RATE_PER_S);
    let mut number = 0_u32;
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep((begun + gap * number).saturating_duration_since(Instant::now()));
        let next = sent.load(Ordering::Relaxed) + 1;
        let record = BaseRecord::<(), _, usize>::with_opaque_to(topic, next).partition(0);
        // What the client does not take stays due.
        if producer.send(record.payload(&[0_u8; 100][..])).is_ok() {
            number += 1;
            sent.store(next, Ordering::Relaxed);
        }
    }
}

fn one_kill(peer: &Peer, topic: &str, heard: &Heard, sent: &AtomicUsize, every: Duration) -> anyhow::Result<f64> {
    heard.longest_gap(sent.load(Ordering::Relaxed))?;
    let last = heard.0.lock().unwrap_or_else(PoisonError::into_inner).since;
    std::thread::sleep(last.map_or(Duration::ZERO, |last| every.saturating_sub(last.elapsed())));
    let leader = peer.leader(topic)?;
    heard.begin();
    peer.kill(leader)?;
    // One more: the next may be on its way into the client already.
    let gap = heard.longest_gap(sent.load(Ordering::Relaxed) + 1)?;
    peer.restart(leader)?;
    peer.wait_in_sync(topic)?;
    Ok(gap.as_secs_f64() * 1e3)
}
