//! What members of a generation do: ask for their part, show that they live, commit, leave. And what silence does.

use std::collections::BTreeMap;

use bytes::Bytes;
use metricstream_wire::ErrorCode;

use super::{ClassicGroup, State};
use crate::group::gather::ReplyTo;
use crate::group::messages::{
    GroupAnswer, Heartbeat, LeaveGroup, LeaveGroupAnswer, OffsetCommit, SyncGroup, SyncGroupAnswer,
};
use crate::group::work::{Desk, Effect, Work};

impl ClassicGroup {
    /// Whether there is such a member. An instance is only the member that it is now.
    pub(super) fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            return match self.statics.get(instance) {
                Some(now) if now == id => Ok(()),
                Some(_) => Err(ErrorCode::FENCED_INSTANCE_ID),
                None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            };
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    fn check_generation(&self, id: &str, instance: Option<&str>, generation: i32) -> Result<(), ErrorCode> {
        self.check_member(id, instance)?;
        if generation == self.generation { Ok(()) } else { Err(ErrorCode::ILLEGAL_GENERATION) }
    }

    fn heard_of(&mut self, id: &str, desk: &Desk<'_>) {
        if let Some(member) = self.members.get_mut(id) {
            member.deadline = Some(desk.now.after_ms(member.session_timeout_ms.into()));
        }
    }

    fn has_synced(&mut self, id: &str) {
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            self.sync_deadline = None;
        }
    }

    /// A member asks for its part; the leader brings everyone's.
    pub(in crate::group) fn sync(&mut self, to: ReplyTo, sync: SyncGroup, desk: &Desk<'_>, work: &mut Work) {
        if let Err(error) = self.check_sync(&sync) {
            work.answer(to, GroupAnswer::SyncGroup(SyncGroupAnswer { error, ..SyncGroupAnswer::default() }));
            return;
        }
        self.has_synced(&sync.member_id);
        let leads = self.leader.as_ref() == Some(&sync.member_id);
        let Some(member) = self.members.get_mut(&sync.member_id) else { return };
        if self.state == State::Stable {
            let assignment = member.assignment.clone();
            self.heard_of(&sync.member_id, desk);
            let answer = self.synced(assignment);
            work.answer(to, GroupAnswer::SyncGroup(answer));
            return;
        }
        // Its earlier question was asked by a connection that is gone.
        if let Some(before) = member.awaiting_sync.replace(to) {
            let answer = SyncGroupAnswer { error: ErrorCode::REBALANCE_IN_PROGRESS, ..SyncGroupAnswer::default() };
            work.answer(before, GroupAnswer::SyncGroup(answer));
        }
        if leads {
            let mut assignments: BTreeMap<String, Bytes> = sync.assignments.into_iter().collect();
            assignments.retain(|id, _| self.members.contains_key(id));
            for id in self.members.keys() {
                assignments.entry(id.clone()).or_default();
            }
            self.write(Some(&assignments), work);
            work.effects.push(Effect::Synced { generation: self.generation, assignments });
        }
    }

    fn check_sync(&self, sync: &SyncGroup) -> Result<(), ErrorCode> {
        self.check_generation(&sync.member_id, sync.instance_id.as_deref(), sync.generation)?;
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && said != is;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol_name, &self.protocol) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        match self.state {
            State::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    pub(in crate::group) fn heartbeat(&mut self, beat: &Heartbeat, desk: &Desk<'_>) -> ErrorCode {
        if let Err(error) = self.check_generation(&beat.member_id, beat.instance_id.as_deref(), beat.generation) {
            return error;
        }
        self.heard_of(&beat.member_id, desk);
        match self.state {
            State::Empty => ErrorCode::UNKNOWN_MEMBER_ID,
            State::PreparingRebalance => ErrorCode::REBALANCE_IN_PROGRESS,
            State::CompletingRebalance | State::Stable => ErrorCode::NONE,
        }
    }

    /// Members leave, of themselves or by an administrator's hand.
    pub(in crate::group) fn leave(&mut self, leave: LeaveGroup, desk: &Desk<'_>, work: &mut Work) -> LeaveGroupAnswer {
        let mut answers = Vec::with_capacity(leave.members.len());
        let mut changed = false;
        for (id, instance) in leave.members {
            let error = self.leave_one(&id, instance.as_deref(), work);
            changed |= error.is_none();
            answers.push((id, instance, error));
        }
        if changed && self.state != State::Empty {
            self.rebalance(desk, work);
        }
        LeaveGroupAnswer { error: ErrorCode::NONE, members: answers }
    }

    fn leave_one(&mut self, id: &str, instance: Option<&str>, work: &mut Work) -> ErrorCode {
        // An administrator names the instance only.
        let by_instance = instance.filter(|_| id.is_empty()).and_then(|i| self.statics.get(i).cloned());
        if instance.is_none() && self.pending.remove(id).is_some() {
            return ErrorCode::NONE;
        }
        let id = by_instance.unwrap_or_else(|| id.to_owned());
        if let Err(error) = self.check_member(&id, instance) {
            return error;
        }
        self.remove(&id, work);
        ErrorCode::NONE
    }

    /// Takes a member out. Whoever calls it says what that means for the group.
    pub(super) fn remove(&mut self, id: &str, work: &mut Work) {
        let Some(mut member) = self.members.remove(id) else { return };
        self.answer_parked(&mut member, ErrorCode::UNKNOWN_MEMBER_ID, work);
        self.has_synced(id);
        if let Some(instance) = &member.instance_id {
            self.statics.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Whether somebody may commit offsets: a member of this generation, or anybody while the group is empty.
    pub(in crate::group) fn check_commit(&mut self, commit: &OffsetCommit, desk: &Desk<'_>) -> Result<(), ErrorCode> {
        let generation = commit.generation_or_member_epoch;
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        let named = generation >= 0 || !commit.member_id.is_empty() || commit.instance_id.is_some();
        if !named {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.check_generation(&commit.member_id, commit.instance_id.as_deref(), generation)?;
        if self.state == State::CompletingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.heard_of(&commit.member_id, desk);
        Ok(())
    }

    /// Everything whose time has come.
    pub(in crate::group) fn on_timer(&mut self, desk: &Desk<'_>, work: &mut Work) {
        let pending = self.pending.len();
        self.pending.retain(|_, deadline| !desk.now.reached(*deadline));
        let silent = self.silent_members(desk);
        let changed = !silent.is_empty();
        for id in silent {
            self.remove(&id, work);
        }
        if changed {
            self.rebalance(desk, work);
        } else if self.pending.len() < pending {
            self.maybe_complete_join(desk, work);
        }
        if self.join_phase.is_some_and(|phase| desk.now.reached(phase.deadline)) {
            self.join_time_is_up(desk, work);
        }
        if self.sync_deadline.is_some_and(|deadline| desk.now.reached(deadline)) {
            self.sync_time_is_up(desk, work);
        }
    }

    /// Members whose session is over. One that waits for an answer of ours is not silent, unless it is new.
    fn silent_members(&mut self, desk: &Desk<'_>) -> Vec<String> {
        let mut silent = Vec::new();
        for member in self.members.values_mut() {
            if !member.deadline.is_some_and(|deadline| desk.now.reached(deadline)) {
                continue;
            }
            if !member.is_new && (member.awaiting_join.is_some() || member.awaiting_sync.is_some()) {
                member.deadline = None;
            } else {
                silent.push(member.id.clone());
            }
        }
        silent
    }

    /// Members that joined and never asked for their part go.
    fn sync_time_is_up(&mut self, desk: &Desk<'_>, work: &mut Work) {
        self.sync_deadline = None;
        let late = std::mem::take(&mut self.pending_sync);
        if late.is_empty() || !matches!(self.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        for id in late {
            self.remove(&id, work);
        }
        self.rebalance(desk, work);
    }
}
