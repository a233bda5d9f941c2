//! Tools of the field against the embedded cluster: kcat on librdkafka 2.0, as Debian has it, and the tools that come with
//! Apache Kafka. Where one is not installed its stories are reported as skipped, and fail where `METRICSTREAM_REQUIRE_ALL`
//! is set.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use metricstream_cluster::{Cluster, Profile};

/// A tool that has not ended by then is stuck.
const DEADLINE: Duration = Duration::from_secs(90);

async fn cluster() -> Cluster {
    Cluster::builder().profile(Profile::Fast).start().await.expect("a cluster")
}

#[track_caller]
fn skipped(missing: &str) {
    assert!(
        std::env::var_os("METRICSTREAM_REQUIRE_ALL").is_none(),
        "{missing} is missing, and METRICSTREAM_REQUIRE_ALL forbids skipping"
    );
    eprintln!("SKIPPED: {missing} is missing");
}

fn kcat_is_here() -> bool {
    let here = Command::new("kcat").arg("-V").output().is_ok_and(|o| o.status.success());
    if !here {
        skipped("kcat");
    }
    here
}

/// The jars of an Apache Kafka that is installed, or that `metricstream kafka install` has brought; the newest.
fn kafka_jars() -> Option<PathBuf> {
    let java = Command::new("java").arg("-version").output().is_ok_and(|o| o.status.success());
    let home = std::env::var_os("KAFKA_HOME").map(|home| PathBuf::from(home).join("libs"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = || {
        let folders = std::fs::read_dir(cache?.join("metricstream")).ok()?.flatten();
        let named = |f: &std::fs::DirEntry| f.file_name().to_string_lossy().starts_with("kafka-");
        let mut libs: Vec<PathBuf> = folders.filter(named).map(|f| f.path().join("libs")).collect();
        libs.retain(|libs| libs.is_dir());
        libs.sort();
        libs.pop()
    };
    let jars = home.or_else(installed);
    if !java {
        skipped("Java 17 or newer");
    } else if jars.is_none() {
        skipped("Apache Kafka (`metricstream kafka install`, or KAFKA_HOME)");
    }
    jars.filter(|_| java)
}

/// Runs a tool to its end and returns what it said. The runtime of the cluster goes on meanwhile.
async fn ran(mut command: Command, input: String) -> Output {
    let what = format!("{command:?}");
    let run = move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the tool starts");
        let mut stdin = child.stdin.take().expect("standard input");
        let pid = child.id();
        let feed = std::thread::spawn(move || {
            // A tool that has what it wants may close it early.
            let _ = stdin.write_all(input.as_bytes());
        });
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || ended.send(child.wait_with_output()));
        let output = end.recv_timeout(DEADLINE);
        if output.is_err() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        let _ = feed.join();
        output.ok().and_then(Result::ok)
    };
    let output = tokio::task::spawn_blocking(run).await.expect("it ran");
    output.unwrap_or_else(|| panic!("{what} did not end within {DEADLINE:?}"))
}

/// The same; fails where the tool does. Returns its standard output.
async fn did(command: Command, input: &str) -> String {
    let what = format!("{command:?}");
    let begun = Instant::now();
    let output = ran(command, input.to_owned()).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {} after {:?}\n{out}\n{err}", output.status, begun.elapsed());
    out.into_owned()
}

fn kcat(cluster: &Cluster, args: &[&str]) -> Command {
    let mut command = Command::new("kcat");
    command.args(["-b", &cluster.bootstrap(), "-q"]).args(args);
    command
}

/// A tool of Apache Kafka, by the name of its class.
struct Kafka {
    jars: PathBuf,
    bootstrap: String,
}

impl Kafka {
    fn tool(&self, class: &str, args: &[&str]) -> Command {
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m", "-cp"]);
        command.arg(self.jars.join("*")).arg(class).args(["--bootstrap-server", &self.bootstrap]).args(args);
        command
    }

    async fn topics(&self, args: &[&str]) -> String {
        did(self.tool("org.apache.kafka.tools.TopicCommand", args), "").await
    }

    async fn groups(&self, args: &[&str]) -> String {
        did(self.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", args), "").await
    }

    async fn quorum(&self, what: &str) -> String {
        did(self.tool("org.apache.kafka.tools.MetadataQuorumCommand", &["describe", what]), "").await
    }

    async fn configs(&self, args: &[&str]) -> String {
        did(self.tool("kafka.admin.ConfigCommand", args), "").await
    }
}

fn numbers(to: u32) -> String {
    (0..to).map(|n| format!("{n}\n")).collect()
}

/// Lines that are numbers, in order of the numbers.
fn sorted(said: &str) -> Vec<u32> {
    let mut lines: Vec<u32> = said.lines().filter_map(|line| line.trim().parse().ok()).collect();
    lines.sort_unstable();
    lines
}

/// The sum of a column of a table.
fn column(said: &str, number: usize) -> u32 {
    said.lines().filter_map(|line| line.split_whitespace().nth(number)?.parse::<u32>().ok()).sum()
}

#[track_caller]
fn says(said: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kcat_lists_sends_reads_and_is_a_member_of_a_group() {
    if !kcat_is_here() {
        return;
    }
    let cluster = cluster().await;
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("of-{compression}");
        did(kcat(&cluster, &["-P", "-t", &topic, "-z", compression, "-X", "acks=all"]), &numbers(100)).await;
        let read = did(kcat(&cluster, &["-C", "-t", &topic, "-o", "beginning", "-e"]), "").await;
        assert_eq!(read, numbers(100), "{compression}");
    }
    let listed = did(kcat(&cluster, &["-L"]), "").await;
    says(&listed, &["3 brokers:", "5 topics:", "topic \"of-zstd\" with 1 partitions:"]);
    let group = ["-G", "g", "of-gzip", "-c", "100", "-X", "auto.offset.reset=earliest"];
    assert_eq!(did(kcat(&cluster, &group), "").await, numbers(100));
    let end = did(kcat(&cluster, &["-Q", "-t", "of-gzip:0:-1"]), "").await;
    assert_eq!(end.trim(), "of-gzip [0] offset 100");
}

#[tokio::test(flavor = "multi_thread")]
async fn kafkas_topic_and_config_tools_do_what_they_are_for() {
    let Some(jars) = kafka_jars() else { return };
    let cluster = cluster().await;
    let kafka = Kafka { jars, bootstrap: cluster.bootstrap() };
    let wanted = ["--partitions", "3", "--replication-factor", "3", "--config", "min.insync.replicas=2"];
    says(&kafka.topics(&[["--create", "--topic", "t"].as_slice(), &wanted].concat()).await, &["Created topic t."]);
    let head = "PartitionCount: 3\tReplicationFactor: 3\tConfigs: min.insync.replicas=2";
    says(&kafka.topics(&["--describe", "--topic", "t"]).await, &[head, "Partition: 2\tLeader: "]);
    kafka.topics(&["--alter", "--topic", "t", "--partitions", "5"]).await;
    says(&kafka.topics(&["--describe", "--topic", "t"]).await, &["PartitionCount: 5"]);
    let of = ["--entity-type", "topics", "--entity-name", "t"];
    kafka.configs(&[["--alter", "--add-config", "retention.ms=3600000"].as_slice(), &of].concat()).await;
    let told = kafka.configs(&[["--describe"].as_slice(), &of].concat()).await;
    says(&told, &["retention.ms=3600000", "DYNAMIC_TOPIC_CONFIG:min.insync.replicas=2"]);
    kafka.topics(&["--delete", "--topic", "t"]).await;
    assert_eq!(kafka.topics(&["--list"]).await.trim(), "");
    let again = kafka.tool("org.apache.kafka.tools.TopicCommand", &["--describe", "--topic", "t"]);
    assert!(!ran(again, String::new()).await.status.success(), "it is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn kafkas_console_and_group_tools_work_in_both_protocols() {
    let Some(jars) = kafka_jars() else { return };
    let cluster = Cluster::builder().profile(Profile::Fast).topic("t", 3, 3).start().await.expect("a cluster");
    let kafka = Kafka { jars, bootstrap: cluster.bootstrap() };
    did(kafka.tool("org.apache.kafka.tools.ConsoleProducer", &["--topic", "t"]), &numbers(300)).await;
    for protocol in ["classic", "consumer"] {
        let property = format!("group.protocol={protocol}");
        let args = ["--topic", "t", "--from-beginning", "--max-messages", "300", "--group", protocol];
        let args = [args.as_slice(), &["--consumer-property", &property]].concat();
        let read = did(kafka.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &args), "").await;
        assert_eq!(sorted(&read), (0..300).collect::<Vec<_>>(), "{protocol}");
        // A partition whose position was not known yet when the reader had enough is not committed: it was empty.
        let described = kafka.groups(&["--describe", "--group", protocol]).await;
        assert_eq!((column(&described, 3), column(&described, 5)), (300, 0), "{described}");
        let back = ["--reset-offsets", "--to-earliest", "--topic", "t", "--execute", "--group", protocol];
        kafka.groups(&back).await;
        let described = kafka.groups(&["--describe", "--group", protocol]).await;
        assert_eq!((column(&described, 3), column(&described, 5)), (0, 300), "{described}");
    }
    says(&kafka.groups(&["--list"]).await, &["classic", "consumer"]);
    says(&kafka.groups(&["--delete", "--group", "classic"]).await, &["successful"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kafkas_quorum_tool_shows_the_voters_and_who_leads_after_a_kill() {
    let Some(jars) = kafka_jars() else { return };
    let cluster = cluster().await;
    let kafka = Kafka { jars, bootstrap: cluster.bootstrap() };
    let field = |said: &str, name: &str| {
        let line = said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in:\n{said}"));
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    let status = kafka.quorum("--status").await;
    let first = cluster.controller().await.expect("a controller");
    assert_eq!(field(&status, "LeaderId:"), first.to_string());
    let replication = kafka.quorum("--replication").await;
    assert_eq!(replication.lines().filter(|line| line.contains("Follower")).count(), 2, "{replication}");
    cluster.kill(first).await.expect("killed");
    let status = kafka.quorum("--status").await;
    let second = cluster.controller().await.expect("a controller");
    assert_ne!(first, second);
    assert_eq!(field(&status, "LeaderId:"), second.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn kafkas_verifiable_clients_account_for_every_message() {
    let Some(jars) = kafka_jars() else { return };
    let cluster = Cluster::builder().profile(Profile::Fast).topic("t", 3, 3).start().await.expect("a cluster");
    let kafka = Kafka { jars, bootstrap: cluster.bootstrap() };
    let args = ["--topic", "t", "--max-messages", "1000", "--acks", "-1"];
    let sent = did(kafka.tool("org.apache.kafka.tools.VerifiableProducer", &args), "").await;
    says(&sent, &["\"sent\":1000,\"acked\":1000"]);
    for protocol in ["classic", "consumer"] {
        let args = ["--topic", "t", "--max-messages", "1000", "--reset-policy", "earliest", "--group-id", protocol];
        let args = [args.as_slice(), &["--group-protocol", protocol]].concat();
        let read = did(kafka.tool("org.apache.kafka.tools.VerifiableConsumer", &args), "").await;
        let counted = |line: &str| -> Option<u32> {
            let count = line.split("\"name\":\"records_consumed\",\"count\":").nth(1)?;
            count.split(',').next()?.parse().ok()
        };
        assert_eq!(read.lines().filter_map(counted).sum::<u32>(), 1000, "{protocol}: {read}");
        assert!(!read.contains("\"success\":false"), "{protocol}: {read}");
    }
}
