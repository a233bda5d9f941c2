//! Retention by size and by time, and the cap.

use super::{Story, batch, defaults, small_segments};
use crate::log::LogConfig;

/// Two batches of three records a segment; one second between batches.
fn aged(config: LogConfig, count: i64) -> Story {
    let mut story = Story::new(config);
    for n in 0..count {
        story.now.wall_ms = 1_000 * (n + 1);
        story.append(3, 0);
    }
    story
}

#[test]
fn segments_go_when_their_last_record_is_too_old_and_only_below_the_high_watermark() {
    let config = LogConfig { retention_ms: 10_000, ..small_segments() };
    let mut story = aged(config, 6);
    story.now.wall_ms = 14_001;
    story.clean(5);
    assert_eq!(story.log.start_offset(), 0, "the high watermark is within the first segment");
    story.clean(18);
    assert_eq!(story.log.start_offset(), 12);
    story.check();
    story.now.wall_ms = 16_001;
    story.clean(18);
    assert_eq!((story.log.start_offset(), story.log.end_offset(), story.log.size_bytes()), (18, 18, 0));
    story.check();
    story.reopen().expect("sound");
    assert_eq!((story.log.start_offset(), story.log.end_offset()), (18, 18));
    assert_eq!(story.append(1, 0).first_offset, 18);
}

#[test]
fn segments_go_when_the_rest_is_large_enough_without_them() {
    let segment_bytes = 2 * batch(3, 0).len();
    let kept = i64::try_from(2 * segment_bytes).expect("small");
    let mut story = aged(LogConfig { retention_bytes: kept, ..small_segments() }, 7);
    story.clean(21);
    assert_eq!(story.log.start_offset(), 6, "half a segment more than asked for is kept");
    let mut all = aged(LogConfig { retention_bytes: -1, ..small_segments() }, 7);
    all.clean(21);
    assert_eq!(all.log.start_offset(), 0);
}

#[test]
fn a_log_without_delete_in_its_policy_keeps_everything() {
    let mut story = aged(LogConfig { delete: false, retention_ms: 1, retention_bytes: 1, ..small_segments() }, 6);
    story.now.wall_ms = 1_000_000;
    story.clean(18);
    assert_eq!(story.log.start_offset(), 0);
}

#[test]
fn deleted_records_cannot_be_read_again_after_a_restart_either() {
    let mut story = aged(small_segments(), 6);
    assert!(story.log.delete_records_before(10, 9, &mut story.out).is_err(), "above the high watermark");
    story.log.delete_records_before(10, 18, &mut story.out).expect("below");
    story.log.delete_records_before(4, 18, &mut story.out).expect("nothing to do");
    story.settle();
    for _ in 0..2 {
        assert_eq!(story.log.start_offset(), 10);
        assert_eq!(story.epochs(), [(0, 10)]);
        story.check();
        story.reopen().expect("sound");
    }
    story.clean(18);
    assert_eq!(story.files().iter().filter(|(path, _)| path.ends_with(".log")).count(), 2);
    assert_eq!(story.log.start_offset(), 10);
    let checkpoint = &story.store.files["metrics-0/log-start-offset-checkpoint"];
    assert_eq!(checkpoint, b"0\n1\nmetrics 0 10\n");
}

#[test]
fn at_the_nodes_limit_the_oldest_segment_goes_and_a_single_one_is_rolled_first() {
    let mut story = aged(defaults(), 2);
    let now = story.now;
    assert!(!story.log.drop_oldest_segment(3, now, &mut story.out), "the high watermark is within it");
    assert_eq!(story.log.segment_count(), 2, "but it is no longer the active one");
    assert!(story.log.drop_oldest_segment(6, now, &mut story.out));
    assert!(!story.log.drop_oldest_segment(6, now, &mut story.out), "nothing is left");
    story.settle();
    assert_eq!((story.log.start_offset(), story.log.end_offset()), (6, 6));
    story.check();
}
