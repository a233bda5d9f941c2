//! The cap on all logs of a node together: the oldest goes, nothing that is not committed does, and everybody stays in sync.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};

use super::{WALL_MS, isr};
use crate::testing::world::{Party, Setup, World};

const CAP_BYTES: u64 = 200_000;
const SEGMENT_BYTES: u64 = 16_384;
const VALUE: [u8; 2_000] = [7; 2_000];

fn capped(seed: u64) -> World {
    let mut setup = Setup::fast();
    setup.settings.extend([("metricstream.log.total.max.bytes", "200000"), ("log.segment.bytes", "16384")]);
    let mut world = World::new(seed, &setup);
    world.digests = false;
    assert!(world.wait_formed(5_000));
    assert_eq!(world.create_topic(1, "metrics", 2, 3, &[]), Some(ErrorCode::NONE));
    assert_eq!(world.create_topic(1, "kept", 1, 3, &[("cleanup.policy", "compact")]), Some(ErrorCode::NONE));
    world.run_ms(500);
    world
}

/// Start, high watermark and end of a partition on a node, and the bytes of all its logs.
fn log(world: &World, node: Party, topic: &str, partition: i32) -> (i64, i64, i64) {
    let node = world.node(node).expect("it runs");
    let replica = &node.broker().expect("a broker").replicas[&(node.image().names[topic], partition)];
    (replica.log.start_offset(), replica.high_watermark, replica.log.end_offset())
}

fn total(world: &World, node: Party) -> u64 {
    let replicas = &world.node(node).expect("it runs").broker().expect("a broker").replicas;
    replicas.values().map(|replica| replica.log.size_bytes()).sum()
}

/// The error of a consumer's fetch at an offset.
fn read_at(world: &mut World, topic: &str, offset: i64) -> i16 {
    let leader = world.leader(topic, 0).expect("somebody leads");
    let topic_id = world.node(leader).expect("it runs").image().names[topic];
    let asked = FetchPartition { fetch_offset: offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topics = vec![FetchTopic { topic_id, partitions: vec![asked], ..FetchTopic::default() }];
    let body = FetchRequest { max_bytes: 1 << 20, topics, ..FetchRequest::default() };
    world.query(leader, 17, &body, 1_000).expect("an answer").responses[0].partitions[0].error_code
}

#[test]
fn above_the_cap_the_oldest_segments_go_on_every_replica_and_what_is_left_is_whole() {
    let mut world = capped(61);
    // The largest of all logs, before and after the others are cut down.
    for key in 0..40_u8 {
        let mut keyed = BatchBuilder::new();
        let (key, value) = (Some(&[key][..]), Some(&VALUE[..]));
        keyed.push(NewRecord { timestamp_ms: WALL_MS, key, value, ..NewRecord::default() });
        assert_eq!(world.produce_batch("kept", 0, keyed.build(0, -1)).0, ErrorCode::NONE);
    }
    for n in 0..300_i32 {
        world.produce_for_sure("metrics", n % 2, &VALUE, 1_000);
        for node in 1..=3 {
            // What is not committed everywhere yet must stay: a segment of each partition, at most.
            assert!(total(&world, node) <= CAP_BYTES + 2 * SEGMENT_BYTES, "{}", total(&world, node));
        }
    }
    world.run_ms(1_000);
    for node in 1..=3 {
        assert!(total(&world, node) <= CAP_BYTES, "node {node}: {}", total(&world, node));
        for partition in 0..2 {
            let (start, high_watermark, end) = log(&world, node, "metrics", partition);
            assert_eq!((high_watermark, end), (150, 150), "node {node}");
            assert!(start > 60 && start < 140, "node {node} begins at {start}");
        }
        assert_eq!(log(&world, node, "kept", 0), (0, 40, 40), "what is only compacted stays");
    }
    assert_eq!((isr(&world, 0).len(), isr(&world, 1).len()), (3, 3));
    let leader = world.leader("metrics", 0).expect("somebody leads");
    let (start, ..) = log(&world, leader, "metrics", 0);
    assert_eq!(read_at(&mut world, "metrics", start - 1), ErrorCode::OFFSET_OUT_OF_RANGE.0);
    assert_eq!(read_at(&mut world, "metrics", start), 0);
}

#[test]
fn a_replica_that_was_away_while_the_beginning_went_comes_back_in_sync() {
    let mut world = capped(62);
    world.produce_for_sure("metrics", 0, &VALUE, 1_000);
    let leader = world.leader("metrics", 0).expect("somebody leads");
    let away = super::another(&world, leader);
    world.kill(away);
    for _ in 0..200 {
        world.produce_for_sure("metrics", 0, &VALUE, 3_000);
    }
    assert!(log(&world, leader, "metrics", 0).0 > 1, "what it would go on with is gone");
    world.start(away);
    assert!(world.run_until(5_000, |w| isr(w, 0).len() == 3), "it begins anew and catches up");
    assert!(world.run_until(1_000, |w| log(w, away, "metrics", 0).2 == log(w, leader, "metrics", 0).2));
    assert!(total(&world, away) <= CAP_BYTES);
}

#[test]
fn what_is_not_committed_stays_above_the_cap() {
    let mut world = capped(63);
    let leader = world.leader("metrics", 0).expect("somebody leads");
    for other in 1..=3 {
        if other != leader {
            world.pause(other);
        }
    }
    let id = world.node(leader).expect("it runs").image().names["metrics"];
    for _ in 0..150 {
        world.produce("metrics", 0, 1, &VALUE, 10);
    }
    let replica = &world.node(leader).expect("it runs").broker().expect("a broker").replicas[&(id, 0)];
    assert_eq!((replica.log.start_offset(), replica.high_watermark, replica.log.end_offset()), (0, 0, 150));
    assert!(total(&world, leader) > CAP_BYTES);
}
