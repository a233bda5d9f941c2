//! Latency histograms: response, service and delay of sends and end-to-end of deliveries, by phase and acks.
//!
//! A send belongs to the phase in which it was intended. What failed or stayed open is slower than everything that was
//! acknowledged: it is counted in `open`, and a percentile that falls among it is not known.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::result::Latency;
use crate::sample::{DeliverySample, SendEnd, SendSample};

const KINDS: [&str; 4] = ["response", "service", "delay", "end_to_end"];
const RESPONSE: usize = 0;
const SERVICE: usize = 1;
const DELAY: usize = 2;
const END_TO_END: usize = 3;

/// A histogram in µs that grows as it must, and how many are slower than all of it.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    histogram: Option<Histogram<u64>>,
    max_us: i64,
    open: u64,
}

impl Default for Times {
    fn default() -> Self {
        // Three digits are always allowed.
        Self { histogram: Histogram::new(3).ok(), max_us: 0, open: 0 }
    }
}

impl Times {
    pub(crate) fn record(&mut self, us: i64) {
        // A negative time is a clock error on one machine: it counts as the shortest there is.
        let us = us.max(0);
        self.max_us = self.max_us.max(us);
        if let Some(histogram) = &mut self.histogram {
            // It grows; what it cannot grow to (centuries) is counted as its longest.
            if histogram.record(us as u64).is_err() {
                histogram.saturating_record(us as u64);
            }
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// The value at `quantile` of acknowledged and open ones together, the open ones being the slowest.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let acked = self.count();
        if acked == 0 {
            return None;
        }
        let rank = (quantile * (acked + self.open) as f64).ceil().max(1.0);
        if rank > acked as f64 {
            return None;
        }
        let of_acked = rank / acked as f64;
        let value = self.histogram.as_ref()?.value_at_quantile(of_acked);
        // The histogram rounds up to its resolution, never beyond what was seen.
        Some((value as i64).min(self.max_us) as f64 / 1_000.0)
    }

    fn row(&self, phase: &str, kind: &str, acks: &str) -> Latency {
        Latency {
            phase: phase.to_owned(),
            kind: kind.to_owned(),
            acks: acks.to_owned(),
            p50_ms: self.quantile_ms(0.5),
            p90_ms: self.quantile_ms(0.9),
            p99_ms: self.quantile_ms(0.99),
            p999_ms: self.quantile_ms(0.999),
            max_ms: (self.count() > 0).then(|| self.max_us as f64 / 1_000.0),
            count: self.count(),
            open: self.open,
        }
    }
}

/// Every histogram of the run, by phase and by an index of the acks setting that the caller gives.
#[derive(Debug, Default)]
pub struct LatencyBook {
    rows: BTreeMap<(usize, usize), [Times; 4]>,
}

impl LatencyBook {
    fn times(&mut self, phase: usize, acks: usize) -> &mut [Times; 4] {
        self.rows.entry((phase, acks)).or_default()
    }

    /// A send of a producer with this acks setting, intended in this phase.
    pub fn send(&mut self, phase: usize, acks: usize, sample: &SendSample) {
        let times = self.times(phase, acks);
        times[DELAY].record(sample.sent_us - sample.intended_us);
        if sample.end == SendEnd::Acked {
            times[RESPONSE].record(sample.done_us - sample.intended_us);
            times[SERVICE].record(sample.done_us - sample.sent_us);
        } else {
            times[RESPONSE].open += 1;
            times[SERVICE].open += 1;
        }
    }

    /// A send that nobody reported: when it was intended is not known, so that it has no delay.
    pub fn unreported(&mut self, phase: usize, acks: usize) {
        let times = self.times(phase, acks);
        times[RESPONSE].open += 1;
        times[SERVICE].open += 1;
    }

    /// A delivery of a message that was intended in this phase.
    pub fn delivery(&mut self, phase: usize, acks: usize, sample: &DeliverySample) {
        self.times(phase, acks)[END_TO_END].record(sample.delivered_us - sample.intended_us);
    }

    /// The rows of the result, in the order of phases; `acks` names the settings.
    pub(crate) fn rows(&self, phases: &[String], acks: &[String]) -> Vec<Latency> {
        let mut rows = Vec::new();
        for ((phase, setting), kinds) in &self.rows {
            let phase = phases.get(*phase).map_or("", String::as_str);
            let acks = acks.get(*setting).map_or("unknown", String::as_str);
            let used = KINDS.iter().zip(kinds).filter(|(_, times)| times.count() + times.open > 0);
            rows.extend(used.map(|(kind, times)| times.row(phase, kind, acks)));
        }
        rows
    }
}
