//! The oracle: what was committed, and whether the nodes keep to it. It looks at the nodes after every step of the world and
//! never tells them anything.
//!
//! Per partition it keeps `C`, every batch that a leader has committed, in the order of offsets. The names of the
//! invariants are those of the literature on Kafka's replication; each `Violation` begins with one.

use std::collections::BTreeMap;

use super::world::{Party, World};
use crate::broker::Replica;
use crate::image::{Image, NO_LEADER, Partition, PartitionId};
use crate::io::Event;

/// An invariant that does not hold: its name, and where.
pub(crate) type Violation = String;

/// A batch as it stands in a log; two of them are equal if their records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) base: i64,
    pub(crate) next: i64,
    pub(crate) epoch: i32,
    pub(crate) crc: u32,
}

/// A replica as it was at the last look, in one life of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    life: u64,
    leader_epoch: i32,
    high_watermark: i64,
    log_end: i64,
    leads: bool,
}

/// What it knows.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    committed: BTreeMap<PartitionId, Vec<Entry>>,
    seen: BTreeMap<(Party, PartitionId), Seen>,
    leaders: BTreeMap<(PartitionId, i32), Party>,
    controllers: BTreeMap<i32, Party>,
    /// The newest committed metadata that any node has shown.
    image: Image,
    /// How far `World::events` has been read.
    events_read: usize,
    /// Elections of partition leaders.
    pub(crate) elections: usize,
    /// Changes of an ISR.
    pub(crate) isr_changes: usize,
    /// Cuts of a log.
    pub(crate) truncations: usize,
}

macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => { if !$condition { return Err(format!($($text)*)); } };
}

fn entries(replica: &Replica, from: i64, to: i64) -> impl Iterator<Item = Entry> + '_ {
    let batches = replica.log.batches().map(|b| Entry {
        base: b.header.base_offset,
        next: b.header.next_offset(),
        epoch: b.header.partition_leader_epoch,
        crc: b.header.crc,
    });
    batches.skip_while(move |e| e.base < from).take_while(move |e| e.next <= to)
}

fn name(id: PartitionId) -> i32 {
    id.1
}

impl Oracle {
    /// The offset below which everything is committed.
    pub(crate) fn committed_end(&self, id: PartitionId) -> i64 {
        self.committed.get(&id).and_then(|c| c.last()).map_or(0, |e| e.next)
    }

    /// Whether a batch that a consumer was given is committed, as it is.
    pub(crate) fn is_committed(&self, id: PartitionId, entry: Entry) -> bool {
        let Some(committed) = self.committed.get(&id) else { return false };
        let found = committed.binary_search_by_key(&entry.base, |e| e.base);
        found.is_ok_and(|n| committed[n] == entry)
    }

    /// How many batches are committed.
    pub(crate) fn batches(&self) -> usize {
        self.committed.values().map(Vec::len).sum()
    }

    /// The newest committed metadata.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// Looks at everything.
    pub(crate) fn look(&mut self, world: &World) -> Result<(), Violation> {
        self.read_events(world)?;
        let newest = world.running().into_iter().filter_map(|id| world.node(id)).max_by_key(|n| n.image().offset);
        let mut touched = Vec::new();
        if let Some(newest) = newest
            && newest.image().offset > self.image.offset
        {
            touched = self.take_image(newest.image(), &newest.config.settings)?;
        }
        for node in world.running() {
            self.look_at_node(world, node)?;
        }
        for id in touched {
            self.candidates_are_complete(world, id)?;
        }
        Ok(())
    }

    fn read_events(&mut self, world: &World) -> Result<(), Violation> {
        for (_, node, event) in &world.events[self.events_read..] {
            match event {
                Event::ControllerActive { epoch } => {
                    let before = *self.controllers.entry(*epoch).or_insert(*node);
                    ensure!(before == *node, "OneController: {before} and {node} in epoch {epoch}");
                }
                Event::BecameLeader { topic, partition, leader_epoch, .. } => {
                    self.elections += 1;
                    let Some(topic) = self.topic_id(world, topic) else { continue };
                    let id = (topic, *partition);
                    let before = *self.leaders.entry((id, *leader_epoch)).or_insert(*node);
                    ensure!(before == *node, "OneLeader: {before} and {node} of {partition} in epoch {leader_epoch}");
                }
                Event::Truncated { .. } => self.truncations += 1,
                _ => {}
            }
        }
        self.events_read = world.events.len();
        Ok(())
    }

    fn topic_id(&self, world: &World, name: &str) -> Option<metricstream_wire::Uuid> {
        let known = |id: Party| world.node(id).and_then(|n| n.image().names.get(name).copied());
        world.running().into_iter().find_map(known).or_else(|| self.image.names.get(name).copied())
    }

    /// What the controller decided keeps to its rules. Gives the partitions that changed.
    fn take_image(&mut self, image: &Image, settings: &crate::config::Settings) -> Result<Vec<PartitionId>, Violation> {
        let mut touched = Vec::new();
        for (id, topic, now) in image.partitions() {
            let before = self.image.partition(id);
            if before == Some(now) {
                continue;
            }
            let topic_config = image.topic_config(&topic.name);
            let min_isr = crate::broker::min_isr(settings, &topic_config).min(now.replicas.len());
            partition_is_sound(image, id, now, min_isr)?;
            if let Some(before) = before {
                changes_are_sound(image, id, before, now)?;
                self.isr_changes += usize::from(before.isr != now.isr);
            }
            touched.push(id);
        }
        for (id, broker) in &image.brokers {
            let before = self.image.brokers.get(id).map_or(-1, |b| b.epoch);
            ensure!(broker.epoch >= before, "BrokerEpoch: that of {id} went from {before} to {}", broker.epoch);
        }
        self.image = image.clone();
        Ok(touched)
    }

    fn look_at_node(&mut self, world: &World, node: Party) -> Result<(), Violation> {
        let Some(broker) = world.node(node).and_then(|n| n.broker()) else { return Ok(()) };
        let life = world.life(node);
        for (id, replica) in &broker.replicas {
            if replica.topic != "metrics" {
                continue;
            }
            let now = Seen {
                life,
                leader_epoch: replica.leader_epoch,
                high_watermark: replica.high_watermark,
                log_end: replica.log.end_offset(),
                leads: replica.is_leader(),
            };
            let before = self.seen.insert((node, *id), now).filter(|s| s.life == life);
            if before != Some(now) {
                self.replica_moved(world, node, replica, before, now)?;
            }
        }
        Ok(())
    }

    fn replica_moved(
        &mut self,
        world: &World,
        node: Party,
        replica: &Replica,
        before: Option<Seen>,
        now: Seen,
    ) -> Result<(), Violation> {
        let id = replica.id;
        let p = name(id);
        let known = before.map_or(0, |b| b.high_watermark);
        if let Some(before) = before {
            ensure!(
                now.high_watermark >= before.high_watermark,
                "NoTruncationBelowHighWatermark: {node} went back from {} to {} on {p}",
                before.high_watermark,
                now.high_watermark
            );
            ensure!(
                now.leader_epoch >= before.leader_epoch,
                "LeaderEpoch: {node} went back from {} to {} on {p}",
                before.leader_epoch,
                now.leader_epoch
            );
        }
        ensure!(now.high_watermark <= now.log_end, "HighWatermark: {node} has it beyond its log's end on {p}");
        let elected = now.leads && before.is_none_or(|b| !b.leads || b.leader_epoch != now.leader_epoch);
        if elected {
            log_is_sound(node, replica)?;
            let current = self.image.partition(id).is_some_and(|p| p.leader_epoch == now.leader_epoch);
            if current {
                self.holds(id, node, replica, 0, "LeaderCompleteness")?;
            }
        }
        if now.high_watermark > known {
            self.advanced(world, node, replica, known)?;
        }
        Ok(())
    }

    /// A replica counts more as committed than before.
    fn advanced(&mut self, world: &World, node: Party, replica: &Replica, known: i64) -> Result<(), Violation> {
        let id = replica.id;
        let p = name(id);
        let (end, to) = (self.committed_end(id), replica.high_watermark);
        let committed = self.committed.entry(id).or_default();
        for entry in entries(replica, known.min(end), to) {
            if entry.base < end {
                let found = committed.binary_search_by_key(&entry.base, |e| e.base);
                let same = found.is_ok_and(|n| committed[n] == entry);
                ensure!(same, "CommittedImmutable: {node} has {entry:?} below its high watermark {to} on {p}");
            } else {
                ensure!(replica.is_leader(), "LogMatching: follower {node} counts {entry:?} as committed on {p}");
                committed.push(entry);
            }
        }
        if to <= end {
            return Ok(());
        }
        if let Ok(leading) = replica.leading() {
            let (isr, wanted) = (leading.isr().len(), replica.min_isr);
            ensure!(isr >= wanted, "MinIsr: {node} commits {to} on {p} with an ISR of {isr}, {wanted} are wanted");
        }
        if self.image.partition(id).is_some_and(|p| p.leader_epoch == replica.leader_epoch) {
            self.members_have(world, id, end, "StrongIsr")?;
        }
        Ok(())
    }

    /// A replica has all of `C` from an offset on, as it is.
    fn holds(&self, id: PartitionId, node: Party, replica: &Replica, from: i64, rule: &str) -> Result<(), Violation> {
        let Some(committed) = self.committed.get(&id) else { return Ok(()) };
        let first = committed.partition_point(|e| e.base < from);
        let end = self.committed_end(id);
        let mut found = entries(replica, from, end);
        for wanted in &committed[first..] {
            let got = found.next();
            ensure!(
                got.as_ref() == Some(wanted),
                "{rule}: {node} (epoch {}, log end {}) has {got:?} where {wanted:?} is committed on {}",
                replica.leader_epoch,
                replica.log.end_offset(),
                name(id)
            );
        }
        Ok(())
    }

    /// Every member of the ISR that runs, in the life in which it is registered, has all of `C`.
    fn members_have(&self, world: &World, id: PartitionId, from: i64, rule: &str) -> Result<(), Violation> {
        let Some(partition) = self.image.partition(id) else { return Ok(()) };
        for member in &partition.isr {
            self.member_has(world, id, *member, from, rule)?;
        }
        Ok(())
    }

    fn member_has(&self, world: &World, id: PartitionId, who: Party, from: i64, rule: &str) -> Result<(), Violation> {
        let Some(node) = world.node(who) else { return Ok(()) };
        let registered = self.image.brokers.get(&who).is_some_and(|b| b.incarnation == node.config.incarnation);
        let Some(replica) = node.broker().and_then(|b| b.replicas.get(&id)) else { return Ok(()) };
        if registered { self.holds(id, who, replica, from, rule) } else { Ok(()) }
    }

    fn candidates_are_complete(&self, world: &World, id: PartitionId) -> Result<(), Violation> {
        let Some(partition) = self.image.partition(id) else { return Ok(()) };
        self.members_have(world, id, 0, "LeaderCandidateCompleteness")?;
        for candidate in &partition.elr {
            self.member_has(world, id, *candidate, 0, "LeaderCandidateCompleteness")?;
        }
        Ok(())
    }

    /// Once all is well: every replica has exactly what is committed, and its log is sound.
    pub(crate) fn look_at_last(&self, world: &World) -> Result<(), Violation> {
        for node in world.brokers() {
            let Some(broker) = world.node(node).and_then(|n| n.broker()) else { continue };
            for (id, replica) in broker.replicas.iter().filter(|(_, r)| r.topic == "metrics") {
                log_is_sound(node, replica)?;
                self.holds(*id, node, replica, 0, "Durability")?;
            }
        }
        Ok(())
    }
}

/// Offsets are dense, epochs do not decrease, and the epoch cache says the same.
fn log_is_sound(node: Party, replica: &Replica) -> Result<(), Violation> {
    let (mut next, mut epoch) = (replica.log.start_offset(), -1);
    for entry in entries(replica, 0, i64::MAX) {
        ensure!(entry.base == next, "DenseOffsets: {node} has {entry:?} at {next} of {}", replica.id.1);
        ensure!(entry.epoch >= epoch, "EpochsAscend: {node} has {entry:?} behind {epoch} of {}", replica.id.1);
        let cached = replica.log.epochs().epoch_at(entry.base);
        ensure!(cached == Some(entry.epoch), "EpochCache: {node} has {cached:?} for {entry:?} of {}", replica.id.1);
        (next, epoch) = (entry.next, entry.epoch);
    }
    ensure!(next == replica.log.end_offset(), "DenseOffsets: {node} ends elsewhere than its last batch");
    Ok(())
}

fn partition_is_sound(image: &Image, id: PartitionId, now: &Partition, min_isr: usize) -> Result<(), Violation> {
    let p = name(id);
    let replica = |r: &i32| now.replicas.contains(r);
    ensure!(now.isr.iter().all(replica) && now.elr.iter().all(replica), "IsrOfReplicas: {p}: {now:?}");
    ensure!(!now.elr.iter().any(|r| now.isr.contains(r)), "IsrApartFromElr: {p}: {now:?}");
    ensure!(now.isr.len() < min_isr || now.elr.is_empty(), "NoElrAboveMinIsr: {p}: {now:?}");
    if now.leader != NO_LEADER {
        ensure!(now.isr.contains(&now.leader), "LeaderInIsr: {p}: {now:?}");
        let fenced = image.brokers.get(&now.leader).is_none_or(|b| b.fenced);
        ensure!(!fenced, "LeaderLives: {p}: {} is fenced", now.leader);
    }
    for member in &now.isr {
        let fenced = image.brokers.get(member).is_none_or(|b| b.fenced);
        ensure!(!fenced, "IsrLives: {p}: {member} is fenced and in {:?}", now.isr);
    }
    Ok(())
}

fn changes_are_sound(image: &Image, id: PartitionId, before: &Partition, now: &Partition) -> Result<(), Violation> {
    let p = name(id);
    ensure!(now.partition_epoch > before.partition_epoch, "PartitionEpoch: {p}: {before:?} and then {now:?}");
    ensure!(now.leader_epoch >= before.leader_epoch, "LeaderEpoch: {p}: {before:?} and then {now:?}");
    let moved = now.leader == before.leader || now.leader_epoch > before.leader_epoch;
    ensure!(moved, "LeaderEpoch: {p}: another leader in the same epoch: {before:?} and then {now:?}");
    for joined in now.isr.iter().filter(|r| !before.isr.contains(r)) {
        let leaving = image.brokers.get(joined).is_some_and(|b| b.in_controlled_shutdown);
        ensure!(!leaving, "IsrAdmission: {p}: {joined} is shutting down and joins {:?}", before.isr);
    }
    Ok(())
}
