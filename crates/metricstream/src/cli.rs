//! The command line as clap reads it. What the commands do lives in `command`.

pub(crate) mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

const RUN_EXAMPLES: &str = "\
Example:
  metricstream run broker-failure --set workload.duration_s=20
  metricstream run broker-failure --engine remote --bootstrap broker.example.org:9092 --without-faults

Engine embedded is a replicated cluster inside this program; engine kafka runs Apache Kafka on this machine. Engine remote
loads and audits a cluster that somebody else runs. Topics are created and deleted again; one that is there
is not touched unless --use-existing-topics is given. It cannot break nodes: a scenario whose steps do is refused, or run
with --without-faults.";

const SERVE_EXAMPLES: &str = "\
Example:
  metricstream serve --engine embedded --listen 127.0.0.1:8080
  metricstream serve --bootstrap broker.example.org:9092 --topic metrics

Then, from another terminal:
  curl -i http://127.0.0.1:8080/metrics -H 'Authorization: Bearer client-1' \\
    -d '{\"metrics\":[{\"name\":\"cpu\",\"value\":0.75,\"type\":\"gauge\"}]}'

Without --bootstrap and --name a cluster is started and ends with this program: an embedded one, in memory if no --data
is given. SIGTERM and Ctrl-C stop it in order: what was taken is answered, then it ends.";

/// Proves what a Kafka pipeline survives.
#[derive(Debug, Parser)]
#[command(name = "metricstream", version, about, long_about = None, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one scenario: start the cluster, load it, break it, heal it, account for every message
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// The scenarios that are built in, and checking your own
    #[command(subcommand, after_help = "Example:\n  metricstream scenario show broker-failure")]
    Scenario(ScenarioCommand),
    /// A cluster that stays, to be broken by hand
    #[command(subcommand, after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3")]
    Cluster(ClusterCommand),
    /// Topics of any cluster
    #[command(
        subcommand,
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream topic describe metrics"
    )]
    Topic(TopicCommand),
    /// Consumer groups of any cluster
    #[command(
        subcommand,
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream produce metrics --count 600\n  metricstream consume metrics group-1 --from-beginning --count 600\n  metricstream group describe group-1"
    )]
    Group(GroupCommand),
    /// Send messages to a topic: lines of standard input, or generated ones
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  echo cpu=0.75 | metricstream produce metrics"
    )]
    Produce(ProduceArgs),
    /// Read a topic as a member of a group, and tell of every rebalance
    #[command(
        override_usage = "metricstream consume [OPTIONS] [BROKERS] TOPIC GROUP",
        after_help = "Without BROKERS the detached cluster is read.\n\nExample:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream produce metrics --count 600\n  metricstream consume 127.0.0.1:9092 metrics group-1 --from-beginning"
    )]
    Consume(ConsumeArgs),
    /// The ingest: metrics over HTTP into a topic, answered once the cluster has acknowledged them
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<serve::ServeArgs>),
    /// Judge a recorded history: the ledger alone
    #[command(
        after_help = "Example:\n  metricstream check examples/history.jsonl\n  metricstream run broker-failure --out my-run\n  metricstream check my-run"
    )]
    Check(CheckArgs),
    /// Apache Kafka for `--engine kafka`
    #[command(subcommand, after_help = "Example:\n  metricstream kafka install")]
    Kafka(KafkaCommand),
    /// Kills what its parent left behind.
    #[command(name = "__guardian", hide = true)]
    Guardian {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
    /// One member of a consumer group, in a process of its own.
    #[command(name = "__member", hide = true)]
    Member,
    /// The owner of a detached cluster.
    #[command(name = "__supervisor", hide = true)]
    Supervisor,
}

/// Where clusters come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum EngineName {
    /// A replicated cluster inside this program; nothing needs to be installed
    Embedded,
    /// Apache Kafka processes on this machine
    Kafka,
    /// A cluster that somebody else runs
    Remote,
}

/// Where a cluster that stays comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum OwnEngine {
    /// A replicated cluster inside this program; nothing needs to be installed
    Embedded,
    /// Apache Kafka processes on this machine
    Kafka,
}

/// Timer profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum ProfileName {
    /// The defaults of the Kafka version
    Apache,
    /// As quick as the engine can honestly be: tuned timers on Kafka, tens of milliseconds on the embedded cluster
    Fast,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON document
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Built-in name, or path of a TOML file
    #[arg(default_value = "broker-failure")]
    pub(crate) scenario: String,
    /// Where the cluster comes from
    #[arg(long, value_enum, default_value = "embedded")]
    pub(crate) engine: EngineName,
    /// Overrides the scenario's profile
    #[arg(long, value_enum)]
    pub(crate) profile: Option<ProfileName>,
    /// Overrides one value of the scenario, e.g. `workload.duration_s=20`; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// Decides everything that is drawn: random targets, chaos
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Run it N times, a folder per trial, with a summary over them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    pub(crate) repeat: u32,
    /// Claims too must hold, not only guarantees
    #[arg(long)]
    pub(crate) strict: bool,
    /// Run directory; default `runs/SCENARIO-TIME-SEED`
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Compare with an earlier run's directory, or one of trials; worse by more than the tolerance fails, exit 1
    #[arg(long, value_name = "DIR")]
    pub(crate) baseline: Option<PathBuf>,
    /// How much worse than the baseline is accepted, e.g. `20%`; default: what the scenario's [baseline] says
    #[arg(long, value_name = "PERCENT", value_parser = percent, requires = "baseline")]
    pub(crate) tolerance: Option<f64>,
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// No live view and no timeline while it runs: only the result, and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Engine kafka: its version; default: the newest that runs on Java 17
    #[arg(long, value_name = "VERSION")]
    pub(crate) kafka_version: Option<String>,
    /// Engine embedded: switch on a historic behaviour or seeded bug; may be repeated
    #[arg(long = "flaw", value_name = "FLAW")]
    pub(crate) flaws: Vec<String>,
    /// Leave out every step that breaks or mends a node, and what waits for one; the result says so
    #[arg(long)]
    pub(crate) without_faults: bool,
    /// Engine remote: write also to topics that are there; nothing in them is deleted, and what others write is no error
    #[arg(long)]
    pub(crate) use_existing_topics: bool,
    /// Engine remote: leave the topics that the run made
    #[arg(long)]
    pub(crate) keep_topics: bool,
    #[command(flatten)]
    pub(crate) at: ClientArgs,
}

/// Which cluster a client command talks to.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClientArgs {
    /// Addresses of a cluster; without them the detached cluster is used
    #[arg(long, value_name = "HOST:PORT,…")]
    pub(crate) bootstrap: Option<String>,
    /// librdkafka properties, one `key=value` a line, e.g. for SASL_SSL
    #[arg(long, value_name = "FILE")]
    pub(crate) client_config: Option<PathBuf>,
    /// Name of the detached cluster
    #[arg(long, default_value = "default")]
    pub(crate) name: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScenarioCommand {
    /// The built-in scenarios
    #[command(after_help = "Example:\n  metricstream scenario list")]
    List {
        /// How to print it
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// One scenario, with everything that its profile sets and what is predicted
    #[command(after_help = "Example:\n  metricstream scenario show broker-failure > mine.toml")]
    Show {
        /// Built-in name, or path of a TOML file
        name: String,
        /// Overrides one value, e.g. `workload.duration_s=20`
        #[arg(long = "set", value_name = "PATH=VALUE")]
        set: Vec<String>,
        /// Overrides the scenario's profile
        #[arg(long, value_enum)]
        profile: Option<ProfileName>,
    },
    /// Check a scenario file
    #[command(
        after_help = "Example:\n  metricstream scenario show broker-failure > mine.toml\n  metricstream scenario validate mine.toml"
    )]
    Validate {
        /// Path of a TOML file, or a built-in name
        file: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Start a cluster; prints its bootstrap address when it is ready
    #[command(after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3")]
    Up(UpArgs),
    /// What stands and what does not
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream cluster status"
    )]
    Status {
        /// Name of the detached cluster
        #[arg(long, default_value = "default")]
        name: String,
        /// How to print it
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Wait for a state, for scripts
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream cluster wait --isr-full --timeout 60s"
    )]
    Wait {
        /// Name of the detached cluster
        #[arg(long, default_value = "default")]
        name: String,
        /// Every broker unfenced and every replica in sync
        #[arg(long)]
        isr_full: bool,
        /// Such as `60s`, `2m`, `500ms`
        #[arg(long, default_value = "60s", value_parser = duration)]
        timeout: std::time::Duration,
    },
    /// Kill a node at once (SIGKILL)
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream cluster kill 2"
    )]
    Kill(NodeArgs),
    /// Stop a node in order (SIGTERM)
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream cluster stop 2"
    )]
    Stop(NodeArgs),
    /// Start a node that is down
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream cluster kill 2\n  metricstream cluster start 2"
    )]
    Start(NodeArgs),
    /// Make a node stand still, its connections open (SIGSTOP)
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream cluster pause 2"
    )]
    Pause(NodeArgs),
    /// Let a paused node go on
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream cluster pause 2\n  metricstream cluster resume 2"
    )]
    Resume(NodeArgs),
    /// End the cluster
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream cluster down"
    )]
    Down {
        /// Name of the detached cluster
        #[arg(long, default_value = "default")]
        name: String,
    },
}

#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub(crate) struct UpArgs {
    /// Name of the detached cluster
    #[arg(long, default_value = "default")]
    pub(crate) name: String,
    /// How many brokers: ids 1, 2, …
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=15))]
    pub(crate) brokers: u32,
    /// Controllers on nodes of their own; default: every broker is one
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5))]
    pub(crate) controllers: Option<u32>,
    /// First broker's port; the others follow
    #[arg(long, default_value_t = 9092, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub(crate) port: u16,
    /// `NAME:PARTITIONS:REPLICATION`; may be repeated
    #[arg(long, value_name = "NAME:P:RF")]
    pub(crate) topic: Vec<String>,
    /// Whose timers the cluster has
    #[arg(long, value_enum, default_value = "apache")]
    pub(crate) profile: ProfileName,
    /// Keep the cluster's data here; default: gone with the cluster (in memory, or with engine kafka a temporary directory)
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where the cluster comes from
    #[arg(long, value_enum, default_value = "embedded")]
    pub(crate) engine: OwnEngine,
    /// Engine embedded: switch on a historic behaviour or seeded bug; may be repeated
    #[arg(long = "flaw", value_name = "FLAW")]
    #[serde(default)]
    pub(crate) flaws: Vec<String>,
    /// Return when it is ready; other terminals use the rest of the commands
    #[arg(long)]
    pub(crate) detach: bool,
    /// Engine kafka: its version; default: the newest that runs on Java 17
    #[arg(long, value_name = "VERSION")]
    pub(crate) kafka_version: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Node id: brokers 1, 2, …; controllers of their own 101, …
    pub(crate) node: i32,
    /// Name of the detached cluster
    #[arg(long, default_value = "default")]
    pub(crate) name: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach\n  metricstream topic create logs --partitions 6 --replication-factor 3"
    )]
    Create {
        /// Its name
        topic: String,
        /// How many partitions
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..=10_000))]
        partitions: i32,
        /// Replicas of each partition
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i16).range(1..=15))]
        replication_factor: i16,
        /// Topic configuration, Kafka's own names
        #[arg(long = "config", value_name = "KEY=VALUE")]
        config: Vec<String>,
        #[command(flatten)]
        at: ClientArgs,
    },
    /// Leader, replicas and ISR of every partition
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream topic describe metrics"
    )]
    Describe {
        /// Its name
        topic: String,
        /// How to print it
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        at: ClientArgs,
    },
    /// All topics
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream topic list"
    )]
    List {
        /// How to print it
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        at: ClientArgs,
    },
    /// Delete a topic and everything in it
    #[command(
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream topic delete metrics"
    )]
    Delete {
        /// Its name
        topic: String,
        #[command(flatten)]
        at: ClientArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// All groups
    #[command(
        override_usage = "metricstream consume [OPTIONS] BROKERS TOPIC GROUP\n       metricstream consume [OPTIONS] TOPIC GROUP   (of the detached cluster)",
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream produce metrics --count 600\n  metricstream consume metrics group-1 --from-beginning --count 600\n  metricstream group list"
    )]
    List {
        /// How to print it
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        at: ClientArgs,
    },
    /// Members, assignment and lag
    #[command(
        override_usage = "metricstream consume [OPTIONS] BROKERS TOPIC GROUP\n       metricstream consume [OPTIONS] TOPIC GROUP   (of the detached cluster)",
        after_help = "Example:\n  metricstream cluster up --detach --topic metrics:6:3\n  metricstream produce metrics --count 600\n  metricstream consume metrics group-1 --from-beginning --count 600\n  metricstream group describe group-1"
    )]
    Describe {
        /// Its `group.id`
        group: String,
        /// How to print it
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
        #[command(flatten)]
        at: ClientArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ProduceArgs {
    /// Where to
    pub(crate) topic: String,
    /// Generate this many messages instead of reading lines
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// Open-loop rate of generated messages, per second
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Size of a generated message, bytes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) size: u32,
    /// Who must have a message before it is acknowledged: `all`, `1` or `0`
    #[arg(long, default_value = "all", value_parser = ["all", "-1", "1", "0"], allow_hyphen_values = true)]
    pub(crate) acks: String,
    /// Any librdkafka setting
    #[arg(long = "config", value_name = "KEY=VALUE")]
    pub(crate) config: Vec<String>,
    #[command(flatten)]
    pub(crate) at: ClientArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConsumeArgs {
    /// Two or three: without BROKERS the detached cluster is read
    #[arg(required = true, num_args = 2..=3, hide = true, value_names = ["BROKERS", "TOPIC", "GROUP"])]
    pub(crate) what: Vec<String>,
    /// Who decides which member reads what; default: roundrobin, of the protocol `consumer`: what the cluster prefers
    #[arg(long, value_parser = ["range", "roundrobin", "cooperative-sticky", "uniform"])]
    pub(crate) assignor: Option<String>,
    /// Group protocol: `consumer` is KIP-848
    #[arg(long, default_value = "classic", value_parser = ["classic", "consumer"])]
    pub(crate) protocol: String,
    /// End after this many messages
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// Where the group has no offset yet, begin with the oldest message
    #[arg(long)]
    pub(crate) from_beginning: bool,
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// Any librdkafka setting
    #[arg(long = "config", value_name = "KEY=VALUE")]
    pub(crate) config: Vec<String>,
    #[command(flatten)]
    pub(crate) at: ClientArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A run directory, its `history` folder, or a JSON-lines file (docs/history.md)
    pub(crate) history: PathBuf,
    /// The guarantee to check against, in place of the history's own: the producers' acks
    #[arg(long, value_parser = ["all", "-1", "1", "0"], requires = "min_insync_replicas", allow_hyphen_values = true)]
    pub(crate) acks: Option<String>,
    /// With `--acks`: the topics' min.insync.replicas
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100), requires = "acks")]
    pub(crate) min_insync_replicas: Option<u32>,
    /// With `--acks`: unclean.leader.election.enable was true
    #[arg(long, requires = "acks")]
    pub(crate) unclean_election: bool,
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KafkaCommand {
    /// Put Apache Kafka into the user's cache, from Maven Central
    #[command(after_help = "Example:\n  metricstream kafka install")]
    Install {
        /// Which; default: the newest that runs on Java 17
        #[arg(long)]
        version: Option<String>,
    },
    /// Where it is
    #[command(after_help = "Example:\n  metricstream kafka install\n  metricstream kafka path")]
    Path {
        /// Which; default: the newest that runs on Java 17
        #[arg(long)]
        version: Option<String>,
    },
}

/// `20%` or `20` to 0.2.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%');
    match number.parse::<f64>() {
        Ok(n) if n.is_finite() && (0.0..=1000.0).contains(&n) => Ok(n / 100.0),
        _ => Err("a percentage from 0% to 1000%, such as 20%".to_owned()),
    }
}

/// `60s`, `2m`, `500ms`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "a time such as 500ms, 60s or 2m, at most a day".to_owned();
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
    let value: f64 = text[..at].parse().map_err(|_| wrong())?;
    let scale = match &text[at..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let seconds = value * scale;
    if seconds > 86_400.0 {
        return Err(wrong());
    }
    std::time::Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Splits `KEY=VALUE`.
///
/// # Errors
/// Text that names the option, if there is no `=` or no key.
pub(crate) fn key_value(option: &str, text: &str) -> Result<(String, String), crate::exit::Failure> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(crate::exit::Failure::usage(format!("{option} {text}: want KEY=VALUE"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|s| !s.is_hide_set()) {
                let path = format!("{path} {}", sub.get_name());
                if sub.get_name() != "help" {
                    let example = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(example.contains("Example:"), "{path} has no example");
                    for arg in sub.get_arguments().filter(|arg| !arg.is_hide_set()) {
                        assert!(arg.get_help().is_some(), "{path}: {} does not say what it means", arg.get_id());
                    }
                }
                walk(sub, &path);
            }
        }
        Cli::command().debug_assert();
        walk(&Cli::command(), "metricstream");
    }

    #[test]
    fn every_example_parses() {
        fn walk(command: &clap::Command, found: &mut Vec<String>) {
            if let Some(help) = command.get_after_help() {
                found.extend(help.to_string().lines().filter(|l| l.contains("metricstream ")).map(|l| {
                    let from = l.find("metricstream ").unwrap_or(0);
                    l[from..].split(" > ").next().unwrap_or_default().to_owned()
                }));
            }
            command.get_subcommands().for_each(|s| walk(s, found));
        }
        let mut examples = Vec::new();
        walk(&Cli::command(), &mut examples);
        assert!(examples.len() > 20, "{examples:?}");
        for example in examples {
            Cli::try_parse_from(example.split_whitespace()).unwrap_or_else(|e| panic!("{example}: {e}"));
        }
    }

    #[test]
    fn times_and_percentages_are_read_or_refused() {
        assert_eq!(duration("90s").unwrap().as_secs(), 90);
        assert_eq!(duration("1.5m").unwrap().as_secs(), 90);
        assert_eq!(duration("250ms").unwrap().as_millis(), 250);
        for bad in ["", "5", "s", "-1s", "1d", "1e9s", "99999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!((percent("20%").unwrap() - 0.2).abs() < 1e-9);
        for bad in ["", "%", "NaN", "-1%", "inf"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }
}
