//! The owner of a cluster that stays: starts it, answers on its control socket, and takes it down.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metricstream_engine::observer::Image;
use metricstream_engine::{Engine, FaultKind, Role};
use metricstream_scenario::{Controllers, Topic, Topology};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::protocol::{self, Answer, LINE_LIMIT_BYTES, NodeAction, Request, Status};
use crate::cli::{ProfileName, UpArgs};
use crate::drive::engine::{self, failure};
use crate::drive::own::{self, Own, Wish};
use crate::exit::{Code, Ending, Failure};
use crate::interrupt::Interrupt;
use crate::source;

/// A request that is not whole by then is not waited for.
const REQUEST: Duration = Duration::from_secs(5);
/// Clients served at once; others wait in the socket's queue.
const CLIENTS_MAX: usize = 32;

/// Ends the control socket with its owner.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Owner {
    name: String,
    profile: ProfileName,
    cluster: Own,
    /// By broker that was started again: the broker epoch that the controller knew then. What it says of that epoch is of
    /// the process before.
    stale: Mutex<BTreeMap<i32, Option<i64>>>,
}

/// The epoch of a broker's last registration.
fn epoch_of(image: &Image, node: i32) -> Option<i64> {
    image.brokers.get(&node).map(|broker| broker.broker_epoch)
}

/// Starts a cluster, says so through `ready`, and serves until it is told to go down or interrupted.
///
/// # Errors
/// If the name is taken, the topology makes no cluster, or it does not start.
pub(crate) async fn own(
    args: &UpArgs,
    ready: impl FnOnce(&str),
    progress: impl Fn(&str) + Send + Sync + 'static,
) -> Ending {
    let mut interrupt = Interrupt::listen()?;
    let path = protocol::socket_path(&args.name)?;
    let listener = claim(&args.name, &path).await?;
    let _socket = Socket(path);
    let (topology, topics) = topology(args)?;
    let wish = Wish {
        name: &args.name,
        kind: args.engine,
        topology,
        topics: &topics,
        port: Some(args.port),
        data: args.data.clone(),
        kafka_version: args.kafka_version.clone(),
        flaws: args.flaws.clone(),
    };
    let starting = Own::start(wish, progress);
    let cluster = tokio::select! {
        started = Box::pin(starting) => started?,
        () = interrupt.wait() => return Err(Failure::interrupted("while the cluster was starting")),
    };
    ready(&cluster.engine.bootstrap());
    let (name, profile, stale) = (args.name.clone(), args.profile, Mutex::default());
    let owner = Arc::new(Owner { name, profile, cluster, stale });
    let (down_tx, mut down) = watch::channel(false);
    let slots = Arc::new(tokio::sync::Semaphore::new(CLIENTS_MAX));
    let ending = loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (owner, down, slots) = (Arc::clone(&owner), down_tx.clone(), Arc::clone(&slots));
                tokio::spawn(async move {
                    let Ok(_slot) = slots.acquire().await else { return };
                    serve(&owner, stream, &down).await;
                });
            }
            _ = down.wait_for(|asked| *asked) => break Ok(Code::Pass),
            () = interrupt.wait() => break Ok(Code::Interrupted),
        }
    };
    owner.cluster.end().await;
    ending
}

/// Takes the name: a socket that nobody answers on is left over from an owner that was killed.
async fn claim(name: &str, path: &PathBuf) -> Result<UnixListener, Failure> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(Failure::environment(format!(
            "a cluster named {name} is running already; end it with: metricstream cluster down --name {name}, or use another --name"
        )));
    }
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn topology(args: &UpArgs) -> Result<(Topology, Vec<Topic>), Failure> {
    let topics = args.topic.iter().map(|t| topic(t, args.brokers)).collect::<Result<Vec<_>, _>>()?;
    let controllers = args.controllers.map_or(Controllers::Combined, Controllers::Separate);
    let topology = Topology {
        brokers: args.brokers,
        controllers,
        profile: source::profile_of(args.profile),
        broker_config: Default::default(),
        topics: topics.clone(),
    };
    Ok((topology, topics))
}

/// `NAME:PARTITIONS:REPLICATION`.
fn topic(text: &str, brokers: u32) -> Result<Topic, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("--topic {text}: {why}; want NAME:PARTITIONS:REPLICATION, such as metrics:6:3"))
    };
    let [name, partitions, replication] = text.split(':').collect::<Vec<_>>()[..] else {
        return Err(wrong("three parts are needed"));
    };
    own::check_topic_name(name).map_err(wrong)?;
    let partitions = partitions.parse().ok().filter(|n| (1..=1_000).contains(n));
    let replication_factor =
        replication.parse().ok().filter(|n| *n >= 1 && u32::from(i16::unsigned_abs(*n)) <= brokers);
    let partitions = partitions.ok_or_else(|| wrong("partitions are 1 to 1000"))?;
    let replication_factor =
        replication_factor.ok_or_else(|| wrong(&format!("replication is 1 to {brokers}, the brokers")))?;
    Ok(own::topic(name, partitions, replication_factor))
}

/// Of Kafka its version, of the embedded cluster its own and that of the protocol.
fn version(engine: &Engine) -> String {
    let mut versions = engine.versions();
    match (versions.remove("kafka"), versions.remove("kafka protocol")) {
        (Some(kafka), _) => kafka,
        (None, Some(protocol)) => format!("{} (Kafka's protocol {protocol})", env!("CARGO_PKG_VERSION")),
        (None, None) => String::new(),
    }
}

async fn serve(owner: &Owner, stream: UnixStream, down: &watch::Sender<bool>) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut from = BufReader::new(read.take(LINE_LIMIT_BYTES));
    let Ok(Ok(_)) = tokio::time::timeout(REQUEST, from.read_line(&mut line)).await else { return };
    let answer = match serde_json::from_str::<Request>(&line) {
        Err(error) => Answer::Refused { usage: true, message: format!("a request that is none: {error}") },
        Ok(Request::Status) => Answer::Status(Box::new(owner.status())),
        Ok(Request::Node { action, node }) => owner.node(action, node).await,
        Ok(Request::Down) => {
            owner.cluster.engine.stop().await;
            Answer::Done { text: format!("cluster {} is down", owner.name) }
        }
    };
    let is_down = line.contains("\"down\"");
    let mut text = serde_json::to_vec(&answer).unwrap_or_default();
    text.push(b'\n');
    let _ = write.write_all(&text).await;
    if is_down && matches!(answer, Answer::Done { .. }) {
        down.send_replace(true);
    }
}

impl Owner {
    fn status(&self) -> Status {
        let image = self.cluster.engine.image();
        let stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let node = |n: metricstream_engine::NodeStatus| protocol::Node {
            id: n.id,
            role: match n.role {
                Role::Combined | Role::Broker => protocol::BROKER.to_owned(),
                Role::Controller => "controller".to_owned(),
            },
            state: n.state.to_string(),
            fenced: image.brokers.get(&n.id).map(|b| b.fenced),
            unregistered: n.role != Role::Controller
                && stale.get(&n.id).is_some_and(|epoch| *epoch == epoch_of(&image, n.id)),
            pid: n.pid,
            port: n.port,
            log: n.log_path.display().to_string(),
        };
        Status {
            name: self.name.clone(),
            engine: self.cluster.engine.name().to_owned(),
            version: version(&self.cluster.engine),
            flaws: self.cluster.engine.flaws().to_vec(),
            profile: if self.profile == ProfileName::Apache { "apache" } else { "fast" }.to_owned(),
            bootstrap: self.cluster.engine.bootstrap(),
            data_dir: self.cluster.data_dir.display().to_string(),
            pid: std::process::id(),
            active_controller: image.controller.map(|(node, _)| node),
            nodes: self.cluster.engine.nodes().into_iter().map(node).collect(),
            partitions: image
                .partitions
                .iter()
                .filter(|((topic, _), _)| !topic.starts_with("__"))
                .map(|((topic, partition), p)| protocol::Partition {
                    topic: topic.clone(),
                    partition: *partition,
                    leader: p.leader,
                    replicas: p.replicas.clone(),
                    isr: p.isr.clone(),
                })
                .collect(),
        }
    }

    async fn node(&self, action: NodeAction, node: i32) -> Answer {
        let (kind, done) = match action {
            NodeAction::Kill => (FaultKind::Kill, "killed"),
            NodeAction::Stop => (FaultKind::Stop, "stopped"),
            NodeAction::Start => (FaultKind::Start, "started; wait for it with: metricstream cluster wait --isr-full"),
            NodeAction::Pause => (FaultKind::Pause, "paused"),
            NodeAction::Resume => (FaultKind::Resume, "resumed"),
        };
        let before = epoch_of(&self.cluster.engine.image(), node);
        let done_to = engine::fault(self.cluster.engine.clone(), kind, vec![node]).await;
        if kind == FaultKind::Start && done_to.is_ok() {
            self.stale.lock().unwrap_or_else(PoisonError::into_inner).insert(node, before);
        }
        match done_to {
            Ok(_) => Answer::Done { text: format!("node {node} {done}") },
            Err(error) => {
                let failure = failure(error);
                Answer::Refused { usage: failure.code == Code::Usage, message: format!("{:#}", failure.error) }
            }
        }
    }
}

/// The hidden subcommand: the arguments come as JSON on standard input, what happens goes to standard output line by
/// line: `progress …`, then `ready …` or `failed CODE …`.
pub(crate) async fn main() -> Ending {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let args: UpArgs = serde_json::from_str(&line).map_err(Failure::usage)?;
    let say = |word: &str, text: &str| crate::output::print(&format!("{word} {}\n", text.replace('\n', "\u{2028}")));
    let ending = own(
        &args,
        |bootstrap| crate::output::print(&format!("ready {bootstrap}\n")),
        |text| crate::output::print(&format!("progress {text}\n")),
    )
    .await;
    if let Err(failure) = &ending {
        say("failed", &format!("{} {:#}", failure.code as u8, failure.error));
    }
    ending
}
