//! What the hand tools do on any cluster: topics, groups, sending lines, reading as a member of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metricstream_scenario::Topic;
pub use rdkafka::admin::ResourceSpecifier;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const ASK: Duration = Duration::from_secs(10);
/// How long a group's coordinator may take to be there.
const COORDINATOR: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(100);
/// How long a topic that was created a moment ago may take to be known to whichever broker is asked.
const KNOWN: Duration = Duration::from_secs(1);
/// How long no broker may answer before a reading member gives up.
pub const GONE: Duration = Duration::from_secs(30);
/// How long one question whether anybody is there may take, and how long to wait for the next.
const PROBE: Duration = Duration::from_secs(1);
/// How long the same trouble is not told again.
const TOLD: Duration = Duration::from_secs(15);

/// Why a hand tool gave up.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The client library's answer.
    #[error("{what}: {source}{}", remedy(source))]
    Kafka {
        /// What was tried.
        what: String,
        /// The answer.
        source: KafkaError,
    },
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// The cluster said no.
    #[error("{what}: {code}{}", remedy_of_code(*code))]
    Refused {
        /// What was tried.
        what: String,
        /// The cluster's answer.
        code: RDKafkaErrorCode,
    },
    /// Nobody is there any more.
    #[error(
        "no broker has answered for {waited_s} s, so this ends. Is the cluster down? For one of this program, metricstream \
         cluster status says; any other is reached again once its brokers stand"
    )]
    Gone {
        /// How long it was waited for.
        waited_s: u64,
    },
    /// Some messages were not acknowledged.
    #[error("{failed} of {sent} messages were not acknowledged; the first because: {first}")]
    NotAcknowledged {
        /// How many.
        failed: u64,
        /// Of how many.
        sent: u64,
        /// Why the first.
        first: String,
    },
}

fn remedy(error: &KafkaError) -> &'static str {
    match error {
        KafkaError::ClientConfig(..) => ". The names are librdkafka's",
        KafkaError::MetadataFetch(_) | KafkaError::GroupListFetch(_) => {
            ". Is there a cluster at the address, and may this client in?"
        }
        _ => "",
    }
}

const fn remedy_of_code(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::GroupAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            ". The cluster let this client in, but its user may not do that: have the right granted"
        }
        RDKafkaErrorCode::InvalidReplicationFactor => {
            ". The cluster has fewer brokers than that, or wants another replication factor"
        }
        RDKafkaErrorCode::PolicyViolation => ". A policy of the cluster forbids it",
        RDKafkaErrorCode::TopicAlreadyExists => ". Name another, or use what is there",
        RDKafkaErrorCode::NonEmptyGroup => ". The group still has members",
        _ => "",
    }
}

/// Whether the cluster says that there is no such topic or group.
#[must_use]
pub const fn is_absent(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::GroupIdNotFound | RDKafkaErrorCode::UnknownTopicOrPartition)
}

/// Whether a group could not be deleted because it has members.
#[must_use]
pub const fn has_members(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::NonEmptyGroup)
}

/// Whether the cluster refused what was asked for rather than who asked.
#[must_use]
pub const fn is_wrong_request(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::InvalidReplicationFactor
            | RDKafkaErrorCode::InvalidPartitions
            | RDKafkaErrorCode::InvalidConfig
            | RDKafkaErrorCode::InvalidReplicaAssignment
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::TopicAlreadyExists
    )
}

fn failed(what: impl Into<String>) -> impl FnOnce(KafkaError) -> ToolError {
    let what = what.into();
    move |source| ToolError::Kafka { what, source }
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct PartitionRow {
    pub partition: i32,
    pub leader: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
}

impl From<&MetadataPartition> for PartitionRow {
    fn from(p: &MetadataPartition) -> Self {
        Self { partition: p.id(), leader: p.leader(), replicas: p.replicas().to_vec(), isr: p.isr().to_vec() }
    }
}

fn reader(config: &ClientConfig) -> Result<BaseConsumer, ToolError> {
    config.create().map_err(failed("the client's settings"))
}

/// All topics and their numbers of partitions, by name.
///
/// # Errors
/// If the cluster does not answer.
pub fn list_topics(config: &ClientConfig) -> Result<Vec<(String, usize)>, ToolError> {
    let where_ = config.get("bootstrap.servers").unwrap_or_default().to_owned();
    let all = reader(config)?.fetch_metadata(None, ASK).map_err(failed(format!("asking {where_}")))?;
    let mut rows: Vec<_> = all.topics().iter().map(|t| (t.name().to_owned(), t.partitions().len())).collect();
    rows.sort();
    Ok(rows)
}

/// The partitions of a topic.
///
/// # Errors
/// If the cluster does not answer or has no such topic.
pub fn describe_topic(config: &ClientConfig, topic: &str) -> Result<Vec<PartitionRow>, ToolError> {
    let where_ = config.get("bootstrap.servers").unwrap_or_default().to_owned();
    // All topics, not the one: asking for a topic by name could create it.
    let all = reader(config)?.fetch_metadata(None, ASK).map_err(failed(format!("asking {where_}")))?;
    let found = all.topics().iter().find(|t| t.name() == topic).ok_or_else(|| {
        ToolError::Missing(format!(
            "there is no topic {topic}. Create it: metricstream topic create {topic}; or metricstream topic list shows what \
             there is"
        ))
    })?;
    let mut rows: Vec<PartitionRow> = found.partitions().iter().map(PartitionRow::from).collect();
    rows.sort_by_key(|r| r.partition);
    Ok(rows)
}

fn admin(config: &ClientConfig) -> Result<AdminClient<DefaultClientContext>, ToolError> {
    config.create().map_err(failed("the client's settings"))
}

/// Creates a topic.
///
/// # Errors
/// If the cluster refuses or does not answer.
pub async fn create_topic(
    config: &ClientConfig,
    topic: &str,
    partitions: i32,
    replication: i16,
    settings: &[(String, String)],
) -> Result<(), ToolError> {
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(i32::from(replication)));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    create(config, topic, &new).await
}

/// Creates a topic as a scenario has it, with its `min.insync.replicas` and explicit replicas.
///
/// # Errors
/// As [`create_topic`].
pub async fn create_topic_of(config: &ClientConfig, topic: &Topic) -> Result<(), ToolError> {
    let lists: Vec<&[i32]> = topic.replicas.iter().map(Vec::as_slice).collect();
    let min_isr = topic.min_insync_replicas.to_string();
    let (partitions, replication) = if lists.is_empty() {
        (topic.partitions, TopicReplication::Fixed(i32::from(topic.replication_factor)))
    } else {
        (i32::try_from(lists.len()).unwrap_or(i32::MAX), TopicReplication::Variable(&lists))
    };
    let mut new = NewTopic::new(&topic.name, partitions, replication).set("min.insync.replicas", &min_isr);
    for (key, value) in &topic.config {
        new = new.set(key, value);
    }
    create(config, &topic.name, &new).await
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ASK)).request_timeout(Some(ASK))
}

async fn create(config: &ClientConfig, topic: &str, new: &NewTopic<'_>) -> Result<(), ToolError> {
    let what = format!("creating topic {topic}");
    let results = admin(config)?.create_topics([new], &options()).await.map_err(failed(what.clone()))?;
    refused(what, results.into_iter().find_map(Result::err))
}

fn refused(what: String, error: Option<(String, RDKafkaErrorCode)>) -> Result<(), ToolError> {
    error.map_or(Ok(()), |(_, code)| Err(ToolError::Refused { what, code }))
}

/// Deletes a topic.
///
/// # Errors
/// If the cluster refuses or does not answer.
pub async fn delete_topic(config: &ClientConfig, topic: &str) -> Result<(), ToolError> {
    let what = format!("deleting topic {topic}");
    let results = admin(config)?.delete_topics(&[topic], &options()).await.map_err(failed(what.clone()))?;
    refused(what, results.into_iter().find_map(Result::err))
}

/// Deletes a group that has no members, and its offsets.
///
/// # Errors
/// If the cluster refuses or does not answer.
pub async fn delete_group(config: &ClientConfig, group: &str) -> Result<(), ToolError> {
    let what = format!("deleting group {group}");
    let results = admin(config)?.delete_groups(&[group], &options()).await.map_err(failed(what.clone()))?;
    refused(what, results.into_iter().find_map(Result::err))
}

/// The effective settings of a topic, or of a broker, by Kafka's names; sensitive ones have no value and are left out.
///
/// # Errors
/// If the cluster refuses or does not answer.
pub async fn settings_of(
    config: &ClientConfig,
    what: ResourceSpecifier<'_>,
) -> Result<BTreeMap<String, String>, ToolError> {
    let text = format!("asking for the settings of {what:?}");
    let answers = admin(config)?.describe_configs([&what], &options()).await.map_err(failed(text.clone()))?;
    let mut settings = BTreeMap::new();
    for answer in answers {
        let answer = answer.map_err(|code| ToolError::Refused { what: text.clone(), code })?;
        settings.extend(answer.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))));
    }
    Ok(settings)
}

/// Asks a group's coordinator, and again while it is being found or still loads: the first question to a new cluster makes
/// the topic that it needs.
fn settled<T>(ask: impl Fn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let deadline = Instant::now() + COORDINATOR;
    loop {
        let answer = ask();
        let code = answer.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        let settling = matches!(
            code,
            Some(
                RDKafkaErrorCode::NotCoordinator
                    | RDKafkaErrorCode::CoordinatorNotAvailable
                    | RDKafkaErrorCode::CoordinatorLoadInProgress
                    | RDKafkaErrorCode::WaitingForCoordinator
            )
        );
        if !settling || Instant::now() >= deadline {
            return answer;
        }
        std::thread::sleep(AGAIN);
    }
}

/// Sets a group without members to these offsets: partitions of one topic, in order.
///
/// # Errors
/// If the cluster refuses or does not answer.
pub fn place_group(config: &ClientConfig, group: &str, topic: &str, offsets: &[i64]) -> Result<(), ToolError> {
    let mut config = config.clone();
    config.set("group.id", group).set("enable.auto.commit", "false");
    let mut list = TopicPartitionList::new();
    for (partition, offset) in (0..).zip(offsets) {
        let added = list.add_partition_offset(topic, partition, Offset::Offset(*offset));
        added.map_err(failed(format!("an offset of {topic}-{partition}")))?;
    }
    let reader = reader(&config)?;
    settled(|| reader.commit(&list, CommitMode::Sync)).map_err(failed(format!("placing group {group} in {topic}")))
}

/// The offsets that a group has in the partitions `0..partitions` of a topic; −1 where it has none.
///
/// # Errors
/// If the cluster refuses or does not answer.
pub fn offsets_of_group(
    config: &ClientConfig,
    group: &str,
    topic: &str,
    partitions: i32,
) -> Result<Vec<i64>, ToolError> {
    let mut config = config.clone();
    config.set("group.id", group).set("enable.auto.commit", "false");
    let mut wanted = TopicPartitionList::new();
    for partition in 0..partitions {
        wanted.add_partition(topic, partition);
    }
    let what = format!("asking for the offsets of group {group}");
    let reader = reader(&config)?;
    let found = settled(|| reader.committed_offsets(wanted.clone(), ASK)).map_err(failed(what))?;
    let offset = |partition| match found.find_partition(topic, partition).map(|entry| entry.offset()) {
        Some(Offset::Offset(offset)) => offset,
        _ => -1,
    };
    Ok((0..partitions).map(offset).collect())
}

/// A group as the cluster lists it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct GroupRow {
    pub group: String,
    pub protocol: String,
    pub state: String,
    pub members: Vec<GroupMember>,
    pub lag: Vec<LagRow>,
}

/// A member of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct GroupMember {
    pub id: String,
    pub client_id: String,
    pub host: String,
    /// `topic-partition`, where the protocol tells.
    pub assignment: Vec<String>,
}

/// How far a group is behind on one partition.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct LagRow {
    pub topic: String,
    pub partition: i32,
    pub committed: i64,
    pub end: i64,
    pub lag: i64,
}

/// The groups of the cluster, or one of them, without lag.
///
/// # Errors
/// If the cluster does not answer.
pub fn list_groups(config: &ClientConfig, group: Option<&str>) -> Result<Vec<GroupRow>, ToolError> {
    let list = reader(config)?.fetch_group_list(group, ASK).map_err(failed("asking for groups"))?;
    let mut rows: Vec<GroupRow> = list
        .groups()
        .iter()
        .map(|g| GroupRow {
            group: g.name().to_owned(),
            protocol: g.protocol().to_owned(),
            state: g.state().to_owned(),
            members: g
                .members()
                .iter()
                .map(|m| GroupMember {
                    id: m.id().to_owned(),
                    client_id: m.client_id().to_owned(),
                    host: m.client_host().to_owned(),
                    assignment: m.assignment().map(classic_assignment).unwrap_or_default(),
                })
                .collect(),
            lag: Vec::new(),
        })
        .collect();
    rows.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(rows)
}

/// The classic protocol's assignment: version, then topics with their partitions (the consumer protocol's schema, v0 on).
fn classic_assignment(bytes: &[u8]) -> Vec<String> {
    fn read(mut from: &[u8]) -> Option<Vec<String>> {
        fn number(from: &mut &[u8], size: usize) -> Option<i32> {
            let (head, rest) = from.split_at_checked(size)?;
            *from = rest;
            Some(head.iter().fold(0_i32, |n, b| (n << 8) | i32::from(*b)))
        }
        number(&mut from, 2)?;
        let topics = number(&mut from, 4)?;
        let mut all = Vec::new();
        for _ in 0..topics.clamp(0, 10_000) {
            let length = usize::try_from(number(&mut from, 2)?).ok()?;
            let (name, rest) = from.split_at_checked(length)?;
            from = rest;
            let name = std::str::from_utf8(name).ok()?.to_owned();
            for _ in 0..number(&mut from, 4)?.clamp(0, 100_000) {
                all.push(format!("{name}-{}", number(&mut from, 4)?));
            }
        }
        all.sort();
        Some(all)
    }
    read(bytes).unwrap_or_default()
}

/// One group with its lag on every topic that it has committed offsets of.
///
/// # Errors
/// If the cluster does not answer or has no such group.
pub fn describe_group(config: &ClientConfig, group: &str) -> Result<GroupRow, ToolError> {
    let mut row =
        list_groups(config, Some(group))?.into_iter().find(|g| g.group == group && g.state != "Dead").ok_or_else(
            || ToolError::Missing(format!("there is no group {group}; metricstream group list shows what there is")),
        )?;
    let mut config = config.clone();
    config.set("group.id", group).set("enable.auto.commit", "false");
    let reader = reader(&config)?;
    let all = reader.fetch_metadata(None, ASK).map_err(failed("asking for topics"))?;
    let mut wanted = TopicPartitionList::new();
    for topic in all.topics().iter().filter(|t| !t.name().starts_with("__")) {
        for partition in topic.partitions() {
            wanted.add_partition(topic.name(), partition.id());
        }
    }
    let committed = reader.committed_offsets(wanted, ASK).map_err(failed("asking for committed offsets"))?;
    for entry in committed.elements() {
        let Offset::Offset(offset) = entry.offset() else {
            continue;
        };
        let (topic, partition) = (entry.topic().to_owned(), entry.partition());
        let (_, end) = reader.fetch_watermarks(&topic, partition, ASK).map_err(failed("asking for the end"))?;
        row.lag.push(LagRow { topic, partition, committed: offset, end, lag: (end - offset).max(0) });
    }
    Ok(row)
}

/// That a topic is there. A client library asks for one that is not for a minute, and lets some clusters create it.
fn require_topic(config: &ClientConfig, topic: &str) -> Result<(), ToolError> {
    let deadline = Instant::now() + KNOWN;
    loop {
        match describe_topic(config, topic) {
            Err(ToolError::Missing(_)) if Instant::now() < deadline => std::thread::sleep(AGAIN),
            answer => return answer.map(drop),
        }
    }
}

#[derive(Default)]
struct Counting {
    tally: Mutex<(u64, u64, Option<String>)>,
}

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) => tally.0 += 1,
            Err((error, _)) => {
                tally.1 += 1;
                tally.2.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Sends values as they come, `rate_per_s` of them a second if that is given, and waits for their acknowledgement.
/// Returns how many were acknowledged.
///
/// # Errors
/// If there is no such topic, any was not acknowledged, or the settings are refused.
pub fn produce(
    config: &ClientConfig,
    topic: &str,
    values: &mut dyn Iterator<Item = Vec<u8>>,
    rate_per_s: Option<f64>,
    stop: &AtomicBool,
) -> Result<u64, ToolError> {
    require_topic(config, topic)?;
    let producer: BaseProducer<Counting> =
        config.create_with_context(Counting::default()).map_err(failed("the client's settings"))?;
    let begun = Instant::now();
    let mut sent = 0_u64;
    for value in values {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if let Some(rate) = rate_per_s {
            let due = begun + Duration::from_secs_f64(sent as f64 / rate);
            while Instant::now() < due && !stop.load(Ordering::Relaxed) {
                producer.poll(due.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)));
            }
        }
        let mut record = BaseRecord::<[u8], [u8], ()>::to(topic).payload(&value);
        while let Err((error, again)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(failed(format!("sending to {topic}"))(error));
            }
            producer.poll(Duration::from_millis(10));
            record = again;
        }
        producer.poll(Duration::ZERO);
        sent += 1;
    }
    producer.flush(Duration::from_secs(60)).map_err(failed("waiting for acknowledgements"))?;
    let (acked, lost, first) = producer.context().tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match first {
        Some(first) => Err(ToolError::NotAcknowledged { failed: lost, sent, first }),
        None => Ok(acked),
    }
}

/// Something that a reading member saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// Its assignment changed; how long the member was given nothing around that, if it was given something after.
    Rebalanced {
        /// Before.
        before: Vec<i32>,
        /// After.
        after: Vec<i32>,
    },
    /// The first message after a rebalance, and the pause since the last before it.
    Resumed {
        /// How long.
        paused: Duration,
    },
    /// A message.
    Message {
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// Value, as text where it is text.
        value: String,
    },
    /// The client goes on from an error: what it means, and what can be done.
    Trouble(String),
}

/// What a reading client complains of: each kind once in a while, and whether anybody is there at all.
#[derive(Default)]
struct Troubles {
    told: Vec<(Option<RDKafkaErrorCode>, Instant)>,
    /// Since when nobody is known to answer, and when that was asked last.
    unanswered: Option<(Instant, Instant)>,
}

impl Troubles {
    /// An error; its text, if it is to be told.
    fn hear(&mut self, error: &KafkaError, topic: &str) -> Option<String> {
        let (now, code) = (Instant::now(), error.rdkafka_error_code());
        if code.is_some_and(is_about_connections) {
            self.unanswered.get_or_insert((now, now));
        }
        self.told.retain(|(_, at)| now.duration_since(*at) < TOLD);
        if self.told.iter().any(|(told, _)| *told == code) {
            return None;
        }
        self.told.push((code, now));
        Some(code.and_then(|code| meaning(code, topic)).unwrap_or_else(|| format!("{error}; the client goes on")))
    }

    /// A message came: what was, is over.
    fn forget(&mut self) {
        *self = Self::default();
    }

    /// Asks whether a broker is there, where that is in doubt.
    fn probe(&mut self, consumer: &BaseConsumer<Watching>, topic: &str) -> Result<(), ToolError> {
        let Some((since, _)) = self.unanswered.filter(|(_, asked)| asked.elapsed() >= PROBE) else { return Ok(()) };
        if consumer.fetch_metadata(Some(topic), PROBE).is_ok() {
            self.unanswered = None;
        } else if since.elapsed() >= GONE {
            return Err(ToolError::Gone { waited_s: GONE.as_secs() });
        } else {
            self.unanswered = Some((since, Instant::now()));
        }
        Ok(())
    }
}

const fn is_about_connections(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
    )
}

/// What an error means to a reading member that goes on from it, and what can be done.
fn meaning(code: RDKafkaErrorCode, topic: &str) -> Option<String> {
    Some(match code {
        RDKafkaErrorCode::AllBrokersDown => {
            format!(
                "no broker answers. The client tries again for {} s; is the cluster down? metricstream cluster status",
                GONE.as_secs()
            )
        }
        RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::OperationTimedOut => {
            "a broker went away or does not answer. The client goes on with the others, and connects again by itself"
                .to_owned()
        }
        RDKafkaErrorCode::Resolve => {
            "a broker's host name cannot be resolved. Check the address, and advertised.listeners of the cluster"
                .to_owned()
        }
        RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition => {
            format!(
                "there is no topic {topic} yet. It is read once it is there; create it: metricstream topic create {topic}"
            )
        }
        RDKafkaErrorCode::PollExceeded => "this member stood still for longer than max.poll.interval.ms, and its \
             partitions went to others. It joins again by itself"
            .to_owned(),
        code if !remedy_of_code(code).is_empty() => format!("{code}{}", remedy_of_code(code)),
        _ => return None,
    })
}

struct Watching {
    owned: Mutex<(BTreeSet<i32>, BTreeSet<i32>)>,
}

impl ClientContext for Watching {}

impl ConsumerContext for Watching {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
        match rebalance {
            Rebalance::Assign(list) => owned.1.extend(list.elements().iter().map(|e| e.partition())),
            Rebalance::Revoke(list) => {
                for element in list.elements() {
                    owned.1.remove(&element.partition());
                }
            }
            Rebalance::Error(_) => {}
        }
    }
}

/// Reads as a member of a group until `stop` or `count` messages, committing what was shown. An eager rebalance takes
/// everything away and gives some of it back: only what it settles on is told.
///
/// # Errors
/// If the settings are refused, the topic cannot be subscribed to, or no broker answers for [`GONE`].
pub fn consume(
    config: &ClientConfig,
    topic: &str,
    count: Option<u64>,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Seen),
) -> Result<u64, ToolError> {
    let watching = Watching { owned: Mutex::new((BTreeSet::new(), BTreeSet::new())) };
    // Closing a consumer takes what was fetched ahead out of its queue: left to itself, the client would count that as
    // read, and commit it.
    let mut config = config.clone();
    config.set("enable.auto.offset.store", "false");
    let consumer: BaseConsumer<Watching> =
        config.create_with_context(watching).map_err(failed("the client's settings"))?;
    consumer.subscribe(&[topic]).map_err(failed(format!("subscribing to {topic}")))?;
    let mut read = 0_u64;
    let mut last = None::<Instant>;
    let mut settling = false;
    let mut troubles = Troubles::default();
    let mut gone = None;
    while gone.is_none() && !stop.load(Ordering::Relaxed) && count.is_none_or(|n| read < n) {
        let polled = consumer.poll(Duration::from_millis(100));
        let (before, after) = consumer.context().owned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if before != after && !after.is_empty() {
            let list = |set: &BTreeSet<i32>| set.iter().copied().collect();
            tell(Seen::Rebalanced { before: list(&before), after: list(&after) });
            consumer.context().owned.lock().unwrap_or_else(PoisonError::into_inner).0 = after;
            settling = true;
        }
        match polled {
            None => gone = troubles.probe(&consumer, topic).err(),
            Some(Err(error)) => troubles.hear(&error, topic).into_iter().for_each(|text| tell(Seen::Trouble(text))),
            Some(Ok(message)) => {
                troubles.forget();
                if settling && let Some(last) = last {
                    tell(Seen::Resumed { paused: last.elapsed() });
                }
                settling = false;
                last = Some(Instant::now());
                read += 1;
                let mut value = String::new();
                let _ = write!(value, "{}", String::from_utf8_lossy(message.payload().unwrap_or_default()));
                tell(Seen::Message { partition: message.partition(), offset: message.offset(), value });
                // It may belong to somebody else by now, who then reads it again.
                if let Err(error) = consumer.store_offset_from_message(&message) {
                    tracing::debug!(%error, "an offset was not stored");
                }
            }
        }
    }
    if let Some(gone) = gone {
        // To close it is to wait for a coordinator for as long as a session lasts, and there is nobody to take leave of.
        std::mem::forget(consumer);
        return Err(gone);
    }
    if consumer.assignment().is_ok_and(|a| a.count() > 0) {
        let _ = consumer.commit_consumer_state(CommitMode::Sync);
    }
    Ok(read)
}
