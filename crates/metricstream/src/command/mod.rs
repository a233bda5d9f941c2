//! The commands, one file each. A command reads its arguments, calls the rooms, prints, and says how it ended.

pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod compare;
pub(crate) mod consume;
pub(crate) mod group;
pub(crate) mod kafka;
pub(crate) mod produce;
pub(crate) mod run;
pub(crate) mod scenario;
pub(crate) mod serve;
pub(crate) mod topic;

use std::collections::BTreeMap;
use std::path::Path;

use metricstream_load::tools::{self, ToolError};
use metricstream_scenario::librdkafka;

use crate::cli::{ClientArgs, key_value};
use crate::exit::Failure;
use crate::reach::reach;
use crate::supervisor::protocol;

/// The user's own librdkafka properties.
pub(crate) fn client_properties(path: Option<&Path>) -> Result<BTreeMap<String, String>, Failure> {
    path.map_or_else(
        || Ok(BTreeMap::new()),
        |path| {
            metricstream_engine::read_client_config(path).map_err(|e| Failure::usage(format!("--client-config: {e}")))
        },
    )
}

/// The addresses of the cluster that was named, or of the detached one.
pub(crate) async fn bootstrap_of(at: &ClientArgs, properties: &BTreeMap<String, String>) -> Result<String, Failure> {
    match (&at.bootstrap, properties.get("bootstrap.servers")) {
        (Some(named), _) | (None, Some(named)) => Ok(named.clone()),
        (None, None) => Ok(protocol::status(&at.name).await?.bootstrap),
    }
}

/// A client of the cluster that was named, or of the detached one, which answers and lets it in.
pub(crate) async fn client_of(at: &ClientArgs) -> Result<metricstream_load::ClientConfig, Failure> {
    let properties = client_properties(at.client_config.as_deref())?;
    let bootstrap = bootstrap_of(at, &properties).await?;
    let client = metricstream_load::config::base(&bootstrap, &properties);
    reach(&client).await?;
    Ok(client)
}

/// A refusal of what was asked for is the command line's; everything else is the environment's.
pub(crate) fn tool_failure(error: ToolError) -> Failure {
    match &error {
        ToolError::Refused { code, .. } if tools::is_wrong_request(*code) => Failure::usage(error),
        _ => Failure::environment(error),
    }
}

/// The settings of `--config KEY=VALUE`, checked before any cluster is asked.
pub(crate) fn client_settings(given: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut settings = Vec::new();
    for one in given {
        let (key, value) = key_value("--config", one)?;
        let property = librdkafka::property(&key)
            .ok_or_else(|| Failure::usage(format!("--config {key}: librdkafka has no setting of this name")))?;
        // The value may be a secret.
        librdkafka::check_value(property, &value)
            .map_err(|why| Failure::usage(format!("--config {key}: allowed: {why}")))?;
        settings.push((key, value));
    }
    Ok(settings)
}

/// Runs what blocks beside the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ToolError> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(Failure::environment)?.map_err(tool_failure)
}
