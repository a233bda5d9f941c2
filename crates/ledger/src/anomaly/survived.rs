//! Unknown survived: the outcome of a send was unknown, and the message is in the log. No error; counted.

use crate::accounting::{Findings, Judgement, Spot};
use crate::anomaly::AnomalyKind;
use crate::ledger::{PerPlace, View};
use crate::reasons::counted;

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    let mut tallies = PerPlace::default();
    for lane in view.lanes.sorted() {
        let runs = lane.runs_where(view.groups(), |_, c, i| c.in_log.word(i) & !c.acked.word(i) & !c.failed.word(i));
        for (from, to) in runs {
            let to = to.min(lane.sent);
            if from < to
                && let Some(place) = lane.place
            {
                tallies.add(place, to - from, Spot::messages(lane.id, from, to, None));
                out.counts.unknown_survived += to - from;
            }
        }
    }
    for (place, tally) in tallies.iter() {
        out.report(AnomalyKind::UnknownSurvived, (view.place(place).tp, None), tally, Judgement::Counted, || {
            format!("{} in the log", counted(tally.count, "send of unknown outcome is", "sends of unknown outcome are"))
        });
    }
}
