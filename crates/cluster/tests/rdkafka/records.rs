//! Sending and reading.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::support::{DEADLINE, consumer, create, fast, leader, partition, producer, read, reader, send, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_acks_and_compression_arrives_once_and_in_order() {
    let cluster = fast().topic("all", 1, 3).start().await.expect("a cluster");
    let mut sent = 0;
    for acks in ["0", "1", "all"] {
        for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let more = [("acks", acks), ("compression.type", compression), ("linger.ms", "5")];
            send(&producer(&cluster, &more), "all", 0, sent..sent + 40).await;
            sent += 40;
        }
    }
    let got = read(&reader(&cluster, "all", 0, Offset::Beginning), sent as usize);
    let expected: Vec<((i32, i64), String)> = (0..sent).map(|n| ((0, i64::from(n)), format!("v-{n}"))).collect();
    assert_eq!(got.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_headers_and_timestamps_come_back_as_they_were_sent() {
    use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
    let cluster = fast().brokers(1).topic("whole", 1, 1).start().await.expect("a cluster");
    let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some("abc") });
    let record = FutureRecord::to("whole").key("k").payload("v").timestamp(1_234_567).headers(headers);
    producer(&cluster, &[]).send(record, DEADLINE).await.expect("acknowledged");
    let reader = reader(&cluster, "whole", 0, Offset::Beginning);
    let message = until("the message", || async {
        reader.poll(Duration::from_millis(50)).and_then(Result::ok).map(|m| m.detach())
    })
    .await;
    assert_eq!((message.key(), message.payload()), (Some(b"k".as_slice()), Some(b"v".as_slice())));
    assert_eq!(message.timestamp().to_millis(), Some(1_234_567));
    let header = message.headers().expect("headers").get(0);
    assert_eq!((header.key, header.value), ("trace", Some(b"abc".as_slice())));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_names_every_broker_topic_and_replica() {
    let cluster = fast().topic("a", 4, 3).topic("b", 1, 1).start().await.expect("a cluster");
    cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    let metadata = consumer(&cluster, "g", &[]).fetch_metadata(None, DEADLINE).expect("metadata");
    let mut brokers: Vec<(i32, i32)> = metadata.brokers().iter().map(|b| (b.id(), b.port())).collect();
    brokers.sort_unstable();
    let listening: Vec<(i32, i32)> = cluster.brokers().iter().map(|(id, at)| (*id, i32::from(at.port()))).collect();
    assert_eq!(brokers, listening);
    // A client with a group makes the topic of offsets by asking for its coordinator.
    let named = metadata.topics().iter().filter(|t| !t.name().starts_with("__"));
    let topics: BTreeMap<&str, usize> = named.map(|t| (t.name(), t.partitions().len())).collect();
    assert_eq!(topics, BTreeMap::from([("a", 4), ("b", 1)]));
    for p in metadata.topics().iter().filter(|t| t.name() == "a").flat_map(MetadataTopic::partitions) {
        assert_eq!((p.replicas().len(), p.isr().len()), (3, 3), "partition {}", p.id());
        assert!(p.replicas().contains(&p.leader()) && p.error().is_none(), "partition {}", p.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_made_by_asking_for_it_and_watermarks_and_times_are_told() {
    let cluster = fast().start().await.expect("a cluster");
    let producer = producer(&cluster, &[]);
    for (n, time) in [1_000, 2_000, 3_000].into_iter().enumerate() {
        let value = format!("v-{n}");
        let record = FutureRecord::<str, str>::to("new").partition(0).payload(&value).timestamp(time);
        producer.send(record, DEADLINE).await.expect("acknowledged");
    }
    let reader = consumer(&cluster, "g", &[]);
    assert_eq!(reader.fetch_watermarks("new", 0, DEADLINE).expect("watermarks"), (0, 3));
    let at = |time: i64| {
        let mut times = TopicPartitionList::new();
        times.add_partition_offset("new", 0, Offset::Offset(time)).expect("a time");
        let found = reader.offsets_for_times(times, DEADLINE).expect("offsets");
        found.elements()[0].offset()
    };
    assert_eq!([at(0), at(1_001), at(3_000)], [Offset::Offset(0), Offset::Offset(1), Offset::Offset(2)]);
    assert_eq!(at(3_001), Offset::End);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_producer_goes_through_a_leaders_death_without_loss_or_duplicate() {
    let cluster = fast().topic("once", 1, 3).start().await.expect("a cluster");
    cluster.wait_isr_full(DEADLINE).await.expect("in sync");
    let producer = producer(&cluster, &[("enable.idempotence", "true"), ("linger.ms", "1")]);
    let mut offsets = send(&producer, "once", 0, 0..200).await;
    for round in 1..4_u32 {
        let victim = leader(&cluster, "once", 0).await;
        let (sending, kill) = (send(&producer, "once", 0, round * 200..(round + 1) * 200), cluster.kill(victim));
        let (more, killed) = tokio::join!(sending, kill);
        killed.expect("killed");
        offsets.extend(more);
        cluster.restart(victim).await.expect("restarted");
        cluster.wait_isr_full(DEADLINE).await.expect("in sync again");
    }
    assert_eq!(offsets, (0..800).collect::<Vec<i64>>(), "every message has its place, once");
    let got = read(&reader(&cluster, "once", 0, Offset::Beginning), 800);
    let expected: Vec<String> = (0..800).map(|n| format!("v-{n}")).collect();
    assert_eq!(got.into_values().collect::<Vec<_>>(), expected);
    producer.flush(DEADLINE).expect("nothing is left");
    assert!(partition(&cluster, "once", 0).await.expect("there").leader_epoch >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_with_settings_of_its_own_keeps_to_them() {
    let cluster = fast().brokers(1).start().await.expect("a cluster");
    create(&cluster, "small", 1, 1, &[("max.message.bytes", "1000")]).await;
    let (producer, large) = (producer(&cluster, &[]), "x".repeat(2_000));
    let refused = producer.send(FutureRecord::<str, str>::to("small").payload(&large), DEADLINE).await;
    let (error, _) = refused.expect_err("too large");
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageSizeTooLarge));
    producer.send(FutureRecord::<str, str>::to("small").payload("fits"), DEADLINE).await.expect("acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_says_for_which_record_it_refuses_a_batch() {
    let cluster = fast().brokers(1).start().await.expect("a cluster");
    create(&cluster, "keys", 1, 1, &[("cleanup.policy", "compact")]).await;
    let producer = producer(&cluster, &[("linger.ms", "1000"), ("batch.num.messages", "4")]);
    let record = || FutureRecord::<str, str>::to("keys").payload("v");
    let sent = [record().key("a"), record(), record().key("b"), record()].map(|r| producer.send_result(r));
    let mut errors = Vec::new();
    for delivery in sent {
        let answer = delivery.map_err(|(error, _)| error).expect("room").await.expect("a report");
        errors.push(answer.expect_err("refused").0.rdkafka_error_code());
    }
    let (named, other) = (Some(RDKafkaErrorCode::InvalidRecord), Some(RDKafkaErrorCode::InvalidDifferentRecord));
    assert_eq!(errors, [other, named, other, named]);
}
