//! The audit reader: assigned, not subscribed, it reads every partition from its beginning to its end. It judges the
//! log; what the groups were given is judged by their own members' records.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use metricstream_ledger::history::{Record, Tp};
use metricstream_run::identity::Identity;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::clock::RunTime;
use crate::runs::Runs;

const ASK: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(100);
/// Records leave in batches of about so many messages.
const BATCH: usize = 50_000;

/// One topic to be read: its name and number of partitions as the scenario has them.
#[derive(Debug, Clone)]
pub struct AuditTopic {
    /// Topic name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
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
    let mut config = config.clone();
    config
        .set("group.id", "metricstream-audit")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_uncommitted")
        .set("fetch.wait.max.ms", "100")
        .set("client.id", "metricstream-audit");
    let reader: BaseConsumer = config.create().map_err(|e| AuditError::Client(e.to_string()))?;
    let late = |waited_for: String, last: String| AuditError::Deadline {
        waited_s: begun.elapsed().as_secs_f64(),
        waited_for,
        last,
    };
    let mut ends: BTreeMap<Tp, i64> = BTreeMap::new();
    for (index, topic) in (0_u16..).zip(topics) {
        for partition in 0..topic.partitions {
            let tp = Tp { topic: index, partition };
            let bounds = bounds(&reader, topic, partition, deadline)
                .map_err(|last| late(format!("the bounds of {}-{partition}", topic.name), last))?;
            out(vec![Record::Bounds { tp, bounds }]);
            if let Some((low, high)) = bounds
                && low < high
            {
                ends.insert(tp, high);
                assign(&reader, &topic.name, partition, low).map_err(AuditError::Client)?;
            }
        }
    }
    read(&reader, topics, run_id, ends, deadline, out)
        .map_err(|(waiting, last)| late(format!("the end of {waiting}"), last))?;
    out(vec![Record::AuditDone { at_us: time.now_us() }]);
    Ok(())
}

fn assign(reader: &BaseConsumer, topic: &str, partition: i32, from: i64) -> Result<(), String> {
    let mut one = TopicPartitionList::new();
    one.add_partition_offset(topic, partition, Offset::Offset(from)).map_err(|e| e.to_string())?;
    reader.incremental_assign(&one).map_err(|e| e.to_string())
}

/// Log start and high watermark; `None` if the topic is not there, asked twice so that a broker that has just started
/// and does not know of it yet is not believed.
fn bounds(
    reader: &BaseConsumer,
    topic: &AuditTopic,
    partition: i32,
    deadline: Instant,
) -> Result<Option<(i64, i64)>, String> {
    let mut absent = 0;
    loop {
        let last = match reader.fetch_watermarks(&topic.name, partition, ASK) {
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
                format!("{code:?}")
            }
            Err(error) => error.to_string(),
        };
        if absent >= 20 {
            return Ok(None);
        }
        if Instant::now() >= deadline {
            return Err(last);
        }
        std::thread::sleep(AGAIN);
    }
}

fn read(
    reader: &BaseConsumer,
    topics: &[AuditTopic],
    run_id: u64,
    mut ends: BTreeMap<Tp, i64>,
    deadline: Instant,
    out: &mut dyn FnMut(Vec<Record>),
) -> Result<(), (String, String)> {
    let index: BTreeMap<&str, u16> = topics.iter().map(|t| t.name.as_str()).zip(0..).collect();
    let mut runs = Runs::default();
    let mut batch = Vec::new();
    let mut read = 0_usize;
    let mut last = "none".to_owned();
    while !ends.is_empty() {
        if Instant::now() >= deadline {
            hand_on(&mut runs, &mut batch, out);
            let waiting = ends.keys().map(|tp| format!("{}-{}", topics[usize::from(tp.topic)].name, tp.partition));
            return Err((waiting.collect::<Vec<_>>().join(", "), last));
        }
        match reader.poll(AGAIN) {
            None => {}
            // The end as the broker sees it now, at or beyond the one that was asked for. Topics share numbers, so a
            // partition is only done by this if it is the one topic's.
            Some(Err(KafkaError::PartitionEOF(partition))) if topics.len() == 1 => {
                ends.remove(&Tp { topic: 0, partition });
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => last = error.to_string(),
            Some(Ok(message)) => {
                let Some(topic) = index.get(message.topic()).copied() else { continue };
                let tp = Tp { topic, partition: message.partition() };
                let Some(end) = ends.get(&tp).copied() else { continue };
                match Identity::open(message.payload().unwrap_or_default(), run_id) {
                    Ok(identity) => runs.push(tp, message.offset(), identity.id),
                    Err(why) => batch.push(Record::Alien { group: None, tp, offset: message.offset(), why }),
                }
                read += 1;
                if message.offset() + 1 >= end {
                    ends.remove(&tp);
                }
                if read.is_multiple_of(BATCH) {
                    hand_on(&mut runs, &mut batch, out);
                }
            }
        }
    }
    hand_on(&mut runs, &mut batch, out);
    Ok(())
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
        let last = match reader.committed_offsets(all.clone(), ASK) {
            Ok(found) => {
                let offset_of = |name: &str, partition| match found.find_partition(name, partition).map(|e| e.offset()) {
                    Some(Offset::Offset(offset)) => offset,
                    _ => -1,
                };
                return Ok(tps.iter().map(|(name, tp)| (*tp, offset_of(name, tp.partition))).collect());
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            let waited_for = format!("the committed offsets of group {group}");
            return Err(AuditError::Deadline { waited_s: begun.elapsed().as_secs_f64(), waited_for, last });
        }
        std::thread::sleep(AGAIN);
    }
}
