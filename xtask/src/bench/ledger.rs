//! The ledger's figures: criterion's, from the benchmark beside the ledger, and those of its test of sizes.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use super::judged;
use crate::product::{cargo, succeed, target};

/// What must hold: operations per second on one core, MB, seconds.
const OPERATIONS_MIN_PER_S: f64 = 10e6;
const MEMORY_MAX_MB: f64 = 90.0;
const CHECK_MAX_S: f64 = 3.0;
/// The benchmark's own numbers: messages applied, and operations for each.
const APPLIED: f64 = 600_000.0 * 4.0;

pub(crate) fn run() -> anyhow::Result<()> {
    let package = ["--locked", "--quiet", "--package", "metricstream-ledger"];
    succeed(cargo().arg("bench").args(package).args(["--bench", "ledger", "--", "--noplot"]))?;
    let mut all = true;
    for runs in [1, 10, 100] {
        let per_s = APPLIED / mean_s("apply", &format!("operations, runs of {runs}"))?;
        let what = format!("operations on one core, in runs of {runs}");
        let figure = format!("{:.1} M/s", per_s / 1e6);
        all &= judged(&what, &figure, "at least 10 M/s", per_s >= OPERATIONS_MIN_PER_S);
    }
    for runs in [1, 20] {
        let check_s = mean_s("check", &format!("10 M messages, runs of {runs}"))?;
        let what = format!("10 M messages checked, in runs of {runs}");
        all &= judged(&what, &format!("{check_s:.2} s"), "at most 3 s", check_s <= CHECK_MAX_S);
    }
    let mut sizes = cargo();
    sizes.args(["test", "--release"]).args(package).args(["--test", "size", "--", "--nocapture"]);
    let said = sizes.output().context("the test of sizes does not start")?;
    let text = String::from_utf8_lossy(&said.stdout);
    if !said.status.success() {
        bail!("the test of sizes failed:\n{text}\n{}", String::from_utf8_lossy(&said.stderr));
    }
    for line in text.lines().filter(|line| line.contains("100 M messages, ")) {
        // The harness may have begun the line.
        let said = &line[line.find("100 M messages, ").unwrap_or(0)..];
        let (what, size) = said.split_once(": ").context("what is measured, and a size")?;
        let mb: f64 = size.trim_end_matches(" MB").parse().with_context(|| format!("{size} is no size"))?;
        all &= judged(what, &format!("{mb:.1} MB"), "at most 90 MB", mb <= MEMORY_MAX_MB);
    }
    if !all {
        bail!("not all of it holds");
    }
    Ok(())
}

/// The mean of one of criterion's benchmarks, seconds.
fn mean_s(group: &str, name: &str) -> anyhow::Result<f64> {
    let path = target().join("criterion").join(group).join(name).join("new/estimates.json");
    let path: &Path = &path;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let estimates: Value = serde_json::from_str(&text)?;
    let mean_ns = estimates["mean"]["point_estimate"].as_f64().context("a mean")?;
    Ok(mean_ns / 1e9)
}
