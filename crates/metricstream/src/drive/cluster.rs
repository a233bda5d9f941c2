//! The cluster of a run, whichever engine it comes from: prepared, broken, put away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metricstream_engine::kafka::Wanted;
use metricstream_engine::observation::Observation;
use metricstream_engine::observer::Observer;
use metricstream_engine::{ClusterSpec, EngineError, ExitClass, FaultKind, GuardianCommand, KafkaCluster, admin};
use metricstream_run::conductor::FaultKind as Wish;
use metricstream_scenario::{Topic, Topology};
use tokio::sync::mpsc;

use crate::exit::{Code, Failure};

/// How long a cluster may take to be ready.
const READY: Duration = Duration::from_secs(180);

/// An engine's error as the end of a command.
pub(crate) fn failure(error: EngineError) -> Failure {
    let code = if error.exit_class() == ExitClass::Usage { Code::Usage } else { Code::Environment };
    // Its text has its source in it already.
    Failure { code, error: anyhow::anyhow!("{error}") }
}

/// A cluster of Apache Kafka, observed.
pub(crate) struct Cluster {
    pub(crate) kafka: KafkaCluster,
    pub(crate) observer: Observer,
}

impl Cluster {
    /// Starts it and creates the topics; ready means every broker unfenced and every topic's leaders known.
    pub(crate) async fn start(
        spec: ClusterSpec,
        topics: &[Topic],
        version: Option<String>,
        seen: mpsc::Sender<Observation>,
        progress: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let kafka = KafkaCluster::start(spec, Wanted::from_env(version), Arc::new(progress), READY).await;
        let kafka = kafka.map_err(failure)?;
        let observer = Observer::follow(kafka.controllers(), seen);
        let brokers = brokers(&kafka);
        let deadline = Instant::now() + READY;
        let prepare = async {
            admin::cluster_ready(&brokers, &[], deadline).await?;
            if !topics.is_empty() {
                admin::create_topics(&brokers, topics, deadline).await?;
                let wanted: Vec<_> = topics.iter().map(|t| (t.name.clone(), t.partitions)).collect();
                admin::cluster_ready(&brokers, &wanted, deadline).await?;
            }
            Ok::<_, admin::AdminError>(())
        };
        match prepare.await {
            Ok(()) => Ok(Self { kafka, observer }),
            Err(error) => {
                kafka.stop().await;
                Err(Failure::environment(format!("the cluster did not become ready: {error}")))
            }
        }
    }

    /// Does something to several nodes at once; when it was done to the first of them.
    pub(crate) async fn fault(kafka: KafkaCluster, kind: FaultKind, nodes: Vec<i32>) -> Result<Instant, EngineError> {
        let each = nodes.into_iter().map(|node| {
            let kafka = kafka.clone();
            tokio::spawn(async move { kafka.fault(kind, node).await })
        });
        let mut first = None::<Instant>;
        for task in each.collect::<Vec<_>>() {
            let injected = task.await.map_err(|_| EngineError::Stopped)??;
            first = Some(first.map_or(injected.at, |f| f.min(injected.at)));
        }
        first.ok_or(EngineError::Stopped)
    }
}

fn brokers(kafka: &KafkaCluster) -> Vec<SocketAddr> {
    kafka.bootstrap().split(',').filter_map(|a| a.trim().parse().ok()).collect()
}

/// The engine's word for what the conductor wants done.
pub(crate) fn kind_of(wish: Wish) -> FaultKind {
    match wish {
        Wish::Kill => FaultKind::Kill,
        Wish::Stop => FaultKind::Stop,
        Wish::Pause => FaultKind::Pause,
        Wish::Resume => FaultKind::Resume,
        Wish::Start => FaultKind::Start,
        Wish::StartWiped => FaultKind::StartWiped,
        Wish::StartReformatted => FaultKind::StartReformatted,
    }
}

/// The specification of a cluster whose children are watched by this program's own guardian.
pub(crate) fn spec(
    name: &str,
    topology: &Topology,
    base_dir: std::path::PathBuf,
    logs_dir: std::path::PathBuf,
) -> Result<ClusterSpec, Failure> {
    let guardian = GuardianCommand::of_this_program("__guardian").map_err(failure)?;
    Ok(ClusterSpec::new(name, topology, base_dir, logs_dir, guardian))
}
