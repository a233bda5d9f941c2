//! What goes into a node and what comes out of it. This is the whole contract with a driver.
//!
//! * A driver may feed several inputs before it takes the outputs. The order of the queue is the order of effects: a
//!   [`StorageOp`] of durability [`Durability::Written`] has taken effect before any later output does, so that a response
//!   behind an append never speaks of bytes that the page cache does not have.
//! * An operation of durability [`Durability::Synced`] is answered with a [`Completion`]; what promises that durability
//!   is only put out after it.
//! * Responses on one connection leave in the order of their requests.
//! * [`Input::Timer`] comes after everything that has arrived: a node gives nobody up before it. Where it comes, or any
//!   input does, later than was asked for with [`Output::WakeAt`], the node knows that it was not run, and does not count
//!   that time for the silence of others.
//! * At construction a node reads its store through [`Disk`]; afterwards only through operations.

use bytes::{Bytes, BytesMut};

use crate::time::Ns;

pub use metricstream_wire::parts::{FileRange, Part};

/// A connection, as the driver numbers those that it accepted and the node those that it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl ConnId {
    /// Numbers from here on are given by the node, to connections that it asks for.
    pub const FIRST_OUTGOING: u64 = 1 << 63;
}

/// Which door a connection came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// Clients and other brokers.
    Broker,
    /// Other voters, and brokers that talk to the controller.
    Controller,
}

/// Why a connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The other side ended or reset it: its process is known to be gone or to have dropped us.
    ByPeer,
    /// Nobody listened at the address.
    Refused,
    /// The driver cut it: a limit was passed.
    ByDriver,
}

/// What a driver tells a node.
#[derive(Debug)]
pub enum Input {
    /// Somebody connected.
    Accepted {
        /// The new connection.
        conn: ConnId,
        /// Through which door.
        listener: Listener,
    },
    /// A connection that the node asked for stands.
    Connected {
        /// Which.
        conn: ConnId,
    },
    /// A whole frame arrived, without its length, in a buffer of exactly its size.
    Frame {
        /// From whom.
        conn: ConnId,
        /// Header and body.
        bytes: BytesMut,
    },
    /// A connection is gone, or could not be made.
    Closed {
        /// Which.
        conn: ConnId,
        /// Why.
        why: Closed,
    },
    /// Bytes of a [`Output::Send`] left this machine's buffers; for back-pressure.
    Sent {
        /// On which connection.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// A storage operation ended.
    Stored(Completion),
    /// The time of the last [`Output::WakeAt`] has come, or simply time has passed, and nothing else is waiting.
    Timer,
}

/// What a node wants done, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Write these parts, whose first four bytes are the frame's length.
    Send {
        /// To whom.
        conn: ConnId,
        /// What.
        parts: Vec<Part>,
    },
    /// Connect to an address; answered with `Connected` or `Closed`.
    Connect {
        /// The node's number for it.
        conn: ConnId,
        /// The node that should answer there.
        node: i32,
        /// Where.
        host: String,
        /// Where.
        port: u16,
    },
    /// Close a connection after what was sent on it has left.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Stop reading from a connection: too much of it is waiting here.
    PauseReading {
        /// Which.
        conn: ConnId,
    },
    /// Read on.
    ResumeReading {
        /// Which.
        conn: ConnId,
    },
    /// Do something to the store.
    Storage(StorageOp),
    /// Send [`Input::Timer`] at this monotonic time; a later one replaces it.
    WakeAt(Ns),
    /// Something that an observer of the node may want to know. Never needed for its work.
    Event(Event),
    /// The node cannot go on (its store failed) or has shut down in order; the driver drops it.
    Halt {
        /// Why, for people; empty after a controlled shutdown.
        why: String,
    },
}

/// A file that a node named with [`StorageAction::Open`]; numbers are not reused. In a [`Part`] it is the
/// number that a file range names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// Names an operation whose completion is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// How safe an operation must be before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// In the page cache: survives the process, not the machine. Kafka's partition logs.
    Written,
    /// On the disk. The metadata log and the quorum state.
    Synced,
}

/// One operation on the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageOp {
    /// With an id a [`Completion`] is wanted; without one only a failure is told.
    pub id: Option<OpId>,
    /// On which file.
    pub file: FileId,
    /// What.
    pub action: StorageAction,
    /// How safe.
    pub durability: Durability,
}

/// What to do to a file. Operations on one file take effect in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageAction {
    /// Bind the id to a path relative to the node's folder, `/` between its parts; the file is made if it is not there,
    /// folders too.
    Open {
        /// Such as `metrics-0/00000000000000000000.log`.
        path: String,
    },
    /// Append.
    Append {
        /// What.
        bytes: Vec<Bytes>,
    },
    /// Put the whole content in the place of the old, at once or not at all.
    Replace {
        /// The new content.
        bytes: Bytes,
    },
    /// Cut at this size.
    Truncate {
        /// What is left.
        size_bytes: u64,
    },
    /// Read; answered with [`Stored::Bytes`].
    Read {
        /// From where.
        position: u64,
        /// How much; less at the file's end.
        len: u32,
    },
    /// Nothing but making what was written before safe.
    Sync,
    /// Remove it; the id is free for the driver to forget.
    Delete,
    /// Forget the id; the file stays.
    Close,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Which.
    pub id: OpId,
    /// On which file.
    pub file: FileId,
    /// What came of it.
    pub result: Result<Stored, StorageFailure>,
}

/// What an operation gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is as safe as was asked.
    Done,
    /// What was read.
    Bytes(Bytes),
}

/// Why an operation failed, as the store says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct StorageFailure {
    /// The file.
    pub path: String,
    /// Such as "no space left on device".
    pub why: String,
}

/// The store as a node finds it when it starts. Reads only; the same files that operations act on later.
pub trait Disk {
    /// Every file, its path relative to the node's folder and its size, in the order of the paths.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn list(&self) -> Result<Vec<(String, u64)>, StorageFailure>;

    /// Some bytes of a file; less at its end.
    ///
    /// # Errors
    /// If there is no such file or it cannot be read.
    fn read(&self, path: &str, position: u64, len: u32) -> Result<Bytes, StorageFailure>;
}

/// The queue of outputs, and the numbers that are given out with them.
#[derive(Debug, Default)]
pub struct Outputs {
    queue: Vec<Output>,
    files: u64,
    ops: u64,
    conns: u64,
}

impl Outputs {
    /// Adds one.
    pub fn push(&mut self, output: Output) {
        self.queue.push(output);
    }

    /// Takes what there is, in order.
    pub fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.queue)
    }

    /// Binds a new file id to a path.
    pub fn open(&mut self, path: String) -> FileId {
        self.files += 1;
        let file = FileId(self.files);
        self.written(file, StorageAction::Open { path });
        file
    }

    /// An operation that counts when it is written; only its failure is told.
    pub fn written(&mut self, file: FileId, action: StorageAction) {
        self.push(Output::Storage(StorageOp { id: None, file, action, durability: Durability::Written }));
    }

    /// An operation whose completion is wanted.
    pub fn wanted(&mut self, file: FileId, action: StorageAction, durability: Durability) -> OpId {
        self.ops += 1;
        let id = OpId(self.ops);
        self.push(Output::Storage(StorageOp { id: Some(id), file, action, durability }));
        id
    }

    /// Asks for a connection; gives its number.
    pub fn connect(&mut self, node: i32, host: String, port: u16) -> ConnId {
        let conn = ConnId(ConnId::FIRST_OUTGOING + self.conns);
        self.conns += 1;
        self.push(Output::Connect { conn, node, host, port });
        conn
    }
}

/// What an observer may see. For tests, invariants and `status`; the node never depends on who looks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are Kafka's own terms.
pub enum Event {
    /// This node leads a partition from now on.
    BecameLeader { topic: String, partition: i32, leader_epoch: i32, start_offset: i64 },
    /// This node follows.
    BecameFollower { topic: String, partition: i32, leader_epoch: i32, leader: i32 },
    /// A leader moved its high watermark.
    HighWatermark { topic: String, partition: i32, leader_epoch: i32, offset: i64 },
    /// A log was cut.
    Truncated { topic: String, partition: i32, offset: i64 },
    /// A leader asks the controller for another ISR.
    IsrProposed { topic: String, partition: i32, isr: Vec<i32> },
    /// This voter's role in the quorum changed.
    QuorumRole { role: &'static str, epoch: i32, leader: Option<i32> },
    /// This node is the active controller.
    ControllerActive { epoch: i32 },
    /// The broker was told to be fenced or unfenced.
    Fenced { fenced: bool },
    /// Something worth a line in the node's log file.
    Log { level: Level, text: String },
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For developers.
    Debug,
    /// What a person who reads the log wants to know.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}
