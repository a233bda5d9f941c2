//! A cluster in a process of its own, a hidden command of this program: asked over standard input, one thing a line.
//!
//! Its standard output says the addresses first, then `ok` for each line that it was asked. It ends when its standard input
//! does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};

/// The cluster's process; it ends with this.
pub(crate) struct PipedCluster {
    child: Child,
    bootstrap: String,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl PipedCluster {
    /// Starts the hidden command `what`, and waits until its cluster is ready.
    pub(crate) fn start(what: &str, brokers: u32) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([what, "--brokers", &brokers.to_string()]);
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

    /// Asks for something and waits until it is done.
    pub(crate) fn ask(&self, what: &str) -> anyhow::Result<()> {
        let (input, output) = &mut *self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(input, "{what}")?;
        match said(output)?.as_str() {
            "ok" => Ok(()),
            answer => bail!("{what}: the cluster answered {answer:?}"),
        }
    }
}

impl Drop for PipedCluster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line.
fn said(output: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    if output.read_line(&mut line)? == 0 {
        bail!("the cluster's process ended");
    }
    Ok(line.trim_end().to_owned())
}
