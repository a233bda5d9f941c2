//! The few things that are asked of a cluster from outside: is it ready, who leads, make this topic.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use metricstream_scenario::Topic;
use metricstream_wire::ErrorCode;
use metricstream_wire::api::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use metricstream_wire::api::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, QuorumPartition, QuorumTopic,
};
use metricstream_wire::api::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use crate::client::{ClientError, Connection};

const CONNECT: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);
const METADATA_VERSION: i16 = 12;

/// Why an administrative request failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody answered.
    #[error("no node answered: {0}")]
    Client(#[from] ClientError),
    /// There is nobody to ask.
    #[error("no address to ask")]
    NoAddress,
    /// The cluster refused.
    #[error("{what}: {code}{}", message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
    Refused {
        /// What was asked.
        what: String,
        /// Its code.
        code: ErrorCode,
        /// Its words.
        message: Option<String>,
    },
    /// Not in time.
    #[error("waited {waited_s:.1} s; {missing}")]
    NotReady {
        /// How long.
        waited_s: f64,
        /// What was still missing.
        missing: String,
    },
}

/// What a broker knows of the cluster; `topics` empty asks for none, `None` for all.
///
/// # Errors
/// If it does not answer.
pub async fn metadata(broker: SocketAddr, topics: Option<&[String]>) -> Result<MetadataResponse, ClientError> {
    let asked = topics.map(|names| {
        let named = |name: &String| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
        names.iter().map(named).collect()
    });
    let request = MetadataRequest { topics: asked, allow_auto_topic_creation: false, ..Default::default() };
    Connection::open(broker, CONNECT).await?.call(&request, METADATA_VERSION, ANSWER).await
}

/// Waits until every one of these brokers lists all of them as unfenced, and knows a leader and a full ISR of every
/// partition of `topics` (name and number of partitions).
///
/// # Errors
/// [`AdminError::NotReady`] at the deadline, with what was missing.
pub async fn cluster_ready(
    brokers: &[SocketAddr],
    topics: &[(String, i32)],
    deadline: Instant,
) -> Result<(), AdminError> {
    let since = Instant::now();
    let names: Vec<String> = topics.iter().map(|(name, _)| name.clone()).collect();
    let mut open: Vec<SocketAddr> = brokers.to_vec();
    while let Some(broker) = open.first().copied() {
        let lacks = match metadata(broker, Some(&names)).await {
            Ok(known) => lacks(&known, brokers.len(), topics),
            Err(e) => Some(e.to_string()),
        };
        let Some(missing) = lacks else {
            open.remove(0);
            continue;
        };
        if Instant::now() >= deadline {
            return Err(AdminError::NotReady { waited_s: since.elapsed().as_secs_f64(), missing });
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}

/// What a broker's view lacks of being ready.
fn lacks(known: &MetadataResponse, brokers: usize, topics: &[(String, i32)]) -> Option<String> {
    if known.brokers.len() < brokers {
        return Some(format!("{} of {brokers} brokers are unfenced", known.brokers.len()));
    }
    for (name, partitions) in topics {
        let Some(topic) = known.topics.iter().find(|t| t.name.as_deref() == Some(name)) else {
            return Some(format!("topic {name} is not known"));
        };
        let ready = topic
            .partitions
            .iter()
            .filter(|p| p.error_code == 0 && p.leader_id >= 0 && p.isr_nodes.len() == p.replica_nodes.len());
        let ready = ready.count();
        if topic.error_code != 0 || ready < usize::try_from(*partitions).unwrap_or(usize::MAX) {
            let code = ErrorCode(topic.error_code);
            return Some(format!(
                "topic {name}: {ready} of {partitions} partitions have a leader and a full ISR ({code})"
            ));
        }
    }
    None
}

/// Creates topics, all in one request. A topic that is there already is refused like anything else.
///
/// # Errors
/// If no broker answers before the deadline, or a topic is refused.
pub async fn create_topics(brokers: &[SocketAddr], topics: &[Topic], deadline: Instant) -> Result<(), AdminError> {
    let request = CreateTopicsRequest {
        topics: topics.iter().map(creatable).collect(),
        timeout_ms: 30_000,
        validate_only: false,
    };
    let mut last = AdminError::NoAddress;
    for broker in brokers.iter().cycle() {
        let patience = deadline.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            return Err(last);
        }
        let answer = async { Connection::open(*broker, CONNECT).await?.call(&request, 7, patience).await };
        match answer.await {
            Err(e) => last = e.into(),
            Ok(answer) => match answer.topics.into_iter().find(|t| t.error_code != 0) {
                None => return Ok(()),
                Some(t) => {
                    let what = format!("creating topic {}", t.name);
                    let code = ErrorCode(t.error_code);
                    last = AdminError::Refused { what, code, message: t.error_message };
                    // A controller that is just being elected is worth another try; a refusal is not.
                    if code != ErrorCode::NOT_CONTROLLER {
                        return Err(last);
                    }
                }
            },
        }
        tokio::time::sleep(AGAIN).await;
    }
    Err(last)
}

fn creatable(topic: &Topic) -> CreatableTopic {
    let explicit = !topic.replicas.is_empty();
    let mut configs: Vec<(String, String)> = topic.config.clone().into_iter().collect();
    configs.push(("min.insync.replicas".to_owned(), topic.min_insync_replicas.to_string()));
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: if explicit { -1 } else { topic.partitions },
        replication_factor: if explicit { -1 } else { topic.replication_factor },
        assignments: (0..)
            .zip(&topic.replicas)
            .map(|(partition_index, ids)| CreatableReplicaAssignment { partition_index, broker_ids: ids.clone() })
            .collect(),
        configs: configs.into_iter().map(|(name, value)| CreatableTopicConfig { name, value: Some(value) }).collect(),
    }
}

/// Asks a node for the state of the metadata quorum.
async fn describe_quorum(node: SocketAddr, version: i16) -> Result<DescribeQuorumResponse, ClientError> {
    let request = DescribeQuorumRequest {
        topics: vec![QuorumTopic {
            topic_name: "__cluster_metadata".to_owned(),
            partitions: vec![QuorumPartition { partition_index: 0 }],
        }],
    };
    Connection::open(node, CONNECT).await?.call(&request, version, ANSWER).await
}

/// The voters of a cluster that somebody else runs, as one of its brokers names them (DescribeQuorum v2, KIP-853), if
/// they can be read from here: each on this machine, so that its clock is ours, and one at least that talks to us.
///
/// # Errors
/// Why not, for people.
pub async fn controllers_here(brokers: &[SocketAddr]) -> Result<Vec<(i32, SocketAddr)>, String> {
    let mut last = "no broker to ask".to_owned();
    for broker in brokers {
        match describe_quorum(*broker, 2).await {
            Err(error) => last = error.to_string(),
            Ok(answer) => return voters_here(&answer).await,
        }
    }
    Err(format!("no broker says where they are ({last})"))
}

async fn voters_here(answer: &DescribeQuorumResponse) -> Result<Vec<(i32, SocketAddr)>, String> {
    let state = answer.topics.first().and_then(|t| t.partitions.first());
    let code = ErrorCode(state.map_or(answer.error_code, |p| p.error_code));
    let Some(state) = state.filter(|_| code == ErrorCode::NONE) else {
        return Err(format!("the brokers do not say where they are ({code})"));
    };
    let mut voters = Vec::new();
    for voter in &state.current_voters {
        let id = voter.replica_id;
        let node = answer.nodes.iter().find(|node| node.node_id == id);
        let Some(listener) = node.and_then(|node| node.listeners.first()) else {
            return Err(format!("no address of controller {id} is known"));
        };
        let (host, port) = (listener.host.as_str(), listener.port);
        let found = tokio::net::lookup_host((host, port)).await.ok().and_then(|mut all| all.next());
        let address = found.ok_or_else(|| format!("controller {id} at {host}:{port} has no address here"))?;
        if !is_here(address) {
            return Err(format!("controller {id} at {host}:{port} is on another machine, with another clock"));
        }
        voters.push((id, address));
    }
    let mut last = "there are none".to_owned();
    for (_, address) in &voters {
        match describe_quorum(*address, 1).await {
            Ok(_) => return Ok(voters),
            Err(error) => last = error.to_string(),
        }
    }
    Err(format!("they do not talk to this program ({last})"))
}

/// Whether an address is one of this machine's own.
fn is_here(address: SocketAddr) -> bool {
    address.ip().is_loopback() || TcpListener::bind((address.ip(), 0)).is_ok()
}

/// Leader and epoch of the metadata quorum, as one of the brokers or controllers knows it; `None` while there is none.
///
/// # Errors
/// If nobody answers.
pub async fn active_controller(nodes: &[SocketAddr]) -> Result<Option<(i32, i32)>, AdminError> {
    let mut last = AdminError::NoAddress;
    for node in nodes {
        match describe_quorum(*node, 1).await {
            Err(e) => last = e.into(),
            Ok(answer) => {
                let state = answer.topics.first().and_then(|t| t.partitions.first());
                match state {
                    Some(p) if p.error_code == 0 => {
                        return Ok((p.leader_id >= 0).then_some((p.leader_id, p.leader_epoch)));
                    }
                    _ => {
                        let code = ErrorCode(state.map_or(answer.error_code, |p| p.error_code));
                        last = AdminError::Refused { what: "describing the quorum".to_owned(), code, message: None };
                    }
                }
            }
        }
    }
    Err(last)
}
