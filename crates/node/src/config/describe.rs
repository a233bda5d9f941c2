//! Settings as Kafka's tools show them: value, where it comes from, and what it would be without (DescribeConfigs). Version-free;
//! nothing is decided here.

use std::collections::BTreeMap;

use super::{NodeConfig, Settings};

/// Where a value comes from (KIP-226); the numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The topic's own.
    Topic = 1,
    /// The node was started with it.
    Static = 4,
    /// Nobody said anything.
    Default = 5,
    /// The group's own.
    Group = 8,
}

/// What kind of value it is; the numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub enum ConfigType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Kafka's name.
    pub name: String,
    /// What holds.
    pub value: String,
    /// Where that comes from.
    pub source: Source,
    /// Its kind.
    pub kind: ConfigType,
    /// Whether it can only be set when the node starts.
    pub read_only: bool,
    /// Everything that is said of it, what holds first: name, value, source.
    pub synonyms: Vec<(String, String, Source)>,
    /// What it does, where that is known.
    pub documentation: Option<String>,
}

/// A topic's setting: its name, and the node's setting that is its default, or the default itself where the node has none.
struct OfTopic(&'static str, Option<&'static str>, &'static str, ConfigType);

/// Every setting that a topic may have here.
const OF_TOPIC: &[OfTopic] = &[
    OfTopic("cleanup.policy", Some("log.cleanup.policy"), "", ConfigType::List),
    OfTopic("compression.gzip.level", None, "-1", ConfigType::Int),
    OfTopic("compression.lz4.level", None, "9", ConfigType::Int),
    OfTopic("compression.type", Some("compression.type"), "", ConfigType::String),
    OfTopic("compression.zstd.level", None, "3", ConfigType::Int),
    OfTopic("delete.retention.ms", Some("log.cleaner.delete.retention.ms"), "", ConfigType::Long),
    OfTopic("file.delete.delay.ms", None, "60000", ConfigType::Long),
    OfTopic("flush.messages", None, "9223372036854775807", ConfigType::Long),
    OfTopic("flush.ms", None, "9223372036854775807", ConfigType::Long),
    OfTopic("index.interval.bytes", None, "4096", ConfigType::Int),
    OfTopic("max.compaction.lag.ms", None, "9223372036854775807", ConfigType::Long),
    OfTopic("max.message.bytes", Some("message.max.bytes"), "", ConfigType::Int),
    OfTopic("message.timestamp.after.max.ms", Some("log.message.timestamp.after.max.ms"), "", ConfigType::Long),
    OfTopic("message.timestamp.before.max.ms", Some("log.message.timestamp.before.max.ms"), "", ConfigType::Long),
    OfTopic("message.timestamp.type", Some("log.message.timestamp.type"), "", ConfigType::String),
    OfTopic("min.cleanable.dirty.ratio", Some("log.cleaner.min.cleanable.ratio"), "", ConfigType::Double),
    OfTopic("min.compaction.lag.ms", None, "0", ConfigType::Long),
    OfTopic("min.insync.replicas", Some("min.insync.replicas"), "", ConfigType::Int),
    OfTopic("preallocate", None, "false", ConfigType::Boolean),
    OfTopic("retention.bytes", Some("log.retention.bytes"), "", ConfigType::Long),
    OfTopic("retention.ms", Some("log.retention.ms"), "", ConfigType::Long),
    OfTopic("segment.bytes", Some("log.segment.bytes"), "", ConfigType::Int),
    OfTopic("segment.index.bytes", None, "10485760", ConfigType::Int),
    OfTopic("segment.jitter.ms", None, "0", ConfigType::Long),
    OfTopic("segment.ms", Some("log.roll.ms"), "", ConfigType::Long),
    OfTopic("unclean.leader.election.enable", Some("unclean.leader.election.enable"), "", ConfigType::Boolean),
];

/// A group's setting and the node's that is its default (KIP-848).
pub const OF_GROUP: &[(&str, &str)] = &[
    ("consumer.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms"),
    ("consumer.session.timeout.ms", "group.consumer.session.timeout.ms"),
];

/// A topic's settings, given its own.
#[must_use]
pub fn topic(settings: &Settings, own: &BTreeMap<String, String>) -> Vec<Described> {
    let node = node_settings(settings);
    let one = |OfTopic(name, default, fixed, kind): &OfTopic| {
        let below = match default {
            Some(default) => of_node(&node, default),
            None => vec![((*name).to_owned(), (*fixed).to_owned(), Source::Default)],
        };
        let own = own.get(*name).map(|value| ((*name).to_owned(), value.clone(), Source::Topic));
        layered(name, *kind, own, below, false)
    };
    OF_TOPIC.iter().map(one).collect()
}

/// What a topic without a setting of its own has.
#[must_use]
pub fn topic_default(settings: &Settings, name: &str) -> Option<(String, bool)> {
    let OfTopic(_, default, fixed, kind) = OF_TOPIC.iter().find(|of| of.0 == name)?;
    let value = default.and_then(|default| settings.all().get(default).cloned());
    Some((value.unwrap_or_else(|| (*fixed).to_owned()), *kind == ConfigType::List))
}

/// A group's settings, given its own.
#[must_use]
pub fn group(settings: &Settings, own: &BTreeMap<String, String>) -> Vec<Described> {
    let node = node_settings(settings);
    let one = |(name, default): &(&str, &str)| {
        let own = own.get(*name).map(|value| ((*name).to_owned(), value.clone(), Source::Group));
        layered(name, ConfigType::Int, own, of_node(&node, default), false)
    };
    OF_GROUP.iter().map(one).collect()
}

/// A node's settings: none can be altered while it runs.
#[must_use]
pub fn node(config: &NodeConfig) -> Vec<Described> {
    let node = node_settings(&config.settings);
    let mut all: Vec<Described> = node
        .keys()
        .map(|name| {
            let kind = if name.ends_with("cleanup.policy") || name.ends_with(".assignors") {
                ConfigType::List
            } else {
                Settings::kind(name).unwrap_or(ConfigType::String)
            };
            let mut one = layered(name, kind, None, of_node(&node, name), true);
            one.documentation = Settings::documentation(name).map(|text| text.trim().to_owned());
            one
        })
        .collect();
    let roles = [(config.roles.broker, "broker"), (config.roles.controller, "controller")];
    let roles: Vec<&str> = roles.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect();
    let fixed = [
        ("broker.id", config.node_id.to_string(), ConfigType::Int),
        ("broker.rack", config.rack.clone().unwrap_or_default(), ConfigType::String),
        ("node.id", config.node_id.to_string(), ConfigType::Int),
        ("process.roles", roles.join(","), ConfigType::List),
    ];
    let known = |(name, value, kind): (&str, String, ConfigType)| {
        layered(name, kind, None, vec![(name.to_owned(), value, Source::Static)], true)
    };
    all.extend(fixed.into_iter().filter(|(_, value, _)| !value.is_empty()).map(known));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

type Values = BTreeMap<&'static str, (String, String)>;

/// Every setting of the node: what holds, and the default.
fn node_settings(settings: &Settings) -> Values {
    let defaults = Settings::default().all();
    settings.all().into_iter().map(|(name, value)| (name, (value, defaults[name].clone()))).collect()
}

fn of_node(node: &Values, name: &str) -> Vec<(String, String, Source)> {
    let Some((value, default)) = node.get(name) else { return Vec::new() };
    let mut said = vec![(name.to_owned(), default.clone(), Source::Default)];
    if value != default {
        said.insert(0, (name.to_owned(), value.clone(), Source::Static));
    }
    said
}

fn layered(
    name: &str,
    kind: ConfigType,
    own: Option<(String, String, Source)>,
    below: Vec<(String, String, Source)>,
    read_only: bool,
) -> Described {
    let synonyms: Vec<_> = own.into_iter().chain(below).collect();
    let (value, source) = synonyms.first().map_or((String::new(), Source::Default), |(_, v, s)| (v.clone(), *s));
    Described { name: name.to_owned(), value, source, kind, read_only, synonyms, documentation: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogConfig;

    #[test]
    fn a_topic_is_shown_every_setting_that_it_may_have_and_each_default_is_allowed() {
        let settings = Settings::default();
        for one in topic(&settings, &BTreeMap::new()) {
            let overrides = [(one.name.clone(), one.value.clone())].into();
            LogConfig::of(&settings, &overrides).unwrap_or_else(|error| panic!("{}: {error}", one.name));
            assert_eq!(one.source, Source::Default, "{}", one.name);
        }
    }

    #[test]
    fn a_value_of_the_topics_own_goes_before_the_nodes_and_both_are_told() {
        let mut settings = Settings::default();
        settings.set("log.retention.ms", "1000").expect("known");
        let own = [("retention.ms".to_owned(), "5".to_owned())].into();
        let all = topic(&settings, &own);
        let one = all.iter().find(|one| one.name == "retention.ms").expect("there");
        assert_eq!((one.value.as_str(), one.source, one.kind), ("5", Source::Topic, ConfigType::Long));
        let said: Vec<_> = one.synonyms.iter().map(|(n, v, s)| (n.as_str(), v.as_str(), *s)).collect();
        assert_eq!(
            said,
            [
                ("retention.ms", "5", Source::Topic),
                ("log.retention.ms", "1000", Source::Static),
                ("log.retention.ms", "604800000", Source::Default),
            ]
        );
    }
}
