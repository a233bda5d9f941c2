//! The conductor: a run as one state machine, from events to actions. A function of scenario, seed and events.
//!
//! A run goes: starting → healthy → the timeline's steps, while load lasts → heal what is broken → every ISR full →
//! drain sends → groups catch up → audit → finish. Every wait has a deadline, and what was waited for in vain is named.
//!
//! `message` is its language, `view` what it knows, `steps` the timeline, `faults` what was asked of the engine, `links` what of it is about links,
//! `chaos` the random faults, `settle` the end. No clock, no IO: the driver feeds events and carries out actions.

mod chaos;
mod faults;
mod links;
mod message;
mod settle;
mod steps;
mod target;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use metricstream_ledger::timeline::{Clock, TimelineEvent, What};
use metricstream_scenario::{Scenario, When};

pub use message::{Action, End, Event, FaultKind, LinkKind, LinkRule, Party, Shortfall};
pub use steps::StepStatus;
pub use view::NodeState;

use chaos::Chaos;
use faults::{OpenFault, Operation};
use links::OpenLinks;
use settle::Stage;
use steps::Progress;
use view::View;

/// How long a cluster may take to become ready, seconds.
pub const READY_DEADLINE_S: f64 = 300.0;
/// How long the engine may take to answer a fault, seconds: a controlled shutdown or a start of a JVM among them.
pub const FAULT_DEADLINE_S: f64 = 120.0;
/// How long producers that were told to stop may take, seconds.
pub const STOP_DEADLINE_S: f64 = 30.0;
/// The least deadline of the audit, seconds; twice the duration of load is added, for there is that much to read.
pub const AUDIT_DEADLINE_S: f64 = 120.0;
/// How much later than the deadline it was given the driver may answer, seconds.
const ANSWER_GRACE_S: f64 = 2.0;

/// A fault's time is stamped beside the signal, not by it.
const FAULT_ERROR_US: i64 = 1_000;

/// The conductor of one run.
#[derive(Debug)]
pub struct Conductor {
    scenario: Arc<Scenario>,
    seed: u64,
    /// The newest time that was observed.
    now_us: i64,
    /// When load started: the scenario's second 0.
    origin_us: i64,
    stage: Stage,
    view: View,
    /// One for each step of the timeline.
    steps: Vec<Progress>,
    /// Steps of chaos that go on, by index.
    chaos: BTreeMap<usize, Chaos>,
    /// What was asked of the engine or the load, by the id that the answer carries.
    operations: BTreeMap<String, Operation>,
    open_faults: Vec<OpenFault>,
    /// What steps did to links and none undid yet.
    open_links: Vec<OpenLinks>,
    /// The end of the run tried to mend all links.
    mend_tried: bool,
    any_fault: bool,
    load_ended: bool,
    load_stopped: bool,
    /// Ctrl-C: what is left of the timeline is not carried out.
    interrupted: bool,
    /// Nodes that the end of the run tried to heal; each once.
    heal_tried: BTreeSet<i32>,
    shortfalls: Vec<Shortfall>,
    phase: Option<String>,
    /// When the present phase began; none begins before.
    phase_at_us: i64,
    /// When the fault happened that was answered last, until a phase begins with it.
    fault_at_us: Option<i64>,
    wake_us: Option<i64>,
}

impl Conductor {
    /// A conductor at the start of a run.
    #[must_use]
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        Self {
            scenario: Arc::new(scenario.clone()),
            seed,
            now_us: i64::MIN,
            origin_us: 0,
            stage: Stage::Starting { deadline_us: None },
            view: View::new(scenario),
            steps: vec![Progress::Waiting; scenario.timeline.len()],
            chaos: BTreeMap::new(),
            operations: BTreeMap::new(),
            open_faults: Vec::new(),
            open_links: Vec::new(),
            mend_tried: false,
            any_fault: false,
            load_ended: false,
            load_stopped: false,
            interrupted: false,
            heal_tried: BTreeSet::new(),
            shortfalls: Vec::new(),
            phase: None,
            phase_at_us: i64::MIN,
            fault_at_us: None,
            wake_us: None,
        }
    }

    /// Takes an event in and appends what is to be done to `out`.
    ///
    /// `now_us` is microseconds on the driver's clock, which must not jump: the zero of the scenario is wherever on it
    /// [`Action::StartLoad`] was, and times in actions are on it too. A driver whose run clock begins with load passes
    /// 0 together with [`Event::ClusterReady`] and negative times before.
    pub fn observe(&mut self, now_us: i64, event: &Event, out: &mut Vec<Action>) {
        if self.finished() {
            return;
        }
        self.now_us = self.now_us.max(now_us);
        self.absorb(event, out);
        // Each turn moves a step, a fault or the stage forward, so this ends.
        loop {
            self.begin_phase(out);
            if self.finished() || !self.advance(out) {
                break;
            }
        }
        let wake_us = self.next_wake_us();
        if wake_us != self.wake_us {
            self.wake_us = wake_us;
            out.extend(wake_us.map(Action::WakeAt));
        }
    }

    /// When it wants [`Event::Tick`], unless something else happens before. `None` when only an event can move it.
    #[must_use]
    pub fn next_wake_us(&self) -> Option<i64> {
        if self.finished() {
            return None;
        }
        let mut wakes = Vec::new();
        self.stage_wakes(&mut wakes);
        wakes.extend(self.operations.values().filter(|operation| !operation.expired).map(|o| o.deadline_us));
        if matches!(self.stage, Stage::Running) {
            self.step_wakes(&mut wakes);
            self.chaos_wakes(&mut wakes);
        }
        // What is due already and did not happen waits for an event, not for time.
        wakes.into_iter().filter(|wake_us| *wake_us > self.now_us).min()
    }

    /// Whether [`Action::Finish`] was given.
    #[must_use]
    pub fn finished(&self) -> bool {
        matches!(self.stage, Stage::Finished)
    }

    /// The state of every node, by id, from the faults that were carried out.
    pub fn nodes(&self) -> impl Iterator<Item = (i32, NodeState)> + '_ {
        self.view.nodes.iter().map(|(id, node)| (*id, node.state))
    }

    /// Every step of the timeline and how far it got.
    pub fn steps(&self) -> impl Iterator<Item = (&str, StepStatus)> + '_ {
        self.scenario.timeline.iter().zip(&self.steps).map(|(step, progress)| (step.id.as_str(), progress.status()))
    }

    /// What the run fell short of so far.
    #[must_use]
    pub fn shortfalls(&self) -> &[Shortfall] {
        &self.shortfalls
    }

    fn absorb(&mut self, event: &Event, out: &mut Vec<Action>) {
        match event {
            Event::ClusterReady { bootstrap, took_ms } => self.cluster_ready(bootstrap, *took_ms, out),
            Event::Timeline(event) => self.view.learn(&event.what),
            Event::FaultDone { step, nodes, at_us } => self.fault_done(step, nodes, *at_us, out),
            Event::FaultFailed { step, error } => {
                let shortfall = Shortfall::FaultFailed { step: step.clone(), error: error.clone() };
                self.operation_failed(step, shortfall, out);
            }
            Event::MemberDone { step, at_us } => self.member_done(step, *at_us, out),
            Event::MemberFailed { step, error } => {
                let shortfall = Shortfall::MemberFailed { step: step.clone(), error: error.clone() };
                self.operation_failed(step, shortfall, out);
            }
            Event::LoadEnded => self.load_ended = true,
            Event::Drained { open } => self.drained(*open, out),
            Event::GroupsCaughtUp { behind } => self.groups_caught_up(behind, out),
            Event::AuditFinished { ok, why } => self.audit_finished(*ok, why.as_deref(), out),
            Event::Tick => {}
            Event::Interrupted => self.interrupted(out),
        }
    }

    fn cluster_ready(&mut self, bootstrap: &str, took_ms: u64, out: &mut Vec<Action>) {
        if !matches!(self.stage, Stage::Starting { .. }) {
            return;
        }
        self.view.ready();
        self.origin_us = self.now_us;
        self.stage = Stage::Running;
        let scenario = Arc::clone(&self.scenario);
        for (progress, step) in self.steps.iter_mut().zip(&scenario.timeline) {
            if let When::At { at_s } = step.when {
                *progress = Progress::Held { due_us: self.origin_us.saturating_add(micros(at_s)) };
            }
        }
        self.emit(self.now_us, What::ClusterReady { bootstrap: bootstrap.to_owned(), took_ms }, None, out);
        out.push(Action::StartLoad { at_us: self.now_us });
    }

    /// Names the present phase after what is broken; the end of the run names its own.
    fn begin_phase(&mut self, out: &mut Vec<Action>) {
        let fault_at_us = self.fault_at_us.take();
        let name = match self.stage {
            Stage::Running | Stage::Healing | Stage::IsrWait { .. } => match self.broken_text() {
                Some(broken) => broken,
                None if !self.any_fault => "healthy".to_owned(),
                // "Healed" is not taken back by an ISR that shrinks without a fault: that is the cluster's business.
                None if self.phase.as_deref() == Some("healed") => return,
                None if self.view.isr_full_lacks().is_empty() => "healed".to_owned(),
                None => "recovering".to_owned(),
            },
            Stage::Draining { .. } => "drain".to_owned(),
            Stage::GroupWait { .. } => "catch-up".to_owned(),
            Stage::Auditing { .. } => "audit".to_owned(),
            Stage::Starting { .. } | Stage::LoadWait { .. } | Stage::Finished => return,
        };
        if self.phase.as_ref() != Some(&name) {
            // A phase that a fault began, began with the fault, not when we heard of it.
            let at_us = fault_at_us.unwrap_or(self.now_us).max(self.phase_at_us);
            self.phase_at_us = at_us;
            self.phase = Some(name.clone());
            self.emit(at_us, What::Phase { name }, None, out);
        }
    }

    /// One move; whether there was one.
    fn advance(&mut self, out: &mut Vec<Action>) -> bool {
        if self.expire_operation(out) {
            return true;
        }
        if matches!(self.stage, Stage::Running) {
            let order = self.steps_by_due_time();
            if order.into_iter().any(|index| self.advance_step(index, out)) || self.advance_chaos(out) {
                return true;
            }
        }
        self.advance_stage(out)
    }

    fn emit(&self, at_us: i64, what: What, cause: Option<&str>, out: &mut Vec<Action>) {
        let error_us = match what {
            What::Fault { .. } | What::Healed { .. } | What::Member { .. } => FAULT_ERROR_US,
            _ => 0,
        };
        let cause = cause.map(str::to_owned);
        out.push(Action::Emit(TimelineEvent { at_us, error_us, clock: Clock::Monotonic, what, cause }));
    }

    /// Records a shortfall that belongs to no step.
    fn fall_short(&mut self, shortfall: Shortfall, out: &mut Vec<Action>) {
        self.emit(self.now_us, What::Note { text: shortfall.to_string() }, None, out);
        self.shortfalls.push(shortfall);
    }

    /// Records that the fault or member action `id` was not carried out.
    fn fall_short_of(&mut self, id: &str, shortfall: Shortfall, out: &mut Vec<Action>) {
        let text = shortfall.to_string();
        let error = text.strip_prefix(&format!("step {id}: ")).unwrap_or(&text).to_owned();
        self.emit(self.now_us, What::FaultFailed { id: id.to_owned(), error }, None, out);
        self.shortfalls.push(shortfall);
    }

    fn load_ends_us(&self) -> i64 {
        self.origin_us.saturating_add(micros(self.scenario.workload.duration_s))
    }

    /// Until when steps may wait for their conditions: the end of load and the time to settle.
    fn conditions_end_us(&self) -> i64 {
        self.load_ends_us().saturating_add(micros(self.scenario.settle.isr_full_s))
    }
}

/// Seconds as microseconds. What is no number is 0; what is too large is the largest.
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}

/// Microseconds as seconds, for people: whole milliseconds.
fn seconds(us: i64) -> f64 {
    (us as f64 / 1e3).round() / 1e3
}
