//! Phantom: the outcome was *fail* (definitely never written), or the message was never sent, and it is in the log.

use crate::accounting::{Findings, Judgement, Spot};
use crate::anomaly::AnomalyKind;
use crate::bitmap::CHUNK;
use crate::ledger::{PerPlace, View};
use crate::reasons::counted;

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    let (mut failed, mut never_sent) = (PerPlace::default(), PerPlace::default());
    for lane in view.lanes.sorted() {
        let Some(place) = lane.place else { continue };
        let runs = lane.runs_where(view.groups(), |_, c, i| c.in_log.word(i) & c.failed.word(i) & !c.acked.word(i));
        for (from, to) in runs {
            failed.add(place, to - from, Spot::messages(lane.id, from, to, None));
            out.counts.phantom += to - from;
        }
        let beyond = lane.runs_where(view.groups(), |chunk, c, i| {
            // Only the last chunks can hold anything beyond the sends.
            if (chunk + 1) * u64::from(CHUNK) <= lane.sent { 0 } else { c.in_log.word(i) }
        });
        for (from, to) in beyond {
            let from = from.max(lane.sent);
            if from < to {
                never_sent.add(place, to - from, Spot::messages(lane.id, from, to, None));
                out.counts.phantom += to - from;
            }
        }
    }
    for (place, tally) in failed.iter() {
        out.report(AnomalyKind::Phantom, (view.place(place).tp, None), tally, Judgement::Violation, || {
            format!("{} in the log though reported as failed", counted(tally.count, "send is", "sends are"))
        });
    }
    for (place, tally) in never_sent.iter() {
        out.report(AnomalyKind::Phantom, (view.place(place).tp, None), tally, Judgement::Violation, || {
            format!("{} in the log without having been sent", counted(tally.count, "message is", "messages are"))
        });
    }
}
