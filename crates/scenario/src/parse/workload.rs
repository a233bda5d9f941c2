//! `[workload]`: duration, producers, groups and their client settings.

use std::collections::BTreeMap;

use super::reader::{At, Section, check_name, describe, listed, number_of, shorten};
use super::{MAX_DURATION_S, MAX_WAIT_S, topology};
use crate::error::did_you_mean;
use crate::librdkafka::{self, Role};
use crate::load_time::{DEFAULT_DURATION_S, DEFAULT_SETTLE_S};
use crate::model::{Group, GroupProtocol, Producer, Scenario, Topology, Workload};
use crate::schema;

const MAX_PRODUCERS: usize = 64;
const MAX_GROUPS: usize = 64;
const MAX_MEMBERS: usize = 64;
const MAX_RATE_PER_S: f64 = 1_000_000.0;
/// Scheduled messages of a whole run: the ledger's memory is planned for this many.
const MAX_MESSAGES: f64 = 1e9;
/// The smallest value that can carry a message's identity.
const MIN_MESSAGE_BYTES: i64 = 48;
const MAX_MESSAGE_BYTES: i64 = 999_000;
/// Room for key, headers and framing beside the value, within `message.max.bytes`.
const FRAMING_BYTES: i64 = 1_000;
const MAX_KEYS: i64 = 100_000;

const CLASSIC_ASSIGNORS: &[&str] = &["range", "roundrobin", "cooperative-sticky"];
const CONSUMER_ASSIGNORS: &[&str] = &["uniform", "range"];

/// Reads the workload; `has_steps`: there is a timeline, whose end it can wait for.
pub(super) fn read(section: &Section<'_>, topology: &Topology, has_steps: bool) -> Workload {
    let until = |key: &str| section.number(key, 1.0..=MAX_DURATION_S).map(|at| at.value);
    let unsaid_s = (!has_steps).then_some(DEFAULT_DURATION_S);
    let settle_s = section.number("settle_s", 0.0..=MAX_WAIT_S).map_or(DEFAULT_SETTLE_S, |at| at.value);
    let producers = match section.children("producers", &schema::PRODUCER, MAX_PRODUCERS) {
        Some(tables) => read_named(&tables, "producer", read_producer, topology, |producer| &producer.name),
        None => topology.topics.first().map(default_producer).into_iter().collect(),
    };
    let groups = match section.children("groups", &schema::GROUP, MAX_GROUPS) {
        Some(tables) => read_named(&tables, "group", read_group, topology, |group| &group.name),
        None => vec![default_group(topology)],
    };
    Workload {
        duration_s: until("duration_s").or(unsaid_s),
        settle_s,
        max_duration_s: until("max_duration_s"),
        producers,
        groups,
    }
}

/// Refuses more messages than the ledger is planned for; how many there can be, only the whole scenario tells.
pub(super) fn check_messages(section: &Section<'_>, scenario: &Scenario) {
    let rate_per_s: f64 = scenario.workload.producers.iter().filter_map(|p| p.rate_per_s).sum();
    let longest_s = scenario.longest_load_s();
    let messages = rate_per_s * longest_s;
    if messages > MAX_MESSAGES {
        let message = format!("{messages:.0} messages in up to {longest_s} s; at most {MAX_MESSAGES:.0}");
        section.problem("producers", message);
    }
}

/// Reads the tables of a list and refuses two of one name.
fn read_named<T>(
    tables: &[Section<'_>],
    kind: &str,
    read: impl Fn(&Section<'_>, usize, &Topology) -> T,
    topology: &Topology,
    name: impl Fn(&T) -> &String,
) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    for (nth, table) in tables.iter().enumerate() {
        let one = read(table, nth, topology);
        if all.iter().any(|earlier| name(earlier) == name(&one)) {
            table.problem("name", format!("there is already a {kind} `{}`", name(&one)));
        }
        all.push(one);
    }
    all
}

fn default_producer(topic: &crate::model::Topic) -> Producer {
    Producer {
        name: "producer-1".to_owned(),
        topic: topic.name.clone(),
        rate_per_s: Some(1_000.0),
        message_size_bytes: 200,
        keys: None,
        config: BTreeMap::new(),
    }
}

fn default_group(topology: &Topology) -> Group {
    Group {
        name: "group-1".to_owned(),
        topics: topology.topics.iter().map(|topic| topic.name.clone()).collect(),
        protocol: GroupProtocol::Classic,
        assignor: CLASSIC_ASSIGNORS[0].to_owned(),
        members: vec!["A".to_owned()],
        config: BTreeMap::new(),
    }
}

fn read_producer(section: &Section<'_>, nth: usize, topology: &Topology) -> Producer {
    let config = read_client_config(section, Role::Producer);
    check_idempotence(section, &config);
    let size = section.integer("message_size_bytes", MIN_MESSAGE_BYTES..=MAX_MESSAGE_BYTES);
    let size_bytes = size.as_ref().map_or(200, |at| at.value);
    let limit = config.get("message.max.bytes").and_then(|text| text.parse::<i64>().ok()).unwrap_or(1_000_000);
    if size_bytes > limit - FRAMING_BYTES {
        let message = format!(
            "messages of {size_bytes} bytes do not fit message.max.bytes = {limit} with {FRAMING_BYTES} bytes of framing"
        );
        section.problem("message_size_bytes", message);
    }
    Producer {
        name: section.name("name").map_or_else(|| format!("producer-{}", nth + 1), |at| at.value),
        topic: read_topic_reference(section, topology),
        rate_per_s: read_rate(section),
        message_size_bytes: size_bytes as usize,
        keys: section.integer("keys", 1..=MAX_KEYS).map(|at| at.value as u32),
        config,
    }
}

fn read_topic_reference(section: &Section<'_>, topology: &Topology) -> String {
    let names = || topology.topics.iter().map(|topic| topic.name.as_str());
    match section.text("topic") {
        Some(topic) => {
            check_topic(section, &topic, topology);
            topic.value
        }
        None => {
            if topology.topics.len() > 1 && !section.has("topic") {
                section.problem("topic", format!("`topic` is missing; there are several: {}", listed(names())));
            }
            names().next().unwrap_or_default().to_owned()
        }
    }
}

fn check_topic(section: &Section<'_>, topic: &At<String>, topology: &Topology) {
    let names = || topology.topics.iter().map(|topic| topic.name.as_str());
    if !names().any(|name| name == topic.value) {
        let hint = did_you_mean(&topic.value, names());
        let shown = shorten(&topic.value);
        section.problems.at(topic, format!("there is no topic `{shown}`; the topics are: {}{hint}", listed(names())));
    }
}

fn read_rate(section: &Section<'_>) -> Option<f64> {
    let Some(raw) = section.any("rate_per_s") else { return Some(1_000.0) };
    if raw.value.as_str() == Some("unthrottled") {
        return None;
    }
    match number_of(raw.value) {
        Some(rate) if rate > 0.0 && rate <= MAX_RATE_PER_S => Some(rate),
        _ => {
            let shown = describe(raw.value);
            let message = format!(
                "`rate_per_s` is {shown}; allowed: a number above 0 up to {MAX_RATE_PER_S}, or \"unthrottled\""
            );
            section.problems.at(&raw, message);
            Some(1_000.0)
        }
    }
}

fn read_group(section: &Section<'_>, nth: usize, topology: &Topology) -> Group {
    let protocol = section
        .word("protocol", &[("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)])
        .unwrap_or(GroupProtocol::Classic);
    let default = default_group(topology);
    let mut topics = default.topics;
    if let Some(named) = section.texts("topics", topology.topics.len().max(1)) {
        for topic in &named {
            check_topic(section, topic, topology);
        }
        if named.is_empty() {
            section.problem("topics", "a group needs at least one topic; leave `topics` out for every topic");
        }
        topics = named.into_iter().map(|at| at.value).collect();
        let mut unique = topics.clone();
        unique.sort();
        unique.dedup();
        if unique.len() != topics.len() {
            section.problem("topics", "a topic stands twice in the list");
        }
    }
    let config = read_client_config(section, Role::Consumer);
    check_group_config(section, protocol, &config);
    Group {
        name: section.name("name").map_or_else(|| format!("group-{}", nth + 1), |at| at.value),
        topics,
        protocol,
        assignor: read_assignor(section, protocol),
        members: read_members(section).unwrap_or(default.members),
        config,
    }
}

fn read_assignor(section: &Section<'_>, protocol: GroupProtocol) -> String {
    let (word, allowed) = match protocol {
        GroupProtocol::Classic => ("classic", CLASSIC_ASSIGNORS),
        GroupProtocol::Consumer => ("consumer", CONSUMER_ASSIGNORS),
    };
    let Some(assignor) = section.text("assignor") else { return allowed[0].to_owned() };
    if !allowed.contains(&assignor.value.as_str()) {
        let list = allowed.join(", ");
        let hint = did_you_mean(&assignor.value, allowed.iter().copied());
        let shown = shorten(&assignor.value);
        section
            .problems
            .at(&assignor, format!("the protocol `{word}` has no assignor `{shown}`; allowed: {list}{hint}"));
    }
    assignor.value
}

fn read_members(section: &Section<'_>) -> Option<Vec<String>> {
    let mut members: Vec<String> = Vec::new();
    for member in section.texts("members", MAX_MEMBERS)? {
        if let Err(wrong) = check_name(&member.value) {
            section.problems.at(&member, wrong);
        }
        if members.contains(&member.value) {
            section.problems.at(&member, format!("the member `{}` stands twice", shorten(&member.value)));
        }
        members.push(member.value);
    }
    Some(members)
}

/// Reads librdkafka settings, refusing what it does not know and what MetricStream must own.
fn read_client_config(section: &Section<'_>, role: Role) -> BTreeMap<String, String> {
    let mut config: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in section.config("config") {
        let word = name.value.as_str();
        let shown = shorten(word);
        if let Some((_, why)) = librdkafka::OWNED.iter().find(|(owned, _)| *owned == word) {
            section.problems.at(&name, format!("`{word}` is set by MetricStream: {why}"));
            continue;
        }
        let Some(property) = librdkafka::property(word) else {
            let hint = did_you_mean(word, librdkafka::PROPERTIES.iter().map(|p| p.name));
            let version = librdkafka::VERSION;
            section.problems.at(&name, format!("librdkafka {version} has no setting `{shown}`{hint}"));
            continue;
        };
        if property.role != Role::Both && property.role != role {
            let (here, there) = if role == Role::Producer { ("producers", "groups") } else { ("groups", "producers") };
            section.problems.at(&name, format!("`{word}` is a setting of {there}, not of {here}"));
            continue;
        }
        if let Err(allowed) = librdkafka::check_value(property, &value.value) {
            let found = shorten(&value.value);
            section.problems.at(&value, format!("`{word}` cannot be \"{found}\"; allowed: {allowed}"));
        }
        let same = |other: &&String| librdkafka::canonical(other) == librdkafka::canonical(word) && *other != word;
        if let Some(other) = config.keys().find(same) {
            section.problems.at(&name, format!("`{word}` and `{other}` are the same setting; keep one"));
        }
        topology::insert(section, &mut config, name, value);
    }
    config
}

/// librdkafka refuses an idempotent producer with contradicting settings; so does the file.
fn check_idempotence(section: &Section<'_>, config: &BTreeMap<String, String>) {
    let asked = config.get("enable.idempotence").is_some_and(|value| librdkafka::is_true(value));
    if !asked {
        return;
    }
    let canonical = config.iter().map(|(k, v)| (librdkafka::canonical(k).to_owned(), v.clone())).collect();
    if let Some(conflict) = librdkafka::idempotence_conflict(&canonical) {
        section.problem(
            "config",
            format!(
                "`enable.idempotence` needs acks=all, retries above 0 and at most 5 requests in flight, not {conflict}"
            ),
        );
    }
}

fn check_group_config(section: &Section<'_>, protocol: GroupProtocol, config: &BTreeMap<String, String>) {
    match protocol {
        GroupProtocol::Consumer => {
            for name in ["session.timeout.ms", "heartbeat.interval.ms"] {
                if config.contains_key(name) {
                    let message = format!(
                        "`{name}` is no setting of the client in the protocol `consumer`: set `group.consumer.{name}` in \
                         broker_config"
                    );
                    section.problem("config", message);
                }
            }
        }
        GroupProtocol::Classic => {
            let ms = |name: &str, default: i64| {
                config.get(name).and_then(|value| value.parse::<i64>().ok()).unwrap_or(default)
            };
            let (poll, session) = (ms("max.poll.interval.ms", 300_000), ms("session.timeout.ms", 45_000));
            if poll < session {
                let message =
                    format!("`max.poll.interval.ms` ({poll}) must not be below `session.timeout.ms` ({session})");
                section.problem("config", message);
            }
        }
    }
}
