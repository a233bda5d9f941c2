//! A request about several groups is several requests, whose answers are put together here in the order of the question.

use std::collections::BTreeMap;

use super::messages::{
    ConsumerDescription, GroupAnswer, GroupRequest, ListGroupsAnswer, OffsetFetch, OffsetFetchGroupAnswer, Token,
};
use super::{ClassicDescription, GroupOutput};

/// Where the answer to one part of a request belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReplyTo {
    gather: u64,
    part: usize,
}

#[derive(Debug)]
struct Gather {
    token: Token,
    parts: Vec<Option<GroupAnswer>>,
    missing: usize,
    empty: GroupAnswer,
}

/// Every request whose answer is not complete.
#[derive(Debug, Default)]
pub(super) struct Gathers {
    next: u64,
    open: BTreeMap<u64, Gather>,
    done: Vec<GroupOutput>,
}

impl Gathers {
    /// Expects so many parts; one of none is answered at once.
    pub(super) fn begin(&mut self, token: Token, parts: usize, request: &GroupRequest) -> Vec<ReplyTo> {
        let gather = self.next;
        self.next += 1;
        let empty = request.refused(metricstream_wire::ErrorCode::NONE);
        if parts == 0 {
            self.done.push(GroupOutput::Answer { token, answer: empty });
            return Vec::new();
        }
        self.open.insert(gather, Gather { token, parts: vec![None; parts], missing: parts, empty });
        (0..parts).map(|part| ReplyTo { gather, part }).collect()
    }

    /// One part. A second answer to the same part is our own bug.
    pub(super) fn add(&mut self, to: ReplyTo, answer: GroupAnswer) {
        let gather = self.open.get_mut(&to.gather).expect("a request is answered once");
        assert!(gather.parts[to.part].replace(answer).is_none(), "a part of a request is answered once");
        gather.missing -= 1;
        if gather.missing == 0 {
            let Gather { token, parts, empty, .. } = self.open.remove(&to.gather).expect("it was there");
            self.done.push(GroupOutput::Answer { token, answer: together(parts.into_iter().flatten(), empty) });
        }
    }

    pub(super) fn take_done(&mut self) -> Vec<GroupOutput> {
        std::mem::take(&mut self.done)
    }
}

fn together(parts: impl Iterator<Item = GroupAnswer>, empty: GroupAnswer) -> GroupAnswer {
    parts.reduce(joined).unwrap_or(empty)
}

fn joined(first: GroupAnswer, second: GroupAnswer) -> GroupAnswer {
    use GroupAnswer as A;
    fn both<T>(mut a: Vec<T>, b: Vec<T>) -> Vec<T> {
        a.extend(b);
        a
    }
    match (first, second) {
        (A::OffsetFetch(a), A::OffsetFetch(b)) => A::OffsetFetch(both::<OffsetFetchGroupAnswer>(a, b)),
        (A::DescribeGroups(a), A::DescribeGroups(b)) => A::DescribeGroups(both::<ClassicDescription>(a, b)),
        (A::DeleteGroups(a), A::DeleteGroups(b)) => A::DeleteGroups(both(a, b)),
        (A::ConsumerGroupDescribe(a), A::ConsumerGroupDescribe(b)) => {
            A::ConsumerGroupDescribe(both::<ConsumerDescription>(a, b))
        }
        // One shard that cannot say what it has makes the list incomplete, and an incomplete list is none.
        (A::ListGroups(a), A::ListGroups(b)) => match (a.error.is_none(), b.error.is_none()) {
            (true, true) => A::ListGroups(ListGroupsAnswer { error: a.error, groups: both(a.groups, b.groups) }),
            (false, _) => A::ListGroups(a),
            (true, false) => A::ListGroups(b),
        },
        (first, _) => unreachable!("{first:?} is an answer of one part"),
    }
}

impl GroupRequest {
    /// The groups that it is about.
    pub(super) fn groups(&self) -> Vec<&str> {
        match self {
            Self::JoinGroup(r) => vec![&r.group_id],
            Self::SyncGroup(r) => vec![&r.group_id],
            Self::Heartbeat(r) => vec![&r.group_id],
            Self::LeaveGroup(r) => vec![&r.group_id],
            Self::OffsetCommit(r) => vec![&r.group_id],
            Self::OffsetFetch(r) => r.groups.iter().map(|g| g.group_id.as_str()).collect(),
            Self::OffsetDelete(r) => vec![&r.group_id],
            Self::ConsumerGroupHeartbeat(r) => vec![&r.group_id],
            Self::DescribeGroups { groups }
            | Self::DeleteGroups { groups }
            | Self::ConsumerGroupDescribe { groups } => groups.iter().map(String::as_str).collect(),
            Self::ListGroups(_) => Vec::new(),
        }
    }

    /// The same, one request for each group.
    pub(super) fn into_single_groups(self) -> Vec<Self> {
        match self {
            Self::OffsetFetch(OffsetFetch { groups, require_stable }) => {
                let one = |g| Self::OffsetFetch(OffsetFetch { groups: vec![g], require_stable });
                groups.into_iter().map(one).collect()
            }
            Self::DescribeGroups { groups } => {
                groups.into_iter().map(|g| Self::DescribeGroups { groups: vec![g] }).collect()
            }
            Self::DeleteGroups { groups } => {
                groups.into_iter().map(|g| Self::DeleteGroups { groups: vec![g] }).collect()
            }
            Self::ConsumerGroupDescribe { groups } => {
                groups.into_iter().map(|g| Self::ConsumerGroupDescribe { groups: vec![g] }).collect()
            }
            other => vec![other],
        }
    }
}
