//! A truly replicated Kafka-wire cluster inside this process: each node a task over [`metricstream_node`], real TCP between
//! them and to clients, stores that outlive their nodes, links that can be made slow or cut.
//!
//! ```
//! # tokio_test();
//! # fn tokio_test() { tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use metricstream_cluster::{Cluster, Profile};
//! let cluster = Cluster::builder().brokers(3).profile(Profile::Fast).topic("metrics", 6, 3).start().await?;
//! println!("bootstrap {}", cluster.bootstrap());
//! cluster.kill(2).await?;
//! cluster.restart(2).await?;
//! cluster.partition(&[1], &[2, 3]);
//! # Ok::<(), metricstream_cluster::ClusterError>(()) }).unwrap() }
//! ```
//! When the last clone is dropped the cluster is gone. Nothing here decides what a node answers or when it fails over.

mod builder;
mod clock;
mod cluster;
mod connection;
mod driver;
mod error;
mod link;
pub mod ports;
mod store;
mod topics;

pub use builder::{Builder, Profile, TopicSpec};
pub use cluster::{Cluster, NodeState, Start};
pub use error::ClusterError;
pub use link::{Links, Rule};
pub use metricstream_node::config::{ConfigError, FAST, Settings};
pub use metricstream_node::flaws::Flaws;
pub use metricstream_node::io::{Event, Level};
pub use store::StoreKind;
