//! The guardian: a process of its own that outlives its owner by a moment and leaves nothing behind.
//!
//! Its owner holds the only write ends of a pipe and tells it which processes and folders exist. When the pipe ends,
//! for whatever reason (return, panic, `kill -9`), the guardian kills every process that still is the one that was
//! registered (same pid *and* same birth) and deletes the folders.
//!
//! A process is started through the *shim*, the same program in another role: it registers its own pid and then becomes
//! the real program by `exec`. While it is not registered it holds the pipe open, so there is no moment at which an
//! owner's death leaves a process that nobody knows. On Linux the shim also asks the kernel to kill it with its parent,
//! in case somebody kills guardian and owner together.
//!
//! Clusters, Kafka and Java are unknown here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::error::EngineError;

const ROLE_WATCH: &str = "watch";
const ROLE_EXEC: &str = "exec";
/// What the guardian says when it is listening.
const READY: &str = "ready";
/// A guardian knows at most this many processes; a cluster has a few dozen.
const PROCESSES_MAX: usize = 10_000;
/// How long it looks for the end of what it killed.
const REAP_DEADLINE: Duration = Duration::from_secs(20);
const REAP_POLL: Duration = Duration::from_millis(10);
/// Exit code of a shim that could not become its program, as shells use it.
const EXEC_FAILED: i32 = 127;

/// How to start this build's guardian: a program that hands to [`guardian_main`] whatever arguments follow these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardianCommand {
    /// The executable, as a rule the one that is running.
    pub program: PathBuf,
    /// Arguments that lead it to [`guardian_main`], as a rule one hidden subcommand.
    pub args: Vec<OsString>,
}

impl GuardianCommand {
    /// The running executable, led to [`guardian_main`] by the hidden subcommand `subcommand`.
    ///
    /// # Errors
    /// If the system does not say which executable is running.
    pub fn of_this_program(subcommand: &str) -> Result<Self, EngineError> {
        // On Linux by the file that is running, even if another was put in its place meanwhile.
        let running = PathBuf::from("/proc/self/exe");
        let program = if running.exists() {
            running
        } else {
            std::env::current_exe().map_err(|source| EngineError::Guardian {
                detail: format!("the running program has no path: {source}"),
            })?
        };
        Ok(Self { program, args: vec![subcommand.into()] })
    }

    fn command(&self, role: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).arg(role);
        command
    }
}

/// The owner's end.
#[derive(Debug)]
pub(crate) struct Guardian {
    command: GuardianCommand,
    pipe: Mutex<Option<ChildStdin>>,
    child: Mutex<Child>,
}

impl Guardian {
    /// Starts a guardian and waits until it listens.
    pub(crate) fn start(command: &GuardianCommand) -> Result<Self, EngineError> {
        let failed = |detail: String| EngineError::Guardian { detail };
        let mut child = command
            .command(ROLE_WATCH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| failed(format!("{} does not start: {source}", command.program.display())))?;
        let pipe = child.stdin.take();
        let mut first = String::new();
        if let Some(out) = child.stdout.take() {
            // A program that is no guardian may print without end.
            let _ = BufReader::new(out.take(64)).read_line(&mut first);
        }
        if first.trim_end() != READY {
            drop(pipe);
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(format!(
                "{} was started as a guardian but answered {first:?}",
                command.program.display()
            )));
        }
        Ok(Self { command: command.clone(), pipe: Mutex::new(pipe), child: Mutex::new(child) })
    }

    /// A command that will be `program`, registered here before it begins.
    ///
    /// It must be spawned and waited for by one and the same thread: on Linux it dies with that thread.
    pub(crate) fn shim(&self, program: &Path) -> Result<Command, EngineError> {
        let lost = || EngineError::Guardian { detail: "it was dismissed already".into() };
        let fd: OwnedFd = {
            let pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
            let pipe = pipe.as_ref().ok_or_else(lost)?;
            pipe.as_fd()
                .try_clone_to_owned()
                .map_err(|source| EngineError::Guardian { detail: format!("its pipe cannot be shared: {source}") })?
        };
        let mut command = self.command.command(ROLE_EXEC);
        command.arg(std::process::id().to_string()).arg(program).stdin(Stdio::from(fd)).process_group(0);
        Ok(command)
    }

    /// A process that was started by [`shim`](Self::shim) has ended.
    pub(crate) fn gone(&self, pid: u32) {
        let _ = self.tell(&format!("gone {pid}"));
    }

    /// `folder` shall be deleted at the end.
    pub(crate) fn delete_at_end(&self, folder: &Path) -> Result<(), EngineError> {
        match folder.to_str() {
            Some(text) if !text.contains('\n') && folder.is_absolute() => self.tell(&format!("folder {text}")),
            _ => Err(EngineError::Path { path: folder.into() }),
        }
    }

    fn tell(&self, line: &str) -> Result<(), EngineError> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pipe) = pipe.as_mut() else {
            return Ok(());
        };
        // One write per line: lines of several writers do not mix below PIPE_BUF.
        pipe.write_all(format!("{line}\n").as_bytes())
            .map_err(|source| EngineError::Guardian { detail: format!("it has ended: {source}") })
    }

    /// Closes the pipe and waits until the guardian has cleaned up and ended.
    pub(crate) fn dismiss(&self) {
        drop(self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.dismiss();
    }
}

/// The guardian's program: `args` are those that follow the arguments of [`GuardianCommand`]. Never returns.
pub fn guardian_main(args: impl IntoIterator<Item = OsString>) -> ! {
    let args: Vec<OsString> = args.into_iter().collect();
    let code = match args.split_first() {
        Some((role, [])) if role == ROLE_WATCH => watch(),
        Some((role, [owner, program, rest @ ..])) if role == ROLE_EXEC => exec(owner, program, rest),
        _ => {
            eprintln!("this is started by the program itself, for the processes of a cluster; it is of no use by hand");
            2
        }
    };
    std::process::exit(code)
}

fn watch() -> i32 {
    // A session of its own: neither Ctrl-C nor a closing terminal reaches it.
    let _ = rustix::process::setsid();
    println!("{READY}");
    let mut registry = Registry::default();
    for line in BufReader::new(std::io::stdin().lock()).lines() {
        let Ok(line) = line else { break };
        registry.hear(&line);
    }
    registry.clean_up();
    0
}

/// Registers this process and becomes `program`.
fn exec(owner: &OsString, program: &OsString, args: &[OsString]) -> i32 {
    let owner: Option<i32> = owner.to_str().and_then(|text| text.parse().ok());
    die_with_parent();
    if rustix::process::getppid().map(Pid::as_raw_nonzero).map(i32::from) != owner {
        return EXEC_FAILED;
    }
    let pid = std::process::id();
    let Some(birth) = birth(pid) else {
        eprintln!("the birth of process {pid} cannot be read");
        return EXEC_FAILED;
    };
    // Standard input is the guardian's pipe; after `exec` nothing of it is left open.
    let registered = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(std::fs::File::from)
        .and_then(|mut pipe| pipe.write_all(format!("process {pid} {birth}\n").as_bytes()));
    if let Err(error) = registered {
        eprintln!("the guardian does not listen: {error}");
        return EXEC_FAILED;
    }
    let error = Command::new(program).args(args).stdin(Stdio::null()).exec();
    eprintln!("{} cannot be started: {error}", Path::new(program).display());
    EXEC_FAILED
}

#[cfg(target_os = "linux")]
fn die_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() {}

/// What the guardian knows.
#[derive(Debug, Default)]
struct Registry {
    processes: BTreeMap<u32, String>,
    folders: Vec<PathBuf>,
}

impl Registry {
    fn hear(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "process" if self.processes.len() < PROCESSES_MAX => {
                if let Some((pid, birth)) = rest.split_once(' ')
                    && let Ok(pid) = pid.parse()
                {
                    self.processes.insert(pid, birth.to_owned());
                }
            }
            "gone" => {
                if let Ok(pid) = rest.parse::<u32>() {
                    self.processes.remove(&pid);
                }
            }
            "folder" if self.folders.len() < PROCESSES_MAX => self.folders.push(rest.into()),
            _ => {}
        }
    }

    /// Kills what is still what it was, waits for its end, deletes the folders.
    fn clean_up(&self) {
        let deadline = Instant::now() + REAP_DEADLINE;
        loop {
            let alive: Vec<u32> =
                self.processes.iter().filter(|(pid, born)| is_alive(**pid, born)).map(|(pid, _)| *pid).collect();
            if alive.is_empty() || Instant::now() > deadline {
                break;
            }
            for pid in alive {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    // A stopped process dies of SIGKILL too. The group: whatever the process itself has started.
                    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
            thread::sleep(REAP_POLL);
        }
        for folder in &self.folders {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Whether the process `pid` is the one that was born at `born`, and neither dead nor a zombie.
fn is_alive(pid: u32, born: &str) -> bool {
    birth(pid).is_some_and(|birth| birth == born)
}

/// When a living process was born, in the system's own words: equal for one process, different for its pid's next user.
#[cfg(target_os = "linux")]
pub(crate) fn birth(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the last parenthesis ends it. State is field 3, start time field 22.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    (state != "Z" && state != "X").then_some(())?;
    fields.nth(18).map(str::to_owned)
}

/// When a living process was born, in the system's own words: equal for one process, different for its pid's next user.
#[cfg(not(target_os = "linux"))]
pub(crate) fn birth(pid: u32) -> Option<String> {
    let out = Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let (state, born) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| born.split_whitespace().collect::<Vec<_>>().join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_birth() {
        let me = std::process::id();
        let born = birth(me).expect("this process lives");
        assert!(is_alive(me, &born));
        assert!(!is_alive(me, "another time"));
        assert_eq!(birth(u32::MAX), None);
    }

    #[test]
    fn a_zombie_counts_as_dead() {
        let mut child = Command::new("true").spawn().expect("true starts");
        let deadline = Instant::now() + Duration::from_secs(10);
        while birth(child.id()).is_some() {
            assert!(Instant::now() < deadline, "a process that ended and is not waited for is a zombie");
            thread::yield_now();
        }
        child.wait().expect("waited");
    }

    #[test]
    fn the_registry_kills_only_what_was_registered() {
        let spawn = || Command::new("sleep").arg("600").process_group(0).spawn().expect("sleep starts");
        let (mut mine, mut recycled, mut released) = (spawn(), spawn(), spawn());
        let folder = tempfile::tempdir().expect("a folder").keep();
        let mut registry = Registry::default();
        registry.hear(&format!("process {} {}", mine.id(), birth(mine.id()).expect("alive")));
        registry.hear(&format!("process {} some-other-birth", recycled.id()));
        registry.hear(&format!("process {} {}", released.id(), birth(released.id()).expect("alive")));
        registry.hear(&format!("gone {}", released.id()));
        registry.hear(&format!("folder {}", folder.display()));
        registry.hear("nonsense");
        registry.hear("process x y");
        registry.clean_up();
        assert!(mine.wait().expect("waited").code().is_none(), "killed by a signal");
        assert!(!folder.exists());
        for other in [&mut recycled, &mut released] {
            assert_eq!(other.try_wait().expect("asked"), None, "not touched");
            other.kill().expect("killed");
            other.wait().expect("waited");
        }
    }
}
