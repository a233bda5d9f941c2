//! Benchmarks: each prints what it measured beside what must hold, and fails if that does not.

mod beside;
mod build;
mod cluster;
mod frames;
mod ingest;
mod ledger;
mod produce;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The product's producing beside a bare rdkafka loop, in turns, on one Apache Kafka cluster
    #[command(after_help = "Examples:\n  cargo xtask bench produce --rounds 3\n  cargo xtask bench produce --mock")]
    Produce(produce::Args),
    /// The embedded cluster beside Apache Kafka: start, memory, throughput, latency, failover
    #[command(
        after_help = "Examples:\n  cargo xtask bench cluster --markdown table.md\n  cargo xtask bench cluster --rows start,memory --without-kafka --quick"
    )]
    Cluster(cluster::Args),
    /// Profile `apache` of the embedded cluster beside Apache Kafka: the same scenarios, medians of what clocks decide
    #[command(after_help = "Example:\n  cargo xtask bench beside --runs 5")]
    Beside(beside::Args),
    /// What one acknowledged frame costs the embedded cluster
    #[command(after_help = "Example:\n  cargo xtask bench frames --records 1,1000")]
    Frames(frames::Args),
    /// `serve` before its own embedded cluster: requests, metrics in batches, latency
    #[command(after_help = "Example:\n  cargo xtask bench ingest --turns 3")]
    Ingest(ingest::Args),
    /// The ledger: operations per second, memory of 100 M messages, and a 10 M-message history checked
    #[command(after_help = "Example:\n  cargo xtask bench ledger")]
    Ledger,
    /// An incremental build after a change in the binary
    #[command(after_help = "Example:\n  cargo xtask bench build")]
    Build(build::Args),
}

pub(crate) fn run(what: &Bench) -> anyhow::Result<()> {
    match what {
        Bench::Produce(args) => crate::product::in_release(|| produce::run(args)),
        Bench::Cluster(args) => crate::product::in_release(|| cluster::run(args)),
        Bench::Beside(args) => beside::run(args),
        Bench::Frames(args) => crate::product::in_release(|| frames::run(args)),
        Bench::Ingest(args) => crate::product::in_release(|| ingest::run(args)),
        Bench::Ledger => ledger::run(),
        Bench::Build(args) => build::run(args),
    }
}

/// A figure beside what must hold.
fn judged(what: &str, figure: &str, wanted: &str, holds: bool) -> bool {
    println!("{what:52} {figure:>16}   {wanted:18} {}", if holds { "holds" } else { "DOES NOT HOLD" });
    holds
}
