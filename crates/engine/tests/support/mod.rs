//! What every test with a real Apache Kafka needs.
#![allow(dead_code)] // Every test program uses its own part of this.

pub(crate) mod dump;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use metricstream_engine::kafka::{Java, Wanted};
use metricstream_engine::{ClusterSpec, Engine, EngineError, GuardianCommand};
use metricstream_scenario::{Controllers, Profile, Topic, Topology};

pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Clusters are started one after the other: the machine's cores are what they are made of.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// Whether there is an Apache Kafka to run; looked for once.
static FOUND: OnceLock<Result<(), String>> = OnceLock::new();

/// Waits for this test's turn. `None`, with the reason on standard error, where there is no Kafka to test with; that is a
/// failure if `METRICSTREAM_REQUIRE_ALL` is set, as it is where all of the tests must have run.
pub(crate) async fn kafka(test: &str) -> Option<tokio::sync::MutexGuard<'static, ()>> {
    let turn = TURN.lock().await;
    let look = || Java::find().and_then(|_| Wanted::from_env(None).find_or_install(&|text| say(text)));
    match FOUND.get_or_init(|| look().map(|_| ()).map_err(|error| error.to_string())) {
        Ok(()) => Some(turn),
        Err(error) if std::env::var_os("METRICSTREAM_REQUIRE_ALL").is_some_and(|value| value == "1") => {
            panic!("{test} must not be skipped: {error}")
        }
        Err(error) => {
            say(&format!("SKIPPED: {test}: {error}"));
            None
        }
    }
}

/// Past the test harness, which keeps what tests that pass print.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub(crate) const fn harness() -> &'static str {
    env!("CARGO_BIN_EXE_engine-harness")
}

pub(crate) fn guardian() -> GuardianCommand {
    GuardianCommand { program: harness().into(), args: vec!["guardian".into()] }
}

/// A cluster below `folder`, in its profile for quick tests.
pub(crate) fn spec(folder: &Path, brokers: u32, controllers: Controllers) -> ClusterSpec {
    let topology =
        Topology { brokers, controllers, profile: Profile::Fast, broker_config: BTreeMap::new(), topics: Vec::new() };
    ClusterSpec::new("test", &topology, folder.join("data"), folder.join("logs"), guardian())
}

pub(crate) async fn start(spec: ClusterSpec) -> Result<Engine, EngineError> {
    Engine::start_kafka(spec, Wanted::from_env(None), Arc::new(say), DEADLINE).await
}

pub(crate) fn topic(name: &str, partitions: i32, replication_factor: i16) -> Topic {
    Topic {
        name: name.to_owned(),
        partitions,
        replication_factor,
        min_insync_replicas: 1,
        replicas: Vec::new(),
        config: BTreeMap::new(),
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn port_is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether a process is there, be it only a zombie.
pub(crate) fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::test_kill_process(pid).is_ok()
}
