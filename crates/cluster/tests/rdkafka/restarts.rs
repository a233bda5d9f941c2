//! What outlives its nodes: data on disk, and data that only the other brokers have.

use metricstream_cluster::Start;
use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer};

use crate::support::{DEADLINE, consumer, fast, partition, producer, read, reader, send, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_comes_back_from_its_files_with_records_and_offsets() {
    let folder = tempfile::tempdir().expect("a folder");
    {
        let cluster = fast().data(folder.path()).topic("kept", 3, 3).start().await.expect("a cluster");
        for partition in 0..3 {
            send(&producer(&cluster, &[]), "kept", partition, 0..50).await;
        }
        let member = consumer(&cluster, "g", &[("heartbeat.interval.ms", "100")]);
        member.subscribe(&["kept"]).expect("subscribed");
        read(&member, 150);
        member.commit_consumer_state(CommitMode::Sync).expect("committed");
        drop(member);
        for id in 1..=3 {
            cluster.kill(id).await.expect("killed");
        }
    }
    let cluster = fast().data(folder.path()).start().await.expect("the same cluster");
    until("leaders", || async { (partition(&cluster, "kept", 0).await?.leader > 0).then_some(()) }).await;
    assert_eq!(read(&reader(&cluster, "kept", 1, Offset::Beginning), 50).len(), 50);
    let mut wanted = rdkafka::TopicPartitionList::new();
    wanted.add_partition_range("kept", 0, 2);
    let told = consumer(&cluster, "g", &[]).committed_offsets(wanted, DEADLINE).expect("committed offsets");
    let offsets: Vec<Offset> = told.elements().iter().map(|e| e.offset()).collect();
    assert_eq!(offsets, [Offset::Offset(50); 3]);
    let more = send(&producer(&cluster, &[]), "kept", 1, 50..60).await;
    assert_eq!(more, (50..60).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_a_new_disk_gets_everything_from_the_others() {
    let cluster = fast().topic("t", 1, 3).start().await.expect("a cluster");
    let producer = producer(&cluster, &[]);
    send(&producer, "t", 0, 0..100).await;
    cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    cluster.kill(1).await.expect("killed");
    send(&producer, "t", 0, 100..110).await;
    cluster.start_node(1, Start::NewDisk).await.expect("started");
    cluster.wait_isr_full(DEADLINE).await.expect("in sync again");
    // The two that had it are gone one after the other: what is read came from the new disk.
    let leads = crate::support::leader(&cluster, "t", 0).await;
    for other in [2, 3].into_iter().filter(|id| *id == leads) {
        cluster.stop(other).await.expect("stopped");
    }
    let got: Vec<String> = read(&reader(&cluster, "t", 0, Offset::Beginning), 110).into_values().collect();
    assert_eq!(got, (0..110).map(|n| format!("v-{n}")).collect::<Vec<_>>());
}
