//! One node's task: it feeds the node with what comes, in the order in which it comes, and does what the node wants done,
//! in the order in which it wants it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metricstream_node::Node;
use metricstream_node::config::Address;
use metricstream_node::io::{
    Closed, Completion, ConnId, Event, FileId, Input, Level, Listener, Output, Part, StorageFailure, StorageOp,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};

use crate::clock::Clock;
use crate::connection::{Handle, PERMIT_BYTES, Surroundings, ToNode, serve};
use crate::link::{CLIENTS, Links, Party};
use crate::store::{Store, placed};

/// Inputs that may wait for a node's task.
const INPUTS_MAX: usize = 1_024;
/// Inputs that are taken in before outputs are looked at.
const INPUTS_AT_ONCE: usize = 64;
/// Bytes of requests that may be on their way to a node at once.
const IN_FLIGHT_BYTES: usize = 256 << 20;
/// A connection to another node that does not stand by then is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the cluster asks of a node's task.
pub(crate) enum Command {
    /// Hand over and end.
    ShutDown,
    Pause,
    Resume,
    /// Look at the node.
    Look(Box<dyn FnOnce(&Node) + Send>),
}

/// Ports of nodes among themselves: an accepted connection from one of these addresses is a node's, not a client's.
pub(crate) type Known = Arc<std::sync::Mutex<BTreeMap<SocketAddr, Party>>>;

/// Told of every event of a node.
pub(crate) type Sink = Arc<dyn Fn(i32, Event) + Send + Sync>;

/// Told of a node that ended by itself, and why.
pub(crate) type EndSink = Arc<dyn Fn(i32, &str) + Send + Sync>;

/// The same for one node, and once.
pub(crate) type OnEnd = Box<dyn FnOnce(&str) + Send>;

/// What a node's task is made of.
pub(crate) struct Parts {
    pub(crate) node: Node,
    pub(crate) id: i32,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) links: Links,
    pub(crate) listeners: Vec<(TcpListener, Listener)>,
    pub(crate) known: Known,
    pub(crate) sink: Sink,
    /// Told once if the node ends by itself.
    pub(crate) on_end: OnEnd,
    pub(crate) connections_max: usize,
    pub(crate) request_bytes_max: usize,
    pub(crate) slow_reader: Duration,
}

/// A running node.
pub(crate) struct Running {
    pub(crate) commands: mpsc::Sender<ToNode>,
    task: tokio::task::JoinHandle<()>,
    slow: tokio::task::JoinHandle<()>,
    /// Why it ended, once it has: empty after a controlled shutdown.
    pub(crate) ended: watch::Receiver<Option<String>>,
}

impl Running {
    pub(crate) fn start(parts: Parts) -> Self {
        let (commands, inbox) = mpsc::channel(INPUTS_MAX);
        let (tell_end, ended) = watch::channel(None);
        let (ops_tx, ops) = mpsc::unbounded_channel();
        let (done_tx, done) = mpsc::unbounded_channel();
        let store = parts.store.clone();
        let slow = tokio::task::spawn_blocking(move || carry_out_slowly(&store, ops, &done_tx));
        let task = tokio::spawn(Driver::new(parts, commands.clone(), ops_tx, done).run(inbox, tell_end));
        Self { commands, task, slow, ended }
    }

    /// The same without waiting for it.
    pub(crate) fn abort(&self) {
        self.task.abort();
    }

    /// The process is gone: nothing of it runs on.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        // What the kernel was told to do it does.
        let _ = self.slow.await;
    }

    /// Looks at the node, if it still runs.
    pub(crate) async fn look<T: Send + 'static>(&self, look: impl FnOnce(&Node) -> T + Send + 'static) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let command = Command::Look(Box::new(move |node| {
            let _ = tell.send(look(node));
        }));
        self.commands.send(ToNode::Command(command)).await.ok()?;
        told.await.ok()
    }
}

/// The connections of a node. When a process dies, the kernel closes all of them within microseconds; here their tasks end
/// one after the other, on a busy machine over milliseconds. Those to other nodes end first, so that no client hears of a
/// death before the cluster can.
#[derive(Default)]
struct Connections(BTreeMap<ConnId, Handle>);

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.retain(|_, handle| handle.peer == CLIENTS);
    }
}

struct Driver {
    node: Node,
    id: i32,
    store: Store,
    clock: Clock,
    known: Known,
    sink: Sink,
    on_end: Option<OnEnd>,
    around: Surroundings,
    listeners: Vec<(TcpListener, Listener)>,
    connections_max: usize,
    connections: Connections,
    accepted: u64,
    wake: Option<u64>,
    paused: bool,
    halted: Option<String>,
    connecting: tokio::task::JoinSet<(ConnId, i32, Option<TcpStream>)>,
    /// Blocking storage operations, one after the other, in their own thread.
    slow: mpsc::UnboundedSender<StorageOp>,
    slow_done: mpsc::UnboundedReceiver<Option<Completion>>,
}

impl Driver {
    fn new(
        parts: Parts,
        to_node: mpsc::Sender<ToNode>,
        slow: mpsc::UnboundedSender<StorageOp>,
        slow_done: mpsc::UnboundedReceiver<Option<Completion>>,
    ) -> Self {
        let around = Surroundings {
            links: parts.links,
            to_node,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_BYTES / PERMIT_BYTES)),
            request_bytes_max: parts.request_bytes_max,
            slow_reader: parts.slow_reader,
            own: parts.id,
        };
        Self {
            node: parts.node,
            id: parts.id,
            store: parts.store,
            clock: parts.clock,
            known: parts.known,
            sink: parts.sink,
            on_end: Some(parts.on_end),
            around,
            listeners: parts.listeners,
            connections_max: parts.connections_max,
            connections: Connections::default(),
            accepted: 0,
            wake: None,
            paused: false,
            halted: None,
            connecting: tokio::task::JoinSet::new(),
            slow,
            slow_done,
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<ToNode>, ended: watch::Sender<Option<String>>) {
        let (accept_tx, mut accepted) = mpsc::channel(64);
        let acceptors: Vec<AbortOnDrop> = self
            .listeners
            .drain(..)
            .map(|(listener, door)| AbortOnDrop(tokio::spawn(accept(listener, door, accept_tx.clone()))))
            .collect();
        drop(accept_tx);
        self.carry_out();
        while self.halted.is_none() {
            let wake = self.wake.filter(|_| !self.paused).map(|at| self.clock.instant(at));
            tokio::select! {
                Some(message) = inbox.recv() => {
                    self.message(message);
                    for _ in 0..INPUTS_AT_ONCE {
                        let Ok(message) = inbox.try_recv() else { break };
                        self.message(message);
                    }
                }
                Some((stream, door)) = accepted.recv(), if !self.paused => self.accept(stream, door),
                Some(done) = self.connecting.join_next(), if !self.connecting.is_empty() => {
                    if let Ok((conn, node, stream)) = done {
                        self.connected(conn, node, stream);
                    }
                }
                Some(done) = self.slow_done.recv() => self.slow_ended(done),
                () = sleep_at(wake), if wake.is_some() => self.timer(&mut inbox).await,
            }
            self.carry_out();
            if self.paused {
                self.stand_still(&mut inbox).await;
            }
        }
        drop(acceptors);
        drop(self.connections);
        // Without a reason it is the end of a controlled shutdown, for which somebody waits.
        if let (Some(on_end), Some(why)) = (self.on_end.take(), self.halted.as_deref().filter(|why| !why.is_empty())) {
            on_end(why);
        }
        ended.send_replace(self.halted);
    }

    /// Nothing is taken in but the word that lets it go on; connections stay, and fill.
    async fn stand_still(&mut self, inbox: &mut mpsc::Receiver<ToNode>) {
        let mut held = Vec::new();
        while self.paused {
            match inbox.recv().await {
                Some(ToNode::Command(Command::Resume)) => self.paused = false,
                Some(ToNode::Command(Command::Look(look))) => look(&self.node),
                Some(ToNode::Command(Command::Pause)) => {}
                // One more than would fit: what it takes to be told to go on must never be stuck behind frames.
                Some(other) => held.push(other),
                None => return,
            }
        }
        for message in held {
            self.message(message);
        }
        self.timer(inbox).await;
        self.carry_out();
    }

    /// It is time. What has come is taken in before: the node may be about to give somebody up for silence whose word lies
    /// here, or in a connection whose task has not had its turn.
    async fn timer(&mut self, inbox: &mut mpsc::Receiver<ToNode>) {
        self.wake = None;
        tokio::task::yield_now().await;
        for _ in 0..inbox.len() {
            let Ok(message) = inbox.try_recv() else { break };
            self.message(message);
        }
        while let Ok(done) = self.slow_done.try_recv() {
            self.slow_ended(done);
        }
        if !self.paused {
            self.feed(Input::Timer);
        }
    }

    fn message(&mut self, message: ToNode) {
        match message {
            ToNode::Input(Input::Closed { conn, why }, _) => {
                if self.connections.0.remove(&conn).is_some() {
                    self.feed(Input::Closed { conn, why });
                }
            }
            ToNode::Input(input, permit) => {
                self.feed(input);
                drop(permit);
            }
            ToNode::Command(Command::ShutDown) => self.node.shut_down(self.clock.now()),
            ToNode::Command(Command::Pause) => self.paused = true,
            ToNode::Command(Command::Resume) => self.paused = false,
            ToNode::Command(Command::Look(look)) => look(&self.node),
        }
    }

    fn feed(&mut self, input: Input) {
        self.node.handle(self.clock.now(), input);
    }

    fn accept(&mut self, stream: TcpStream, door: Listener) {
        if self.connections.0.len() >= self.connections_max {
            return;
        }
        let from = stream.peer_addr().ok();
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let peer = from.and_then(|from| known.get(&from).copied()).unwrap_or(CLIENTS);
        drop(known);
        self.accepted += 1;
        let conn = ConnId(self.accepted);
        // Links between nodes are shaped by whoever connected.
        let handle = serve(stream, conn, peer, peer == CLIENTS && door == Listener::Broker, &self.around);
        self.connections.0.insert(conn, handle);
        self.feed(Input::Accepted { conn, listener: door });
    }

    fn connect(&mut self, conn: ConnId, node: i32, host: String, port: u16) {
        let (links, own, known) = (self.around.links.clone(), self.id, Arc::clone(&self.known));
        self.connecting.spawn(async move {
            let connect = async {
                links.pass(own, node).await;
                links.pass(node, own).await;
                let stream = TcpStream::connect((host.as_str(), port)).await.ok()?;
                if let Ok(local) = stream.local_addr() {
                    known.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(local, own);
                }
                Some(stream)
            };
            (conn, node, timeout(CONNECT_TIMEOUT, connect).await.ok().flatten())
        });
    }

    fn connected(&mut self, conn: ConnId, node: i32, stream: Option<TcpStream>) {
        match stream {
            Some(stream) => {
                let handle = serve(stream, conn, node, true, &self.around);
                self.connections.0.insert(conn, handle);
                self.feed(Input::Connected { conn });
            }
            None => self.feed(Input::Closed { conn, why: Closed::Refused }),
        }
    }

    /// Does what the node wants, until it wants nothing more.
    fn carry_out(&mut self) {
        loop {
            let outputs = self.node.take_outputs();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                self.carry_out_one(output);
                if self.halted.is_some() {
                    return;
                }
            }
        }
    }

    fn carry_out_one(&mut self, output: Output) {
        match output {
            Output::Send { conn, parts } => self.send(conn, parts),
            Output::Connect { conn, node, host, port } => self.connect(conn, node, host, port),
            Output::Close { conn } => drop(self.connections.0.remove(&conn)),
            Output::PauseReading { conn } => self.reading(conn, false),
            Output::ResumeReading { conn } => self.reading(conn, true),
            Output::Storage(op) => self.storage(op),
            Output::WakeAt(at) => self.wake = Some(at),
            Output::Event(event) => (self.sink)(self.id, event),
            // Without a reason it is the end of a controlled shutdown.
            Output::Halt { why } if why.is_empty() => self.halted = Some(why),
            Output::Halt { why } => self.halted = Some(placed(why, &self.store)),
        }
    }

    fn send(&mut self, conn: ConnId, parts: Vec<Part>) {
        let Some(handle) = self.connections.0.get(&conn) else { return };
        let mut frame = Vec::with_capacity(parts.len());
        for part in parts {
            let bytes = match part {
                Part::Bytes(bytes) => Ok(bytes),
                Part::File(range) => self.cold(range.file, range.position, range.len_bytes),
            };
            match bytes {
                Ok(bytes) => frame.push(bytes),
                Err(failure) => {
                    // The length is promised already: the connection cannot go on.
                    let text = format!("a cold read failed: {failure}");
                    (self.sink)(self.id, Event::Log { level: Level::Error, text });
                    self.connections.0.remove(&conn);
                    return self.feed(Input::Closed { conn, why: Closed::ByDriver });
                }
            }
        }
        let bytes = handle.send(frame);
        if bytes > 0 {
            self.feed(Input::Sent { conn, bytes });
        }
    }

    fn cold(&self, file: u64, position: u64, len: u32) -> Result<Bytes, StorageFailure> {
        let bytes = self.store.piece(FileId(file), position, len)?;
        if bytes.len() == len as usize {
            return Ok(bytes);
        }
        let why = format!("{} bytes at {position} where {len} should be", bytes.len());
        Err(StorageFailure { path: format!("file {file}"), why })
    }

    fn reading(&self, conn: ConnId, may: bool) {
        if let Some(handle) = self.connections.0.get(&conn) {
            handle.reading.send_replace(may);
        }
    }

    /// Quick operations take effect at once; what is to be synced goes to the slow thread. A file is of one kind: what is
    /// to be synced once is always, so that the order on each file stays.
    fn storage(&mut self, op: StorageOp) {
        if self.store.blocks(&op) {
            let _ = self.slow.send(op);
        } else if let Some(done) = self.store.operate(op) {
            self.feed(Input::Stored(done));
        }
    }

    fn slow_ended(&mut self, done: Option<Completion>) {
        if let Some(done) = done {
            self.feed(Input::Stored(done));
        }
    }
}

/// Carries blocking operations out in a thread of their own, in order.
fn carry_out_slowly(
    store: &Store,
    mut ops: mpsc::UnboundedReceiver<StorageOp>,
    done: &mpsc::UnboundedSender<Option<Completion>>,
) {
    while let Some(op) = ops.blocking_recv() {
        if done.send(store.operate(op)).is_err() {
            return;
        }
    }
}

async fn accept(listener: TcpListener, door: Listener, to: mpsc::Sender<(TcpStream, Listener)>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if to.send((stream, door)).await.is_err() {
                    return;
                }
            }
            // Out of file descriptors, for instance: others may free some.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn sleep_at(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Where a node's doors are.
pub(crate) fn address(at: SocketAddr) -> Address {
    Address { host: at.ip().to_string(), port: at.port() }
}
