//! Dual ownership: two members own one partition at the same time, and both deliver in that time.

use crate::accounting::{Findings, Judgement, Spot, Tally};
use crate::anomaly::AnomalyKind;
use crate::ledger::View;

/// Ownership intervals kept per group and partition: one per rebalance.
const INTERVALS_MAX: usize = 65_536;

#[derive(Debug, Clone, Copy)]
struct Interval {
    member: u32,
    from_us: i64,
    /// `None`: never given up.
    to_us: Option<i64>,
    /// First and last delivery in it.
    delivered_us: Option<(i64, i64)>,
}

/// Who owned a partition of a group, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ownership {
    intervals: Vec<Interval>,
}

impl Ownership {
    pub(crate) fn begin(&mut self, at_us: i64, member: u32) {
        self.end(at_us, member);
        if self.intervals.len() < INTERVALS_MAX {
            self.intervals.push(Interval { member, from_us: at_us, to_us: None, delivered_us: None });
        }
    }

    pub(crate) fn end(&mut self, at_us: i64, member: u32) {
        if let Some(open) = self.open(member) {
            open.to_us = Some(at_us);
        }
    }

    pub(crate) fn delivered(&mut self, at_us: i64, member: u32) {
        // Members that never said what they own are not judged.
        if let Some(open) = self.open(member) {
            let (first, last) = open.delivered_us.unwrap_or((at_us, at_us));
            open.delivered_us = Some((first.min(at_us), last.max(at_us)));
        }
    }

    /// Whether a member other than this one owned the partition at that time.
    pub(crate) fn another_owner(&self, member: u32, at_us: i64) -> bool {
        self.intervals.iter().rev().any(|interval| {
            interval.member != member && interval.from_us <= at_us && interval.to_us.is_none_or(|to_us| to_us > at_us)
        })
    }

    fn open(&mut self, member: u32) -> Option<&mut Interval> {
        self.intervals.iter_mut().rev().find(|interval| interval.member == member && interval.to_us.is_none())
    }

    /// Pairs of members, since when both owned and delivered.
    fn overlaps(&self) -> Vec<(u32, u32, i64)> {
        let mut intervals = self.intervals.clone();
        intervals.sort_by_key(|interval| interval.from_us);
        let mut found = Vec::new();
        for (index, late) in intervals.iter().enumerate() {
            let Some((late_first_us, _)) = late.delivered_us else { continue };
            for early in &intervals[..index] {
                let Some((_, early_last_us)) = early.delivered_us else { continue };
                // An owner that never gave up (a crash that nobody reported) is judged by its last delivery alone.
                let delivered_on = early_last_us > late.from_us;
                if early.member != late.member
                    && delivered_on
                    && early.to_us.is_none_or(|end_us| late_first_us < end_us)
                {
                    found.push((early.member, late.member, late.from_us));
                }
            }
        }
        found
    }
}

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    for (place, group, state) in view.group_places() {
        let name = view.header.groups.get(group).map_or("", String::as_str);
        for (early, late, since_us) in state.ownership.overlaps() {
            let mut tally = Tally::default();
            tally.add(1, Spot { offsets: None, lane: None, seqs: None });
            let known = view.header.members.iter().find(|member| member.incarnation == early);
            let stalled = view.story.stalled(name, known.map(|member| member.name.as_str()), since_us);
            let (early, late) = (view.header.member_name(early), view.header.member_name(late));
            let verdict = if stalled { Judgement::Expected } else { Judgement::Violation };
            out.report(AnomalyKind::DualOwnership, (place.tp, Some(group)), &tally, verdict, || {
                let why = if stalled { "; it had been stalled" } else { "" };
                let since_s = since_us as f64 / 1e6;
                format!("{early} still delivered when {late} owned it, from {since_s:.3} s on, and did too{why}")
            });
        }
    }
}
