//! What a store holds after a crash, and what is repaired of it.

use super::{Story, defaults, small_segments};
use crate::io::Outputs;
use crate::log::{Log, LogError};

const FIRST: &str = "metrics-0/00000000000000000000.log";

#[test]
fn a_torn_tail_is_cut_at_the_last_whole_batch_wherever_it_was_torn() {
    let mut story = Story::new(defaults());
    story.append(2, 1);
    let whole = story.store.files[FIRST].clone();
    story.append(3, 2);
    let both = story.store.files[FIRST].clone();
    for left in whole.len()..both.len() {
        let mut torn = Story::new(defaults());
        torn.store.files = story.store.files.clone();
        torn.store.files.insert(FIRST.to_owned(), both[..left].to_vec());
        torn.reopen().expect("Kafka cuts it too");
        assert_eq!(torn.store.files[FIRST], whole);
        let told = torn.said.iter().any(|s| s.contains(&format!("{FIRST}: cut at byte {} of {left}", whole.len())));
        assert_eq!(told, left > whole.len(), "{:?}", torn.said);
        assert_eq!((torn.log.end_offset(), torn.epochs()), (2, vec![(1, 0)]));
        torn.check();
        assert_eq!(torn.append(1, 3).first_offset, 2);
    }
}

#[test]
fn a_flipped_bit_in_the_last_segment_cuts_from_its_batch_on() {
    let mut story = Story::new(defaults());
    for _ in 0..3 {
        story.append(2, 1);
    }
    let (files, size) = (story.store.files.clone(), story.store.files[FIRST].len());
    for at in (0..size).step_by(7) {
        story.store.files = files.clone();
        story.store.files.get_mut(FIRST).expect("there")[at] ^= 0x10;
        story.reopen().expect("Kafka cuts it too");
        // Offset and epoch are not under the checksum: what is wrong there may be seen at the next batch only, or never.
        let unseen = matches!(at % (size / 3), 0..8 | 12..16);
        let sound = i64::try_from(at / (size / 3) * 2).expect("small");
        assert!(unseen || story.log.end_offset() == sound, "byte {at}: {}", story.log.end_offset());
    }
}

#[test]
fn a_batch_that_stands_in_the_last_segment_twice_is_cut_the_second_time() {
    let mut story = Story::new(defaults());
    story.append(2, 1);
    let once = story.store.files[FIRST].clone();
    story.store.files.insert(FIRST.to_owned(), once.repeat(2));
    story.reopen().expect("it is no sound continuation");
    assert_eq!(story.store.files[FIRST], once);
    story.check();
}

#[test]
fn damage_before_the_last_segment_is_refused_with_its_place_and_nothing_is_changed() {
    let mut story = Story::new(small_segments());
    for _ in 0..6 {
        story.append(3, 1);
    }
    let batch_bytes = story.log.batches().next().expect("some").header.size_bytes();
    let content = story.store.files.get_mut(FIRST).expect("there");
    content[batch_bytes + 70] ^= 1;
    let files = story.store.files.clone();
    let mut out = Outputs::default();
    let refused = Log::open("metrics-0", small_segments(), &story.store, story.now, &mut out).expect_err("damaged");
    let LogError::Damaged { path, position, why } = &refused else { panic!("{refused}") };
    assert_eq!((path.as_str(), *position), (FIRST, batch_bytes as u64));
    assert!(why.contains("checksum"), "{why}");
    assert!(out.take().is_empty());
    assert_eq!(story.store.files, files);
}

#[test]
fn a_tail_torn_before_an_empty_segment_leaves_no_hole() {
    let mut story = Story::new(small_segments());
    for _ in 0..4 {
        story.append(3, 1);
    }
    let last = "metrics-0/00000000000000000006.log";
    story.store.files.insert("metrics-0/00000000000000000012.log".to_owned(), Vec::new());
    let content = story.store.files.get_mut(last).expect("there");
    content.pop();
    story.reopen().expect("Kafka cuts it too");
    assert_eq!(story.log.end_offset(), 9);
    assert_eq!(story.append(1, 2).first_offset, 9);
    story.check();
}

#[test]
fn epochs_come_back_from_the_batches_when_their_checkpoint_is_gone_or_behind() {
    let mut story = Story::new(small_segments());
    for epoch in [1, 1, 4, 6] {
        story.append(2, epoch);
    }
    let wanted = story.epochs();
    let checkpoint = "metrics-0/leader-epoch-checkpoint";
    for content in [None, Some(""), Some("0\n1\n1 0\n"), Some("0\n2\n1 0\n9 50\n")] {
        match content {
            Some(content) => story.store.files.insert(checkpoint.to_owned(), content.as_bytes().to_vec()),
            None => story.store.files.remove(checkpoint),
        };
        story.reopen().expect("sound");
        assert_eq!(story.epochs(), wanted, "{content:?}");
        assert_eq!(story.store.files[checkpoint], story.log.epochs().to_text().as_bytes());
    }
}

#[test]
fn an_epoch_without_a_batch_does_not_survive_a_restart_as_in_kafka() {
    let mut story = Story::new(defaults());
    story.append(2, 1);
    story.log.start_epoch(3, &mut story.out);
    story.settle();
    story.reopen().expect("sound");
    assert_eq!(story.epochs(), [(1, 0)]);
}

#[test]
fn files_that_are_no_segments_are_left_alone_and_misnamed_ones_refused() {
    let mut story = Story::new(defaults());
    story.append(2, 1);
    for other in ["metrics-0/partition.metadata", "metrics-0/00000000000000000000.index", "metrics-01/x.log"] {
        story.store.files.insert(other.to_owned(), b"other".to_vec());
    }
    story.reopen().expect("sound");
    assert_eq!(story.log.end_offset(), 2);
    assert_eq!(story.store.files["metrics-0/partition.metadata"], b"other");
    story.store.files.insert("metrics-0/12.log".to_owned(), Vec::new());
    assert!(matches!(story.reopen(), Err(LogError::Malformed { path, .. }) if path == "metrics-0/12.log"));
}

#[test]
fn checkpoints_that_are_not_kafkas_text_are_refused() {
    for name in ["leader-epoch-checkpoint", "log-start-offset-checkpoint"] {
        let mut story = Story::new(defaults());
        story.append(2, 1);
        story.store.files.insert(format!("metrics-0/{name}"), b"7\nx\n".to_vec());
        assert!(matches!(story.reopen(), Err(LogError::Malformed { path, .. }) if path.ends_with(name)));
    }
}
