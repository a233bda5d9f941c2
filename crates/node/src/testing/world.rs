//! Whole nodes in virtual time: a network with delays, cuts and resets, stores that outlive their nodes, kills and restarts,
//! all from one seed. No socket, no thread, no clock. The seed of the simulator.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::MemoryStore;
use crate::Node;
use crate::config::{Address, FAST, NodeConfig, Roles, Settings, Voter};
use crate::flaws::Flaws;
use crate::io::{Closed, ConnId, Event, Input, Listener, Output, Part};
use crate::time::{MS, Now, Ns};

/// Whoever is at an end of a connection: a node, or the client of a test.
pub(crate) type Party = i32;
/// The client of a test.
pub(crate) const CLIENT: Party = -1;
const WALL_MS: i64 = 1_700_000_000_000;
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAZw";

/// One end of a connection.
type End = (Party, ConnId);

#[derive(Debug)]
enum Happening {
    /// `from` is dialled again and again until it gets through, as long as whoever dials is in the same life.
    Connect { from: End, life: u64, to: Party, listener: Listener },
    /// Something reaches a party in this life of it; in a later one its connections are others.
    Reach { party: Party, life: u64, from: Option<Party>, what: Reaching },
}

#[derive(Debug)]
enum Reaching {
    Accepted(ConnId, Listener),
    Established(ConnId),
    Bytes(ConnId, Bytes),
    Gone(ConnId, Closed),
    Wake,
}

#[derive(Debug)]
struct Process {
    node: Option<Node>,
    store: MemoryStore,
    lives: u64,
    paused: bool,
    backlog: Vec<(Option<Party>, Reaching)>,
}

/// The world.
pub(crate) struct World {
    pub(crate) now_ns: Ns,
    seed: u64,
    random: ChaCha8Rng,
    happenings: BTreeMap<(Ns, u64), Happening>,
    sequence: u64,
    processes: BTreeMap<Party, Process>,
    configs: BTreeMap<Party, NodeConfig>,
    /// Both ends of every connection, each to the other.
    peers: BTreeMap<End, End>,
    /// When the last byte sent on an end arrives: connections keep their order.
    last_arrival: BTreeMap<End, Ns>,
    cut: BTreeSet<(Party, Party)>,
    /// What was sent over a cut, in its order: it arrives when all is mended.
    held: Vec<Happening>,
    next_conn: u64,
    pub(crate) events: Vec<(Ns, Party, Event)>,
    /// What arrived at the client.
    pub(crate) arrived: BTreeMap<ConnId, Vec<Bytes>>,
    pub(crate) closed: BTreeSet<ConnId>,
    /// A running digest of everything that nodes put out.
    pub(crate) digest: u64,
    /// Whether it is kept: it costs more than all the rest.
    pub(crate) digests: bool,
}

/// How nodes are set up.
pub(crate) struct Setup {
    /// Brokers 1, 2, …
    pub(crate) nodes: i32,
    /// Controllers of their own behind them; with none the brokers are controllers, too.
    pub(crate) controllers: i32,
    pub(crate) settings: Vec<(&'static str, &'static str)>,
    pub(crate) flaws: Flaws,
}

impl Setup {
    /// Three combined nodes with quick timers.
    pub(crate) fn fast() -> Self {
        let mut settings = FAST.to_vec();
        settings.extend([("min.insync.replicas", "2"), ("offsets.topic.num.partitions", "2")]);
        Self { nodes: 3, controllers: 0, settings, flaws: Flaws::default() }
    }

    fn is_broker(&self, id: Party) -> bool {
        id <= self.nodes
    }

    fn is_controller(&self, id: Party) -> bool {
        self.controllers == 0 || id > self.nodes
    }

    fn ids(&self) -> std::ops::RangeInclusive<Party> {
        1..=self.nodes + self.controllers
    }
}

fn config(id: Party, setup: &Setup) -> NodeConfig {
    let at = |port: i32| Address { host: "127.0.0.1".into(), port: u16::try_from(port).expect("a port") };
    let mut settings = Settings::default();
    for (name, value) in &setup.settings {
        settings.set(name, value).expect(name);
    }
    NodeConfig {
        node_id: id,
        roles: Roles { broker: setup.is_broker(id), controller: setup.is_controller(id) },
        cluster_id: CLUSTER_ID.to_owned(),
        incarnation: [0; 16],
        rack: None,
        broker_listener: setup.is_broker(id).then(|| at(9000 + id)),
        controller_listener: setup.is_controller(id).then(|| at(9100 + id)),
        voters: setup.ids().filter(|id| setup.is_controller(*id)).map(|id| Voter { id, at: at(9100 + id) }).collect(),
        settings,
        flaws: setup.flaws,
    }
}

impl World {
    /// Nodes 1, 2, … with empty stores, started.
    pub(crate) fn new(seed: u64, setup: &Setup) -> Self {
        let mut world = Self {
            now_ns: 0,
            seed,
            random: ChaCha8Rng::seed_from_u64(seed),
            happenings: BTreeMap::new(),
            sequence: 0,
            processes: BTreeMap::new(),
            configs: setup.ids().map(|id| (id, config(id, setup))).collect(),
            peers: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            cut: BTreeSet::new(),
            held: Vec::new(),
            next_conn: 1,
            events: Vec::new(),
            arrived: BTreeMap::new(),
            closed: BTreeSet::new(),
            digest: 0xcbf2_9ce4_8422_2325,
            digests: true,
        };
        for id in setup.ids() {
            let process =
                Process { node: None, store: MemoryStore::default(), lives: 0, paused: false, backlog: Vec::new() };
            world.processes.insert(id, process);
            world.start(id);
        }
        world
    }

    pub(crate) fn now(&self) -> Now {
        Now { monotonic_ns: self.now_ns, wall_ms: WALL_MS + i64::try_from(self.now_ns / MS).expect("in range") }
    }

    /// The node, if it runs.
    pub(crate) fn node(&self, id: Party) -> Option<&Node> {
        self.processes[&id].node.as_ref()
    }

    /// Nodes that run.
    pub(crate) fn running(&self) -> Vec<Party> {
        self.processes.iter().filter(|(_, p)| p.node.is_some()).map(|(id, _)| *id).collect()
    }

    /// Every node.
    pub(crate) fn ids(&self) -> Vec<Party> {
        self.processes.keys().copied().collect()
    }

    /// Brokers that run.
    pub(crate) fn brokers(&self) -> Vec<Party> {
        self.running().into_iter().filter(|id| self.node(*id).is_some_and(|n| n.broker().is_some())).collect()
    }

    /// Which life of a node this is, its first being 1.
    pub(crate) fn life(&self, id: Party) -> u64 {
        self.processes.get(&id).map_or(0, |process| process.lives)
    }

    /// Whether it stands still.
    pub(crate) fn is_paused(&self, id: Party) -> bool {
        self.processes[&id].paused
    }

    /// Starts a node with what its store has.
    pub(crate) fn start(&mut self, id: Party) {
        let now = self.now();
        let process = self.processes.get_mut(&id).expect("a node");
        assert!(process.node.is_none(), "node {id} runs");
        process.lives += 1;
        let mut config = self.configs[&id].clone();
        config.incarnation[..8].copy_from_slice(&process.lives.to_be_bytes());
        config.incarnation[15] = u8::try_from(id).expect("small");
        let seed = self.seed ^ (u64::try_from(id).expect("positive") << 32) ^ process.lives;
        let node = Node::boot(config, seed, &process.store, now).unwrap_or_else(|e| panic!("node {id}: {e}"));
        process.node = Some(node);
        self.collect(id);
    }

    /// The process is gone at once; its page cache stays.
    pub(crate) fn kill(&mut self, id: Party) {
        let process = self.processes.get_mut(&id).expect("a node");
        process.node = None;
        process.paused = false;
        process.backlog.clear();
        process.store.kill();
        self.close_all(id);
    }

    /// The machine is gone at once: what was not synced is, too.
    pub(crate) fn lose_power(&mut self, id: Party) {
        self.kill(id);
        self.processes.get_mut(&id).expect("a node").store.lose_power();
    }

    /// The disk is another one when it starts again.
    pub(crate) fn wipe(&mut self, id: Party) {
        self.processes.get_mut(&id).expect("a node").store = MemoryStore::default();
    }

    /// The node stands still; its connections stay.
    pub(crate) fn pause(&mut self, id: Party) {
        self.processes.get_mut(&id).expect("a node").paused = true;
    }

    /// It goes on, with everything that waited.
    pub(crate) fn resume(&mut self, id: Party) {
        let process = self.processes.get_mut(&id).expect("a node");
        process.paused = false;
        let life = process.lives;
        for (from, what) in std::mem::take(&mut process.backlog) {
            if !matches!(what, Reaching::Wake) {
                self.at(self.now_ns, Happening::Reach { party: id, life, from, what });
            }
        }
        // What has been waiting comes before the word that time has passed, as with every driver.
        self.reach(self.now_ns, (id, ConnId(0)), None, Reaching::Wake);
    }

    /// A controlled shutdown begins.
    pub(crate) fn shut_down(&mut self, id: Party) {
        let now = self.now();
        if let Some(node) = &mut self.processes.get_mut(&id).expect("a node").node {
            node.shut_down(now);
        }
        self.collect(id);
    }

    /// Nothing gets through between two nodes, either way; what was sent arrives when the cut is mended.
    pub(crate) fn cut(&mut self, a: Party, b: Party) {
        self.cut.insert((a, b));
        self.cut.insert((b, a));
    }

    /// Nothing gets through one way.
    pub(crate) fn cut_one_way(&mut self, from: Party, to: Party) {
        self.cut.insert((from, to));
    }

    /// Everything gets through again, what was held back first and in its order.
    pub(crate) fn mend(&mut self) {
        self.cut.clear();
        for happening in std::mem::take(&mut self.held) {
            self.at(self.now_ns, happening);
        }
    }

    fn close_all(&mut self, id: Party) {
        let ends: Vec<End> = self.peers.keys().filter(|(party, _)| *party == id).copied().collect();
        for end in ends {
            self.close(end);
        }
    }

    /// One side closes: the other hears of it.
    fn close(&mut self, end: End) {
        if let Some(other) = self.peers.remove(&end) {
            self.peers.remove(&other);
            let at = self.arrival(end);
            self.reach(at, other, Some(end.0), Reaching::Gone(other.1, Closed::ByPeer));
        }
    }

    /// Something reaches a party as it is now.
    fn reach(&mut self, at: Ns, to: End, from: Option<Party>, what: Reaching) {
        let life = self.life(to.0);
        self.at(at, Happening::Reach { party: to.0, life, from, what });
    }

    fn at(&mut self, at: Ns, happening: Happening) {
        self.sequence += 1;
        self.happenings.insert((at.max(self.now_ns), self.sequence), happening);
    }

    fn delay(&mut self) -> Ns {
        100_000 + u64::from(self.random.next_u32()) % 900_000
    }

    fn arrival(&mut self, from: End) -> Ns {
        let delay = self.delay();
        let last = self.last_arrival.get(&from).copied().unwrap_or(0);
        let at = (self.now_ns + delay).max(last + 1);
        self.last_arrival.insert(from, at);
        at
    }

    fn fresh_conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn)
    }

    /// The client connects to a node's broker.
    pub(crate) fn connect(&mut self, node: Party) -> ConnId {
        self.connect_to(node, Listener::Broker)
    }

    /// The client connects through one of a node's doors.
    pub(crate) fn connect_to(&mut self, node: Party, listener: Listener) -> ConnId {
        let conn = self.fresh_conn();
        let at = self.now_ns + self.delay();
        self.arrived.insert(conn, Vec::new());
        self.at(at, Happening::Connect { from: (CLIENT, conn), life: 0, to: node, listener });
        conn
    }

    /// The client sends a frame, its length in front.
    pub(crate) fn send(&mut self, conn: ConnId, frame: &Bytes) {
        // What is sent before the connection stands waits for it, as a socket's buffer does.
        let end = (CLIENT, conn);
        match self.peers.get(&end).copied() {
            Some(other) => {
                let at = self.arrival(end);
                self.reach(at, other, Some(CLIENT), Reaching::Bytes(other.1, frame.slice(4..)));
            }
            None => panic!("{conn:?} does not stand"),
        }
    }

    /// The client hangs up.
    pub(crate) fn hang_up(&mut self, conn: ConnId) {
        self.close((CLIENT, conn));
    }

    /// Whether a connection of the client stands.
    pub(crate) fn stands(&self, conn: ConnId) -> bool {
        self.peers.contains_key(&(CLIENT, conn))
    }

    /// Runs until `done`, at most for `limit_ms`; whether it came true.
    pub(crate) fn run_until(&mut self, limit_ms: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now_ns + limit_ms * MS;
        loop {
            if done(self) {
                return true;
            }
            let Some((at, _)) = self.happenings.first_key_value().map(|(key, _)| *key) else {
                self.now_ns = end;
                return done(self);
            };
            if at > end {
                self.now_ns = end;
                return done(self);
            }
            self.step();
        }
    }

    /// The next so many things happen, none of them after `end`; then it is that late.
    pub(crate) fn run_steps(&mut self, end: Ns, count: usize) {
        for _ in 0..count {
            match self.happenings.first_key_value() {
                Some(((at, _), _)) if *at <= end => self.step(),
                _ => return self.now_ns = end,
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run_ms(&mut self, ms: u64) {
        self.run_until(ms, |_| false);
    }

    fn step(&mut self) {
        let Some(((at, _), happening)) = self.happenings.pop_first() else { return };
        self.now_ns = at;
        match happening {
            Happening::Connect { from, life, to, listener } => {
                let dials = from.0 == CLIENT || self.node(from.0).is_some();
                if dials && self.life(from.0) == life {
                    self.make_connection(from, to, listener);
                }
            }
            Happening::Reach { party, life, from, what } => {
                if self.life(party) != life {
                    return;
                }
                if from.is_some_and(|from| self.cut.contains(&(from, party))) {
                    return self.held.push(Happening::Reach { party, life, from, what });
                }
                if party == CLIENT { self.reach_client(what) } else { self.reach_node(party, from, what) }
            }
        }
    }

    fn reach_client(&mut self, what: Reaching) {
        match what {
            Reaching::Gone(conn, _) => {
                self.closed.insert(conn);
            }
            Reaching::Bytes(conn, bytes) => self.arrived.entry(conn).or_default().push(bytes),
            Reaching::Established(_) | Reaching::Accepted(..) | Reaching::Wake => {}
        }
    }

    fn make_connection(&mut self, from: End, to: Party, listener: Listener) {
        if self.cut.contains(&(from.0, to)) {
            // A SYN that gets lost is sent again.
            let again = self.now_ns + 50 * MS;
            let life = self.life(from.0);
            return self.at(again, Happening::Connect { from, life, to, listener });
        }
        let runs = self.processes.get(&to).is_some_and(|p| p.node.is_some());
        let delay = self.delay();
        let at = self.now_ns + delay;
        if !runs {
            return self.reach(at, from, Some(to), Reaching::Gone(from.1, Closed::Refused));
        }
        let conn = self.fresh_conn();
        self.peers.insert(from, (to, conn));
        self.peers.insert((to, conn), from);
        self.reach(at, from, Some(to), Reaching::Established(from.1));
        self.last_arrival.insert((to, conn), at);
        self.reach(self.now_ns, (to, conn), None, Reaching::Accepted(conn, listener));
    }

    /// Something reaches a node, unless it stands still.
    fn reach_node(&mut self, id: Party, from: Option<Party>, what: Reaching) {
        let process = self.processes.get_mut(&id).expect("a node");
        if process.paused {
            return process.backlog.push((from, what));
        }
        let input = match what {
            Reaching::Accepted(conn, listener) => Input::Accepted { conn, listener },
            Reaching::Established(conn) => Input::Connected { conn },
            Reaching::Bytes(conn, bytes) => Input::Frame { conn, bytes: BytesMut::from(&bytes[..]) },
            Reaching::Gone(conn, why) => Input::Closed { conn, why },
            Reaching::Wake => Input::Timer,
        };
        self.feed(id, input);
    }

    fn feed(&mut self, id: Party, input: Input) {
        let now = self.now();
        if let Some(node) = &mut self.processes.get_mut(&id).expect("a node").node {
            node.handle(now, input);
            self.collect(id);
        }
    }

    /// Carries out what a node wants.
    fn collect(&mut self, id: Party) {
        let Some(node) = &mut self.processes.get_mut(&id).expect("a node").node else { return };
        for output in node.take_outputs() {
            self.mix(&output);
            match output {
                Output::Storage(op) => {
                    let done = self.processes.get_mut(&id).expect("a node").store.operate(op);
                    if let Some(done) = done {
                        self.feed(id, Input::Stored(done));
                    }
                }
                Output::Send { conn, parts } => self.carry(id, conn, &parts),
                Output::Connect { conn, node, port, .. } => {
                    let listener = if port >= 9100 { Listener::Controller } else { Listener::Broker };
                    let at = self.now_ns + self.delay();
                    let life = self.life(id);
                    self.at(at, Happening::Connect { from: (id, conn), life, to: node, listener });
                }
                Output::Close { conn } => self.close((id, conn)),
                Output::PauseReading { .. } | Output::ResumeReading { .. } => {}
                Output::WakeAt(at) => self.reach(at, (id, ConnId(0)), None, Reaching::Wake),
                Output::Event(event) => self.events.push((self.now_ns, id, event)),
                Output::Halt { why } => {
                    assert!(why.is_empty(), "node {id} halted: {why}");
                    return self.kill(id);
                }
            }
        }
    }

    fn carry(&mut self, id: Party, conn: ConnId, parts: &[Part]) {
        let whole = self.processes[&id].store.resolve(parts);
        let stated = usize::try_from(i32::from_be_bytes(*whole.first_chunk().expect("a length"))).expect("positive");
        assert_eq!(stated, whole.len() - 4, "a frame is as long as it says");
        let end = (id, conn);
        if let Some(other) = self.peers.get(&end).copied() {
            let at = self.arrival(end);
            self.reach(at, other, Some(id), Reaching::Bytes(other.1, whole.slice(4..)));
        }
        self.feed(id, Input::Sent { conn, bytes: whole.len() });
    }

    fn mix(&mut self, output: &Output) {
        if !self.digests {
            return;
        }
        for byte in format!("{output:?}").bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
