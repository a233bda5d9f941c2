//! One member of a consumer group, in a process of its own: a crash of it is a real SIGKILL, a stall stalls it alone.
//!
//! It reads its job as one JSON line from standard input, then commands; it writes frames to standard output. What it
//! was given is written out before its offset may be committed. It ends when its standard input does: with its parent.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufWriter, Read, Stdout, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metricstream_run::identity::Identity;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use crate::clock::RunTime;

/// What a member is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// librdkafka's settings, all of them.
    pub config: BTreeMap<String, String>,
    /// Topics to subscribe to, and their indices in the scenario.
    pub topics: BTreeMap<String, u16>,
    /// The run whose messages these are.
    pub run_id: u64,
    /// CLOCK_MONOTONIC at the run's 0, nanoseconds.
    pub origin_ns: i64,
}

/// A command to a member, one JSON line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Leave the group and end.
    Leave,
    /// Stay in one slow poll for so long.
    Stall {
        /// Microseconds.
        for_us: u64,
    },
}

/// Something that a member says; one JSON object, framed. Times are µs on the run's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "kebab-case")]
#[allow(missing_docs)] // A partition is a topic index and its number, a position has its offset beside.
pub enum Said {
    /// Gained partitions (topic index, partition).
    Assigned { at_us: i64, partitions: Vec<(u16, i32)> },
    /// Lost or gave up partitions.
    Revoked { at_us: i64, lost: bool, partitions: Vec<(u16, i32)> },
    /// A commit was accepted.
    Committed { at_us: i64, offsets: Vec<(u16, i32, i64)> },
    /// A value that is no message of this run.
    Alien { topic: u16, partition: i32, offset: i64, why: u8 },
    /// The client reported an error that it goes on from.
    Trouble { at_us: i64, error: String },
    /// It left in order; nothing follows.
    Left { at_us: i64 },
}

/// One delivery: fixed size, little endian, many to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // As in `DeliverySample` and `MessageId`.
pub struct Delivery {
    pub topic: u16,
    pub partition: i32,
    pub offset: i64,
    pub incarnation: u32,
    pub lane: u32,
    pub seq: u64,
    pub intended_us: i64,
    pub delivered_us: i64,
    pub size_bytes: u32,
}

/// Bytes of a [`Delivery`].
pub const DELIVERY_BYTES: usize = 50;
const FRAME_DELIVERIES: u8 = b'D';
const FRAME_SAID: u8 = b'S';
/// The largest frame that is read.
const FRAME_MAX_BYTES: usize = 16 * 1024 * 1024;

impl Delivery {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.topic.to_le_bytes());
        out.extend_from_slice(&self.partition.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.lane.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.intended_us.to_le_bytes());
        out.extend_from_slice(&self.delivered_us.to_le_bytes());
        out.extend_from_slice(&self.size_bytes.to_le_bytes());
    }

    fn get(from: &[u8; DELIVERY_BYTES]) -> Self {
        fn at<const N: usize>(from: &[u8; DELIVERY_BYTES], place: usize) -> [u8; N] {
            let mut part = [0; N];
            part.copy_from_slice(&from[place..place + N]);
            part
        }
        Self {
            topic: u16::from_le_bytes(at(from, 0)),
            partition: i32::from_le_bytes(at(from, 2)),
            offset: i64::from_le_bytes(at(from, 6)),
            incarnation: u32::from_le_bytes(at(from, 14)),
            lane: u32::from_le_bytes(at(from, 18)),
            seq: u64::from_le_bytes(at(from, 22)),
            intended_us: i64::from_le_bytes(at(from, 30)),
            delivered_us: i64::from_le_bytes(at(from, 38)),
            size_bytes: u32::from_le_bytes(at(from, 46)),
        }
    }
}

/// A frame as the parent reads it.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Deliveries, in order.
    Deliveries(Vec<Delivery>),
    /// Anything else.
    Said(Said),
}

/// Reads the next frame; `None` at the end, also in the middle of a frame: that is how a crash looks.
///
/// # Errors
/// If what comes is no frame.
pub fn read_frame(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    if !fill(from, &mut head)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("a member's frame: {what}"));
    if length > FRAME_MAX_BYTES {
        return Err(bad("too long"));
    }
    let mut body = vec![0; length];
    if !fill(from, &mut body)? {
        return Ok(None);
    }
    match head[0] {
        FRAME_SAID => serde_json::from_slice(&body).map(|said| Some(Frame::Said(said))).map_err(io::Error::other),
        FRAME_DELIVERIES => {
            let (entries, rest) = body.as_chunks::<DELIVERY_BYTES>();
            if !rest.is_empty() {
                return Err(bad("cut deliveries"));
            }
            Ok(Some(Frame::Deliveries(entries.iter().map(Delivery::get).collect())))
        }
        _ => Err(bad("of an unknown kind")),
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

fn write_frame(out: &mut impl Write, kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    out.write_all(&[kind])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(body)?;
    out.flush()
}

/// Deliveries leave at the latest after so many, or after so long.
const FLUSH_DELIVERIES: usize = 500;
const FLUSH_EVERY: Duration = Duration::from_millis(20);
const COMMIT_EVERY: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(20);

struct State {
    out: BufWriter<Stdout>,
    pending: Vec<u8>,
    pending_count: usize,
    /// Next offset to commit per topic name and partition: only what was written out.
    written: BTreeMap<(String, i32), i64>,
    read: BTreeMap<(String, i32), i64>,
}

struct Context {
    time: RunTime,
    topics: BTreeMap<String, u16>,
    state: Mutex<State>,
}

impl Context {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member whose parent is gone has nothing left to live for.
    fn say(&self, said: &Said) {
        let body = serde_json::to_vec(said).unwrap_or_default();
        if write_frame(&mut self.state().out, FRAME_SAID, &body).is_err() {
            std::process::exit(3);
        }
    }

    /// Writes what was delivered; from then on its offsets may be committed.
    fn flush(&self) {
        let mut state = self.state();
        if state.pending_count > 0 {
            let body = std::mem::take(&mut state.pending);
            state.pending_count = 0;
            if write_frame(&mut state.out, FRAME_DELIVERIES, &body).is_err() {
                std::process::exit(3);
            }
        }
        let read = std::mem::take(&mut state.read);
        state.written.extend(read);
    }

    fn to_commit(&self) -> Option<TopicPartitionList> {
        let written = std::mem::take(&mut self.state().written);
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in &written {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).ok()?;
        }
        (list.count() > 0).then_some(list)
    }

    fn of_list(&self, list: &TopicPartitionList) -> Vec<(u16, i32)> {
        let index = |name: &str| self.topics.get(name).copied();
        let mut all: Vec<_> =
            list.elements().iter().filter_map(|e| Some((index(e.topic())?, e.partition()))).collect();
        all.sort_unstable();
        all
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.say(&Said::Trouble { at_us: self.time.now_us(), error: format!("{error}: {reason}") });
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.flush();
            let lost = consumer.assignment_lost();
            if lost {
                self.state().written.clear();
            } else if let Some(offsets) = self.to_commit() {
                // Not waited for here: librdkafka answers the revocation only when commits in flight are done.
                let _ = consumer.commit(&offsets, CommitMode::Async);
            }
            self.say(&Said::Revoked { at_us: self.time.now_us(), lost, partitions: self.of_list(list) });
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                self.say(&Said::Assigned { at_us: self.time.now_us(), partitions: self.of_list(list) });
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => {
                self.say(&Said::Trouble { at_us: self.time.now_us(), error: error.to_string() });
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let at_us = self.time.now_us();
        if let Err(error) = result {
            self.say(&Said::Trouble { at_us, error: format!("commit: {error}") });
            return;
        }
        let elements = offsets.elements();
        let accepted = elements.iter().filter(|e| e.error().is_ok()).filter_map(|e| {
            match (self.topics.get(e.topic()), e.offset()) {
                (Some(topic), Offset::Offset(offset)) => Some((*topic, e.partition(), offset)),
                _ => None,
            }
        });
        self.say(&Said::Committed { at_us, offsets: accepted.collect() });
    }
}

/// The hidden subcommand.
#[must_use]
pub fn main() -> ExitCode {
    let mut line = String::new();
    let read = io::stdin().lock().take(1 << 20).read_line(&mut line);
    let job: Job = match read.map_err(|e| e.to_string()).and_then(|_| serde_json::from_str(&line).map_err(|e| e.to_string())) {
        Ok(job) => job,
        Err(error) => {
            eprintln!("a member is started by the program itself, with its job on standard input: {error}");
            return ExitCode::from(2);
        }
    };
    match work(job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}

fn commands() -> Receiver<Command> {
    let (tx, rx) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if let Ok(command) = serde_json::from_str(&line)
                && tx.send(command).is_err()
            {
                return;
            }
        }
        // The parent is gone: so are we, without another word to the group.
        std::process::exit(0);
    });
    rx
}

fn work(job: Job) -> Result<(), KafkaError> {
    let mut config = ClientConfig::new();
    for (key, value) in &job.config {
        config.set(key, value);
    }
    let time = RunTime::new(job.origin_ns);
    let names: Vec<String> = job.topics.keys().cloned().collect();
    let state = State {
        out: BufWriter::new(io::stdout()),
        pending: Vec::new(),
        pending_count: 0,
        written: BTreeMap::new(),
        read: BTreeMap::new(),
    };
    let context = Context { time, topics: job.topics, state: Mutex::new(state) };
    let consumer: BaseConsumer<Context> = config.create_with_context(context)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    consumer.subscribe(&names)?;
    let commands = commands();
    let (mut flushed, mut committed) = (Instant::now(), Instant::now());
    loop {
        match commands.try_recv() {
            Ok(Command::Leave) => break,
            Ok(Command::Stall { for_us }) => stall(&commands, Duration::from_micros(for_us)),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        match consumer.poll(POLL) {
            None => {}
            Some(Err(error)) => {
                consumer.context().say(&Said::Trouble { at_us: time.now_us(), error: error.to_string() });
            }
            Some(Ok(message)) => take(consumer.context(), &message, job.run_id),
        }
        let full = consumer.context().state().pending_count >= FLUSH_DELIVERIES;
        if full || flushed.elapsed() >= FLUSH_EVERY {
            consumer.context().flush();
            flushed = Instant::now();
        }
        if committed.elapsed() >= COMMIT_EVERY {
            consumer.context().flush();
            if let Some(offsets) = consumer.context().to_commit() {
                let _ = consumer.commit(&offsets, CommitMode::Async);
            }
            committed = Instant::now();
        }
    }
    leave(&consumer);
    consumer.context().say(&Said::Left { at_us: time.now_us() });
    Ok(())
}

/// Unsubscribing gives the partitions up, commits what is owed, and tells the group.
fn leave(consumer: &BaseConsumer<Context>) {
    consumer.unsubscribe();
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut quiet = 0;
    while Instant::now() < deadline && quiet < 10 {
        let _ = consumer.poll(POLL);
        let owned = consumer.assignment().map_or(0, |a| a.count());
        quiet = if owned == 0 { quiet + 1 } else { 0 };
    }
}

/// One slow poll; a command (to leave) cuts it short only when it is over.
fn stall(commands: &Receiver<Command>, length: Duration) {
    let _ = commands;
    std::thread::sleep(length);
}

fn take(context: &Context, message: &impl Message, run_id: u64) {
    let Some(topic) = context.topics.get(message.topic()).copied() else { return };
    let (partition, offset) = (message.partition(), message.offset());
    let delivered_us = context.time.now_us();
    let payload = message.payload().unwrap_or_default();
    match Identity::open(payload, run_id) {
        Err(why) => {
            let why = match why {
                metricstream_ledger::history::Alien::BadCrc => 0,
                metricstream_ledger::history::Alien::ForeignRun => 1,
                metricstream_ledger::history::Alien::WrongPartition => 2,
            };
            context.say(&Said::Alien { topic, partition, offset, why });
        }
        Ok(identity) => {
            let delivery = Delivery {
                topic,
                partition,
                offset,
                incarnation: identity.id.lane.incarnation,
                lane: identity.id.lane.lane,
                seq: identity.id.seq,
                intended_us: identity.intended_us,
                delivered_us,
                size_bytes: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            };
            let mut state = context.state();
            delivery.put(&mut state.pending);
            state.pending_count += 1;
        }
    }
    context.state().read.insert((message.topic().to_owned(), partition), offset + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_a_cut_one_is_the_end() {
        let delivery = Delivery {
            topic: 1,
            partition: 2,
            offset: 3,
            incarnation: 4,
            lane: 5,
            seq: 6,
            intended_us: -7,
            delivered_us: 8,
            size_bytes: 9,
        };
        let mut bytes = Vec::new();
        delivery.put(&mut bytes);
        assert_eq!(bytes.len(), DELIVERY_BYTES);
        let mut stream = Vec::new();
        write_frame(&mut stream, FRAME_DELIVERIES, &bytes).unwrap();
        let said = Said::Revoked { at_us: 1, lost: true, partitions: vec![(0, 2)] };
        write_frame(&mut stream, FRAME_SAID, &serde_json::to_vec(&said).unwrap()).unwrap();
        let mut whole = stream.as_slice();
        assert_eq!(read_frame(&mut whole).unwrap(), Some(Frame::Deliveries(vec![delivery])));
        assert_eq!(read_frame(&mut whole).unwrap(), Some(Frame::Said(said)));
        assert_eq!(read_frame(&mut whole).unwrap(), None);
        let mut cut = &stream[..stream.len() - 1];
        read_frame(&mut cut).unwrap();
        assert_eq!(read_frame(&mut cut).unwrap(), None);
        assert!(read_frame(&mut &b"X\x01\0\0\0z"[..]).is_err());
    }
}
