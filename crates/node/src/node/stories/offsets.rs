//! Offsets: of times, of marks, of epochs; and where a log begins.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use metricstream_wire::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};
use metricstream_wire::api::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};

use super::{WALL_MS, another, batch, settled, with_topic};
use crate::testing::world::{Party, Setup, World};

fn list_offsets(version: i16, replica_id: i32, topic: &str, epoch: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition {
        partition_index: 0,
        current_leader_epoch: if version >= 4 { epoch } else { -1 },
        timestamp,
    };
    let topics = vec![ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] }];
    ListOffsetsRequest { replica_id, topics, ..ListOffsetsRequest::default() }
}

fn listed(world: &mut World, node: Party, version: i16, body: &ListOffsetsRequest) -> ListOffsetsPartitionResponse {
    let answer = world.query(node, version, body, 1_000).expect("an answer");
    answer.topics[0].partitions[0].clone()
}

/// Error, offset, time.
fn at(world: &mut World, version: i16, timestamp: i64) -> (i16, i64, i64) {
    let leader = world.leader("metrics", 0).expect("somebody leads");
    let one = listed(world, leader, version, &list_offsets(version, -1, "metrics", -1, timestamp));
    (one.error_code, one.offset, one.timestamp)
}

fn with_records(settings: &[(&'static str, &'static str)]) -> World {
    let mut setup = Setup::fast();
    setup.settings.extend(settings);
    let mut world = World::new(11, &setup);
    assert!(world.wait_formed(5_000));
    assert_eq!(world.create_topic(1, "metrics", 1, 3, &[]), Some(ErrorCode::NONE));
    settled(&mut world);
    let first = batch(&[WALL_MS - 100, WALL_MS - 90, WALL_MS - 95]).build(0, -1);
    assert_eq!(world.produce_batch("metrics", 0, first), (ErrorCode::NONE, 0));
    let second = batch(&[WALL_MS - 80, WALL_MS - 60]).build(0, -1);
    assert_eq!(world.produce_batch("metrics", 0, second), (ErrorCode::NONE, 3));
    let third = batch(&[WALL_MS - 70]).build(0, -1);
    assert_eq!(world.produce_batch("metrics", 0, third), (ErrorCode::NONE, 5));
    world
}

fn check_times(world: &mut World) {
    for version in [1, 10] {
        assert_eq!(at(world, version, -1), (0, 6, -1));
        assert_eq!(at(world, version, -2), (0, 0, -1));
        assert_eq!(at(world, version, WALL_MS - 1_000), (0, 0, WALL_MS - 100));
        assert_eq!(at(world, version, WALL_MS - 96), (0, 1, WALL_MS - 90));
        assert_eq!(at(world, version, WALL_MS - 85), (0, 3, WALL_MS - 80));
        assert_eq!(at(world, version, WALL_MS - 70), (0, 4, WALL_MS - 60));
        assert_eq!(at(world, version, WALL_MS - 59), (0, -1, -1), "nothing is that late");
    }
    assert_eq!(at(world, 10, -3), (0, 4, WALL_MS - 60), "the latest time is not the last record's");
    assert_eq!(at(world, 10, -4), (0, 0, -1));
    assert_eq!(at(world, 10, -5), (0, -1, -1), "nothing is tiered");
}

#[test]
fn times_and_marks_are_found_record_by_record() {
    let mut world = with_records(&[]);
    check_times(&mut world);
    for (version, mark) in [(6, -3), (7, -4), (8, -5), (10, -6)] {
        assert_eq!(at(&mut world, version, mark).0, ErrorCode::UNSUPPORTED_VERSION.0, "{mark} in {version}");
    }
}

#[test]
fn times_are_found_in_batches_that_only_the_store_has() {
    let mut world = with_records(&[("metricstream.log.cache.bytes", "0")]);
    check_times(&mut world);
}

#[test]
fn a_time_behind_the_start_of_a_log_that_lies_within_a_batch_is_searched_in_the_next_one() {
    let mut world = with_records(&[("metricstream.log.cache.bytes", "0")]);
    let leader = world.leader("metrics", 0).unwrap();
    assert_eq!(delete(&mut world, leader, 2, "metrics", 2, 1_000), (0, 2));
    assert_eq!(at(&mut world, 10, WALL_MS - 92), (0, 3, WALL_MS - 80));
    assert_eq!(at(&mut world, 10, -2), (0, 2, -1));
}

#[test]
fn offsets_are_told_by_the_leader_of_the_epoch_only() {
    let mut world = with_records(&[]);
    let leader = world.leader("metrics", 0).unwrap();
    let follower = another(&world, leader);
    let mut ask =
        |node, topic: &str, epoch| listed(&mut world, node, 10, &list_offsets(10, -1, topic, epoch, -1)).error_code;
    assert_eq!(ask(leader, "metrics", 0), 0);
    assert_eq!(ask(leader, "metrics", 7), ErrorCode::UNKNOWN_LEADER_EPOCH.0);
    assert_eq!(ask(follower, "metrics", 0), ErrorCode::NOT_LEADER_OR_FOLLOWER.0);
    assert_eq!(ask(leader, "unheard-of", -1), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
}

/// Five nodes: one follower of three stands still, the leader dies with a record that only the other follower has.
fn new_leader_that_is_not_sure() -> (World, Party, Party) {
    let mut world = World::new(12, &Setup { nodes: 5, ..Setup::fast() });
    assert!(world.wait_formed(5_000));
    assert_eq!(world.create_topic(1, "metrics", 1, 3, &[]), Some(ErrorCode::NONE));
    settled(&mut world);
    world.produce_for_sure("metrics", 0, b"committed", 2_000);
    let topic = world.node(1).unwrap().image().topic("metrics").unwrap().clone();
    let leader = topic.partitions[&0].leader;
    let followers: Vec<Party> = topic.partitions[&0].replicas.iter().copied().filter(|r| *r != leader).collect();
    world.pause(followers[1]);
    assert_eq!(world.produce("metrics", 0, 1, b"not committed", 100), Some((ErrorCode::NONE, 1)));
    let has_it =
        |w: &mut World| w.node(followers[0]).unwrap().broker().unwrap().replicas[&(topic.id, 0)].log.end_offset() == 2;
    assert!(world.run_until(100, has_it));
    world.kill(leader);
    assert!(world.run_until(3_000, |w| w.leader("metrics", 0) == Some(followers[0])));
    let leads = |w: &mut World| w.node(followers[0]).unwrap().broker().unwrap().replicas[&(topic.id, 0)].is_leader();
    assert!(world.run_until(1_000, leads));
    (world, followers[0], followers[1])
}

#[test]
fn a_new_leader_that_may_not_know_what_was_committed_does_not_tell_an_end() {
    let (mut world, leader, still) = new_leader_that_is_not_sure();
    for (version, error) in [(1, ErrorCode::LEADER_NOT_AVAILABLE), (10, ErrorCode::OFFSET_NOT_AVAILABLE)] {
        assert_eq!(at(&mut world, version, -1).0, error.0, "version {version}");
        assert_eq!(at(&mut world, version, -2), (0, 0, -1), "where the log begins is sure");
    }
    let as_follower = list_offsets(10, still, "metrics", -1, -1);
    assert_eq!(listed(&mut world, leader, 10, &as_follower).offset, 2, "followers ask for the log's end");
    world.resume(still);
    assert!(world.run_until(5_000, |w| at(w, 10, -1) == (0, 2, -1)));
}

fn epoch_end(world: &mut World, node: Party, version: i16, topic: &str, current: i32, epoch: i32) -> EpochEndOffset {
    let partition = OffsetForLeaderPartition { partition: 0, current_leader_epoch: current, leader_epoch: epoch };
    let topics = vec![OffsetForLeaderTopic { topic: topic.to_owned(), partitions: vec![partition] }];
    let body = OffsetForLeaderEpochRequest { replica_id: -1, topics };
    let body = if version < 3 { OffsetForLeaderEpochRequest { replica_id: -2, ..body } } else { body };
    world.query(node, version, &body, 1_000).expect("an answer").topics[0].partitions[0].clone()
}

#[test]
fn where_an_epoch_ended_is_told_after_quick_changes_of_leaders_so_that_no_client_asks_for_ever() {
    let mut world = with_topic(13);
    let mut ends = Vec::new();
    for round in 0..3_u8 {
        let offset = world.produce_for_sure("metrics", 0, &[round], 5_000);
        let old = world.leader("metrics", 0).unwrap();
        let epoch = world.node(old).unwrap().image().topic("metrics").unwrap().partitions[&0].leader_epoch;
        ends.push((epoch, offset + 1));
        world.kill(old);
        assert!(world.run_until(3_000, |w| w.leader("metrics", 0).is_some_and(|l| l != old)));
        world.start(old);
        assert!(world.run_until(5_000, |w| super::isr(w, 0).len() == 3));
    }
    settled(&mut world);
    let leader = world.leader("metrics", 0).unwrap();
    let current = world.node(leader).unwrap().image().topic("metrics").unwrap().partitions[&0].leader_epoch;
    for version in [2, 4] {
        for (epoch, end) in &ends {
            let told = epoch_end(&mut world, leader, version, "metrics", current, *epoch);
            assert_eq!((told.error_code, told.leader_epoch, told.end_offset), (0, *epoch, *end), "epoch {epoch}");
        }
        let own = epoch_end(&mut world, leader, version, "metrics", current, current);
        assert_eq!((own.error_code, own.end_offset), (0, 3), "the running epoch ends where the log does");
        let later = epoch_end(&mut world, leader, version, "metrics", current, current + 1);
        assert_eq!((later.error_code, later.leader_epoch, later.end_offset), (0, -1, -1));
        let mut error = |node, topic: &str, current| epoch_end(&mut world, node, version, topic, current, 0).error_code;
        assert_eq!(error(leader, "metrics", current - 1), ErrorCode::FENCED_LEADER_EPOCH.0);
        assert_eq!(error(leader, "metrics", current + 1), ErrorCode::UNKNOWN_LEADER_EPOCH.0);
        assert_eq!(error(leader, "unheard-of", -1), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
        let follower = 1 + leader % 3;
        assert_eq!(error(follower, "metrics", current), ErrorCode::NOT_LEADER_OR_FOLLOWER.0);
    }
}

/// Error and low watermark.
fn delete(world: &mut World, node: Party, version: i16, topic: &str, offset: i64, timeout_ms: i32) -> (i16, i64) {
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
    let topics = vec![DeleteRecordsTopic { name: topic.to_owned(), partitions }];
    let body = DeleteRecordsRequest { topics, timeout_ms };
    let answer = world.query(node, version, &body, 5_000).expect("an answer");
    let one = &answer.topics[0].partitions[0];
    (one.error_code, one.low_watermark)
}

#[test]
fn deleted_records_are_gone_from_every_replica_when_that_is_answered() {
    let mut world = with_records(&[]);
    let leader = world.leader("metrics", 0).unwrap();
    let id = (world.node(leader).unwrap().image().names["metrics"], 0);
    let starts = |w: &World| -> Vec<i64> {
        w.running().iter().map(|n| w.node(*n).unwrap().broker().unwrap().replicas[&id].log.start_offset()).collect()
    };
    assert_eq!(delete(&mut world, leader, 0, "metrics", 3, 2_000), (0, 3));
    assert_eq!(starts(&world), [3, 3, 3]);
    assert_eq!(delete(&mut world, leader, 2, "metrics", -1, 2_000), (0, 6), "−1 is the high watermark");
    assert_eq!(starts(&world), [6, 6, 6]);
    assert_eq!(delete(&mut world, leader, 2, "metrics", 7, 2_000), (ErrorCode::OFFSET_OUT_OF_RANGE.0, -1));
    let follower = another(&world, leader);
    assert_eq!(delete(&mut world, follower, 2, "metrics", 1, 2_000).0, ErrorCode::NOT_LEADER_OR_FOLLOWER.0);
    assert_eq!(delete(&mut world, leader, 2, "unheard-of", 1, 100).0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
}

#[test]
fn records_of_a_compacted_topic_are_not_deleted_and_a_follower_that_stands_still_is_told() {
    let mut world = with_records(&[]);
    assert_eq!(world.create_topic(1, "table", 1, 3, &[("cleanup.policy", "compact")]), Some(ErrorCode::NONE));
    settled(&mut world);
    let leader = world.leader("table", 0).unwrap();
    assert_eq!(delete(&mut world, leader, 2, "table", 0, 100).0, ErrorCode::POLICY_VIOLATION.0);
    let leader = world.leader("metrics", 0).unwrap();
    let follower = another(&world, leader);
    world.pause(follower);
    let (error, low_watermark) = delete(&mut world, leader, 2, "metrics", 3, 50);
    assert_eq!((error, low_watermark), (ErrorCode::REQUEST_TIMED_OUT.0, 0));
}
