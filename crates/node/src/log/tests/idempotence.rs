//! Idempotent producers: duplicates, gaps, epochs, and what survives a restart.

use super::{Story, defaults, sequenced};
use crate::log::{AppendError, LogConfig};

fn sent(story: &mut Story, producer_id: i64, epoch: i16, sequence: i32, count: usize) -> Result<i64, i16> {
    let batch = sequenced(producer_id, epoch, sequence, count, story.now.wall_ms);
    story.produce(batch, 0).map(|a| a.first_offset).map_err(|e| e.error_code().0)
}

const OUT_OF_ORDER: i16 = 45;
const FENCED: i16 = 47;

#[test]
fn a_repetition_of_the_last_five_batches_gets_its_first_offset_and_is_not_appended() {
    let mut story = Story::new(defaults());
    for n in 0..6 {
        assert_eq!(sent(&mut story, 1, 0, n * 2, 2), Ok(i64::from(n) * 2));
    }
    for n in 1..6 {
        let again = story.produce(sequenced(1, 0, n * 2, 2, 0), 0).expect("known");
        let first = i64::from(n) * 2;
        assert_eq!((again.first_offset, again.last_offset, again.duplicate), (first, first + 1, true));
    }
    assert_eq!(sent(&mut story, 1, 0, 0, 2), Err(OUT_OF_ORDER), "older than five");
    assert_eq!(sent(&mut story, 1, 0, 2, 1), Err(OUT_OF_ORDER), "known, but of another size");
    assert_eq!(story.log.end_offset(), 12);
}

#[test]
fn a_gap_in_the_sequence_is_refused_and_any_first_one_is_accepted() {
    let mut story = Story::new(defaults());
    assert_eq!(sent(&mut story, 1, 0, 17, 3), Ok(0), "no state");
    assert_eq!(sent(&mut story, 1, 0, 21, 1), Err(OUT_OF_ORDER));
    assert_eq!(sent(&mut story, 1, 0, 20, 1), Ok(3));
    assert_eq!(sent(&mut story, 2, 0, 0, 1), Ok(4), "another producer");
}

#[test]
fn sequences_wrap_after_the_largest_one() {
    let mut story = Story::new(defaults());
    assert_eq!(sent(&mut story, 1, 0, i32::MAX - 1, 4), Ok(0), "the last is number 1");
    assert_eq!(sent(&mut story, 1, 0, 2, 1), Ok(4));
    assert_eq!(sent(&mut story, 1, 0, i32::MAX - 1, 4), Ok(0), "known");
    assert_eq!(sent(&mut story, 3, 0, i32::MAX, 1), Ok(5));
    assert_eq!(sent(&mut story, 3, 0, 0, 1), Ok(6));
}

#[test]
fn a_new_epoch_begins_at_sequence_zero_and_fences_the_old_one() {
    let mut story = Story::new(defaults());
    assert_eq!(sent(&mut story, 1, 0, 0, 1), Ok(0));
    assert_eq!(sent(&mut story, 1, 1, 1, 1), Err(OUT_OF_ORDER));
    for _ in 0..2 {
        assert_eq!(sent(&mut story, 1, 1, 0, 1), Ok(1), "its own first batch, not that of the old epoch");
    }
    assert_eq!(sent(&mut story, 1, 0, 1, 1), Err(FENCED));
    assert_eq!(sent(&mut story, 1, 0, 0, 1), Err(FENCED), "even what it sent before");
    let refused = story.produce(sequenced(1, 0, 0, 1, 0), 0);
    assert_eq!(refused, Err(AppendError::InvalidProducerEpoch { producer_id: 1, found: 0, current: 1 }));
}

#[test]
fn producers_are_known_to_followers_and_after_a_restart_and_forgotten_with_what_is_cut() {
    let mut story = Story::new(defaults());
    for n in 0..8 {
        sent(&mut story, 1, 0, n, 1).expect("in order");
    }
    let mut follower = Story::new(defaults());
    follower.follow(&story.bytes_from(0)).expect("sound");
    assert_eq!(follower.log.producers(), story.log.producers());
    let before = story.log.producers().clone();
    story.reopen().expect("sound");
    assert_eq!(story.log.producers(), &before);
    story.truncate_to(6);
    let first_offsets: Vec<_> = story.log.producers().all()[&1].batches().iter().map(|b| b.first_offset).collect();
    assert_eq!(first_offsets, [1, 2, 3, 4, 5], "an older one is remembered again");
    assert_eq!(sent(&mut story, 1, 0, 7, 1), Err(OUT_OF_ORDER));
    assert_eq!(sent(&mut story, 1, 0, 6, 1), Ok(6));
}

#[test]
fn a_silent_producer_is_forgotten_after_its_time() {
    let mut story = Story::new(LogConfig { producer_id_expiration_ms: 1_000, ..defaults() });
    sent(&mut story, 1, 0, 0, 1).expect("new");
    story.now.wall_ms += 999;
    story.clean(0);
    assert_eq!(sent(&mut story, 1, 0, 5, 1), Err(OUT_OF_ORDER), "still known");
    story.now.wall_ms += 1;
    story.clean(0);
    assert_eq!(sent(&mut story, 1, 0, 5, 1), Ok(1));
    story.now.wall_ms += 1_000;
    story.reopen().expect("sound");
    assert!(story.log.producers().all().is_empty(), "nor does a restart bring it back");
}

#[test]
fn with_the_flaw_a_repetition_is_appended_again_and_the_producer_goes_on() {
    let mut story = Story::new(defaults());
    story.flaws.forget_deduplication = true;
    assert_eq!(sent(&mut story, 1, 0, 0, 1), Ok(0));
    assert_eq!(sent(&mut story, 1, 0, 1, 1), Ok(1));
    assert_eq!(sent(&mut story, 1, 0, 0, 1), Ok(2));
    assert_eq!(sent(&mut story, 1, 0, 2, 1), Ok(3));
    let before = story.log.producers().all()[&1].batches().to_vec();
    story.reopen().expect("sound");
    assert_eq!(story.log.producers().all()[&1].batches(), before);
}
