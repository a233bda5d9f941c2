//! `serve` as its clients meet it: over HTTP, before the embedded cluster, which is broken, taken away and brought back.
#![allow(missing_docs)]

#[path = "../../ingest/tests/client/mod.rs"]
mod client;
mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use client::{Client, batch, sample};
use common::{Said, finish, free_ports, metricstream, wait_for};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

/// A `serve` that listens; killed when dropped.
struct Serving {
    child: Child,
    at: SocketAddr,
    bootstrap: String,
    stderr: std::thread::JoinHandle<String>,
}

impl Serving {
    #[track_caller]
    fn start(args: &[&str]) -> Self {
        let all = [&["serve", "--listen", "127.0.0.1:0"], args].concat();
        let mut child = metricstream(&all).spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = child.stderr.take().expect("piped");
        let stderr = std::thread::spawn(move || std::io::read_to_string(stderr).unwrap_or_default());
        let mut word = |wanted: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("a line");
            line.strip_prefix(wanted).map(|rest| rest.trim().to_owned())
        };
        let said = word("bootstrap ").zip(word("listening http://"));
        let Some((bootstrap, at)) = said else {
            let _ = child.kill();
            panic!("it does not listen: {}", stderr.join().expect("read"));
        };
        Self { child, at: at.parse().expect("an address"), bootstrap, stderr }
    }

    fn client(&self) -> Client {
        Client::connect(self.at)
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill");
        assert!(sent.success());
    }

    /// Waits for its end; what it said on standard error comes with it.
    #[track_caller]
    fn ended(mut self) -> (ExitStatus, String) {
        let status = wait_for("serve to end", PATIENCE, || self.child.try_wait().expect("wait"));
        let stderr = std::mem::replace(&mut self.stderr, std::thread::spawn(String::new));
        (status, stderr.join().expect("read"))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A detached embedded cluster with the topic `metrics`; taken down when dropped.
struct Cluster {
    name: String,
}

impl Cluster {
    fn up(what: &str) -> Self {
        let cluster = Self { name: format!("serve-{what}-{}", std::process::id()) };
        let port = free_ports(3).to_string();
        let args = ["up", "--engine", "embedded", "--profile", "fast", "--detach", "--topic", "metrics:6:3"];
        cluster.ask(&[&args[..], &["--port", &port]].concat()).expect(0);
        cluster
    }

    fn ask(&self, args: &[&str]) -> Said {
        finish(&mut metricstream(&[&["cluster"], args, &["--name", &self.name]].concat()), PATIENCE)
    }

    fn serve(&self, more: &[&str]) -> Serving {
        Serving::start(&[&["--name", &self.name], more].concat())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let down = metricstream(&["cluster", "down", "--name", &self.name]).output();
        drop(down);
    }
}

/// The log as a consumer reads it: for each metric's name its values in the order of the log, and the partitions that
/// they are in. Read until `enough`.
#[track_caller]
fn read_log(bootstrap: &str, enough: impl Fn(&BTreeMap<String, Read>) -> bool) -> BTreeMap<String, Read> {
    let args = ["consume", bootstrap, "metrics", "auditor", "--from-beginning", "--format", "json"];
    let mut child = metricstream(&args).spawn().expect("it starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let (tell, lines) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        stdout.lines().map_while(Result::ok).take_while(|line| tell.send(line.clone()).is_ok()).count()
    });
    let mut found = BTreeMap::<String, Read>::new();
    let deadline = Instant::now() + PATIENCE;
    while !enough(&found) {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else { break };
        let line: Value = serde_json::from_str(&line).expect("JSON lines");
        let Some(value) = line["value"].as_str() else { continue };
        let metric: Value = serde_json::from_str(value).expect("a metric is JSON");
        let read = found.entry(metric["name"].as_str().expect("a name").to_owned()).or_default();
        read.values.push(metric["value"].as_u64().expect("a number"));
        let partition = line["partition"].as_i64().expect("a partition");
        if !read.partitions.contains(&partition) {
            read.partitions.push(partition);
        }
    }
    drop(lines);
    let _ = child.kill();
    let _ = child.wait();
    reading.join().expect("read");
    found
}

#[derive(Debug, Default)]
struct Read {
    values: Vec<u64>,
    partitions: Vec<i64>,
}

impl Read {
    fn has_all(&self, accepted: &[u64]) -> bool {
        accepted.iter().all(|value| self.values.contains(value))
    }
}

/// What clients that post on and on were told, until they are stopped.
struct Posting {
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<BTreeMap<String, Vec<u64>>>>,
    threads: Vec<std::thread::JoinHandle<Vec<u16>>>,
}

impl Posting {
    /// Each client posts batches of three with numbers that only grow, and goes on after whatever it is told.
    fn begin(at: SocketAddr, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(Mutex::new(BTreeMap::new()));
        let posts = |client: usize| {
            let (stop, accepted) = (Arc::clone(&stop), Arc::clone(&accepted));
            std::thread::spawn(move || post_on(at, &format!("client_{client}"), &stop, &accepted))
        };
        let threads = (0..clients).map(posts).collect();
        Self { stop, accepted, threads }
    }

    fn count(&self) -> usize {
        self.accepted.lock().expect("no panic inside").values().map(Vec::len).sum()
    }

    #[track_caller]
    fn wait_for_more(&self, count: usize) {
        let before = self.count();
        wait_for("more 202s", PATIENCE, || (self.count() >= before + count).then_some(()));
    }

    /// What was accepted of each client, and every status that was not 202.
    fn stopped(self) -> (BTreeMap<String, Vec<u64>>, Vec<u16>) {
        self.stop.store(true, Ordering::Release);
        let others = self.threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
        let accepted = std::mem::take(&mut *self.accepted.lock().expect("no panic inside"));
        (accepted, others)
    }
}

fn post_on(at: SocketAddr, name: &str, stop: &AtomicBool, accepted: &Mutex<BTreeMap<String, Vec<u64>>>) -> Vec<u16> {
    let mut others = Vec::new();
    let mut connection = None;
    for round in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let values = [round * 3, round * 3 + 1, round * 3 + 2];
        let metric = |value| format!("{{\"name\":\"{name}\",\"value\":{value},\"type\":\"counter\"}}");
        let body = format!("{{\"metrics\":[{}]}}", values.map(metric).join(","));
        let Some(client) = connection.get_or_insert_with(|| Client::try_connect(at).ok()) else {
            break;
        };
        match client.try_post(name, &body) {
            Ok(answer) if answer.status == 202 => {
                accepted.lock().expect("no panic inside").entry(name.to_owned()).or_default().extend(values);
            }
            Ok(answer) => others.push(answer.status),
            // The server is gone, or going; the next connection tells.
            Err(_) => connection = None,
        }
    }
    others
}

#[track_caller]
fn every_202_is_in_the_log_in_order(bootstrap: &str, accepted: &BTreeMap<String, Vec<u64>>) {
    let all = |found: &BTreeMap<String, Read>| {
        accepted.iter().all(|(name, values)| found.get(name).is_some_and(|read| read.has_all(values)))
    };
    let found = read_log(bootstrap, all);
    for (name, values) in accepted {
        let read = found.get(name).unwrap_or_else(|| panic!("nothing of {name} is in the log"));
        let lost: Vec<_> = values.iter().filter(|value| !read.values.contains(value)).collect();
        assert!(lost.is_empty(), "{name}: answered 202 and not in the log: {lost:?}");
        assert!(read.values.is_sorted_by(|a, b| a < b), "{name}: out of order, or twice: {:?}", read.values);
        assert_eq!(read.partitions.len(), 1, "{name}: a client has one partition: {:?}", read.partitions);
    }
}

#[test]
fn a_broker_is_killed_under_load_and_no_202_is_lost() {
    let cluster = Cluster::up("kill");
    let serving = cluster.serve(&["--client-rate", "unlimited"]);
    let posting = Posting::begin(serving.at, 8);
    posting.wait_for_more(300);
    cluster.ask(&["kill", "2"]).expect(0);
    posting.wait_for_more(600);
    cluster.ask(&["start", "2"]).expect(0);
    cluster.ask(&["wait", "--isr-full", "--timeout", "60s"]).expect(0);
    posting.wait_for_more(300);
    let (accepted, others) = posting.stopped();
    assert_eq!(accepted.len(), 8, "every client was served");
    assert!(others.iter().all(|status| *status == 503), "{others:?}");
    every_202_is_in_the_log_in_order(&serving.bootstrap, &accepted);
}

#[test]
fn a_stop_under_load_answers_what_was_taken() {
    let cluster = Cluster::up("stop");
    let serving = cluster.serve(&[]);
    let posting = Posting::begin(serving.at, 4);
    posting.wait_for_more(100);
    let bootstrap = serving.bootstrap.clone();
    serving.signal("TERM");
    let (status, stderr) = serving.ended();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("stopping: what was taken is answered"), "{stderr}");
    let (accepted, others) = posting.stopped();
    assert!(others.iter().all(|status| *status == 503), "{others:?}");
    every_202_is_in_the_log_in_order(&bootstrap, &accepted);
}

#[test]
fn a_cluster_that_is_gone_is_503_in_time_and_served_again_when_it_is_back() {
    let cluster = Cluster::up("gone");
    let serving = cluster.serve(&["--ack-timeout", "1s"]);
    let mut client = serving.client();
    client.post("a", &batch("before", 2)).expect(202);
    client.get("/readyz").expect(200);
    // All at once nobody has a majority, and none of them is there to say so.
    for node in ["1", "2", "3"] {
        cluster.ask(&["kill", node]).expect(0);
    }
    let answer = client.post("a", &batch("during", 2)).expect(503);
    assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("not_acknowledged", Some("1")));
    assert_eq!(answer.json()["error"]["acknowledged"], 0, "{answer:?}");
    let unready = wait_for("it not to be ready", PATIENCE, || {
        Some(serving.client().get("/readyz")).filter(|answer| answer.status == 503)
    });
    assert!(unready.header("retry-after").is_some() && unready.body.contains("broker"), "{unready:?}");
    serving.client().get("/healthz").expect(200);
    client.post("a", "no JSON").expect(400);
    for node in ["1", "2", "3"] {
        cluster.ask(&["start", node]).expect(0);
    }
    wait_for("a 202", PATIENCE, || Some(client.post("a", &batch("after", 2))).filter(|answer| answer.status == 202));
    wait_for("it to be ready", PATIENCE, || {
        Some(serving.client().get("/readyz")).filter(|answer| answer.status == 200)
    });
    let text = serving.client().get("/stats").expect(200).body;
    assert!(sample(&text, "metricstream_ingest_http_requests_total{code=\"503\"}") >= 1.0);
    let acknowledged = sample(&text, "metricstream_ingest_metrics_total{outcome=\"acknowledged\"}");
    assert_eq!(acknowledged, 4.0, "before and after");
    let wanted = BTreeMap::from([("before".to_owned(), vec![0, 1]), ("after".to_owned(), vec![0, 1])]);
    let found = read_log(&serving.bootstrap, |found| {
        wanted.iter().all(|(name, values)| found.get(name).is_some_and(|read| read.has_all(values)))
    });
    assert!(wanted.keys().all(|name| found.contains_key(name)), "{found:?}");
}

#[test]
fn with_a_cluster_of_its_own_it_serves_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let args = ["--engine", "embedded", "--profile", "fast", "--data", data.to_str().expect("UTF-8")];
    let serving = Serving::start(&args);
    let body = r#"{"metrics":[{"name":"kept","value":1,"type":"gauge"}]}"#;
    serving.client().post("a", body).expect(202);
    // A batch and a body too large, a client that is greedy, and others that are served all the same.
    serving.client().post("b", &batch("b", 1_001)).expect(413);
    assert_eq!(serving.client().post("b", &"x".repeat(10_000_000)).expect(413).code(), "body_too_large");
    let greedy = (0..30).map(|_| serving.client().post("greedy", &batch("g", 1_000)).status).collect::<Vec<_>>();
    assert!(greedy.contains(&202) && greedy.contains(&429), "{greedy:?}");
    serving.client().post("a", &batch("others", 1)).expect(202);
    let at = serving.at;
    serving.signal("INT");
    let (status, stderr) = serving.ended();
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert!(Client::try_connect(at).is_err(), "the port is free");

    // On the same data, it is all still there.
    let again = Serving::start(&args);
    let found = read_log(&again.bootstrap, |found| found.contains_key("kept"));
    assert_eq!(found["kept"].values, [1]);
    again.signal("TERM");
    assert_eq!(again.ended().0.code(), Some(0));
}

#[test]
fn what_cannot_be_is_said_before_anything_starts() {
    let said = |args: &[&str]| finish(&mut metricstream(&[&["serve"], args].concat()), PATIENCE);
    let usage = |args: &[&str], part: &str| {
        let said = said(args).expect(2);
        assert!(said.stderr.contains(part), "`{part}` is not in {}", said.stderr);
    };
    usage(&["--engine", "embedded", "--bootstrap", "127.0.0.1:1"], "--bootstrap");
    usage(&["--listen", "nowhere"], "--listen");
    usage(&["--client-rate", "fast"], "unlimited");
    usage(&["--max-batch", "1000", "--max-in-flight", "10"], "--max-in-flight");
    usage(&["--tls-key", "key.pem"], "--tls-certificate");
    usage(&["--tls-key", "none.pem", "--tls-certificate", "none.pem"], "none.pem has no PEM certificate");
    usage(&["--config", "no.such.setting=1"], "no.such.setting");
    usage(&["--engine", "embedded", "--listen", "127.0.0.1:0", "--config", "acks=1"], "acks=all");
    usage(&["--engine", "embedded", "--topic", "a b", "--listen", "127.0.0.1:0"], "--topic a b");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("bound").to_string();
    let busy = said(&["--engine", "embedded", "--listen", &listen]).expect(3).stderr;
    assert!(busy.contains("cannot listen at") && busy.contains("--listen"), "{busy}");
    let nobody = said(&["--bootstrap", "127.0.0.1:1", "--listen", "127.0.0.1:0"]).expect(3).stderr;
    assert!(nobody.contains("127.0.0.1:1"), "{nobody}");
}
