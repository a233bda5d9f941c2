//! The phases of a run: `healthy`, `broker 2 down`, `broker 2 back`, `healed`. Everything that is split by phase is
//! split by these.
//!
//! `phase` events of the timeline name them. Where it has none, a fault, a heal, and the moment at which every ISR is full
//! again each begin one.

use std::collections::{BTreeMap, BTreeSet};

use crate::result::Phase;
use crate::timeline::{TimelineEvent, What};

use super::seconds;
use super::steps::{brings_back, cuts_off};

/// Most phases; what follows belongs to the last.
const PHASES_MAX: usize = 64;
/// Two boundaries closer than this are one, and the later name holds.
const SAME_BOUNDARY_US: i64 = 20_000;
/// Ids from here on are controllers of their own.
const FIRST_CONTROLLER: i32 = 101;

/// The phases so far.
#[derive(Debug)]
pub struct Phases {
    list: Vec<(i64, String)>,
    down: BTreeMap<i32, &'static str>,
    /// Started nodes that the controller has not let back in yet.
    coming_back: BTreeSet<i32>,
    /// The timeline names phases itself: then nothing is derived.
    told: bool,
    pub(crate) dropped: u64,
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            list: vec![(0, "healthy".to_owned())],
            down: BTreeMap::new(),
            coming_back: BTreeSet::new(),
            told: false,
            dropped: 0,
        }
    }
}

impl Phases {
    /// Takes note of an event; `isr_full` is whether every ISR is full after it.
    pub fn observe(&mut self, event: &TimelineEvent, isr_full: bool) {
        let at_us = event.at_us;
        match &event.what {
            What::Phase { name } => {
                self.told = true;
                self.begin(at_us, name.clone());
            }
            _ if self.told => {}
            What::Fault { kind, nodes, .. } if brings_back(kind) => self.back(at_us, nodes),
            What::Fault { kind, .. } if kind == "slow-link" => {}
            What::Fault { id, nodes, .. } if nodes.is_empty() => self.begin(at_us, format!("after {id}")),
            What::Fault { kind, nodes, .. } => {
                let state = match kind.as_str() {
                    "pause" => "paused",
                    kind if cuts_off(kind) => "cut off",
                    _ => "down",
                };
                for node in nodes {
                    self.down.insert(*node, state);
                    self.coming_back.remove(node);
                }
                self.begin(at_us, self.name_of_down());
            }
            What::Healed { nodes, .. } => self.back(at_us, nodes),
            What::BrokerUnfenced { broker, .. } => {
                self.coming_back.remove(broker);
                self.perhaps_healed(at_us, isr_full);
            }
            What::Partition(state) => {
                self.coming_back.retain(|node| !state.isr.contains(node));
                self.perhaps_healed(at_us, isr_full);
            }
            _ => {}
        }
    }

    fn back(&mut self, at_us: i64, nodes: &[i32]) {
        let mut back = Vec::new();
        for node in nodes {
            if self.down.remove(node).is_some() {
                back.push(*node);
                if *node < FIRST_CONTROLLER {
                    self.coming_back.insert(*node);
                }
            }
        }
        if back.is_empty() {
            return;
        }
        let name = if self.down.is_empty() { format!("{} back", nodes_named(&back)) } else { self.name_of_down() };
        self.begin(at_us, name);
    }

    fn perhaps_healed(&mut self, at_us: i64, isr_full: bool) {
        let degraded = self.list.last().is_some_and(|(_, name)| name.contains(" back"));
        if isr_full && degraded && self.down.is_empty() && self.coming_back.is_empty() {
            self.begin(at_us, "healed".to_owned());
        }
    }

    fn name_of_down(&self) -> String {
        let mut states: Vec<&'static str> = self.down.values().copied().collect();
        states.sort_unstable();
        states.dedup();
        let named = |state: &&str| {
            let nodes: Vec<i32> = self.down.iter().filter(|(_, is)| *is == state).map(|(node, _)| *node).collect();
            format!("{} {state}", nodes_named(&nodes))
        };
        states.iter().map(named).collect::<Vec<_>>().join(", ")
    }

    fn begin(&mut self, at_us: i64, name: String) {
        let at_us = at_us.max(0);
        if self.list.len() >= PHASES_MAX {
            self.dropped += 1;
            return;
        }
        if let Some((last_us, last)) = self.list.last_mut()
            && at_us <= last_us.saturating_add(SAME_BOUNDARY_US)
        {
            *last = name;
            return;
        }
        if self.list.last().is_none_or(|(_, last)| *last != name) {
            self.list.push((at_us, name));
        }
    }

    /// The index of the phase at `at_us`.
    pub fn at(&self, at_us: i64) -> usize {
        self.list.partition_point(|(from_us, _)| *from_us <= at_us).saturating_sub(1)
    }

    /// Begin and end of phase `index`, the end being that of the run for the last.
    pub fn bounds(&self, index: usize, end_us: i64) -> (i64, i64) {
        let from_us = self.list.get(index).map_or(0, |(from_us, _)| *from_us);
        (from_us, self.list.get(index + 1).map_or(end_us, |(next_us, _)| *next_us))
    }

    /// Names, each made unique by a number where it comes again.
    pub fn names(&self) -> Vec<String> {
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        let mut names = Vec::with_capacity(self.list.len());
        for (_, name) in &self.list {
            let times = seen.entry(name.as_str()).or_insert(0);
            *times += 1;
            names.push(if *times == 1 { name.clone() } else { format!("{name} ({times})") });
        }
        names
    }

    /// The rows of the result.
    pub(crate) fn rows(&self, end_us: i64) -> Vec<Phase> {
        self.names()
            .into_iter()
            .enumerate()
            .map(|(index, name)| {
                let (from_us, to_us) = self.bounds(index, end_us);
                Phase { name, from_s: seconds(from_us), to_s: seconds(to_us.max(from_us)) }
            })
            .collect()
    }
}

fn nodes_named(nodes: &[i32]) -> String {
    let list = |ids: Vec<i32>, word: &str| match ids.as_slice() {
        [] => None,
        [one] => Some(format!("{word} {one}")),
        many => Some(format!("{word}s {}", many.iter().map(i32::to_string).collect::<Vec<_>>().join(", "))),
    };
    let mut sorted = nodes.to_vec();
    sorted.sort_unstable();
    let (brokers, controllers) = sorted.into_iter().partition(|node| *node < FIRST_CONTROLLER);
    let parts = [list(brokers, "broker"), list(controllers, "controller")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
