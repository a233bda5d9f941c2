//! Commit fault: a group's committed offset goes back, exceeds the member's position, or comes from a member that does
//! not own the partition while another does.

use crate::accounting::{Findings, Judgement, Spot, Tally};
use crate::anomaly::{AnomalyKind, violation_if};
use crate::ledger::View;
use crate::reasons::counted;

/// Commits beyond the position kept until the audit says whether anything visible was passed over.
const EXCESS_MAX: usize = 4_096;

/// Watches the commits of one group on one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommitWatch {
    /// Highest commit and when it was heard of.
    frontier: Option<(i64, i64)>,
    /// Commits may go back to this offset: a member sought it.
    back_to: Option<i64>,
    regressed: Tally,
    usurped: Tally,
    usurper: Option<u32>,
    excess: Vec<(u32, u64, u64)>,
}

impl CommitWatch {
    pub(crate) fn frontier(&self) -> Option<i64> {
        self.frontier.map(|(offset, _)| offset)
    }

    pub(crate) fn allow_back_to(&mut self, offset: i64) {
        self.back_to = Some(self.back_to.map_or(offset, |least| least.min(offset)));
    }

    pub(crate) fn commit(&mut self, at_us: i64, member: u32, offset: i64, position: Option<u64>, usurped: bool) {
        let committed = offset as u64;
        if usurped {
            self.usurper.get_or_insert(member);
            self.usurped.add(1, Spot::offsets(committed, committed + 1));
        }
        if let Some(position) = position
            && committed > position
            && self.excess.len() < EXCESS_MAX
        {
            self.excess.push((member, position, committed));
        }
        match self.frontier {
            Some((frontier, heard_us)) if offset < frontier => {
                // News of an older commit may come late; a seek makes an older commit legal.
                if self.back_to.is_some_and(|least| offset >= least) {
                    self.frontier = Some((offset, at_us));
                } else if at_us >= heard_us {
                    self.frontier = Some((offset, at_us));
                    self.regressed.add(frontier as u64 - committed, Spot::offsets(committed, frontier as u64));
                }
            }
            Some((frontier, heard_us)) => self.frontier = Some((offset.max(frontier), at_us.max(heard_us))),
            None => self.frontier = Some((offset, at_us)),
        }
        if self.back_to.is_some_and(|least| offset < least) || self.frontier() == Some(offset) {
            self.back_to = None;
        }
    }
}

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    for (place, group, state) in view.group_places() {
        let at = (place.tp, Some(group));
        let watch = &state.commits;
        let guaranteed = view.guarantee.offsets();
        out.report(AnomalyKind::CommitFault, at, &watch.regressed, violation_if(guaranteed), || {
            format!("the committed offset went back by {} in all", watch.regressed.count)
        });
        out.report(AnomalyKind::CommitFault, at, &watch.usurped, Judgement::Violation, || {
            let member = watch.usurper.map_or_else(String::new, |member| view.header.member_name(member));
            format!(
                "{} accepted of {member} while another member owned it",
                counted(watch.usurped.count, "commit was", "commits were")
            )
        });
        let mut beyond = Tally::default();
        for (_, position, committed) in &watch.excess {
            // Only what the audit proves visible was passed over; without an audit nothing is proved.
            // A value without identity was delivered too, though no message.
            let visible = place.log.count(*position, *committed);
            let passed = visible.saturating_sub(state.aliens.count(*position, *committed));
            if view.audited && passed > 0 {
                beyond.add(passed, Spot::offsets(*position, *committed));
            }
        }
        out.report(AnomalyKind::CommitFault, at, &beyond, Judgement::Violation, || {
            format!("commits exceeded the member's position by {} visible offsets", beyond.count)
        });
    }
}
