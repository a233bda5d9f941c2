//! The embedded cluster beside Apache Kafka, one quantity a row: what the goals of the profile `fast` are about. Both are
//! measured in the same run by the same client; each row names it and its settings.

mod failover;
pub(super) mod peer;
mod produce;
pub(super) mod raw;
mod start;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use metricstream_engine::Jvm;

use peer::{BROKERS, Peer, resident_mb};

/// What must hold.
const START_MAX_MS: f64 = 20.0;
const MEMORY_MAX_MB: f64 = 20.0;
const PRODUCED_MIN_PER_S: f64 = 1e6;
const P50_MAX_MS: f64 = 0.5;
const P99_MAX_MS: f64 = 3.0;
const FAILOVER_P99_MAX_MS: f64 = 200.0;
/// The rate at which acknowledgements are timed.
const RATE_PER_S: u32 = 5_000;
/// Before memory is read.
const IDLE: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which rows; default: all
    #[arg(long, value_delimiter = ',')]
    rows: Vec<Row>,
    /// The embedded cluster alone
    #[arg(long)]
    without_kafka: bool,
    /// Fewer repetitions, shorter turns, fewer kills
    #[arg(long)]
    quick: bool,
    /// Print what the client of the row `failover` logs of these contexts (librdkafka's `debug`)
    #[arg(long, value_name = "CONTEXTS")]
    client_log: Option<String>,
    /// How many leaders of the embedded cluster are killed
    #[arg(long)]
    kills: Option<u32>,
    /// Seconds between two kills, at least, where the client has only the settings that the goal names
    #[arg(long)]
    kill_every_s: Option<u64>,
    /// Write the table as Markdown to this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Row {
    /// From the start to the first acknowledgement
    Start,
    /// Memory of an idle cluster
    Memory,
    /// Messages per second
    Produce,
    /// Latency of acknowledgements
    Latency,
    /// Unavailability after a leader is killed
    Failover,
}

impl Row {
    const ALL: [Self; 5] = [Self::Start, Self::Memory, Self::Produce, Self::Latency, Self::Failover];
}

/// A row of the table.
#[derive(Debug)]
struct Line {
    quantity: &'static str,
    client: String,
    ours: String,
    kafka: String,
    wanted: String,
    holds: bool,
}

/// How often and how long.
struct Effort {
    starts: usize,
    turns: usize,
    turn: Duration,
    kills: u32,
    kafka_kills: u32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut effort = if args.quick {
        Effort { starts: 5, turns: 2, turn: Duration::from_secs(3), kills: 10, kafka_kills: 1 }
    } else {
        Effort { starts: 20, turns: 4, turn: Duration::from_secs(5), kills: 50, kafka_kills: 3 }
    };
    effort.kills = args.kills.unwrap_or(effort.kills);
    let rows = if args.rows.is_empty() { Row::ALL.to_vec() } else { args.rows.clone() };
    let folder = std::env::temp_dir().join(format!("metricstream-bench-cluster-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let lines = measure(&rows, &effort, args, &folder);
    let _ = fs::remove_dir_all(&folder);
    let lines = lines?;
    let table = markdown(&lines);
    println!("\n{table}");
    if let Some(file) = &args.markdown {
        fs::write(file, &table).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let missed: Vec<&str> = lines.iter().filter(|line| !line.holds).map(|line| line.quantity).collect();
    if !missed.is_empty() {
        bail!("does not hold: {}", missed.join("; "));
    }
    Ok(())
}

/// Apache Kafka as far as rows want it: started when the first does, a new one where the Java machine is tuned otherwise.
struct Kafka<'a> {
    folder: &'a Path,
    running: Option<(Jvm, Peer)>,
    wanted: bool,
}

impl Kafka<'_> {
    fn get(&mut self, jvm: Jvm) -> anyhow::Result<Option<&Peer>> {
        if !self.wanted {
            return Ok(None);
        }
        if self.running.as_ref().is_none_or(|(running, _)| *running != jvm) {
            self.stop();
            self.running = Some((jvm, self.start(jvm)?));
        }
        Ok(self.running.as_ref().map(|(_, peer)| peer))
    }

    fn start(&self, jvm: Jvm) -> anyhow::Result<Peer> {
        eprintln!("starting Apache Kafka");
        Peer::kafka(self.folder, jvm)
    }

    fn stop(&mut self) {
        if let Some((_, peer)) = self.running.take() {
            peer.stop();
        }
    }
}

fn measure(rows: &[Row], effort: &Effort, args: &Args, folder: &Path) -> anyhow::Result<Vec<Line>> {
    let mut kafka = Kafka { folder, running: None, wanted: !args.without_kafka };
    let mut lines = Vec::new();
    for row in rows {
        eprintln!("{row:?}, load average {}", load_average()?);
        let measured = match row {
            Row::Start => start(effort, &mut kafka).map(|line| vec![line]),
            Row::Memory => memory(&mut kafka).map(|line| vec![line]),
            Row::Produce => produce(effort, &mut kafka).map(|line| vec![line]),
            Row::Latency => latency(effort, &mut kafka).map(|line| vec![line]),
            Row::Failover => failover(effort, &mut kafka, args),
        };
        match measured {
            Ok(measured) => lines.extend(measured),
            Err(error) => {
                kafka.stop();
                return Err(error.context(format!("row {row:?}")));
            }
        }
    }
    kafka.stop();
    Ok(lines)
}

/// What else the machine did: a figure of a busy one says little.
pub(super) fn load_average() -> anyhow::Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(1).collect())
}

fn settings(settings: &[(&str, &str)]) -> String {
    settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn or_none(figure: Option<String>) -> String {
    figure.unwrap_or_else(|| "not measured".to_owned())
}

/// The middle one, the lower of two.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[(figures.len() - 1) / 2]
}

fn least(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}

fn start(effort: &Effort, kafka: &mut Kafka<'_>) -> anyhow::Result<Line> {
    let mut all = Vec::new();
    for _ in 0..effort.starts {
        let one = start::ours()?;
        eprintln!("  {one:.1?}");
        all.push(one);
    }
    let of = |which: fn(&start::Started) -> f64| all.iter().map(which).collect::<Vec<f64>>();
    let (acked, librdkafka) = (of(|one| one.acked_ms), of(|one| one.librdkafka_ms));
    let acked_ms = median(acked.clone());
    let theirs = if kafka.wanted {
        let (took_s, peer) = start::kafka(|| kafka.start(Jvm::QuickStart))?;
        kafka.running = Some((Jvm::QuickStart, peer));
        Some(format!("{took_s:.1} s"))
    } else {
        None
    };
    Ok(Line {
        quantity: "`start()` to the first acks=all acknowledgement, 3 brokers, topic 6×RF 3",
        client: format!(
            "ours: one frame over one connection, {} starts; in brackets, and Kafka: librdkafka, {}",
            effort.starts,
            settings(start::SETTINGS)
        ),
        ours: format!(
            "{acked_ms:.1} ms median, {:.1} least, `start()` {:.1} (librdkafka {:.1}, {:.1} least)",
            least(&acked),
            median(of(|one| one.ready_ms)),
            median(librdkafka.clone()),
            least(&librdkafka)
        ),
        kafka: or_none(theirs),
        wanted: format!("≤ {START_MAX_MS} ms"),
        holds: acked_ms <= START_MAX_MS,
    })
}

fn memory(kafka: &mut Kafka<'_>) -> anyhow::Result<Line> {
    let bare = crate::embedded_cluster::EmbeddedProcess::start(0)?;
    let ours = Peer::ours()?;
    ours.create_topic("idle", 6)?;
    std::thread::sleep(IDLE);
    let bare_mb = resident_mb(bare.pid())?;
    let all = |peer: &Peer| peer.pids().into_iter().map(resident_mb).sum::<anyhow::Result<f64>>();
    let above_mb = all(&ours)? - bare_mb;
    let theirs = kafka.get(Jvm::QuickStart)?.map(all).transpose()?;
    Ok(Line {
        quantity: "idle memory, 3 brokers",
        client: format!(
            "resident size (RSS), {} s after a topic 6×RF 3 was made; the bare binary has {bare_mb:.1} MB",
            IDLE.as_secs()
        ),
        ours: format!("{above_mb:.1} MB above the bare binary"),
        kafka: or_none(theirs.map(|mb| format!("{mb:.0} MB"))),
        wanted: format!("≤ {MEMORY_MAX_MB} MB above the bare binary"),
        holds: above_mb <= MEMORY_MAX_MB,
    })
}

/// What so many turns give, on the embedded cluster and, where it is asked for, on Kafka, one after the other.
fn in_turns<T: std::fmt::Debug>(
    turns: usize,
    kafka: &mut Kafka<'_>,
    topic: &str,
    measure: impl Fn(&Peer, &str) -> anyhow::Result<T>,
) -> anyhow::Result<(Vec<T>, Vec<T>)> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        // A new one each time: what the turn before wrote is memory that is taken.
        let peer = Peer::ours()?;
        ours.push(measure(&peer, topic)?);
        eprintln!("  ours  {:.2?}, load average {}", ours[turn], load_average()?);
        peer.stop();
        if let Some(peer) = kafka.get(Jvm::Throughput)? {
            theirs.push(measure(peer, &format!("{topic}-{turn}"))?);
            eprintln!("  Kafka {:.2?}", theirs[turn]);
        }
    }
    Ok((ours, theirs))
}

fn produce(effort: &Effort, kafka: &mut Kafka<'_>) -> anyhow::Result<Line> {
    let turn = |peer: &Peer, topic: &str| produce::unthrottled(peer, topic, effort.turn);
    let (ours, theirs) = in_turns(effort.turns, kafka, "produce", turn)?;
    let best = |turns: &[produce::Turn]| turns.iter().copied().max_by(|a, b| a.per_s.total_cmp(&b.per_s));
    let shown = |turn: produce::Turn| {
        let all = turn.per_s / 1e6;
        format!("{all:.2} M msg/s (client {:.2} µs, cluster {:.2} µs a message)", turn.client_us, turn.cluster_us)
    };
    let own = best(&ours).context("a turn")?;
    Ok(Line {
        quantity: "acks=all, RF 3, 100 B, idempotent",
        client: format!(
            "librdkafka, one producer, six partitions, {}; best of {} turns of {} s",
            settings(produce::UNTHROTTLED),
            effort.turns,
            effort.turn.as_secs()
        ),
        ours: shown(own),
        kafka: or_none(best(&theirs).map(shown)),
        wanted: format!("≥ {} M msg/s", PRODUCED_MIN_PER_S / 1e6),
        holds: own.per_s >= PRODUCED_MIN_PER_S,
    })
}

fn latency(effort: &Effort, kafka: &mut Kafka<'_>) -> anyhow::Result<Line> {
    let turn = |peer: &Peer, topic: &str| produce::latency(peer, topic, RATE_PER_S, effort.turn);
    let (ours, theirs) = in_turns(effort.turns, kafka, "latency", turn)?;
    let best = |turns: &[produce::Latency]| turns.iter().copied().min_by(|a, b| a.p99_ms.total_cmp(&b.p99_ms));
    let shown = |turn: produce::Latency| {
        format!("{:.2} ms p50, {:.2} ms p99 (sent late by {:.2} ms p99)", turn.p50_ms, turn.p99_ms, turn.late_p99_ms)
    };
    let own = best(&ours).context("a turn")?;
    Ok(Line {
        quantity: "acknowledgement latency at 5,000 msg/s, acks=all",
        client: format!(
            "librdkafka, one producer, six partitions, 100 B, {}; from handing a message over; best of {} turns of {} s",
            settings(produce::AT_ONCE),
            effort.turns,
            effort.turn.as_secs()
        ),
        ours: shown(own),
        kafka: or_none(best(&theirs).map(shown)),
        wanted: format!("≤ {P50_MAX_MS} ms p50, ≤ {P99_MAX_MS} ms p99"),
        holds: own.p50_ms <= P50_MAX_MS && own.p99_ms <= P99_MAX_MS,
    })
}

/// With the settings that the goal names, and with one more in quick succession.
fn failover(effort: &Effort, kafka: &mut Kafka<'_>, args: &Args) -> anyhow::Result<Vec<Line>> {
    let every = args.kill_every_s.map_or(failover::EVERY, Duration::from_secs);
    let with = |more| ([failover::SETTINGS, &[more]].concat(), Duration::ZERO);
    let clients = [with(failover::RECONNECTS), with(failover::ASKS_AGAIN), (failover::SETTINGS.to_vec(), every)];
    let mut lines = Vec::new();
    for (number, (client, every)) in clients.iter().enumerate() {
        let kills = |count| failover::Kills { count, every: *every };
        let peer = Peer::ours()?;
        let topic = format!("failover-{number}");
        let gaps = failover::kills(&peer, &topic, client, kills(effort.kills), args.client_log.as_deref())?;
        eprintln!("  ours  {gaps:.0?}, load average {}", load_average()?);
        peer.stop();
        let theirs = match kafka.get(Jvm::QuickStart)? {
            Some(peer) => Some(failover::kills(peer, &topic, client, kills(effort.kafka_kills), None)?),
            None => None,
        };
        // Nearest rank: of fifty the largest.
        let p99_ms = gaps[(gaps.len() * 99).div_ceil(100) - 1];
        lines.push(Line {
            quantity: "unavailability after a leader is killed",
            client: format!(
                "librdkafka, one partition, 1,000 msg/s, {}; a kill {}",
                settings(client),
                if every.is_zero() { "about once a second".to_owned() } else { format!("every {} s", every.as_secs()) }
            ),
            ours: format!("{p99_ms:.0} ms p99, {:.0} ms p50, {} kills", median(gaps.clone()), gaps.len()),
            kafka: or_none(theirs.map(|gaps| {
                let all: Vec<String> = gaps.iter().map(|ms| format!("{:.1} s", ms / 1e3)).collect();
                format!("{} (timers of `fast`)", all.join(", "))
            })),
            wanted: format!("p99 ≤ {FAILOVER_P99_MAX_MS} ms"),
            holds: p99_ms <= FAILOVER_P99_MAX_MS,
        });
    }
    Ok(lines)
}

fn markdown(lines: &[Line]) -> String {
    let mut text = format!(
        "| profile `fast`, {BROKERS} brokers | client and settings | embedded | Apache Kafka | to reach | |\n|---|---|---|---|---|---|\n"
    );
    for line in lines {
        let holds = if line.holds { "holds" } else { "**missed**" };
        let Line { quantity, client, ours, kafka, wanted, .. } = line;
        let _ = writeln!(text, "| {quantity} | {client} | {ours} | {kafka} | {wanted} | {holds} |");
    }
    text
}
