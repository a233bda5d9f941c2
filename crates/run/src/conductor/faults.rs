//! What was asked of the engine and of the load, until it is answered; which faults are open and what heals them.

use std::collections::BTreeSet;

use metricstream_ledger::timeline::What;
use metricstream_scenario::Member;

use super::links::LinksAsked;
use super::message::{Action, FaultKind, Shortfall};
use super::steps::Progress;
use super::{Conductor, FAULT_DEADLINE_S, micros};

/// Something that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) what: Asked,
    pub(super) owner: Owner,
    pub(super) deadline_us: i64,
    /// It was not answered in time and counts as failed. Should the answer come after all, what it says of nodes is
    /// still true.
    pub(super) expired: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Asked {
    Fault { kind: FaultKind, nodes: Vec<i32>, target: String, active_controller: bool },
    Links(LinksAsked),
    Member { change: MemberChange, member: Member },
}

/// What happens to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberChange {
    Join,
    Leave,
    Crash,
    Stall { for_us: i64 },
}

impl MemberChange {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Crash => "crash",
            Self::Stall { .. } => "stall",
        }
    }
}

/// On whose behalf it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A step of the timeline, by index.
    Step(usize),
    /// A fault of a step of chaos, to be healed after this long.
    Chaos { step: usize, hold_us: i64 },
    /// The healing of such a fault.
    ChaosHeal(usize),
    /// The end of the run.
    Settle,
}

/// A fault of which nodes are not healed yet.
#[derive(Debug, Clone)]
pub(super) struct OpenFault {
    id: String,
    kind: FaultKind,
    nodes: BTreeSet<i32>,
}

impl Conductor {
    pub(super) fn ask_fault(
        &mut self,
        id: &str,
        kind: FaultKind,
        nodes: Vec<i32>,
        target: String,
        owner: Owner,
        out: &mut Vec<Action>,
    ) {
        let active_controller = self.view.controller().is_some_and(|id| nodes.contains(&id));
        self.view.set_busy(&nodes, true);
        if kind == FaultKind::StartReformatted {
            self.view.forget_if_reformatted(&nodes);
        }
        out.push(Action::Fault { step: id.to_owned(), kind, nodes: nodes.clone(), target: target.clone() });
        self.ask(id, Asked::Fault { kind, nodes, target, active_controller }, owner);
    }

    pub(super) fn ask_member(
        &mut self,
        id: &str,
        change: MemberChange,
        member: &Member,
        owner: Owner,
        out: &mut Vec<Action>,
    ) {
        let (step, who) = (id.to_owned(), member.clone());
        out.push(match change {
            MemberChange::Join => {
                // From now on: its first assignment may be seen before we hear that it was started.
                self.view.add_member(&member.group, &member.member);
                Action::MemberJoin { step, member: who }
            }
            MemberChange::Leave => Action::MemberLeave { step, member: who },
            MemberChange::Crash => Action::MemberCrash { step, member: who },
            MemberChange::Stall { for_us } => Action::MemberStall { step, member: who, for_us },
        });
        self.ask(id, Asked::Member { change, member: member.clone() }, owner);
    }

    pub(super) fn ask(&mut self, id: &str, what: Asked, owner: Owner) {
        let deadline_us = self.now_us.saturating_add(micros(FAULT_DEADLINE_S));
        self.operations.insert(id.to_owned(), Operation { what, owner, deadline_us, expired: false });
    }

    /// Whether something that was asked for may still be answered in time.
    pub(super) fn awaits_answers(&self) -> bool {
        self.operations.values().any(|operation| !operation.expired)
    }

    pub(super) fn member_is_busy(&self, member: &Member) -> bool {
        self.operations.values().any(|operation| {
            !operation.expired && matches!(&operation.what, Asked::Member { member: busy, .. } if busy == member)
        })
    }

    pub(super) fn fault_done(&mut self, id: &str, hit: &[i32], at_us: i64, out: &mut Vec<Action>) {
        if let Some(Operation { what: Asked::Links(_), .. }) = self.operations.get(id) {
            return self.links_done(id, at_us, out);
        }
        let is_fault = |operation: &Operation| matches!(operation.what, Asked::Fault { .. });
        if !self.operations.get(id).is_some_and(is_fault) {
            return;
        }
        let Some(operation) = self.operations.remove(id) else { return };
        let Asked::Fault { kind, nodes: asked, target, active_controller } = operation.what else { return };
        if !operation.expired {
            self.view.set_busy(&asked, false);
        }
        let nodes = if hit.is_empty() { asked } else { hit.to_vec() };
        let told =
            What::Fault { id: id.to_owned(), kind: kind.to_string(), target, nodes: nodes.clone(), active_controller };
        self.view.hit(kind, &nodes);
        self.fault_at_us = Some(at_us);
        if kind.heals() {
            // A start that takes the disk away breaks something too: it is told as a fault, then as what it heals.
            if matches!(kind, FaultKind::StartWiped | FaultKind::StartReformatted) {
                self.emit(at_us, told, None, out);
            }
            let by = if operation.owner == Owner::Settle { "settle" } else { id };
            self.close_faults(by, kind, &nodes, at_us, out);
        } else {
            self.any_fault = true;
            let fault = OpenFault { id: id.to_owned(), kind, nodes: nodes.iter().copied().collect() };
            self.open_faults.push(fault);
            self.emit(at_us, told, None, out);
        }
        match operation.owner {
            Owner::Step(index) if !operation.expired => self.steps[index] = Progress::Done { at_us, nodes },
            Owner::Chaos { step, hold_us } => self.chaos_hit(step, id, &nodes, at_us.saturating_add(hold_us)),
            Owner::Step(_) | Owner::ChaosHeal(_) | Owner::Settle => {}
        }
    }

    /// Tells of every open fault which of its nodes are healed now.
    fn close_faults(&mut self, by: &str, kind: FaultKind, nodes: &[i32], at_us: i64, out: &mut Vec<Action>) {
        for index in 0..self.open_faults.len() {
            let fault = &mut self.open_faults[index];
            // A process that is continued was paused; one that is started anew has nothing left of either.
            if kind == FaultKind::Resume && fault.kind != FaultKind::Pause {
                continue;
            }
            let healed: Vec<i32> = nodes.iter().copied().filter(|id| fault.nodes.remove(id)).collect();
            if !healed.is_empty() {
                let (id, by, kind) = (fault.id.clone(), by.to_owned(), kind.to_string());
                self.emit(at_us, What::Healed { id, by, kind, nodes: healed }, None, out);
            }
        }
        self.open_faults.retain(|fault| !fault.nodes.is_empty());
    }

    pub(super) fn member_done(&mut self, id: &str, at_us: i64, out: &mut Vec<Action>) {
        let is_member = |operation: &Operation| matches!(operation.what, Asked::Member { .. });
        if !self.operations.get(id).is_some_and(is_member) {
            return;
        }
        let Some(operation) = self.operations.remove(id) else { return };
        let Asked::Member { change, member } = operation.what else { return };
        if matches!(change, MemberChange::Leave | MemberChange::Crash) {
            self.view.remove_member(&member.group, &member.member);
        }
        let what = What::Member { group: member.group, member: member.member, change: change.as_str().to_owned() };
        self.emit(at_us, what, Some(id), out);
        if let (Owner::Step(index), false) = (operation.owner, operation.expired) {
            self.steps[index] = Progress::Done { at_us, nodes: Vec::new() };
        }
    }

    pub(super) fn operation_failed(&mut self, id: &str, shortfall: Shortfall, out: &mut Vec<Action>) {
        let Some(operation) = self.operations.remove(id) else { return };
        if !operation.expired {
            self.give_up(&operation);
            self.fall_short_of(id, shortfall, out);
        }
    }

    /// Gives up one operation that was not answered in time; whether there was one.
    pub(super) fn expire_operation(&mut self, out: &mut Vec<Action>) -> bool {
        let now_us = self.now_us;
        let overdue =
            self.operations.iter_mut().find(|(_, operation)| !operation.expired && operation.deadline_us <= now_us);
        let Some((id, operation)) = overdue else { return false };
        operation.expired = true;
        let (id, operation) = (id.clone(), operation.clone());
        let what = match &operation.what {
            Asked::Fault { kind, target, .. } => format!("{kind} {target}"),
            Asked::Links(asked) => format!("{} {}", asked.kind, asked.target),
            Asked::Member { change, member } => {
                format!("member-{} {member}", change.as_str())
            }
        };
        self.give_up(&operation);
        let shortfall = Shortfall::Unanswered { step: id.clone(), what, waited_s: FAULT_DEADLINE_S };
        self.fall_short_of(&id, shortfall, out);
        true
    }

    fn give_up(&mut self, operation: &Operation) {
        match &operation.what {
            Asked::Fault { nodes, .. } => self.view.set_busy(nodes, false),
            Asked::Member { change: MemberChange::Join, member } => {
                self.view.remove_member(&member.group, &member.member);
            }
            Asked::Links(_) | Asked::Member { .. } => {}
        }
        if let Owner::Step(index) = operation.owner {
            self.steps[index] = Progress::Failed;
        }
    }
}
