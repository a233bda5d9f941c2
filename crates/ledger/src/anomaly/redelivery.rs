//! Redelivery: one offset twice to a group. At or above the commit at which the member took over it is at-least-once
//! at work; below it, a commit was ignored.

use crate::accounting::{Findings, Spot, Tally};
use crate::anomaly::{AnomalyKind, violation_if};
use crate::group::Delivery;
use crate::ledger::View;
use crate::reasons::counted;

/// Counts redeliveries of one group on one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redelivery {
    allowed: Tally,
    beyond: Tally,
    floor_max: i64,
}

impl Redelivery {
    /// Offsets `[from, to)` of the delivery were given to the group before.
    pub(crate) fn add(&mut self, delivery: &Delivery, from: u64, to: u64, floor: Option<i64>) {
        let split = floor.map_or(from, |floor| (floor.max(0) as u64).clamp(from, to));
        let spot = |a: u64, b: u64| {
            let seq = |offset: u64| delivery.seq + (offset - delivery.base as u64);
            Spot::messages(delivery.lane, seq(a), seq(b), Some(a as i64))
        };
        if split > from {
            self.beyond.add(split - from, spot(from, split));
            self.floor_max = self.floor_max.max(floor.unwrap_or(0));
        }
        if to > split {
            self.allowed.add(to - split, spot(split, to));
        }
    }
}

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    for (place, group, state) in view.group_places() {
        let Redelivery { allowed, beyond, floor_max } = &state.redelivery;
        out.counts.redelivered += allowed.count + beyond.count;
        out.counts.redelivered_beyond_commit += beyond.count;
        let at = (place.tp, Some(group));
        out.report(AnomalyKind::RedeliveryAllowed, at, allowed, violation_if(false), || {
            format!(
                "{} delivered again, none below the commit at takeover",
                counted(allowed.count, "offset was", "offsets were")
            )
        });
        let guaranteed = view.guarantee.offsets();
        out.report(AnomalyKind::RedeliveryBeyondCommit, at, beyond, violation_if(guaranteed), || {
            let offsets = counted(beyond.count, "offset was", "offsets were");
            format!("{offsets} delivered again although the group had committed up to {floor_max}")
        });
    }
}
