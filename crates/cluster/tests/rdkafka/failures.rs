//! Nodes come and go while clients work.

use std::time::{Duration, Instant};

use rdkafka::Offset;
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaErrorCode;

use crate::support::{DEADLINE, client, create, fast, leader, partition, producer, read, reader, running, send, until};

#[tokio::test(flavor = "multi_thread")]
async fn below_min_isr_a_write_is_refused_and_accepted_again_when_a_replica_is_back() {
    // The quorum is on a node of its own: it outlives the majority of the brokers.
    let cluster = fast().controllers(1).start().await.expect("a cluster");
    create(&cluster, "safe", 1, 3, &[("min.insync.replicas", "2")]).await;
    cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    let safe = producer(&cluster, &[("acks", "all")]);
    send(&safe, "safe", 0, 0..1).await;
    let leads = leader(&cluster, "safe", 0).await;
    let followers: Vec<i32> = (1..=3).filter(|id| *id != leads).collect();
    cluster.kill(followers[0]).await.expect("killed");
    send(&safe, "safe", 0, 1..2).await;
    cluster.kill(followers[1]).await.expect("killed");
    until("an ISR of one", || async { (partition(&cluster, "safe", 0).await?.isr == [leads]).then_some(()) }).await;
    let hasty = producer(&cluster, &[("acks", "all"), ("retries", "0")]);
    let refused = hasty.send(FutureRecord::<str, str>::to("safe").partition(0).payload("x"), DEADLINE).await;
    let (error, _) = refused.expect_err("one replica is too few");
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::NotEnoughReplicas));
    cluster.restart(followers[0]).await.expect("restarted");
    send(&safe, "safe", 0, 2..3).await;
    cluster.restart(followers[1]).await.expect("restarted");
    cluster.wait_isr_full(DEADLINE).await.expect("in sync again");
    let got: Vec<String> = read(&reader(&cluster, "safe", 0, Offset::Beginning), 3).into_values().collect();
    assert_eq!(got, ["v-0", "v-1", "v-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_and_one_deleted_while_a_broker_is_down_are_so_for_it_too() {
    let cluster = fast().topic("old", 3, 3).start().await.expect("a cluster");
    send(&producer(&cluster, &[]), "old", 0, 0..10).await;
    cluster.kill(3).await.expect("killed");
    create(&cluster, "new", 3, 2, &[]).await;
    let gone = crate::support::admin(&cluster).delete_topics(&["old"], &crate::support::options()).await;
    assert_eq!(gone.expect("an answer"), vec![Ok("old".to_owned())]);
    cluster.restart(3).await.expect("restarted");
    cluster.wait_ready(DEADLINE).await.expect("back");
    until("node 3 to know", || async {
        let image = cluster.image(3).await?;
        (image.topic("new").is_some() && image.topic("old").is_none()).then_some(())
    })
    .await;
    create(&cluster, "old", 3, 3, &[]).await;
    cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    send(&producer(&cluster, &[]), "old", 0, 0..5).await;
    let got: Vec<i64> = read(&reader(&cluster, "old", 0, Offset::Beginning), 5).into_keys().map(|(_, o)| o).collect();
    assert_eq!(got, (0..5).collect::<Vec<_>>(), "nothing of the topic that had this name before");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_active_controller_is_killed_and_clients_do_not_notice() {
    let cluster = fast().topic("t", 6, 3).start().await.expect("a cluster");
    let producer = producer(&cluster, &[]);
    for round in 0..3_u32 {
        let active = until("a controller", || cluster.controller()).await;
        cluster.kill(active).await.expect("killed");
        for partition in 0..6 {
            send(&producer, "t", partition, round * 10..(round + 1) * 10).await;
        }
        create(&cluster, &format!("new-{round}"), 1, 2, &[]).await;
        cluster.restart(active).await.expect("restarted");
        cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    }
    assert_eq!(read(&reader(&cluster, "t", 5, Offset::Beginning), 30).len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controlled_shutdown_hands_its_leaderships_over_before_it_ends() {
    let cluster = fast().topic("t", 6, 3).start().await.expect("a cluster");
    cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    cluster.stop(2).await.expect("stopped");
    for p in 0..6 {
        let led_by = partition(&cluster, "t", p).await.expect("there").leader;
        assert!([1, 3].contains(&led_by), "partition {p} is led by {led_by}");
    }
    send(&producer(&cluster, &[]), "t", 0, 0..10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_on_the_minority_side_of_a_partition_accepts_nothing_that_counts() {
    let cluster = fast().start().await.expect("a cluster");
    create(&cluster, "safe", 1, 3, &[("min.insync.replicas", "2")]).await;
    cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    let old = leader(&cluster, "safe", 0).await;
    let others: Vec<i32> = running(&cluster).into_iter().filter(|id| *id != old).collect();
    send(&producer(&cluster, &[]), "safe", 0, 0..10).await;
    cluster.partition(&[old], &others);
    until("another leader", || async {
        let image = cluster.image(others[0]).await?;
        let now = image.topic("safe")?.partitions[&0].leader;
        (others.contains(&now)).then_some(())
    })
    .await;
    let refused = refused_write_at(&cluster, old).await;
    assert!(refused.is_err(), "{refused:?}");
    cluster.mend();
    cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    send(&producer(&cluster, &[]), "safe", 0, 10..20).await;
    let got: Vec<String> = read(&reader(&cluster, "safe", 0, Offset::Beginning), 20).into_values().collect();
    assert_eq!(got, (0..20).map(|n| format!("v-{n}")).collect::<Vec<_>>(), "the refused write is not in the log");
}

/// Writes to a broker that believes to lead and is alone.
async fn refused_write_at(
    cluster: &metricstream_cluster::Cluster,
    node: i32,
) -> Result<(), rdkafka::error::KafkaError> {
    let mut config = client(cluster);
    let at = cluster.brokers().into_iter().find(|(id, _)| *id == node).expect("a broker").1;
    config.set("bootstrap.servers", at.to_string()).set("acks", "all").set("message.timeout.ms", "1500");
    config.set("request.timeout.ms", "1000");
    let alone: rdkafka::producer::FutureProducer = config.create().expect("a producer");
    // Other brokers do not answer this client: it must not find its way to the new leader.
    let record = FutureRecord::<str, str>::to("safe").partition(0).payload("lost");
    for other in cluster.brokers().into_iter().map(|(id, _)| id).filter(|id| *id != node) {
        cluster.links().set(0, other, metricstream_cluster::Rule { cut: true, ..Default::default() });
    }
    alone.send(record, DEADLINE).await.map(|_| ()).map_err(|(error, _)| error)
}

/// Nothing gets through to the leader of a partition or from it, clients included, and no connection closes. A producer
/// that asks for all acknowledgements has its next one within the bound and what it takes the client to give the old leader
/// up: its request's timeout, perhaps twice.
async fn producing_past_a_black_hole(controller_too: bool) {
    const CLIENT: Duration = Duration::from_millis(1_000);
    let cluster = fast().start().await.expect("a cluster");
    create(&cluster, "safe", 3, 3, &[("min.insync.replicas", "2")]).await;
    cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    let controller = until("a controller", || cluster.controller()).await;
    let mut led = None;
    for number in 0..3 {
        let leads = leader(&cluster, "safe", number).await;
        if (leads == controller) == controller_too {
            led = Some((number, leads));
        }
    }
    let (number, victim) = led.expect("every broker leads one of three partitions");
    let timeout_ms = CLIENT.as_millis().to_string();
    let settings =
        [("acks", "all"), ("socket.timeout.ms", timeout_ms.as_str()), ("request.timeout.ms", timeout_ms.as_str())];
    let producer = producer(&cluster, &settings);
    send(&producer, "safe", number, 0..10).await;
    let (settings, _) = cluster.settings(victim).await.expect("it runs");
    let bounds = |settings: &metricstream_node::config::Settings| {
        let silent =
            if controller_too { settings.silent_controller_bound_ms() } else { settings.silent_broker_bound_ms() };
        Duration::from_millis(u64::try_from(silent).expect("positive"))
    };
    let mut all = metricstream_node::config::Settings::default();
    settings.iter().for_each(|(name, value)| all.set(name, value).expect("its own"));
    let bound = bounds(&all);
    let other = running(&cluster).into_iter().find(|id| *id != victim).expect("three run");
    cluster.isolate(victim);
    let begun = Instant::now();
    let led_elsewhere = async {
        until("another leader", || async {
            let leads = cluster.image(other).await?.topic("safe")?.partitions[&number].leader;
            (leads >= 0 && leads != victim).then_some(())
        })
        .await;
        begun.elapsed()
    };
    let (led, _) = tokio::join!(led_elsewhere, send(&producer, "safe", number, 10..11));
    let took = begun.elapsed();
    eprintln!("another leader after {led:?}, acknowledged after {took:?}, the bound is {bound:?}");
    assert!(led >= bound / 3, "only silence tells of a black hole: {led:?}");
    // Both are given a second for a busy machine. The client looks for overdue requests once a second, and may ask the
    // silent broker a second time, for metadata.
    let busy = Duration::from_secs(1);
    assert!(led <= bound + busy, "{led:?} where the bound is {bound:?}");
    let client = 2 * (CLIENT + Duration::from_secs(1));
    assert!(took <= bound + client + busy, "{took:?} where the bound is {bound:?} and the client's {client:?}");
    cluster.mend();
    cluster.wait_isr_full(DEADLINE).await.expect("in sync again");
    let got: Vec<String> = read_all(&cluster, number);
    assert_eq!(got, (0..11).map(|n| format!("v-{n}")).collect::<Vec<_>>());
}

fn read_all(cluster: &metricstream_cluster::Cluster, partition: i32) -> Vec<String> {
    read(&reader(cluster, "safe", partition, Offset::Beginning), 11).into_values().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_in_a_black_hole_is_replaced_within_the_bound_of_its_session() {
    producing_past_a_black_hole(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_in_a_black_hole_that_is_the_controller_too_is_replaced_within_the_bound_of_both() {
    producing_past_a_black_hole(true).await;
}
