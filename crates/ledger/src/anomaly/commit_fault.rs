//! Commit fault: a group's committed offset goes back, exceeds the member's position, or comes from a member that does
//! not own the partition while another does.
//!
//! Where an unclean election truncated the log below a member's position, the member is set back without a seek. Within
//! what it was set back over a commit may go back, and a commit of the old position exceeds the new one: both follow from
//! the truncation and are judged as it is.

use crate::accounting::{Findings, Judgement, Spot, Tally};
use crate::anomaly::{AnomalyKind, violation_if};
use crate::group::SetBack;
use crate::ledger::View;
use crate::reasons::counted;

/// Commits beyond the position kept until the audit says whether anything visible was passed over.
const EXCESS_MAX: usize = 4_096;

/// A commit that a group's coordinator accepted, and what was known of the member then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Commit {
    pub(crate) at_us: i64,
    pub(crate) member: u32,
    pub(crate) offset: i64,
    pub(crate) position: Option<u64>,
    pub(crate) set_back: Option<SetBack>,
    /// Another member owned the partition.
    pub(crate) usurped: bool,
}

/// A commit beyond its member's position.
#[derive(Debug, Clone, Copy)]
struct Excess {
    position: u64,
    committed: u64,
    /// Up to here the member had been, before it was set back: the position, if it was not.
    had_been: u64,
}

/// Watches the commits of one group on one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommitWatch {
    /// Highest commit and when it was heard of.
    frontier: Option<(i64, i64)>,
    /// Commits may go back to this offset: a member sought it.
    back_to: Option<i64>,
    regressed: Tally,
    /// Went back over no more than the member had been set back over.
    followed: Tally,
    usurped: Tally,
    usurper: Option<u32>,
    excess: Vec<Excess>,
}

impl CommitWatch {
    pub(crate) fn frontier(&self) -> Option<i64> {
        self.frontier.map(|(offset, _)| offset)
    }

    pub(crate) fn allow_back_to(&mut self, offset: i64) {
        self.back_to = Some(self.back_to.map_or(offset, |least| least.min(offset)));
    }

    pub(crate) fn commit(&mut self, commit: &Commit) {
        let Commit { at_us, offset, set_back, .. } = *commit;
        let committed = offset as u64;
        if commit.usurped {
            self.usurper.get_or_insert(commit.member);
            self.usurped.add(1, Spot::offsets(committed, committed + 1));
        }
        if let Some(position) = commit.position
            && committed > position
            && self.excess.len() < EXCESS_MAX
        {
            let had_been = set_back.map_or(position, |back| back.from.clamp(position, committed));
            self.excess.push(Excess { position, committed, had_been });
        }
        match self.frontier {
            Some((frontier, heard_us)) if offset < frontier => {
                // News of an older commit may come late; a seek makes an older commit legal.
                if self.back_to.is_some_and(|least| offset >= least) {
                    self.frontier = Some((offset, at_us));
                } else if at_us >= heard_us {
                    self.frontier = Some((offset, at_us));
                    let followed = |back: SetBack| back.to <= committed && frontier as u64 <= back.from;
                    let tally = if set_back.is_some_and(followed) { &mut self.followed } else { &mut self.regressed };
                    tally.add(frontier as u64 - committed, Spot::offsets(committed, frontier as u64));
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
        let (mut beyond, mut truncated) = (Tally::default(), Tally::default());
        for Excess { position, committed, had_been } in &watch.excess {
            // Only what the audit proves visible was passed over; without an audit nothing is proved.
            // A value without identity was delivered too, though no message.
            for (tally, from, to) in [(&mut truncated, *position, *had_been), (&mut beyond, *had_been, *committed)] {
                let passed = place.log.count(from, to).saturating_sub(state.aliens.count(from, to));
                if view.audited && passed > 0 {
                    tally.add(passed, Spot::offsets(from, to));
                }
            }
        }
        out.report(AnomalyKind::CommitFault, at, &beyond, Judgement::Violation, || {
            format!("commits exceeded the member's position by {} visible offsets", beyond.count)
        });
        let (intact, why) = view.guarantee.committed(place.tp);
        out.report(AnomalyKind::CommitFault, at, &truncated, violation_if(intact), || {
            let offsets = counted(truncated.count, "visible offset", "visible offsets");
            format!(
                "commits exceeded the member's position by {offsets}, up to where it was before it was set back ({why})"
            )
        });
        out.report(AnomalyKind::CommitFault, at, &watch.followed, violation_if(guaranteed && intact), || {
            format!(
                "the committed offset went back by {} in all, with the member's position ({why})",
                watch.followed.count
            )
        });
    }
}
