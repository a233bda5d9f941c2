//! A cluster that somebody else runs, as a user meets it: loaded and audited with and without credentials, never broken,
//! and left as it was found.
#![allow(missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Running, Said, finish, free_ports, kafka_can_run, metricstream, wait_for};
use serde_json::Value;

const SHORT: Duration = Duration::from_secs(60);
const RUN: Duration = Duration::from_secs(240);

fn say(args: &[&str], more: &[&str]) -> Said {
    finish(&mut metricstream(&[args, more].concat()), SHORT)
}

/// Ends a detached cluster whatever the test does.
struct Down(String);

impl Drop for Down {
    fn drop(&mut self) {
        let _ = metricstream(&["cluster", "down", "--name", &self.0]).output();
    }
}

#[track_caller]
fn result_of(out: &Path, said: &Said) -> Value {
    let text = std::fs::read_to_string(out.join("result.json"))
        .unwrap_or_else(|e| panic!("no result.json: {e}\n{}\n{}", said.stdout, said.stderr));
    serde_json::from_str(&text).expect("JSON")
}

fn rows<'a>(result: &'a Value, name: &str) -> &'a [Value] {
    result[name].as_array().unwrap_or_else(|| panic!("{name} is no list"))
}

fn claim<'a>(result: &'a Value, id: &str) -> &'a Value {
    rows(result, "claims").iter().find(|claim| claim["id"] == id).unwrap_or_else(|| panic!("no claim {id}"))
}

#[track_caller]
fn passed(result: &Value) {
    assert_eq!(result["verdict"], "pass", "{:#}", result["reasons"]);
    assert_eq!(result["engine"], "remote");
    assert_eq!(result["messages"]["lost"], 0, "{:#}", result["messages"]);
    assert!(result["messages"]["acked"].as_u64().is_some_and(|acked| acked > 0), "{:#}", result["messages"]);
    assert_eq!(result["messages"]["in_log"], result["messages"]["sent"], "{:#}", result["messages"]);
    assert!(result["versions"]["kafka"].is_null() && result["versions"]["librdkafka"].is_string());
}

/// A cluster of somebody else, and where runs on it leave what they leave.
struct Theirs {
    dir: tempfile::TempDir,
    bootstrap: String,
    _down: Down,
}

/// Load and audit, briefly.
const SHORTLY: [&str; 3] = ["--without-faults", "--set", "workload.duration_s=5"];

impl Theirs {
    fn start() -> Self {
        let name = format!("theirs-{}", std::process::id());
        let port = free_ports(3).to_string();
        let down = Down(name.clone());
        finish(
            &mut metricstream(&["cluster", "up", "--engine", "kafka", "--detach", "--name", &name, "--port", &port]),
            RUN,
        )
        .expect(0);
        Self { dir: tempfile::tempdir().unwrap(), bootstrap: format!("127.0.0.1:{port}"), _down: down }
    }

    fn at(&self) -> [&str; 2] {
        ["--bootstrap", &self.bootstrap]
    }

    fn run(&self, scenario: &str, out: &str, more: &[&str]) -> (Said, PathBuf) {
        let out = self.dir.path().join(out);
        let mut args = vec!["run", scenario, "--engine", "remote", "--seed", "7", "--out", out.to_str().unwrap()];
        args.extend(self.at().iter().chain(more));
        (finish(&mut metricstream(&args), RUN), out)
    }

    /// What is there: `topic` or `group`.
    fn left(&self, what: &str) -> String {
        say(&[what, "list"], &self.at()).expect(0).stdout
    }
}

#[test]
fn a_cluster_of_somebody_else_is_loaded_audited_and_left_as_it_was() {
    if !kafka_can_run() {
        return;
    }
    let theirs = Theirs::start();
    what_it_cannot_do_is_said_before(&theirs);
    members_come_and_go(&theirs);
    ctrl_c_takes_away_what_was_made(&theirs);
    without_its_faults_it_is_load_and_audit(&theirs);
    a_topic_of_others_is_not_touched_unasked(&theirs);
    more_replicas_than_brokers_are_refused(&theirs);
}

fn what_it_cannot_do_is_said_before(theirs: &Theirs) {
    // What it cannot do is said before anything starts.
    let (said, out) = theirs.run("broker-failure", "refused", &[]);
    let said = said.expect(2);
    for part in ["kill-2: kill broker 2", "start-2: start broker 2", "--without-faults", "--engine embedded or kafka"] {
        assert!(said.stderr.contains(part), "`{part}` is not in {}", said.stderr);
    }
    assert!(!out.exists(), "nothing was begun");
}

fn members_come_and_go(theirs: &Theirs) {
    // Members may come and go.
    let (said, out) = theirs.run("group-rebalance", "members", &["--set", "workload.duration_s=16"]);
    let said = said.expect(0);
    let result = result_of(&out, &said);
    passed(&result);
    assert_eq!(claim(&result, "alone")["held"], true, "{:#}", claim(&result, "alone"));
    assert_eq!(claim(&result, "b-shares")["measured"], "[P2]", "{:#}", claim(&result, "b-shares"));
    assert_eq!(rows(&result, "left_out"), [] as [Value; 0]);
    // The controllers are on this machine: what they committed is read, and not polled.
    assert!(rows(&result, "isr").iter().all(|row| row["leader_epoch"].is_u64()), "{:#}", result["isr"]);
    assert!(rows(&result, "isr").iter().any(|row| row["clock"] == "controller"), "{:#}", result["isr"]);
    assert!(!theirs.left("topic").contains("metrics"), "the run's topic goes with it: {}", theirs.left("topic"));
    assert!(!theirs.left("group").contains("group-1"), "the run's group goes with it: {}", theirs.left("group"));
}

fn ctrl_c_takes_away_what_was_made(theirs: &Theirs) {
    // Ctrl-C writes what was measured and takes away what was made.
    let out = theirs.dir.path().join("interrupted");
    let args = ["run", "group-rebalance", "--engine", "remote", "--out", out.to_str().unwrap()];
    let running = Running::start(&mut metricstream(&[&args[..], &theirs.at()].concat()));
    wait_for("load", SHORT, || {
        let events = std::fs::read_to_string(out.join("events.jsonl")).unwrap_or_default();
        (events.contains("\"phase\"") && events.contains("\"assignment\"")).then_some(())
    });
    running.signal("INT");
    let said = running.finish(SHORT).expect(130);
    assert!(!said.stderr.contains("warning:"), "all of it can be taken away: {}", said.stderr);
    assert_eq!(result_of(&out, &said)["verdict"], "inconclusive");
    assert!(!theirs.left("topic").contains("metrics") && !theirs.left("group").contains("group-1"));
}

fn without_its_faults_it_is_load_and_audit(theirs: &Theirs) {
    // Without its faults a scenario is load and audit, and says so.
    let (said, out) = theirs.run("broker-failure", "kept", &[&SHORTLY[..], &["--keep-topics"]].concat());
    let said = said.expect(0);
    let result = result_of(&out, &said);
    passed(&result);
    assert_eq!(result["left_out"], serde_json::json!(["kill-2", "start-2"]));
    let words = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("2 steps left out as asked (kill-2, start-2)"), "{}", said.stdout);
    let leaders = claim(&result, "leaders");
    assert!(leaders["held"].is_null() && leaders["reason"].as_str().unwrap().contains("left out"), "{leaders:#}");
    assert_eq!(claim(&result, "nothing-lost")["held"], true);
    say(&["scenario", "validate", out.join("scenario.toml").to_str().unwrap()], &[]).expect(0);
    say(&["check", out.to_str().unwrap()], &[]).expect(0);
}

fn a_topic_of_others_is_not_touched_unasked(theirs: &Theirs) {
    // A topic that is there, with messages of others, is not touched unasked.
    let (said, _) = theirs.run("broker-failure", "untouched", &SHORTLY);
    let said = said.expect(2);
    assert!(
        said.stderr.contains("metrics is there") && said.stderr.contains("--use-existing-topics"),
        "{}",
        said.stderr
    );
    // And if asked, what others write before and meanwhile is told apart, and all of it stays.
    let produce = ["produce", "metrics", "--rate", "50"];
    say(&[&produce[..], &["--count", "100"]].concat(), &theirs.at()).expect(0);
    let meanwhile = Running::start(&mut metricstream(&[&produce[..], &["--count", "600"], &theirs.at()].concat()));
    let (said, out) = theirs.run("broker-failure", "shared", &[&SHORTLY[..], &["--use-existing-topics"]].concat());
    let said = said.expect(0);
    let result = result_of(&out, &said);
    passed(&result);
    let alien = result["messages"]["alien"].as_u64().unwrap();
    assert!((1..=600).contains(&alien), "what others wrote meanwhile is counted: {alien}");
    assert!(rows(&result, "anomalies").iter().all(|row| row["verdict"] != "violation"), "{:#}", result["anomalies"]);
    say(&["check", out.to_str().unwrap()], &[]).expect(0);
    meanwhile.finish(SHORT).expect(0);
    assert!(theirs.left("topic").contains("metrics"), "what the run did not make stays: {}", theirs.left("topic"));
    let read =
        say(&["consume", &theirs.bootstrap, "metrics", "reader"], &["--from-beginning", "--count", "10700"]).expect(0);
    assert_eq!(read.stdout.matches("metric-").count(), 700, "every message of others is there");
}

fn more_replicas_than_brokers_are_refused(theirs: &Theirs) {
    // More replicas than it has brokers.
    say(&["topic", "delete", "metrics"], &theirs.at()).expect(0);
    let wide = ["--set", "topology.brokers=5", "--set", "topology.topics.0.replication_factor=5"];
    let (said, _) = theirs.run("broker-failure", "wide", &[&SHORTLY[..], &wide].concat());
    let said = said.expect(2);
    assert!(said.stderr.contains("3 brokers") && said.stderr.contains("replication_factor=3"), "{}", said.stderr);
}

/// One node of Apache Kafka that talks to clients over TLS only, and only to those it knows: `alice`, who may do
/// everything, and `bob`, who may do nothing.
struct Secured {
    node: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

const ALICES: &str = "wonderland-7";

impl Secured {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, certificate) = (dir.path().join("node.p12"), dir.path().join("node.pem"));
        let (store_text, certificate) = (store.to_str().unwrap(), certificate.to_str().unwrap());
        let key =
            ["-genkeypair", "-alias", "node", "-keyalg", "RSA", "-dname", "CN=localhost", "-ext", "san=ip:127.0.0.1"];
        let of_store = ["-keystore", store_text, "-storetype", "PKCS12", "-storepass", "changeit"];
        ended(Command::new("keytool").args(key).args(of_store).args(["-validity", "2"]));
        ended(
            Command::new("keytool")
                .args(["-exportcert", "-rfc", "-alias", "node", "-file", certificate])
                .args(of_store),
        );
        let port = free_ports(3);
        let config = dir.path().join("server.properties");
        std::fs::write(&config, properties(dir.path(), store_text, port)).unwrap();
        let config = config.to_str().unwrap();
        let path = say(&["kafka", "path"], &[]);
        let libs = if path.code() == 0 {
            path.stdout.trim().to_owned()
        } else {
            finish(&mut metricstream(&["kafka", "install"]), Duration::from_secs(600)).expect(0);
            say(&["kafka", "path"], &[]).expect(0).stdout.trim().to_owned()
        };
        let java = |main: &str| {
            let mut java = Command::new("java");
            java.args(["-Xmx512M", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &format!("{libs}/*"), main]);
            java.stdin(Stdio::null());
            java
        };
        ended(java("kafka.tools.StorageTool").args(["format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", config]));
        let log = std::fs::File::create(dir.path().join("node.log")).unwrap();
        let node = java("kafka.Kafka").arg(config).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let this = Self { node, port, dir };
        let alice = this.client("alice", &[]);
        wait_for("the secured node to answer", Duration::from_secs(120), || {
            let list = say(&["topic", "list", "--bootstrap", &this.bootstrap()], &["--client-config", &alice]);
            (list.code() == 0).then_some(())
        });
        this
    }

    fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A properties file of a client, with some settings replaced.
    fn client(&self, user: &str, changes: &[(&str, &str)]) -> String {
        let certificate = self.dir.path().join("node.pem");
        let mut settings = std::collections::BTreeMap::from([
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", user),
            ("sasl.password", if user == "alice" { ALICES } else { "nothing" }),
            ("ssl.ca.location", certificate.to_str().unwrap()),
        ]);
        settings.extend(changes.iter().copied());
        let text: String = settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let path: PathBuf = self.dir.path().join(format!("{user}-{}.properties", changes.len()));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[track_caller]
fn ended(command: &mut Command) {
    let said = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(said.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said.stderr));
}

fn properties(dir: &Path, store: &str, port: u16) -> String {
    let (inside, controller, data) = (port + 1, port + 2, dir.join("data"));
    format!(
        "process.roles=broker,controller\nnode.id=1\nlog.dirs={}\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=CLIENT://127.0.0.1:{port},INSIDE://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{controller}\n\
         listener.security.protocol.map=CLIENT:SASL_SSL,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=INSIDE\ncontroller.listener.names=CONTROLLER\n\
         listener.name.client.sasl.enabled.mechanisms=PLAIN\n\
         listener.name.client.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
         user_alice=\"{ALICES}\" user_bob=\"nothing\";\n\
         listener.name.client.ssl.keystore.location={store}\nlistener.name.client.ssl.keystore.type=PKCS12\n\
         listener.name.client.ssl.keystore.password=changeit\nlistener.name.client.ssl.key.password=changeit\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS;User:alice\n\
         auto.create.topics.enable=false\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n",
        data.display()
    )
}

#[test]
fn a_secured_cluster_lets_the_right_credentials_in_and_wrong_ones_are_told_so_at_once() {
    if !kafka_can_run() {
        return;
    }
    let theirs = Secured::start();
    let bootstrap = theirs.bootstrap();
    let out_dir = tempfile::tempdir().unwrap();
    let run = |out: &str, client: &str| {
        let out = out_dir.path().join(out);
        let one = ["topology.topics.0.replication_factor=1", "topology.topics.0.min_insync_replicas=1"];
        let mut args = vec!["run", "group-rebalance", "--engine", "remote", "--bootstrap", &bootstrap];
        args.extend(["--seed", "7", "--client-config", client, "--out", out.to_str().unwrap()]);
        args.extend(["--set", one[0], "--set", one[1], "--set", "workload.duration_s=16"]);
        (finish(&mut metricstream(&args), RUN), out)
    };
    wrong_credentials_are_told(&theirs, &run);
    not_allowed_is_told(&theirs, &run);

    let (said, out) = run("right", &theirs.client("alice", &[]));
    let said = said.expect(0);
    let result = result_of(&out, &said);
    passed(&result);
    assert_eq!(claim(&result, "alone")["held"], true, "{:#}", claim(&result, "alone"));
    // Leaders and ISRs are seen with the client's credentials, and nothing pretends to be exact.
    assert!(said.stderr.contains("polled every 250 ms"), "the resolution is stated: {}", said.stderr);
    let isr = rows(&result, "isr");
    assert_eq!(isr.iter().filter(|row| row["isr"] == serde_json::json!([1])).count(), 3, "{isr:#?}");
    assert!(isr.iter().all(|row| row["clock"] == "polled" && row["error_ms"].as_f64() > Some(0.0)), "{isr:#?}");
    assert!(isr.iter().all(|row| row["leader_epoch"].is_null() && row["partition_epoch"].is_null()), "{isr:#?}");
    assert!(rows(&result, "not_measured").iter().any(|line| line.as_str().unwrap().contains("metadata was polled")));
    // The brokers' own settings are those of the cluster, and no secret is kept.
    assert!(
        result["config"].as_object().unwrap().keys().any(|key| key.starts_with("broker ")),
        "{:#}",
        result["config"]
    );
    assert_eq!(result["config"]["client sasl.password"], "[redacted]", "{:#}", result["config"]);
    for file in ["result.json", "events.jsonl", "scenario.toml", "junit.xml"] {
        assert!(!std::fs::read_to_string(out.join(file)).unwrap().contains(ALICES), "a secret in {file}");
    }
    assert!(!said.stdout.contains(ALICES) && !said.stderr.contains(ALICES));
    let left = say(&["topic", "list", "--bootstrap", &bootstrap], &["--client-config", &theirs.client("alice", &[])]);
    assert!(!left.expect(0).stdout.contains("metrics"), "the run's topic goes with it");
}

fn wrong_credentials_are_told(theirs: &Secured, run: &dyn Fn(&str, &str) -> (Said, PathBuf)) {
    let bootstrap = theirs.bootstrap();
    let wrong = theirs.client("alice", &[("sasl.password", "wrong")]);
    let told = |said: Said, since: Instant| {
        let said = said.expect(3);
        assert!(said.stderr.contains("does not let this client in"), "{}", said.stderr);
        assert!(said.stderr.contains("sasl.password") && said.stderr.contains("--client-config"), "{}", said.stderr);
        assert!(said.stderr.lines().count() <= 5, "one message:\n{}", said.stderr);
        assert!(since.elapsed() < Duration::from_secs(30), "not waited for: {:?}", since.elapsed());
    };
    let since = Instant::now();
    let (said, out) = run("wrong", &wrong);
    told(said, since);
    assert!(!out.join("result.json").exists(), "nothing was measured");
    let commands: [&[&str]; 4] =
        [&["topic", "list"], &["group", "list"], &["produce", "metrics", "--count", "1"], &["consume", "metrics", "g"]];
    for command in commands {
        let since = Instant::now();
        told(say(command, &["--bootstrap", &bootstrap, "--client-config", &wrong]), since);
    }
    // A certificate that nobody vouches for, and a client that does not encrypt at all.
    let untrusted = theirs.client("alice", &[("ssl.ca.location", "/etc/ssl/certs"), ("client.id", "x")]);
    let said = say(&["topic", "list"], &["--bootstrap", &bootstrap, "--client-config", &untrusted]).expect(3);
    assert!(said.stderr.contains("no TLS connection") && said.stderr.contains("ssl.ca.location"), "{}", said.stderr);
    let said = say(&["topic", "list"], &["--bootstrap", &bootstrap]).expect(3);
    assert!(said.stderr.contains("did not answer as Kafka does"), "{}", said.stderr);
    assert!(said.stderr.contains("security.protocol"), "{}", said.stderr);
}

fn not_allowed_is_told(theirs: &Secured, run: &dyn Fn(&str, &str) -> (Said, PathBuf)) {
    let (said, _) = run("bob", &theirs.client("bob", &[]));
    let said = said.expect(3);
    assert!(said.stderr.contains("creating topic metrics"), "{}", said.stderr);
    assert!(said.stderr.contains("its user may not do that"), "{}", said.stderr);
    assert!(said.stderr.contains("--use-existing-topics"), "{}", said.stderr);
}
