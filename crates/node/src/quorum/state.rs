//! Roles, every way from one to another, and the clock of each: what happens when it runs out.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::rand_core::RngCore;

use super::replication::Leader;
use super::snapshot::Download;
use super::{Quorum, QuorumOutput};
use crate::config::Settings;
use crate::io::{Event, Level, Outputs};
use crate::time::{MS, Now, Ns};

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleName {
    /// It knows the epoch, and follows nobody yet.
    Unattached,
    /// It asks whether it would be elected (KIP-996).
    Prospective,
    /// It asks for votes.
    Candidate,
    /// It appends, and the others fetch from it.
    Leader,
    /// It fetches from the leader; a broker that is no voter does the same.
    Follower,
    /// It was the leader of this epoch and tells so.
    Resigned,
}

impl RoleName {
    /// Its name in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unattached => "unattached",
            Self::Prospective => "prospective",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Resigned => "resigned",
        }
    }
}

/// The settings that are waiting times, and whether this node votes at all.
#[derive(Debug)]
pub(super) struct Clocks {
    pub(super) votes: bool,
    pub(super) fetch_timeout_ms: i64,
    pub(super) election_timeout_ms: i64,
    pub(super) election_backoff_max_ms: i64,
    pub(super) request_timeout_ms: i64,
    pub(super) retry_backoff_ms: i64,
    pub(super) append_linger_ms: i64,
    pub(super) fetch_wait_max_ms: i64,
    pub(super) elect_after_disconnect_ms: i64,
}

impl Clocks {
    pub(super) const fn of(settings: &Settings) -> Self {
        Self {
            votes: false,
            fetch_timeout_ms: settings.quorum_fetch_timeout_ms,
            election_timeout_ms: settings.quorum_election_timeout_ms,
            election_backoff_max_ms: settings.quorum_election_backoff_max_ms,
            request_timeout_ms: settings.quorum_request_timeout_ms,
            retry_backoff_ms: settings.quorum_retry_backoff_ms,
            append_linger_ms: settings.quorum_append_linger_ms,
            fetch_wait_max_ms: settings.quorum_fetch_wait_max_ms,
            elect_after_disconnect_ms: settings.elect_after_disconnect_ms,
        }
    }

    /// A leader that a majority has not fetched from for this long resigns: 1.5 fetch timeouts, as in Kafka.
    pub(super) const fn check_quorum_ms(&self) -> i64 {
        self.fetch_timeout_ms + self.fetch_timeout_ms / 2
    }
}

/// Who answered a candidate, and how.
#[derive(Debug, Default)]
pub(super) struct Votes {
    answers: BTreeMap<i32, bool>,
    /// Those whose last request failed.
    unreachable: BTreeSet<i32>,
}

impl Votes {
    pub(super) fn record(&mut self, voter: i32, granted: bool) {
        self.unreachable.remove(&voter);
        self.answers.insert(voter, granted);
    }

    pub(super) fn has(&self, voter: i32) -> bool {
        self.answers.contains_key(&voter)
    }

    pub(super) fn granted(&self) -> Vec<i32> {
        self.answers.iter().filter(|(_, granted)| **granted).map(|(voter, _)| *voter).collect()
    }

    /// A request to a voter failed; it is asked again.
    pub(super) fn failed(&mut self, voter: i32) {
        if !self.has(voter) {
            self.unreachable.insert(voter);
        }
    }

    /// Votes that are refused, or cannot be had now.
    pub(super) fn lost(&self) -> usize {
        self.answers.values().filter(|granted| !**granted).count() + self.unreachable.len()
    }
}

#[derive(Debug)]
pub(super) struct Election {
    pub(super) votes: Votes,
    /// When to give this try up.
    pub(super) until: Ns,
    /// Tries before this one, without a leader between them.
    pub(super) tries: u32,
}

#[derive(Debug)]
pub(super) struct Following {
    pub(super) leader: i32,
    /// When to look for another leader, if no fetch succeeds before.
    pub(super) fetch_by: Ns,
    /// A fetch from this leader succeeded: others are refused a pre-vote.
    pub(super) heard: bool,
    /// It resigned, or its process dropped a connection: others are not refused any more.
    pub(super) suspected: bool,
    pub(super) download: Option<Download>,
}

#[derive(Debug)]
pub(super) enum Role {
    /// `leader`: one of this epoch that was known, and that nobody else can be elected in place of in this epoch.
    Unattached {
        leader: Option<i32>,
        until: Ns,
        tries: u32,
    },
    Prospective {
        leader: Option<i32>,
        election: Election,
    },
    Candidate(Election),
    Leader(Leader),
    Follower(Following),
    Resigned {
        until: Ns,
        told: BTreeSet<i32>,
        preferred: Vec<i32>,
    },
}

impl Role {
    /// Before the first one is taken.
    pub(super) const fn none() -> Self {
        Self::Unattached { leader: None, until: Ns::MAX, tries: 0 }
    }

    pub(super) const fn name(&self) -> RoleName {
        match self {
            Self::Unattached { .. } => RoleName::Unattached,
            Self::Prospective { .. } => RoleName::Prospective,
            Self::Candidate(_) => RoleName::Candidate,
            Self::Leader(_) => RoleName::Leader,
            Self::Follower(_) => RoleName::Follower,
            Self::Resigned { .. } => RoleName::Resigned,
        }
    }
}

impl Quorum {
    /// Takes the first role. Whoever led last leads no more in that epoch: it cannot know what it appended and lost.
    pub(super) fn start(&mut self, controller: bool, now: Now, io: &mut Outputs) {
        self.clocks.votes = controller && self.voters.contains(&self.me);
        let leader = self.ballot.leader();
        if self.is_voter() && self.voters.len() == 1 {
            self.become_candidate(now, io, 0);
        } else if leader == Some(self.me) && self.is_voter() {
            let preferred = self.peers.ids().collect();
            let until = self.drawn_from(now, self.clocks.election_timeout_ms);
            self.take_role(io, Role::Resigned { until, told: BTreeSet::new(), preferred });
        } else {
            let new_cluster = self.ballot.epoch() == 0 && self.log.end().offset == 0;
            let first = new_cluster && self.is_voter() && self.voters.first() == Some(&self.me);
            let until = if first { now.monotonic_ns } else { self.unattached_until(now) };
            self.take_role(io, Role::Unattached { leader: leader.filter(|l| *l != self.me), until, tries: 0 });
        }
    }

    /// The leader of this epoch, as far as this node may name it to others.
    pub(super) fn leader(&self) -> Option<i32> {
        match &self.role {
            Role::Leader(_) => Some(self.me),
            Role::Follower(following) => Some(following.leader),
            Role::Unattached { leader, .. } | Role::Prospective { leader, .. } => *leader,
            Role::Candidate(_) | Role::Resigned { .. } => None,
        }
    }

    /// Another epoch is known, or the leader of this one.
    pub(super) fn take_epoch(&mut self, now: Now, io: &mut Outputs, epoch: i32, leader: Option<i32>) {
        let newer = epoch > self.ballot.epoch();
        let until = self.still_waiting_until(now);
        if newer {
            let write = self.ballot.set(epoch, None, io);
            self.outbox.wait_for(write);
        }
        match leader.filter(|l| *l != self.me && self.voters.contains(l)) {
            Some(leader) if newer || self.may_follow(io, leader) => self.follow(now, io, leader),
            None if newer => self.take_role(io, Role::Unattached { leader: None, until, tries: 0 }),
            _ => {}
        }
    }

    /// Whoever waits for an election goes on waiting when the epoch rises: a candidate that cannot win and comes back
    /// again and again would else keep those that can from standing.
    fn still_waiting_until(&mut self, now: Now) -> Ns {
        let until = match &self.role {
            Role::Unattached { until, .. } | Role::Resigned { until, .. } => *until,
            Role::Prospective { election, .. } | Role::Candidate(election) => election.until,
            Role::Leader(_) | Role::Follower(_) => 0,
        };
        if now.reached(until) { self.unattached_until(now) } else { until }
    }

    /// Whether this is news in this epoch, which has one leader at most.
    fn may_follow(&self, io: &mut Outputs, leader: i32) -> bool {
        match &self.role {
            Role::Unattached { .. } | Role::Prospective { .. } | Role::Candidate(_) => true,
            Role::Follower(following) if following.leader == leader => false,
            Role::Leader(_) | Role::Resigned { .. } | Role::Follower(_) => {
                let (epoch, known) = (self.ballot.epoch(), self.ballot.leader());
                self.say(io, Level::Error, format!("{leader} claims to lead epoch {epoch}, which {known:?} does"));
                false
            }
        }
    }

    fn follow(&mut self, now: Now, io: &mut Outputs, leader: i32) {
        self.ballot.set_leader(leader, io);
        let fetch_by = now.after_ms(self.clocks.fetch_timeout_ms);
        let following = Following { leader, fetch_by, heard: false, suspected: false, download: None };
        self.take_role(io, Role::Follower(following));
    }

    /// Back to knowing the epoch only, perhaps with its leader as a hint.
    pub(super) fn become_unattached(&mut self, now: Now, io: &mut Outputs, leader: Option<i32>, tries: u32) {
        let until = self.unattached_until(now);
        self.take_role(io, Role::Unattached { leader, until, tries });
    }

    /// Every change of the role goes through here: what the old one had asked for and parked is over.
    pub(super) fn take_role(&mut self, io: &mut Outputs, role: Role) {
        self.peers.reset();
        self.gathering.clear();
        self.role = role;
        let (name, current) = (self.role.name(), self.current());
        self.release_parked();
        if self.told_role.replace((name, current)) != Some((name, current)) {
            let (epoch, leader) = (current.leader_epoch, current.leader_id);
            io.push(crate::io::Output::Event(Event::QuorumRole { role: name.as_str(), epoch, leader }));
            self.outbox.push(QuorumOutput::RoleChanged { role: name, epoch, leader });
        }
    }

    /// A moment between `ms` and twice that from now.
    pub(super) fn drawn_from(&mut self, now: Now, ms: i64) -> Ns {
        now.after_ms(ms).saturating_add(self.draw(ms))
    }

    /// Up to `ms`, in nanoseconds.
    pub(super) fn draw(&mut self, ms: i64) -> Ns {
        let range = u64::try_from(ms).unwrap_or(0).saturating_mul(MS);
        self.rng.next_u64() % range.saturating_add(1).max(1)
    }

    fn unattached_until(&mut self, now: Now) -> Ns {
        if self.is_voter() { self.drawn_from(now, self.clocks.election_timeout_ms) } else { Ns::MAX }
    }

    /// Whoever was silent for too long is waited for no more.
    pub(super) fn expire(&mut self, now: Now, io: &mut Outputs) {
        for peer in self.peers.expired(now.monotonic_ns) {
            self.request_failed(now, io, peer);
        }
        self.role_timer(now, io);
    }

    /// Does what is due whoever is silent, then asks whom there is to ask. Called after every input.
    pub(super) fn poll(&mut self, now: Now, io: &mut Outputs) {
        if self.halted {
            return;
        }
        self.polled_at = now.monotonic_ns;
        if self.gathering.due.is_some_and(|at| now.reached(at)) {
            self.drain(now, io);
        }
        self.answer_overdue(now);
        self.ask(now);
    }

    fn role_timer(&mut self, now: Now, io: &mut Outputs) {
        match &self.role {
            Role::Unattached { leader, until, tries } if now.reached(*until) => {
                self.stand(now, io, *leader, *tries);
            }
            Role::Prospective { leader, election } if now.reached(election.until) => {
                self.become_unattached(now, io, *leader, election.tries);
            }
            Role::Candidate(election) if now.reached(election.until) => self.stand(now, io, None, election.tries),
            Role::Follower(following) if now.reached(following.fetch_by) => {
                let leader = Some(following.leader);
                if self.is_voter() {
                    self.stand(now, io, leader, 0);
                } else {
                    self.become_unattached(now, io, leader, 0);
                }
            }
            Role::Leader(leader) if now.reached(leader.check_at) => self.check_quorum(now, io),
            Role::Resigned { until, .. } if now.reached(*until) => {
                // Not in this epoch again: its leader was this node.
                self.take_epoch(now, io, self.ballot.epoch() + 1, None);
            }
            _ => {}
        }
    }

    pub(super) fn deadline(&self) -> Ns {
        let role = match &self.role {
            Role::Unattached { until, .. } | Role::Resigned { until, .. } => *until,
            Role::Prospective { election, .. } | Role::Candidate(election) => election.until,
            Role::Follower(following) => following.fetch_by,
            Role::Leader(leader) => leader.check_at,
        };
        let parked = self.parked.iter().map(|p| p.until);
        parked.chain(self.peers.deadlines(self.polled_at)).chain(self.gathering.due).fold(role, Ns::min)
    }
}
