//! Input that no cluster is needed to refuse: each gets one clear message that names place and remedy, exit 2, no panic, and
//! nothing on standard output.
#![allow(missing_docs)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{finish, metricstream};

#[track_caller]
fn refused(args: &[&str], parts: &[&str]) {
    let empty = tempfile::tempdir().unwrap();
    let said = finish(metricstream(args).current_dir(empty.path()), Duration::from_secs(60));
    let left = std::fs::read_dir(empty.path().join("runs")).into_iter().flatten().count();
    assert_eq!(left, 0, "{args:?} leaves a run directory of no run");
    assert_eq!(said.code(), 2, "{args:?}: {}\n{}", said.stdout, said.stderr);
    for part in parts {
        assert!(said.stderr.contains(part), "{args:?}: `{part}` is not in:\n{}", said.stderr);
    }
    assert!(!said.stderr.contains("panicked") && said.stdout.is_empty(), "{args:?}: {}\n{}", said.stdout, said.stderr);
    assert!(said.stderr.lines().all(|line| line.len() <= 400), "no flood: {}", said.stderr);
    assert!(said.stderr.lines().count() <= 12, "one message: {}", said.stderr);
}

fn written(dir: &Path, content: impl AsRef<[u8]>) -> String {
    let path = dir.join("bad.toml");
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_is_no_scenario_file_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    for command in [&["run"][..], &["scenario", "validate"], &["scenario", "show"]] {
        let with = |path: &str, parts: &[&str]| refused(&[command, &[path]].concat(), parts);
        with(folder, &[folder, "directory", "TOML"]);
        with(&written(dir.path(), [0xff, 0xfe, 0x00]), &["bad.toml", "UTF-8"]);
        with(&written(dir.path(), "name = 'x'\n[topology\n"), &["bad.toml", "line 2", "not TOML"]);
        with(&written(dir.path(), "x".repeat(600_000)), &["bad.toml", "larger than 524288 bytes"]);
        // Endless, and of no size beforehand.
        with("/dev/zero", &["/dev/zero", "larger than 524288 bytes"]);
        with("/dev/null", &["`name` is missing"]);
    }
}

#[test]
fn a_scenario_that_is_not_there_says_what_was_looked_for_and_what_is_like_it() {
    for command in [&["run"][..], &["scenario", "validate"], &["scenario", "show"]] {
        let with = |name: &str, parts: &[&str]| refused(&[command, &[name]].concat(), parts);
        with(
            "broker-failur",
            &["no scenario broker-failur; did you mean `broker-failure`?", "Neither a file", "chaos"],
        );
        with("nosuch", &["no scenario nosuch", "Neither a file", "Built in are:\n  broker-failure, "]);
        with("mine/chaos.toml", &["mine/chaos.toml: there is no such file", "chaos is built in"]);
    }
}

#[test]
fn numbers_that_make_no_sense_are_shown_at_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let step = |at: &str| format!("name='x'\n[[timeline]]\nid='k'\n{at}\ndo='kill'\ntarget='broker 1'\n");
    for (text, parts) in [
        ("name='x'\n[workload]\nduration_s=inf".to_owned(), ["line 3, column 12", "`duration_s`"]),
        ("name='x'\n[workload]\nduration_s=1e400".to_owned(), ["line 3, column 12", "1e400"]),
        ("name='x'\n[workload]\nduration_s=nan".to_owned(), ["line 3, column 12", "wanted: a number"]),
        ("name='x'\n[workload]\nduration_s=-5".to_owned(), ["allowed: 1 to 86400", "-5"]),
        ("name='x'\n[[workload.producers]]\nrate_per_s=0".to_owned(), ["above 0", "unthrottled"]),
        ("name='x'\n[[workload.producers]]\nrate_per_s=-1e9".to_owned(), ["above 0", "line 3"]),
        ("name='x'\n[topology]\nbrokers=99999999999999999999".to_owned(), ["line 3", "brokers"]),
        (step("at_s=1e308"), ["`at_s` is 1e308", "allowed: 0 to"]),
        (
            step("at_s=31").replace("[[", "[workload]\nduration_s=30\n[["),
            ["after load has ended", "0 to duration_s = 30"],
        ),
        (step("on='step-done k'"), ["there is no step `k` above", "line 4"]),
        ("name='x'\n[baseline]\ntolerance_percent=-1".to_owned(), ["allowed: 0 to 1000", "line 3"]),
        ("name='x'\n[baseline]\nthresholds={'latency.*'='much'}".to_owned(), ["no percentage", "line 3"]),
    ] {
        refused(&["scenario", "validate", &written(dir.path(), &text)], &parts);
    }
    for (set, parts) in [
        ("workload.duration_s=nan", ["--set", "duration_s"]),
        ("workload.duration_s=1e99", ["allowed: 1 to 86400", "duration_s"]),
        ("timeline.kill-2.at_s=-1", ["allowed: 0 to", "at_s"]),
        ("baseline.tolerance_percent=1e9", ["allowed: 0 to 1000", "tolerance_percent"]),
    ] {
        refused(&["run", "broker-failure", "--set", set], &parts);
    }
}

#[test]
fn options_that_make_no_sense_are_refused_before_anything_starts() {
    refused(&["run", "--repeat", "0"], &["--repeat", "1..=1000"]);
    refused(&["run", "--tolerance", "20%"], &["--baseline"]);
    refused(&["run", "--baseline", "/does/not/exist"], &["/does/not/exist", "result.json"]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("result.json"), "{\"schema\":9}").unwrap();
    refused(&["run", "--baseline", dir.path().to_str().unwrap()], &["result.json", "schema is 9", "reads 1"]);
    refused(&["run", "--repeat", "2", "--out", dir.path().to_str().unwrap()], &["not empty"]);
    refused(&["run", "--engine", "kafka", "--kafka-version", "newest"], &["newest", "4.1.1"]);
    refused(&["run", "--engine", "cloud"], &["cloud", "embedded", "kafka", "remote"]);
    refused(&["cluster", "up", "--engine", "remote"], &["remote", "embedded, kafka"]);
    refused(&["cluster", "wait", "--timeout", "soon"], &["soon", "60s"]);
    refused(&["cluster", "up", "--name", "../x"], &["--name", "letters"]);
    refused(&["cluster", "up", "--topic", "metrics:6"], &["--topic metrics:6", "NAME:PARTITIONS:REPLICATION"]);
    refused(&["cluster", "up", "--topic", "metrics:6:4"], &["replication is 1 to 3"]);
    let nowhere = ["--bootstrap", "127.0.0.1:1"];
    let client = |args: &[&str], parts: &[&str]| refused(&[args, &nowhere[..]].concat(), parts);
    client(&["produce", "metrics", "--acks", "most"], &["--acks", "all"]);
    client(&["produce", "metrics", "--rate", "NaN"], &["--rate", "above 0"]);
    client(&["produce", "metrics", "--config", "lingr.ms=5"], &["--config lingr.ms", "no setting"]);
    client(&["produce", "metrics", "--config", "linger.ms=soon"], &["--config linger.ms"]);
    client(&["produce", "metrics", "--config", "linger.ms"], &["KEY=VALUE"]);
    client(&["consume", "metrics", "g", "--assignor", "uniform"], &["--protocol consumer"]);
    client(&["consume", "metrics", "g", "--protocol", "consumer", "--assignor", "roundrobin"], &["uniform, range"]);
    client(&["topic", "create", "t", "--partitions", "0"], &["--partitions"]);
    client(&["topic", "create", "t", "--config", "retention.ms"], &["KEY=VALUE"]);
}

#[test]
fn nothing_asks_a_question_and_json_is_alone_on_standard_output() {
    let list = finish(&mut metricstream(&["scenario", "list", "--format", "json"]), Duration::from_secs(30)).expect(0);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&list.stdout).expect("one document");
    assert!(rows.len() >= 19 && rows.iter().all(|row| row["name"].is_string() && row["description"].is_string()));
    assert_eq!(list.stderr, "");
    // What `show` prints is a scenario again, its comments included.
    let dir = tempfile::tempdir().unwrap();
    for name in rows.iter().filter_map(|row| row["name"].as_str()) {
        let shown = finish(&mut metricstream(&["scenario", "show", name]), Duration::from_secs(30)).expect(0);
        assert!(shown.stdout.contains("# The profile `apache` sets nothing"), "{}", shown.stdout);
        assert_eq!(shown.stderr, "");
        let path = written(dir.path(), shown.stdout);
        finish(&mut metricstream(&["scenario", "validate", &path]), Duration::from_secs(30)).expect(0);
    }
}
