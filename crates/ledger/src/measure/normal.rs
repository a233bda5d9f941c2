//! When all is normal again: ISRs full, brokers unfenced, no gap open, lag at its baseline, and so for a while.

use std::collections::BTreeMap;

use super::catch_up::Lag;
use super::failover::{BrokerChange, BrokerEvent};
use super::gaps::{Gap, Gaps};
use super::isr::Cluster;

/// All must go on being normal for this long.
const HOLD_US: i64 = 5_000_000;
const SECOND_US: i64 = 1_000_000;

/// Stretches in which something was not normal, merged and in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Abnormal {
    stretches: Vec<Gap>,
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
        let mut stretches = evidence.open.clone();
        for gaps in evidence.gaps {
            stretches.extend(gaps.series().keys().flat_map(|key| gaps.outages(*key)));
        }
        let mut not_full: BTreeMap<(&str, i32), i64> = BTreeMap::new();
        for row in evidence.cluster.committed() {
            let key = (row.state.topic.as_str(), row.state.partition);
            if row.state.replicas.iter().all(|replica| row.state.isr.contains(replica)) {
                stretches.extend(not_full.remove(&key).map(|from_us| Gap { from_us, to_us: row.at_us }));
            } else {
                not_full.entry(key).or_insert(row.at_us);
            }
        }
        let mut fenced: BTreeMap<i32, i64> = BTreeMap::new();
        for event in evidence.brokers {
            if event.change == BrokerChange::Unfenced {
                stretches.extend(fenced.remove(&event.broker).map(|from_us| Gap { from_us, to_us: event.at_us }));
            } else if event.change != BrokerChange::Registered || event.at_us >= 0 {
                // A registration from before load started says nothing: the cluster was ready since.
                fenced.entry(event.broker).or_insert(event.at_us);
            }
        }
        let left = not_full.into_values().chain(fenced.into_values());
        stretches.extend(left.map(|from_us| Gap { from_us, to_us: end_us }));
        for lag in evidence.lags {
            let Some(baseline) = lag.baseline else { continue };
            let behind = lag.by_second.iter().enumerate().filter(|(_, lag)| **lag > baseline);
            stretches.extend(behind.map(|(second, _)| {
                let from_us = second as i64 * SECOND_US;
                Gap { from_us, to_us: from_us + SECOND_US }
            }));
        }
        stretches.sort_by_key(|stretch| stretch.from_us);
        let mut merged: Vec<Gap> = Vec::new();
        for stretch in stretches {
            match merged.last_mut() {
                Some(last) if stretch.from_us <= last.to_us => last.to_us = last.to_us.max(stretch.to_us),
                _ => merged.push(stretch),
            }
        }
        Self { stretches: merged, load_end_us: evidence.load_end_us }
    }

    /// The beginning of the first stretch, at or after `from_us`, in which all was normal and went on being so.
    pub fn normal_from_us(&self, from_us: i64, end_us: i64) -> Option<i64> {
        let mut at_us = from_us;
        for stretch in &self.stretches {
            // Normal for long enough, or until load ended, before the next trouble?
            let enough_us = (at_us + HOLD_US).min(self.load_end_us.max(at_us + 1));
            if stretch.from_us >= enough_us {
                break;
            }
            if stretch.to_us > at_us {
                at_us = stretch.to_us;
            }
        }
        (at_us <= end_us).then_some(at_us)
    }
}
