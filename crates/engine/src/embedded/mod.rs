//! The embedded cluster: nodes of this process, truly replicated, with nothing installed. Started, broken and ended here;
//! what its nodes do is decided in `metricstream-cluster` and below.
//!
//! Where a run gives no data folder, nodes keep everything in memory: it outlives a node as a disk does, not the cluster.

mod log;
mod settings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metricstream_cluster::{Builder, Cluster, ClusterError, Flaws, Profile as Timers, Rule, Start};
use metricstream_scenario::{Controllers, Profile};
use tokio::sync::{mpsc, watch};

use crate::error::EngineError;
use crate::observation::{Observation, Observed};
use crate::spec::{ClusterSpec, FaultKind, Injected, LinkRule, NodeState, NodeStatus, Party, Role};
use crate::succession::Succession;
use log::NodeLogs;

pub use settings::fast;

/// What its protocol follows.
pub const PROTOCOL: &str = "4.1";
/// How the cluster below calls all clients.
const CLIENTS: i32 = 0;
/// Characters of why a node ended that are told, at most.
const WHY_MAX: usize = 1_024;

/// What is wanted beside the [`ClusterSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Decides everything that is drawn: where replicas go, and the waits of elections.
    pub seed: u64,
    /// Historic behaviours and seeded bugs that are switched on, by their words.
    pub flaws: Vec<String>,
}

/// Every flaw that can be switched on: its word, and what it does.
#[must_use]
pub const fn flaws() -> &'static [(&'static str, &'static str)] {
    Flaws::ALL
}

/// A running cluster. Clones are the same cluster; when the last is dropped, it is gone.
#[derive(Debug, Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cluster: Cluster,
    roles: BTreeMap<i32, Role>,
    states: Arc<Mutex<BTreeMap<i32, NodeState>>>,
    logs: Arc<NodeLogs>,
    logs_dir: PathBuf,
    flaws: Vec<String>,
    /// The first node that ended by itself, and why.
    ended: watch::Receiver<Option<(i32, String)>>,
    succession: Succession,
    seen: mpsc::Sender<Observation>,
    stopped: AtomicBool,
}

impl Embedded {
    /// Starts every node and waits until all brokers are unfenced. What happens to nodes is told to `seen`.
    ///
    /// # Errors
    /// If it cannot be what is wanted, a port is taken, a disk does not let a node start, or time runs out.
    pub async fn start(
        spec: &ClusterSpec,
        wanted: &Wanted,
        seen: mpsc::Sender<Observation>,
        deadline: Duration,
    ) -> Result<Self, EngineError> {
        let roles: BTreeMap<i32, Role> = spec.node_ids()?.into_iter().collect();
        let (mut builder, notes) = builder_of(spec, wanted)?;
        let names = roles.iter().map(|(id, role)| (*id, format!("{}-{id}.log", role.word())));
        let logs = Arc::new(NodeLogs::open(&spec.logs_dir, names)?);
        for text in notes {
            // The channel is new and empty.
            let _ = seen.try_send(Observation::now(Observed::Note(text)));
        }
        let states: BTreeMap<i32, NodeState> = roles.keys().map(|id| (*id, NodeState::Running)).collect();
        let states = Arc::new(Mutex::new(states));
        let (tell_end, ended) = watch::channel(None);
        let told = Arc::clone(&logs);
        builder = builder.on_event(move |id, event| told.event(id, &event));
        let (told, known, tell) = (Arc::clone(&logs), Arc::clone(&states), seen.clone());
        builder = builder.on_end(move |id, why| {
            told.line(id, "ERROR", why);
            lock(&known).insert(id, NodeState::Exited);
            tell_end.send_if_modified(|first| first.is_none() && first.replace((id, why.to_owned())).is_none());
            let status = why.chars().take(WHY_MAX).collect();
            let _ = tell.try_send(Observation::now(Observed::NodeExited { node: id, status, expected: false }));
        });
        let dir = &spec.logs_dir;
        let cluster = builder.patience(deadline).start().await.map_err(|error| error_of(error, &roles, dir))?;
        let (stopped, logs_dir, flaws) = (AtomicBool::new(false), spec.logs_dir.clone(), wanted.flaws.clone());
        let succession = Succession::new(cluster.controllers());
        let inner = Inner { cluster, roles, states, logs, logs_dir, flaws, ended, succession, seen, stopped };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Bootstrap addresses for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.inner.cluster.bootstrap()
    }

    /// The voters' addresses.
    #[must_use]
    pub fn controllers(&self) -> Vec<(i32, SocketAddr)> {
        self.inner.cluster.controllers()
    }

    /// The addresses of the brokers that run.
    #[must_use]
    pub fn running_brokers(&self) -> Vec<SocketAddr> {
        let states = lock(&self.inner.states);
        let brokers = self.inner.cluster.brokers().into_iter();
        brokers.filter(|(id, _)| states.get(id) == Some(&NodeState::Running)).map(|(_, at)| at).collect()
    }

    /// The flaws that are on.
    #[must_use]
    pub fn flaws(&self) -> &[String] {
        &self.inner.flaws
    }

    /// Every node as it is now.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeStatus> {
        let inner = &self.inner;
        let ports = |list: Vec<(i32, SocketAddr)>| list.into_iter().map(|(id, at)| (id, at.port()));
        // Of a node that is both, the broker's is the one that clients want.
        let mut all: BTreeMap<i32, u16> = ports(inner.cluster.controllers()).collect();
        all.extend(ports(inner.cluster.brokers()));
        let states = lock(&inner.states);
        let status = |(id, role): (&i32, &Role)| NodeStatus {
            id: *id,
            role: *role,
            state: states.get(id).copied().unwrap_or(NodeState::Stopped),
            pid: None,
            port: all.get(id).copied().unwrap_or(0),
            log_path: inner.logs_dir.join(format!("{}-{id}.log", role.word())),
        };
        inner.roles.iter().map(status).collect()
    }

    /// Carries out a fault. Stop and Kill are done when the node is gone, Start when it runs; a voter starts on a new disk
    /// only once the others follow another leader.
    ///
    /// # Errors
    /// If the node does not exist, is in a state that the fault does not fit, or the fault cannot be carried out.
    pub async fn fault(&self, kind: FaultKind, id: i32) -> Result<Injected, EngineError> {
        let inner = &self.inner;
        if inner.stopped.load(Ordering::SeqCst) {
            return Err(EngineError::Stopped);
        }
        if kind == FaultKind::StartReformatted {
            inner.check(kind, id, &lock(&inner.states))?;
            let runs = |other: i32| lock(&inner.states).get(&other) == Some(&NodeState::Running);
            inner.succession.wait(id, runs, &inner.seen).await;
        }
        let before = inner.enter(kind, id)?;
        inner.logs.line(id, "INFO", &format!("metricstream: this node is being {}", kind.participle()));
        let (cluster, at) = (&inner.cluster, Instant::now());
        let done = match kind {
            FaultKind::Kill => cluster.kill(id).await,
            FaultKind::Stop => cluster.stop(id).await,
            FaultKind::Pause => cluster.pause(id).await,
            FaultKind::Resume => cluster.resume(id).await,
            FaultKind::Start => cluster.start_node(id, Start::AsItWas).await,
            FaultKind::StartWiped => cluster.start_node(id, Start::Wiped).await,
            FaultKind::StartReformatted => cluster.start_node(id, Start::NewDisk).await,
        };
        match done {
            Ok(()) => {
                inner.leave(id, after(kind));
                Ok(Injected { at })
            }
            Err(ClusterError::Deadline { waited_ms, .. }) if kind == FaultKind::Stop => {
                let _ = cluster.kill(id).await;
                inner.leave(id, NodeState::Killed);
                let log = inner.log_path(id);
                Err(EngineError::StopTimedOut { node: id, deadline_s: waited_ms as f64 / 1e3, log })
            }
            Err(error) => {
                inner.leave(id, before);
                Err(error_of(error, &inner.roles, &inner.logs_dir))
            }
        }
    }

    /// Every link as these rules say; one that is not among them is as it was made.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn set_links(&self, rules: &[LinkRule]) -> Result<Injected, EngineError> {
        let inner = &self.inner;
        let mut all = BTreeMap::new();
        for rule in rules {
            for party in [rule.from, rule.to] {
                if let Party::Node(id) = party
                    && !inner.roles.contains_key(&id)
                {
                    return Err(inner.no_such_node(id));
                }
            }
            let bytes_per_s = rule.bytes_per_s.unwrap_or(0);
            let shape = Rule { delay: rule.delay, jitter: rule.jitter, bytes_per_s, cut: rule.cut };
            all.insert((party(rule.from), party(rule.to)), shape);
        }
        let at = Instant::now();
        inner.cluster.links().replace(all);
        Ok(Injected { at })
    }

    /// Comes back when a node has ended by itself, with what it said.
    pub async fn wait_ended(&self) -> EngineError {
        let mut ended = self.inner.ended.clone();
        let first = ended.wait_for(Option::is_some).await.ok().and_then(|first| first.clone());
        let Some((node, status)) = first else { return std::future::pending().await };
        let log = self.inner.log_path(node);
        EngineError::NodeEnded { node, status, tail: crate::kafka::tail(&log, 0), log }
    }

    /// Ends every node and waits until all are gone.
    pub async fn stop(&self) {
        let inner = &self.inner;
        if inner.stopped.swap(true, Ordering::SeqCst) {
            return;
        }
        for id in inner.roles.keys() {
            let _ = inner.cluster.kill(*id).await;
            inner.leave(*id, NodeState::Killed);
        }
        inner.logs.flush();
    }
}

impl Inner {
    /// The state of a node, if the fault fits it.
    fn check(&self, kind: FaultKind, id: i32, states: &BTreeMap<i32, NodeState>) -> Result<NodeState, EngineError> {
        let state = states.get(&id).copied().ok_or_else(|| self.no_such_node(id))?;
        if kind.allowed_in(state) {
            return Ok(state);
        }
        Err(EngineError::IllegalFault { node: id, fault: kind, state })
    }

    /// Changes the state if the fault fits it; returns the state before.
    fn enter(&self, kind: FaultKind, id: i32) -> Result<NodeState, EngineError> {
        let mut states = lock(&self.states);
        let before = self.check(kind, id, &states)?;
        let next = match kind {
            FaultKind::Stop => NodeState::Stopping,
            FaultKind::Start | FaultKind::StartWiped | FaultKind::StartReformatted => NodeState::Starting,
            FaultKind::Kill | FaultKind::Pause | FaultKind::Resume => after(kind),
        };
        states.insert(id, next);
        Ok(before)
    }

    /// What has become of it, unless it has ended by itself meanwhile.
    fn leave(&self, id: i32, state: NodeState) {
        let mut states = lock(&self.states);
        let ended = states.get(&id) == Some(&NodeState::Exited) && state == NodeState::Running;
        if !ended {
            states.insert(id, state);
        }
    }

    fn no_such_node(&self, node: i32) -> EngineError {
        let known: Vec<String> = self.roles.keys().map(i32::to_string).collect();
        EngineError::NoSuchNode { node, known: known.join(", ") }
    }

    fn log_path(&self, id: i32) -> PathBuf {
        let role = self.roles.get(&id).copied().unwrap_or(Role::Broker);
        self.logs_dir.join(format!("{}-{id}.log", role.word()))
    }
}

fn lock(states: &Mutex<BTreeMap<i32, NodeState>>) -> MutexGuard<'_, BTreeMap<i32, NodeState>> {
    states.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a node is when the fault is done.
const fn after(kind: FaultKind) -> NodeState {
    match kind {
        FaultKind::Kill => NodeState::Killed,
        FaultKind::Stop => NodeState::Stopped,
        FaultKind::Pause => NodeState::Paused,
        FaultKind::Resume | FaultKind::Start | FaultKind::StartWiped | FaultKind::StartReformatted => {
            NodeState::Running
        }
    }
}

const fn party(party: Party) -> i32 {
    match party {
        Party::Node(id) => id,
        Party::Clients => CLIENTS,
    }
}

/// What the cluster below is told, and what a user should know of it.
fn builder_of(spec: &ClusterSpec, wanted: &Wanted) -> Result<(Builder, Vec<String>), EngineError> {
    for folder in [&spec.base_dir, &spec.logs_dir] {
        if !folder.is_absolute() {
            return Err(EngineError::Path { path: folder.clone() });
        }
    }
    let (settings, mut notes) = settings::read(&spec.broker_config)?;
    let mut flaws = Flaws::default();
    for word in &wanted.flaws {
        if !flaws.switch_on(word) {
            let known: Vec<&str> = Flaws::ALL.iter().map(|(word, _)| *word).collect();
            let what = format!("there is no flaw {word}; there are {}", known.join(", "));
            return Err(EngineError::Setting { what, remedy: "name one of these" });
        }
        notes.push(format!("the flaw {word} is switched on"));
    }
    let timers = if spec.profile == Profile::Fast { Timers::Fast } else { Timers::Apache };
    let mut builder = Cluster::builder().profile(timers).seed(wanted.seed).flaws(flaws);
    builder = builder.brokers(i32::try_from(spec.brokers).unwrap_or(i32::MAX));
    if let Controllers::Separate(count) = spec.controllers {
        builder = builder.controllers(i32::try_from(count).unwrap_or(i32::MAX));
    }
    if spec.keep_data {
        builder = builder.data(&spec.base_dir);
    }
    if let Some(port) = spec.port {
        builder = builder.first_port(port);
    }
    for (name, value) in &settings {
        builder = builder.set(name, value);
    }
    Ok((builder, notes))
}

/// An error of the cluster below in the words of every engine.
fn error_of(error: ClusterError, roles: &BTreeMap<i32, Role>, logs: &std::path::Path) -> EngineError {
    let word = |id: &i32| roles.get(id).copied().unwrap_or(Role::Broker).word();
    match error {
        ClusterError::Listen { address, source } => {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
            EngineError::PortTaken { port, needed_for: "a node of the embedded cluster".to_owned(), source }
        }
        ClusterError::NoFreePort(none) => none.into(),
        ClusterError::Shape(what) => EngineError::Topology { what, remedy: "change the topology".to_owned() },
        ClusterError::Config(error) => settings::refused(&error),
        ClusterError::Boot { node, why } => {
            EngineError::DoesNotStart { node, why, log: logs.join(format!("{}-{node}.log", word(&node))) }
        }
        ClusterError::Store { path, source } => EngineError::Io { doing: "use the data in", path, source },
        ClusterError::NoNode(node) => {
            let known: Vec<String> = roles.keys().map(i32::to_string).collect();
            EngineError::NoSuchNode { node, known: known.join(", ") }
        }
        ClusterError::Deadline { what, waited_ms } => EngineError::NotReady {
            waited_s: waited_ms as f64 / 1e3,
            detail: format!("waited for {what}"),
            logs: logs.to_path_buf(),
        },
        other => EngineError::Topology { what: other.to_string(), remedy: "look at the nodes' logs".to_owned() },
    }
}
