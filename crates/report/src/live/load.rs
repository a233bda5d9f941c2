//! The load in numbers: counters as they were read, rates between two readings, and a small curve of them.

use std::collections::VecDeque;

/// Readings that are kept: what a curve of this many steps needs.
const KEPT_MAX: usize = 241;
/// A rate is taken over about this long, µs: shorter is noise, longer is late.
const RATE_OVER_US: i64 = 1_000_000;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The counters of a running load, read at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// When they were read, µs on the run's clock.
    pub at_us: i64,
    /// Messages handed to the clients.
    pub sent: u64,
    /// Messages acknowledged.
    pub acked: u64,
    /// Messages that definitely failed.
    pub failed: u64,
    /// Messages whose outcome will not be known.
    pub unknown: u64,
    /// Sends whose outcome is not known yet.
    pub open: u64,
    /// Messages that the schedule wants sent by now and that no client took, for lack of room.
    pub owed: u64,
    /// Deliveries to all groups, repeated ones included.
    pub delivered: u64,
    /// Per group of the scenario, in its order: messages acknowledged and not delivered to it yet. `None`: not known.
    pub lags: Vec<Option<u64>>,
}

/// Messages per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) sent: f64,
    pub(super) acked: f64,
    pub(super) delivered: f64,
}

/// What a curve's height and width stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    /// The highest rate in it.
    pub(super) most_per_s: f64,
    /// Mean length of one column.
    pub(super) column_s: f64,
}

/// The newest readings, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Readings {
    kept: VecDeque<Counts>,
}

impl Readings {
    pub(super) fn push(&mut self, counts: Counts) {
        // Counters that were read twice at the same moment have no rate.
        while self.kept.back().is_some_and(|last| last.at_us >= counts.at_us) {
            self.kept.pop_back();
        }
        if self.kept.len() >= KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(counts);
    }

    pub(super) fn newest(&self) -> Option<&Counts> {
        self.kept.back()
    }

    /// Over the last second; `None` before there are two readings.
    pub(super) fn rates(&self) -> Option<Rates> {
        let last = self.kept.back()?;
        let before = |c: &&Counts| last.at_us - c.at_us >= RATE_OVER_US;
        let first = self.kept.iter().rev().find(before).or_else(|| self.kept.front())?;
        let over_s = (last.at_us - first.at_us) as f64 / 1e6;
        let rate = |a: u64, b: u64| b.saturating_sub(a) as f64 / over_s;
        (over_s > 0.0).then(|| Rates {
            sent: rate(first.sent, last.sent),
            acked: rate(first.acked, last.acked),
            delivered: rate(first.delivered, last.delivered),
        })
    }

    /// Acknowledgements between neighbouring readings as bars, newest on the right, and the highest rate among them. The
    /// usual rate is half of the height: what was held up and comes all at once must not flatten the rest.
    /// `·` is a reading without any: `▁` is the least that is more than none.
    pub(super) fn curve(&self, width: usize) -> Option<(String, Scale)> {
        let take = width.min(self.kept.len().checked_sub(1)?);
        if take == 0 {
            return None;
        }
        let shown: Vec<&Counts> = self.kept.iter().skip(self.kept.len() - take - 1).collect();
        let rate = |pair: &[&Counts]| {
            let over_s = (pair[1].at_us - pair[0].at_us).max(1) as f64 / 1e6;
            pair[1].acked.saturating_sub(pair[0].acked) as f64 / over_s
        };
        let rates: Vec<f64> = shown.windows(2).map(rate).collect();
        let most = rates.iter().copied().fold(0.0, f64::max);
        let mut some: Vec<f64> = rates.iter().copied().filter(|rate| *rate > 0.0).collect();
        some.sort_by(f64::total_cmp);
        let usual = some.get(some.len() / 2).copied().unwrap_or(0.0);
        let bar = |rate: &f64| match *rate / (2.0 * usual) {
            share if share > 0.0 => BARS[((share * 8.0).ceil() as usize).clamp(1, 8) - 1],
            _ => '·',
        };
        let over_us = shown.last()?.at_us - shown.first()?.at_us;
        let column_s = over_us as f64 / 1e6 / rates.len() as f64;
        Some((rates.iter().map(bar).collect(), Scale { most_per_s: most, column_s }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(acked: &[u64]) -> Readings {
        let mut readings = Readings::default();
        for (at, acked) in (0..).zip(acked) {
            readings.push(Counts { at_us: at * 500_000, acked: *acked, ..Counts::default() });
        }
        readings
    }

    #[test]
    fn a_rate_is_taken_over_a_second_not_over_the_whole_run() {
        assert_eq!(readings(&[7]).rates(), None);
        assert_eq!(readings(&[0, 500]).rates().unwrap().acked, 1_000.0);
        assert_eq!(readings(&[0, 500, 1_000, 1_000, 1_000]).rates().unwrap().acked, 0.0);
    }

    #[test]
    fn the_curve_shows_silence_as_silence() {
        let (bars, scale) = readings(&[0, 800, 1_600, 1_600, 1_700]).curve(10).unwrap();
        assert_eq!((bars.as_str(), scale), ("▄▄·▁", Scale { most_per_s: 1_600.0, column_s: 0.5 }));
        assert_eq!(readings(&[0, 800, 1_600, 1_600, 1_700]).curve(2).unwrap().0, "·▄");
        assert_eq!(readings(&[0, 0]).curve(4).unwrap().0, "·");
        assert_eq!(readings(&[0]).curve(4), None);
    }

    #[test]
    fn a_burst_does_not_flatten_the_usual_rate() {
        let scale = Scale { most_per_s: 16_000.0, column_s: 0.5 };
        assert_eq!(readings(&[0, 500, 1_000, 1_000, 9_000, 9_500]).curve(9).unwrap(), ("▄▄·█▄".to_owned(), scale));
    }

    #[test]
    fn readings_are_limited_and_never_run_backwards() {
        let mut many = readings(&vec![1; KEPT_MAX + 50]);
        assert_eq!(many.kept.len(), KEPT_MAX);
        let at_us = many.newest().unwrap().at_us;
        many.push(Counts { at_us, acked: 9, ..Counts::default() });
        assert_eq!(many.newest().unwrap().acked, 9);
        assert!(many.rates().is_some());
    }
}
