//! `[topology]`: brokers, controllers, settings and topics.

use std::collections::BTreeMap;

use super::reader::{At, Section, describe, integer_of, listed, shorten};
use crate::error::did_you_mean;
use crate::kafka_config;
use crate::model::{Controllers, Profile, Topic, Topology};
use crate::schema;

const MAX_BROKERS: i64 = 15;
const MAX_CONTROLLERS: i64 = 9;
const MAX_TOPICS: usize = 50;
const MAX_PARTITIONS: i64 = 1_000;
/// Partition replicas of all topics together: more than one machine can host in a test.
const MAX_REPLICAS: usize = 10_000;
const DEFAULT_BROKERS: u32 = 3;
const DEFAULT_PARTITIONS: i32 = 6;
const DEFAULT_REPLICATION: i16 = 3;

pub(super) fn read(section: &Section<'_>) -> Topology {
    let brokers = section.integer("brokers", 1..=MAX_BROKERS).map_or(DEFAULT_BROKERS, |at| at.value as u32);
    let profile = section.word("profile", &Profile::WORDS).unwrap_or(Profile::Apache);
    Topology {
        brokers,
        controllers: read_controllers(section),
        profile,
        broker_config: read_broker_config(section),
        topics: read_topics(section, brokers),
    }
}

fn read_controllers(section: &Section<'_>) -> Controllers {
    let Some(raw) = section.any("controllers") else { return Controllers::Combined };
    let allowed = format!("allowed: \"combined\", or a number from 1 to {MAX_CONTROLLERS}");
    match (raw.value.as_str(), integer_of(raw.value)) {
        (Some("combined"), _) => return Controllers::Combined,
        (_, Some(nodes)) if (1..=MAX_CONTROLLERS).contains(&nodes) => return Controllers::Separate(nodes as u32),
        _ => section.problem("controllers", format!("`controllers` is {}; {allowed}", describe(raw.value))),
    }
    Controllers::Combined
}

fn read_broker_config(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    for (name, value) in section.config("broker_config") {
        let word = name.value.as_str();
        if kafka_config::BROKER_OWNED.contains(&word) {
            let list = kafka_config::BROKER_OWNED.join(", ");
            section.problems.at(&name, format!("`{word}` is set by the engine; not allowed are: {list}"));
        } else if !kafka_config::is_broker_setting(word) {
            let hint = did_you_mean(word, kafka_config::BROKER.iter().copied());
            let version = kafka_config::VERSION;
            let shown = shorten(word);
            section.problems.at(&name, format!("Apache Kafka {version} has no broker setting `{shown}`{hint}"));
        } else {
            check_known_value(section, word, &value);
            insert(section, &mut config, name, value);
        }
    }
    config
}

/// Checks the settings that clocks and guarantees are computed from.
fn check_known_value(section: &Section<'_>, name: &str, value: &At<String>) {
    let wanted = if name.ends_with(".enable") {
        (!matches!(value.value.as_str(), "true" | "false")).then_some("true or false")
    } else if crate::timers::clock(name).is_some() || name.ends_with(".ms") || name == "min.insync.replicas" {
        value.value.parse::<i64>().is_err().then_some("a whole number")
    } else {
        None
    };
    if let Some(wanted) = wanted {
        section.problems.at(value, format!("`{name}` is \"{}\"; wanted: {wanted}", shorten(&value.value)));
    }
}

pub(super) fn insert(
    section: &Section<'_>,
    config: &mut BTreeMap<String, String>,
    name: At<String>,
    value: At<String>,
) {
    if config.insert(name.value.clone(), value.value).is_some() {
        section.problems.at(&name, format!("`{}` is set twice", name.value));
    }
}

fn read_topics(section: &Section<'_>, brokers: u32) -> Vec<Topic> {
    let Some(tables) = section.children("topics", &schema::TOPIC, MAX_TOPICS) else {
        return vec![default_topic(brokers)];
    };
    if tables.is_empty() {
        section.problem("topics", "there must be at least one topic, or leave `topics` out for the default one");
    }
    let mut topics: Vec<Topic> = Vec::new();
    for table in &tables {
        let topic = read_topic(table, brokers);
        if topics.iter().any(|earlier| earlier.name == topic.name) {
            table.problem("name", format!("there is already a topic `{}`", topic.name));
        }
        topics.push(topic);
    }
    let replicas: usize = topics.iter().map(|t| t.partitions as usize * t.replication_factor.max(1) as usize).sum();
    if replicas > MAX_REPLICAS {
        section.problem("topics", format!("{replicas} partition replicas in all; at most {MAX_REPLICAS}"));
    }
    topics
}

fn default_topic(brokers: u32) -> Topic {
    let replication_factor = DEFAULT_REPLICATION.min(brokers as i16);
    Topic {
        name: "metrics".to_owned(),
        partitions: DEFAULT_PARTITIONS,
        replication_factor,
        min_insync_replicas: (replication_factor - 1).max(1),
        replicas: Vec::new(),
        config: BTreeMap::new(),
    }
}

fn read_topic(section: &Section<'_>, brokers: u32) -> Topic {
    let default = default_topic(brokers);
    let replicas = read_replicas(section, brokers);
    let name = match section.text("name") {
        Some(name) => {
            check_topic_name(section, &name);
            name.value
        }
        None => default.name,
    };
    let partitions = section.integer("partitions", 1..=MAX_PARTITIONS).map(|at| at.value as i32);
    let partitions = partitions.unwrap_or(match replicas.len() {
        0 => default.partitions,
        listed => listed as i32,
    });
    let replication_factor = section.integer("replication_factor", 1..=i64::from(i16::MAX)).map(|at| {
        if at.value > i64::from(brokers) {
            let wrong = at.value;
            section.problems.at(
                &at,
                format!("`replication_factor` is {wrong}, but there are {brokers} brokers; allowed: 1 to {brokers}"),
            );
        }
        at.value as i16
    });
    let listed = replicas.first().map(|first| first.len() as i16);
    let replication_factor = replication_factor.or(listed).unwrap_or(default.replication_factor);
    check_replicas(section, &replicas, partitions, replication_factor);
    let min_insync_replicas = section.integer("min_insync_replicas", 1..=i64::from(i16::MAX)).map(|at| {
        if at.value > i64::from(replication_factor) {
            let message = format!(
                "`min_insync_replicas` is {}, but the replication factor is {replication_factor}: no write with \
                 acks=all could ever succeed; allowed: 1 to {replication_factor}",
                at.value
            );
            section.problems.at(&at, message);
        }
        at.value as i16
    });
    Topic {
        name,
        partitions,
        replication_factor,
        min_insync_replicas: min_insync_replicas.unwrap_or_else(|| (replication_factor - 1).max(1)),
        replicas,
        config: read_topic_config(section),
    }
}

fn check_topic_name(section: &Section<'_>, name: &At<String>) {
    let text = name.value.as_str();
    let legal = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !legal || text.is_empty() || text.len() > 249 || text == "." || text == ".." {
        let shown = shorten(text);
        section
            .problems
            .at(name, format!("\"{shown}\" is no topic name; allowed: 1 to 249 letters, digits, `.`, `_` or `-`"));
    } else if text.starts_with("__") {
        section.problems.at(name, format!("topics named `__…` are Kafka's own; call it something other than `{text}`"));
    }
}

fn read_replicas(section: &Section<'_>, brokers: u32) -> Vec<Vec<i32>> {
    let mut lists = Vec::new();
    for (nth, entry) in section.list("replicas", MAX_PARTITIONS as usize).unwrap_or_default().into_iter().enumerate() {
        let mut ids: Vec<i32> = Vec::new();
        let Some(array) = entry.value.as_array() else {
            let shown = describe(entry.value);
            section
                .problems
                .at(&entry, format!("replicas of partition {nth}: {shown}; wanted: a list such as [2, 1, 3]"));
            continue;
        };
        for id in array.iter().take(MAX_BROKERS as usize + 1) {
            let at = At { value: (), span: id.span(), path: entry.path.clone() };
            match integer_of(id.get_ref()) {
                Some(id) if id < 1 || id > i64::from(brokers) => {
                    section.problems.at(&at, format!("there is no broker {id}; the brokers are 1 to {brokers}"))
                }
                Some(id) if ids.contains(&(id as i32)) => {
                    section.problems.at(&at, format!("broker {id} stands twice in the replicas of partition {nth}"));
                }
                Some(id) => ids.push(id as i32),
                None => section.problems.at(&at, format!("{}; wanted: a broker id", describe(id.get_ref()))),
            }
        }
        if array.is_empty() {
            section.problems.at(&entry, format!("partition {nth} has no replica; list at least one broker"));
        }
        lists.push(ids);
    }
    lists
}

fn check_replicas(section: &Section<'_>, replicas: &[Vec<i32>], partitions: i32, replication_factor: i16) {
    if replicas.is_empty() {
        return;
    }
    if replicas.len() != partitions as usize {
        let listed = replicas.len();
        section.problem("replicas", format!("`replicas` lists {listed} partitions, but the topic has {partitions}"));
    }
    for (nth, list) in replicas.iter().enumerate() {
        if !list.is_empty() && list.len() != replication_factor as usize {
            let found = list.len();
            let message =
                format!("partition {nth} lists {found} replicas, but the replication factor is {replication_factor}");
            section.problem("replicas", message);
        }
    }
}

fn read_topic_config(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    for (name, value) in section.config("config") {
        let word = name.value.as_str();
        if word == "min.insync.replicas" {
            section.problems.at(&name, "set `min_insync_replicas` of the topic instead of `min.insync.replicas`");
        } else if !kafka_config::is_topic_setting(word) {
            let hint = did_you_mean(word, kafka_config::TOPIC.iter().copied());
            let list = listed(kafka_config::TOPIC);
            let shown = shorten(word);
            let version = kafka_config::VERSION;
            section
                .problems
                .at(&name, format!("Apache Kafka {version} has no topic setting `{shown}`{hint}; allowed: {list}"));
        } else {
            check_known_value(section, word, &value);
            insert(section, &mut config, name, value);
        }
    }
    config
}
