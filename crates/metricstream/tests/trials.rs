//! Repeated runs, baselines, one JSON document on standard output, and a disk that fills up: on one real broker, briefly.
#![allow(missing_docs)]

mod common;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Running, finish, kafka_can_run, metricstream, wait_for};
use serde_json::Value;

/// The shortest run that measures something.
fn scenario(dir: &Path, seconds: u32, baseline: &str) -> String {
    let path = dir.join("short.toml");
    let text = format!(
        "name = 'short'\n[topology]\nbrokers = 1\n[workload]\nduration_s = {seconds}\ngroups = []\n\
         [[workload.producers]]\nrate_per_s = 200\nconfig = {{ 'sasl.password' = 'hunter2' }}\n{baseline}\n"
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not one JSON document ({error}):\n{text}"))
}

#[test]
fn repeated_runs_have_a_folder_each_one_summary_and_one_document() {
    if !kafka_can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (scenario(dir.path(), 4, ""), dir.path().join("trials"));
    let args = [
        "run",
        &file,
        "--engine",
        "kafka",
        "--repeat",
        "2",
        "--seed",
        "5",
        "--format",
        "json",
        "--out",
        out.to_str().unwrap(),
    ];
    let said = finish(&mut metricstream(&args), Duration::from_secs(180)).expect(0);
    let document = json(&said.stdout);
    let results = document["results"].as_array().expect("the results");
    assert_eq!(results.len(), 2);
    assert_eq!((&results[0]["seed"], &results[1]["seed"]), (&5.into(), &6.into()), "every trial has a seed of its own");
    assert_eq!(json(&std::fs::read_to_string(out.join("summary.json")).unwrap()), document["summary"]);
    let quantities = document["summary"]["quantities"].as_array().expect("quantities");
    assert!(quantities.iter().any(|row| row["quantity"] == "messages.lost" && row["runs"] == 2), "{quantities:?}");
    for trial in ["trial-1", "trial-2"] {
        for name in
            ["result.json", "events.jsonl", "junit.xml", "scenario.toml", "history/history.mshist", "broker-1.log"]
        {
            assert!(out.join(trial).join(name).is_file(), "{trial}/{name}");
        }
        // The producer has a password: the cluster does not ask for it, and nobody may read it.
        for name in ["result.json", "scenario.toml", "events.jsonl", "junit.xml"] {
            let text = std::fs::read_to_string(out.join(trial).join(name)).unwrap();
            assert!(!text.contains("hunter2"), "{trial}/{name} tells a secret");
        }
        assert_eq!(results[0]["config"]["producer producer-1 sasl.password"], "[redacted]");
    }

    // Against these trials: with the scenario's own tolerance nothing is worse, with an impossible one something is.
    let baseline = ["--baseline", out.to_str().unwrap()];
    let file = scenario(dir.path(), 4, "[baseline]\ntolerance_percent = 1000\nthresholds = { 'latency.*' = 1000 }");
    let again = dir.path().join("again");
    let args = [&["run", &file, "--engine", "kafka", "--out", again.to_str().unwrap()][..], &baseline].concat();
    let said = finish(&mut metricstream(&args), Duration::from_secs(120)).expect(0);
    assert!(said.stdout.contains("not worse than the baseline in any of"), "{}", said.stdout);
}

#[test]
fn a_disk_that_fills_up_costs_the_files_and_not_the_verdict() {
    if !kafka_can_run() {
        return;
    }
    let limits = Command::new("prlimit").arg("--version").output().is_ok_and(|o| o.status.success());
    if !limits {
        eprintln!("SKIPPED: prlimit is missing, so no disk can be made to look full");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (scenario(dir.path(), 8, ""), dir.path().join("run"));
    // A file that grows beyond the limit is refused like one on a full disk, once the signal for it is ignored.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", common::BIN, "run", &file, "--out", out.to_str().unwrap()]);
    command.args(["--engine", "kafka"]);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped()).process_group(0);
    let running = Running::start(&mut command);
    let history = out.join("history/history.mshist");
    wait_for("a second of history", Duration::from_secs(90), || {
        std::fs::metadata(&history).is_ok_and(|m| m.len() > 2_000).then_some(())
    });
    // Only this process: the broker's disk stays as it is.
    let limit = format!("--fsize={}", std::fs::metadata(&history).unwrap().len() + 500);
    let pid = running.pid().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    let said = running.finish(Duration::from_secs(120)).expect(3);
    assert!(said.stdout.contains("PASS  nothing lost"), "the verdict stands: {}", said.stdout);
    assert!(said.stderr.contains("not whole") && said.stderr.contains("Free some space"), "{}", said.stderr);
    assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
    // What was written before is whole blocks: it is judged as far as it goes.
    let checked = finish(&mut metricstream(&["check", out.to_str().unwrap()]), Duration::from_secs(30)).expect(4);
    assert!(checked.stdout.contains("INCONCLUSIVE") && checked.stdout.contains("sent"), "{}", checked.stdout);
}
