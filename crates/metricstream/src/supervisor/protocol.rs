//! What a detached cluster's supervisor and its clients say to each other over the control socket: one JSON line
//! each way, one request per connection. Nothing here knows an engine.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::exit::Failure;

/// The longest line that either side reads, bytes.
pub(crate) const LINE_LIMIT_BYTES: u64 = 1 << 20;

/// The role of a node that is a broker, also if it is a controller too.
pub(crate) const BROKER: &str = "broker";
/// Partitions that are named where many lack something.
const PARTITIONS_SHOWN: usize = 6;

/// What can be done to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeAction {
    Kill,
    Stop,
    Start,
    Pause,
    Resume,
}

impl NodeAction {
    /// What is being done, for people.
    pub(crate) const fn doing(self) -> &'static str {
        match self {
            Self::Kill => "killing",
            Self::Stop => "stopping",
            Self::Start => "starting",
            Self::Pause => "pausing",
            Self::Resume => "resuming",
        }
    }
}

/// A request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Request {
    Status,
    Node { action: NodeAction, node: i32 },
    Down,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum Answer {
    Status(Box<Status>),
    Done {
        text: String,
    },
    /// `usage`: the request cannot be carried out as the cluster stands; else the environment failed.
    Refused {
        usage: bool,
        message: String,
    },
}

/// How a cluster stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) engine: String,
    pub(crate) version: String,
    pub(crate) profile: String,
    pub(crate) bootstrap: String,
    pub(crate) data_dir: String,
    pub(crate) pid: u32,
    pub(crate) active_controller: Option<i32>,
    /// Historic behaviours and seeded bugs that are switched on.
    #[serde(default)]
    pub(crate) flaws: Vec<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) partitions: Vec<Partition>,
}

/// One node of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) role: String,
    pub(crate) state: String,
    /// Whether the controller fenced it; none for a controller or while no controller answers.
    pub(crate) fenced: Option<bool>,
    /// Whether it was started again and the controller still speaks of the one before: it has not registered yet.
    #[serde(default)]
    pub(crate) unregistered: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) port: u16,
    pub(crate) log: String,
}

/// One partition of a topic that is not Kafka's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Partition {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) leader: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) isr: Vec<i32>,
}

impl Status {
    /// What keeps the cluster from being whole, for people: every node up; every broker registered since it was started,
    /// and unfenced; every replica in sync. Empty if nothing does.
    pub(crate) fn missing(&self) -> String {
        let of_node = |n: &Node| n.missing().map(|what| format!("{} {} {what}", n.role, n.id));
        let mut out: Vec<String> = self.nodes.iter().filter_map(of_node).collect();
        let short = |p: &&Partition| p.leader < 0 || p.isr.len() < p.replicas.len();
        out.extend(named("not every replica is in sync", self.partitions.iter().filter(short)));
        out.join("; ")
    }

    /// The partitions that have no leader, for people. Empty if there is none.
    pub(crate) fn leaderless(&self) -> String {
        named("no leader", self.partitions.iter().filter(|p| p.leader < 0)).unwrap_or_default()
    }
}

/// What some partitions lack, and which they are.
fn named<'p>(what: &str, which: impl Iterator<Item = &'p Partition>) -> Option<String> {
    let all: Vec<String> = which.map(|p| format!("{}-{}", p.topic, p.partition)).collect();
    let shown = all.iter().take(PARTITIONS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = all.len().saturating_sub(PARTITIONS_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!all.is_empty()).then(|| format!("{what}: {shown}{more}"))
}

impl Node {
    /// What it lacks to do its part.
    fn missing(&self) -> Option<String> {
        match (self.state.as_str(), self.fenced) {
            ("running", _) if self.unregistered => Some("has not registered since it was started".to_owned()),
            ("running", Some(true)) => Some("is fenced".to_owned()),
            ("running", None) if self.role == BROKER => Some("is not known to the controller yet".to_owned()),
            ("running", _) => None,
            (other, _) => Some(format!("is {other}")),
        }
    }
}

/// The folder of the control sockets, this user's alone.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn runtime_dir() -> io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let uid = rustix::process::getuid().as_raw();
    let dir = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(base) if !base.is_empty() => PathBuf::from(base).join("metricstream"),
        _ => std::env::temp_dir().join(format!("metricstream-{uid}")),
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let owner = std::fs::metadata(&dir)?.uid();
    if owner != uid {
        let text = format!("{} belongs to another user (uid {owner})", dir.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(dir)
}

/// The control socket of the cluster `name`.
///
/// # Errors
/// Exit 2 if the name cannot be a file name, exit 3 if the folder cannot be made.
pub(crate) fn socket_path(name: &str) -> Result<PathBuf, Failure> {
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 40 || !name.chars().all(sound) {
        return Err(Failure::usage(format!("--name {name}: want 1 to 40 letters, digits, `-` or `_`")));
    }
    Ok(runtime_dir()?.join(format!("{name}.sock")))
}

/// Asks the supervisor of the cluster `name`.
///
/// # Errors
/// Exit 3 if there is none, if it does not answer within `patience`, or if it failed; exit 2 if it refused.
pub(crate) async fn ask(name: &str, request: &Request, patience: Duration) -> Result<Answer, Failure> {
    let path = socket_path(name)?;
    let stream = UnixStream::connect(&path).await.map_err(|_| {
        Failure::environment(format!(
            "no detached cluster named {name} is running; start one: metricstream cluster up --detach{}",
            if name == "default" { String::new() } else { format!(" --name {name}") }
        ))
    })?;
    let talk = async {
        let (read, mut write) = stream.into_split();
        let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
        line.push(b'\n');
        write.write_all(&line).await?;
        let mut answer = String::new();
        BufReader::new(read.take(LINE_LIMIT_BYTES)).read_line(&mut answer).await?;
        serde_json::from_str::<Answer>(&answer).map_err(io::Error::other)
    };
    match tokio::time::timeout(patience, talk).await {
        Err(_) => Err(Failure::environment(format!(
            "the supervisor of cluster {name} did not answer within {} s",
            patience.as_secs()
        ))),
        Ok(Err(e)) => Err(Failure::environment(format!("the supervisor of cluster {name} went away: {e}"))),
        Ok(Ok(Answer::Refused { usage: true, message })) => Err(Failure::usage(message)),
        Ok(Ok(Answer::Refused { usage: false, message })) => Err(Failure::environment(message)),
        Ok(Ok(answer)) => Ok(answer),
    }
}

/// The status of the cluster `name`.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn status(name: &str) -> Result<Status, Failure> {
    match ask(name, &Request::Status, Duration::from_secs(15)).await? {
        Answer::Status(status) => Ok(*status),
        other => Err(Failure::environment(format!("the supervisor answered something else: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_the_folder_is_refused() {
        for bad in ["", "../x", "a/b", "a b", &"x".repeat(41)] {
            assert_eq!(socket_path(bad).unwrap_err().code, crate::exit::Code::Usage, "{bad}");
        }
    }

    #[test]
    fn a_broker_that_was_started_again_counts_once_it_has_registered_again() {
        let node = |id, fenced, unregistered| Node {
            id,
            role: BROKER.to_owned(),
            state: "running".to_owned(),
            fenced,
            unregistered,
            pid: None,
            port: 1,
            log: String::new(),
        };
        let partition = |isr: &[i32]| Partition {
            topic: "metrics".to_owned(),
            partition: 0,
            leader: 1,
            replicas: vec![1, 2],
            isr: isr.to_vec(),
        };
        let status = |second: Node, isr: &[i32]| Status {
            name: String::new(),
            engine: String::new(),
            version: String::new(),
            profile: String::new(),
            bootstrap: String::new(),
            data_dir: String::new(),
            pid: 1,
            active_controller: Some(1),
            flaws: Vec::new(),
            nodes: vec![node(1, Some(false), false), second],
            partitions: vec![partition(isr)],
        };
        // Within its session nobody has noticed that it was gone: its ISR is still full, and not its own.
        for (second, isr, missing) in [
            (node(2, Some(false), true), &[1, 2][..], "broker 2 has not registered since it was started"),
            (node(2, Some(true), false), &[1], "broker 2 is fenced; not every replica is in sync: metrics-0"),
            (node(2, None, false), &[1, 2], "broker 2 is not known to the controller yet"),
            (node(2, Some(false), false), &[1], "not every replica is in sync: metrics-0"),
        ] {
            let status = status(second, isr);
            assert_eq!(status.missing(), missing);
        }
        assert_eq!(status(node(2, Some(false), false), &[1, 2]).missing(), "");
    }

    #[test]
    fn requests_read_as_a_person_would_write_them() {
        let line = serde_json::to_string(&Request::Node { action: NodeAction::Kill, node: 2 }).unwrap();
        assert_eq!(line, r#"{"do":"node","action":"kill","node":2}"#);
    }
}
