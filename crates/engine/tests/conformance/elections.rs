//! Who may lead, and who counts as in sync, when few replicas are left.

use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaErrorCode;

use crate::clients::{create, producer, read_values, send, values, watermarks};
use crate::cluster::{Cluster, DEADLINE, fresh};

pub(crate) async fn below_min_isr_a_write_is_refused_and_accepted_again_when_a_replica_is_back(cluster: &mut Cluster) {
    // The quorum is on a node of its own: it outlives the majority of the brokers.
    let t = fresh("safe");
    create(cluster, &t, 1, 3, &[("min.insync.replicas", "2")]).await;
    cluster.in_sync(&t).await;
    let safe = producer(cluster, &[("acks", "all")]);
    send(&safe, &t, 0, 0..1).await;
    let leads = cluster.leader(&t, 0).await;
    let followers = cluster.others(&[leads]);
    cluster.kill(followers[0]).await;
    send(&safe, &t, 0, 1..2).await;
    cluster.kill(followers[1]).await;
    cluster.partition_is(&t, 0, "an ISR of one", |p| p.isr == [leads]).await;
    let hasty = producer(cluster, &[("acks", "all"), ("retries", "0")]);
    let refused = hasty.send(FutureRecord::<str, str>::to(&t).partition(0).payload("x"), DEADLINE).await;
    let (error, _) = refused.expect_err("one replica is too few");
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::NotEnoughReplicas));
    cluster.start_node(followers[0]).await;
    send(&safe, &t, 0, 2..3).await;
    cluster.start_node(followers[1]).await;
    cluster.in_sync(&t).await;
    assert_eq!(read_values(cluster, &t, 0, 3), values(0..3));
}

/// A partition of two replicas, of which the first alone has the last ten of twenty records and is dead, and the second is
/// about to be started. Both by their ids.
async fn last_of_its_isr_is_dead(cluster: &Cluster, topic: &str, unclean: &str) -> (i32, i32) {
    let config = [("min.insync.replicas", "1"), ("unclean.leader.election.enable", unclean)];
    create(cluster, topic, 1, 2, &config).await;
    cluster.in_sync(topic).await;
    let producer = producer(cluster, &[("acks", "all")]);
    send(&producer, topic, 0, 0..10).await;
    let first = cluster.leader(topic, 0).await;
    let replicas = cluster.partition(topic, 0).expect("there").replicas;
    let second = replicas.into_iter().find(|id| *id != first).expect("two replicas");
    cluster.kill(second).await;
    cluster.partition_is(topic, 0, "an ISR of one", |p| p.isr == [first]).await;
    send(&producer, topic, 0, 10..20).await;
    cluster.kill(first).await;
    cluster.partition_is(topic, 0, "nobody to lead", |p| p.leader < 0).await;
    (first, second)
}

pub(crate) async fn without_unclean_election_a_partition_waits_for_the_last_of_its_isr(cluster: &mut Cluster) {
    let t = fresh("clean");
    let (first, second) = last_of_its_isr_is_dead(cluster, &t, "false").await;
    cluster.start_node(second).await;
    cluster.unfenced(second).await;
    // The controller has decided of the other's return before it decides of this.
    create(cluster, &fresh("later"), 1, 2, &[]).await;
    assert!(cluster.partition(&t, 0).expect("there").leader < 0, "nobody leads who was not in sync");
    cluster.start_node(first).await;
    assert_eq!(cluster.leader(&t, 0).await, first);
    cluster.in_sync(&t).await;
    assert_eq!(send(&producer(cluster, &[]), &t, 0, 20..21).await, [20]);
    assert_eq!(read_values(cluster, &t, 0, 21), values(0..21), "nothing is lost");
}

pub(crate) async fn with_unclean_election_another_leads_and_the_old_leader_returns_and_truncates(
    cluster: &mut Cluster,
) {
    let t = fresh("unclean");
    let (first, second) = last_of_its_isr_is_dead(cluster, &t, "true").await;
    cluster.start_node(second).await;
    assert_eq!(cluster.leader(&t, 0).await, second);
    // Ten are lost, and their offsets are given again.
    assert_eq!(send(&producer(cluster, &[]), &t, 0, 100..105).await, (10..15).collect::<Vec<i64>>());
    cluster.start_node(first).await;
    cluster.in_sync(&t).await;
    // The old leader leads again; what only it had is gone from its log.
    cluster.stop(second).await;
    assert_eq!(cluster.leader(&t, 0).await, first);
    assert_eq!(read_values(cluster, &t, 0, 15), values((0..10).chain(100..105)));
    assert_eq!(watermarks(cluster, &t, 0).await, (0, 15));
    assert_eq!(send(&producer(cluster, &[]), &t, 0, 105..106).await, [15]);
}

pub(crate) async fn an_isr_shrinks_by_lag_alone_and_grows_when_the_follower_has_caught_up(cluster: &mut Cluster) {
    let t = fresh("lag");
    create(cluster, &t, 1, 3, &[]).await;
    cluster.in_sync(&t).await;
    let producer = producer(cluster, &[("acks", "all")]);
    send(&producer, &t, 0, 0..10).await;
    let leads = cluster.leader(&t, 0).await;
    // Not the active controller, without which nothing would be decided.
    let slow = cluster.others(&[leads, cluster.controller().await])[0];
    let before = cluster.partition(&t, 0).expect("there");
    let broker = cluster.engine.image().brokers[&slow].clone();
    cluster.pause(slow).await;
    // Held until the slow one counts no more.
    send(&producer, &t, 0, 10..20).await;
    let without = cluster.partition_is(&t, 0, "an ISR without it", |p| !p.isr.contains(&slow)).await;
    assert_eq!((without.leader, without.leader_epoch, without.isr.len()), (leads, before.leader_epoch, 2));
    assert_eq!(cluster.engine.image().brokers[&slow], broker, "it is not fenced: it lagged");
    cluster.resume(slow).await;
    cluster.in_sync(&t).await;
    assert_eq!(cluster.engine.image().brokers[&slow].broker_epoch, broker.broker_epoch, "the same process");
    assert_eq!(read_values(cluster, &t, 0, 20), values(0..20));
}
