//! Results side by side: the spread over repeated runs, and a run against a baseline.
//!
//! Both speak of the same named quantities. Nothing is measured here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::result::{Measured, RunResult};

/// Which way a quantity is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Lower.
    Lower,
    /// Higher.
    Higher,
}

/// One number of a result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantity {
    /// Its value.
    pub value: f64,
    /// Which way it is better.
    pub better: Better,
    /// A difference below this is noise, whatever its share.
    pub floor: f64,
}

/// One quantity over several runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SummaryRow {
    /// Its name.
    pub quantity: String,
    /// Runs that have it.
    pub runs: usize,
    /// Runs that do not.
    pub missing: usize,
    /// Mean.
    pub mean: f64,
    /// Coefficient of variation: sample deviation / mean; `None` for one run or a mean of 0.
    pub variation: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// Largest.
    pub max: f64,
    /// Whether less is better: then a 0 in every run is no news.
    #[serde(skip)]
    less_is_better: bool,
}

impl SummaryRow {
    /// Every run has it, as a 0 that is as good as can be: nothing was lost, nothing was delayed.
    #[must_use]
    pub fn is_zero_throughout(&self) -> bool {
        self.less_is_better && self.missing == 0 && self.min == 0.0 && self.max == 0.0
    }
}

/// One quantity of two results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Its name.
    pub quantity: String,
    /// In the baseline.
    pub baseline: f64,
    /// Now; `None` if it is no longer there.
    pub now: Option<f64>,
    /// (now − baseline) / baseline; `None` if the baseline is 0 or it is gone.
    pub change: Option<f64>,
    /// Which way it is better.
    pub better: Better,
    /// Whether it is worse by more than the tolerance.
    pub failed: bool,
}

/// Differences of times in ms, in s, and of counts and rates that are noise.
const FLOOR_MS: f64 = 1.0;
const FLOOR_S: f64 = 0.1;

/// Every number of a result that can be compared, by name.
pub fn quantities(result: &RunResult) -> BTreeMap<String, Quantity> {
    let mut all = Quantities::default();
    all.messages(result);
    all.load(result);
    all.cluster(result);
    all.groups(result);
    all.claims(result);
    all.0
}

#[derive(Default)]
struct Quantities(BTreeMap<String, Quantity>);

impl Quantities {
    fn add(&mut self, name: impl Into<String>, value: Option<f64>, better: Better, floor: f64) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            // The sum of nothing is −0.0: 0 has no sign here.
            self.0.insert(name.into(), Quantity { value: value + 0.0, better, floor });
        }
    }

    /// The worst of several that share a name.
    fn worst(&mut self, name: String, value: Option<f64>) {
        let known = self.0.get(&name).map(|quantity| quantity.value);
        let value = value.map(|value| known.map_or(value, |known| known.max(value)));
        self.add(name, value, Better::Lower, FLOOR_S);
    }

    fn messages(&mut self, result: &RunResult) {
        let messages = &result.messages;
        for (name, count) in [
            ("lost", messages.lost),
            ("phantom", messages.phantom),
            ("alien", messages.alien),
            ("duplicates", messages.duplicates),
            ("reordered", messages.reordered),
            ("lost_to_group", messages.lost_to_group),
        ] {
            let count = messages.if_audited(count).map(|count| count as f64);
            self.add(format!("messages.{name}"), count, Better::Lower, 0.0);
        }
        for (name, count) in
            [("redelivered", messages.redelivered), ("failed", messages.failed), ("unknown", messages.unknown)]
        {
            self.add(format!("messages.{name}"), Some(count as f64), Better::Lower, 0.0);
        }
        self.add("messages.success_rate", messages.success_rate, Better::Higher, 0.0);
    }

    fn load(&mut self, result: &RunResult) {
        for row in &result.latency {
            let name = |value: &str| format!("latency.{}.{}.acks={}.{value}", row.phase, row.kind, row.acks);
            for (value, ms) in
                [("p50_ms", row.p50_ms), ("p99_ms", row.p99_ms), ("p999_ms", row.p999_ms), ("max_ms", row.max_ms)]
            {
                self.add(name(value), ms, Better::Lower, FLOOR_MS);
            }
            self.add(name("open"), Some(row.open as f64), Better::Lower, 0.0);
        }
        for row in &result.throughput {
            let name = |value: &str| format!("throughput.{}.{value}", row.phase);
            self.add(name("acked_per_s"), row.acked_per_s, Better::Higher, 1.0);
            self.add(name("delivered_per_s"), row.delivered_per_s, Better::Higher, 1.0);
            self.add(name("mb_per_s"), row.mb_per_s, Better::Higher, 0.001);
        }
        for op in ["write", "read"] {
            let of_op = || result.unavailability.iter().filter(|row| row.op == op).map(|row| row.duration_s);
            let longest = of_op().max_by(f64::total_cmp).unwrap_or(0.0);
            self.add(format!("unavailability.{op}.longest_s"), Some(longest), Better::Lower, FLOOR_S);
            let total: f64 = of_op().sum();
            self.add(format!("unavailability.{op}.partition_s"), Some(total), Better::Lower, FLOOR_S);
        }
    }

    fn cluster(&mut self, result: &RunResult) {
        for row in &result.failovers {
            let (Some(fault), Some(fault_s)) = (&row.fault, row.fault_s) else { continue };
            self.worst(format!("failover.{fault}.fenced_s"), row.fenced_s.map(|at_s| at_s - fault_s));
            self.worst(format!("failover.{fault}.elected_s"), row.elected_s.map(|at_s| at_s - fault_s));
            self.worst(format!("failover.{fault}.learned_s"), row.learned_s.map(|at_s| at_s - fault_s));
            self.worst(format!("failover.{fault}.first_ack_s"), row.first_ack_s.map(|at_s| at_s - fault_s));
        }
        for row in &result.isr_outages {
            let fault = row.fault.as_deref().unwrap_or("unknown");
            self.worst(format!("isr.{fault}.shrunk_after_s"), row.shrunk_after_s);
            self.worst(format!("isr.{fault}.full_after_s"), row.full_after_s);
        }
        for row in &result.recovery {
            let after = |at_s: Option<f64>| at_s.map(|at_s| at_s - row.restarted_s);
            self.worst(format!("recovery.{}.caught_up_s", row.broker), after(row.caught_up_s));
            self.worst(format!("recovery.{}.isr_full_s", row.broker), after(row.isr_full_s));
        }
    }

    fn groups(&mut self, result: &RunResult) {
        for row in &result.rebalances {
            let what = row.step.as_ref().unwrap_or(&row.trigger);
            self.worst(format!("rebalance.{}.{what}.duration_s", row.group), row.duration_s);
            for pause in &row.pauses {
                self.worst(format!("rebalance.{}.{what}.longest_pause_s", row.group), pause.pause_s);
            }
        }
        for row in &result.catch_up {
            self.worst(format!("catch_up.{}.{}.duration_s", row.group, row.fault), row.duration_s);
        }
    }

    fn claims(&mut self, result: &RunResult) {
        for row in &result.claims {
            let better = if row.expected.starts_with(">=") { Better::Higher } else { Better::Lower };
            let floor = match row.unit.as_str() {
                "s" => FLOOR_S,
                "ms" => FLOOR_MS,
                _ => 0.0,
            };
            if let Some(Measured::Number(value)) = row.measured
                && !row.expected.starts_with("==")
            {
                self.add(format!("claim.{}", row.id), Some(value), better, floor);
            }
            self.add(
                format!("claim.{}.held", row.id),
                row.held.map(|held| f64::from(u8::from(held))),
                Better::Higher,
                0.0,
            );
        }
    }
}

/// Mean and spread of every quantity over repeated runs, in the order of names.
pub fn summary(results: &[RunResult]) -> Vec<SummaryRow> {
    let mut all: BTreeMap<String, (Better, Vec<f64>)> = BTreeMap::new();
    for result in results {
        for (name, quantity) in quantities(result) {
            all.entry(name).or_insert((quantity.better, Vec::new())).1.push(quantity.value);
        }
    }
    let row = |(quantity, (better, mut values)): (String, (Better, Vec<f64>))| {
        values.sort_by(f64::total_cmp);
        let runs = values.len();
        let mean = values.iter().sum::<f64>() / runs as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        // The mean of few runs hides its own error: the deviation is the sample's.
        let deviation = (runs > 1).then(|| (squares / (runs - 1) as f64).sqrt());
        let median = (values[(runs - 1) / 2] + values[runs / 2]) / 2.0;
        SummaryRow {
            quantity,
            runs,
            missing: results.len() - runs,
            mean,
            variation: deviation.filter(|_| mean != 0.0).map(|deviation| deviation / mean.abs()),
            min: values[0],
            median,
            max: values[runs - 1],
            less_is_better: better == Better::Lower,
        }
    };
    all.into_iter().map(row).collect()
}

/// Every quantity of the baseline beside what it is now. `tolerance` tells of each by which share it may be worse: with 0.1 by
/// a tenth.
/// What the baseline has and the new result has not (it never caught up) fails; what is new is not compared.
pub fn compare(baseline: &RunResult, now: &RunResult, tolerance: impl Fn(&str) -> f64) -> Vec<Difference> {
    compare_medians(std::slice::from_ref(baseline), std::slice::from_ref(now), tolerance)
}

/// The same for repeated runs: of each quantity the median counts, and it is there if at least half of the runs have it.
pub fn compare_medians(baseline: &[RunResult], now: &[RunResult], tolerance: impl Fn(&str) -> f64) -> Vec<Difference> {
    let now = medians(now);
    let difference = |(name, base): (String, Quantity)| {
        let value = now.get(&name).map(|quantity| quantity.value);
        let worse_by = value.map(|value| match base.better {
            Better::Lower => value - base.value,
            Better::Higher => base.value - value,
        });
        // A phase that did not come about is no loss of latency; something that never ended is.
        let by_phase = name.starts_with("latency.") || name.starts_with("throughput.");
        let allowed = (base.value.abs() * tolerance(&name).max(0.0)).max(base.floor);
        Difference {
            quantity: name,
            baseline: base.value,
            now: value,
            change: value.filter(|_| base.value != 0.0).map(|value| (value - base.value) / base.value.abs()),
            better: base.better,
            failed: worse_by.map_or(!by_phase, |worse_by| worse_by > allowed),
        }
    };
    medians(baseline).into_iter().map(difference).collect()
}

fn medians(results: &[RunResult]) -> BTreeMap<String, Quantity> {
    let mut kinds: BTreeMap<String, Quantity> = BTreeMap::new();
    results.iter().for_each(|result| kinds.extend(quantities(result)));
    let rows = summary(results).into_iter().filter(|row| row.missing * 2 <= results.len());
    let median = |row: SummaryRow| {
        let kind = kinds.get(&row.quantity)?;
        Some((row.quantity, Quantity { value: row.median, ..*kind }))
    };
    rows.filter_map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::stories::{MS, S, broker_2_killed, measured, scenario};
    use crate::verdict::{Meta, assemble};

    fn result(stall_end_us: i64) -> RunResult {
        let events = broker_2_killed();
        let mut result =
            assemble(&scenario(), measured(&events, (10 * S, stall_end_us)), None, &events, Meta::default());
        result.messages.audited = true;
        result
    }

    #[test]
    fn three_runs_are_summed_up_with_their_spread() {
        let rows = summary(&[result(18_600 * MS), result(18_800 * MS), result(19_000 * MS)]);
        let row = rows.iter().find(|row| row.quantity == "unavailability.write.longest_s").expect("a row");
        assert_eq!((row.runs, row.missing), (3, 0));
        let near = |value: f64, wanted: f64| (value - wanted).abs() < 1e-9;
        assert!(
            near(row.mean, 8.81) && near(row.min, 8.61) && near(row.max, 9.01) && near(row.median, 8.81),
            "{row:?}"
        );
        assert!(row.variation.is_some_and(|variation| near(variation, 0.2 / 8.81)), "{row:?}");
        // What does not vary has no spread; what is 0 has none that could be told.
        let zero = rows.iter().find(|row| row.quantity == "messages.lost").expect("a row");
        assert_eq!((zero.mean, zero.variation), (0.0, None));
        let one = summary(&[result(18_800 * MS)]);
        assert!(one.iter().all(|row| row.variation.is_none()));
    }

    #[test]
    fn worse_than_the_tolerance_fails_and_better_never_does() {
        let (base, slow) = (result(18_600 * MS), result(19_900 * MS));
        let failed = |baseline: &RunResult, now: &RunResult, tolerance: f64| -> Vec<String> {
            let rows = compare(baseline, now, |_| tolerance).into_iter().filter(|row| row.failed);
            rows.map(|row| row.quantity).filter(|name| name.starts_with("unavailability.")).collect()
        };
        let all = ["longest_s", "partition_s"]
            .map(|value| ["read", "write"].map(|op| format!("unavailability.{op}.{value}")));
        let mut all: Vec<String> = all.into_iter().flatten().collect();
        all.sort();
        // 8.61 s became 9.91 s: 15 % more.
        assert_eq!(failed(&base, &slow, 0.10), all);
        assert_eq!(failed(&base, &slow, 0.20), Vec::<String>::new());
        assert_eq!(failed(&slow, &base, 0.0), Vec::<String>::new());
        assert!(compare(&base, &base, |_| 0.0).iter().all(|row| !row.failed));
    }

    #[test]
    fn repeated_runs_are_compared_by_their_medians() {
        let base = [result(18_600 * MS)];
        let longest = |now: &[RunResult]| {
            let rows = compare_medians(&base, now, |_| 0.1);
            let row = rows.into_iter().find(|row| row.quantity == "unavailability.write.longest_s").expect("a row");
            (row.now.expect("measured"), row.failed)
        };
        // One slow run of three is an outlier; two are what it is now.
        let (fast, slow) = (result(18_600 * MS), result(25 * S));
        assert!(!longest(&[fast.clone(), slow.clone(), fast.clone()]).1);
        assert!(longest(&[slow.clone(), fast, slow.clone()]).1);
        // Where one quantity may be worse than the rest, only the rest fails.
        let lenient = compare(&base[0], &slow, |name| if name.starts_with("unavailability.") { 1.0 } else { 0.0 });
        let failed: Vec<&str> = lenient.iter().filter(|row| row.failed).map(|row| row.quantity.as_str()).collect();
        assert!(!failed.is_empty() && failed.iter().all(|name| !name.starts_with("unavailability.")), "{failed:?}");
    }

    #[test]
    fn what_no_longer_ends_fails() {
        let base = result(18_800 * MS);
        let mut now = base.clone();
        now.recovery[0].caught_up_s = None;
        now.messages.lost = 1;
        now.latency.clear();
        let failed: Vec<_> = compare(&base, &now, |_| 0.5).into_iter().filter(|row| row.failed).collect();
        let names: Vec<&str> = failed.iter().map(|row| row.quantity.as_str()).collect();
        assert_eq!(names, ["messages.lost", "recovery.2.caught_up_s"]);
        assert_eq!((failed[0].now, failed[0].change, failed[1].now), (Some(1.0), None, None));
    }
}
