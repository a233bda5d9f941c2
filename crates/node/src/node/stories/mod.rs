//! Three nodes in virtual time: what a cluster lives through, bytes and all.

use metricstream_wire::ErrorCode;
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};

use crate::testing::world::{Party, Setup, World};

mod cap;
mod cluster;
mod configs;
mod departed;
mod flawed;
mod offsets;
mod producers;
mod replication;
mod schedules;
mod sessions;
mod silence;
mod topics;

/// The wall clock's beginning.
pub(super) const WALL_MS: i64 = 1_700_000_000_000;

/// Three nodes that know each other.
pub(super) fn formed(seed: u64) -> World {
    let mut world = World::new(seed, &Setup::fast());
    assert!(world.wait_formed(5_000), "three nodes form a cluster");
    world
}

/// And a topic of three partitions and three replicas that all know.
pub(super) fn with_topic(seed: u64) -> World {
    let mut world = formed(seed);
    assert_eq!(world.create_topic(1, "metrics", 3, 3, &[]), Some(ErrorCode::NONE));
    assert!(
        world.run_until(1_000, |w| w.running().iter().all(|id| w
            .node(*id)
            .unwrap()
            .image()
            .topic("metrics")
            .is_some()))
    );
    world
}

/// The in-sync replicas of a partition of it.
pub(super) fn isr(world: &World, partition: i32) -> Vec<i32> {
    let newest = world.running().into_iter().filter_map(|id| world.node(id)).max_by_key(|n| n.image().offset).unwrap();
    let mut isr = newest.image().topic("metrics").unwrap().partitions[&partition].isr.clone();
    isr.sort_unstable();
    isr
}

/// Another node than this one.
pub(super) fn another(world: &World, than: Party) -> Party {
    world.running().into_iter().find(|id| *id != than).expect("another one runs")
}

/// A batch of records with these times.
pub(super) fn batch(times_ms: &[i64]) -> BatchBuilder {
    let mut batch = BatchBuilder::new();
    for timestamp_ms in times_ms {
        batch.push(NewRecord { timestamp_ms: *timestamp_ms, value: Some(b"v"), ..NewRecord::default() });
    }
    batch
}

/// Waits until all running nodes know the same metadata.
pub(super) fn settled(world: &mut World) {
    let same = |w: &mut World| {
        let offsets: Vec<i64> = w.running().iter().map(|id| w.node(*id).unwrap().image().offset).collect();
        offsets.windows(2).all(|pair| pair[0] == pair[1])
    };
    assert!(world.run_until(2_000, same), "the nodes never know the same");
}
