//! One partition of `__consumer_offsets` and the groups that hash to it.
//!
//! A shard takes one step at a time: a request, a timer of a group, what follows from a commit. While the append of a step
//! is untold, further steps wait, so that a failed append takes back exactly its own step. What waits for the high
//! watermark waits here too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use metricstream_wire::ErrorCode;
use metricstream_wire::WireError;
use metricstream_wire::group_record::GroupRecord;
use metricstream_wire::record_batch::Batch;

use super::gather::ReplyTo;
use super::load::Loading;
use super::messages::{GroupAnswer, GroupRequest};
use super::records::{Group, State, encoded};
use super::work::{Desk, Effect, Emitted, Work, failed};
use super::{DEFERRED_MAX, Ticket};
use crate::flaws::Flaws;
use crate::time::Ns;

mod requests;
mod retention;

/// A step to take.
#[derive(Debug)]
enum Step {
    /// A request.
    Request(ReplyTo, GroupRequest),
    /// What follows from a commit, or from a failure, of a group.
    Follow(String, Effect, Result<(), ErrorCode>),
    /// Look whether offsets of a group, or the group, have been kept long enough.
    Expire(String),
    /// Forget a group's offsets of these topics.
    Forget(String, Vec<String>),
}

/// The step whose append is untold.
#[derive(Debug)]
struct Untold {
    ticket: Ticket,
    group: String,
    undo: Vec<GroupRecord>,
    effects: Vec<Effect>,
}

/// Something that waits for an offset to be committed.
#[derive(Debug)]
struct Waiting {
    ticket: Option<Ticket>,
    group: String,
    deadline: Ns,
    effect: Effect,
}

#[derive(Debug)]
pub(super) struct Shard {
    leader_epoch: i32,
    /// While its log is being read.
    loading: Option<Loading>,
    state: State,
    high_watermark: i64,
    /// The end of the log when it was loaded: before it is committed, every group rests on something uncommitted.
    loaded_end: i64,
    /// The last record of each group that has any which are not committed.
    uncommitted: BTreeMap<String, i64>,
    untold: Option<Untold>,
    deferred: VecDeque<Step>,
    waiting: BTreeMap<(i64, u64), Waiting>,
    waiting_deadlines: BTreeSet<(Ns, (i64, u64))>,
    next_waiting: u64,
    timers: BTreeSet<(Ns, String)>,
    timer_of: BTreeMap<String, Ns>,
    next_retention_look: Ns,
}

impl Shard {
    pub(super) fn new(leader_epoch: i32) -> Self {
        Self {
            leader_epoch,
            loading: Some(Loading::default()),
            state: State::default(),
            high_watermark: 0,
            loaded_end: 0,
            uncommitted: BTreeMap::new(),
            untold: None,
            deferred: VecDeque::new(),
            waiting: BTreeMap::new(),
            waiting_deadlines: BTreeSet::new(),
            next_waiting: 0,
            timers: BTreeSet::new(),
            timer_of: BTreeMap::new(),
            next_retention_look: Ns::MAX,
        }
    }

    pub(super) const fn epoch(&self) -> i32 {
        self.leader_epoch
    }

    pub(super) fn set_epoch(&mut self, leader_epoch: i32) {
        self.leader_epoch = self.leader_epoch.max(leader_epoch);
    }

    pub(super) const fn is_loaded(&self) -> bool {
        self.loading.is_none()
    }

    pub(super) fn len(&self) -> usize {
        self.state.groups.len()
    }

    #[cfg(test)]
    pub(super) fn group(&self, id: &str) -> Option<&Group> {
        self.state.groups.get(id)
    }

    pub(super) fn load(&mut self, batch: &Batch, flaws: Flaws) -> Result<(), WireError> {
        match &mut self.loading {
            Some(loading) => loading.take(batch, &mut self.state, flaws),
            None => Ok(()),
        }
    }

    /// The coordinator takes office: every member gets a whole session, since nobody knows when it was last heard of.
    pub(super) fn loaded(&mut self, high_watermark: i64, desk: &Desk<'_>) {
        let Some(loading) = self.loading.take() else { return };
        self.loaded_end = loading.log_end;
        self.high_watermark = high_watermark;
        self.next_retention_look = desk.now.after_ms(desk.settings.offsets_retention_check_interval_ms.max(1));
        let groups: Vec<String> = self.state.groups.keys().cloned().collect();
        for id in groups {
            match self.state.groups.get_mut(&id) {
                Some(Group::Classic(group)) => group.start_sessions(desk),
                Some(Group::Consumer(group)) => group.start_sessions(desk),
                None => {}
            }
            self.set_timer(&id);
        }
    }

    /// Everything that was asked and not answered, refused: the coordinator is elsewhere now.
    pub(super) fn abandon(self) -> Vec<(ReplyTo, GroupAnswer)> {
        let mut effects: Vec<Effect> = self.waiting.into_values().map(|w| w.effect).collect();
        effects.extend(self.untold.into_iter().flat_map(|u| u.effects));
        let mut refused = Vec::new();
        for step in self.deferred {
            match step {
                Step::Request(to, request) => refused.push((to, request.refused(ErrorCode::NOT_COORDINATOR))),
                Step::Follow(_, effect, _) => effects.push(effect),
                Step::Expire(_) | Step::Forget(..) => {}
            }
        }
        for effect in effects {
            match effect {
                Effect::Answer(to, answer) => refused.push((to, answer.failed(ErrorCode::NOT_COORDINATOR))),
                Effect::Replaced { to, answer, .. } => {
                    refused.push((to, GroupAnswer::JoinGroup(answer).failed(ErrorCode::NOT_COORDINATOR)));
                }
                Effect::Synced { .. } | Effect::Created => {}
            }
        }
        for group in self.state.groups.into_values() {
            if let Group::Classic(group) = group {
                refused.extend(group.abandon());
            }
        }
        refused
    }

    pub(super) fn handle(&mut self, to: ReplyTo, request: GroupRequest, desk: &mut Desk<'_>) {
        if self.loading.is_some() || self.deferred.len() >= DEFERRED_MAX {
            desk.reply(to, request.refused(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
            return;
        }
        self.deferred.push_back(Step::Request(to, request));
        self.pump(desk);
    }

    /// Takes the steps that wait, until one of them has to append.
    fn pump(&mut self, desk: &mut Desk<'_>) {
        while self.untold.is_none() {
            let Some(step) = self.deferred.pop_front() else { return };
            let mut work = Work::default();
            let group = match step {
                Step::Request(to, request) => self.request(to, request, desk, &mut work),
                Step::Follow(group, effect, result) => {
                    if let Some(Group::Classic(classic)) = self.state.groups.get_mut(&group) {
                        classic.follow(effect, result, desk, &mut work);
                    } else if let Effect::Replaced { to, answer, .. } = effect {
                        work.answer(to, GroupAnswer::JoinGroup(answer).failed(ErrorCode::UNKNOWN_MEMBER_ID));
                    }
                    group
                }
                Step::Expire(group) => {
                    self.expire(&group, desk, &mut work);
                    group
                }
                Step::Forget(group, topics) => {
                    let of_them = |topic: &str, _, _: &_| topics.iter().any(|t| t == topic);
                    self.state.offsets.forget(&group, of_them, &mut work);
                    group
                }
            };
            self.finish(group, work, desk);
        }
    }

    /// Ends a step: appends its records, and lets its effects wait for what they rest on.
    fn finish(&mut self, group: String, work: Work, desk: &mut Desk<'_>) {
        debug_assert!(self.untold.is_none(), "one step at a time");
        if self.state.groups.get(&group).is_some_and(|g| matches!(g, Group::Classic(c) if c.is_void())) {
            self.state.groups.remove(&group);
        }
        if self.state.groups.get(&group).is_some_and(|g| matches!(g, Group::Consumer(c) if c.is_void())) {
            self.state.groups.remove(&group);
        }
        self.set_timer(&group);
        if work.records.is_empty() {
            let rests_on = self.rests_on(&group);
            for effect in work.effects {
                self.wait(rests_on, None, &group, effect, desk);
            }
            return;
        }
        let ticket = desk.new_ticket();
        let records = work.records.iter().map(encoded).collect();
        self.untold = Some(Untold { ticket, group, undo: work.undo, effects: work.effects });
        desk.emitted.push(Emitted::Append { records, ticket });
    }

    /// The offset that must be committed before anything is said about a group.
    fn rests_on(&self, group: &str) -> i64 {
        // A list is about all of them.
        let own = if group.is_empty() { self.uncommitted.values().max() } else { self.uncommitted.get(group) };
        own.copied().unwrap_or(-1).max(self.loaded_end - 1)
    }

    /// Lets an effect wait for an offset, or happen if that is committed.
    fn wait(&mut self, offset: i64, ticket: Option<Ticket>, group: &str, effect: Effect, desk: &mut Desk<'_>) {
        if offset < self.high_watermark {
            self.happen(group.to_owned(), effect, Ok(()), desk);
            return;
        }
        let deadline = desk.now.after_ms(desk.settings.offsets_commit_timeout_ms);
        let key = (offset, self.next_waiting);
        self.next_waiting += 1;
        self.waiting.insert(key, Waiting { ticket, group: group.to_owned(), deadline, effect });
        self.waiting_deadlines.insert((deadline, key));
    }

    fn happen(&mut self, group: String, effect: Effect, result: Result<(), ErrorCode>, desk: &mut Desk<'_>) {
        match (effect, result) {
            (Effect::Answer(to, answer), Ok(())) => desk.reply(to, answer),
            (Effect::Answer(to, answer), Err(error)) => desk.reply(to, failed(answer, error)),
            (effect, result) => self.deferred.push_back(Step::Follow(group, effect, result)),
        }
    }

    pub(super) fn appended(&mut self, ticket: Ticket, result: Result<i64, ErrorCode>, desk: &mut Desk<'_>) {
        let Some(untold) = self.untold.take_if(|untold| untold.ticket == ticket) else { return };
        let Untold { group, undo, effects, .. } = untold;
        match result {
            Ok(last_offset) => {
                if last_offset >= self.high_watermark {
                    self.uncommitted.insert(group.clone(), last_offset);
                }
                for effect in effects {
                    self.wait(last_offset, Some(ticket), &group, effect, desk);
                }
            }
            Err(error) => {
                // Before the group of the other kind, in whose place this one came, is there again.
                let mut work = Work::default();
                if let Some(Group::Classic(classic)) = self.state.groups.get_mut(&group)
                    && effects.iter().any(|effect| matches!(effect, Effect::Created))
                {
                    classic.follow(Effect::Created, Err(error), desk, &mut work);
                }
                for record in undo.into_iter().rev() {
                    self.state.apply(record);
                }
                // Sessions are not in records: a member that is there again is given a whole one.
                if let Some(Group::Consumer(consumer)) = self.state.groups.get_mut(&group) {
                    consumer.start_missing_sessions(desk);
                }
                self.set_timer(&group);
                for effect in work.effects.into_iter().chain(effects) {
                    self.happen(group.clone(), effect, Err(error), desk);
                }
            }
        }
        self.pump(desk);
    }

    pub(super) fn committed(&mut self, high_watermark: i64, desk: &mut Desk<'_>) {
        if high_watermark <= self.high_watermark {
            return;
        }
        self.high_watermark = high_watermark;
        self.uncommitted.retain(|_, offset| *offset >= high_watermark);
        let later = self.waiting.split_off(&(high_watermark, 0));
        for (key, waiting) in std::mem::replace(&mut self.waiting, later) {
            self.waiting_deadlines.remove(&(waiting.deadline, key));
            self.happen(waiting.group, waiting.effect, Ok(()), desk);
        }
        self.pump(desk);
    }

    pub(super) fn failed(&mut self, ticket: Ticket, error: ErrorCode, desk: &mut Desk<'_>) {
        let keys: Vec<_> = self.waiting.iter().filter(|(_, w)| w.ticket == Some(ticket)).map(|(k, _)| *k).collect();
        self.give_up(&keys, error, desk);
    }

    fn give_up(&mut self, keys: &[(i64, u64)], error: ErrorCode, desk: &mut Desk<'_>) {
        for key in keys {
            if let Some(waiting) = self.waiting.remove(key) {
                self.waiting_deadlines.remove(&(waiting.deadline, *key));
                self.happen(waiting.group, waiting.effect, Err(error), desk);
            }
        }
        self.pump(desk);
    }

    pub(super) fn topics_deleted(&mut self, topics: &[String], desk: &mut Desk<'_>) {
        if self.loading.is_none() {
            let groups = self.state.offsets.groups_with(topics);
            self.deferred.extend(groups.into_iter().map(|group| Step::Forget(group, topics.to_vec())));
            self.pump(desk);
        }
    }

    fn set_timer(&mut self, group: &str) {
        let next = match self.state.groups.get(group) {
            Some(Group::Classic(classic)) => classic.next_timer(),
            Some(Group::Consumer(consumer)) => consumer.next_timer(),
            None => None,
        };
        if let Some(before) = self.timer_of.remove(group) {
            self.timers.remove(&(before, group.to_owned()));
        }
        if let Some(next) = next {
            self.timers.insert((next, group.to_owned()));
            self.timer_of.insert(group.to_owned(), next);
        }
    }

    /// Late answers are never held up; everything else waits while an append is untold.
    pub(super) fn next_timer(&self) -> Option<Ns> {
        let late = self.waiting_deadlines.first().map(|(deadline, _)| *deadline);
        if self.untold.is_some() || self.loading.is_some() {
            return late;
        }
        let group = self.timers.first().map(|(deadline, _)| *deadline);
        [late, group, Some(self.next_retention_look)].into_iter().flatten().min()
    }

    pub(super) fn on_timer(&mut self, desk: &mut Desk<'_>) {
        let late = self.waiting_deadlines.iter().take_while(|(deadline, _)| desk.now.reached(*deadline));
        let late: Vec<_> = late.map(|(_, key)| *key).collect();
        self.give_up(&late, ErrorCode::REQUEST_TIMED_OUT, desk);
        while self.untold.is_none() {
            let Some((_, group)) = self.timers.first().filter(|(deadline, _)| desk.now.reached(*deadline)) else {
                break;
            };
            let group = group.clone();
            let mut work = Work::default();
            match self.state.groups.get_mut(&group) {
                Some(Group::Classic(classic)) => classic.on_timer(desk, &mut work),
                Some(Group::Consumer(consumer)) => consumer.on_timer(desk, &mut work),
                None => {}
            }
            self.finish(group, work, desk);
        }
        if self.loading.is_none() && desk.now.reached(self.next_retention_look) {
            self.next_retention_look = desk.now.after_ms(desk.settings.offsets_retention_check_interval_ms.max(1));
            let groups: BTreeSet<&String> = self.state.groups.keys().chain(self.state.offsets.groups()).collect();
            self.deferred.extend(groups.into_iter().cloned().map(Step::Expire));
            self.pump(desk);
        }
    }
}
