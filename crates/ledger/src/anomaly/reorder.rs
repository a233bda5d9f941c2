//! Reorder: a first sighting with a sequence below the highest seen in its stream. Streams are the lane in the log and
//! the lane as each group was given it; duplicates are removed first.

use crate::accounting::{Findings, Judgement, Spot};
use crate::anomaly::{AnomalyKind, violation_if};
use crate::lanes::Order;
use crate::ledger::{PerPlace, View};
use crate::reasons::counted;

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    let (mut forbidden, mut predicted) = (PerPlace::default(), PerPlace::default());
    for lane in view.lanes.sorted().filter(|lane| lane.log_order.reordered > 0) {
        let Some(place) = lane.place else { continue };
        let order = &lane.log_order;
        out.counts.reordered += order.reordered;
        out.counts.displacement_max = out.counts.displacement_max.max(order.displacement_max);
        let guaranteed = lane.idempotent && view.guarantee.durable(Some(lane.id.incarnation), view.place(place).tp).0;
        let tallies = if guaranteed { &mut forbidden } else { &mut predicted };
        tallies.add(place, order.reordered, spot(lane.id, order));
    }
    let displacement = out.counts.displacement_max;
    let mut report = |tallies: &PerPlace, verdict: Judgement, why: &str| {
        for (place, tally) in tallies.iter() {
            out.report(AnomalyKind::Reorder, (view.place(place).tp, None), tally, verdict, || {
                format!(
                    "{} behind later ones in the log, at most by {displacement}; {why}",
                    counted(tally.count, "message stands", "messages stand")
                )
            });
        }
    };
    report(&forbidden, violation_if(true), "the producer is idempotent");
    report(&predicted, violation_if(false), "the producer is not idempotent, or durability is not guaranteed");
    judge_groups(view, out);
}

/// A group sees a lane in the log's order, so only what goes beyond the log's own disorder is the group's.
fn judge_groups(view: &View<'_>, out: &mut Findings<'_>) {
    for group in 0..view.groups() {
        let mut tallies = PerPlace::default();
        for lane in view.lanes.sorted() {
            let (Some(place), Some(order)) = (lane.place, lane.group_order.get(group)) else { continue };
            let own = order.reordered.saturating_sub(lane.log_order.reordered);
            if own > 0 {
                tallies.add(place, own, spot(lane.id, order));
            }
        }
        for (place, tally) in tallies.iter() {
            let place = view.place(place);
            let sought = place.groups.get(group).is_some_and(|state| state.sought);
            let (guaranteed, why) = view.guarantee.committed(place.tp);
            let verdict = if sought { Judgement::Counted } else { violation_if(guaranteed) };
            out.report(AnomalyKind::Reorder, (place.tp, Some(group)), tally, verdict, || {
                format!(
                    "{} first delivered after later ones of the same lane ({why})",
                    counted(tally.count, "message was", "messages were")
                )
            });
        }
    }
}

fn spot(lane: crate::history::LaneId, order: &Order) -> Spot {
    let (seq, offset) = order.first.unwrap_or_default();
    Spot::messages(lane, seq, seq + 1, Some(offset))
}
