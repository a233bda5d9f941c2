//! What can go wrong with a cluster, each with what to do next.

use std::io;
use std::path::PathBuf;

use crate::admin::AdminError;
use crate::spec::{FaultKind, NodeState};

/// Whose fault an error is: decides the exit code of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitClass {
    /// The command line or the scenario asks for something impossible.
    Usage,
    /// The machine, the network or the cluster does not provide what is needed.
    Environment,
}

/// A condition that stops or limits an engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No Java at all.
    #[error(
        "no Java found: neither JAVA_HOME nor PATH leads to a `java`. Apache Kafka needs Java {needed} or newer; \
         Debian/Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17"
    )]
    NoJava {
        /// Oldest version that will do.
        needed: u32,
    },
    /// `JAVA_HOME` leads nowhere.
    #[error("JAVA_HOME is {} but there is no executable {}: correct it, or unset it to use the java in PATH", home.display(), java.display())]
    BrokenJavaHome {
        /// Its value.
        home: PathBuf,
        /// What was looked for.
        java: PathBuf,
    },
    /// A Java that is too old or does not run.
    #[error(
        "{} is Java {found}, but Apache Kafka needs Java {needed} or newer: install one \
         (Debian/Ubuntu: apt-get install openjdk-17-jre-headless) and let JAVA_HOME name it", java.display()
    )]
    WrongJava {
        /// The executable.
        java: PathBuf,
        /// What it says it is.
        found: String,
        /// Oldest version that will do.
        needed: u32,
    },
    /// Kafka must be fetched and there is no Maven.
    #[error(
        "no Maven found (`mvn` in PATH), which fetches Apache Kafka {version}. Debian/Ubuntu: apt-get install maven; \
         macOS: brew install maven; or unpack an Apache Kafka release and let KAFKA_HOME name it"
    )]
    NoMaven {
        /// The version wanted.
        version: String,
    },
    /// Maven did not bring Kafka.
    #[error(
        "Maven could not fetch Apache Kafka {version}: {detail}\nCheck the network and ~/.m2/settings.xml (mirror, proxy), \
         or unpack an Apache Kafka release and let KAFKA_HOME name it"
    )]
    MavenFailed {
        /// The version wanted.
        version: String,
        /// Its last words.
        detail: String,
    },
    /// A folder that should hold Kafka does not.
    #[error(
        "{} is not a complete Apache Kafka: {missing} is missing. Let KAFKA_HOME name the folder of an unpacked release \
         (the one with bin, config and libs), or unset it to let Kafka be installed into the cache", folder.display()
    )]
    BrokenKafka {
        /// The folder.
        folder: PathBuf,
        /// What was not found.
        missing: String,
    },
    /// A version of Kafka that cannot be used.
    #[error("Apache Kafka version {version:?} cannot be used: {why}")]
    KafkaVersion {
        /// As given.
        version: String,
        /// Why not.
        why: String,
    },
    /// Neither a cache folder nor a home folder is known.
    #[error("neither XDG_CACHE_HOME nor HOME is an absolute path: set one, Apache Kafka is kept below it")]
    NoCache,
    /// A wanted port is in use.
    #[error(
        "port {port} on 127.0.0.1 is taken (needed for {needed_for}): {source}. Choose another with --port, or stop what listens there"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// What would have listened there.
        needed_for: String,
        /// The system's answer.
        source: io::Error,
    },
    /// No port at all.
    #[error(transparent)]
    NoFreePort(#[from] metricstream_cluster::ports::NoFreePort),
    /// A file or folder operation failed.
    #[error("cannot {doing} {}: {source}{}", path.display(), remedy_of(source))]
    Io {
        /// The operation, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A path that cannot be written into Kafka's configuration.
    #[error("{} cannot be used: a path must be absolute, UTF-8 and without line breaks", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// A program did not start.
    #[error("cannot start {}: {source}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Kafka's storage tool refused.
    #[error("Kafka's StorageTool could not format a folder: {detail}")]
    Format {
        /// Its last words.
        detail: String,
    },
    /// A topology that makes no cluster.
    #[error("{what}: {remedy}")]
    Topology {
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A setting or flaw that the embedded cluster cannot have.
    #[error("{what}: {remedy}")]
    Setting {
        /// Which, and why not.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A node of the embedded cluster that does not start with what its disk has.
    #[error("node {node} does not start: {why}; its log is {}", log.display())]
    DoesNotStart {
        /// Node id.
        node: i32,
        /// Why.
        why: String,
        /// Log file.
        log: PathBuf,
    },
    /// A setting that the engine owns.
    #[error("broker_config may not set {key}: the engine decides it for each node")]
    ReservedConfig {
        /// Kafka's name.
        key: String,
    },
    /// Data of another cluster in the folder.
    #[error("{} holds data of {found}, which does not fit {wanted}: use another data folder, or the same topology as before", folder.display())]
    ForeignData {
        /// The folder.
        folder: PathBuf,
        /// What it holds.
        found: String,
        /// What was expected.
        wanted: String,
    },
    /// A node ended while it was needed.
    #[error("node {node} ended by itself ({status}); its log is {}, and ends with:\n{tail}", log.display())]
    NodeEnded {
        /// Node id.
        node: i32,
        /// Exit status.
        status: String,
        /// Log file.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
    /// Not ready in time.
    #[error("the cluster was not ready after {waited_s:.0} s: {detail}. The machine may be too slow or too full; the logs are in {}", logs.display())]
    NotReady {
        /// How long it was waited for.
        waited_s: f64,
        /// What was missing.
        detail: String,
        /// Where to look.
        logs: PathBuf,
    },
    /// No such node.
    #[error("there is no node {node}: the cluster has {known}")]
    NoSuchNode {
        /// Node id.
        node: i32,
        /// All node ids.
        known: String,
    },
    /// A fault that does not fit the state of its node.
    #[error("node {node} cannot be {}: it is {state}. {}", fault.participle(), fault.remedy(*state))]
    IllegalFault {
        /// Node id.
        node: i32,
        /// The fault.
        fault: FaultKind,
        /// The state it was in.
        state: NodeState,
    },
    /// A controlled shutdown took too long; the process was killed.
    #[error("node {node} did not stop within {deadline_s:.0} s of SIGTERM and was killed; its log is {}", log.display())]
    StopTimedOut {
        /// Node id.
        node: i32,
        /// The deadline.
        deadline_s: f64,
        /// Log file.
        log: PathBuf,
    },
    /// The cluster was stopped already.
    #[error("the cluster was stopped; start another")]
    Stopped,
    /// The engine cannot do this.
    #[error("engine {engine} cannot {what}: {remedy}")]
    Unsupported {
        /// Engine name.
        engine: &'static str,
        /// What was asked.
        what: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// A bootstrap address that makes no sense.
    #[error("bootstrap address {address:?} is wrong: {why}; expected host:port, several separated by commas")]
    Address {
        /// As given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing answers.
    #[error("no cluster can be reached:{tried}\nCheck the address, the network and whether the cluster is up")]
    Unreachable {
        /// One line per address, each with the system's answer.
        tried: String,
    },
    /// A properties file that cannot be read.
    #[error("{}:{line}: {why}; a line is `key=value` (librdkafka's names) or begins with #", path.display())]
    ClientConfig {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The cluster refused, or did not answer.
    #[error("{source}{}", remedy_of_admin(source))]
    Admin {
        /// What it was.
        #[from]
        source: AdminError,
    },
    /// The guardian process cannot be used.
    #[error("the guardian, which ends the cluster's processes should this program die, cannot be used: {detail}")]
    Guardian {
        /// What happened.
        detail: String,
    },
}

impl EngineError {
    /// Whose fault it is.
    #[must_use]
    pub const fn exit_class(&self) -> ExitClass {
        match self {
            Self::KafkaVersion { .. }
            | Self::Path { .. }
            | Self::Topology { .. }
            | Self::ReservedConfig { .. }
            | Self::Setting { .. }
            | Self::NoSuchNode { .. }
            | Self::IllegalFault { .. }
            | Self::Unsupported { .. }
            | Self::Address { .. }
            | Self::ClientConfig { .. }
            | Self::Admin { source: AdminError::Refused { .. } } => ExitClass::Usage,
            _ => ExitClass::Environment,
        }
    }

    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

fn remedy_of(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ". Free some space, or choose a folder on another disk"
        }
        io::ErrorKind::PermissionDenied => ". Choose a folder that you may write to",
        io::ErrorKind::NotADirectory => ". Choose a folder: something on the way there is a file",
        io::ErrorKind::ReadOnlyFilesystem => ". Choose a folder on a disk that is not read-only",
        _ => "",
    }
}

const fn remedy_of_admin(error: &AdminError) -> &'static str {
    match error {
        AdminError::Refused { .. } => ". Change what was asked for",
        AdminError::NotReady { .. } => ". The machine may be too slow or too full; the nodes' logs say more",
        _ => ". Check that the cluster is up; the nodes' logs say more",
    }
}
