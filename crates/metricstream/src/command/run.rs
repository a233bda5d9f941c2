//! `run`: one scenario, from file to verdict.

use metricstream_ledger::result::Verdict;
use metricstream_ledger::timeline::{TimelineEvent, What};
use metricstream_report::terminal::{Options, render};
use metricstream_report::view::View;
use metricstream_scenario::Scenario;
use serde_json::json;

use super::compare;
use crate::cli::{EngineName, Format, RunArgs};
use crate::drive::{self, Finished, Trial};
use crate::exit::{Code, Ending, Failure};
use crate::interrupt::Interrupt;
use crate::rundir::{self, RunDir};
use crate::{output, source};

pub(crate) async fn run(args: RunArgs) -> Ending {
    let scenario = source::load(&args.scenario, &args.set, args.profile)?;
    if args.engine == EngineName::Remote {
        return Err(refuse_remote(&scenario));
    }
    let baseline = args.baseline.as_deref().map(compare::read_results).transpose()?;
    let interrupt = Interrupt::listen()?;
    let seed = args.seed.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed);
    let properties = super::client_properties(args.at.client_config.as_deref())?;
    let trials = match args.repeat {
        1 => None,
        _ => Some(RunDir::of_trials(args.out.as_deref(), &scenario.name, seed)?),
    };
    let mut results = Vec::new();
    let mut worst = Code::Pass;
    for trial in 0..args.repeat {
        let seed = seed.wrapping_add(u64::from(trial));
        let out = match &trials {
            Some(trials) => Some(trials.join(format!("trial-{}", trial + 1))),
            None => args.out.clone(),
        };
        let trial = Trial {
            scenario: scenario.clone(),
            seed,
            dir: RunDir::create(out.as_deref(), &scenario.name, seed)?,
            strict: args.strict,
            kafka_version: args.kafka_version.clone(),
            properties: properties.clone(),
        };
        let mut tell = timeline_lines(args.format);
        let path = trial.dir.path().to_path_buf();
        let finished = Box::pin(drive::run(trial, interrupt.clone(), output::note, &mut tell)).await;
        let finished = finished.inspect_err(|_| rundir::forget_if_nothing_happened(&path))?;
        // Of several runs one document is printed, at the end.
        if trials.is_none() || args.format == Format::Text {
            show(&finished, &scenario, args.format);
        }
        if let Some(disk) = &finished.disk {
            output::note(&format!(
                "error: the run directory is not whole: {disk}. Free some space; the verdict above stands"
            ));
            worst = worse(worst, Code::Environment);
        }
        worst = worse(worst, code_of(&finished));
        results.push(finished.result);
        if finished.interrupted {
            worst = Code::Interrupted;
            break;
        }
    }
    if let Some(trials) = &trials {
        let summary = compare::summary_json(&results);
        if let Err(error) = std::fs::write(trials.join("summary.json"), format!("{summary:#}\n")) {
            output::note(&format!("error: {}: {error}", trials.join("summary.json").display()));
            worst = worse(worst, Code::Environment);
        }
        match args.format {
            Format::Text => output::print(&compare::summary_text(&results)),
            Format::Json => output::print(&format!("{:#}\n", json!({ "results": results, "summary": summary }))),
        }
    }
    if let Some(baseline) = &baseline
        && worst != Code::Interrupted
        && compare::is_worse(baseline, &results, &scenario, args.tolerance, args.format)
    {
        worst = worse(worst, Code::Violated);
    }
    Ok(worst)
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

/// In a pipe and on a terminal alike: the timeline goes to standard error as it happens.
fn timeline_lines(format: Format) -> impl FnMut(&TimelineEvent) + Send {
    let quiet = format == Format::Json;
    move |event| {
        if quiet {
            return;
        }
        let text = match &event.what {
            What::ClusterReady { bootstrap, took_ms } => {
                format!("cluster ready after {:.1} s at {bootstrap}", *took_ms as f64 / 1e3)
            }
            What::Phase { name } => format!("phase {name}"),
            What::Fault { id, kind, target, nodes, .. } => format!("{id}: {kind} {target} → {nodes:?}"),
            What::Healed { id, by, nodes, .. } => format!("{id} healed by {by} {nodes:?}"),
            What::FaultFailed { id, error } => format!("{id} failed: {error}"),
            What::BrokerFenced { broker, .. } => format!("broker {broker} fenced"),
            What::BrokerUnfenced { broker, .. } => format!("broker {broker} unfenced"),
            What::Controller { node, epoch } => format!("controller {node} is active, epoch {epoch}"),
            What::Partition(p) if !p.topic.starts_with("__") => {
                format!("{}-{}: leader {} epoch {} ISR {:?}", p.topic, p.partition, p.leader, p.leader_epoch, p.isr)
            }
            What::Assignment { group, member, partitions, .. } => {
                format!("{group}/{member} owns [{}]", partitions.join(", "))
            }
            What::Member { group, member, change } => format!("{group}/{member}: {change}"),
            What::Note { text } => text.clone(),
            _ => return,
        };
        output::note(&format!("{:8.2}  {text}", event.at_us as f64 / 1e6));
    }
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
