//! Settings that are altered at run time: of topics, brokers and groups.

use std::collections::BTreeMap;

use metricstream_wire::ErrorCode;
use metricstream_wire::metadata_record::{ClearElr, Config, MetadataRecord};

use super::{Controller, Decision};
use crate::config::Settings;
use crate::config::describe::topic_default;
use crate::image::{BROKER_RESOURCE, GROUP_RESOURCE, Resource, TOPIC_RESOURCE};
use crate::log::LogConfig;

/// How a value is altered (KIP-339).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub enum AlterOp {
    Set,
    Delete,
    Append,
    Subtract,
    /// One that the protocol does not have.
    Unknown,
}

/// One altered setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct ConfigChange {
    pub name: String,
    pub op: AlterOp,
    pub value: Option<String>,
}

/// What became of a resource's changes.
pub type ConfigResult = Result<(), (ErrorCode, String)>;

/// Settings of a topic that no log reads.
const TOPIC_ONLY: &[&str] = &["min.insync.replicas", "unclean.leader.election.enable"];

/// Whether a topic may have these settings.
///
/// # Errors
/// `INVALID_CONFIG` and which one is wrong.
pub(super) fn check_topic(settings: &Settings, configs: &BTreeMap<String, String>) -> ConfigResult {
    let wrong = |why: String| (ErrorCode::INVALID_CONFIG, why);
    let mut of_log = BTreeMap::new();
    for (name, value) in configs {
        match name.as_str() {
            "min.insync.replicas" if value.parse::<i32>().is_ok_and(|n| n >= 1) => {}
            "unclean.leader.election.enable" if value.parse::<bool>().is_ok() => {}
            known if TOPIC_ONLY.contains(&known) => return Err(wrong(format!("{name} = {value} is not allowed"))),
            _ => {
                of_log.insert(name.clone(), value.clone());
            }
        }
    }
    LogConfig::of(settings, &of_log).map(|_| ()).map_err(|error| wrong(error.to_string()))
}

impl Controller {
    /// Alters some settings of a resource, leaving the others (IncrementalAlterConfigs), or putting these in the place of
    /// all (`replace`, the older AlterConfigs).
    ///
    /// # Errors
    /// If there is no such resource or a value is not allowed; then nothing of it changes.
    pub fn alter_configs(
        &self,
        resource: &Resource,
        changes: &[ConfigChange],
        replace: bool,
    ) -> Result<Decision<()>, (ErrorCode, String)> {
        let mut names = std::collections::BTreeSet::new();
        if let Some(twice) = changes.iter().find(|change| !names.insert(change.name.as_str())) {
            return Err((ErrorCode::INVALID_REQUEST, format!("{} is altered twice", twice.name)));
        }
        let before = self.image.configs.get(resource).cloned().unwrap_or_default();
        let mut next = if replace { BTreeMap::new() } else { before.clone() };
        for change in changes {
            let default = match resource.0 {
                TOPIC_RESOURCE => topic_default(&self.settings, &change.name),
                _ => None,
            };
            alter(&mut next, change, default)?;
        }
        match resource.0 {
            TOPIC_RESOURCE if self.image.topic(&resource.1).is_none() => {
                let text = format!("the topic '{}' does not exist", resource.1);
                return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, text));
            }
            TOPIC_RESOURCE => check_topic(&self.settings, &next)?,
            BROKER_RESOURCE => {
                let text = "the settings of a node of the embedded cluster are given when it starts".to_owned();
                return Err((ErrorCode::INVALID_REQUEST, text));
            }
            GROUP_RESOURCE => self.check_group(&next)?,
            other => return Err((ErrorCode::INVALID_REQUEST, format!("resource type {other} has no settings here"))),
        }
        let record = |name: &String, value: Option<String>| {
            let (resource_type, resource_name) = resource.clone();
            MetadataRecord::Config(Config { resource_type, resource_name, name: name.clone(), value })
        };
        let gone = before.keys().filter(|name| !next.contains_key(*name)).map(|name| record(name, None));
        let set = next.iter().filter(|(name, value)| before.get(*name) != Some(value));
        let mut records: Vec<MetadataRecord> =
            gone.chain(set.map(|(name, value)| record(name, Some(value.clone())))).collect();
        // With another threshold what made replicas eligible holds no longer (KIP-966).
        if resource.0 == TOPIC_RESOURCE
            && self.elr_enabled()
            && before.get("min.insync.replicas") != next.get("min.insync.replicas")
        {
            records.push(MetadataRecord::ClearElr(ClearElr { topic_name: resource.1.clone() }));
        }
        Ok(Decision { records, answer: () })
    }

    fn check_group(&self, configs: &BTreeMap<String, String>) -> ConfigResult {
        let s = &self.settings;
        for (name, value) in configs {
            let allowed = match name.as_str() {
                "consumer.session.timeout.ms" => {
                    s.group_consumer_min_session_timeout_ms..=s.group_consumer_max_session_timeout_ms
                }
                "consumer.heartbeat.interval.ms" => {
                    s.group_consumer_min_heartbeat_interval_ms..=s.group_consumer_max_heartbeat_interval_ms
                }
                _ => return Err((ErrorCode::INVALID_CONFIG, format!("{name}: groups have no such setting here"))),
            };
            if !value.parse().is_ok_and(|number: i64| allowed.contains(&number)) {
                let (least, most) = allowed.into_inner();
                let text = format!("{name} = {value}: a whole number of {least} to {most} is wanted");
                return Err((ErrorCode::INVALID_CONFIG, text));
            }
        }
        Ok(())
    }
}

/// `default` is what holds where nothing is set, and whether it is a list.
fn alter(
    settings: &mut BTreeMap<String, String>,
    change: &ConfigChange,
    default: Option<(String, bool)>,
) -> ConfigResult {
    let value = || {
        let missing = || (ErrorCode::INVALID_REQUEST, format!("{} has no value", change.name));
        change.value.clone().ok_or_else(missing)
    };
    let (default, is_list) = default.unwrap_or_default();
    if matches!(change.op, AlterOp::Append | AlterOp::Subtract) && !is_list {
        return Err((ErrorCode::INVALID_CONFIG, format!("{} is no list", change.name)));
    }
    let list = |text: Option<&String>| -> Vec<String> {
        text.map_or_else(Vec::new, |t| t.split(',').filter(|x| !x.is_empty()).map(str::to_owned).collect())
    };
    match change.op {
        AlterOp::Set => {
            settings.insert(change.name.clone(), value()?);
        }
        AlterOp::Delete => {
            settings.remove(&change.name);
        }
        AlterOp::Append => {
            let mut now = list(settings.get(&change.name).or(Some(&default)));
            for more in list(Some(&value()?)) {
                if !now.contains(&more) {
                    now.push(more);
                }
            }
            settings.insert(change.name.clone(), now.join(","));
        }
        AlterOp::Subtract => {
            let less = list(Some(&value()?));
            let mut now = list(settings.get(&change.name).or(Some(&default)));
            now.retain(|x| !less.contains(x));
            settings.insert(change.name.clone(), now.join(","));
        }
        AlterOp::Unknown => {
            let text = format!("{}: there is no such way to alter a setting", change.name);
            return Err((ErrorCode::INVALID_REQUEST, text));
        }
    }
    Ok(())
}
