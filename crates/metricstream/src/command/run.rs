//! `run`: one scenario, from file to verdict.

use std::collections::BTreeMap;
use std::path::Path;

use metricstream_ledger::result::Verdict;
use metricstream_report::terminal::{Options, render};
use metricstream_report::view::View;
use metricstream_scenario::Scenario;
use serde_json::json;

use super::compare;
use crate::cli::{EngineName, Format, RunArgs};
use crate::drive::remote::RemoteArgs;
use crate::drive::topics::TopicRules;
use crate::drive::{self, Finished, Place, Trial};
use crate::exit::{Code, Ending, Failure};
use crate::interrupt::Interrupt;
use crate::live::{Follower, Show};
use crate::rundir::{self, RunDir};
use crate::{output, source};

pub(crate) async fn run(args: RunArgs) -> Ending {
    let (scenario, left_out) = if args.without_faults {
        source::load_without_faults(&args.scenario, &args.set, args.profile)?
    } else {
        (source::load(&args.scenario, &args.set, args.profile)?, Vec::new())
    };
    let properties = super::client_properties(args.at.client_config.as_deref())?;
    let place = place_of(&args, &scenario, &properties).await?;
    let baseline = args.baseline.as_deref().map(compare::read_results).transpose()?;
    let interrupt = Interrupt::listen()?;
    let seed = args.seed.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed);
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
        let dir = RunDir::create(out.as_deref(), &scenario.name, seed)?;
        let path = dir.path().to_path_buf();
        let trial = Trial {
            place: place.clone(),
            scenario: scenario.clone(),
            left_out: left_out.clone(),
            seed,
            dir,
            strict: args.strict,
            properties: properties.clone(),
        };
        let follower = Follower::begin(&scenario, engine_word(args.engine), seed, show_of(&args));
        let (watch, mut tell) = (follower.watch(), follower.tell());
        let finished = Box::pin(drive::run(trial, interrupt.clone(), watch, &mut tell)).await;
        // The terminal is given back before anything else is said on it.
        drop(follower);
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
    if let Some(trials) = &trials
        && !sum_up(trials, &compare::Trials { results: &results, wanted: args.repeat as usize }, args.format)
    {
        worst = worse(worst, Code::Environment);
    }
    if let Some(baseline) = &baseline
        && worst != Code::Interrupted
        && compare::is_worse(baseline, &results, &scenario, args.tolerance, args.format)
    {
        worst = worse(worst, Code::Violated);
    }
    Ok(worst)
}

/// What several runs come to, in their folder and for people; whether it could be written.
fn sum_up(folder: &Path, trials: &compare::Trials<'_>, format: Format) -> bool {
    let summary = trials.json();
    let written = std::fs::write(folder.join("summary.json"), format!("{summary:#}\n"));
    if let Err(error) = &written {
        output::note(&format!("error: {}: {error}", folder.join("summary.json").display()));
    }
    match format {
        Format::Text => output::print(&trials.text(output::stdout().width)),
        Format::Json => {
            output::print(&format!("{:#}\n", json!({ "results": trials.results, "summary": summary })));
        }
    }
    written.is_ok()
}

/// Where the cluster comes from; what it cannot do is said before anything starts.
async fn place_of(
    args: &RunArgs,
    scenario: &Scenario,
    properties: &BTreeMap<String, String>,
) -> Result<Place, Failure> {
    let of_remote = [
        ("--bootstrap", args.at.bootstrap.is_some()),
        ("--use-existing-topics", args.use_existing_topics),
        ("--keep-topics", args.keep_topics),
    ];
    let of_kafka = [("--kafka-version", args.kafka_version.is_some()), ("--profile", args.profile.is_some())];
    let given = |options: &[(&'static str, bool)]| options.iter().find(|(_, given)| *given).map(|(name, _)| *name);
    if let Some(name) = given(&[("--flaw", !args.flaws.is_empty() && args.engine != EngineName::Embedded)]) {
        return Err(Failure::usage(format!("{name} is of the embedded cluster: --engine embedded")));
    }
    match args.engine {
        EngineName::Embedded => match given(&of_remote) {
            _ if args.kafka_version.is_some() => {
                Err(Failure::usage("--kafka-version is of Apache Kafka: --engine kafka"))
            }
            Some(name) => Err(of_another_cluster(name)),
            None => Ok(Place::Embedded { flaws: args.flaws.clone() }),
        },
        EngineName::Kafka => match given(&of_remote) {
            Some(name) => Err(of_another_cluster(name)),
            None => {
                refuse_links(scenario)?;
                Ok(Place::Kafka { version: args.kafka_version.clone() })
            }
        },
        EngineName::Remote => {
            if let Some(name) = given(&of_kafka) {
                return Err(Failure::usage(format!(
                    "{name} is of a cluster that this run starts; engine remote takes what is there"
                )));
            }
            refuse_faults(scenario)?;
            let bootstrap = super::bootstrap_of(&args.at, properties).await?;
            let rules = TopicRules { use_existing: args.use_existing_topics, keep: args.keep_topics };
            Ok(Place::Remote(RemoteArgs { bootstrap, rules }))
        }
    }
}

fn of_another_cluster(name: &str) -> Failure {
    Failure::usage(format!("{name} is of a cluster that somebody else runs: --engine remote"))
}

/// Apache Kafka's nodes talk over plain connections that nobody is in between of.
fn refuse_links(scenario: &Scenario) -> Result<(), Failure> {
    let of_links: Vec<String> = scenario
        .faults()
        .filter(|step| step.action.is_of_links())
        .map(|step| format!("\n  {}: {}", step.id, step.action.word()))
        .collect();
    if of_links.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "engine kafka cannot slow or cut links, and {} does:{}\nRun it on the embedded cluster: --engine embedded. Or run its \
         load and audit without faults: --without-faults",
        scenario.name,
        of_links.concat()
    )))
}

fn refuse_faults(scenario: &Scenario) -> Result<(), Failure> {
    let faults: Vec<String> = scenario
        .faults()
        .map(|step| {
            let target = step.action.target().map(|target| format!(" {target}")).unwrap_or_default();
            format!("\n  {}: {}{target}", step.id, step.action.word())
        })
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "engine remote cannot break or mend nodes of a cluster that is not ours, and {} does:{}\nRun its load and audit \
         without them: --without-faults. Or run all of it on a cluster of its own: --engine embedded or kafka",
        scenario.name,
        faults.concat()
    )))
}

fn engine_word(engine: EngineName) -> &'static str {
    match engine {
        EngineName::Embedded => "embedded",
        EngineName::Kafka => "kafka",
        EngineName::Remote => "remote",
    }
}

/// How much of a run is seen while it goes on.
fn show_of(args: &RunArgs) -> Show {
    match (args.quiet, args.format) {
        (true, _) => Show::Nothing,
        (false, Format::Json) => Show::Lines,
        (false, Format::Text) => Show::View,
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
