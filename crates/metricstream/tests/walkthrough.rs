//! README's walk through a cluster by hand: up, describe, two consumers, kill, start, down; each command as typed.
#![allow(missing_docs)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use common::{finish, free_ports, kafka_can_run, metricstream, wait_for};

/// A consumer in its own terminal, its lines readable while it runs.
struct Terminal {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Terminal {
    fn open(args: &[&str]) -> Self {
        let mut command = metricstream(args);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tx, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).all(|l| tx.send(l).is_ok()));
        Self { child, lines, seen: Vec::new() }
    }

    #[track_caller]
    fn wait_for_line(&mut self, what: &str, within: Duration, found: impl Fn(&str) -> bool) -> String {
        wait_for(&format!("a line with {what}"), within, || {
            self.seen.extend(self.lines.try_iter());
            self.seen.iter().find(|l| found(l)).cloned()
        })
    }

    fn end(mut self) -> i32 {
        let pid = self.child.id().to_string();
        std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
        wait_for("the consumer to end", Duration::from_secs(20), || self.child.try_wait().unwrap()).code().unwrap_or(-1)
    }
}

/// Ends the cluster whatever the test does.
struct Down(String);

impl Drop for Down {
    fn drop(&mut self) {
        let _ = metricstream(&["cluster", "down", "--name", &self.0]).output();
    }
}

#[test]
fn a_cluster_by_hand_is_broken_and_healed_while_two_consumers_share_a_topic() {
    // As README has it: without a word on the engine.
    walk_through("embedded", &[]);
}

#[test]
fn the_same_by_hand_on_apache_kafka() {
    if kafka_can_run() {
        walk_through("kafka", &["--engine", "kafka"]);
    }
}

fn walk_through(of: &str, engine: &[&str]) {
    let name = format!("walk-{of}-{}", std::process::id());
    let port = free_ports(3).to_string();
    let ask = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--name", &name]);
        finish(&mut metricstream(&all), Duration::from_secs(90))
    };
    let _down = Down(name.clone());
    let start = [&["cluster", "up", "--detach", "--port", &port][..], engine].concat();
    let up = ask(&[&start[..], &["--topic", "metrics:6:3"]].concat()).expect(0);
    let bootstrap = up.stdout.lines().find_map(|l| l.strip_prefix("bootstrap ")).expect("a bootstrap line").to_owned();
    assert!(bootstrap.starts_with(&format!("127.0.0.1:{port},")), "{bootstrap}");

    let twice = ask(&start).expect(3);
    assert!(twice.stderr.contains("already"), "{}", twice.stderr);

    let described = ask(&["topic", "describe", "metrics"]).expect(0).stdout;
    assert_eq!(described.matches("Partition: ").count(), 6, "{described}");
    assert!(described.contains("Leader: ") && described.contains("Replicas: [") && described.contains("Isr: ["));

    ask(&["produce", "metrics", "--count", "600"]).expect(0);
    // What a reader had fetched ahead and never showed is not committed: it is the next one's.
    ask(&["consume", "metrics", "group-2", "--from-beginning", "--count", "10"]).expect(0);
    let described = ask(&["group", "describe", "group-2"]).expect(0).stdout;
    let committed = described.lines().filter_map(|l| l.split("Committed: ").nth(1)?.split_whitespace().next());
    assert_eq!(committed.map(|n| n.parse::<i64>().unwrap()).sum::<i64>(), 10, "{described}");
    let consume = ["consume", &bootstrap, "metrics", "group-1", "--from-beginning"];
    let mut first = Terminal::open(&consume);
    first.wait_for_line("all six partitions", Duration::from_secs(30), |l| l.contains("[0, 1, 2, 3, 4, 5]"));
    let mut second = Terminal::open(&consume);
    let moved =
        first.wait_for_line("its half", Duration::from_secs(30), |l| l.contains("Rebalancing: [0, 1, 2, 3, 4, 5] → ["));
    let own = second.wait_for_line("the other half", Duration::from_secs(30), |l| l.contains("Rebalancing: [] → ["));
    let halves = [["[0, 2, 4]", "[1, 3, 5]"], ["[1, 3, 5]", "[0, 2, 4]"]];
    assert!(halves.iter().any(|[a, b]| moved.contains(a) && own.contains(b)), "{moved}\n{own}");
    let group = ask(&["group", "describe", "group-1"]).expect(0).stdout;
    for (terminal, line) in [(&first, &moved), (&second, &own)] {
        let half = line.rsplit_once("→ [").and_then(|(_, half)| half.strip_suffix(']')).expect("what it has now");
        let owns: Vec<String> = half.split(", ").map(|partition| format!("metrics-{partition}")).collect();
        let member = format!("Member: metricstream-consume-{}   Owns: [{}]", terminal.child.id(), owns.join(", "));
        assert!(group.lines().any(|line| line == member), "no `{member}` in\n{group}");
    }

    ask(&["cluster", "kill", "2"]).expect(0);
    wait_for("broker 2 to be gone from every ISR", Duration::from_secs(60), || {
        let now = ask(&["topic", "describe", "metrics"]).stdout;
        let isrs: Vec<&str> = now.lines().filter_map(|l| l.split("Isr: ").nth(1)).collect();
        (isrs.len() == 6 && isrs.iter().all(|isr| !isr.contains('2'))).then_some(())
    });
    let again = ask(&["cluster", "kill", "2"]).expect(2);
    assert!(again.stderr.contains("2"), "{}", again.stderr);
    ask(&["cluster", "start", "2"]).expect(0);
    ask(&["cluster", "wait", "--isr-full", "--timeout", "60s"]).expect(0);
    assert_eq!(second.end(), 0, "Ctrl-C is how a person ends a consumer");
    first.end();
    ask(&["cluster", "down"]).expect(0);
    let gone = ask(&["cluster", "status"]).expect(3);
    assert!(gone.stderr.contains("cluster up --detach"), "says what to do next: {}", gone.stderr);
}
