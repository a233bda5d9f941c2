//! The settings of the librdkafka client, and those that MetricStream lays under what a scenario says.
//! Starting a client is the business of the crate that links librdkafka.

mod properties;

use std::collections::BTreeMap;

use crate::model::{Group, GroupProtocol, Producer};
pub use properties::PROPERTIES;

/// The version that [`PROPERTIES`] was read from.
pub const VERSION: &str = "2.12.1";

/// Which clients know a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Producers and consumers.
    Both,
    /// Producers only.
    Producer,
    /// Consumers only.
    Consumer,
}

/// What a setting's value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Not checked here.
    Free,
    /// true or false.
    Bool,
    /// A whole number from, to.
    Range(i64, i64),
    /// One of these words.
    Words(&'static str),
    /// `all`, or −1 to 1000.
    Acks,
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Who knows it.
    pub role: Role,
    /// What its value may be.
    pub values: Values,
    /// The setting that it is another name of; empty if none.
    pub alias_of: &'static str,
}

/// Settings that MetricStream sets itself, with the reason: the ledger depends on them.
pub const OWNED: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "topics are those of [[topology.topics]]"),
    ("auto.commit.enable", "a delivery is recorded before its offset may be committed"),
    ("auto.commit.interval.ms", "a delivery is recorded before its offset may be committed"),
    ("bootstrap.servers", "the engine gives the addresses"),
    ("client.id", "it is the name of the producer or member"),
    ("delivery.report.only.error", "every send is accounted for"),
    ("enable.auto.commit", "a delivery is recorded before its offset may be committed"),
    ("enable.auto.offset.store", "a delivery is recorded before its offset may be committed"),
    ("enable.partition.eof", "the audit reader relies on it"),
    ("group.id", "it is the name of the group"),
    ("group.instance.id", "every member of a group would get the same one"),
    ("group.protocol", "set `protocol` of the group"),
    ("group.protocol.type", "set `protocol` of the group"),
    ("group.remote.assignor", "set `assignor` of the group"),
    ("metadata.broker.list", "the engine gives the addresses"),
    ("offset.store.method", "offsets are committed to the group"),
    ("offset.store.path", "offsets are committed to the group"),
    ("partition.assignment.strategy", "set `assignor` of the group"),
    ("plugin.library.paths", "a scenario must not load code"),
    ("produce.offset.report", "the ledger compares offsets"),
    ("statistics.interval.ms", "it is the resolution of what clients are seen to learn"),
    ("transactional.id", "transactions are not part of the workload"),
    ("transaction.timeout.ms", "transactions are not part of the workload"),
];

/// Whether a setting's value must not be shown.
pub fn is_secret(name: &str) -> bool {
    const SECRET: &[&str] = &[
        "sasl.password",
        "sasl.username",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.jaas.config",
        "password.encoder.secret",
        "delegation.token.secret.key",
    ];
    SECRET.contains(&name)
        || name.ends_with(".pem")
        || name.ends_with("password")
        || name.ends_with("sasl.jaas.config")
        || name.ends_with("keystore.key")
        || name.contains("secret")
        || name.contains("passphrase")
}

/// The setting with this name.
pub fn property(name: &str) -> Option<&'static Property> {
    PROPERTIES.binary_search_by_key(&name, |property| property.name).ok().map(|at| &PROPERTIES[at])
}

/// One name for a setting that has several: the name that Kafka's own clients use where there is one.
pub fn canonical(name: &str) -> &str {
    const PREFERRED: &[(&str, &str)] = &[
        ("request.required.acks", "acks"),
        ("message.send.max.retries", "retries"),
        ("queue.buffering.max.ms", "linger.ms"),
        ("compression.codec", "compression.type"),
    ];
    let target = property(name).map(|p| p.alias_of).filter(|alias| !alias.is_empty()).unwrap_or(name);
    PREFERRED.iter().find(|(old, _)| *old == target).map_or(target, |(_, preferred)| preferred)
}

/// Whether librdkafka would take the value; otherwise what it would take.
pub fn check_value(property: &Property, value: &str) -> Result<(), String> {
    let sound = match property.values {
        Values::Free => true,
        Values::Bool => matches!(value, "true" | "false" | "t" | "f" | "1" | "0"),
        Values::Range(from, to) => value.parse::<i64>().is_ok_and(|n| (from..=to).contains(&n)),
        Values::Words(words) => words.split(", ").any(|word| word.eq_ignore_ascii_case(value)),
        Values::Acks => value == "all" || value.parse::<i64>().is_ok_and(|n| (-1..=1000).contains(&n)),
    };
    if sound {
        return Ok(());
    }
    Err(match property.values {
        Values::Range(from, to) => format!("{from} to {to}"),
        Values::Words(words) => words.to_owned(),
        Values::Acks => "all, 1, 0".to_owned(),
        Values::Bool | Values::Free => "true, false".to_owned(),
    })
}

/// Reads a boolean as librdkafka does.
pub fn is_true(value: &str) -> bool {
    matches!(value, "true" | "t" | "1")
}

fn canonical_map(config: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    config.iter().map(|(name, value)| (canonical(name).to_owned(), value.clone())).collect()
}

/// Why a producer with these settings (canonical names) cannot be idempotent.
pub fn idempotence_conflict(config: &BTreeMap<String, String>) -> Option<String> {
    let number = |name: &str| config.get(name).and_then(|value| value.parse::<i64>().ok());
    let acks = config.get("acks").map_or("all", String::as_str);
    if acks != "all" && acks != "-1" {
        return Some(format!("acks={acks}"));
    }
    if let Some(in_flight) = number("max.in.flight.requests.per.connection").filter(|n| *n > 5) {
        return Some(format!("max.in.flight.requests.per.connection={in_flight}"));
    }
    if number("retries") == Some(0) {
        return Some("retries=0".to_owned());
    }
    config.get("queuing.strategy").filter(|s| s.as_str() != "fifo").map(|s| format!("queuing.strategy={s}"))
}

/// The settings of a producer, canonical names: MetricStream's defaults under the scenario's own. Idempotence is on
/// unless the scenario turns it off or sets something that rules it out.
pub fn effective_producer_config(producer: &Producer) -> BTreeMap<String, String> {
    let own = canonical_map(&producer.config);
    let idempotent = idempotence_conflict(&own).is_none();
    let mut all: BTreeMap<String, String> = [
        ("acks", "all"),
        ("enable.idempotence", if idempotent { "true" } else { "false" }),
        ("retries", "10000"),
        ("retry.backoff.ms", "100"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    all.extend(own);
    all
}

/// The settings of a group's members, canonical names, without addresses and client ids.
pub fn effective_group_config(group: &Group) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: &str| all.insert(name.to_owned(), value.to_owned());
    set("group.id", &group.name);
    set("auto.offset.reset", "earliest");
    set("enable.auto.commit", "false");
    set("enable.auto.offset.store", "false");
    match group.protocol {
        GroupProtocol::Classic => {
            set("group.protocol", "classic");
            set("partition.assignment.strategy", &group.assignor);
        }
        GroupProtocol::Consumer => {
            set("group.protocol", "consumer");
            set("group.remote.assignor", &group.assignor);
        }
    }
    all.extend(canonical_map(&group.config));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(config: &[(&str, &str)]) -> Producer {
        Producer {
            name: "p".into(),
            topic: "t".into(),
            rate_per_s: None,
            message_size_bytes: 100,
            keys: None,
            config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn the_list_is_sorted_and_its_aliases_exist() {
        assert!(PROPERTIES.is_sorted_by_key(|p| p.name));
        for property in PROPERTIES.iter().filter(|p| !p.alias_of.is_empty()) {
            assert!(super::property(property.alias_of).is_some(), "{}", property.name);
            assert_eq!(canonical(property.name), canonical(property.alias_of));
        }
        assert!(OWNED.iter().all(|(name, _)| property(name).is_some()));
    }

    #[test]
    fn idempotence_gives_way_to_what_rules_it_out() {
        let on = effective_producer_config(&producer(&[]));
        assert_eq!((on["acks"].as_str(), on["enable.idempotence"].as_str()), ("all", "true"));
        assert_eq!((on["retries"].as_str(), on["retry.backoff.ms"].as_str()), ("10000", "100"));
        for setting in [("request.required.acks", "1"), ("max.in.flight", "6"), ("retries", "0")] {
            let off = effective_producer_config(&producer(&[setting]));
            assert_eq!(off["enable.idempotence"], "false", "{setting:?}");
            assert!(!off.contains_key("request.required.acks"));
        }
    }

    #[test]
    fn values_are_checked_as_the_client_would() {
        let check = |name: &str, value: &str| check_value(property(name).expect("known"), value);
        assert_eq!(check("acks", "all"), Ok(()));
        assert!(check("acks", "most").is_err() && check("linger.ms", "-1").is_err());
        assert!(check("compression.type", "ZSTD").is_ok() && check("enable.idempotence", "maybe").is_err());
    }

    #[test]
    fn secrets_are_known_by_name() {
        for name in ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"] {
            assert!(is_secret(name), "{name}");
        }
        assert!(!is_secret("security.protocol") && !is_secret("ssl.ca.location"));
    }
}
