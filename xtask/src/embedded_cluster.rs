//! The embedded cluster in a process of its own: so that its memory and processor time are its own too.
//!
//! Its standard output says the addresses first, then `ok` for each line of its standard input: `kill ID`, or `restart ID`,
//! which is done when every replica is in sync again. It ends when its standard input does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use metricstream_cluster::{Cluster, Profile};

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
pub(crate) struct EmbeddedProcess {
    child: Child,
    bootstrap: String,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl EmbeddedProcess {
    /// Starts it, and waits until its cluster is ready.
    pub(crate) fn start(brokers: u32) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["__embedded-cluster", "--brokers", &brokers.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("it is piped")?;
        let mut output = BufReader::new(child.stdout.take().context("it is piped")?);
        let bootstrap = said(&mut output)?;
        Ok(Self { child, bootstrap, pipes: Mutex::new((input, output)) })
    }

    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&self, id: i32) -> anyhow::Result<()> {
        self.ask(&format!("kill {id}"))
    }

    pub(crate) fn restart(&self, id: i32) -> anyhow::Result<()> {
        self.ask(&format!("restart {id}"))
    }

    fn ask(&self, what: &str) -> anyhow::Result<()> {
        let (input, output) = &mut *self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(input, "{what}")?;
        match said(output)?.as_str() {
            "ok" => Ok(()),
            answer => bail!("{what}: the cluster answered {answer:?}"),
        }
    }
}

impl Drop for EmbeddedProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line.
fn said(output: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    if output.read_line(&mut line)? == 0 {
        bail!("the embedded cluster ended");
    }
    Ok(line.trim_end().to_owned())
}
