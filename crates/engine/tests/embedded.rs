//! The embedded cluster behind the facade that every engine has: the same observer reads its metadata log.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use metricstream_engine::embedded::{self, Wanted};
use metricstream_engine::observation::{Observation, Observed};
use metricstream_engine::{
    ClusterSpec, Engine, EngineError, FaultKind, GuardianCommand, LinkRule, NodeState, Party, Role,
};
use metricstream_scenario::{Controllers, Profile, Topic, Topology};
use tokio::sync::mpsc::Receiver;

const DEADLINE: Duration = Duration::from_secs(30);

fn topic() -> Topic {
    Topic {
        name: "metrics".to_owned(),
        partitions: 3,
        replication_factor: 3,
        min_insync_replicas: 2,
        replicas: Vec::new(),
        config: BTreeMap::new(),
    }
}

fn spec(dir: &Path, profile: Profile, config: &[(&str, &str)]) -> ClusterSpec {
    let mut broker_config: BTreeMap<String, String> =
        config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    if profile == Profile::Fast {
        broker_config.extend(embedded::fast());
    }
    let topology =
        Topology { brokers: 3, controllers: Controllers::Combined, profile, broker_config, topics: vec![topic()] };
    // Nothing of it is a process, so nothing of it needs a guardian.
    let guardian = GuardianCommand::of_this_program("__guardian").expect("this program");
    ClusterSpec::new("story", &topology, dir.join("data"), dir.join("logs"), guardian)
}

async fn start(spec: &ClusterSpec) -> Engine {
    Engine::start_embedded(spec, &Wanted { seed: 7, flaws: Vec::new() }, DEADLINE).await.expect("it starts")
}

/// Waits for an observation that fits; what came before is lost.
async fn see(seen: &mut Receiver<Observation>, what: &str, fits: impl Fn(&Observed) -> bool) -> Observed {
    let look = async {
        loop {
            let observation = seen.recv().await.expect("observed for as long as the engine lives");
            if fits(&observation.what) {
                return observation.what;
            }
        }
    };
    tokio::time::timeout(DEADLINE, look).await.unwrap_or_else(|_| panic!("never seen: {what}"))
}

fn led_by_another(victim: i32) -> impl Fn(&Observed) -> bool {
    move |what| matches!(what, Observed::Partition { leader, leader_epoch, .. } if *leader != victim && *leader_epoch > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_killed_and_the_observer_reads_its_successor_from_the_metadata_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = start(&spec(dir.path(), Profile::Fast, &[])).await;
    let mut seen = engine.observations().expect("nobody took them");
    engine.create_topics(&[topic()]).await.expect("created");
    engine.wait_ready(&[topic()], DEADLINE).await.expect("ready");
    see(&mut seen, "the active controller", |what| matches!(what, Observed::Controller { .. })).await;
    see(&mut seen, "the topic", |what| matches!(what, Observed::Partition { .. })).await;
    let mut images = engine.watch_image();
    let ready = images.wait_for(|image| image.partitions.len() >= 3).await.expect("observed").clone();
    let victim = ready.partitions[&("metrics".to_owned(), 0)].leader;
    engine.fault(FaultKind::Kill, victim).await.expect("killed");
    see(&mut seen, "the fencing", |what| matches!(what, Observed::BrokerFenced { broker, .. } if *broker == victim))
        .await;
    see(&mut seen, "another leader", led_by_another(victim)).await;
    let state = |engine: &Engine| engine.nodes().iter().find(|node| node.id == victim).expect("known").state;
    assert_eq!(state(&engine), NodeState::Killed);
    let twice = engine.fault(FaultKind::Kill, victim).await.expect_err("it is gone");
    assert!(matches!(twice, EngineError::IllegalFault { .. }), "{twice}");
    engine.fault(FaultKind::Start, victim).await.expect("started");
    engine.wait_ready(&[topic()], DEADLINE).await.expect("every ISR is full again");
    assert_eq!(state(&engine), NodeState::Running);
    let status = engine.nodes();
    assert!(status.iter().all(|node| node.role == Role::Combined && node.pid.is_none() && node.port > 0));
    engine.stop().await;
    let log = std::fs::read_to_string(&status[0].log_path).expect("a log of its own");
    assert!(log.contains("active controller") || log.contains("quorum"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_paused_nodes_come_back_and_a_stopped_one_was_not_missed() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = start(&spec(dir.path(), Profile::Fast, &[])).await;
    let mut seen = engine.observations().expect("nobody took them");
    engine.create_topics(&[topic()]).await.expect("created");
    engine.wait_ready(&[topic()], DEADLINE).await.expect("ready");
    engine.fault(FaultKind::Stop, 2).await.expect("stopped in order");
    see(&mut seen, "it asked to stop", |what| matches!(what, Observed::BrokerShuttingDown { broker: 2, .. })).await;
    engine.fault(FaultKind::StartWiped, 2).await.expect("started without its logs");
    engine.wait_ready(&[topic()], DEADLINE).await.expect("it fetched everything anew");
    engine.fault(FaultKind::Pause, 3).await.expect("paused");
    see(&mut seen, "it is fenced", |what| matches!(what, Observed::BrokerFenced { broker: 3, .. })).await;
    engine.fault(FaultKind::Resume, 3).await.expect("resumed");
    engine.wait_ready(&[topic()], DEADLINE).await.expect("it caught up");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quorums_leader_comes_back_on_a_new_disk_once_another_one_leads() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = start(&spec(dir.path(), Profile::Apache, &[])).await;
    let mut seen = engine.observations().expect("nobody took them");
    engine.create_topics(&[topic()]).await.expect("created");
    engine.wait_ready(&[topic()], DEADLINE).await.expect("ready");
    let mut images = engine.watch_image();
    let known = images.wait_for(|image| image.controller.is_some()).await.expect("observed").controller;
    let (leader, epoch) = known.expect("a leader");
    engine.fault(FaultKind::Kill, leader).await.expect("killed");
    engine.fault(FaultKind::StartReformatted, leader).await.expect("started on a new disk");
    let another =
        |what: &Observed| matches!(what, Observed::Controller { node, epoch: of } if *node != leader && *of > epoch);
    see(&mut seen, "another leader of the quorum", another).await;
    engine.wait_ready(&[topic()], DEADLINE).await.expect("it fetched everything anew");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_cut_off_without_a_word_is_replaced_and_returns_when_the_link_is_mended() {
    let dir = tempfile::tempdir().expect("a folder");
    let engine = start(&spec(dir.path(), Profile::Fast, &[])).await;
    assert!(engine.capabilities().links && engine.capabilities().faults);
    let mut seen = engine.observations().expect("nobody took them");
    engine.create_topics(&[topic()]).await.expect("created");
    engine.wait_ready(&[topic()], DEADLINE).await.expect("ready");
    let cut = |from: i32, to: i32| LinkRule {
        from: Party::Node(from),
        to: Party::Node(to),
        cut: true,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        bytes_per_s: None,
    };
    engine.set_links(&[cut(1, 2), cut(2, 1), cut(2, 3), cut(3, 2)]).expect("cut");
    see(&mut seen, "it is fenced", |what| matches!(what, Observed::BrokerFenced { broker: 2, .. })).await;
    see(&mut seen, "others lead", led_by_another(2)).await;
    engine.set_links(&[]).expect("mended");
    see(&mut seen, "it is back", |what| matches!(what, Observed::BrokerUnfenced { broker: 2, .. })).await;
    engine.wait_ready(&[topic()], DEADLINE).await.expect("every ISR is full again");
    let nobody = engine.set_links(&[cut(1, 9)]).expect_err("there is no node 9");
    assert!(matches!(nobody, EngineError::NoSuchNode { node: 9, .. }), "{nobody}");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_started_again_on_its_files_has_its_topics_still() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut spec = spec(dir.path(), Profile::Fast, &[]);
    spec.keep_data = true;
    let engine = start(&spec).await;
    engine.create_topics(&[topic()]).await.expect("created");
    engine.wait_ready(&[topic()], DEADLINE).await.expect("ready");
    engine.stop().await;
    let again = start(&spec).await;
    again.wait_ready(&[topic()], DEADLINE).await.expect("the topic is there");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_cannot_have_is_refused_by_name_and_what_means_nothing_is_noted() {
    let dir = tempfile::tempdir().expect("a folder");
    let wanted = Wanted { seed: 1, flaws: Vec::new() };
    let throttled = spec(dir.path(), Profile::Apache, &[("leader.replication.throttled.rate", "1000")]);
    let error = Engine::start_embedded(&throttled, &wanted, DEADLINE).await.expect_err("not read here");
    assert!(matches!(&error, EngineError::Setting { what, .. } if what.contains("leader.replication.throttled.rate")));
    let flawed = Wanted { seed: 1, flaws: vec!["no-such-flaw".to_owned()] };
    let plain = spec(dir.path(), Profile::Fast, &[("num.network.threads", "8")]);
    let error = Engine::start_embedded(&plain, &flawed, DEADLINE).await.expect_err("no such flaw");
    assert!(error.to_string().contains("no-such-flaw") && error.to_string().contains("no-maximal-isr"), "{error}");
    let flawed = Wanted { seed: 1, flaws: vec!["no-pre-vote".to_owned()] };
    let engine = Engine::start_embedded(&plain, &flawed, DEADLINE).await.expect("it starts");
    assert_eq!(engine.flaws(), ["no-pre-vote"]);
    let mut seen = engine.observations().expect("nobody took them");
    let told = |part: &'static str| move |what: &Observed| matches!(what, Observed::Note(text) if text.contains(part));
    see(&mut seen, "the setting", told("num.network.threads")).await;
    see(&mut seen, "the flaw", told("no-pre-vote")).await;
    engine.stop().await;
}
