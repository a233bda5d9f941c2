//! The timeline: when a step is due, at a time or on a condition, and how it is begun.

use std::sync::Arc;

use metricstream_scenario::text::sides;
use metricstream_scenario::{Action as StepAction, Condition, Member, Step, Target, When};

use super::faults::{MemberChange, Owner};
use super::links::groups_text;
use super::message::{Action, FaultKind, Shortfall};
use super::target::{Unresolved, resolve, step_rng, target_text};
use super::view::some_of;
use super::{Conductor, FAULT_DEADLINE_S, micros, seconds};

/// How far a step got.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Progress {
    /// Its condition has not held yet.
    Waiting,
    /// It is due then.
    Held { due_us: i64 },
    /// It is due, and waits until another fault on its nodes is answered.
    Blocked { deadline_us: i64 },
    /// It was asked for; chaos goes on.
    Running,
    /// It was carried out.
    Done { at_us: i64, nodes: Vec<i32> },
    /// It was not.
    Failed,
}

/// How far a step got, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepStatus {
    /// Waits for its condition.
    Waiting,
    /// Due at this time, on the driver's clock.
    Due(i64),
    /// Being carried out.
    Running,
    /// Carried out at this time.
    Done(i64),
    /// Could not be carried out.
    Failed,
}

impl Progress {
    pub(super) const fn status(&self) -> StepStatus {
        match self {
            Self::Waiting => StepStatus::Waiting,
            Self::Held { due_us } => StepStatus::Due(*due_us),
            Self::Blocked { .. } | Self::Running => StepStatus::Running,
            Self::Done { at_us, .. } => StepStatus::Done(*at_us),
            Self::Failed => StepStatus::Failed,
        }
    }

    const fn is_over(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed)
    }
}

/// What became of a condition.
enum Look {
    /// It holds, since then.
    Holds(i64),
    /// It does not yet.
    Lacks(Vec<String>),
    /// It never will.
    Impossible(String),
}

impl Conductor {
    pub(super) fn timeline_is_over(&self) -> bool {
        self.steps.iter().all(Progress::is_over)
    }

    pub(super) fn steps_that_are_over(&self) -> usize {
        self.steps.iter().filter(|progress| progress.is_over()).count()
    }

    /// Whether a step is being carried out, or will be at a time that is known.
    pub(super) fn a_step_is_under_way(&self) -> bool {
        self.steps.iter().any(|progress| !progress.is_over() && *progress != Progress::Waiting)
    }

    /// In which order to look at the steps: when several are due, the one that was due first goes first.
    pub(super) fn steps_by_due_time(&self) -> Vec<usize> {
        let due_us = |index: &usize| match self.steps[*index] {
            Progress::Held { due_us } => due_us,
            _ => i64::MIN,
        };
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(due_us);
        order
    }

    /// Moves one step forward; whether it moved.
    pub(super) fn advance_step(&mut self, index: usize, out: &mut Vec<Action>) -> bool {
        let scenario = Arc::clone(&self.scenario);
        let step = &scenario.timeline[index];
        match self.steps[index] {
            Progress::Waiting => self.look_at_condition(index, step, out),
            Progress::Held { due_us } if due_us <= self.now_us => {
                let deadline_us = self.now_us.saturating_add(micros(FAULT_DEADLINE_S));
                self.steps[index] = Progress::Blocked { deadline_us };
                self.begin_step(index, step, out);
                true
            }
            Progress::Blocked { deadline_us } => {
                self.begin_step(index, step, out) || self.unblock(deadline_us, index, step, out)
            }
            Progress::Held { .. } | Progress::Running | Progress::Done { .. } | Progress::Failed => false,
        }
    }

    fn unblock(&mut self, deadline_us: i64, index: usize, step: &Step, out: &mut Vec<Action>) -> bool {
        if self.now_us < deadline_us {
            return false;
        }
        let why = format!("another fault on its nodes was not answered within {FAULT_DEADLINE_S} s");
        self.unresolved(index, step, why, out);
        true
    }

    fn look_at_condition(&mut self, index: usize, step: &Step, out: &mut Vec<Action>) -> bool {
        let When::On { condition, after_s, not_before_s, after_step } = &step.when else { return false };
        let not_before_us = self.origin_us.saturating_add(micros(*not_before_s));
        let after = after_step.as_ref().map(|step| self.look(&Condition::StepDone { step: step.clone() }));
        let look = match after {
            Some(Look::Impossible(why)) => Look::Impossible(why),
            Some(Look::Lacks(lacks)) => Look::Lacks(lacks),
            Some(Look::Holds(_)) | None => self.look(condition),
        };
        let condition = condition.to_string();
        let until_us = self.conditions_end_us().max(not_before_us);
        let shortfall = match look {
            Look::Holds(since_us) if self.now_us >= not_before_us => {
                let due_us = since_us.max(not_before_us).saturating_add(micros(*after_s));
                self.steps[index] = Progress::Held { due_us };
                return true;
            }
            Look::Impossible(why) => Shortfall::ConditionImpossible { step: step.id.clone(), condition, why },
            Look::Lacks(lacks) if self.now_us >= until_us => Shortfall::ConditionNeverHeld {
                step: step.id.clone(),
                condition,
                until_s: seconds(until_us - self.origin_us),
                missing: some_of(&lacks),
            },
            Look::Holds(_) | Look::Lacks(_) => return false,
        };
        self.steps[index] = Progress::Failed;
        self.fall_short_of(&step.id, shortfall, out);
        true
    }

    fn look(&self, condition: &Condition) -> Look {
        let lacks = match condition {
            Condition::IsrFull => self.view.isr_full_lacks(),
            Condition::LeadersKnown => self.view.leaders_known_lacks(),
            Condition::GroupStable { group } if !self.view.has_group(group) => {
                return Look::Impossible(format!("there is no group {group}"));
            }
            Condition::GroupStable { group } => self.view.group_stable_lacks(group),
            Condition::StepDone { step } => match self.progress(step) {
                Some(Progress::Done { at_us, .. }) => return Look::Holds(*at_us),
                other => return not_done(step, other),
            },
            Condition::Fenced { step } => match self.progress(step) {
                Some(Progress::Done { nodes, .. }) => {
                    if !nodes.iter().any(|id| self.view.brokers().contains(id)) {
                        return Look::Impossible(format!("step {step} hit no broker"));
                    }
                    self.view.fenced_lacks(nodes)
                }
                other => return not_done(step, other),
            },
        };
        if lacks.is_empty() { Look::Holds(self.now_us) } else { Look::Lacks(lacks) }
    }

    pub(super) fn progress(&self, id: &str) -> Option<&Progress> {
        let index = self.scenario.timeline.iter().position(|step| step.id == id)?;
        self.steps.get(index)
    }

    /// Begins a step that is due; whether it could, be it to fail. If not, it waits for a fault to be answered.
    fn begin_step(&mut self, index: usize, step: &Step, out: &mut Vec<Action>) -> bool {
        match &step.action {
            StepAction::Kill(target) => self.begin_fault(index, step, FaultKind::Kill, target, out),
            StepAction::Stop(target) => self.begin_fault(index, step, FaultKind::Stop, target, out),
            StepAction::Pause(target) => self.begin_fault(index, step, FaultKind::Pause, target, out),
            StepAction::Resume(target) => self.begin_fault(index, step, FaultKind::Resume, target, out),
            StepAction::Start(target) => self.begin_fault(index, step, FaultKind::Start, target, out),
            StepAction::StartWiped(target) => self.begin_fault(index, step, FaultKind::StartWiped, target, out),
            StepAction::StartReformatted(target) => {
                self.begin_fault(index, step, FaultKind::StartReformatted, target, out)
            }
            StepAction::Partition { .. }
            | StepAction::Isolate { .. }
            | StepAction::SlowLink { .. }
            | StepAction::Mend { .. } => self.begin_links(index, step, out),
            StepAction::MemberJoin(member) => self.begin_member(index, step, MemberChange::Join, member, out),
            StepAction::MemberLeave(member) => self.begin_member(index, step, MemberChange::Leave, member, out),
            StepAction::MemberCrash(member) => self.begin_member(index, step, MemberChange::Crash, member, out),
            StepAction::MemberStall { member, for_s } => {
                self.begin_member(index, step, MemberChange::Stall { for_us: micros(*for_s) }, member, out)
            }
            StepAction::Chaos { for_s, every_s, kinds } => {
                self.begin_chaos(index, step, *for_s, *every_s, kinds, out);
                true
            }
        }
    }

    fn begin_fault(
        &mut self,
        index: usize,
        step: &Step,
        kind: FaultKind,
        target: &Target,
        out: &mut Vec<Action>,
    ) -> bool {
        let mut rng = step_rng(self.seed, &step.id);
        let victims = |id: &str| match self.progress(id) {
            Some(Progress::Done { nodes, .. }) => Some(nodes.clone()),
            _ => None,
        };
        match resolve(&self.view, target, &|state| state.allows(kind), &mut rng, victims) {
            Err(Unresolved::Busy) => return false,
            Err(Unresolved::Never(why)) => self.unresolved(index, step, why, out),
            Ok(nodes) => {
                let text = target_text(&self.view, target, &nodes);
                self.steps[index] = Progress::Running;
                self.ask_fault(&step.id, kind, nodes, text, Owner::Step(index), out);
            }
        }
        true
    }

    fn begin_member(
        &mut self,
        index: usize,
        step: &Step,
        change: MemberChange,
        member: &Member,
        out: &mut Vec<Action>,
    ) -> bool {
        if self.member_is_busy(member) {
            return false;
        }
        let present = self.view.has_member(&member.group, &member.member);
        let why = match (change, present) {
            _ if !self.view.has_group(&member.group) => format!("there is no group {}", member.group),
            (MemberChange::Join, true) => "it is a member already".to_owned(),
            (MemberChange::Leave | MemberChange::Crash | MemberChange::Stall { .. }, false) => {
                "it is not a member".to_owned()
            }
            _ => {
                self.steps[index] = Progress::Running;
                self.ask_member(&step.id, change, member, Owner::Step(index), out);
                return true;
            }
        };
        self.unresolved(index, step, why, out);
        true
    }

    /// A step that is due and cannot be done.
    pub(super) fn unresolved(&mut self, index: usize, step: &Step, why: String, out: &mut Vec<Action>) {
        let (kind, target) = describe(&step.action);
        self.steps[index] = Progress::Failed;
        let shortfall = Shortfall::TargetUnresolved { step: step.id.clone(), kind: kind.to_owned(), target, why };
        self.fall_short_of(&step.id, shortfall, out);
    }

    pub(super) fn step_wakes(&self, wakes: &mut Vec<i64>) {
        for (step, progress) in self.scenario.timeline.iter().zip(&self.steps) {
            match (progress, &step.when) {
                (Progress::Held { due_us }, _) => wakes.push(*due_us),
                (Progress::Blocked { deadline_us }, _) => wakes.push(*deadline_us),
                (Progress::Waiting, When::On { not_before_s, .. }) => {
                    let not_before_us = self.origin_us.saturating_add(micros(*not_before_s));
                    wakes.extend([not_before_us, self.conditions_end_us()]);
                }
                _ => {}
            }
        }
    }
}

fn not_done(step: &str, progress: Option<&Progress>) -> Look {
    match progress {
        None => Look::Impossible(format!("there is no step {step}")),
        Some(Progress::Failed) => Look::Impossible(format!("step {step} was not carried out")),
        Some(_) => Look::Lacks(vec![format!("step {step} is not done")]),
    }
}

/// The scenario's words for an action and whom it meets.
fn describe(action: &StepAction) -> (&'static str, String) {
    match action {
        StepAction::Kill(target) => ("kill", target.to_string()),
        StepAction::Stop(target) => ("stop", target.to_string()),
        StepAction::Pause(target) => ("pause", target.to_string()),
        StepAction::Resume(target) => ("resume", target.to_string()),
        StepAction::Start(target) => ("start", target.to_string()),
        StepAction::StartWiped(target) => ("start-wiped", target.to_string()),
        StepAction::StartReformatted(target) => ("start-reformatted", target.to_string()),
        StepAction::Partition { groups } => ("partition", groups_text(groups)),
        StepAction::Isolate { target, .. } => ("isolate", target.to_string()),
        StepAction::SlowLink { between, .. } => ("slow-link", sides(between)),
        StepAction::Mend { step } => ("mend", step.clone().unwrap_or_else(|| "every link".to_owned())),
        StepAction::MemberJoin(who) => ("member-join", who.to_string()),
        StepAction::MemberLeave(who) => ("member-leave", who.to_string()),
        StepAction::MemberCrash(who) => ("member-crash", who.to_string()),
        StepAction::MemberStall { member: who, .. } => ("member-stall", who.to_string()),
        StepAction::Chaos { kinds, .. } => ("chaos", kinds.join(", ")),
    }
}
