//! Topics: made, given more partitions, deleted; and where their replicas are placed.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_wire::metadata_record::{Config, MetadataRecord, Partition as PartitionRecord, RemoveTopic, Topic};
use metricstream_wire::{ErrorCode, Uuid};
use rand_chacha::rand_core::RngCore;

use super::configs::check_topic;
use super::{Controller, Decision};
use crate::image::TOPIC_RESOURCE;

/// Partitions of one request together; a cluster on one machine serves no more.
const PARTITIONS_MAX: i32 = 10_000;
/// Longest name of a topic (Kafka's `Topic.MAX_NAME_LENGTH`).
const NAME_MAX: usize = 249;
/// A partition's replica whose directory nobody has named yet.
const UNASSIGNED_DIRECTORY: Uuid = [0; 16];

/// A topic that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct NewTopic {
    pub name: String,
    /// −1: the default.
    pub partitions: i32,
    /// −1: the default.
    pub replication_factor: i16,
    /// Replicas by partition, where the caller says; empty where not.
    pub assignments: BTreeMap<i32, Vec<i32>>,
    pub configs: BTreeMap<String, String>,
}

/// What became of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct TopicResult {
    pub name: String,
    pub id: Uuid,
    pub partitions: i32,
    pub replication_factor: i16,
    pub error: ErrorCode,
    pub message: Option<String>,
}

type Refused = (ErrorCode, String);

/// Whether a topic may have this name.
#[must_use]
pub fn is_topic_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= NAME_MAX && name != "." && name != ".." && name.bytes().all(allowed)
}

fn check_name(name: &str) -> Result<(), Refused> {
    if is_topic_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(60).collect();
    let text = format!("'{shown}' is no topic name: letters, digits, '.', '_' and '-', at most {NAME_MAX}");
    Err((ErrorCode::INVALID_TOPIC_EXCEPTION, text))
}

impl Controller {
    /// Makes topics; each is judged by itself. With `validate_only` nothing is made.
    pub fn create_topics(&mut self, topics: &[NewTopic], validate_only: bool) -> Decision<Vec<TopicResult>> {
        let mut records = Vec::new();
        let mut answer = Vec::new();
        let mut seen = BTreeSet::new();
        for topic in topics {
            let made = if seen.insert(topic.name.as_str()) {
                self.create_topic(topic)
            } else {
                Err((ErrorCode::INVALID_REQUEST, format!("'{}' is asked for twice", topic.name)))
            };
            answer.push(match made {
                Ok((result, more)) => {
                    records.extend(more);
                    result
                }
                Err((error, text)) => TopicResult {
                    name: topic.name.clone(),
                    id: [0; 16],
                    partitions: -1,
                    replication_factor: -1,
                    error,
                    message: Some(text),
                },
            });
        }
        if validate_only {
            records.clear();
        }
        Decision { records, answer }
    }

    fn create_topic(&mut self, wish: &NewTopic) -> Result<(TopicResult, Vec<MetadataRecord>), Refused> {
        check_name(&wish.name)?;
        if self.image.topic(&wish.name).is_some() {
            return Err((ErrorCode::TOPIC_ALREADY_EXISTS, format!("Topic '{}' already exists.", wish.name)));
        }
        self.check_collision(&wish.name)?;
        check_topic(&self.settings, &wish.configs)?;
        let assignments = self.assignments(wish)?;
        let mut id = [0; 16];
        // Two ids are reserved: nought, and the metadata log's own. One that is there already comes again where a controller
        // begins with the seed that an earlier one had.
        while id[..15].iter().all(|b| *b == 0) || self.image.topics.contains_key(&id) {
            self.random.fill_bytes(&mut id);
        }
        let mut records = vec![MetadataRecord::Topic(Topic { name: wish.name.clone(), topic_id: id })];
        records.extend(wish.configs.iter().map(|(name, value)| {
            MetadataRecord::Config(Config {
                resource_type: TOPIC_RESOURCE,
                resource_name: wish.name.clone(),
                name: name.clone(),
                value: Some(value.clone()),
            })
        }));
        for (partition, replicas) in &assignments {
            records.push(self.first_record(id, *partition, replicas)?);
        }
        let factor = assignments.values().next().map_or(0, Vec::len);
        let result = TopicResult {
            name: wish.name.clone(),
            id,
            partitions: i32::try_from(assignments.len()).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(factor).unwrap_or(i16::MAX),
            error: ErrorCode::NONE,
            message: None,
        };
        Ok((result, records))
    }

    /// A new partition: every active replica is in sync, since there is nothing to have.
    fn first_record(&self, topic_id: Uuid, partition_id: i32, replicas: &[i32]) -> Result<MetadataRecord, Refused> {
        let isr: Vec<i32> = replicas.iter().copied().filter(|r| self.image.is_active(*r)).collect();
        let Some(leader) = isr.first().copied() else {
            let text = format!("no replica of partition {partition_id} is up: {replicas:?}");
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, text));
        };
        Ok(MetadataRecord::Partition(PartitionRecord {
            partition_id,
            topic_id,
            replicas: replicas.to_vec(),
            isr,
            leader,
            leader_epoch: 0,
            partition_epoch: 0,
            directories: vec![UNASSIGNED_DIRECTORY; replicas.len()],
            ..PartitionRecord::default()
        }))
    }

    /// Names of metrics have '_' in the place of '.': of two topics that differ only so, the second is refused.
    fn check_collision(&self, name: &str) -> Result<(), Refused> {
        let alike = |other: &&String| other.replace('.', "_") == name.replace('.', "_");
        if !name.contains(['.', '_']) {
            return Ok(());
        }
        match self.image.names.keys().find(alike) {
            Some(other) => {
                let text = format!("Topic '{name}' collides with existing topic: {other}");
                Err((ErrorCode::INVALID_TOPIC_EXCEPTION, text))
            }
            None => Ok(()),
        }
    }

    fn assignments(&mut self, wish: &NewTopic) -> Result<BTreeMap<i32, Vec<i32>>, Refused> {
        if !wish.assignments.is_empty() {
            if wish.partitions != -1 || wish.replication_factor != -1 {
                let text = "with replicas given, neither a number of partitions nor a replication factor may be";
                return Err((ErrorCode::INVALID_REQUEST, text.to_owned()));
            }
            let factor = wish.assignments.values().next().map_or(0, Vec::len);
            self.check_assignments(0, factor, wish.assignments.iter().map(|(p, r)| (*p, r.as_slice())))?;
            return Ok(wish.assignments.clone());
        }
        let count = if wish.partitions == -1 { self.settings.num_partitions } else { wish.partitions };
        let default = i16::try_from(self.settings.default_replication_factor).unwrap_or(1);
        let factor = if wish.replication_factor == -1 { default } else { wish.replication_factor };
        let replicas = self.place(0, count, factor)?;
        Ok((0..).zip(replicas).collect())
    }

    fn check_assignments<'a>(
        &self,
        first: i32,
        factor: usize,
        assignments: impl Iterator<Item = (i32, &'a [i32])>,
    ) -> Result<(), Refused> {
        let wrong = |text: String| Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, text));
        for (expected, (partition, replicas)) in (first..).zip(assignments) {
            let distinct: BTreeSet<i32> = replicas.iter().copied().collect();
            if partition != expected || replicas.is_empty() || distinct.len() != replicas.len() {
                return wrong(format!("partition {partition} with replicas {replicas:?} is no assignment"));
            }
            if replicas.len() != factor {
                return wrong(format!("partition {partition} has {} replicas, others {factor}", replicas.len()));
            }
            if let Some(unknown) = replicas.iter().find(|r| !self.image.brokers.contains_key(r)) {
                return wrong(format!("broker {unknown} is not registered"));
            }
        }
        Ok(())
    }

    /// Stripes replicas over the brokers from a drawn one on: leaders go round, and followers follow them. Fenced brokers
    /// are used only where there are not enough others.
    fn place(&mut self, first: i32, count: i32, factor: i16) -> Result<Vec<Vec<i32>>, Refused> {
        if !(1..=PARTITIONS_MAX).contains(&count) {
            let text = format!("Number of partitions must be from 1 to {PARTITIONS_MAX}; it is {count}.");
            return Err((ErrorCode::INVALID_PARTITIONS, text));
        }
        // Whoever is on its way out gets nothing new.
        let usable = self.image.brokers.values().filter(|b| b.fenced || !b.in_controlled_shutdown);
        let (up, down): (Vec<_>, Vec<_>) = usable.partition(|b| !b.fenced);
        let wanted = usize::try_from(factor).ok().filter(|n| *n > 0);
        let Some(wanted) = wanted.filter(|n| *n <= up.len() + down.len()) else {
            let known = up.len() + down.len();
            let text = format!(
                "Unable to replicate the partition {factor} time(s): there are {known} broker(s) in the cluster."
            );
            return Err((ErrorCode::INVALID_REPLICATION_FACTOR, text));
        };
        if up.is_empty() {
            let text = "All brokers are currently fenced or in controlled shutdown.".to_owned();
            return Err((ErrorCode::INVALID_REPLICATION_FACTOR, text));
        }
        let start = usize::try_from(self.random.next_u32()).unwrap_or(0) + usize::try_from(first).unwrap_or(0);
        let ids: Vec<i32> = up.iter().map(|b| b.id).collect();
        let rest: Vec<i32> = down.iter().map(|b| b.id).collect();
        let stripe = |partition: usize| -> Vec<i32> {
            let at = start + partition;
            let turned = (0..ids.len()).map(|step| ids[(at + step) % ids.len()]);
            turned.chain(rest.iter().copied()).take(wanted).collect()
        };
        Ok((0..usize::try_from(count).unwrap_or(0)).map(stripe).collect())
    }

    /// More partitions for a topic, `total` in all; the new ones with these replicas, where the caller says.
    ///
    /// # Errors
    /// If there is no such topic, or it has as many.
    pub fn create_partitions(
        &mut self,
        name: &str,
        total: i32,
        assignments: Option<&[Vec<i32>]>,
    ) -> Result<Decision<()>, Refused> {
        let unknown = || (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("the topic '{name}' does not exist"));
        let topic = self.image.topic(name).ok_or_else(unknown)?;
        let (id, now) = (topic.id, i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX));
        let factor = topic.partitions.values().next().map_or(1, |p| p.replicas.len());
        if total <= now {
            let text = format!("Topic currently has {now} partitions, which is not less than the requested {total}.");
            return Err((ErrorCode::INVALID_PARTITIONS, text));
        }
        let placed = match assignments {
            None => self.place(now, total - now, i16::try_from(factor).unwrap_or(1))?,
            Some(given) if i32::try_from(given.len()) == Ok(total - now) => {
                self.check_assignments(now, factor, (now..).zip(given.iter().map(Vec::as_slice)))?;
                given.to_vec()
            }
            Some(given) => {
                let text = format!("{} assignments for {} new partitions", given.len(), total - now);
                return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, text));
            }
        };
        let records: Result<_, _> =
            (now..).zip(placed).map(|(partition, replicas)| self.first_record(id, partition, &replicas)).collect();
        Ok(Decision { records: records?, answer: () })
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// If there is none, or deletion is switched off.
    pub fn delete_topic(&self, id: Uuid) -> Result<Decision<()>, ErrorCode> {
        if !self.settings.delete_topic_enable {
            return Err(ErrorCode::TOPIC_DELETION_DISABLED);
        }
        if !self.image.topics.contains_key(&id) {
            return Err(ErrorCode::UNKNOWN_TOPIC_ID);
        }
        Ok(Decision { records: vec![MetadataRecord::RemoveTopic(RemoveTopic { topic_id: id })], answer: () })
    }
}
