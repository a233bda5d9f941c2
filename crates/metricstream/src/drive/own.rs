//! A cluster that a command starts for itself and ends: where its data is, and what goes with it. Of `cluster up` and `serve`;
//! a run's cluster is started by [`super`].

use std::path::PathBuf;

use metricstream_engine::Engine;
use metricstream_engine::embedded::Wanted;
use metricstream_scenario::{Topic, Topology};

use super::engine::{fast_of_embedded, spec, start_embedded, start_kafka};
use crate::cli::OwnEngine;
use crate::exit::Failure;

/// Which cluster is wanted.
pub(crate) struct Wish<'a> {
    /// Its name, and a part of its temporary folder's.
    pub(crate) name: &'a str,
    pub(crate) kind: OwnEngine,
    pub(crate) topology: Topology,
    /// Created before it counts as ready.
    pub(crate) topics: &'a [Topic],
    /// Broker 1's; the others follow. `None`: free ones.
    pub(crate) port: Option<u16>,
    /// `None`: a temporary folder, which goes with the cluster.
    pub(crate) data: Option<PathBuf>,
    /// Of Apache Kafka; `None`: the newest that runs.
    pub(crate) kafka_version: Option<String>,
    /// Of the embedded cluster.
    pub(crate) flaws: Vec<String>,
}

/// A cluster that was started.
pub(crate) struct Own {
    pub(crate) engine: Engine,
    pub(crate) data_dir: PathBuf,
    keeps_data: bool,
}

impl Own {
    /// Starts it.
    ///
    /// # Errors
    /// If the topology makes no cluster, or it does not start.
    pub(crate) async fn start(
        wish: Wish<'_>,
        progress: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let Wish { name, kind, mut topology, topics, .. } = wish;
        if kind == OwnEngine::Embedded {
            fast_of_embedded(&mut topology);
        }
        let keeps_data = wish.data.is_some();
        let data_dir = match wish.data {
            Some(data) => std::path::absolute(data)?,
            None => std::env::temp_dir().join(format!("metricstream-{name}-{}", std::process::id())),
        };
        let mut spec = spec(name, &topology, data_dir.join("data"), data_dir.join("logs"))?;
        spec.port = wish.port;
        spec.keep_data = keeps_data;
        let engine = match kind {
            OwnEngine::Embedded => {
                progress("starting the cluster");
                // Nothing of it is to be repeated.
                let wanted = Wanted { seed: u64::from(std::process::id()), flaws: wish.flaws };
                start_embedded(spec, topics, wanted).await?
            }
            // That it starts, the engine says, once what it needs is there.
            OwnEngine::Kafka => start_kafka(spec, topics, wish.kafka_version, progress).await?,
        };
        Ok(Self { engine, data_dir, keeps_data })
    }

    /// Ends it, and takes its folder away unless that is to be kept.
    pub(crate) async fn end(&self) {
        self.engine.stop().await;
        if !self.keeps_data {
            // It may never have been made.
            let _ = std::fs::remove_dir_all(&self.data_dir);
        }
    }
}

/// Whether a topic may be called that.
///
/// # Errors
/// Which names there are.
pub(crate) fn check_topic_name(name: &str) -> Result<(), &'static str> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 249 || !name.chars().all(sound) {
        return Err("the name has 1 to 249 letters, digits, `.`, `_` or `-`");
    }
    Ok(())
}

/// A topic as Kafka's users have it: of three replicas or more, two must have what is acknowledged.
pub(crate) fn topic(name: &str, partitions: i32, replication_factor: i16) -> Topic {
    Topic {
        name: name.to_owned(),
        partitions,
        replication_factor,
        min_insync_replicas: if replication_factor >= 3 { 2 } else { 1 },
        replicas: Vec::new(),
        config: Default::default(),
    }
}
