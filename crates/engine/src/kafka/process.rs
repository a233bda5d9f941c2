//! One process of a node: started through the guardian's shim, watched until its end, signalled without ever hitting
//! another process that was given its pid.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::sync::watch;

use crate::error::EngineError;
use crate::guardian::Guardian;

/// What is to be run.
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// Standard output and error are appended here.
    pub(crate) log: PathBuf,
    /// Name of the watching thread.
    pub(crate) name: String,
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    shared: Arc<Shared>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether the pid may be signalled: it is not yet free for somebody else.
    alive: Mutex<bool>,
    reaped: Condvar,
}

impl Shared {
    fn alive(&self) -> MutexGuard<'_, bool> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts it. Blocks for milliseconds.
    pub(crate) fn spawn(launch: &Launch, guardian: &Arc<Guardian>) -> Result<Self, EngineError> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&launch.log)
            .map_err(EngineError::io("open", &launch.log))?;
        let both = log.try_clone().map_err(EngineError::io("share", &launch.log))?;
        let mut command = guardian.shim(&launch.program)?;
        command.args(&launch.args).stdout(Stdio::from(log)).stderr(Stdio::from(both));
        let shared = Arc::new(Shared::default());
        let (ended_tx, ended) = watch::channel(None);
        let (started_tx, started) = mpsc::channel();
        let keeper = {
            let (shared, guardian) = (Arc::clone(&shared), Arc::clone(guardian));
            move || {
                // This thread is the parent and lives as long as the process: on Linux a process dies with its parent.
                let mut child = match command.spawn() {
                    Ok(child) => child,
                    Err(error) => {
                        let _ = started_tx.send(Err(error));
                        return;
                    }
                };
                // The pipe to the guardian and the log are the child's now.
                drop(command);
                let id = child.id();
                let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
                    return;
                };
                *shared.alive() = true;
                let _ = started_tx.send(Ok(pid));
                // Without reaping it: as long as it is a zombie its pid is its own.
                while waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
                    .is_err_and(|e| e == rustix::io::Errno::INTR)
                {}
                let mut alive = shared.alive();
                *alive = false;
                let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0));
                drop(alive);
                shared.reaped.notify_all();
                guardian.gone(id);
                let _ = ended_tx.send(Some(status));
            }
        };
        let failed = |source| EngineError::Spawn { program: launch.program.clone(), source };
        thread::Builder::new().name(launch.name.clone()).spawn(keeper).map_err(failed)?;
        let pid =
            started.recv().unwrap_or_else(|_| Err(std::io::Error::other("its pid is unknown"))).map_err(failed)?;
        Ok(Self { pid, shared, ended })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal; `None` when the process has ended already, else when it was sent.
    pub(crate) fn signal(&self, signal: Signal) -> Option<Instant> {
        let alive = self.shared.alive();
        if !*alive {
            return None;
        }
        let at = Instant::now();
        if signal == Signal::KILL {
            let _ = kill_process_group(self.pid, signal);
        }
        kill_process(self.pid, signal).ok().map(|()| at)
    }

    /// Tells of the end; may be awaited by many.
    pub(crate) fn ended(&self) -> watch::Receiver<Option<ExitStatus>> {
        self.ended.clone()
    }

    /// Kills it and waits for its end, blocking.
    pub(crate) fn kill_and_wait(&self, deadline: Duration) -> bool {
        let _ = self.signal(Signal::KILL);
        let alive = self.shared.alive();
        let waited = self.shared.reaped.wait_timeout_while(alive, deadline, |alive| *alive);
        let (alive, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*alive
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.signal(Signal::KILL);
    }
}

/// Waits for the end of a process.
pub(crate) async fn end_of(mut ended: watch::Receiver<Option<ExitStatus>>) -> ExitStatus {
    let status = ended.wait_for(Option::is_some).await.ok().and_then(|status| *status);
    // The sender is dropped without a word only if its thread panicked.
    status.unwrap_or_else(|| ExitStatus::from_raw(0))
}

/// The part of a log that tells most about an end: its first errors with their causes, else its last lines.
pub(crate) fn tail(log: &Path, from: u64) -> String {
    telling(&text_from(log, from))
}

fn telling(text: &str) -> String {
    const ERRORS_MAX: usize = 8;
    const WITHOUT_ERRORS_MAX: usize = 12;
    let mut errors = Vec::new();
    let mut after_error = false;
    for line in text.lines() {
        let begins =
            ["] ERROR ", "] FATAL ", "Caused by:", "Error:", "Exception in "].iter().any(|word| line.contains(word));
        // The line after an error names the exception; its stack is for the log.
        if (begins || after_error) && !line.trim_start().starts_with("at ") && errors.len() < ERRORS_MAX {
            errors.push(line);
        }
        after_error = begins;
    }
    if errors.is_empty() { super::last_lines(text, WITHOUT_ERRORS_MAX) } else { errors.join("\n") }
}

/// What was written to a log since it was `from` bytes long; of a long text the end.
pub(crate) fn text_from(log: &Path, from: u64) -> String {
    use std::io::{Read, Seek, SeekFrom};
    const BYTES_MAX: u64 = 4 << 20;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let from = file.metadata()?.len().saturating_sub(BYTES_MAX).max(from);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_the_errors_and_their_causes_are_told() {
        let log = "[t] INFO starting (kafka.Kafka$)\n\
                   [t] ERROR Exiting Kafka due to fatal exception (kafka.Kafka$)\n\
                   org.apache.kafka.common.config.ConfigException: Invalid value soon\n\
                   \tat org.apache.kafka.A\n\
                   \tat org.apache.kafka.B\n\
                   Caused by: java.lang.NumberFormatException\n\
                   \tat org.apache.kafka.C\n\
                   [t] INFO shut down\n";
        assert_eq!(
            telling(log),
            "[t] ERROR Exiting Kafka due to fatal exception (kafka.Kafka$)\n\
             org.apache.kafka.common.config.ConfigException: Invalid value soon\n\
             Caused by: java.lang.NumberFormatException"
        );
        assert_eq!(telling("a\n\nb\n"), "a\nb");
    }
}
