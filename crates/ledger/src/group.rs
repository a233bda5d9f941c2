//! What a consumer group did on one partition: offsets seen, positions of members, commits, owners.
//!
//! Only state and its upkeep; the watches themselves live in `anomaly`.

use std::collections::BTreeSet;

use crate::accounting::{Spot, Tally};
use crate::anomaly::commit_fault::{Commit, CommitWatch};
use crate::anomaly::dual_ownership::Ownership;
use crate::anomaly::redelivery::Redelivery;
use crate::anomaly::skipped::Jumps;
use crate::bitmap::PositionSet;
use crate::history::LaneId;
use crate::offsets::{BLOCK, Observer, factor};

/// One group on one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupPlace {
    pub(crate) seen: Observer,
    /// Blocks in which an offset was delivered twice: the sums hold the first delivery only.
    pub(crate) repeated_blocks: BTreeSet<u64>,
    /// Offsets whose value was no message of the run.
    pub(crate) aliens: PositionSet,
    pub(crate) members: Vec<Member>,
    pub(crate) commits: CommitWatch,
    pub(crate) ownership: Ownership,
    pub(crate) redelivery: Redelivery,
    pub(crate) jumps: Jumps,
    pub(crate) backwards: Tally,
    /// Where the group began to read when nothing was committed.
    pub(crate) began_at: Option<i64>,
    pub(crate) final_commit: Option<i64>,
    pub(crate) sought: bool,
}

/// One member on one partition.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: u32,
    /// The offset that it should be given next; `None` after it was assigned without a position.
    pub(crate) next: Option<u64>,
    /// The commit when it took over; `None` if it was never told to own the partition, or nothing was committed.
    pub(crate) floor: Option<i64>,
    pub(crate) owner: bool,
    /// Where its position went back without a seek or rebalance, as it does when the log below it is truncated.
    pub(crate) set_back: Option<SetBack>,
}

/// From the lowest offset that a member was set back to, to the highest position that it was set back from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetBack {
    pub(crate) to: u64,
    pub(crate) from: u64,
}

impl Member {
    fn set_back(&mut self, to: u64, from: u64) {
        let before = self.set_back.unwrap_or(SetBack { to, from });
        self.set_back = Some(SetBack { to: before.to.min(to), from: before.from.max(from) });
    }
}

/// A delivery of consecutive messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    pub(crate) at_us: i64,
    pub(crate) member: u32,
    pub(crate) base: i64,
    pub(crate) count: u32,
    pub(crate) lane: LaneId,
    pub(crate) seq: u64,
}

impl GroupPlace {
    /// The member's state, made if it is new.
    pub(crate) fn member(&mut self, id: u32) -> &mut Member {
        let at = self.members.iter().rposition(|member| member.id == id).unwrap_or_else(|| {
            self.members.push(Member { id, next: None, floor: None, owner: false, set_back: None });
            self.members.len() - 1
        });
        &mut self.members[at]
    }

    pub(crate) fn assigned(&mut self, at_us: i64, member: u32, offset: i64) {
        let frontier = self.commits.frontier();
        if frontier.is_none() && self.began_at.is_none() && offset >= 0 && self.seen.chunks().next().is_none() {
            self.began_at = Some(offset);
        }
        let state = self.member(member);
        state.next = u64::try_from(offset).ok();
        state.floor = frontier;
        state.owner = true;
        state.set_back = None;
        self.ownership.begin(at_us, member);
    }

    pub(crate) fn revoked(&mut self, at_us: i64, member: u32) {
        let state = self.member(member);
        state.owner = false;
        state.next = None;
        state.set_back = None;
        self.ownership.end(at_us, member);
    }

    pub(crate) fn seek(&mut self, member: u32, offset: i64) {
        self.sought = true;
        let state = self.member(member);
        state.next = u64::try_from(offset).ok();
        state.set_back = None;
        state.floor = state.floor.map(|floor| floor.min(offset));
        self.commits.allow_back_to(offset);
    }

    pub(crate) fn delivered(&mut self, delivery: &Delivery) {
        let (base, end) = (delivery.base as u64, delivery.base as u64 + u64::from(delivery.count));
        let state = self.member(delivery.member);
        let (next, floor) = (state.next.replace(end), state.floor);
        if let Some(next) = next.filter(|next| *next > base) {
            state.set_back(base, next);
        }
        match next {
            Some(next) if next > base => {
                let back = next.min(end) - base;
                let spot = Spot::messages(delivery.lane, delivery.seq, delivery.seq + back, Some(delivery.base));
                self.backwards.add(back, spot);
            }
            Some(next) if next < base => self.jumps.add(delivery.member, next, base),
            _ => {}
        }
        let (redelivery, repeated) = (&mut self.redelivery, &mut self.repeated_blocks);
        let factor = factor(delivery.lane, delivery.seq, delivery.base);
        self.seen.see(base, delivery.count, factor, |from, to| {
            redelivery.add(delivery, from, to, floor);
            repeated.extend(from / BLOCK..=(to - 1) / BLOCK);
        });
        self.ownership.delivered(delivery.at_us, delivery.member);
    }

    pub(crate) fn alien(&mut self, offset: i64) {
        self.aliens.insert(offset as u64, 1);
        self.seen.see_alien(offset as u64);
    }

    pub(crate) fn committed(&mut self, at_us: i64, member: u32, offset: i64) {
        let state = self.members.iter_mut().rev().find(|state| state.id == member);
        let owner = state.as_ref().is_some_and(|state| state.owner);
        let usurped = !owner && self.ownership.another_owner(member, at_us);
        let (position, set_back) = state.as_ref().map_or((None, None), |state| (state.next, state.set_back));
        self.commits.commit(&Commit { at_us, member, offset, position, set_back, usurped });
        // Once it has committed beyond where it had been, its commits follow its position again.
        if let Some(state) = state
            && set_back.is_some_and(|back| offset as u64 >= back.from && position.is_some_and(|at| at >= back.from))
        {
            state.set_back = None;
        }
    }

    pub(crate) fn allocated_bytes(&self) -> usize {
        self.seen.allocated_bytes() + self.aliens.allocated_bytes() + self.members.capacity() * size_of::<Member>()
    }
}
