//! Logs that Apache Kafka itself wrote, byte for byte: `tests/golden/*.log` are segments of one node (combined broker and
//! controller, Kafka 4.3.0 formatted with `--release-version 4.1`) on which a topic `metrics` of two partitions was made,
//! a topic `gone` was made and deleted, 20 records were written by an idempotent producer and read by the groups
//! `classic-g` and `new-g` (`group.protocol=consumer`). Every record is read, written again and built into batches again;
//! all of that must give Kafka's bytes.
#![allow(missing_docs)]

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};
use metricstream_wire::Reader;
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use metricstream_wire::control_record::ControlRecord;
use metricstream_wire::group_record::GroupRecord;
use metricstream_wire::metadata_record::MetadataRecord;
use metricstream_wire::record_batch::{Batch, Record};

const CLUSTER_METADATA: &[u8] = include_bytes!("golden/cluster_metadata.log");
const CONSUMER_OFFSETS: &[u8] = include_bytes!("golden/consumer_offsets.log");

fn batches(log: &'static [u8]) -> Vec<Batch> {
    let mut log = Bytes::from_static(log);
    let mut batches = Vec::new();
    while let Some(batch) = Batch::next(&mut log).expect("Kafka's batches are sound") {
        batches.push(batch);
    }
    assert!(log.is_empty() && batches.len() > 5, "{} batches and {} bytes", batches.len(), log.len());
    batches
}

fn records(log: &'static [u8], control: bool) -> Vec<Record> {
    let batches = batches(log).into_iter().filter(|b| b.is_control() == control);
    batches.flat_map(|b| b.records().expect("not compressed")).collect()
}

#[test]
fn batches_of_kafka_built_again_are_the_same_bytes() {
    for batch in batches(CLUSTER_METADATA).into_iter().chain(batches(CONSUMER_OFFSETS)) {
        let mut again = BatchBuilder::new().producer(batch.producer_id, batch.producer_epoch, batch.base_sequence);
        if batch.is_control() {
            again = again.control();
        }
        for record in batch.records().expect("not compressed") {
            again.push(NewRecord {
                timestamp_ms: record.timestamp_ms,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &[],
            });
        }
        assert_eq!(&again.build(batch.base_offset, batch.partition_leader_epoch), batch.bytes());
    }
}

/// The version within the value of a metadata record: the third varint, always small.
fn version_of(value: &Bytes) -> i16 {
    let mut from = Reader::new(value.clone());
    let [_frame, _kind, version] = [(); 3].map(|()| from.uvarint("frame of a metadata record").expect("three varints"));
    i16::try_from(version).expect("a small version")
}

#[test]
fn records_of_the_metadata_log_written_again_are_the_same_bytes() {
    let mut kinds = BTreeSet::new();
    for record in records(CLUSTER_METADATA, false) {
        let value = record.value.expect("metadata records have values");
        let read = MetadataRecord::decode(value.clone()).expect("Kafka's records are sound");
        assert!(!matches!(read, MetadataRecord::Other(_)), "{read:?} at {}", record.offset);
        assert_eq!(read.encode_version(version_of(&value)), value, "{read:?} at {}", record.offset);
        kinds.insert(read.kind().0);
    }
    assert_eq!(Vec::from_iter(kinds), [0, 2, 3, 4, 5, 9, 12, 15, 17, 20, 23, 24, 27, 28]);
}

#[test]
fn the_metadata_log_tells_of_the_topic_its_partitions_and_the_broker_in_this_version() {
    let records = records(CLUSTER_METADATA, false).into_iter().filter_map(|record| record.value);
    let records: Vec<MetadataRecord> = records.map(|value| MetadataRecord::decode(value).expect("sound")).collect();
    let broker = records.iter().find_map(|r| if let MetadataRecord::RegisterBroker(r) = r { Some(r) } else { None });
    let broker = broker.expect("the broker registered");
    assert_eq!((broker.broker_id, broker.rack.as_deref(), broker.fenced), (1, Some("zone-a"), true));
    assert_eq!((&broker.end_points[0].host[..], broker.end_points[0].port), ("127.0.0.1", 29392));
    let topic = records.iter().find_map(|r| match r {
        MetadataRecord::Topic(topic) if topic.name == "metrics" => Some(topic.topic_id),
        _ => None,
    });
    let partitions = records.iter().filter_map(|r| match r {
        MetadataRecord::Partition(p) if Some(p.topic_id) == topic => Some((p.partition_id, p.leader, p.isr.clone())),
        _ => None,
    });
    assert_eq!(Vec::from_iter(partitions), [(0, 1, vec![1]), (1, 1, vec![1])]);
}

#[test]
fn control_records_of_the_metadata_log_written_again_are_the_same_bytes() {
    let mut leaders = Vec::new();
    for record in records(CLUSTER_METADATA, true) {
        let read = ControlRecord::decode(record.key.clone(), record.value.clone()).expect("Kafka's records are sound");
        let (key, value) = read.encode();
        assert_eq!((Some(key), Some(value)), (record.key, record.value), "{read:?}");
        if let ControlRecord::LeaderChange(change) = read {
            leaders.push((change.leader_id, change.voters.len(), change.granting_voters.len()));
        }
    }
    assert_eq!(leaders, [(1, 1, 1)]);
}

#[test]
fn records_of_the_group_coordinator_written_again_are_the_same_bytes() {
    let mut kinds = BTreeSet::new();
    let mut tombstones = 0;
    for record in records(CONSUMER_OFFSETS, false) {
        let (key, value) = (record.key.expect("group records have keys"), record.value);
        let read = GroupRecord::decode(key.clone(), value.clone()).expect("Kafka's records are sound");
        assert!(!matches!(read, GroupRecord::Other(_)), "{read:?} at {}", record.offset);
        tombstones += usize::from(value.is_none());
        let version = value.as_ref().map_or(0, |value| value.clone().get_i16());
        assert_eq!(read.encode_version(version), (key, value), "{read:?} at {}", record.offset);
        kinds.insert(read.kind().0);
    }
    assert_eq!(Vec::from_iter(kinds), [1, 2, 3, 5, 6, 7, 8]);
    assert!(tombstones > 0, "the members left");
}
