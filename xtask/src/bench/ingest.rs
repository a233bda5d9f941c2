//! `metricstream serve` before an embedded cluster of its own, from the binary that users run: how many requests and metrics
//! it acknowledges (acks=all, three replicas), and how long one takes at a rate that is far from that. The load generator
//! runs on the same processors.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::cluster::load_average;
use super::cluster::peer::cpu_s;
use super::judged;

/// What must hold.
const REQUESTS_MIN_PER_S: f64 = 30_000.0;
const METRICS_MIN_PER_S: f64 = 300_000.0;
const P99_MAX_MS: f64 = 10.0;
/// Metrics of a request in the row of batches.
const BATCH: usize = 100;
/// Requests a second in the row of latency.
const RATE_PER_S: u32 = 5_000;
/// What is not measured: connections, and the client's first requests to the cluster.
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each row is measured; the best turn counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// How long each turn is measured, after two seconds of warming up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Connections of the row of single metrics, each of a client of its own
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    connections: u32,
    /// Connections of the row of batches
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    batch_connections: u32,
    /// Connections of the row of latency
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    rate_connections: u32,
    /// Any more options of `serve`
    #[arg(last = true)]
    serve: Vec<String>,
}

/// `serve`; ended with this.
struct Serving {
    child: Child,
    at: SocketAddr,
}

impl Serving {
    fn start(more: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(crate::product::build(true)?);
        command.args(["serve", "--engine", "embedded", "--profile", "fast", "--listen", "127.0.0.1:0"]);
        command.args(["--client-rate", "unlimited"]).args(more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("it is piped")?;
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let at = lines.find_map(|line| line.strip_prefix("listening http://")?.parse().ok());
        let Some(at) = at else {
            let mut said = String::new();
            child.stderr.take().context("it is piped")?.read_to_string(&mut said)?;
            bail!("serve does not listen: {said}");
        };
        Ok(Self { child, at })
    }

    /// Processor time that it has used, seconds.
    fn cpu_s(&self) -> anyhow::Result<f64> {
        cpu_s(self.child.id())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has nothing to keep.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let measured = Duration::from_secs(args.seconds);
    let (mut requests, mut metrics, mut p99_ms) = (0_f64, 0_f64, f64::INFINITY);
    for turn in 1..=args.turns {
        // A new one each time: what the turn before wrote is memory that is taken.
        let serving = Serving::start(&args.serve)?;
        let one = runtime.block_on(unthrottled(&serving, args.connections, 1, measured))?;
        println!("turn {turn}: {}, load average {}", one.text(), load_average()?);
        requests = requests.max(one.requests_per_s);
        drop(serving);
        let serving = Serving::start(&args.serve)?;
        let many = runtime.block_on(unthrottled(&serving, args.batch_connections, BATCH, measured))?;
        println!("turn {turn}: {}, load average {}", many.text(), load_average()?);
        metrics = metrics.max(many.requests_per_s * BATCH as f64);
        drop(serving);
        let serving = Serving::start(&args.serve)?;
        let took = runtime.block_on(at_a_rate(serving.at, args.rate_connections, measured))?;
        let ms = |quantile| took.value_at_quantile(quantile) as f64 / 1e6;
        println!(
            "turn {turn}: {RATE_PER_S} requests/s: {:.2} ms p50, {:.2} ms p99, {:.1} ms max of {}, load average {}",
            ms(0.5),
            ms(0.99),
            took.max() as f64 / 1e6,
            took.len(),
            load_average()?
        );
        p99_ms = p99_ms.min(ms(0.99));
    }
    let rows = [
        judged(
            "requests of one metric each",
            &format!("{requests:.0}/s"),
            &format!(">= {REQUESTS_MIN_PER_S}/s"),
            requests >= REQUESTS_MIN_PER_S,
        ),
        judged(
            &format!("metrics in batches of {BATCH}"),
            &format!("{metrics:.0}/s"),
            &format!(">= {METRICS_MIN_PER_S}/s"),
            metrics >= METRICS_MIN_PER_S,
        ),
        judged(
            &format!("p99 at {RATE_PER_S} requests/s, from when each was due"),
            &format!("{p99_ms:.2} ms"),
            &format!("<= {P99_MAX_MS} ms"),
            p99_ms <= P99_MAX_MS,
        ),
    ];
    if rows.contains(&false) {
        bail!("not all of it holds");
    }
    Ok(())
}

/// One turn without a bound on the rate.
struct Turn {
    requests_per_s: f64,
    batch: usize,
    /// Processor time of `serve` and its cluster, and of the load generator, for a request.
    serve_us: f64,
    generator_us: f64,
}

impl Turn {
    fn text(&self) -> String {
        format!(
            "batches of {}: {:.0} requests/s, {:.0} metrics/s (serve and cluster {:.1} µs a request, load generator {:.1} µs)",
            self.batch,
            self.requests_per_s,
            self.requests_per_s * self.batch as f64,
            self.serve_us,
            self.generator_us
        )
    }
}

/// A request of one client, ready to be sent.
fn request(client: usize, batch: usize) -> Vec<u8> {
    let metric = |number: usize| format!(r#"{{"name":"cpu_{number}","value":0.75,"type":"gauge"}}"#);
    let body = format!("{{\"metrics\":[{}]}}", (0..batch).map(metric).collect::<Vec<_>>().join(","));
    let head = format!("POST /metrics HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer client-{client}\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// One connection.
struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    request: Vec<u8>,
}

impl Connection {
    async fn open(at: SocketAddr, client: usize, batch: usize) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: vec![0; 4_096], request: request(client, batch) })
    }

    /// Sends the request once and reads its answer, which must be 202.
    async fn post(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.request).await?;
        let mut have = 0;
        loop {
            let read = self.stream.read(&mut self.answer[have..]).await?;
            have += read;
            let said = &self.answer[..have];
            if read == 0 || (have > 12 && !said.starts_with(b"HTTP/1.1 202")) {
                bail!("not 202: {}", String::from_utf8_lossy(said));
            }
            // Its body is one object without another in it.
            if said.ends_with(b"}") {
                return Ok(());
            }
        }
    }
}

/// As many requests as there are answers for: each connection sends the next when it has its 202.
async fn unthrottled(serving: &Serving, connections: u32, batch: usize, measured: Duration) -> anyhow::Result<Turn> {
    let acked = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for client in 0..connections as usize {
        let mut connection = Connection::open(serving.at, client, batch).await?;
        let acked = Arc::clone(&acked);
        tasks.spawn(async move {
            loop {
                match connection.post().await {
                    Ok(()) => acked.fetch_add(1, Ordering::Relaxed),
                    Err(error) => return error,
                };
            }
        });
    }
    let (mut begun, mut serve_s, mut own_s) = (Instant::now(), 0.0, 0.0);
    let mut before = 0;
    for (part, wait) in [WARM_UP, measured].into_iter().enumerate() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            Some(ended) = tasks.join_next() => return Err(ended?),
        }
        if part == 0 {
            (begun, before) = (Instant::now(), acked.load(Ordering::Relaxed));
            (serve_s, own_s) = (serving.cpu_s()?, cpu_s(std::process::id())?);
        }
    }
    let count = (acked.load(Ordering::Relaxed) - before) as f64;
    Ok(Turn {
        requests_per_s: count / begun.elapsed().as_secs_f64(),
        batch,
        serve_us: (serving.cpu_s()? - serve_s) * 1e6 / count,
        generator_us: (cpu_s(std::process::id())? - own_s) * 1e6 / count,
    })
}

/// Requests by a schedule that never resets, spread over the connections; times are from when each was due, nanoseconds.
async fn at_a_rate(at: SocketAddr, connections: u32, measured: Duration) -> anyhow::Result<Histogram<u64>> {
    let begin = tokio::time::Instant::now() + Duration::from_millis(200);
    let (warm, end) = (begin + WARM_UP, begin + WARM_UP + measured);
    let gap = Duration::from_secs(1) * connections / RATE_PER_S;
    let mut tasks = JoinSet::new();
    for client in 0..connections {
        let mut connection = Connection::open(at, client as usize, 1).await?;
        let first = begin + gap * client / connections;
        tasks.spawn(async move {
            let mut took = histogram()?;
            for number in 0.. {
                let due = first + gap * number;
                if due >= end {
                    break;
                }
                tokio::time::sleep_until(due).await;
                connection.post().await?;
                if due >= warm {
                    took.saturating_record(u64::try_from(due.elapsed().as_nanos())?);
                }
            }
            anyhow::Ok(took)
        });
    }
    let mut all = histogram()?;
    while let Some(took) = tasks.join_next().await {
        all.add(took??)?;
    }
    Ok(all)
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}
