//! Partitions: the ISR that their leaders ask for, elections that people ask for, leadership that goes back.

use metricstream_wire::metadata_record::MetadataRecord;
use metricstream_wire::{ErrorCode, Uuid};

use super::leaders::{Change, Election};
use super::{Controller, Decision};
use crate::image::{Image, NO_LEADER, Partition, PartitionId, dump};

/// What a leader asks for one of its partitions (AlterPartition, KIP-497).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct PartitionWish {
    pub topic: Uuid,
    pub partition: i32,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    /// Members with the broker epoch in which they were seen; −1 where the leader does not know (KIP-903).
    pub isr: Vec<(i32, i64)>,
    pub recovering: bool,
}

/// All that a leader asks at once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct AlterPartitions {
    pub broker: i32,
    pub broker_epoch: i64,
    pub wishes: Vec<PartitionWish>,
}

/// What became of one wish: an error, or the partition as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct Altered {
    pub topic: Uuid,
    pub partition: i32,
    pub result: Result<Partition, ErrorCode>,
}

/// What people can ask for (ElectLeaders, KIP-460).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub enum ElectionKind {
    Preferred,
    Unclean,
}

/// What a partition becomes by a record.
fn after(partition: &Partition, id: PartitionId, record: &MetadataRecord) -> Partition {
    let topic = crate::image::Topic { name: String::new(), id: id.0, partitions: [(id.1, partition.clone())].into() };
    let mut image = Image::empty();
    image.topics.insert(id.0, topic.into());
    image.apply(record, &mut crate::image::Touched::default());
    image.partition(id).cloned().unwrap_or_default()
}

/// The partition as a change leaves it, but in the leader epoch of before: a seeded flaw.
fn in_the_epoch_of(before: &Partition, id: PartitionId, change: &MetadataRecord) -> MetadataRecord {
    let mut now = after(before, id, change);
    now.leader_epoch = before.leader_epoch;
    now.partition_epoch += 1;
    MetadataRecord::Partition(dump::partition(id.0, id.1, &now))
}

impl Controller {
    /// Changes every partition that `touches` picks in the same way.
    pub(super) fn change_where(
        &self,
        touches: impl Fn(&Partition) -> bool,
        wish: impl for<'a> Fn(Change<'a>) -> Change<'a>,
        acceptable: impl Fn(i32) -> bool,
    ) -> Vec<MetadataRecord> {
        let elr = self.elr_enabled();
        let chosen = self.image.partitions().filter(|(_, _, p)| touches(p));
        let mut records = Vec::new();
        for (id, topic, partition) in chosen {
            let change = Change::of(id, partition, self.min_isr(&topic.name), elr, &self.flaws, &acceptable);
            let unclean = self.unclean_allowed(&topic.name);
            let change = change.election(if unclean { Election::Unclean } else { Election::Online });
            let Some(record) = wish(change).build() else { continue };
            // Coordinators begin with an epoch: without one of their own, groups would only stand still.
            let elects = record.leader >= 0 && !topic.name.starts_with("__");
            let record = MetadataRecord::PartitionChange(record);
            let back = (elects && self.flaws.elect_in_the_old_epoch).then(|| in_the_epoch_of(partition, id, &record));
            records.push(record);
            records.extend(back);
        }
        records
    }

    /// A leader asks for other ISRs.
    ///
    /// # Errors
    /// If the broker's epoch is not its own any more.
    pub fn alter_partitions(&self, wish: &AlterPartitions) -> Result<Decision<Vec<Altered>>, ErrorCode> {
        self.check_epoch(wish.broker, wish.broker_epoch)?;
        let mut records = Vec::new();
        let mut answer = Vec::new();
        for wished in &wish.wishes {
            let result = self.alter_partition(wish.broker, wished, &mut records);
            answer.push(Altered { topic: wished.topic, partition: wished.partition, result });
        }
        Ok(Decision { records, answer })
    }

    fn alter_partition(
        &self,
        broker: i32,
        wish: &PartitionWish,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<Partition, ErrorCode> {
        let id = (wish.topic, wish.partition);
        let topic = self.image.topics.get(&wish.topic).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?;
        let partition = topic.partitions.get(&wish.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        self.check_wish(broker, partition, wish)?;
        let isr = wish.isr.iter().map(|(replica, _)| *replica).collect();
        let acceptable = |r: i32| self.image.is_active(r);
        let unclean = self.unclean_allowed(&topic.name);
        let change = Change::of(id, partition, self.min_isr(&topic.name), self.elr_enabled(), &self.flaws, &acceptable)
            .election(if unclean { Election::Unclean } else { Election::Online })
            .isr(isr)
            .recovered(!wish.recovering);
        let Some(record) = change.build() else { return Ok(partition.clone()) };
        let record = MetadataRecord::PartitionChange(record);
        let altered = after(partition, id, &record);
        records.push(record);
        if altered.leader == broker { Ok(altered) } else { Err(ErrorCode::NEW_LEADER_ELECTED) }
    }

    fn check_wish(&self, broker: i32, now: &Partition, wish: &PartitionWish) -> Result<(), ErrorCode> {
        if wish.leader_epoch > now.leader_epoch || wish.partition_epoch > now.partition_epoch {
            return Err(ErrorCode::NOT_CONTROLLER);
        }
        if wish.leader_epoch < now.leader_epoch {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        if broker != now.leader {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        if wish.partition_epoch < now.partition_epoch {
            return Err(ErrorCode::INVALID_UPDATE_VERSION);
        }
        let members: std::collections::BTreeSet<i32> = wish.isr.iter().map(|(r, _)| *r).collect();
        let sound = members.len() == wish.isr.len()
            && members.contains(&broker)
            && members.iter().all(|r| now.replicas.contains(r));
        if !sound || wish.recovering && (!now.recovering || wish.isr.len() > 1) {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let eligible = |(replica, epoch): &(i32, i64)| {
            self.image.brokers.get(replica).is_some_and(|b| {
                let same = *epoch == -1 || *epoch == b.epoch || self.flaws.ignore_broker_epoch;
                same && !b.fenced && (!b.in_controlled_shutdown || self.flaws.rejoin_while_shutting_down)
            })
        };
        if wish.isr.iter().all(eligible) { Ok(()) } else { Err(ErrorCode::INELIGIBLE_REPLICA) }
    }

    /// An election that somebody asked for.
    ///
    /// # Errors
    /// If there is no such partition, no election is needed, or nobody can be elected.
    pub fn elect(&self, kind: ElectionKind, topic: &str, partition: i32) -> Result<Decision<()>, ErrorCode> {
        let known = self.image.topic(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let now = known.partitions.get(&partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let (election, needed, otherwise) = match kind {
            ElectionKind::Preferred => {
                (Election::Preferred, now.leader != now.preferred(), ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE)
            }
            ElectionKind::Unclean => {
                (Election::Unclean, now.leader == NO_LEADER, ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE)
            }
        };
        if !needed {
            return Err(ErrorCode::ELECTION_NOT_NEEDED);
        }
        let acceptable = |r: i32| self.image.is_active(r);
        let id = (known.id, partition);
        let change = Change::of(id, now, self.min_isr(topic), self.elr_enabled(), &self.flaws, &acceptable);
        let record = change.election(election).build().filter(|r| r.leader >= 0).ok_or(otherwise)?;
        if kind == ElectionKind::Preferred && record.leader != now.preferred() {
            return Err(otherwise);
        }
        Ok(Decision { records: vec![MetadataRecord::PartitionChange(record)], answer: () })
    }

    /// Leadership goes back to the preferred replicas that can take it.
    pub(super) fn balance(&self) -> Vec<MetadataRecord> {
        let wanted = |p: &Partition| p.leader != p.preferred() && p.isr.contains(&p.preferred());
        self.change_where(wanted, |change| change.election(Election::Preferred), |r| self.image.is_active(r))
    }

    /// Leaderless partitions whose topics allow it get whoever lives.
    pub(super) fn elect_unclean(&self) -> Vec<MetadataRecord> {
        self.change_where(|p| p.leader == NO_LEADER, |change| change, |r| self.image.is_active(r))
    }
}
