//! The closed list of what a claim can be about. The ledger computes each exactly as its documentation here says;
//! nothing is computed in this crate.
//!
//! Terms that the definitions use:
//!
//! - **t0** is when the claim's step was carried out. Times are seconds after t0 unless they say otherwise.
//! - The **window** of a fault begins at t0 and ends when the first later step (or the healing at the end of the run)
//!   starts or resumes one of the nodes that it hit. The window of a member step ends at the next step about the same
//!   group. The window of a start or resume ends at the next fault of a node. Every window ends at the end of the run.
//! - **Never**: where a measure waits for something that did not happen by the end of the run, the measured value is
//!   the text `never`, and the claim does not hold. That is an answer, not a missing measurement.
//! - The **gap threshold** is what docs/result.md gives for unavailability: max(3 × baseline p99.9, 250 ms), the
//!   baseline being the time before the first fault.
//! - Partitions are those of the scenario's topics, internal topics left out.

use std::fmt;

/// What kind of value a measure gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// Yes or no; compared with `==`.
    Bool,
    /// A number in the measure's unit; compared with `<=`, `>=` or `==`.
    Number,
    /// In-sync replicas, ids ascending: `[1,3]`. A claim may write them in any order.
    Isr,
    /// Owned partitions, ascending: `[P0,P2]`; of a group of several topics `[logs-P0,metrics-P2]`.
    Assignment,
    /// A word, as the measure's documentation lists them.
    Word,
}

/// Whether a claim must, may or must not name something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Required,
    /// It may; the documentation says what holds without.
    Optional,
    /// It must not.
    Never,
}

/// What the `of` of a claim names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfKind {
    /// Nothing.
    Nothing,
    /// A partition, `metrics-0`.
    Partition,
    /// A group, `group-1`.
    Group,
    /// A member, `group-1/A`.
    Member,
}

/// One measure as data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// The measure.
    pub measure: Measure,
    /// Its id in files.
    pub id: &'static str,
    /// `s`, `ms`, `messages`, `share`, `brokers`, `partitions`, `faults`, `elections`, or empty.
    pub unit: &'static str,
    /// Its type.
    pub value: ValueType,
    /// Whether it is about a step.
    pub step: Need,
    /// What `of` names.
    pub of: OfKind,
    /// Whether `of` is needed.
    pub of_need: Need,
    /// Whether `after_s` is needed.
    pub after: Need,
    /// Its definition.
    pub doc: &'static str,
}

macro_rules! measures {
    ($($variant:ident $id:literal $unit:literal $value:ident
       step $step:ident, of $of:ident $of_need:ident, after $after:ident: $doc:literal)*) => {
        /// What a claim is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Measure {
            $(#[doc = $doc] $variant,)*
        }

        /// Every measure, in the order of the documentation.
        pub const ALL: &[Spec] = &[$(Spec {
            measure: Measure::$variant,
            id: $id,
            unit: $unit,
            value: ValueType::$value,
            step: Need::$step,
            of: OfKind::$of,
            of_need: Need::$of_need,
            after: Need::$after,
            doc: $doc,
        },)*];
    };
}

measures! {
    ProducersNotice "producers_notice_s" "s" Number step Required, of Nothing Never, after Never:
        "Until the first sign of the fault in any producer, the earliest of: a send that the client reported as failed \
         or unknown; an acknowledgement later than the gap threshold after its actual send (the sign is then dated at \
         send + threshold); a client that learned another leader. Never if there was no sign in the window."
    ProducersContinue "producers_continue" "" Bool step Required, of Nothing Never, after Never:
        "Whether every producer has at least one acknowledged message whose actual send lies in the window, and no send \
         whose actual send lies in the window ended as failed or unknown. Not measured if the run was interrupted while \
         some were open and none had failed."
    Fenced "fenced_s" "s" Number step Required, of Nothing Never, after Never:
        "Until the controller committed that the last of the nodes hit is fenced (or, for a controlled shutdown, is in \
         shutdown)."
    ElectionStart "election_start_s" "s" Number step Required, of Nothing Never, after Never:
        "Until the controller's first reaction: the earliest committed record after t0 that fences a node hit, notes \
         its controlled shutdown, or gives a partition led by it another leader or none."
    NewLeaders "new_leaders_s" "s" Number step Required, of Partition Optional, after Never:
        "Until every partition that a node hit led at t0 has a leader that was not hit (the last commit of those \
         elections). 0 if the nodes led nothing. `of` narrows it to one partition. Never if one of them got none in the \
         run before the node itself led again."
    IsrBefore "isr_before" "" Isr step Required, of Partition Required, after Never:
        "The in-sync replicas last committed before t0."
    IsrDuring "isr_during" "" Isr step Required, of Partition Required, after Optional:
        "The smallest in-sync set committed in the window (the latest of equals), or the set before t0 if none was \
         committed; with `after_s`, the set at t0 + after_s."
    IsrAfter "isr_after" "" Isr step Optional, of Partition Required, after Never:
        "The in-sync replicas last committed in the run, or with a step, in its window."
    GroupRebalanced "group_rebalanced" "" Bool step Required, of Group Optional, after Never:
        "Whether a member of the group (without `of`: of any group) was given another generation or had partitions \
         revoked or assigned, in the window."
    RebalanceAt "rebalance_at_s" "s" Number step Required, of Group Optional, after Never:
        "Until the first revocation or assignment in the group after t0. Never if there was none in the window."
    RebalanceDuration "rebalance_duration_s" "s" Number step Required, of Group Optional, after Never:
        "From t0 (the trigger) until every partition is owned once at the generation that the trigger led to. Never if \
         no rebalance followed in the window."
    ConsumersPause "consumers_pause_s" "s" Number step Required, of Group Optional, after Never:
        "The longest time in which one partition with backlog had no delivery to the group: the longest gap between \
         consecutive deliveries of a partition that ends after t0 and begins in the window, counted only from when an \
         undelivered message was in the log. 0 if every gap is below the gap threshold."
    PartitionsPausedUnmovedShare "partitions_paused_unmoved_share" "share" Number
        step Required, of Group Optional, after Never:
        "Of the partitions whose owner was the same before and after the rebalance that the step triggered, the share \
         whose delivery paused for longer than the gap threshold. 0 if all moved or no rebalance followed."
    Assignment "assignment" "" Assignment step Required, of Member Required, after Optional:
        "What the member owned at the end of the step's window, or at t0 + after_s if that is given and earlier; `[]` \
         if it was never given any or was not there."
    CaughtUp "caught_up_s" "s" Number step Required, of Nothing Never, after Never:
        "For a start or resume: until the nodes are in the in-sync set of every partition that they replicate."
    IsrFull "isr_full_s" "s" Number step Required, of Nothing Never, after Never:
        "Until every partition's in-sync set is all of its replicas, at or after t0."
    AllNormal "all_normal_s" "s" Number step Required, of Nothing Never, after Never:
        "Until all of this holds and goes on for 5 s (or until load ends, if that is earlier): every in-sync set full, \
         every broker unfenced, no write or read gap open, and every group's lag at or below its baseline p99. The start \
         of that stretch counts."
    SuccessRate "success_rate" "share" Number step Optional, of Nothing Never, after Never:
        "Acknowledged sends divided by sends, of the whole run; with a step, of sends whose actual send lies in its \
         window. What failed, stayed unknown or was still open when the run ended counts as sent. 1 if there were none. \
         Not measured if the run was interrupted and what was open then would have decided."
    Lost "lost" "messages" Number step Never, of Nothing Never, after Never:
        "Acknowledged messages that the audited log does not hold, predicted ones included."
    LostPredicted "lost_predicted" "messages" Number step Never, of Nothing Never, after Never:
        "Those of `lost` that lie outside the guarantee."
    LostToGroup "lost_to_group" "messages" Number step Never, of Group Optional, after Never:
        "Messages in the log below the group's final committed offset that were never delivered to it."
    Duplicates "duplicates" "messages" Number step Never, of Nothing Never, after Never:
        "Messages that the audited log holds again at another offset."
    Redelivered "redelivered" "messages" Number step Never, of Group Optional, after Never:
        "Deliveries to a group of an offset that it had been given before."
    Reordered "reordered" "messages" Number step Never, of Nothing Never, after Never:
        "Messages whose first place in the log comes after a message of the same lane with a higher sequence."
    WriteUnavailable "write_unavailable_s" "s" Number step Optional, of Partition Optional, after Never:
        "The longest write unavailability of one partition (docs/result.md) that begins in the step's window or was open \
         at t0; without a step, of the run. 0 if there was none."
    ReadUnavailable "read_unavailable_s" "s" Number step Optional, of Partition Optional, after Never:
        "The same for reads."
    WritesAccepted "writes_accepted" "" Bool step Required, of Partition Optional, after Optional:
        "Whether any message was acknowledged whose acknowledgement and actual send both lie in the window; with \
         `after_s`, in the part of it from t0 + after_s on."
    LeadersDistinct "leaders_distinct" "brokers" Number step Required, of Nothing Never, after Required:
        "How many different brokers lead a partition at t0 + after_s, by the controller's committed state."
    OnlyLeader "only_leader" "" Word step Required, of Nothing Never, after Required:
        "The id of the one broker that leads partitions at t0 + after_s; `several` or `none` if it is not one."
    LeaderlessPartitions "leaderless_partitions" "partitions" Number step Required, of Nothing Never, after Required:
        "How many partitions have no leader at t0 + after_s, by the controller's committed state."
    DeadLeaderPartitions "dead_leader_partitions" "partitions" Number step Required, of Nothing Never, after Required:
        "How many partitions have, at t0 + after_s and by the controller's committed state, a leader that a fault has \
         killed, stopped or paused and no step has brought back."
    UncleanElections "unclean_elections" "elections" Number step Never, of Nothing Never, after Never:
        "Elections of a leader that was neither in the in-sync set nor an eligible leader replica just before."
    ControllerChanged "controller_changed" "" Bool step Required, of Nothing Never, after Never:
        "Whether another node became the active controller in the window."
    ControllerFailover "controller_failover_s" "s" Number step Required, of Nothing Never, after Never:
        "Until a node became the active controller under a higher controller epoch. 0 if the nodes hit did not hold the \
         active controller."
    QuorumAvailable "quorum_available" "" Bool step Required, of Nothing Never, after Optional:
        "Whether a majority of the voters was neither killed, stopped nor paused, at every moment from t0 + after_s (t0 \
         without it) to the end of the window; by the record of the faults that were carried out."
    ResponseP99 "response_p99_ms" "ms" Number step Optional, of Nothing Never, after Never:
        "99th percentile of response time (acknowledgement − intended send) of the whole run, or of sends intended in \
         the step's window; sends that failed or stayed open count with the time until then."
    LongestResponse "longest_response_s" "s" Number step Optional, of Nothing Never, after Never:
        "The longest response time (acknowledgement − intended send), censored ones included; of the run, or of sends \
         intended in the step's window or open at t0."
    LongestWait "longest_wait_s" "s" Number step Optional, of Nothing Never, after Never:
        "The longest time between an actual send and its outcome, censored ones included; of the run, or of sends made \
         in the step's window or open at t0."
    FaultsDone "faults_done" "faults" Number step Never, of Nothing Never, after Never:
        "Faults that were carried out, those drawn by chaos included; starts and resumes are not counted."
}

impl Measure {
    /// The measure with this id.
    pub fn from_id(id: &str) -> Option<Self> {
        ALL.iter().find(|spec| spec.id == id).map(|spec| spec.measure)
    }

    /// Its data.
    pub fn spec(self) -> &'static Spec {
        // `ALL` is built from the same list as the enum, in the same order.
        &ALL[self as usize]
    }

    /// Its id in files.
    pub fn id(self) -> &'static str {
        self.spec().id
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Spec {
    /// The comparison that holds where a claim names none.
    pub fn default_op(&self) -> &'static str {
        if matches!(self.unit, "s" | "ms") { "<=" } else { "==" }
    }

    /// What its value may be, for messages.
    pub fn value_form(&self) -> &'static str {
        match self.value {
            ValueType::Bool => "true or false",
            ValueType::Number => "a number",
            ValueType::Isr => "broker ids as text, such as \"[1,3]\"",
            ValueType::Assignment => "partitions as text, such as \"[P0,P2]\"",
            ValueType::Word => "text",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_end_in_their_unit() {
        for (nth, spec) in ALL.iter().enumerate() {
            assert_eq!(spec.measure.spec(), spec);
            assert_eq!(Measure::from_id(spec.id), Some(spec.measure));
            assert!(ALL[..nth].iter().all(|earlier| earlier.id != spec.id), "{}", spec.id);
            for unit in ["s", "ms"] {
                assert_eq!(spec.id.ends_with(&format!("_{unit}")), spec.unit == unit, "{}", spec.id);
            }
            assert_eq!(spec.value == ValueType::Number, !spec.unit.is_empty(), "{}", spec.id);
            assert!((spec.of == OfKind::Nothing) == (spec.of_need == Need::Never), "{}", spec.id);
        }
    }
}
