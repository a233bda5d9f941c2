//! Inconsistent offset: two observers see different messages at one offset. The sums say in which block; the detail, or
//! a second pass over the stored history, says where in it.

use crate::accounting::{Findings, Spot, Tally};
use crate::anomaly::{AnomalyKind, violation_if};
use crate::ledger::{Place, View};
use crate::offsets::{BLOCK, Compared};
use crate::runs::subtract;

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    for (number, place) in view.places.iter().enumerate() {
        for (group, state) in place.groups.iter().enumerate() {
            let (mut different, mut partly) = (Vec::new(), !state.repeated_blocks.is_empty());
            place.log.compare(&state.seen, |block, compared| match compared {
                Compared::Different => different.push(block),
                Compared::Partly => partly = true,
                Compared::Apart | Compared::Same => {}
            });
            partly |= !place.reread_blocks.is_empty();
            if different.is_empty() && !partly {
                continue;
            }
            let mut tally = narrow(view, number as u32, place, group);
            for block in &different {
                // A block that differs and could not be narrowed (a value without identity, dropped detail).
                let (from, to) = (block * BLOCK, (block + 1) * BLOCK);
                let inside = |spot: &Spot| spot.offsets.is_some_and(|(a, b)| (a as u64) < to && b as u64 > from);
                if tally.count == 0 || !tally.spots.iter().any(inside) && view.detail_dropped {
                    tally.add(1, Spot::offsets(from, to));
                }
            }
            let (guaranteed, why) = view.guarantee.committed(place.tp);
            let at = (place.tp, Some(group));
            out.report(AnomalyKind::InconsistentOffset, at, &tally, violation_if(guaranteed), || {
                let (count, blocks) = (tally.count, different.len());
                format!(
                    "{count} offsets hold another message now than the group was given; {blocks} blocks differ ({why})"
                )
            });
        }
    }
}

/// What the group was given at offsets where the log has something else.
fn narrow(view: &View<'_>, number: u32, place: &Place, group: usize) -> Tally {
    let mut tally = Tally::default();
    for lane in view.lanes.sorted() {
        let Some(delivered) = lane.delivered.get(group) else { continue };
        for run in subtract(delivered, &lane.logged).into_iter().filter(|run| run.place == number) {
            let (from, to) = (run.offset as u64, run.offset as u64 + u64::from(run.count));
            view.focused_offsets(number, from, to, |from, to| {
                place.log.each_seen(from, to, |a, b| {
                    let seq = run.seq + (a - run.offset as u64);
                    tally.add(b - a, Spot::messages(lane.id, seq, seq + (b - a), Some(a as i64)));
                });
            });
        }
    }
    tally
}
