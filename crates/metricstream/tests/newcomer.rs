//! What somebody meets who tries the program for the first time, on the embedded cluster: progress beside JSON, the sum over
//! trials, and the hand tools where something is missing, full or gone.
#![allow(missing_docs)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{BIN, Running, Said, finish, free_ports, metricstream};
use serde_json::Value;

/// The shortest run that measures something.
fn scenario(dir: &Path) -> String {
    let path = dir.join("short.toml");
    let text = "name = 'short'\n[topology]\nprofile = 'fast'\n[workload]\nduration_s = 2\ngroups = []\n\
                [[workload.producers]]\nrate_per_s = 200\n";
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Without a word on the engine, as whoever has just built it types it: nothing needs to be installed.
fn run(dir: &Path, more: &[&str]) -> Said {
    let file = scenario(dir);
    let args = [&["run", &file, "--seed", "7"][..], more].concat();
    finish(metricstream(&args).current_dir(dir), Duration::from_secs(120))
}

#[test]
fn json_has_the_timeline_beside_it_and_quiet_has_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let said = run(dir.path(), &["--format", "json"]).expect(0);
    let result: Value = serde_json::from_str(&said.stdout).expect("one document");
    assert_eq!((&result["verdict"], &result["engine"]), (&"pass".into(), &"embedded".into()));
    for part in ["starting the cluster", "cluster ready", "stopping the cluster"] {
        assert!(said.stderr.contains(part), "`{part}` is not in:\n{}", said.stderr);
    }
    let said = run(dir.path(), &["--format", "json", "--quiet"]).expect(0);
    assert!(serde_json::from_str::<Value>(&said.stdout).is_ok(), "one document: {}", said.stdout);
    assert_eq!(said.stderr, "");
}

#[test]
fn trials_end_with_how_many_passed() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("trials");
    let said = run(dir.path(), &["--repeat", "2", "--quiet", "--out", out.to_str().unwrap()]).expect(0);
    assert!(said.stdout.ends_with("\n2 of 2 passed\n"), "{}", said.stdout);
    assert!(!said.stdout.contains("-0.000"), "{}", said.stdout);
    let summed = said.stdout.split("runs: mean").nth(1).expect("the sum over trials");
    assert!(summed.contains("\n  messages.success_rate ") && !summed.contains("\n  messages.lost "), "{summed}");
    let zeros = summed.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(zeros.contains("zero in every run, and so not among them: ") && zeros.contains("duplicates, failed, lost"));
    let summary = std::fs::read_to_string(out.join("summary.json")).unwrap();
    assert!(!summary.contains("-0.0"), "{summary}");
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((&summary["verdict"], &summary["wanted"]), (&"pass".into(), &2.into()));
    assert_eq!((&summary["passed"], &summary["failed"], &summary["runs"]), (&2.into(), &0.into(), &2.into()));
}

#[test]
fn a_file_that_may_not_grow_costs_the_files_and_not_the_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (scenario(dir.path()), dir.path().join("run"));
    let mut command = Command::new("sh");
    // Eight blocks of 512 bytes: the scenario as it was run fits, the history does not.
    command.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\"", BIN, "run", &file, "--engine", "embedded", "--out"]);
    command.arg(&out).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = finish(&mut command, Duration::from_secs(120)).expect(3);
    assert!(said.stdout.contains("PASS  nothing lost"), "the verdict stands: {}\n{}", said.stdout, said.stderr);
    assert!(said.stderr.contains("not whole") && said.stderr.contains("File too large"), "{}", said.stderr);
}

/// A detached embedded cluster; down whatever the test does.
struct Detached {
    name: String,
    bootstrap: String,
}

impl Detached {
    fn up(word: &str) -> Self {
        let name = format!("{word}-{}", std::process::id());
        let port = free_ports(3).to_string();
        let up = ["cluster", "up", "--engine", "embedded", "--detach", "--port", &port, "--topic", "metrics:6:3"];
        let said =
            finish(&mut metricstream(&[&up[..], &["--name", &name]].concat()), Duration::from_secs(90)).expect(0);
        let bootstrap = said.stdout.lines().find_map(|line| line.strip_prefix("bootstrap ")).expect("an address");
        Self { bootstrap: bootstrap.to_owned(), name }
    }

    fn ask(&self, args: &[&str]) -> Said {
        finish(&mut metricstream(&[args, &["--name", &self.name]].concat()), Duration::from_secs(90))
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let _ = metricstream(&["cluster", "down", "--name", &self.name]).output();
    }
}

#[test]
fn a_topic_that_is_not_there_is_told_at_once_with_how_to_make_it() {
    let cluster = Detached::up("absent");
    let begun = Instant::now();
    let said = cluster.ask(&["produce", "no-such-topic", "--count", "10"]).expect(3);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(said.stderr.contains("metricstream topic create no-such-topic"), "{}", said.stderr);
    let topics = cluster.ask(&["topic", "list"]).expect(0).stdout;
    assert!(!topics.contains("no-such-topic"), "asking for it made it: {topics}");
    cluster.ask(&["topic", "create", "no-such-topic"]).expect(0);
    cluster.ask(&["produce", "no-such-topic", "--count", "10"]).expect(0);
}

#[test]
fn after_a_walk_by_hand_a_remote_run_says_how_it_can_be_had_and_then_needs_no_profile() {
    let cluster = Detached::up("walked");
    cluster.ask(&["produce", "metrics", "--count", "10"]).expect(0);
    let dir = tempfile::tempdir().unwrap();
    let run = |out: &str| {
        let args =
            ["run", "broker-failure", "--engine", "remote", "--bootstrap", &cluster.bootstrap, "--without-faults"];
        let more = ["--set", "workload.duration_s=2", "--out", out];
        finish(metricstream(&[&args[..], &more].concat()).current_dir(dir.path()), Duration::from_secs(120))
    };
    let said = run("refused").expect(2);
    let delete = said.stderr.lines().find_map(|line| line.trim().strip_prefix("metricstream topic delete "));
    let delete: Vec<&str> = delete.unwrap_or_else(|| panic!("{}", said.stderr)).split(' ').collect();
    finish(&mut metricstream(&[&["topic", "delete"], &delete[..]].concat()), Duration::from_secs(60)).expect(0);
    let said = run("made").expect(0);
    let header = said.stdout.lines().find(|line| line.starts_with("broker-failure ")).expect("a header");
    assert!(header.contains("remote · 3 brokers") && !said.stdout.contains("profile"), "{}", said.stdout);
    let result = std::fs::read_to_string(dir.path().join("made/result.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!((&result["engine"], &result["profile"]), (&"remote".into(), &Value::Null));
}

#[test]
fn a_broker_that_was_killed_and_started_at_once_is_waited_for() {
    let cluster = Detached::up("restarted");
    let epochs = || {
        let status = cluster.ask(&["cluster", "status", "--format", "json"]).expect(0).stdout;
        let status: Value = serde_json::from_str(&status).expect("a status");
        status["nodes"].as_array().expect("nodes").iter().map(|node| node["unregistered"].clone()).collect::<Vec<_>>()
    };
    cluster.ask(&["cluster", "kill", "2"]).expect(0);
    cluster.ask(&["cluster", "start", "2"]).expect(0);
    let said = cluster.ask(&["cluster", "wait", "--isr-full", "--timeout", "80s"]).expect(0);
    assert_eq!(epochs(), [false, false, false], "it has registered again");
    assert!(said.stdout.is_empty() && said.stderr.contains("every ISR is full"), "{}", said.stderr);
    assert!(said.stderr.contains("broker 2 "), "what was waited for: {}", said.stderr);
    cluster.ask(&["cluster", "stop", "3"]).expect(0);
    let said = cluster.ask(&["cluster", "wait", "--isr-full", "--timeout", "1s"]).expect(1);
    assert!(said.stderr.contains("broker 3 is "), "{}", said.stderr);
}

#[test]
fn a_reader_whose_cluster_is_gone_says_so_and_ends() {
    let cluster = Detached::up("gone");
    cluster.ask(&["produce", "metrics", "--count", "60"]).expect(0);
    let reader =
        Running::start(&mut metricstream(&["consume", &cluster.bootstrap, "metrics", "g", "--from-beginning"]));
    common::wait_for("the group to have read", Duration::from_secs(60), || {
        let described = cluster.ask(&["group", "describe", "g", "--format", "json"]);
        let described: Value = serde_json::from_str(&described.stdout).ok()?;
        let lag = described["lag"].as_array()?;
        (lag.iter().any(|row| row["end"] != 0) && lag.iter().all(|row| row["lag"] == 0)).then_some(())
    });
    cluster.ask(&["cluster", "down"]).expect(0);
    // Its thirty seconds, and not its session's forty-five besides.
    let said = reader.finish(Duration::from_secs(60)).expect(3);
    assert!(said.stdout.contains("metric-0 "), "{}", said.stdout);
    assert!(said.stderr.contains("no broker has answered for 30 s"), "{}", said.stderr);
    assert!(said.stderr.matches("trouble: ").count() <= 12, "told once in a while: {}", said.stderr);
}

#[test]
fn files_without_an_end_are_read_up_to_a_limit() {
    let zero = ["topic", "list", "--bootstrap", "127.0.0.1:1", "--client-config", "/dev/zero"];
    let said = finish(&mut metricstream(&zero), Duration::from_secs(30)).expect(2);
    assert!(said.stderr.contains("/dev/zero") && said.stderr.contains("1048576 bytes"), "{}", said.stderr);
    let dir = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/history.jsonl");
    std::fs::copy(example, dir.path().join("history.jsonl")).unwrap();
    std::fs::write(dir.path().join("events.jsonl"), vec![b' '; 17 * 1024 * 1024]).unwrap();
    let history = dir.path().join("history.jsonl");
    let said = finish(&mut metricstream(&["check", history.to_str().unwrap()]), Duration::from_secs(30)).expect(2);
    assert!(said.stderr.contains("events.jsonl: line 1 is longer than"), "{}", said.stderr);
}
