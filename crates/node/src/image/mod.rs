//! What a node knows of its cluster: a pure function of the records of the metadata log.
//!
//! Brokers and standby controllers apply records when they are committed; the active controller has a working copy to
//! which it applies its own records at once. Nothing here decides anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use metricstream_wire::Uuid;
use metricstream_wire::metadata_record::{
    self as record, BrokerRegistrationChange, MetadataRecord, PartitionChange, RegisterBroker,
};

pub(crate) mod dump;

/// Nobody leads.
pub const NO_LEADER: i32 = -1;
/// Resource type of a topic's configuration.
pub const TOPIC_RESOURCE: i8 = 2;
/// Resource type of a broker's configuration; the name is its id, or empty for all.
pub const BROKER_RESOURCE: i8 = 4;
/// Resource type of a group's configuration.
pub const GROUP_RESOURCE: i8 = 32;

/// One listener of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct Endpoint {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub security_protocol: i16,
}

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct Broker {
    pub id: i32,
    /// Offset of its registration record.
    pub epoch: i64,
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    /// Name, lowest and highest version of each feature.
    pub features: Vec<(String, i16, i16)>,
    pub directories: Vec<Uuid>,
}

impl Broker {
    /// Unfenced and not on its way out: it may lead and join an ISR.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct Partition {
    pub replicas: Vec<i32>,
    pub directories: Vec<Uuid>,
    pub isr: Vec<i32>,
    pub elr: Vec<i32>,
    pub last_known_elr: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
    pub leader: i32,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    /// After an unclean election, until the leader says otherwise.
    pub recovering: bool,
}

impl Partition {
    /// The replica that should lead.
    #[must_use]
    pub fn preferred(&self) -> i32 {
        self.replicas.first().copied().unwrap_or(NO_LEADER)
    }
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct Topic {
    pub name: String,
    pub id: Uuid,
    pub partitions: BTreeMap<i32, Partition>,
}

/// Whose settings: resource type and name.
pub type Resource = (i8, String);

/// A partition by its topic's id.
pub type PartitionId = (Uuid, i32);

/// The cluster as far as the metadata log tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// Registered brokers.
    pub brokers: BTreeMap<i32, Broker>,
    /// Topics by id; shared between copies until they change.
    pub topics: BTreeMap<Uuid, Arc<Topic>>,
    /// Ids by name.
    pub names: BTreeMap<String, Uuid>,
    /// Settings that were altered at run time.
    pub configs: BTreeMap<Resource, BTreeMap<String, String>>,
    /// Finalised features.
    pub features: BTreeMap<String, i16>,
    /// The next producer id that nobody has.
    pub next_producer_id: i64,
    /// Offset of the last record applied; −1 where there was none.
    pub offset: i64,
    /// Its epoch.
    pub epoch: i32,
}

/// What a record touched, so that whoever reacts need not look at everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// Partitions that came or changed.
    pub partitions: BTreeSet<PartitionId>,
    /// Topics that went, with their names.
    pub removed: Vec<(Uuid, String)>,
    /// Brokers that came, went or changed.
    pub brokers: BTreeSet<i32>,
    /// Settings that changed.
    pub configs: BTreeSet<Resource>,
}

impl Image {
    /// Before the first record.
    #[must_use]
    pub fn empty() -> Self {
        Self { offset: -1, ..Self::default() }
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.names.get(name).and_then(|id| self.topics.get(id)).map(Arc::as_ref)
    }

    /// A partition by its topic's id.
    #[must_use]
    pub fn partition(&self, (topic, partition): PartitionId) -> Option<&Partition> {
        self.topics.get(&topic)?.partitions.get(&partition)
    }

    /// Whether a broker may lead and join an ISR.
    #[must_use]
    pub fn is_active(&self, broker: i32) -> bool {
        self.brokers.get(&broker).is_some_and(Broker::is_active)
    }

    /// Every partition, in the order of topic ids.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, &Topic, &Partition)> {
        self.topics.values().flat_map(|t| t.partitions.iter().map(move |(p, partition)| ((t.id, *p), &**t, partition)))
    }

    /// A topic's own settings.
    #[must_use]
    pub fn topic_config(&self, name: &str) -> BTreeMap<String, String> {
        self.configs.get(&(TOPIC_RESOURCE, name.to_owned())).cloned().unwrap_or_default()
    }

    /// A finalised feature's level; 0 where it is off.
    #[must_use]
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// Takes one record in; what it touched is added to `touched`.
    pub fn apply(&mut self, value: &MetadataRecord, touched: &mut Touched) {
        match value {
            MetadataRecord::RegisterBroker(r) => self.register(r, touched),
            MetadataRecord::UnregisterBroker(r) => {
                self.brokers.remove(&r.broker_id);
                touched.brokers.insert(r.broker_id);
            }
            MetadataRecord::FenceBroker(r) => self.fence(r.id, true, touched),
            MetadataRecord::UnfenceBroker(r) => self.fence(r.id, false, touched),
            MetadataRecord::BrokerRegistrationChange(r) => self.change_broker(r, touched),
            MetadataRecord::Topic(r) => {
                self.names.insert(r.name.clone(), r.topic_id);
                let topic = Topic { name: r.name.clone(), id: r.topic_id, partitions: BTreeMap::new() };
                self.topics.insert(r.topic_id, Arc::new(topic));
            }
            MetadataRecord::Partition(r) => self.add_partition(r, touched),
            MetadataRecord::PartitionChange(r) => self.change_partition(r, touched),
            MetadataRecord::RemoveTopic(r) => self.remove_topic(r.topic_id, touched),
            MetadataRecord::Config(r) => {
                let resource = (r.resource_type, r.resource_name.clone());
                let settings = self.configs.entry(resource.clone()).or_default();
                match &r.value {
                    Some(value) => settings.insert(r.name.clone(), value.clone()),
                    None => settings.remove(&r.name),
                };
                if settings.is_empty() {
                    self.configs.remove(&resource);
                }
                touched.configs.insert(resource);
            }
            MetadataRecord::ClearElr(r) => self.clear_elr(&r.topic_name, touched),
            MetadataRecord::ProducerIds(r) => self.next_producer_id = r.next_producer_id,
            MetadataRecord::FeatureLevel(r) => {
                self.features.insert(r.name.clone(), r.feature_level);
            }
            _ => {}
        }
    }

    fn register(&mut self, r: &RegisterBroker, touched: &mut Touched) {
        let endpoint = |e: &record::BrokerEndpoint| Endpoint {
            name: e.name.clone(),
            host: e.host.clone(),
            port: e.port,
            security_protocol: e.security_protocol,
        };
        let broker = Broker {
            id: r.broker_id,
            epoch: r.broker_epoch,
            incarnation: r.incarnation_id,
            endpoints: r.end_points.iter().map(endpoint).collect(),
            rack: r.rack.clone(),
            fenced: r.fenced,
            in_controlled_shutdown: r.in_controlled_shutdown,
            features: r
                .features
                .iter()
                .map(|f| (f.name.clone(), f.min_supported_version, f.max_supported_version))
                .collect(),
            directories: r.log_dirs.clone(),
        };
        self.brokers.insert(r.broker_id, broker);
        touched.brokers.insert(r.broker_id);
    }

    fn fence(&mut self, id: i32, fenced: bool, touched: &mut Touched) {
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.fenced = fenced;
            touched.brokers.insert(id);
        }
    }

    fn change_broker(&mut self, r: &BrokerRegistrationChange, touched: &mut Touched) {
        let Some(broker) = self.brokers.get_mut(&r.broker_id) else { return };
        match r.fenced {
            1 => broker.fenced = true,
            -1 => broker.fenced = false,
            _ => {}
        }
        if r.in_controlled_shutdown == 1 {
            broker.in_controlled_shutdown = true;
        }
        if !r.log_dirs.is_empty() {
            broker.directories.clone_from(&r.log_dirs);
        }
        touched.brokers.insert(r.broker_id);
    }

    fn add_partition(&mut self, r: &record::Partition, touched: &mut Touched) {
        let Some(topic) = self.topics.get_mut(&r.topic_id) else { return };
        let partition = Partition {
            replicas: r.replicas.clone(),
            directories: r.directories.clone(),
            isr: r.isr.clone(),
            elr: r.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: r.last_known_elr.clone().unwrap_or_default(),
            adding: r.adding_replicas.clone(),
            removing: r.removing_replicas.clone(),
            leader: r.leader,
            leader_epoch: r.leader_epoch,
            partition_epoch: r.partition_epoch,
            recovering: r.leader_recovery_state == 1,
        };
        Arc::make_mut(topic).partitions.insert(r.partition_id, partition);
        touched.partitions.insert((r.topic_id, r.partition_id));
    }

    fn change_partition(&mut self, r: &PartitionChange, touched: &mut Touched) {
        let Some(topic) = self.topics.get_mut(&r.topic_id) else { return };
        let Some(partition) = Arc::make_mut(topic).partitions.get_mut(&r.partition_id) else { return };
        let replace = |to: &mut Vec<i32>, from: &Option<Vec<i32>>| {
            if let Some(from) = from {
                to.clone_from(from);
            }
        };
        replace(&mut partition.isr, &r.isr);
        replace(&mut partition.replicas, &r.replicas);
        replace(&mut partition.adding, &r.adding_replicas);
        replace(&mut partition.removing, &r.removing_replicas);
        replace(&mut partition.elr, &r.eligible_leader_replicas);
        replace(&mut partition.last_known_elr, &r.last_known_elr);
        if let Some(directories) = &r.directories {
            partition.directories.clone_from(directories);
        }
        if r.leader != PartitionChange::SAME_LEADER {
            partition.leader = r.leader;
            partition.leader_epoch += 1;
        }
        if r.leader_recovery_state != -1 {
            partition.recovering = r.leader_recovery_state == 1;
        }
        partition.partition_epoch += 1;
        touched.partitions.insert((r.topic_id, r.partition_id));
    }

    /// Of one topic, or with an empty name of all.
    fn clear_elr(&mut self, name: &str, touched: &mut Touched) {
        for topic in self.topics.values_mut().filter(|t| name.is_empty() || t.name == name) {
            let concerned = |p: &Partition| !p.elr.is_empty() || !p.last_known_elr.is_empty();
            if !topic.partitions.values().any(concerned) {
                continue;
            }
            let topic = Arc::make_mut(topic);
            for (index, partition) in topic.partitions.iter_mut().filter(|(_, p)| concerned(p)) {
                partition.elr.clear();
                partition.last_known_elr.clear();
                partition.partition_epoch += 1;
                touched.partitions.insert((topic.id, *index));
            }
        }
    }

    fn remove_topic(&mut self, id: Uuid, touched: &mut Touched) {
        let Some(topic) = self.topics.remove(&id) else { return };
        self.names.remove(&topic.name);
        self.configs.remove(&(TOPIC_RESOURCE, topic.name.clone()));
        touched.removed.push((id, topic.name.clone()));
    }
}
