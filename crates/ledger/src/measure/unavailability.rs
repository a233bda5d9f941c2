//! Unavailability: gaps over the threshold, per partition, of writes and of reads, each with the fault that began it.
//!
//! How gaps are found is told in `gaps`, what can stand in a partition's way in `obstacles`. A window that began when nothing
//! did is no fault's doing, however soon after one it came.

use metricstream_scenario::model::Scenario;

use crate::history::Tp;
use crate::result::{Hindrance, Rebalance, Unavailability};

use super::gaps::{ANY, Gap, Gaps, Key};
use super::late::Late;
use super::obstacles::{Evidence, Obstacle, Rule};
use super::steps::{Class, StepSeen, Steps, cuts_off};
use super::{Names, seconds};

/// A window may begin this much before the fault that caused it (the last acknowledgement came before), or this much after
/// what the fault did (the last answer of before may be heard late).
pub(crate) const AROUND_US: i64 = 250_000;

/// What windows are judged by.
pub(crate) struct Judge<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) names: &'a Names,
    pub(crate) steps: &'a Steps,
    pub(crate) cluster: Evidence<'a>,
    pub(crate) rebalances: &'a [Rebalance],
    pub(crate) late: &'a Late,
}

/// What began a window, and what stood in its way.
#[derive(Debug, Clone, PartialEq, Default)]
struct Origin {
    fault: Option<String>,
    cause: Option<Hindrance>,
    held_us: Option<i64>,
}

/// Every window of writes and of reads, in the order in which they began: writes first.
pub(crate) fn windows(judge: &Judge<'_>, writes: (&Gaps, Ends<'_>), reads: (&Gaps, Ends<'_>)) -> Vec<Unavailability> {
    let mut rows = judge.windows("write", writes.0, writes.1);
    let mut of_reads = judge.windows("read", reads.0, reads.1);
    for read in of_reads.iter_mut().filter(|read| read.fault.is_none() && read.cause.is_none()) {
        // Where nothing was written there was nothing to read.
        let both_s = |write: &Unavailability| {
            let until_s = (write.from_s + write.duration_s).min(read.from_s + read.duration_s);
            until_s - write.from_s.max(read.from_s)
        };
        let same = |write: &&Unavailability| (&write.topic, write.partition) == (&read.topic, read.partition);
        let unwritten = rows.iter().filter(same).max_by(|a, b| both_s(a).total_cmp(&both_s(b)));
        if let Some(write) = unwritten.filter(|write| both_s(write) * 2.0 >= read.duration_s) {
            (read.fault, read.cause, read.held_s) = (write.fault.clone(), write.cause, write.held_s);
        }
    }
    rows.append(&mut of_reads);
    rows
}

impl Judge<'_> {
    /// Every window of one operation. Reads have a series for each group too: only the one of any group counts here.
    fn windows(&self, op: &str, gaps: &Gaps, ends: Ends<'_>) -> Vec<Unavailability> {
        let mut rows = Vec::new();
        for (key, series) in gaps.series().iter().filter(|(key, _)| key.0 == ANY) {
            let interval_us = series.interval_us().unwrap_or(0.0);
            let topic = self.names.topic(key.1.topic);
            let obstacles = self.cluster.of(&topic, key.1.partition, Rule::of(self.scenario, &topic, op));
            let row = |gap: Gap, open: bool| {
                let origin = self.origin(op, key.1, gap, AROUND_US.max(interval_us as i64), &obstacles);
                Unavailability {
                    topic: topic.clone(),
                    partition: key.1.partition,
                    op: op.to_owned(),
                    from_s: seconds(gap.from_us),
                    duration_s: seconds(gap.length_us()),
                    resolution_ms: interval_us / 1_000.0,
                    fault: origin.fault,
                    open,
                    cause: origin.cause,
                    held_s: origin.held_us.filter(|_| !open).map(seconds),
                    timer: None,
                    delay_ms: self.late.in_gap(gap) as f64 / 1_000.0,
                }
            };
            rows.extend(gaps.outages(*key).map(|gap| row(gap, false)));
            rows.extend(ends.open(gaps, *key).map(|gap| row(gap, true)));
        }
        rows.sort_by(|a, b| {
            a.from_s.total_cmp(&b.from_s).then_with(|| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)))
        });
        rows
    }

    /// `slack_us` is how much before what caused it a window may begin.
    fn origin(&self, op: &str, tp: Tp, gap: Gap, slack_us: i64, obstacles: &[Obstacle]) -> Origin {
        let begins_in = |one: &&Obstacle| {
            one.from_us - one.error_us <= gap.from_us.saturating_add(slack_us)
                && one.until_us.saturating_add(one.error_us + AROUND_US) >= gap.from_us
        };
        let mut there: Vec<&Obstacle> = obstacles.iter().filter(begins_in).collect();
        // Whatever was long there and let the partition go on did not begin it; what came last did.
        there.sort_by_key(|one| std::cmp::Reverse(one.from_us));
        let (cause, held_us) = stood_in_the_way(obstacles, &there, gap);
        let fault = self.begun_by(op, tp, gap, slack_us, &there);
        match (cause, self.rebalancing(op, tp, gap)) {
            (None, Some((rebalance, until_s))) if fault.is_none() || rebalance.step.is_some() => {
                let held_us = (until_s * 1e6).min(gap.to_us as f64) as i64 - gap.from_us;
                let fault = rebalance.step.clone().or(fault);
                Origin { fault, cause: Some(Hindrance::Rebalance), held_us: Some(held_us.max(0)) }
            }
            _ => Origin { fault, cause, held_us },
        }
    }

    fn begun_by(&self, op: &str, tp: Tp, gap: Gap, slack_us: i64, there: &[&Obstacle]) -> Option<String> {
        let latest_us = gap.from_us.saturating_add(slack_us);
        // The earliest of the faults that hit it at once: what hit it while it was out did not begin the outage.
        let hit = there.iter().rev().find(|one| one.from_us + one.error_us >= gap.from_us - AROUND_US);
        if let Some(fault) = hit.or_else(|| there.first()).and_then(|one| one.fault.clone()) {
            return Some(fault);
        }
        let before = self.steps.preceding(latest_us, op == "read")?;
        let blind = !self.cluster.knows(&self.names.topic(tp.topic), tp.partition);
        let unseen = is_unseen(before, latest_us);
        let began_with_it = latest_us - before.at_us <= slack_us + AROUND_US;
        let unled = there.iter().any(|one| one.node.is_none());
        (blind || unseen || began_with_it || unled).then(|| before.id.clone())
    }

    /// The rebalance of a group that reads the topic in which a window of reads began, and until when it went on: to its
    /// end, or to the next.
    fn rebalancing(&self, op: &str, tp: Tp, gap: Gap) -> Option<(&Rebalance, f64)> {
        let topic = self.names.topic(tp.topic);
        let (from_s, around_s) = (seconds(gap.from_us), seconds(AROUND_US));
        let reads_it = |row: &&Rebalance| {
            let group = self.scenario.workload.groups.iter().find(|group| group.name == row.group);
            group.is_some_and(|group| group.topics.contains(&topic))
        };
        let with_end = |row| {
            let &Rebalance { at_s, duration_s, ref group, .. } = row;
            let later = self.rebalances.iter().filter(|next| next.group == *group && next.at_s > at_s);
            let next_s = later.map(|next| next.at_s).fold(f64::INFINITY, f64::min);
            (row, duration_s.map_or(next_s, |duration_s| at_s + duration_s))
        };
        let going_on =
            |(row, until_s): &(&Rebalance, f64)| (row.at_s - around_s..=until_s + around_s).contains(&from_s);
        self.rebalances.iter().filter(|_| op == "read").filter(reads_it).map(with_end).rfind(going_on)
    }
}

/// Whether what a fault does at that time cannot be seen in committed states: a cut that is in force, a fault of no node.
pub(crate) fn is_unseen(fault: &StepSeen, at_us: i64) -> bool {
    fault.nodes.is_empty() && fault.class == Class::Fault || cuts_off(&fault.kind) && fault.covers(at_us)
}

/// What stood in the way for longest of a gap that began in `there`, and until when something did.
fn stood_in_the_way(all: &[Obstacle], there: &[&Obstacle], gap: Gap) -> (Option<Hindrance>, Option<i64>) {
    if !there.iter().any(|one| one.share_us(gap).is_some()) {
        return (None, None);
    }
    let shares = all.iter().filter_map(|one| Some((one.share_us(gap)?, one)));
    // Of equals the first, which clients have to learn of too.
    let main = shares.clone().min_by_key(|(share_us, one)| (std::cmp::Reverse(*share_us), one.what));
    let Some((_, main)) = main else { return (None, None) };
    let until_us = shares.map(|(_, one)| one.until_us).max().unwrap_or(gap.from_us);
    (Some(main.what), Some((until_us.min(gap.to_us) - gap.from_us).max(0)))
}

/// Where windows that nothing ended are cut.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ends<'a> {
    /// Writes: at the end of load.
    Load(i64),
    /// Reads: at the end of the run, if something acknowledged was not read.
    Run(i64, &'a Gaps),
}

impl Ends<'_> {
    pub(crate) fn open(&self, gaps: &Gaps, key: Key) -> Option<Gap> {
        match self {
            Self::Load(end_us) => gaps.open_gap(key, *end_us),
            Self::Run(end_us, writes) => {
                let last_read_us = gaps.series().get(&key)?.last_us()?;
                let read_us = gaps.series().get(&key)?.answered_us?;
                let written_us = writes.series().get(&(ANY, key.1))?.answered_us?;
                let from_us = if written_us > read_us { last_read_us } else { return None };
                let gap = Gap { from_us, to_us: *end_us };
                (gap.length_us() > gaps.threshold_us()).then_some(gap)
            }
        }
    }
}
