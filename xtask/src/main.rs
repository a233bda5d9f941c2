//! Developer programs: benchmarks against peers and the independent gap check. Structure checks are tests of this crate.
//!
//! What is here measures the product from outside, or times it; nothing of the product depends on it.

mod bench;
mod embedded_cluster;
mod fuzz;
mod gap_check;
mod librdkafka_suite;
mod mock_cluster;
mod piped_cluster;
mod plain_producer;
mod product;

use clap::{Parser, Subcommand};

/// Developer programs of MetricStream
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill leaders, and compare the write unavailability that `run` reports with what a producer of its own saw
    #[command(after_help = "Example:\n  cargo xtask gap-check --kills 5")]
    GapCheck(gap_check::Args),
    /// Speed and memory, each beside what must hold
    #[command(subcommand, after_help = "Example:\n  cargo xtask bench produce")]
    Bench(bench::Bench),
    /// Feed damaged input to every decoder of Kafka's bytes, for as long as you like
    #[command(after_help = "Example:\n  cargo xtask fuzz --seconds 600")]
    Fuzz(fuzz::Args),
    /// Run librdkafka's own tests against the embedded cluster
    #[command(after_help = "Example:\n  cargo xtask librdkafka-suite 0012 0019")]
    LibrdkafkaSuite(librdkafka_suite::Args),
    /// The producer of the gap check.
    #[command(name = "__plain-producer", hide = true)]
    PlainProducer(plain_producer::Args),
    /// The cluster of `bench produce --mock`.
    #[command(name = "__mock-cluster", hide = true)]
    MockCluster(mock_cluster::Args),
    /// The cluster of `bench cluster`.
    #[command(name = "__embedded-cluster", hide = true)]
    EmbeddedCluster(embedded_cluster::Args),
    /// Kills what its parent left behind.
    #[command(name = "__guardian", hide = true)]
    Guardian {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::GapCheck(args) => gap_check::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::LibrdkafkaSuite(args) => librdkafka_suite::run(&args),
        Command::Bench(what) => bench::run(&what),
        Command::PlainProducer(args) => plain_producer::run(&args),
        Command::MockCluster(args) => mock_cluster::run(&args),
        Command::EmbeddedCluster(args) => embedded_cluster::run(&args),
        Command::Guardian { args } => metricstream_engine::guardian_main(args),
    }
}
