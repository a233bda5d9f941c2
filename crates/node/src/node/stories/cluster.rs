//! The cluster as tools see it: its nodes, its quorum, its features, the logs on its brokers.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::describe_cluster::DescribeClusterRequest;
use metricstream_wire::api::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest};
use metricstream_wire::api::describe_quorum::{DescribeQuorumRequest, QuorumPartition, QuorumTopic};
use metricstream_wire::api::unregister_broker::UnregisterBrokerRequest;
use metricstream_wire::api::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};

use super::{another, formed, with_topic};
use crate::io::Listener;
use crate::testing::world::{Party, Setup, World};

fn active(world: &World) -> Party {
    world.running().into_iter().find(|id| world.node(*id).unwrap().is_active_controller()).expect("a controller")
}

#[test]
fn a_new_cluster_is_ready_by_messages_alone_and_waits_for_no_retry() {
    for seed in 0..30 {
        let mut world = World::new(seed, &Setup::fast());
        // A message takes up to one millisecond here, an attempt to reach the controller comes every fifty.
        assert!(world.wait_formed(45), "seed {seed}: not all brokers are unfenced after 45 ms");
    }
}

#[test]
fn a_leader_that_dies_together_with_the_office_is_replaced_before_its_session_would_end() {
    for seed in 0..20 {
        let mut world = with_topic(seed);
        let victim = active(&world);
        let led = (0..3).find(|p| world.leader("metrics", *p) == Some(victim)).expect("each leads one of three");
        world.kill(victim);
        let replaced = |w: &mut World| w.leader("metrics", led).is_some_and(|leader| leader != victim);
        // A session lasts 300 ms, and begins anew with each office.
        assert!(world.run_until(250, replaced), "seed {seed}: no other leader after 250 ms");
    }
}

#[test]
fn brokers_are_described_through_their_listener_and_controllers_through_theirs() {
    let mut world = formed(51);
    let (brokers, controllers) = (Listener::Broker, Listener::Controller);
    let mut ask = |listener, version, endpoint_type, fenced| {
        let body = DescribeClusterRequest {
            endpoint_type,
            include_fenced_brokers: fenced,
            ..DescribeClusterRequest::default()
        };
        let answer = world.query_at(1, listener, version, &body, 1_000).expect("an answer");
        let nodes: Vec<_> = answer.brokers.iter().map(|b| (b.broker_id, b.port, b.is_fenced)).collect();
        (answer.error_code, answer.controller_id, nodes)
    };
    let at = |port: i32| (1..=3).map(|id| (id, port + id, false)).collect::<Vec<_>>();
    for (version, fenced) in [(0, false), (2, true)] {
        let (error, controller, nodes) = ask(brokers, version, 1, fenced);
        assert_eq!((error, nodes), (0, at(9_000)));
        assert!((1..=3).contains(&controller));
    }
    let (error, controller, nodes) = ask(controllers, 2, 2, false);
    assert_eq!((error, nodes), (0, at(9_100)));
    assert_eq!(ask(brokers, 1, 2, false).0, ErrorCode::MISMATCHED_ENDPOINT_TYPE.0);
    assert_eq!(ask(controllers, 0, 1, false).0, ErrorCode::MISMATCHED_ENDPOINT_TYPE.0);
    assert_eq!(ask(brokers, 2, 7, false).0, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE.0);
    assert_eq!(controller, active(&world));
}

#[test]
fn a_fenced_broker_is_described_only_to_who_asks_for_it() {
    let mut world = formed(52);
    let dead = another(&world, active(&world));
    world.kill(dead);
    let via = another(&world, dead);
    assert!(world.run_until(3_000, |w| w.node(via).unwrap().image().brokers[&dead].fenced));
    let mut ask = |include_fenced_brokers| {
        let body = DescribeClusterRequest { include_fenced_brokers, ..DescribeClusterRequest::default() };
        world.query(via, 2, &body, 1_000).expect("an answer").brokers
    };
    assert!(ask(false).iter().all(|b| b.broker_id != dead && !b.is_fenced));
    assert!(ask(true).iter().any(|b| b.broker_id == dead && b.is_fenced));
}

#[test]
fn the_quorum_is_described_by_its_leader_whoever_is_asked() {
    let mut world = formed(53);
    world.run_ms(500);
    let leader = active(&world);
    let topic =
        |name: &str| QuorumTopic { topic_name: name.into(), partitions: vec![QuorumPartition { partition_index: 0 }] };
    let body = DescribeQuorumRequest { topics: vec![topic("__cluster_metadata"), topic("metrics")] };
    let follower = another(&world, leader);
    for (node, listener) in [(follower, Listener::Broker), (leader, Listener::Controller)] {
        for version in [0, 2] {
            let answer = world.query_at(node, listener, version, &body, 1_000).expect("an answer");
            let one = &answer.topics[0].partitions[0];
            assert_eq!((answer.error_code, one.error_code, one.leader_id), (0, 0, leader));
            assert_eq!(one.current_voters.iter().map(|v| v.replica_id).collect::<Vec<_>>(), [1, 2, 3]);
            assert!(one.current_voters.iter().all(|v| v.log_end_offset >= one.high_watermark && v.log_end_offset > 0));
            assert_eq!(answer.topics[1].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
            let ports: Vec<u16> = answer.nodes.iter().map(|n| n.listeners[0].port).collect();
            assert_eq!(ports, if version >= 2 { vec![9_101, 9_102, 9_103] } else { vec![] });
        }
    }
    let direct = world.query_at(follower, Listener::Controller, 2, &body, 1_000).expect("an answer");
    let one = &direct.topics[0].partitions[0];
    assert_eq!((one.error_code, one.leader_id), (ErrorCode::NOT_LEADER_OR_FOLLOWER.0, leader));
}

#[test]
fn a_dead_broker_is_unregistered_once_and_a_living_one_comes_back() {
    let mut world = with_topic(54);
    let dead = another(&world, active(&world));
    world.kill(dead);
    let via = another(&world, dead);
    assert!(world.run_until(3_000, |w| w.node(via).unwrap().image().brokers[&dead].fenced));
    let body = UnregisterBrokerRequest { broker_id: dead };
    let mut unregister = || world.query(via, 0, &body, 2_000).expect("an answer").error_code;
    assert_eq!(unregister(), 0);
    assert_eq!(unregister(), ErrorCode::BROKER_ID_NOT_REGISTERED.0);
    assert!(world.run_until(1_000, |w| !w.node(via).unwrap().image().brokers.contains_key(&dead)));
    world.start(dead);
    assert!(world.run_until(5_000, |w| w.node(via).unwrap().image().is_active(dead)));
    assert!(world.run_until(5_000, |w| super::isr(w, 0).len() == 3));
}

#[test]
fn features_are_as_they_are() {
    let mut world = formed(55);
    let wish = |feature: &str, max_version_level| FeatureUpdateKey {
        feature: feature.into(),
        max_version_level,
        ..FeatureUpdateKey::default()
    };
    let wrong = ErrorCode::INVALID_UPDATE_VERSION.0;
    let body = UpdateFeaturesRequest {
        feature_updates: vec![wish("group.version", 1), wish("group.version", 0), wish("no.such.feature", 1)],
        ..UpdateFeaturesRequest::default()
    };
    let answer = world.query(1, 0, &body, 2_000).expect("an answer");
    let errors: Vec<i16> = answer.results.iter().map(|r| r.error_code).collect();
    assert_eq!((answer.error_code, errors), (0, vec![0, wrong, wrong]));
    let answer = world.query(1, 2, &body, 2_000).expect("an answer");
    assert_eq!(answer.error_code, wrong);
    assert!(answer.error_message.unwrap().starts_with("group.version: it is at level 1"));
    let body =
        UpdateFeaturesRequest { feature_updates: vec![wish("group.version", 1)], ..UpdateFeaturesRequest::default() };
    assert_eq!(world.query(1, 2, &body, 2_000).expect("an answer").error_code, 0);
}

#[test]
fn the_sizes_of_logs_are_told_by_the_broker_that_has_them() {
    let mut world = with_topic(56);
    world.produce_for_sure("metrics", 1, b"some bytes", 1_000);
    for version in [1, 4] {
        let mut sizes = |topics| {
            let body = DescribeLogDirsRequest { topics };
            let answer = world.query(2, version, &body, 1_000).expect("an answer");
            let directory = &answer.results[0];
            assert_eq!((directory.error_code, directory.log_dir.as_str()), (0, "node-2"));
            let partitions = directory.topics.iter().flat_map(|t| &t.partitions);
            partitions.map(|p| (p.partition_index, p.partition_size > 0)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(None), [(0, false), (1, true), (2, false)]);
        let asked = DescribableLogDirTopic { topic: "metrics".into(), partitions: vec![1] };
        assert_eq!(sizes(Some(vec![asked])), [(1, true)]);
    }
}

#[test]
fn a_broker_keeps_the_id_of_its_directory_as_long_as_its_store() {
    let mut world = formed(57);
    let told = |w: &World| w.node(1).unwrap().image().brokers[&3].directories.clone();
    let first = told(&world);
    assert_eq!(first.len(), 1);
    let back = |w: &mut World, incarnation: [u8; 16]| {
        assert!(w.run_until(5_000, |w| {
            let broker = &w.node(1).unwrap().image().brokers[&3];
            broker.incarnation != incarnation && broker.is_active()
        }));
    };
    let mut again = |wipe: bool| {
        let incarnation = world.node(1).unwrap().image().brokers[&3].incarnation;
        world.kill(3);
        if wipe {
            world.wipe(3);
        }
        world.start(3);
        back(&mut world, incarnation);
        told(&world)
    };
    assert_eq!(again(false), first);
    assert_eq!(again(false), first);
    assert_ne!(again(true), first, "another disk is another directory");
}
