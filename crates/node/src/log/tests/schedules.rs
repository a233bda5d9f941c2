//! Random schedules of everything that happens to a log.

use std::collections::BTreeMap;

use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use proptest::prelude::*;

use super::{Story, sequenced, small_segments};
use crate::log::LogConfig;

/// One thing that happens to a log.
#[derive(Debug, Clone)]
enum Step {
    Append { count: usize, producer: i64 },
    NewEpoch,
    Truncate { back: i64 },
    DeleteBefore { back: i64 },
    DropOldest,
    Restart,
    Tear { bytes: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1_usize..5, 0_i64..3).prop_map(|(count, producer)| Step::Append { count, producer }),
        2 => Just(Step::NewEpoch),
        2 => (0_i64..12).prop_map(|back| Step::Truncate { back }),
        1 => (0_i64..12).prop_map(|back| Step::DeleteBefore { back }),
        1 => Just(Step::DropOldest),
        2 => Just(Step::Restart),
        1 => (1_usize..120).prop_map(|bytes| Step::Tear { bytes }),
    ];
    prop::collection::vec(step, 1..40)
}

fn tear(story: &mut Story, bytes: usize) {
    let last = story.store.files.iter_mut().rev().find(|(path, content)| path.ends_with(".log") && !content.is_empty());
    if let Some((_, content)) = last {
        let left = content.len().saturating_sub(bytes);
        content.truncate(left);
    }
    story.reopen().expect("a torn tail is cut");
}

fn happen(story: &mut Story, step: &Step, epoch: &mut i32) {
    let (now, end) = (story.now, story.log.end_offset());
    match *step {
        Step::Append { count, producer } => {
            let known = story.log.producers().all().get(&producer);
            let sequence = known.map_or(0, |p| p.last_sequence().wrapping_add(1));
            let appended = story.produce(sequenced(producer, 0, sequence, count, now.wall_ms), *epoch);
            assert_eq!(appended.map(|a| a.first_offset), Ok(end), "dense");
        }
        Step::NewEpoch => {
            *epoch += 1;
            story.log.start_epoch(*epoch, &mut story.out);
        }
        Step::Truncate { back } => story.truncate_to((end - back).max(0)),
        Step::DeleteBefore { back } => {
            let offset = (end - back).max(0);
            story.log.delete_records_before(offset, end, &mut story.out).expect("not above the end");
        }
        Step::DropOldest => {
            story.log.drop_oldest_segment(end, now, &mut story.out);
        }
        Step::Restart => story.reopen().expect("sound"),
        Step::Tear { bytes } => tear(story, bytes),
    }
    story.settle();
}

/// What a reader knows who has read the whole log: each key's last value.
fn table(story: &Story) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    for (_, key, value) in story.records_from(story.log.start_offset()) {
        let key = key.expect("keyed");
        match value {
            Some(value) => table.insert(key, value),
            None => table.remove(&key),
        };
    }
    table
}

/// One thing that happens to a compacted log: a batch of keys, some of them tombstones; or time passes and it is cleaned
/// below a high watermark so far behind its end, perhaps with a restart before.
#[derive(Debug, Clone)]
enum KeyedStep {
    Append(Vec<(u8, bool)>),
    Clean { behind: i64, passed_ms: i64, restart: bool },
}

fn keyed_steps() -> impl Strategy<Value = Vec<KeyedStep>> {
    let records = prop::collection::vec((0_u8..6, prop::bool::weighted(0.3)), 1..5);
    let clean = (0_i64..10, 0_i64..1_500, any::<bool>());
    let step = prop_oneof![
        4 => records.prop_map(KeyedStep::Append),
        1 => clean.prop_map(|(behind, passed_ms, restart)| KeyedStep::Clean { behind, passed_ms, restart }),
    ];
    prop::collection::vec(step, 1..60)
}

fn append_keyed(story: &mut Story, records: &[(u8, bool)], known: &mut BTreeMap<String, String>) {
    let mut batch = BatchBuilder::new();
    for (n, (key, tombstone)) in records.iter().enumerate() {
        let (key, value) = (format!("key {key}"), format!("value {}", story.log.end_offset() + n as i64));
        let stored = (!tombstone).then_some(value.as_bytes());
        let timestamp_ms = story.now.wall_ms;
        batch.push(NewRecord { timestamp_ms, key: Some(key.as_bytes()), value: stored, ..Default::default() });
        match tombstone {
            true => known.remove(&key),
            false => known.insert(key, value),
        };
    }
    story.produce(batch.build(0, -1), 0).expect("keyed");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_log_it_is_in_agreement_with_itself_and_with_what_a_restart_finds(
        steps in steps(),
        cache_bytes in prop_oneof![Just(0_usize), Just(500), Just(1 << 20)],
    ) {
        let mut story = Story::new(LogConfig { cache_bytes, ..small_segments() });
        let mut epoch = 0;
        for step in &steps {
            happen(&mut story, step, &mut epoch);
            story.check();
        }
        // An epoch in which nothing was written is forgotten at a restart, and so are producers whose records are gone.
        let end = story.log.end_offset();
        let written = |story: &Story| story.epochs().into_iter().filter(|(_, start)| *start < end).collect::<Vec<_>>();
        let epochs = written(&story);
        let bytes = story.bytes_from(story.log.start_offset());
        let start = story.log.start_offset();
        story.reopen().expect("sound");
        prop_assert_eq!((story.log.start_offset(), story.log.end_offset()), (start, end));
        prop_assert_eq!(written(&story), epochs);
        prop_assert_eq!(story.bytes_from(start), bytes);
        let producers = story.log.producers().clone();
        story.truncate_to(end);
        story.reopen().expect("sound");
        prop_assert_eq!(story.log.producers(), &producers);
    }

    #[test]
    fn a_follower_that_read_in_any_pieces_has_the_leaders_log(
        counts in prop::collection::vec((1_usize..5, 0_i32..2), 1..20),
        pieces in prop::collection::vec(1_usize..700, 1..8),
    ) {
        let mut leader = Story::new(small_segments());
        let mut epoch = 0;
        for (count, raise) in counts {
            epoch += raise;
            leader.append(count, epoch);
        }
        let mut follower = Story::new(LogConfig { segment_bytes: 500, ..small_segments() });
        for max_bytes in pieces.into_iter().cycle() {
            let from = follower.log.end_offset();
            let read = leader.log.read(from, leader.log.end_offset(), max_bytes, true).expect("in range");
            if read.parts.is_empty() {
                break;
            }
            follower.follow(&leader.store.resolve(&read.parts)).expect("sound");
            prop_assert_eq!(follower.log.end_offset(), read.next_offset);
            follower.check();
        }
        prop_assert_eq!(follower.bytes_from(0), leader.bytes_from(0));
        prop_assert_eq!(follower.epochs(), leader.epochs());
        prop_assert_eq!(follower.log.producers(), leader.log.producers());
    }

    #[test]
    fn whoever_reads_a_compacted_log_knows_each_keys_last_value(
        steps in keyed_steps(),
        cache_bytes in prop_oneof![Just(0_usize), Just(500), Just(1 << 20)],
    ) {
        let config = LogConfig { cache_bytes, compact: true, delete: false, ..small_segments() };
        let config = LogConfig { delete_retention_ms: 1_000, ..config };
        let mut story = Story::new(LogConfig { min_cleanable_ratio: 0.0, ..config });
        let mut known = BTreeMap::new();
        for step in steps {
            match step {
                KeyedStep::Append(records) => append_keyed(&mut story, &records, &mut known),
                KeyedStep::Clean { behind, passed_ms, restart } => {
                    story.now.wall_ms += passed_ms;
                    if restart {
                        story.reopen().expect("sound");
                    }
                    let end = story.log.end_offset();
                    story.clean((end - behind).max(0));
                    prop_assert_eq!(story.log.end_offset(), end);
                }
            }
            story.check();
            prop_assert_eq!(table(&story), known.clone());
        }
        let mut follower = Story::new(small_segments());
        follower.follow(&story.bytes_from(0)).expect("sound");
        prop_assert_eq!(follower.log.end_offset(), story.log.end_offset());
    }
}
