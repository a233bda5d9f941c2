//! What a run looks like while it goes on: told of timeline events and of the load's counters, it knows at any moment
//! what stands, what is broken, what comes next. [`frame`] lays it out as rows of text for a terminal of a given size.
//!
//! It decides nothing about the run and reads no clock: whoever draws says what time it is.

mod frame;
mod lines;
mod load;
mod steps;

use std::collections::{BTreeMap, VecDeque};

use metricstream_ledger::timeline::{PartitionState, TimelineEvent, What};
use metricstream_scenario::{Controllers, Scenario};

use crate::story::{Change, Coalesced, tell_changes};
use crate::tally::{Names, same_set};
use crate::view::{Tone, topology_parts};

pub use frame::{Moment, Row, Span, frame};
pub use lines::{Line, line};
pub use load::Counts;
use load::Readings;

/// Lines of the timeline that are kept for the view's end.
const TAIL_MAX: usize = 64;

/// What a node's process is known to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Starting,
    Up,
    Killed,
    Stopped,
    Paused,
}

#[derive(Debug, Clone)]
struct Node {
    process: Process,
    broker: bool,
    /// The controller holds it fenced; known of brokers only.
    fenced: bool,
    /// The newest broker epoch seen: what an older life left behind says nothing of this one.
    epoch: i64,
}

#[derive(Debug, Clone)]
struct Partition {
    now: PartitionState,
    /// As load found it; what set-up did is no change.
    first: PartitionState,
}

impl Partition {
    fn changed(&self) -> bool {
        self.now.leader != self.first.leader || !same_set(&self.now.isr, &self.first.isr)
    }
}

#[derive(Debug, Clone)]
struct GroupState {
    name: String,
    /// Present members and what they own, once they said so.
    members: BTreeMap<String, Option<Vec<String>>>,
}

/// The state of a run as it is known so far. Grows no further than the scenario is large.
#[derive(Debug, Clone)]
pub struct Live {
    title: String,
    header: Vec<String>,
    engine: String,
    /// How long load lasts; `None`: until all is normal again.
    duration_s: Option<f64>,
    /// The last time that the timeline names.
    planned_s: f64,
    nodes: BTreeMap<i32, Node>,
    controller: Option<i32>,
    partitions: BTreeMap<(String, i32), Partition>,
    groups: Vec<GroupState>,
    steps: Vec<steps::Step>,
    phase: Option<String>,
    /// What the program itself is at, before and after the run proper.
    doing: Option<String>,
    readings: Readings,
    tail: VecDeque<(Option<i64>, Line)>,
    changes: Coalesced,
    names: Names,
}

impl Live {
    /// Nothing has happened yet. `engine` is the engine's name.
    #[must_use]
    pub fn new(scenario: &Scenario, engine: &str, seed: u64) -> Self {
        let mut header = vec![engine.to_owned()];
        header.extend(topology_parts(scenario));
        header.push(format!("seed {seed}"));
        let node = |broker| Node { process: Process::Starting, broker, fenced: false, epoch: -1 };
        let mut nodes: BTreeMap<i32, Node> =
            (1..).take(scenario.topology.brokers as usize).map(|id| (id, node(true))).collect();
        if let Controllers::Separate(count) = scenario.topology.controllers {
            let first = metricstream_scenario::text::FIRST_CONTROLLER_ID;
            nodes.extend((first..).take(count as usize).map(|id| (id, node(false))));
        }
        let groups = scenario.workload.groups.iter().map(|group| GroupState {
            name: group.name.clone(),
            members: group.members.iter().map(|member| (member.clone(), None)).collect(),
        });
        Self {
            title: scenario.name.clone(),
            header,
            engine: engine.to_owned(),
            duration_s: scenario.workload.duration_s,
            planned_s: scenario.last_planned_s(),
            nodes,
            controller: None,
            partitions: BTreeMap::new(),
            groups: groups.collect(),
            steps: steps::of(scenario),
            phase: None,
            doing: None,
            readings: Readings::default(),
            tail: VecDeque::new(),
            changes: Coalesced::default(),
            names: Names::new(scenario),
        }
    }

    /// The program does something that takes a while and is no part of the run: it starts the cluster, or ends it.
    pub fn doing(&mut self, text: &str) {
        let text = crate::text::clean(text);
        self.tell(None, Line { tone: Tone::Faint, text: text.clone() });
        self.doing = Some(text);
    }

    /// Counters of the load, read a few times a second.
    pub fn counts(&mut self, counts: Counts) {
        self.readings.push(counts);
    }

    /// One event of the timeline.
    pub fn event(&mut self, event: &TimelineEvent) {
        steps::learn(&mut self.steps, event, &self.engine);
        match &event.what {
            What::Partition(state) => return self.partition(event.at_us, state),
            What::TopicDeleted { topic } => self.partitions.retain(|(name, _), _| name != topic),
            What::Assignment { group, member, partitions, .. } => self.assignment(group, member, partitions),
            What::Member { group, member, change } => self.member(group, member, change),
            // It stands above, and would only push other lines out.
            What::Phase { name } => return self.phase = Some(name.clone()),
            other => self.node(other),
        }
        if let Some(line) = line(event, &self.engine) {
            self.end_changes();
            self.tell(Some(event.at_us), line);
        }
    }

    fn node(&mut self, what: &What) {
        match what {
            What::ClusterReady { .. } => {
                // From here on the run speaks for itself.
                self.doing = None;
                for node in self.nodes.values_mut().filter(|node| node.process == Process::Starting) {
                    (node.process, node.fenced) = (Process::Up, false);
                }
            }
            What::Controller { node, .. } => self.controller = self.nodes.contains_key(node).then_some(*node),
            What::BrokerRegistered { broker, broker_epoch } => self.broker(*broker, *broker_epoch, true),
            What::BrokerFenced { broker, broker_epoch } => self.broker(*broker, *broker_epoch, true),
            What::BrokerUnfenced { broker, broker_epoch } => self.broker(*broker, *broker_epoch, false),
            // Links are no processes.
            What::Fault { kind, .. } | What::Healed { kind, .. }
                if matches!(kind.as_str(), "partition" | "isolate" | "slow-link" | "mend" | "mend-slow") => {}
            What::Fault { kind, nodes, .. } | What::Healed { kind, nodes, .. } => {
                nodes.iter().for_each(|id| self.process(*id, kind));
            }
            _ => {}
        }
    }

    fn process(&mut self, id: i32, kind: &str) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.process = match kind {
            "kill" => Process::Killed,
            "stop" => Process::Stopped,
            "pause" => Process::Paused,
            // A broker is up when the controller says so; a controller has nobody to say it.
            "start" | "start-wiped" | "start-reformatted" if node.broker => Process::Starting,
            _ => Process::Up,
        };
        if matches!(node.process, Process::Killed | Process::Stopped) && self.controller == Some(id) {
            self.controller = None;
        }
    }

    fn broker(&mut self, id: i32, epoch: i64, fenced: bool) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if epoch < node.epoch {
            return;
        }
        node.epoch = epoch;
        node.fenced = fenced;
        if !fenced && node.process == Process::Starting {
            node.process = Process::Up;
        }
    }

    fn partition(&mut self, at_us: i64, state: &PartitionState) {
        if !self.names.knows(&state.topic) {
            return;
        }
        if let Some(done) = self.changes.push(at_us, state) {
            self.tell_group(&done);
        }
        let key = (state.topic.clone(), state.partition);
        match self.partitions.get_mut(&key) {
            Some(known) => {
                known.now = state.clone();
                if at_us < 0 {
                    known.first = state.clone();
                }
            }
            None => {
                self.partitions.insert(key, Partition { now: state.clone(), first: state.clone() });
            }
        }
    }

    fn assignment(&mut self, group: &str, member: &str, partitions: &[String]) {
        if let Some(group) = self.groups.iter_mut().find(|g| g.name == group) {
            group.members.insert(member.to_owned(), Some(partitions.to_vec()));
        }
    }

    fn member(&mut self, group: &str, member: &str, change: &str) {
        let Some(group) = self.groups.iter_mut().find(|g| g.name == group) else { return };
        match change {
            "join" => {
                group.members.entry(member.to_owned()).or_default();
            }
            "leave" | "crash" => {
                group.members.remove(member);
            }
            _ => {}
        }
    }

    fn end_changes(&mut self) {
        if let Some(done) = self.changes.flush() {
            self.tell_group(&done);
        }
    }

    fn tell_group(&mut self, group: &[Change]) {
        if let Some((at_us, line)) = self.told(group) {
            self.tell(Some(at_us), line);
        }
    }

    fn told(&self, group: &[Change]) -> Option<(i64, Line)> {
        let (tone, text) = tell_changes(group, &self.names)?;
        Some((group.first()?.at_us, Line { tone, text }))
    }

    fn tell(&mut self, at_us: Option<i64>, line: Line) {
        if self.tail.len() >= TAIL_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back((at_us, line));
    }

    /// The newest lines, oldest first; changes of partitions that belong together are one.
    fn newest(&self, count: usize) -> Vec<(Option<i64>, Line)> {
        let pending = self.told(self.changes.pending()).map(|(at_us, line)| (Some(at_us), line));
        let all = self.tail.len() + usize::from(pending.is_some());
        self.tail.iter().cloned().chain(pending).skip(all.saturating_sub(count)).collect()
    }
}

#[cfg(test)]
mod tests;
