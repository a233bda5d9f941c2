//! What administrators do.

use rdkafka::admin::{AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::clients::{admin, consumer, create, options, producer, read, reader, send, watermarks};
use crate::cluster::{Cluster, DEADLINE, fresh, until};

pub(crate) async fn topics_are_created_grown_and_deleted_and_what_cannot_be_is_refused(cluster: &mut Cluster) {
    let t = fresh("t");
    create(cluster, &t, 2, 3, &[]).await;
    let (admin, options) = (admin(cluster), options());
    let refused = |code| vec![Err((t.clone(), code))];
    let again = NewTopic::new(&t, 1, TopicReplication::Fixed(1));
    let answer = admin.create_topics([&again], &options).await.expect("an answer");
    assert_eq!(answer, refused(RDKafkaErrorCode::TopicAlreadyExists));
    let wide = NewTopic::new("wide", 1, TopicReplication::Fixed(4));
    let answer = admin.create_topics([&wide], &options).await.expect("an answer");
    assert_eq!(answer, vec![Err(("wide".to_owned(), RDKafkaErrorCode::InvalidReplicationFactor))]);
    let answer = admin.create_partitions([&NewPartitions::new(&t, 1)], &options).await.expect("an answer");
    assert_eq!(answer, refused(RDKafkaErrorCode::InvalidPartitions));
    let answer = admin.create_partitions([&NewPartitions::new(&t, 5)], &options).await.expect("an answer");
    assert_eq!(answer, vec![Ok(t.clone())]);
    cluster.known_everywhere(&t, 5).await;
    send(&producer(cluster, &[]), &t, 4, 0..10).await;
    assert_eq!(read(&reader(cluster, &t, 4, Offset::Beginning), 10).len(), 10);
    let answer = admin.delete_topics(&[&t], &options).await.expect("an answer");
    assert_eq!(answer, vec![Ok(t.clone())]);
    let answer = admin.delete_topics(&[&t], &options).await.expect("an answer");
    assert_eq!(answer, refused(RDKafkaErrorCode::UnknownTopicOrPartition));
    until("every broker to have forgotten it", || async {
        let metadata = consumer(cluster, "nobody", &[]).fetch_metadata(None, DEADLINE).expect("metadata");
        metadata.topics().iter().all(|topic| topic.name() != t).then_some(())
    })
    .await;
}

pub(crate) async fn settings_are_described_with_their_source_and_changed(cluster: &mut Cluster) {
    let t = fresh("t");
    create(cluster, &t, 1, 3, &[("retention.ms", "60000")]).await;
    let (admin, options) = (admin(cluster), options());
    let of = ResourceSpecifier::Topic(&t);
    let described = admin.describe_configs([&of], &options).await.expect("an answer").remove(0).expect("described");
    let value = |name: &str| described.get(name).and_then(|entry| entry.value.clone());
    assert_eq!(value("retention.ms").as_deref(), Some("60000"));
    assert_eq!(value("cleanup.policy").as_deref(), Some("delete"));
    assert_eq!(described.get("retention.ms").map(|e| e.is_default), Some(false));
    assert_eq!(described.get("cleanup.policy").map(|e| e.is_default), Some(true));
    let change = AlterConfig::new(of).set("cleanup.policy", "compact");
    let answer = admin.alter_configs([&change], &options).await.expect("an answer");
    assert!(answer[0].is_ok(), "{answer:?}");
    until("the change", || async {
        let told = admin.describe_configs([&of], &options).await.expect("an answer").remove(0).expect("described");
        (told.get("cleanup.policy")?.value.as_deref() == Some("compact")).then_some(())
    })
    .await;
    let broker = ResourceSpecifier::Broker(2);
    let described = admin.describe_configs([&broker], &options).await.expect("an answer").remove(0).expect("described");
    assert_eq!(described.get("node.id").and_then(|e| e.value.clone()).as_deref(), Some("2"));
}

pub(crate) async fn records_that_are_deleted_are_gone_for_every_reader(cluster: &mut Cluster) {
    let t = fresh("t");
    create(cluster, &t, 1, 3, &[]).await;
    send(&producer(cluster, &[("linger.ms", "0")]), &t, 0, 0..20).await;
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&t, 0, Offset::Offset(15)).expect("an offset");
    let told = admin(cluster).delete_records(&before, &options()).await.expect("an answer");
    assert_eq!(told.elements()[0].offset(), Offset::Offset(15), "the low watermark");
    assert_eq!(watermarks(cluster, &t, 0).await, (15, 20));
    let got: Vec<i64> = read(&reader(cluster, &t, 0, Offset::Beginning), 5).into_keys().map(|(_, o)| o).collect();
    assert_eq!(got, (15..20).collect::<Vec<_>>());
    before.set_partition_offset(&t, 0, Offset::Offset(21)).expect("an offset");
    let told = admin(cluster).delete_records(&before, &options()).await.expect("an answer");
    let error = told.elements()[0].error().expect_err("beyond the end");
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::OffsetOutOfRange));
}
