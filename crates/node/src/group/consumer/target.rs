//! The target assignment: who is to have what in the group's epoch. As Kafka's `TargetAssignmentBuilder`.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_wire::group_record::GroupRecord;

use super::{ConsumerGroup, Parts, TargetEpochValue, TargetValue, to_record};
use crate::group::TopicsView;
use crate::group::assignor::{self, Spec, Subscriber};
use crate::group::records;
use crate::group::work::{Desk, Work};

/// FNV-1a with 64 bits. Kafka takes another hash (KIP-1101); a coordinator of the other kind would see changed topics and
/// assign once more.
const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl ConsumerGroup {
    /// Computes the target if the group's epoch is ahead of it; not more often than the assignment interval allows.
    pub(super) fn maybe_assign(&mut self, desk: &Desk<'_>, work: &mut Work) {
        self.assign_due = None;
        if self.epoch <= self.assignment_epoch {
            return;
        }
        let interval_ns =
            desk.now.after_ms(desk.settings.group_consumer_assignment_interval_ms) - desk.now.monotonic_ns;
        let due = self.assigned_at.map_or(0, |at| at.saturating_add(interval_ns));
        if self.assignment_epoch > 0 && !desk.now.reached(due) {
            self.assign_due = Some(due);
            return;
        }
        self.assigned_at = Some(desk.now.monotonic_ns);
        let mut targets = self.compute_targets(desk);
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let target = targets.remove(&id).unwrap_or_default();
            if self.targets.get(&id) != Some(&target) {
                let value = TargetValue { topic_partitions: to_record(&target) };
                let key = self.member_key(&id);
                self.change(GroupRecord::ConsumerGroupTargetAssignmentMember(key, Some(value)), work);
            }
        }
        let (key, value) =
            (records::key(&self.id), TargetEpochValue { assignment_epoch: self.epoch, ..TargetEpochValue::default() });
        self.change(GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, Some(value)), work);
    }

    fn compute_targets(&self, desk: &Desk<'_>) -> BTreeMap<String, Parts> {
        let mut topics = BTreeMap::new();
        let mut members = BTreeMap::new();
        for (id, member) in &self.members {
            let mut wants = BTreeSet::new();
            for topic in member.subscribed.iter().filter_map(|name| desk.topics.id_of(name)) {
                topics.insert(topic, desk.topics.partition_count(topic));
                wants.insert(topic);
            }
            let has = self.targets.get(id).cloned().unwrap_or_default();
            members.insert(id.clone(), Subscriber { instance_id: member.instance_id.clone(), wants, has });
        }
        assignor::assign(self.assignor(desk), &Spec { topics, members })
    }

    /// The assignor that most members ask for; the first that is configured if none does.
    pub(super) fn assignor<'a>(&'a self, desk: &Desk<'a>) -> &'a str {
        let configured = assignor::configured(desk.settings);
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|m| m.server_assignor.as_deref()) {
            if configured.contains(&name) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let preferred = votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name);
        preferred.or_else(|| configured.first().copied()).unwrap_or(assignor::UNIFORM)
    }

    /// Changes when a subscribed topic comes, goes, grows or is made anew.
    pub(super) fn hash_of_topics(&self, topics: &dyn TopicsView) -> i64 {
        let names: BTreeSet<&String> = self.members.values().flat_map(|m| &m.subscribed).collect();
        let mut hash = FNV_START;
        let mut take = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
            }
        };
        for name in names {
            if let Some(id) = topics.id_of(name) {
                take(name.as_bytes());
                take(&id);
                take(&topics.partition_count(id).to_be_bytes());
            }
        }
        hash.cast_signed()
    }
}
