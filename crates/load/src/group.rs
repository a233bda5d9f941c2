//! Group members as their parent sees them: started, told what to do, killed, and read from.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metricstream_ledger::history::{Alien, LaneId, MessageId, Record, Tp};
use metricstream_ledger::sample::DeliverySample;
use tokio::sync::mpsc::Sender;

use crate::clock::RunTime;
use crate::event::{LoadEvent, Progress};
use crate::load::LoadError;
use crate::member::{Command, Delivery, Frame, Job, Said, read_frame};
use crate::runs::Runs;

/// How long a member may take to leave, a JVM at the other end included, before it is killed.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);

/// The next offset that a group was given, per group and partition, over all its members.
pub(crate) type Positions = Arc<Mutex<BTreeMap<(u16, Tp), i64>>>;

/// Who a member is.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) group_index: u16,
    pub(crate) group: String,
    pub(crate) member: String,
    pub(crate) incarnation: u32,
}

/// A member's process.
#[derive(Debug)]
pub(crate) struct MemberProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    expected: Arc<AtomicBool>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl MemberProcess {
    /// Starts it.
    pub(crate) fn start(
        program: &Path,
        job: &Job,
        who: Who,
        positions: Positions,
        progress: Arc<Progress>,
        tx: Sender<LoadEvent>,
    ) -> Result<Self, LoadError> {
        let fail = |source| LoadError::Member { member: who.member.clone(), source };
        let mut child = Process::new(program)
            .arg("__member")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(fail)?;
        let mut stdin = child.stdin.take();
        let line = serde_json::to_string(job).unwrap_or_default();
        if let Some(stdin) = &mut stdin {
            writeln!(stdin, "{line}").and_then(|()| stdin.flush()).map_err(fail)?;
        }
        let expected = Arc::new(AtomicBool::new(false));
        let listener = Listener {
            who,
            time: RunTime::new(job.origin_ns),
            owned: BTreeSet::new(),
            positions,
            progress,
            tx,
            expected: Arc::clone(&expected),
        };
        let stdout = child.stdout.take();
        let reader = stdout.map(|out| std::thread::spawn(move || listener.run(BufReader::new(out))));
        Ok(Self { child, stdin, expected, reader })
    }

    fn command(&mut self, command: Command) -> std::io::Result<()> {
        let gone = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let stdin = self.stdin.as_mut().ok_or_else(gone)?;
        let line = serde_json::to_string(&command)?;
        writeln!(stdin, "{line}")?;
        stdin.flush()
    }

    /// Keeps it in one slow poll.
    pub(crate) fn stall(&mut self, for_us: i64) -> std::io::Result<()> {
        self.command(Command::Stall { for_us: for_us.unsigned_abs() })
    }

    /// Kills it.
    pub(crate) fn crash(mut self) -> std::io::Result<()> {
        self.expected.store(true, Ordering::Relaxed);
        self.child.kill()?;
        self.end()
    }

    /// Lets it leave, and waits until it has.
    pub(crate) fn leave(mut self) -> std::io::Result<()> {
        self.expected.store(true, Ordering::Relaxed);
        self.command(Command::Leave)?;
        let deadline = Instant::now() + LEAVE_DEADLINE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                self.child.kill()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.end()
    }

    /// Everything that it said has been read when this returns.
    fn end(&mut self) -> std::io::Result<()> {
        self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        Ok(())
    }
}

impl Drop for MemberProcess {
    fn drop(&mut self) {
        self.expected.store(true, Ordering::Relaxed);
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Listener {
    who: Who,
    time: RunTime,
    owned: BTreeSet<Tp>,
    positions: Positions,
    progress: Arc<Progress>,
    tx: Sender<LoadEvent>,
    expected: Arc<AtomicBool>,
}

impl Listener {
    fn run(mut self, mut from: BufReader<std::process::ChildStdout>) {
        let mut left = false;
        let why = loop {
            match read_frame(&mut from) {
                Ok(Some(Frame::Deliveries(all))) => self.deliveries(&all),
                Ok(Some(Frame::Said(said))) => left |= self.said(said),
                Ok(None) => break "its process ended".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        if left {
            return;
        }
        let at_us = self.time.now_us();
        // A crash: nobody told the group, and nobody else owns these yet; but this member reads them no more.
        let partitions = std::mem::take(&mut self.owned);
        self.revoked(at_us, true, partitions.into_iter().collect());
        if !self.expected.load(Ordering::Relaxed) {
            let (group, member) = (self.who.group.clone(), self.who.member.clone());
            self.tell(LoadEvent::MemberEnded { at_us, group, member, why });
        }
    }

    fn deliveries(&self, all: &[Delivery]) {
        let group = self.who.group_index;
        let member = self.who.incarnation;
        let at_us = all.last().map_or(0, |d| d.delivered_us);
        let mut runs = Runs::default();
        let mut samples = Vec::with_capacity(all.len());
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        for d in all {
            let tp = Tp { topic: d.topic, partition: d.partition };
            let lane = LaneId { incarnation: d.incarnation, lane: d.lane };
            runs.push(tp, d.offset, MessageId { lane, seq: d.seq });
            let next = positions.entry((group, tp)).or_insert(0);
            *next = (*next).max(d.offset + 1);
            samples.push(DeliverySample {
                group,
                member,
                tp,
                offset: d.offset,
                intended_us: d.intended_us,
                delivered_us: d.delivered_us,
                size_bytes: d.size_bytes,
            });
        }
        drop(positions);
        Progress::add(&self.progress.delivered, all.len() as u64);
        let record = |run: crate::runs::Run| Record::Delivered {
            at_us,
            group,
            member,
            tp: run.tp,
            base_offset: run.base_offset,
            lane: run.lane,
            first_seq: run.first_seq,
            count: run.count,
        };
        self.tell(LoadEvent::Records(runs.take().into_iter().map(record).collect()));
        self.tell(LoadEvent::Deliveries(samples));
    }

    /// Whether it was the last word.
    fn said(&mut self, said: Said) -> bool {
        let (group, member) = (self.who.group_index, self.who.incarnation);
        let tp = |(topic, partition): (u16, i32)| Tp { topic, partition };
        match said {
            Said::Assigned { at_us, partitions } => {
                let partitions: Vec<Tp> = partitions.into_iter().map(tp).collect();
                self.owned.extend(partitions.iter().copied());
                let partitions = partitions.into_iter().map(|tp| (tp, -1)).collect();
                self.tell(LoadEvent::Records(vec![Record::Assigned {
                    at_us,
                    group,
                    member,
                    generation: -1,
                    partitions,
                }]));
                self.assignment(at_us);
            }
            Said::Revoked { at_us, lost, partitions } => {
                let partitions: Vec<Tp> = partitions.into_iter().map(tp).collect();
                self.owned.retain(|tp| !partitions.contains(tp));
                self.revoked(at_us, lost, partitions);
            }
            Said::Committed { at_us, offsets } => {
                let record = |(topic, partition, offset)| Record::Committed {
                    at_us,
                    group,
                    member,
                    tp: Tp { topic, partition },
                    offset,
                };
                self.tell(LoadEvent::Records(offsets.into_iter().map(record).collect()));
            }
            Said::Alien { topic, partition, offset, why } => {
                let why = match why {
                    1 => Alien::ForeignRun,
                    2 => Alien::WrongPartition,
                    _ => Alien::BadCrc,
                };
                let tp = Tp { topic, partition };
                self.tell(LoadEvent::Records(vec![Record::Alien { group: Some(group), tp, offset, why }]));
            }
            Said::Trouble { at_us, error } => {
                let client = format!("{}/{}", self.who.group, self.who.member);
                self.tell(LoadEvent::Trouble { at_us, client, error });
            }
            Said::Left { at_us } => {
                let rest = std::mem::take(&mut self.owned).into_iter().collect();
                self.revoked(at_us, false, rest);
                return true;
            }
        }
        false
    }

    fn revoked(&self, at_us: i64, lost: bool, partitions: Vec<Tp>) {
        if partitions.is_empty() {
            return;
        }
        let (group, member) = (self.who.group_index, self.who.incarnation);
        self.tell(LoadEvent::Records(vec![Record::Revoked { at_us, group, member, lost, partitions }]));
        self.assignment(at_us);
    }

    fn assignment(&self, at_us: i64) {
        self.tell(LoadEvent::Assignment {
            at_us,
            group: self.who.group.clone(),
            member: self.who.member.clone(),
            owned: self.owned.iter().copied().collect(),
        });
    }

    fn tell(&self, event: LoadEvent) {
        let _ = self.tx.blocking_send(event);
    }
}
