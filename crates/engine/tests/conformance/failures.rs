//! Nodes come and go while clients work.

use std::collections::BTreeSet;
use std::time::Duration;

use metricstream_engine::observation::Observed;
use metricstream_engine::{Party, admin as observe};
use rdkafka::Offset;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::clients::{admin, client, create, delete, producer, read, read_values, reader, send, values};
use crate::cluster::{Cluster, DEADLINE, fresh, until};

pub(crate) async fn a_leader_is_killed_and_what_was_acknowledged_is_read_from_the_next(cluster: &mut Cluster) {
    let t = fresh("t");
    create(cluster, &t, 1, 3, &[]).await;
    cluster.in_sync(&t).await;
    let producer = producer(cluster, &[("acks", "all")]);
    let reader = reader(cluster, &t, 0, Offset::Beginning);
    send(&producer, &t, 0, 0..50).await;
    assert_eq!(read(&reader, 50).len(), 50);
    let (victim, before) = (cluster.leader(&t, 0).await, cluster.partition(&t, 0).expect("there"));
    cluster.kill(victim).await;
    send(&producer, &t, 0, 50..100).await;
    let after = cluster.partition_is(&t, 0, "another leader", |p| p.leader >= 0 && p.leader != victim).await;
    assert!(after.leader_epoch > before.leader_epoch && before.isr.contains(&after.leader), "{before:?} {after:?}");
    // The reader goes on at the next leader, and one that comes now sees the same.
    assert_eq!(read(&reader, 50).into_values().collect::<Vec<_>>(), values(50..100));
    assert_eq!(read_values(cluster, &t, 0, 100), values(0..100));
    cluster.start_node(victim).await;
    cluster.in_sync(&t).await;
}

pub(crate) async fn a_follower_is_killed_and_neither_leader_nor_epoch_changes(cluster: &mut Cluster) {
    let t = fresh("t");
    create(cluster, &t, 1, 3, &[]).await;
    cluster.in_sync(&t).await;
    let producer = producer(cluster, &[("acks", "all")]);
    send(&producer, &t, 0, 0..50).await;
    let leads = cluster.leader(&t, 0).await;
    let before = cluster.partition(&t, 0).expect("there");
    let victim = cluster.others(&[leads])[0];
    cluster.kill(victim).await;
    send(&producer, &t, 0, 50..100).await;
    let without = cluster.partition_is(&t, 0, "an ISR without it", |p| !p.isr.contains(&victim)).await;
    assert_eq!((without.leader, without.leader_epoch, without.isr.len()), (leads, before.leader_epoch, 2));
    cluster.start_node(victim).await;
    cluster.in_sync(&t).await;
    let again = cluster.partition(&t, 0).expect("there");
    assert_eq!((again.leader, again.leader_epoch), (leads, before.leader_epoch));
    assert_eq!(read_values(cluster, &t, 0, 100), values(0..100));
}

pub(crate) async fn the_active_controller_is_killed_and_clients_do_not_notice(cluster: &mut Cluster) {
    let t = fresh("t");
    create(cluster, &t, 6, 3, &[]).await;
    let producer = producer(cluster, &[]);
    for round in 0..2_u32 {
        cluster.in_sync(&t).await;
        let active = cluster.controller().await;
        let (_, epoch) = cluster.engine.image().controller.expect("known");
        cluster.kill(active).await;
        for partition in 0..6 {
            send(&producer, &t, partition, round * 10..(round + 1) * 10).await;
        }
        create(cluster, &fresh("new"), 1, 2, &[]).await;
        let (next, later) = (cluster.controller().await, cluster.engine.image().controller.expect("known").1);
        assert!(next != active && later > epoch, "{active} in {epoch}, then {next} in {later}");
        cluster.start_node(active).await;
        cluster.unfenced(active).await;
    }
    assert_eq!(read_values(cluster, &t, 5, 20), values(0..20));
}

pub(crate) async fn a_quorum_that_is_lost_decides_nothing_and_goes_on_when_it_is_regained(cluster: &mut Cluster) {
    let t = fresh("t");
    create(cluster, &t, 1, 3, &[("min.insync.replicas", "1")]).await;
    cluster.in_sync(&t).await;
    let (all, one) = (producer(cluster, &[("acks", "all")]), producer(cluster, &[("acks", "1")]));
    send(&all, &t, 0, 0..10).await;
    let left = cluster.leader(&t, 0).await;
    let gone = cluster.others(&[left]);
    let before = cluster.partition(&t, 0).expect("there");
    for id in &gone {
        cluster.kill(*id).await;
    }
    // Nobody can take the last one out of the ISR: what wants all of it is not acknowledged.
    let hasty = producer(cluster, &[("acks", "all"), ("message.timeout.ms", "2000"), ("request.timeout.ms", "1500")]);
    let unsure = hasty.send(FutureRecord::<str, str>::to(&t).partition(0).payload("unsure"), DEADLINE).await;
    assert!(unsure.is_err(), "{unsure:?}");
    assert_ne!(cluster.partition(&t, 0).expect("there").isr, [left]);
    // What wants the leader only is, as before.
    send(&one, &t, 0, 10..20).await;
    // And nothing is decided.
    let lost = fresh("lost");
    let quickly = AdminOptions::new().request_timeout(Some(Duration::from_secs(2)));
    let wanted = NewTopic::new(&lost, 1, TopicReplication::Fixed(1));
    let answer = admin(cluster).create_topics([&wanted], &quickly).await;
    assert!(!matches!(&answer, Ok(made) if made[0].is_ok()), "{answer:?}");
    for id in &gone {
        cluster.start_node(*id).await;
    }
    cluster.in_sync(&t).await;
    let after = cluster.partition(&t, 0).expect("there");
    assert!(after.leader_epoch >= before.leader_epoch);
    create(cluster, &fresh("decided"), 1, 3, &[]).await;
    send(&all, &t, 0, 20..30).await;
    // The leader lived on with what it had; what was not acknowledged may be there, once.
    let mut got: Vec<String> = Vec::new();
    let reader = reader(cluster, &t, 0, Offset::Beginning);
    while got.last().is_none_or(|last| last != "v-29") {
        got.extend(read(&reader, 1).into_values());
    }
    got.retain(|value| value != "unsure");
    assert_eq!(got, values(0..30));
}

pub(crate) async fn a_controlled_shutdown_hands_its_leaderships_over_before_it_ends(cluster: &mut Cluster) {
    let t = fresh("t");
    create(cluster, &t, 6, 3, &[]).await;
    cluster.in_sync(&t).await;
    let led = |id: i32| -> BTreeSet<i32> {
        let of = |p: &i32| cluster.partition(&t, *p).is_some_and(|known| known.leader == id);
        (0..6).filter(of).collect()
    };
    let victim = cluster.leader(&t, 0).await;
    let (before, mark) = (led(victim), cluster.seen_so_far());
    assert!(!before.is_empty());
    cluster.stop(victim).await;
    cluster.fenced(victim).await;
    let seen = until("its end to be observed", || async {
        let seen = cluster.seen_after(mark);
        seen.iter()
            .any(|what| matches!(what, Observed::BrokerFenced { broker, .. } if *broker == victim))
            .then_some(seen)
    })
    .await;
    let at = |fits: &dyn Fn(&Observed) -> bool| seen.iter().position(fits);
    let asked = at(&|what| matches!(what, Observed::BrokerShuttingDown { broker, .. } if *broker == victim));
    let fenced = at(&|what| matches!(what, Observed::BrokerFenced { broker, .. } if *broker == victim));
    assert!(asked.is_some() && asked < fenced, "it asked first: {seen:?}");
    for p in before {
        let handed = at(&|what| {
            matches!(what, Observed::Partition { topic, partition, leader, .. }
                if *topic == t && *partition == p && *leader != victim && *leader >= 0)
        });
        assert!(handed.is_some() && handed < fenced, "partition {p} had another leader before the end: {seen:?}");
    }
    assert!(led(victim).is_empty());
    for p in 0..6 {
        send(&producer(cluster, &[]), &t, p, 0..10).await;
    }
    cluster.start_node(victim).await;
    cluster.in_sync(&t).await;
}

pub(crate) async fn a_topic_made_and_one_deleted_while_a_broker_is_down_are_so_for_it_too(cluster: &mut Cluster) {
    let (old, new) = (fresh("old"), fresh("new"));
    create(cluster, &old, 3, 3, &[]).await;
    send(&producer(cluster, &[]), &old, 0, 0..10).await;
    cluster.kill(3).await;
    create(cluster, &new, 3, 2, &[]).await;
    delete(cluster, &old).await;
    cluster.start_node(3).await;
    cluster.unfenced(3).await;
    until("node 3 to know", || async {
        let told = observe::metadata(cluster.at(3), None).await.ok()?;
        let knows = |name: &str| told.topics.iter().any(|topic| topic.name.as_deref() == Some(name));
        (knows(&new) && !knows(&old)).then_some(())
    })
    .await;
    create(cluster, &old, 3, 3, &[]).await;
    cluster.in_sync(&old).await;
    send(&producer(cluster, &[]), &old, 0, 0..5).await;
    let got: Vec<i64> = read(&reader(cluster, &old, 0, Offset::Beginning), 5).into_keys().map(|(_, o)| o).collect();
    assert_eq!(got, (0..5).collect::<Vec<_>>(), "nothing of the topic that had this name before");
}

pub(crate) async fn a_leader_on_the_minority_side_of_a_partition_accepts_nothing_that_counts(cluster: &mut Cluster) {
    let safe = fresh("safe");
    create(cluster, &safe, 1, 3, &[]).await;
    cluster.in_sync(&safe).await;
    let old = cluster.leader(&safe, 0).await;
    let others = cluster.others(&[old]);
    send(&producer(cluster, &[]), &safe, 0, 0..10).await;
    let mut cut: Vec<(Party, Party)> = others.iter().map(|id| (Party::Node(old), Party::Node(*id))).collect();
    cluster.cut(&cut);
    cluster.partition_is(&safe, 0, "another leader", |p| others.contains(&p.leader)).await;
    // Other brokers do not answer these clients: they must not find their way to the new leader.
    cut.extend(others.iter().map(|id| (Party::Clients, Party::Node(*id))));
    cluster.cut(&cut);
    let refused = lonely(cluster, old, "all").send(record(&safe, "lost"), DEADLINE).await;
    assert!(refused.is_err(), "{refused:?}");
    // The leader alone may say yes to this, and it is as lost: whoever asks for one copy gets one.
    let _ = lonely(cluster, old, "1").send(record(&safe, "lost as well"), DEADLINE).await;
    cluster.mend();
    cluster.in_sync(&safe).await;
    send(&producer(cluster, &[]), &safe, 0, 10..20).await;
    assert_eq!(read_values(cluster, &safe, 0, 20), values(0..20), "the refused write is not in the log");
    // Nor in the one that the old leader has, which was cut where it parted.
    cluster.stop(cluster.leader(&safe, 0).await).await;
    let led = cluster.leader(&safe, 0).await;
    assert_eq!(read_values(cluster, &safe, 0, 20), values(0..20), "read from {led}");
}

fn record<'a>(topic: &'a str, value: &'a str) -> FutureRecord<'a, str, str> {
    FutureRecord::to(topic).partition(0).payload(value)
}

/// A producer that knows one broker and gives up soon.
fn lonely(cluster: &Cluster, node: i32, acks: &str) -> FutureProducer {
    let mut config = client(cluster);
    config.set("bootstrap.servers", cluster.at(node).to_string()).set("acks", acks);
    config.set("message.timeout.ms", "1500").set("request.timeout.ms", "1000");
    let made: Result<FutureProducer, KafkaError> = config.create();
    made.expect("a producer")
}
