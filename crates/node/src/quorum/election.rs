//! How leaders come and go: pre-votes and votes from both sides, the beginning and the end of an epoch, and check-quorum.

use metricstream_wire::ErrorCode;

use super::message::{Answer, BeginEpoch, EndEpoch, EpochAnswer, OffsetAndEpoch, Request, Vote, VoteAnswer};
use super::replication::Leader;
use super::state::{Election, Role, Votes};
use super::{Quorum, QuorumOutput, Token};
use crate::io::{Level, Outputs};
use crate::time::Now;

/// After so many lost tries the wait before the next one does not grow any more.
const BACKOFF_DOUBLINGS_MAX: u32 = 10;

impl Quorum {
    fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// The leader is lost or unknown: stand for election, after asking whether that has a chance.
    pub(super) fn stand(&mut self, now: Now, io: &mut Outputs, leader: Option<i32>, tries: u32) {
        if self.leaving {
            return self.become_unattached(now, io, leader, tries);
        }
        if self.flaws.no_pre_vote || self.voters.len() == 1 {
            return self.become_candidate(now, io, tries);
        }
        let election = self.election(now, tries);
        self.take_role(io, Role::Prospective { leader, election });
    }

    fn election(&mut self, now: Now, tries: u32) -> Election {
        let mut votes = Votes::default();
        votes.record(self.me, true);
        Election { votes, until: self.drawn_from(now, self.clocks.election_timeout_ms), tries }
    }

    pub(super) fn become_candidate(&mut self, now: Now, io: &mut Outputs, tries: u32) {
        let write = self.ballot.set(self.ballot.epoch() + 1, Some(self.me), io);
        self.outbox.wait_for(write);
        let election = self.election(now, tries);
        self.take_role(io, Role::Candidate(election));
        if self.majority() == 1 {
            self.become_leader(now, io, vec![self.me]);
        }
    }

    fn become_leader(&mut self, now: Now, io: &mut Outputs, granting: Vec<i32>) {
        let check_at = if self.majority() == 1 { u64::MAX } else { now.after_ms(self.clocks.check_quorum_ms()) };
        let leader = Leader::new(&self.voters, self.me, self.log.end().offset, check_at);
        self.ballot.set_leader(self.me, io);
        self.take_role(io, Role::Leader(leader));
        let epoch = self.ballot.epoch();
        self.log.append_leader_change(now, io, self.me, epoch, &self.voters, &granting);
    }

    // --- the voter's side ---

    pub(super) fn handle_vote(&mut self, now: Now, io: &mut Outputs, token: Token, vote: &Vote) {
        let (error, granted) = match self.check_vote(vote) {
            Err(error) => (error, false),
            Ok(()) => {
                if vote.epoch > self.ballot.epoch() {
                    self.take_epoch(now, io, vote.epoch, None);
                }
                let granted = self.would_vote(vote);
                if granted && !vote.pre_vote {
                    self.give_vote(now, io, vote);
                }
                (ErrorCode::NONE, granted)
            }
        };
        let answer = Answer::Vote(VoteAnswer { error, current: self.current(), granted });
        self.outbox.push(QuorumOutput::Answer { token, answer });
    }

    fn check_vote(&self, vote: &Vote) -> Result<(), ErrorCode> {
        // A candidate's log is from before its election.
        let last_epoch_max = if vote.pre_vote { vote.epoch } else { vote.epoch - 1 };
        if vote.epoch < 0 || vote.last_epoch < 0 || vote.last_offset < 0 || vote.last_epoch > last_epoch_max {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.check_addressee(vote.voter, vote.candidate)?;
        if vote.epoch < self.ballot.epoch() { Err(ErrorCode::FENCED_LEADER_EPOCH) } else { Ok(()) }
    }

    /// A request that voters send each other: the one who is asked is this node (−1 does not say), the other is a voter.
    fn check_addressee(&self, asked: i32, other: i32) -> Result<(), ErrorCode> {
        if asked >= 0 && asked != self.me {
            return Err(ErrorCode::INVALID_VOTER_KEY);
        }
        let known = self.is_voter() && other != self.me && self.voters.contains(&other);
        if known { Ok(()) } else { Err(ErrorCode::INCONSISTENT_VOTER_SET) }
    }

    fn would_vote(&self, vote: &Vote) -> bool {
        let theirs = OffsetAndEpoch { epoch: vote.last_epoch, offset: vote.last_offset };
        let up_to_date = theirs >= self.log.end();
        let free = self.ballot.voted().map_or(up_to_date, |voted| voted == vote.candidate);
        match &self.role {
            Role::Unattached { leader, .. } | Role::Prospective { leader, .. } => {
                if vote.pre_vote {
                    up_to_date
                } else {
                    leader.is_none() && free
                }
            }
            Role::Candidate(_) | Role::Resigned { .. } => vote.pre_vote && up_to_date,
            // The heart of KIP-996: who hears its leader lets nobody disturb it.
            Role::Follower(following) => vote.pre_vote && up_to_date && (!following.heard || following.suspected),
            Role::Leader(_) => false,
        }
    }

    fn give_vote(&mut self, now: Now, io: &mut Outputs, vote: &Vote) {
        if self.ballot.voted().is_none() {
            let write = self.ballot.set(self.ballot.epoch(), Some(vote.candidate), io);
            self.outbox.wait_for(write);
        }
        self.become_unattached(now, io, None, 0);
    }

    // --- the candidate's side ---

    pub(super) fn ask_for_votes(&mut self, now: Now) {
        let (votes, pre_vote) = match &self.role {
            Role::Prospective { election, .. } => (&election.votes, true),
            Role::Candidate(election) => (&election.votes, false),
            _ => return,
        };
        let end = self.log.end();
        let (epoch, candidate) = (self.ballot.epoch(), self.me);
        let asked: Vec<i32> = self.peers.ids().filter(|v| !votes.has(*v)).collect();
        for voter in asked {
            let (last_epoch, last_offset) = (end.epoch, end.offset);
            let vote = Vote { epoch, candidate, voter, last_epoch, last_offset, pre_vote };
            self.send(now, voter, Request::Vote(vote));
        }
    }

    pub(super) fn on_vote_answer(&mut self, now: Now, io: &mut Outputs, from: i32, answer: &VoteAnswer) {
        let before = self.ballot.epoch();
        if !self.take_current(now, io, from, answer.error, answer.current) {
            if self.ballot.epoch() == before {
                self.back_off(now, from);
            }
            return;
        }
        if let Role::Prospective { election, .. } | Role::Candidate(election) = &mut self.role {
            election.votes.record(from, answer.granted);
            self.count_votes(now, io);
        }
    }

    /// A voter could not be asked. That counts as its refusal where a closed connection counts as a death; it is asked
    /// again all the same.
    pub(super) fn voter_unreachable(&mut self, now: Now, io: &mut Outputs, voter: i32) {
        if self.clocks.elect_after_disconnect_ms >= 0
            && let Role::Candidate(election) = &mut self.role
        {
            election.votes.failed(voter);
            self.count_votes(now, io);
        }
    }

    fn count_votes(&mut self, now: Now, io: &mut Outputs) {
        let majority = self.majority();
        let (election, pre_vote) = match &self.role {
            Role::Prospective { election, .. } => (election, true),
            Role::Candidate(election) => (election, false),
            _ => return,
        };
        let granted = election.votes.granted();
        let lost = election.votes.lost() > self.voters.len() - majority;
        let tries = election.tries;
        match (granted.len() >= majority, pre_vote) {
            (true, true) => self.become_candidate(now, io, tries),
            (true, false) => self.become_leader(now, io, granted),
            (false, _) if lost => self.election_lost(now, io),
            _ => {}
        }
    }

    /// No majority can be reached any more. A candidate waits a little longer each time, so that two of them do not
    /// take the votes from each other for ever.
    fn election_lost(&mut self, now: Now, io: &mut Outputs) {
        let (max, base) = (self.clocks.election_backoff_max_ms, self.clocks.retry_backoff_ms);
        match &self.role {
            Role::Prospective { leader, election } => {
                self.become_unattached(now, io, *leader, election.tries);
            }
            Role::Candidate(election) => {
                let doublings = (election.tries + 1).min(BACKOFF_DOUBLINGS_MAX);
                let range_ms = base.saturating_mul(1 << doublings).min(max);
                let at = now.monotonic_ns.saturating_add(self.draw(range_ms));
                if let Role::Candidate(election) = &mut self.role {
                    election.until = election.until.min(at);
                    election.tries += 1;
                }
            }
            _ => {}
        }
    }

    // --- the beginning of an epoch ---

    pub(super) fn ask_to_begin(&mut self, now: Now) {
        let epoch = self.ballot.epoch();
        let silent_ms = u64::try_from(self.clocks.fetch_timeout_ms / 2).unwrap_or(0);
        let Role::Leader(leader) = &self.role else { return };
        for voter in leader.silent_voters(now, silent_ms) {
            let begin = BeginEpoch { leader_id: self.me, epoch, voter };
            self.send(now, voter, Request::BeginEpoch(begin));
        }
    }

    pub(super) fn handle_begin_epoch(&mut self, now: Now, io: &mut Outputs, token: Token, begin: &BeginEpoch) {
        let error = match self.check_addressee(begin.voter, begin.leader_id) {
            Err(error) => error,
            Ok(()) => self.take_leaders_word(now, io, begin.epoch, begin.leader_id),
        };
        let answer = Answer::BeginEpoch(EpochAnswer { error, current: self.current() });
        self.outbox.push(QuorumOutput::Answer { token, answer });
    }

    /// Somebody says that it leads an epoch.
    fn take_leaders_word(&mut self, now: Now, io: &mut Outputs, epoch: i32, leader: i32) -> ErrorCode {
        if epoch < self.ballot.epoch() {
            return ErrorCode::FENCED_LEADER_EPOCH;
        }
        self.take_epoch(now, io, epoch, Some(leader));
        match &self.role {
            Role::Follower(following) if following.leader == leader => ErrorCode::NONE,
            _ => ErrorCode::INVALID_REQUEST,
        }
    }

    pub(super) fn on_begin_answer(&mut self, now: Now, io: &mut Outputs, from: i32, answer: &EpochAnswer) {
        let epoch = self.ballot.epoch();
        let taken = self.take_current(now, io, from, answer.error, answer.current);
        if self.ballot.epoch() == epoch {
            let wait_ms = if taken { self.clocks.fetch_timeout_ms / 2 } else { self.clocks.retry_backoff_ms };
            self.peers.wait_until(from, now.after_ms(wait_ms));
        }
    }

    // --- its end ---

    /// Whether a majority fetched since the last look (KAFKA-15489): else this leader may be alone on its side of a
    /// partition, and must not serve as if it were not.
    pub(super) fn check_quorum(&mut self, now: Now, io: &mut Outputs) {
        if self.flaws.no_check_quorum {
            if let Role::Leader(leader) = &mut self.role {
                leader.check_at = u64::MAX;
            }
            return;
        }
        let epoch = self.ballot.epoch();
        self.say(io, Level::Warn, format!("no majority fetches any more: resigns from epoch {epoch}"));
        self.resign(now, io);
    }

    pub(super) fn resign(&mut self, now: Now, io: &mut Outputs) {
        let Role::Leader(leader) = &self.role else { return };
        let preferred = leader.by_log_end(self.me);
        let until = self.drawn_from(now, self.clocks.election_timeout_ms);
        self.take_role(io, Role::Resigned { until, told: Default::default(), preferred });
    }

    pub(super) fn ask_to_end(&mut self, now: Now) {
        let Role::Resigned { told, preferred, .. } = &self.role else { return };
        let (leader_id, epoch) = (self.me, self.ballot.epoch());
        let preferred_candidates = preferred.clone();
        let untold: Vec<i32> = self.peers.ids().filter(|v| !told.contains(v)).collect();
        for voter in untold {
            let end = EndEpoch { leader_id, epoch, preferred_candidates: preferred_candidates.clone() };
            self.send(now, voter, Request::EndEpoch(end));
        }
    }

    pub(super) fn on_end_answer(&mut self, now: Now, io: &mut Outputs, from: i32, answer: &EpochAnswer) {
        if self.take_current(now, io, from, answer.error, answer.current)
            && let Role::Resigned { told, .. } = &mut self.role
        {
            told.insert(from);
            return;
        }
        self.back_off(now, from);
    }

    pub(super) fn handle_end_epoch(&mut self, now: Now, io: &mut Outputs, token: Token, end: &EndEpoch) {
        let error = match self.check_addressee(self.me, end.leader_id) {
            Err(error) => error,
            Ok(()) if end.epoch < self.ballot.epoch() => ErrorCode::FENCED_LEADER_EPOCH,
            Ok(()) => {
                if end.epoch > self.ballot.epoch() {
                    self.take_epoch(now, io, end.epoch, Some(end.leader_id));
                }
                self.leader_resigned(now, end);
                ErrorCode::NONE
            }
        };
        let answer = Answer::EndEpoch(EpochAnswer { error, current: self.current() });
        self.outbox.push(QuorumOutput::Answer { token, answer });
    }

    /// The first of the preferred candidates stands at once, each next one gives those before it twice the time.
    fn leader_resigned(&mut self, now: Now, end: &EndEpoch) {
        let (max, base) = (self.clocks.election_backoff_max_ms, self.clocks.retry_backoff_ms);
        let place = end.preferred_candidates.iter().position(|v| *v == self.me);
        let place = place.unwrap_or(end.preferred_candidates.len());
        let wait_ms = match u32::try_from(place).unwrap_or(BACKOFF_DOUBLINGS_MAX) {
            0 => 0,
            n => base.saturating_mul(1 << n.min(BACKOFF_DOUBLINGS_MAX)).min(max),
        };
        let wait_ns = if wait_ms == 0 { 0 } else { self.draw(wait_ms / 2) };
        let at = now.after_ms(wait_ms.div_euclid(2)).saturating_add(wait_ns);
        match &mut self.role {
            Role::Follower(following) if following.leader == end.leader_id => {
                following.suspected = true;
                following.fetch_by = following.fetch_by.min(at);
            }
            Role::Unattached { leader: Some(leader), until, .. } if *leader == end.leader_id => *until = at.min(*until),
            _ => {}
        }
    }

    /// A peer's process dropped a connection: if it is the leader, that may be its death. Where the setting says that this
    /// counts, look for another soon, and do not refuse others who do.
    pub(super) fn suspect(&mut self, now: Now, peer: i32) {
        let after_ms = self.clocks.elect_after_disconnect_ms;
        if after_ms < 0 || !self.is_voter() {
            return;
        }
        let at = now.after_ms(after_ms).saturating_add(self.draw(after_ms));
        if let Role::Follower(following) = &mut self.role
            && following.leader == peer
        {
            following.suspected = true;
            following.fetch_by = following.fetch_by.min(at);
        }
    }
}
