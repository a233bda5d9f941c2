//! When all is normal again: ISRs full, brokers unfenced, no gap open, lag at its baseline, and so for a while.

use std::collections::BTreeMap;

use super::catch_up::Lag;
use super::failover::{BrokerChange, BrokerEvent};
use super::gaps::{Gap, Gaps};
use super::isr::Cluster;

/// All must go on being normal for this long.
const HOLD_US: i64 = 5_000_000;
const SECOND_US: i64 = 1_000_000;

/// What was not normal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// An ISR was not full.
    Isr,
    /// A broker was fenced.
    Fenced,
    /// Writes or reads stood still.
    Gap,
    /// A group lagged behind.
    Lag,
}

impl Trouble {
    /// For people: what became normal.
    pub const fn ended(self) -> &'static str {
        match self {
            Self::Isr => "an ISR became full",
            Self::Fenced => "a broker was unfenced",
            Self::Gap => "writes or reads went on",
            Self::Lag => "a group's lag came back to its baseline",
        }
    }
}

/// A stretch and what ended last in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    gap: Gap,
    last: Trouble,
}

/// Stretches in which something was not normal, merged and in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Abnormal {
    stretches: Vec<Stretch>,
    load_end_us: i64,
}

/// What there is to judge by.
pub(crate) struct Evidence<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) brokers: &'a [BrokerEvent],
    pub(crate) gaps: [&'a Gaps; 2],
    pub(crate) open: Vec<Gap>,
    pub(crate) lags: &'a [Lag],
    pub(crate) load_end_us: i64,
    pub(crate) end_us: i64,
}

impl Abnormal {
    pub(crate) fn new(evidence: &Evidence<'_>) -> Self {
        let end_us = evidence.end_us.saturating_add(1);
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut add = |from_us, to_us, last| stretches.push(Stretch { gap: Gap { from_us, to_us }, last });
        let gaps = evidence.gaps.into_iter().flat_map(|gaps| gaps.series().keys().flat_map(|key| gaps.outages(*key)));
        for gap in gaps.chain(evidence.open.iter().copied()) {
            add(gap.from_us, gap.to_us, Trouble::Gap);
        }
        let mut not_full: BTreeMap<(&str, i32), i64> = BTreeMap::new();
        for row in evidence.cluster.committed() {
            let key = (row.state.topic.as_str(), row.state.partition);
            if !row.state.replicas.iter().all(|replica| row.state.isr.contains(replica)) {
                not_full.entry(key).or_insert(row.at_us);
            } else if let Some(from_us) = not_full.remove(&key) {
                add(from_us, row.at_us, Trouble::Isr);
            }
        }
        let mut fenced: BTreeMap<i32, i64> = BTreeMap::new();
        for event in evidence.brokers {
            if event.change == BrokerChange::Unfenced {
                if let Some(from_us) = fenced.remove(&event.broker) {
                    add(from_us, event.at_us, Trouble::Fenced);
                }
            } else if event.change != BrokerChange::Registered || event.at_us >= 0 {
                // A registration from before load started says nothing: the cluster was ready since.
                fenced.entry(event.broker).or_insert(event.at_us);
            }
        }
        not_full.into_values().for_each(|from_us| add(from_us, end_us, Trouble::Isr));
        fenced.into_values().for_each(|from_us| add(from_us, end_us, Trouble::Fenced));
        for lag in evidence.lags {
            let Some(baseline) = lag.baseline else { continue };
            for (second, _) in lag.by_second.iter().enumerate().filter(|(_, lag)| **lag > baseline) {
                let from_us = second as i64 * SECOND_US;
                add(from_us, from_us + SECOND_US, Trouble::Lag);
            }
        }
        stretches.sort_by_key(|stretch| stretch.gap.from_us);
        let mut merged: Vec<Stretch> = Vec::new();
        for stretch in stretches {
            match merged.last_mut() {
                Some(last) if stretch.gap.from_us <= last.gap.to_us => {
                    if stretch.gap.to_us > last.gap.to_us {
                        (last.gap.to_us, last.last) = (stretch.gap.to_us, stretch.last);
                    }
                }
                _ => merged.push(stretch),
            }
        }
        Self { stretches: merged, load_end_us: evidence.load_end_us }
    }

    /// The beginning of the first stretch, at or after `from_us`, in which all was normal and went on being so, and what
    /// had to end before; `None` if there was none by `end_us`.
    pub fn normal_from_us(&self, from_us: i64, end_us: i64) -> Option<(i64, Option<Trouble>)> {
        let (mut at_us, mut last) = (from_us, None);
        for stretch in &self.stretches {
            // Normal for long enough, or until load ended, before the next trouble?
            let enough_us = (at_us + HOLD_US).min(self.load_end_us.max(at_us + 1));
            if stretch.gap.from_us >= enough_us {
                break;
            }
            if stretch.gap.to_us > at_us {
                (at_us, last) = (stretch.gap.to_us, Some(stretch.last));
            }
        }
        (at_us <= end_us).then_some((at_us, last))
    }

    /// What was still not normal at the end.
    pub fn left(&self, end_us: i64) -> Option<Trouble> {
        self.stretches.last().filter(|stretch| stretch.gap.to_us > end_us).map(|stretch| stretch.last)
    }
}
