//! Epoch regression: the leader epoch of a partition goes back.

use crate::accounting::{Findings, Judgement, Spot, Tally};
use crate::anomaly::AnomalyKind;
use crate::ledger::View;
use crate::timeline::Clock;

/// The highest leader epoch that clients saw of a partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct EpochWatch {
    highest: Option<i32>,
    back: Tally,
    first: Option<(i32, i32)>,
}

impl EpochWatch {
    pub(crate) fn see(&mut self, epoch: i32, offset: i64) {
        if epoch < 0 {
            return;
        }
        match self.highest {
            Some(highest) if epoch < highest => {
                self.first.get_or_insert((highest, epoch));
                self.back.add(1, Spot::offsets(offset as u64, offset as u64 + 1));
            }
            _ => self.highest = Some(epoch),
        }
    }
}

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    for place in view.places {
        let at = (place.tp, None);
        let watch = &place.epochs;
        out.report(AnomalyKind::EpochRegression, at, &watch.back, Judgement::Violation, || {
            let (from, to) = watch.first.unwrap_or_default();
            format!("a client saw leader epoch {to} after {from}")
        });
        let mut back = Tally::default();
        let mut first = (0, 0);
        let mut highest = i32::MIN;
        // A topic that was made anew begins again; polled metadata may come from a broker that is behind.
        for event in view.story.epochs(&view.topic(place.tp), place.tp.partition).iter().copied() {
            match event {
                None => highest = i32::MIN,
                Some((Clock::Controller | Clock::Monotonic, epoch)) if epoch < highest => {
                    if back.count == 0 {
                        first = (highest, epoch);
                    }
                    back.add(1, Spot { offsets: None, lane: None, seqs: None });
                }
                Some((Clock::Controller | Clock::Monotonic, epoch)) => highest = epoch,
                Some(_) => {}
            }
        }
        out.report(AnomalyKind::EpochRegression, at, &back, Judgement::Violation, || {
            format!("the controller's log has leader epoch {} after {}", first.1, first.0)
        });
    }
}
