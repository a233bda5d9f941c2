//! Who is measured: the embedded cluster in a process of its own, or Apache Kafka. Topics, leaders and ISRs are asked of
//! both by the same client, librdkafka's.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use metricstream_engine::kafka::Wanted;
use metricstream_engine::{ClusterSpec, Engine, FaultKind, GuardianCommand, Jvm};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::Metadata;

use crate::embedded_cluster::EmbeddedProcess;

/// Brokers, and as many replicas.
pub(in crate::bench) const BROKERS: u32 = 3;
/// How long anything may take that a row does not measure.
const READY: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Clock ticks a second in `/proc`: fixed in Linux's interface.
const TICKS_PER_S: f64 = 100.0;

/// A cluster.
pub(in crate::bench) enum Peer {
    Ours(EmbeddedProcess),
    Kafka(Engine, tokio::runtime::Runtime),
}

impl Peer {
    /// The embedded cluster, profile `fast`.
    pub(in crate::bench) fn ours() -> anyhow::Result<Self> {
        EmbeddedProcess::start(BROKERS).map(Self::Ours)
    }

    /// Apache Kafka with the timers of the profile `fast`, three combined nodes.
    pub(in crate::bench) fn kafka(folder: &Path, jvm: Jvm) -> anyhow::Result<Self> {
        let text = format!("name = \"bench\"\n[topology]\nbrokers = {BROKERS}\nprofile = \"fast\"\n");
        let scenario = metricstream_scenario::parse(&text).map_err(|errors| anyhow!("{errors}"))?;
        let guardian = GuardianCommand::of_this_program("__guardian")?;
        let mut spec =
            ClusterSpec::new("bench", &scenario.topology, folder.join("data"), folder.join("logs"), guardian);
        spec.jvm = jvm;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let progress = Arc::new(|_: &str| {});
        let engine = runtime.block_on(Engine::start_kafka(spec, Wanted::from_env(None), progress, READY))?;
        Ok(Self::Kafka(engine, runtime))
    }

    pub(in crate::bench) fn bootstrap(&self) -> String {
        match self {
            Self::Ours(process) => process.bootstrap().to_owned(),
            Self::Kafka(engine, _) => engine.bootstrap(),
        }
    }

    /// Processes that the cluster is made of.
    pub(in crate::bench) fn pids(&self) -> Vec<u32> {
        match self {
            Self::Ours(process) => vec![process.pid()],
            Self::Kafka(engine, _) => engine.nodes().iter().filter_map(|node| node.pid).collect(),
        }
    }

    /// A node's process, or what stands for it, is gone at once.
    pub(in crate::bench) fn kill(&self, id: i32) -> anyhow::Result<()> {
        match self {
            Self::Ours(process) => process.kill(id),
            Self::Kafka(engine, runtime) => Ok(runtime.block_on(engine.fault(FaultKind::Kill, id)).map(drop)?),
        }
    }

    /// It starts again. Whether it is in sync is for [`wait_in_sync`](Self::wait_in_sync).
    pub(in crate::bench) fn restart(&self, id: i32) -> anyhow::Result<()> {
        match self {
            Self::Ours(process) => process.restart(id),
            Self::Kafka(engine, runtime) => Ok(runtime.block_on(engine.fault(FaultKind::Start, id)).map(drop)?),
        }
    }

    /// Creates a topic with a replica on every broker, and waits until all of them are in sync.
    pub(in crate::bench) fn create_topic(&self, name: &str, partitions: i32) -> anyhow::Result<()> {
        let admin = self.admin()?;
        let replicas = i32::try_from(BROKERS)?;
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas)).set("min.insync.replicas", "2");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = AdminOptions::new().operation_timeout(Some(READY));
        let created = runtime.block_on(admin.create_topics([&topic], &options))?;
        let created = created.into_iter().next().context("no answer for the topic")?;
        created.map_err(|(name, why)| anyhow!("topic {name} was not created: {why}"))?;
        self.wait_in_sync(name)
    }

    fn admin(&self) -> anyhow::Result<AdminClient<DefaultClientContext>> {
        let mut config = ClientConfig::new();
        // A broker that is gone is no news here.
        config.set("bootstrap.servers", self.bootstrap()).set("log_level", "0");
        Ok(config.create()?)
    }

    /// Waits until every partition has a leader and every replica is in sync.
    pub(in crate::bench) fn wait_in_sync(&self, topic: &str) -> anyhow::Result<()> {
        let (admin, begun) = (self.admin()?, Instant::now());
        let all = usize::try_from(BROKERS)?;
        loop {
            let metadata = admin.inner().fetch_metadata(Some(topic), READY);
            let holds = |metadata: &Metadata| {
                metadata.topics().iter().all(|topic| {
                    let mut partitions = topic.partitions().iter();
                    !topic.partitions().is_empty() && partitions.all(|p| p.leader() > 0 && p.isr().len() == all)
                })
            };
            if metadata.as_ref().is_ok_and(holds) {
                return Ok(());
            }
            if begun.elapsed() > READY {
                bail!("waited {READY:?} until every replica of {topic} is in sync");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Who leads a topic's partition 0.
    pub(in crate::bench) fn leader(&self, topic: &str) -> anyhow::Result<i32> {
        let metadata = self.admin()?.inner().fetch_metadata(Some(topic), READY)?;
        let topic = metadata.topics().first().context("the topic is not there")?;
        Ok(topic.partitions().first().context("it has no partition")?.leader())
    }

    /// Processor time that its processes have used, seconds.
    pub(in crate::bench) fn cpu_s(&self) -> anyhow::Result<f64> {
        self.pids().into_iter().map(cpu_s).sum()
    }

    /// Ends it.
    pub(in crate::bench) fn stop(self) {
        if let Self::Kafka(engine, runtime) = self {
            runtime.block_on(engine.stop());
        }
    }
}

/// Processor time that a process has used, seconds.
pub(in crate::bench) fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name, in brackets, may hold anything; the 12th and 13th words behind it are user and system time.
    let (_, behind) = text.rsplit_once(')').context("a process's state")?;
    let ticks = behind.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_S)
}

/// Memory that a process has to itself or shares, MB (RSS).
pub(in crate::bench) fn resident_mb(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}
