//! librdkafka's mock cluster in a process of its own: a peer that costs so little that a client's own cost shows.
//!
//! Asked over standard input, one topic a line (`partitions name`); its standard output says the addresses first, then `ok`
//! for each topic. It ends when its standard input does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, anyhow, bail};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

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
pub(crate) struct MockProcess {
    child: Child,
    bootstrap: String,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl MockProcess {
    pub(crate) fn start(brokers: u32) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["__mock-cluster", "--brokers", &brokers.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("it is piped")?;
        let mut output = BufReader::new(child.stdout.take().context("it is piped")?);
        let bootstrap = said(&mut output)?;
        Ok(Self { child, bootstrap, pipes: Mutex::new((input, output)) })
    }

    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub(crate) fn create_topic(&self, name: &str, partitions: i32) -> anyhow::Result<()> {
        let (input, output) = &mut *self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(input, "{partitions} {name}")?;
        let answer = said(output)?;
        if answer == "ok" { Ok(()) } else { Err(anyhow!("the mock cluster answered {answer:?}")) }
    }
}

impl Drop for MockProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line.
fn said(output: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    if output.read_line(&mut line)? == 0 {
        bail!("the mock cluster ended");
    }
    Ok(line.trim_end().to_owned())
}
