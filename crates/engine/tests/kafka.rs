//! Real Apache Kafka: started, broken in every way, and left without a trace.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use metricstream_engine::observation::{Observation, Observed};
use metricstream_engine::{Engine, EngineError, FaultKind, NodeState, NodeStatus, Role};
use metricstream_scenario::{Controllers, Topic};
use rustix::process::{Pid, Signal, kill_process};
use support::{DEADLINE, exists, kafka, port_is_free, say, spec, start, topic, until};
use tokio::sync::mpsc::Receiver;

struct Story {
    engine: Engine,
    topics: Vec<Topic>,
    seen: Receiver<Observation>,
    folder: tempfile::TempDir,
}

impl Story {
    fn node(&self, id: i32) -> NodeStatus {
        self.engine.nodes().into_iter().find(|node| node.id == id).expect("a node")
    }

    fn pid(&self, id: i32) -> u32 {
        self.node(id).pid.expect("it runs")
    }

    fn on_disk(&self, id: i32, name: &str) -> std::path::PathBuf {
        self.folder.path().join(format!("data/node-{id}/data")).join(name)
    }

    async fn fault(&self, kind: FaultKind, id: i32) {
        self.engine.fault(kind, id).await.unwrap_or_else(|error| panic!("{kind:?} of node {id}: {error}"));
    }

    async fn illegal(&self, kind: FaultKind, id: i32, wanted: &str) {
        match self.engine.fault(kind, id).await {
            Err(error @ EngineError::IllegalFault { .. }) => {
                assert!(error.to_string().contains(wanted), "{error}");
            }
            other => panic!("{kind:?} of node {id} gave {other:?}"),
        }
    }

    async fn healthy(&self) {
        self.engine.wait_ready(&self.topics, DEADLINE).await.expect("healthy again");
    }

    /// The next end of a node's process that is told.
    async fn ended(&mut self) -> (i32, String, bool) {
        let next = async {
            loop {
                let observation = self.seen.recv().await.expect("the engine tells");
                if let Observed::NodeExited { node, status, expected } = observation.what {
                    return (node, status, expected);
                }
            }
        };
        tokio::time::timeout(DEADLINE, next).await.expect("an end is told")
    }

    async fn a_killed_node_is_gone_and_comes_back(&mut self) {
        let (pid, port) = (self.pid(2), self.node(2).port);
        self.fault(FaultKind::Kill, 2).await;
        assert!(!exists(pid) && port_is_free(port));
        assert_eq!((self.node(2).state, self.node(2).pid), (NodeState::Killed, None));
        let (node, status, expected) = self.ended().await;
        assert!(node == 2 && status.contains("signal: 9") && expected, "{node} {status} {expected}");
        self.illegal(FaultKind::Kill, 2, "Start it first").await;
        self.illegal(FaultKind::Resume, 2, "Only a paused node").await;
        self.fault(FaultKind::Start, 2).await;
        assert_ne!(self.pid(2), pid);
        self.healthy().await;
    }

    async fn a_paused_node_stands_still_and_can_be_resumed_or_killed(&mut self) {
        let pid = self.pid(3);
        self.fault(FaultKind::Pause, 3).await;
        until("the process to stand still", || !cfg!(target_os = "linux") || state_of(pid) == Some('T')).await;
        self.illegal(FaultKind::Stop, 3, "Resume it first").await;
        self.illegal(FaultKind::Pause, 3, "Resume it first").await;
        self.fault(FaultKind::Resume, 3).await;
        until("the process to go on", || !cfg!(target_os = "linux") || state_of(pid) != Some('T')).await;
        self.fault(FaultKind::Pause, 3).await;
        self.fault(FaultKind::Kill, 3).await;
        assert!(!exists(pid));
        assert_eq!(self.ended().await.0, 3);
        self.fault(FaultKind::Start, 3).await;
        self.healthy().await;
    }

    async fn a_stopped_node_shuts_down_in_order_and_comes_back_wiped(&mut self) {
        let identity = fs::read_to_string(self.on_disk(2, "meta.properties")).expect("identity");
        self.fault(FaultKind::Stop, 2).await;
        assert_eq!(self.node(2).state, NodeState::Stopped);
        let (node, status, expected) = self.ended().await;
        assert!(node == 2 && status.contains("143") && expected, "{node} {status} {expected}");
        assert!(self.on_disk(2, ".kafka_cleanshutdown").exists(), "a controlled shutdown leaves its mark");
        let metadata = self.on_disk(2, "__cluster_metadata-0/00000000000000000000.log");
        let before = fs::metadata(&metadata).expect("the metadata log").len();
        let marker = self.on_disk(2, "metrics-0/before-the-wipe");
        fs::write(&marker, "").expect("written");
        self.fault(FaultKind::StartWiped, 2).await;
        assert!(!marker.exists(), "partition logs are gone");
        assert!(fs::metadata(&metadata).expect("kept").len() >= before);
        assert_eq!(line(&identity, "directory.id"), self.directory_id(2));
        self.healthy().await;
        until("the wiped replica to be there again", || self.on_disk(2, "metrics-0").exists()).await;
    }

    /// The leader of the quorum, for which it matters what the others believe of it when it comes back with nothing.
    async fn the_quorums_leader_on_a_new_disk_rejoins(&mut self) {
        let (leader, epoch) = self.engine.image().controller.expect("a leader of the quorum");
        let before = self.directory_id(leader);
        let marker = self.on_disk(leader, "__cluster_metadata-0/of-the-old-disk");
        fs::write(&marker, "").expect("written");
        self.fault(FaultKind::Kill, leader).await;
        assert_eq!(self.ended().await.0, leader);
        self.fault(FaultKind::StartReformatted, leader).await;
        assert!(!marker.exists(), "its vote is gone too");
        assert_ne!(self.directory_id(leader), before);
        let mut images = self.engine.watch_image();
        let elected = images.wait_for(|image| image.controller.is_some_and(|(id, of)| id != leader && of > epoch));
        tokio::time::timeout(DEADLINE, elected).await.expect("another leader").expect("observed");
        self.healthy().await;
    }

    fn directory_id(&self, id: i32) -> String {
        line(&fs::read_to_string(self.on_disk(id, "meta.properties")).expect("identity"), "directory.id")
    }

    async fn a_node_that_ends_by_itself_is_noticed(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.pid(3)).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::KILL).expect("killed behind the engine's back");
        let (node, status, expected) = self.ended().await;
        assert!(node == 3 && status.contains("signal: 9") && !expected, "{node} {status} {expected}");
        assert_eq!(self.node(3).state, NodeState::Exited);
        match self.engine.wait_ready(&self.topics, DEADLINE).await {
            Err(error @ EngineError::NodeEnded { node: 3, .. }) => {
                assert!(error.to_string().contains("broker-3.log"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        self.fault(FaultKind::Start, 3).await;
        self.healthy().await;
    }
}

fn line(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    line.unwrap_or_else(|| panic!("{name} in {text}")).to_owned()
}

/// The letter by which the kernel names a process's state.
fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

fn assert_nothing_left(nodes: &[NodeStatus], folder: &Path) {
    for node in nodes {
        assert!(node.pid.is_none_or(|pid| !exists(pid)), "{node:?} is left");
        assert!(port_is_free(node.port), "the port of {node:?} is left");
    }
    assert!(!folder.join("data").exists(), "the data is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_combined_nodes_live_through_every_fault() {
    let Some(_turn) = kafka("three_combined_nodes_live_through_every_fault").await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let begun = Instant::now();
    let mut wanted = spec(folder.path(), 3, Controllers::Combined);
    // Voters believe in a leader that is gone for longer than it takes to come back on a new disk.
    wanted.broker_config.insert("controller.quorum.fetch.timeout.ms".into(), "8000".into());
    let engine = start(wanted).await.expect("started");
    let topics = vec![topic("metrics", 6, 3)];
    engine.create_topics(&topics).await.expect("created");
    engine.wait_ready(&topics, DEADLINE).await.expect("ready");
    say(&format!("three nodes ready with a topic after {:.1} s", begun.elapsed().as_secs_f64()));
    let again = engine.create_topics(&topics).await.expect_err("it exists").to_string();
    assert!(again.contains("metrics"), "{again}");
    let controller = engine.active_controller().await.expect("asked").expect("there is one");
    assert!((1..=3).contains(&controller));
    let unknown = engine.fault(FaultKind::Kill, 7).await.expect_err("no such node").to_string();
    assert!(unknown.contains("no node 7") && unknown.contains("1, 2, 3"), "{unknown}");

    let seen = engine.observations().expect("the first");
    let mut story = Story { engine, topics, seen, folder };
    story.illegal(FaultKind::Start, 1, "Kill or stop it first").await;
    story.a_killed_node_is_gone_and_comes_back().await;
    story.a_paused_node_stands_still_and_can_be_resumed_or_killed().await;
    story.a_stopped_node_shuts_down_in_order_and_comes_back_wiped().await;
    story.the_quorums_leader_on_a_new_disk_rejoins().await;
    story.a_node_that_ends_by_itself_is_noticed().await;

    // A paused node is no hindrance, and a stopped engine is done.
    story.fault(FaultKind::Pause, 2).await;
    let nodes = story.engine.nodes();
    let begun = Instant::now();
    story.engine.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_nothing_left(&nodes, story.folder.path());
    assert!(matches!(story.engine.fault(FaultKind::Start, 2).await, Err(EngineError::Stopped)));
    assert!(story.folder.path().join("logs/broker-2.log").exists(), "logs stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_of_their_own_on_explicit_ports_and_nothing_left_after_a_drop() {
    let Some(_turn) = kafka("controllers_of_their_own_on_explicit_ports_and_nothing_left_after_a_drop").await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let port = (20_000..30_000).step_by(7).find(|port| port_is_free(*port) && port_is_free(port + 1)).expect("free");
    let mut wanted = spec(folder.path(), 2, Controllers::Separate(1));
    wanted.port = Some(port);
    let engine = start(wanted.clone()).await.expect("started");
    let nodes = engine.nodes();
    let roles: Vec<(i32, Role)> = nodes.iter().map(|node| (node.id, node.role)).collect();
    assert_eq!(roles, [(1, Role::Broker), (2, Role::Broker), (101, Role::Controller)]);
    assert_eq!((nodes[0].port, nodes[1].port), (port, port + 1));
    assert_eq!(engine.bootstrap(), format!("127.0.0.1:{port},127.0.0.1:{}", port + 1));
    assert_eq!(engine.active_controller().await.expect("asked"), Some(101));
    let topics = [topic("metrics", 3, 2)];
    engine.create_topics(&topics).await.expect("created");
    engine.wait_ready(&topics, DEADLINE).await.expect("ready");

    wanted.base_dir = folder.path().join("other");
    match start(wanted).await {
        Err(error @ EngineError::PortTaken { .. }) => {
            assert!(error.to_string().contains(&port.to_string()), "{error}")
        }
        other => panic!("{other:?}"),
    }
    assert!(!folder.path().join("other").exists());

    engine.fault(FaultKind::Kill, 101).await.expect("killed");
    engine.fault(FaultKind::Start, 101).await.expect("started");
    engine.wait_ready(&topics, DEADLINE).await.expect("ready");
    let nodes = engine.nodes();
    drop(engine);
    assert_nothing_left(&nodes, folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_keeps_its_data_when_told_to_and_says_why_it_does_not_start() {
    let Some(_turn) = kafka("one_node_keeps_its_data_when_told_to_and_says_why_it_does_not_start").await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut wanted = spec(folder.path(), 1, Controllers::Combined);
    wanted.keep_data = true;
    let topics = [topic("kept", 1, 1)];
    let engine = start(wanted.clone()).await.expect("started");
    engine.create_topics(&topics).await.expect("created");
    engine.wait_ready(&topics, DEADLINE).await.expect("ready");
    // Metadata is known before its effect on the disk.
    let kept = folder.path().join("data/node-1/data/kept-0");
    until("the partition to be on disk", || kept.exists()).await;
    engine.stop().await;
    assert!(kept.exists());
    let engine = start(wanted.clone()).await.expect("started on the old data");
    engine.wait_ready(&topics, DEADLINE).await.expect("the topic is still there");
    engine.stop().await;

    wanted.broker_config.insert("broker.session.timeout.ms".into(), "soon".into());
    match start(wanted.clone()).await {
        Err(error @ EngineError::NodeEnded { .. }) => {
            assert!(error.to_string().contains("broker.session.timeout.ms"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    // Data that is not this cluster's to delete.
    wanted.keep_data = false;
    assert!(matches!(start(wanted).await, Err(EngineError::ForeignData { .. })));
    assert!(kept.exists());
}

struct Owner {
    child: Child,
    node: u32,
    port: u16,
}

fn owner(folder: &Path) -> Owner {
    let mut child = Command::new(support::harness())
        .arg("hold")
        .arg(folder)
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .expect("the harness starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it speaks");
    let (node, port) = line.trim().split_once(' ').expect("pid and port");
    Owner { child, node: node.parse().expect("a pid"), port: port.parse().expect("a port") }
}

/// The guardian that a process has started: its child that is no node.
fn guardian_of(owner: &Owner) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", owner.child.id())).unwrap_or_default();
    let of_other_threads = fs::read_dir(format!("/proc/{}/task", owner.child.id()))
        .ok()?
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let all: Vec<u32> = of_other_threads
        .chain([children])
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    all.into_iter().find(|pid| *pid != owner.node)
}

async fn assert_owner_left_nothing(mut owner: Owner, folder: &Path) {
    owner.child.wait().expect("waited");
    until("the node to be gone", || !exists(owner.node)).await;
    until("its port to be free", || port_is_free(owner.port)).await;
    assert!(folder.join("logs/broker-1.log").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_when_the_owner_is_killed() {
    let Some(_turn) = kafka("nothing_is_left_when_the_owner_is_killed").await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut held = owner(folder.path());
    assert!(exists(held.node) && !port_is_free(held.port));
    held.child.kill().expect("killed with SIGKILL");
    assert_owner_left_nothing(held, folder.path()).await;
    until("the data to be gone", || !folder.path().join("data").exists()).await;
}

/// The kernel's part: `pkill -9` of everything with our name takes the guardian as well.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_when_owner_and_guardian_are_killed_together() {
    let Some(_turn) = kafka("nothing_is_left_when_owner_and_guardian_are_killed_together").await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut held = owner(folder.path());
    let guardian = guardian_of(&held).and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).expect("a guardian");
    kill_process(guardian, Signal::KILL).expect("killed");
    held.child.kill().expect("killed");
    assert_owner_left_nothing(held, folder.path()).await;
}
