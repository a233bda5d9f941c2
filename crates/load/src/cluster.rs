//! A cluster as a client with the user's settings sees it: whether it lets us in, and what it says of itself. First contact
//! is bounded: librdkafka tries to authenticate for ever, and tells why it fails only to whoever listens to its errors.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::{self, ConfigError};
use crate::tools::PartitionRow;

/// How long a cluster may take to answer for the first time.
const REACH: Duration = Duration::from_secs(15);
/// How long to wait for one answer before the client's errors are looked at.
const TURN: Duration = Duration::from_millis(500);
/// Events that are taken from the client at a time: a dead cluster makes a lot of noise.
const EVENTS_MAX: usize = 1_000;

/// Why a cluster cannot be used by this client.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// Settings that librdkafka refuses.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// It is Kafka, and the credentials are wrong.
    #[error(
        "{bootstrap} does not let this client in: {said}. Check sasl.mechanism, sasl.username and sasl.password, and \
         security.protocol, in --client-config"
    )]
    NotLetIn {
        /// Addresses.
        bootstrap: String,
        /// The client library's words.
        said: String,
    },
    /// No TLS connection comes about.
    #[error("no TLS connection to {bootstrap}: {said}. Check security.protocol and ssl.ca.location in --client-config")]
    Tls {
        /// Addresses.
        bootstrap: String,
        /// The client library's words.
        said: String,
    },
    /// Nothing that answers as Kafka does.
    #[error(
        "{bootstrap} did not answer as Kafka does within {waited_s:.0} s; the client said last: {said}. Is there a \
         cluster at the address, and does security.protocol (--client-config) fit its listener?"
    )]
    NoAnswer {
        /// Addresses.
        bootstrap: String,
        /// How long it was waited for.
        waited_s: f64,
        /// The client library's last words.
        said: String,
    },
}

/// What a cluster says of itself in one metadata answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterView {
    /// Ids of the brokers that are unfenced, sorted.
    pub brokers: Vec<i32>,
    /// Every topic that this client may see, with its partitions in order.
    pub topics: BTreeMap<String, Vec<PartitionRow>>,
}

/// A client that was let in.
pub struct Cluster {
    client: BaseConsumer<Listening>,
    bootstrap: String,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}

/// Keeps what the client library complains of.
#[derive(Debug, Default)]
struct Listening {
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The first complaint that no waiting cures.
    hopeless: Option<(RDKafkaErrorCode, String)>,
    last: Option<String>,
}

impl Listening {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Listening {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(?level, facility, text, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let mut heard = self.heard();
        let hopeless = matches!(
            code,
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::SSL)
        );
        if let Some(code) = code.filter(|_| hopeless) {
            heard.hopeless.get_or_insert_with(|| (code, reason.to_owned()));
        }
        // "All brokers are down" says less than what was said before it.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) || heard.last.is_none() {
            heard.last = Some(reason.to_owned());
        }
    }

    fn stats(&self, _: rdkafka::Statistics) {}
}

impl ConsumerContext for Listening {}

impl Cluster {
    /// Connects, and waits until the cluster has answered. Blocks for 15 s at most, and only for a moment where the
    /// credentials are wrong.
    ///
    /// # Errors
    /// Why it did not.
    pub fn reach(config: &ClientConfig) -> Result<Self, ReachError> {
        let bootstrap = config.get("bootstrap.servers").unwrap_or_default().to_owned();
        let mut config = config.clone();
        config.set("client.id", "metricstream").set("reconnect.backoff.max.ms", "1000");
        config.set("allow.auto.create.topics", "false");
        let created = config.create_with_context(Listening::default());
        let client: BaseConsumer<Listening> = created.map_err(|e| config::refused("the client", &e))?;
        let this = Self { client, bootstrap };
        let begun = Instant::now();
        loop {
            let Err(error) = this.look(TURN) else { return Ok(this) };
            let heard = this.client.context().heard();
            let bootstrap = this.bootstrap.clone();
            match &heard.hopeless {
                Some((RDKafkaErrorCode::SSL, said)) => return Err(ReachError::Tls { bootstrap, said: said.clone() }),
                Some((_, said)) => return Err(ReachError::NotLetIn { bootstrap, said: said.clone() }),
                None => {}
            }
            if begun.elapsed() >= REACH {
                let said = heard.last.clone().unwrap_or(error);
                return Err(ReachError::NoAnswer { bootstrap, waited_s: begun.elapsed().as_secs_f64(), said });
            }
        }
    }

    /// What the cluster says of itself now. Blocks for up to `patience`.
    ///
    /// # Errors
    /// The client library's word for why nobody answered.
    pub fn look(&self, patience: Duration) -> Result<ClusterView, String> {
        self.look_at(None, patience)
    }

    /// As [`look`](Self::look), with this topic only; asking for one that is not there does not create it.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub fn look_at(&self, topic: Option<&str>, patience: Duration) -> Result<ClusterView, String> {
        let answer = self.client.fetch_metadata(topic, patience);
        self.take_events();
        let answer = answer.map_err(|error| error.to_string())?;
        let mut brokers: Vec<i32> = answer.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect();
        brokers.sort_unstable();
        let mut topics = BTreeMap::new();
        for topic in answer.topics().iter().filter(|topic| topic.error().is_none()) {
            let mut rows: Vec<PartitionRow> = topic.partitions().iter().map(PartitionRow::from).collect();
            rows.sort_by_key(|row| row.partition);
            topics.insert(topic.name().to_owned(), rows);
        }
        Ok(ClusterView { brokers, topics })
    }

    /// The ends of the partitions `0..partitions` of a topic.
    ///
    /// # Errors
    /// The client library's word for why one was not told.
    pub fn ends(&self, topic: &str, partitions: i32, patience: Duration) -> Result<Vec<i64>, String> {
        let end = |partition| {
            let bounds = self.client.fetch_watermarks(topic, partition, patience);
            bounds.map(|(_, high)| high.max(0)).map_err(|error| format!("{topic}-{partition}: {error}"))
        };
        (0..partitions).map(end).collect()
    }

    /// What the client has to tell goes to those who listen, and nowhere else.
    fn take_events(&self) {
        for _ in 0..EVENTS_MAX {
            if self.client.poll(Duration::ZERO).is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use rdkafka::mocking::MockCluster;

    fn config(bootstrap: &str) -> ClientConfig {
        config::base(bootstrap, &BTreeMap::new())
    }

    #[test]
    fn a_cluster_that_answers_says_what_it_has() {
        let mock = MockCluster::new(3).expect("a mock cluster");
        mock.create_topic("metrics", 2, 3).expect("a topic");
        let cluster = Cluster::reach(&config(&mock.bootstrap_servers())).expect("reached");
        let view = cluster.look(REACH).expect("it answers");
        assert_eq!(view.brokers, [1, 2, 3]);
        let rows = &view.topics["metrics"];
        assert_eq!(rows.iter().map(|row| (row.partition, row.replicas.len())).collect::<Vec<_>>(), [(0, 3), (1, 3)]);
        assert_eq!(cluster.ends("metrics", 2, REACH).expect("it tells"), [0, 0]);
    }

    #[test]
    fn a_listener_that_is_not_kafka_is_told_apart_and_not_waited_for_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut some = [0; 16];
                let _ = stream.read(&mut some);
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        });
        let error = Cluster::reach(&config(&address)).map(drop).expect_err("no Kafka");
        assert!(matches!(error, ReachError::NoAnswer { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&address) && text.contains("security.protocol"), "{text}");
    }

    #[test]
    fn settings_that_the_client_library_refuses_are_named() {
        let mut wrong = config("127.0.0.1:1");
        wrong.set("no.such.setting", "1");
        let error = Cluster::reach(&wrong).map(drop).expect_err("refused");
        assert!(matches!(&error, ReachError::Settings(_)) && error.to_string().contains("no.such.setting"), "{error}");
    }
}
