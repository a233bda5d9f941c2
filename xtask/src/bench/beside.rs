//! Profile `apache` of the embedded cluster beside Apache Kafka: the same scenarios on both, medians of the times that Kafka's
//! clocks decide. What is compared was measured by the product itself; nothing is timed here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::product;

const ENGINES: [&str; 2] = ["embedded", "kafka"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each scenario runs on each engine; medians decide
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Built-in scenarios or files
    #[arg(long, value_delimiter = ',', default_value = "broker-failure,controller-failure,group-rebalance")]
    scenarios: Vec<String>,
    /// How far apart the medians may be, percent of Apache Kafka's
    #[arg(long, default_value_t = 20.0)]
    tolerance_percent: f64,
    /// Where the run directories go; default: target/bench-beside
    #[arg(long)]
    out: Option<PathBuf>,
    /// Compare the runs that are in --out already, and start none
    #[arg(long)]
    only_compare: bool,
}

/// Seconds that were measured of one quantity, by engine.
type Measured = BTreeMap<(String, String), [Vec<f64>; 2]>;

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let out = args.out.clone().unwrap_or_else(|| product::target().join("bench-beside"));
    if !args.only_compare {
        let program = product::build(false)?;
        // In turns, so that whatever else the machine does falls on both.
        for scenario in &args.scenarios {
            for number in 1..=args.runs {
                for engine in ENGINES {
                    one_run(&program, scenario, engine, number, &out)?;
                }
            }
        }
    }
    let mut measured = Measured::new();
    for scenario in &args.scenarios {
        for (at, engine) in ENGINES.iter().enumerate() {
            for number in 1..=args.runs {
                let file = folder(&out, scenario, engine, number).join("result.json");
                let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
                let result = serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
                let events = folder(&out, scenario, engine, number).join("events.jsonl");
                let events =
                    fs::read_to_string(&events).with_context(|| format!("cannot read {}", events.display()))?;
                for (quantity, seconds) in quantities(&result).into_iter().chain(controller_change(&result, &events)) {
                    measured.entry((scenario.clone(), quantity)).or_default()[at].push(seconds);
                }
            }
        }
    }
    print(&measured, args.tolerance_percent);
    Ok(())
}

fn folder(out: &Path, scenario: &str, engine: &str, number: u32) -> PathBuf {
    let name = Path::new(scenario).file_stem().map_or_else(|| scenario.into(), |stem| stem.to_string_lossy());
    out.join(format!("{name}-{engine}-{number}"))
}

fn one_run(program: &Path, scenario: &str, engine: &str, number: u32, out: &Path) -> anyhow::Result<()> {
    let folder = folder(out, scenario, engine, number);
    product::clear(&folder)?;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    eprintln!("{scenario} on {engine}, run {number}");
    let mut command = Command::new(program);
    command.args(["run", scenario, "--engine", engine, "--profile", "apache", "--seed", &number.to_string()]);
    command.arg("--quiet").arg("--out").arg(&folder).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().context("the run does not start")?;
    if !status.success() {
        bail!("{scenario} on {engine} ended with {status}; see {}", folder.display());
    }
    Ok(())
}

/// What one run measured: name and seconds. Where the victim was the active controller, the name says so: a new controller
/// gives everybody a whole session, and only like is compared with like.
fn quantities(result: &Value) -> Vec<(String, f64)> {
    let of_controller = rows(result, "faults").iter().any(|fault| fault["active_controller"] == true);
    let victim = if of_controller { "the active controller died" } else { "the victim was not the active controller" };
    let mut all = Vec::new();
    let longest =
        rows(result, "failovers").iter().filter_map(|row| since(row, "fault_s", "elected_s")).max_by(f64::total_cmp);
    all.extend(longest.map(|seconds| (format!("kill → last election; {victim}"), seconds)));
    let written = |row: &&Value| row["kind"] == "write" && row["fault"].is_string();
    let stopped = rows(result, "unavailability").iter().filter(written).filter_map(|row| row["duration_s"].as_f64());
    all.extend(stopped.max_by(f64::total_cmp).map(|seconds| (format!("writes stopped at most; {victim}"), seconds)));
    for row in rows(result, "recovery") {
        all.extend(since(row, "restarted_s", "unfenced_s").map(|seconds| ("start → unfenced".to_owned(), seconds)));
        all.extend(
            since(row, "unfenced_s", "isr_full_s").map(|seconds| ("unfenced → every ISR full".to_owned(), seconds)),
        );
    }
    for row in rows(result, "rebalances").iter().filter(|row| row["trigger"] != "group start") {
        let trigger = row["trigger"].as_str().unwrap_or("unknown");
        all.extend(row["duration_s"].as_f64().map(|seconds| (format!("rebalance by {trigger}"), seconds)));
        let pauses = rows(row, "pauses").iter().filter_map(|pause| pause["pause_s"].as_f64());
        all.extend(pauses.max_by(f64::total_cmp).map(|seconds| (format!("longest pause of it ({trigger})"), seconds)));
    }
    all
}

/// From the first fault that hit the active controller until another node is it. How many elections that took is chance (of two
/// candidates at the same time neither may win), so it belongs to the name.
fn controller_change(result: &Value, events: &str) -> Option<(String, f64)> {
    let fault = rows(result, "faults").iter().find(|fault| fault["active_controller"] == true)?;
    let killed_s = fault["at_s"].as_f64()?;
    let controllers: Vec<(f64, i64)> = events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["event"] == "controller")
        .filter_map(|event| Some((event["at_us"].as_f64()? / 1e6, event["epoch"].as_i64()?)))
        .collect();
    let (_, old) = controllers.iter().rfind(|(at_s, _)| *at_s <= killed_s)?;
    let (at_s, new) = controllers.iter().find(|(at_s, epoch)| *at_s > killed_s && epoch > old)?;
    let elections = match new - old {
        1 => "one election".to_owned(),
        several => format!("{several} elections"),
    };
    Some((format!("kill → another active controller, {elections}"), at_s - killed_s))
}

fn rows<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().map_or(&[], Vec::as_slice)
}

fn since(row: &Value, from: &str, to: &str) -> Option<f64> {
    Some(row[to].as_f64()? - row[from].as_f64()?)
}

fn print(measured: &Measured, tolerance_percent: f64) {
    println!(
        "| scenario | quantity | embedded, s | Apache Kafka, s | ratio | within {tolerance_percent} % |\n|---|---|---|---|---|---|"
    );
    for ((scenario, quantity), [embedded, kafka]) in measured {
        let (ours, theirs) = (told(embedded), told(kafka));
        let (ratio, within) = match (median(embedded), median(kafka)) {
            (Some(ours), Some(theirs)) if theirs > 0.0 => {
                let ratio = ours / theirs;
                let within = (ratio - 1.0).abs() * 100.0 <= tolerance_percent;
                (format!("{ratio:.2}"), if within { "yes" } else { "**no**" })
            }
            _ => ("–".to_owned(), "nothing to compare with"),
        };
        println!("| {scenario} | {quantity} | {ours} | {theirs} | {ratio} | {within} |");
    }
}

/// `2.15 (1.90–2.40, of 5)`: the median, and between which it lies.
fn told(seconds: &[f64]) -> String {
    let least = seconds.iter().copied().min_by(f64::total_cmp);
    let most = seconds.iter().copied().max_by(f64::total_cmp);
    match (median(seconds), least, most) {
        (Some(median), Some(least), Some(most)) => {
            format!("{median:.3} ({least:.3}–{most:.3}, of {})", seconds.len())
        }
        _ => "–".to_owned(),
    }
}

fn median(seconds: &[f64]) -> Option<f64> {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn runs_in_which_the_controller_died_are_compared_with_their_like_only() {
        let run = |controller: bool| {
            json!({
                "faults": [{ "active_controller": controller }],
                "failovers": [
                    { "fault_s": 10.0, "elected_s": 18.0 },
                    { "fault_s": 10.0, "elected_s": 18.5 },
                    { "fault_s": null, "elected_s": 90.0 },
                ],
                "recovery": [{ "restarted_s": 20.0, "unfenced_s": 20.5, "isr_full_s": 20.75 }],
            })
        };
        let of = |controller| quantities(&run(controller));
        assert_eq!(of(false)[0], ("kill → last election; the victim was not the active controller".to_owned(), 8.5));
        assert_eq!(of(true)[0], ("kill → last election; the active controller died".to_owned(), 8.5));
        assert_eq!(
            of(true)[1..],
            [("start → unfenced".to_owned(), 0.5), ("unfenced → every ISR full".to_owned(), 0.25)]
        );
    }

    #[test]
    fn a_controller_is_replaced_by_the_first_of_a_later_epoch() {
        let result = json!({ "faults": [{ "active_controller": true, "at_s": 10.0 }] });
        let told =
            |at_us: i64, epoch: i64| json!({ "event": "controller", "at_us": at_us, "epoch": epoch }).to_string();
        let events = [told(-9_000_000, 3), "cut off".to_owned(), told(13_500_000, 5), told(20_000_000, 6)].join("\n");
        assert_eq!(
            controller_change(&result, &events),
            Some(("kill → another active controller, 2 elections".to_owned(), 3.5))
        );
        assert_eq!(controller_change(&result, &told(-9_000_000, 3)), None, "nobody took over");
    }

    #[test]
    fn a_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
