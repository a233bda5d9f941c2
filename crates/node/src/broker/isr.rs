//! What a leader knows of its followers: how far each has come, who counts as in sync, and what that lets it commit
//! (KIP-497: maximal ISR while a change is in flight; KIP-903: broker epochs; KIP-966: nothing is committed below
//! min.insync.replicas). Pure rules over plain values.

use std::collections::BTreeMap;

use metricstream_wire::ErrorCode;

use super::partition::FetchPosition;
use crate::flaws::Flaws;
use crate::image::{Image, Partition as PartitionImage};
use crate::time::{Now, Ns};

/// A follower, as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// It has everything below; −1 until it has fetched in this epoch.
    pub end_offset: i64,
    /// Its log begins here; −1 until it has fetched in this epoch.
    pub log_start: i64,
    /// The epoch of its registration when it last fetched.
    pub broker_epoch: i64,
    /// When it last had everything there was.
    caught_up_ns: Option<Ns>,
    /// When it last fetched, and where the log ended then.
    last_fetch: Option<(Ns, i64)>,
    /// Its log was as long as the leader's at its last fetch, or has been within the time allowed.
    lag_max_ms: i64,
}

impl Follower {
    fn new(in_sync: bool, now: Now) -> Self {
        Self {
            end_offset: -1,
            log_start: -1,
            broker_epoch: -1,
            caught_up_ns: in_sync.then_some(now.monotonic_ns),
            last_fetch: None,
            lag_max_ms: i64::MAX,
        }
    }

    /// Kafka's rule: caught up now if it asks for the end; caught up as of its previous fetch if it now has what was the
    /// end then.
    fn fetched(&mut self, position: &FetchPosition, leader_end: i64, lag_max_ms: i64, now: Now) {
        if position.offset >= leader_end {
            self.caught_up_ns = self.caught_up_ns.max(Some(now.monotonic_ns));
        } else if let Some((at, end)) = self.last_fetch
            && position.offset >= end
        {
            self.caught_up_ns = self.caught_up_ns.max(Some(at));
        }
        self.end_offset = position.offset;
        self.log_start = position.log_start;
        self.broker_epoch = position.broker_epoch;
        self.last_fetch = Some((now.monotonic_ns, leader_end));
        self.lag_max_ms = lag_max_ms;
    }

    /// The controller would let it in: it lives, stays, and is in the life in which it fetched.
    fn is_eligible(&self, id: i32, image: &Image, flaws: &Flaws) -> bool {
        image.brokers.get(&id).is_some_and(|b| {
            let same = self.broker_epoch == -1 || self.broker_epoch == b.epoch || flaws.ignore_broker_epoch;
            same && !b.fenced && (!b.in_controlled_shutdown || flaws.rejoin_while_shutting_down)
        })
    }

    /// Not further behind than is allowed.
    fn is_caught_up(&self, leader_end: i64, lag_max_ms: i64, now: Now) -> bool {
        let within = |at: Ns| i64::try_from(now.since_ms(at)).unwrap_or(i64::MAX) <= lag_max_ms;
        self.end_offset == leader_end || self.caught_up_ns.is_some_and(within)
    }
}

/// An ISR that the controller was, or is to be, asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Members, this leader among them, with the broker epochs in which they were seen (−1: its own).
    pub isr: Vec<(i32, i64)>,
    /// Whether it was sent and is not answered yet.
    pub in_flight: bool,
    /// Not before this: the last attempt failed.
    pub not_before: Ns,
}

/// A leader's knowledge of its partition.
#[derive(Debug, Clone)]
pub struct Leading {
    node_id: i32,
    /// As the controller has it.
    isr: Vec<i32>,
    replicas: usize,
    partition_epoch: i32,
    epoch_start: i64,
    followers: BTreeMap<i32, Follower>,
    proposal: Option<Proposal>,
    recovering: bool,
}

impl Leading {
    /// Begins an epoch; everybody in the ISR gets the whole time allowed to show up.
    pub(super) fn new(node_id: i32, image: &PartitionImage, epoch_start: i64, now: Now) -> Self {
        let others = image.replicas.iter().filter(|r| **r != node_id);
        Self {
            node_id,
            isr: image.isr.clone(),
            replicas: image.replicas.len(),
            partition_epoch: image.partition_epoch,
            epoch_start,
            followers: others.map(|r| (*r, Follower::new(image.isr.contains(r), now))).collect(),
            // An unclean leader that says it has recovered does so with its first proposal.
            proposal: image.recovering.then(|| Proposal { isr: vec![(node_id, -1)], in_flight: false, not_before: 0 }),
            recovering: image.recovering,
        }
    }

    /// The committed ISR.
    #[must_use]
    pub fn isr(&self) -> &[i32] {
        &self.isr
    }

    /// The log's end when this epoch began.
    #[must_use]
    pub const fn epoch_start(&self) -> i64 {
        self.epoch_start
    }

    /// What the controller last decided, for AlterPartition.
    #[must_use]
    pub const fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    /// What is known of a follower.
    #[must_use]
    pub fn follower(&self, id: i32) -> Option<&Follower> {
        self.followers.get(&id)
    }

    /// Every follower.
    pub fn followers(&self) -> impl Iterator<Item = (i32, &Follower)> {
        self.followers.iter().map(|(id, follower)| (*id, follower))
    }

    /// The controller decided within this epoch: what was proposed has been accepted or is void.
    pub(super) fn committed(&mut self, image: &PartitionImage) {
        if image.partition_epoch < self.partition_epoch {
            return;
        }
        self.accepted(image);
        self.replicas = image.replicas.len();
        self.followers.retain(|id, _| image.replicas.contains(id));
    }

    /// The controller's answer to a proposal, which tells the ISR and not the replicas: those stay as they are.
    pub(super) fn accepted(&mut self, answer: &PartitionImage) {
        if answer.partition_epoch < self.partition_epoch {
            return;
        }
        self.isr.clone_from(&answer.isr);
        self.partition_epoch = answer.partition_epoch;
        self.recovering = answer.recovering;
        self.proposal = None;
    }

    /// A follower fetched. Gives whether its log begins elsewhere than before.
    pub(super) fn fetched(
        &mut self,
        position: &FetchPosition,
        leader_end: i64,
        lag_max_ms: i64,
        now: Now,
    ) -> Result<bool, ErrorCode> {
        let follower = self.followers.get_mut(&position.replica).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        // A request of an earlier life of that broker tells nothing about this one.
        if position.broker_epoch != -1 && position.broker_epoch < follower.broker_epoch {
            return Err(ErrorCode::STALE_BROKER_EPOCH);
        }
        let before = follower.log_start;
        follower.fetched(position, leader_end, lag_max_ms, now);
        Ok(follower.log_start != before)
    }

    fn is_member(&self, replica: i32, flaws: &Flaws) -> bool {
        // Also one that is not sent yet, or whose answer is not known: it may come true at any moment.
        let proposed = self.proposal.as_ref().filter(|_| !flaws.no_maximal_isr);
        self.isr.contains(&replica) || proposed.is_some_and(|p| p.isr.iter().any(|(r, _)| *r == replica))
    }

    /// The largest offset that everybody who counts has: the members of the ISR, of the one that is being asked for, and
    /// whoever has caught up and waits to be let in. `None` where too few are in sync to commit anything.
    pub(super) fn committable(
        &self,
        leader_end: i64,
        min_isr: usize,
        image: &Image,
        flaws: &Flaws,
        now: Now,
    ) -> Option<i64> {
        let wanted = min_isr.min(self.replicas);
        if self.isr.len() < wanted && !flaws.last_replica_standing {
            return None;
        }
        if flaws.acknowledge_before_replication {
            return Some(leader_end);
        }
        let counts = |(id, follower): &(&i32, &Follower)| {
            let waits = follower.end_offset >= 0 && follower.is_caught_up(leader_end, follower.lag_max_ms, now);
            self.is_member(**id, flaws) || waits && !flaws.no_maximal_isr && follower.is_eligible(**id, image, flaws)
        };
        let lowest = self.followers.iter().filter(counts).map(|(_, follower)| follower.end_offset).min();
        Some(lowest.map_or(leader_end, |offset| offset.min(leader_end)))
    }

    /// A follower that has everything committed, and everything of before this epoch, may be let in.
    pub(super) fn propose_growth(&mut self, replica: i32, high_watermark: i64, image: &Image, flaws: &Flaws) -> bool {
        if self.proposal.is_some() || self.isr.contains(&replica) {
            return false;
        }
        let Some(follower) = self.followers.get(&replica) else { return false };
        let reached = follower.end_offset >= high_watermark
            && (follower.end_offset >= self.epoch_start || flaws.join_isr_below_epoch_start);
        if !reached || !follower.is_eligible(replica, image, flaws) {
            return false;
        }
        let members: Vec<i32> = self.isr.iter().copied().chain([replica]).collect();
        self.propose(&members);
        true
    }

    /// Members that have been behind for longer than is allowed are to leave.
    pub(super) fn propose_shrink(&mut self, leader_end: i64, lag_max_ms: i64, now: Now) -> bool {
        if self.proposal.is_some() {
            return false;
        }
        let stays = |r: &i32| {
            *r == self.node_id || self.followers.get(r).is_some_and(|f| f.is_caught_up(leader_end, lag_max_ms, now))
        };
        let members: Vec<i32> = self.isr.iter().copied().filter(stays).collect();
        if members.len() == self.isr.len() {
            return false;
        }
        self.propose(&members);
        true
    }

    fn propose(&mut self, members: &[i32]) {
        let seen = |r: &i32| (*r, self.followers.get(r).map_or(-1, |f| f.broker_epoch));
        let isr = members.iter().map(seen).collect();
        self.proposal = Some(Proposal { isr, in_flight: false, not_before: 0 });
    }

    /// A proposal that waits to be sent, marked as sent. Its leader's own epoch is put in by the caller.
    pub fn take_proposal(&mut self, own_epoch: i64, now: Now) -> Option<Proposal> {
        let proposal = self.proposal.as_mut().filter(|p| !p.in_flight && now.reached(p.not_before))?;
        proposal.in_flight = true;
        let mut sent = proposal.clone();
        for member in sent.isr.iter_mut().filter(|(r, _)| *r == self.node_id) {
            member.1 = own_epoch;
        }
        Some(sent)
    }

    /// When a proposal that failed is to be sent again.
    #[must_use]
    pub fn proposal_due(&self) -> Option<Ns> {
        self.proposal.as_ref().filter(|p| !p.in_flight).map(|p| p.not_before)
    }

    /// The controller's answer to a proposal. On success the decision itself comes with [`committed`](Self::committed).
    pub fn answered(&mut self, error: ErrorCode, retry_at: Ns) {
        match error {
            // Nothing came of it, for sure: a later look proposes anew.
            ErrorCode::INELIGIBLE_REPLICA | ErrorCode::OPERATION_NOT_ATTEMPTED => self.proposal = None,
            // The controller knows something newer, which metadata brings. Until then the proposal stays in force for the
            // maximal ISR: an earlier copy of it, whose answer was lost, may have been taken.
            ErrorCode::NONE
            | ErrorCode::FENCED_LEADER_EPOCH
            | ErrorCode::INVALID_REQUEST
            | ErrorCode::INVALID_UPDATE_VERSION
            | ErrorCode::NEW_LEADER_ELECTED
            | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            | ErrorCode::UNKNOWN_TOPIC_ID => {}
            // It is sent again.
            _ => {
                if let Some(proposal) = &mut self.proposal {
                    proposal.in_flight = false;
                    proposal.not_before = retry_at;
                }
            }
        }
    }

    /// Whether the leader still has to say that it recovered from an unclean election.
    #[must_use]
    pub const fn is_recovering(&self) -> bool {
        self.recovering
    }
}
