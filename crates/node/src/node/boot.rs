//! From a store to a node: whose store it is, what was there, in which state it was left.

use std::collections::BTreeMap;

use metricstream_wire::Uuid;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::Node;
use super::quorum_io::QuorumTokens;
use super::running::RunningTime;
use crate::broker::checkpoints::{self, CLEAN_SHUTDOWN, HIGH_WATERMARKS, META_PROPERTIES, PARTITION_METADATA};
use crate::broker::lifecycle::Lifecycle;
use crate::broker::{Broker, Replica};
use crate::config::NodeConfig;
use crate::image::{Image, PartitionId};
use crate::io::{Disk, Outputs, StorageAction, StorageFailure};
use crate::log::{Log, LogConfig, LogError};
use crate::net::inbound::InboundConnections;
use crate::net::peers::Peers;
use crate::quorum::{Quorum, QuorumError};
use crate::time::Now;

/// The layout of a store that is written and read here.
const LAYOUT_VERSION: &str = "1";
/// No file that is read whole is larger.
const SMALL_FILE_BYTES_MAX: u32 = 64 << 20;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The store cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// The metadata log or what belongs to it.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// A partition's log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store is another node's or another cluster's.
    #[error("meta.properties: the store belongs to {found}, this is {wanted}: give the node its own data directory")]
    Foreign {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// The store was written by something newer.
    #[error("meta.properties: version {found} is not known here (this program reads version 1): use a newer program")]
    Version {
        /// What was found.
        found: String,
    },
    /// A setting.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
}

impl Node {
    /// A node as its store left it. All randomness comes from `seed`.
    ///
    /// # Errors
    /// If the store cannot be read, is damaged beyond what Kafka repairs, or is not this node's.
    pub fn boot(config: NodeConfig, seed: u64, disk: &dyn Disk, now: Now) -> Result<Self, BootError> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut out = Outputs::default();
        let files: BTreeMap<String, u64> = disk.list()?.into_iter().collect();
        let directory = identify(&config, &files, disk, &mut random, &mut out)?;
        let broker = if config.roles.broker {
            Some(boot_broker(&config, &files, disk, random.next_u64(), now, &mut out)?)
        } else {
            None
        };
        let own = ChaCha8Rng::seed_from_u64(random.next_u64());
        let quorum = Quorum::open(&config, disk, own, now, &mut out)?;
        let time = RunningTime::new(&config.settings);
        let mut node = Self {
            config,
            out,
            random,
            directory,
            inbound: InboundConnections::default(),
            peers: Peers::default(),
            quorum,
            quorum_tokens: QuorumTokens::default(),
            forwards: crate::api::forward::Forwards::default(),
            image: Image::empty(),
            office: None,
            broker,
            snapshot_at: now.monotonic_ns,
            last_timestamp_ms: 0,
            time,
            judges: true,
            refused_at: BTreeMap::new(),
            departed: super::Departed::default(),
            halted: false,
        };
        node.settle(now);
        Ok(node)
    }
}

fn read_small(
    name: &str,
    files: &BTreeMap<String, u64>,
    disk: &dyn Disk,
) -> Result<Option<bytes::Bytes>, StorageFailure> {
    if files.contains_key(name) { disk.read(name, 0, SMALL_FILE_BYTES_MAX).map(Some) } else { Ok(None) }
}

/// Whose store it is, and its own id (`directory.id`, KIP-858), which stays as long as the store does. A new one is marked,
/// and one without an id is given one.
fn identify(
    config: &NodeConfig,
    files: &BTreeMap<String, u64>,
    disk: &dyn Disk,
    random: &mut ChaCha8Rng,
    out: &mut Outputs,
) -> Result<Uuid, BootError> {
    let mut fresh: Uuid = [0; 16];
    random.fill_bytes(&mut fresh);
    // As Kafka does: an id never begins with the dash that its text would then begin with.
    fresh[0] &= 0x7f;
    let mut mark = || {
        let file = out.open(META_PROPERTIES.to_owned());
        let bytes = checkpoints::meta_properties(&config.cluster_id, config.node_id, fresh);
        out.written(file, StorageAction::Replace { bytes });
        out.written(file, StorageAction::Close);
        fresh
    };
    let Some(found) = read_small(META_PROPERTIES, files, disk)?.filter(|found| !found.is_empty()) else {
        return Ok(mark());
    };
    let text = String::from_utf8_lossy(&found);
    let of = |key| checkpoints::property(&text, key).unwrap_or("nobody").to_owned();
    if of("version") != LAYOUT_VERSION {
        return Err(BootError::Version { found: of("version") });
    }
    let node_id = config.node_id.to_string();
    if of("cluster.id") == config.cluster_id && of("node.id") == node_id {
        let known = checkpoints::property(&text, "directory.id").and_then(checkpoints::uuid_of);
        return Ok(known.unwrap_or_else(mark));
    }
    Err(BootError::Foreign {
        found: format!("node {} of cluster {}", of("node.id"), of("cluster.id")),
        wanted: format!("node {node_id} of cluster {}", config.cluster_id),
    })
}

fn boot_broker(
    config: &NodeConfig,
    files: &BTreeMap<String, u64>,
    disk: &dyn Disk,
    seed: u64,
    now: Now,
    out: &mut Outputs,
) -> Result<Broker, BootError> {
    let marks = read_small(HIGH_WATERMARKS, files, disk)?;
    let marks = marks.map(|text| checkpoints::high_watermarks(&text)).unwrap_or_default();
    let mut replicas = BTreeMap::new();
    for path in files.keys() {
        let Some(folder) = path.strip_suffix(PARTITION_METADATA).and_then(|p| p.strip_suffix('/')) else { continue };
        let Some((topic, partition)) = folder.rsplit_once('-') else { continue };
        let Ok(partition) = partition.parse::<i32>() else { continue };
        let whose = read_small(path, files, disk)?.and_then(|text| checkpoints::topic_of(&text));
        let Some(topic_id) = whose else { continue };
        let id: PartitionId = (topic_id, partition);
        // The topic's own settings come with the metadata.
        let log_config = LogConfig::of(&config.settings, &BTreeMap::new())?;
        let log = Log::open(folder, log_config, disk, now, out)?;
        let mark = marks.get(&(topic.to_owned(), partition)).copied().unwrap_or(0);
        replicas.insert(id, Replica::new(id, topic.to_owned(), log, config.node_id, mark));
    }
    let clean = read_small(CLEAN_SHUTDOWN, files, disk)?.and_then(|text| checkpoints::clean_epoch(&text));
    if files.contains_key(CLEAN_SHUTDOWN) {
        let file = out.open(CLEAN_SHUTDOWN.to_owned());
        out.written(file, StorageAction::Delete);
    }
    let checkpoint = checkpoints::HighWatermarks::open(&config.settings, now, out);
    Ok(Broker::new(replicas, checkpoint, Lifecycle::new(clean.unwrap_or(-1)), config, seed, now))
}
