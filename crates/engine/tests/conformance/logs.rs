//! What leaves a log by itself: retention and compaction.

use rdkafka::Offset;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::clients::{create, producer, read, read_values, reader, send, values, watermarks};
use crate::cluster::{Cluster, DEADLINE, fresh, until};
use crate::records::now_ms;

const MINUTE_MS: i64 = 60_000;

/// Minutes ago, as a time stamp.
fn ago(minutes: i64) -> i64 {
    now_ms() - minutes * MINUTE_MS
}

async fn put(producer: &FutureProducer, topic: &str, key: &str, value: &str, timestamp_ms: i64) -> i64 {
    let record = FutureRecord::to(topic).partition(0).key(key).payload(value).timestamp(timestamp_ms);
    producer.send(record, DEADLINE).await.map_err(|(error, _)| error).expect("acknowledged").offset
}

pub(crate) async fn what_is_older_than_the_retention_time_goes_and_what_is_younger_stays(cluster: &mut Cluster) {
    let topic = fresh("minutes");
    create(cluster, &topic, 1, 3, &[("retention.ms", "600000")]).await;
    let producer = producer(cluster, &[("linger.ms", "0")]);
    for n in 0..20 {
        put(&producer, &topic, "k", &format!("v-{n}"), ago(60)).await;
    }
    until("old records to be gone", || async { (watermarks(cluster, &topic, 0).await == (20, 20)).then_some(()) })
        .await;
    send(&producer, &topic, 0, 20..30).await;
    assert_eq!(read_values(cluster, &topic, 0, 10), values(20..30), "from the beginning that is left");
    assert_eq!(watermarks(cluster, &topic, 0).await, (20, 30));
}

pub(crate) async fn what_is_beyond_the_retention_size_goes_from_the_front(cluster: &mut Cluster) {
    // A segment holds five of these, the least that Kafka allows; two segments' bytes are kept.
    const RECORD_BYTES: usize = 200_000;
    let topic = fresh("megabytes");
    let sizes = [("segment.bytes", "1048576"), ("retention.bytes", "2097152")];
    create(cluster, &topic, 1, 3, &sizes).await;
    let producer = producer(cluster, &[("linger.ms", "0")]);
    let large = "x".repeat(RECORD_BYTES);
    for _ in 0..30 {
        put(&producer, &topic, "k", &large, ago(0)).await;
    }
    let first = until("old segments to be gone", || async {
        let (low, high) = watermarks(cluster, &topic, 0).await;
        assert_eq!(high, 30);
        (low >= 15).then_some(low)
    })
    .await;
    // Never below what is to be kept: 2 MiB are more than ten of them.
    assert!(first <= 20, "records from {first} on are left");
    let left = usize::try_from(30 - first).expect("some");
    let got = read(&reader(cluster, &topic, 0, Offset::Beginning), left);
    assert_eq!(got.into_keys().map(|(_, offset)| offset).collect::<Vec<_>>(), (first..30).collect::<Vec<_>>());
}

pub(crate) async fn compaction_keeps_the_last_record_of_every_key_at_its_offset(cluster: &mut Cluster) {
    let topic = fresh("last");
    let config = [("cleanup.policy", "compact"), ("segment.ms", "60000"), ("min.cleanable.dirty.ratio", "0.01")];
    create(cluster, &topic, 1, 3, &config).await;
    let producer = producer(cluster, &[("linger.ms", "0")]);
    for n in 0..50 {
        put(&producer, &topic, &format!("k-{}", n % 5), &format!("v-{n}"), ago(60)).await;
    }
    // The segment that is written to is not touched; by its time stamp this record begins the next one.
    assert_eq!(put(&producer, &topic, "now", "v-50", ago(0)).await, 50);
    let expected: Vec<((i32, i64), String)> = (45..51).map(|n| ((0, n), format!("v-{n}"))).collect();
    let kept = until("the log to be compacted", || async {
        // What is there now, up to the last record.
        let reader = reader(cluster, &topic, 0, Offset::Beginning);
        let mut got = read(&reader, 1);
        while !got.contains_key(&(0, 50)) {
            got.extend(read(&reader, 1));
        }
        (got.len() == expected.len()).then_some(got)
    })
    .await;
    assert_eq!(kept.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(watermarks(cluster, &topic, 0).await.1, 51);
}
