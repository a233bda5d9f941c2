//! `result.json` as data: what a run measured and what was decided about it.
//!
//! Names are a contract (docs/result.md). Times are seconds on the run's clock (`_s`, 0 = load starts, set-up
//! negative) or milliseconds (`_ms`). What could not be measured is `None`, with the reason beside it, never 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of `result.json` that this build writes.
pub const SCHEMA: u32 = 1;

/// Pass, fail or inconclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every guarantee that applies held.
    Pass,
    /// A guarantee was violated, or (strict) a claim did not hold.
    Fail,
    /// The audit could not be finished.
    Inconclusive,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // docs/result.md explains every field; comments here only where a name is not enough.
pub struct RunResult {
    pub schema: u32,
    pub scenario: String,
    pub description: String,
    pub engine: String,
    /// None of a cluster that somebody else runs: its timers are its owner's.
    pub profile: Option<String>,
    pub seed: u64,
    /// RFC 3339, the wall clock when load started.
    pub started_at: String,
    pub duration_s: f64,
    /// `metricstream`, `kafka`, `librdkafka`, `java`, where known.
    pub versions: BTreeMap<String, String>,
    /// Every effective setting, secrets redacted: `topology…`, `broker…`, `producer NAME…`, `group NAME…`.
    pub config: BTreeMap<String, String>,
    pub verdict: Verdict,
    pub reasons: Vec<String>,
    pub phases: Vec<Phase>,
    pub messages: Messages,
    pub losses: Vec<Loss>,
    /// Every anomaly that the ledger found, expected ones too.
    pub anomalies: Vec<AnomalyRow>,
    pub guarantees: Vec<GuaranteeRow>,
    pub claims: Vec<ClaimRow>,
    pub faults: Vec<FaultRow>,
    pub unavailability: Vec<Unavailability>,
    pub failovers: Vec<Failover>,
    pub isr: Vec<IsrRow>,
    pub rebalances: Vec<Rebalance>,
    pub recovery: Vec<Recovery>,
    pub latency: Vec<Latency>,
    pub throughput: Vec<Throughput>,
    /// Per fault and partition: how the ISR shrank and became full again.
    #[serde(default)]
    pub isr_outages: Vec<IsrOutage>,
    /// Per heal and group: when the backlog was gone.
    #[serde(default)]
    pub catch_up: Vec<CatchUp>,
    /// Steps of the scenario that were left out, because the user asked for it.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// What could not be measured and why, as `field: reason`.
    pub not_measured: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Phase {
    pub name: String,
    pub from_s: f64,
    pub to_s: f64,
}

/// Counts of messages; the ledger's terms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "MessagesForm", into = "MessagesForm")]
#[allow(missing_docs)]
pub struct Messages {
    pub sent: u64,
    pub acked: u64,
    pub failed: u64,
    pub unknown: u64,
    pub in_log: u64,
    pub lost: u64,
    /// Of `lost`: outside the guarantee.
    pub lost_predicted: u64,
    pub phantom: u64,
    pub alien: u64,
    pub duplicates: u64,
    pub redelivered: u64,
    pub reordered: u64,
    pub lost_to_group: u64,
    pub unknown_survived: u64,
    /// acked / sent; `None` if nothing was sent.
    pub success_rate: Option<f64>,
    /// Whether the whole log was audited. If not, a 0 of what only the audit can find means nothing: the file has `null`.
    pub audited: bool,
}

impl Messages {
    /// A count that only the audit can find; `None` where it found nothing because it did not look.
    pub fn if_audited(&self, count: u64) -> Option<u64> {
        (self.audited || count > 0).then_some(count)
    }
}

/// [`Messages`] as the file has them.
#[derive(Serialize, Deserialize)]
struct MessagesForm {
    sent: u64,
    acked: u64,
    failed: u64,
    unknown: u64,
    in_log: Option<u64>,
    lost: Option<u64>,
    lost_predicted: Option<u64>,
    phantom: Option<u64>,
    alien: Option<u64>,
    duplicates: Option<u64>,
    redelivered: u64,
    reordered: Option<u64>,
    lost_to_group: Option<u64>,
    unknown_survived: Option<u64>,
    success_rate: Option<f64>,
}

impl From<Messages> for MessagesForm {
    fn from(m: Messages) -> Self {
        Self {
            sent: m.sent,
            acked: m.acked,
            failed: m.failed,
            unknown: m.unknown,
            in_log: m.if_audited(m.in_log),
            lost: m.if_audited(m.lost),
            lost_predicted: m.if_audited(m.lost_predicted),
            phantom: m.if_audited(m.phantom),
            alien: m.if_audited(m.alien),
            duplicates: m.if_audited(m.duplicates),
            redelivered: m.redelivered,
            reordered: m.if_audited(m.reordered),
            lost_to_group: m.if_audited(m.lost_to_group),
            unknown_survived: m.if_audited(m.unknown_survived),
            success_rate: m.success_rate,
        }
    }
}

impl From<MessagesForm> for Messages {
    fn from(m: MessagesForm) -> Self {
        Self {
            sent: m.sent,
            acked: m.acked,
            failed: m.failed,
            unknown: m.unknown,
            in_log: m.in_log.unwrap_or(0),
            lost: m.lost.unwrap_or(0),
            lost_predicted: m.lost_predicted.unwrap_or(0),
            phantom: m.phantom.unwrap_or(0),
            alien: m.alien.unwrap_or(0),
            duplicates: m.duplicates.unwrap_or(0),
            redelivered: m.redelivered,
            reordered: m.reordered.unwrap_or(0),
            lost_to_group: m.lost_to_group.unwrap_or(0),
            unknown_survived: m.unknown_survived.unwrap_or(0),
            success_rate: m.success_rate,
            audited: m.lost.is_some() && m.duplicates.is_some(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Loss {
    pub topic: String,
    pub partition: i32,
    pub first_offset: Option<i64>,
    pub last_offset: Option<i64>,
    pub count: u64,
    pub predicted: bool,
    pub cause: String,
    pub epoch: Option<i32>,
    pub fault: Option<String>,
}

impl Loss {
    /// What became of the messages, without which they were: `truncated at epoch 7, after the kill of broker 2`.
    pub fn happened(&self) -> &str {
        let of = format!(" of {}-{} ", self.topic, self.partition);
        let rest = self.cause.split_once(&of).map_or(self.cause.as_str(), |(_, rest)| rest);
        ["was ", "were ", "lost: "].iter().fold(rest, |rest, word| rest.strip_prefix(word).unwrap_or(rest))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AnomalyRow {
    pub kind: String,
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub group: Option<String>,
    pub count: u64,
    /// `expected`, `violation` or `counted`.
    pub verdict: String,
    pub evidence: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct GuaranteeRow {
    pub id: String,
    pub text: String,
    /// `None`: the configuration does not give it, or it could not be judged; `evidence` says which.
    pub held: Option<bool>,
    pub evidence: String,
}

/// A measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Measured {
    /// Yes or no.
    Bool(bool),
    /// In the row's unit.
    Number(f64),
    /// Such as `[1,3]`.
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ClaimRow {
    pub id: String,
    pub text: String,
    /// Such as `<= 3`.
    pub expected: String,
    pub measured: Option<Measured>,
    pub unit: String,
    /// `None` only where it could not be measured; `reason` says why.
    pub held: Option<bool>,
    /// What decided the value, as found in the run: a timer and its setting, a rule of the protocol.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FaultRow {
    /// Step id.
    pub id: String,
    pub at_s: f64,
    pub kind: String,
    /// As the scenario names it, and what it resolved to: `leader of metrics-0 = broker 2`.
    pub target: String,
    pub nodes: Vec<i32>,
    pub active_controller: bool,
    pub healed_at_s: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Unavailability {
    pub topic: String,
    pub partition: i32,
    /// `write` or `read`.
    pub op: String,
    pub from_s: f64,
    pub duration_s: f64,
    pub resolution_ms: f64,
    /// The fault that began it, by step id; `None` if none did, though one may have come before.
    pub fault: Option<String>,
    /// Whether the run ended before it did.
    pub open: bool,
    /// What stood in its way for most of the time in which anything did; `None` if nothing was seen that did.
    #[serde(default)]
    pub cause: Option<Hindrance>,
    /// Of `duration_s`: until nothing that is known stood in its way any longer.
    #[serde(default)]
    pub held_s: Option<f64>,
    /// The setting that decided when that was, if it was most of the window: `broker.session.timeout.ms = 9000`.
    #[serde(default)]
    pub timer: Option<String>,
    /// How late the load generator itself was in the window, at most, ms; 0 if it was not, or by less than 100 ms.
    #[serde(default)]
    pub delay_ms: f64,
}

/// What keeps a partition from answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hindrance {
    /// Its leader was out or gave leadership away, or it had none: clients then have to learn of the next.
    Leader,
    /// Its ISR was below `min.insync.replicas`.
    MinIsr,
    /// A replica that was out was still in its ISR, which the leader waits for.
    Isr,
    /// Its group was moving partitions.
    Rebalance,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Failover {
    pub topic: String,
    pub partition: i32,
    pub from: i32,
    pub to: i32,
    pub epoch: Option<i32>,
    pub fault_s: Option<f64>,
    pub fenced_s: Option<f64>,
    /// `None` where metadata was polled: when it was committed is not known.
    pub elected_s: Option<f64>,
    pub learned_s: Option<f64>,
    pub first_ack_s: Option<f64>,
    pub fault: Option<String>,
    /// Latest election that the configuration predicts, and the timer: `≤ 10.1 s, broker.session.timeout.ms = 9000`.
    pub predicted: Option<String>,
    pub predicted_max_s: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct IsrRow {
    pub topic: String,
    pub partition: i32,
    pub at_s: f64,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub leader: i32,
    /// `None` where metadata was polled.
    pub leader_epoch: Option<i32>,
    pub partition_epoch: Option<i32>,
    /// ± this; 0 error would be a lie.
    pub error_ms: f64,
    pub clock: crate::timeline::Clock,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Rebalance {
    pub group: String,
    /// `classic` or `consumer`.
    pub protocol: String,
    /// What set it off: `member-join B`, a step id, or `unknown`.
    pub trigger: String,
    /// The step behind the trigger, where it is one of the scenario's.
    #[serde(default)]
    pub step: Option<String>,
    pub at_s: f64,
    /// Trigger to every partition owned once; `None` if that never was.
    pub duration_s: Option<f64>,
    /// Of `duration_s`: until the first member noticed.
    pub detection_s: Option<f64>,
    pub members: Vec<MemberChange>,
    pub pauses: Vec<Pause>,
    /// Share of the partitions that did not move and yet paused.
    pub unmoved_paused_share: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct MemberChange {
    pub id: String,
    /// `topic-partition`, sorted.
    pub before: Vec<String>,
    pub after: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Pause {
    /// `topic-partition`.
    pub partition: String,
    pub moved: bool,
    pub pause_s: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Recovery {
    pub broker: i32,
    pub restarted_s: f64,
    /// Registered and unfenced again.
    pub unfenced_s: Option<f64>,
    /// In the ISR of every partition that it replicates.
    pub caught_up_s: Option<f64>,
    /// Every ISR of the run's topics full.
    pub isr_full_s: Option<f64>,
    /// It was resumed before it had left any ISR: then no change says when it had caught up.
    #[serde(default)]
    pub never_left: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Latency {
    pub phase: String,
    /// `response`, `service`, `delay` or `end_to_end`.
    pub kind: String,
    pub acks: String,
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub p999_ms: Option<f64>,
    pub max_ms: Option<f64>,
    pub count: u64,
    /// Sends that failed or were still open: right-censored, at least this slow.
    pub open: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Throughput {
    pub phase: String,
    /// What the schedules wanted; `None` if some producer has no rate.
    #[serde(default)]
    pub offered_per_s: Option<f64>,
    pub acked_per_s: Option<f64>,
    /// Of `acked_per_s`: intended in an earlier phase.
    #[serde(default)]
    pub backlog_per_s: Option<f64>,
    pub delivered_per_s: Option<f64>,
    /// Of `delivered_per_s`: intended in an earlier phase.
    #[serde(default)]
    pub delivered_backlog_per_s: Option<f64>,
    pub mb_per_s: Option<f64>,
    /// `client`, `cluster` or `schedule`, by the rule in docs/result.md.
    pub limited_by: Option<String>,
}

/// One partition's ISR from a fault until it is full again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct IsrOutage {
    pub topic: String,
    pub partition: i32,
    /// The fault that it follows, by step id.
    pub fault: Option<String>,
    /// Before the first shrink.
    pub before: Vec<i32>,
    /// At its smallest, and when that was.
    pub smallest: Vec<i32>,
    pub smallest_at_s: f64,
    /// When it first shrank.
    pub shrunk_s: f64,
    /// Fault to first shrink.
    pub shrunk_after_s: Option<f64>,
    pub full_s: Option<f64>,
    /// Last heal before it was full, to full; `None` while it is not, or if nothing had to be healed.
    pub full_after_s: Option<f64>,
    pub after: Vec<i32>,
}

/// How a group worked off what had piled up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct CatchUp {
    pub group: String,
    /// The fault that was healed, by step id.
    pub fault: String,
    pub healed_s: f64,
    /// Messages, p99 of the seconds before the first fault.
    pub baseline_lag: Option<f64>,
    /// Messages, the largest from the fault on.
    pub peak_lag: u64,
    /// Heal to a lag at or below the baseline that held for 5 s.
    pub duration_s: Option<f64>,
    /// Messages per second by which the lag fell, peak to caught up.
    pub drain_per_s: Option<f64>,
    /// Peak / (capacity − arrival), with the best second of the run as capacity.
    pub ideal_s: Option<f64>,
}
