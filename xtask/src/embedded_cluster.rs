//! The embedded cluster in a process of its own: so that its memory and processor time are its own too.
//!
//! It is asked for `kill ID`, or `restart ID`, which is done when every replica is in sync again.

use std::time::Duration;

use anyhow::{Context, bail};
use metricstream_cluster::{Cluster, Profile};

use crate::piped_cluster::PipedCluster;

/// How long a node may take to be in sync again.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Brokers; with 0 there is no cluster and the process is the bare binary
    #[arg(long)]
    brokers: i32,
    /// Kafka's own timers instead of the profile `fast`
    #[arg(long)]
    apache: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let profile = if args.apache { Profile::Apache } else { Profile::Fast };
    let cluster = match args.brokers {
        0 => None,
        n => Some(runtime.block_on(Cluster::builder().brokers(n).profile(profile).start())?),
    };
    println!("{}", cluster.as_ref().map(Cluster::bootstrap).unwrap_or_default());
    for line in std::io::stdin().lines() {
        let (line, cluster) = (line?, cluster.as_ref().context("there is no cluster")?);
        let (what, id) = line.split_once(' ').context("want: word id")?;
        runtime.block_on(command(cluster, what, id.parse()?))?;
        println!("ok");
    }
    Ok(())
}

async fn command(cluster: &Cluster, what: &str, id: i32) -> anyhow::Result<()> {
    match what {
        "kill" => cluster.kill(id).await?,
        "restart" => {
            cluster.restart(id).await?;
            cluster.wait_ready(PATIENCE).await?;
            cluster.wait_isr_full(PATIENCE).await?;
        }
        _ => bail!("{what} is neither kill nor restart"),
    }
    Ok(())
}

/// The cluster's process; it ends with this.
pub(crate) struct EmbeddedProcess(PipedCluster);

impl EmbeddedProcess {
    /// Starts it, and waits until its cluster is ready.
    pub(crate) fn start(brokers: u32) -> anyhow::Result<Self> {
        PipedCluster::start("__embedded-cluster", brokers).map(Self)
    }

    pub(crate) fn bootstrap(&self) -> &str {
        self.0.bootstrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    pub(crate) fn kill(&self, id: i32) -> anyhow::Result<()> {
        self.0.ask(&format!("kill {id}"))
    }

    pub(crate) fn restart(&self, id: i32) -> anyhow::Result<()> {
        self.0.ask(&format!("restart {id}"))
    }
}
