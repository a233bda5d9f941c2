//! A node's settings under Kafka's own names, with the defaults of Apache Kafka 4.3 and the units in the names.
//! What is not here this node does not read; an unknown name is an error, never silently ignored.

use std::collections::BTreeMap;

use crate::flaws::Flaws;

pub mod bounds;
pub mod describe;

use describe::ConfigType;

/// Why a setting was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nobody reads it here.
    #[error("{name}: the embedded cluster does not read this setting")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// A value of another kind or outside what is allowed.
    #[error("{name} = {value}: {why}")]
    Value {
        /// Its name.
        name: String,
        /// What was given.
        value: String,
        /// What is allowed.
        why: String,
    },
}

/// A value that a setting can have.
trait Setting: Sized {
    fn parse(text: &str) -> Option<Self>;
    fn show(&self) -> String;
    const KIND: &'static str;
    const TYPE: ConfigType;
}

impl Setting for i64 {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn show(&self) -> String {
        self.to_string()
    }
    const KIND: &'static str = "a whole number is wanted";
    const TYPE: ConfigType = ConfigType::Long;
}

impl Setting for i32 {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn show(&self) -> String {
        self.to_string()
    }
    const KIND: &'static str = "a whole number of 32 bits is wanted";
    const TYPE: ConfigType = ConfigType::Int;
}

impl Setting for bool {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn show(&self) -> String {
        self.to_string()
    }
    const KIND: &'static str = "true or false is wanted";
    const TYPE: ConfigType = ConfigType::Boolean;
}

impl Setting for f64 {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|x: &Self| x.is_finite())
    }
    fn show(&self) -> String {
        self.to_string()
    }
    const KIND: &'static str = "a number is wanted";
    const TYPE: ConfigType = ConfigType::Double;
}

impl Setting for String {
    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
    fn show(&self) -> String {
        self.clone()
    }
    const KIND: &'static str = "text is wanted";
    const TYPE: ConfigType = ConfigType::String;
}

macro_rules! settings {
    ($(#[$meta:meta])* $struct:ident { $($(#[doc = $doc:literal])* $field:ident : $ty:ty = $name:literal, $default:expr;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $struct { $($(#[doc = $doc])* pub $field: $ty,)* }

        impl Default for $struct {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $struct {
            /// Every name that is read.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Sets one by Kafka's name.
            ///
            /// # Errors
            /// If nobody reads it, or the value is of another kind.
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
                match name {
                    $($name => match <$ty as Setting>::parse(value) {
                        Some(value) => self.$field = value,
                        None => return Err(ConfigError::Value {
                            name: name.to_owned(), value: value.to_owned(), why: <$ty as Setting>::KIND.to_owned(),
                        }),
                    },)*
                    _ => return Err(ConfigError::Unknown { name: name.to_owned() }),
                }
                Ok(())
            }

            /// What kind of value a setting has.
            #[must_use]
            pub fn kind(name: &str) -> Option<ConfigType> {
                match name {
                    $($name => Some(<$ty as Setting>::TYPE),)*
                    _ => None,
                }
            }

            /// What a setting does.
            #[must_use]
            pub fn documentation(name: &str) -> Option<&'static str> {
                match name {
                    $($name => Some(concat!($($doc),*)),)*
                    _ => None,
                }
            }

            /// Every setting as text, under Kafka's names.
            #[must_use]
            pub fn all(&self) -> BTreeMap<&'static str, String> {
                BTreeMap::from([$(($name, self.$field.show()),)*])
            }
        }
    };
}

settings! {
    /// What a broker or controller reads.
    Settings {
        /// A broker's heartbeat to the controller, after the last answer.
        broker_heartbeat_interval_ms: i64 = "broker.heartbeat.interval.ms", 2_000;
        /// Silence that gets a broker fenced.
        broker_session_timeout_ms: i64 = "broker.session.timeout.ms", 9_000;
        /// How long a new broker may take to register.
        initial_broker_registration_timeout_ms: i64 = "initial.broker.registration.timeout.ms", 60_000;
        /// Whether a broker hands its leaderships over before it ends.
        controlled_shutdown_enable: bool = "controlled.shutdown.enable", true;
        /// A voter without a successful fetch for this long becomes a prospective candidate; a leader without a majority
        /// of fetches for 1.5 times this long resigns.
        quorum_fetch_timeout_ms: i64 = "controller.quorum.fetch.timeout.ms", 2_000;
        /// An election without a winner starts again after this and up to as much again, drawn.
        quorum_election_timeout_ms: i64 = "controller.quorum.election.timeout.ms", 1_000;
        /// Longest wait after a lost election.
        quorum_election_backoff_max_ms: i64 = "controller.quorum.election.backoff.max.ms", 1_000;
        /// A request between voters is given up.
        quorum_request_timeout_ms: i64 = "controller.quorum.request.timeout.ms", 2_000;
        /// Wait before a request between voters is tried again.
        quorum_retry_backoff_ms: i64 = "controller.quorum.retry.backoff.ms", 20;
        /// The active controller gathers records before it appends them.
        quorum_append_linger_ms: i64 = "controller.quorum.append.linger.ms", 25;
        /// How long a fetch of the metadata log is parked; Kafka's is not configurable.
        quorum_fetch_wait_max_ms: i64 = "metricstream.quorum.fetch.wait.max.ms", 500;
        /// An idle active controller writes a record this often.
        metadata_max_idle_interval_ms: i64 = "metadata.max.idle.interval.ms", 500;
        /// A snapshot is taken after so many bytes of metadata records.
        metadata_snapshot_bytes: i64 = "metadata.log.max.record.bytes.between.snapshots", 20_971_520;
        /// And after so much time.
        metadata_snapshot_interval_ms: i64 = "metadata.log.max.snapshot.interval.ms", 3_600_000;
        /// A follower this far behind leaves the ISR; looked at every half of it.
        replica_lag_time_max_ms: i64 = "replica.lag.time.max.ms", 30_000;
        /// A follower's fetch is parked this long.
        replica_fetch_wait_max_ms: i64 = "replica.fetch.wait.max.ms", 500;
        /// A follower's fetch is answered from so many bytes on.
        replica_fetch_min_bytes: i32 = "replica.fetch.min.bytes", 1;
        /// Bytes that a follower takes of one partition.
        replica_fetch_max_bytes: i32 = "replica.fetch.max.bytes", 1_048_576;
        /// Bytes that a follower takes at once.
        replica_fetch_response_max_bytes: i32 = "replica.fetch.response.max.bytes", 10_485_760;
        /// A follower waits this long after an error.
        replica_fetch_backoff_ms: i64 = "replica.fetch.backoff.ms", 1_000;
        /// A follower gives a silent leader up.
        replica_socket_timeout_ms: i64 = "replica.socket.timeout.ms", 30_000;
        /// High watermarks are written out this often.
        replica_high_watermark_checkpoint_interval_ms: i64 = "replica.high.watermark.checkpoint.interval.ms", 5_000;
        /// Leadership goes back to the preferred replicas by itself.
        auto_leader_rebalance_enable: bool = "auto.leader.rebalance.enable", true;
        /// How often that is looked at.
        leader_imbalance_check_interval_seconds: i64 = "leader.imbalance.check.interval.seconds", 300;
        /// Leaderless partitions that allow an unclean election are looked at this often.
        unclean_leader_election_interval_ms: i64 = "unclean.leader.election.interval.ms", 300_000;
        /// Whether a replica outside the ISR may lead when nobody else can.
        unclean_leader_election_enable: bool = "unclean.leader.election.enable", false;
        /// In-sync replicas without which acks=all is refused.
        min_insync_replicas: i32 = "min.insync.replicas", 1;
        /// Of a topic that is created without saying.
        default_replication_factor: i32 = "default.replication.factor", 1;
        /// Of a topic that is created without saying.
        num_partitions: i32 = "num.partitions", 1;
        /// Whether asking for a topic makes it.
        auto_create_topics_enable: bool = "auto.create.topics.enable", true;
        /// Whether topics may be deleted.
        delete_topic_enable: bool = "delete.topic.enable", true;
        /// Largest batch.
        message_max_bytes: i32 = "message.max.bytes", 1_048_588;
        /// Largest fetch response.
        fetch_max_bytes: i32 = "fetch.max.bytes", 57_671_680;
        /// Fetch sessions kept (KIP-227).
        fetch_session_slots: i32 = "max.incremental.fetch.session.cache.slots", 1_000;
        /// Largest request.
        socket_request_max_bytes: i32 = "socket.request.max.bytes", 104_857_600;
        /// Connections accepted.
        max_connections: i32 = "max.connections", i32::MAX;
        /// Connections without a word are closed.
        connections_max_idle_ms: i64 = "connections.max.idle.ms", 600_000;
        /// delete, compact, or both.
        log_cleanup_policy: String = "log.cleanup.policy", "delete".to_owned();
        /// Segments are rolled at this size.
        log_segment_bytes: i32 = "log.segment.bytes", 1_073_741_824;
        /// Segments are rolled at this age.
        log_roll_ms: i64 = "log.roll.ms", 604_800_000;
        /// Records are kept this long; −1 for ever.
        log_retention_ms: i64 = "log.retention.ms", 604_800_000;
        /// A partition keeps so many bytes; −1 all.
        log_retention_bytes: i64 = "log.retention.bytes", -1;
        /// How often retention is looked at.
        log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms", 300_000;
        /// How often compaction is looked at.
        log_cleaner_backoff_ms: i64 = "log.cleaner.backoff.ms", 15_000;
        /// The share of a log that must be dirty before it is compacted.
        log_cleaner_min_cleanable_ratio: f64 = "log.cleaner.min.cleanable.ratio", 0.5;
        /// Tombstones are kept this long.
        log_cleaner_delete_retention_ms: i64 = "log.cleaner.delete.retention.ms", 86_400_000;
        /// CreateTime or LogAppendTime.
        log_message_timestamp_type: String = "log.message.timestamp.type", "CreateTime".to_owned();
        /// How far before the broker's clock a record's timestamp may lie.
        log_message_timestamp_before_max_ms: i64 = "log.message.timestamp.before.max.ms", i64::MAX;
        /// How far after it (one hour since KIP-1030).
        log_message_timestamp_after_max_ms: i64 = "log.message.timestamp.after.max.ms", 3_600_000;
        /// producer, or a codec that the broker would have to compress with.
        compression_type: String = "compression.type", "producer".to_owned();
        /// Idempotent producers are forgotten after so long.
        producer_id_expiration_ms: i64 = "producer.id.expiration.ms", 86_400_000;
        /// Partitions of `__consumer_offsets`.
        offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions", 50;
        /// Replicas of `__consumer_offsets`.
        offsets_topic_replication_factor: i32 = "offsets.topic.replication.factor", 3;
        /// Segment size of `__consumer_offsets`.
        offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes", 104_857_600;
        /// Offsets of a group without members are kept this long.
        offsets_retention_minutes: i64 = "offsets.retention.minutes", 10_080;
        /// How often that is looked at.
        offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms", 600_000;
        /// An offset commit waits this long for its replicas.
        offsets_commit_timeout_ms: i64 = "offsets.commit.timeout.ms", 5_000;
        /// Longest metadata text of an offset.
        offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes", 4_096;
        /// An empty group waits for more members.
        group_initial_rebalance_delay_ms: i64 = "group.initial.rebalance.delay.ms", 3_000;
        /// Shortest session that a member may ask for.
        group_min_session_timeout_ms: i64 = "group.min.session.timeout.ms", 6_000;
        /// Longest.
        group_max_session_timeout_ms: i64 = "group.max.session.timeout.ms", 1_800_000;
        /// Members of a classic group.
        group_max_size: i32 = "group.max.size", i32::MAX;
        /// Heartbeat that KIP-848 members are told.
        group_consumer_heartbeat_interval_ms: i64 = "group.consumer.heartbeat.interval.ms", 5_000;
        /// Smallest allowed for it.
        group_consumer_min_heartbeat_interval_ms: i64 = "group.consumer.min.heartbeat.interval.ms", 5_000;
        /// Largest allowed for it.
        group_consumer_max_heartbeat_interval_ms: i64 = "group.consumer.max.heartbeat.interval.ms", 15_000;
        /// A KIP-848 member silent for this long is fenced.
        group_consumer_session_timeout_ms: i64 = "group.consumer.session.timeout.ms", 45_000;
        /// Smallest allowed for it.
        group_consumer_min_session_timeout_ms: i64 = "group.consumer.min.session.timeout.ms", 45_000;
        /// Largest allowed for it.
        group_consumer_max_session_timeout_ms: i64 = "group.consumer.max.session.timeout.ms", 60_000;
        /// Members of a KIP-848 group.
        group_consumer_max_size: i32 = "group.consumer.max.size", i32::MAX;
        /// Assignments are computed no more often (4.3).
        group_consumer_assignment_interval_ms: i64 = "group.consumer.assignment.interval.ms", 1_000;
        /// Which assignors, the first by default.
        group_consumer_assignors: String = "group.consumer.assignors", "uniform,range".to_owned();
        /// Read and kept for transactions, which are not there yet.
        transaction_state_log_replication_factor: i32 = "transaction.state.log.replication.factor", 3;
        /// The same.
        transaction_state_log_min_isr: i32 = "transaction.state.log.min.isr", 2;
        /// Ours: a connection that a broker of this cluster closed counts as evidence of its death: the active controller
        /// fences it at once, unless it comes back within this long; −1 waits for the session, as Kafka does.
        fence_after_disconnect_ms: i64 = "metricstream.fence.after.disconnect.ms", -1;
        /// Ours: a voter that sees the leader's connection closed starts its election after this and up to as much
        /// again, drawn; −1 waits for the fetch timeout, as Kafka does.
        elect_after_disconnect_ms: i64 = "metricstream.elect.after.disconnect.ms", -1;
        /// Ours: a question for metadata about a leader whose connection to the broker that is asked has closed waits for the
        /// next leader, at most until this long after, and the first answer on each connection lists a broker that was fenced
        /// less long ago; −1 answers at once with the old leader, and lists no broker that is fenced, as Kafka does.
        metadata_wait_after_disconnect_ms: i64 = "metricstream.metadata.wait.after.disconnect.ms", -1;
        /// Ours: bytes of each partition's log that are kept in memory for reading; older ones are read from the store.
        log_cache_bytes: i64 = "metricstream.log.cache.bytes", 67_108_864;
        /// Ours: bytes of all partition logs of a node together; the oldest segments go when it is passed; −1 no limit.
        log_total_max_bytes: i64 = "metricstream.log.total.max.bytes", -1;
    }
}

/// Settings of `fast`: as quick as this cluster can honestly be. Everything else is Kafka's default. Whoever dies is known
/// dead by its closed connections; silence alone counts only after a second, so that a busy machine does not look like a
/// dead one. What follows for a node that falls silent is in [`bounds`].
pub const FAST: &[(&str, &str)] = &[
    ("broker.heartbeat.interval.ms", "50"),
    ("broker.session.timeout.ms", "1000"),
    ("controller.quorum.fetch.timeout.ms", "1000"),
    ("controller.quorum.election.timeout.ms", "100"),
    ("controller.quorum.election.backoff.max.ms", "50"),
    ("controller.quorum.request.timeout.ms", "1000"),
    ("controller.quorum.append.linger.ms", "0"),
    ("metricstream.quorum.fetch.wait.max.ms", "100"),
    ("replica.fetch.backoff.ms", "20"),
    // A follower that waits at a broker hears of the partitions which that one has just come to lead only when it asks next.
    ("replica.fetch.wait.max.ms", "50"),
    ("replica.socket.timeout.ms", "1000"),
    ("replica.lag.time.max.ms", "1000"),
    ("group.initial.rebalance.delay.ms", "100"),
    ("group.min.session.timeout.ms", "100"),
    ("group.consumer.heartbeat.interval.ms", "100"),
    ("group.consumer.min.heartbeat.interval.ms", "50"),
    ("group.consumer.session.timeout.ms", "1000"),
    ("group.consumer.min.session.timeout.ms", "500"),
    ("group.consumer.assignment.interval.ms", "0"),
    ("metricstream.fence.after.disconnect.ms", "0"),
    ("metricstream.elect.after.disconnect.ms", "10"),
    // Long enough for the election of another controller, in case the old one died with the leader.
    ("metricstream.metadata.wait.after.disconnect.ms", "200"),
];

/// What a process of a node is for (`process.roles`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// It stores and serves partitions.
    pub broker: bool,
    /// It votes, and may be the active controller.
    pub controller: bool,
}

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Such as `127.0.0.1`; clients are told exactly this.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A member of the quorum (`controller.quorum.voters`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Its node id.
    pub id: i32,
    /// Its controller listener.
    pub at: Address,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// `node.id`.
    pub node_id: i32,
    /// `process.roles`.
    pub roles: Roles,
    /// The cluster's id, as Kafka writes it: 16 bytes in base64 for URLs.
    pub cluster_id: String,
    /// This process's incarnation; another one at each start.
    pub incarnation: [u8; 16],
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Where its broker listens, if it is one.
    pub broker_listener: Option<Address>,
    /// Where its controller listens, if it is one.
    pub controller_listener: Option<Address>,
    /// All voters, in the order of their ids.
    pub voters: Vec<Voter>,
    /// Everything else.
    pub settings: Settings,
    /// What is switched on to be shown.
    pub flaws: Flaws,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_kafkas_names_and_an_unknown_one_is_refused() {
        let mut settings = Settings::default();
        assert_eq!(settings.broker_session_timeout_ms, 9_000);
        settings.set("broker.session.timeout.ms", "4500").expect("known");
        assert_eq!(settings.all()["broker.session.timeout.ms"], "4500");
        assert!(matches!(settings.set("broker.session.timeout.ms", "soon"), Err(ConfigError::Value { .. })));
        assert!(matches!(settings.set("num.network.threads", "3"), Err(ConfigError::Unknown { .. })));
    }

    #[test]
    fn the_fast_profile_sets_only_what_is_read() {
        let mut settings = Settings::default();
        for (name, value) in FAST {
            settings.set(name, value).expect(name);
        }
        assert!(settings.broker_session_timeout_ms > 2 * settings.broker_heartbeat_interval_ms);
    }
}
