//! What a leader and a follower take, and what they refuse.

use bytes::{Bytes, BytesMut};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};

use super::{Story, batch, batches, defaults, sequenced, small_segments};
use crate::io::{Durability, Output, Part, StorageAction};
use crate::log::{AppendError, LogConfig, Origin, TimestampType};

#[test]
fn a_leader_gives_records_their_offsets_and_its_epoch() {
    let mut story = Story::new(defaults());
    let first = story.append(3, 4);
    assert_eq!((first.first_offset, first.last_offset, first.append_time_ms, first.duplicate), (0, 2, None, false));
    let second = story.append(2, 6);
    assert_eq!((second.first_offset, second.last_offset), (3, 4));
    assert_eq!((story.log.end_offset(), story.log.last_epoch()), (5, Some(6)));
    assert_eq!(story.epochs(), [(4, 0), (6, 3)]);
    let seen: Vec<_> = batches(story.bytes_from(0)).iter().map(|b| (b.base_offset, b.partition_leader_epoch)).collect();
    assert_eq!(seen, [(0, 4), (3, 6)]);
    story.check();
}

#[test]
fn an_append_keeps_the_bytes_that_came_and_copies_none_of_them() {
    let mut story = Story::new(defaults());
    let frame = BytesMut::from(&batch(100, 0)[..]);
    let place = frame.as_ptr();
    let (origin, flaws, now) = (Origin::Client, story.flaws, story.now);
    story.log.append_as_leader(frame, 0, origin, &flaws, now, &mut story.out).expect("a sound batch");
    let appended = story.out.take().into_iter().find_map(|output| match output {
        Output::Storage(op) => match op.action {
            StorageAction::Append { bytes } => Some(bytes),
            _ => None,
        },
        _ => None,
    });
    let [bytes] = &appended.expect("an append")[..] else { panic!("one piece") };
    assert_eq!(bytes.as_ptr(), place);
    let read = story.log.read(0, 100, 1 << 20, true).expect("in range");
    let [Part::Bytes(bytes)] = &read.parts[..] else { panic!("{read:?}") };
    assert_eq!(bytes.as_ptr(), place);
}

#[test]
fn a_follower_has_its_leaders_bytes_and_epochs() {
    let mut leader = Story::new(defaults());
    for epoch in [0, 0, 2, 5] {
        leader.append(2, epoch);
    }
    let mut follower = Story::new(small_segments());
    let sent = leader.bytes_from(0);
    let cut = sent.slice(..sent.len() - 10);
    let appended = follower.follow(&cut).expect("three batches and a part");
    assert_eq!((appended.first_offset, appended.last_offset), (0, 5));
    follower.follow(&leader.bytes_from(6)).expect("the rest");
    assert_eq!(follower.bytes_from(0), sent);
    assert_eq!(follower.epochs(), leader.epochs());
    assert_eq!(follower.epochs(), [(0, 0), (2, 4), (5, 6)]);
    follower.check();
}

#[test]
fn a_follower_refuses_what_is_damaged_or_does_not_continue_its_log() {
    let mut leader = Story::new(defaults());
    leader.append(2, 0);
    leader.append(2, 0);
    let mut follower = Story::new(defaults());
    follower.follow(&leader.bytes_from(0)).expect("both");
    let again = follower.follow(&leader.bytes_from(2));
    assert_eq!(again, Err(AppendError::UnexpectedOffset { found: 2, end: 4 }));
    leader.append(2, 0);
    let mut flipped = leader.bytes_from(4).to_vec();
    *flipped.last_mut().expect("bytes") ^= 1;
    assert!(matches!(follower.follow(&flipped.into()), Err(AppendError::Corrupt(_))));
    assert_eq!(follower.log.end_offset(), 4);
    follower.check();
}

#[test]
fn a_follower_emptied_at_an_offset_inside_a_batch_takes_the_batch_around_it() {
    let mut leader = Story::new(defaults());
    leader.append(10, 0);
    let mut follower = Story::new(defaults());
    let now = follower.now;
    follower.log.truncate_fully_and_start_at(4, now, &mut follower.out);
    follower.follow(&leader.bytes_from(4)).expect("the batch around the start");
    for _ in 0..2 {
        assert_eq!((follower.log.start_offset(), follower.log.end_offset()), (4, 10));
        assert!(follower.log.read(3, 10, 1000, true).is_err());
        assert_eq!(follower.bytes_from(4), leader.bytes_from(4));
        follower.check();
        follower.reopen().expect("sound");
    }
}

#[test]
fn with_log_append_time_every_record_carries_the_brokers_clock() {
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..defaults() };
    let mut story = Story::new(config);
    story.now.wall_ms = 77_000;
    let appended = story.produce(batch(2, 5), 0).expect("a sound batch");
    assert_eq!(appended.append_time_ms, Some(77_000));
    let records = batches(story.bytes_from(0))[0].records().expect("plain");
    assert!(records.iter().all(|r| r.timestamp_ms == 77_000));
    story.check();
}

#[test]
fn what_a_producer_may_not_send_is_refused_by_kafkas_name_and_leaves_no_trace() {
    let mut story = Story::new(LogConfig { max_message_bytes: 2_000, ..defaults() });
    story.append(1, 0);
    let before = (story.store.files.clone(), story.log.end_offset());
    let mut flipped = batch(1, 0).to_vec();
    *flipped.last_mut().expect("bytes") ^= 1;
    let control = {
        let mut batch = BatchBuilder::new().control();
        batch.push(NewRecord { key: Some(b"k"), ..Default::default() });
        batch.build(0, -1)
    };
    let transactional = {
        let mut batch = BatchBuilder::new().producer(1, 0, 0).transactional();
        batch.push(NewRecord { value: Some(b"v"), ..Default::default() });
        batch.build(0, -1)
    };
    let at_seven = {
        let mut builder = BatchBuilder::new();
        builder.push(NewRecord::default());
        builder.build(7, -1)
    };
    let cases: Vec<(&str, Bytes, i16)> = vec![
        ("nothing", Bytes::new(), 87),
        ("a flipped bit", flipped.into(), 2),
        ("two batches", [batch(1, 0), batch(1, 0)].concat().into(), 87),
        ("a control batch", control, 87),
        ("another base offset", at_seven, 87),
        ("a transaction", transactional, 53),
        ("too large", batch(500, 0), 10),
        ("two hours ahead", batch(1, 7_200_000 + 1_000), 32),
    ];
    for (what, bytes, code) in cases {
        let refused = story.produce(bytes, 0).expect_err(what);
        assert_eq!(refused.error_code().0, code, "{what}: {refused}");
        assert_eq!((story.store.files.clone(), story.log.end_offset()), before, "{what}");
    }
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    let mut story = Story::new(LogConfig { compact: true, ..defaults() });
    let refused = story.produce(batch(1, 0), 0).expect_err("no key");
    assert_eq!(refused.error_code().0, 87);
    assert_eq!(refused, AppendError::WithoutKey { records: vec![0] }, "and which one it was");
    let mut compressed = BytesMut::from(&batch(1, 0)[..]);
    compressed[22] |= 4;
    let crc = crc32c::crc32c(&compressed[21..]);
    compressed[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(story.produce(compressed.freeze(), 0), Err(AppendError::CompressedKeys));
}

#[test]
fn a_batch_larger_than_a_segment_is_refused_and_smaller_ones_go_to_the_next() {
    let mut story = Story::new(small_segments());
    let refused = story.produce(batch(50, 0), 0).expect_err("larger than 300 bytes");
    assert_eq!(refused.error_code().0, 18);
    for _ in 0..5 {
        story.append(3, 0);
    }
    let names: Vec<_> =
        story.files().iter().filter(|(path, _)| path.ends_with(".log")).map(|(path, _)| *path).collect();
    assert_eq!(
        names,
        [
            "metrics-0/00000000000000000000.log",
            "metrics-0/00000000000000000006.log",
            "metrics-0/00000000000000000012.log"
        ]
    );
    story.check();
}

#[test]
fn a_segment_is_rolled_at_its_age_by_record_time() {
    let mut story = Story::new(LogConfig { roll_ms: 1_000, ..defaults() });
    for timestamp_ms in [5_000, 5_900, 6_000, 6_001, 6_500] {
        story.produce(batch(1, timestamp_ms), 0).expect("a sound batch");
    }
    assert_eq!(story.log.segment_count(), 2);
    assert!(story.files().iter().any(|(path, _)| *path == "metrics-0/00000000000000000003.log"));
}

#[test]
fn a_synced_log_names_the_operation_after_which_records_are_safe() {
    let mut story = Story::new(LogConfig { durability: Durability::Synced, ..defaults() });
    let records = [batch(2, 0), batch(1, 0)].concat();
    let (flaws, now) = (story.flaws, story.now);
    let records = BytesMut::from(&records[..]);
    let appended = story.log.append_as_leader(records, 1, Origin::Raft, &flaws, now, &mut story.out).expect("sound");
    assert_eq!((appended.first_offset, appended.last_offset), (0, 2));
    let (completions, _) = story.store.apply(&mut story.out);
    assert_eq!(completions.iter().map(|c| c.id).collect::<Vec<_>>(), [appended.sync.expect("wanted")]);
    story.store.lose_power();
    story.reopen().expect("sound");
    assert_eq!((story.log.end_offset(), story.log.last_epoch()), (3, Some(1)));
    let mut unsafe_story = Story::new(defaults());
    assert_eq!(unsafe_story.append(2, 0).sync, None);
    unsafe_story.store.lose_power();
    unsafe_story.reopen().expect("empty");
    assert_eq!(unsafe_story.log.end_offset(), 0);
}

#[test]
fn an_epoch_begins_at_the_logs_end_before_anything_is_written_in_it() {
    let mut story = Story::new(defaults());
    story.append(3, 1);
    story.log.start_epoch(2, &mut story.out);
    assert_eq!(story.log.epoch_start(2), Some(3));
    let end = story.log.end_offset_for_epoch(1);
    assert_eq!((end.epoch, end.end_offset), (1, 3));
    story.append(1, 2);
    let end = story.log.end_offset_for_epoch(2);
    assert_eq!((end.epoch, end.end_offset), (2, 4));
    assert_eq!(story.store.files["metrics-0/leader-epoch-checkpoint"], b"0\n2\n1 0\n2 3\n");
}

#[test]
fn a_coordinators_batches_have_no_sequence_but_a_fenced_producer_stays_out() {
    let mut story = Story::new(defaults());
    story.produce(sequenced(9, 3, 0, 1, 0), 0).expect("new");
    let (flaws, now) = (story.flaws, story.now);
    let mut as_coordinator = |bytes: Bytes| {
        let bytes = BytesMut::from(&bytes[..]);
        story.log.append_as_leader(bytes, 0, Origin::Coordinator, &flaws, now, &mut story.out)
    };
    let both = as_coordinator([batch(1, 0), batch(2, 0)].concat().into()).expect("plain");
    assert_eq!((both.first_offset, both.last_offset), (1, 3));
    let fenced = as_coordinator(sequenced(9, 2, 0, 1, 0)).expect_err("an older epoch");
    assert_eq!(fenced.error_code().0, 47);
}
