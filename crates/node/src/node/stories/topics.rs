//! Topics: made because somebody asks, described in pages, given more partitions, deleted; leaders elected on request.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use metricstream_wire::api::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use metricstream_wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use metricstream_wire::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use metricstream_wire::api::describe_topic_partitions::{Cursor, DescribeTopicPartitionsRequest, TopicRequest};
use metricstream_wire::api::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use metricstream_wire::api::list_partition_reassignments::ListPartitionReassignmentsRequest;
use metricstream_wire::api::metadata::{MetadataRequest, MetadataRequestTopic};

use super::{formed, isr, settled, with_topic};
use crate::testing::world::World;

fn asked(name: &str, may_make: bool) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(name.to_owned()), ..MetadataRequestTopic::default() };
    MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: may_make, ..MetadataRequest::default() }
}

#[test]
fn a_topic_that_a_client_asks_for_by_name_is_made_and_soon_seen_with_a_leader() {
    let mut world = formed(31);
    // Old clients cannot say that they do not want it.
    for (version, name) in [(1, "old-client"), (4, "kafkajs"), (12, "librdkafka"), (13, "newest")] {
        let mut leader = || {
            let answer = world.query(2, version, &asked(name, true), 1_000).expect("an answer");
            let topic = &answer.topics[0];
            match ErrorCode(topic.error_code) {
                ErrorCode::NONE => topic.partitions.first().map(|p| p.leader_id).filter(|leader| *leader >= 0),
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::LEADER_NOT_AVAILABLE => None,
                other => panic!("{name}: {other}"),
            }
        };
        assert_eq!(leader(), None, "it is not there at once");
        assert!((0..20).any(|_| leader().is_some()), "{name} is never seen");
        assert_eq!(world.produce(name, 0, 1, b"x", 500).map(|(error, _)| error), Some(ErrorCode::NONE));
    }
}

#[test]
fn a_topic_is_not_made_where_that_is_not_wanted_or_the_name_is_none() {
    let mut world = formed(32);
    let mut error = |name: &str, may_make| {
        world.query(1, 9, &asked(name, may_make), 1_000).expect("an answer").topics[0].error_code
    };
    for _ in 0..3 {
        assert_eq!(error("unwanted", false), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
    }
    assert_eq!(error("no name", true), ErrorCode::INVALID_TOPIC_EXCEPTION.0);
    world.run_ms(100);
    assert!(world.node(1).unwrap().image().names.is_empty());
}

fn by_name(names: &[&str]) -> DeleteTopicsRequest {
    DeleteTopicsRequest { topic_names: names.iter().map(|n| (*n).into()).collect(), ..DeleteTopicsRequest::default() }
}

#[test]
fn topics_are_deleted_by_name_and_by_id_and_their_logs_go() {
    let mut world = with_topic(33);
    let answer = world.query(3, 1, &by_name(&["metrics", "unheard-of", "metrics"]), 2_000).expect("an answer");
    let errors: Vec<i16> = answer.responses.iter().map(|r| r.error_code).collect();
    assert_eq!(errors, [0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0, ErrorCode::INVALID_REQUEST.0]);
    settled(&mut world);
    assert!(world.run_until(1_000, |w| w.running().iter().all(|id| {
        let node = w.node(*id).unwrap();
        node.image().topic("metrics").is_none() && node.broker().unwrap().replicas.is_empty()
    })));
    assert_eq!(world.create_topic(1, "metrics", 1, 3, &[]), Some(ErrorCode::NONE), "the name is free again");
    settled(&mut world);
    let id = world.node(1).unwrap().image().names["metrics"];
    let both = DeleteTopicState { name: Some("metrics".into()), topic_id: id };
    let stranger = DeleteTopicState { name: None, topic_id: [9; 16] };
    let named = DeleteTopicState { name: None, topic_id: id };
    let body = DeleteTopicsRequest { topics: vec![both, stranger, named], ..DeleteTopicsRequest::default() };
    let answer = world.query(2, 6, &body, 2_000).expect("an answer");
    let told: Vec<_> = answer.responses.iter().map(|r| (r.error_code, r.name.as_deref(), r.topic_id)).collect();
    assert_eq!(told[0].0, ErrorCode::INVALID_REQUEST.0);
    assert_eq!(told[1], (ErrorCode::UNKNOWN_TOPIC_ID.0, None, [9; 16]));
    assert_eq!(told[2], (0, Some("metrics"), id));
}

fn more(name: &str, count: i32, replicas: Option<&[i32]>) -> CreatePartitionsTopic {
    let assignments = replicas.map(|r| vec![CreatePartitionsAssignment { broker_ids: r.to_vec() }]);
    CreatePartitionsTopic { name: name.into(), count, assignments }
}

#[test]
fn a_topic_gets_more_partitions_and_never_fewer() {
    let mut world = with_topic(34);
    let mut errors = |version, topics: Vec<CreatePartitionsTopic>, validate_only| -> Vec<i16> {
        let body = CreatePartitionsRequest { topics, validate_only, ..CreatePartitionsRequest::default() };
        let answer = world.query(1, version, &body, 2_000).expect("an answer");
        answer.results.iter().map(|r| r.error_code).collect()
    };
    let wrong = ErrorCode::INVALID_REPLICA_ASSIGNMENT.0;
    assert_eq!(errors(0, vec![more("metrics", 4, None), more("unheard-of", 4, None)], false), [0, 3]);
    assert_eq!(errors(3, vec![more("metrics", 4, None)], false), [ErrorCode::INVALID_PARTITIONS.0]);
    assert_eq!(errors(3, vec![more("metrics", 5, Some(&[1, 2]))], false), [wrong], "too few replicas");
    assert_eq!(errors(3, vec![more("metrics", 5, Some(&[1, 2, 9]))], false), [wrong], "a broker that is not there");
    assert_eq!(errors(3, vec![more("metrics", 5, Some(&[1, 2, 2]))], false), [wrong], "one twice");
    assert_eq!(errors(3, vec![more("metrics", 5, Some(&[3, 1, 2]))], true), [0], "only looked at");
    assert_eq!(errors(3, vec![more("metrics", 5, Some(&[3, 1, 2]))], false), [0]);
    settled(&mut world);
    let topic = world.node(2).unwrap().image().topic("metrics").unwrap().clone();
    assert_eq!((topic.partitions.len(), topic.partitions[&4].replicas.clone()), (5, vec![3, 1, 2]));
    world.produce_for_sure("metrics", 4, b"x", 1_000);
}

#[test]
fn topics_are_described_in_pages_in_the_order_of_their_names() {
    let mut world = with_topic(35);
    assert_eq!(world.create_topic(1, "a-topic", 2, 1, &[]), Some(ErrorCode::NONE));
    settled(&mut world);
    let mut page = |cursor: Option<(&str, i32)>, names: &[&str], limit| {
        let body = DescribeTopicPartitionsRequest {
            topics: names.iter().map(|n| TopicRequest { name: (*n).into() }).collect(),
            response_partition_limit: limit,
            cursor: cursor.map(|(name, index)| Cursor { topic_name: name.into(), partition_index: index }),
        };
        let answer = world.query(1, 0, &body, 1_000).expect("an answer");
        let told: Vec<(String, i16, Vec<i32>)> = answer
            .topics
            .iter()
            .map(|t| {
                let partitions = t.partitions.iter().map(|p| p.partition_index).collect();
                (t.name.clone().unwrap_or_default(), t.error_code, partitions)
            })
            .collect();
        (told, answer.next_cursor.map(|c| (c.topic_name, c.partition_index)))
    };
    let topic = |name: &str, partitions: &[i32]| (name.to_owned(), 0, partitions.to_vec());
    let first = page(None, &[], 3);
    let next = Some(("metrics".to_owned(), 1));
    assert_eq!(first, (vec![topic("a-topic", &[0, 1]), topic("metrics", &[0])], next));
    assert_eq!(page(Some(("metrics", 1)), &[], 3), (vec![topic("metrics", &[1, 2])], None));
    let full = page(None, &[], 2);
    assert_eq!(full, (vec![topic("a-topic", &[0, 1])], Some(("metrics".to_owned(), 0))));
    let unknown = page(None, &["metrics", "unheard-of"], 2_000);
    assert_eq!(unknown.0[1], ("unheard-of".to_owned(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0, vec![]));
}

#[test]
fn replicas_that_left_the_isr_below_its_minimum_are_described_as_eligible() {
    let mut world = World::new(36, &crate::testing::world::Setup { nodes: 5, ..crate::testing::world::Setup::fast() });
    assert!(world.wait_formed(5_000));
    assert_eq!(world.create_topic(1, "metrics", 1, 3, &[]), Some(ErrorCode::NONE));
    settled(&mut world);
    let replicas = world.node(1).unwrap().image().topic("metrics").unwrap().partitions[&0].replicas.clone();
    world.kill(replicas[1]);
    assert!(world.run_until(3_000, |w| isr(w, 0).len() == 2));
    world.kill(replicas[2]);
    assert!(world.run_until(3_000, |w| isr(w, 0) == [replicas[0]]));
    settled(&mut world);
    let body = DescribeTopicPartitionsRequest::default();
    let answer = world.query(replicas[0], 0, &body, 1_000).expect("an answer");
    let one = &answer.topics[0].partitions[0];
    assert_eq!(one.eligible_leader_replicas, [replicas[2]], "the other had left while enough were in sync");
    assert_eq!((one.leader_id, one.isr_nodes.clone()), (replicas[0], vec![replicas[0]]));
    assert_eq!(one.offline_replicas.len(), 2);
}

fn elections(world: &mut World, version: i16, kind: i8, asked: Option<&[i32]>) -> (i16, Vec<(i32, i16)>) {
    let one = |p: &[i32]| vec![TopicPartitions { topic: "metrics".into(), partitions: p.to_vec() }];
    let body =
        ElectLeadersRequest { election_type: kind, topic_partitions: asked.map(one), ..ElectLeadersRequest::default() };
    let answer = world.query(1, version, &body, 2_000).expect("an answer");
    let results = answer.replica_election_results.iter().flat_map(|t| &t.partition_result);
    (answer.error_code, results.map(|p| (p.partition_id, p.error_code)).collect())
}

#[test]
fn leadership_goes_back_to_the_preferred_replica_on_request() {
    let mut world = with_topic(37);
    let preferred = world.leader("metrics", 0).unwrap();
    world.kill(preferred);
    assert!(world.run_until(3_000, |w| w.leader("metrics", 0).is_some_and(|l| l != preferred)));
    let not_in_sync = ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE.0;
    let via = super::another(&world, preferred);
    let body = ElectLeadersRequest {
        topic_partitions: Some(vec![TopicPartitions { topic: "metrics".into(), partitions: vec![0] }]),
        ..ElectLeadersRequest::default()
    };
    let answer = world.query(via, 2, &body, 2_000).expect("an answer");
    assert_eq!(answer.replica_election_results[0].partition_result[0].error_code, not_in_sync);
    world.start(preferred);
    assert!(world.run_until(5_000, |w| (0..3).all(|p| isr(w, p).len() == 3)));
    let (error, results) = elections(&mut world, 0, 0, Some(&[0, 9]));
    assert_eq!((error, results), (0, vec![(0, 0), (9, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0)]));
    settled(&mut world);
    assert_eq!(world.leader("metrics", 0), Some(preferred));
    assert_eq!(elections(&mut world, 2, 0, Some(&[0])), (0, vec![(0, ErrorCode::ELECTION_NOT_NEEDED.0)]));
    assert_eq!(elections(&mut world, 2, 0, None), (0, vec![]), "what is as it should be is not told");
    assert_eq!(elections(&mut world, 2, 1, Some(&[1])), (0, vec![(1, ErrorCode::ELECTION_NOT_NEEDED.0)]));
    assert_eq!(elections(&mut world, 2, 9, None).0, ErrorCode::INVALID_REQUEST.0);
}

#[test]
fn moving_replicas_is_refused_with_a_reason_and_never_under_way() {
    let mut world = with_topic(38);
    let now = world.node(1).unwrap().image().topic("metrics").unwrap().partitions[&0].replicas.clone();
    let partition = |partition_index, replicas| ReassignablePartition { partition_index, replicas };
    for version in [0, 1] {
        let partitions = vec![
            partition(0, Some(vec![1])),
            partition(0, Some(now.clone())),
            partition(0, None),
            partition(9, Some(vec![1])),
        ];
        let topics = vec![ReassignableTopic { name: "metrics".into(), partitions }];
        let body = AlterPartitionReassignmentsRequest { topics, ..AlterPartitionReassignmentsRequest::default() };
        let answer = world.query(2, version, &body, 2_000).expect("an answer");
        let errors: Vec<i16> = answer.responses[0].partitions.iter().map(|p| p.error_code).collect();
        let none = ErrorCode::NO_REASSIGNMENT_IN_PROGRESS.0;
        assert_eq!(errors, [ErrorCode::UNSUPPORTED_VERSION.0, 0, none, 3]);
        assert!(answer.responses[0].partitions[0].error_message.as_ref().unwrap().contains("does not move"));
    }
    let answer = world.query(2, 0, &ListPartitionReassignmentsRequest::default(), 2_000).expect("an answer");
    assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
}

/// One node of three, which is not the active controller, while the others are dead; the dead.
fn alone(world: &mut World) -> (i32, Vec<i32>) {
    let leads = |id: &i32| world.node(*id).unwrap().is_active_controller();
    let (controller, rest): (Vec<i32>, Vec<i32>) = world.running().into_iter().partition(leads);
    let dead = vec![controller[0], rest[1]];
    for id in &dead {
        world.kill(*id);
    }
    world.run_ms(2_000);
    (rest[0], dead)
}

#[test]
fn what_nobody_can_decide_yet_waits_for_a_controller_and_is_then_decided() {
    let mut world = formed(36);
    let (left, dead) = alone(&mut world);
    let conn = world.connected(left).expect("it lives");
    let topic =
        CreatableTopic { name: "late".into(), num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() };
    let body = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    world.ask(conn, 7, &body);
    world.run_ms(5_000);
    assert!(world.stands(conn) && world.arrived[&conn].is_empty(), "it is not sent away");
    world.start(dead[0]);
    let answer = world.answer::<CreateTopicsRequest>(conn, 7, 5_000).expect("an answer");
    assert_eq!(answer.topics[0].error_code, 0);
}

#[test]
fn what_nobody_decides_in_time_is_answered_with_an_error_to_try_again_upon() {
    let mut world = formed(37);
    let (left, _) = alone(&mut world);
    assert_eq!(world.create_topic_within(left, "never", 29_000), None, "it waits");
    assert_eq!(world.create_topic_within(left, "never", 31_000), Some(ErrorCode::NOT_CONTROLLER));
}

#[test]
fn what_was_passed_on_to_a_controller_in_a_black_hole_goes_to_the_next_one() {
    let mut world = formed(38);
    world.run_ms(500);
    let controller = world.running().into_iter().find(|id| world.node(*id).unwrap().is_active_controller()).unwrap();
    let others: Vec<i32> = world.running().into_iter().filter(|id| *id != controller).collect();
    for other in &others {
        world.cut(controller, *other);
    }
    assert_eq!(world.create_topic_within(others[0], "new", 3_000), Some(ErrorCode::NONE));
}
