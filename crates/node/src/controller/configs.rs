//! Settings that are altered at run time: of topics, brokers and groups.

use std::collections::BTreeMap;

use metricstream_wire::ErrorCode;
use metricstream_wire::metadata_record::{Config, MetadataRecord};

use super::{Controller, Decision};
use crate::config::Settings;
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
        let before = self.image.configs.get(resource).cloned().unwrap_or_default();
        let mut next = if replace { BTreeMap::new() } else { before.clone() };
        for change in changes {
            alter(&mut next, change)?;
        }
        match resource.0 {
            TOPIC_RESOURCE if self.image.topic(&resource.1).is_none() => {
                let text = format!("the topic '{}' does not exist", resource.1);
                return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, text));
            }
            TOPIC_RESOURCE => check_topic(&self.settings, &next)?,
            BROKER_RESOURCE | GROUP_RESOURCE => {}
            other => return Err((ErrorCode::INVALID_REQUEST, format!("resource type {other} has no settings here"))),
        }
        let record = |name: &String, value: Option<String>| {
            let (resource_type, resource_name) = resource.clone();
            MetadataRecord::Config(Config { resource_type, resource_name, name: name.clone(), value })
        };
        let gone = before.keys().filter(|name| !next.contains_key(*name)).map(|name| record(name, None));
        let set = next.iter().filter(|(name, value)| before.get(*name) != Some(value));
        let records = gone.chain(set.map(|(name, value)| record(name, Some(value.clone())))).collect();
        Ok(Decision { records, answer: () })
    }
}

fn alter(settings: &mut BTreeMap<String, String>, change: &ConfigChange) -> ConfigResult {
    let value = || {
        let missing = || (ErrorCode::INVALID_CONFIG, format!("{} has no value", change.name));
        change.value.clone().ok_or_else(missing)
    };
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
            let mut now = list(settings.get(&change.name));
            for more in list(Some(&value()?)) {
                if !now.contains(&more) {
                    now.push(more);
                }
            }
            settings.insert(change.name.clone(), now.join(","));
        }
        AlterOp::Subtract => {
            let less = list(Some(&value()?));
            let mut now = list(settings.get(&change.name));
            now.retain(|x| !less.contains(x));
            settings.insert(change.name.clone(), now.join(","));
        }
    }
    Ok(())
}
