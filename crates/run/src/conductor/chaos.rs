//! Seeded random faults: drawn one after another, each healed after a drawn time, never more at once than the cluster
//! can heal from. What is drawn depends on the seed, the step and the events, on nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use metricstream_scenario::Step;
use rand_chacha::ChaCha8Rng;

use super::faults::Owner;
use super::message::{Action, FaultKind};
use super::steps::Progress;
use super::target::{pick, step_rng, unit};
use super::view::NodeState;
use super::{Conductor, micros};

/// Faults are no closer than this on average, µs, whatever a scenario asks for.
const SPACING_MIN_US: f64 = 50_000.0;

#[derive(Debug)]
pub(super) struct Chaos {
    rng: ChaCha8Rng,
    spacing_us: f64,
    kinds: Vec<FaultKind>,
    /// No fault begins then or later, and what is broken is healed.
    ends_us: i64,
    next_us: i64,
    count: u32,
    heals: Vec<Heal>,
    hit: BTreeSet<i32>,
}

/// A node that is to be healed.
#[derive(Debug, Clone, PartialEq)]
struct Heal {
    fault: String,
    node: i32,
    due_us: i64,
}

impl Chaos {
    /// Between `from` and `to` times the mean spacing, evenly.
    fn draw_us(&mut self, from: f64, to: f64) -> i64 {
        (self.spacing_us * (from + (to - from) * unit(&mut self.rng))) as i64
    }
}

impl Conductor {
    pub(super) fn begin_chaos(
        &mut self,
        index: usize,
        step: &Step,
        for_s: f64,
        every_s: f64,
        kinds: &[String],
        out: &mut Vec<Action>,
    ) {
        let known = [FaultKind::Kill, FaultKind::Stop, FaultKind::Pause];
        let unknown = kinds.iter().find(|kind| known.iter().all(|known| known.as_str() != kind.as_str()));
        if let Some(why) = match unknown {
            Some(kind) => Some(format!("`{kind}` is not one of kill, stop, pause")),
            None if kinds.is_empty() => Some("it has no kinds; name some of kill, stop, pause".to_owned()),
            None => None,
        } {
            return self.unresolved(index, step, why, out);
        }
        let mut chaos = Chaos {
            rng: step_rng(self.seed, &step.id),
            spacing_us: (every_s * 1e6).max(SPACING_MIN_US),
            kinds: known.into_iter().filter(|known| kinds.iter().any(|kind| kind == known.as_str())).collect(),
            ends_us: self.now_us.saturating_add(micros(for_s)),
            next_us: self.now_us,
            count: 0,
            heals: Vec::new(),
            hit: BTreeSet::new(),
        };
        chaos.next_us = self.now_us.saturating_add(chaos.draw_us(0.25, 1.0));
        self.chaos.insert(index, chaos);
        self.steps[index] = Progress::Running;
    }

    /// A fault of chaos was carried out: its nodes are to be healed, at the end of chaos at the latest.
    pub(super) fn chaos_hit(&mut self, index: usize, fault: &str, nodes: &[i32], due_us: i64) {
        let Some(chaos) = self.chaos.get_mut(&index) else { return };
        for node in nodes {
            chaos.hit.insert(*node);
            chaos.heals.push(Heal { fault: fault.to_owned(), node: *node, due_us: due_us.min(chaos.ends_us) });
        }
    }

    /// Moves one step of chaos forward; whether any moved.
    pub(super) fn advance_chaos(&mut self, out: &mut Vec<Action>) -> bool {
        let going: Vec<usize> = self.chaos.keys().copied().collect();
        going
            .into_iter()
            .any(|index| self.chaos_heals(index, out) || self.chaos_breaks(index, out) || self.chaos_ends(index))
    }

    fn chaos_heals(&mut self, index: usize, out: &mut Vec<Action>) -> bool {
        let Some(chaos) = self.chaos.get_mut(&index) else { return false };
        let (view, now_us) = (&self.view, self.now_us);
        let ready = |heal: &Heal| heal.due_us <= now_us && view.nodes.get(&heal.node).is_some_and(|node| !node.busy);
        let Some(at) = chaos.heals.iter().position(ready) else { return false };
        let heal = chaos.heals.remove(at);
        // By its present state: a step may have killed what chaos had paused, or started it already.
        let kind = match view.nodes.get(&heal.node).map(|node| node.state) {
            Some(NodeState::Killed | NodeState::Stopped) => FaultKind::Start,
            Some(NodeState::Paused) => FaultKind::Resume,
            Some(NodeState::Up) | None => return true,
        };
        let target = view.name(heal.node);
        let id = format!("{}/heal", heal.fault);
        self.ask_fault(&id, kind, vec![heal.node], target, Owner::ChaosHeal(index), out);
        true
    }

    fn chaos_breaks(&mut self, index: usize, out: &mut Vec<Action>) -> bool {
        let scenario = Arc::clone(&self.scenario);
        let Some(chaos) = self.chaos.get_mut(&index) else { return false };
        if self.now_us < chaos.next_us || self.now_us >= chaos.ends_us {
            return false;
        }
        let candidates: Vec<i32> = self.view.nodes.keys().copied().filter(|id| self.view.can_spare(*id)).collect();
        let Some(node) = pick(&mut chaos.rng, &candidates) else {
            return false;
        };
        let Some(kind) = pick(&mut chaos.rng, &chaos.kinds) else { return false };
        let hold_us = chaos.draw_us(0.25, 0.75);
        chaos.next_us = self.now_us.saturating_add(chaos.draw_us(0.5, 1.5));
        chaos.count += 1;
        let id = format!("{}/{}", scenario.timeline[index].id, chaos.count);
        let target = format!("random node = {}", self.view.name(node));
        self.ask_fault(&id, kind, vec![node], target, Owner::Chaos { step: index, hold_us }, out);
        true
    }

    fn chaos_ends(&mut self, index: usize) -> bool {
        let of_chaos = |owner: Owner| match owner {
            Owner::Chaos { step, .. } | Owner::ChaosHeal(step) => step == index,
            Owner::Step(_) | Owner::Settle => false,
        };
        let busy = self.operations.values().any(|operation| !operation.expired && of_chaos(operation.owner));
        let over = |chaos: &Chaos| chaos.ends_us <= self.now_us && chaos.heals.is_empty() && !busy;
        if !self.chaos.get(&index).is_some_and(over) {
            return false;
        }
        let nodes = self.chaos.remove(&index).map(|chaos| chaos.hit.into_iter().collect()).unwrap_or_default();
        self.steps[index] = Progress::Done { at_us: self.now_us, nodes };
        true
    }

    pub(super) fn chaos_wakes(&self, wakes: &mut Vec<i64>) {
        for chaos in self.chaos.values() {
            wakes.extend([chaos.ends_us, chaos.next_us.min(chaos.ends_us)]);
            wakes.extend(chaos.heals.iter().map(|heal| heal.due_us));
        }
    }
}
