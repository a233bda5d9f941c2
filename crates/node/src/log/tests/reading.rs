//! Reading at every offset, from the cache and from files.

use super::{Story, batch, batches, defaults, small_segments};
use crate::io::{FileRange, Part};
use crate::log::{LogConfig, ReadError, TimestampLookup};

/// Batches of 1, 2, 3, 4, 5, … records.
fn growing(config: LogConfig, count: usize) -> Story {
    let mut story = Story::new(config);
    for n in 1..=count {
        story.append(n, 0);
    }
    story
}

#[test]
fn every_offset_is_answered_with_the_whole_batch_around_it_from_memory_and_from_files() {
    for config in [defaults(), small_segments(), LogConfig { cache_bytes: 400, ..small_segments() }] {
        let story = growing(config, 8);
        let borders: Vec<_> = story.log.batches().map(|b| (b.header.base_offset, b.header.next_offset())).collect();
        for from in 0..story.log.end_offset() {
            let (base, next) = borders.iter().copied().find(|(_, next)| from < *next).expect("covered");
            let one = story.log.read(from, i64::MAX, 1, true).expect("in range");
            assert_eq!(one.first_batch.map(|b| b.base_offset), Some(base));
            assert_eq!(one.next_offset, next);
            assert_eq!(batches(story.store.resolve(&one.parts)).len(), 1, "larger than asked, but never none");
            let rest = batches(story.bytes_from(from));
            assert_eq!(rest.first().map(|b| b.base_offset), Some(base));
            assert_eq!(rest.last().map(|b| b.next_offset()), Some(36));
            let offsets: Vec<i64> = story.records_from(from).iter().map(|r| r.0).collect();
            assert_eq!(offsets, (base..36).collect::<Vec<_>>(), "dense");
        }
    }
}

#[test]
fn nothing_at_or_above_the_upper_bound_is_given() {
    let story = growing(defaults(), 4);
    let read = story.log.read(0, 6, usize::MAX, true).expect("in range");
    assert_eq!(read.next_offset, 6);
    let read = story.log.read(6, 6, usize::MAX, true).expect("in range");
    assert_eq!((read.next_offset, read.size_bytes, read.parts.len(), read.first_batch), (6, 0, 0, None));
    let read = story.log.read(6, 8, usize::MAX, true).expect("in range");
    assert_eq!(read.size_bytes, 0, "a bound within a batch holds all of it back");
}

#[test]
fn a_read_keeps_its_size_but_for_the_first_batch() {
    let story = growing(small_segments(), 4);
    let sizes: Vec<usize> = story.log.batches().map(|b| b.header.size_bytes()).collect();
    let of = |max_bytes, at_least_one| story.log.read(0, 10, max_bytes, at_least_one).expect("in range").next_offset;
    assert_eq!(of(sizes[0] - 1, false), 0);
    assert_eq!(of(sizes[0] - 1, true), 1);
    assert_eq!(of(sizes[0] + sizes[1] - 1, true), 1);
    assert_eq!(of(sizes[0] + sizes[1], false), 3);
}

#[test]
fn offsets_outside_the_log_are_refused_and_its_end_is_not() {
    let mut story = growing(defaults(), 4);
    assert_eq!(story.log.read(10, 10, 1, true).expect("the end").size_bytes, 0);
    let refused = ReadError::OffsetOutOfRange { asked: 11, start: 0, end: 10 };
    assert_eq!(story.log.read(11, 10, 1, true), Err(refused));
    story.log.delete_records_before(3, 10, &mut story.out).expect("below the high watermark");
    assert_eq!(story.log.read(2, 10, 1, true), Err(ReadError::OffsetOutOfRange { asked: 2, start: 3, end: 10 }));
}

#[test]
fn batches_next_to_each_other_in_a_file_are_one_part_and_recent_ones_come_from_memory() {
    let cold = growing(LogConfig { cache_bytes: 0, ..defaults() }, 4);
    let read = cold.log.read(0, 10, usize::MAX, true).expect("in range");
    assert!(matches!(read.parts[..], [Part::File(FileRange { position: 0, .. })]), "{:?}", read.parts);
    let size = |n: usize| batch(n, 0).len();
    let half = growing(LogConfig { cache_bytes: size(3) + size(4), ..defaults() }, 4);
    let read = half.log.read(0, 10, usize::MAX, true).expect("in range");
    assert!(matches!(read.parts[..], [Part::File(_), Part::Bytes(_), Part::Bytes(_)]), "{:?}", read.parts);
    assert_eq!(half.bytes_from(0), cold.bytes_from(0));
}

#[test]
fn a_record_is_found_by_its_time_in_memory_and_in_files() {
    for cache_bytes in [0, 1 << 20] {
        let mut story = Story::new(LogConfig { cache_bytes, ..small_segments() });
        for timestamp_ms in [100, 300, 200, 300, 500] {
            story.produce(batch(3, timestamp_ms), 0).expect("a sound batch");
        }
        let find = |story: &Story, lookup: TimestampLookup| match lookup {
            TimestampLookup::None => None,
            TimestampLookup::Found(found) => Some((found.offset, found.timestamp_ms)),
            TimestampLookup::Stored(at) => {
                assert_eq!(cache_bytes, 0);
                let part = Part::File(FileRange { file: at.file.0, position: at.position, len_bytes: at.len });
                let found = story.log.timestamp_in(story.store.resolve(&[part]), at.timestamp_ms);
                found.map(|found| (found.offset, found.timestamp_ms))
            }
        };
        assert_eq!(find(&story, story.log.offset_for_timestamp(0)), Some((0, 100)));
        assert_eq!(find(&story, story.log.offset_for_timestamp(101)), Some((3, 300)));
        assert_eq!(find(&story, story.log.offset_for_timestamp(301)), Some((12, 500)));
        assert_eq!(find(&story, story.log.offset_for_timestamp(501)), None);
        assert_eq!(find(&story, story.log.max_timestamp()), Some((12, 500)));
        story.log.delete_records_before(3, 15, &mut story.out).expect("below the high watermark");
        assert_eq!(find(&story, story.log.offset_for_timestamp(0)), Some((3, 300)), "not what was deleted");
    }
    assert_eq!(Story::new(defaults()).log.max_timestamp(), TimestampLookup::None);
}
