//! A cluster that somebody else runs, made ready for a run: reached, its topics there, observed with the run's credentials.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use metricstream_engine::{Engine, ListedPartition, Listing, MetadataSource, Remote};
use metricstream_load::cluster::{Cluster, ClusterView};
use metricstream_load::config;
use metricstream_scenario::Scenario;

use super::engine::failure;
use super::topics::{self, RunTopics, TopicRules};
use crate::exit::Failure;
use crate::reach::reach;

/// How long the leaders of topics that are there may take to be known.
const LED: Duration = Duration::from_secs(60);
/// How long one look at the metadata may take.
const LOOK: Duration = Duration::from_secs(5);

/// Which cluster, and what may be done to its topics.
#[derive(Debug, Clone)]
pub(crate) struct RemoteArgs {
    pub(crate) bootstrap: String,
    pub(crate) rules: TopicRules,
}

/// Reaches the cluster and prepares the topics; the scenario is told what the cluster really is.
///
/// # Errors
/// If it cannot be reached, does not let us in, or the topics cannot be had; then nothing is left there.
pub(super) async fn start(
    args: &RemoteArgs,
    properties: &BTreeMap<String, String>,
    scenario: &mut Scenario,
) -> Result<(Engine, RunTopics), Failure> {
    let remote = Remote::connect(&args.bootstrap, properties.clone()).await.map_err(failure)?;
    let client = config::base(remote.bootstrap(), properties);
    let cluster = Arc::new(reach(&client).await?);
    let names = scenario.topology.topics.iter().map(|topic| topic.name.clone()).collect();
    // Before the topics: what becomes of them is observed from the first moment on.
    let engine = Engine::over_remote(remote, Arc::new(Eyes { cluster: Arc::clone(&cluster), names })).await;
    let topics = topics::prepare(client, &cluster, scenario, args.rules).await?;
    match engine.wait_ready(&scenario.topology.topics, LED).await {
        Ok(()) => Ok((engine, topics)),
        Err(error) => {
            topics.clean_up().await;
            Err(failure(error))
        }
    }
}

/// The client that looks at the cluster for the engine.
#[derive(Debug)]
struct Eyes {
    cluster: Arc<Cluster>,
    /// The run's topics: what others have is nobody's business here.
    names: BTreeSet<String>,
}

impl MetadataSource for Eyes {
    fn listing(&self) -> Result<Listing, String> {
        // A large cluster has a lot to say; one topic can be asked for by itself.
        let only = self.names.first().filter(|_| self.names.len() == 1);
        let view = self.cluster.look_at(only.map(String::as_str), LOOK)?;
        Ok(listing_of(view, &self.names))
    }
}

fn listing_of(view: ClusterView, names: &BTreeSet<String>) -> Listing {
    let topics = view.topics.into_iter().filter(|(name, _)| names.contains(name));
    let rows = topics.flat_map(|(name, rows)| rows.into_iter().map(move |row| (name.clone(), row)));
    let partitions = rows.map(|(name, row)| {
        let listed = ListedPartition { replicas: row.replicas, isr: row.isr, leader: row.leader };
        ((name, row.partition), listed)
    });
    Listing { brokers: view.brokers.into_iter().collect(), partitions: partitions.collect() }
}
