//! What clients are told of brokers that have just died, where a closed connection is evidence of death (the profile `fast`):
//! for as long as `metricstream.metadata.wait.after.disconnect.ms` says, and nothing else than Kafka tells where that is −1.
//!
//! * A question for metadata that comes between the end of a leader's connection and the election of the next one waits for
//!   that election. The answer would be out of date at once, and librdkafka asks again only after up to a second.
//! * A broker that was fenced stays in the list of brokers for that long, in the first answer on each connection; in Kafka it
//!   stays until its session ends. librdkafka closes down whatever is not listed any more, and when that happens together
//!   with a change of leader, it takes the partition away from the new leader, until it looks at all topics again. In later
//!   answers it is gone: with a broker that was closed down librdkafka begins anew when it comes back, where it would else
//!   wait for up to `reconnect.backoff.max.ms` (10 s) before it connects.
//!
//! Nothing is told that is not so: who leads comes from committed metadata, and so do endpoints.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_wire::api::metadata::MetadataRequest;

use super::{Node, ReplyTo};
use crate::api::metadata;
use crate::image::Touched;
use crate::io::ConnId;
use crate::time::{Now, Ns};

/// Questions that may wait; more are answered at once.
const WAITING_MAX: usize = 1_024;

/// A question that waits for an election.
#[derive(Debug)]
struct Waiting {
    to: ReplyTo,
    body: MetadataRequest,
    until: Ns,
}

/// A broker that is fenced and still told of.
#[derive(Debug)]
struct Listed {
    until: Ns,
    /// Who was told of it since.
    told: BTreeSet<ConnId>,
}

/// Brokers that have just died, and who asks for what they led.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    /// Nodes whose connections ended, and when; nothing is decided about them yet as far as this node knows.
    evident: BTreeMap<i32, Ns>,
    /// Brokers that are fenced and listed for a while all the same.
    listed: BTreeMap<i32, Listed>,
    waiting: Vec<Waiting>,
    /// Something was decided since the waiting ones were looked at.
    moved: bool,
}

impl Departed {
    /// A connection to a node ended, or nobody listens there. Later evidence of the same death prolongs nothing.
    pub(super) fn ended(&mut self, now: Now, node: i32) {
        self.evident.entry(node).or_insert(now.monotonic_ns);
    }

    /// It lives.
    pub(super) fn lives(&mut self, node: i32) {
        self.moved |= self.evident.remove(&node).is_some();
    }

    /// The client is gone.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.waiting.retain(|one| one.to.conn() != conn);
        for one in self.listed.values_mut() {
            one.told.remove(&conn);
        }
    }

    /// When a question is answered at the latest.
    pub(super) fn next_timer(&self) -> Ns {
        self.waiting.iter().map(|one| one.until).min().unwrap_or(Ns::MAX)
    }

    /// The fenced brokers of which the next answer on a connection tells all the same.
    pub(crate) fn still_listed(&mut self, now: Now, conn: ConnId) -> BTreeSet<i32> {
        self.listed.retain(|_, one| !now.reached(one.until));
        self.listed.iter_mut().filter_map(|(id, one)| one.told.insert(conn).then_some(*id)).collect()
    }
}

impl Node {
    /// Keeps a question back if it asks for a partition whose leader has evidently died, while that is fresh. Gives it back
    /// if it is to be answered now.
    pub(crate) fn held_for_election(
        &mut self,
        now: Now,
        to: &ReplyTo,
        body: MetadataRequest,
    ) -> Option<MetadataRequest> {
        let wait_ms = self.config.settings.metadata_wait_after_disconnect_ms;
        if wait_ms < 0 || self.departed.evident.is_empty() || self.departed.waiting.len() >= WAITING_MAX {
            return Some(body);
        }
        let ended = metadata::leaders(&self.image, &body, to.version)
            .filter_map(|leader| self.departed.evident.get(&leader))
            .max();
        let until = ended.map_or(0, |at| Now { monotonic_ns: *at, ..now }.after_ms(wait_ms));
        if now.reached(until) {
            return Some(body);
        }
        self.departed.waiting.push(Waiting { to: to.clone(), body, until });
        None
    }

    /// Answers what has waited long enough, and what is decided now. Whether anything was.
    pub(super) fn run_departed(&mut self, now: Now) -> bool {
        let moved = std::mem::take(&mut self.departed.moved);
        if self.departed.waiting.is_empty() || !moved && !self.judges {
            return false;
        }
        let (judges, image, evident) = (self.judges, &self.image, &self.departed.evident);
        let undecided = |one: &Waiting| {
            metadata::leaders(image, &one.body, one.to.version).any(|leader| evident.contains_key(&leader))
        };
        let due = |one: &Waiting| judges && now.reached(one.until) || moved && !undecided(one);
        let (due, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.departed.waiting).into_iter().partition(due);
        self.departed.waiting = waiting;
        let any = !due.is_empty();
        for one in due {
            metadata::answer(self, now, &one.to, one.body);
        }
        any
    }

    /// Brokers that are not fenced, as far as this node knows.
    pub(super) fn unfenced(&self) -> BTreeSet<i32> {
        self.image.brokers.values().filter(|b| !b.fenced).map(|b| b.id).collect()
    }

    /// Metadata was committed; these brokers were not fenced before.
    pub(super) fn departures_decided(&mut self, now: Now, before: &BTreeSet<i32>, touched: &Touched) {
        self.departed.moved |= !touched.partitions.is_empty() || !touched.removed.is_empty();
        let listed_ms = self.config.settings.metadata_wait_after_disconnect_ms;
        // A node that starts learns of deaths of days gone by.
        let live = self.broker.as_ref().is_some_and(|broker| broker.live);
        for id in &touched.brokers {
            let known = self.image.brokers.get(id);
            if known.is_none_or(|b| b.fenced) {
                self.departed.lives(*id);
            }
            match known {
                Some(b) if b.fenced => {
                    if live && listed_ms >= 0 && !b.in_controlled_shutdown && before.contains(id) {
                        let until = now.after_ms(listed_ms);
                        self.departed.listed.insert(*id, Listed { until, told: BTreeSet::new() });
                    }
                }
                _ => {
                    self.departed.listed.remove(id);
                }
            }
        }
    }
}
