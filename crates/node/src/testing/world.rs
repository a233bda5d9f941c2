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
    Arrive(End, Bytes),
    Connect { from: End, to: Party, listener: Listener },
    Established(End),
    Gone(End, Closed),
    Wake(Party, u64),
}

#[derive(Debug)]
struct Process {
    node: Option<Node>,
    store: MemoryStore,
    lives: u64,
    paused: bool,
    backlog: Vec<Happening>,
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
    next_conn: u64,
    pub(crate) events: Vec<(Ns, Party, Event)>,
    /// What arrived at the client.
    pub(crate) arrived: BTreeMap<ConnId, Vec<Bytes>>,
    pub(crate) closed: BTreeSet<ConnId>,
    /// A running digest of everything that nodes put out.
    pub(crate) digest: u64,
}

/// How nodes are set up.
pub(crate) struct Setup {
    pub(crate) nodes: i32,
    pub(crate) settings: Vec<(&'static str, &'static str)>,
    pub(crate) flaws: Flaws,
}

impl Setup {
    /// Three combined nodes with quick timers.
    pub(crate) fn fast() -> Self {
        let mut settings = FAST.to_vec();
        settings.extend([("min.insync.replicas", "2"), ("offsets.topic.num.partitions", "2")]);
        Self { nodes: 3, settings, flaws: Flaws::default() }
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
        roles: Roles { broker: true, controller: true },
        cluster_id: CLUSTER_ID.to_owned(),
        incarnation: [0; 16],
        rack: None,
        broker_listener: Some(at(9000 + id)),
        controller_listener: Some(at(9100 + id)),
        voters: (1..=setup.nodes).map(|id| Voter { id, at: at(9100 + id) }).collect(),
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
            configs: (1..=setup.nodes).map(|id| (id, config(id, setup))).collect(),
            peers: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            cut: BTreeSet::new(),
            next_conn: 1,
            events: Vec::new(),
            arrived: BTreeMap::new(),
            closed: BTreeSet::new(),
            digest: 0xcbf2_9ce4_8422_2325,
        };
        for id in 1..=setup.nodes {
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
        for happening in std::mem::take(&mut process.backlog) {
            self.at(self.now_ns, happening);
        }
        self.feed(id, Input::Timer);
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

    /// Everything gets through again.
    pub(crate) fn mend(&mut self) {
        self.cut.clear();
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
            let at = self.arrival(end, other);
            self.at(at, Happening::Gone(other, Closed::ByPeer));
        }
    }

    fn at(&mut self, at: Ns, happening: Happening) {
        self.sequence += 1;
        self.happenings.insert((at.max(self.now_ns), self.sequence), happening);
    }

    fn delay(&mut self) -> Ns {
        100_000 + u64::from(self.random.next_u32()) % 900_000
    }

    fn arrival(&mut self, from: End, to: End) -> Ns {
        let delay = self.delay();
        let last = self.last_arrival.get(&from).copied().unwrap_or(0);
        let at = (self.now_ns + delay).max(last + 1);
        self.last_arrival.insert(from, at);
        let _ = to;
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
        self.at(at, Happening::Connect { from: (CLIENT, conn), to: node, listener });
        conn
    }

    /// The client sends a frame, its length in front.
    pub(crate) fn send(&mut self, conn: ConnId, frame: &Bytes) {
        // What is sent before the connection stands waits for it, as a socket's buffer does.
        let end = (CLIENT, conn);
        match self.peers.get(&end).copied() {
            Some(other) => {
                let at = self.arrival(end, other);
                self.at(at, Happening::Arrive(other, frame.slice(4..)));
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

    /// Lets time pass.
    pub(crate) fn run_ms(&mut self, ms: u64) {
        self.run_until(ms, |_| false);
    }

    fn step(&mut self) {
        let Some(((at, _), happening)) = self.happenings.pop_first() else { return };
        self.now_ns = at;
        match happening {
            Happening::Wake(id, life) => {
                if self.processes[&id].lives == life {
                    self.deliver(id, Happening::Wake(id, life));
                }
            }
            Happening::Connect { from, to, listener } => self.make_connection(from, to, listener),
            Happening::Established(end) | Happening::Gone(end, _) if end.0 == CLIENT => {
                if matches!(happening, Happening::Gone(..)) {
                    self.closed.insert(end.1);
                }
            }
            Happening::Arrive(end, bytes) if end.0 == CLIENT => {
                self.arrived.entry(end.1).or_default().push(bytes);
            }
            Happening::Established(end) | Happening::Gone(end, _) | Happening::Arrive(end, _) => {
                self.deliver(end.0, happening);
            }
        }
    }

    fn make_connection(&mut self, from: End, to: Party, listener: Listener) {
        if self.cut.contains(&(from.0, to)) {
            // A SYN that gets lost is sent again.
            let again = self.now_ns + 50 * MS;
            return self.at(again, Happening::Connect { from, to, listener });
        }
        let runs = self.processes.get(&to).is_some_and(|p| p.node.is_some());
        let delay = self.delay();
        if !runs {
            let at = self.now_ns + delay;
            return self.at(at, Happening::Gone(from, Closed::Refused));
        }
        let conn = self.fresh_conn();
        self.peers.insert(from, (to, conn));
        self.peers.insert((to, conn), from);
        let at = self.now_ns + delay;
        self.at(at, Happening::Established(from));
        self.last_arrival.insert((to, conn), at);
        self.feed(to, Input::Accepted { conn, listener });
    }

    /// Something reaches a node, unless it stands still or the way is cut.
    fn deliver(&mut self, id: Party, happening: Happening) {
        let from = match &happening {
            Happening::Arrive(end, _) | Happening::Gone(end, _) => self.peers.get(end).map(|(party, _)| *party),
            _ => None,
        };
        if from.is_some_and(|from| self.cut.contains(&(from, id))) {
            let again = self.now_ns + 20 * MS;
            return self.at(again, happening);
        }
        let process = self.processes.get_mut(&id).expect("a node");
        if process.paused {
            process.backlog.push(happening);
            return;
        }
        match happening {
            Happening::Arrive((_, conn), bytes) => {
                self.feed(id, Input::Frame { conn, bytes: BytesMut::from(&bytes[..]) })
            }
            Happening::Established((_, conn)) => self.feed(id, Input::Connected { conn }),
            Happening::Gone((_, conn), why) => self.feed(id, Input::Closed { conn, why }),
            Happening::Wake(..) => self.feed(id, Input::Timer),
            Happening::Connect { .. } => unreachable!("nobody is reached by that"),
        }
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
                    self.at(at, Happening::Connect { from: (id, conn), to: node, listener });
                }
                Output::Close { conn } => self.close((id, conn)),
                Output::PauseReading { .. } | Output::ResumeReading { .. } => {}
                Output::WakeAt(at) => {
                    let life = self.processes[&id].lives;
                    self.at(at, Happening::Wake(id, life));
                }
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
            let at = self.arrival(end, other);
            self.at(at, Happening::Arrive(other, whole.slice(4..)));
        }
        self.feed(id, Input::Sent { conn, bytes: whole.len() });
    }

    fn mix(&mut self, output: &Output) {
        for byte in format!("{output:?}").bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
