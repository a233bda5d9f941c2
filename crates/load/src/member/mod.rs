//! One member of a consumer group, in a process of its own: a crash of it is a real SIGKILL, a stall stalls it alone.
//!
//! It reads its job as one JSON line from standard input, then commands; it writes frames to standard output. What it
//! was given is written out before its offset may be committed. It ends when its standard input does: with its parent.

mod protocol;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufWriter, Read, Stdout};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metricstream_ledger::history::Tp;
use metricstream_run::identity::Identity;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::clock::RunTime;
use crate::native::{self, Commits, Committed};
pub use protocol::{AlienKind, Command, Delivery, Frame, Job, Place, Said, read_frame};
use protocol::{write_deliveries, write_said};

/// Deliveries leave at the latest after so many, or after so long.
const FLUSH_DELIVERIES: usize = 2000;
const FLUSH_EVERY: Duration = Duration::from_millis(20);
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How long a member that gives partitions up waits for its commit.
const LAST_COMMIT: Duration = Duration::from_secs(3);
/// How often the generation is looked at: one that changed alone is reported by no callback.
const GENERATION_EVERY: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(10);
/// How long to wait for the offsets at which reading starts, which nothing but the record needs.
const START_OFFSETS: Duration = Duration::from_secs(2);
/// The longest job that is read.
const JOB_MAX_BYTES: u64 = 1 << 20;
/// After this long without errors the next is told: a dead cluster makes a lot of noise.
const QUIET_US: i64 = 1_000_000;

/// The hidden subcommand.
#[must_use]
pub fn main() -> ExitCode {
    let mut line = String::new();
    let read = io::stdin().lock().take(JOB_MAX_BYTES).read_line(&mut line).map_err(|e| e.to_string());
    let job: Job = match read.and_then(|_| serde_json::from_str(&line).map_err(|e| e.to_string())) {
        Ok(job) => job,
        Err(error) => {
            // No person starts this; but if one does, this is what to know.
            let said = Said::Failed {
                error: format!("a member is started by its run, with a job on standard input: {error}"),
            };
            let _nobody_reads = write_said(&mut io::stdout(), &said);
            return ExitCode::from(2);
        }
    };
    match work(job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_reads = write_said(&mut io::stdout(), &Said::Failed { error });
            ExitCode::from(3)
        }
    }
}

fn commands(recorded: Arc<Recorded>) -> Receiver<Command> {
    let (tx, rx) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            match serde_json::from_str(&line) {
                Ok(Command::Recorded { frames }) => recorded.note(frames),
                Ok(command) if tx.send(command).is_err() => return,
                Ok(_) | Err(_) => {}
            }
        }
        // The parent is gone: so are we, without another word to the group, and without a commit.
        std::process::exit(0);
    });
    rx
}

fn work(job: Job) -> Result<(), String> {
    let mut config = ClientConfig::new();
    for (key, value) in &job.config {
        config.set(key, value);
    }
    let names: Vec<String> = job.topics.keys().cloned().collect();
    let context = Context::new(RunTime::new(job.origin_ns), job.run_id, job.topics);
    let client = "group member";
    let created = config.create_with_context(context);
    let consumer: BaseConsumer<Context> = created.map_err(|e| crate::config::refused(client, &e).to_string())?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    consumer.subscribe(&names).map_err(|e| e.to_string())?;
    let commands = commands(Arc::clone(&consumer.context().recorded));
    consumer.context().state().commits = Some(Commits::new(&consumer));
    let (mut flushed, mut committed, mut looked) = (Instant::now(), Instant::now(), Instant::now());
    loop {
        match commands.try_recv() {
            Ok(Command::Leave) => break,
            Ok(Command::Recorded { .. }) => {}
            Ok(Command::Stall { for_us }) => stall(consumer.context(), Duration::from_micros(for_us)),
            // Without commands it goes on until the process is told to end.
            Err(_) => {}
        }
        match consumer.poll(POLL) {
            None => {}
            Some(Err(error)) => consumer.context().trouble(&error.to_string()),
            Some(Ok(message)) => consumer.context().take(&message),
        }
        if flushed.elapsed() >= FLUSH_EVERY || consumer.context().is_full() {
            consumer.context().flush();
            flushed = Instant::now();
        }
        if committed.elapsed() >= COMMIT_EVERY {
            commit(&consumer);
            committed = Instant::now();
        }
        consumer.context().settle(Duration::ZERO);
        if looked.elapsed() >= GENERATION_EVERY {
            consumer.context().look_at_generation(&consumer);
            looked = Instant::now();
        }
    }
    leave(consumer);
    Ok(())
}

/// Commits what was written out, without waiting for the answer. Only one commit is under way at a time: a client retries
/// a commit, and one that is retried after a later one was accepted takes the group's offset back.
fn commit(consumer: &BaseConsumer<Context>) {
    let context = consumer.context();
    context.flush();
    if !context.state().under_way {
        context.ask(consumer);
    }
}

/// Closing gives the partitions up, which commits what is owed, and tells the group.
fn leave(consumer: BaseConsumer<Context>) {
    let context = consumer.context().clone();
    context.settle(LAST_COMMIT);
    context.state().leaving = true;
    context.end_commits();
    drop(consumer);
    context.say(&Said::Left { at_us: context.time.now_us() });
}

/// One slow poll. Commands wait until it is over; the end of the parent does not.
fn stall(context: &Context, length: Duration) {
    // What was given before must not wait for as long.
    context.flush();
    std::thread::sleep(length);
}

/// Next offset per partition.
type Positions = BTreeMap<Tp, i64>;

struct State {
    out: BufWriter<Stdout>,
    /// Encoded deliveries that were not written out.
    pending: Vec<u8>,
    pending_count: usize,
    /// What was delivered, and not yet written out.
    read: Positions,
    /// Frames of deliveries that were written out, and what each holds that is not known to be recorded.
    frames: u64,
    unrecorded: VecDeque<(u64, Positions)>,
    /// What was recorded: no more than this may be committed.
    written: Positions,
    /// Whether a commit was asked for and not yet answered, what of it is still ours, and where the answer comes.
    under_way: bool,
    in_flight: Positions,
    commits: Option<Commits>,
    leaving: bool,
    /// The generation that was told last, and the one that was seen last.
    generation: i32,
    generation_seen: i32,
    last_trouble_us: i64,
}

struct Context {
    time: RunTime,
    run_id: u64,
    topics: BTreeMap<String, u16>,
    names: BTreeMap<u16, String>,
    state: Mutex<State>,
    recorded: Arc<Recorded>,
}

/// How many frames of deliveries the parent has recorded.
#[derive(Default)]
struct Recorded {
    frames: Mutex<u64>,
    more: Condvar,
}

impl Recorded {
    fn note(&self, frames: u64) {
        *self.frames.lock().unwrap_or_else(PoisonError::into_inner) = frames;
        self.more.notify_all();
    }

    /// Waits for so many, but not for ever; how many there are.
    fn wait(&self, wanted: u64, within: Duration) -> u64 {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.more.wait_timeout_while(frames, within, |frames| *frames < wanted);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Context {
    fn new(time: RunTime, run_id: u64, topics: BTreeMap<String, u16>) -> Self {
        let names = topics.iter().map(|(name, index)| (*index, name.clone())).collect();
        let state = State {
            out: BufWriter::new(io::stdout()),
            pending: Vec::new(),
            pending_count: 0,
            read: Positions::new(),
            frames: 0,
            unrecorded: VecDeque::new(),
            written: Positions::new(),
            under_way: false,
            in_flight: Positions::new(),
            commits: None,
            leaving: false,
            generation: -1,
            generation_seen: -1,
            last_trouble_us: i64::MIN / 2,
        };
        Self { time, run_id, topics, names, state: Mutex::new(state), recorded: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something. A member whose parent is gone has nothing left to live for.
    fn say(&self, said: &Said) {
        if write_said(&mut self.state().out, said).is_err() {
            std::process::exit(0);
        }
    }

    fn trouble(&self, error: &str) {
        let at_us = self.time.now_us();
        let last_us = std::mem::replace(&mut self.state().last_trouble_us, at_us);
        if at_us.saturating_sub(last_us) > QUIET_US {
            self.say(&Said::Trouble { at_us, error: error.to_owned() });
        }
    }

    /// A message was delivered.
    fn take(&self, message: &BorrowedMessage<'_>) {
        let Some(topic) = self.topics.get(message.topic()).copied() else {
            return;
        };
        let tp = Tp { topic, partition: message.partition() };
        let offset = message.offset();
        let payload = message.payload().unwrap_or_default();
        match Identity::open(payload, self.run_id) {
            Err(why) => {
                self.say(&Said::Alien { topic, partition: tp.partition, offset, why: why.into() });
                self.state().read.insert(tp, offset + 1);
            }
            Ok(identity) => {
                let size = message.payload_len() + message.key_len();
                let delivery = Delivery {
                    tp,
                    offset,
                    id: identity.id,
                    intended_us: identity.intended_us,
                    delivered_us: self.time.now_us(),
                    size_bytes: u32::try_from(size).unwrap_or(u32::MAX),
                };
                let mut state = self.state();
                delivery.put(&mut state.pending);
                state.pending_count += 1;
                state.read.insert(tp, offset + 1);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.state().pending_count >= FLUSH_DELIVERIES
    }

    /// Writes out what was delivered; once it is recorded its offsets may be committed.
    fn flush(&self) {
        let mut state = self.state();
        let state = &mut *state;
        if state.pending_count > 0 {
            if write_deliveries(&mut state.out, &state.pending).is_err() {
                std::process::exit(0);
            }
            state.pending.clear();
            state.pending_count = 0;
            state.frames += 1;
        }
        // What was read and is no message of this run was said already, and is recorded with the frame before it at the
        // latest.
        if !state.read.is_empty() {
            state.unrecorded.push_back((state.frames, std::mem::take(&mut state.read)));
        }
    }

    /// What is recorded by now may be committed; waits for all of it, but no longer than that.
    fn await_recorded(&self, within: Duration) {
        let frames = self.state().frames;
        let recorded = self.recorded.wait(frames, within);
        let mut state = self.state();
        while let Some((frame, _)) = state.unrecorded.front()
            && *frame <= recorded
        {
            if let Some((_, mut positions)) = state.unrecorded.pop_front() {
                state.written.append(&mut positions);
            }
        }
    }

    /// Asks for a commit of what may be committed; says whether an answer will come.
    fn ask(&self, consumer: &BaseConsumer<Self>) -> bool {
        self.await_recorded(Duration::ZERO);
        let mut state = self.state();
        let mut list = TopicPartitionList::new();
        for (tp, offset) in &state.written {
            let Some(name) = self.names.get(&tp.topic) else {
                continue;
            };
            // A name and an offset that were delivered are good names and offsets.
            let _added = list.add_partition_offset(name, tp.partition, Offset::Offset(*offset));
        }
        if list.count() == 0 {
            return false;
        }
        let asked = state.commits.get_or_insert_with(|| Commits::new(consumer)).ask(consumer, &list);
        match asked {
            Ok(()) => {
                state.under_way = true;
                state.in_flight = std::mem::take(&mut state.written);
            }
            Err(error) => {
                drop(state);
                self.trouble(&format!("commit: {error}"));
            }
        }
        asked.is_ok()
    }

    /// The queue of answers must end before its client does.
    fn end_commits(&self) {
        let commits = self.state().commits.take();
        drop(commits);
        self.state().under_way = false;
    }

    /// Takes the answer to the commit under way, if there is one, waiting for it as long as that; says whether none is
    /// under way any more.
    fn settle(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let answer = {
                let state = self.state();
                if !state.under_way {
                    return true;
                }
                let left = deadline.saturating_duration_since(Instant::now());
                state.commits.as_ref().and_then(|commits| commits.answer(left))
            };
            match answer {
                Some(answer) => self.committed(answer),
                None if Instant::now() >= deadline => return false,
                None => {}
            }
        }
    }

    /// The answer to the commit under way. What was not accepted is owed still.
    fn committed(&self, answer: Committed) {
        let accepted = match answer {
            Ok(accepted) => accepted,
            Err(error) => {
                self.trouble(&format!("commit: {error}"));
                Vec::new()
            }
        };
        let index = |(name, partition, offset): (String, i32, i64)| Some((*self.topics.get(&name)?, partition, offset));
        let offsets: Vec<_> = accepted.into_iter().filter_map(index).collect();
        {
            let mut state = self.state();
            state.under_way = false;
            let mut owed = std::mem::take(&mut state.in_flight);
            for (topic, partition, _) in &offsets {
                owed.remove(&Tp { topic: *topic, partition: *partition });
            }
            // What was read since lies further on.
            owed.append(&mut state.written);
            state.written = owed;
        }
        if !offsets.is_empty() {
            self.say(&Said::Committed { at_us: self.time.now_us(), offsets });
        }
    }

    fn places(&self, list: &TopicPartitionList) -> Vec<Place> {
        let index = |name: &str| self.topics.get(name).copied();
        let elements = list.elements();
        let mut all: Vec<_> = elements.iter().filter_map(|e| Some((index(e.topic())?, e.partition()))).collect();
        all.sort_unstable();
        all
    }

    fn revoking(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        self.flush();
        let lost = consumer.assignment_lost();
        // Waited for: the next owner starts where this ends. But not for ever, for the group waits meanwhile. Where the
        // partitions were lost, somebody else may own them already, and nothing of them is ours to commit.
        if !lost {
            self.await_recorded(LAST_COMMIT);
            let settled = self.settle(LAST_COMMIT) && (!self.ask(consumer) || self.settle(LAST_COMMIT));
            if !settled {
                self.trouble("the commit was not answered while partitions were given up");
            }
        }
        let places = self.places(list);
        {
            let mut state = self.state();
            for (_, positions) in &mut state.unrecorded {
                positions.retain(|tp, _| !places.contains(&(tp.topic, tp.partition)));
            }
            state.written.retain(|tp, _| !places.contains(&(tp.topic, tp.partition)));
            // Its answer may still come, and what was not accepted is no longer ours to commit.
            state.in_flight.retain(|tp, _| !places.contains(&(tp.topic, tp.partition)));
        }
        if self.state().leaving {
            self.end_commits();
        }
        self.say(&Said::Revoked { at_us: self.time.now_us(), lost, partitions: places });
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let at_us = self.time.now_us();
        let generation = native::generation(consumer);
        // The client asks for the same offsets at the same time: this delays nobody. Where none is committed, reading
        // starts wherever the log does, which is not known here.
        let starts = (list.count() > 0).then(|| consumer.committed_offsets(list.clone(), START_OFFSETS).ok()).flatten();
        let start_of = |(topic, partition): Place| {
            let found = starts.as_ref()?.find_partition(self.names.get(&topic)?, partition)?.offset();
            if let Offset::Offset(offset) = found { Some(offset) } else { None }
        };
        let partitions =
            self.places(list).into_iter().map(|place| (place.0, place.1, start_of(place).unwrap_or(-1))).collect();
        self.state().generation = generation;
        self.say(&Said::Assigned { at_us, generation, partitions });
    }

    /// Tells of a generation that is new while the assignment is not.
    fn look_at_generation(&self, consumer: &BaseConsumer<Self>) {
        if !matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative) {
            // Eager members are told of every generation.
            return;
        }
        let now = native::generation(consumer);
        let told = {
            let mut state = self.state();
            // Seen twice, for the callback may still be on its way; and before its first assignment a member has nothing
            // to tell.
            let seen_before = std::mem::replace(&mut state.generation_seen, now) == now;
            let tell = state.generation >= 0 && now > state.generation && seen_before;
            if tell {
                state.generation = now;
            }
            tell
        };
        if told {
            self.say(&Said::Assigned { at_us: self.time.now_us(), generation: now, partitions: Vec::new() });
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(?level, facility, text, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble(&format!("{error}: {reason}"));
    }

    fn stats(&self, _: rdkafka::Statistics) {}
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            self.revoking(consumer, list);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.assigned(consumer, list),
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => self.trouble(&error.to_string()),
        }
    }
}
