//! Our codec beside an independent one: what ours writes the other reads, what the other writes back is byte for byte
//! the same. And garbage, which must never do more than fail.
#![allow(missing_docs)]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use metricstream_wire::api::{
    api_versions, create_topics, delete_topics, describe_cluster, describe_quorum, fetch, fetch_snapshot, metadata,
};
use metricstream_wire::frame::Request;
use metricstream_wire::metadata_record::MetadataRecord;
use metricstream_wire::record_batch::Batch;
use metricstream_wire::{Context, Reader, Wire};
use proptest::prelude::*;

#[track_caller]
fn same<Ours: Wire + PartialEq + std::fmt::Debug, Theirs: Decodable + Encodable>(ours: &Ours, context: Context) {
    let mut written = BytesMut::new();
    ours.encode(&mut written, context);
    let written = written.freeze();
    let mut rest = written.clone();
    let read = Theirs::decode(&mut rest, context.version)
        .unwrap_or_else(|e| panic!("version {}: theirs cannot read ours: {e}\n{ours:?}", context.version));
    assert!(rest.is_empty(), "version {}: theirs left {} bytes of {ours:?}", context.version, rest.len());
    let mut again = BytesMut::new();
    read.encode(&mut again, context.version).expect("theirs writes what it read");
    assert_eq!(written, again.freeze(), "version {}: {ours:?}", context.version);
    let mut from = Reader::new(written);
    let back = Ours::decode(&mut from, context, "message").expect("ours reads ours");
    from.finish().expect("to the end");
    // Fields that the version does not have come back as their defaults: so compare what is written of them.
    let mut third = BytesMut::new();
    back.encode(&mut third, context);
    assert_eq!(third.freeze(), again_of(ours, context));
}

fn again_of(ours: &impl Wire, context: Context) -> Bytes {
    let mut out = BytesMut::new();
    ours.encode(&mut out, context);
    out.freeze()
}

fn both<R, TheirRequest, TheirResponse>(request: &R, response: &R::Response)
where
    R: Request + PartialEq + std::fmt::Debug,
    R::Response: PartialEq + std::fmt::Debug,
    TheirRequest: Decodable + Encodable,
    TheirResponse: Decodable + Encodable,
{
    for version in R::VERSIONS {
        let context = R::context(version).expect("declared");
        same::<R, TheirRequest>(request, context);
        same::<R::Response, TheirResponse>(response, context);
    }
}

#[test]
fn cluster_messages_are_the_same_bytes() {
    use api_versions::*;
    both::<_, theirs::ApiVersionsRequest, theirs::ApiVersionsResponse>(
        &ApiVersionsRequest { client_software_name: "m".into(), client_software_version: "1".into() },
        &ApiVersionsResponse {
            error_code: 35,
            api_keys: vec![ApiVersion { api_key: 18, min_version: 0, max_version: 4 }],
            ..Default::default()
        },
    );
    use describe_cluster::*;
    both::<_, theirs::DescribeClusterRequest, theirs::DescribeClusterResponse>(
        &DescribeClusterRequest { include_cluster_authorized_operations: true, ..Default::default() },
        &DescribeClusterResponse {
            cluster_id: "c".into(),
            controller_id: 3,
            brokers: vec![DescribeClusterBroker {
                broker_id: 1,
                host: "h".into(),
                port: 9092,
                rack: Some("r".into()),
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    use describe_quorum::*;
    both::<_, theirs::DescribeQuorumRequest, theirs::DescribeQuorumResponse>(
        &DescribeQuorumRequest {
            topics: vec![QuorumTopic {
                topic_name: "__cluster_metadata".into(),
                partitions: vec![QuorumPartition { partition_index: 0 }],
            }],
        },
        &DescribeQuorumResponse {
            topics: vec![QuorumTopicState {
                topic_name: "__cluster_metadata".into(),
                partitions: vec![QuorumPartitionState {
                    leader_id: 2,
                    leader_epoch: 5,
                    high_watermark: 1 << 40,
                    current_voters: vec![ReplicaState { replica_id: 1, log_end_offset: 9, ..Default::default() }],
                    ..Default::default()
                }],
            }],
            nodes: vec![QuorumNode {
                node_id: 1,
                listeners: vec![QuorumListener { name: "CONTROLLER".into(), host: "h".into(), port: 60_000 }],
            }],
            ..Default::default()
        },
    );
}

#[test]
fn topic_messages_are_the_same_bytes() {
    use create_topics::*;
    both::<_, theirs::CreateTopicsRequest, theirs::CreateTopicsResponse>(
        &CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: "metrics".into(),
                num_partitions: -1,
                replication_factor: -1,
                assignments: vec![CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![2, 1, 3] }],
                configs: vec![CreatableTopicConfig { name: "min.insync.replicas".into(), value: Some("2".into()) }],
            }],
            validate_only: true,
            ..Default::default()
        },
        &CreateTopicsResponse {
            topics: vec![CreatableTopicResult {
                name: "metrics".into(),
                topic_id: [7; 16],
                error_code: 36,
                error_message: Some("exists".into()),
                topic_config_error_code: 29,
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    use delete_topics::*;
    both::<_, theirs::DeleteTopicsRequest, theirs::DeleteTopicsResponse>(
        &DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: None, topic_id: [1; 16] }],
            timeout_ms: 5,
            ..Default::default()
        },
        &DeleteTopicsResponse {
            responses: vec![DeletableTopicResult { name: Some("x".into()), error_code: 3, ..Default::default() }],
            ..Default::default()
        },
    );
    use metadata::*;
    both::<_, theirs::MetadataRequest, theirs::MetadataResponse>(
        &MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { name: Some("metrics".into()), ..Default::default() }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        },
        &MetadataResponse {
            brokers: vec![MetadataBroker { node_id: 1, host: "h".into(), port: 1, rack: None }],
            cluster_id: Some("c".into()),
            controller_id: 2,
            topics: vec![MetadataTopic {
                name: Some("metrics".into()),
                topic_id: [3; 16],
                partitions: vec![MetadataPartition {
                    leader_id: 2,
                    leader_epoch: 4,
                    replica_nodes: vec![2, 1, 3],
                    isr_nodes: vec![1, 3],
                    offline_replicas: vec![2],
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
}

#[test]
fn fetches_are_the_same_bytes() {
    use fetch::*;
    both::<_, theirs::FetchRequest, theirs::FetchResponse>(
        &FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            topics: vec![FetchTopic {
                topic_id: [1; 16],
                partitions: vec![FetchPartition { fetch_offset: 7, last_fetched_epoch: 3, ..Default::default() }],
                ..Default::default()
            }],
            ..Default::default()
        },
        &FetchResponse {
            responses: vec![FetchableTopicResponse {
                topic_id: [1; 16],
                partitions: vec![PartitionData {
                    error_code: 74,
                    high_watermark: 100,
                    current_leader: LeaderIdAndEpoch { leader_id: 2, leader_epoch: 9 },
                    snapshot_id: SnapshotId { end_offset: 50, epoch: 3 },
                    diverging_epoch: EpochEndOffset { epoch: 2, end_offset: 40 },
                    records: Some(Bytes::from_static(b"xyz").into()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    );
    use fetch_snapshot::*;
    both::<_, theirs::FetchSnapshotRequest, theirs::FetchSnapshotResponse>(
        &FetchSnapshotRequest {
            topics: vec![TopicSnapshotRequest {
                name: "__cluster_metadata".into(),
                partitions: vec![PartitionSnapshotRequest {
                    snapshot_id: SnapshotId { end_offset: 5, epoch: 1 },
                    position: 77,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        },
        &FetchSnapshotResponse {
            topics: vec![TopicSnapshot {
                name: "__cluster_metadata".into(),
                partitions: vec![PartitionSnapshot {
                    size: 1000,
                    unaligned_records: Bytes::from_static(b"abc").into(),
                    current_leader: SnapshotLeader { leader_id: 1, leader_epoch: 2 },
                    ..Default::default()
                }],
            }],
            ..Default::default()
        },
    );
}

fn decode_everything(bytes: &Bytes, version: i16) {
    fn one<R: Request>(bytes: &Bytes, version: i16) {
        for version in R::VERSIONS.filter(|v| *v == version) {
            let context = R::context(version).expect("declared");
            let _ = R::decode(&mut Reader::new(bytes.clone()), context, "request");
            let _ = metricstream_wire::frame::response::<R>(bytes.clone(), version);
        }
    }
    one::<api_versions::ApiVersionsRequest>(bytes, version);
    one::<metadata::MetadataRequest>(bytes, version);
    one::<create_topics::CreateTopicsRequest>(bytes, version);
    one::<delete_topics::DeleteTopicsRequest>(bytes, version);
    one::<describe_cluster::DescribeClusterRequest>(bytes, version);
    one::<describe_quorum::DescribeQuorumRequest>(bytes, version);
    one::<fetch::FetchRequest>(bytes, version);
    one::<fetch_snapshot::FetchSnapshotRequest>(bytes, version);
    let _ = MetadataRecord::decode(bytes.clone());
    let mut rest = bytes.clone();
    while let Ok(Some(batch)) = Batch::next(&mut rest) {
        let _ = batch.records();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn garbage_never_does_more_than_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0_i16..18) {
        decode_everything(&Bytes::from(bytes), version);
    }

    #[test]
    fn a_batch_with_a_sound_header_and_garbage_in_it_never_does_more_than_fail(
        body in proptest::collection::vec(any::<u8>(), 40..160)
    ) {
        let mut batch = BytesMut::new();
        batch.extend_from_slice(&7_i64.to_be_bytes());
        batch.extend_from_slice(&i32::try_from(body.len() + 9).unwrap().to_be_bytes());
        batch.extend_from_slice(&3_i32.to_be_bytes());
        batch.extend_from_slice(&[2]);
        batch.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
        batch.extend_from_slice(&body);
        decode_everything(&batch.freeze(), 13);
    }
}
