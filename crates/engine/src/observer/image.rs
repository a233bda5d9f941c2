//! What the metadata log says so far, and what each record of it changes. No sockets and no clocks here.

use std::collections::BTreeMap;

use metricstream_wire::Uuid;
use metricstream_wire::metadata_record::{
    BrokerRegistrationChange, MetadataRecord, Partition, PartitionChange, RegisterBroker,
};

use crate::observation::Observed;

/// A broker as the controller sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct BrokerImage {
    pub broker_epoch: i64,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
}

/// A partition as the controller sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct PartitionImage {
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub elr: Vec<i32>,
    pub leader: i32,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
}

/// The committed state of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Brokers by id.
    pub brokers: BTreeMap<i32, BrokerImage>,
    /// Topics and partitions.
    pub partitions: BTreeMap<(String, i32), PartitionImage>,
    /// Active controller and its epoch.
    pub controller: Option<(i32, i32)>,
    topics: BTreeMap<Uuid, String>,
}

impl Image {
    /// Takes one committed record in; what it changed is appended to `seen`.
    pub(crate) fn apply(&mut self, record: MetadataRecord, seen: &mut Vec<Observed>) {
        match record {
            MetadataRecord::RegisterBroker(r) => self.register(&r, seen),
            MetadataRecord::UnregisterBroker(r) => {
                self.brokers.remove(&r.broker_id);
            }
            MetadataRecord::FenceBroker(r) => self.fence(r.id, r.epoch, true, seen),
            MetadataRecord::UnfenceBroker(r) => self.fence(r.id, r.epoch, false, seen),
            MetadataRecord::BrokerRegistrationChange(r) => self.change_broker(&r, seen),
            MetadataRecord::Topic(r) => {
                self.topics.insert(r.topic_id, r.name);
            }
            MetadataRecord::RemoveTopic(r) => {
                if let Some(topic) = self.topics.remove(&r.topic_id) {
                    self.partitions.retain(|(name, _), _| *name != topic);
                    seen.push(Observed::TopicDeleted { topic });
                }
            }
            MetadataRecord::Partition(r) => self.partition(r, seen),
            MetadataRecord::PartitionChange(r) => self.change_partition(r, seen),
            // The rest tells nothing of brokers, topics and partitions.
            _ => {}
        }
    }

    fn register(&mut self, r: &RegisterBroker, seen: &mut Vec<Observed>) {
        let (broker, broker_epoch) = (r.broker_id, r.broker_epoch);
        let image = BrokerImage { broker_epoch, fenced: r.fenced, in_controlled_shutdown: r.in_controlled_shutdown };
        self.brokers.insert(broker, image);
        seen.push(Observed::BrokerRegistered { broker, broker_epoch });
        // A snapshot tells of a broker that was unfenced long ago in this one record.
        if !r.fenced {
            seen.push(Observed::BrokerUnfenced { broker, broker_epoch });
        }
    }

    fn fence(&mut self, broker: i32, broker_epoch: i64, fenced: bool, seen: &mut Vec<Observed>) {
        let Some(image) = self.brokers.get_mut(&broker) else {
            return;
        };
        if image.fenced == fenced {
            return;
        }
        image.fenced = fenced;
        seen.push(if fenced {
            Observed::BrokerFenced { broker, broker_epoch }
        } else {
            Observed::BrokerUnfenced { broker, broker_epoch }
        });
    }

    fn change_broker(&mut self, r: &BrokerRegistrationChange, seen: &mut Vec<Observed>) {
        if r.in_controlled_shutdown == 1
            && let Some(image) = self.brokers.get_mut(&r.broker_id)
            && !image.in_controlled_shutdown
        {
            image.in_controlled_shutdown = true;
            seen.push(Observed::BrokerShuttingDown { broker: r.broker_id, broker_epoch: r.broker_epoch });
        }
        if r.fenced != 0 {
            self.fence(r.broker_id, r.broker_epoch, r.fenced == 1, seen);
        }
    }

    fn partition(&mut self, r: Partition, seen: &mut Vec<Observed>) {
        let Some(topic) = self.topics.get(&r.topic_id).cloned() else {
            return;
        };
        let image = PartitionImage {
            replicas: r.replicas,
            isr: r.isr,
            elr: r.eligible_leader_replicas.unwrap_or_default(),
            leader: r.leader,
            leader_epoch: r.leader_epoch,
            partition_epoch: r.partition_epoch,
        };
        seen.push(observed(&topic, r.partition_id, &image));
        self.partitions.insert((topic, r.partition_id), image);
    }

    /// Kafka's `PartitionRegistration.merge`: what is null stays, a named leader raises the leader epoch even if it is
    /// the same one, and the partition epoch rises always.
    fn change_partition(&mut self, r: PartitionChange, seen: &mut Vec<Observed>) {
        let Some(topic) = self.topics.get(&r.topic_id).cloned() else {
            return;
        };
        let Some(image) = self.partitions.get_mut(&(topic.clone(), r.partition_id)) else {
            return;
        };
        if let Some(isr) = r.isr {
            image.isr = isr;
        }
        if let Some(replicas) = r.replicas {
            image.replicas = replicas;
        }
        if let Some(elr) = r.eligible_leader_replicas {
            image.elr = elr;
        }
        if r.leader != PartitionChange::SAME_LEADER {
            image.leader = r.leader;
            image.leader_epoch += 1;
        }
        image.partition_epoch += 1;
        seen.push(observed(&topic, r.partition_id, image));
    }

    /// What differs from an earlier image: for the moment after a snapshot, which tells states and no changes.
    pub(crate) fn differences(&self, before: &Self) -> Vec<Observed> {
        let mut seen = Vec::new();
        if let Some((node, epoch)) = self.controller.filter(|_| self.controller != before.controller) {
            seen.push(Observed::Controller { node, epoch });
        }
        for (id, now) in &self.brokers {
            let (broker, broker_epoch) = (*id, now.broker_epoch);
            let was = before.brokers.get(id);
            if was.is_none_or(|w| w.broker_epoch != now.broker_epoch) {
                seen.push(Observed::BrokerRegistered { broker, broker_epoch });
            }
            let was_fenced = was.is_none_or(|w| w.fenced);
            if was_fenced && !now.fenced {
                seen.push(Observed::BrokerUnfenced { broker, broker_epoch });
            } else if !was_fenced && now.fenced {
                seen.push(Observed::BrokerFenced { broker, broker_epoch });
            }
        }
        for (key, now) in &self.partitions {
            if before.partitions.get(key) != Some(now) {
                seen.push(observed(&key.0, key.1, now));
            }
        }
        let gone = before.topics.iter().filter(|(id, _)| !self.topics.contains_key(*id));
        seen.extend(gone.map(|(_, topic)| Observed::TopicDeleted { topic: topic.clone() }));
        seen
    }
}

fn observed(topic: &str, partition: i32, image: &PartitionImage) -> Observed {
    Observed::Partition {
        topic: topic.to_owned(),
        partition,
        replicas: image.replicas.clone(),
        isr: image.isr.clone(),
        elr: image.elr.clone(),
        leader: image.leader,
        leader_epoch: image.leader_epoch,
        partition_epoch: image.partition_epoch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metricstream_wire::metadata_record::{FenceBroker, Topic};

    fn metrics(image: &mut Image) -> Uuid {
        let topic_id = [1; 16];
        let mut seen = Vec::new();
        image.apply(MetadataRecord::Topic(Topic { name: "metrics".into(), topic_id }), &mut seen);
        let partition = Partition {
            partition_id: 0,
            topic_id,
            replicas: vec![2, 1, 3],
            isr: vec![2, 1, 3],
            leader: 2,
            leader_epoch: 0,
            partition_epoch: 0,
            ..Default::default()
        };
        image.apply(MetadataRecord::Partition(partition), &mut seen);
        topic_id
    }

    #[test]
    fn a_dead_leader_is_fenced_leaves_the_isr_and_another_leads_at_the_next_epoch() {
        let mut image = Image::default();
        let topic_id = metrics(&mut image);
        let mut seen = Vec::new();
        let broker = RegisterBroker { broker_id: 2, broker_epoch: 5, fenced: false, ..Default::default() };
        image.apply(MetadataRecord::RegisterBroker(broker), &mut seen);
        seen.clear();
        let change =
            PartitionChange { partition_id: 0, topic_id, isr: Some(vec![1, 3]), leader: 1, ..Default::default() };
        image.apply(MetadataRecord::PartitionChange(change), &mut seen);
        image.apply(MetadataRecord::FenceBroker(FenceBroker { id: 2, epoch: 5 }), &mut seen);
        image.apply(MetadataRecord::FenceBroker(FenceBroker { id: 2, epoch: 5 }), &mut seen);
        assert_eq!(seen.len(), 2, "fenced twice is told once: {seen:?}");
        let Observed::Partition { leader: 1, leader_epoch: 1, partition_epoch: 1, isr, replicas, .. } = &seen[0] else {
            panic!("{seen:?}");
        };
        assert_eq!((isr.as_slice(), replicas.as_slice()), (&[1, 3][..], &[2, 1, 3][..]));
        assert_eq!(seen[1], Observed::BrokerFenced { broker: 2, broker_epoch: 5 });
    }

    #[test]
    fn an_isr_that_only_grows_leaves_the_leader_epoch() {
        let mut image = Image::default();
        let topic_id = metrics(&mut image);
        let mut seen = Vec::new();
        let change = PartitionChange { partition_id: 0, topic_id, isr: Some(vec![2]), ..Default::default() };
        image.apply(MetadataRecord::PartitionChange(change), &mut seen);
        let p = &image.partitions[&("metrics".to_owned(), 0)];
        assert_eq!((p.leader, p.leader_epoch, p.partition_epoch), (2, 0, 1));
    }

    #[test]
    fn after_a_snapshot_only_what_differs_is_told() {
        let mut before = Image::default();
        metrics(&mut before);
        let mut after = before.clone();
        assert_eq!(after.differences(&before), Vec::new());
        after.partitions.get_mut(&("metrics".to_owned(), 0)).unwrap().leader = 3;
        assert_eq!(after.differences(&before).len(), 1);
        let empty = Image::default();
        assert_eq!(empty.differences(&before), vec![Observed::TopicDeleted { topic: "metrics".into() }]);
    }
}
