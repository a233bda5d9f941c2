//! A consumer group as tools see it.

use metricstream_wire::ErrorCode;

use super::{ConsumerGroup, Member, MemberState, Parts};
use crate::group::TopicsView;
use crate::group::messages::{ConsumerDescription, ConsumerMemberDescription, NamedPartitions};
use crate::group::work::Desk;

impl ConsumerGroup {
    pub(in crate::group) fn state_name(&self) -> &'static str {
        let settled = |m: &Member| m.state == MemberState::Stable && m.epoch == self.assignment_epoch;
        match () {
            () if self.members.is_empty() => "Empty",
            () if self.epoch > self.assignment_epoch => "Assigning",
            () if !self.members.values().all(settled) => "Reconciling",
            () => "Stable",
        }
    }

    pub(in crate::group) fn describe(&self, desk: &Desk<'_>) -> ConsumerDescription {
        let nothing = Parts::new();
        let member = |(id, m): (&String, &Member)| ConsumerMemberDescription {
            member_id: id.clone(),
            instance_id: m.instance_id.clone(),
            rack_id: m.rack_id.clone(),
            member_epoch: m.epoch,
            client: m.client.clone(),
            subscribed_topics: m.subscribed.clone(),
            assignment: named(&m.assigned, desk.topics),
            target: named(self.targets.get(id).unwrap_or(&nothing), desk.topics),
        };
        ConsumerDescription {
            error: ErrorCode::NONE,
            message: None,
            group_id: self.id.clone(),
            state: self.state_name(),
            group_epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor: self.assignor(desk).to_owned(),
            members: self.members.iter().map(member).collect(),
        }
    }
}

/// Of topics that are gone nothing can be said by name: they are left out.
fn named(parts: &Parts, topics: &dyn TopicsView) -> Vec<NamedPartitions> {
    let one = |(id, partitions): (&metricstream_wire::Uuid, &std::collections::BTreeSet<i32>)| {
        let topic = topics.name_of(*id)?.to_owned();
        Some(NamedPartitions { topic_id: *id, topic, partitions: partitions.iter().copied().collect() })
    };
    parts.iter().filter_map(one).collect()
}

/// A member as tests see it: its epoch, what it has, what it is letting go, and what it is to have.
#[cfg(test)]
pub(in crate::group) type MemberView = (i32, Parts, Parts, Parts);

#[cfg(test)]
impl ConsumerGroup {
    /// Its epoch, that of its target, and its members.
    pub(in crate::group) fn view(&self) -> (i32, i32, std::collections::BTreeMap<String, MemberView>) {
        let member = |(id, m): (&String, &Member)| {
            let target = self.targets.get(id).cloned().unwrap_or_default();
            (id.clone(), (m.epoch, m.assigned.clone(), m.revoking.clone(), target))
        };
        (self.epoch, self.assignment_epoch, self.members.iter().map(member).collect())
    }
}
