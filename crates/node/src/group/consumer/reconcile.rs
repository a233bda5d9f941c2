//! A member's way to its target: first it lets go, then it gets what is free. As Kafka's `CurrentAssignmentBuilder`.
//!
//! No partition is ever assigned to a member while another has it or has not said that it let it go.

use metricstream_wire::group_record::GroupRecord;

use super::{ConsumerGroup, Member, MemberState, Parts, Revocation, current_value, each, insert};
use crate::group::work::{Desk, Work};

impl ConsumerGroup {
    /// Brings a member as far as what it owns allows.
    pub(super) fn reconcile(&mut self, id: &str, owned: Option<&Parts>, desk: &Desk<'_>, work: &mut Work) {
        let Some(member) = self.members.get(id) else { return };
        let next = match member.state {
            MemberState::Stable if member.epoch == self.assignment_epoch => return,
            MemberState::UnrevokedPartitions if owns_any(owned, &member.revoking) => return,
            _ => self.next_step(id, member, owned, desk.flaws.double_ownership),
        };
        if next == *member {
            return;
        }
        if next.state == MemberState::UnrevokedPartitions {
            let deadline = desk.now.after_ms(next.rebalance_timeout_ms.into());
            self.revocations.insert(id.to_owned(), Revocation { deadline, epoch: next.epoch });
        } else {
            self.revocations.remove(id);
        }
        let (key, value) = (self.member_key(id), Some(current_value(&next)));
        self.change(GroupRecord::ConsumerGroupCurrentMemberAssignment(key, value), work);
    }

    fn next_step(&self, id: &str, member: &Member, owned: Option<&Parts>, takes_what_is_not_free: bool) -> Member {
        let nothing = Parts::new();
        let target = self.targets.get(id).unwrap_or(&nothing);
        let has = |parts: &Parts, (topic, partition)| parts.get(&topic).is_some_and(|p| p.contains(&partition));
        let (mut keeps, mut revoking, mut free) = (Parts::new(), Parts::new(), Parts::new());
        for part in each(&member.assigned) {
            insert(if has(target, part) { &mut keeps } else { &mut revoking }, part);
        }
        let mut waits = false;
        for part in each(target).filter(|part| !has(&member.assigned, *part)) {
            // What it was to let go and has let go it may have back at once.
            let free_for_it = self.owners.get(&part).is_none_or(|owner| owner == id);
            if free_for_it || takes_what_is_not_free {
                insert(&mut free, part);
            } else {
                waits = true;
            }
        }
        let mut next = member.clone();
        next.has_current = true;
        next.previous_epoch = member.epoch;
        if !revoking.is_empty() && owns_any(owned, &revoking) {
            next.state = MemberState::UnrevokedPartitions;
            (next.assigned, next.revoking) = (keeps, revoking);
            return next;
        }
        each(&free).for_each(|part| insert(&mut keeps, part));
        next.epoch = self.assignment_epoch;
        next.state = if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        (next.assigned, next.revoking) = (keeps, Parts::new());
        next
    }
}

/// Whether a member owns any of these; one that does not say may own all.
fn owns_any(owned: Option<&Parts>, parts: &Parts) -> bool {
    let Some(owned) = owned else { return true };
    each(parts).any(|(topic, partition)| owned.get(&topic).is_some_and(|p| p.contains(&partition)))
}
