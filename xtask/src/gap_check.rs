//! The independent check of the most important number that a run reports: how long writes stopped. While a run kills a
//! leader, a producer process that shares no code with the product's load writes to the same cluster; the longest gap
//! between its acknowledgements and the unavailability in result.json must agree.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::product;

/// The two producers' messages per second.
const RATE_PER_S: u32 = 200;
/// How long a run may take to have its cluster ready, and to end after that.
const READY: Duration = Duration::from_secs(240);
const END: Duration = Duration::from_secs(240);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many leaders are killed, one a run; the median of the differences decides
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    kills: u32,
    /// `apache` or `fast`, as of `metricstream run`
    #[arg(long, default_value = "apache")]
    profile: String,
    /// The largest difference that is agreement, percent of what the plain producer saw
    #[arg(long, default_value_t = 10.0)]
    tolerance_percent: f64,
    /// Where the run directories go; default: target/gap-check
    #[arg(long)]
    out: Option<PathBuf>,
}

/// One kill, seen twice, seconds.
struct Kill {
    reported_s: f64,
    resolution_ms: f64,
    seen_s: f64,
}

impl Kill {
    fn difference_percent(&self) -> f64 {
        (self.reported_s - self.seen_s) / self.seen_s * 100.0
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let program = product::build(false)?;
    let out = args.out.clone().unwrap_or_else(|| product::target().join("gap-check"));
    println!("kill  reported by run    seen by a plain producer   difference");
    let mut differences = Vec::new();
    for number in 1..=args.kills {
        let kill = one_kill(&program, args, &out.join(format!("kill-{number}")), number)?;
        println!(
            "{number:>4}  {:>8.3} ± {:.3} s  {:>15.3} s           {:>+9.1} %",
            kill.reported_s,
            kill.resolution_ms / 1e3,
            kill.seen_s,
            kill.difference_percent()
        );
        differences.push(kill.difference_percent().abs());
    }
    differences.sort_by(f64::total_cmp);
    let median = differences[differences.len() / 2];
    println!("median difference {median:.1} %, at most {} % wanted", args.tolerance_percent);
    if median > args.tolerance_percent {
        bail!("the two do not agree; the run directories are in {}", out.display());
    }
    Ok(())
}

/// One leader is killed after ten seconds, and started again once writes have long gone on.
fn scenario(profile: &str) -> String {
    format!(
        r#"
name = "gap-check"
[topology]
brokers = 3
profile = "{profile}"
[[topology.topics]]
name = "metrics"
partitions = 1
replication_factor = 3
min_insync_replicas = 2
replicas = [[2, 1, 3]]
[workload]
duration_s = 26.0
[[workload.producers]]
name = "producer-1"
topic = "metrics"
rate_per_s = {RATE_PER_S}
message_size_bytes = 100
[[timeline]]
id = "kill"
at_s = 8.0
do = "kill"
target = "leader of metrics-0"
[[timeline]]
id = "start"
at_s = 22.0
do = "start"
target = "victim of kill"
"#
    )
}

fn one_kill(program: &Path, args: &Args, folder: &Path, seed: u32) -> anyhow::Result<Kill> {
    product::clear(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (file, run) = (folder.join("gap-check.toml"), folder.join("run"));
    fs::write(&file, scenario(&args.profile))?;
    let log = fs::File::create(folder.join("terminal.txt"))?;
    let mut command = Command::new(program);
    command.arg("run").arg(&file).arg("--out").arg(&run).args(["--engine", "kafka", "--seed", &seed.to_string()]);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut running = Running(command.spawn().context("the run does not start")?);

    let bootstrap = running.until("the cluster is ready", READY, || bootstrap(&run.join("events.jsonl")))?;
    let mut plain = Running(plain_producer(&bootstrap)?);
    let ended = running.end(END)?;
    // Its standard input ends: so does it.
    drop(plain.0.stdin.take());
    let mut seen = String::new();
    plain.0.stdout.take().context("it is piped")?.read_to_string(&mut seen)?;
    let status = plain.end(READY)?;
    if !ended.success() || !status.success() {
        bail!("the run ended with {ended}, the plain producer with {status}; see {}", folder.display());
    }
    let seen: Value = serde_json::from_str(&seen).context("what the plain producer said")?;
    let (reported_s, resolution_ms) = reported(&run.join("result.json"))?;
    let seen_s = seen["longest_gap_ms"].as_f64().context("longest_gap_ms")? / 1e3;
    Ok(Kill { reported_s, resolution_ms, seen_s })
}

fn plain_producer(bootstrap: &str) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["__plain-producer", "--topic", "plain", "--replicas", "2,1,3", "--bootstrap", bootstrap]);
    command.args(["--rate-per-s", &RATE_PER_S.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("the plain producer does not start")
}

/// The address that the run's timeline names when its cluster is ready.
fn bootstrap(events: &Path) -> Option<String> {
    let text = fs::read_to_string(events).ok()?;
    let complete = text.rsplit_once('\n')?.0;
    let mut events = complete.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ready = events.find(|event| event["event"] == "cluster-ready")?;
    Some(ready["bootstrap"].as_str()?.to_owned())
}

/// How long writes stopped by the run's own account, and its resolution.
fn reported(result: &Path) -> anyhow::Result<(f64, f64)> {
    let text = fs::read_to_string(result).with_context(|| format!("cannot read {}", result.display()))?;
    let result: Value = serde_json::from_str(&text)?;
    let rows = result["unavailability"].as_array().context("unavailability")?;
    let of_kill = rows.iter().filter(|row| row["op"] == "write" && row["fault"] == "kill");
    let longest = of_kill.max_by(|a, b| {
        let length = |row: &Value| row["duration_s"].as_f64().unwrap_or(0.0);
        length(a).total_cmp(&length(b))
    });
    let longest = longest.context("the run reports no write unavailability after the kill")?;
    let number = |name: &str| longest[name].as_f64().with_context(|| format!("unavailability: {name}"));
    Ok((number("duration_s")?, number("resolution_ms")?))
}

/// A process that does not outlive this.
struct Running(Child);

impl Running {
    fn until<T>(&mut self, what: &str, within: Duration, look: impl Fn() -> Option<T>) -> anyhow::Result<T> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if let Some(status) = self.0.try_wait()? {
                bail!("the run ended ({status}) before {what}");
            }
            if begun.elapsed() > within {
                bail!("waited {within:?} until {what}");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn end(&mut self, within: Duration) -> anyhow::Result<std::process::ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > within {
                bail!("process {} did not end within {within:?}", self.0.id());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Running {
    /// A run that is killed takes its cluster with it.
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
