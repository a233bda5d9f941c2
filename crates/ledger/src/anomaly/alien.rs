//! Alien or corrupt: a value whose CRC does not hold, of another run, or of a lane that belongs to another partition.

use crate::accounting::{Findings, Judgement, Spot, Tally};
use crate::anomaly::AnomalyKind;
use crate::history::Alien;
use crate::ledger::View;
use crate::reasons::counted;

/// Aliens in one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aliens {
    /// By reason, in the log.
    bad_crc: Tally,
    foreign: Tally,
    misplaced: Tally,
    /// Seen by groups, per group and reason.
    delivered: Vec<(u16, [Tally; 3])>,
}

impl Aliens {
    pub(crate) fn add(&mut self, group: Option<u16>, why: Alien, count: u64, spot: Spot) {
        let Some(group) = group else {
            let tally = match why {
                Alien::BadCrc => &mut self.bad_crc,
                Alien::ForeignRun => &mut self.foreign,
                Alien::WrongPartition => &mut self.misplaced,
            };
            return tally.add(count, spot);
        };
        let at = self.delivered.iter().position(|(of, _)| *of == group).unwrap_or_else(|| {
            self.delivered.push((group, <[Tally; 3]>::default()));
            self.delivered.len() - 1
        });
        self.delivered[at].1[why as usize].add(count, spot);
    }
}

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    for place in view.places {
        let shared = view.header.topics.get(usize::from(place.tp.topic)).is_some_and(|topic| topic.shared);
        let aliens = &place.aliens;
        let mut report = |group: Option<usize>, tally: &Tally, why: Alien| {
            let verdict =
                if shared && why != Alien::WrongPartition { Judgement::Counted } else { Judgement::Violation };
            out.report(AnomalyKind::Alien, (place.tp, group), tally, verdict, || {
                text(why, tally.count, group.is_some())
            });
        };
        report(None, &aliens.bad_crc, Alien::BadCrc);
        report(None, &aliens.foreign, Alien::ForeignRun);
        report(None, &aliens.misplaced, Alien::WrongPartition);
        for (group, tallies) in &aliens.delivered {
            let whys = [Alien::BadCrc, Alien::ForeignRun, Alien::WrongPartition];
            whys.into_iter().zip(tallies).for_each(|(why, tally)| report(Some(usize::from(*group)), tally, why));
        }
        out.counts.alien += aliens.bad_crc.count + aliens.foreign.count + aliens.misplaced.count;
    }
}

fn text(why: Alien, count: u64, delivered: bool) -> String {
    let place = if delivered { "delivered" } else { "in the log" };
    let values = counted(count, "value", "values");
    match why {
        Alien::BadCrc => format!("{values} {place} with a CRC that does not hold, or too short to be of the run"),
        Alien::ForeignRun => format!("{values} {place} of another run"),
        Alien::WrongPartition => {
            format!("{} {place} of lanes that belong to another partition", counted(count, "message", "messages"))
        }
    }
}
