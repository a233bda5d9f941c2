//! Truncation, and the epochs and producers that go with it.

use super::{Story, defaults, sequenced, small_segments};
use crate::io::Outputs;
use crate::log::{EpochEnd, LogConfig};

/// Batches of two records, epochs 0, 0, 2, 2, 5, 5, …
fn of_three_epochs(config: LogConfig) -> Story {
    let mut story = Story::new(config);
    for (n, epoch) in [0, 0, 2, 2, 5, 5].into_iter().enumerate() {
        let sequence = i32::try_from(n * 2).expect("small");
        let batch = sequenced(1, 0, sequence, 2, story.now.wall_ms);
        story.produce(batch, epoch).expect("in order");
    }
    story
}

#[test]
fn a_cut_at_any_offset_leaves_epochs_producers_and_files_in_agreement() {
    for config in [defaults(), small_segments()] {
        for offset in 0..=13 {
            let mut story = of_three_epochs(config.clone());
            let all = story.bytes_from(0);
            story.truncate_to(offset);
            let end = if offset < 12 { offset / 2 * 2 } else { 12 };
            assert_eq!(story.log.end_offset(), end, "a batch around the cut goes whole");
            let known: Vec<_> = [(0, 0), (2, 4), (5, 8)].into_iter().filter(|(_, start)| *start < end).collect();
            assert_eq!(story.epochs(), known);
            let kept = story.bytes_from(0);
            assert_eq!(kept, all.slice(..kept.len()));
            story.check();
            let before = (story.epochs(), story.log.producers().clone(), story.bytes_from(0));
            story.reopen().expect("sound");
            assert_eq!((story.epochs(), story.log.producers().clone(), story.bytes_from(0)), before);
            assert_eq!(story.log.end_offset(), end);
            assert_eq!(story.append(1, 7).first_offset, end);
            story.check();
        }
    }
}

#[test]
fn an_epoch_in_which_nothing_was_written_goes_even_where_there_is_nothing_to_cut() {
    let mut story = of_three_epochs(defaults());
    story.log.start_epoch(9, &mut story.out);
    story.truncate_to(12);
    assert_eq!(story.log.last_epoch(), Some(5));
    assert_eq!(story.log.end_offset_for_epoch(9), EpochEnd::UNKNOWN);
}

#[test]
fn a_log_that_is_emptied_begins_where_it_is_told() {
    let mut story = of_three_epochs(small_segments());
    let now = story.now;
    story.log.truncate_fully_and_start_at(100, now, &mut story.out);
    story.settle();
    for _ in 0..2 {
        assert_eq!((story.log.start_offset(), story.log.end_offset(), story.log.size_bytes()), (100, 100, 0));
        assert!(story.epochs().is_empty() && story.log.producers().all().is_empty());
        story.check();
        story.reopen().expect("sound");
    }
    assert_eq!(story.append(1, 6).first_offset, 100);
}

#[test]
fn a_log_cut_before_its_start_starts_there() {
    let mut story = of_three_epochs(defaults());
    story.log.delete_records_before(7, 12, &mut story.out).expect("below the high watermark");
    story.truncate_to(7);
    assert_eq!((story.log.start_offset(), story.log.end_offset()), (6, 6));
    story.reopen().expect("sound");
    assert_eq!((story.log.start_offset(), story.log.end_offset()), (6, 6));
    story.check();
}

#[test]
fn a_destroyed_log_leaves_no_file_and_a_closed_one_all_of_them() {
    let mut story = of_three_epochs(small_segments());
    let files = story.store.files.clone();
    story.log.close(&mut story.out);
    story.store.apply(&mut story.out);
    assert_eq!(story.store.files, files);
    let (mut out, config) = (Outputs::default(), small_segments());
    let mut store = story.store;
    let log = crate::log::Log::open("metrics-0", config, &store, story.now, &mut out).expect("sound");
    log.destroy(&mut out);
    store.apply(&mut out);
    assert!(store.files.is_empty(), "{:?}", store.files.keys());
}
