//! What two flaws cost that random schedules do not find: each story is told with the flaw and without.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::fetch::{FetchPartition, FetchReplicaState, FetchRequest, FetchTopic};
use metricstream_wire::api::produce::ProduceRequest;

use super::isr;
use crate::broker::Replica;
use crate::flaws::Flaws;
use crate::image::PartitionId;
use crate::testing::client::produce_request;
use crate::testing::world::{Party, Setup, World};

/// Three nodes and a topic of one partition with three replicas.
fn flawed(seed: u64, flaws: Flaws) -> World {
    let mut world = World::new(seed, &Setup { flaws, ..Setup::fast() });
    assert!(world.wait_formed(5_000), "three nodes form a cluster");
    assert_eq!(world.create_topic(1, "metrics", 1, 3, &[]), Some(ErrorCode::NONE));
    assert!(world.run_until(1_000, |w| isr(w, 0).len() == 3 && w.leader("metrics", 0).is_some()));
    world
}

fn replica(world: &World, node: Party, id: PartitionId) -> &Replica {
    &world.node(node).expect("it runs").broker().expect("a broker").replicas[&id]
}

/// A fetch that a follower sent in the epoch before its leader's arrives late: it speaks of a log that the follower has cut
/// since. Gives the leader's answer, its high watermark, and the least end of the logs of the ISR.
fn late_fetch(flaws: Flaws) -> (ErrorCode, i64, i64) {
    let mut world = flawed(41, flaws);
    world.produce_for_sure("metrics", 0, b"first", 5_000);
    let first = world.leader("metrics", 0).expect("somebody leads");
    world.kill(first);
    assert!(world.run_until(3_000, |w| w.leader("metrics", 0).is_some_and(|l| l != first)));
    world.start(first);
    assert!(world.run_until(5_000, |w| isr(w, 0).len() == 3), "in sync again");
    let leader = world.leader("metrics", 0).expect("somebody leads");
    let late = world.running().into_iter().find(|id| *id != leader).expect("two others");
    let id = (world.node(leader).expect("it runs").image().names["metrics"], 0);
    let epoch = replica(&world, leader, id).leader_epoch;
    world.cut(leader, late);
    // It waits for the follower that is cut off, and may not be acknowledged.
    let producer = world.connected(leader).expect("a connection");
    world.ask::<ProduceRequest>(producer, 12, &produce_request("metrics", 0, -1, b"second", 5_000));
    world.run_ms(20);
    let end = replica(&world, leader, id).log.end_offset();
    assert!(end > replica(&world, late, id).log.end_offset(), "the second is not on the one that is cut off");
    let broker_epoch = world.node(late).and_then(|n| n.broker()?.lifecycle.epoch).expect("it is registered");
    let asked = FetchPartition {
        partition: 0,
        current_leader_epoch: epoch - 1,
        fetch_offset: end,
        last_fetched_epoch: epoch - 1,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let body = FetchRequest {
        replica_state: FetchReplicaState { replica_id: late, replica_epoch: broker_epoch },
        max_bytes: 1 << 20,
        topics: vec![FetchTopic { topic_id: id.0, partitions: vec![asked], ..FetchTopic::default() }],
        ..FetchRequest::default()
    };
    let answer = world.query(leader, 17, &body, 50).expect("an answer");
    let told = ErrorCode(answer.responses[0].partitions[0].error_code);
    let in_sync = isr(&world, 0);
    assert!(in_sync.contains(&late), "it is in the ISR still: {in_sync:?}");
    let least = in_sync.iter().map(|node| replica(&world, *node, id).log.end_offset()).min().expect("some");
    (told, replica(&world, leader, id).high_watermark, least)
}

#[test]
fn a_fetch_of_an_old_epoch_commits_nothing_and_with_the_flaw_it_does() {
    let (told, high_watermark, least) = late_fetch(Flaws::default());
    assert_eq!(told, ErrorCode::FENCED_LEADER_EPOCH);
    assert!(high_watermark <= least, "what is committed is on every member of the ISR");
    let (told, high_watermark, least) = late_fetch(Flaws { unfenced_fetch: true, ..Flaws::default() });
    assert_eq!(told, ErrorCode::NONE);
    assert!(high_watermark > least, "committed at {high_watermark}, and a member of the ISR ends at {least}");
}

/// Values that were refused, and those of them that a consumer is given all the same.
fn refused_and_read(flaws: Flaws) -> (usize, usize) {
    let mut world = flawed(42, flaws);
    let mut refused = Vec::new();
    for n in 0..30_u8 {
        let (error, _) = world.produce("metrics", 0, -1, &[n], 1_000).expect("an answer");
        if error != ErrorCode::NONE {
            refused.push(n);
        }
    }
    let read = world.consume("metrics", 0);
    (refused.len(), read.iter().filter(|value| refused.contains(&value[0])).count())
}

#[test]
fn a_batch_that_was_refused_is_not_in_the_log_and_with_the_flaw_it_is() {
    assert_eq!(refused_and_read(Flaws::default()), (0, 0));
    let (refused, read) = refused_and_read(Flaws { refuse_after_append: true, ..Flaws::default() });
    assert!(refused > 0 && read == refused, "{read} of {refused}");
}
