//! Runs side by side: the summary over repeated ones, and a comparison with earlier ones.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use metricstream_ledger::compare::{Difference, SummaryRow, compare_medians, summary};
use metricstream_ledger::result::{RunResult, Verdict};
use metricstream_report::text::wrap;
use metricstream_scenario::Scenario;

use crate::cli::Format;
use crate::exit::Failure;
use crate::output;

/// The largest result that is read; a cut one is no JSON.
const RESULT_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// What several runs of one scenario come to.
pub(crate) struct Trials<'a> {
    /// Those that were made.
    pub(crate) results: &'a [RunResult],
    /// How many were asked for.
    pub(crate) wanted: usize,
}

impl Trials<'_> {
    fn with(&self, verdict: Verdict) -> usize {
        self.results.iter().filter(|result| result.verdict == verdict).count()
    }

    /// Worst first: one violation is one, however often it did not show.
    fn verdict(&self) -> Verdict {
        if self.with(Verdict::Fail) > 0 {
            Verdict::Fail
        } else if self.with(Verdict::Pass) == self.wanted {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        }
    }

    /// `2 of 3 passed: 1 failed`.
    fn line(&self) -> String {
        let others = [
            (self.with(Verdict::Fail), "failed"),
            (self.with(Verdict::Inconclusive), "inconclusive"),
            (self.wanted.saturating_sub(self.results.len()), "not made"),
        ];
        let others: Vec<String> =
            others.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        let passed = format!("{} of {} passed", self.with(Verdict::Pass), self.wanted);
        if others.is_empty() { passed } else { format!("{passed}: {}", others.join(", ")) }
    }

    /// For people.
    pub(crate) fn text(&self, width: usize) -> String {
        /// Columns beside the name: indent, mean, variation, number of runs.
        const NUMBERS: usize = 36;
        let (zeros, rows): (Vec<_>, Vec<_>) =
            summary(self.results).into_iter().partition(SummaryRow::is_zero_throughout);
        let longest = rows.iter().map(|row| row.quantity.len()).max().unwrap_or(0);
        let name = longest.min(width.saturating_sub(NUMBERS));
        let mut text = format!("\n{} runs: mean ± coefficient of variation\n", self.results.len());
        for row in rows {
            let variation = row.variation.map_or_else(|| "–".to_owned(), |v| format!("{:.0} %", v * 100.0));
            // What rounds to nothing has no sign.
            let mean = if row.mean.abs() < 0.000_5 { 0.0 } else { row.mean };
            text.push_str(&format!("  {:name$} {mean:12.3} ± {variation} (of {})\n", row.quantity, row.runs));
        }
        if let Some(kinds) = kinds_of(&zeros) {
            for line in wrap(&format!("zero in every run, and so not among them: {kinds}"), width.saturating_sub(2)) {
                text.push_str(&format!("  {line}\n"));
            }
        }
        text.push_str(&format!("\n{}\n", self.line()));
        text
    }

    /// As a file and as a document.
    pub(crate) fn json(&self) -> serde_json::Value {
        let rows: Vec<SummaryRow> = summary(self.results);
        serde_json::json!({
            "verdict": self.verdict(),
            "wanted": self.wanted,
            "runs": self.results.len(),
            "passed": self.with(Verdict::Pass),
            "failed": self.with(Verdict::Fail),
            "inconclusive": self.with(Verdict::Inconclusive),
            "quantities": rows,
        })
    }
}

/// `latency open; messages alien, duplicates`: of each kind of quantity what is told of it, however many phases it has.
fn kinds_of(rows: &[SummaryRow]) -> Option<String> {
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        let kind = row.quantity.split('.').next().unwrap_or_default();
        kinds.entry(kind).or_default().insert(row.quantity.rsplit('.').next().unwrap_or_default());
    }
    let told: Vec<String> = kinds
        .into_iter()
        .map(|(kind, names)| format!("{kind} {}", names.into_iter().collect::<Vec<_>>().join(", ")))
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Says what is worse than the baseline by more than is allowed. Whether anything is.
pub(crate) fn is_worse(
    baseline: &[RunResult],
    now: &[RunResult],
    scenario: &Scenario,
    tolerance: Option<f64>,
    format: Format,
) -> bool {
    let allowed = |name: &str| tolerance.unwrap_or_else(|| scenario.baseline.allowed(name));
    let differences = compare_medians(baseline, now, allowed);
    let failed: Vec<&Difference> = differences.iter().filter(|difference| difference.failed).collect();
    let tell = |line: &str| {
        if format == Format::Text { output::print(&format!("{line}\n")) } else { output::note(line) }
    };
    for difference in &failed {
        let now = difference.now.map_or_else(|| "gone".to_owned(), |now| format!("{now:.3}"));
        let percent = allowed(&difference.quantity) * 100.0;
        tell(&format!(
            "worse than the baseline: {} was {:.3}, is {now}; {percent:.1} % is allowed",
            difference.quantity, difference.baseline
        ));
    }
    if failed.is_empty() {
        tell(&format!("not worse than the baseline in any of {} quantities", differences.len()));
    }
    !failed.is_empty()
}

/// The results of an earlier run, or of all trials of a repeated one.
///
/// # Errors
/// Exit 2 if there are none, or one cannot be read.
pub(crate) fn read_results(dir: &Path) -> Result<Vec<RunResult>, Failure> {
    let files = result_files(dir);
    if files.is_empty() {
        return Err(Failure::usage(format!(
            "--baseline {}: no result.json there; name the directory of an earlier run, or of its trials",
            dir.display()
        )));
    }
    files.iter().map(|path| read_result(path)).collect()
}

fn result_files(dir: &Path) -> Vec<PathBuf> {
    let own = if dir.is_dir() { dir.join("result.json") } else { dir.to_path_buf() };
    if own.is_file() {
        return vec![own];
    }
    let trials = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path().join("result.json"));
    let mut files: Vec<PathBuf> = trials.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn read_result(path: &Path) -> Result<RunResult, Failure> {
    let wrong = |e: &dyn std::fmt::Display| Failure::usage(format!("--baseline {}: {e}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| wrong(&e))?;
    file.take(RESULT_MAX_BYTES).read_to_string(&mut text).map_err(|e| wrong(&e))?;
    let said: serde_json::Value = serde_json::from_str(&text).map_err(|e| wrong(&e))?;
    let ours = metricstream_ledger::result::SCHEMA;
    match said.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema == u64::from(ours) => serde_json::from_value(said).map_err(|e| wrong(&e)),
        Some(other) => Err(wrong(&format!("its schema is {other}; this build reads {ours}"))),
        None => Err(wrong(&"it says no schema, so it is no result of a run")),
    }
}
