//! What outlives its nodes: data on disk, and data that only the other brokers have.

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::clients::{consumer, create, producer, read, read_values, send, values};
use crate::cluster::{Cluster, DEADLINE, fresh};

pub(crate) async fn a_whole_cluster_comes_back_from_its_files_with_records_and_offsets(cluster: &mut Cluster) {
    let kept = fresh("kept");
    create(cluster, &kept, 3, 3, &[]).await;
    for partition in 0..3 {
        send(&producer(cluster, &[]), &kept, partition, 0..50).await;
    }
    {
        let member = consumer(cluster, "g", &[]);
        member.subscribe(&[&kept]).expect("subscribed");
        read(&member, 150);
        member.commit_consumer_state(CommitMode::Sync).expect("committed");
    }
    cluster.start_again_from_files().await;
    cluster.in_sync(&kept).await;
    assert_eq!(read_values(cluster, &kept, 1, 50), values(0..50));
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_range(&kept, 0, 2);
    let told = consumer(cluster, "g", &[]).committed_offsets(wanted, DEADLINE).expect("committed offsets");
    let offsets: Vec<Offset> = told.elements().iter().map(|e| e.offset()).collect();
    assert_eq!(offsets, [Offset::Offset(50); 3]);
    let more = send(&producer(cluster, &[]), &kept, 1, 50..60).await;
    assert_eq!(more, (50..60).collect::<Vec<i64>>());
}

pub(crate) async fn a_broker_with_a_new_disk_gets_everything_from_the_others(cluster: &mut Cluster) {
    returns_with_less(cluster, async |cluster: &Cluster, id| cluster.start_empty(id).await).await;
}

pub(crate) async fn a_broker_that_lost_its_logs_gets_them_from_the_others(cluster: &mut Cluster) {
    returns_with_less(cluster, async |cluster: &Cluster, id| cluster.start_wiped(id).await).await;
}

async fn returns_with_less(cluster: &Cluster, start: impl AsyncFn(&Cluster, i32)) {
    let t = fresh("t");
    create(cluster, &t, 1, 2, &[("min.insync.replicas", "1")]).await;
    cluster.in_sync(&t).await;
    let producer = producer(cluster, &[]);
    send(&producer, &t, 0, 0..100).await;
    let leads = cluster.leader(&t, 0).await;
    let replicas = cluster.partition(&t, 0).expect("there").replicas;
    let victim = replicas.into_iter().find(|id| *id != leads).expect("two replicas");
    cluster.kill(victim).await;
    send(&producer, &t, 0, 100..110).await;
    cluster.partition_is(&t, 0, "an ISR without it", |p| p.isr == [leads]).await;
    start(cluster, victim).await;
    cluster.in_sync(&t).await;
    // The one that had it all is stopped: what is read came back to the other.
    cluster.stop(leads).await;
    cluster.partition_is(&t, 0, "the other to lead", |p| p.leader == victim).await;
    assert_eq!(read_values(cluster, &t, 0, 110), values(0..110));
}
