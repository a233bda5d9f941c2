//! Which steps were carried out, when, on what, and until when each of them counts.
//!
//! The window of a fault ends when one of its nodes is started, resumed or reached again; of a start or resume at the next fault of a
//! node; of a member step at the next step about the same group. What happened inside a window is not known here.

use metricstream_scenario::model::{Action, Member, Scenario};

use crate::result::FaultRow;
use crate::timeline::{TimelineEvent, What};

use super::seconds;

/// Most steps that are kept; chaos can make many.
const STEPS_MAX: usize = 10_000;
/// Heals by one step within this time are one: the end of a run may heal several nodes, one after the other.
const SAME_STEP_US: u64 = 1_000_000;

/// What sort of step it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// Something was broken.
    Fault,
    /// Links were made slow: a condition of the run, nothing is broken by it.
    Slow,
    /// Nodes were started or resumed.
    Heal,
    /// A member of this group came, went, crashed or stalled.
    Member {
        /// `group.id`.
        group: String,
        /// Member name.
        member: String,
        /// `join`, `leave`, `crash`, `stall`, as the timeline said it.
        change: String,
    },
}

/// One step that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSeen {
    /// Step id.
    pub id: String,
    /// When it was carried out (t0).
    pub at_us: i64,
    /// ± this.
    pub error_us: i64,
    /// When its window ended; `None` while it is open.
    pub end_us: Option<i64>,
    /// Its sort.
    pub class: Class,
    /// `kill`, `stop`, `start`, …
    pub kind: String,
    /// As the timeline named it.
    pub target: String,
    /// Nodes that it touched.
    pub nodes: Vec<i32>,
    /// Whether the active controller was among them.
    pub active_controller: bool,
    /// When a fault was healed.
    pub healed_us: Option<i64>,
}

impl StepSeen {
    /// Whether `at_us` lies in the window.
    pub fn covers(&self, at_us: i64) -> bool {
        at_us >= self.at_us && self.end_us.is_none_or(|end_us| at_us < end_us)
    }
}

/// Whether a kind of step brings nodes back.
pub(crate) fn brings_back(kind: &str) -> bool {
    kind.starts_with("start") || kind.starts_with("restart") || keeps_its_life(kind)
}

/// Whether a kind of step brings back nodes whose processes had lived on.
pub(crate) fn keeps_its_life(kind: &str) -> bool {
    matches!(kind, "resume" | "mend")
}

/// Whether a kind of step cuts nodes off that live on.
pub fn cuts_off(kind: &str) -> bool {
    matches!(kind, "partition" | "isolate")
}

/// Every step that was carried out, in the order of the timeline.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Steps {
    seen: Vec<StepSeen>,
    /// The scenario's member steps: id, member and the change that each makes.
    members: Vec<(String, Member, &'static str)>,
    /// Steps that found no room.
    pub(crate) dropped: u64,
}

impl Steps {
    /// Of this scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let named = |step: &metricstream_scenario::model::Step| match &step.action {
            Action::MemberJoin(member) => Some((step.id.clone(), member.clone(), "join")),
            Action::MemberLeave(member) => Some((step.id.clone(), member.clone(), "leave")),
            Action::MemberCrash(member) => Some((step.id.clone(), member.clone(), "crash")),
            Action::MemberStall { member, .. } => Some((step.id.clone(), member.clone(), "stall")),
            _ => None,
        };
        Self { seen: Vec::new(), members: scenario.timeline.iter().filter_map(named).collect(), dropped: 0 }
    }

    /// Takes note of an event.
    pub fn observe(&mut self, event: &TimelineEvent) {
        match &event.what {
            What::Fault { id, kind, target, nodes, active_controller } => {
                let class = match kind.as_str() {
                    "slow-link" => Class::Slow,
                    kind if brings_back(kind) => Class::Heal,
                    _ => Class::Fault,
                };
                // A heal may be told twice, as a step and as what it healed.
                if class == Class::Heal && self.seen.iter().any(|step| step.id == *id) {
                    return;
                }
                self.begin(StepSeen {
                    id: id.clone(),
                    at_us: event.at_us,
                    error_us: event.error_us,
                    end_us: None,
                    class,
                    kind: kind.clone(),
                    target: target.clone(),
                    nodes: nodes.clone(),
                    active_controller: *active_controller,
                    healed_us: None,
                });
            }
            What::Healed { id, by, kind, nodes } => self.healed(event.at_us, id, by, kind, nodes),
            What::Member { group, member, change } => {
                let id = event.cause.clone().or_else(|| self.member_step(group, member, change));
                let Some(id) = id else { return };
                self.begin(StepSeen {
                    id,
                    at_us: event.at_us,
                    error_us: event.error_us,
                    end_us: None,
                    class: Class::Member { group: group.clone(), member: member.clone(), change: change.clone() },
                    kind: change.clone(),
                    target: format!("{group}/{member}"),
                    nodes: Vec::new(),
                    active_controller: false,
                    healed_us: None,
                });
            }
            _ => {}
        }
    }

    /// The scenario's step that makes this change and was not seen yet.
    fn member_step(&self, group: &str, member: &str, change: &str) -> Option<String> {
        let fits = |(id, named, makes): &&(String, Member, &'static str)| {
            named.group == group
                && named.member == member
                && change.contains(*makes)
                && !self.seen.iter().any(|step| step.id == *id)
        };
        self.members.iter().find(fits).map(|(id, ..)| id.clone())
    }

    fn begin(&mut self, step: StepSeen) {
        for earlier in self.seen.iter_mut().filter(|earlier| earlier.end_us.is_none()) {
            let ends = match (&step.class, &earlier.class) {
                (Class::Heal, Class::Fault) => step.nodes.iter().any(|node| earlier.nodes.contains(node)),
                // The first start ends the windows of what was broken; another fault ends those of what was healed.
                (Class::Fault, Class::Heal) => !step.nodes.is_empty(),
                (Class::Member { group, .. }, Class::Member { group: other, .. }) => group == other,
                _ => false,
            };
            if ends {
                earlier.end_us = Some(step.at_us);
            }
        }
        if self.seen.len() < STEPS_MAX {
            self.seen.push(step);
        } else {
            self.dropped += 1;
        }
    }

    fn healed(&mut self, at_us: i64, id: &str, by: &str, kind: &str, nodes: &[i32]) {
        let broke = |step: &&mut StepSeen| step.id == id && matches!(step.class, Class::Fault | Class::Slow);
        for fault in self.seen.iter_mut().filter(broke) {
            fault.healed_us = fault.healed_us.or(Some(at_us));
            fault.end_us = fault.end_us.or(Some(at_us));
        }
        let known = |step: &&mut StepSeen| {
            step.id == by && step.class == Class::Heal && at_us.abs_diff(step.at_us) < SAME_STEP_US
        };
        if let Some(known) = self.seen.iter_mut().find(known) {
            let new = nodes.iter().filter(|node| !known.nodes.contains(node)).copied().collect::<Vec<_>>();
            known.nodes.extend(new);
            return;
        }
        self.begin(StepSeen {
            id: by.to_owned(),
            at_us,
            error_us: 0,
            end_us: None,
            class: Class::Heal,
            kind: kind.to_owned(),
            target: String::new(),
            nodes: nodes.to_vec(),
            active_controller: false,
            healed_us: None,
        });
    }

    /// Every step, in order.
    pub fn all(&self) -> &[StepSeen] {
        &self.seen
    }

    /// The step with this id.
    pub fn get(&self, id: &str) -> Option<&StepSeen> {
        self.seen.iter().find(|step| step.id == id)
    }

    /// The step with this id; of a step of chaos, all that it did as one: its faults are named `ID/1`, `ID/2`, ….
    pub fn find(&self, id: &str) -> Option<StepSeen> {
        if let Some(step) = self.get(id) {
            return Some(step.clone());
        }
        let prefix = format!("{id}/");
        let mut parts = self.faults().filter(|step| step.id.starts_with(&prefix));
        let mut whole = parts.next()?.clone();
        whole.id = id.to_owned();
        for part in parts {
            whole.at_us = whole.at_us.min(part.at_us);
            whole.end_us = whole.end_us.zip(part.end_us).map(|(a, b)| a.max(b));
            whole.active_controller |= part.active_controller;
            whole.nodes.extend(part.nodes.iter().copied());
        }
        whole.nodes.sort_unstable();
        whole.nodes.dedup();
        Some(whole)
    }

    /// When something was first broken.
    pub fn first_fault_us(&self) -> Option<i64> {
        self.faults().map(|step| step.at_us).min()
    }

    /// The faults of nodes.
    pub fn faults(&self) -> impl Iterator<Item = &StepSeen> {
        self.seen.iter().filter(|step| step.class == Class::Fault)
    }

    /// The latest fault (and, where members count, member step) at or before `at_us`.
    pub fn preceding(&self, at_us: i64, members_too: bool) -> Option<&StepSeen> {
        let counts = |step: &&StepSeen| match step.class {
            Class::Fault => true,
            Class::Heal | Class::Slow => false,
            Class::Member { .. } => members_too,
        };
        self.seen.iter().filter(counts).filter(|step| step.at_us <= at_us).max_by_key(|step| step.at_us)
    }

    /// The latest fault that hit `node`, at or before `at_us`, or so little after it that its own clock does not tell.
    pub fn preceding_on(&self, node: i32, at_us: i64) -> Option<&StepSeen> {
        self.faults()
            .filter(|step| step.at_us - step.error_us <= at_us && step.nodes.contains(&node))
            .max_by_key(|step| step.at_us)
    }

    /// Whether a fault keeps `node` from working at `at_us`.
    pub fn is_down(&self, node: i32, at_us: i64) -> bool {
        self.preceding_on(node, at_us).is_some_and(|fault| self.back_us(fault, node).is_none_or(|back| at_us < back))
    }

    /// When a step brought `node` back after `fault`.
    pub fn back_us(&self, fault: &StepSeen, node: i32) -> Option<i64> {
        self.back_step(fault, node).map(|step| step.at_us)
    }

    /// The step that brought `node` back after `fault`.
    pub fn back_step(&self, fault: &StepSeen, node: i32) -> Option<&StepSeen> {
        let heals = self.seen.iter().filter(|step| step.class == Class::Heal && step.nodes.contains(&node));
        heals.filter(|step| step.at_us >= fault.at_us).min_by_key(|step| step.at_us)
    }

    /// The rows of the result: faults, slow links among them, and the steps that brought nodes back are their `healed_at_s`.
    pub(crate) fn fault_rows(&self) -> Vec<FaultRow> {
        let done = self.seen.iter().filter(|step| matches!(step.class, Class::Fault | Class::Slow));
        done.map(|step| {
            let back = step.nodes.iter().filter_map(|node| self.back_us(step, *node)).min();
            FaultRow {
                id: step.id.clone(),
                at_s: seconds(step.at_us),
                kind: step.kind.clone(),
                target: step.target.clone(),
                nodes: step.nodes.clone(),
                active_controller: step.active_controller,
                healed_at_s: step.healed_us.or(back).map(seconds),
            }
        })
        .collect()
    }
}
