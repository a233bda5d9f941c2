//! What identities, CRCs, the ledger and the history cost a producer: messages per second beside those of a bare rdkafka
//! loop with the same settings, in turns (A B A B) on one cluster: Apache Kafka, or librdkafka's mock cluster in a process
//! of its own, which costs so little that the client is the limit.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use metricstream_engine::kafka::Wanted;
use metricstream_engine::{ClusterSpec, Engine, GuardianCommand, Jvm};
use metricstream_ledger::measure::Measurements;
use metricstream_ledger::verdict::expected;
use metricstream_ledger::{Header, HistoryWriter, Ledger};
use metricstream_load::clock::RunTime;
use metricstream_load::{ClientConfig, Load, LoadEvent, LoadPlan, config};
use metricstream_scenario::Scenario;
use rdkafka::ClientContext;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

use crate::mock_cluster::MockProcess;

/// What must hold.
const RATIO_MIN: f64 = 0.8;
const READY: Duration = Duration::from_secs(180);
/// Clients connect in this time.
const LEAD: Duration = Duration::from_secs(1);
/// How long to leave a client alone that did not take a message: as long as the product does.
const REFUSED: Duration = Duration::from_millis(1);
/// Bound on what waits to be taken in, as in the product.
const LOAD_EVENTS: usize = 1_024;
const RUN_ID: u64 = 1;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Turns of each, for each size
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Sizes of messages, bytes
    #[arg(long, value_delimiter = ',', default_value = "100,1024")]
    sizes: Vec<usize>,
    /// How long each turn is measured, after two seconds of warming up
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Brokers, and as many replicas
    #[arg(long, default_value_t = 3)]
    brokers: u32,
    /// Against librdkafka's mock cluster instead of Apache Kafka: for the client's processor time; nothing is judged
    #[arg(long)]
    mock: bool,
}

/// Where messages go.
enum Cluster {
    Kafka(Engine),
    Mock(MockProcess),
}

impl Cluster {
    async fn create(&self, scenario: &Scenario) -> anyhow::Result<()> {
        let topics = &scenario.topology.topics;
        match self {
            Self::Kafka(engine) => {
                engine.create_topics(topics).await?;
                engine.wait_ready(topics, READY).await?;
                Ok(())
            }
            Self::Mock(mock) => topics.iter().try_for_each(|topic| mock.create_topic(&topic.name, topic.partitions)),
        }
    }

    fn bootstrap(&self) -> String {
        match self {
            Self::Kafka(engine) => engine.bootstrap(),
            Self::Mock(mock) => mock.bootstrap().to_owned(),
        }
    }
}

/// What one turn came to, or several together.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    acked: f64,
    took_s: f64,
    /// Processor time of this process, of all that there was.
    cpu_s: f64,
}

impl Turn {
    fn per_s(&self) -> f64 {
        self.acked / self.took_s
    }

    fn cpu_us_per_message(&self) -> f64 {
        self.cpu_s * 1e6 / self.acked
    }

    fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.took_s += other.took_s;
        self.cpu_s += other.cpu_s;
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = std::env::temp_dir().join(format!("metricstream-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let done = runtime.block_on(on_a_cluster(args, &folder));
    let _ = fs::remove_dir_all(&folder);
    done
}

async fn on_a_cluster(args: &Args, folder: &Path) -> anyhow::Result<()> {
    if args.mock {
        // Nothing must hold: how fast the mock is, and so the ratio, depends on which of the cores it was given.
        return measure(args, &Cluster::Mock(MockProcess::start(args.brokers)?), folder).await.map(drop);
    }
    let scenario = scenario(args, "metrics", 100)?;
    let guardian = GuardianCommand::of_this_program("__guardian")?;
    let mut spec = ClusterSpec::new("bench", &scenario.topology, folder.join("data"), folder.join("logs"), guardian);
    spec.jvm = Jvm::Throughput;
    let progress = Arc::new(|text: &str| eprintln!("{text}"));
    let cluster = Cluster::Kafka(Engine::start_kafka(spec, Wanted::from_env(None), progress, READY).await?);
    let measured = measure(args, &cluster, folder).await;
    if let Cluster::Kafka(engine) = cluster {
        engine.stop().await;
    }
    let ratios = measured?;
    let low: Vec<_> = ratios.iter().filter(|(_, ratio)| *ratio < RATIO_MIN).collect();
    if !low.is_empty() {
        bail!("less than {RATIO_MIN} of the bare loop: {low:?}");
    }
    Ok(())
}

/// Size and ratio, for each size.
async fn measure(args: &Args, cluster: &Cluster, folder: &Path) -> anyhow::Result<Vec<(usize, f64)>> {
    println!(" size  turn   bare loop              metricstream           ratio   client's processor time a message");
    let mut ratios = Vec::new();
    for size in args.sizes.iter().copied() {
        let (mut bare_sum, mut product_sum) = (Turn::default(), Turn::default());
        // The first turns of a size find brokers whose code is still being compiled: they are not counted.
        for turn in 0..=args.rounds {
            let bare =
                turn_of(args, cluster, &format!("bare-{size}-{turn}"), size, |plan| bare_loop(args, plan)).await?;
            let history = folder.join("history");
            let with_ledger = |plan| product(args, plan, &history);
            let product = turn_of(args, cluster, &format!("metricstream-{size}-{turn}"), size, with_ledger).await?;
            let note = if turn == 0 { "   (not counted)" } else { "" };
            println!("{size:>5}  {turn:>4}   {}{note}", compared(bare, product));
            if turn > 0 {
                bare_sum.add(bare);
                product_sum.add(product);
            }
        }
        let wanted = if args.mock { String::new() } else { format!("   at least {RATIO_MIN}") };
        println!("{size:>5}  mean   {}{wanted}", compared(bare_sum, product_sum));
        ratios.push((size, product_sum.per_s() / bare_sum.per_s()));
    }
    Ok(ratios)
}

fn compared(bare: Turn, product: Turn) -> String {
    format!(
        "{}   {}   {:.2}    + {:>4.2} µs",
        shown(bare),
        shown(product),
        product.per_s() / bare.per_s(),
        product.cpu_us_per_message() - bare.cpu_us_per_message()
    )
}

fn shown(turn: Turn) -> String {
    format!("{:>9.0}/s ({:>5.2} µs)", turn.per_s(), turn.cpu_us_per_message())
}

fn scenario(args: &Args, topic: &str, size: usize) -> anyhow::Result<Scenario> {
    let brokers = args.brokers;
    let text = format!(
        r#"
name = "bench"
[topology]
brokers = {brokers}
[[topology.topics]]
name = "{topic}"
partitions = 6
replication_factor = {brokers}
min_insync_replicas = {}
[workload]
duration_s = 3600.0
[[workload.producers]]
name = "producer-1"
topic = "{topic}"
rate_per_s = "unthrottled"
message_size_bytes = {size}
"#,
        brokers.min(2)
    );
    let mut scenario = metricstream_scenario::parse(&text).map_err(|errors| anyhow!("{errors}"))?;
    // A scenario has a group if it does not say otherwise; here nobody reads.
    scenario.workload.groups.clear();
    Ok(scenario)
}

/// One turn on a topic of its own, off the runtime's threads.
async fn turn_of(
    args: &Args,
    cluster: &Cluster,
    topic: &str,
    size: usize,
    measure: impl FnOnce(LoadPlan) -> anyhow::Result<Turn> + Send,
) -> anyhow::Result<Turn> {
    let scenario = Arc::new(scenario(args, topic, size)?);
    cluster.create(&scenario).await?;
    let lead_ns = i64::try_from(LEAD.as_nanos())?;
    let plan = LoadPlan {
        scenario,
        run_id: RUN_ID,
        bootstrap: cluster.bootstrap(),
        properties: BTreeMap::new(),
        starts: BTreeMap::new(),
        origin_ns: RunTime::starting_now().origin_ns() + lead_ns,
        member_program: PathBuf::new(),
    };
    tokio::task::block_in_place(|| measure(plan))
}

/// Counts over the measured seconds, however it is produced.
fn counted(args: &Args, acked: impl Fn() -> u64) -> Turn {
    std::thread::sleep(LEAD + Duration::from_secs(2));
    let (begun, cpu_before_s, before) = (Instant::now(), cpu_s(), acked());
    std::thread::sleep(Duration::from_secs(args.seconds));
    let acked = acked() - before;
    Turn { acked: acked as f64, took_s: begun.elapsed().as_secs_f64(), cpu_s: cpu_s() - cpu_before_s }
}

/// Processor time that this process has used, seconds.
fn cpu_s() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// The product's load with all that a run does with what it tells.
fn product(args: &Args, plan: LoadPlan, history: &Path) -> anyhow::Result<Turn> {
    let (tx, events) = mpsc::channel(LOAD_EVENTS);
    let header = header(&plan.scenario);
    let writer = HistoryWriter::new(BufWriter::new(File::create(history)?), &header)?;
    let measurements = Measurements::new(&plan.scenario);
    let recorder = std::thread::Builder::new().name("recorder".into());
    let records = recorder.spawn(move || record(events, Ledger::new(header), measurements, writer))?;
    let load = Load::start(plan, tx)?;
    let turn = counted(args, || load.progress().acked());
    let runtime = tokio::runtime::Handle::current();
    load.stop_sending();
    runtime.block_on(load.finish());
    let acked = load.progress().acked();
    drop(load);
    let ledger = records.join().map_err(|_| anyhow!("the recorder panicked"))??;
    if ledger != acked {
        bail!("{acked} were acknowledged, and the ledger has {ledger}");
    }
    Ok(turn)
}

fn header(scenario: &Scenario) -> Header {
    let topics: Vec<(&str, i32)> = scenario.topology.topics.iter().map(|t| (t.name.as_str(), t.partitions)).collect();
    Header::new(RUN_ID, &topics, &[], expected(scenario, &[]))
}

/// As the drive of a run: history, ledger and measurements, one event after the other. How many acks the ledger has.
fn record(
    mut events: mpsc::Receiver<LoadEvent>,
    mut ledger: Ledger,
    mut measurements: Measurements,
    mut history: HistoryWriter<BufWriter<File>>,
) -> anyhow::Result<u64> {
    while let Some(event) = events.blocking_recv() {
        match event {
            LoadEvent::Records(records) => {
                for record in &records {
                    ledger.apply(record);
                    measurements.record(record);
                    history.write(record).context("the history")?;
                }
            }
            LoadEvent::Sends(samples) => measurements.sends(&samples),
            LoadEvent::Client(sample) => measurements.client(&sample),
            _ => {}
        }
    }
    Ok(ledger.finish(&[]).counts.acked)
}

/// Counts acknowledgements, and nothing else.
#[derive(Clone, Default)]
struct Counter {
    acked: Arc<AtomicU64>,
}

impl ClientContext for Counter {}

impl ProducerContext for Counter {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.acked.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
    }
}

/// rdkafka alone: the same settings but for the statistics, which nobody reads here; a constant value, partitions in turn.
fn bare_loop(args: &Args, plan: LoadPlan) -> anyhow::Result<Turn> {
    let spec = &plan.scenario.workload.producers[0];
    let mut client: ClientConfig = config::producer(&plan.scenario, spec, &plan.bootstrap, &plan.properties)?.client;
    client.set("statistics.interval.ms", "0");
    let counter = Counter::default();
    let producer: ThreadedProducer<Counter> = client.create_with_context(counter.clone())?;
    let stop = AtomicBool::new(false);
    let turn = std::thread::scope(|scope| {
        scope.spawn(|| {
            let value = vec![7_u8; spec.message_size_bytes];
            let mut number = 0_i32;
            while !stop.load(Ordering::Relaxed) {
                let record = BaseRecord::<(), _>::to(&spec.topic).partition(number % 6).payload(&value);
                match producer.send(record) {
                    Ok(()) => number = (number + 1) % 6,
                    Err(_) => std::thread::sleep(REFUSED),
                }
            }
        });
        let turn = counted(args, || counter.acked.load(Ordering::Relaxed));
        stop.store(true, Ordering::Relaxed);
        turn
    });
    producer.purge(PurgeConfig::default().queue().inflight());
    Ok(turn)
}
