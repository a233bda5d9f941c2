//! Lost to a group: in the log, below the group's final committed offset, never delivered to it. So the group will
//! never be given it.

use crate::accounting::{Findings, Judgement, Spot};
use crate::anomaly::{AnomalyKind, violation_if};
use crate::ledger::{PerPlace, View, locate};
use crate::reasons::counted;

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    if !view.audited {
        return;
    }
    for group in 0..view.groups() {
        let tallies = if view.detail_dropped { by_offset(view, group) } else { by_message(view, group) };
        for (number, tally) in tallies.iter() {
            let place = view.place(number);
            let state = &place.groups[group];
            let (guaranteed, why) = view.guarantee.committed(place.tp);
            let verdict = if state.sought { Judgement::Counted } else { violation_if(guaranteed) };
            out.counts.lost_to_group += tally.count;
            out.report(AnomalyKind::LostToGroup, (place.tp, Some(group)), tally, verdict, || {
                let sought = if state.sought { "; a member sought another position" } else { "" };
                let (count, commit) =
                    (counted(tally.count, "message was", "messages were"), state.final_commit.unwrap_or(0));
                format!("{count} never delivered though below the final commit {commit}{sought} ({why})")
            });
        }
    }
}

fn by_message(view: &View<'_>, group: usize) -> PerPlace {
    let mut tallies = PerPlace::default();
    for lane in view.lanes.sorted() {
        let missing = lane.runs_where(view.groups(), |_, c, i| c.in_log.word(i) & !c.delivered(group).word(i));
        if missing.is_empty() {
            continue;
        }
        let logged = lane.logged.by_seq();
        for (from, to) in missing {
            locate((from, to), &logged, |seq, end, run| {
                let Some(run) = run else { return };
                let Some(state) = view.place(run.place).groups.get(group) else { return };
                // Below where the group began nothing was ever promised to it; from the commit on it may yet come.
                let window = (state.began_at.unwrap_or(0), state.final_commit.unwrap_or(0));
                let (a, b) = (run.offset.max(window.0), (run.offset + (end - seq) as i64).min(window.1));
                if a < b {
                    let first = seq + (a - run.offset) as u64;
                    let count = (b - a) as u64;
                    tallies.add(run.place, count, Spot::messages(lane.id, first, first + count, Some(a)));
                }
            });
        }
    }
    tallies
}

/// Without detail: visible offsets that the group never saw. It misses only messages in place of others.
fn by_offset(view: &View<'_>, group: usize) -> PerPlace {
    let mut tallies = PerPlace::default();
    for (number, place) in view.places.iter().enumerate() {
        let Some(state) = place.groups.get(group) else { continue };
        let (from, to) = (state.began_at.unwrap_or(0) as u64, state.final_commit.unwrap_or(0) as u64);
        place.log.missing_in(&state.seen, (from, to), |a, b| {
            tallies.add(number as u32, b - a, Spot::offsets(a, b));
        });
    }
    tallies
}
