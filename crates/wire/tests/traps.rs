//! What real clients stumble over, and what hostile ones send: null, tagged fields, and lengths that lie.
#![allow(missing_docs)]

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::Encodable;
use metricstream_wire::api::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use metricstream_wire::api::create_topics::{CreatableTopicResult, CreateTopicsRequest};
use metricstream_wire::api::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponsePartition,
};
use metricstream_wire::api::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use metricstream_wire::api::join_group::JoinGroupRequest;
use metricstream_wire::api::metadata::{MetadataRequest, MetadataResponse, MetadataTopic};
use metricstream_wire::frame::Request;
use metricstream_wire::sample::{Random, Sample};
use metricstream_wire::{Context, Reader, Wire, WireError, api, for_each_api};

fn context<R: Request>(version: i16) -> Context {
    R::context(version).expect("declared")
}

fn written(value: &impl Wire, context: Context) -> Bytes {
    let mut out = BytesMut::new();
    value.encode(&mut out, context);
    out.freeze()
}

fn read<T: Wire>(bytes: &Bytes, context: Context) -> Result<T, WireError> {
    let mut from = Reader::new(bytes.clone());
    let value = T::decode(&mut from, context, "message")?;
    from.finish()?;
    Ok(value)
}

#[test]
fn a_list_length_that_the_frame_cannot_hold_is_refused_before_anything_is_allocated() {
    // As long as a request may be, it may claim two thousand million topics.
    let lying = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0]);
    let refused = read::<MetadataRequest>(&lying, context::<MetadataRequest>(1));
    assert!(matches!(refused, Err(WireError::Short { what: "topics", left: 2, .. })), "{refused:?}");
    let lying = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]);
    let refused = read::<MetadataRequest>(&lying, context::<MetadataRequest>(9));
    assert!(matches!(refused, Err(WireError::Short { what: "topics", left: 2, .. })), "{refused:?}");
}

#[test]
fn a_list_length_counts_what_its_elements_take_at_the_least() {
    // A topic of a flexible CreateTopics: name 1, partitions 4, replication factor 2, two lists 2, tags 1.
    let mut bytes = BytesMut::new();
    bytes.put_slice(&[11]);
    bytes.put_bytes(0, 99);
    let refused = read::<CreateTopicsRequest>(&bytes.freeze(), context::<CreateTopicsRequest>(7));
    assert_eq!(refused, Err(WireError::Short { what: "topics", needed: 100, left: 99 }));
}

#[test]
fn lengths_below_null_are_refused() {
    for bytes in [[0xff, 0xff, 0xff, 0xfe], [0x80, 0, 0, 0]] {
        let refused = read::<MetadataRequest>(&Bytes::copy_from_slice(&bytes), context::<MetadataRequest>(1));
        assert!(matches!(refused, Err(WireError::Range { what: "topics", .. })), "{refused:?}");
    }
    let mut group = BytesMut::new();
    group.put_i16(-2);
    group.put_bytes(0, 40);
    let refused = read::<JoinGroupRequest>(&group.freeze(), context::<JoinGroupRequest>(0));
    assert_eq!(refused, Err(WireError::Range { what: "group_id", value: -2 }));
}

/// Cuts a message of every API and version at every byte.
#[test]
fn a_message_that_is_cut_anywhere_is_refused() {
    fn cut<T: Wire + Sample + std::fmt::Debug>(context: Context) {
        for seed in 0..10 {
            let value = T::sample(&mut Random::new(seed), context);
            let bytes = written(&value, context);
            for end in 0..bytes.len() {
                let read = read::<T>(&bytes.slice(..end), context);
                assert!(read.is_err(), "version {}, {end} of {}: {value:?}", context.version, bytes.len());
            }
        }
    }
    macro_rules! cut_each {
        ($($key:literal $module:ident $request:ident $response:ident;)*) => {$(
            for version in api::$module::$request::VERSIONS {
                cut::<api::$module::$request>(context::<api::$module::$request>(version));
                cut::<api::$module::$response>(context::<api::$module::$request>(version));
            }
        )*};
    }
    for_each_api!(cut_each);
}

#[test]
fn null_is_refused_in_the_versions_that_do_not_allow_it() {
    let null_list = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff]);
    let refused = read::<MetadataRequest>(&null_list, context::<MetadataRequest>(0));
    assert_eq!(refused, Err(WireError::Null { what: "topics" }));
    let every_topic = read::<MetadataRequest>(&null_list, context::<MetadataRequest>(1));
    assert_eq!(every_topic.map(|r| r.topics), Ok(None));
}

#[test]
fn null_that_a_version_does_not_allow_is_written_as_empty_so_that_what_follows_stays_in_place() {
    assert_eq!(written(&MetadataRequest::default(), context::<MetadataRequest>(0))[..], [0, 0, 0, 0]);
    let nameless = MetadataTopic { name: None, error_code: 100, ..Default::default() };
    let answer = MetadataResponse { topics: vec![nameless], controller_id: 3, ..Default::default() };
    for version in MetadataRequest::VERSIONS {
        let context = context::<MetadataRequest>(version);
        let back = read::<MetadataResponse>(&written(&answer, context), context).expect("readable");
        let name = if version >= 12 { None } else { Some(String::new()) };
        assert_eq!((&back.topics[0].name, back.topics[0].error_code), (&name, 100), "version {version}");
    }
}

/// Kafka declares them nullable, and its own admin client fails with a null pointer (trap of CreateTopics from version 5
/// on, and of DescribeTopicPartitions).
#[test]
fn what_clients_do_not_bear_as_null_is_read_as_empty_and_never_written_as_null() {
    let flexible = |version| Context { version, flexible: true };
    let mut null = BytesMut::new();
    let topic =
        theirs::create_topics_response::CreatableTopicResult::default().with_error_message(None).with_configs(None);
    topic.encode(&mut null, 7).expect("theirs writes null");
    let null = null.freeze();
    assert_eq!(read::<CreatableTopicResult>(&null, flexible(7)), Ok(CreatableTopicResult::default()));
    let empty = written(&CreatableTopicResult::default(), flexible(7));
    assert_eq!((null[null.len() - 2], empty[empty.len() - 2]), (0, 1), "a compact length: 0 is null, 1 is empty");

    let mut null = BytesMut::new();
    let partition = theirs::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition::default();
    partition
        .with_eligible_leader_replicas(None)
        .with_last_known_elr(None)
        .encode(&mut null, 0)
        .expect("theirs writes null");
    let read = read::<DescribeTopicPartitionsResponsePartition>(&null.freeze(), flexible(0)).expect("readable");
    assert!(read.eligible_leader_replicas.is_empty() && read.last_known_elr.is_empty());
    let ends = written(&DescribeTopicPartitionsResponsePartition::default(), flexible(0));
    assert_eq!(ends[ends.len() - 6..], [1, 1, 1, 1, 1, 0], "five empty lists, no tags");
}

#[test]
fn a_structure_that_may_be_null_says_in_a_byte_whether_it_is_there() {
    let context = context::<DescribeTopicPartitionsRequest>(0);
    let mut asked = DescribeTopicPartitionsRequest { response_partition_limit: 2, ..Default::default() };
    assert_eq!(written(&asked, context)[..], [1, 0, 0, 0, 2, 0xff, 0]);
    asked.cursor = Some(Cursor { topic_name: "t".into(), partition_index: 5 });
    let bytes = written(&asked, context);
    assert_eq!(bytes[..], [1, 0, 0, 0, 2, 1, 2, b't', 0, 0, 0, 5, 0, 0]);
    assert_eq!(read(&bytes, context), Ok(asked));
}

/// Clients of before KIP-584 had no idea of these tags, and one that is still in use does not connect if it meets them.
#[test]
fn tagged_fields_with_their_default_values_are_left_out() {
    let answer = ApiVersionsResponse::default();
    let bytes = written(&answer, context::<ApiVersionsRequest>(3));
    assert_eq!(bytes[..], [0, 0, 1, 0, 0, 0, 0, 0], "error, no keys, throttle time, no tags");
    let topic = FetchableTopicResponse { partitions: vec![PartitionData::default()], ..Default::default() };
    let answer = FetchResponse { responses: vec![topic], ..Default::default() };
    let plain = written(&answer, context::<FetchRequest>(18));
    assert_eq!(plain[plain.len() - 3..], [0, 0, 0], "no tags in partition, topic and response");
}

#[test]
fn unknown_tagged_fields_are_passed_over_and_known_ones_must_be_as_long_as_they_say() {
    let request = context::<ApiVersionsRequest>(3);
    let unknown = Bytes::from_static(&[2, b'n', 2, b'v', 2, 0, 3, 9, 9, 9, 77, 1, 8]);
    let wanted = ApiVersionsRequest { client_software_name: "n".into(), client_software_version: "v".into() };
    assert_eq!(read(&unknown, request), Ok(wanted));
    // Tag 1 of the response is 8 bytes long; these say 9, then 7.
    let long = Bytes::from_static(&[0, 0, 1, 0, 0, 0, 0, 1, 1, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0]);
    assert_eq!(read::<ApiVersionsResponse>(&long, request), Err(WireError::Trailing { left: 1 }));
    let short = Bytes::from_static(&[0, 0, 1, 0, 0, 0, 0, 1, 1, 7, 0, 0, 0, 0, 0, 0, 0]);
    let refused = read::<ApiVersionsResponse>(&short, request);
    assert!(matches!(refused, Err(WireError::Short { left: 7, .. })), "{refused:?}");
    // A tag that says to be longer than what is left.
    let lying = Bytes::from_static(&[2, b'n', 2, b'v', 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    let refused = read::<ApiVersionsRequest>(&lying, request);
    assert!(matches!(refused, Err(WireError::Short { left: 0, .. })), "{refused:?}");
}
