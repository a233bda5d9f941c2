//! Compaction: the last value of each key stays, tombstones go in time.

use bytes::{Bytes, BytesMut};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};

use super::{Story, batch, batches, small_segments};
use crate::log::{LogConfig, Origin};

const HOUR_MS: i64 = 3_600_000;

fn compacted() -> LogConfig {
    LogConfig {
        compact: true,
        delete: false,
        segment_bytes: 200,
        min_cleanable_ratio: 0.0,
        delete_retention_ms: HOUR_MS,
        ..small_segments()
    }
}

/// One batch; "k=v" is a record, "k" a tombstone.
fn keyed(records: &[&str], timestamp_ms: i64) -> Bytes {
    let mut batch = BatchBuilder::new();
    for record in records {
        let (key, value) = record.split_once('=').map_or((*record, None), |(key, value)| (key, Some(value)));
        let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
        batch.push(NewRecord { timestamp_ms, key, value, headers: &[("h", Some(b"x"))] });
    }
    batch.build(0, -1)
}

impl Story {
    fn put(&mut self, records: &[&str]) {
        self.produce(keyed(records, self.now.wall_ms), 0).expect("keyed");
    }

    /// Rolls, and compacts all that was there.
    fn compact(&mut self) {
        let filler = "x".repeat(100);
        self.put(&[&format!("filler={filler}")]);
        self.clean(self.log.end_offset());
        self.check();
    }

    /// What a reader of the whole log sees, but for the filler.
    fn table(&self) -> Vec<(i64, String)> {
        let records = self.records_from(self.log.start_offset()).into_iter();
        let shown = records.filter(|(_, key, _)| key.as_deref() != Some("filler"));
        shown
            .map(|(o, k, v)| (o, v.map_or_else(|| k.clone().unwrap(), |v| format!("{}={v}", k.clone().unwrap()))))
            .collect()
    }
}

fn seen(offset: i64, record: &str) -> (i64, String) {
    (offset, record.to_owned())
}

#[test]
fn of_each_key_the_last_record_stays_at_its_offset_with_its_time_and_headers() {
    let mut story = Story::new(compacted());
    story.put(&["a=1", "b=1", "c=1"]);
    story.now.wall_ms += 50;
    story.put(&["a=2", "b=2"]);
    story.put(&["a=3"]);
    story.compact();
    let wanted = [seen(2, "c=1"), seen(4, "b=2"), seen(5, "a=3")];
    assert_eq!(story.table(), wanted);
    let first = &batches(story.bytes_from(0))[0];
    assert_eq!((first.base_offset, first.last_offset(), first.records_count), (0, 2, 1), "the range stays");
    let record = &first.records().expect("plain")[0];
    assert_eq!((record.timestamp_ms, record.headers[0].key.as_str()), (1_000, "h"));
    story.reopen().expect("sound");
    assert_eq!(story.table(), wanted);
    story.compact();
    assert_eq!(story.table(), wanted, "doing it again changes nothing");
}

#[test]
fn reads_go_over_gaps_and_followers_replicate_them() {
    let mut story = Story::new(compacted());
    for n in 0..10 {
        story.put(&[&format!("a={n}"), &format!("{n}=x")]);
    }
    story.compact();
    assert_eq!(story.table().len(), 11);
    for from in 0..story.log.end_offset() {
        let offsets: Vec<i64> = story.records_from(from).iter().map(|r| r.0).collect();
        let missed =
            story.records_from(0).into_iter().map(|r| r.0).filter(|o| *o >= from).any(|o| !offsets.contains(&o));
        assert!(!missed, "from {from}: {offsets:?}");
    }
    let mut follower = Story::new(compacted());
    follower.follow(&story.bytes_from(0)).expect("gaps are no holes");
    assert_eq!(follower.table(), story.table());
    assert_eq!(follower.log.end_offset(), story.log.end_offset());
    follower.reopen().expect("sound");
    assert_eq!(follower.log.end_offset(), story.log.end_offset());
}

#[test]
fn a_tombstone_outlives_what_it_deletes_for_its_retention_and_then_goes() {
    let mut story = Story::new(compacted());
    story.put(&["a=1", "b=1"]);
    story.put(&["a"]);
    story.compact();
    assert_eq!(story.table(), [seen(1, "b=1"), seen(2, "a")]);
    let tombstone = batches(story.bytes_from(2)).remove(0);
    assert!(tombstone.has_delete_horizon());
    assert_eq!(tombstone.records().expect("plain")[0].timestamp_ms, 1_000, "its own time is still there");
    story.now.wall_ms += HOUR_MS - 1;
    story.compact();
    assert_eq!(story.table(), [seen(1, "b=1"), seen(2, "a")]);
    story.now.wall_ms += 1;
    story.compact();
    assert_eq!(story.table(), [seen(1, "b=1")]);
    story.put(&["a=2"]);
    story.compact();
    assert_eq!(story.table().len(), 2);
}

#[test]
fn nothing_is_compacted_at_or_above_the_high_watermark_or_in_the_active_segment() {
    let mut story = Story::new(compacted());
    for n in 0..6 {
        story.put(&[&format!("a={n}")]);
    }
    let all = story.table();
    story.clean(0);
    assert_eq!(story.table(), all);
    story.clean(3);
    assert_eq!(story.table().len(), 5, "only the first segment, of two records: {:?}", story.table());
    story.clean(6);
    assert_eq!(story.table(), [seen(3, "a=3"), seen(4, "a=4"), seen(5, "a=5")]);
}

#[test]
fn a_log_is_compacted_when_enough_of_it_is_dirty() {
    let mut story = Story::new(LogConfig { min_cleanable_ratio: 0.5, ..compacted() });
    for n in 0..8 {
        story.put(&[&format!("{n}=1")]);
    }
    story.compact();
    let files = story.store.files.clone();
    story.put(&["0=2"]);
    story.put(&["0=3"]);
    story.compact();
    for (path, content) in &files {
        assert!(path.ends_with("0008.log") || story.store.files[path] == *content, "{path} was rewritten");
    }
    for n in 0..20 {
        story.put(&[&format!("0={n}")]);
    }
    story.compact();
    assert!(
        story.table().iter().all(|(_, record)| !record.starts_with("0=") || record == "0=19"),
        "{:?}",
        story.table()
    );
}

#[test]
fn the_last_batch_of_a_producer_stays_without_records_so_that_its_sequence_is_known() {
    let mut story = Story::new(compacted());
    let mut sent = BatchBuilder::new().producer(5, 0, 41);
    sent.push(NewRecord { key: Some(b"a"), value: Some(b"1"), ..Default::default() });
    story.produce(sent.build(0, -1), 0).expect("new");
    story.put(&["a=2"]);
    story.compact();
    story.compact();
    assert_eq!(story.table(), [seen(1, "a=2")]);
    story.now.wall_ms = 2_000;
    story.reopen().expect("sound");
    assert_eq!(story.log.producers().all()[&5].last_sequence(), 41);
}

#[test]
fn the_end_of_what_is_compacted_stays_visible_to_followers_even_without_records() {
    let mut story = Story::new(LogConfig { compact: false, ..compacted() });
    story.put(&["a=1"]);
    story.produce(batch(1, 0), 0).expect("no key, but not compacted yet");
    let filler = "x".repeat(100);
    story.put(&[&format!("filler={filler}")]);
    story.truncate_to(2);
    story.log.configure(compacted());
    story.clean(2);
    story.check();
    assert_eq!((story.log.segment_count(), story.table()), (2, vec![seen(0, "a=1")]));
    let mut follower = Story::new(compacted());
    follower.follow(&story.bytes_from(0)).expect("an empty batch is a batch");
    assert_eq!(follower.log.end_offset(), story.log.end_offset());
}

#[test]
fn markers_stay_while_records_of_their_transaction_do_and_then_for_the_retention() {
    let mut story = Story::new(compacted());
    let marker = |producer_id| {
        let mut marker = BatchBuilder::new().producer(producer_id, 0, -1).transactional().control();
        marker.push(NewRecord { key: Some(&[0, 0, 0, 1]), value: Some(&[0; 6]), ..Default::default() });
        marker.build(0, -1)
    };
    let data = |producer_id, key: &str, value: &str| {
        let mut data = BatchBuilder::new().producer(producer_id, 0, 0).transactional();
        data.push(NewRecord { key: Some(key.as_bytes()), value: Some(value.as_bytes()), ..Default::default() });
        data.build(0, -1)
    };
    let (flaws, now) = (story.flaws, story.now);
    for bytes in [data(1, "kept", "1"), marker(1), data(2, "gone", "1"), marker(2), keyed(&["gone=2"], 0)] {
        let bytes = BytesMut::from(&bytes[..]);
        story.log.append_as_leader(bytes, 0, Origin::Coordinator, &flaws, now, &mut story.out).expect("sound");
    }
    let markers = |story: &Story| {
        let markers = story.log.batches().filter(|b| b.header.is_control() && b.header.records_count > 0);
        markers.map(|b| b.header.producer_id).collect::<Vec<_>>()
    };
    story.compact();
    assert_eq!(markers(&story), [1, 2]);
    story.now.wall_ms += HOUR_MS;
    story.compact();
    assert_eq!(markers(&story), [1], "nothing is left of the other's transaction");
}

#[test]
fn a_cut_or_a_deletion_while_compaction_reads_gives_it_up_and_nothing_is_lost() {
    let mut story = Story::new(compacted());
    for n in 0..6 {
        story.put(&[&format!("a={n}")]);
    }
    let now = story.now;
    story.log.clean(now, 6, &mut story.out);
    let (completions, _) = story.store.apply(&mut story.out);
    assert_eq!(completions.len(), 1, "a read is under way");
    story.log.truncate_to(3, now, &mut story.out);
    assert!(!story.log.stored(&completions[0], &mut story.out), "nobody waits for it any more");
    story.settle();
    story.check();
    assert_eq!(story.table(), [seen(0, "a=0"), seen(1, "a=1"), seen(2, "a=2")]);
    story.put(&["a=9"]);
    story.compact();
    assert_eq!(story.table().last(), Some(&seen(3, "a=9")));
}

#[test]
fn what_is_written_where_the_log_was_cut_is_compacted_like_all_else() {
    let mut story = Story::new(compacted());
    for n in 0..8 {
        story.put(&[&format!("{n}=x")]);
    }
    story.compact();
    story.truncate_to(2);
    for n in 0..6 {
        story.put(&[&format!("a={n}")]);
    }
    story.compact();
    assert_eq!(story.table(), [seen(0, "0=x"), seen(1, "1=x"), seen(7, "a=5")]);
}

#[test]
fn records_without_a_key_that_were_there_before_go() {
    let mut story = Story::new(LogConfig { compact: false, ..compacted() });
    story.produce(batch(2, 0), 0).expect("not compacted yet");
    story.log.configure(compacted());
    story.put(&["a=1"]);
    story.compact();
    assert_eq!(story.table(), [seen(2, "a=1")]);
    assert_eq!(story.log.start_offset(), 0);
    story.reopen().expect("sound");
    assert_eq!(story.log.start_offset(), 0);
}

#[test]
fn a_log_with_compressed_batches_is_left_alone_and_says_so_once() {
    let mut story = Story::new(LogConfig { compact: false, ..compacted() });
    let mut compressed = BytesMut::from(&keyed(&["a=0"], 0)[..]);
    compressed[22] |= 4;
    let crc = crc32c::crc32c(&compressed[21..]);
    compressed[17..21].copy_from_slice(&crc.to_be_bytes());
    story.produce(compressed.freeze(), 0).expect("not compacted yet");
    story.log.configure(compacted());
    for n in 0..4 {
        story.put(&[&format!("a={n}")]);
    }
    story.clean(5);
    story.clean(5);
    assert_eq!(story.log.batches().count(), 5);
    assert_eq!(story.said, ["metrics-0: not compacted: it has compressed batches"]);
}
