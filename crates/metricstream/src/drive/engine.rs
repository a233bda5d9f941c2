//! The cluster of a run, whichever engine it comes from: made ready, broken, and its errors as endings of a command.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metricstream_engine::kafka::Wanted;
use metricstream_engine::{
    ClusterSpec, Engine, EngineError, ExitClass, FaultKind, GuardianCommand, LinkRule, Party, embedded,
};
use metricstream_run::conductor::{FaultKind as Wish, LinkRule as WishedRule, Party as WishedParty};
use metricstream_scenario::{Profile, Topic, Topology};

use crate::exit::{Code, Failure};

/// How long a cluster may take to be ready.
const READY: Duration = Duration::from_secs(180);

/// An engine's error as the end of a command.
pub(crate) fn failure(error: EngineError) -> Failure {
    let code = if error.exit_class() == ExitClass::Usage { Code::Usage } else { Code::Environment };
    // Its text has its source in it already.
    Failure { code, error: anyhow::anyhow!("{error}") }
}

/// Starts Apache Kafka and creates the topics; ready means every broker unfenced and every topic's leaders known.
pub(crate) async fn start_kafka(
    spec: ClusterSpec,
    topics: &[Topic],
    version: Option<String>,
    progress: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Engine, Failure> {
    let engine = Engine::start_kafka(spec, Wanted::from_env(version), Arc::new(progress), READY).await;
    prepared(engine.map_err(failure)?, topics).await
}

/// Starts the embedded cluster and creates the topics; ready means the same.
pub(crate) async fn start_embedded(
    spec: ClusterSpec,
    topics: &[Topic],
    wanted: embedded::Wanted,
) -> Result<Engine, Failure> {
    let engine = Engine::start_embedded(&spec, &wanted, READY).await;
    prepared(engine.map_err(failure)?, topics).await
}

/// With the topics; one that cannot have them is ended.
async fn prepared(engine: Engine, topics: &[Topic]) -> Result<Engine, Failure> {
    let prepare = async {
        engine.wait_ready(&[], READY).await?;
        engine.create_topics(topics).await?;
        engine.wait_ready(topics, READY).await
    };
    match prepare.await {
        Ok(()) => Ok(engine),
        Err(error) => {
            engine.stop().await;
            Err(failure(error))
        }
    }
}

/// Does something to several nodes at once; when it was done to the first of them.
pub(crate) async fn fault(engine: Engine, kind: FaultKind, nodes: Vec<i32>) -> Result<Instant, EngineError> {
    let each = nodes.into_iter().map(|node| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.fault(kind, node).await })
    });
    let mut first = None::<Instant>;
    for task in each.collect::<Vec<_>>() {
        let injected = task.await.map_err(|_| EngineError::Stopped)??;
        first = Some(first.map_or(injected.at, |f| f.min(injected.at)));
    }
    first.ok_or(EngineError::Stopped)
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

/// The engine's form of what a link shall be like.
pub(crate) fn link_rule(wish: &WishedRule) -> LinkRule {
    let party = |party: WishedParty| match party {
        WishedParty::Node(id) => Party::Node(id),
        WishedParty::Clients => Party::Clients,
    };
    let time = |us: i64| Duration::from_micros(u64::try_from(us).unwrap_or(0));
    LinkRule {
        from: party(wish.from),
        to: party(wish.to),
        cut: wish.cut,
        delay: time(wish.delay_us),
        jitter: time(wish.jitter_us),
        bytes_per_s: wish.bytes_per_s,
    }
}

/// The profile `fast` is as quick as the engine can honestly be: on the embedded cluster much quicker than on Apache Kafka.
/// Its settings go into the topology, over those of the profile and under the scenario's own, so that whoever predicts from
/// the clocks predicts from these.
pub(crate) fn fast_of_embedded(topology: &mut Topology) {
    if topology.profile == Profile::Fast {
        for (name, value) in embedded::fast() {
            topology.broker_config.entry(name).or_insert(value);
        }
    }
}

/// The specification of a cluster whose children are watched by this program's own guardian.
pub(crate) fn spec(
    name: &str,
    topology: &Topology,
    base_dir: PathBuf,
    logs_dir: PathBuf,
) -> Result<ClusterSpec, Failure> {
    let guardian = GuardianCommand::of_this_program("__guardian").map_err(failure)?;
    Ok(ClusterSpec::new(name, topology, base_dir, logs_dir, guardian))
}
