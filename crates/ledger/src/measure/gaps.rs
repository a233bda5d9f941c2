//! Gaps between acknowledgements (or deliveries) of one partition, found in one pass.
//!
//! A gap is time in which something was wanted and nothing came: time in which nothing was intended does not count.
//! What a gap is called, and which fault it follows, is not known here.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::history::Tp;

/// The least gap that can be an outage, µs.
pub const GAP_MIN_US: i64 = 250_000;
/// Gaps kept in all; more are counted and reported.
const GAPS_MAX: usize = 100_000;
/// Below this many gaps a baseline says nothing about its p99.9.
const BASELINE_COUNT_MIN: u64 = 100;
/// The first seconds (connections, class loading) are no baseline.
pub(crate) const WARM_UP_US: i64 = 2_000_000;
/// Longest gap that the baseline records, µs.
const BASELINE_MAX_US: u64 = 3_600_000_000;

/// A gap between two moments at which something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins: the last that came, or the first that was wanted after a pause of the schedule.
    pub from_us: i64,
    /// What ended it.
    pub to_us: i64,
}

impl Gap {
    /// Its length.
    pub fn length_us(&self) -> i64 {
        self.to_us - self.from_us
    }
}

/// A group (or [`ANY`]) and a partition.
pub type Key = (u16, Tp);
/// Writes, or reads by whichever group.
pub const ANY: u16 = u16::MAX;

/// What is known of one partition.
#[derive(Debug, Clone, Default)]
pub struct Series {
    last_us: Option<i64>,
    /// The earliest intended message that was not answered after `last_us`.
    waiting_us: Option<i64>,
    /// First and last intended, their number.
    pub(crate) intended: Option<(i64, i64)>,
    pub(crate) count: u64,
    /// The latest intended message of those that came.
    pub(crate) answered_us: Option<i64>,
    gaps: Vec<Gap>,
}

impl Series {
    /// When something last came.
    pub fn last_us(&self) -> Option<i64> {
        self.last_us
    }

    /// Candidates: every gap of at least [`GAP_MIN_US`].
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The mean time between intended messages: no gap is known more exactly.
    pub fn interval_us(&self) -> Option<f64> {
        let (first, last) = self.intended?;
        (self.count > 1).then(|| (last - first) as f64 / (self.count - 1) as f64)
    }

    fn intend(&mut self, intended_us: i64) {
        self.count += 1;
        self.intended = Some(match self.intended {
            None => (intended_us, intended_us),
            Some((first, last)) => (first.min(intended_us), last.max(intended_us)),
        });
    }
}

/// Gap detectors of every partition, with one baseline.
#[derive(Debug)]
pub struct Gaps {
    series: BTreeMap<Key, Series>,
    baseline: Option<Histogram<u64>>,
    kept: usize,
    /// Gaps that found no room.
    pub(crate) dropped: u64,
    /// Whether the time before the first that came counts.
    from_first_intended: bool,
}

impl Gaps {
    /// Of writes: waiting for the first acknowledgement counts.
    pub fn of_writes() -> Self {
        Self::new(true)
    }

    /// Of reads: a group that only starts is a rebalance, not an outage.
    pub fn of_reads() -> Self {
        Self::new(false)
    }

    fn new(from_first_intended: bool) -> Self {
        // Three digits of an hour always fit: the bounds are constants.
        let baseline = Histogram::new_with_bounds(1, BASELINE_MAX_US, 3).ok();
        Self { series: BTreeMap::new(), baseline, kept: 0, dropped: 0, from_first_intended }
    }

    /// Something came at `at_us` that was intended at `intended_us`; `baseline` is whether nothing was broken yet.
    pub fn came(&mut self, key: Key, at_us: i64, intended_us: i64, baseline: bool) {
        let series = self.series.entry(key).or_default();
        series.intend(intended_us);
        series.answered_us = series.answered_us.max(Some(intended_us));
        let wanted_us = series.waiting_us.map_or(intended_us, |waiting| waiting.min(intended_us));
        let Some(last_us) = series.last_us else {
            series.last_us = Some(at_us);
            series.waiting_us = None;
            if self.from_first_intended {
                self.keep(key, Gap { from_us: wanted_us, to_us: at_us });
            }
            return;
        };
        if at_us <= last_us {
            self.came_late(key, at_us);
            return;
        }
        series.last_us = Some(at_us);
        series.waiting_us = None;
        // The schedule itself may have paused: then the gap begins with the first message that was wanted.
        let from_us = if wanted_us.saturating_sub(last_us) > GAP_MIN_US { wanted_us.min(at_us) } else { last_us };
        if baseline
            && from_us >= WARM_UP_US
            && let Some(histogram) = &mut self.baseline
        {
            histogram.saturating_record((at_us - from_us).max(1) as u64);
        }
        self.keep(key, Gap { from_us, to_us: at_us });
    }

    /// Something was wanted and failed, or is still open.
    pub fn unanswered(&mut self, key: Key, intended_us: i64) {
        let series = self.series.entry(key).or_default();
        series.intend(intended_us);
        series.waiting_us = Some(series.waiting_us.map_or(intended_us, |waiting| waiting.min(intended_us)));
    }

    fn keep(&mut self, key: Key, gap: Gap) {
        if gap.length_us() < GAP_MIN_US {
            return;
        }
        if self.kept >= GAPS_MAX {
            self.dropped += 1;
            return;
        }
        self.kept += 1;
        self.series.entry(key).or_default().gaps.push(gap);
    }

    /// A report that came out of order fell into what looked like a gap: it was two.
    fn came_late(&mut self, key: Key, at_us: i64) {
        let Some(series) = self.series.get_mut(&key) else { return };
        let inside = series.gaps.iter().rposition(|gap| gap.from_us < at_us && at_us < gap.to_us);
        let Some(inside) = inside else { return };
        let gap = series.gaps.remove(inside);
        self.kept = self.kept.saturating_sub(1);
        let halves = [Gap { from_us: gap.from_us, to_us: at_us }, Gap { from_us: at_us, to_us: gap.to_us }];
        for (offset, half) in halves.into_iter().filter(|half| half.length_us() >= GAP_MIN_US).enumerate() {
            series.gaps.insert(inside + offset, half);
            self.kept += 1;
        }
    }

    /// max(3 × baseline p99.9, 250 ms).
    pub fn threshold_us(&self) -> i64 {
        let p999 = self.baseline_p999_us().unwrap_or(0);
        GAP_MIN_US.max(3 * p999)
    }

    /// p99.9 of the baseline's gaps; `None` if there were too few to say.
    pub fn baseline_p999_us(&self) -> Option<i64> {
        let histogram = self.baseline.as_ref().filter(|histogram| histogram.len() >= BASELINE_COUNT_MIN)?;
        i64::try_from(histogram.value_at_quantile(0.999)).ok()
    }

    /// Every series, in the order of keys.
    pub fn series(&self) -> &BTreeMap<Key, Series> {
        &self.series
    }

    /// The gap that was still open when nothing more was wanted, if it is over the threshold.
    pub fn open_gap(&self, key: Key, end_us: i64) -> Option<Gap> {
        let series = self.series.get(&key)?;
        let (first_us, last_us) = series.intended?;
        let from_us = match (series.last_us, series.waiting_us) {
            (None, _) => first_us,
            (Some(_), None) => return None,
            (Some(last), Some(waiting)) if waiting.saturating_sub(last) > GAP_MIN_US => waiting,
            (Some(last), Some(_)) => last,
        };
        // After the last message that was wanted nothing can come, so the gap ends there at the latest.
        let gap = Gap { from_us, to_us: end_us.min(last_us) };
        (gap.length_us() > self.threshold_us()).then_some(gap)
    }

    /// Gaps over the threshold.
    pub fn outages(&self, key: Key) -> impl Iterator<Item = Gap> {
        let threshold_us = self.threshold_us();
        let gaps = self.series.get(&key).map_or(&[][..], Series::gaps);
        gaps.iter().copied().filter(move |gap| gap.length_us() > threshold_us)
    }
}
