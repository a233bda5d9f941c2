//! What claims ask of sends: counted in the window of a step, one tracker for each such claim.
//!
//! The definitions are those of the scenario's measures. Whether a claim held is not decided here.

use std::collections::BTreeSet;

use metricstream_scenario::measures::Measure;
use metricstream_scenario::model::Scenario;

use crate::history::Tp;
use crate::sample::{SendEnd, SendSample};

use super::Names;
use super::latency::Times;
use super::steps::Steps;

/// What was counted for one claim.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WindowStats {
    /// The claim's id.
    pub claim: String,
    /// Whether the window was ever open.
    pub opened: bool,
    /// Sends whose actual send lies in the window, and what became of them.
    pub sent: u64,
    /// Of `sent`: acknowledged.
    pub acked: u64,
    /// Of `sent`: failed, unknown or still open.
    pub not_acked: u64,
    /// Of `not_acked`: still open when the run ended.
    pub open: u64,
    /// Producers of which a message that was sent in the window was acknowledged.
    pub producers: BTreeSet<u32>,
    /// The first message that was both sent and acknowledged in the window, from `after_s` on: when it was acknowledged.
    pub accepted_us: Option<i64>,
    /// 99th percentile of response, censored ones counting with their time, ms.
    pub response_p99_ms: Option<f64>,
    /// Longest response, µs.
    pub longest_response_us: Option<i64>,
    /// Longest time from send to outcome, µs.
    pub longest_wait_us: Option<i64>,
    /// The first sign of trouble in any producer, and what it was.
    pub sign: Option<(i64, Sign)>,
}

/// How a producer can notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// A send was reported as failed or unknown.
    Failed,
    /// An acknowledgement was later than the threshold.
    Late,
    /// A client learned another leader.
    Learned,
}

#[derive(Debug)]
struct Tracker {
    measure: Measure,
    step: Option<String>,
    after_us: i64,
    of: Option<Tp>,
    /// t0 and end of the window; `None` while the step was not carried out.
    bounds: Option<(i64, i64)>,
    responses: Times,
    stats: WindowStats,
}

/// Every tracker.
#[derive(Debug, Default)]
pub struct Windows {
    trackers: Vec<Tracker>,
}

/// Whether a measure needs a tracker.
fn counts_sends(measure: Measure) -> bool {
    matches!(
        measure,
        Measure::ProducersNotice
            | Measure::ProducersContinue
            | Measure::SuccessRate
            | Measure::WritesAccepted
            | Measure::ResponseP99
            | Measure::LongestResponse
            | Measure::LongestWait
    )
}

impl Windows {
    /// For the claims of this scenario.
    pub fn new(scenario: &Scenario, names: &Names) -> Self {
        let of_claims =
            scenario.claims.iter().filter(|claim| Measure::from_id(&claim.measure).is_some_and(counts_sends));
        let tracker = |claim: &metricstream_scenario::model::Claim| Tracker {
            measure: Measure::from_id(&claim.measure).unwrap_or(Measure::SuccessRate),
            step: claim.step.clone(),
            after_us: (claim.after_s.unwrap_or(0.0) * 1e6) as i64,
            of: claim.of.as_deref().and_then(|of| partition_named(names, of)),
            bounds: claim.step.is_none().then_some((i64::MIN, i64::MAX)),
            responses: Times::default(),
            stats: WindowStats { claim: claim.id.clone(), ..WindowStats::default() },
        };
        Self { trackers: of_claims.map(tracker).collect() }
    }

    /// The windows may have begun or ended.
    pub fn refresh(&mut self, steps: &Steps) {
        for tracker in &mut self.trackers {
            if let Some(step) = tracker.step.as_deref().and_then(|id| steps.find(id)) {
                tracker.bounds = Some((step.at_us, step.end_us.unwrap_or(i64::MAX)));
            }
        }
    }

    /// A send, counted after the timeline of its time is known.
    pub fn send(&mut self, sample: &SendSample, threshold_us: i64) {
        for tracker in &mut self.trackers {
            if let Some(bounds) = tracker.bounds
                && tracker.of.is_none_or(|of| of == sample.tp)
            {
                tracker.count(sample, bounds, threshold_us);
            }
        }
    }

    /// What was counted.
    pub(crate) fn finish(&mut self, first_learned_us: impl Fn(i64) -> Option<i64>) -> Vec<WindowStats> {
        let finished = |tracker: &mut Tracker| {
            if let Some((from_us, end_us)) = tracker.bounds.filter(|_| tracker.step.is_some()) {
                let learned_us = first_learned_us(from_us).filter(|at_us| *at_us < end_us);
                let signs = [tracker.stats.sign, learned_us.map(|at_us| (at_us, Sign::Learned))];
                tracker.stats.sign = signs.into_iter().flatten().min();
            }
            tracker.stats.opened = tracker.bounds.is_some();
            tracker.stats.response_p99_ms = tracker.responses.quantile_ms(0.99);
            tracker.stats.clone()
        };
        self.trackers.iter_mut().map(finished).collect()
    }
}

impl Tracker {
    fn count(&mut self, sample: &SendSample, (from_us, end_us): (i64, i64), threshold_us: i64) {
        let stats = &mut self.stats;
        let inside = |at_us: i64| (from_us..end_us).contains(&at_us);
        let acked = sample.end == SendEnd::Acked;
        let longest = |known: Option<i64>, us: i64| known.max(Some(us.max(0)));
        if inside(sample.sent_us) {
            stats.sent += 1;
            if acked {
                stats.acked += 1;
                stats.producers.insert(sample.producer);
            } else {
                stats.not_acked += 1;
                stats.open += u64::from(sample.end == SendEnd::Open);
            }
        }
        let accepting_us = from_us.saturating_add(self.after_us);
        if acked && sample.sent_us >= accepting_us && inside(sample.sent_us) && inside(sample.done_us) {
            let earlier = stats.accepted_us.unwrap_or(i64::MAX);
            stats.accepted_us = Some(earlier.min(sample.done_us));
        }
        if self.measure == Measure::ResponseP99 && inside(sample.intended_us) {
            self.responses.record(sample.done_us - sample.intended_us);
        }
        // A message that was on its way at t0 belongs to what the step did.
        let open_at_start = |since_us: i64| since_us < from_us && sample.done_us >= from_us;
        if inside(sample.intended_us) || open_at_start(sample.intended_us) {
            stats.longest_response_us = longest(stats.longest_response_us, sample.done_us - sample.intended_us);
        }
        if inside(sample.sent_us) || open_at_start(sample.sent_us) {
            stats.longest_wait_us = longest(stats.longest_wait_us, sample.done_us - sample.sent_us);
        }
        let failed = matches!(sample.end, SendEnd::Failed | SendEnd::Unknown);
        let late_us = sample.sent_us.saturating_add(threshold_us);
        let mut signs = [
            (failed && inside(sample.done_us)).then_some((sample.done_us, Sign::Failed)),
            (sample.done_us > late_us && inside(late_us)).then_some((late_us, Sign::Late)),
        ];
        for sign in signs.iter_mut().filter_map(Option::take) {
            stats.sign = Some(stats.sign.map_or(sign, |known| known.min(sign)));
        }
    }
}

/// `metrics-0` as a partition of the scenario.
pub(crate) fn partition_named(names: &Names, text: &str) -> Option<Tp> {
    let (topic, partition) = text.rsplit_once('-')?;
    names.tp(topic, partition.parse().ok()?)
}
