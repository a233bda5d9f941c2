//! The group coordinator: groups of the classic protocol, consumer groups of the new one (KIP-848), and committed offsets.
//!
//! [`Groups`] holds one [`shard`] for each partition of `__consumer_offsets` that this broker leads. It knows no log, no
//! connection and no clock: whoever owns it feeds it requests, time, and what became of its appends, and takes from its
//! queue what is to be appended and answered.
//!
//! The owner's side of the contract:
//! * [`Groups::elected`] when the broker leads a partition; if it says so, feed the log with [`Groups::load`] up to its end
//!   and then [`Groups::loaded`]. [`Groups::resigned`] when it leads no more.
//! * [`GroupOutput::Append`] is written as one batch with acks=all and told at once by [`Groups::appended`]: the offset of
//!   its last record, or why it was not written. Until then the shard does nothing else: at most one append of a shard is
//!   untold, so a failed one is undone exactly, and nothing was built upon it.
//! * [`Groups::committed`] whenever the high watermark moves. Answers that rest on a record, their own or an earlier one of
//!   the same group, wait for it, at most `offsets.commit.timeout.ms`. A record that is late is not undone, since it may be
//!   committed yet: only losing the partition can take it away, and then the whole shard goes.
//! * Call [`Groups::on_timer`] at [`Groups::next_timer`], and take the outputs after every call.
//!
//! As in Kafka, state changes at once: the next request sees them.

use bytes::Bytes;
use metricstream_wire::record_batch::Batch;
use metricstream_wire::{ErrorCode, Uuid, WireError};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeMap;

use crate::config::Settings;
use crate::flaws::Flaws;
use crate::time::{Now, Ns};

mod assignor;
mod classic;
mod consumer;
mod gather;
mod load;
mod messages;
mod offsets;
mod records;
mod shard;
#[cfg(test)]
mod stories;
mod work;

use gather::{Gathers, ReplyTo};
pub use messages::*;
use shard::Shard;
use work::{Desk, Emitted};

/// The topic in which all this is kept.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Groups of one shard; more are refused.
pub const GROUPS_MAX: usize = 100_000;
/// Members of one group, known or yet to come, whatever the settings allow.
pub const MEMBERS_MAX: usize = 10_000;
/// Requests of one shard that wait for an append to be told; more are refused as if it were loading.
pub const DEFERRED_MAX: usize = 10_000;

/// The topics as this broker knows them.
pub trait TopicsView {
    /// Changes when anything else here does; such as the offset of the metadata image.
    fn version(&self) -> i64;
    /// Id of a topic.
    fn id_of(&self, name: &str) -> Option<Uuid>;
    /// Name of a topic.
    fn name_of(&self, id: Uuid) -> Option<&str>;
    /// How many partitions a topic has; 0 if there is none.
    fn partition_count(&self, id: Uuid) -> i32;
}

/// When something happens, and the topics then.
#[derive(Clone, Copy)]
#[allow(missing_docs)] // They say it.
pub struct At<'a> {
    pub now: Now,
    pub topics: &'a dyn TopicsView,
}

/// Names an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a coordinator wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields say it.
pub enum GroupOutput {
    /// Append keys and values to a partition of `__consumer_offsets`, as one batch with acks=all.
    Append { partition: i32, records: Vec<(Bytes, Option<Bytes>)>, ticket: Ticket },
    /// Answer a request.
    Answer { token: Token, answer: GroupAnswer },
}

/// The partition of `__consumer_offsets` whose leader coordinates a group: Java's hash of the id, without its sign.
/// `None` while there is no such topic.
#[must_use]
pub fn partition_for(group_id: &str, partitions: i32) -> Option<i32> {
    let hash = group_id.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & 0x7fff_ffff).checked_rem(partitions)
}

/// Every shard of this broker.
#[derive(Debug)]
pub struct Groups {
    settings: Settings,
    flaws: Flaws,
    random: ChaCha8Rng,
    shards: BTreeMap<i32, Shard>,
    tickets: BTreeMap<Ticket, i32>,
    next_ticket: u64,
    gathers: Gathers,
    outputs: Vec<GroupOutput>,
}

impl Groups {
    /// Leads nothing yet. The seed is for the ids that new members get.
    #[must_use]
    pub fn new(settings: Settings, flaws: Flaws, seed: u64) -> Self {
        Self {
            settings,
            flaws,
            random: ChaCha8Rng::seed_from_u64(seed),
            shards: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            gathers: Gathers::default(),
            outputs: Vec::new(),
        }
    }

    /// This broker leads a partition. True if its log has now to be loaded; false if it has been leading all along and
    /// only the epoch is new: what is loaded stays, and a loading that has begun goes on.
    pub fn elected(&mut self, partition: i32, leader_epoch: i32) -> bool {
        if let Some(shard) = self.shards.get_mut(&partition) {
            shard.set_epoch(leader_epoch);
            return false;
        }
        self.shards.insert(partition, Shard::new(leader_epoch));
        true
    }

    /// Some more of the log of a partition that is loading: whole batches, in order.
    ///
    /// # Errors
    /// If they are not batches. A record in them that cannot be read is passed over, as Kafka does, and counted.
    pub fn load(&mut self, partition: i32, mut batches: Bytes) -> Result<(), WireError> {
        let flaws = self.flaws;
        let Some(shard) = self.shards.get_mut(&partition) else { return Ok(()) };
        while let Some(batch) = Batch::next(&mut batches)? {
            shard.load(&batch, flaws)?;
        }
        Ok(())
    }

    /// The whole log up to its end has been fed. Sessions start now.
    pub fn loaded(&mut self, partition: i32, high_watermark: i64, at: At<'_>) {
        self.with(partition, at, |shard, desk| shard.loaded(high_watermark, desk));
    }

    /// This broker leads the partition no more: everything of it goes, and who waits is sent elsewhere.
    pub fn resigned(&mut self, partition: i32) {
        let Some(shard) = self.shards.remove(&partition) else { return };
        self.tickets.retain(|_, of| *of != partition);
        for (to, answer) in shard.abandon() {
            self.reply(to, answer);
        }
    }

    /// What became of an append: the offset of its last record, or why it was not written.
    pub fn appended(&mut self, ticket: Ticket, result: Result<i64, ErrorCode>, at: At<'_>) {
        if let Some(partition) = self.tickets.remove(&ticket) {
            self.with(partition, at, |shard, desk| shard.appended(ticket, result, desk));
        }
    }

    /// The high watermark of a partition: the first offset that is not committed.
    pub fn committed(&mut self, partition: i32, high_watermark: i64, at: At<'_>) {
        self.with(partition, at, |shard, desk| shard.committed(high_watermark, desk));
    }

    /// An append that was written will not be waited for any longer: what rests on it is answered with an error. Its
    /// records are not undone.
    pub fn failed(&mut self, ticket: Ticket, error: ErrorCode, at: At<'_>) {
        let partitions: Vec<i32> = self.shards.keys().copied().collect();
        for partition in partitions {
            self.with(partition, at, |shard, desk| shard.failed(ticket, error, desk));
        }
    }

    /// Topics are gone: what was committed of them is forgotten.
    pub fn topics_deleted(&mut self, topics: &[String], at: At<'_>) {
        let partitions: Vec<i32> = self.shards.keys().copied().collect();
        for partition in partitions {
            self.with(partition, at, |shard, desk| shard.topics_deleted(topics, desk));
        }
    }

    /// A request. Its answer comes out of the queue, now or later.
    pub fn handle(&mut self, token: Token, request: GroupRequest, at: At<'_>) {
        let offsets_topic = at.topics.id_of(OFFSETS_TOPIC);
        let partitions = offsets_topic.map_or(0, |id| at.topics.partition_count(id));
        if let GroupRequest::ListGroups(_) = &request {
            let shards: Vec<i32> = self.shards.keys().copied().collect();
            let to = self.gathers.begin(token, shards.len(), &request);
            for (partition, to) in shards.into_iter().zip(to) {
                self.ask(partition, to, request.clone(), at);
            }
        } else {
            let to = self.gathers.begin(token, request.groups().len(), &request);
            for (one, to) in request.into_single_groups().into_iter().zip(to) {
                let group = one.groups().first().copied().unwrap_or_default().to_owned();
                match partition_for(&group, partitions) {
                    Some(partition) => self.ask(partition, to, one, at),
                    None => self.reply(to, one.refused(ErrorCode::COORDINATOR_NOT_AVAILABLE)),
                }
            }
        }
        self.outputs.extend(self.gathers.take_done());
    }

    fn ask(&mut self, partition: i32, to: ReplyTo, request: GroupRequest, at: At<'_>) {
        if self.shards.contains_key(&partition) {
            self.with(partition, at, |shard, desk| shard.handle(to, request, desk));
        } else {
            self.reply(to, request.refused(ErrorCode::NOT_COORDINATOR));
        }
    }

    /// When time alone will make something happen.
    #[must_use]
    pub fn next_timer(&self) -> Option<Ns> {
        self.shards.values().filter_map(Shard::next_timer).min()
    }

    /// Time has passed.
    pub fn on_timer(&mut self, at: At<'_>) {
        let due = self.shards.iter().filter(|(_, shard)| shard.next_timer().is_some_and(|t| at.now.reached(t)));
        let due: Vec<i32> = due.map(|(partition, _)| *partition).collect();
        for partition in due {
            self.with(partition, at, Shard::on_timer);
        }
    }

    /// Takes what is to be done, in order.
    pub fn take(&mut self) -> Vec<GroupOutput> {
        std::mem::take(&mut self.outputs)
    }

    /// Groups that are coordinated here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.values().map(Shard::len).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Partitions of `__consumer_offsets` that are led here, with the epochs in which they are, and whether they are loaded.
    #[must_use]
    pub fn led(&self) -> Vec<(i32, i32, bool)> {
        self.shards.iter().map(|(partition, shard)| (*partition, shard.epoch(), shard.is_loaded())).collect()
    }

    fn with(&mut self, partition: i32, at: At<'_>, what: impl FnOnce(&mut Shard, &mut Desk<'_>)) {
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        let mut desk = Desk {
            now: at.now,
            topics: at.topics,
            settings: &self.settings,
            flaws: self.flaws,
            random: &mut self.random,
            next_ticket: &mut self.next_ticket,
            emitted: Vec::new(),
        };
        what(shard, &mut desk);
        for emitted in desk.emitted {
            match emitted {
                Emitted::Append { records, ticket } => {
                    self.tickets.insert(ticket, partition);
                    self.outputs.push(GroupOutput::Append { partition, records, ticket });
                }
                Emitted::Reply(to, answer) => self.reply(to, answer),
            }
        }
    }

    fn reply(&mut self, to: ReplyTo, answer: GroupAnswer) {
        self.gathers.add(to, answer);
        self.outputs.extend(self.gathers.take_done());
    }
}
