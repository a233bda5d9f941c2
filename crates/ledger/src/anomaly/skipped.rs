//! Skipped poll: a member's position jumps over an offset that the audit proves visible. Control markers and compaction
//! make legal gaps, so jumps wait for the audit.

use crate::accounting::{Findings, Spot, Tally};
use crate::anomaly::{AnomalyKind, violation_if};
use crate::ledger::View;
use crate::reasons::counted;

/// Jumps kept per group and partition until the audit resolves them.
const JUMPS_MAX: usize = 65_536;

#[derive(Debug, Clone, Copy)]
struct Jump {
    member: u32,
    from: u64,
    to: u64,
}

/// Jumps of the members of one group on one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jumps {
    jumps: Vec<Jump>,
    unresolved: u64,
}

impl Jumps {
    pub(crate) fn add(&mut self, member: u32, from: u64, to: u64) {
        if self.jumps.len() < JUMPS_MAX {
            self.jumps.push(Jump { member, from, to });
        } else {
            self.unresolved += 1;
        }
    }
}

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    if !view.audited {
        return;
    }
    for (place, group, state) in view.group_places() {
        let mut tally = Tally::default();
        let mut member = 0;
        for jump in &state.jumps.jumps {
            // A value without identity was delivered too, though no message.
            let visible = place.log.count(jump.from, jump.to);
            let skipped = visible.saturating_sub(state.aliens.count(jump.from, jump.to));
            if skipped > 0 {
                if tally.count == 0 {
                    member = jump.member;
                }
                tally.add(skipped, Spot::offsets(jump.from, jump.to));
            }
        }
        let (guaranteed, why) = view.guarantee.committed(place.tp);
        out.report(AnomalyKind::SkippedPoll, (place.tp, Some(group)), &tally, violation_if(guaranteed), || {
            let more = match state.jumps.unresolved {
                0 => String::new(),
                more => format!(", and {more} further jumps were not looked at"),
            };
            let (count, member) =
                (counted(tally.count, "visible offset was", "visible offsets were"), view.header.member_name(member));
            format!("{count} jumped over, first by {member}{more} ({why})")
        });
    }
}
