//! Silence without a reset: how long a leader that nothing reaches stays one, and how long a client waits for the next.

use std::time::{Duration, Instant};

use rdkafka::Offset;

use crate::support::{DEADLINE, create, fast, leader, producer, read, reader, running, send, until};

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
