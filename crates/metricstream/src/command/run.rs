//! `run`: one scenario, from file to verdict.

use std::path::PathBuf;

use metricstream_ledger::result::{RunResult, Verdict};
use metricstream_report::terminal::{Options, render};
use metricstream_report::view::View;
use metricstream_scenario::Scenario;

use crate::cli::{EngineName, Format, RunArgs};
use crate::drive::{self, Finished, Trial};
use crate::exit::{Code, Ending, Failure};
use crate::interrupt::Interrupt;
use crate::live::Follower;
use crate::rundir::{self, RunDir};
use crate::{output, source};

pub(crate) async fn run(args: RunArgs) -> Ending {
    let scenario = source::load(&args.scenario, &args.set, args.profile)?;
    if args.engine == EngineName::Remote {
        return Err(refuse_remote(&scenario));
    }
    let baseline = args.baseline.as_deref().map(read_result).transpose()?;
    let interrupt = Interrupt::listen()?;
    let seed = args.seed.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed);
    let properties = super::client_properties(args.at.client_config.as_deref())?;
    let mut results = Vec::new();
    let mut worst = Code::Pass;
    for trial in 0..args.repeat {
        let seed = seed.wrapping_add(u64::from(trial));
        let out =
            args.out.clone().map(|out| if args.repeat > 1 { out.join(format!("trial-{}", trial + 1)) } else { out });
        let dir = RunDir::create(out.as_deref(), &scenario.name, seed)?;
        let path = dir.path().to_path_buf();
        let trial = Trial {
            scenario: scenario.clone(),
            seed,
            dir,
            strict: args.strict,
            kafka_version: args.kafka_version.clone(),
            properties: properties.clone(),
        };
        let follower = Follower::begin(&scenario, engine_word(args.engine), seed, args.format == Format::Json);
        let (watch, mut tell) = (follower.watch(), follower.tell());
        let finished = Box::pin(drive::run(trial, interrupt.clone(), watch, &mut tell)).await;
        // The terminal is given back before anything else is said on it.
        drop(follower);
        if finished.is_err() && out.is_none() {
            rundir::discard_if_bare(&path);
        }
        let finished = finished?;
        show(&finished, &scenario, args.format);
        if let Some(disk) = &finished.disk {
            output::note(&format!(
                "error: the run directory is not whole: {disk}. Free some space; the verdict above stands"
            ));
            worst = worse(worst, Code::Environment);
        }
        worst = worse(worst, code_of(&finished));
        results.push(finished.result);
        if finished.interrupted {
            return Ok(Code::Interrupted);
        }
    }
    if args.repeat > 1 && args.format == Format::Text {
        output::print(&summary(&results));
    }
    if let (Some(baseline), Some(now)) = (&baseline, results.last())
        && compare(baseline, now, args.tolerance, args.format)
    {
        worst = worse(worst, Code::Violated);
    }
    Ok(worst)
}

fn engine_word(engine: EngineName) -> &'static str {
    match engine {
        EngineName::Kafka => "kafka",
        EngineName::Remote => "remote",
    }
}

fn refuse_remote(scenario: &Scenario) -> Failure {
    let mut cannot: Vec<&str> = scenario.timeline.iter().map(|step| step.action.word()).collect();
    cannot.sort_unstable();
    cannot.dedup();
    let cannot = if cannot.is_empty() {
        String::new()
    } else {
        format!(" It could not do {} of {}.", cannot.join(", "), scenario.name)
    };
    Failure::usage(format!(
        "engine remote does not run scenarios yet: its load and audit are not joined to it.{cannot} Use --engine kafka"
    ))
}

fn show(finished: &Finished, scenario: &Scenario, format: Format) {
    match format {
        Format::Json => output::print(&metricstream_report::json::result(&finished.result)),
        Format::Text => {
            let out = output::stdout();
            let view = View::new(&finished.result, &finished.timeline, scenario);
            let options = Options { width: out.width, colour: out.colour, run_dir: Some(finished.run_dir.clone()) };
            output::print(&render(&view, &options));
        }
    }
}

fn code_of(finished: &Finished) -> Code {
    match finished.result.verdict {
        Verdict::Pass => Code::Pass,
        Verdict::Fail => Code::Violated,
        Verdict::Inconclusive => Code::Inconclusive,
    }
}

/// A violation is worse than a broken environment, and that than not knowing.
fn worse(a: Code, b: Code) -> Code {
    let rank = |code: Code| match code {
        Code::Pass => 0,
        Code::Inconclusive => 1,
        Code::Environment | Code::Usage => 2,
        Code::Violated => 3,
        Code::Interrupted => 4,
    };
    if rank(b) > rank(a) { b } else { a }
}

fn summary(results: &[RunResult]) -> String {
    let mut text = format!("\n{} runs: mean ± coefficient of variation\n", results.len());
    for row in metricstream_ledger::compare::summary(results) {
        let variation = row.variation.map_or_else(|| "–".to_owned(), |v| format!("{:.0} %", v * 100.0));
        text.push_str(&format!("  {:52} {:12.3} ± {variation} (of {})\n", row.quantity, row.mean, row.runs));
    }
    text
}

/// Whether anything is worse than the tolerance allows.
fn compare(baseline: &RunResult, now: &RunResult, tolerance: f64, format: Format) -> bool {
    let differences = metricstream_ledger::compare::compare(baseline, now, tolerance);
    let failed = differences.iter().any(|d| d.failed);
    for difference in differences.iter().filter(|d| d.failed) {
        let now = difference.now.map_or_else(|| "gone".to_owned(), |now| format!("{now:.3}"));
        let line = format!("worse than the baseline: {} was {:.3}, is {now}", difference.quantity, difference.baseline);
        if format == Format::Text { output::print(&format!("{line}\n")) } else { output::note(&line) }
    }
    failed
}

fn read_result(dir: &std::path::Path) -> Result<RunResult, Failure> {
    let path: PathBuf = if dir.is_dir() { dir.join("result.json") } else { dir.to_path_buf() };
    let wrong = |e: &dyn std::fmt::Display| Failure::usage(format!("--baseline {}: {e}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|e| wrong(&e))?;
    serde_json::from_str(&text).map_err(|e| wrong(&e))
}
