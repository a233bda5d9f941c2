//! From a scenario's settings to a librdkafka client.

use std::collections::BTreeMap;

use metricstream_scenario::{Group, GroupProtocol, Producer, Scenario};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// A setting that librdkafka refuses.
#[derive(Debug, thiserror::Error)]
#[error("{client}: {detail}. The settings are librdkafka's; see `config` of this client in the scenario or the client properties")]
pub struct ConfigError {
    /// Which client.
    pub client: String,
    /// What librdkafka says.
    pub detail: String,
}

/// How often clients report statistics: the resolution of what is learned from them.
pub const STATISTICS_INTERVAL_MS: i64 = 200;

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

/// A scenario's producer.
#[must_use]
pub fn producer(
    scenario: &Scenario,
    producer: &Producer,
    bootstrap: &str,
    properties: &BTreeMap<String, String>,
) -> ClientConfig {
    let mut config = base(bootstrap, properties);
    config.set("client.id", &producer.name);
    config.set("statistics.interval.ms", STATISTICS_INTERVAL_MS.to_string());
    for (key, value) in scenario.producer_config(producer) {
        config.set(key, value);
    }
    config
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
        own("group.id", &group.name),
        own("client.id", member),
        own("enable.auto.commit", "false"),
        own("enable.auto.offset.store", "false"),
        own("enable.partition.eof", "false"),
    ]);
    config.extend(match group.protocol {
        GroupProtocol::Classic => vec![
            own("group.protocol", "classic"),
            own("partition.assignment.strategy", &group.assignor),
        ],
        GroupProtocol::Consumer => {
            vec![own("group.protocol", "consumer"), own("group.remote.assignor", &group.assignor)]
        }
    });
    config
}

/// Names the client in what librdkafka says of a configuration.
pub(crate) fn refused(client: &str, error: &KafkaError) -> ConfigError {
    ConfigError { client: client.to_owned(), detail: error.to_string() }
}
