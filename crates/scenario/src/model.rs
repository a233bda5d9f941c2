//! The scenario as plain data. Every map is ordered: iteration order is part of what a run does.
//!
//! Times are seconds on the run's clock (0 = load starts).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the scenario file format that this build reads.
pub const SCHEMA: u32 = 1;

/// One scenario: everything that `metricstream run` needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Format version, [`SCHEMA`].
    pub schema: u32,
    /// Short name, also the prefix of the run directory.
    pub name: String,
    /// One paragraph for people.
    pub description: String,
    /// The cluster to build.
    pub topology: Topology,
    /// What is sent and read.
    pub workload: Workload,
    /// Faults and membership changes.
    pub timeline: Vec<Step>,
    /// Deadlines of the end of the run.
    pub settle: Settle,
    /// How much worse than an earlier run it may be.
    pub baseline: Baseline,
    /// What the author believes will happen.
    pub claims: Vec<Claim>,
}

/// The cluster: nodes, topics and server configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// Number of brokers; their ids are `1..=brokers`.
    pub brokers: u32,
    /// Where the KRaft voters live.
    pub controllers: Controllers,
    /// Timer profile.
    pub profile: Profile,
    /// Broker configuration overrides, Kafka's own names.
    pub broker_config: BTreeMap<String, String>,
    /// Topics created before load starts.
    pub topics: Vec<Topic>,
}

/// Placement of the KRaft voters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Controllers {
    /// Every broker is a voter too.
    Combined,
    /// This many controller-only nodes, ids `101..`.
    Separate(u32),
}

/// Timer profile; `apache` overrides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The defaults of the Kafka version.
    Apache,
    /// As quick as the engine can honestly be.
    Fast,
}

impl Profile {
    /// Every profile by the word that scenario files have for it.
    pub(crate) const WORDS: [(&'static str, Self); 2] =
        [(Self::Apache.word(), Self::Apache), (Self::Fast.word(), Self::Fast)];

    /// The word that scenario files have for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Apache => "apache",
            Self::Fast => "fast",
        }
    }
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Kafka topic name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas per partition.
    pub replication_factor: i16,
    /// `min.insync.replicas` of the topic.
    pub min_insync_replicas: i16,
    /// Explicit replica lists, one per partition, preferred leader first; empty: spread round-robin.
    pub replicas: Vec<Vec<i32>>,
    /// Further topic configuration, Kafka's own names.
    pub config: BTreeMap<String, String>,
}

/// What is sent and read while the timeline runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Load is offered for this long; `None`: until the timeline is through and the cluster is normal again.
    pub duration_s: Option<f64>,
    /// Without a duration: load goes on this long after all is normal again.
    pub settle_s: f64,
    /// Without a duration: load lasts no longer than this, healed or not; `None`: [`HEALED_LIMIT_S`](crate::HEALED_LIMIT_S)
    /// after the last step.
    pub max_duration_s: Option<f64>,
    /// Producers, each a client of its own.
    pub producers: Vec<Producer>,
    /// Consumer groups.
    pub groups: Vec<Group>,
}

/// One producer client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Producer {
    /// Name, unique in the scenario.
    pub name: String,
    /// Topic written to.
    pub topic: String,
    /// Open-loop rate over all its lanes; `None` sends as fast as the client accepts.
    pub rate_per_s: Option<f64>,
    /// Size of every message value, identity included.
    pub message_size_bytes: usize,
    /// `Some(n)`: n keyed lanes, partition chosen by the client; `None`: one lane pinned to each partition.
    pub keys: Option<u32>,
    /// librdkafka settings laid over the defaults.
    pub config: BTreeMap<String, String>,
}

/// One consumer group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// `group.id`.
    pub name: String,
    /// Subscribed topics.
    pub topics: Vec<String>,
    /// Group protocol.
    pub protocol: GroupProtocol,
    /// Assignor: `range`, `roundrobin`, `cooperative-sticky` (classic), `uniform`, `range` (consumer).
    pub assignor: String,
    /// Members that are present from the start.
    pub members: Vec<String>,
    /// librdkafka settings laid over the defaults.
    pub config: BTreeMap<String, String>,
}

/// Which group protocol the members speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupProtocol {
    /// JoinGroup / SyncGroup, assignment by the client that leads.
    Classic,
    /// KIP-848, assignment by the coordinator.
    Consumer,
}

/// One entry of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Unique id; results and claims refer to it.
    pub id: String,
    /// When it happens.
    pub when: When,
    /// What happens.
    pub action: Action,
}

/// When a step happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// At a time on the run's clock.
    At {
        /// Seconds since load start.
        at_s: f64,
    },
    /// `after_s` seconds after a condition first holds, looked at from `not_before_s` on.
    On {
        /// The condition.
        condition: Condition,
        /// Delay after it holds.
        after_s: f64,
        /// The condition is not looked at before this time.
        not_before_s: f64,
        /// The condition is not looked at before this step was carried out: "ISR full *again*".
        after_step: Option<String>,
    },
}

/// A condition that a step can wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Every partition of the scenario's topics has all replicas in sync and every broker is unfenced.
    IsrFull,
    /// Every partition of the scenario's topics has a leader.
    LeadersKnown,
    /// Every partition of the group's topics is owned, once, at one generation, and every member that was
    /// started and has not left or crashed reported an assignment (an empty one too) of that generation.
    GroupStable {
        /// `group.id`.
        group: String,
    },
    /// The step with this id was carried out.
    StepDone {
        /// Step id.
        step: String,
    },
    /// The broker that this step hit is fenced.
    Fenced {
        /// Step id.
        step: String,
    },
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// SIGKILL, or the engine's equal: the process is gone at once, unclean.
    Kill(Target),
    /// SIGTERM: controlled shutdown.
    Stop(Target),
    /// SIGSTOP: the process stands still, its connections stay open.
    Pause(Target),
    /// SIGCONT.
    Resume(Target),
    /// Starts a killed or stopped node on its old disk.
    Start(Target),
    /// Starts it with its partition logs gone; identity and metadata log kept.
    StartWiped(Target),
    /// Starts it as a new disk: formatted anew, its vote is gone too.
    StartReformatted(Target),
    /// Nothing gets through between these groups, either way; within a group everything does. What is in no group reaches
    /// all. Nobody is told: connections stay open.
    Partition {
        /// At least two.
        groups: Vec<Vec<Side>>,
    },
    /// Nothing gets through to a node or from it.
    Isolate {
        /// Which.
        target: Target,
        /// IsolatedFrom whom.
        from: IsolatedFrom,
    },
    /// Links between every two of these are slow, both ways, over what they were.
    SlowLink {
        /// At least two.
        between: Vec<Side>,
        /// Every byte arrives at least this much later, each way.
        delay_ms: f64,
        /// And up to this much more, drawn.
        jitter_ms: f64,
        /// What gets through in a second, in units of 1024 bytes; `None`: no limit.
        kb_per_s: Option<f64>,
    },
    /// Links are as they were made.
    Mend {
        /// Only what this step did to them; `None`: all.
        step: Option<String>,
    },
    /// A member joins a group.
    MemberJoin(Member),
    /// A member leaves gracefully.
    MemberLeave(Member),
    /// A member's process is killed.
    MemberCrash(Member),
    /// A member stays in one slow poll.
    MemberStall {
        /// Which member.
        member: Member,
        /// For how long, seconds.
        for_s: f64,
    },
    /// Seeded random faults of nodes, drawn from `kinds`, each healed after a drawn time. The last live in-sync replica of
    /// a partition is never taken, nor a majority of the voters: the guarantees count on it.
    Chaos {
        /// How long, seconds.
        for_s: f64,
        /// Mean time between faults, seconds.
        every_s: f64,
        /// `kill`, `stop`, `pause`.
        kinds: Vec<String>,
    },
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `group.id`.
    pub group: String,
    /// Member name within the scenario.
    pub member: String,
}

/// An end of links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Nodes.
    Nodes(Target),
    /// `clients`: all of them together.
    Clients,
    /// `others`: every node that the step does not name otherwise.
    Others,
}

/// IsolatedFrom whom a node is isolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IsolatedFrom {
    /// `all`: other nodes and clients.
    All,
    /// `nodes`: other nodes; clients still reach it.
    Nodes,
}

/// Which node a fault hits; resolved when the step is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A node by id: `broker 2`, `controller 101`.
    Node(i32),
    /// The present leader of one partition: `leader of metrics-0`.
    Leader {
        /// Topic name.
        topic: String,
        /// Partition index.
        partition: i32,
    },
    /// All in-sync followers of one partition: `followers of metrics-0`.
    Followers {
        /// Topic name.
        topic: String,
        /// Partition index.
        partition: i32,
    },
    /// `active controller`.
    ActiveController,
    /// `random broker`: a live one, drawn from the run's seed.
    RandomBroker,
    /// `every broker`.
    EveryBroker,
    /// The nodes that an earlier step hit: `victim of kill-2`.
    VictimOf(String),
}

/// How the run ends: deadlines in seconds for each wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settle {
    /// Wait this long for every ISR to be full, after the timeline is done.
    pub isr_full_s: f64,
    /// Wait this long for outstanding sends.
    pub drain_s: f64,
    /// Wait this long for groups to read to the end.
    pub group_catch_up_s: f64,
    /// Whether the conductor starts again whatever the timeline left broken.
    pub heal: bool,
}

/// How much worse than a baseline each measured quantity may be, as a share of the baseline's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Of whatever `thresholds` does not name.
    pub tolerance: f64,
    /// By the quantity's name, or its beginning followed by `*`; the longest that fits counts.
    pub thresholds: BTreeMap<String, f64>,
}

impl Default for Baseline {
    fn default() -> Self {
        Self { tolerance: 0.2, thresholds: BTreeMap::new() }
    }
}

impl Baseline {
    /// The share by which this quantity may be worse.
    pub fn allowed(&self, quantity: &str) -> f64 {
        let fits = |pattern: &&String| match pattern.strip_suffix('*') {
            Some(beginning) => quantity.starts_with(beginning),
            None => pattern.as_str() == quantity,
        };
        // The whole name is longer than any beginning of it.
        let longest =
            self.thresholds.keys().filter(fits).max_by_key(|pattern| (!pattern.ends_with('*'), pattern.len()));
        longest.and_then(|pattern| self.thresholds.get(pattern)).copied().unwrap_or(self.tolerance)
    }
}

/// A claim: an author's belief, answered with a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Unique id.
    pub id: String,
    /// The belief, for people.
    pub text: String,
    /// What is measured: an id of [`crate::measures`]; the list is in docs/scenario.md.
    pub measure: String,
    /// The step it is about, where it is about one.
    pub step: Option<String>,
    /// Group, topic-partition or member (`group-1/A`) that narrows the measure.
    pub of: Option<String>,
    /// How long after the step the measure looks, for measures that look at one moment or at what follows it.
    pub after_s: Option<f64>,
    /// Comparison: `<=`, `>=`, `==`.
    pub op: String,
    /// Expected value: a number, a boolean, or text such as `[1,3]`.
    pub value: ClaimValue,
}

/// The expected value of a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClaimValue {
    /// Yes or no.
    Bool(bool),
    /// A number in the measure's unit.
    Number(f64),
    /// Text, compared as it stands.
    Text(String),
}
