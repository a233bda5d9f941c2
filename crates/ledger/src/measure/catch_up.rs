//! Lag of each group by the second, and how long it took to work off what a fault had piled up.
//!
//! Lag is messages acknowledged less messages that the group has advanced over. A message whose outcome stayed unknown and
//! that is in the log is advanced over but was never acknowledged: lag is too low by their number at most. Messages that
//! a new leader has cut off are not waited for: they are taken out of the lag when it acknowledges at their offsets again.

use std::collections::BTreeMap;

use metricstream_scenario::model::Scenario;

use crate::history::{Outcome, Record, Tp};
use crate::result::CatchUp;
use crate::sample::{DeliverySample, SendEnd, SendSample};

use super::gaps::WARM_UP_US;
use super::seconds;
use super::steps::Steps;

const SECOND_US: i64 = 1_000_000;
/// Most seconds; a longer run keeps its first days.
const SECONDS_MAX: usize = 7 * 86_400;
/// A lag at or below the baseline must hold this long.
pub(crate) const HOLD_S: usize = 5;
/// Fewer seconds make no baseline.
const BASELINE_S_MIN: usize = 3;
/// What arrives in this time is no backlog, s.
const NOISE_S: f64 = 0.25;

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    acked: u64,
    advanced: u64,
    /// Acknowledged before, and cut off since.
    cut: u64,
}

/// What acknowledgements and the audit say of one partition's end.
#[derive(Debug, Clone, Default)]
struct Tail {
    /// One past the highest offset that was acknowledged, as far as it still counts.
    end: i64,
    /// A leader was elected, and nothing at or beyond `end` has been acknowledged since.
    new_leader: bool,
    acked: u64,
    logged: u64,
    /// Second and number of what was cut off.
    cuts: Vec<(i64, u64)>,
}

/// One group.
#[derive(Debug, Default)]
struct Backlog {
    topics: Vec<u16>,
    seconds: Vec<Second>,
    positions: BTreeMap<Tp, i64>,
}

impl Backlog {
    fn second(&mut self, at_us: i64) -> Option<&mut Second> {
        // What happens before load starts belongs to its first second.
        let index = usize::try_from(at_us.max(0) / SECOND_US).ok().filter(|index| *index < SECONDS_MAX)?;
        if index >= self.seconds.len() {
            self.seconds.resize(index + 1, Second::default());
        }
        self.seconds.get_mut(index)
    }

    /// From when on the group counts as running: it was given something for a while, and worked off what it found.
    fn warm(&self) -> usize {
        let first = self.seconds.iter().position(|second| second.advanced > 0).unwrap_or(0);
        (WARM_UP_US / SECOND_US) as usize + first
    }

    /// Messages acknowledged per second in these seconds.
    fn arrival(&self, range: std::ops::Range<usize>) -> f64 {
        let end = range.end.min(self.seconds.len());
        let seconds = self.seconds.get(range.start.min(end)..end).unwrap_or_default();
        seconds.iter().map(|second| second.acked).sum::<u64>() as f64 / seconds.len().max(1) as f64
    }

    /// Lag at the end of each second.
    fn lags(&self) -> Vec<u64> {
        let (mut acked, mut gone) = (0_u64, 0_u64);
        let lag = |second: &Second| {
            acked += second.acked;
            gone += second.advanced + second.cut;
            acked.saturating_sub(gone)
        };
        self.seconds.iter().map(lag).collect()
    }
}

/// The lag of every group.
#[derive(Debug)]
pub struct Backlogs {
    groups: Vec<Backlog>,
    tails: BTreeMap<Tp, Tail>,
    audited: bool,
}

/// A group's lag, by the second.
#[derive(Debug, Clone, PartialEq)]
pub struct Lag {
    /// At the end of each second.
    pub by_second: Vec<u64>,
    /// p99 of the seconds between warm-up and the first fault; `None` if those are too few.
    pub baseline: Option<u64>,
    /// How many seconds those were.
    quiet_s: usize,
}

impl Lag {
    /// Why there is no baseline.
    fn without_baseline(&self) -> String {
        match self.quiet_s {
            0 => "no baseline, the first fault came in the warm-up".to_owned(),
            some => format!(
                "no baseline, the first fault came {some} s after the warm-up and {BASELINE_S_MIN} s are needed"
            ),
        }
    }

    /// Whether nothing was seen from then on of a group that was not behind: then there is nothing to measure.
    fn is_unknown_from(&self, at_us: i64) -> bool {
        let second = (at_us.max(0) / SECOND_US) as usize;
        let behind = self.by_second.last().copied().unwrap_or(0) > self.baseline.unwrap_or(0);
        self.by_second.len() <= second && !behind
    }
}

impl Backlogs {
    /// Of this scenario's groups.
    pub fn new(scenario: &Scenario) -> Self {
        let topics = &scenario.topology.topics;
        let index = |name: &String| {
            let at = topics.iter().position(|topic| topic.name == *name)?;
            u16::try_from(at).ok()
        };
        let backlog = |group: &metricstream_scenario::model::Group| Backlog {
            topics: group.topics.iter().filter_map(index).collect(),
            ..Backlog::default()
        };
        Self { groups: scenario.workload.groups.iter().map(backlog).collect(), tails: BTreeMap::new(), audited: false }
    }

    /// The partition has another leader: its log may be shorter than the former one's.
    pub fn new_leader(&mut self, tp: Tp) {
        self.tails.entry(tp).or_default().new_leader = true;
    }

    /// What the history says of acknowledged offsets and of the audited log.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::Outcome { at_us, count, outcome: Outcome::Ok { tp, base_offset }, .. } if *base_offset >= 0 => {
                let tail = self.tails.entry(*tp).or_default();
                tail.acked += u64::from(*count);
                let below = tail.end.saturating_sub(*base_offset);
                if tail.new_leader && below > 0 {
                    tail.cuts.push((*at_us, below.unsigned_abs()));
                    tail.end = *base_offset;
                }
                tail.new_leader = false;
                tail.end = tail.end.max(base_offset.saturating_add(i64::from(*count)));
            }
            Record::Logged { tp, count, .. } => self.tails.entry(*tp).or_default().logged += u64::from(*count),
            Record::AuditDone { .. } => self.audited = true,
            _ => {}
        }
    }

    /// The run is over: what was cut off leaves every group's lag. Acknowledgements of several clients may cross at an
    /// election and look like a cut; no more can have been cut off than the audit misses. It makes no difference whether
    /// the group had read them: their offsets are given out again, and are not advanced over twice.
    pub fn settle(&mut self) {
        for (tp, tail) in std::mem::take(&mut self.tails) {
            let mut most = if self.audited { tail.acked.saturating_sub(tail.logged) } else { u64::MAX };
            for (at_us, count) in tail.cuts {
                let count = count.min(most);
                most -= count;
                for backlog in self.groups.iter_mut().filter(|backlog| backlog.topics.contains(&tp.topic)) {
                    if let Some(second) = backlog.second(at_us) {
                        second.cut += count;
                    }
                }
            }
        }
    }

    /// A send.
    pub fn send(&mut self, sample: &SendSample) {
        if sample.end != SendEnd::Acked {
            return;
        }
        for backlog in self.groups.iter_mut().filter(|backlog| backlog.topics.contains(&sample.tp.topic)) {
            if let Some(second) = backlog.second(sample.done_us) {
                second.acked += 1;
            }
        }
    }

    /// A delivery.
    pub fn delivery(&mut self, sample: &DeliverySample) {
        let Some(backlog) = self.groups.get_mut(usize::from(sample.group)) else { return };
        let next = sample.offset.saturating_add(1);
        let position = backlog.positions.entry(sample.tp).or_insert(sample.offset);
        let advanced = next.saturating_sub(*position).max(0);
        *position = (*position).max(next);
        if let Some(second) = backlog.second(sample.delivered_us) {
            second.advanced += advanced.unsigned_abs();
        }
    }

    /// Every group's lag, in the order of the scenario.
    pub(crate) fn lags(&self, steps: &Steps) -> Vec<Lag> {
        let lag = |backlog: &Backlog| {
            let by_second = backlog.lags();
            let warm = backlog.warm();
            let until = steps.first_fault_us().map_or(by_second.len(), |at_us| (at_us.max(0) / SECOND_US) as usize);
            let mut quiet = by_second.get(warm..until.min(by_second.len())).unwrap_or_default().to_vec();
            quiet.sort_unstable();
            // The nearest rank; of fewer than a hundred seconds it is the largest.
            let rank = (quiet.len() as f64 * 0.99).ceil() as usize;
            let baseline = quiet.get(rank.saturating_sub(1)).copied().filter(|_| quiet.len() >= BASELINE_S_MIN);
            // What comes in 250 ms is no backlog, as a gap of 250 ms is no outage: few seconds know little of a p99.
            let noise = (backlog.arrival(warm..until) * NOISE_S) as u64;
            let baseline = baseline.map(|baseline| baseline.max(noise));
            Lag { by_second, baseline, quiet_s: quiet.len() }
        };
        self.groups.iter().map(lag).collect()
    }

    /// The rows of the result: one per healed fault and group.
    pub(crate) fn rows(
        &self,
        steps: &Steps,
        group_name: impl Fn(usize) -> String,
        not_measured: &mut Vec<String>,
    ) -> Vec<CatchUp> {
        let mut rows = Vec::new();
        for (index, (backlog, lag)) in self.groups.iter().zip(self.lags(steps)).enumerate() {
            if backlog.positions.is_empty() {
                continue;
            }
            if lag.baseline.is_none() && steps.first_fault_us().is_some() {
                let group = group_name(index);
                not_measured.push(format!("catch_up of {group}: {}", lag.without_baseline()));
            }
            for fault in steps.faults() {
                let Some(healed_us) = fault.healed_us else { continue };
                if lag.is_unknown_from(healed_us) {
                    let (group, fault) = (group_name(index), &fault.id);
                    not_measured.push(format!(
                        "catch_up of {group} after {fault}: nothing was acknowledged or delivered after the heal, and \
                         nothing was left to deliver"
                    ));
                    continue;
                }
                rows.push(row(group_name(index), backlog, &lag, (&fault.id, fault.at_us, healed_us)));
            }
        }
        rows
    }
}

fn row(group: String, backlog: &Backlog, lag: &Lag, (fault, fault_us, healed_us): (&str, i64, i64)) -> CatchUp {
    let second = |at_us: i64| (at_us.max(0) / SECOND_US) as usize;
    let caught = lag.baseline.and_then(|baseline| {
        let held = |from: usize| {
            let stretch = lag.by_second.get(from..lag.by_second.len().min(from + HOLD_S)).unwrap_or_default();
            !stretch.is_empty() && stretch.iter().all(|lag| *lag <= baseline)
        };
        (second(healed_us)..lag.by_second.len()).find(|from| held(*from))
    });
    let until = caught.map_or(lag.by_second.len(), |caught| caught + 1);
    let from = second(fault_us).min(until);
    let stretch = lag.by_second.get(from..until).unwrap_or_default();
    let peak_lag = stretch.iter().copied().max().unwrap_or(0);
    let peak_at = from + stretch.iter().position(|lag| *lag == peak_lag).unwrap_or(0);
    let drained = caught.filter(|caught| *caught > peak_at).map(|caught| {
        let left = lag.by_second.get(caught).copied().unwrap_or(0);
        peak_lag.saturating_sub(left) as f64 / (caught - peak_at) as f64
    });
    let capacity = backlog.seconds.iter().map(|second| second.advanced).max().unwrap_or(0) as f64;
    let warm = backlog.warm();
    let arrival = backlog.arrival(warm..from);
    let baseline_lag = lag.baseline.map(|lag| lag as f64);
    // Without a baseline nobody knows what had piled up, nor when it was worked off.
    let piled_up = baseline_lag.filter(|_| from > warm && capacity > arrival).map(|lag| peak_lag as f64 - lag);
    CatchUp {
        group,
        fault: fault.to_owned(),
        healed_s: seconds(healed_us),
        baseline_lag,
        peak_lag,
        // A second is known at its end; one that held from before the heal took no time.
        duration_s: caught.map(|caught| (seconds((caught as i64 + 1) * SECOND_US - healed_us)).max(0.0)),
        drain_per_s: drained,
        ideal_s: piled_up.map(|messages| messages.max(0.0) / (capacity - arrival)),
    }
}
