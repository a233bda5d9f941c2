//! Group members as their parent sees them: started, told what to do, killed, and read from.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metricstream_ledger::history::{Record, Tp};
use metricstream_ledger::sample::DeliverySample;

use crate::clock::RunTime;
use crate::event::{EventSink, LoadEvent};
use crate::load::LoadError;
use crate::member::{Command, Delivery, Frame, Job, Said, read_frame};
use crate::progress::GroupCounters;
use crate::runs::{Run, Runs};

/// How long a member may take to leave before it is killed.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Who a member is.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) group_index: u16,
    pub(crate) group: String,
    pub(crate) member: String,
    pub(crate) incarnation: u32,
}

/// Where a member's commands go; nobody's once it has ended.
type Orders = Arc<Mutex<Option<ChildStdin>>>;

fn give(orders: &Orders, line: &[u8]) -> io::Result<()> {
    let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "its process has ended");
    let mut orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
    let stdin = orders.as_mut().ok_or_else(gone)?;
    stdin.write_all(line).and_then(|()| stdin.flush()).map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => gone(),
        _ => e,
    })
}

fn line_of(command: Command) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&command)?;
    line.push(b'\n');
    Ok(line)
}

/// A member's process.
#[derive(Debug)]
pub(crate) struct MemberProcess {
    child: Child,
    stdin: Orders,
    /// Its end was asked for.
    expected: Arc<AtomicBool>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl MemberProcess {
    /// Starts it.
    pub(crate) fn start(
        program: &Path,
        job: &Job,
        who: Who,
        counters: Arc<GroupCounters>,
        sink: EventSink,
    ) -> Result<Self, LoadError> {
        let name = format!("{}/{}", who.group, who.member);
        let fail = |source: io::Error| LoadError::Member {
            member: name.clone(),
            source: io::Error::new(source.kind(), format!("{}: {source}", program.display())),
        };
        let mut line = serde_json::to_vec(job).map_err(|e| fail(io::Error::other(e)))?;
        line.push(b'\n');
        let mut child = Process::new(program)
            .arg("__member")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C on the terminal is for the run, which then ends its members.
            .process_group(0)
            .spawn()
            .map_err(fail)?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let expected = Arc::new(AtomicBool::new(false));
        let mut process = Self { child, stdin: Orders::default(), expected: Arc::clone(&expected), reader: None };
        let (Some(stdin), Some(stdout)) = pipes else {
            return Err(fail(io::Error::from(io::ErrorKind::BrokenPipe)));
        };
        process.stdin = Arc::new(Mutex::new(Some(stdin)));
        give(&process.stdin, &line).map_err(fail)?;
        let listener = Listener {
            who,
            time: RunTime::new(job.origin_ns),
            owned: BTreeSet::new(),
            generation: -1,
            counters,
            sink,
            expected,
            orders: Arc::clone(&process.stdin),
            frames: 0,
        };
        let reader = std::thread::Builder::new().name(format!("hears {name}"));
        let reader = reader.spawn(move || listener.run(BufReader::new(stdout)));
        process.reader = Some(reader.map_err(|e| LoadError::Thread(format!("member {name}: {e}")))?);
        Ok(process)
    }

    /// Whether its process said its last word.
    pub(crate) fn has_ended(&self) -> bool {
        self.reader.as_ref().is_none_or(std::thread::JoinHandle::is_finished)
    }

    fn command(&self, command: Command) -> io::Result<()> {
        give(&self.stdin, &line_of(command)?)
    }

    /// Its standard input ends, and it with that.
    fn hang_up(&self) {
        drop(self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Keeps it in one slow poll, which begins within a few milliseconds.
    pub(crate) fn stall(&self, for_us: i64) -> io::Result<()> {
        self.command(Command::Stall { for_us: u64::try_from(for_us).unwrap_or(0) })
    }

    /// Kills it.
    pub(crate) fn crash(mut self) -> io::Result<()> {
        self.expected.store(true, Ordering::Release);
        self.child.kill()?;
        self.end()
    }

    /// Lets it leave, and waits until it has; one that takes too long is killed.
    pub(crate) fn leave(mut self) -> io::Result<()> {
        self.expected.store(true, Ordering::Release);
        if let Err(error) = self.command(Command::Leave) {
            self.end()?;
            return Err(error);
        }
        let deadline = Instant::now() + LEAVE_DEADLINE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                self.child.kill()?;
                self.end()?;
                let text = format!("it had not left after {} s and was killed", LEAVE_DEADLINE.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        self.end()
    }

    /// Everything that it said has been told when this returns.
    fn end(&mut self) -> io::Result<()> {
        self.hang_up();
        self.child.wait()?;
        match self.reader.take().map(std::thread::JoinHandle::join) {
            Some(Err(_)) => Err(io::Error::other("the thread that heard it panicked")),
            _ => Ok(()),
        }
    }
}

impl Drop for MemberProcess {
    fn drop(&mut self) {
        self.expected.store(true, Ordering::Release);
        self.hang_up();
        // One that has ended already cannot be killed, which is as well.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Turns what a member says into events.
struct Listener {
    who: Who,
    time: RunTime,
    owned: BTreeSet<Tp>,
    generation: i32,
    counters: Arc<GroupCounters>,
    sink: EventSink,
    expected: Arc<AtomicBool>,
    orders: Orders,
    /// Frames of deliveries that were recorded.
    frames: u64,
}

impl Listener {
    fn run(mut self, mut from: BufReader<ChildStdout>) {
        self.counters.members.fetch_add(1, Ordering::Relaxed);
        let why = loop {
            match read_frame(&mut from) {
                Ok(Some(Frame::Deliveries(all))) => self.deliveries(&all),
                Ok(Some(Frame::Said(Said::Left { at_us }))) => {
                    let rest = std::mem::take(&mut self.owned).into_iter().collect();
                    self.revoked(at_us, false, rest);
                    break None;
                }
                Ok(Some(Frame::Said(Said::Failed { error }))) => break Some(error),
                Ok(Some(Frame::Said(said))) => self.said(said),
                Ok(None) => break Some("its process ended".to_owned()),
                Err(error) => break Some(error.to_string()),
            }
        };
        self.counters.members.fetch_sub(1, Ordering::Relaxed);
        let Some(why) = why else { return };
        let at_us = self.time.now_us();
        // A crash: nobody has told the group yet, and nobody else owns these; but this member reads them no more.
        let partitions = std::mem::take(&mut self.owned);
        self.revoked(at_us, true, partitions.into_iter().collect());
        if !self.expected.load(Ordering::Acquire) {
            let (group, member) = (self.who.group.clone(), self.who.member.clone());
            self.sink.send(LoadEvent::MemberEnded { at_us, group, member, why });
        }
    }

    fn deliveries(&mut self, all: &[Delivery]) {
        let (group, member) = (self.who.group_index, self.who.incarnation);
        let Some(last) = all.last() else { return };
        let at_us = last.delivered_us;
        let mut runs = Runs::default();
        let mut up_to = BTreeMap::new();
        let mut samples = Vec::with_capacity(all.len());
        for delivery in all {
            runs.push(delivery.tp, delivery.offset, delivery.id);
            up_to.insert(delivery.tp, delivery.offset + 1);
            samples.push(DeliverySample {
                group,
                member,
                tp: delivery.tp,
                offset: delivery.offset,
                intended_us: delivery.intended_us,
                delivered_us: delivery.delivered_us,
                size_bytes: delivery.size_bytes,
            });
        }
        let record = |run: Run| Record::Delivered {
            at_us,
            group,
            member,
            tp: run.tp,
            base_offset: run.base_offset,
            lane: run.lane,
            first_seq: run.first_seq,
            count: run.count,
        };
        self.sink.send(LoadEvent::Records(runs.take().into_iter().map(record).collect()));
        self.sink.send(LoadEvent::Deliveries(samples));
        self.counters.delivered(all.len() as u64, &up_to);
        self.frames += 1;
        // Whoever owns a partition next starts where this one committed. What is told of it must come later than this.
        let line = line_of(Command::Recorded { frames: self.frames });
        // One that has ended commits nothing more.
        let _ended = line.and_then(|line| give(&self.orders, &line));
    }

    fn said(&mut self, said: Said) {
        let (group, member) = (self.who.group_index, self.who.incarnation);
        let tp = |topic, partition| Tp { topic, partition };
        match said {
            Said::Assigned { at_us, generation, partitions } => {
                let partitions: Vec<(Tp, i64)> = partitions.into_iter().map(|(t, p, at)| (tp(t, p), at)).collect();
                self.owned.extend(partitions.iter().map(|(tp, _)| *tp));
                self.generation = generation;
                self.tell(Record::Assigned { at_us, group, member, generation, partitions });
                self.assignment(at_us);
            }
            Said::Revoked { at_us, lost, partitions } => {
                let partitions: Vec<Tp> = partitions.into_iter().map(|(t, p)| tp(t, p)).collect();
                self.owned.retain(|tp| !partitions.contains(tp));
                self.revoked(at_us, lost, partitions);
            }
            Said::Committed { at_us, offsets } => {
                let record = |(t, p, offset)| Record::Committed { at_us, group, member, tp: tp(t, p), offset };
                self.sink.send(LoadEvent::Records(offsets.into_iter().map(record).collect()));
            }
            Said::Alien { topic, partition, offset, why } => {
                let (tp, why) = (tp(topic, partition), why.into());
                self.tell(Record::Alien { group: Some(group), tp, offset, why });
            }
            Said::Trouble { at_us, error } => {
                let client = format!("{}/{}", self.who.group, self.who.member);
                self.sink.send(LoadEvent::Trouble { at_us, client, error });
            }
            Said::Failed { .. } | Said::Left { .. } => {}
        }
    }

    fn revoked(&self, at_us: i64, lost: bool, partitions: Vec<Tp>) {
        if partitions.is_empty() {
            return;
        }
        let (group, member) = (self.who.group_index, self.who.incarnation);
        self.tell(Record::Revoked { at_us, group, member, lost, partitions });
        self.assignment(at_us);
    }

    fn assignment(&self, at_us: i64) {
        self.sink.send(LoadEvent::Assignment {
            at_us,
            group: self.who.group.clone(),
            member: self.who.member.clone(),
            generation: self.generation,
            owned: self.owned.iter().copied().collect(),
        });
    }

    fn tell(&self, record: Record) {
        self.sink.send(LoadEvent::Records(vec![record]));
    }
}
