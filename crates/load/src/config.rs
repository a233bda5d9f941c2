//! From a scenario's settings to a librdkafka client, with errors that name the setting and what to do.
//!
//! Three layers: the user's properties for the cluster (SASL_SSL and the like), over them the scenario's settings with
//! MetricStream's defaults, over them what MetricStream must own because the ledger depends on it.

use std::collections::BTreeMap;

use metricstream_scenario::librdkafka::{idempotence_conflict, is_secret, is_true};
use metricstream_scenario::{Group, Producer, Scenario};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum ConfigError {
    #[error(
        "{client}: librdkafka does not take {key} = {value}: {detail}; correct or remove it in this client's `config` \
         in the scenario, or in the client properties"
    )]
    Refused { client: String, key: String, value: String, detail: String },
    #[error(
        "{client}: enable.idempotence=true contradicts {conflict}; remove one of them (left alone, enable.idempotence \
         turns itself off)"
    )]
    Contradiction { client: String, conflict: String },
    #[error("{client}: librdkafka cannot be set up so: {detail}")]
    Client { client: String, detail: String },
}

/// How often producers report statistics: the resolution of what is learned from them.
pub const STATISTICS_INTERVAL_MS: i64 = 200;

/// librdkafka's default of `queue.buffering.max.messages`.
const QUEUE_MESSAGES: usize = 100_000;

/// A client of the cluster, with the user's own properties (for SASL_SSL) below everything else.
#[must_use]
pub fn base(bootstrap: &str, properties: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in properties {
        config.set(key, value);
    }
    config.set("bootstrap.servers", bootstrap);
    config
}

/// A scenario's producer as librdkafka is told of it.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// For librdkafka.
    pub client: ClientConfig,
    /// `enable.idempotence`.
    pub idempotent: bool,
    /// acks=0: nothing is ever known of a send.
    pub acks_none: bool,
    /// `queue.buffering.max.messages`: how many messages the client takes before the first has an outcome.
    pub in_flight_max: usize,
}

/// A scenario's producer.
///
/// # Errors
/// If idempotence was asked for together with something that rules it out.
pub fn producer(
    scenario: &Scenario,
    producer: &Producer,
    bootstrap: &str,
    properties: &BTreeMap<String, String>,
) -> Result<ProducerConfig, ConfigError> {
    let own = scenario.producer_config(producer);
    let idempotent = own.get("enable.idempotence").is_some_and(|value| is_true(value));
    if let Some(conflict) = idempotence_conflict(&own).filter(|_| idempotent) {
        return Err(ConfigError::Contradiction { client: format!("producer {}", producer.name), conflict });
    }
    let acks_none = own.get("acks").is_some_and(|acks| acks == "0");
    let mut client = base(bootstrap, properties);
    for (key, value) in &own {
        client.set(key, value);
    }
    client.set("client.id", &producer.name);
    client.set("statistics.interval.ms", STATISTICS_INTERVAL_MS.to_string());
    let in_flight_max = client.get("queue.buffering.max.messages").and_then(|most| most.parse().ok());
    let in_flight_max = in_flight_max.unwrap_or(QUEUE_MESSAGES);
    Ok(ProducerConfig { client, idempotent, acks_none, in_flight_max })
}

/// Settings of a group member, as a map: it is created in another process.
#[must_use]
pub fn member(
    scenario: &Scenario,
    group: &Group,
    member: &str,
    bootstrap: &str,
    properties: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut config = properties.clone();
    config.extend(scenario.group_config(group));
    let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    config.extend([
        own("bootstrap.servers", bootstrap),
        own("client.id", member),
        own("enable.auto.commit", "false"),
        own("enable.auto.offset.store", "false"),
        own("enable.partition.eof", "false"),
    ]);
    config
}

/// A reader that assigns itself what it reads and commits nothing.
pub(crate) fn reader(config: &ClientConfig, name: &str) -> ClientConfig {
    let mut config = config.clone();
    for (key, value) in [
        ("client.id", name),
        // librdkafka assigns only within a group; this one is never joined and nothing is committed to it.
        ("group.id", name),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "error"),
        ("allow.auto.create.topics", "false"),
        ("fetch.wait.max.ms", "100"),
        ("topic.metadata.refresh.fast.interval.ms", "100"),
        ("reconnect.backoff.max.ms", "1000"),
    ] {
        config.set(key, value);
    }
    config
}

/// Names the client in what librdkafka says of a configuration.
pub(crate) fn refused(client: &str, error: &KafkaError) -> ConfigError {
    let client = client.to_owned();
    match error {
        KafkaError::ClientConfig(_, detail, key, value) => {
            let value = if is_secret(key) { "(hidden)" } else { value };
            ConfigError::Refused { client, key: key.clone(), value: value.to_owned(), detail: detail.clone() }
        }
        KafkaError::ClientCreation(detail) => ConfigError::Client { client, detail: detail.clone() },
        other => ConfigError::Client { client, detail: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::producer::{BaseProducer, DefaultProducerContext};

    fn scenario(producer: &str, group: &str) -> Scenario {
        let text = format!(
            "name = 'x'\n[topology]\nbrokers = 1\n[[topology.topics]]\nname = 't'\npartitions = 3\n\
             replication_factor = 1\nmin_insync_replicas = 1\n\
             [workload]\nduration_s = 1\n[[workload.producers]]\nname = 'p'\ntopic = 't'\n{producer}\n\
             [[workload.groups]]\nname = 'g'\ntopics = ['t']\nmembers = ['A']\n{group}\n"
        );
        metricstream_scenario::parse(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }

    fn made(scenario: &Scenario) -> Result<ProducerConfig, ConfigError> {
        producer(scenario, &scenario.workload.producers[0], "127.0.0.1:1", &BTreeMap::new())
    }

    #[test]
    fn producers_are_idempotent_and_persistent_unless_told_otherwise() {
        let default = made(&scenario("", "")).expect("sound");
        assert!(default.idempotent && !default.acks_none);
        for (key, value) in [("acks", "all"), ("retries", "10000"), ("retry.backoff.ms", "100")] {
            assert_eq!(default.client.get(key), Some(value));
        }
        let acks_1 = made(&scenario("config = { acks = 1 }", "")).expect("sound");
        assert!(!acks_1.idempotent && !acks_1.acks_none);
        assert!(made(&scenario("config = { acks = 0 }", "")).expect("sound").acks_none);
        // A scenario that contradicts itself does not even parse; one that was made in code is refused here.
        let mut both = scenario("", "");
        both.workload.producers[0].config =
            [("acks".to_owned(), "1".to_owned()), ("enable.idempotence".to_owned(), "true".to_owned())].into();
        let error = made(&both).expect_err("contradictory").to_string();
        assert!(error.contains("producer p: enable.idempotence=true contradicts acks=1; remove one"), "{error}");
    }

    #[test]
    fn what_librdkafka_refuses_is_named_with_key_and_place_and_secrets_are_hidden() {
        let config = base("127.0.0.1:1", &[("no.such.thing".to_owned(), "1".to_owned())].into());
        let unknown = match config.create_with_context::<_, BaseProducer<_>>(DefaultProducerContext) {
            Ok(_) => panic!("must be refused"),
            Err(error) => refused("producer p", &error).to_string(),
        };
        assert!(unknown.contains("producer p") && unknown.contains("no.such.thing = 1"), "{unknown}");
        assert!(unknown.contains("correct or remove it"), "{unknown}");
        let error = KafkaError::ClientConfig(
            rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "wrong".into(),
            "sasl.password".into(),
            "hunter2".into(),
        );
        assert!(!refused("p", &error).to_string().contains("hunter2"));
    }

    #[test]
    fn members_never_commit_by_themselves() {
        for (settings, key, assignor) in [
            ("assignor = 'roundrobin'", "partition.assignment.strategy", "roundrobin"),
            ("protocol = 'consumer'\nassignor = 'uniform'", "group.remote.assignor", "uniform"),
        ] {
            let scenario = scenario("", settings);
            let made = member(&scenario, &scenario.workload.groups[0], "A", "127.0.0.1:1", &BTreeMap::new());
            let wanted = [
                (key, assignor),
                ("group.id", "g"),
                ("client.id", "A"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "earliest"),
            ];
            for (key, value) in wanted {
                assert_eq!(made.get(key).map(String::as_str), Some(value), "{key}");
            }
        }
    }
}
