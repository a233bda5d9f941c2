//! The stages of a run and its end: heal, wait for full ISRs, drain, let groups catch up, audit, finish. Each wait has
//! a deadline. So has the short way out after Ctrl-C.

use std::collections::BTreeSet;

use metricstream_ledger::timeline::What;

use super::faults::Owner;
use super::message::{Action, End, FaultKind, Shortfall};
use super::view::{NodeState, some_of};
use super::{
    ANSWER_GRACE_S, AUDIT_DEADLINE_S, Conductor, INTERRUPT_DEADLINE_S, READY_DEADLINE_S, STOP_DEADLINE_S, micros,
    seconds,
};

/// Where a run is. Deadlines are on the driver's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The cluster starts. The deadline is set by the first event.
    Starting { deadline_us: Option<i64> },
    /// Load and timeline.
    Running,
    /// What is broken is being healed; each operation has its own deadline.
    Healing,
    /// For every ISR to be full.
    IsrWait { deadline_us: i64 },
    /// For producers to have sent what they owe.
    LoadWait { deadline_us: i64 },
    /// For outstanding sends.
    Draining { deadline_us: i64 },
    /// For groups to read to the end.
    GroupWait { deadline_us: i64 },
    /// For the audit.
    Auditing { deadline_us: i64 },
    /// Ctrl-C: heal, stop.
    Interrupted { deadline_us: i64 },
    /// Nothing follows.
    Finished,
}

impl Stage {
    const fn doing(self) -> &'static str {
        match self {
            Self::Starting { .. } => "the cluster started",
            Self::Running => "the timeline ran",
            Self::Healing => "the cluster was being healed",
            Self::IsrWait { .. } => "waiting for full ISRs",
            Self::LoadWait { .. } => "producers sent what they owed",
            Self::Draining { .. } => "waiting for outstanding sends",
            Self::GroupWait { .. } => "groups read to the end",
            Self::Auditing { .. } => "the audit ran",
            Self::Interrupted { .. } => "stopping",
            Self::Finished => "nothing was left to do",
        }
    }
}

impl Conductor {
    /// Moves the stage forward; whether it moved.
    pub(super) fn advance_stage(&mut self, out: &mut Vec<Action>) -> bool {
        match self.stage {
            Stage::Starting { deadline_us: None } => {
                self.stage = Stage::Starting { deadline_us: Some(self.in_s(READY_DEADLINE_S)) };
                true
            }
            Stage::Starting { deadline_us: Some(deadline_us) } => {
                self.past(deadline_us) && {
                    self.fall_short(Shortfall::NeverReady { waited_s: READY_DEADLINE_S }, out);
                    self.finish(End::NeverReady, out)
                }
            }
            Stage::Running => self.end_load_once_healed(out) || self.end_timeline(),
            Stage::Healing => self.heal(out),
            Stage::IsrWait { deadline_us } => self.wait_for_isr(deadline_us, out),
            Stage::LoadWait { deadline_us } => self.wait_for_load(deadline_us, out),
            Stage::Draining { deadline_us } => {
                self.past(deadline_us) && {
                    self.fall_short(Shortfall::DrainUnanswered { waited_s: self.scenario.settle.drain_s }, out);
                    self.begin_group_wait(out)
                }
            }
            Stage::GroupWait { deadline_us } => {
                self.past(deadline_us) && {
                    let all: Vec<String> =
                        self.scenario.workload.groups.iter().map(|group| group.name.clone()).collect();
                    self.groups_caught_up(&all, out);
                    true
                }
            }
            Stage::Auditing { deadline_us } => {
                self.past(deadline_us) && {
                    self.fall_short(Shortfall::AuditUnanswered { waited_s: self.audit_s() }, out);
                    self.finish(End::Complete, out)
                }
            }
            Stage::Interrupted { deadline_us } => {
                let healing = self.ask_heals(out);
                let stopped = !self.awaits_answers() && self.load_ended;
                healing || ((stopped || self.past(deadline_us)) && self.finish(End::Interrupted, out))
            }
            Stage::Finished => false,
        }
    }

    pub(super) fn stage_wakes(&self, wakes: &mut Vec<i64>) {
        match self.stage {
            Stage::Starting { deadline_us } => wakes.extend(deadline_us),
            Stage::Running => wakes.push(self.load_ends_us.unwrap_or_else(|| self.healed_limit_us())),
            Stage::IsrWait { deadline_us }
            | Stage::LoadWait { deadline_us }
            | Stage::Draining { deadline_us }
            | Stage::GroupWait { deadline_us }
            | Stage::Auditing { deadline_us }
            | Stage::Interrupted { deadline_us } => wakes.push(deadline_us),
            Stage::Healing | Stage::Finished => {}
        }
    }

    const fn past(&self, deadline_us: i64) -> bool {
        self.now_us >= deadline_us
    }

    fn in_s(&self, seconds: f64) -> i64 {
        self.now_us.saturating_add(micros(seconds))
    }

    fn audit_s(&self) -> f64 {
        2.0f64.mul_add(self.load_s(), AUDIT_DEADLINE_S)
    }

    /// How long load lasted, or was to last, seconds.
    fn load_s(&self) -> f64 {
        seconds(self.load_ends_us.unwrap_or(self.now_us).saturating_sub(self.origin_us))
    }

    /// Where the scenario does not say how long load lasts: until all is normal again and a while longer, or the limit.
    /// Whether the end became known.
    fn end_load_once_healed(&mut self, out: &mut Vec<Action>) -> bool {
        if self.load_ends_us.is_some() {
            return false;
        }
        if self.load_ended {
            self.load_ends_us = Some(self.now_us);
            return true;
        }
        let through = self.timeline_is_over() && !self.awaits_answers();
        let lacks = self.normal_lacks();
        let at_us = if through && lacks.is_empty() {
            self.in_s(self.scenario.workload.settle_s)
        } else if self.past(self.healed_limit_us()) {
            let missing = if lacks.is_empty() { "the timeline's end".to_owned() } else { some_of(&lacks) };
            self.fall_short(Shortfall::NotHealed { load_s: self.load_s(), missing }, out);
            self.now_us
        } else {
            return false;
        };
        self.load_ends_us = Some(at_us);
        out.push(Action::EndLoad { at_us });
        true
    }

    /// What is lacking of a cluster that is normal again: every broker up, every ISR full, every group that has members
    /// stable. What the timeline left broken no step will mend; then it is enough that the cluster has noticed.
    fn normal_lacks(&self) -> Vec<String> {
        let broken = self.view.broken().into_iter().map(|(id, _)| id).chain(self.cut_off());
        let broken: Vec<i32> = broken.filter(|id| self.view.brokers().contains(id)).collect();
        if !broken.is_empty() {
            return self.view.fenced_lacks(&broken);
        }
        let mut lacks = self.view.isr_full_lacks();
        for group in self.scenario.workload.groups.iter().filter(|group| self.view.has_members(&group.name)) {
            let of_group = self.view.group_stable_lacks(&group.name).into_iter();
            lacks.extend(of_group.map(|lack| format!("{}: {lack}", group.name)));
        }
        lacks
    }

    /// Load need not have ended by itself: what it still owes after an outage it can only send once that is healed.
    fn end_timeline(&mut self) -> bool {
        let over = self.timeline_is_over() && !self.awaits_answers();
        let over = over && (self.load_ended || self.load_ends_us.is_some_and(|ends_us| self.past(ends_us)));
        if over {
            self.stage = Stage::Healing;
        }
        over
    }

    fn heal(&mut self, out: &mut Vec<Action>) -> bool {
        if self.scenario.settle.heal && self.ask_heals(out) {
            return true;
        }
        if self.awaits_answers() {
            return false;
        }
        let broken: Vec<i32> = self.view.broken().into_iter().map(|(id, _)| id).collect();
        let links = self.cut_off();
        if self.scenario.settle.heal || (broken.is_empty() && links.is_empty()) {
            self.stage = Stage::IsrWait { deadline_us: self.in_s(self.scenario.settle.isr_full_s) };
        } else {
            let nodes: BTreeSet<i32> = broken.into_iter().chain(links).collect();
            let nodes: Vec<i32> = nodes.into_iter().collect();
            self.fall_short(Shortfall::LeftBroken { nodes: self.view.names(&nodes) }, out);
            self.begin_load_wait();
        }
        true
    }

    /// Asks for each broken node to be healed, once; whether any was asked for.
    fn ask_heals(&mut self, out: &mut Vec<Action>) -> bool {
        let mut asked = false;
        for (id, state) in self.view.broken() {
            if self.view.nodes.get(&id).is_some_and(|node| node.busy) || !self.heal_tried.insert(id) {
                continue;
            }
            let kind = if state == NodeState::Paused { FaultKind::Resume } else { FaultKind::Start };
            let target = self.view.name(id);
            self.ask_fault(&format!("settle/{kind}/{id}"), kind, vec![id], target, Owner::Settle, out);
            asked = true;
        }
        self.ask_to_mend(out) || asked
    }

    fn wait_for_isr(&mut self, deadline_us: i64, out: &mut Vec<Action>) -> bool {
        let lacks = self.view.isr_full_lacks();
        if !lacks.is_empty() {
            if !self.past(deadline_us) {
                return false;
            }
            let waited_s = self.scenario.settle.isr_full_s;
            self.fall_short(Shortfall::IsrNotFull { waited_s, missing: some_of(&lacks) }, out);
        }
        self.begin_load_wait();
        true
    }

    fn begin_load_wait(&mut self) {
        self.stage = Stage::LoadWait { deadline_us: self.in_s(self.scenario.settle.drain_s) };
    }

    fn wait_for_load(&mut self, deadline_us: i64, out: &mut Vec<Action>) -> bool {
        if !self.load_ended {
            if !self.past(deadline_us) {
                return false;
            }
            if !self.load_stopped {
                self.fall_short(Shortfall::LoadStopped { waited_s: self.scenario.settle.drain_s }, out);
                self.stop_load(out);
                self.stage = Stage::LoadWait { deadline_us: self.in_s(STOP_DEADLINE_S) };
                return true;
            }
            self.fall_short(Shortfall::LoadStillRunning { waited_s: STOP_DEADLINE_S }, out);
        }
        let deadline_us = self.in_s(self.scenario.settle.drain_s);
        out.push(Action::Drain { deadline_us });
        self.stage = Stage::Draining { deadline_us: deadline_us.saturating_add(micros(ANSWER_GRACE_S)) };
        true
    }

    fn stop_load(&mut self, out: &mut Vec<Action>) {
        if !self.load_ended && !self.load_stopped {
            self.load_stopped = true;
            out.push(Action::StopLoad);
        }
    }

    pub(super) fn drained(&mut self, open: u64, out: &mut Vec<Action>) {
        if !matches!(self.stage, Stage::Draining { .. }) {
            return;
        }
        if open > 0 {
            self.fall_short(Shortfall::SendsOpen { open, waited_s: self.scenario.settle.drain_s }, out);
        }
        self.begin_group_wait(out);
    }

    fn begin_group_wait(&mut self, out: &mut Vec<Action>) -> bool {
        if self.scenario.workload.groups.is_empty() {
            return self.begin_audit(out);
        }
        let deadline_us = self.in_s(self.scenario.settle.group_catch_up_s);
        out.push(Action::WaitGroups { deadline_us });
        self.stage = Stage::GroupWait { deadline_us: deadline_us.saturating_add(micros(ANSWER_GRACE_S)) };
        true
    }

    pub(super) fn groups_caught_up(&mut self, behind: &[String], out: &mut Vec<Action>) {
        if !matches!(self.stage, Stage::GroupWait { .. }) {
            return;
        }
        if !behind.is_empty() {
            let waited_s = self.scenario.settle.group_catch_up_s;
            self.fall_short(Shortfall::GroupsBehind { groups: behind.join(", "), waited_s }, out);
        }
        self.begin_audit(out);
    }

    fn begin_audit(&mut self, out: &mut Vec<Action>) -> bool {
        let deadline_us = self.in_s(self.audit_s());
        out.push(Action::Audit { deadline_us });
        self.stage = Stage::Auditing { deadline_us: deadline_us.saturating_add(micros(ANSWER_GRACE_S)) };
        true
    }

    pub(super) fn audit_finished(&mut self, ok: bool, why: Option<&str>, out: &mut Vec<Action>) {
        if !matches!(self.stage, Stage::Auditing { .. }) {
            return;
        }
        if !ok {
            let why = why.unwrap_or("the audit reader gave no reason").to_owned();
            self.fall_short(Shortfall::AuditFailed { why }, out);
        }
        self.finish(End::Complete, out);
    }

    /// Ctrl-C. Once load began, what is broken is healed and load stopped, within a deadline; a second one, or one when
    /// nothing of that is left to do, finishes at once.
    pub(super) fn interrupted(&mut self, out: &mut Vec<Action>) {
        let doing = self.stage.doing().to_owned();
        match self.stage {
            Stage::Interrupted { .. } => {
                self.finish(End::Interrupted, out);
            }
            Stage::Running | Stage::Healing | Stage::IsrWait { .. } | Stage::LoadWait { .. } => {
                self.fall_short(Shortfall::Interrupted { doing }, out);
                self.stop_load(out);
                self.stage = Stage::Interrupted { deadline_us: self.in_s(INTERRUPT_DEADLINE_S) };
            }
            Stage::Starting { .. } | Stage::Draining { .. } | Stage::GroupWait { .. } | Stage::Auditing { .. } => {
                self.fall_short(Shortfall::Interrupted { doing }, out);
                if !matches!(self.stage, Stage::Starting { .. }) {
                    // Nothing is done in it, and yet it says why sends are open at the end.
                    self.emit(self.now_us, What::Phase { name: "interrupted".to_owned() }, None, out);
                }
                self.finish(End::Interrupted, out);
            }
            Stage::Finished => {}
        }
    }

    fn finish(&mut self, end: End, out: &mut Vec<Action>) -> bool {
        self.stage = Stage::Finished;
        out.push(Action::Finish { end, shortfalls: self.shortfalls.clone() });
        true
    }
}
