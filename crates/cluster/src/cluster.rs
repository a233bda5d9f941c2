//! A running cluster, to be used and broken.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metricstream_node::Node;
use metricstream_node::config::{NodeConfig, Roles, Settings, Voter};
use metricstream_node::image::Image;
use metricstream_node::io::Listener;
use tokio::net::TcpListener;
use tokio::sync::Mutex as AsyncMutex;

use crate::builder::{Builder, Profile};
use crate::clock::Clock;
use crate::connection::ToNode;
use crate::driver::{Command, Known, OnEnd, Parts, Running, address};
use crate::error::ClusterError;
use crate::link::{Links, Rule};
use crate::ports::{self, Port, Ports, local};
use crate::store::{FileStore, MemoryStore, Store, StoreKind, placed};

/// The id of every embedded cluster, so that a data directory can be used again.
const CLUSTER_ID: &str = "TWV0cmljU3RyZWFtRW1iZQ";
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(1);
/// How long a controlled shutdown may take.
const SHUT_DOWN: Duration = Duration::from_secs(60);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It runs.
    Running,
    /// It stands still.
    Paused,
    /// It is gone.
    Down,
}

impl NodeState {
    const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Down => "down",
        }
    }
}

/// With what a node starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// What its store has.
    AsItWas,
    /// Without its partitions' logs; its vote and metadata log stay.
    Wiped,
    /// With nothing: another disk.
    NewDisk,
}

struct Member {
    config: NodeConfig,
    store: Store,
    running: Option<Running>,
    paused: bool,
}

struct Shared {
    members: BTreeMap<i32, AsyncMutex<Member>>,
    /// Who each node is; that does not change while it lives and dies.
    configs: BTreeMap<i32, NodeConfig>,
    clock: Clock,
    links: Links,
    known: Known,
    builder: Builder,
    lives: AtomicU64,
    states: States,
    /// Which process each node's present one is, as it registers with the controller.
    incarnations: Mutex<BTreeMap<i32, [u8; 16]>>,
    /// Of every listener, also of nodes that are down.
    _ports: Vec<Port>,
}

/// What each node is, and in which of its lives.
type States = Arc<Mutex<BTreeMap<i32, (u64, NodeState)>>>;

/// A cluster. Clones are the same one; with the last it is gone.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("bootstrap", &self.bootstrap()).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for member in self.members.values_mut() {
            if let Some(running) = member.get_mut().running.take() {
                running.abort();
            }
        }
    }
}

/// The doors of a node: of its broker and of its controller, where it is one.
type Doors = (Option<TcpListener>, Option<TcpListener>);

/// Takes ports and opens doors there.
struct Opening<'a> {
    builder: &'a Builder,
    unused: Ports,
    taken: Vec<Port>,
}

impl Opening<'_> {
    async fn doors(&mut self, id: i32, votes: bool) -> Result<Doors, ClusterError> {
        let offset = u16::try_from(id - 1).unwrap_or(0);
        let wanted = self.builder.ports.map(|first| first.saturating_add(offset));
        let broker = if id <= self.builder.brokers { Some(self.open(wanted).await?) } else { None };
        let controller = if votes { Some(self.open(None).await?) } else { None };
        Ok((broker, controller))
    }

    async fn open(&mut self, wanted: Option<u16>) -> Result<TcpListener, ClusterError> {
        let port = match wanted {
            Some(number) => Port::take(number).map_err(cannot_listen(number))?,
            None => self.unused.free()?,
        };
        let listener = ports::listen(port.number()).await.map_err(cannot_listen(port.number()))?;
        self.taken.push(port);
        Ok(listener)
    }
}

fn cannot_listen(number: u16) -> impl FnOnce(std::io::Error) -> ClusterError {
    move |source| ClusterError::Listen { address: local(number).to_string(), source }
}

fn config(
    builder: &Builder,
    settings: &Settings,
    id: i32,
    voters: &[Voter],
    broker: Option<&TcpListener>,
    controller: Option<&TcpListener>,
) -> NodeConfig {
    let at = |listener: Option<&TcpListener>| listener.and_then(|l| l.local_addr().ok()).map(address);
    let rack = builder.racks.then(|| format!("zone-{id}"));
    NodeConfig {
        node_id: id,
        roles: Roles { broker: broker.is_some(), controller: controller.is_some() },
        cluster_id: CLUSTER_ID.to_owned(),
        incarnation: [0; 16],
        rack,
        broker_listener: at(broker),
        controller_listener: at(controller),
        voters: voters.to_vec(),
        settings: settings.clone(),
        flaws: builder.flaws,
    }
}

impl Cluster {
    /// Three combined nodes in memory with Kafka's own timers, unless told otherwise.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn start(builder: Builder, settings: Settings) -> Result<Self, ClusterError> {
        let voters = builder.voters();
        let mut ids: Vec<i32> = (1..=builder.brokers).collect();
        ids.extend(voters.iter().filter(|id| **id > builder.brokers));
        let mut doors = BTreeMap::new();
        let explicit = builder.ports.map(|first| (first..=u16::MAX).take(ids.len()).collect()).unwrap_or_default();
        let mut opening = Opening { builder: &builder, unused: Ports::new(explicit), taken: Vec::new() };
        for id in &ids {
            doors.insert(*id, opening.doors(*id, voters.contains(id)).await?);
        }
        let ports = opening.taken;
        let voter = |id: &i32| -> Option<Voter> {
            let (_, controller) = doors.get(id)?;
            Some(Voter { id: *id, at: address(controller.as_ref()?.local_addr().ok()?) })
        };
        let all_voters: Vec<Voter> = voters.iter().filter_map(voter).collect();
        let mut members = BTreeMap::new();
        let mut configs = BTreeMap::new();
        let mut listeners = BTreeMap::new();
        for (id, (broker, controller)) in doors {
            let config = config(&builder, &settings, id, &all_voters, broker.as_ref(), controller.as_ref());
            let store = match &builder.store {
                StoreKind::Memory => Store::Memory(Arc::new(MemoryStore::default())),
                StoreKind::Files(root) => Store::Files(Arc::new(FileStore::new(root.join(format!("node-{id}")))?)),
            };
            configs.insert(id, config.clone());
            members.insert(id, AsyncMutex::new(Member { config, store, running: None, paused: false }));
            let both = broker.map(|l| (l, Listener::Broker)).into_iter();
            listeners.insert(id, both.chain(controller.map(|l| (l, Listener::Controller))).collect::<Vec<_>>());
        }
        let states = ids.iter().map(|id| (*id, (0, NodeState::Down))).collect();
        let shared = Shared {
            members,
            configs,
            clock: Clock::start(),
            links: Links::new(builder.seed),
            known: Known::default(),
            lives: AtomicU64::new(0),
            builder,
            states: Arc::new(Mutex::new(states)),
            incarnations: Mutex::default(),
            _ports: ports,
        };
        let cluster = Self { shared: Arc::new(shared) };
        for (id, listeners) in listeners {
            cluster.launch(id, listeners).await?;
        }
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Boots a node with what its store has and lets it run.
    async fn launch(&self, id: i32, listeners: Vec<(TcpListener, Listener)>) -> Result<(), ClusterError> {
        let shared = &self.shared;
        let mut member = self.member(id)?.lock().await;
        let life = shared.lives.fetch_add(1, Ordering::SeqCst) + 1;
        let mut config = member.config.clone();
        // The controller takes the same incarnation for the same process: none may ever come twice, not even when a cluster
        // is started from the files of one that had the same seed.
        let born_ns = shared.clock.born_ns();
        config.incarnation[..8].copy_from_slice(&born_ns.to_be_bytes());
        config.incarnation[8..].copy_from_slice(&(life << 16 | u64::from(id.unsigned_abs())).to_be_bytes());
        shared.incarnations.lock().unwrap_or_else(PoisonError::into_inner).insert(id, config.incarnation);
        let now = shared.clock.now();
        let connections_max = usize::try_from(config.settings.max_connections).unwrap_or(usize::MAX);
        let request_bytes_max = usize::try_from(config.settings.socket_request_max_bytes).unwrap_or(0);
        let seed = shared.builder.seed ^ life.rotate_left(32) ^ u64::from(id.unsigned_abs());
        let node = Node::boot(config, seed, member.store.disk(), now)
            .map_err(|error| ClusterError::Boot { node: id, why: placed(error.to_string(), &member.store) })?;
        self.lock_states().insert(id, (life, NodeState::Running));
        member.running = Some(Running::start(Parts {
            node,
            id,
            store: member.store.clone(),
            clock: shared.clock,
            links: shared.links.clone(),
            listeners,
            known: Arc::clone(&shared.known),
            sink: Arc::clone(&shared.builder.sink),
            on_end: self.on_end(id, life),
            connections_max: connections_max.min(10_000),
            request_bytes_max,
            slow_reader: shared.builder.slow_reader,
        }));
        member.paused = false;
        Ok(())
    }

    /// What follows from a node's end by itself: whoever looks sees it down, unless it has been started again.
    fn on_end(&self, id: i32, life: u64) -> OnEnd {
        // Not the cluster itself: a node's task must not keep it.
        let (states, tell) = (Arc::clone(&self.shared.states), Arc::clone(&self.shared.builder.ended));
        Box::new(move |why| {
            if let Some(state) = states.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&id)
                && state.0 == life
            {
                state.1 = NodeState::Down;
            }
            tell(id, why);
        })
    }

    fn lock_states(&self) -> std::sync::MutexGuard<'_, BTreeMap<i32, (u64, NodeState)>> {
        self.shared.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: i32, state: NodeState) {
        if let Some(known) = self.lock_states().get_mut(&id) {
            known.1 = state;
        }
    }

    fn member(&self, id: i32) -> Result<&AsyncMutex<Member>, ClusterError> {
        self.shared.members.get(&id).ok_or(ClusterError::NoNode(id))
    }

    /// Every node and what it is.
    #[must_use]
    pub fn nodes(&self) -> BTreeMap<i32, NodeState> {
        self.lock_states().iter().map(|(id, (_, state))| (*id, *state)).collect()
    }

    /// Addresses of all brokers, as clients want them.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.brokers().iter().map(|(_, at)| at.to_string()).collect::<Vec<_>>().join(",")
    }

    /// Brokers and where they listen, also of those that are down.
    #[must_use]
    pub fn brokers(&self) -> Vec<(i32, SocketAddr)> {
        self.addresses(|config| config.broker_listener.clone())
    }

    /// Voters and where they listen.
    #[must_use]
    pub fn controllers(&self) -> Vec<(i32, SocketAddr)> {
        self.addresses(|config| config.controller_listener.clone())
    }

    fn addresses(
        &self,
        of: impl Fn(&NodeConfig) -> Option<metricstream_node::config::Address>,
    ) -> Vec<(i32, SocketAddr)> {
        self.shared.configs.iter().filter_map(|(id, config)| Some((*id, local(of(config)?.port)))).collect()
    }

    /// The links between nodes, and between nodes and their clients.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.shared.links
    }

    /// Nothing gets through between two groups of nodes; clients still reach all of them.
    pub fn partition(&self, a: &[i32], b: &[i32]) {
        self.shared.links.cut(a, b);
    }

    /// Nothing gets through to a node or from it, clients included.
    pub fn isolate(&self, node: i32) {
        let mut others: Vec<i32> = self.shared.members.keys().copied().filter(|id| *id != node).collect();
        others.push(crate::link::CLIENTS);
        self.shared.links.cut(&[node], &others);
    }

    /// Every cut is mended.
    pub fn mend(&self) {
        self.shared.links.mend();
    }

    /// A link that is slow, both ways.
    pub fn slow_link(&self, a: i32, b: i32, delay: Duration, jitter: Duration) {
        for (from, to) in [(a, b), (b, a)] {
            self.shared.links.change(from, to, |rule: &mut Rule| {
                rule.delay = delay;
                rule.jitter = jitter;
            });
        }
    }

    async fn in_state(
        &self,
        id: i32,
        wanted: &'static str,
        fits: impl Fn(NodeState) -> bool,
    ) -> Result<tokio::sync::MutexGuard<'_, Member>, ClusterError> {
        let member = self.member(id)?.lock().await;
        let ended = member.running.as_ref().is_none_or(|r| r.ended.borrow().is_some());
        let state = match (ended, member.paused) {
            (true, _) => NodeState::Down,
            (false, true) => NodeState::Paused,
            (false, false) => NodeState::Running,
        };
        if fits(state) { Ok(member) } else { Err(ClusterError::State { node: id, state: state.word(), wanted }) }
    }

    /// The process of a node is gone at once; its store stays, its connections end.
    ///
    /// # Errors
    /// If there is no such node, or it is down.
    pub async fn kill(&self, id: i32) -> Result<(), ClusterError> {
        let mut member = self.in_state(id, "killed", |state| state != NodeState::Down).await?;
        if let Some(running) = member.running.take() {
            running.kill().await;
        }
        member.store.forget_ids();
        self.note(id, NodeState::Down);
        Ok(())
    }

    /// A node hands its leaderships over and ends.
    ///
    /// # Errors
    /// If there is no such node, it does not run, or it does not get its leaderships rid in time.
    pub async fn stop(&self, id: i32) -> Result<(), ClusterError> {
        let mut member = self.in_state(id, "stopped", |state| state == NodeState::Running).await?;
        let Some(running) = member.running.as_mut() else { return Ok(()) };
        let _ = running.commands.send(ToNode::Command(Command::ShutDown)).await;
        let mut ended = running.ended.clone();
        let done = tokio::time::timeout(SHUT_DOWN, ended.wait_for(Option::is_some)).await;
        let what = || format!("the controlled shutdown of node {id}");
        done.map_err(|_| ClusterError::Deadline { what: what(), waited_ms: SHUT_DOWN.as_millis() })?.ok();
        if let Some(running) = member.running.take() {
            running.kill().await;
        }
        member.store.forget_ids();
        self.note(id, NodeState::Down);
        Ok(())
    }

    /// A node that is down starts again with what its store has.
    ///
    /// # Errors
    /// If it runs, its port was taken meanwhile, or its store does not let it start.
    pub async fn restart(&self, id: i32) -> Result<(), ClusterError> {
        self.start_node(id, Start::AsItWas).await
    }

    /// A node that is down starts again.
    ///
    /// # Errors
    /// As [`restart`](Self::restart).
    pub async fn start_node(&self, id: i32, how: Start) -> Result<(), ClusterError> {
        let listeners = {
            let mut member = self.in_state(id, "started", |state| state == NodeState::Down).await?;
            if let Some(ended) = member.running.take() {
                ended.kill().await;
                member.store.forget_ids();
            }
            let wiped = match how {
                Start::AsItWas => Ok(()),
                Start::Wiped => member.store.wipe(true),
                Start::NewDisk => member.store.wipe(false),
            };
            wiped.map_err(|error| ClusterError::Boot { node: id, why: error.to_string() })?;
            let mut listeners = Vec::new();
            for (at, door) in [
                (&member.config.broker_listener, Listener::Broker),
                (&member.config.controller_listener, Listener::Controller),
            ] {
                if let Some(at) = at {
                    listeners.push((ports::listen(at.port).await.map_err(cannot_listen(at.port))?, door));
                }
            }
            listeners
        };
        self.launch(id, listeners).await
    }

    /// A node stands still; its connections stay.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn pause(&self, id: i32) -> Result<(), ClusterError> {
        let mut member = self.in_state(id, "paused", |state| state == NodeState::Running).await?;
        if let Some(running) = &member.running {
            let _ = running.commands.send(ToNode::Command(Command::Pause)).await;
        }
        member.paused = true;
        self.note(id, NodeState::Paused);
        Ok(())
    }

    /// A node that stands still goes on.
    ///
    /// # Errors
    /// If it is not paused.
    pub async fn resume(&self, id: i32) -> Result<(), ClusterError> {
        let mut member = self.in_state(id, "resumed", |state| state == NodeState::Paused).await?;
        if let Some(running) = &member.running {
            let _ = running.commands.send(ToNode::Command(Command::Resume)).await;
        }
        member.paused = false;
        self.note(id, NodeState::Running);
        Ok(())
    }

    /// Looks at a node that runs.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        id: i32,
        look: impl FnOnce(&Node) -> T + Send + 'static,
    ) -> Option<T> {
        let member = self.member(id).ok()?.lock().await;
        let running = member.running.as_ref().filter(|_| !member.paused)?;
        running.look(look).await
    }

    /// The committed metadata as a node has it; `None` where it does not run.
    pub async fn image(&self, id: i32) -> Option<Image> {
        self.look(id, |node| node.image().clone()).await
    }

    /// The active controller as a running node knows it.
    pub async fn controller(&self) -> Option<i32> {
        for (id, _) in self.nodes().into_iter().filter(|(_, state)| *state == NodeState::Running) {
            if self.look(id, Node::is_active_controller).await == Some(true) {
                return Some(id);
            }
        }
        None
    }

    /// Waits until every running broker knows all running brokers as unfenced: these processes, not others that had their
    /// ids before them.
    ///
    /// # Errors
    /// If that does not come true in time.
    pub async fn wait_ready(&self, patience: Duration) -> Result<(), ClusterError> {
        let incarnations = self.shared.incarnations.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.wait("every broker to be unfenced", patience, move |image, running| {
            running.iter().filter(|id| **id < crate::builder::FIRST_CONTROLLER).all(|id| {
                let known = image.brokers.get(id).map(|broker| broker.incarnation);
                known.is_some() && known == incarnations.get(id).copied() && image.is_active(*id)
            })
        })
        .await
    }

    /// Waits until every replica of every topic is in sync, as every running node knows.
    ///
    /// # Errors
    /// If that does not come true in time.
    pub async fn wait_isr_full(&self, patience: Duration) -> Result<(), ClusterError> {
        self.wait("every replica to be in sync", patience, |image, _| {
            image.partitions().all(|(_, _, p)| p.isr.len() == p.replicas.len() && p.leader >= 0)
        })
        .await
    }

    async fn wait(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Image, &[i32]) -> bool + Clone + Send + 'static,
    ) -> Result<(), ClusterError> {
        let begun = Instant::now();
        loop {
            let states = self.nodes();
            let running: Vec<i32> =
                states.iter().filter(|(_, state)| **state == NodeState::Running).map(|(id, _)| *id).collect();
            let mut all = !running.is_empty();
            for id in &running {
                let (holds, others) = (holds.clone(), running.clone());
                all &= self.look(*id, move |node| holds(node.image(), &others)).await == Some(true);
                if !all {
                    break;
                }
            }
            if all {
                return Ok(());
            }
            if begun.elapsed() >= patience {
                return Err(ClusterError::Deadline { what: what.to_owned(), waited_ms: patience.as_millis() });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn ready(&self) -> Result<(), ClusterError> {
        let patience = self.shared.builder.patience;
        self.wait_ready(patience).await?;
        let topics = self.shared.builder.topics.clone();
        if topics.is_empty() {
            return Ok(());
        }
        crate::topics::create(self, &topics, patience).await?;
        let names: Vec<(String, usize)> =
            topics.iter().map(|t| (t.name.clone(), usize::try_from(t.partitions).unwrap_or(0))).collect();
        self.wait("every topic's leaders", patience, move |image, _| {
            names.iter().all(|(name, partitions)| {
                let topic = image.topic(name);
                topic.is_some_and(|t| t.partitions.len() == *partitions && t.partitions.values().all(|p| p.leader >= 0))
            })
        })
        .await
    }

    /// Every setting of a node, and the flaws that are on.
    pub async fn settings(&self, id: i32) -> Option<(BTreeMap<&'static str, String>, Vec<&'static str>)> {
        self.look(id, |node| (node.settings(), node.flaws())).await
    }

    /// Which timers it has.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.shared.builder.profile
    }
}
