//! Real Apache Kafka: started, broken in every way, and left without a trace.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metricstream_engine::kafka::Wanted;
use metricstream_engine::{
    ClusterSpec, EngineError, FaultKind, GuardianCommand, KafkaCluster, NodeState,
};
use metricstream_scenario::{Controllers, Profile, Topology};

const DEADLINE: Duration = Duration::from_secs(120);

fn guardian() -> GuardianCommand {
    GuardianCommand {
        program: env!("CARGO_BIN_EXE_metricstream-guardian").into(),
        args: Vec::new(),
    }
}

fn spec(folder: &Path, brokers: u32, controllers: Controllers) -> ClusterSpec {
    let topology = Topology {
        brokers,
        controllers,
        profile: Profile::Fast,
        broker_config: BTreeMap::new(),
        topics: Vec::new(),
    };
    ClusterSpec::new(
        "test",
        &topology,
        folder.join("data"),
        folder.join("logs"),
        guardian(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let begun = Instant::now();
    let cluster = KafkaCluster::start(
        spec(folder.path(), 3, Controllers::Combined),
        Wanted::from_env(None),
        Arc::new(|text: &str| eprintln!("{text}")),
        DEADLINE,
    )
    .await
    .expect("started");
    eprintln!("started in {:?}: {}", begun.elapsed(), cluster.bootstrap());
    assert!(
        cluster
            .nodes()
            .iter()
            .all(|node| node.state == NodeState::Running)
    );
    let error = cluster
        .fault(FaultKind::Start, 1)
        .await
        .expect_err("it runs");
    assert!(matches!(error, EngineError::IllegalFault { .. }), "{error}");
    let begun = Instant::now();
    cluster.stop().await;
    eprintln!("stopped in {:?}", begun.elapsed());
    assert!(!folder.path().join("data").exists());
}
