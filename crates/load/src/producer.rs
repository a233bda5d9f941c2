//! A producer on a thread of its own: an open loop that never resets, and an outcome for every send.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metricstream_ledger::history::{LaneId, MessageId, Outcome, Record, Tp};
use metricstream_ledger::sample::{ClientSample, SendEnd, SendSample};
use metricstream_run::schedule::{Due, Schedule};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::statistics::Statistics;
use tokio::sync::mpsc::Sender;

use crate::clock::RunTime;
use crate::config::STATISTICS_INTERVAL_MS;
use crate::event::{LoadEvent, Progress};
use crate::runs::Runs;

/// Events leave at least this often, and at the latest with so many samples.
const FLUSH_EVERY_US: i64 = 20_000;
const FLUSH_SAMPLES: usize = 8_192;
/// The longest sleep of the send loop.
const NAP_MAX: Duration = Duration::from_millis(5);

/// How one producer stands, shared with its owner.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// No further sends.
    pub(crate) stop: AtomicBool,
    /// When open sends are given up, µs on the run's clock; 0 while that is not known.
    pub(crate) give_up_us: AtomicI64,
    /// Sends whose outcome is open.
    pub(crate) open: AtomicI64,
    /// Every send that the schedule wanted was handed over.
    pub(crate) sending_ended: AtomicBool,
    /// The thread has said its last.
    pub(crate) ended: AtomicBool,
}

/// What the client's callbacks leave for the loop to pick up; both run on the same thread, so nobody waits.
pub(crate) struct Callbacks {
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    completions: Vec<Completion>,
    statistics: Vec<Statistics>,
    errors: Vec<String>,
}

struct Completion {
    slot: usize,
    end: SendEnd,
    partition: i32,
    offset: i64,
}

impl Callbacks {
    pub(crate) fn new() -> Self {
        Self { inbox: Mutex::new(Inbox::default()) }
    }

    fn inbox(&self) -> std::sync::MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Callbacks {
    fn stats(&self, statistics: Statistics) {
        self.inbox().statistics.push(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut inbox = self.inbox();
        // A dead cluster makes a lot of noise: a few lines of it are enough.
        if inbox.errors.len() < 16 {
            inbox.errors.push(format!("{error}: {reason}"));
        }
    }
}

impl ProducerContext for Callbacks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: usize) {
        let completion = match result {
            Ok(m) => Completion { slot, end: SendEnd::Acked, partition: m.partition(), offset: m.offset() },
            Err((error, m)) => Completion { slot, end: end_of(error), partition: m.partition(), offset: -1 },
        };
        self.inbox().completions.push(completion);
    }
}

/// What an error says of a message: *fail* only where it was certainly never written, else *unknown*.
fn end_of(error: &KafkaError) -> SendEnd {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        // Local: the message never left the client. The broker's own refusals of a batch as such write nothing either.
        Some(
            Code::PurgeQueue
            | Code::UnknownPartition
            | Code::UnknownTopic
            | Code::InvalidTopic
            | Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::TopicAuthorizationFailed
            | Code::InvalidRequiredAcks,
        ) => SendEnd::Failed,
        _ => SendEnd::Unknown,
    }
}

#[derive(Clone, Copy)]
struct Slot {
    id: MessageId,
    partition: i32,
    intended_us: i64,
    sent_us: i64,
}

/// One producer at work.
pub(crate) struct Worker {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) topic: String,
    pub(crate) topic_index: u16,
    pub(crate) partitions: i32,
    pub(crate) size_bytes: usize,
    pub(crate) idempotent: bool,
    pub(crate) acks_zero: bool,
    pub(crate) schedule: Schedule,
    pub(crate) incarnation: u32,
    pub(crate) time: RunTime,
    pub(crate) control: Arc<Control>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) tx: Sender<LoadEvent>,
}

struct Book {
    slots: Vec<Slot>,
    free: Vec<usize>,
    sent_up_to: BTreeMap<LaneId, u64>,
    acked: Runs,
    others: Runs,
    failed: Runs,
    samples: Vec<SendSample>,
    flushed_us: i64,
}

impl Worker {
    /// Runs to the end: all sent or stopped, and every outcome known or given up.
    pub(crate) fn run(mut self, client: &BaseProducer<Callbacks>) {
        let mut book = Book {
            slots: Vec::new(),
            free: Vec::new(),
            sent_up_to: BTreeMap::new(),
            acked: Runs::default(),
            others: Runs::default(),
            failed: Runs::default(),
            samples: Vec::new(),
            flushed_us: i64::MIN,
        };
        self.announce_lanes();
        let mut value = vec![0_u8; self.size_bytes];
        loop {
            let stopped = self.control.stop.load(Ordering::Relaxed);
            if !stopped {
                self.send_due(client, &mut book, &mut value);
            }
            let now_us = self.time.now_us();
            let sending_ended = stopped || self.schedule.finished(now_us);
            if sending_ended {
                self.control.sending_ended.store(true, Ordering::Relaxed);
            }
            client.poll(self.nap(now_us, sending_ended));
            self.pick_up(client.context(), &mut book);
            let open = book.slots.len() - book.free.len();
            self.control.open.store(i64::try_from(open).unwrap_or(i64::MAX), Ordering::Relaxed);
            self.flush(&mut book, false);
            let give_up_us = self.control.give_up_us.load(Ordering::Relaxed);
            if sending_ended && (open == 0 || (give_up_us != 0 && now_us >= give_up_us)) {
                break;
            }
        }
        self.give_up(client, &mut book);
        self.flush(&mut book, true);
        self.control.ended.store(true, Ordering::Relaxed);
    }

    fn announce_lanes(&self) {
        let keyed = self.schedule.lane_key(0).is_some();
        let lane = |lane: u32| Record::Lane {
            lane: LaneId { incarnation: self.incarnation, lane },
            topic: self.topic_index,
            partition: if keyed { None } else { i32::try_from(lane).ok() },
            idempotent: self.idempotent,
        };
        self.tell(LoadEvent::Records((0..self.schedule.lanes()).map(lane).collect()));
    }

    fn nap(&self, now_us: i64, sending_ended: bool) -> Duration {
        if sending_ended {
            return NAP_MAX;
        }
        match self.schedule.next_intended_us() {
            Some(next_us) if next_us > now_us => Duration::from_micros((next_us - now_us).unsigned_abs()).min(NAP_MAX),
            // What is due and was not taken waits for room in the client's queue.
            _ => Duration::from_micros(if self.schedule.due(now_us) > 0 { 200 } else { 0 }),
        }
    }

    fn send_due(&mut self, client: &BaseProducer<Callbacks>, book: &mut Book, value: &mut [u8]) {
        let mut handed = 0_u64;
        while let Some(due) = self.schedule.peek(self.time.now_us()) {
            let sent_us = self.time.now_us();
            self.schedule.write_value(value, &due, sent_us);
            let slot = book.take_slot(&due, sent_us);
            if !self.hand_over(client, &due, slot, value) {
                book.free.push(slot);
                break;
            }
            book.sent_up_to.insert(due.id.lane, due.id.seq + 1);
            self.schedule.advance();
            handed += 1;
            // Callbacks want their turn too.
            if handed >= 1_000 {
                break;
            }
        }
        Progress::add(&self.progress.sent, handed);
    }

    /// Whether the client took it.
    fn hand_over(&self, client: &BaseProducer<Callbacks>, due: &Due, slot: usize, value: &[u8]) -> bool {
        let key = self.schedule.lane_key(due.id.lane.lane);
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.topic, slot).payload(value);
        record.key = key.as_ref().map(metricstream_run::schedule::Key::as_bytes);
        record.partition = due.partition;
        match client.send(record) {
            Ok(()) => true,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => false,
            Err((error, _)) => {
                // Refused at once (a size, a partition that is not there): that is an outcome like any other.
                let completion =
                    Completion { slot, end: end_of(&error), partition: due.partition.unwrap_or(-1), offset: -1 };
                client.context().inbox().completions.push(completion);
                true
            }
        }
    }

    fn pick_up(&self, callbacks: &Callbacks, book: &mut Book) {
        let now_us = self.time.now_us();
        let Inbox { completions, statistics, errors } = std::mem::take(&mut *callbacks.inbox());
        for done in completions {
            self.complete(book, &done, now_us);
        }
        for statistics in statistics {
            self.tell(LoadEvent::Client(self.client_sample(&statistics, now_us)));
        }
        for error in errors {
            self.tell(LoadEvent::Trouble { at_us: now_us, client: self.name.clone(), error });
        }
    }

    fn complete(&self, book: &mut Book, done: &Completion, now_us: i64) {
        let slot = book.slots[done.slot];
        book.free.push(done.slot);
        let partition = if done.partition >= 0 { done.partition } else { slot.partition };
        let tp = Tp { topic: self.topic_index, partition };
        let end = if self.acks_zero && done.end == SendEnd::Acked { SendEnd::Unknown } else { done.end };
        match end {
            SendEnd::Acked => {
                Progress::add(&self.progress.acked, 1);
                book.acked.push(tp, done.offset.max(-1), slot.id);
            }
            SendEnd::Failed => {
                Progress::add(&self.progress.failed, 1);
                book.failed.push(tp, -1, slot.id);
            }
            SendEnd::Unknown | SendEnd::Open => {
                Progress::add(&self.progress.unknown, 1);
                book.others.push(tp, -1, slot.id);
            }
        }
        book.samples.push(SendSample {
            producer: self.index,
            tp,
            intended_us: slot.intended_us,
            sent_us: slot.sent_us,
            done_us: now_us,
            size_bytes: u32::try_from(self.size_bytes).unwrap_or(u32::MAX),
            end,
        });
    }

    fn client_sample(&self, statistics: &Statistics, at_us: i64) -> ClientSample {
        let partitions = statistics.topics.get(&self.topic).map(|t| &t.partitions);
        let mut leaders: Vec<(Tp, i32)> = partitions
            .into_iter()
            .flat_map(|p| p.iter())
            .filter(|(id, _)| (0..self.partitions).contains(*id))
            .map(|(id, p)| (Tp { topic: self.topic_index, partition: *id }, p.leader))
            .collect();
        leaders.sort_unstable();
        let in_flight: i64 = statistics.brokers.values().map(|b| b.waitresp_msg_cnt.max(0)).sum();
        ClientSample {
            producer: self.index,
            at_us,
            interval_us: STATISTICS_INTERVAL_MS * 1000,
            queued: statistics.msg_cnt,
            queue_limit: statistics.msg_max,
            leaders,
            in_flight: in_flight.unsigned_abs(),
            cpu_share: None,
        }
    }

    /// What is still open is unknown: it may yet be written.
    fn give_up(&self, client: &BaseProducer<Callbacks>, book: &mut Book) {
        let mut open: Vec<bool> = vec![true; book.slots.len()];
        book.free.iter().for_each(|slot| open[*slot] = false);
        let now_us = self.time.now_us();
        for slot in (0..open.len()).filter(|slot| open[*slot]) {
            let partition = book.slots[slot].partition;
            self.complete(book, &Completion { slot, end: SendEnd::Open, partition, offset: -1 }, now_us);
        }
        client.purge(PurgeConfig::default().queue().inflight());
    }

    fn flush(&self, book: &mut Book, last: bool) {
        let now_us = self.time.now_us();
        if !last && now_us < book.flushed_us.saturating_add(FLUSH_EVERY_US) && book.samples.len() < FLUSH_SAMPLES {
            return;
        }
        book.flushed_us = now_us;
        let mut records: Vec<Record> = std::mem::take(&mut book.sent_up_to)
            .into_iter()
            .map(|(lane, up_to_seq)| Record::Sent { at_us: now_us, lane, up_to_seq })
            .collect();
        let mut outcomes = |runs: &mut Runs, outcome: fn(Tp, i64) -> Outcome| {
            records.extend(runs.take().into_iter().map(|run| Record::Outcome {
                at_us: now_us,
                lane: run.lane,
                first_seq: run.first_seq,
                count: run.count,
                outcome: outcome(run.tp, run.base_offset),
            }));
        };
        outcomes(&mut book.acked, |tp, base_offset| Outcome::Ok { tp, base_offset });
        outcomes(&mut book.failed, |_, _| Outcome::Fail);
        outcomes(&mut book.others, |_, _| Outcome::Unknown);
        if !records.is_empty() {
            self.tell(LoadEvent::Records(records));
        }
        if !book.samples.is_empty() {
            self.tell(LoadEvent::Sends(std::mem::take(&mut book.samples)));
        }
    }

    /// Waits for room: the schedule does not, so the delay shows up as delay.
    fn tell(&self, event: LoadEvent) {
        // Nobody listens any more only when the run is over.
        let _ = self.tx.blocking_send(event);
    }
}

impl Book {
    fn take_slot(&mut self, due: &Due, sent_us: i64) -> usize {
        let slot =
            Slot { id: due.id, partition: due.partition.unwrap_or(-1), intended_us: due.intended_us, sent_us };
        match self.free.pop() {
            Some(free) => {
                self.slots[free] = slot;
                free
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_was_not_written_is_a_failure() {
        use RDKafkaErrorCode as Code;
        let of = |code| end_of(&KafkaError::MessageProduction(code));
        for code in [Code::PurgeQueue, Code::MessageSizeTooLarge, Code::UnknownPartition] {
            assert_eq!(of(code), SendEnd::Failed, "{code:?}");
        }
        for code in [
            Code::MessageTimedOut,
            Code::PurgeInflight,
            Code::RequestTimedOut,
            Code::NotEnoughReplicasAfterAppend,
            Code::NotEnoughReplicas,
            Code::BrokerTransportFailure,
        ] {
            assert_eq!(of(code), SendEnd::Unknown, "{code:?}");
        }
    }
}
