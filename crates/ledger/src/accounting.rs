//! What the ledger says at the end: counts, anomalies with ranges and verdicts, losses with causes.
//!
//! How these are found lives in `anomaly`.

use serde::{Deserialize, Serialize};

use crate::anomaly::AnomalyKind;
use crate::header::Header;
use crate::history::{LaneId, Tp};
use crate::result::Verdict;
use crate::runs::Suspects;

/// Ranges listed per anomaly; the count is always complete.
pub const RANGES_MAX: usize = 32;
/// Losses listed; what is beyond is summed up per partition and cause.
pub const LOSSES_MAX: usize = 10_000;

/// Counts of messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // The terms are defined in docs/anomalies.md.
pub struct Counts {
    pub sent: u64,
    pub acked: u64,
    pub failed: u64,
    pub unknown: u64,
    /// Distinct messages in the audited log.
    pub in_log: u64,
    /// All lost messages, predicted ones too.
    pub lost: u64,
    pub lost_predicted: u64,
    /// Acknowledged and below the log's start at the audit: deleted by retention, no loss.
    pub expired: u64,
    pub phantom: u64,
    pub alien: u64,
    /// Further appearances in the log of messages that are there already.
    pub duplicates: u64,
    /// Over all groups, allowed ones and others.
    pub redelivered: u64,
    pub redelivered_beyond_commit: u64,
    /// In the log.
    pub reordered: u64,
    pub displacement_max: u64,
    /// Over all groups.
    pub lost_to_group: u64,
    pub unknown_survived: u64,
}

/// How an anomaly is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// Inside the guarantee: the run fails.
    Violation,
    /// Outside the guarantee, so predicted; or allowed.
    Expected,
    /// Counted, without judgement.
    Counted,
}

impl Judgement {
    /// As result.json writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Violation => "violation",
            Self::Expected => "expected",
            Self::Counted => "counted",
        }
    }
}

/// Where: offsets and sequences are inclusive at both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Topic name.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// First offset, if known.
    pub first_offset: Option<i64>,
    /// Last offset, if known.
    pub last_offset: Option<i64>,
    /// Whose messages, if it is one lane's.
    pub lane: Option<LaneId>,
    /// First sequence.
    pub first_seq: Option<u64>,
    /// Last sequence.
    pub last_seq: Option<u64>,
}

/// One anomaly of one partition (and group).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// What.
    pub kind: AnomalyKind,
    /// Topic name.
    pub topic: Option<String>,
    /// Partition.
    pub partition: Option<i32>,
    /// Consumer group, if it concerns one.
    pub group: Option<String>,
    /// At most [`RANGES_MAX`] of them.
    pub ranges: Vec<Range>,
    /// How many messages (or events, where it is not about messages).
    pub count: u64,
    /// Judgement.
    pub verdict: Judgement,
    /// For people: what was seen and why it is judged so.
    pub evidence: String,
}

/// A range of lost messages and its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Topic name.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// First acknowledged offset, if the acknowledgements said.
    pub first_offset: Option<i64>,
    /// Last acknowledged offset.
    pub last_offset: Option<i64>,
    /// Messages.
    pub count: u64,
    /// Whether it is outside the guarantee.
    pub predicted: bool,
    /// For people.
    pub cause: String,
    /// Leader epoch at which they went.
    pub epoch: Option<i32>,
    /// Step id of the fault that led to it.
    pub fault: Option<String>,
}

/// Why a history cannot be judged to the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconclusive {
    /// No `AuditDone`.
    #[error("the audit was not finished: what is missing from the log is not known")]
    NoAudit,
    /// A partition with messages whose bounds the audit does not tell.
    #[error("the audit says nothing of {topic}-{partition}")]
    NotAudited {
        /// Topic name.
        topic: String,
        /// Partition.
        partition: i32,
    },
    /// Records that contradict the header were left out.
    #[error("{count} records were left out, the first because {first}")]
    Rejected {
        /// How many.
        count: u64,
        /// Why the first.
        first: crate::header::Invalid,
    },
    /// The stored history is damaged.
    #[error("the history is not whole: {0}")]
    Damaged(String),
}

/// Everything that the ledger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounting {
    /// Counts.
    pub counts: Counts,
    /// Every anomaly, expected ones too, in the order of [`AnomalyKind`] and partition.
    pub anomalies: Vec<Anomaly>,
    /// Lost ranges by partition and offset.
    pub losses: Vec<Loss>,
    /// Why it cannot be judged, if it cannot.
    pub inconclusive: Vec<Inconclusive>,
    /// Whether acknowledged messages were guaranteed to survive (exceptions apart), after the faults were counted.
    pub durable: bool,
    /// Why.
    pub durable_why: String,
    /// Detail that was dropped and that a second pass over the stored history can find; counts are complete.
    pub suspects: Option<Suspects>,
}

impl Accounting {
    /// A violation fails, whatever else is not known; then what is not known is inconclusive.
    pub fn verdict(&self) -> Verdict {
        if self.violations().next().is_some() {
            Verdict::Fail
        } else if self.inconclusive.is_empty() {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        }
    }

    /// The anomalies that fail the run.
    pub fn violations(&self) -> impl Iterator<Item = &Anomaly> {
        self.anomalies.iter().filter(|anomaly| anomaly.verdict == Judgement::Violation)
    }

    /// The anomalies of a kind.
    pub fn of(&self, kind: AnomalyKind) -> impl Iterator<Item = &Anomaly> {
        self.anomalies.iter().filter(move |anomaly| anomaly.kind == kind)
    }
}

/// A place in a partition, before it has names. Ends are exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) offsets: Option<(i64, i64)>,
    pub(crate) lane: Option<LaneId>,
    pub(crate) seqs: Option<(u64, u64)>,
}

impl Spot {
    pub(crate) fn offsets(from: u64, to: u64) -> Self {
        Self { offsets: Some((from as i64, to as i64)), lane: None, seqs: None }
    }

    /// Sequences of a lane, from this offset on if it is known.
    pub(crate) fn messages(lane: LaneId, from: u64, to: u64, offset: Option<i64>) -> Self {
        let offsets = offset.map(|offset| (offset, offset + (to - from) as i64));
        Self { offsets, lane: Some(lane), seqs: Some((from, to)) }
    }

    fn name(&self, header: &Header, tp: Tp) -> Range {
        Range {
            topic: topic_name(header, tp),
            partition: tp.partition,
            first_offset: self.offsets.map(|(from, _)| from),
            last_offset: self.offsets.map(|(_, to)| to - 1),
            lane: self.lane,
            first_seq: self.seqs.map(|(from, _)| from),
            last_seq: self.seqs.map(|(_, to)| to - 1),
        }
    }
}

/// A count and the first places where it was counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) spots: Vec<Spot>,
}

impl Tally {
    pub(crate) fn add(&mut self, count: u64, spot: Spot) {
        self.count += count;
        if let Some(last) = self.spots.last_mut()
            && last.lane == spot.lane
            && let (Some(a), Some(b)) = (last.offsets, spot.offsets)
            && a.1 == b.0
            && last.seqs.map(|s| s.1) == spot.seqs.map(|s| s.0)
        {
            last.offsets = Some((a.0, b.1));
            last.seqs = last.seqs.zip(spot.seqs).map(|(a, b)| (a.0, b.1));
        } else if self.spots.len() < RANGES_MAX {
            self.spots.push(spot);
        }
    }
}

/// Collects what the judges find.
pub(crate) struct Findings<'a> {
    header: &'a Header,
    pub(crate) counts: Counts,
    pub(crate) anomalies: Vec<Anomaly>,
    pub(crate) losses: Vec<Loss>,
    pub(crate) inconclusive: Vec<Inconclusive>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(header: &'a Header) -> Self {
        Self { header, counts: Counts::default(), anomalies: Vec::new(), losses: Vec::new(), inconclusive: Vec::new() }
    }

    /// Adds an anomaly of a partition, if anything was counted.
    pub(crate) fn report(
        &mut self,
        kind: AnomalyKind,
        (tp, group): (Tp, Option<usize>),
        tally: &Tally,
        verdict: Judgement,
        evidence: impl FnOnce() -> String,
    ) {
        if tally.count == 0 {
            return;
        }
        self.anomalies.push(Anomaly {
            kind,
            topic: Some(topic_name(self.header, tp)),
            partition: Some(tp.partition),
            group: group.and_then(|group| self.header.groups.get(group).cloned()),
            ranges: tally.spots.iter().map(|spot| spot.name(self.header, tp)).collect(),
            count: tally.count,
            verdict,
            evidence: evidence(),
        });
    }
}

pub(crate) fn topic_name(header: &Header, tp: Tp) -> String {
    header.topics.get(usize::from(tp.topic)).map_or_else(|| format!("topic#{}", tp.topic), |topic| topic.name.clone())
}

/// `offset 5` or `offsets 5–9`; ends are inclusive.
pub(crate) fn offsets_text(first: i64, last: i64) -> String {
    if first == last { format!("offset {first}") } else { format!("offsets {first}–{last}") }
}
