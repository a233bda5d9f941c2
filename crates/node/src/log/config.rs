//! What a log reads of its topic's configuration, under Kafka's topic names; the broker's settings are the defaults.

use std::collections::BTreeMap;

use crate::config::{ConfigError, Settings};
use crate::io::Durability;

/// A cleaned segment is put in the place of the old one at once, from memory, so those of compacted topics are rolled at
/// this size at the latest.
const COMPACTED_SEGMENT_BYTES_MAX: u64 = 128 << 20;

/// Topic names that others than the log read (`min.insync.replicas`, …), or that change nothing that can be seen here.
const NOT_READ: &[&str] = &[
    "min.insync.replicas",
    "unclean.leader.election.enable",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.zstd.level",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "preallocate",
    "segment.index.bytes",
];

/// How one log behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it grows beyond.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is rolled at this age, by record timestamps.
    pub roll_ms: i64,
    /// `retention.ms`: how long records are kept; −1 for ever.
    pub retention_ms: i64,
    /// `retention.bytes`: how many bytes are kept; −1 all.
    pub retention_bytes: i64,
    /// `cleanup.policy` has `delete`: retention by time and size is on.
    pub delete: bool,
    /// `cleanup.policy` has `compact`: of each key the last record is kept, and records without a key are refused.
    pub compact: bool,
    /// `max.message.bytes`: largest batch.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far before the broker's clock a timestamp may lie.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far after it.
    pub timestamp_after_max_ms: i64,
    /// `min.cleanable.dirty.ratio`: the share of the log that must be dirty before it is compacted.
    pub min_cleanable_ratio: f64,
    /// `delete.retention.ms`: how long tombstones are kept after they were first seen by compaction.
    pub delete_retention_ms: i64,
    /// `producer.id.expiration.ms`: idempotent producers are forgotten after so long.
    pub producer_id_expiration_ms: i64,
    /// `metricstream.log.cache.bytes`: recent bytes that are kept in memory for reading.
    pub cache_bytes: usize,
    /// How safe appends are made: [`Durability::Written`] for partitions, [`Durability::Synced`] for the metadata log.
    pub durability: Durability,
}

/// Whose time a record carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// That of the append.
    LogAppendTime,
}

impl LogConfig {
    /// A topic's configuration over the broker's settings.
    ///
    /// # Errors
    /// If a name is none of Kafka's topic configurations, or a value cannot be.
    pub fn of(settings: &Settings, overrides: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let (delete, compact) = cleanup_policy("log.cleanup.policy", &settings.log_cleanup_policy)?;
        let mut config = Self {
            segment_bytes: u64::try_from(settings.log_segment_bytes).unwrap_or(0),
            roll_ms: settings.log_roll_ms,
            retention_ms: settings.log_retention_ms,
            retention_bytes: settings.log_retention_bytes,
            delete,
            compact,
            max_message_bytes: usize::try_from(settings.message_max_bytes).unwrap_or(0),
            timestamp_type: timestamp_type("log.message.timestamp.type", &settings.log_message_timestamp_type)?,
            timestamp_before_max_ms: settings.log_message_timestamp_before_max_ms,
            timestamp_after_max_ms: settings.log_message_timestamp_after_max_ms,
            min_cleanable_ratio: settings.log_cleaner_min_cleanable_ratio,
            delete_retention_ms: settings.log_cleaner_delete_retention_ms,
            producer_id_expiration_ms: settings.producer_id_expiration_ms,
            cache_bytes: usize::try_from(settings.log_cache_bytes).unwrap_or(0),
            durability: Durability::Written,
        };
        compression_type("compression.type", &settings.compression_type)?;
        for (name, value) in overrides {
            config.set(name, value)?;
        }
        Ok(config)
    }

    /// That of `__cluster_metadata`: nothing goes by itself (snapshots decide what does), and what is appended is synced.
    #[must_use]
    pub fn of_metadata() -> Self {
        Self {
            segment_bytes: 1 << 30, // metadata.log.segment.bytes
            roll_ms: 604_800_000,   // metadata.log.segment.ms
            retention_ms: -1,
            retention_bytes: -1,
            delete: true,
            compact: false,
            max_message_bytes: usize::MAX,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            min_cleanable_ratio: 1.0,
            delete_retention_ms: i64::MAX,
            producer_id_expiration_ms: i64::MAX,
            cache_bytes: 8 << 20,
            durability: Durability::Synced,
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        match name {
            "cleanup.policy" => (self.delete, self.compact) = cleanup_policy(name, value)?,
            "retention.ms" => self.retention_ms = number(name, value, -1, i64::MAX)?,
            "retention.bytes" => self.retention_bytes = number(name, value, -1, i64::MAX)?,
            "segment.bytes" => {
                // 1 MiB is the least since KIP-1030.
                self.segment_bytes = number(name, value, 1 << 20, i64::from(i32::MAX))?.unsigned_abs();
            }
            "segment.ms" => self.roll_ms = number(name, value, 1, i64::MAX)?,
            "segment.jitter.ms" => {
                number(name, value, 0, 0)?;
            }
            "max.message.bytes" => {
                self.max_message_bytes = number(name, value, 0, i64::from(i32::MAX))?.unsigned_abs() as usize;
            }
            "message.timestamp.type" => self.timestamp_type = timestamp_type(name, value)?,
            "message.timestamp.before.max.ms" => self.timestamp_before_max_ms = number(name, value, 0, i64::MAX)?,
            "message.timestamp.after.max.ms" => self.timestamp_after_max_ms = number(name, value, 0, i64::MAX)?,
            "min.cleanable.dirty.ratio" => {
                let ratio = value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                self.min_cleanable_ratio = ratio.ok_or_else(|| refused(name, value, "0 to 1 is wanted"))?;
            }
            "delete.retention.ms" => self.delete_retention_ms = number(name, value, 0, i64::MAX)?,
            // Compaction knows neither a shortest nor a longest wait: these values ask for none.
            "min.compaction.lag.ms" => {
                number(name, value, 0, 0)?;
            }
            "max.compaction.lag.ms" => {
                number(name, value, i64::MAX, i64::MAX)?;
            }
            "compression.type" => compression_type(name, value)?,
            _ if NOT_READ.contains(&name) => {}
            _ => return Err(ConfigError::Unknown { name: name.to_owned() }),
        }
        Ok(())
    }

    /// Where a segment is rolled.
    pub(super) fn roll_bytes(&self) -> u64 {
        if self.compact { self.segment_bytes.min(COMPACTED_SEGMENT_BYTES_MAX) } else { self.segment_bytes }
    }
}

fn refused(name: &str, value: &str, why: impl Into<String>) -> ConfigError {
    ConfigError::Value { name: name.to_owned(), value: value.to_owned(), why: why.into() }
}

fn number(name: &str, value: &str, least: i64, most: i64) -> Result<i64, ConfigError> {
    let number = value.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| match (least == most, most) {
        (true, _) => refused(name, value, format!("only {least} is supported")),
        (false, i64::MAX) => refused(name, value, format!("a whole number of at least {least} is wanted")),
        (false, _) => refused(name, value, format!("a whole number of {least} to {most} is wanted")),
    })
}

/// Whether it says delete, and whether it says compact.
fn cleanup_policy(name: &str, value: &str) -> Result<(bool, bool), ConfigError> {
    let mut policy = (false, false);
    for word in value.split(',').map(str::trim) {
        match word {
            "delete" => policy.0 = true,
            "compact" => policy.1 = true,
            _ => return Err(refused(name, value, "delete, compact or both are wanted")),
        }
    }
    Ok(policy)
}

fn timestamp_type(name: &str, value: &str) -> Result<TimestampType, ConfigError> {
    match value {
        "CreateTime" => Ok(TimestampType::CreateTime),
        "LogAppendTime" => Ok(TimestampType::LogAppendTime),
        _ => Err(refused(name, value, "CreateTime or LogAppendTime is wanted")),
    }
}

fn compression_type(name: &str, value: &str) -> Result<(), ConfigError> {
    if value == "producer" {
        return Ok(());
    }
    Err(refused(
        name,
        value,
        "the embedded cluster keeps batches as producers compressed them: only producer is supported",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(overrides: &[(&str, &str)]) -> Result<LogConfig, ConfigError> {
        let overrides = overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogConfig::of(&Settings::default(), &overrides)
    }

    #[test]
    fn a_topic_without_a_configuration_has_the_brokers() {
        let config = of(&[]).expect("defaults");
        assert_eq!((config.segment_bytes, config.retention_ms), (1 << 30, 604_800_000));
        assert!(config.delete && !config.compact);
        assert_eq!(config.max_message_bytes, 1_048_588);
    }

    #[test]
    fn a_topics_own_configuration_goes_before_the_brokers() {
        let config = of(&[("cleanup.policy", "compact,delete"), ("retention.ms", "-1"), ("min.insync.replicas", "2")]);
        let config = config.expect("known");
        assert!(config.delete && config.compact);
        assert_eq!(config.retention_ms, -1);
        assert_eq!(config.roll_bytes(), COMPACTED_SEGMENT_BYTES_MAX);
    }

    #[test]
    fn what_is_not_known_or_cannot_be_is_refused() {
        assert!(matches!(of(&[("retention.s", "1")]), Err(ConfigError::Unknown { .. })));
        for (name, value) in [
            ("cleanup.policy", "shred"),
            ("segment.bytes", "1000"),
            ("retention.ms", "-2"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("message.timestamp.type", "createtime"),
            ("compression.type", "zstd"),
        ] {
            assert!(matches!(of(&[(name, value)]), Err(ConfigError::Value { .. })), "{name} = {value}");
        }
    }
}
