//! How a group forms a generation: a time to join, a choice of protocol and leader, a time to assign.

use std::collections::BTreeMap;

use bytes::Bytes;
use metricstream_wire::ErrorCode;

use super::{ClassicGroup, JoinPhase, Member, State};
use crate::group::messages::{GroupAnswer, JoinGroupAnswer, JoinedMember, SyncGroupAnswer};
use crate::group::work::{Desk, Effect, Work, told};

impl ClassicGroup {
    /// The members are others than before: a rebalance begins, or the one that goes on may now be complete.
    pub(super) fn rebalance(&mut self, desk: &Desk<'_>, work: &mut Work) {
        if self.state == State::PreparingRebalance {
            self.maybe_complete_join(desk, work);
        } else {
            self.prepare(desk, work);
        }
    }

    fn prepare(&mut self, desk: &Desk<'_>, work: &mut Work) {
        if self.state == State::CompletingRebalance {
            self.reset_assignments(ErrorCode::REBALANCE_IN_PROGRESS, desk, work);
        }
        self.pending_sync.clear();
        self.sync_deadline = None;
        let was_empty = self.state == State::Empty;
        self.transition(State::PreparingRebalance, desk);
        if was_empty {
            // More members are about to come, usually.
            let delay_ms = desk.settings.group_initial_rebalance_delay_ms;
            let left_ms = (self.rebalance_timeout_ms() - delay_ms).max(0);
            self.new_member_added = false;
            self.join_phase = Some(JoinPhase { deadline: desk.now.after_ms(delay_ms), initial_left_ms: Some(left_ms) });
        } else {
            self.wait_for_members(desk);
            self.maybe_complete_join(desk, work);
        }
    }

    fn wait_for_members(&mut self, desk: &Desk<'_>) {
        let deadline = desk.now.after_ms(self.rebalance_timeout_ms());
        self.join_phase = Some(JoinPhase { deadline, initial_left_ms: None });
    }

    /// The longest that any member may take.
    fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|m| i64::from(m.rebalance_timeout_ms)).max().unwrap_or(0)
    }

    pub(super) fn maybe_complete_join(&mut self, desk: &Desk<'_>, work: &mut Work) {
        let initial = self.join_phase.is_none_or(|phase| phase.initial_left_ms.is_some());
        let all = self.pending.is_empty() && self.members.values().all(|m| m.awaiting_join.is_some());
        if self.state == State::PreparingRebalance && all && !initial {
            self.complete_join(desk, work);
        }
    }

    /// The time of joining may be over.
    pub(super) fn join_time_is_up(&mut self, desk: &Desk<'_>, work: &mut Work) {
        let left_ms = self.join_phase.and_then(|phase| phase.initial_left_ms).unwrap_or(0);
        if self.new_member_added && left_ms > 0 {
            self.new_member_added = false;
            let delay_ms = desk.settings.group_initial_rebalance_delay_ms.min(left_ms);
            let initial_left_ms = Some((left_ms - delay_ms).max(0));
            self.join_phase = Some(JoinPhase { deadline: desk.now.after_ms(delay_ms), initial_left_ms });
        } else {
            self.complete_join(desk, work);
        }
    }

    /// A generation of those who have come. Static members that have not stay in it until their session ends.
    fn complete_join(&mut self, desk: &Desk<'_>, work: &mut Work) {
        self.join_phase = None;
        let missing = self.members.values().filter(|m| m.awaiting_join.is_none() && m.instance_id.is_none());
        let missing: Vec<String> = missing.map(|m| m.id.clone()).collect();
        for id in missing {
            self.remove(&id, work);
        }
        if !self.members.is_empty() && !self.has_joined_leader() {
            self.wait_for_members(desk);
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.transition(State::Empty, desk);
            self.write(None, work);
            return;
        }
        self.protocol = self.select_protocol();
        self.transition(State::CompletingRebalance, desk);
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id);
            let member = self.members.get_mut(&id).expect("it is one of them");
            member.deadline = Some(desk.now.after_ms(member.session_timeout_ms.into()));
            member.is_new = false;
            if let Some(to) = member.awaiting_join.take() {
                work.answer(to, GroupAnswer::JoinGroup(answer));
            }
            self.pending_sync.insert(id);
        }
        self.sync_deadline = Some(desk.now.after_ms(self.rebalance_timeout_ms()));
    }

    /// The leader is one who has come; a static one that has not hands over.
    fn has_joined_leader(&mut self) -> bool {
        let joined = |m: &Member| m.awaiting_join.is_some();
        if self.leader.as_ref().and_then(|id| self.members.get(id)).is_some_and(joined) {
            return true;
        }
        match self.members.values().find(|m| joined(m)) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// The protocol that most members prefer among those that all speak.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let common = |name: &str| self.members.values().all(|m| m.protocols.iter().any(|(n, _)| n == name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| common(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name.to_owned())
    }

    /// What a member hears of the generation.
    pub(super) fn joined(&self, id: &str) -> JoinGroupAnswer {
        let leads = self.leader.as_deref() == Some(id) && self.state != State::PreparingRebalance;
        let protocol = self.protocol.clone().unwrap_or_default();
        let member = |m: &Member| JoinedMember {
            member_id: m.id.clone(),
            instance_id: m.instance_id.clone(),
            metadata: m.metadata(&protocol),
        };
        JoinGroupAnswer {
            error: ErrorCode::NONE,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: id.to_owned(),
            members: if leads { self.members.values().map(member).collect() } else { Vec::new() },
            protocol_name: Some(protocol),
        }
    }

    /// What follows when a step's records are committed, or are not.
    pub(in crate::group) fn follow(
        &mut self,
        effect: Effect,
        result: Result<(), ErrorCode>,
        desk: &Desk<'_>,
        work: &mut Work,
    ) {
        match (effect, result) {
            (Effect::Synced { generation, assignments }, result) => {
                if self.state != State::CompletingRebalance || self.generation != generation {
                    return;
                }
                match result {
                    Ok(()) => self.stabilise(assignments, desk, work),
                    Err(error) => {
                        self.reset_assignments(told(error), desk, work);
                        self.rebalance(desk, work);
                    }
                }
            }
            (Effect::Created, Err(error)) if self.generation == 0 => self.never_was(told(error), work),
            (Effect::Created, _) => {}
            (Effect::Replaced { to, answer, before }, result) => {
                let answer = match result {
                    Ok(()) => GroupAnswer::JoinGroup(answer),
                    Err(error) => {
                        self.undo_replacement(&answer, *before, desk);
                        GroupAnswer::JoinGroup(answer).failed(told(error))
                    }
                };
                work.answer(to, answer);
            }
            (Effect::Answer(..), _) => unreachable!("answers leave without the group"),
        }
    }

    fn stabilise(&mut self, mut assignments: BTreeMap<String, Bytes>, desk: &Desk<'_>, work: &mut Work) {
        self.transition(State::Stable, desk);
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = |assignment| self.synced(assignment);
            let assignment = assignments.remove(&id).unwrap_or_default();
            let answer = answer(assignment.clone());
            let member = self.members.get_mut(&id).expect("it is one of them");
            member.assignment = assignment;
            if let Some(to) = member.awaiting_sync.take() {
                member.deadline = Some(desk.now.after_ms(member.session_timeout_ms.into()));
                work.answer(to, GroupAnswer::SyncGroup(answer));
            }
        }
    }

    pub(super) fn synced(&self, assignment: Bytes) -> SyncGroupAnswer {
        SyncGroupAnswer {
            error: ErrorCode::NONE,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment,
        }
    }

    /// Nobody has a part any more; who waits for one is told why.
    fn reset_assignments(&mut self, error: ErrorCode, desk: &Desk<'_>, work: &mut Work) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(to) = member.awaiting_sync.take() {
                member.deadline = Some(desk.now.after_ms(member.session_timeout_ms.into()));
                let answer = SyncGroupAnswer { error, ..SyncGroupAnswer::default() };
                work.answer(to, GroupAnswer::SyncGroup(answer));
            }
        }
    }

    /// The record of a new group was not written.
    fn never_was(&mut self, error: ErrorCode, work: &mut Work) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(mut member) = self.members.remove(&id) {
                self.answer_parked(&mut member, error, work);
            }
        }
        self.statics.clear();
        self.pending.clear();
        (self.state, self.join_phase, self.leader, self.recorded) = (State::Empty, None, None, false);
    }

    /// Answers what a member waits for.
    pub(super) fn answer_parked(&self, member: &mut Member, error: ErrorCode, work: &mut Work) {
        if let Some(to) = member.awaiting_join.take() {
            work.answer(to, GroupAnswer::JoinGroup(JoinGroupAnswer::refused(error, &member.id)));
        }
        if let Some(to) = member.awaiting_sync.take() {
            let answer = SyncGroupAnswer { error, ..SyncGroupAnswer::default() };
            work.answer(to, GroupAnswer::SyncGroup(answer));
        }
    }
}
