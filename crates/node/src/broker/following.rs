//! A follower's side of its fetch session with one leader (KIP-227): what the leader knows already is not said again, so that
//! a follower of a thousand idle partitions sends empty requests. The leader's side is [`super::sessions`].

use std::collections::{BTreeMap, BTreeSet};

use metricstream_wire::ErrorCode;

use super::sessions::next_epoch;
use crate::image::PartitionId;

/// What is asked of a leader for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentFetch {
    /// The partition.
    pub id: PartitionId,
    /// In which leader epoch.
    pub leader_epoch: i32,
    /// Where this log ends.
    pub offset: i64,
    /// The epoch of its last batch; −1 none.
    pub last_epoch: i32,
    /// Where it begins.
    pub log_start: i64,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowerFetch {
    /// 0 without a session.
    pub session_id: i32,
    /// 0 for a new session in place of that of this id.
    pub session_epoch: i32,
    /// What the leader does not know yet.
    pub partitions: Vec<SentFetch>,
    /// What is wanted no more.
    pub forgotten: Vec<PartitionId>,
}

/// What the leader knows of this follower.
#[derive(Debug, Default)]
pub struct Following {
    session_id: i32,
    session_epoch: i32,
    sent: BTreeMap<PartitionId, SentFetch>,
}

impl Following {
    /// The request for all that is wanted now.
    pub fn ask(&mut self, wanted: Vec<SentFetch>) -> FollowerFetch {
        let (session_id, session_epoch) = (self.session_id, self.session_epoch);
        if session_epoch == 0 {
            self.sent = wanted.iter().map(|one| (one.id, *one)).collect();
            return FollowerFetch { session_id, session_epoch, partitions: wanted, forgotten: Vec::new() };
        }
        let mut forgotten = Vec::new();
        if !self.sent.keys().eq(wanted.iter().map(|one| &one.id)) {
            let still: BTreeSet<PartitionId> = wanted.iter().map(|one| one.id).collect();
            forgotten.extend(self.sent.keys().filter(|id| !still.contains(*id)));
            self.sent.retain(|id, _| still.contains(id));
        }
        let mut partitions = wanted;
        partitions.retain(|one| self.sent.insert(one.id, *one) != Some(*one));
        FollowerFetch { session_id, session_epoch, partitions, forgotten }
    }

    /// What was asked for a partition last.
    #[must_use]
    pub fn sent(&self, id: PartitionId) -> Option<SentFetch> {
        self.sent.get(&id).copied()
    }

    /// Everything that was asked last, said again or not.
    pub fn all(&self) -> impl Iterator<Item = &SentFetch> {
        self.sent.values()
    }

    /// Id and epoch of the session as the next request will name them.
    #[must_use]
    pub const fn session(&self) -> (i32, i32) {
        (self.session_id, self.session_epoch)
    }

    /// The leader answered in this session; 0: it gives none.
    pub fn answered(&mut self, session_id: i32) {
        let epoch = if session_id == 0 { 0 } else { next_epoch(self.session_epoch) };
        (self.session_id, self.session_epoch) = (session_id, epoch);
    }

    /// The leader refused the session.
    pub fn refused(&mut self, error: ErrorCode) {
        if error == ErrorCode::FETCH_SESSION_ID_NOT_FOUND {
            self.session_id = 0;
        }
        self.session_epoch = 0;
    }

    /// It is not known what the leader knows, or something that it said was not used: the next request begins anew.
    pub fn begin_anew(&mut self) {
        self.session_epoch = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, offset: i64) -> SentFetch {
        SentFetch { id: ([1; 16], partition), leader_epoch: 0, offset, last_epoch: 0, log_start: 0 }
    }

    fn within(session_id: i32, session_epoch: i32, partitions: Vec<SentFetch>, forgotten: &[i32]) -> FollowerFetch {
        let forgotten = forgotten.iter().map(|n| ([1; 16], *n)).collect();
        FollowerFetch { session_id, session_epoch, partitions, forgotten }
    }

    #[test]
    fn a_follower_says_everything_once_and_then_only_what_changed() {
        let mut leader = Following::default();
        let all = vec![at(0, 5), at(1, 5), at(2, 5)];
        assert_eq!(leader.ask(all.clone()), within(0, 0, all.clone(), &[]));
        leader.answered(77);
        assert_eq!(leader.ask(all), within(77, 1, Vec::new(), &[]), "nothing moved");
        leader.answered(77);
        assert_eq!(leader.ask(vec![at(0, 5), at(1, 9)]), within(77, 2, vec![at(1, 9)], &[2]));
        leader.answered(77);
        assert_eq!(leader.ask(vec![at(0, 5), at(1, 9), at(2, 5)]), within(77, 3, vec![at(2, 5)], &[]));
        assert_eq!((leader.sent(([1; 16], 1)), leader.sent(([1; 16], 3))), (Some(at(1, 9)), None));
    }

    #[test]
    fn a_session_that_ended_is_begun_anew_with_everything() {
        let all = vec![at(0, 5), at(1, 5)];
        let within_one = || {
            let mut leader = Following::default();
            leader.ask(all.clone());
            leader.answered(77);
            leader
        };
        let mut leader = within_one();
        leader.refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        assert_eq!(leader.ask(all.clone()), within(0, 0, all.clone(), &[]));
        let mut leader = within_one();
        leader.refused(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        assert_eq!(leader.ask(all.clone()), within(77, 0, all.clone(), &[]), "the old one is closed by it");
        let mut leader = within_one();
        leader.answered(0);
        assert_eq!(leader.ask(all.clone()), within(0, 0, all.clone(), &[]), "no slot");
        leader.answered(0);
        assert_eq!(leader.ask(all.clone()), within(0, 0, all, &[]), "every request is a full one");
    }
}
