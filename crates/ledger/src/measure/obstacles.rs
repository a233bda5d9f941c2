//! What stood in the way of a partition, and when: a leader that was out, a dead replica in the ISR, an ISR below its minimum.
//!
//! From committed states and the steps alone. Whether a gap was caused by it is decided by who asks.

use std::collections::BTreeMap;

use metricstream_scenario::model::Scenario;

use crate::result::Hindrance;

use super::acks_of;
use super::failover::{BrokerEvent, absent_until_us};
use super::gaps::Gap;
use super::isr::Committed;
use super::steps::Steps;

/// How much an event of a controller's clock may be off where it says that it is exact, µs.
const CLOCKS_US: i64 = 20_000;

/// Something that keeps a partition from answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) from_us: i64,
    /// `i64::MAX` if nothing ended it.
    pub(crate) until_us: i64,
    /// Both are known to ± this.
    pub(crate) error_us: i64,
    pub(crate) what: Hindrance,
    /// The node that was out.
    pub(crate) node: Option<i32>,
    /// The fault that took it out, by step id.
    pub(crate) fault: Option<String>,
}

impl Obstacle {
    /// How much of a gap it stood in the way, µs; `None` if it did not at all.
    pub(crate) fn share_us(&self, gap: Gap) -> Option<i64> {
        let from_us = self.from_us.max(gap.from_us);
        let until_us = self.until_us.min(gap.to_us);
        (until_us + self.error_us >= gap.from_us && self.from_us - self.error_us <= gap.to_us)
            .then_some((until_us - from_us).max(0))
    }
}

/// How a partition's writes (or reads) depend on its replicas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// `min.insync.replicas`.
    pub(crate) least: usize,
    /// Whether what is asked waits for every replica in the ISR: acks=all, and every read.
    pub(crate) waits_for_isr: bool,
    /// Whether an ISR below its minimum refuses it: acks=all.
    pub(crate) needs_least: bool,
}

impl Rule {
    /// Of writes to a topic, or of reads from it.
    pub(crate) fn of(scenario: &Scenario, topic: &str, op: &str) -> Self {
        let mut producers = scenario.workload.producers.iter().filter(|producer| producer.topic == topic);
        let acks_all = producers.all(|producer| acks_of(&scenario.producer_config(producer)) == "all");
        let found = scenario.topology.topics.iter().find(|found| found.name == topic);
        let least = found.map_or(1, |found| usize::from(found.min_insync_replicas.unsigned_abs()));
        Self { least, waits_for_isr: acks_all || op == "read", needs_least: acks_all }
    }
}

/// What is known of the cluster.
pub(crate) struct Evidence<'a> {
    committed: BTreeMap<(&'a str, i32), Vec<&'a Committed>>,
    steps: &'a Steps,
    brokers: &'a [BrokerEvent],
}

impl<'a> Evidence<'a> {
    pub(crate) fn new(committed: &'a [Committed], steps: &'a Steps, brokers: &'a [BrokerEvent]) -> Self {
        let mut of_partition: BTreeMap<(&str, i32), Vec<&Committed>> = BTreeMap::new();
        for row in committed {
            of_partition.entry((&row.state.topic, row.state.partition)).or_default().push(row);
        }
        Self { committed: of_partition, steps, brokers }
    }

    /// Whether any state of the partition is known.
    pub(crate) fn knows(&self, topic: &str, partition: i32) -> bool {
        self.committed.contains_key(&(topic, partition))
    }

    /// Everything that stood in the way of a partition, in the order in which it began.
    pub(crate) fn of(&self, topic: &str, partition: i32, rule: Rule) -> Vec<Obstacle> {
        let rows = self.committed.get(&(topic, partition)).map_or(&[][..], Vec::as_slice);
        let mut found = Vec::new();
        for (nth, row) in rows.iter().enumerate() {
            let next = rows.get(nth + 1);
            let error_us = row.error_us.max(next.map_or(0, |next| next.error_us)).max(CLOCKS_US);
            let stretch = (row.at_us, next.map_or(i64::MAX, |next| next.at_us));
            let mut add = |(from_us, until_us), what, node, fault| {
                found.push(Obstacle { from_us, until_us, error_us, what, node, fault });
            };
            if row.state.leader < 0 {
                add(stretch, Hindrance::Leader, None, None);
            }
            let refused = row.state.leader >= 0 && rule.needs_least && row.state.isr.len() < rule.least;
            if refused {
                add(stretch, Hindrance::MinIsr, None, None);
            }
            let waited_for = row.state.isr.iter().filter(|_| rule.waits_for_isr);
            let others = waited_for.copied().filter(|node| *node != row.state.leader);
            for node in std::iter::once(row.state.leader).filter(|leader| *leader >= 0).chain(others) {
                let what = if node == row.state.leader { Hindrance::Leader } else { Hindrance::Isr };
                for (absent, fault) in self.absences(node) {
                    let both = (stretch.0.max(absent.0), stretch.1.min(absent.1));
                    if both.0 <= both.1 {
                        add(both, what, Some(node), Some(fault));
                    }
                }
            }
            // Leadership given away by one that lives: nobody was out, and yet clients must learn.
            let moved = next.filter(|next| row.state.leader >= 0 && next.state.leader != row.state.leader);
            if let Some(next) = moved.filter(|next| !self.steps.is_down(row.state.leader, next.at_us)) {
                add((next.at_us, next.at_us), Hindrance::Leader, Some(row.state.leader), None);
            }
        }
        joined(found)
    }

    /// When a node was out, each time with the fault that took it out.
    fn absences(&self, node: i32) -> impl Iterator<Item = ((i64, i64), String)> {
        let hit = self.steps.faults().filter(move |fault| fault.nodes.contains(&node));
        hit.map(move |fault| {
            let until_us = absent_until_us(self.steps, self.brokers, fault, node);
            ((fault.at_us - fault.error_us, until_us), fault.id.clone())
        })
    }
}

/// What goes on beyond a change of the state is one obstacle and not two.
fn joined(mut found: Vec<Obstacle>) -> Vec<Obstacle> {
    found.sort_by_key(|one| (one.what, one.node, one.from_us));
    let mut all: Vec<Obstacle> = Vec::with_capacity(found.len());
    for one in found {
        match all.last_mut() {
            Some(last) if last.what == one.what && last.node == one.node && one.from_us <= last.until_us => {
                last.until_us = last.until_us.max(one.until_us);
                last.error_us = last.error_us.max(one.error_us);
            }
            _ => all.push(one),
        }
    }
    all.sort_by_key(|one| (one.from_us, one.what));
    all
}
