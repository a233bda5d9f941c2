//! Which of Kafka's broker settings the embedded cluster reads, which mean nothing to it, and which it refuses.
//!
//! A setting that changes what a Kafka cluster does, and that this one does not read, is refused: a result must never rest
//! on a setting that was silently left out. One that only sizes what this cluster does not have (thread pools, buffers,
//! purgatories, metrics of the Java machine) changes nothing here; it is accepted, and a note says so.

use std::collections::BTreeMap;

use metricstream_cluster::{ConfigError, FAST, Settings};

use crate::error::EngineError;

/// What sizes things that the embedded cluster does not have; a name that ends with a dot stands for all that begin so.
const MEANINGLESS: &[&str] = &[
    "background.threads",
    "delete.records.purgatory.purge.interval.requests",
    "fetch.purgatory.purge.interval.requests",
    "group.coordinator.background.threads",
    "group.coordinator.cached.buffer.max.bytes",
    "group.coordinator.threads",
    "kafka.metrics.",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.io.",
    "log.cleaner.threads",
    "log.flush.scheduler.interval.ms",
    "log.preallocate",
    "metric.reporters",
    "metrics.",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.alter.log.dirs.threads",
    "num.replica.fetchers",
    "offsets.load.buffer.size",
    "producer.purgatory.purge.interval.requests",
    "queued.max.request.bytes",
    "queued.max.requests",
    "replica.socket.receive.buffer.bytes",
    "socket.listen.backlog.size",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
];

/// Settings that say the same as another one in another unit: name, the one that is read, milliseconds of its unit.
const UNITS: &[(&str, &str, i64)] = &[
    ("log.retention.hours", "log.retention.ms", 3_600_000),
    ("log.retention.minutes", "log.retention.ms", 60_000),
    ("log.roll.hours", "log.roll.ms", 3_600_000),
];

/// What the profile `fast` sets on the embedded cluster.
#[must_use]
pub fn fast() -> BTreeMap<String, String> {
    FAST.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn means_nothing(name: &str) -> bool {
    MEANINGLESS.iter().any(|known| *known == name || (known.ends_with('.') && name.starts_with(known)))
}

/// The settings that are read, and notes about those that are not.
///
/// # Errors
/// If one would mean something and is not read, or has a value of another kind.
pub(super) fn read(config: &BTreeMap<String, String>) -> Result<(BTreeMap<String, String>, Vec<String>), EngineError> {
    let (mut read, mut notes) = (BTreeMap::new(), Vec::new());
    for (name, value) in config {
        if means_nothing(name) {
            notes.push(format!("{name} = {value} means nothing to the embedded cluster, which has no such thing"));
        } else if let Some((_, ms, unit_ms)) = UNITS.iter().find(|(long, ..)| long == name) {
            // As in Kafka the finer unit goes first, and −1 is for ever in each.
            if !config.contains_key(*ms) {
                let wrong =
                    || EngineError::Setting { what: format!("{name} = {value}"), remedy: "give a whole number" };
                let long: i64 = value.parse().map_err(|_| wrong())?;
                let value = if long < 0 { -1 } else { long.saturating_mul(*unit_ms) };
                read.entry((*ms).to_owned()).or_insert_with(|| value.to_string());
            }
        } else {
            Settings::default().set(name, value).map_err(|error| refused(&error))?;
            read.insert(name.clone(), value.clone());
        }
    }
    Ok((read, notes))
}

/// A setting that was refused, as the engine's error.
pub(super) fn refused(error: &ConfigError) -> EngineError {
    let remedy = match error {
        ConfigError::Unknown { .. } => "leave it out, or run it on Apache Kafka: --engine kafka",
        ConfigError::Value { .. } => "correct the value",
    };
    EngineError::Setting { what: error.to_string(), remedy }
}

#[cfg(test)]
mod tests {
    use metricstream_scenario::kafka_config::is_broker_setting;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_setting_that_would_mean_something_and_is_not_read_is_refused_by_its_name() {
        let error = read(&config(&[("leader.replication.throttled.rate", "1000")])).expect_err("it throttles in Kafka");
        let said = error.to_string();
        assert!(said.contains("leader.replication.throttled.rate") && said.contains("embedded cluster"), "{said}");
        let error = read(&config(&[("broker.session.timeout.ms", "soon")])).expect_err("no number");
        assert!(error.to_string().contains("whole number"), "{error}");
    }

    #[test]
    fn a_setting_that_only_sizes_what_is_not_there_is_accepted_with_a_note() {
        let (kept, notes) = read(&config(&[("num.network.threads", "3"), ("min.insync.replicas", "2")])).expect("fine");
        assert_eq!(kept, config(&[("min.insync.replicas", "2")]));
        assert!(notes.len() == 1 && notes[0].contains("num.network.threads"), "{notes:?}");
    }

    #[test]
    fn longer_units_are_read_and_the_finer_one_goes_first() {
        let (kept, _) = read(&config(&[("log.retention.hours", "2")])).expect("fine");
        assert_eq!(kept, config(&[("log.retention.ms", "7200000")]));
        let both = [("log.retention.hours", "2"), ("log.retention.ms", "5")];
        assert_eq!(read(&config(&both)).expect("fine").0, config(&[("log.retention.ms", "5")]));
    }

    #[test]
    fn what_means_nothing_is_a_setting_of_kafka_that_nobody_reads_here() {
        for name in MEANINGLESS.iter().filter(|name| !name.ends_with('.')) {
            assert!(is_broker_setting(name) && !Settings::NAMES.contains(name), "{name}");
        }
        for (long, ms, _) in UNITS {
            assert!(is_broker_setting(long) && Settings::NAMES.contains(ms), "{long}");
        }
    }
}
