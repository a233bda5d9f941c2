//! The engine by itself, for this crate's tests: a guardian, or the owner of a one-node cluster that waits to be killed.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use metricstream_engine::kafka::Wanted;
use metricstream_engine::{ClusterSpec, Engine, EngineError, FaultKind, GuardianCommand, guardian_main};
use metricstream_scenario::{Controllers, Profile, Topology};

const DEADLINE: Duration = Duration::from_secs(120);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["guardian", ..] => guardian_main(std::env::args_os().skip(2)),
        ["hold", folder] => {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            if let Err(error) = runtime.block_on(hold(folder.into())) {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        _ => {
            eprintln!("usage: engine-harness hold FOLDER");
            std::process::exit(2);
        }
    }
}

/// Starts one node, pauses it (a stopped process must not survive either), prints its pid and port, and waits.
async fn hold(folder: PathBuf) -> Result<(), EngineError> {
    let topology = Topology {
        brokers: 1,
        controllers: Controllers::Combined,
        profile: Profile::Fast,
        broker_config: BTreeMap::new(),
        topics: Vec::new(),
    };
    let guardian = GuardianCommand::of_this_program("guardian")?;
    let spec = ClusterSpec::new("held", &topology, folder.join("data"), folder.join("logs"), guardian);
    let engine = Engine::start_kafka(spec, Wanted::from_env(None), Arc::new(|_: &str| {}), DEADLINE).await?;
    engine.fault(FaultKind::Pause, 1).await?;
    for node in engine.nodes() {
        println!("{} {}", node.pid.unwrap_or_default(), node.port);
    }
    let _ = std::io::stdout().flush();
    std::future::pending().await
}
