//! A broker's own state: its replicas, who fetches from whom, what waits, and its standing with the controller.
//!
//! **Where to look.** The high watermark advances in [`partition`] by the rule in [`isr`], where the ISR shrinks and grows
//! too. Requests that wait lie in [`waiting`]; what readers' fetch sessions ask for in [`sessions`]; followers' fetches are
//! planned in [`fetchers`]. Nothing here knows connections or versions of messages.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::config::{NodeConfig, Settings};
use crate::image::PartitionId;
use crate::io::{Completion, Disk, OpId, Outputs, StorageAction, StorageFailure};
use crate::log::{Log, LogConfig};
use crate::time::{Now, Ns};

pub mod checkpoints;
pub mod fetchers;
pub mod following;
pub mod isr;
pub mod lifecycle;
pub mod partition;
pub mod sessions;
pub mod waiting;

pub use partition::{FetchPosition, Moved, Refused, Replica, Role, Write};

use fetchers::Fetchers;
use lifecycle::Lifecycle;
use waiting::Waiting;

/// With fewer left than a tenth of a block the next one is asked for (Kafka's prefetch threshold).
const PRODUCER_IDS_LOW: i64 = crate::controller::PRODUCER_ID_BLOCK / 10;

/// Producer ids of this broker's own blocks, and requests for another one.
#[derive(Debug, Default)]
pub struct ProducerIds {
    /// First and end of each block, in the order in which they came.
    blocks: VecDeque<(i64, i64)>,
    /// A block has been asked for.
    pub in_flight: bool,
    /// The next one is not asked for before.
    pub not_before: Ns,
}

impl ProducerIds {
    /// The next one, if there is any.
    pub fn take(&mut self) -> Option<i64> {
        let (next, end) = self.blocks.front_mut()?;
        let id = *next;
        *next += 1;
        if next == end {
            self.blocks.pop_front();
        }
        Some(id)
    }

    /// A new block.
    pub fn refill(&mut self, first: i64, count: i32) {
        if count > 0 {
            self.blocks.push_back((first, first + i64::from(count)));
        }
    }

    /// Whether another block should be asked for, if that has not been done.
    #[must_use]
    pub fn are_low(&self) -> bool {
        !self.in_flight && self.blocks.iter().map(|(next, end)| end - next).sum::<i64>() < PRODUCER_IDS_LOW
    }
}

/// A broker.
#[derive(Debug)]
pub struct Broker {
    /// Replicas on this node, with what the store has of them from the start on.
    pub replicas: BTreeMap<PartitionId, Replica>,
    /// Whether it acts on metadata yet.
    pub live: bool,
    /// Fetches from leaders.
    pub fetchers: Fetchers,
    /// Fetch sessions of those who read here.
    pub sessions: sessions::Sessions,
    /// Produce and fetch requests that wait.
    pub(crate) waiting: Waiting<crate::api::Parked>,
    /// Partitions on which somebody may be waiting for what has happened.
    pub(crate) stirred: BTreeMap<PartitionId, Moved>,
    /// Partitions whose leader changed: whoever waits there is sent away.
    pub(crate) deposed: BTreeSet<PartitionId>,
    /// Partitions with an ISR to propose.
    pub(crate) proposals: BTreeSet<PartitionId>,
    pub(crate) alter_in_flight: bool,
    /// Its standing with the controller.
    pub lifecycle: Lifecycle,
    pub(crate) producer_ids: ProducerIds,
    /// Reads of the store that a parked request waits for: which, and its place in it.
    pub(crate) reads: BTreeMap<OpId, (waiting::WaitId, usize)>,
    /// Topics that are being made because somebody asked for them, and what is told meanwhile.
    pub(crate) making: BTreeMap<String, metricstream_wire::ErrorCode>,
    pub(crate) groups: crate::group::Groups,
    pub(crate) coordinating: crate::node::Coordinating,
    checkpoint: checkpoints::HighWatermarks,
    next_lag_look: Ns,
    next_cleaning: Ns,
}

/// In-sync replicas that a topic with these settings wants.
#[must_use]
pub fn min_isr(settings: &Settings, config: &BTreeMap<String, String>) -> usize {
    let own = config.get("min.insync.replicas").and_then(|v| v.parse().ok());
    usize::try_from(own.unwrap_or(settings.min_insync_replicas)).unwrap_or(1).max(1)
}

/// A store without files: a partition that is new has nothing to recover.
struct NothingStored;

impl Disk for NothingStored {
    fn list(&self) -> Result<Vec<(String, u64)>, StorageFailure> {
        Ok(Vec::new())
    }

    fn read(&self, path: &str, _: u64, _: u32) -> Result<Bytes, StorageFailure> {
        Err(StorageFailure { path: path.to_owned(), why: "there is no such file".to_owned() })
    }
}

impl Broker {
    /// A broker with what its store has.
    pub(crate) fn new(
        replicas: BTreeMap<PartitionId, Replica>,
        checkpoint: checkpoints::HighWatermarks,
        lifecycle: Lifecycle,
        config: &NodeConfig,
        seed: u64,
        now: Now,
    ) -> Self {
        let settings = &config.settings;
        Self {
            replicas,
            live: false,
            fetchers: Fetchers::default(),
            sessions: sessions::Sessions::new(settings.fetch_session_slots, seed),
            waiting: Waiting::default(),
            stirred: BTreeMap::new(),
            deposed: BTreeSet::new(),
            proposals: BTreeSet::new(),
            alter_in_flight: false,
            lifecycle,
            producer_ids: ProducerIds::default(),
            reads: BTreeMap::new(),
            making: BTreeMap::new(),
            groups: crate::group::Groups::new(settings.clone(), config.flaws, seed),
            coordinating: crate::node::Coordinating::default(),
            checkpoint,
            next_lag_look: now.after_ms(lag_look_ms(settings)),
            next_cleaning: now.after_ms(cleaning_ms(settings)),
        }
    }

    /// Makes sure that there is a replica with these settings.
    ///
    /// # Errors
    /// If its log cannot be made: with a text for people.
    pub(crate) fn ensure_replica(
        &mut self,
        id: PartitionId,
        topic: &str,
        overrides: &BTreeMap<String, String>,
        config: &NodeConfig,
        now: Now,
        out: &mut Outputs,
    ) -> Result<(), String> {
        let log_config = LogConfig::of(&config.settings, overrides).map_err(|error| format!("{topic}: {error}"))?;
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.log.configure(log_config);
            replica.min_isr = min_isr(&config.settings, overrides);
            return Ok(());
        }
        // An older topic of the same name may still lie there.
        let namesake = self.replicas.iter().find(|((_, p), r)| r.topic == topic && *p == id.1).map(|(id, _)| *id);
        if let Some(namesake) = namesake {
            self.remove(namesake, out);
        }
        let folder = format!("{topic}-{}", id.1);
        let log = Log::open(&folder, log_config, &NothingStored, now, out).map_err(|error| error.to_string())?;
        let file = out.open(format!("{folder}/{}", checkpoints::PARTITION_METADATA));
        out.written(file, StorageAction::Replace { bytes: checkpoints::partition_metadata(id.0) });
        out.written(file, StorageAction::Close);
        let mut replica = Replica::new(id, topic.to_owned(), log, config.node_id, 0);
        replica.min_isr = min_isr(&config.settings, overrides);
        self.replicas.insert(id, replica);
        Ok(())
    }

    /// A replica is not wanted here any more.
    pub(crate) fn remove(&mut self, id: PartitionId, out: &mut Outputs) {
        if let Some(replica) = self.replicas.remove(&id) {
            let file = out.open(format!("{}/{}", replica.log.folder(), checkpoints::PARTITION_METADATA));
            out.written(file, StorageAction::Delete);
            replica.log.destroy(out);
        }
        self.fetchers.remove(id);
        self.leadership_changed(id);
    }

    /// Something happened to a partition: whoever waits for it is looked at.
    pub(crate) fn moved(&mut self, id: PartitionId, moved: Moved) {
        if moved.proposal {
            self.proposals.insert(id);
        }
        if moved.log_end || moved.high_watermark || moved.low_watermark {
            let before = self.stirred.entry(id).or_default();
            *before = before.and(moved);
        }
    }

    pub(crate) fn leadership_changed(&mut self, id: PartitionId) {
        self.deposed.insert(id);
    }

    /// Members that lag are looked for every half of the time that they may.
    pub(crate) fn look_for_lag(&mut self, settings: &Settings, now: Now) {
        if !now.reached(self.next_lag_look) {
            return;
        }
        self.next_lag_look = now.after_ms(lag_look_ms(settings));
        for (id, replica) in &mut self.replicas {
            if replica.shrink(settings.replica_lag_time_max_ms, now) {
                self.proposals.insert(*id);
            }
        }
    }

    /// Retention, compaction, the cap on all logs together, and what is written down of high watermarks.
    pub(crate) fn clean(&mut self, settings: &Settings, now: Now, out: &mut Outputs) {
        if self.checkpoint.is_due(now) {
            self.checkpoint.write(&self.replicas, settings, now, out);
        }
        if now.reached(self.next_cleaning) {
            self.next_cleaning = now.after_ms(cleaning_ms(settings));
            for replica in self.replicas.values_mut() {
                replica.log.clean(now, replica.high_watermark, out);
            }
        }
        self.keep_below_the_cap(settings, now, out);
    }

    /// The oldest segments of the largest log go when all logs together are larger than
    /// `metricstream.log.total.max.bytes`: as retention by size does it, never above a high watermark, and not of a topic
    /// that is only compacted, such as that of the groups' offsets.
    fn keep_below_the_cap(&mut self, settings: &Settings, now: Now, out: &mut Outputs) {
        let Ok(cap) = u64::try_from(settings.log_total_max_bytes) else { return };
        let mut kept = BTreeSet::new();
        while self.replicas.values().map(|r| r.log.size_bytes()).sum::<u64>() > cap {
            let may_go = self.replicas.iter_mut().filter(|(id, r)| r.log.config().delete && !kept.contains(*id));
            let Some((id, replica)) = may_go.max_by_key(|(_, r)| r.log.size_bytes()) else { break };
            if !replica.log.drop_oldest_segment(replica.high_watermark, now, out) {
                kept.insert(*id);
            }
        }
    }

    /// A storage operation of one of the logs ended.
    pub(crate) fn stored(&mut self, done: &Completion, out: &mut Outputs) {
        for replica in self.replicas.values_mut() {
            if replica.log.stored(done, out) {
                return;
            }
        }
    }

    /// When time alone gives this broker something to do. Without a controller, or a registration with it, no proposal is
    /// due: what changes that comes as an input.
    pub(crate) fn next_timer(&self, controller_known: bool) -> Ns {
        let waiting = self.waiting.next_deadline().unwrap_or(Ns::MAX);
        let beat = if self.lifecycle.in_flight { Ns::MAX } else { self.lifecycle.next_at };
        let proposals = if controller_known { self.next_proposal() } else { Ns::MAX };
        let mine = [self.next_lag_look, self.next_cleaning, self.checkpoint.due_at(), waiting, beat, proposals];
        let ids = if self.wants_producer_ids() { self.producer_ids.not_before } else { Ns::MAX };
        let others = [self.fetchers.next_timer(), self.groups.next_timer().unwrap_or(Ns::MAX), ids];
        mine.into_iter().chain(others).fold(Ns::MAX, Ns::min)
    }

    /// Whether a block of producer ids should be asked for; a broker without an epoch gets none.
    pub(crate) fn wants_producer_ids(&self) -> bool {
        self.lifecycle.epoch.is_some() && self.producer_ids.are_low()
    }

    fn next_proposal(&self) -> Ns {
        if self.alter_in_flight || self.lifecycle.epoch.is_none() {
            return Ns::MAX;
        }
        let due = |id: &PartitionId| self.replicas.get(id)?.leading().ok()?.proposal_due();
        self.proposals.iter().filter_map(due).min().unwrap_or(Ns::MAX)
    }

    /// The end of a controlled shutdown: what a restart may rely on is written down (`.kafka_cleanshutdown`, KIP-966).
    pub(crate) fn close(&mut self, out: &mut Outputs) {
        self.checkpoint.write_now(&self.replicas, out);
        if let Some(epoch) = self.lifecycle.epoch {
            let file = out.open(checkpoints::CLEAN_SHUTDOWN.to_owned());
            out.written(file, StorageAction::Replace { bytes: checkpoints::clean_shutdown(epoch) });
        }
    }
}

fn lag_look_ms(settings: &Settings) -> i64 {
    (settings.replica_lag_time_max_ms / 2).max(1)
}

/// Retention and compaction are looked at as often as the more frequent of both.
fn cleaning_ms(settings: &Settings) -> i64 {
    settings.log_retention_check_interval_ms.min(settings.log_cleaner_backoff_ms).max(1)
}
