//! Duplicate in log: one message at two offsets. An error only if its producer is idempotent; the incarnation is part
//! of the identity, so it is the same.

use crate::accounting::{Findings, Judgement, Spot};
use crate::anomaly::{AnomalyKind, violation_if};
use crate::ledger::{PerPlace, View};
use crate::reasons::counted;

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    let (mut forbidden, mut predicted) = (PerPlace::default(), PerPlace::default());
    for lane in view.lanes.sorted().filter(|lane| lane.duplicates > 0) {
        let Some(place) = lane.place else { continue };
        out.counts.duplicates += lane.duplicates;
        let tp = view.place(place).tp;
        let guaranteed = lane.idempotent && view.guarantee.durable(Some(lane.id.incarnation), tp).0;
        let tallies = if guaranteed { &mut forbidden } else { &mut predicted };
        // The bits say which messages, the lane's count how often.
        let mut rest = lane.duplicates;
        for (from, to) in lane.runs_where(view.groups(), |_, c, i| c.duplicate.word(i)) {
            let count = rest.min(to - from);
            rest -= count;
            tallies.add(place, count, Spot::messages(lane.id, from, to, None));
        }
        tallies.count_more(place, rest);
    }
    let mut report = |tallies: &PerPlace, verdict: Judgement, why: &str| {
        for (place, tally) in tallies.iter() {
            out.report(AnomalyKind::DuplicateInLog, (view.place(place).tp, None), tally, verdict, || {
                format!(
                    "{} of messages that are in the log already; {why}",
                    counted(tally.count, "further appearance", "further appearances")
                )
            });
        }
    };
    report(&forbidden, violation_if(true), "the producer is idempotent");
    report(&predicted, violation_if(false), "the producer is not idempotent, or durability is not guaranteed");
}
