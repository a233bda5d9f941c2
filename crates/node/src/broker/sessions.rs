//! Fetch sessions of a leader (KIP-227): what each reader asks for and what it was last told, so that a request carries
//! only what changed since the last one, and an answer only what is new. The cache is bounded: by its slots
//! (`max.incremental.fetch.session.cache.slots`) and by the partitions of all sessions together. Whoever finds no slot is
//! served without a session.
//!
//! Nothing here reads a log or knows versions of messages. Kafka spreads its slots over shards; here there is one.

use std::collections::BTreeMap;
use std::sync::Arc;

use metricstream_wire::{ErrorCode, Uuid};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::waiting::WaitId;
use crate::image::PartitionId;
use crate::time::{MS, Now, Ns};

/// A session that was not used for longer may go for any other, and one that is older for a larger one (Kafka's
/// `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const EVICTION_NS: Ns = 120_000 * MS;
/// Partitions of all sessions together: some 200 MB. Kafka has no such limit.
const PARTITIONS_MAX: usize = 1_000_000;

/// A topic as a reader names it: by name or, from Fetch 13 on, by id; the other one is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
}

/// One partition as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// As the reader named it.
    pub topic: Arc<Named>,
    /// Its number.
    pub partition: i32,
    /// `None` where there is no such topic.
    pub id: Option<PartitionId>,
    /// The leader epoch that the reader believes in; −1 none.
    pub leader_epoch: i32,
    /// Where to read on.
    pub offset: i64,
    /// The epoch of the last batch that the reader has; −1 where nothing is compared.
    pub last_epoch: i32,
    /// Where a follower's log begins.
    pub log_start: i64,
    /// Bytes of this partition.
    pub max_bytes: usize,
}

/// What a reader was last told of a partition. −1: it is to be told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The high watermark.
    pub high_watermark: i64,
    /// Where the log begins.
    pub log_start: i64,
}

/// Nothing.
const NOTHING: Told = Told { high_watermark: -1, log_start: -1 };

/// A partition of a session.
#[derive(Debug)]
pub struct Kept {
    /// As it was last asked for.
    pub asked: Asked,
    /// What was last told.
    pub told: Told,
}

/// One reader's session.
#[derive(Debug)]
struct Session {
    /// A follower's: it goes before consumers'.
    privileged: bool,
    /// Whether topics are named by id.
    by_ids: bool,
    /// That of the next request.
    epoch: i32,
    created_at: Ns,
    used_at: Ns,
    /// In the order in which they are read: what gave records goes to the end, so that no partition starves the others.
    kept: BTreeMap<u64, Kept>,
    places: BTreeMap<Arc<Named>, BTreeMap<i32, u64>>,
    next_place: u64,
    /// Its last request that waits, or did.
    parked: Option<WaitId>,
}

/// Names a request within a session: who comes later with the next epoch overtakes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The session.
    pub session: i32,
    /// The epoch that the next request will have.
    pub epoch: i32,
}

/// All sessions of a broker.
#[derive(Debug)]
pub struct Sessions {
    slots: usize,
    partitions_max: usize,
    random: ChaCha8Rng,
    sessions: BTreeMap<i32, Session>,
    /// Of all sessions together.
    partitions: usize,
}

/// The epoch after this one; 0 and −1 mean other things.
#[must_use]
pub const fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

impl Session {
    fn put(&mut self, asked: Asked) {
        let places = self.places.entry(Arc::clone(&asked.topic)).or_default();
        if let Some(kept) = places.get(&asked.partition).and_then(|place| self.kept.get_mut(place)) {
            // The first name stays, so that a session holds each once.
            let topic = Arc::clone(&kept.asked.topic);
            kept.asked = Asked { topic, ..asked };
            return;
        }
        places.insert(asked.partition, self.next_place);
        self.kept.insert(self.next_place, Kept { asked, told: NOTHING });
        self.next_place += 1;
    }

    fn forget(&mut self, topic: &Named, partition: i32) {
        let Some(places) = self.places.get_mut(topic) else { return };
        if let Some(place) = places.remove(&partition) {
            self.kept.remove(&place);
        }
        if places.is_empty() {
            self.places.remove(topic);
        }
    }

    fn is_old(&self, now: Now) -> bool {
        now.monotonic_ns.saturating_sub(self.created_at) > EVICTION_NS
    }
}

impl Sessions {
    /// None yet; all ids come from `seed`.
    #[must_use]
    pub fn new(slots: i32, seed: u64) -> Self {
        Self {
            slots: usize::try_from(slots).unwrap_or(0),
            partitions_max: PARTITIONS_MAX,
            random: ChaCha8Rng::seed_from_u64(seed ^ 0x227),
            sessions: BTreeMap::new(),
            partitions: 0,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Partitions of all sessions together.
    #[must_use]
    pub const fn partitions(&self) -> usize {
        self.partitions
    }

    /// Whether a request may go on in a session.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, or `FETCH_SESSION_TOPIC_ID_ERROR` where it names topics
    /// in the other way (KIP-516).
    pub fn check(&self, id: i32, epoch: i32, by_ids: bool) -> Result<(), ErrorCode> {
        let session = self.sessions.get(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_ids == by_ids { Ok(()) } else { Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR) }
    }

    /// A request that [`check`](Self::check) let pass changes what the session asks for. `None` where nothing is left of it:
    /// then it is closed.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND` where it asks for more than there is room for: then it is closed, too.
    pub fn go_on(
        &mut self,
        id: i32,
        asked: impl Iterator<Item = Asked>,
        forgotten: impl Iterator<Item = (Named, i32)>,
        now: Now,
    ) -> Result<Option<Turn>, ErrorCode> {
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        let before = session.kept.len();
        for one in asked {
            session.put(one);
        }
        for (topic, partition) in forgotten {
            session.forget(&topic, partition);
        }
        session.used_at = now.monotonic_ns;
        session.epoch = next_epoch(session.epoch);
        let turn = Turn { session: id, epoch: session.epoch };
        let is_empty = session.kept.is_empty();
        self.partitions = self.partitions + session.kept.len() - before;
        if self.partitions > self.partitions_max {
            self.close(id);
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
        if is_empty {
            self.close(id);
        }
        Ok((!is_empty).then_some(turn))
    }

    /// What a session asks for and was told, in the order in which it is to be read.
    ///
    /// # Errors
    /// If the session is gone, or a later request overtook this one.
    pub fn kept(&self, turn: Turn) -> Result<impl Iterator<Item = (u64, &Kept)>, ErrorCode> {
        let session = self.sessions.get(&turn.session).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != turn.epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        Ok(session.kept.iter().map(|(place, kept)| (*place, kept)))
    }

    /// The same, to find out of which partitions it speaks now.
    pub fn asked_mut(&mut self, turn: Turn) -> impl Iterator<Item = &mut Asked> {
        let session = self.sessions.get_mut(&turn.session).filter(|session| session.epoch == turn.epoch);
        session.into_iter().flat_map(|session| session.kept.values_mut().map(|kept| &mut kept.asked))
    }

    /// What is told of the partition at a place; with records it is read last next time. Gives which it is.
    pub fn tell(
        &mut self,
        session: i32,
        place: u64,
        told: Told,
        records: bool,
    ) -> Option<(Arc<Named>, Option<PartitionId>)> {
        let session = self.sessions.get_mut(&session)?;
        let kept = session.kept.get_mut(&place)?;
        kept.told = told;
        let which = (Arc::clone(&kept.asked.topic), kept.asked.id);
        if records {
            let partition = kept.asked.partition;
            let kept = session.kept.remove(&place)?;
            session.places.get_mut(&which.0)?.insert(partition, session.next_place);
            session.kept.insert(session.next_place, kept);
            session.next_place += 1;
        }
        Some(which)
    }

    /// The request of a session that waits, or did; the one that waits now takes its place.
    pub fn swap_parked(&mut self, session: i32, now: Option<WaitId>) -> Option<WaitId> {
        let session = self.sessions.get_mut(&session)?;
        std::mem::replace(&mut session.parked, now)
    }

    /// Closes a session, if there is one.
    pub fn close(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.kept.len();
        }
    }

    /// Makes a session of what was asked and told, if there is a slot or one may be taken from another (KIP-227): from one
    /// that nobody used for two minutes; for a follower from a consumer; else from a smaller one that is older than that.
    /// Gives its id; 0 where there is none.
    pub fn create(&mut self, privileged: bool, by_ids: bool, kept: Vec<(Asked, Told)>, now: Now) -> i32 {
        let fits = self.partitions + kept.len() <= self.partitions_max;
        if !fits || self.sessions.len() >= self.slots && !self.evict(privileged, kept.len(), now) {
            return 0;
        }
        let mut id = 0;
        while id == 0 || self.sessions.contains_key(&id) {
            id = i32::try_from(self.random.next_u32() >> 1).unwrap_or(0);
        }
        let mut session = Session {
            privileged,
            by_ids,
            epoch: 1,
            created_at: now.monotonic_ns,
            used_at: now.monotonic_ns,
            kept: BTreeMap::new(),
            places: BTreeMap::new(),
            next_place: 0,
            parked: None,
        };
        for (asked, told) in kept {
            let place = session.next_place;
            session.put(asked);
            if let Some(kept) = session.kept.get_mut(&place) {
                kept.told = told;
            }
        }
        self.partitions += session.kept.len();
        self.sessions.insert(id, session);
        id
    }

    /// Frees a slot for a newcomer, if it may have one.
    fn evict(&mut self, privileged: bool, partitions: usize, now: Now) -> bool {
        let Some((used_at, oldest)) = self.sessions.iter().map(|(id, s)| (s.used_at, *id)).min() else { return false };
        if now.monotonic_ns.saturating_sub(used_at) > EVICTION_NS {
            self.close(oldest);
            return true;
        }
        let may_go = |s: &Session| s.is_old(now) || privileged && !s.privileged;
        let ranks = self.sessions.iter().filter(|(_, s)| may_go(s)).map(|(id, s)| (s.privileged, s.kept.len(), *id));
        let Some(least) = ranks.min().filter(|least| (privileged, partitions, 0) >= *least) else { return false };
        self.close(least.2);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn at(minutes: i64) -> Now {
        Now { monotonic_ns: Now::default().after_ms(minutes * MINUTE_MS), wall_ms: 0 }
    }

    fn asked(partition: i32) -> Asked {
        let topic = Arc::new(Named { name: "metrics".into(), id: [0; 16] });
        Asked { topic, partition, id: None, leader_epoch: -1, offset: 0, last_epoch: -1, log_start: -1, max_bytes: 9 }
    }

    fn of(partitions: i32) -> Vec<(Asked, Told)> {
        (0..partitions).map(|n| (asked(n), NOTHING)).collect()
    }

    fn order(sessions: &Sessions, turn: Turn) -> Vec<i32> {
        sessions.kept(turn).expect("its turn").map(|(_, kept)| kept.asked.partition).collect()
    }

    fn go_on(sessions: &mut Sessions, id: i32, ask: &[i32], forget: &[i32]) -> Option<Turn> {
        let name = |n: &i32| (Named { name: "metrics".into(), id: [0; 16] }, *n);
        let (ask, forget) = (ask.iter().map(|n| asked(*n)), forget.iter().map(name));
        sessions.go_on(id, ask, forget, at(0)).expect("room")
    }

    #[test]
    fn a_session_keeps_what_it_asks_for_and_reads_last_what_gave_records_last() {
        let mut sessions = Sessions::new(10, 1);
        let id = sessions.create(false, false, of(3), at(0));
        assert_ne!(id, 0);
        let turn = go_on(&mut sessions, id, &[5, 1], &[2, 9]).expect("something is left");
        assert_eq!((order(&sessions, turn), sessions.partitions()), (vec![0, 1, 5], 3));
        let places: Vec<u64> = sessions.kept(turn).expect("its turn").map(|(place, _)| place).collect();
        sessions.tell(id, places[0], NOTHING, true).expect("there");
        sessions.tell(id, places[1], NOTHING, false).expect("there");
        assert_eq!(order(&sessions, turn), [1, 5, 0]);
        // It is found at its new place.
        let turn = go_on(&mut sessions, id, &[], &[0]).expect("something is left");
        assert_eq!(order(&sessions, turn), [1, 5]);
        assert_eq!(go_on(&mut sessions, id, &[], &[1, 5]), None, "an empty one is closed");
        assert!(sessions.is_empty() && sessions.partitions() == 0);
    }

    #[test]
    fn a_request_goes_on_only_with_the_next_epoch_and_names_of_the_same_kind() {
        let mut sessions = Sessions::new(10, 1);
        let id = sessions.create(false, true, of(1), at(0));
        assert_eq!(sessions.check(id, 1, true), Ok(()));
        assert_eq!(sessions.check(id, 1, false), Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR));
        assert_eq!(sessions.check(id, 2, true), Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
        assert_eq!(sessions.check(id ^ 1, 1, true), Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        let first = go_on(&mut sessions, id, &[], &[]).expect("something is left");
        let second = go_on(&mut sessions, id, &[], &[]).expect("something is left");
        assert_eq!(sessions.kept(first).err(), Some(ErrorCode::INVALID_FETCH_SESSION_EPOCH), "overtaken");
        assert_eq!((order(&sessions, second), next_epoch(i32::MAX)), (vec![0], 1));
    }

    #[test]
    fn a_full_cache_gives_a_slot_of_the_idle_and_of_smaller_ones_that_are_old() {
        let mut sessions = Sessions::new(2, 1);
        let small = sessions.create(false, false, of(2), at(0));
        let large = sessions.create(false, false, of(5), at(0));
        assert_eq!(sessions.create(false, false, of(9), at(1)), 0, "both are young and in use");
        for id in [small, large] {
            sessions.go_on(id, std::iter::empty(), std::iter::empty(), at(3)).expect("there");
        }
        assert_eq!(sessions.create(false, false, of(2), at(3)), 0, "it is no larger");
        let newer = sessions.create(false, false, of(3), at(3));
        assert_eq!((newer == 0, sessions.check(small, 2, false)), (false, Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)));
        // Two minutes and more without a word.
        sessions.go_on(newer, std::iter::empty(), std::iter::empty(), at(4)).expect("there");
        let last = sessions.create(false, false, of(1), at(6));
        assert_eq!((last == 0, sessions.len(), sessions.check(large, 2, false).is_err()), (false, 2, true));
    }

    #[test]
    fn a_follower_takes_a_consumers_slot_and_no_consumer_takes_a_followers() {
        let mut sessions = Sessions::new(2, 1);
        let consumers = [sessions.create(false, false, of(7), at(0)), sessions.create(false, false, of(8), at(0))];
        let followers = [sessions.create(true, true, of(1), at(0)), sessions.create(true, true, of(1), at(0))];
        assert!(!followers.contains(&0) && consumers.iter().all(|id| sessions.check(*id, 1, false).is_err()));
        assert_eq!(sessions.create(true, true, of(9), at(1)), 0, "other followers' are young");
        for id in followers {
            sessions.go_on(id, std::iter::empty(), std::iter::empty(), at(3)).expect("there");
        }
        assert_eq!(sessions.create(false, false, of(100), at(3)), 0, "a consumer");
        assert_ne!(sessions.create(true, true, of(2), at(3)), 0, "a larger follower");
    }

    #[test]
    fn without_room_there_is_no_session_and_one_that_outgrows_it_is_closed() {
        assert_eq!(Sessions::new(0, 1).create(true, true, of(1), at(0)), 0);
        let mut sessions = Sessions::new(10, 1);
        sessions.partitions_max = 4;
        let id = sessions.create(false, false, of(3), at(0));
        assert_eq!(sessions.create(false, false, of(2), at(0)), 0);
        let more = sessions.go_on(id, (0..5).map(asked), std::iter::empty(), at(0));
        assert_eq!((more, sessions.partitions()), (Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND), 0));
    }
}
