//! Committed offset lost: the high watermark goes back within one leader epoch, or an offset that a group was given is
//! gone at the audit. A new leader may report a lower high watermark for a while (KIP-207).

use crate::accounting::{Findings, Spot, Tally};
use crate::anomaly::{AnomalyKind, violation_if};
use crate::bitmap::{CHUNK, runs_of};
use crate::ledger::View;
use crate::reasons::counted;

/// The high watermark of the leader epoch seen last.
#[derive(Debug, Clone, Default)]
pub(crate) struct HighWater {
    epoch: i32,
    offset: i64,
    back: Tally,
}

impl HighWater {
    pub(crate) fn see(&mut self, epoch: i32, offset: i64) {
        if epoch < 0 || epoch < self.epoch {
            return;
        }
        if epoch > self.epoch {
            self.epoch = epoch;
            self.offset = offset;
        } else if offset < self.offset {
            self.back.add((self.offset - offset) as u64, Spot::offsets(offset as u64, self.offset as u64));
        } else {
            self.offset = offset;
        }
    }
}

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    for place in view.places {
        let (guaranteed, why) = view.guarantee.committed(place.tp);
        let back = &place.high_water.back;
        out.report(AnomalyKind::CommittedOffsetLost, (place.tp, None), back, violation_if(guaranteed), || {
            format!("the high watermark went back by {} within one leader epoch ({why})", back.count)
        });
    }
    if !view.audited {
        return;
    }
    for (place, group, state) in view.group_places() {
        let start = match place.bounds {
            Some(Some((start, _))) => start as u64,
            Some(None) => 0,
            None => continue,
        };
        let mut gone = Tally::default();
        for (chunk, seen) in state.seen.chunks() {
            let visible = place.log.seen(chunk);
            let base = chunk * u64::from(CHUNK);
            runs_of(
                0,
                CHUNK,
                |i| seen.word(i) & !visible.word(i),
                |a, b| {
                    let (from, to) = ((base + u64::from(a)).max(start), (base + u64::from(b)).max(start));
                    if from < to {
                        gone.add(to - from, Spot::offsets(from, to));
                    }
                },
            );
        }
        let topic = view.header.topics.get(usize::from(place.tp.topic));
        if topic.is_some_and(|topic| topic.compacted) {
            continue;
        }
        let (guaranteed, why) = view.guarantee.committed(place.tp);
        out.report(AnomalyKind::CommittedOffsetLost, (place.tp, Some(group)), &gone, violation_if(guaranteed), || {
            format!("{} gone at the audit though delivered ({why})", counted(gone.count, "offset is", "offsets are"))
        });
    }
}
