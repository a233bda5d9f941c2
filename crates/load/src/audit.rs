//! The audit reader: assigned, not subscribed, it reads every partition from its beginning to its end. It judges the
//! log; what the groups were given is judged by their own members' records.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use metricstream_ledger::history::{Record, Tp};
use metricstream_run::identity::Identity;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::clock::RunTime;
use crate::config;
use crate::runs::Runs;

const ASK: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(100);
/// So often must a topic be answered not to be there.
const ABSENT_ANSWERS: u32 = 20;
/// Records leave in batches of about so many messages.
const BATCH: usize = 50_000;

/// One topic to be read: its name and number of partitions as the scenario has them.
#[derive(Debug, Clone)]
pub struct AuditTopic {
    /// Topic name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Where this run's part of each partition begins; empty: at its beginning. What lies before is of others.
    pub starts: Vec<i64>,
}

/// Why the audit was not finished.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The reader could not be made.
    #[error("the audit reader: {0}")]
    Client(String),
    /// The deadline came first.
    #[error("waited {waited_s:.0} s for {waited_for}; last error: {last}")]
    Deadline {
        /// How long.
        waited_s: f64,
        /// For what.
        waited_for: String,
        /// What the client said last.
        last: String,
    },
}

/// Reads everything, up to the high watermarks found at the start; records go to `out` in the order of reading.
///
/// # Errors
/// If the deadline comes first; what was read until then has gone to `out`.
pub fn read_all(
    config: &ClientConfig,
    topics: &[AuditTopic],
    run_id: u64,
    time: RunTime,
    deadline: Instant,
    out: &mut dyn FnMut(Vec<Record>),
) -> Result<(), AuditError> {
    let begun = Instant::now();
    let mut config = config::reader(config, "metricstream-audit");
    // What was written and never committed to a transaction is in the log too.
    config.set("isolation.level", "read_uncommitted");
    let reader: BaseConsumer = config.create().map_err(|e| AuditError::Client(e.to_string()))?;
    let late = |waited_for: String, last: String| AuditError::Deadline {
        waited_s: begun.elapsed().as_secs_f64(),
        waited_for,
        last,
    };
    // One topic after another: the end of a partition is reported without its topic.
    for (index, topic) in (0_u16..).zip(topics) {
        let mut assigned = TopicPartitionList::new();
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        for partition in 0..topic.partitions {
            let tp = Tp { topic: index, partition };
            let bounds = bounds(&reader, topic, partition, deadline)
                .map_err(|last| late(format!("the bounds of {}-{partition}", topic.name), last))?;
            let start = usize::try_from(partition).ok().and_then(|at| topic.starts.get(at)).copied().unwrap_or(0);
            let bounds = bounds.map(|(low, high)| (low.max(start), high.max(start)));
            let mut told = vec![Record::Bounds { tp, bounds }];
            if let Some((low, high)) = bounds {
                told.push(Record::HighWatermark { at_us: time.now_us(), tp, epoch: -1, offset: high });
                if low < high {
                    ends.insert(partition, high);
                    let added = assigned.add_partition_offset(&topic.name, partition, Offset::Offset(low));
                    added.map_err(|e| AuditError::Client(e.to_string()))?;
                }
            }
            out(told);
        }
        reader.assign(&assigned).map_err(|e| AuditError::Client(e.to_string()))?;
        let (runs, batch, ended_at) = (Runs::default(), Vec::new(), BTreeMap::new());
        let mut reading = Reading { topic, index, run_id, ends, ended_at, runs, batch, read: 0 };
        let read = reading.read_on(&reader, deadline, out);
        read.map_err(|(waiting, last)| late(format!("the end of {waiting}"), last))?;
    }
    out(vec![Record::AuditDone { at_us: time.now_us() }]);
    Ok(())
}

/// Log start and high watermark; `None` if the topic is not there. A broker that has just started may not know of a topic
/// yet, so that answer must come again and again before it is believed.
fn bounds(
    reader: &BaseConsumer,
    topic: &AuditTopic,
    partition: i32,
    deadline: Instant,
) -> Result<Option<(i64, i64)>, String> {
    let mut absent = 0;
    loop {
        let patience = deadline.saturating_duration_since(Instant::now()).clamp(AGAIN, ASK);
        let last = match reader.fetch_watermarks(&topic.name, partition, patience) {
            Ok((low, high)) => return Ok(Some((low.max(0), high.max(0)))),
            Err(KafkaError::MetadataFetch(code) | KafkaError::OffsetFetch(code))
                if matches!(
                    code,
                    RDKafkaErrorCode::UnknownTopicOrPartition
                        | RDKafkaErrorCode::UnknownPartition
                        | RDKafkaErrorCode::UnknownTopic
                ) =>
            {
                absent += 1;
                code.to_string()
            }
            Err(error) => {
                absent = 0;
                error.to_string()
            }
        };
        if absent >= ABSENT_ANSWERS {
            return Ok(None);
        }
        if Instant::now() >= deadline {
            return Err(last);
        }
        std::thread::sleep(AGAIN);
    }
}

/// One topic on the way to its end.
struct Reading<'a> {
    topic: &'a AuditTopic,
    index: u16,
    run_id: u64,
    /// Where each partition ends that was not read to its end yet.
    ends: BTreeMap<i32, i64>,
    /// Where reading stood at an end that was not the one that was asked for.
    ended_at: BTreeMap<i32, i64>,
    runs: Runs,
    batch: Vec<Record>,
    read: usize,
}

impl Reading<'_> {
    /// What it still waited for and the client's last error, if the deadline came first.
    fn read_on(
        &mut self,
        reader: &BaseConsumer,
        deadline: Instant,
        out: &mut dyn FnMut(Vec<Record>),
    ) -> Result<(), (String, String)> {
        let mut last = "none".to_owned();
        while !self.ends.is_empty() {
            if Instant::now() >= deadline {
                hand_on(&mut self.runs, &mut self.batch, out);
                let waiting: Vec<_> = self.ends.keys().map(|p| format!("{}-{p}", self.topic.name)).collect();
                return Err((waiting.join(", "), last));
            }
            match reader.poll(AGAIN) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(partition))) => self.end_of(reader, partition),
                Some(Err(error)) => last = error.to_string(),
                Some(Ok(message)) => {
                    self.take(&message);
                    if self.read.is_multiple_of(BATCH) {
                        hand_on(&mut self.runs, &mut self.batch, out);
                    }
                }
            }
        }
        hand_on(&mut self.runs, &mut self.batch, out);
        Ok(())
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        // A topic that was read before may have something left in the client's queue.
        if message.topic() != self.topic.name {
            return;
        }
        let (partition, offset) = (message.partition(), message.offset());
        let Some(end) = self.ends.get(&partition).copied() else {
            return;
        };
        if offset < end {
            let tp = Tp { topic: self.index, partition };
            match Identity::open(message.payload().unwrap_or_default(), self.run_id) {
                Ok(identity) => self.runs.push(tp, offset, identity.id),
                Err(why) => self.batch.push(Record::Alien { group: None, tp, offset, why }),
            }
            self.read += 1;
        }
        if offset + 1 >= end {
            self.ends.remove(&partition);
        }
    }

    /// The client came to an end without having read the last offset: that one is no message (a transaction's marker, or
    /// compacted away), or the broker's high watermark lags behind the one that was asked for. Believed if it comes
    /// again after the high watermark was seen to be there.
    fn end_of(&mut self, reader: &BaseConsumer, partition: i32) {
        let Some(end) = self.ends.get(&partition).copied() else {
            return;
        };
        let position = reader.position().ok().and_then(|all| {
            let offset = all.find_partition(&self.topic.name, partition)?.offset();
            if let Offset::Offset(offset) = offset { Some(offset) } else { None }
        });
        let from = position.unwrap_or(-1);
        if self.ended_at.get(&partition) == Some(&from) {
            self.ends.remove(&partition);
            return;
        }
        let is_there = reader.fetch_watermarks(&self.topic.name, partition, ASK).is_ok_and(|(_, high)| high >= end);
        let again = position.map_or(Offset::Beginning, Offset::Offset);
        if is_there && reader.seek(&self.topic.name, partition, again, ASK).is_ok() {
            self.ended_at.insert(partition, from);
        }
    }
}

fn hand_on(runs: &mut Runs, batch: &mut Vec<Record>, out: &mut dyn FnMut(Vec<Record>)) {
    batch.extend(runs.take().into_iter().map(|run| Record::Logged {
        tp: run.tp,
        base_offset: run.base_offset,
        lane: run.lane,
        first_seq: run.first_seq,
        count: run.count,
    }));
    if !batch.is_empty() {
        out(std::mem::take(batch));
    }
}

/// The committed offsets of a group, −1 where there is none.
///
/// # Errors
/// If the coordinator does not answer before the deadline.
pub fn committed(
    config: &ClientConfig,
    group: &str,
    topics: &[AuditTopic],
    wanted: &[u16],
    deadline: Instant,
) -> Result<Vec<(Tp, i64)>, AuditError> {
    let begun = Instant::now();
    let mut config = config.clone();
    config.set("group.id", group).set("enable.auto.commit", "false");
    let reader: BaseConsumer = config.create().map_err(|e| AuditError::Client(e.to_string()))?;
    let mut all = TopicPartitionList::new();
    let mut tps = Vec::new();
    for index in wanted {
        let topic = &topics[usize::from(*index)];
        for partition in 0..topic.partitions {
            all.add_partition(&topic.name, partition);
            tps.push((topic.name.clone(), Tp { topic: *index, partition }));
        }
    }
    loop {
        let patience = deadline.saturating_duration_since(Instant::now()).clamp(AGAIN, ASK);
        let last = match reader.committed_offsets(all.clone(), patience) {
            Ok(found) if first_error(&found).is_none() => {
                let offset_of = |name: &str, partition| match found.find_partition(name, partition).map(|e| e.offset())
                {
                    Some(Offset::Offset(offset)) => offset,
                    _ => -1,
                };
                return Ok(tps.iter().map(|(name, tp)| (*tp, offset_of(name, tp.partition))).collect());
            }
            Ok(found) => first_error(&found).unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            let waited_for = format!("the committed offsets of group {group}");
            return Err(AuditError::Deadline { waited_s: begun.elapsed().as_secs_f64(), waited_for, last });
        }
        std::thread::sleep(AGAIN);
    }
}

/// Why some partition's offset is not known. A topic that is gone has none, and that is an answer.
fn first_error(found: &TopicPartitionList) -> Option<String> {
    let elements = found.elements();
    elements.iter().find_map(|element| match element.error() {
        Ok(()) => None,
        Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) => None,
        Err(error) => Some(format!("{}-{}: {error}", element.topic(), element.partition())),
    })
}
