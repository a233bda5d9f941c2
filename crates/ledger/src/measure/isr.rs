//! The committed state of every partition over time: rows, how deep each ISR fell, and when it was full again.
//!
//! Exact where the metadata log was read; the error of each row is the event's own.

use std::collections::BTreeMap;

use crate::result::{IsrOutage, IsrRow};
use crate::timeline::{Clock, PartitionState, TimelineEvent, What};

use super::seconds;
use super::steps::Steps;

/// Most rows; more are counted and reported.
const ROWS_MAX: usize = 100_000;

/// One committed state.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// When, and how exactly that is known.
    pub at_us: i64,
    /// ± this.
    pub error_us: i64,
    /// The clock that says so.
    pub clock: Clock,
    /// The state.
    pub state: PartitionState,
}

/// Every committed state of the scenario's partitions.
#[derive(Debug)]
pub struct Cluster {
    /// Topics and their partition counts.
    topics: BTreeMap<String, i32>,
    latest: BTreeMap<(String, i32), usize>,
    rows: Vec<Committed>,
    /// Partitions that are not full now.
    not_full: usize,
    pub(crate) dropped: u64,
}

fn is_full(state: &PartitionState) -> bool {
    !state.replicas.is_empty() && state.replicas.iter().all(|replica| state.isr.contains(replica))
}

impl Cluster {
    /// Of these topics.
    pub fn new(topics: BTreeMap<String, i32>) -> Self {
        Self { topics, latest: BTreeMap::new(), rows: Vec::new(), not_full: 0, dropped: 0 }
    }

    /// Takes note of an event; the state before it, if it changed a partition of the scenario.
    pub fn observe(&mut self, event: &TimelineEvent) -> Option<Change> {
        let What::Partition(state) = &event.what else { return None };
        if !self.topics.contains_key(&state.topic) {
            return None;
        }
        let key = (state.topic.clone(), state.partition);
        let before = self.latest.get(&key).and_then(|index| self.rows.get(*index)).map(|row| row.state.clone());
        if before.as_ref().is_some_and(|before| before == state || is_stale(state, before)) {
            return None;
        }
        if self.rows.len() >= ROWS_MAX {
            self.dropped += 1;
            return None;
        }
        let was_full = before.as_ref().is_none_or(is_full);
        match (was_full, is_full(state)) {
            (true, false) => self.not_full += 1,
            (false, true) => self.not_full = self.not_full.saturating_sub(1),
            _ => {}
        }
        self.latest.insert(key, self.rows.len());
        let row = Committed { at_us: event.at_us, error_us: event.error_us, clock: event.clock, state: state.clone() };
        self.rows.push(row.clone());
        Some(Change { before, now: row })
    }

    /// Whether every partition of the scenario is known and in sync.
    pub fn is_full(&self) -> bool {
        let wanted: i64 = self.topics.values().map(|partitions| i64::from(*partitions)).sum();
        self.not_full == 0 && self.latest.len() as i64 >= wanted
    }

    /// Every committed state, in the order of the timeline.
    pub fn committed(&self) -> &[Committed] {
        &self.rows
    }

    /// The rows of the result.
    pub(crate) fn rows(&self) -> Vec<IsrRow> {
        let row = |row: &Committed| IsrRow {
            topic: row.state.topic.clone(),
            partition: row.state.partition,
            at_s: seconds(row.at_us),
            replicas: row.state.replicas.clone(),
            isr: row.state.isr.clone(),
            leader: row.state.leader,
            leader_epoch: (row.state.leader_epoch >= 0).then_some(row.state.leader_epoch),
            partition_epoch: (row.state.partition_epoch >= 0).then_some(row.state.partition_epoch),
            error_ms: row.error_us as f64 / 1_000.0,
            clock: row.clock,
        };
        self.rows.iter().map(row).collect()
    }

    /// From each first shrink until full again.
    pub(crate) fn outages(&self, steps: &Steps) -> Vec<IsrOutage> {
        let mut open: BTreeMap<(&str, i32), (Vec<i32>, &Committed, &Committed)> = BTreeMap::new();
        let mut last: BTreeMap<(&str, i32), &Committed> = BTreeMap::new();
        let mut rows = Vec::new();
        for row in &self.rows {
            let key = (row.state.topic.as_str(), row.state.partition);
            let before = last.insert(key, row);
            if is_full(&row.state) {
                if let Some((isr, shrunk, smallest)) = open.remove(&key) {
                    rows.push(outage(steps, isr, shrunk, smallest, row, Some(row.at_us)));
                }
            } else if let Some((_, _, smallest)) = open.get_mut(&key) {
                if row.state.isr.len() < smallest.state.isr.len() {
                    *smallest = row;
                }
            } else {
                let isr = before.map_or_else(|| row.state.replicas.clone(), |before| before.state.isr.clone());
                open.insert(key, (isr, row, row));
            }
        }
        for (key, (isr, shrunk, smallest)) in open {
            let after = last.get(&key).copied().unwrap_or(smallest);
            rows.push(outage(steps, isr, shrunk, smallest, after, None));
        }
        rows.sort_by(|a, b| {
            a.shrunk_s.total_cmp(&b.shrunk_s).then_with(|| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)))
        });
        rows
    }
}

/// Observers may overlap: an older state must not undo a newer one. Polled states have no epoch.
fn is_stale(state: &PartitionState, known: &PartitionState) -> bool {
    state.partition_epoch >= 0 && state.partition_epoch < known.partition_epoch
}

/// A partition changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its state before, if known.
    pub before: Option<PartitionState>,
    /// Its state now.
    pub now: Committed,
}

fn outage(
    steps: &Steps,
    before: Vec<i32>,
    shrunk: &Committed,
    smallest: &Committed,
    after: &Committed,
    full_us: Option<i64>,
) -> IsrOutage {
    // The fault that hit one of those that dropped out; else whichever fault was last.
    let gone = before.iter().filter(|replica| !shrunk.state.isr.contains(replica));
    let by_node = gone.filter_map(|node| steps.preceding_on(*node, shrunk.at_us + shrunk.error_us));
    let fault = by_node.max_by_key(|step| step.at_us);
    let healed_us = full_us.and_then(|full_us| {
        let back = steps.all().iter().filter(|step| step.class == super::steps::Class::Heal);
        back.map(|step| step.at_us).filter(|at_us| (shrunk.at_us - shrunk.error_us..=full_us).contains(at_us)).max()
    });
    IsrOutage {
        topic: shrunk.state.topic.clone(),
        partition: shrunk.state.partition,
        fault: fault.map(|step| step.id.clone()),
        before,
        smallest: smallest.state.isr.clone(),
        smallest_at_s: seconds(smallest.at_us),
        shrunk_s: seconds(shrunk.at_us),
        shrunk_after_s: fault.map(|step| seconds((shrunk.at_us - step.at_us).max(0))),
        full_s: full_us.map(seconds),
        full_after_s: full_us.zip(healed_us).map(|(full, healed)| seconds(full - healed)),
        after: after.state.isr.clone(),
    }
}
