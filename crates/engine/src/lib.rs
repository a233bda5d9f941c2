//! Clusters that can be started, broken on purpose and observed.
//!
//! The ledger, the load and the report are unknown here: an engine emits its own typed observations.

pub mod admin;
pub mod client;
pub mod embedded;
mod engine;
mod error;
pub mod guardian;
pub mod kafka;
pub mod observation;
pub mod observer;
pub mod remote;
mod spec;
mod succession;

pub use engine::{Engine, POLL_INTERVAL};
pub use error::{EngineError, ExitClass};
pub use guardian::{GuardianCommand, guardian_main};
pub use kafka::KafkaCluster;
pub use remote::{ListedPartition, Listing, MetadataSource, Remote, read_client_config};
pub use spec::{
    Capabilities, ClusterSpec, FaultKind, Injected, Jvm, LinkRule, NODES_MAX, NodeState, NodeStatus, Party, Role,
};
