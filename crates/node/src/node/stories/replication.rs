//! What replication promises: elections, acknowledgements, rejoining.

use metricstream_wire::ErrorCode;

use super::{formed, isr, with_topic};
use crate::testing::world::World;

#[test]
fn three_nodes_form_a_cluster_and_elect_one_controller() {
    let world = formed(1);
    let active: Vec<i32> =
        world.running().into_iter().filter(|id| world.node(*id).unwrap().is_active_controller()).collect();
    assert_eq!(active.len(), 1, "{active:?}");
    assert!(world.now_ns < 500 * crate::time::MS, "it took {} ms", world.now_ns / crate::time::MS);
}

#[test]
fn what_is_acknowledged_by_all_is_on_every_replica_and_read_back() {
    let mut world = with_topic(2);
    for n in 0..20_u8 {
        assert_eq!(world.produce("metrics", 0, -1, &[n], 1_000), Some((ErrorCode::NONE, i64::from(n))));
    }
    let id = world.node(1).unwrap().image().names["metrics"];
    // A follower learns the high watermark with its next fetch.
    let everywhere = |w: &mut World| {
        let replicas = w.running().into_iter().map(|n| &w.node(n).unwrap().broker().unwrap().replicas[&(id, 0)]);
        replicas.map(|r| (r.log.end_offset(), r.high_watermark)).all(|ends| ends == (20, 20))
    };
    assert!(world.run_until(1_000, everywhere));
    let read = world.consume("metrics", 0);
    assert_eq!(read, (0..20_u8).map(|n| bytes::Bytes::copy_from_slice(&[n])).collect::<Vec<_>>());
}

#[test]
fn when_a_leader_is_killed_another_replica_leads_and_nothing_acknowledged_is_lost() {
    let mut world = with_topic(3);
    for n in 0..10_u8 {
        world.produce_for_sure("metrics", 0, &[n], 5_000);
    }
    let old = world.leader("metrics", 0).unwrap();
    world.kill(old);
    let at = world.now_ns;
    for n in 10..20_u8 {
        world.produce_for_sure("metrics", 0, &[n], 5_000);
    }
    assert!(world.now_ns - at < 1_000 * crate::time::MS);
    assert_ne!(world.leader("metrics", 0), Some(old));
    assert_eq!(isr(&world, 0).len(), 2);
    world.start(old);
    assert!(world.run_until(5_000, |w| isr(w, 0).len() == 3), "it catches up and rejoins: {:?}", isr(&world, 0));
    let read = world.consume("metrics", 0);
    assert_eq!(read, (0..20_u8).map(|n| bytes::Bytes::copy_from_slice(&[n])).collect::<Vec<_>>());
}

#[test]
fn a_replica_that_led_and_wrote_nothing_follows_a_leader_that_never_heard_of_its_epoch() {
    let mut world = with_topic(8);
    world.produce_for_sure("metrics", 0, b"first", 5_000);
    let mut led = Vec::new();
    for _ in 0..2 {
        let leader = world.leader("metrics", 0).unwrap();
        world.kill(leader);
        led.push(leader);
        let other = |w: &mut World| w.leader("metrics", 0).is_some_and(|l| !led.contains(&l));
        if led.len() == 1 {
            assert!(world.run_until(3_000, other), "another replica leads");
        }
    }
    // One node of three decides nothing: the last replica is elected once another one is back.
    world.start(led[1]);
    assert!(world.run_until(5_000, |w| w.leader("metrics", 0).is_some_and(|l| !led.contains(&l))));
    world.start(led[0]);
    assert!(world.run_until(5_000, |w| isr(w, 0).len() == 3), "all are in sync: {:?}", isr(&world, 0));
    world.produce_for_sure("metrics", 0, b"second", 5_000);
    assert_eq!(world.consume("metrics", 0), [&b"first"[..], b"second"]);
}

#[test]
fn the_same_seed_gives_byte_identical_outputs() {
    let run = || {
        let mut world = with_topic(7);
        for n in 0..5_u8 {
            world.produce_for_sure("metrics", 1, &[n], 5_000);
        }
        world.kill(2);
        world.run_ms(2_000);
        world.start(2);
        world.run_ms(2_000);
        world.digest
    };
    assert_eq!(run(), run());
}
