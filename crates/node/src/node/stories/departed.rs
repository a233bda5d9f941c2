//! What a client is told of a leader that has just died: the next one, or nothing for a while, where connections that close
//! are evidence of death; the old one until it is fenced where they are not, as in Kafka.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use super::{another, isr, settled, with_topic};
use crate::io::ConnId;
use crate::testing::world::{Party, Setup, World};
use crate::time::MS;

const VERSION: i16 = 12;
/// What `fast` sets.
const WAIT_MS: u64 = 200;

fn question() -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some("metrics".into()), ..MetadataRequestTopic::default() };
    MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() }
}

fn ask(world: &mut World, conn: ConnId) -> MetadataResponse {
    world.ask(conn, VERSION, &question());
    world.answer::<MetadataRequest>(conn, VERSION, 5_000).expect("an answer")
}

fn lists(answer: &MetadataResponse, broker: Party) -> bool {
    answer.brokers.iter().any(|b| b.node_id == broker)
}

fn leader(answer: &MetadataResponse, partition: i32) -> (i32, i16) {
    let partitions = &answer.topics[0].partitions;
    let one = partitions.iter().find(|p| p.partition_index == partition).expect("it is there");
    (one.leader_id, one.error_code)
}

fn controller(world: &World) -> Party {
    world.running().into_iter().find(|id| world.node(*id).unwrap().is_active_controller()).expect("a controller")
}

/// Every replica is in sync. Gives a broker that leads, the active controller or another one, and a partition that it leads.
fn led(world: &mut World, by_controller: bool) -> (Party, i32) {
    assert!(world.run_until(3_000, |w| (0..3).all(|p| isr(w, p).len() == 3)));
    let office = controller(world);
    let leads = |p: &i32| world.leader("metrics", *p).is_some_and(|leader| (leader == office) == by_controller);
    let partition = (0..3).find(leads).expect("each leads one of three");
    (world.leader("metrics", partition).expect("somebody leads"), partition)
}

/// The broker dies, and the other one knows of the connections that ended.
fn kill(world: &mut World, victim: Party) {
    world.kill(victim);
    // A message takes up to one millisecond here.
    world.run_ms(1);
}

fn with_settings(seed: u64, more: &[(&'static str, &'static str)]) -> World {
    let mut setup = Setup::fast();
    setup.settings.extend(more);
    let mut world = World::new(seed, &setup);
    assert!(world.wait_formed(5_000), "three nodes form a cluster");
    assert_eq!(world.create_topic(1, "metrics", 3, 3, &[]), Some(ErrorCode::NONE));
    settled(&mut world);
    world
}

#[test]
fn a_question_about_a_leader_that_has_just_died_is_answered_with_the_next_one() {
    let mut waited = 0;
    for seed in 0..40 {
        let mut world = with_topic(seed);
        let (victim, partition) = led(&mut world, seed % 2 == 0);
        let other = another(&world, victim);
        let conn = world.connected(other).expect("it runs");
        kill(&mut world, victim);
        let known = world.node(other).unwrap().image().topic("metrics").unwrap().partitions[&partition].leader;
        waited += i32::from(known == victim);
        let begun = world.now_ns;
        let answer = ask(&mut world, conn);
        let (leads, error) = leader(&answer, partition);
        assert!(leads >= 0 && leads != victim && error == 0, "seed {seed}: {leads} leads, error {error}");
        assert!(lists(&answer, victim), "seed {seed}: it has just died");
        assert!(world.now_ns - begun < WAIT_MS * MS, "seed {seed}: it was not the wait that ended");
    }
    assert!(waited >= 20, "only {waited} questions came before the election");
}

#[test]
fn all_questions_that_wait_are_answered_in_their_order_and_what_asks_for_nothing_of_it_goes_ahead_elsewhere() {
    let mut world = with_topic(3);
    let (victim, partition) = led(&mut world, true);
    let other = another(&world, victim);
    let (waiting, free) = (world.connected(other).expect("it runs"), world.connected(other).expect("it runs"));
    kill(&mut world, victim);
    let unrelated = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
    world.ask(waiting, VERSION, &question());
    world.ask(waiting, VERSION, &unrelated);
    world.ask(waiting, VERSION, &MetadataRequest { topics: None, ..MetadataRequest::default() });
    world.ask(free, VERSION, &unrelated);
    let ahead = world.answer::<MetadataRequest>(free, VERSION, 5).expect("at once");
    assert!(ahead.topics.is_empty() && world.arrived[&waiting].is_empty());
    for topics in [1, 0, 1] {
        let answer = world.answer::<MetadataRequest>(waiting, VERSION, 1_000).expect("an answer");
        assert_eq!(answer.topics.len(), topics);
        assert!(topics == 0 || leader(&answer, partition).0 != victim);
    }
}

#[test]
fn a_question_waits_no_longer_than_the_setting_says_and_later_ones_not_at_all() {
    let mut world = with_topic(4);
    let (victim, partition) = led(&mut world, true);
    let other = another(&world, victim);
    let third = world.running().into_iter().find(|id| *id != victim && *id != other).expect("three run");
    let conn = world.connected(other).expect("it runs");
    // One of three elects nobody.
    world.kill(third);
    kill(&mut world, victim);
    let begun = world.now_ns;
    assert_eq!(leader(&ask(&mut world, conn), partition), (victim, 0), "what this broker knows last");
    let waited_ms = (world.now_ns - begun) / MS;
    assert!((WAIT_MS - 5..WAIT_MS + 20).contains(&waited_ms), "{waited_ms} ms");
    for _ in 0..20 {
        let begun = world.now_ns;
        assert_eq!(leader(&ask(&mut world, conn), partition).0, victim);
        assert!(world.now_ns - begun < 5 * MS);
        // The dead are tried again and again meanwhile, and refuse.
        world.run_ms(30);
    }
}

#[test]
fn a_client_that_hangs_up_while_it_waits_is_forgotten() {
    let mut world = with_topic(5);
    let (victim, _) = led(&mut world, true);
    let other = another(&world, victim);
    let conn = world.connected(other).expect("it runs");
    kill(&mut world, victim);
    world.ask(conn, VERSION, &question());
    world.run_ms(2);
    world.hang_up(conn);
    world.run_ms(WAIT_MS + 100);
    let conn = world.connected(other).expect("it still runs");
    assert!(lists(&ask(&mut world, conn), other) && world.running().contains(&other));
}

#[test]
fn a_dead_broker_is_told_of_once_on_each_connection_and_soon_not_at_all_until_it_is_back() {
    let mut world = with_topic(6);
    let (victim, _) = led(&mut world, false);
    let other = another(&world, victim);
    let conn = world.connected(other).expect("it runs");
    kill(&mut world, victim);
    assert!(world.run_until(500, |w| w.node(other).unwrap().image().brokers[&victim].fenced));
    world.run_ms(WAIT_MS - 50);
    let answer = ask(&mut world, conn);
    assert!(lists(&answer, victim));
    assert!(answer.topics[0].partitions.iter().all(|p| p.offline_replicas == [victim]), "it is said to be away");
    assert!(!lists(&ask(&mut world, conn), victim), "the client was told");
    let second = world.connected(other).expect("it runs");
    assert!(lists(&ask(&mut world, second), victim), "another one was not");
    world.run_ms(60);
    let third = world.connected(other).expect("it runs");
    assert!(!lists(&ask(&mut world, third), victim), "it has been away for too long");
    world.start(victim);
    assert!(world.run_until(5_000, |w| w.node(other).unwrap().image().is_active(victim)));
    assert!(lists(&ask(&mut world, conn), victim));
}

#[test]
fn a_broker_that_shuts_down_in_order_is_listed_no_longer() {
    let mut world = with_topic(7);
    let (leaving, partition) = led(&mut world, false);
    let other = another(&world, leaving);
    let conn = world.connected(other).expect("it runs");
    world.shut_down(leaving);
    assert!(world.run_until(5_000, |w| w.node(other).unwrap().image().brokers[&leaving].fenced));
    let answer = ask(&mut world, conn);
    assert!(!lists(&answer, leaving) && leader(&answer, partition).0 != leaving);
}

#[test]
fn where_closed_connections_are_no_evidence_the_dead_leader_is_named_until_it_is_fenced_and_listed_no_longer() {
    for seed in 0..10 {
        let off = [
            ("metricstream.fence.after.disconnect.ms", "-1"),
            ("metricstream.elect.after.disconnect.ms", "-1"),
            ("metricstream.metadata.wait.after.disconnect.ms", "-1"),
        ];
        let mut world = with_settings(seed, &off);
        let (victim, partition) = led(&mut world, seed % 2 == 0);
        let other = another(&world, victim);
        let conn = world.connected(other).expect("it runs");
        kill(&mut world, victim);
        let begun = world.now_ns;
        let answer = ask(&mut world, conn);
        assert_eq!((leader(&answer, partition), lists(&answer, victim)), ((victim, 0), true));
        assert!(world.now_ns - begun < 5 * MS, "it was answered at once");
        assert!(world.run_until(5_000, |w| w.node(other).unwrap().image().brokers[&victim].fenced));
        let answer = ask(&mut world, conn);
        assert!(leader(&answer, partition).0 != victim && !lists(&answer, victim));
    }
}
