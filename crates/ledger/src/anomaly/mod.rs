//! The anomalies, one file each: what it watches while records come in, and how it judges at the end.
//!
//! `docs/anomalies.md` is generated from the table here and from the mutants.

pub(crate) mod ack_offset;
pub(crate) mod alien;
pub(crate) mod commit_fault;
pub(crate) mod committed_lost;
pub(crate) mod dual_ownership;
pub(crate) mod duplicate;
pub(crate) mod epoch_regression;
pub(crate) mod inconsistent;
pub(crate) mod lost;
pub(crate) mod lost_to_group;
pub(crate) mod non_monotonic;
pub(crate) mod phantom;
pub(crate) mod redelivery;
pub(crate) mod reorder;
pub(crate) mod skipped;
pub(crate) mod survived;

use serde::{Deserialize, Serialize};

use crate::accounting::{Findings, Judgement};
use crate::ledger::View;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // `AnomalyKind::definition` says what each is.
pub enum AnomalyKind {
    Lost,
    LostToGroup,
    UnknownSurvived,
    Phantom,
    Alien,
    DuplicateInLog,
    RedeliveryAllowed,
    RedeliveryBeyondCommit,
    Reorder,
    SkippedPoll,
    NonMonotonicPoll,
    InconsistentOffset,
    AckOffsetMismatch,
    EpochRegression,
    CommittedOffsetLost,
    CommitFault,
    DualOwnership,
}

impl AnomalyKind {
    /// Every kind, in the order in which they are reported.
    pub const ALL: [Self; 17] = [
        Self::Lost,
        Self::LostToGroup,
        Self::UnknownSurvived,
        Self::Phantom,
        Self::Alien,
        Self::DuplicateInLog,
        Self::RedeliveryAllowed,
        Self::RedeliveryBeyondCommit,
        Self::Reorder,
        Self::SkippedPoll,
        Self::NonMonotonicPoll,
        Self::InconsistentOffset,
        Self::AckOffsetMismatch,
        Self::EpochRegression,
        Self::CommittedOffsetLost,
        Self::CommitFault,
        Self::DualOwnership,
    ];

    /// The name in results, such as `lost-to-group`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::LostToGroup => "lost-to-group",
            Self::UnknownSurvived => "unknown-survived",
            Self::Phantom => "phantom",
            Self::Alien => "alien",
            Self::DuplicateInLog => "duplicate-in-log",
            Self::RedeliveryAllowed => "redelivery-allowed",
            Self::RedeliveryBeyondCommit => "redelivery-beyond-commit",
            Self::Reorder => "reorder",
            Self::SkippedPoll => "skipped-poll",
            Self::NonMonotonicPoll => "non-monotonic-poll",
            Self::InconsistentOffset => "inconsistent-offset",
            Self::AckOffsetMismatch => "ack-offset-mismatch",
            Self::EpochRegression => "epoch-regression",
            Self::CommittedOffsetLost => "committed-offset-lost",
            Self::CommitFault => "commit-fault",
            Self::DualOwnership => "dual-ownership",
        }
    }

    /// What it is.
    pub fn definition(self) -> &'static str {
        match self {
            Self::Lost => "acknowledged, and not in the audited log at or above its start; the truncated tail too",
            Self::LostToGroup => "in the log, below the group's final committed offset, never delivered to it",
            Self::UnknownSurvived => "outcome unknown, and in the log",
            Self::Phantom => "outcome fail or never sent, and in the log",
            Self::Alien => "a value with a bad CRC, of another run, or of a lane that belongs to another partition",
            Self::DuplicateInLog => "one message at two offsets",
            Self::RedeliveryAllowed => "one offset twice to a group, at or above its commit when the member took over",
            Self::RedeliveryBeyondCommit => "one offset twice to a group, below its commit when the member took over",
            Self::Reorder => "a first sighting with a sequence below the highest seen in its stream",
            Self::SkippedPoll => "a member's position jumps over an offset that the audit proves visible",
            Self::NonMonotonicPoll => "a member is given an offset at or below the last one, without seek or rebalance",
            Self::InconsistentOffset => "two observers see different messages at one offset",
            Self::AckOffsetMismatch => "the acknowledged offset is not the logged one",
            Self::EpochRegression => "the leader epoch of a partition goes back",
            Self::CommittedOffsetLost => {
                "the high watermark goes back within one leader epoch, or an offset once delivered is gone"
            }
            Self::CommitFault => "a commit goes back, exceeds the position, or comes from a member that is no owner",
            Self::DualOwnership => "two live owners of one partition, both delivering",
        }
    }

    /// How it is judged.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Lost => "violation if durability is guaranteed, else expected",
            Self::LostToGroup => {
                "violation if what is below the high watermark is guaranteed, else expected; counted after a seek"
            }
            Self::UnknownSurvived => "counted",
            Self::Phantom | Self::EpochRegression => "violation",
            Self::Alien => "violation; a foreign run's is counted in a topic that others write to",
            Self::DuplicateInLog | Self::Reorder => {
                "violation if the producer is idempotent and durability guaranteed, else expected"
            }
            Self::RedeliveryAllowed => "expected",
            Self::RedeliveryBeyondCommit => "violation if committed offsets are guaranteed, else expected",
            Self::SkippedPoll | Self::NonMonotonicPoll | Self::InconsistentOffset | Self::CommittedOffsetLost => {
                "violation if what is below the high watermark is guaranteed, else expected"
            }
            Self::AckOffsetMismatch => "violation if durability is guaranteed, else expected",
            Self::CommitFault => {
                "violation; one that goes back is expected if committed offsets are not guaranteed, and so is what \
                 follows from a position set back by a truncation if what is below the high watermark is not"
            }
            Self::DualOwnership => "violation; expected if the timeline says that one of the two was stalled",
        }
    }

    /// How it is found, and in what memory.
    pub fn how(self) -> &'static str {
        match self {
            Self::Lost => "acked & !in_log, as ranges",
            Self::LostToGroup => "in_log & !delivered, joined with the final commit",
            Self::UnknownSurvived => "in_log & !acked & !failed, below the sends",
            Self::Phantom => "failed & !acked & in_log, and in_log beyond the sends",
            Self::Alien => "a count per partition and reason",
            Self::DuplicateInLog => "the in_log bit is set already",
            Self::RedeliveryAllowed | Self::RedeliveryBeyondCommit => "offset bitmap and commit frontier per group",
            Self::Reorder => "highest sequence per lane, for the log and for each group; duplicates removed first",
            Self::SkippedPoll => "next offset per member and partition; jumps resolved against the audit",
            Self::NonMonotonicPoll => "next offset per member and partition",
            Self::InconsistentOffset => "per 4,096 offsets a 64-bit sum of hash(offset, id) per observer",
            Self::AckOffsetMismatch => {
                "runs (sequence, offset, count), merged; per chunk a sum of hash(sequence, offset)"
            }
            Self::EpochRegression => "highest epoch per partition",
            Self::CommittedOffsetLost => {
                "high watermark per epoch (a new leader may report a lower one: KIP-207); offset bitmaps against the audit"
            }
            Self::CommitFault => "commit frontier, position and owner per group and partition",
            Self::DualOwnership => "ownership intervals",
        }
    }
}

/// Judges everything.
pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    lost::judge(view, out);
    lost_to_group::judge(view, out);
    survived::judge(view, out);
    phantom::judge(view, out);
    alien::judge(view, out);
    duplicate::judge(view, out);
    redelivery::judge(view, out);
    reorder::judge(view, out);
    skipped::judge(view, out);
    non_monotonic::judge(view, out);
    inconsistent::judge(view, out);
    ack_offset::judge(view, out);
    epoch_regression::judge(view, out);
    committed_lost::judge(view, out);
    commit_fault::judge(view, out);
    dual_ownership::judge(view, out);
}

/// A violation if `guaranteed`, else expected.
pub(crate) fn violation_if(guaranteed: bool) -> Judgement {
    if guaranteed { Judgement::Violation } else { Judgement::Expected }
}
