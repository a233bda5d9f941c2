//! A cluster of Apache Kafka nodes: started together, broken one by one, left without a trace.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metricstream_cluster::ports::{self, NoFreePort, Port, Ports};
use rustix::process::Signal;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::error::EngineError;
use crate::guardian::Guardian;
use crate::kafka::config::{Listener, addresses, server_properties};
use crate::kafka::install::{Installed, Wanted};
use crate::kafka::java::Java;
use crate::kafka::jvm::{Machine, STARTED, configure};
use crate::kafka::process::{Process, end_of, tail, text_from};
use crate::kafka::{Progress, format};
use crate::observation::{Observation, Observed};
use crate::spec::{ClusterSpec, FaultKind, Injected, NodeState, NodeStatus, Role};
use crate::succession::Succession;

/// How long a controlled shutdown may take before the process is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// How long a killed process may take to be gone: the kernel frees a few hundred MB.
const KILL_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(25);

/// A running cluster. Clones are the same cluster; when the last is dropped, its processes are killed.
#[derive(Debug, Clone)]
pub struct KafkaCluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    spec: ClusterSpec,
    version: String,
    java_version: String,
    machine: Machine,
    bootstrap_checkpoint: Vec<u8>,
    cluster_id: String,
    listeners: Vec<Listener>,
    /// Of every listener, also of nodes that are down.
    _ports: Vec<Port>,
    nodes: BTreeMap<i32, Arc<Node>>,
    succession: Succession,
    guardian: Arc<Guardian>,
    /// Folders that go when the cluster goes.
    temporary: Vec<PathBuf>,
    stopped: AtomicBool,
    seen: mpsc::Sender<Observation>,
    runtime: Handle,
}

#[derive(Debug)]
struct Node {
    listener: Listener,
    folder: PathBuf,
    log: PathBuf,
    status: Mutex<Status>,
}

#[derive(Debug)]
struct Status {
    state: NodeState,
    process: Option<Arc<Process>>,
    /// How the last process that ended by itself did.
    exit: Option<ExitStatus>,
    /// Length of the log when the present process was started.
    log_from: u64,
}

impl KafkaCluster {
    /// [`prepare`](Self::prepare) and [`launch`](Self::launch) in one, for whom the log of each node is enough to see
    /// what happens to it.
    ///
    /// # Errors
    /// Whatever stands in the way; nothing is left running then.
    pub async fn start(
        spec: ClusterSpec,
        wanted: Wanted,
        progress: Arc<Progress>,
        deadline: Duration,
    ) -> Result<Self, EngineError> {
        let (seen, _) = mpsc::channel(1);
        let cluster = Self::prepare(spec, wanted, progress, seen).await?;
        cluster.launch(deadline).await?;
        Ok(cluster)
    }

    /// Installs Kafka if need be and prepares every node; none runs yet. What happens to them is told to `seen`.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub async fn prepare(
        spec: ClusterSpec,
        mut wanted: Wanted,
        progress: Arc<Progress>,
        seen: mpsc::Sender<Observation>,
    ) -> Result<Self, EngineError> {
        let runtime = Handle::current();
        wanted.guardian.get_or_insert_with(|| spec.guardian.clone());
        let prepared = runtime.clone().spawn_blocking(move || Inner::new(spec, &wanted, &*progress, seen, runtime));
        Ok(Self { inner: Arc::new(prepared.await.map_err(|_| EngineError::Stopped)??) })
    }

    /// Starts every node and waits until each says that it has started.
    ///
    /// # Errors
    /// If one does not, or not before the deadline.
    pub async fn launch(&self, deadline: Duration) -> Result<(), EngineError> {
        for node in self.inner.nodes.keys() {
            self.fault(FaultKind::Start, *node).await?;
        }
        self.wait_started(deadline).await
    }

    /// The brokers' addresses.
    #[must_use]
    pub fn brokers(&self) -> Vec<SocketAddr> {
        self.inner.listeners.iter().filter_map(Listener::broker_address).collect()
    }

    /// The addresses of the brokers that run.
    #[must_use]
    pub fn running_brokers(&self) -> Vec<SocketAddr> {
        let running = self.inner.nodes.values().filter(|node| node.state() == NodeState::Running);
        running.filter_map(|node| node.listener.broker_address()).collect()
    }

    /// Bootstrap addresses for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        addresses(&self.inner.listeners, |node| node.broker_port)
    }

    /// The voters' addresses.
    #[must_use]
    pub fn controllers(&self) -> Vec<(i32, SocketAddr)> {
        self.inner.listeners.iter().filter_map(Listener::controller_address).collect()
    }

    /// Version of Apache Kafka.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// Version of Java.
    #[must_use]
    pub fn java_version(&self) -> &str {
        &self.inner.java_version
    }

    /// The cluster's random id.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.inner.cluster_id
    }

    /// Every node as it is now.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.inner.nodes.values().map(|node| node.snapshot()).collect()
    }

    /// Carries out a fault. Stop and Kill are done when the process is gone, Start when it runs; a voter starts on a new disk
    /// only once the others follow another leader.
    ///
    /// # Errors
    /// If the node does not exist, is in a state that the fault does not fit, or the fault cannot be carried out.
    pub async fn fault(&self, kind: FaultKind, id: i32) -> Result<Injected, EngineError> {
        if self.inner.stopped.load(Ordering::SeqCst) {
            return Err(EngineError::Stopped);
        }
        let Some(node) = self.inner.nodes.get(&id) else {
            let known: Vec<String> = self.inner.nodes.keys().map(i32::to_string).collect();
            return Err(EngineError::NoSuchNode { node: id, known: known.join(", ") });
        };
        match kind {
            FaultKind::Kill => node.kill().await,
            FaultKind::Stop => node.stop().await,
            FaultKind::Pause => node.signal(kind, Signal::STOP, NodeState::Paused).map(|(at, _)| Injected { at }),
            FaultKind::Resume => node.signal(kind, Signal::CONT, NodeState::Running).map(|(at, _)| Injected { at }),
            FaultKind::Start | FaultKind::StartWiped | FaultKind::StartReformatted => {
                if kind == FaultKind::StartReformatted {
                    node.check(kind)?;
                    self.inner.wait_for_successor(id).await;
                }
                // To its end even if nobody waits for it any more: a node is never left half started.
                let (inner, node) = (Arc::clone(&self.inner), Arc::clone(node));
                let started = self.inner.runtime.spawn_blocking(move || inner.start_node(&node, kind));
                started.await.map_err(|_| EngineError::Stopped)?
            }
        }
    }

    /// Waits until every node that is meant to run says that it has started, which it does when it is unfenced.
    ///
    /// # Errors
    /// If one ends instead, or the deadline passes.
    pub async fn wait_started(&self, deadline: Duration) -> Result<(), EngineError> {
        let begun = Instant::now();
        let mut waiting: Vec<(&Arc<Node>, u64)> =
            self.inner.nodes.values().map(|node| (node, node.status().log_from)).collect();
        loop {
            let mut still = Vec::new();
            for (node, from) in waiting {
                match node.state() {
                    NodeState::Exited => return Err(node.ended_error()),
                    NodeState::Running | NodeState::Starting => {
                        let text = text_from(&node.log, from);
                        if !text.contains(STARTED) {
                            // Whole lines are not read again.
                            still.push((node, from + text.rfind('\n').map_or(0, |at| at as u64 + 1)));
                        }
                    }
                    _ => {}
                }
            }
            if still.is_empty() {
                return Ok(());
            }
            if begun.elapsed() >= deadline {
                let ids: Vec<String> = still.iter().map(|(node, _)| node.listener.id.to_string()).collect();
                return Err(EngineError::NotReady {
                    waited_s: deadline.as_secs_f64(),
                    detail: format!("node {} had not started", ids.join(", ")),
                    logs: self.inner.spec.logs_dir.clone(),
                });
            }
            waiting = still;
            sleep(POLL).await;
        }
    }

    /// Comes back when a node has ended by itself, with what its log says.
    pub async fn wait_ended(&self) -> EngineError {
        loop {
            if let Some(node) = self.inner.nodes.values().find(|node| node.state() == NodeState::Exited) {
                return node.ended_error();
            }
            sleep(POLL).await;
        }
    }

    /// Kills every node and waits until all are gone; the data goes too, unless it is to be kept.
    pub async fn stop(&self) {
        let inner = Arc::clone(&self.inner);
        let _ = self.inner.runtime.spawn_blocking(move || inner.shut_down()).await;
    }
}

impl Inner {
    /// Everything that must be there before a process starts. Blocks.
    fn new(
        spec: ClusterSpec,
        wanted: &Wanted,
        progress: &Progress,
        seen: mpsc::Sender<Observation>,
        runtime: Handle,
    ) -> Result<Self, EngineError> {
        let ids = spec.node_ids()?;
        // Before anything takes long: that one is taken is said at once.
        let (listeners, ports) = choose_ports(&ids, spec.port)?;
        let java = Java::find()?;
        let java_version = java.version.clone();
        let kafka: Installed = wanted.find_or_install(progress)?;
        progress("starting the cluster");
        for folder in [&spec.base_dir, &spec.logs_dir] {
            if !folder.is_absolute() {
                return Err(EngineError::Path { path: folder.clone() });
            }
        }
        let guardian = Arc::new(Guardian::start(&spec.guardian)?);
        let temporary = make_folders(&spec, &ids, &guardian)?;
        let bootstrap_checkpoint = format::bootstrap_checkpoint(&java, &kafka)?;
        let cluster_id = existing_cluster(&spec, &ids)?.map_or_else(format::random_id, Ok)?;
        let mut machine = Machine::new(java, &kafka, spec.jvm)?;
        if let Err(error) = machine.use_archive(&kafka, &bootstrap_checkpoint, &guardian, progress) {
            progress(&format!("{error}; nodes start more slowly without it"));
        }
        let mut nodes = BTreeMap::new();
        for listener in &listeners {
            let node = Node::new(listener, &spec);
            format::prepare(&node.data(), &cluster_id, listener.id, &bootstrap_checkpoint)?;
            configure(&node.folder, &server_properties(listener, &listeners, &node.data(), &spec.broker_config)?)?;
            nodes.insert(listener.id, Arc::new(node));
        }
        let succession = Succession::new(listeners.iter().filter_map(Listener::controller_address));
        let version = kafka.version;
        let stopped = AtomicBool::new(false);
        Ok(Self {
            spec,
            version,
            java_version,
            machine,
            bootstrap_checkpoint,
            cluster_id,
            listeners,
            _ports: ports,
            nodes,
            succession,
            guardian,
            temporary,
            stopped,
            seen,
            runtime,
        })
    }

    /// Blocks for milliseconds, longer where much is deleted.
    fn start_node(&self, node: &Arc<Node>, kind: FaultKind) -> Result<Injected, EngineError> {
        let before = node.enter(kind, NodeState::Starting)?;
        let started = self.prepare_disk(node, kind).and_then(|()| {
            self.runtime.block_on(node.check_ports())?;
            let log_from = fs::metadata(&node.log).map_or(0, |meta| meta.len());
            let name = format!("{}-{}", node.listener.role.word(), node.listener.id);
            let launch = self.machine.launch(name, &node.folder, &node.log);
            // Locked until it is known to others: whoever shuts down after this sees it, whoever did before is seen here.
            let mut status = node.status();
            if self.stopped.load(Ordering::SeqCst) {
                return Err(EngineError::Stopped);
            }
            let process = Arc::new(Process::spawn(&launch, &self.guardian)?);
            let at = Instant::now();
            *status = Status { state: NodeState::Running, process: Some(Arc::clone(&process)), exit: None, log_from };
            drop(status);
            self.runtime.spawn(watch(Arc::clone(node), process, self.seen.clone()));
            Ok(Injected { at })
        });
        if started.is_err() {
            node.status().state = before;
        }
        started
    }

    async fn wait_for_successor(&self, id: i32) {
        let runs = |other: i32| self.nodes.get(&other).is_some_and(|node| node.state() == NodeState::Running);
        self.succession.wait(id, runs, &self.seen).await;
    }

    fn prepare_disk(&self, node: &Node, kind: FaultKind) -> Result<(), EngineError> {
        match kind {
            FaultKind::StartWiped => format::wipe(&node.data()),
            FaultKind::StartReformatted => {
                format::format(&node.data(), &self.cluster_id, node.listener.id, &self.bootstrap_checkpoint)
            }
            _ => Ok(()),
        }
    }

    /// Blocks until nothing is left. A second call waits for nothing.
    fn shut_down(&self) {
        if self.stopped.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut processes = Vec::new();
        for node in self.nodes.values() {
            let mut status = node.status();
            if matches!(status.state, NodeState::Running | NodeState::Paused | NodeState::Stopping) {
                status.state = NodeState::Killed;
            }
            processes.extend(status.process.take());
        }
        for process in &processes {
            let _ = process.signal(Signal::KILL);
        }
        for process in processes {
            process.kill_and_wait(KILL_DEADLINE);
        }
        // Deletes the temporary folders as well; again here, should somebody have killed the guardian.
        self.guardian.dismiss();
        for folder in &self.temporary {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Notices the end of a process and tells of it.
async fn watch(node: Arc<Node>, process: Arc<Process>, seen: mpsc::Sender<Observation>) {
    let exit = end_of(process.ended()).await;
    let expected = node.process_ended(&process, exit);
    let (node, status) = (node.listener.id, exit.to_string());
    let _ = seen.send(Observation::now(Observed::NodeExited { node, status, expected })).await;
}

impl Node {
    fn new(listener: &Listener, spec: &ClusterSpec) -> Self {
        let log = spec.logs_dir.join(format!("{}-{}.log", listener.role.word(), listener.id));
        let status = Status { state: NodeState::Stopped, process: None, exit: None, log_from: 0 };
        Self { listener: *listener, folder: node_folder(spec, listener.id), log, status: Mutex::new(status) }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> NodeState {
        self.status().state
    }

    fn snapshot(&self) -> NodeStatus {
        let status = self.status();
        let Listener { id, role, broker_port, controller_port } = self.listener;
        NodeStatus {
            id,
            role,
            state: status.state,
            pid: status.process.as_ref().map(|process| process.pid()),
            port: broker_port.or(controller_port).unwrap_or(0),
            log_path: self.log.clone(),
        }
    }

    /// Whether the fault fits the state.
    fn check(&self, fault: FaultKind) -> Result<(), EngineError> {
        let state = self.state();
        let illegal = EngineError::IllegalFault { node: self.listener.id, fault, state };
        if fault.allowed_in(state) { Ok(()) } else { Err(illegal) }
    }

    /// Changes the state if the fault fits it; returns the state before.
    fn enter(&self, fault: FaultKind, next: NodeState) -> Result<NodeState, EngineError> {
        let mut status = self.status();
        let before = status.state;
        // A killed process is not gone the moment it is killed.
        if !fault.allowed_in(before) || (next == NodeState::Starting && status.process.is_some()) {
            return Err(EngineError::IllegalFault { node: self.listener.id, fault, state: before });
        }
        status.state = next;
        Ok(before)
    }

    /// Signals the process if the fault fits its state.
    fn signal(
        &self,
        fault: FaultKind,
        signal: Signal,
        next: NodeState,
    ) -> Result<(Instant, Arc<Process>), EngineError> {
        let mut status = self.status();
        let illegal = |state| EngineError::IllegalFault { node: self.listener.id, fault, state };
        let process = match &status.process {
            Some(process) if fault.allowed_in(status.state) => Arc::clone(process),
            _ => return Err(illegal(status.state)),
        };
        let Some(at) = process.signal(signal) else {
            // It ended by itself a moment ago and its watcher is about to say so.
            return Err(illegal(NodeState::Exited));
        };
        status.state = next;
        Ok((at, process))
    }

    async fn kill(&self) -> Result<Injected, EngineError> {
        let (at, process) = self.signal(FaultKind::Kill, Signal::KILL, NodeState::Killed)?;
        self.wait_gone(&process, KILL_DEADLINE).await;
        Ok(Injected { at })
    }

    async fn stop(&self) -> Result<Injected, EngineError> {
        let (at, process) = self.signal(FaultKind::Stop, Signal::TERM, NodeState::Stopping)?;
        if self.wait_gone(&process, STOP_DEADLINE).await {
            return Ok(Injected { at });
        }
        self.status().state = NodeState::Killed;
        let _ = process.signal(Signal::KILL);
        self.wait_gone(&process, KILL_DEADLINE).await;
        let deadline_s = STOP_DEADLINE.as_secs_f64();
        Err(EngineError::StopTimedOut { node: self.listener.id, deadline_s, log: self.log.clone() })
    }

    /// Whether the process ended in time. Once it has, the node may be started again.
    async fn wait_gone(&self, process: &Arc<Process>, deadline: Duration) -> bool {
        let Ok(exit) = timeout(deadline, end_of(process.ended())).await else {
            return false;
        };
        // The watcher may run later than whoever waits here.
        self.process_ended(process, exit);
        true
    }

    /// Takes note of the end of a process, once. Whether somebody had wanted it to end.
    fn process_ended(&self, process: &Arc<Process>, exit: ExitStatus) -> bool {
        let mut status = self.status();
        if !status.process.as_ref().is_some_and(|present| Arc::ptr_eq(present, process)) {
            // Noted before, by one who had wanted it.
            return true;
        }
        status.process = None;
        match status.state {
            NodeState::Killed => true,
            NodeState::Stopping => {
                status.state = NodeState::Stopped;
                true
            }
            _ => {
                status.state = NodeState::Exited;
                status.exit = Some(exit);
                tracing::warn!(node = self.listener.id, %exit, log = %self.log.display(), "a node ended by itself");
                false
            }
        }
    }

    /// Java cannot say whether it was the port that it did not get: asked before.
    async fn check_ports(&self) -> Result<(), EngineError> {
        for port in [self.listener.broker_port, self.listener.controller_port].into_iter().flatten() {
            let listened = ports::listen(port).await;
            listened.map_err(taken(port, self.listener.role, self.listener.id))?;
        }
        Ok(())
    }

    fn ended_error(&self) -> EngineError {
        let (exit, from) = {
            let status = self.status();
            (status.exit, status.log_from)
        };
        EngineError::NodeEnded {
            node: self.listener.id,
            status: exit.map_or_else(|| "of an unknown cause".into(), |exit| exit.to_string()),
            log: self.log.clone(),
            tail: tail(&self.log, from),
        }
    }
}

fn node_folder(spec: &ClusterSpec, id: i32) -> PathBuf {
    spec.base_dir.join(format!("node-{id}"))
}

fn taken(port: u16, role: Role, id: i32) -> impl FnOnce(std::io::Error) -> EngineError {
    let needed_for = format!("{} {id}", role.word());
    move |source| EngineError::PortTaken { port, needed_for, source }
}

/// Where each node listens, and these ports: brokers from the explicit port on, all else where nobody listens.
fn choose_ports(ids: &[(i32, Role)], port: Option<u16>) -> Result<(Vec<Listener>, Vec<Port>), EngineError> {
    let mut next = port;
    let mut held = Vec::new();
    for (id, role) in ids.iter().filter(|(_, role)| role.is_broker()) {
        if let Some(port) = next {
            held.push(Port::take(port).map_err(taken(port, *role, *id))?);
            next = Some(port.checked_add(1).ok_or_else(|| EngineError::Topology {
                what: format!("port {port} leaves no ports for all brokers"),
                remedy: "choose a lower one".into(),
            })?);
        }
    }
    let explicit: Vec<u16> = held.iter().map(Port::number).collect();
    let mut given = explicit.clone().into_iter();
    let mut unused = Ports::new(explicit);
    let mut any = || -> Result<u16, NoFreePort> {
        held.push(unused.free()?);
        Ok(held[held.len() - 1].number())
    };
    let mut listeners = Vec::new();
    for (id, role) in ids {
        let broker_port = match (role.is_broker(), given.next()) {
            (false, _) => None,
            (true, Some(port)) => Some(port),
            (true, None) => Some(any()?),
        };
        let controller_port = if role.is_controller() { Some(any()?) } else { None };
        listeners.push(Listener { id: *id, role: *role, broker_port, controller_port });
    }
    Ok((listeners, held))
}

/// Makes the nodes' folders. Returns those that are temporary, which the guardian knows as well.
fn make_folders(spec: &ClusterSpec, ids: &[(i32, Role)], guardian: &Guardian) -> Result<Vec<PathBuf>, EngineError> {
    let make = |path: &Path| fs::create_dir_all(path).map_err(EngineError::io("create", path));
    let mut temporary = Vec::new();
    if !spec.keep_data {
        let folders: Vec<PathBuf> = ids.iter().map(|(id, _)| node_folder(spec, *id)).collect();
        // What is deleted at the end must be ours from the beginning.
        if let Some(used) =
            folders.iter().find(|folder| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()))
        {
            return Err(EngineError::ForeignData {
                folder: used.clone(),
                found: "files".into(),
                wanted: "a cluster whose data is deleted at its end".into(),
            });
        }
        temporary = if spec.base_dir.exists() { folders } else { vec![spec.base_dir.clone()] };
        for folder in &temporary {
            guardian.delete_at_end(folder)?;
        }
    }
    make(&spec.logs_dir)?;
    for (id, _) in ids {
        make(&node_folder(spec, *id))?;
    }
    Ok(temporary)
}

/// The cluster whose data is in the folders already.
fn existing_cluster(spec: &ClusterSpec, ids: &[(i32, Role)]) -> Result<Option<String>, EngineError> {
    for (id, _) in ids {
        if let Some((cluster, _)) = format::identity(&node_folder(spec, *id).join("data"))? {
            return Ok(Some(cluster));
        }
    }
    Ok(None)
}
