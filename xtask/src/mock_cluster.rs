//! librdkafka's mock cluster in a process of its own: a peer that costs so little that a client's own cost shows.
//!
//! It is asked for topics (`partitions name`).

use anyhow::Context;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::piped_cluster::PipedCluster;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Brokers, and as many replicas
    #[arg(long)]
    brokers: i32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mock = MockCluster::<DefaultProducerContext>::new(args.brokers)?;
    println!("{}", mock.bootstrap_servers());
    for line in std::io::stdin().lines() {
        let line = line?;
        let (partitions, name) = line.split_once(' ').context("want: partitions name")?;
        mock.create_topic(name, partitions.parse()?, args.brokers)?;
        println!("ok");
    }
    Ok(())
}

/// The mock cluster's process; it ends with this.
pub(crate) struct MockProcess(PipedCluster);

impl MockProcess {
    pub(crate) fn start(brokers: u32) -> anyhow::Result<Self> {
        PipedCluster::start("__mock-cluster", brokers).map(Self)
    }

    pub(crate) fn bootstrap(&self) -> &str {
        self.0.bootstrap()
    }

    pub(crate) fn create_topic(&self, name: &str, partitions: i32) -> anyhow::Result<()> {
        self.0.ask(&format!("{partitions} {name}"))
    }
}
