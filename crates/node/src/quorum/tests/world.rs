//! Nodes, network, disks and clients in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::invariants::{Invariants, hash};
use super::store::Store;
use crate::config::{Address, FAST, NodeConfig, Roles, Settings, Voter};
use crate::flaws::Flaws;
use crate::io::{Completion, FileId, FileRange, Output, Outputs, Part};
use crate::quorum::{Answer, OffsetAndEpoch, Quorum, QuorumOutput, Request, RequestId, RoleName, Token};
use crate::time::{MS, Now, Ns};

/// Observers have ids from here on.
pub(super) const FIRST_OBSERVER: i32 = 101;

#[derive(Debug)]
enum Event {
    Request { from: (i32, u32), to: i32, id: RequestId, request: Request },
    Answer { to: (i32, u32), id: RequestId, answer: Answer },
    Failed { to: (i32, u32), id: RequestId },
    Stored { node: (i32, u32), done: Completion, left: usize },
    Timer { node: (i32, u32), due: Ns },
    Disconnected { node: (i32, u32), peer: i32 },
}

struct Asked {
    from: (i32, u32),
    id: RequestId,
    vote: Option<(i32, i32)>,
}

pub(super) struct SimNode {
    config: NodeConfig,
    pub(super) store: Store,
    pub(super) quorum: Option<Quorum>,
    io: Outputs,
    pub(super) life: u32,
    timer: Ns,
    asked: BTreeMap<u64, Asked>,
    tokens: u64,
    /// Operations that the store took in this life, and how many of them are on the disk.
    ops: u64,
    done_at: BTreeMap<FileId, Ns>,
    pub(super) snapshots_loaded: usize,
    pub(super) snapshot_bytes: usize,
}

/// How the network and the disks are.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    pub(super) delay_max_us: u64,
    pub(super) lost_per_mille: u64,
    pub(super) sync_max_us: u64,
    /// Whether a connection's end is noticed where a process dies.
    pub(super) resets: bool,
}

impl Weather {
    pub(super) const FAIR: Self = Self { delay_max_us: 300, lost_per_mille: 0, sync_max_us: 200, resets: true };
}

pub(super) struct World {
    pub(super) now: Now,
    pub(super) nodes: BTreeMap<i32, SimNode>,
    pub(super) watch: Invariants,
    pub(super) weather: Weather,
    /// Messages from the first to the second do not arrive.
    pub(super) cut: BTreeSet<(i32, i32)>,
    /// Nodes whose syncs take 200 ms more: less than the fetch timeout, which a slower disk would not keep.
    pub(super) slow_disks: BTreeSet<i32>,
    pub(super) rng: ChaCha8Rng,
    events: BTreeMap<(Ns, u64), Event>,
    sequence: u64,
    pub(super) digest: Option<u64>,
    /// Roles as they were taken: time, node, role, epoch.
    pub(super) roles: Vec<(Ns, i32, RoleName, i32)>,
    pub(super) values: u64,
    pub(super) requests: usize,
}

fn settings(changed: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in FAST.iter().chain(changed) {
        settings.set(name, value).unwrap();
    }
    settings
}

impl World {
    pub(super) fn new(seed: u64, voters: i32, observers: i32) -> Self {
        Self::with(seed, voters, observers, &[], Flaws::default())
    }

    pub(super) fn with(seed: u64, voters: i32, observers: i32, changed: &[(&str, &str)], flaws: Flaws) -> Self {
        let mut world = Self {
            now: Now { monotonic_ns: 0, wall_ms: 1_700_000_000_000 },
            nodes: BTreeMap::new(),
            watch: Invariants::default(),
            weather: Weather::FAIR,
            cut: BTreeSet::new(),
            slow_disks: BTreeSet::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            events: BTreeMap::new(),
            sequence: 0,
            digest: None,
            roles: Vec::new(),
            values: 0,
            requests: 0,
        };
        let address = |id| Address { host: "127.0.0.1".to_owned(), port: 9_000 + u16::try_from(id).unwrap() };
        let quorum: Vec<Voter> = (1..=voters).map(|id| Voter { id, at: address(id) }).collect();
        let observers = FIRST_OBSERVER..FIRST_OBSERVER + observers;
        for id in (1..=voters).chain(observers) {
            let controller = id < FIRST_OBSERVER;
            let config = NodeConfig {
                node_id: id,
                roles: Roles { broker: true, controller },
                cluster_id: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
                incarnation: [0; 16],
                rack: None,
                broker_listener: Some(address(id)),
                controller_listener: controller.then(|| address(id)),
                voters: quorum.clone(),
                settings: settings(changed),
                flaws,
            };
            let node = SimNode {
                config,
                store: Store::default(),
                quorum: None,
                io: Outputs::default(),
                life: 0,
                timer: Ns::MAX,
                asked: BTreeMap::new(),
                tokens: 0,
                ops: 0,
                done_at: BTreeMap::new(),
                snapshots_loaded: 0,
                snapshot_bytes: 8,
            };
            world.nodes.insert(id, node);
        }
        world
    }

    pub(super) fn start_all(&mut self) {
        for id in self.ids() {
            self.start(id);
        }
    }

    pub(super) fn ids(&self) -> Vec<i32> {
        self.nodes.keys().copied().collect()
    }

    pub(super) fn voters(&self) -> Vec<i32> {
        self.nodes.keys().copied().filter(|id| *id < FIRST_OBSERVER).collect()
    }

    pub(super) fn quorum(&self, id: i32) -> &Quorum {
        self.nodes[&id].quorum.as_ref().expect("it runs")
    }

    pub(super) fn is_up(&self, id: i32) -> bool {
        self.nodes[&id].quorum.is_some()
    }

    /// The active leader of the latest epoch.
    pub(super) fn active(&self) -> Option<i32> {
        let active = self
            .nodes
            .iter()
            .filter_map(|(id, n)| n.quorum.as_ref().filter(|q| q.is_active()).map(|q| (q.current().leader_epoch, *id)));
        active.max().map(|(_, id)| id)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    pub(super) fn pick(&mut self, from: &[i32]) -> i32 {
        let n = self.below(from.len() as u64);
        from[usize::try_from(n).unwrap()]
    }

    // --- faults ---

    pub(super) fn start(&mut self, id: i32) {
        let seed = self.rng.next_u64();
        let now = self.now;
        self.watch.restarted(id);
        let node = self.nodes.get_mut(&id).unwrap();
        node.life += 1;
        node.io = Outputs::default();
        node.ops = 0;
        node.done_at.clear();
        let rng = ChaCha8Rng::seed_from_u64(seed);
        node.quorum = Some(Quorum::open(&node.config, &node.store, rng, now, &mut node.io).expect("a sound store"));
        self.after_input(id);
    }

    /// The process dies; with `power`, the machine does.
    pub(super) fn kill(&mut self, id: i32, power: bool) {
        let taken = self.nodes[&id].store.taken();
        let left = power.then(|| usize::try_from(self.below(taken as u64 + 1)).unwrap());
        let node = self.nodes.get_mut(&id).unwrap();
        node.quorum = None;
        node.asked.clear();
        node.store.process_ends(left);
        if self.weather.resets && !power {
            for peer in self.ids() {
                let cut = self.cut.contains(&(id, peer));
                if peer != id && self.is_up(peer) && !cut {
                    let life = self.nodes[&peer].life;
                    let at = self.delay();
                    self.schedule(at, Event::Disconnected { node: (peer, life), peer: id });
                }
            }
        }
    }

    pub(super) fn wipe(&mut self, id: i32) {
        assert!(!self.is_up(id));
        self.nodes.get_mut(&id).unwrap().store.wipe();
        self.watch.wiped(id);
    }

    /// Cuts both ways between this node and all others.
    pub(super) fn isolate(&mut self, id: i32) {
        for other in self.ids() {
            if other != id {
                self.cut.extend([(id, other), (other, id)]);
            }
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    // --- work ---

    /// Appends `count` records on a node, if it takes them.
    pub(super) fn append(&mut self, id: i32, count: usize) -> Option<i64> {
        let now = self.now;
        let mut records = Vec::new();
        for _ in 0..count {
            self.values += 1;
            records.push(Bytes::from(format!("value {}", self.values)));
        }
        let node = self.nodes.get_mut(&id).unwrap();
        let last = node.quorum.as_mut()?.append(now, &mut node.io, records).ok();
        self.after_input(id);
        last
    }

    /// Has a node take a snapshot of all that it was told.
    pub(super) fn snapshot(&mut self, id: i32) -> bool {
        let (now, offset) = (self.now, self.watch.told(id));
        let at = OffsetAndEpoch { offset, epoch: self.watch.epoch_before(offset) };
        let mut records = vec![Bytes::copy_from_slice(&self.watch.state_at(offset).to_be_bytes())];
        let node = self.nodes.get_mut(&id).unwrap();
        records.push(Bytes::from(vec![7; node.snapshot_bytes]));
        let Some(quorum) = node.quorum.as_mut() else { return false };
        let taken = quorum.take_snapshot(&mut node.io, at, now.wall_ms, &records);
        self.after_input(id);
        taken
    }

    pub(super) fn shut_down(&mut self, id: i32) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        node.quorum.as_mut().unwrap().shut_down(now, &mut node.io);
        self.after_input(id);
    }

    // --- time ---

    fn schedule(&mut self, at: Ns, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    fn delay(&mut self) -> Ns {
        let us = self.weather.delay_max_us;
        self.now.monotonic_ns + 20_000 + self.below(us * 1_000)
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        let until = self.now.monotonic_ns + ms * MS;
        while self.step(until) {}
        self.advance_to(until);
    }

    /// Runs until a condition holds; how long that took. Ends the test after `limit_ms`.
    pub(super) fn run_until(&mut self, limit_ms: u64, what: &str, holds: impl Fn(&Self) -> bool) -> u64 {
        let begun = self.now;
        let limit = begun.monotonic_ns + limit_ms * MS;
        while !holds(self) {
            assert!(
                self.step(limit),
                "not within {limit_ms} ms: {what}\n{:?}",
                self.roles.iter().rev().take(20).collect::<Vec<_>>()
            );
        }
        self.now.since_ms(begun.monotonic_ns)
    }

    fn advance_to(&mut self, at: Ns) {
        self.now.monotonic_ns = at;
        self.now.wall_ms = 1_700_000_000_000 + i64::try_from(at / MS).unwrap();
    }

    fn step(&mut self, until: Ns) -> bool {
        let Some((&(at, sequence), _)) = self.events.first_key_value() else { return false };
        if at > until {
            return false;
        }
        let event = self.events.remove(&(at, sequence)).unwrap();
        self.advance_to(at);
        if let Some(digest) = &mut self.digest {
            *digest = hash(*digest, format!("{at} {event:?}").as_bytes());
        }
        self.happen(event);
        true
    }

    fn living(&mut self, (id, life): (i32, u32)) -> Option<&mut SimNode> {
        self.nodes.get_mut(&id).filter(|n| n.quorum.is_some() && n.life == life)
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        let id = match event {
            Event::Request { from, to, id, request } => {
                let node = self.nodes.get_mut(&to).unwrap();
                let Some(quorum) = &mut node.quorum else {
                    let at = self.delay();
                    return self.schedule(at, Event::Failed { to: from, id });
                };
                node.tokens += 1;
                let vote = match &request {
                    Request::Vote(v) if !v.pre_vote => Some((v.epoch, v.candidate)),
                    _ => None,
                };
                node.asked.insert(node.tokens, Asked { from, id, vote });
                quorum.handle(now, &mut node.io, Token(node.tokens), request);
                to
            }
            Event::Answer { to, id, answer } => {
                let Some(node) = self.living(to) else { return };
                node.quorum.as_mut().unwrap().on_response(now, &mut node.io, id, answer);
                to.0
            }
            Event::Failed { to, id } => {
                let Some(node) = self.living(to) else { return };
                node.quorum.as_mut().unwrap().on_failed(now, &mut node.io, id);
                to.0
            }
            Event::Stored { node, done, left } => {
                let Some(n) = self.living(node) else { return };
                let behind = usize::try_from(n.ops).unwrap() - left;
                n.store.sync_all_but(behind.min(n.store.taken()));
                assert!(n.quorum.as_mut().unwrap().on_stored(now, &mut n.io, &done), "{done:?} is the quorum's");
                node.0
            }
            Event::Timer { node, due } => {
                let Some(n) = self.living(node) else { return };
                if n.timer != due {
                    return;
                }
                n.quorum.as_mut().unwrap().on_timer(now, &mut n.io);
                node.0
            }
            Event::Disconnected { node, peer } => {
                let Some(n) = self.living(node) else { return };
                n.quorum.as_mut().unwrap().on_disconnect(now, &mut n.io, peer);
                node.0
            }
        };
        self.after_input(id);
    }

    /// Takes what a node put out.
    fn after_input(&mut self, id: i32) {
        let life = self.nodes[&id].life;
        let Some(quorum) = self.nodes.get_mut(&id).and_then(|n| n.quorum.as_mut()) else { return };
        let outputs = quorum.take();
        let due = quorum.next_timer();
        self.storage(id, life);
        for output in outputs {
            self.watch.watch(id, life, &output);
            self.output(id, life, output);
        }
        let node = self.nodes.get_mut(&id).unwrap();
        if node.timer != due && due != Ns::MAX {
            node.timer = due;
            assert!(due > self.now.monotonic_ns, "what is due is done, or time would stand still");
            self.schedule(due, Event::Timer { node: (id, life), due });
        } else {
            node.timer = due;
        }
    }

    fn storage(&mut self, id: i32, life: u32) {
        for output in self.nodes.get_mut(&id).unwrap().io.take() {
            match output {
                Output::Storage(op) => {
                    let node = self.nodes.get_mut(&id).unwrap();
                    let stored = node.store.take(&op);
                    node.ops += 1;
                    let left = usize::try_from(node.ops).unwrap();
                    if let Some(op_id) = op.id {
                        let done = Completion { id: op_id, file: op.file, result: Ok(stored) };
                        let slow = if self.slow_disks.contains(&id) { 200 * MS } else { 0 };
                        let drawn = self.below(self.weather.sync_max_us * 1_000);
                        let drawn = self.now.monotonic_ns + 10_000 + slow + drawn;
                        // In order on one file, in any order between files.
                        let last = self.nodes.get_mut(&id).unwrap().done_at.entry(op.file).or_insert(0);
                        *last = drawn.max(*last);
                        let at = *last;
                        self.schedule(at, Event::Stored { node: (id, life), done, left });
                    }
                }
                Output::Halt { why } => panic!("node {id} halts: {why}"),
                Output::Event(_) => {}
                other => panic!("not the quorum's to put out: {other:?}"),
            }
        }
    }

    fn output(&mut self, id: i32, life: u32, output: QuorumOutput) {
        match output {
            QuorumOutput::Request { to, id: request_id, request } => {
                self.requests += 1;
                if self.arrives(id, to) {
                    let at = self.delay();
                    self.schedule(at, Event::Request { from: (id, life), to, id: request_id, request });
                }
            }
            QuorumOutput::Answer { token, mut answer } => {
                let asked = self.nodes.get_mut(&id).unwrap().asked.remove(&token.0).expect("one answer a request");
                if let (Answer::Vote(vote), Some((epoch, candidate))) = (&answer, asked.vote)
                    && vote.granted
                {
                    self.watch.voted(id, epoch, candidate);
                }
                self.resolve(id, &mut answer);
                if self.arrives(id, asked.from.0) {
                    let at = self.delay();
                    self.schedule(at, Event::Answer { to: asked.from, id: asked.id, answer });
                }
            }
            QuorumOutput::RoleChanged { role, epoch, .. } => {
                self.roles.push((self.now.monotonic_ns, id, role, epoch));
            }
            QuorumOutput::LoadSnapshot(_) => self.nodes.get_mut(&id).unwrap().snapshots_loaded += 1,
            QuorumOutput::Committed(_) | QuorumOutput::Active { .. } | QuorumOutput::SnapshotTaken { .. } => {}
        }
    }

    fn arrives(&mut self, from: i32, to: i32) -> bool {
        let lost = self.weather.lost_per_mille > 0 && self.below(1_000) < self.weather.lost_per_mille;
        !lost && !self.cut.contains(&(from, to))
    }

    /// What a driver does with parts that lie in files.
    fn resolve(&self, id: i32, answer: &mut Answer) {
        let records = match answer {
            Answer::Fetch(a) => &mut a.records,
            Answer::FetchSnapshot(a) => &mut a.records,
            _ => return,
        };
        for part in records {
            if let Part::File(FileRange { file, position, len_bytes: len }) = *part {
                *part = Part::Bytes(self.nodes[&id].store.part(FileId(file), position, len));
            }
        }
    }
}
