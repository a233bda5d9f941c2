//! ConsumerGroupHeartbeat: members join, say what they own, and leave.

use metricstream_wire::ErrorCode;
use metricstream_wire::group_record::GroupRecord;

use super::{
    ConsumerGroup, LEAVES, LEAVES_FOR_A_WHILE, Member, MemberState, Parts, current_value, from_list, member_value,
    to_list,
};
use crate::group::MEMBERS_MAX;
use crate::group::messages::{ConsumerGroupHeartbeat, ConsumerGroupHeartbeatAnswer};
use crate::group::work::{Desk, Work};

type Refused = ConsumerGroupHeartbeatAnswer;

fn refuse<T>(error: ErrorCode, why: &str) -> Result<T, Refused> {
    Err(Refused::refused(error, why))
}

impl ConsumerGroup {
    /// Answers a heartbeat that [`super::check_heartbeat`] has let through.
    pub(in crate::group) fn heartbeat(
        &mut self,
        beat: ConsumerGroupHeartbeat,
        desk: &mut Desk<'_>,
        work: &mut Work,
    ) -> ConsumerGroupHeartbeatAnswer {
        let answer = match beat.member_epoch {
            LEAVES | LEAVES_FOR_A_WHILE => self.leave(&beat, desk, work),
            _ => self.beat(beat, desk, work),
        };
        answer.unwrap_or_else(|refused| refused)
    }

    fn beat(
        &mut self,
        beat: ConsumerGroupHeartbeat,
        desk: &mut Desk<'_>,
        work: &mut Work,
    ) -> Result<ConsumerGroupHeartbeatAnswer, Refused> {
        let id = if beat.member_id.is_empty() { desk.new_id() } else { beat.member_id.clone() };
        let owned = beat.owned.as_ref().map(from_list);
        self.admit(&id, &beat, owned.as_ref(), desk, work)?;
        let before = self.members.get(&id).map(|m| m.assigned.clone()).unwrap_or_default();
        self.update_member(&id, &beat, desk, work);
        self.maybe_assign(desk, work);
        self.reconcile(&id, owned.as_ref(), desk, work);
        self.sessions.insert(id.clone(), desk.now.after_ms(desk.settings.group_consumer_session_timeout_ms));
        let member = &self.members[&id];
        let full = beat.rebalance_timeout_ms.is_some() && beat.subscribed_topics.is_some() && beat.owned.is_some();
        let tells = beat.member_epoch == 0 || full || member.assigned != before;
        Ok(ConsumerGroupHeartbeatAnswer {
            error: ErrorCode::NONE,
            message: None,
            member_epoch: member.epoch,
            heartbeat_interval_ms: heartbeat_interval_ms(desk),
            assignment: tells.then(|| to_list(&member.assigned)),
            member_id: Some(id),
        })
    }

    /// Whether this member may speak in the group; a static one that takes its predecessor's place does so here.
    fn admit(
        &mut self,
        id: &str,
        beat: &ConsumerGroupHeartbeat,
        owned: Option<&Parts>,
        desk: &Desk<'_>,
        work: &mut Work,
    ) -> Result<(), Refused> {
        let joins = beat.member_epoch == 0;
        let predecessor = beat.instance_id.as_ref().and_then(|instance| self.statics.get(instance)).cloned();
        let allowed = usize::try_from(desk.settings.group_consumer_max_size).unwrap_or(0).min(MEMBERS_MAX);
        let is_new = joins && predecessor.is_none() && !self.members.contains_key(id);
        if is_new && self.members.len() >= allowed {
            return refuse(ErrorCode::GROUP_MAX_SIZE_REACHED, "The consumer group has reached its maximum capacity.");
        }
        if beat.instance_id.is_some() {
            match predecessor {
                None if !joins => return refuse(ErrorCode::UNKNOWN_MEMBER_ID, "Instance is unknown."),
                Some(now) if joins => {
                    if self.members.get(&now).is_some_and(|m| m.epoch != LEAVES_FOR_A_WHILE) {
                        return refuse(ErrorCode::UNRELEASED_INSTANCE_ID, "Static member has not left the group.");
                    }
                    if now != id {
                        self.replace_static(&now, id, work);
                    }
                }
                Some(now) if now != id => {
                    return refuse(ErrorCode::FENCED_INSTANCE_ID, "Static member is fenced by another member.");
                }
                _ => {}
            }
        }
        if joins {
            return Ok(());
        }
        match self.members.get(id) {
            None => refuse(ErrorCode::UNKNOWN_MEMBER_ID, "Member is not a member of the group."),
            Some(member) => check_epoch(member, beat.member_epoch, owned),
        }
    }

    /// What a static member had goes over to its successor.
    fn replace_static(&mut self, before_id: &str, id: &str, work: &mut Work) {
        let (Some(member), target) = (self.members.get(before_id).cloned(), self.targets.get(before_id).cloned())
        else {
            return;
        };
        self.remove_member(before_id, work);
        let key = self.member_key(id);
        let value = member_value(&member);
        self.change(GroupRecord::ConsumerGroupMemberMetadata(key.clone(), Some(value)), work);
        if let Some(target) = target {
            let value = super::TargetValue { topic_partitions: super::to_record(&target) };
            self.change(GroupRecord::ConsumerGroupTargetAssignmentMember(key.clone(), Some(value)), work);
        }
        let value = current_value(&Member { epoch: 0, previous_epoch: 0, ..member });
        self.change(GroupRecord::ConsumerGroupCurrentMemberAssignment(key, Some(value)), work);
    }

    /// Takes in what the member says of itself. The epoch moves if it is new, or its subscription or the topics are others.
    fn update_member(&mut self, id: &str, beat: &ConsumerGroupHeartbeat, desk: &Desk<'_>, work: &mut Work) {
        let before = self.members.get(id).cloned().unwrap_or_default();
        let mut now = before.clone();
        now.client = beat.client.clone();
        now.instance_id = beat.instance_id.clone().or(now.instance_id);
        now.rack_id = beat.rack_id.clone().or(now.rack_id);
        now.server_assignor = beat.server_assignor.clone().or(now.server_assignor);
        now.rebalance_timeout_ms = beat.rebalance_timeout_ms.unwrap_or(now.rebalance_timeout_ms);
        if let Some(topics) = &beat.subscribed_topics {
            now.subscribed.clone_from(topics);
            now.subscribed.sort_unstable();
            now.subscribed.dedup();
        }
        if !before.is_known || now != before {
            let record = GroupRecord::ConsumerGroupMemberMetadata(self.member_key(id), Some(member_value(&now)));
            self.change(record, work);
        }
        let mut moves = !before.is_known || now.subscribed != before.subscribed || self.epoch == 0;
        if !moves && self.seen_version != Some(desk.topics.version()) {
            self.seen_version = Some(desk.topics.version());
            moves = self.hash_of_topics(desk.topics) != self.metadata_hash;
        }
        if moves {
            self.bump_epoch(desk, work);
        }
    }

    fn leave(
        &mut self,
        beat: &ConsumerGroupHeartbeat,
        desk: &Desk<'_>,
        work: &mut Work,
    ) -> Result<ConsumerGroupHeartbeatAnswer, Refused> {
        let id = &beat.member_id;
        if let Some(instance) = &beat.instance_id {
            match self.statics.get(instance) {
                None => return refuse(ErrorCode::UNKNOWN_MEMBER_ID, "Instance is unknown."),
                Some(now) if now != id => {
                    return refuse(ErrorCode::FENCED_INSTANCE_ID, "Static member is fenced by another member.");
                }
                Some(_) => {}
            }
        }
        let Some(member) = self.members.get(id) else {
            return refuse(ErrorCode::UNKNOWN_MEMBER_ID, "Member is not a member of the group.");
        };
        if beat.member_epoch == LEAVES_FOR_A_WHILE {
            // It has let go of what it was to let go: it is not running.
            let away = Member {
                epoch: LEAVES_FOR_A_WHILE,
                state: MemberState::Stable,
                revoking: Parts::new(),
                ..member.clone()
            };
            let (key, value) = (self.member_key(id), Some(current_value(&away)));
            self.change(GroupRecord::ConsumerGroupCurrentMemberAssignment(key, value), work);
            self.revocations.remove(id);
        } else {
            self.remove_member(id, work);
            self.bump_epoch(desk, work);
        }
        Ok(ConsumerGroupHeartbeatAnswer {
            member_id: Some(id.clone()),
            member_epoch: beat.member_epoch,
            ..ConsumerGroupHeartbeatAnswer::default()
        })
    }
}

/// The member is in its epoch; or it is in the one before because it missed the answer, which it shows by owning nothing
/// that it has not been assigned.
fn check_epoch(member: &Member, said: i32, owned: Option<&Parts>) -> Result<(), Refused> {
    if said == member.epoch {
        return Ok(());
    }
    let owns_only_its_own = owned.is_some_and(|owned| {
        super::each(owned).all(|(topic, partition)| member.assigned.get(&topic).is_some_and(|p| p.contains(&partition)))
    });
    if said < member.epoch && said == member.previous_epoch && owns_only_its_own {
        return Ok(());
    }
    let why = format!("The consumer group member has epoch {}; it said {said}. Rejoin the group.", member.epoch);
    refuse(ErrorCode::FENCED_MEMBER_EPOCH, &why)
}

fn heartbeat_interval_ms(desk: &Desk<'_>) -> i32 {
    i32::try_from(desk.settings.group_consumer_heartbeat_interval_ms).unwrap_or(i32::MAX)
}
