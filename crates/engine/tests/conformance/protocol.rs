//! What clients hide: the answers to a retry, to a fetch that waits, and to whoever lives in another epoch.

use std::time::{Duration, Instant};

use metricstream_wire::ErrorCode;

use crate::clients::{create, producer, send};
use crate::cluster::{Cluster, fresh};
use crate::wire::{Wire, batch};

pub(crate) async fn a_duplicate_is_answered_with_its_offset_by_the_next_leader_too(cluster: &mut Cluster) {
    let topic = fresh("twice");
    create(cluster, &topic, 1, 3, &[]).await;
    cluster.in_sync(&topic).await;
    let mut leader = Wire::to_leader(cluster, &topic).await;
    let me = leader.producer_id().await;
    let sent: Vec<_> = (0..7).map(|n| batch(me, n * 2, &["a", "b"])).collect();
    for (n, batch) in (0..).zip(&sent) {
        assert_eq!(written(&mut leader, &topic, batch.clone()).await, n * 2);
    }
    for n in [6, 4, 2] {
        let again = leader.produce(&topic, sent[n].clone()).await;
        assert_eq!(again, (ErrorCode::NONE, n as i64 * 2), "batch {n} is one of the last five");
    }
    // What lies further back is not known to have been written, and a gap never is.
    let (code, _) = leader.produce(&topic, sent[0].clone()).await;
    assert_eq!(code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let (code, _) = leader.produce(&topic, batch(me, 16, &["a"])).await;
    assert_eq!(code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);

    let victim = cluster.leader(&topic, 0).await;
    cluster.kill(victim).await;
    let mut next = Wire::to_leader(cluster, &topic).await;
    for n in [6, 4, 2] {
        let again = written(&mut next, &topic, sent[n].clone()).await;
        assert_eq!(again, n as i64 * 2, "batch {n}, as the follower has replicated it");
    }
    assert_eq!(written(&mut next, &topic, batch(me, 14, &["c"])).await, 14, "nothing was written twice");
}

/// Writes a batch to a leader that may not know yet that it is the leader, or that others are gone.
async fn written(to: &mut Wire, topic: &str, records: bytes::Bytes) -> i64 {
    let begun = Instant::now();
    loop {
        match to.produce(topic, records.clone()).await {
            (ErrorCode::NONE, offset) => return offset,
            (code, _) => assert!(begun.elapsed() < crate::cluster::DEADLINE, "{code}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn a_fetch_at_the_end_waits_and_is_woken_by_the_next_record(cluster: &mut Cluster) {
    const LONG_MS: i32 = 30_000;
    let topic = fresh("waiting");
    create(cluster, &topic, 1, 3, &[]).await;
    let (mut reader, mut writer) = (Wire::to_leader(cluster, &topic).await, Wire::to_leader(cluster, &topic).await);
    let me = writer.producer_id().await;
    // A broker may tell of its leadership a moment before it takes it up.
    while ErrorCode(reader.fetch(&topic, 0, -1, 0).await.error_code) != ErrorCode::NONE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let begun = Instant::now();
    let nothing = reader.fetch(&topic, 0, -1, 700).await;
    assert_eq!((ErrorCode(nothing.error_code), nothing.high_watermark), (ErrorCode::NONE, 0));
    assert!(nothing.records.unwrap_or_default().is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(600), "answered after {:?}: it did not wait", begun.elapsed());
    for n in 0..3 {
        let begun = Instant::now();
        let (woken, written) = tokio::join!(
            reader.fetch(&topic, n, -1, LONG_MS),
            writer.produce(&topic, batch(me, i32::try_from(n).expect("small"), &["news"])),
        );
        assert_eq!(written, (ErrorCode::NONE, n));
        assert!(!woken.records.unwrap_or_default().is_empty(), "round {n}: woken with nothing");
        assert!(begun.elapsed() < Duration::from_millis(LONG_MS as u64 / 2), "round {n}: nobody woke it");
    }
}

pub(crate) async fn epochs_that_are_fenced_and_epochs_unheard_of_are_refused(cluster: &mut Cluster) {
    let topic = fresh("epochs");
    create(cluster, &topic, 1, 3, &[]).await;
    cluster.in_sync(&topic).await;
    send(&producer(cluster, &[]), &topic, 0, 0..10).await;
    let first = cluster.partition(&topic, 0).expect("there").leader_epoch;
    let victim = cluster.leader(&topic, 0).await;
    cluster.kill(victim).await;
    let now = cluster.partition_is(&topic, 0, "another leader", |p| p.leader >= 0 && p.leader != victim).await;
    assert!(now.leader_epoch > first);
    // It is written to once, so that it knows what it is.
    send(&producer(cluster, &[]), &topic, 0, 10..11).await;

    let mut leader = Wire::to(cluster, now.leader).await;
    let (behind, current, ahead) = (first, now.leader_epoch, now.leader_epoch + 1);
    let expected = [
        (behind, ErrorCode::FENCED_LEADER_EPOCH),
        (current, ErrorCode::NONE),
        (ahead, ErrorCode::UNKNOWN_LEADER_EPOCH),
    ];
    for (epoch, code) in expected {
        let fetched = leader.fetch(&topic, 0, epoch, 0).await;
        assert_eq!(ErrorCode(fetched.error_code), code, "fetch in epoch {epoch} of {current}");
        assert_eq!(leader.list_offsets(&topic, epoch).await, code, "list offsets in epoch {epoch} of {current}");
        let (told, ..) = leader.epoch_end(&topic, epoch, current).await;
        assert_eq!(told, code, "end of an epoch, asked in epoch {epoch} of {current}");
    }
    assert_eq!(leader.epoch_end(&topic, current, first).await, (ErrorCode::NONE, first, 10));

    let (id, epoch) = leader.producer_id().await;
    assert_eq!(leader.produce(&topic, batch((id, epoch + 1), 0, &["new"])).await, (ErrorCode::NONE, 11));
    let (code, _) = leader.produce(&topic, batch((id, epoch), 0, &["old"])).await;
    assert_eq!(code, ErrorCode::INVALID_PRODUCER_EPOCH);
}
