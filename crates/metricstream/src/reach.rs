//! First contact with a cluster, the same for every command that is a client of one.

use metricstream_load::ClientConfig;
use metricstream_load::cluster::{Cluster, ReachError};

use crate::exit::Failure;

/// Connects, and waits until the cluster has answered; bounded, also where credentials are wrong.
///
/// # Errors
/// Exit 2 if librdkafka refuses the settings, exit 3 if the cluster does not answer or does not let us in.
pub(crate) async fn reach(client: &ClientConfig) -> Result<Cluster, Failure> {
    let client = client.clone();
    let reached = tokio::task::spawn_blocking(move || Cluster::reach(&client)).await.map_err(Failure::environment)?;
    reached.map_err(|error| match error {
        ReachError::Settings(_) => Failure::usage(error),
        _ => Failure::environment(error),
    })
}
