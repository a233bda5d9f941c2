//! How long load lasts, as far as a scenario tells beforehand.

use crate::model::{Action, Scenario, When, Workload};
use crate::parse::MAX_DURATION_S;

/// How long load lasts where neither a duration nor a timeline says so, seconds.
pub const DEFAULT_DURATION_S: f64 = 30.0;
/// How long load goes on after all is normal again, unless the scenario says otherwise, seconds.
pub const DEFAULT_SETTLE_S: f64 = 5.0;
/// How long a run without a duration waits for a step's condition, or for all to be normal again after the last step,
/// unless `max_duration_s` limits it, seconds.
pub const HEALED_LIMIT_S: f64 = 180.0;
/// How long the engine may take to answer a fault, seconds: a controlled shutdown or a start of a JVM among them.
pub const FAULT_DEADLINE_S: f64 = 120.0;

impl Workload {
    /// Until when steps may be planned, and the key that says so; without one, no scenario is longer than that.
    pub(crate) fn limit_s(&self) -> (&'static str, f64) {
        match (self.duration_s, self.max_duration_s) {
            (Some(duration_s), _) => ("duration_s", duration_s),
            (None, Some(max_s)) => ("max_duration_s", max_s),
            (None, None) => ("the longest run", MAX_DURATION_S),
        }
    }
}

impl Scenario {
    /// The most seconds that load can last: its duration, or every wait of the timeline at its longest.
    pub fn longest_load_s(&self) -> f64 {
        if let Some(limit_s) = self.workload.duration_s.or(self.workload.max_duration_s) {
            return limit_s;
        }
        let mut at_most_s = 0.0_f64;
        for step in &self.timeline {
            at_most_s = match step.when {
                When::At { at_s } => at_most_s.max(at_s),
                When::On { after_s, not_before_s, .. } => at_most_s.max(not_before_s) + HEALED_LIMIT_S + after_s,
            };
            at_most_s += FAULT_DEADLINE_S + if let Action::Chaos { for_s, .. } = step.action { for_s } else { 0.0 };
        }
        (at_most_s + HEALED_LIMIT_S + self.workload.settle_s).min(MAX_DURATION_S)
    }

    /// The times of the timeline that are known beforehand end here; steps that wait for something come later.
    pub fn last_planned_s(&self) -> f64 {
        let planned = self.timeline.iter().map(|step| match step.when {
            When::At { at_s } => at_s,
            When::On { not_before_s, .. } => not_before_s,
        });
        planned.fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    fn longest_s(text: &str) -> f64 {
        parse(&format!("name='x'\n{text}")).unwrap_or_else(|errors| panic!("{errors}")).longest_load_s()
    }

    #[test]
    fn no_load_lasts_longer_than_all_its_waits_together() {
        let kill = "[[timeline]]\nid='k'\nat_s=10\ndo='kill'\ntarget='broker 2'\n";
        let start = "[[timeline]]\nid='s'\non='fenced k'\nafter_s=7\ndo='start'\ntarget='broker 2'\n";
        assert_eq!(longest_s(""), 30.0, "without a timeline there is nothing to wait for");
        assert_eq!(longest_s("workload.duration_s=12"), 12.0);
        assert_eq!(longest_s(kill), 10.0 + 120.0 + 180.0 + 5.0);
        assert_eq!(longest_s(&format!("{kill}{start}")), 10.0 + 120.0 + 180.0 + 7.0 + 120.0 + 180.0 + 5.0);
        assert_eq!(longest_s(&format!("workload.max_duration_s=60\n{kill}")), 60.0);
    }
}
