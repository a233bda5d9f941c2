//! Producer ids, what is remembered of who has them, and transactions, which there are not.

use std::collections::BTreeSet;

use metricstream_wire::ErrorCode;
use metricstream_wire::api::add_offsets_to_txn::AddOffsetsToTxnRequest;
use metricstream_wire::api::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use metricstream_wire::api::api_versions::ApiVersionsRequest;
use metricstream_wire::api::describe_producers::{DescribeProducersRequest, TopicRequest};
use metricstream_wire::api::end_txn::EndTxnRequest;
use metricstream_wire::api::init_producer_id::InitProducerIdRequest;
use metricstream_wire::api::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};

use super::{WALL_MS, batch, formed, with_topic};
use crate::testing::world::{Party, Setup, World};

const REFUSED: i16 = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.0;

fn init(world: &mut World, node: Party, version: i16, body: &InitProducerIdRequest) -> (i16, i64, i16) {
    let answer = world.query(node, version, body, 5_000).expect("an answer");
    (answer.error_code, answer.producer_id, answer.producer_epoch)
}

#[test]
fn a_producer_that_comes_before_the_cluster_stands_waits_for_its_id() {
    let mut world = World::new(21, &Setup::fast());
    let (error, id, epoch) = init(&mut world, 2, 0, &InitProducerIdRequest::default());
    assert_eq!((error, epoch), (0, 0));
    assert!(id >= 0);
}

#[test]
fn a_block_of_ids_is_there_before_the_first_producer_asks() {
    let mut world = formed(22);
    world.run_ms(20);
    for node in world.running() {
        let before = world.now_ns;
        assert_eq!(init(&mut world, node, 5, &InitProducerIdRequest::default()).0, 0);
        let took_ms = (world.now_ns - before) / crate::time::MS;
        assert!(took_ms <= 4, "four delays of at most 1 ms, no question to the controller: {took_ms}");
    }
}

#[test]
fn no_two_producers_get_the_same_id_though_blocks_run_out() {
    let mut world = formed(23);
    let mut ids = BTreeSet::new();
    for node in world.running() {
        let conn = world.connected(node).unwrap();
        for _ in 0..1_100 {
            world.ask(conn, 4, &InitProducerIdRequest::default());
            let answer = world.answer::<InitProducerIdRequest>(conn, 4, 1_000).expect("an answer");
            assert_eq!(answer.error_code, 0);
            assert!(ids.insert(answer.producer_id), "{} was given twice", answer.producer_id);
        }
    }
}

#[test]
fn a_producer_that_brings_an_id_gets_a_new_one_and_half_an_identity_is_refused() {
    let mut world = formed(24);
    let (_, id, epoch) = init(&mut world, 1, 5, &InitProducerIdRequest::default());
    let mut body = InitProducerIdRequest { producer_id: id, producer_epoch: epoch, ..InitProducerIdRequest::default() };
    let (error, next, epoch) = init(&mut world, 1, 5, &body);
    assert_eq!((error, epoch), (0, 0));
    assert_ne!(next, id);
    body.producer_epoch = -1;
    assert_eq!(init(&mut world, 1, 5, &body), (ErrorCode::INVALID_REQUEST.0, -1, -1));
}

#[test]
fn an_idempotent_producer_is_remembered_by_every_replica() {
    let mut world = with_topic(25);
    let records = || batch(&[WALL_MS, WALL_MS + 1]).producer(4_711, 3, 0).build(0, -1);
    assert_eq!(world.produce_batch("metrics", 0, records()), (ErrorCode::NONE, 0));
    assert_eq!(world.produce_batch("metrics", 0, records()), (ErrorCode::NONE, 0), "a retry gets its first offset");
    let body = DescribeProducersRequest {
        topics: vec![TopicRequest { name: "metrics".into(), partition_indexes: vec![0, 9] }],
    };
    for node in world.running() {
        let answer = world.query(node, 0, &body, 1_000).expect("an answer");
        let partitions = &answer.topics[0].partitions;
        let one = &partitions[0].active_producers[0];
        assert_eq!((one.producer_id, one.producer_epoch, one.last_sequence), (4_711, 3, 1));
        assert_eq!((one.last_timestamp, one.current_txn_start_offset), (WALL_MS + 1, -1));
        assert_eq!(partitions[1].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
    }
}

#[test]
fn transactions_are_refused_for_good_and_not_advertised() {
    let mut world = formed(26);
    let transactional_id = "t".to_owned();
    for version in [0, 5] {
        let body = InitProducerIdRequest {
            transactional_id: Some(transactional_id.clone()),
            ..InitProducerIdRequest::default()
        };
        assert_eq!(init(&mut world, 1, version, &body), (REFUSED, -1, -1));
    }
    let topics = vec![AddPartitionsToTxnTopic { name: "metrics".into(), partitions: vec![1] }];
    let body = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: transactional_id,
        v3_and_below_topics: topics.clone(),
        ..AddPartitionsToTxnRequest::default()
    };
    let answer = world.query(1, 0, &body, 1_000).expect("an answer");
    assert_eq!(answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code, REFUSED);
    let one = AddPartitionsToTxnTransaction { topics, ..AddPartitionsToTxnTransaction::default() };
    let body = AddPartitionsToTxnRequest { transactions: vec![one], ..AddPartitionsToTxnRequest::default() };
    let answer = world.query(1, 5, &body, 1_000).expect("an answer");
    let results = &answer.results_by_transaction[0].topic_results[0].results_by_partition;
    assert_eq!(results[0].partition_error_code, REFUSED);
    for version in [0, 4] {
        let answer = world.query(1, version, &AddOffsetsToTxnRequest::default(), 1_000).expect("an answer");
        assert_eq!(answer.error_code, REFUSED);
    }
    for version in [0, 5] {
        let answer = world.query(1, version, &EndTxnRequest::default(), 1_000).expect("an answer");
        assert_eq!(answer.error_code, REFUSED);
        let partitions = vec![TxnOffsetCommitRequestPartition::default()];
        let topics = vec![TxnOffsetCommitRequestTopic { name: "metrics".into(), partitions }];
        let body = TxnOffsetCommitRequest { topics, ..TxnOffsetCommitRequest::default() };
        let answer = world.query(1, version, &body, 1_000).expect("an answer");
        assert_eq!(answer.topics[0].partitions[0].error_code, REFUSED);
    }
    let answer = world.query(1, 4, &ApiVersionsRequest::default(), 1_000).expect("an answer");
    let keys: Vec<i16> = answer.api_keys.iter().map(|k| k.api_key).collect();
    assert!([24, 25, 26, 28].iter().all(|key| !keys.contains(key)), "{keys:?}");
    let ranges = |key| answer.api_keys.iter().find(|k| k.api_key == key).map(|k| (k.min_version, k.max_version));
    assert_eq!((ranges(0), ranges(2), ranges(35)), (Some((0, 13)), Some((1, 10)), Some((1, 4))));
}
