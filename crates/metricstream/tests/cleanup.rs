//! However a run ends, nothing is left behind: no process, no port.
#![allow(missing_docs)]

mod common;

use std::net::TcpListener;
use std::time::Duration;

use common::{Running, alive, descendants, free_ports, kafka_can_run, metricstream, processes_with, wait_for};

/// A run with a cluster under load, and all the processes that belong to it.
fn under_load(out: &std::path::Path) -> (Running, Vec<u32>) {
    let mut command = metricstream(&["run", "broker-failure", "--engine", "kafka", "--out", out.to_str().unwrap()]);
    let running = Running::start(&mut command);
    wait_for("load to have started", Duration::from_secs(90), || {
        let events = std::fs::read_to_string(out.join("events.jsonl")).unwrap_or_default();
        events.contains("\"phase\"").then_some(())
    });
    wait_for("a second of history", Duration::from_secs(30), || {
        let files = std::fs::read_dir(out.join("history")).into_iter().flatten().flatten();
        let bytes: u64 = files.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum();
        (bytes > 4_000).then_some(())
    });
    let pids = descendants(running.pid());
    assert!(pids.len() >= 3, "three brokers at least: {pids:?}");
    (running, pids)
}

fn nothing_is_left(pids: &[u32], out: &std::path::Path) {
    wait_for("every process to be gone", Duration::from_secs(20), || pids.iter().all(|p| !alive(*p)).then_some(()));
    let mark = out.to_str().unwrap();
    wait_for("no process to name the run", Duration::from_secs(10), || processes_with(mark).is_empty().then_some(()));
}

#[test]
fn ctrl_c_heals_writes_and_exits_130() {
    if !kafka_can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let (running, pids) = under_load(&out);
    running.signal("INT");
    let said = running.finish(Duration::from_secs(90)).expect(130);
    nothing_is_left(&pids, &out);
    let result: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(out.join("result.json")).expect("what was measured")).unwrap();
    assert_eq!(result["verdict"], "inconclusive", "{}", said.stdout);
    assert!(result["messages"]["sent"].as_u64().is_some_and(|n| n > 0), "{:#}", result["messages"]);
}

#[test]
fn sigterm_and_sighup_end_it_like_ctrl_c() {
    if !kafka_can_run() {
        return;
    }
    for signal in ["TERM", "HUP"] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("run");
        let (running, pids) = under_load(&out);
        running.signal(signal);
        running.finish(Duration::from_secs(90)).expect(130);
        nothing_is_left(&pids, &out);
    }
}

#[test]
fn kill_9_leaves_no_process_and_no_port_and_what_was_measured_can_be_checked() {
    if !kafka_can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let (running, pids) = under_load(&out);
    running.signal("KILL");
    running.finish(Duration::from_secs(10));
    nothing_is_left(&pids, &out);
    let said = common::finish(&mut metricstream(&["check", out.to_str().unwrap()]), Duration::from_secs(30));
    assert_eq!(said.code(), 4, "a history without its audit is inconclusive: {}\n{}", said.stdout, said.stderr);
}

#[test]
fn a_panic_leaves_nothing_either() {
    if !kafka_can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let mut command = metricstream(&["run", "broker-failure", "--engine", "kafka", "--out", out.to_str().unwrap()]);
    command.env("METRICSTREAM_PANIC_AT_S", "1");
    let running = Running::start(&mut command);
    let pids = wait_for("three brokers", Duration::from_secs(60), || {
        let pids = descendants(running.pid());
        (pids.len() >= 4).then_some(pids)
    });
    let said = running.finish(Duration::from_secs(120));
    assert_ne!(said.code(), 0);
    assert!(said.stderr.contains("panic"), "{}", said.stderr);
    nothing_is_left(&pids, &out);
}

#[test]
fn a_cluster_in_the_foreground_ends_with_its_terminal() {
    if !kafka_can_run() {
        return;
    }
    let port = free_ports(3);
    let name = format!("fg-{}", std::process::id());
    let port_text = port.to_string();
    let running = Running::start(&mut metricstream(&[
        "cluster", "up", "--engine", "kafka", "--name", &name, "--port", &port_text,
    ]));
    wait_for("the cluster to answer", Duration::from_secs(90), || {
        let status =
            common::finish(&mut metricstream(&["cluster", "status", "--name", &name]), Duration::from_secs(20));
        (status.code() == 0).then_some(())
    });
    let pids = descendants(running.pid());
    running.signal("HUP");
    running.finish(Duration::from_secs(60)).expect(130);
    wait_for("every process to be gone", Duration::from_secs(20), || pids.iter().all(|p| !alive(*p)).then_some(()));
    for p in port..port + 3 {
        TcpListener::bind(("127.0.0.1", p)).unwrap_or_else(|e| panic!("port {p} is still taken: {e}"));
    }
}
