//! The image as the records that make it again: the content of a snapshot (KIP-630).

use metricstream_wire::metadata_record::{
    BrokerEndpoint, BrokerFeature, Config, FeatureLevel, MetadataRecord, Partition as PartitionRecord, ProducerIds,
    RegisterBroker, Topic as TopicRecord,
};

use super::{Broker, Image, Partition};

impl Image {
    /// The records that lead from nothing to this.
    #[must_use]
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let level = |(name, level): (&String, &i16)| {
            MetadataRecord::FeatureLevel(FeatureLevel { name: name.clone(), feature_level: *level })
        };
        // What decides how the rest is read comes first.
        let (first, others): (Vec<_>, Vec<_>) = self.features.iter().partition(|(name, _)| *name == "metadata.version");
        let mut records: Vec<MetadataRecord> = first.into_iter().chain(others).map(level).collect();
        records.extend(self.brokers.values().map(|broker| MetadataRecord::RegisterBroker(registration(broker))));
        for topic in self.topics.values() {
            records.push(MetadataRecord::Topic(TopicRecord { name: topic.name.clone(), topic_id: topic.id }));
            records
                .extend(topic.partitions.iter().map(|(id, p)| MetadataRecord::Partition(partition(topic.id, *id, p))));
        }
        for ((resource_type, resource_name), settings) in &self.configs {
            records.extend(settings.iter().map(|(name, value)| {
                MetadataRecord::Config(Config {
                    resource_type: *resource_type,
                    resource_name: resource_name.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                })
            }));
        }
        if self.next_producer_id > 0 {
            let ids = ProducerIds { broker_id: -1, broker_epoch: -1, next_producer_id: self.next_producer_id };
            records.push(MetadataRecord::ProducerIds(ids));
        }
        records
    }
}

/// A broker's registration as it is now.
fn registration(broker: &Broker) -> RegisterBroker {
    RegisterBroker {
        broker_id: broker.id,
        incarnation_id: broker.incarnation,
        broker_epoch: broker.epoch,
        end_points: broker
            .endpoints
            .iter()
            .map(|e| BrokerEndpoint {
                name: e.name.clone(),
                host: e.host.clone(),
                port: e.port,
                security_protocol: e.security_protocol,
            })
            .collect(),
        features: broker
            .features
            .iter()
            .map(|(name, low, high)| BrokerFeature {
                name: name.clone(),
                min_supported_version: *low,
                max_supported_version: *high,
            })
            .collect(),
        rack: broker.rack.clone(),
        fenced: broker.fenced,
        in_controlled_shutdown: broker.in_controlled_shutdown,
        log_dirs: broker.directories.clone(),
        ..RegisterBroker::default()
    }
}

/// A partition as it is now.
pub(crate) fn partition(topic_id: [u8; 16], partition_id: i32, p: &Partition) -> PartitionRecord {
    let some = |list: &Vec<i32>| (!list.is_empty()).then(|| list.clone());
    PartitionRecord {
        partition_id,
        topic_id,
        replicas: p.replicas.clone(),
        isr: p.isr.clone(),
        removing_replicas: p.removing.clone(),
        adding_replicas: p.adding.clone(),
        leader: p.leader,
        leader_recovery_state: i8::from(p.recovering),
        leader_epoch: p.leader_epoch,
        partition_epoch: p.partition_epoch,
        directories: p.directories.clone(),
        eligible_leader_replicas: some(&p.elr),
        last_known_elr: some(&p.last_known_elr),
    }
}
