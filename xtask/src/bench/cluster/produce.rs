//! librdkafka's producer against a cluster: as many messages as it takes, and the latency of acknowledgements at a rate that
//! is far from that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext};
use rustix::time::{ClockId, clock_gettime};

use super::peer::Peer;

/// Partitions of the topic that is written to.
const PARTITIONS: i32 = 6;
/// Bytes of a value.
const VALUE_BYTES: usize = 100;
/// What is not measured: connections, the client's first requests, and a Java broker's code that is not compiled yet.
const WARM_UP: Duration = Duration::from_secs(2);
/// Messages that are handed over between two looks at acknowledgements.
const BURST: usize = 512;

/// Settings of the unthrottled producer, named with its figure.
pub(super) const UNTHROTTLED: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("linger.ms", "5"),
    ("batch.num.messages", "10000"),
    ("batch.size", "1000000"),
    ("queue.buffering.max.messages", "100000"),
];

/// Settings of the producer whose acknowledgements are timed.
pub(super) const AT_ONCE: &[(&str, &str)] = &[("acks", "all"), ("enable.idempotence", "true"), ("linger.ms", "0")];

/// One turn of the unthrottled producer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Turn {
    pub(super) per_s: f64,
    /// Processor time for each acknowledged message, of the client and of the cluster, µs.
    pub(super) client_us: f64,
    pub(super) cluster_us: f64,
}

fn client(peer: &Peer, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", peer.bootstrap());
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

#[derive(Clone, Default)]
struct Counter(Arc<[AtomicU64; 2]>);

impl ClientContext for Counter {}

impl ProducerContext for Counter {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0[usize::from(result.is_err())].fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends to a new topic as fast as the client takes it: one thread that produces and hears the acknowledgements.
pub(super) fn unthrottled(peer: &Peer, topic: &str, measured: Duration) -> anyhow::Result<Turn> {
    peer.create_topic(topic, PARTITIONS)?;
    let counter = Counter::default();
    let producer: BaseProducer<Counter> = client(peer, UNTHROTTLED).create_with_context(counter.clone())?;
    let acked = || counter.0[0].load(Ordering::Relaxed);
    let produce = |time: Duration| {
        let (value, until) = ([7_u8; VALUE_BYTES], Instant::now() + time);
        let mut number = 0_i32;
        while Instant::now() < until {
            for _ in 0..BURST {
                let record = BaseRecord::<(), _>::to(topic).partition(number % PARTITIONS).payload(&value[..]);
                if producer.send(record).is_err() {
                    // Its queue is full.
                    producer.poll(Duration::from_millis(1));
                    break;
                }
                number = number.wrapping_add(1) & i32::MAX;
            }
            producer.poll(Duration::ZERO);
        }
    };
    produce(WARM_UP);
    let (begun, before, own_before, cluster_before) = (Instant::now(), acked(), own_cpu_s(), peer.cpu_s()?);
    produce(measured);
    let count = (acked() - before) as f64;
    let turn = Turn {
        per_s: count / begun.elapsed().as_secs_f64(),
        client_us: (own_cpu_s() - own_before) * 1e6 / count,
        cluster_us: (peer.cpu_s()? - cluster_before) * 1e6 / count,
    };
    producer.purge(PurgeConfig::default().queue().inflight());
    match counter.0[1].load(Ordering::Relaxed) {
        0 => Ok(turn),
        failed => bail!("{failed} messages were not acknowledged"),
    }
}

/// Processor time that this process has used, seconds.
fn own_cpu_s() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// Times of acknowledgements, and how late the messages were sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// From when a message was due until it was handed over, p99: what the load generator itself was late.
    pub(super) late_p99_ms: f64,
}

#[derive(Clone)]
struct Timer {
    origin: Instant,
    /// Nanoseconds from handing a message over to its acknowledgement.
    took: Arc<Mutex<Histogram<u64>>>,
}

impl Timer {
    fn now_ns(&self) -> usize {
        usize::try_from(self.origin.elapsed().as_nanos()).unwrap_or(usize::MAX)
    }
}

impl ClientContext for Timer {}

impl ProducerContext for Timer {
    /// When it was handed over; 0: not to be counted.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sent_ns: usize) {
        if sent_ns > 0 && result.is_ok() {
            let took = (self.now_ns() - sent_ns) as u64;
            self.took.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took);
        }
    }
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

/// Sends at a fixed rate whatever comes back, one message after the other over all partitions.
pub(super) fn latency(peer: &Peer, topic: &str, rate_per_s: u32, measured: Duration) -> anyhow::Result<Latency> {
    peer.create_topic(topic, PARTITIONS)?;
    let timer = Timer { origin: Instant::now(), took: Arc::new(Mutex::new(histogram()?)) };
    let producer: ThreadedProducer<Timer> = client(peer, AT_ONCE).create_with_context(timer.clone())?;
    let (begun, gap, all) = (Instant::now(), Duration::from_secs(1) / rate_per_s, WARM_UP + measured);
    let mut late = histogram()?;
    let mut sent = 0_u64;
    for number in 0_u32.. {
        let due = begun + gap * number;
        if due > begun + all {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let counts = due > begun + WARM_UP;
        let partition = i32::try_from(number)? % PARTITIONS;
        let stamp = if counts { timer.now_ns() } else { 0 };
        let record = BaseRecord::<(), _, usize>::with_opaque_to(topic, stamp).partition(partition);
        if let Err((why, _)) = producer.send(record.payload(&[7_u8; VALUE_BYTES][..])) {
            bail!("at {rate_per_s} messages a second the client takes no more: {why}");
        }
        if counts {
            sent += 1;
            late.saturating_record(u64::try_from((Instant::now() - due).as_nanos())?);
        }
    }
    producer.flush(Duration::from_secs(10))?;
    let took = timer.took.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if took.len() != sent {
        bail!("{sent} were sent and {} acknowledged", took.len());
    }
    let ms = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
    Ok(Latency { p50_ms: ms(&took, 0.5), p99_ms: ms(&took, 0.99), late_p99_ms: ms(&late, 0.99) })
}
