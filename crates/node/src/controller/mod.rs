//! The active controller's decisions. Each one looks at the working image and gives records and an answer; it touches
//! nothing. Whoever holds the controller appends the records, applies them here at once (the next decision must see them),
//! and lets the answer go when they are committed.
//!
//! Nothing here knows connections, the quorum or the log.

use std::collections::BTreeMap;

use metricstream_wire::ErrorCode;
use metricstream_wire::metadata_record::{FeatureLevel, MetadataRecord, NoOp, ProducerIds};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::config::Settings;
use crate::flaws::Flaws;
use crate::image::{Image, Touched};
use crate::time::{Now, Ns};

mod brokers;
mod configs;
mod leaders;
mod partitions;
#[cfg(test)]
mod stories;
mod topics;

pub use brokers::{BeatAnswer, Heartbeat, Registration};
pub use configs::{AlterOp, ConfigChange, ConfigResult};
pub use partitions::{AlterPartitions, Altered, ElectionKind, PartitionWish};
pub use topics::{NewTopic, TopicResult, is_topic_name};

/// Producer ids that are handed out at once.
pub const PRODUCER_ID_BLOCK: i64 = 1_000;
/// The finalised features of a new cluster, as Apache Kafka 4.1 would have them without transactions of its second version.
pub const FEATURES: &[(&str, i16)] =
    &[("metadata.version", 27), ("group.version", 1), ("eligible.leader.replicas.version", 1)];

/// Records to append, and what to answer when they are committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<T> {
    /// To be appended as one batch.
    pub records: Vec<MetadataRecord>,
    /// The answer.
    pub answer: T,
}

impl<T> Decision<T> {
    fn only(answer: T) -> Self {
        Self { records: Vec::new(), answer }
    }
}

/// What the active controller holds beside the log.
#[derive(Debug)]
pub struct Controller {
    image: Image,
    settings: Settings,
    flaws: Flaws,
    sessions: BTreeMap<i32, brokers::Session>,
    random: ChaCha8Rng,
    next_expiry_look: Ns,
    next_balance_look: Ns,
    next_unclean_look: Ns,
    next_no_op: Ns,
}

impl Controller {
    /// Takes office with the committed image. Every registered broker gets a whole session from now: nobody knows when it
    /// was last heard of.
    #[must_use]
    pub fn activate(image: Image, settings: Settings, flaws: Flaws, seed: u64, now: Now) -> Self {
        let sessions = image.brokers.keys().map(|id| (*id, brokers::Session::new(now))).collect();
        let mut this = Self {
            image,
            settings,
            flaws,
            sessions,
            random: ChaCha8Rng::seed_from_u64(seed),
            next_expiry_look: 0,
            next_balance_look: 0,
            next_unclean_look: 0,
            next_no_op: 0,
        };
        this.next_expiry_look = now.after_ms(this.settings.session_look_ms());
        this.next_balance_look = now.after_ms(this.settings.leader_imbalance_check_interval_seconds * 1_000);
        this.next_unclean_look = now.after_ms(this.settings.unclean_leader_election_interval_ms);
        this.next_no_op = now.after_ms(this.settings.metadata_max_idle_interval_ms);
        this
    }

    /// What a controller appends when it takes office: in an empty cluster, the features that everything else relies on.
    #[must_use]
    pub fn first_records(&self) -> Vec<MetadataRecord> {
        if !self.image.features.is_empty() {
            return Vec::new();
        }
        let level = |(name, level): &(&str, i16)| {
            MetadataRecord::FeatureLevel(FeatureLevel { name: (*name).to_owned(), feature_level: *level })
        };
        FEATURES.iter().map(level).collect()
    }

    /// The working image: committed, and what this controller has appended since.
    #[must_use]
    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// Takes its own records in, the first of which got `base_offset`. Gives what they touched.
    pub fn applied(&mut self, records: &[MetadataRecord], base_offset: i64, epoch: i32, now: Now) -> Touched {
        let mut touched = Touched::default();
        for (offset, record) in (base_offset..).zip(records) {
            self.image.apply(record, &mut touched);
            self.image.offset = offset;
            self.image.epoch = epoch;
        }
        if !records.is_empty() {
            self.next_no_op = now.after_ms(self.settings.metadata_max_idle_interval_ms);
        }
        touched
    }

    fn elr_enabled(&self) -> bool {
        self.image.feature("eligible.leader.replicas.version") >= 1
    }

    /// In-sync replicas that a topic wants before it commits.
    #[must_use]
    pub fn min_isr(&self, topic: &str) -> i32 {
        let own = self.image.configs.get(&(crate::image::TOPIC_RESOURCE, topic.to_owned()));
        let own = own.and_then(|c| c.get("min.insync.replicas")).and_then(|v| v.parse().ok());
        own.unwrap_or(self.settings.min_insync_replicas)
    }

    fn unclean_allowed(&self, topic: &str) -> bool {
        let own = self.image.configs.get(&(crate::image::TOPIC_RESOURCE, topic.to_owned()));
        let own = own.and_then(|c| c.get("unclean.leader.election.enable")).and_then(|v| v.parse().ok());
        own.unwrap_or(self.settings.unclean_leader_election_enable)
    }

    /// A block of producer ids for a broker: first id and how many.
    ///
    /// # Errors
    /// If the broker is not who it says.
    pub fn allocate_producer_ids(&self, broker: i32, broker_epoch: i64) -> Result<Decision<(i64, i32)>, ErrorCode> {
        self.check_epoch(broker, broker_epoch)?;
        let first = self.image.next_producer_id;
        let next = first.checked_add(PRODUCER_ID_BLOCK).ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let record = ProducerIds { broker_id: broker, broker_epoch, next_producer_id: next };
        let count = i32::try_from(PRODUCER_ID_BLOCK).unwrap_or(i32::MAX);
        Ok(Decision { records: vec![MetadataRecord::ProducerIds(record)], answer: (first, count) })
    }

    /// When [`on_timer`](Self::on_timer) next has something to look at.
    #[must_use]
    pub fn next_timer(&self) -> Ns {
        let unfenced = |id: &i32| self.image.brokers.get(id).is_some_and(|b| !b.fenced);
        let gone = self.sessions.iter().filter(|(id, _)| unfenced(id)).filter_map(|(_, s)| s.gone_at);
        let evidence = gone.min().unwrap_or(Ns::MAX);
        let looks = [self.next_expiry_look, self.next_balance_look, self.next_unclean_look, self.next_no_op];
        looks.into_iter().fold(evidence, Ns::min)
    }

    /// What time alone makes it do: fence the silent, give leadership back, elect where that is allowed, show that it lives.
    /// One thing at a time, since the next decision must see it: call it again, after applying the records, until there
    /// are none.
    pub fn on_timer(&mut self, now: Now) -> Vec<MetadataRecord> {
        if let Some(broker) = self.silent_broker(now) {
            self.sessions.remove(&broker);
            return self.fence(broker);
        }
        if now.reached(self.next_expiry_look) {
            self.next_expiry_look = now.after_ms(self.settings.session_look_ms());
        }
        if now.reached(self.next_balance_look) {
            self.next_balance_look = now.after_ms(self.settings.leader_imbalance_check_interval_seconds.max(1) * 1_000);
            let balanced = if self.settings.auto_leader_rebalance_enable { self.balance() } else { Vec::new() };
            if !balanced.is_empty() {
                return balanced;
            }
        }
        if now.reached(self.next_unclean_look) {
            self.next_unclean_look = now.after_ms(self.settings.unclean_leader_election_interval_ms.max(1));
            let elected = self.elect_unclean();
            if !elected.is_empty() {
                return elected;
            }
        }
        if now.reached(self.next_no_op) {
            self.next_no_op = now.after_ms(self.settings.metadata_max_idle_interval_ms.max(1));
            return vec![MetadataRecord::NoOp(NoOp::default())];
        }
        Vec::new()
    }
}
