//! Unavailability: gaps over the threshold, per partition, of writes and of reads, each with the fault that it follows.
//!
//! How gaps are found is told in `gaps`.

use crate::result::Unavailability;

use super::gaps::{ANY, Gap, Gaps, Key};
use super::steps::Steps;
use super::{Names, seconds};

/// A window may begin this much before the fault that caused it: the last acknowledgement came before.
const BEFORE_FAULT_US: i64 = 250_000;

/// Every window of one operation. Reads have a series for each group too: only the one of any group counts here.
pub(crate) fn windows(op: &str, gaps: &Gaps, steps: &Steps, names: &Names, ends: Ends) -> Vec<Unavailability> {
    let mut rows = Vec::new();
    for (key, series) in gaps.series().iter().filter(|(key, _)| key.0 == ANY) {
        let interval_us = series.interval_us();
        let row = |gap: Gap, open: bool| {
            let slack_us = BEFORE_FAULT_US.max(interval_us.unwrap_or(0.0) as i64);
            // What hit the partition while it was out did not begin the outage.
            let fault = steps.preceding(gap.from_us + slack_us, op == "read");
            Unavailability {
                topic: names.topic(key.1.topic),
                partition: key.1.partition,
                op: op.to_owned(),
                from_s: seconds(gap.from_us),
                duration_s: seconds(gap.length_us()),
                resolution_ms: interval_us.unwrap_or(0.0) / 1_000.0,
                fault: fault.map(|step| step.id.clone()),
                open,
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
