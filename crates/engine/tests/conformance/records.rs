//! Sending and reading.

use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::clients::{consumer, create, producer, read, reader, send, values, watermarks};
use crate::cluster::{Cluster, DEADLINE, fresh, until};

pub(crate) async fn every_acks_and_compression_arrives_once_and_in_order(cluster: &mut Cluster) {
    let topic = fresh("all");
    create(cluster, &topic, 1, 3, &[]).await;
    let mut sent = 0;
    for acks in ["0", "1", "all"] {
        for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let more = [("acks", acks), ("compression.type", compression), ("linger.ms", "5")];
            send(&producer(cluster, &more), &topic, 0, sent..sent + 40).await;
            sent += 40;
        }
    }
    let got = read(&reader(cluster, &topic, 0, Offset::Beginning), sent as usize);
    let expected: Vec<((i32, i64), String)> = (0..sent).map(|n| ((0, i64::from(n)), format!("v-{n}"))).collect();
    assert_eq!(got.into_iter().collect::<Vec<_>>(), expected);
}

pub(crate) async fn keys_headers_and_timestamps_come_back_as_they_were_sent(cluster: &mut Cluster) {
    let whole = fresh("whole");
    // A record of 1970, which is older than what is kept by default.
    create(cluster, &whole, 1, 3, &[("retention.ms", "-1")]).await;
    let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some("abc") });
    let record = FutureRecord::to(&whole).key("k").payload("v").timestamp(1_234_567).headers(headers);
    producer(cluster, &[]).send(record, DEADLINE).await.expect("acknowledged");
    let reader = reader(cluster, &whole, 0, Offset::Beginning);
    let message = until("the message", || async {
        reader.poll(Duration::from_millis(50)).and_then(Result::ok).map(|m| m.detach())
    })
    .await;
    assert_eq!((message.key(), message.payload()), (Some(b"k".as_slice()), Some(b"v".as_slice())));
    assert_eq!(message.timestamp().to_millis(), Some(1_234_567));
    let header = message.headers().expect("headers").get(0);
    assert_eq!((header.key, header.value), ("trace", Some(b"abc".as_slice())));
}

pub(crate) async fn metadata_names_every_broker_topic_and_replica(cluster: &mut Cluster) {
    let (a, b) = (fresh("a"), fresh("b"));
    create(cluster, &a, 4, 3, &[]).await;
    create(cluster, &b, 1, 1, &[]).await;
    cluster.in_sync(&a).await;
    let looker = consumer(cluster, "nobody", &[]);
    let of = |topic: &MetadataTopic| topic.partitions().iter().filter(|p| p.isr().len() == p.replicas().len()).count();
    let metadata = until("metadata with every ISR full", || async {
        let metadata = looker.fetch_metadata(None, DEADLINE).ok()?;
        let full = |name: &str| metadata.topics().iter().find(|t| t.name() == name).map(of);
        (full(&a) == Some(4) && full(&b) == Some(1)).then_some(metadata)
    })
    .await;
    let mut brokers: Vec<(i32, i32)> = metadata.brokers().iter().map(|b| (b.id(), b.port())).collect();
    brokers.sort_unstable();
    let listening: Vec<(i32, i32)> =
        cluster.brokers().into_iter().map(|id| (id, i32::from(cluster.at(id).port()))).collect();
    assert_eq!(brokers, listening);
    for p in metadata.topics().iter().filter(|t| t.name() == a).flat_map(MetadataTopic::partitions) {
        assert_eq!((p.replicas().len(), p.isr().len()), (3, 3), "partition {}", p.id());
        assert!(p.replicas().contains(&p.leader()) && p.error().is_none(), "partition {}", p.id());
    }
}

pub(crate) async fn a_topic_is_made_by_asking_for_it_and_watermarks_and_times_are_told(cluster: &mut Cluster) {
    let topic = fresh("asked-for");
    let producer = producer(cluster, &[]);
    // Of today: what is older than the retention time may be gone before it is asked for.
    let now = now_ms();
    for (n, time) in [now + 1_000, now + 2_000, now + 3_000].into_iter().enumerate() {
        let value = format!("v-{n}");
        let record = FutureRecord::<str, str>::to(&topic).partition(0).payload(&value).timestamp(time);
        producer.send(record, DEADLINE).await.expect("acknowledged");
    }
    assert_eq!(watermarks(cluster, &topic, 0).await, (0, 3));
    let reader = consumer(cluster, "nobody", &[]);
    let at = |time: i64| {
        let mut times = TopicPartitionList::new();
        times.add_partition_offset(&topic, 0, Offset::Offset(time)).expect("a time");
        let found = reader.offsets_for_times(times, DEADLINE).expect("offsets");
        found.elements()[0].offset()
    };
    let [first, second, third] = [0, 1, 2].map(Offset::Offset);
    assert_eq!([at(now), at(now + 1_001), at(now + 3_000)], [first, second, third]);
    assert_eq!(at(now + 3_001), Offset::End);
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later than 1970");
    i64::try_from(since.as_millis()).expect("some millions of years")
}

pub(crate) async fn an_idempotent_producer_goes_through_a_leaders_death_without_loss_or_duplicate(
    cluster: &mut Cluster,
) {
    let once = fresh("once");
    create(cluster, &once, 1, 3, &[]).await;
    cluster.in_sync(&once).await;
    let producer = producer(cluster, &[("enable.idempotence", "true"), ("linger.ms", "1")]);
    let mut offsets = send(&producer, &once, 0, 0..200).await;
    let before = cluster.partition(&once, 0).expect("there").leader_epoch;
    for round in 1..3_u32 {
        let victim = cluster.leader(&once, 0).await;
        let sending = send(&producer, &once, 0, round * 200..(round + 1) * 200);
        let (more, ()) = tokio::join!(sending, cluster.kill(victim));
        offsets.extend(more);
        cluster.start_node(victim).await;
        cluster.in_sync(&once).await;
    }
    assert_eq!(offsets, (0..600).collect::<Vec<i64>>(), "every message has its place, once");
    let got = read(&reader(cluster, &once, 0, Offset::Beginning), 600);
    assert_eq!(got.into_values().collect::<Vec<_>>(), values(0..600));
    producer.flush(DEADLINE).expect("nothing is left");
    assert!(cluster.partition(&once, 0).expect("there").leader_epoch >= before + 2);
}

pub(crate) async fn a_topic_made_with_settings_of_its_own_keeps_to_them(cluster: &mut Cluster) {
    let small = fresh("small");
    create(cluster, &small, 1, 1, &[("max.message.bytes", "1000"), ("min.insync.replicas", "1")]).await;
    let (producer, large) = (producer(cluster, &[]), "x".repeat(2_000));
    let refused = producer.send(FutureRecord::<str, str>::to(&small).payload(&large), DEADLINE).await;
    let (error, _) = refused.expect_err("too large");
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageSizeTooLarge));
    producer.send(FutureRecord::<str, str>::to(&small).payload("fits"), DEADLINE).await.expect("acknowledged");
}

pub(crate) async fn a_compacted_topic_says_for_which_record_it_refuses_a_batch(cluster: &mut Cluster) {
    let keys = fresh("keys");
    create(cluster, &keys, 1, 1, &[("cleanup.policy", "compact"), ("min.insync.replicas", "1")]).await;
    let producer = producer(cluster, &[("linger.ms", "1000"), ("batch.num.messages", "4")]);
    let record = || FutureRecord::<str, str>::to(&keys).payload("v");
    let sent = [record().key("a"), record(), record().key("b"), record()]
        .map(|r| producer.send_result(r).map_err(|(error, _)| error));
    let mut errors = Vec::new();
    for delivery in sent {
        let answer = delivery.expect("room").await.expect("a report");
        errors.push(answer.expect_err("refused").0.rdkafka_error_code());
    }
    let (named, other) = (Some(RDKafkaErrorCode::InvalidRecord), Some(RDKafkaErrorCode::InvalidDifferentRecord));
    assert_eq!(errors, [other, named, other, named]);
}
