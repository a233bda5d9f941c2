//! The metadata log as Kafka's own `DumpLogSegments` prints it, and what follows from it: folded here, from Kafka's JSON,
//! and not with any code of the observer.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use metricstream_engine::kafka::{Java, Wanted};
use serde_json::Value;

/// The state of a partition after one change, in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) topic: String,
    pub(crate) partition: i64,
    pub(crate) replicas: Vec<i64>,
    pub(crate) isr: Vec<i64>,
    pub(crate) elr: Vec<i64>,
    pub(crate) leader: i64,
    pub(crate) leader_epoch: i64,
    pub(crate) partition_epoch: i64,
    /// When the controller wrote it, by its wall clock.
    pub(crate) timestamp_ms: i64,
}

/// What the log tells, in its order.
#[derive(Debug, Default)]
pub(crate) struct Dump {
    pub(crate) changes: Vec<Change>,
    /// Active controllers with their epochs; one that follows itself in the same epoch is told once.
    pub(crate) controllers: Vec<(i64, i64)>,
    /// Brokers that were fenced and unfenced: id, and whether it was fenced.
    pub(crate) fencing: Vec<(i64, bool)>,
}

/// Prints and reads the metadata log below a node's data folder.
pub(crate) fn dump(data: &Path) -> Dump {
    let folder = data.join("__cluster_metadata-0");
    let mut segments: Vec<String> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .map(|path| path.to_str().expect("UTF-8").to_owned())
        .collect();
    segments.sort();
    let segments = segments.join(",");
    // The tool changed its package between 4.1 and 4.3.
    let text = print("org.apache.kafka.tools", &segments).or_else(|_| print("kafka.tools", &segments));
    read(&text.unwrap_or_else(|error| panic!("{error}")))
}

fn print(package: &str, segments: &str) -> Result<String, String> {
    let libs = Wanted::from_env(None).find().expect("asked").expect("installed").libs;
    let said = Command::new(Java::find().expect("Java").program)
        .args(["-XX:TieredStopAtLevel=1", "-cp", &format!("{}/*", libs.display())])
        .args([&format!("{package}.DumpLogSegments"), "--cluster-metadata-decoder", "--files", segments])
        .output()
        .expect("Java starts");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    if said.status.success() { Ok(text) } else { Err(text + &String::from_utf8_lossy(&said.stderr)) }
}

fn read(text: &str) -> Dump {
    let mut state = State::default();
    for line in text.lines() {
        if let Some(epoch) = number_after(line, "partitionLeaderEpoch: ").filter(|_| line.starts_with("baseOffset: ")) {
            state.epoch = epoch;
        } else if let Some((_, value)) = line.split_once(" LeaderChange: ") {
            let value: Value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{error}: {line}"));
            let controller = (int(&value["leaderId"]), state.epoch);
            if state.dump.controllers.last() != Some(&controller) {
                state.dump.controllers.push(controller);
            }
        } else if let Some((head, value)) = line.split_once(" payload: ") {
            let value: Value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{error}: {line}"));
            let timestamp_ms = number_after(head, "CreateTime: ").expect("a record has its time");
            state.record(value["type"].as_str().expect("a type"), &value["data"], timestamp_ms);
        }
    }
    state.dump
}

#[derive(Default)]
struct State {
    dump: Dump,
    epoch: i64,
    topics: BTreeMap<String, String>,
    partitions: BTreeMap<(String, i64), Change>,
    fenced: BTreeMap<i64, bool>,
}

impl State {
    fn record(&mut self, kind: &str, data: &Value, timestamp_ms: i64) {
        match kind {
            "TOPIC_RECORD" => {
                self.topics.insert(text(&data["topicId"]), text(&data["name"]));
            }
            "PARTITION_RECORD" => self.partition(data, timestamp_ms),
            "PARTITION_CHANGE_RECORD" => self.partition_change(data, timestamp_ms),
            "REGISTER_BROKER_RECORD" => {
                // Registered is fenced, unless the record says otherwise; that is told only if it is otherwise.
                let fenced = data["fenced"].as_bool().unwrap_or(true);
                self.fenced.insert(int(&data["brokerId"]), true);
                self.fence(int(&data["brokerId"]), fenced);
            }
            "FENCE_BROKER_RECORD" => self.fence(int(&data["id"]), true),
            "UNFENCE_BROKER_RECORD" => self.fence(int(&data["id"]), false),
            "BROKER_REGISTRATION_CHANGE_RECORD" => match data["fenced"].as_i64() {
                Some(1) => self.fence(int(&data["brokerId"]), true),
                Some(-1) => self.fence(int(&data["brokerId"]), false),
                _ => {}
            },
            _ => {}
        }
    }

    fn fence(&mut self, broker: i64, fenced: bool) {
        if self.fenced.insert(broker, fenced) != Some(fenced) {
            self.dump.fencing.push((broker, fenced));
        }
    }

    fn partition(&mut self, data: &Value, timestamp_ms: i64) {
        let topic = self.topics[&text(&data["topicId"])].clone();
        let change = Change {
            partition: int(&data["partitionId"]),
            replicas: ints(&data["replicas"]).expect("replicas"),
            isr: ints(&data["isr"]).expect("an ISR"),
            elr: ints(&data["eligibleLeaderReplicas"]).unwrap_or_default(),
            leader: int(&data["leader"]),
            leader_epoch: int(&data["leaderEpoch"]),
            partition_epoch: int(&data["partitionEpoch"]),
            topic,
            timestamp_ms,
        };
        self.tell(change);
    }

    /// As the description of PartitionChangeRecord says it: absent is unchanged, a leader named is a new leader epoch.
    fn partition_change(&mut self, data: &Value, timestamp_ms: i64) {
        let topic = self.topics[&text(&data["topicId"])].clone();
        let mut change = self.partitions[&(topic, int(&data["partitionId"]))].clone();
        change.isr = ints(&data["isr"]).unwrap_or(change.isr);
        change.replicas = ints(&data["replicas"]).unwrap_or(change.replicas);
        change.elr = ints(&data["eligibleLeaderReplicas"]).unwrap_or(change.elr);
        if let Some(leader) = data["leader"].as_i64().filter(|leader| *leader != -2) {
            change.leader = leader;
            change.leader_epoch += 1;
        }
        change.partition_epoch += 1;
        change.timestamp_ms = timestamp_ms;
        self.tell(change);
    }

    fn tell(&mut self, change: Change) {
        self.partitions.insert((change.topic.clone(), change.partition), change.clone());
        self.dump.changes.push(change);
    }
}

fn number_after(line: &str, name: &str) -> Option<i64> {
    line.split_once(name)?.1.split(' ').next()?.parse().ok()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn ints(value: &Value) -> Option<Vec<i64>> {
    value.as_array().map(|values| values.iter().map(int).collect())
}
