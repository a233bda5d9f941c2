//! The arguments of `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{OwnEngine, ProfileName, duration};

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Where metrics go
    #[arg(long, default_value = "metrics")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) own: OwnClusterArgs,
    #[command(flatten)]
    pub(crate) at: OtherClusterArgs,
    #[command(flatten)]
    pub(crate) bounds: BoundArgs,
    /// TLS: the certificate and its chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// TLS: the certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Any librdkafka setting of the producer
    #[arg(long = "config", value_name = "KEY=VALUE")]
    pub(crate) config: Vec<String>,
}

/// A cluster that is started and ended by the command.
#[derive(Debug, Args)]
pub(crate) struct OwnClusterArgs {
    /// Start a cluster of this kind; default, where no other cluster is named: embedded
    #[arg(long, value_enum, conflicts_with_all = ["bootstrap", "client_config", "name"])]
    pub(crate) engine: Option<OwnEngine>,
    /// Own cluster: how many brokers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=15))]
    pub(crate) brokers: u32,
    /// Own cluster: partitions of the topic
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    pub(crate) partitions: i32,
    /// Own cluster: its first broker's port; default: free ones
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub(crate) port: Option<u16>,
    /// Own cluster: whose timers it has
    #[arg(long, value_enum, default_value = "apache")]
    pub(crate) profile: ProfileName,
    /// Own cluster: keep its data here; default: gone with it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["bootstrap", "client_config", "name"])]
    pub(crate) data: Option<PathBuf>,
    /// Engine kafka: its version; default: the newest that runs on Java 17
    #[arg(long, value_name = "VERSION")]
    pub(crate) kafka_version: Option<String>,
}

/// A cluster that is there already.
#[derive(Debug, Args)]
pub(crate) struct OtherClusterArgs {
    /// Addresses of a cluster that is there
    #[arg(long, value_name = "HOST:PORT,…", conflicts_with = "name")]
    pub(crate) bootstrap: Option<String>,
    /// librdkafka properties, one `key=value` a line, e.g. for SASL_SSL
    #[arg(long, value_name = "FILE")]
    pub(crate) client_config: Option<PathBuf>,
    /// Name of a detached cluster that is up
    #[arg(long)]
    pub(crate) name: Option<String>,
}

/// What is bounded.
#[derive(Debug, Args)]
pub(crate) struct BoundArgs {
    /// Metrics a second that each client may send, or `unlimited`
    #[arg(long, value_name = "N", default_value = "10000", value_parser = rate)]
    pub(crate) client_rate: ClientRate,
    /// Metrics that a client may send at once after a pause; default: what it may send in two seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) client_burst: Option<u32>,
    /// The largest body of a request, bytes
    #[arg(long, value_name = "N", default_value_t = 1_048_576, value_parser = clap::value_parser!(u32).range(1_024..=67_108_864))]
    pub(crate) max_body_bytes: u32,
    /// Metrics in one request
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) max_batch: u32,
    /// Metrics that wait for the cluster, of all clients; more are answered 503
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) max_in_flight: u32,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 8_192, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_connections: u32,
    /// How long the cluster may take to acknowledge before the answer is 503
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) ack_timeout: Duration,
    /// How long a body may take to arrive
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) body_timeout: Duration,
    /// How long metrics are gathered before they are sent to the cluster together
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = duration)]
    pub(crate) linger: Duration,
}

/// What a client may send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ClientRate {
    Unlimited,
    PerSecond(f64),
}

fn rate(text: &str) -> Result<ClientRate, String> {
    match text.parse::<f64>() {
        _ if text == "unlimited" => Ok(ClientRate::Unlimited),
        Ok(n) if n.is_finite() && (0.001..=1e9).contains(&n) => Ok(ClientRate::PerSecond(n)),
        _ => Err("a number of metrics a second from 0.001 to 1000000000, or `unlimited`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_rate_is_a_number_or_unlimited() {
        assert_eq!(rate("unlimited"), Ok(ClientRate::Unlimited));
        assert_eq!(rate("2.5"), Ok(ClientRate::PerSecond(2.5)));
        for bad in ["", "0", "-1", "NaN", "inf", "1e10", "fast"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
