//! JoinGroup: who may join, new members, static ones that come back, and members that join again.

use metricstream_wire::ErrorCode;

use super::{ClassicGroup, Member, NEW_MEMBER_JOIN_TIMEOUT_MS, State};
use crate::group::MEMBERS_MAX;
use crate::group::gather::ReplyTo;
use crate::group::messages::{GroupAnswer, JoinGroup, JoinGroupAnswer};
use crate::group::work::{Desk, Effect, Work};

/// Of a client's id so much is taken into the ids of its members.
const CLIENT_ID_CHARS_MAX: usize = 1_000;

impl ClassicGroup {
    /// A member wants to be in the next generation. It is answered when the group has formed.
    pub(in crate::group) fn join(&mut self, to: ReplyTo, join: JoinGroup, desk: &mut Desk<'_>, work: &mut Work) {
        let refused = if !self.has_room_for(&join.member_id, desk) {
            Some(ErrorCode::GROUP_MAX_SIZE_REACHED)
        } else if !self.supports(&join) {
            Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
        } else {
            None
        };
        if let Some(error) = refused {
            let answer = JoinGroupAnswer::refused(error, &join.member_id);
            work.answer(to, GroupAnswer::JoinGroup(answer));
        } else if join.member_id.is_empty() {
            self.join_new(to, join, desk, work);
        } else {
            self.join_again(to, join, desk, work);
        }
    }

    /// `group.max.size`: in a rebalance the first ones to come are the ones who stay.
    fn has_room_for(&self, member_id: &str, desk: &Desk<'_>) -> bool {
        let allowed = usize::try_from(desk.settings.group_max_size).unwrap_or(0).min(MEMBERS_MAX);
        let known = self.members.get(member_id);
        match self.state {
            State::Empty => self.pending.contains_key(member_id) || self.pending.len() < MEMBERS_MAX,
            State::PreparingRebalance => {
                let waiting = self.members.values().filter(|m| m.awaiting_join.is_some()).count();
                known.is_some_and(|m| m.awaiting_join.is_some()) || waiting < allowed
            }
            State::CompletingRebalance | State::Stable => {
                let pending = self.pending.contains_key(member_id);
                known.is_some() || pending || self.members.len() + self.pending.len() < allowed
            }
        }
    }

    /// Whether the member speaks what all others do.
    fn supports(&self, join: &JoinGroup) -> bool {
        if self.state == State::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        let common = |name: &str| self.members.values().all(|m| m.protocols.iter().any(|(n, _)| n == name));
        self.protocol_type.as_deref() == Some(&join.protocol_type)
            && join.protocols.iter().any(|(name, _)| common(name))
    }

    fn join_new(&mut self, to: ReplyTo, join: JoinGroup, desk: &mut Desk<'_>, work: &mut Work) {
        let stem: String = match &join.instance_id {
            Some(instance) => instance.chars().take(CLIENT_ID_CHARS_MAX).collect(),
            None => join.client.id.chars().take(CLIENT_ID_CHARS_MAX).collect(),
        };
        let id = format!("{stem}-{}", desk.new_id());
        if let Some(instance) = join.instance_id.clone() {
            match self.statics.get(&instance).cloned() {
                Some(before) => self.replace_static(to, &before, id, join, desk, work),
                None => self.add(to, id, join, desk, work),
            }
        } else if join.require_known_member_id {
            self.pending.insert(id.clone(), desk.now.after_ms(join.session_timeout_ms.into()));
            let answer = JoinGroupAnswer::refused(ErrorCode::MEMBER_ID_REQUIRED, &id);
            work.answer(to, GroupAnswer::JoinGroup(answer));
        } else {
            self.add(to, id, join, desk, work);
        }
    }

    fn add(&mut self, to: ReplyTo, id: String, join: JoinGroup, desk: &Desk<'_>, work: &mut Work) {
        self.pending.remove(&id);
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type);
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        if self.join_phase.is_some_and(|phase| phase.initial_left_ms.is_some()) {
            self.new_member_added = true;
        }
        if let Some(instance) = &join.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        let member = Member {
            id: id.clone(),
            instance_id: join.instance_id,
            client: join.client,
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            protocols: join.protocols,
            assignment: bytes::Bytes::new(),
            awaiting_join: Some(to),
            awaiting_sync: None,
            is_new: true,
            deadline: Some(desk.now.after_ms(NEW_MEMBER_JOIN_TIMEOUT_MS)),
        };
        self.members.insert(id, member);
        self.rebalance(desk, work);
    }

    /// A member joins with the id that it has.
    fn join_again(&mut self, to: ReplyTo, join: JoinGroup, desk: &Desk<'_>, work: &mut Work) {
        let id = join.member_id.clone();
        if self.pending.contains_key(&id) && join.instance_id.is_none() {
            self.add(to, id, join, desk, work);
            return;
        }
        if let Err(error) = self.check_member(&id, join.instance_id.as_deref()) {
            work.answer(to, GroupAnswer::JoinGroup(JoinGroupAnswer::refused(error, &id)));
            return;
        }
        let same = self.members.get(&id).is_some_and(|m| m.protocols == join.protocols);
        let leads = self.leader.as_ref() == Some(&id);
        match self.state {
            // It missed the answer: here it is again.
            State::CompletingRebalance if same => {
                let answer = self.joined(&id);
                work.answer(to, GroupAnswer::JoinGroup(answer));
            }
            State::Stable if same && !leads => {
                let answer = self.joined(&id);
                work.answer(to, GroupAnswer::JoinGroup(answer));
            }
            // The leader that joins again wants to assign again.
            _ => {
                self.update(&id, to, join, work);
                self.rebalance(desk, work);
            }
        }
    }

    fn update(&mut self, id: &str, to: ReplyTo, join: JoinGroup, work: &mut Work) {
        let member = self.members.get_mut(id).expect("it was checked");
        member.protocols = join.protocols;
        member.session_timeout_ms = join.session_timeout_ms;
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        // Its earlier question was asked by a connection that is gone.
        if let Some(before) = member.awaiting_join.replace(to) {
            let answer = JoinGroupAnswer::refused(ErrorCode::REBALANCE_IN_PROGRESS, id);
            work.answer(before, GroupAnswer::JoinGroup(answer));
        }
    }

    /// A static member comes back under a new id (KIP-345). A stable group goes on without a rebalance if its protocol
    /// stays the same; who still uses the old id is fenced.
    fn replace_static(
        &mut self,
        to: ReplyTo,
        before_id: &str,
        id: String,
        join: JoinGroup,
        desk: &Desk<'_>,
        work: &mut Work,
    ) {
        let Some(mut member) = self.members.remove(before_id) else { return };
        self.answer_parked(&mut member, ErrorCode::FENCED_INSTANCE_ID, work);
        let before = Box::new(member.clone());
        self.pending_sync.remove(before_id);
        let led = self.leader.as_deref() == Some(before_id);
        if led {
            self.leader = Some(id.clone());
        }
        let skips = join.supports_skipping_assignment;
        if let Some(instance) = &join.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        member.id.clone_from(&id);
        member.client = join.client;
        member.protocols = join.protocols;
        member.session_timeout_ms = join.session_timeout_ms;
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.deadline = Some(desk.now.after_ms(member.session_timeout_ms.into()));
        self.members.insert(id.clone(), member);
        if self.state == State::Stable && self.select_protocol() == self.protocol {
            let mut answer = self.joined(&id);
            if led && skips {
                answer.skip_assignment = true;
            } else if led {
                // Older clients would assign at once, in a generation that has its assignments: they are told of a leader
                // that is not there any more.
                answer.leader = before_id.to_owned();
                answer.members = Vec::new();
            }
            self.write(None, work);
            work.effects.push(Effect::Replaced { to, answer, before });
            return;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.awaiting_join = Some(to);
        }
        self.rebalance(desk, work);
    }

    /// A static member's return could not be written: the one before it is a member again.
    pub(super) fn undo_replacement(&mut self, answer: &JoinGroupAnswer, before: Member, desk: &Desk<'_>) {
        if self.members.remove(&answer.member_id).is_none() {
            return;
        }
        if self.leader.as_ref() == Some(&answer.member_id) {
            self.leader = Some(before.id.clone());
        }
        if let Some(instance) = &before.instance_id {
            self.statics.insert(instance.clone(), before.id.clone());
        }
        let deadline = Some(desk.now.after_ms(before.session_timeout_ms.into()));
        self.members.insert(before.id.clone(), Member { deadline, ..before });
    }
}
