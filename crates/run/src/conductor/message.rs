//! What goes into the conductor and what comes out of it: events, actions, and what a run fell short of.
//! Data only; what they do to a run is told in the modules beside this one.

use std::fmt;

use metricstream_ledger::timeline::TimelineEvent;
use metricstream_scenario::Member;

/// Something that the driver saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Every broker is unfenced and every leader known; load may start.
    ClusterReady {
        /// Bootstrap addresses.
        bootstrap: String,
        /// How long it took.
        took_ms: u64,
    },
    /// Something that the engine or a client observed: partitions, brokers, controller, assignments. The driver records
    /// it itself; the conductor only learns from it.
    Timeline(TimelineEvent),
    /// A fault was carried out.
    FaultDone {
        /// The `step` of the [`Action::Fault`].
        step: String,
        /// The nodes that it hit.
        nodes: Vec<i32>,
        /// When: as close to the signal as the driver can stamp it.
        at_us: i64,
    },
    /// A fault could not be carried out.
    FaultFailed {
        /// The `step` of the [`Action::Fault`].
        step: String,
        /// Why.
        error: String,
    },
    /// A member was told to join, leave, stall, or was killed.
    MemberDone {
        /// The `step` of the action.
        step: String,
        /// When.
        at_us: i64,
    },
    /// A member action could not be carried out.
    MemberFailed {
        /// The `step` of the action.
        step: String,
        /// Why.
        error: String,
    },
    /// Every producer has handed over all that its schedule wanted, or was stopped.
    LoadEnded,
    /// The answer to [`Action::Drain`].
    Drained {
        /// Sends whose outcome is still open; 0 if all is known.
        open: u64,
    },
    /// The answer to [`Action::WaitGroups`].
    GroupsCaughtUp {
        /// Groups that did not read to the end; empty if all did.
        behind: Vec<String>,
    },
    /// The answer to [`Action::Audit`].
    AuditFinished {
        /// Whether every partition was read to its end.
        ok: bool,
        /// If not, why.
        why: Option<String>,
    },
    /// Time passed.
    Tick,
    /// Ctrl-C: heal, stop, write. A second one finishes at once.
    Interrupted,
}

/// Something for the driver to do. None of them blocks the driver: what takes time answers with an [`Event`].
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start the producers and the groups' first members. The moment `at_us` is the scenario's second 0.
    StartLoad {
        /// The present, on the driver's clock.
        at_us: i64,
    },
    /// Carry out a fault; answered by [`Event::FaultDone`] or [`Event::FaultFailed`] with the same `step`.
    Fault {
        /// A step's id; below a step of chaos, and at the end of the run, an id with a `/` in it.
        step: String,
        /// What to do.
        kind: FaultKind,
        /// To which nodes, all at once.
        nodes: Vec<i32>,
        /// As the scenario names them, and what that resolved to.
        target: String,
    },
    /// Have every link as these rules say, and every other as it was made; answered by [`Event::FaultDone`] or
    /// [`Event::FaultFailed`] with the same `step`.
    Links {
        /// A step's id, or at the end of the run an id with a `/` in it.
        step: String,
        /// What is done by it.
        kind: LinkKind,
        /// All that is to hold from now on, each direction at most once.
        rules: Vec<LinkRule>,
    },
    /// Start a member; answered by [`Event::MemberDone`] or [`Event::MemberFailed`], like the next three.
    MemberJoin {
        /// Step id.
        step: String,
        /// Who.
        member: Member,
    },
    /// Let a member leave gracefully. Done when it has left.
    MemberLeave {
        /// Step id.
        step: String,
        /// Who.
        member: Member,
    },
    /// Kill a member's process.
    MemberCrash {
        /// Step id.
        step: String,
        /// Who.
        member: Member,
    },
    /// Keep a member in one slow poll. Done when the stall has *begun*.
    MemberStall {
        /// Step id.
        step: String,
        /// Who.
        member: Member,
        /// For how long.
        for_us: i64,
    },
    /// Put this on the timeline.
    Emit(TimelineEvent),
    /// Stop the producers; answered by [`Event::LoadEnded`]. Not sent to a load that ended by itself.
    StopLoad,
    /// Wait for outstanding sends; answered by [`Event::Drained`] at the deadline at the latest.
    Drain {
        /// On the driver's clock.
        deadline_us: i64,
    },
    /// Wait until every group has read to the end; answered by [`Event::GroupsCaughtUp`].
    WaitGroups {
        /// On the driver's clock.
        deadline_us: i64,
    },
    /// Read everything back; answered by [`Event::AuditFinished`].
    Audit {
        /// On the driver's clock.
        deadline_us: i64,
    },
    /// The run is over: stop what was started and write. Nothing follows.
    Finish {
        /// How it ended.
        end: End,
        /// What it fell short of, in the order of its happening. Those that are
        /// [inconclusive](Shortfall::is_inconclusive) decide the verdict, the others are on the timeline as notes.
        shortfalls: Vec<Shortfall>,
    },
    /// Observe [`Event::Tick`] then, if nothing else is observed before. Replaces the last one.
    WakeAt(i64),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It went through all its phases.
    Complete,
    /// It was interrupted; what had been sent was audited, unless it was interrupted again.
    Interrupted,
    /// The cluster never became ready.
    NeverReady,
}

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// SIGKILL, or the engine's equal.
    Kill,
    /// SIGTERM: controlled shutdown.
    Stop,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
    /// Start a killed or stopped node on its old disk.
    Start,
    /// The same with its partition logs gone.
    StartWiped,
    /// The same on a new disk, formatted anew.
    StartReformatted,
}

impl FaultKind {
    /// The scenario's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Start => "start",
            Self::StartWiped => "start-wiped",
            Self::StartReformatted => "start-reformatted",
        }
    }

    /// Whether it brings a node back rather than breaking it.
    #[must_use]
    pub const fn heals(self) -> bool {
        matches!(self, Self::Resume | Self::Start | Self::StartWiped | Self::StartReformatted)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is done to links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// Cut between groups.
    Partition,
    /// Cut around a node.
    Isolate,
    /// Slow.
    SlowLink,
    /// As they were made.
    Mend,
}

impl LinkKind {
    /// The scenario's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Isolate => "isolate",
            Self::SlowLink => "slow-link",
            Self::Mend => "mend",
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A node.
    Node(i32),
    /// All clients together.
    Clients,
}

/// What happens to bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkRule {
    /// Who sends.
    pub from: Party,
    /// Who receives.
    pub to: Party,
    /// Nothing gets through.
    pub cut: bool,
    /// Every byte arrives at least this much later.
    pub delay_us: i64,
    /// And up to this much more.
    pub jitter_us: i64,
    /// What gets through in a second; `None`: no limit.
    pub bytes_per_s: Option<u64>,
}

/// Something that a run intended and did not get, and what it waited for. Each is on the timeline too.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum Shortfall {
    #[error("step {step}: `{condition}` did not hold within {until_s} s of load start; missing: {missing}")]
    ConditionNeverHeld { step: String, condition: String, until_s: f64, missing: String },
    #[error("step {step}: `{condition}` can no longer hold: {why}")]
    ConditionImpossible { step: String, condition: String, why: String },
    #[error("step {step}: `{kind} {target}` is not possible: {why}")]
    TargetUnresolved { step: String, kind: String, target: String, why: String },
    #[error("step {step}: {error}")]
    FaultFailed { step: String, error: String },
    #[error("step {step}: the engine did not say within {waited_s} s whether `{what}` was carried out")]
    Unanswered { step: String, what: String, waited_s: f64 },
    #[error("step {step}: member: {error}")]
    MemberFailed { step: String, error: String },
    #[error("not every ISR was full {waited_s} s after the timeline's end; missing: {missing}")]
    IsrNotFull { waited_s: f64, missing: String },
    #[error("{nodes} left broken as settle.heal = false asks; the audit reads what it can")]
    LeftBroken { nodes: String },
    #[error(
        "load went on {waited_s} s after it should have ended and was stopped: what the schedule still owed was not sent"
    )]
    LoadStopped { waited_s: f64 },
    #[error("producers did not stop within {waited_s} s")]
    LoadStillRunning { waited_s: f64 },
    #[error("{open} sends are still open after settle.drain_s = {waited_s}; they count as unknown")]
    SendsOpen { open: u64, waited_s: f64 },
    #[error("the load did not say within {waited_s} s how many sends are still open")]
    DrainUnanswered { waited_s: f64 },
    #[error("groups {groups} had not read to the end after settle.group_catch_up_s = {waited_s}")]
    GroupsBehind { groups: String, waited_s: f64 },
    #[error("the audit was not finished: {why}")]
    AuditFailed { why: String },
    #[error("the audit was not finished within {waited_s} s")]
    AuditUnanswered { waited_s: f64 },
    #[error("the cluster was not ready within {waited_s} s; its nodes' logs say why")]
    NeverReady { waited_s: f64 },
    #[error("interrupted while {doing}")]
    Interrupted { doing: String },
}

impl Shortfall {
    /// Whether it makes the verdict inconclusive: the run did not do what the scenario says, or could not be audited.
    /// The others are findings about the cluster, or leave the audit its say.
    #[must_use]
    pub const fn is_inconclusive(&self) -> bool {
        match self {
            Self::ConditionNeverHeld { .. }
            | Self::ConditionImpossible { .. }
            | Self::TargetUnresolved { .. }
            | Self::FaultFailed { .. }
            | Self::Unanswered { .. }
            | Self::MemberFailed { .. }
            | Self::AuditFailed { .. }
            | Self::AuditUnanswered { .. }
            | Self::NeverReady { .. }
            | Self::Interrupted { .. } => true,
            Self::IsrNotFull { .. }
            | Self::LeftBroken { .. }
            | Self::LoadStopped { .. }
            | Self::LoadStillRunning { .. }
            | Self::SendsOpen { .. }
            | Self::DrainUnanswered { .. }
            | Self::GroupsBehind { .. } => false,
        }
    }
}
