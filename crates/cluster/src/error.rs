//! What a user of a cluster can meet.

use std::path::PathBuf;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// A port is taken, or the address is none of this machine's.
    #[error("cannot listen on {address}: {source}: choose another port")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no port for a node.
    #[error(transparent)]
    NoFreePort(#[from] crate::ports::NoFreePort),
    /// What was asked for cannot be.
    #[error("{0}")]
    Shape(String),
    /// A setting is not known or not allowed.
    #[error(transparent)]
    Config(#[from] metricstream_node::config::ConfigError),
    /// A node's store does not let it start.
    #[error("node {node} does not start: {why}")]
    Boot {
        /// Which.
        node: i32,
        /// Why.
        why: String,
    },
    /// The data directory.
    #[error("{}: {source}: give another data directory, or mend this one", path.display())]
    Store {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such node.
    #[error("there is no node {0}")]
    NoNode(i32),
    /// The node is not in a state for that.
    #[error("node {node} is {state}: it cannot be {wanted}")]
    State {
        /// Which.
        node: i32,
        /// What it is.
        state: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The cluster did not get there in time.
    #[error("waited {waited_ms} ms for: {what}")]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        waited_ms: u128,
    },
    /// A topic was refused.
    #[error("topic {topic}: {why}")]
    Topic {
        /// Which.
        topic: String,
        /// Why.
        why: String,
    },
}
