//! One producer: a client, a thread that sends by the open-loop schedule, and a thread that hears of outcomes.
//!
//! A message carries its number as the client's opaque: lane, sequence and the intended time follow from it by the schedule's
//! arithmetic, and a ring remembers when the newest were handed over. Of what fell out of the ring the identity in the
//! message itself tells. The schedule never resets; what the client does not take stays due.

mod outbox;
mod outcome;
mod sent_times;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use metricstream_ledger::history::{Record, TopicIndex, Tp};
use metricstream_ledger::sample::{ClientSample, SendEnd};
use metricstream_run::identity::Identity;
use metricstream_run::schedule::{Due, Schedule};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::{ClientContext, Statistics};

use crate::clock::{RunTime, process_cpu_us};
use crate::config::{self, ProducerConfig, STATISTICS_INTERVAL_MS};
use crate::event::{EventSink, LoadEvent};
use crate::load::LoadError;
use crate::native::{TopicHandle, persistence};
use crate::progress::ProducerCounters;
use outbox::{Ended, Outbox};
use sent_times::SentTimes;

/// How often batches are told and commands looked at.
const TURN: Duration = Duration::from_millis(20);
/// How long to leave a client alone that did not take a message.
const REFUSED: Duration = Duration::from_millis(1);
/// After this long without errors, the next one is the first of a bout, µs.
const QUIET_US: i64 = 1_000_000;
/// How long librdkafka may take to report what it was told to give up.
const PURGE_DEADLINE: Duration = Duration::from_secs(10);

/// What a producer is made from.
pub(crate) struct ProducerPlan {
    /// Index in the scenario.
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) topic: String,
    pub(crate) topic_index: TopicIndex,
    pub(crate) incarnation: u32,
    pub(crate) run_id: u64,
    pub(crate) config: ProducerConfig,
    pub(crate) schedule: Schedule,
    pub(crate) time: RunTime,
}

/// A running producer.
pub(crate) struct ProducerHandle {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What its two threads and its owner share.
#[derive(Debug, Default)]
struct Shared {
    counters: Arc<ProducerCounters>,
    last_sent_us: AtomicI64,
    /// When the schedule ends, if it was told while it ran.
    schedule_ends_us: OnceLock<i64>,
    /// Send no more.
    stop: AtomicBool,
    /// The sending thread is done.
    sent_all: AtomicBool,
    /// Give up whatever is open.
    purge: AtomicBool,
    /// End once nothing is open.
    end: AtomicBool,
    died: AtomicBool,
}

/// Counts producers that still send; the last one tells.
#[derive(Debug, Clone)]
pub(crate) struct StillSending {
    left: Arc<AtomicU64>,
    sink: EventSink,
}

impl StillSending {
    pub(crate) fn new(producers: usize, sink: EventSink) -> Self {
        Self { left: Arc::new(AtomicU64::new(producers as u64)), sink }
    }

    fn one_ended(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.sink.send(LoadEvent::SendingEnded);
        }
    }
}

impl ProducerHandle {
    /// Creates the client and starts both threads. Sending begins when the schedule does.
    pub(crate) fn start(plan: ProducerPlan, sink: EventSink, still_sending: StillSending) -> Result<Self, LoadError> {
        let client = format!("producer {}", plan.name);
        let shared = Arc::new(Shared::default());
        let lanes = (0..plan.schedule.lanes()).map(|lane| Record::Lane {
            lane: plan.schedule.lane_id(lane),
            topic: plan.topic_index,
            partition: plan.schedule.lane_partition(lane),
            idempotent: plan.config.idempotent,
        });
        let context = Context {
            producer: plan.index,
            name: plan.name.clone(),
            topic: plan.topic.clone(),
            topic_index: plan.topic_index,
            schedule: plan.schedule.clone(),
            sent_times: SentTimes::new(plan.config.in_flight_max),
            run_id: plan.run_id,
            acks_none: plan.config.acks_none,
            time: plan.time,
            shared: shared.clone(),
            sink,
            outbox: Mutex::new(Outbox::new(plan.index, plan.topic_index, plan.incarnation, lanes.collect())),
            last_error_us: AtomicI64::new(i64::MIN / 2),
            cpu: Mutex::new((plan.time.now_us(), process_cpu_us())),
        };
        let created = plan.config.client.create_with_context::<_, BaseProducer<Context>>(context);
        let producer = Arc::new(created.map_err(|error| config::refused(&client, &error))?);
        let topic = TopicHandle::new(producer.clone(), &plan.topic)
            .map_err(|detail| config::ConfigError::Client { client: client.clone(), detail })?;

        let thread = |what: &str| std::thread::Builder::new().name(format!("{what} {}", plan.name));
        let failed = |error: std::io::Error| LoadError::Thread(format!("{client}: {error}"));
        let hearing = shared.clone();
        let hears = thread("outcomes").spawn(move || hear(&producer, &hearing)).map_err(failed)?;
        // From here on dropping the handle ends the thread that runs already.
        let mut handle = Self { shared: shared.clone(), threads: vec![hears] };
        let (schedule, time) = (plan.schedule, plan.time);
        let sends = thread("sends").spawn(move || {
            send_all(&topic, schedule, time, &shared);
            shared.sent_all.store(true, Ordering::Release);
            still_sending.one_ended();
        });
        handle.threads.push(sends.map_err(|error| {
            handle.shared.sent_all.store(true, Ordering::Release);
            failed(error)
        })?);
        Ok(handle)
    }

    pub(crate) fn counters(&self) -> Arc<ProducerCounters> {
        self.shared.counters.clone()
    }

    /// Intends nothing that is due after this time. Only the first call counts.
    pub(crate) fn end_schedule_at(&self, at_us: i64) {
        let _ = self.shared.schedule_ends_us.set(at_us);
    }

    /// Sends nothing more; what is in flight goes on.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Sends whose outcome is open; while it still sends, at least one.
    pub(crate) fn open(&self) -> u64 {
        let sending = !self.shared.sent_all.load(Ordering::Acquire);
        self.shared.counters.open().max(u64::from(sending))
    }

    /// Gives up what is open: it counts as unknown, or as failed where it never left the client.
    pub(crate) fn purge(&self) {
        self.stop();
        self.shared.purge.store(true, Ordering::Release);
    }

    /// Whether its threads have ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Ends it as soon as nothing is open. Does not wait.
    pub(crate) fn end(&self) {
        self.stop();
        self.shared.end.store(true, Ordering::Release);
    }
}

impl Drop for ProducerHandle {
    /// Tells the threads to end; it must not wait for them, for they may wait for whoever drops this.
    fn drop(&mut self) {
        self.purge();
        self.end();
    }
}

/// The sending thread.
fn send_all(topic: &TopicHandle<Context>, mut schedule: Schedule, time: RunTime, shared: &Shared) {
    let mut value = vec![0; schedule.value_size_bytes()];
    let context = topic.producer().context().clone();
    let mut told = false;
    while !shared.stop.load(Ordering::Acquire) {
        if let Some(end_us) = shared.schedule_ends_us.get().filter(|_| !told) {
            schedule.end_at(*end_us);
            told = true;
        }
        let now_us = time.now_us();
        let Some(due) = schedule.peek(now_us) else {
            shared.counters.owed.store(0, Ordering::Relaxed);
            if schedule.finished(now_us) {
                break;
            }
            let wait = schedule.next_intended_us().map_or(TURN, |at_us| time.until(at_us));
            std::thread::sleep(wait.min(TURN));
            continue;
        };
        schedule.write_value(&mut value, &due, now_us);
        let key = schedule.lane_key(due.id.lane.lane);
        let number = schedule.taken();
        // Before it is handed over: its report may come at once.
        context.sent_times.note(number, now_us);
        match topic.send(due.partition, key.as_ref().map(|key| key.as_bytes()), &value, number as usize) {
            Ok(()) => published(&mut schedule, shared, now_us),
            Err(RDKafkaErrorCode::QueueFull) => {
                let owed = schedule.intended_total().map_or(0, |_| schedule.due(now_us));
                shared.counters.owed.store(owed, Ordering::Relaxed);
                std::thread::sleep(REFUSED);
            }
            Err(refused) => {
                published(&mut schedule, shared, now_us);
                context.refused(&due, now_us, value.len(), refused);
                if refused == RDKafkaErrorCode::Fatal {
                    context.died(topic.producer());
                    break;
                }
                // An unthrottled schedule must not spin on a client that refuses everything.
                std::thread::sleep(REFUSED);
            }
        }
    }
}

fn published(schedule: &mut Schedule, shared: &Shared, sent_us: i64) {
    schedule.advance();
    shared.last_sent_us.store(sent_us, Ordering::Release);
    shared.counters.sent.store(schedule.taken(), Ordering::Release);
}

/// The thread that hears of outcomes, and the last to end.
fn hear(producer: &BaseProducer<Context>, shared: &Shared) {
    let mut give_up_at = None;
    loop {
        producer.poll(TURN);
        producer.context().flush();
        let sent_all = shared.sent_all.load(Ordering::Acquire);
        if sent_all && shared.purge.load(Ordering::Acquire) && give_up_at.is_none() {
            producer.purge(PurgeConfig::default().queue().inflight());
            give_up_at = Some(std::time::Instant::now() + PURGE_DEADLINE);
        }
        if sent_all && shared.end.load(Ordering::Acquire) {
            // What the client does not report within the deadline has no outcome, which the ledger calls unknown.
            let given_up = give_up_at.is_some_and(|at| std::time::Instant::now() >= at);
            if shared.counters.open() == 0 || given_up {
                break;
            }
        }
    }
}

/// What the client calls back.
struct Context {
    producer: u32,
    name: String,
    topic: String,
    topic_index: TopicIndex,
    /// As it was before the first send: only its arithmetic is used.
    schedule: Schedule,
    sent_times: SentTimes,
    run_id: u64,
    acks_none: bool,
    time: RunTime,
    shared: Arc<Shared>,
    sink: EventSink,
    outbox: Mutex<Outbox>,
    last_error_us: AtomicI64,
    /// When statistics came last, and the processor time that the process had used.
    cpu: Mutex<(i64, i64)>,
}

impl Context {
    fn ended(&self, ended: &Ended) {
        let counters = &self.shared.counters;
        let full = {
            let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            if !outbox.told(ended.identity.id) {
                self.tell_sent(&mut outbox);
            }
            outbox.ended(ended);
            outbox.is_full()
        };
        match ended.outcome {
            SendEnd::Acked => &counters.acked,
            SendEnd::Failed => &counters.failed,
            SendEnd::Unknown | SendEnd::Open => &counters.unknown,
        }
        .fetch_add(1, Ordering::Release);
        if full {
            self.flush();
        }
    }

    fn tell_sent(&self, outbox: &mut Outbox) {
        let taken = self.shared.counters.sent.load(Ordering::Acquire);
        outbox.taken(taken, self.shared.last_sent_us.load(Ordering::Acquire));
    }

    /// Tells what was gathered.
    fn flush(&self) {
        let (records, samples) = {
            let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
            self.tell_sent(&mut outbox);
            outbox.take()
        };
        if !records.is_empty() {
            self.shared.counters.note_ends(&records);
            self.sink.send(LoadEvent::Records(records));
        }
        if !samples.is_empty() {
            self.sink.send(LoadEvent::Sends(samples));
        }
    }

    /// The client did not take the message: it was never sent.
    fn refused(&self, due: &Due, sent_us: i64, size: usize, why: RDKafkaErrorCode) {
        let identity = Identity { run_id: self.run_id, id: due.id, intended_us: due.intended_us, sent_us };
        self.trouble(&format!("not taken by the client: {why}"));
        self.ended(&Ended {
            identity,
            partition: due.partition.unwrap_or(-1),
            offset: -1,
            done_us: self.time.now_us(),
            size_bytes: u32::try_from(size).unwrap_or(u32::MAX),
            outcome: SendEnd::Failed,
            given_up: false,
        });
    }

    fn died(&self, producer: &BaseProducer<Self>) {
        if self.shared.died.swap(true, Ordering::AcqRel) {
            return;
        }
        let why = producer.client().fatal_error().map_or_else(|| "fatal error".to_owned(), |(_, reason)| reason);
        let (at_us, client) = (self.time.now_us(), self.name.clone());
        self.sink.send(LoadEvent::Trouble { at_us, client, error: format!("can never send again: {why}") });
    }

    /// Tells of the first error of a bout.
    fn trouble(&self, error: &str) {
        let at_us = self.time.now_us();
        let last_us = self.last_error_us.swap(at_us, Ordering::AcqRel);
        if at_us.saturating_sub(last_us) > QUIET_US {
            self.sink.send(LoadEvent::Trouble { at_us, client: self.name.clone(), error: error.to_owned() });
        }
    }

    fn identity(&self, message: &BorrowedMessage<'_>, number: u64) -> Option<Identity> {
        if let Some(sent_us) = self.sent_times.of(number) {
            return Some(self.schedule.identity(number, sent_us));
        }
        message.payload().and_then(|value| Identity::open(value, self.run_id).ok())
    }

    fn report(&self, message: &BorrowedMessage<'_>, number: u64, error: Option<&KafkaError>) {
        let done_us = self.time.now_us();
        let Some(identity) = self.identity(message, number) else {
            // The client gave back something else than it was given: nothing can be said of any message.
            tracing::error!(topic = self.topic, "a delivery report without an identity");
            return;
        };
        let given_up = self.shared.purge.load(Ordering::Acquire) && error.is_some();
        if let Some(error) = error.filter(|_| !given_up) {
            self.trouble(&error.to_string());
        }
        let size = message.payload_len() + message.key_len();
        self.ended(&Ended {
            identity,
            partition: message.partition(),
            offset: message.offset().max(-1),
            done_us,
            size_bytes: u32::try_from(size).unwrap_or(u32::MAX),
            outcome: outcome::classify(self.acks_none, persistence(message), error.is_some()),
            given_up,
        });
    }
}

impl ClientContext for Context {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(producer = self.producer, ?level, facility, text, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble(&format!("{error}: {reason}"));
    }

    fn stats(&self, statistics: Statistics) {
        let at_us = self.time.now_us();
        let cpu_us = process_cpu_us();
        let (last_us, last_cpu_us) =
            std::mem::replace(&mut *self.cpu.lock().unwrap_or_else(PoisonError::into_inner), (at_us, cpu_us));
        let cpu_share =
            (at_us > last_us).then(|| (cpu_us.saturating_sub(last_cpu_us)) as f64 / (at_us - last_us) as f64);
        let partitions = statistics.topics.get(&self.topic).map(|topic| &topic.partitions);
        let mut leaders: Vec<(Tp, i32)> = partitions
            .into_iter()
            .flatten()
            .filter(|(partition, _)| **partition >= 0)
            .map(|(partition, known)| (Tp { topic: self.topic_index, partition: *partition }, known.leader))
            .collect();
        leaders.sort_unstable_by_key(|(tp, _)| *tp);
        let in_flight = statistics.brokers.values().map(|broker| broker.waitresp_msg_cnt.max(0) as u64).sum();
        self.sink.send(LoadEvent::Client(ClientSample {
            producer: self.producer,
            at_us,
            interval_us: STATISTICS_INTERVAL_MS * 1000,
            queued: statistics.msg_cnt,
            queue_limit: statistics.msg_max,
            leaders,
            in_flight,
            cpu_share,
        }));
    }
}

impl ProducerContext for Context {
    /// The message's number over all lanes.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        match result {
            Ok(message) => self.report(message, number as u64, None),
            Err((error, message)) => self.report(message, number as u64, Some(error)),
        }
    }
}
