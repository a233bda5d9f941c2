//! Bad input: each gets one clear message and the right exit code, and nothing measured before is lost.
#![allow(missing_docs)]

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use common::{Said, finish, kafka_can_run, metricstream};

fn say(args: &[&str]) -> Said {
    finish(&mut metricstream(args), Duration::from_secs(60))
}

/// One clear message: not a panic, not a backtrace, not silence.
#[track_caller]
fn refused(said: Said, code: i32, parts: &[&str]) {
    let said = said.expect(code);
    for part in parts {
        assert!(said.stderr.contains(part), "`{part}` is not in:\n{}", said.stderr);
    }
    assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
    assert!(said.stderr.lines().count() <= 25, "one message, not a flood:\n{}", said.stderr);
}

fn scenario(dir: &Path, change: impl Fn(&str) -> String) -> String {
    let text = say(&["scenario", "show", "broker-failure"]).expect(0).stdout;
    let changed = change(&text);
    assert_ne!(text, changed, "the change found nothing to change in:\n{text}");
    let path = dir.join("mine.toml");
    std::fs::write(&path, changed).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_command_line_and_the_scenario_are_checked_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    refused(say(&["run", "no-such-scenario"]), 2, &["no-such-scenario", "broker-failure"]);
    refused(say(&["scenario", "validate", "/does/not/exist.toml"]), 2, &["/does/not/exist.toml"]);
    let unknown = scenario(dir.path(), |t| t.replacen("brokers =", "brokerz =", 1));
    refused(say(&["scenario", "validate", &unknown]), 2, &["brokerz", "brokers", "^"]);
    refused(say(&["run", &unknown]), 2, &["brokerz"]);
    let set = |path_value: &'static str| say(&["run", "broker-failure", "--set", path_value]);
    refused(set("topology.brokers=2"), 2, &["replication"]);
    refused(set("topology.topics.0.min_insync_replicas=4"), 2, &["min_insync_replicas"]);
    refused(set("topology.colour=red"), 2, &["colour"]);
    refused(set("nonsense"), 2, &["--set"]);
    refused(set("timeline.0.target=broker 9"), 2, &["9"]);
    refused(set("workload.producers.0.message_size_bytes=10"), 2, &["48"]);
}

#[test]
fn an_output_directory_that_is_not_empty_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("precious"), "x").unwrap();
    refused(say(&["run", "broker-failure", "--out", dir.path().to_str().unwrap()]), 2, &["not empty"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_machine_without_java_or_with_a_broken_kafka_is_told_what_to_install() {
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().to_str().unwrap();
    let mut none = metricstream(&["run", "broker-failure", "--engine", "kafka"]);
    none.current_dir(path).env("PATH", path).env_remove("JAVA_HOME");
    refused(finish(&mut none, Duration::from_secs(30)), 3, &["Java", "17"]);
    if !kafka_can_run() {
        return;
    }
    let mut broken = metricstream(&["run", "broker-failure", "--engine", "kafka"]);
    broken.current_dir(path).env("KAFKA_HOME", path);
    refused(finish(&mut broken, Duration::from_secs(30)), 3, &["KAFKA_HOME", path]);
    let java = empty.path().join("java");
    std::fs::write(&java, "#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n").unwrap();
    std::process::Command::new("chmod").arg("+x").arg(&java).status().unwrap();
    let mut old = metricstream(&["run", "broker-failure", "--engine", "kafka"]);
    old.current_dir(path).env("PATH", format!("{path}:/usr/bin:/bin")).env_remove("JAVA_HOME");
    refused(finish(&mut old, Duration::from_secs(30)), 3, &["is Java 11.0.2, but Apache Kafka needs Java 17"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    if !kafka_can_run() {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let name = format!("taken-{port}");
    for detach in [&["--detach"][..], &[]] {
        let mut args = vec!["cluster", "up", "--engine", "kafka", "--name", &name, "--brokers", "1", "--port", &port];
        args.extend(detach);
        refused(say(&args), 3, &["port", &port]);
    }
}

#[test]
fn a_remote_that_does_not_answer_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let args = ["run", "broker-failure", "--engine", "remote", "--bootstrap", "127.0.0.1:1", "--out"];
    let mut args = args.to_vec();
    args.push(out.to_str().unwrap());
    let said = say(&args);
    // A scenario with faults cannot be run on a cluster that is not ours to break: that is said first.
    refused(said, 2, &["remote", "kill-2: kill broker 2", "--without-faults"]);
    assert!(!out.exists(), "nothing was begun");
    let nobody = ["run", "group-rebalance", "--engine", "remote", "--bootstrap", "127.0.0.1:1"];
    let said = finish(metricstream(&nobody).current_dir(dir.path()), Duration::from_secs(60));
    refused(said, 3, &["127.0.0.1:1: ", "refused", "Check the address"]);
    refused(say(&["run", "broker-failure", "--bootstrap", "127.0.0.1:1"]), 2, &["--bootstrap", "--engine remote"]);
    refused(say(&["run", "group-rebalance", "--engine", "remote", "--profile", "fast"]), 2, &["--profile"]);
    refused(say(&["topic", "list", "--bootstrap", "127.0.0.1:1"]), 3, &["127.0.0.1:1"]);
    let properties = dir.path().join("client.properties");
    std::fs::write(&properties, "security.protocol=SASL_PLAINTEXT\nthis is no property\n").unwrap();
    let file = properties.to_str().unwrap();
    refused(
        say(&["topic", "list", "--bootstrap", "127.0.0.1:1", "--client-config", file]),
        2,
        &["client.properties:2"],
    );
    refused(say(&["topic", "list", "--bootstrap", "127.0.0.1:1", "--client-config", "/no/file"]), 2, &["/no/file"]);
    refused(say(&["topic", "list", "--name", "nobody"]), 3, &["cluster up"]);
}

#[test]
fn what_listens_and_is_no_kafka_is_told_apart_within_bounded_time() {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = web.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in web.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let run = ["run", "group-rebalance", "--engine", "remote", "--bootstrap", &address];
    let said = finish(metricstream(&run).current_dir(dir.path()), Duration::from_secs(60));
    refused(said, 3, &[&address, "did not answer as Kafka does", "security.protocol"]);
}

#[test]
fn histories_that_are_cut_foreign_or_false_are_judged_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    refused(say(&["check", "/does/not/exist"]), 2, &["/does/not/exist"]);
    let garbage = dir.path().join("garbage.bin");
    std::fs::write(&garbage, b"\x00\x01\x02 no history").unwrap();
    refused(say(&["check", garbage.to_str().unwrap()]), 2, &["garbage.bin"]);
}

#[test]
fn a_data_directory_that_the_embedded_cluster_cannot_use_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let up = |data: &Path, parts: &[&str]| {
        let port = common::free_ports(1).to_string();
        let (name, data) = (format!("data-{port}"), data.to_str().unwrap());
        let mut args =
            vec!["cluster", "up", "--engine", "embedded", "--name", &name, "--brokers", "1", "--port", &port];
        args.extend(["--data", data]);
        for detach in [&["--detach"][..], &[]] {
            refused(say(&[&args[..], detach].concat()), 3, parts);
        }
    };
    up(&file, &[file.to_str().unwrap()]);
    // What another node left behind is not touched.
    let node = dir.path().join("foreign/data/node-1");
    std::fs::create_dir_all(&node).unwrap();
    let of_another = "version=1\ncluster.id=c29tZWJvZHkgZWxzZXMgIQ\nnode.id=4\n";
    std::fs::write(node.join("meta.properties"), of_another).unwrap();
    let parts = ["meta.properties", "node 4 of cluster c29tZWJvZHkgZWxzZXMgIQ", "its own data directory"];
    up(&dir.path().join("foreign"), &[&parts[..], &[node.to_str().unwrap()]].concat());
    assert_eq!(std::fs::read_to_string(node.join("meta.properties")).unwrap(), of_another);
    std::fs::write(node.join("meta.properties"), of_another.replace("version=1", "version=2")).unwrap();
    up(&dir.path().join("foreign"), &["meta.properties", "version 2", "use a newer program"]);
}
