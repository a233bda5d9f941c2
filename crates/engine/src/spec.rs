//! What a cluster shall be, what can be done to it, and what is known of its nodes. Plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use metricstream_scenario::text::FIRST_CONTROLLER_ID;
use metricstream_scenario::{Controllers, Profile, Topology, effective_broker_config};

use crate::error::EngineError;
use crate::guardian::GuardianCommand;

/// More nodes than this are refused: every one is a process of some 300 MB.
pub const NODES_MAX: u32 = 50;

/// A cluster to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSpec {
    /// Name, for people.
    pub name: String,
    /// Number of brokers; ids `1..=brokers`.
    pub brokers: u32,
    /// Where the voters live.
    pub controllers: Controllers,
    /// Timer profile, for people: what it sets is in `broker_config` already.
    pub profile: Profile,
    /// Every broker setting that is not Kafka's default, but who a node is and where it listens.
    pub broker_config: BTreeMap<String, String>,
    /// Absolute folder for data; each node gets `node-N` in it.
    pub base_dir: PathBuf,
    /// Whether the data stays when the cluster is stopped. Data found there at the start is used again.
    pub keep_data: bool,
    /// Absolute folder for `broker-N.log` and `controller-N.log`.
    pub logs_dir: PathBuf,
    /// Port of broker 1, broker 2 listens on the next, and so on; `None` takes free ones.
    pub port: Option<u16>,
    /// How the Java machine is tuned.
    pub jvm: Jvm,
    /// How to start the guardian.
    pub guardian: GuardianCommand,
}

/// How the Java machine of each node is tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jvm {
    /// Up soonest and smallest: first compiler only, serial collector.
    #[default]
    QuickStart,
    /// Java's own choices: for throughput.
    Throughput,
}

impl ClusterSpec {
    /// The cluster of a scenario's topology.
    #[must_use]
    pub fn new(
        name: &str,
        topology: &Topology,
        base_dir: PathBuf,
        logs_dir: PathBuf,
        guardian: GuardianCommand,
    ) -> Self {
        Self {
            name: name.to_owned(),
            brokers: topology.brokers,
            controllers: topology.controllers,
            profile: topology.profile,
            broker_config: effective_broker_config(topology),
            base_dir,
            keep_data: false,
            logs_dir,
            port: None,
            jvm: Jvm::default(),
            guardian,
        }
    }

    /// Every node: brokers first, in the order of ids.
    ///
    /// # Errors
    /// If there are none, or too many.
    pub fn node_ids(&self) -> Result<Vec<(i32, Role)>, EngineError> {
        let wrong = |what: String, remedy: &str| Err(EngineError::Topology { what, remedy: remedy.to_owned() });
        let separate = match self.controllers {
            Controllers::Combined => 0,
            Controllers::Separate(0) => {
                return wrong("a cluster needs a controller".into(), "give it 1 or 3 controllers, or combined nodes");
            }
            Controllers::Separate(count) => count,
        };
        if self.brokers == 0 {
            return wrong("a cluster needs a broker".into(), "give it 1 or 3 brokers");
        }
        if self.brokers.saturating_add(separate) > NODES_MAX {
            return wrong(
                format!("{} brokers and {separate} controllers are more than {NODES_MAX} nodes", self.brokers),
                "use fewer: each is a process of some 300 MB",
            );
        }
        let role = if separate == 0 { Role::Combined } else { Role::Broker };
        let brokers = (1..).take(self.brokers as usize).map(|id| (id, role));
        let controllers = (FIRST_CONTROLLER_ID..).take(separate as usize).map(|id| (id, Role::Controller));
        Ok(brokers.chain(controllers).collect())
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Broker and voter in one.
    Combined,
    /// Broker only.
    Broker,
    /// Voter only.
    Controller,
}

impl Role {
    /// Whether clients connect to it.
    #[must_use]
    pub const fn is_broker(self) -> bool {
        matches!(self, Self::Combined | Self::Broker)
    }

    /// Whether it votes.
    #[must_use]
    pub const fn is_controller(self) -> bool {
        matches!(self, Self::Combined | Self::Controller)
    }

    /// The name that its log file begins with.
    pub(crate) const fn word(self) -> &'static str {
        if self.is_broker() { "broker" } else { "controller" }
    }
}

/// What can be done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// SIGKILL; a paused node dies too.
    Kill,
    /// SIGTERM: controlled shutdown. Done when the process is gone.
    Stop,
    /// SIGSTOP: it stands still, its connections stay open.
    Pause,
    /// SIGCONT.
    Resume,
    /// Starts it on its old disk. Done when the process runs, not when it is ready.
    Start,
    /// Starts it with its partition logs gone; identity and metadata log are kept.
    StartWiped,
    /// Starts it on a new disk: the same node id, nothing else, its vote is gone too.
    StartReformatted,
}

impl FaultKind {
    pub(crate) const fn participle(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Stop => "stopped",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Start | Self::StartWiped | Self::StartReformatted => "started",
        }
    }

    pub(crate) const fn allowed_in(self, state: NodeState) -> bool {
        match self {
            Self::Kill => matches!(state, NodeState::Running | NodeState::Paused | NodeState::Stopping),
            Self::Stop | Self::Pause => matches!(state, NodeState::Running),
            Self::Resume => matches!(state, NodeState::Paused),
            Self::Start | Self::StartWiped | Self::StartReformatted => {
                matches!(state, NodeState::Stopped | NodeState::Killed | NodeState::Exited)
            }
        }
    }

    pub(crate) const fn remedy(self, state: NodeState) -> &'static str {
        match (self, state) {
            (Self::Stop | Self::Pause, NodeState::Paused) => "Resume it first",
            (Self::Resume, _) => "Only a paused node can be resumed",
            (Self::Start | Self::StartWiped | Self::StartReformatted, NodeState::Stopping) => "Wait until it has ended",
            (Self::Start | Self::StartWiped | Self::StartReformatted, _) => "Kill or stop it first",
            (_, NodeState::Stopping | NodeState::Starting) => "Wait until that is done",
            _ => "Start it first",
        }
    }
}

/// The state of a node's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Its process is being prepared.
    Starting,
    /// Its process runs.
    Running,
    /// It was told to stop and has not yet ended.
    Stopping,
    /// It ended in a controlled way, as it was told to.
    Stopped,
    /// It was killed.
    Killed,
    /// It stands still.
    Paused,
    /// It ended by itself.
    Exited,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "being started",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Paused => "paused",
            Self::Exited => "ended by itself",
        })
    }
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Node id.
    pub id: i32,
    /// What it is.
    pub role: Role,
    /// Its process.
    pub state: NodeState,
    /// Process id, while there is a process.
    pub pid: Option<u32>,
    /// Where clients, or of a controller its peers, connect to.
    pub port: u16,
    /// Its log, appended to over restarts.
    pub log_path: PathBuf,
}

/// An end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A node, by its id.
    Node(i32),
    /// All clients together, those of administration too.
    Clients,
}

/// What happens to bytes in one direction between two parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkRule {
    /// Who sends.
    pub from: Party,
    /// Who receives.
    pub to: Party,
    /// Nothing gets through, and nobody is told; what is held back arrives when the link is mended.
    pub cut: bool,
    /// Every byte arrives at least this much later.
    pub delay: Duration,
    /// And up to this much more, drawn for each frame.
    pub jitter: Duration,
    /// Bytes that get through in a second; `None`: no limit.
    pub bytes_per_s: Option<u64>,
}

/// A fault was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injected {
    /// When the signal was sent or the process spawned.
    pub at: Instant,
}

/// What an engine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Every [`FaultKind`]; all or none.
    pub faults: bool,
    /// Links between nodes, and between nodes and their clients, can be slowed and cut.
    pub links: bool,
    /// Leader, ISR and fencing from the metadata log, exactly; else polled.
    pub exact_metadata: bool,
    /// The cluster is the engine's own: nobody else uses it, topics are created through the engine, and all of it is gone
    /// in the end.
    pub own_cluster: bool,
}
