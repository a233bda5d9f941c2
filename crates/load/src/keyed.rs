//! Keyed records that others wait for: each batch is told once every record of it has an outcome. For servers that answer
//! only when the cluster has.
//!
//! acks=all and idempotent, always: whoever hears "acknowledged" may rely on it. What is in flight is bounded here and not
//! by the client's queue, so that a batch is taken whole or not at all. A client that can never send again (librdkafka's
//! fatal errors) is replaced by a new one.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Statistics};

use crate::config::{self, ConfigError};
use crate::native::{Persistence, TopicHandle, persistence};

/// How long the thread that hears outcomes waits for one before it looks whether it is still wanted.
const TURN: Duration = Duration::from_millis(100);
/// How often the client says which brokers it is connected to.
const STATISTICS_INTERVAL_MS: u32 = 1_000;
/// What is not the user's: "acknowledged" would mean less.
const OWNED: &[(&str, &str)] = &[("acks", "all"), ("enable.idempotence", "true")];

/// What the records are sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedSettings {
    /// Records without an outcome, at most.
    pub in_flight_max: usize,
    /// When a record that was not acknowledged is given up (`message.timeout.ms`).
    pub ack_timeout: Duration,
    /// How long the client waits for more to send together (`linger.ms`).
    pub linger: Duration,
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records that the cluster acknowledged.
    pub acknowledged: u32,
    /// Records that were certainly not written.
    pub not_written: u32,
    /// Records that may have been written: sent, and not answered for certain.
    pub unknown: u32,
    /// Why the first that was not acknowledged was not.
    pub why: Option<String>,
}

/// Why a batch was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// [`in_flight_max`](KeyedSettings::in_flight_max) is reached.
    #[error("as many records as may be are in flight")]
    Full,
    /// There is no client, and none could be made.
    #[error(transparent)]
    NoClient(#[from] ConfigError),
}

/// A producer of keyed records to one topic. Dropped, it waits for nothing: what is open then has no outcome.
pub struct KeyedProducer {
    config: ClientConfig,
    topic: String,
    client: RwLock<Arc<Client>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for KeyedProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedProducer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// One client of the cluster; its thread ends once it is retired and nothing of it is open.
struct Client {
    topic: TopicHandle<Reports>,
    state: Arc<ClientState>,
}

#[derive(Debug, Default)]
struct ClientState {
    /// It can never send again.
    dead: AtomicBool,
    retired: AtomicBool,
    open: AtomicUsize,
}

/// What outlives a client.
#[derive(Debug)]
struct Shared {
    topic: String,
    in_flight: AtomicUsize,
    in_flight_max: usize,
    /// Why records would not be acknowledged now.
    trouble: Mutex<Option<String>>,
}

impl Shared {
    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Told when a batch has its outcome.
type Done = Box<dyn FnOnce(Outcome) + Send>;

/// Records that were handed over together.
struct Batch {
    left: AtomicU32,
    not_written: AtomicU32,
    unknown: AtomicU32,
    count: u32,
    why: Mutex<Option<String>>,
    done: Mutex<Option<Done>>,
}

impl Batch {
    /// So many records have an outcome; the last one tells.
    fn ended(&self, records: u32) {
        if self.left.fetch_sub(records, Ordering::AcqRel) != records {
            return;
        }
        let take = |why: &Mutex<Option<String>>| why.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (not_written, unknown) = (self.not_written.load(Ordering::Acquire), self.unknown.load(Ordering::Acquire));
        let acknowledged = self.count - not_written - unknown;
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(done) = done {
            done(Outcome { acknowledged, not_written, unknown, why: take(&self.why) });
        }
    }

    fn failed(&self, persisted: Persistence, records: u32, why: impl FnOnce() -> String) {
        let counter = if persisted == Persistence::Not { &self.not_written } else { &self.unknown };
        counter.fetch_add(records, Ordering::AcqRel);
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(why);
    }
}

impl KeyedProducer {
    /// A producer to a topic; `client` has the cluster's addresses and the user's own settings.
    ///
    /// # Errors
    /// If librdkafka refuses the settings, or they contradict what is promised here.
    pub fn new(client: &ClientConfig, topic: &str, settings: &KeyedSettings) -> Result<Self, ConfigError> {
        let config = configured(client, settings)?;
        let shared = Arc::new(Shared {
            topic: topic.to_owned(),
            in_flight: AtomicUsize::new(0),
            in_flight_max: settings.in_flight_max,
            trouble: Mutex::new(None),
        });
        let first = Client::start(&config, topic, &shared)?;
        Ok(Self { config, topic: topic.to_owned(), client: RwLock::new(first), shared })
    }

    /// Hands over values of one key, in order: all of them or none. `done` is called once, from another thread, when each
    /// has an outcome; that is [`ack_timeout`](KeyedSettings::ack_timeout) from now at the latest, and a little.
    ///
    /// # Errors
    /// If none was taken; `done` is then never called.
    pub fn send<'v>(
        &self,
        key: &[u8],
        count: usize,
        values: impl Iterator<Item = &'v [u8]>,
        done: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<(), NotTaken> {
        let client = self.living()?;
        self.reserve(count)?;
        client.state.open.fetch_add(count, Ordering::AcqRel);
        let records = u32::try_from(count).unwrap_or(u32::MAX);
        let batch = Arc::new(Batch {
            left: AtomicU32::new(records),
            not_written: AtomicU32::new(0),
            unknown: AtomicU32::new(0),
            count: records,
            why: Mutex::new(None),
            done: Mutex::new(Some(Box::new(done))),
        });
        let mut taken = 0;
        let refused = values.take(count).find_map(|value| {
            let sent = client.topic.send(None, Some(key), value, Arc::clone(&batch));
            taken += usize::from(sent.is_ok());
            sent.err()
        });
        // What follows a record that the client did not take is not sent: a batch keeps its order.
        let rest = count - taken;
        if rest > 0 {
            if refused == Some(RDKafkaErrorCode::Fatal) {
                client.state.dead.store(true, Ordering::Release);
            }
            let why = || refused.map_or_else(|| "fewer records than announced".to_owned(), |code| code.to_string());
            let rest_records = u32::try_from(rest).unwrap_or(u32::MAX);
            batch.failed(Persistence::Not, rest_records, why);
            client.state.open.fetch_sub(rest, Ordering::AcqRel);
            self.shared.in_flight.fetch_sub(rest, Ordering::AcqRel);
            batch.ended(rest_records);
        }
        Ok(())
    }

    /// Records that have no outcome yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Acquire)
    }

    /// Why records would probably not be acknowledged now, as far as the client knows; a second late at most.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble().clone()
    }

    fn reserve(&self, count: usize) -> Result<(), NotTaken> {
        let most = self.shared.in_flight_max;
        let more = |now: usize| now.checked_add(count).filter(|sum| *sum <= most);
        let reserved = self.shared.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        reserved.map(drop).map_err(|_| NotTaken::Full)
    }

    /// The client, a new one if that can never send again.
    fn living(&self) -> Result<Arc<Client>, ConfigError> {
        let current = Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner));
        if !current.state.dead.load(Ordering::Acquire) {
            return Ok(current);
        }
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        if client.state.dead.load(Ordering::Acquire) {
            tracing::warn!(topic = self.topic, "the client can never send again; a new one takes its place");
            let next = Client::start(&self.config, &self.topic, &self.shared)?;
            let old = std::mem::replace(&mut *client, next);
            old.state.retired.store(true, Ordering::Release);
        }
        Ok(Arc::clone(&client))
    }
}

impl Drop for KeyedProducer {
    fn drop(&mut self) {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner);
        client.state.retired.store(true, Ordering::Release);
    }
}

impl Client {
    fn start(config: &ClientConfig, topic: &str, shared: &Arc<Shared>) -> Result<Arc<Self>, ConfigError> {
        let state = Arc::new(ClientState::default());
        let reports = Reports { shared: Arc::clone(shared), state: Arc::clone(&state) };
        let created = config.create_with_context::<_, BaseProducer<Reports>>(reports);
        let producer = Arc::new(created.map_err(|error| config::refused(NAME, &error))?);
        let unusable = |detail| ConfigError::Client { client: NAME.to_owned(), detail };
        let handle = TopicHandle::new(Arc::clone(&producer), topic).map_err(unusable)?;
        let of_thread = Arc::clone(&state);
        let hears = std::thread::Builder::new().name("keyed outcomes".to_owned());
        let started = hears.spawn(move || {
            let wanted = || !of_thread.retired.load(Ordering::Acquire) || of_thread.open.load(Ordering::Acquire) > 0;
            while wanted() {
                producer.poll(TURN);
            }
        });
        started.map_err(|error| unusable(error.to_string()))?;
        Ok(Arc::new(Self { topic: handle, state }))
    }
}

/// How the client is called in what is said of its settings.
const NAME: &str = "the ingest's producer";

/// Looks for settings that would make "acknowledged" mean less than it does here.
///
/// # Errors
/// If there is one.
pub fn refuse_fewer_acks<K: AsRef<str>, V: AsRef<str>>(
    settings: impl IntoIterator<Item = (K, V)>,
) -> Result<(), ConfigError> {
    for (key, value) in settings {
        let (key, value) = (key.as_ref(), value.as_ref());
        let same = |owned: &str| owned == value || (key == "acks" && value == "-1");
        if OWNED.iter().any(|(name, owned)| *name == key && !same(owned)) {
            let conflict = format!("{key}={value}, and what is acknowledged here has acks=all");
            return Err(ConfigError::Contradiction { client: NAME.to_owned(), conflict });
        }
    }
    Ok(())
}

fn configured(client: &ClientConfig, settings: &KeyedSettings) -> Result<ClientConfig, ConfigError> {
    let mut config = client.clone();
    refuse_fewer_acks(OWNED.iter().filter_map(|(key, _)| Some((*key, client.get(key)?))))?;
    for (key, value) in OWNED {
        config.set(*key, *value);
    }
    let default = |config: &mut ClientConfig, key: &str, value: String| {
        if client.get(key).is_none() {
            config.set(key, value);
        }
    };
    default(&mut config, "client.id", "metricstream-ingest".to_owned());
    default(&mut config, "linger.ms", format!("{}", settings.linger.as_secs_f64() * 1e3));
    // Java's default: whoever produces with the same key from there finds the same partition.
    default(&mut config, "partitioner", "murmur2_random".to_owned());
    // Clients wait for an answer: a new leader is to be found at once, and a cluster that is back within a second.
    // Asked for a leader in the moment of an election, librdkafka asks again only with its next look at all topics.
    for (key, value) in [
        ("topic.metadata.refresh.interval.ms", "200"),
        ("topic.metadata.refresh.fast.interval.ms", "50"),
        ("reconnect.backoff.max.ms", "1000"),
        ("retry.backoff.ms", "20"),
        ("retry.backoff.max.ms", "200"),
    ] {
        default(&mut config, key, value.to_owned());
    }
    config.set("message.timeout.ms", settings.ack_timeout.as_millis().to_string());
    config.set("statistics.interval.ms", STATISTICS_INTERVAL_MS.to_string());
    // Bounded by what may be in flight; the client's own bounds must never be the first.
    config.set("queue.buffering.max.messages", settings.in_flight_max.max(1).to_string());
    config.set("queue.buffering.max.kbytes", i32::MAX.to_string());
    Ok(config)
}

/// What a client calls back.
struct Reports {
    shared: Arc<Shared>,
    state: Arc<ClientState>,
}

impl ClientContext for Reports {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(?level, facility, text, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => self.state.dead.store(true, Ordering::Release),
            Some(RDKafkaErrorCode::AllBrokersDown) => *self.shared.trouble() = Some("no broker answers".to_owned()),
            _ => {}
        }
    }

    fn stats(&self, statistics: Statistics) {
        *self.shared.trouble() = trouble(&statistics, &self.shared.topic);
    }
}

/// What stands in the way of an acknowledgement, by what the client knows.
fn trouble(statistics: &Statistics, topic: &str) -> Option<String> {
    if !statistics.brokers.values().any(|broker| matches!(broker.state.as_str(), "UP" | "UPDATE")) {
        return Some("no broker is connected".to_owned());
    }
    // A topic that nothing was sent to yet is not known there.
    let partitions = &statistics.topics.get(topic)?.partitions;
    let mut leaderless = partitions.iter().filter(|(id, known)| **id >= 0 && known.leader < 0);
    leaderless.next().map(|(id, _)| format!("partition {id} of {topic} has no leader"))
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match result {
            Ok(message) if persistence(message) == Persistence::Persisted => {}
            Ok(_) => batch.failed(Persistence::Possibly, 1, || "it was not said to be written".to_owned()),
            Err((error, message)) => batch.failed(persistence(message), 1, || error.to_string()),
        }
        self.state.open.fetch_sub(1, Ordering::AcqRel);
        self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
        batch.ended(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const SETTINGS: KeyedSettings =
        KeyedSettings { in_flight_max: 10, ack_timeout: Duration::from_millis(300), linger: Duration::from_millis(1) };
    const PATIENCE: Duration = Duration::from_secs(60);

    fn producer() -> KeyedProducer {
        // Nobody listens there.
        let client = config::base("127.0.0.1:1", &Default::default());
        KeyedProducer::new(&client, "metrics", &SETTINGS).expect("a client")
    }

    fn send(producer: &KeyedProducer, count: usize) -> Result<mpsc::Receiver<Outcome>, NotTaken> {
        let (tell, told) = mpsc::channel();
        let values = std::iter::repeat_n(&b"value"[..], count);
        producer.send(b"key", count, values, move |outcome| drop(tell.send(outcome)))?;
        Ok(told)
    }

    #[test]
    fn without_a_cluster_every_batch_has_its_outcome_in_time_and_its_room_is_free_again() {
        let producer = producer();
        let told = send(&producer, 6).expect("room for ten");
        assert_eq!(send(&producer, 5).err(), Some(NotTaken::Full), "all or nothing");
        let second = send(&producer, 4).expect("room for four more");
        assert_eq!(producer.in_flight(), 10);
        for (told, count) in [(told, 6), (second, 4)] {
            let outcome = told.recv_timeout(PATIENCE).expect("an outcome");
            assert_eq!((outcome.acknowledged, outcome.not_written, outcome.unknown), (0, count, 0), "{outcome:?}");
            assert!(outcome.why.is_some_and(|why| why.contains("timed out")));
        }
        assert_eq!(producer.in_flight(), 0);
        assert!(send(&producer, 10).is_ok());
    }

    #[test]
    fn a_client_that_can_never_send_again_is_replaced() {
        let producer = producer();
        let first = producer.living().expect("a client");
        first.state.dead.store(true, Ordering::Release);
        let told = send(&producer, 2).expect("a new client takes it");
        assert!(!Arc::ptr_eq(&first, &producer.living().expect("a client")));
        assert!(first.state.retired.load(Ordering::Acquire));
        assert_eq!(told.recv_timeout(PATIENCE).expect("an outcome").not_written, 2);
    }

    #[test]
    fn fewer_acks_than_promised_are_refused() {
        for (key, value) in [("acks", "1"), ("enable.idempotence", "false")] {
            let mut client = config::base("127.0.0.1:1", &Default::default());
            client.set(key, value);
            let error = KeyedProducer::new(&client, "metrics", &SETTINGS).expect_err("refused").to_string();
            assert!(error.contains(&format!("{key}={value}")) && error.contains("acks=all"), "{error}");
        }
        let mut client = config::base("127.0.0.1:1", &Default::default());
        client.set("acks", "-1");
        assert!(KeyedProducer::new(&client, "metrics", &SETTINGS).is_ok(), "the same by another name");
    }

    #[test]
    fn a_cluster_without_brokers_or_leaders_is_trouble() {
        let mut statistics = Statistics::default();
        assert_eq!(trouble(&statistics, "metrics").as_deref(), Some("no broker is connected"));
        let up = rdkafka::statistics::Broker { state: "UP".to_owned(), ..Default::default() };
        statistics.brokers.insert("a".to_owned(), up);
        assert_eq!(trouble(&statistics, "metrics"), None);
        let mut topic = rdkafka::statistics::Topic::default();
        let led = |leader| rdkafka::statistics::Partition { leader, ..Default::default() };
        topic.partitions.extend([(-1, led(-1)), (0, led(1)), (3, led(-1))]);
        statistics.topics.insert("metrics".to_owned(), topic);
        assert_eq!(trouble(&statistics, "metrics").as_deref(), Some("partition 3 of metrics has no leader"));
    }
}
