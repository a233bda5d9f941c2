//! What the process-level tests share: they start the binary as a user does and read what it leaves behind.
#![allow(unused, missing_docs, unreachable_pub)] // Every test program uses its own part of this.

pub mod stories;

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub const BIN: &str = env!("CARGO_BIN_EXE_metricstream");

/// Whether real Apache Kafka can run here. If not, the test is reported as skipped with the reason, and fails where
/// `METRICSTREAM_REQUIRE_ALL` is set, as it is in CI.
pub fn kafka_can_run() -> bool {
    let java = Command::new("java").arg("-version").output().is_ok_and(|o| o.status.success());
    let missing = if !java && std::env::var_os("JAVA_HOME").is_none() {
        "Java 17 or newer"
    } else if std::env::var_os("KAFKA_HOME").is_none()
        && !Command::new("mvn").arg("-v").output().is_ok_and(|o| o.status.success())
    {
        "Maven (or KAFKA_HOME)"
    } else {
        return true;
    };
    assert!(
        std::env::var_os("METRICSTREAM_REQUIRE_ALL").is_none(),
        "{missing} is missing, and METRICSTREAM_REQUIRE_ALL forbids skipping"
    );
    eprintln!("SKIPPED: {missing} is missing, so Apache Kafka cannot run here");
    false
}

/// A command of the binary, with standard input closed and its output kept.
pub fn metricstream(args: &[&str]) -> Command {
    let mut command = Command::new(BIN);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "exit code; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// Runs a command to its end; kills it at the deadline and fails.
#[track_caller]
pub fn finish(command: &mut Command, within: Duration) -> Said {
    Running::start(command).finish(within)
}

/// A command that is running; killed when dropped.
pub struct Running {
    pub child: Child,
    stdout: std::thread::JoinHandle<String>,
    stderr: std::thread::JoinHandle<String>,
    what: String,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{what}: {e}"));
        let read = |mut from: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = from.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        };
        let stdout = read(Box::new(child.stdout.take().expect("piped")));
        let stderr = read(Box::new(child.stderr.take().expect("piped")));
        Self { child, stdout, stderr, what }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, by its name as `kill` knows it.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().expect("kill");
        assert!(sent.success(), "kill -{name} {}", self.pid());
    }

    #[track_caller]
    pub fn finish(mut self, within: Duration) -> Said {
        let deadline = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                let said = (self.stdout.join().unwrap_or_default(), self.stderr.join().unwrap_or_default());
                panic!("{} did not end within {within:?}; it said:\n{}\n{}", self.what, said.0, said.1);
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Said { status, stdout: self.stdout.join().unwrap_or_default(), stderr: self.stderr.join().unwrap_or_default() }
    }
}

/// The first of `count` neighbouring ports that nobody has: below the range from which outgoing connections get theirs, and
/// begun anywhere, so that tests at the same time do not meet.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    const PORTS: std::ops::Range<u16> = 19_000..31_900;
    let random = RandomState::new().hash_one(count) % u64::from(PORTS.end - PORTS.start);
    let begin = PORTS.start + u16::try_from(random).unwrap_or(0);
    let all_free = |first: &u16| (*first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    (begin..PORTS.end).chain(PORTS.start..begin).step_by(usize::from(count)).find(all_free).expect("free ports")
}

/// Waits for a condition, polling; fails at the deadline and says what it waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} for: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One run of a scenario and what it left behind.
pub struct Trial {
    pub dir: tempfile::TempDir,
    pub said: Said,
    pub result: Value,
}

/// Runs a scenario on Apache Kafka to its end.
#[track_caller]
pub fn run(scenario: &str, more: &[&str]) -> Trial {
    run_on(scenario, &[&["--engine", "kafka"][..], more].concat())
}

/// Runs a scenario to its end, on the engine that the options name.
#[track_caller]
pub fn run_on(scenario: &str, more: &[&str]) -> Trial {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("run");
    let mut args = vec!["run", scenario, "--seed", "7", "--out", out.to_str().expect("utf-8")];
    args.extend(more);
    let said = finish(&mut metricstream(&args), Duration::from_secs(240));
    let text = std::fs::read_to_string(out.join("result.json")).unwrap_or_else(|e| {
        panic!("no result.json ({e}); exit {}; stdout:\n{}\nstderr:\n{}", said.code(), said.stdout, said.stderr)
    });
    let result = serde_json::from_str(&text).expect("result.json is JSON");
    keep_for_reading(scenario, &out, &said);
    Trial { dir, said, result }
}

/// With `METRICSTREAM_KEEP_RUNS=DIR` every run directory of the tests is copied there, to be looked at.
fn keep_for_reading(scenario: &str, out: &Path, said: &Said) {
    let Some(keep) = std::env::var_os("METRICSTREAM_KEEP_RUNS") else { return };
    let name = Path::new(scenario).file_stem().unwrap_or_default().to_string_lossy();
    let to = PathBuf::from(keep).join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::create_dir_all(&to);
    for name in ["result.json", "events.jsonl", "scenario.toml"] {
        let _ = std::fs::copy(out.join(name), to.join(name));
    }
    let _ = std::fs::write(to.join("terminal.txt"), &said.stdout);
}

impl Trial {
    pub fn out(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub fn num(&self, pointer: &str) -> f64 {
        self.result
            .pointer(pointer)
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("{pointer} is {:?}, not a number", self.result.pointer(pointer)))
    }

    pub fn text(&self, pointer: &str) -> &str {
        self.result
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer} is {:?}, not text", self.result.pointer(pointer)))
    }

    pub fn rows(&self, name: &str) -> &[Value] {
        self.result[name].as_array().unwrap_or_else(|| panic!("{name} is not a list"))
    }

    /// The claim with this id.
    #[track_caller]
    pub fn claim(&self, id: &str) -> &Value {
        self.rows("claims").iter().find(|c| c["id"] == id).unwrap_or_else(|| {
            let ids: Vec<_> = self.rows("claims").iter().map(|c| c["id"].to_string()).collect();
            panic!("no claim {id}; there are {}", ids.join(", "))
        })
    }

    /// No claim may go unanswered.
    #[track_caller]
    pub fn every_claim_is_answered(&self) {
        assert!(!self.rows("claims").is_empty(), "no claims at all");
        for claim in self.rows("claims") {
            assert!(!claim["held"].is_null(), "unanswered: {claim:#}");
            assert!(!claim["measured"].is_null(), "unmeasured: {claim:#}");
            assert!(claim["reason"].as_str().is_some_and(|r| !r.is_empty()), "no reason: {claim:#}");
        }
    }

    /// The run passed with the exit code that says so, and nothing that was acknowledged is gone.
    #[track_caller]
    pub fn passed_without_loss(&self) {
        assert_eq!(self.said.code(), 0, "{}\n{}", self.said.stdout, self.said.stderr);
        assert_eq!(self.text("/verdict"), "pass", "{:#}", self.result["reasons"]);
        assert_eq!(self.num("/messages/lost"), 0.0);
        assert_eq!(self.num("/messages/alien"), 0.0);
        assert_eq!(self.num("/messages/phantom"), 0.0);
        assert!(self.num("/messages/acked") > 0.0);
    }

    /// The guarantee rows that were judged and did not hold.
    pub fn broken_guarantees(&self) -> Vec<&Value> {
        self.rows("guarantees").iter().filter(|g| g["held"] == false).collect()
    }
}

/// Processes whose command line contains `mark`, by id; not this one.
pub fn processes_with(mark: &str) -> Vec<u32> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        if pid != own && String::from_utf8_lossy(&line).contains(mark) {
            found.push(pid);
        }
    }
    found
}

/// Descendants of a process, by id: children, their children, and so on.
pub fn descendants(of: u32) -> Vec<u32> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if let Some(parent) = after_name.split_whitespace().nth(1).and_then(|p| p.parse().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![of];
    let mut at = 0;
    while at < found.len() {
        let of = found[at];
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// Whether a process is there and not a zombie.
pub fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|s| s.rsplit_once(')').map(|(_, rest)| !rest.trim_start().starts_with('Z')))
        .unwrap_or(false)
}
