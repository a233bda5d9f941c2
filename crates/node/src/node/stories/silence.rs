//! Who is silent, and who was not listening: nodes that were not run judge nobody, nodes that stand still are found out.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use metricstream_wire::api::find_coordinator::FindCoordinatorRequest;

use super::{another, isr, with_topic};
use crate::io::{Event, Level};
use crate::testing::world::{Party, Setup, World};
use crate::time::MS;

fn active(world: &World) -> Party {
    let holds = |id: &Party| !world.is_paused(*id) && world.node(*id).unwrap().is_active_controller();
    world.running().into_iter().find(holds).expect("a controller")
}

/// The settings of all of these stories.
fn settings() -> crate::config::Settings {
    let mut settings = crate::config::Settings::default();
    for (name, value) in Setup::fast().settings {
        settings.set(name, value).expect(name);
    }
    settings
}

fn ms(bound: i64) -> u64 {
    u64::try_from(bound).expect("positive")
}

/// Offices that changed hands, and brokers that were fenced, since a time.
fn changes(world: &World, since: u64) -> Vec<String> {
    let told = world.events.iter().filter(|(at, ..)| *at > since);
    let what = told.filter(|(.., event)| {
        matches!(
            event,
            Event::QuorumRole { .. }
                | Event::ControllerActive { .. }
                | Event::BecameLeader { .. }
                | Event::IsrProposed { .. }
                | Event::Fenced { fenced: true }
        )
    });
    what.map(|(at, node, event)| format!("{} ms, node {node}: {event:?}", at / MS)).collect()
}

/// Everybody knows the same, and nothing is under way but heartbeats and parked fetches.
fn at_rest(seed: u64) -> World {
    let mut world = with_topic(seed);
    assert!(world.run_until(3_000, |w| isr(w, 0).len() == 3 && isr(w, 1).len() == 3 && isr(w, 2).len() == 3));
    world.run_ms(1_000);
    world
}

#[test]
fn a_machine_that_stands_still_for_two_seconds_takes_nobodys_office() {
    for seed in 0..50 {
        let mut world = at_rest(seed);
        world.run_ms(seed * 7);
        let begun = world.now_ns;
        let order: Vec<Party> = (1..=3).map(|n| (n + Party::try_from(seed).unwrap()) % 3 + 1).collect();
        for id in &order {
            world.pause(*id);
        }
        world.run_ms(2_000);
        for id in order {
            world.resume(id);
            // They do not all get a processor at once.
            world.run_ms(5);
        }
        world.run_ms(3_000);
        assert_eq!(changes(&world, begun), Vec::<String>::new(), "seed {seed}");
        let told = |level: &Level, text: &str| *level == Level::Warn && text.starts_with("was not run for");
        let late = world.events.iter().filter(|(.., e)| matches!(e, Event::Log { level, text } if told(level, text)));
        assert_eq!(late.count(), 3, "each node says that it was away");
    }
}

#[test]
fn a_leader_that_stalls_for_less_than_others_wait_keeps_every_office() {
    for seed in 0..20 {
        let mut world = at_rest(seed);
        world.run_ms(seed * 11);
        let (leader, begun) = (active(&world), world.now_ns);
        world.pause(leader);
        // Whoever had just fetched has waited longest for the next answer.
        world.run_ms(800);
        world.resume(leader);
        world.run_ms(3_000);
        assert_eq!(changes(&world, begun), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_controller_that_stood_still_for_long_lost_its_office_fences_nobody_and_learns_of_both() {
    for seed in 0..20 {
        let mut world = at_rest(seed);
        let old = active(&world);
        world.pause(old);
        let others: Vec<Party> = world.running().into_iter().filter(|id| *id != old).collect();
        let fenced = |w: &mut World| others.iter().all(|id| w.node(*id).unwrap().image().brokers[&old].fenced);
        assert!(world.run_until(ms(settings().silent_controller_bound_ms()), fenced), "the others find it silent");
        let (new, begun) = (active(&world), world.now_ns);
        world.run_ms(2_000);
        world.resume(old);
        let back = |w: &mut World| {
            let node = w.node(old).unwrap();
            !node.is_active_controller() && node.controller() == Some(new)
        };
        assert!(world.run_until(200, back), "it learns that another one leads, seed {seed}");
        assert!(world.run_until(2_000, |w| w.node(new).unwrap().image().is_active(old)), "and is unfenced again");
        assert!(world.run_until(3_000, |w| isr(w, 0).len() == 3));
        assert_eq!(active(&world), new);
        let taken = |(at, node, event): &&(u64, Party, Event)| {
            *at > begun && (matches!(event, Event::ControllerActive { .. }) || *node != old && is_fenced(event))
        };
        assert_eq!(world.events.iter().filter(taken).collect::<Vec<_>>(), Vec::<&(u64, Party, Event)>::new());
    }
}

fn is_fenced(event: &Event) -> bool {
    matches!(event, Event::Fenced { fenced: true })
}

/// Nothing gets through to a node or from it, and no connection closes: how long it is until everything that it led has
/// another leader.
fn black_hole(world: &mut World, victim: Party, limit_ms: u64) -> u64 {
    let begun = world.now_ns;
    let others: Vec<Party> = world.ids().into_iter().filter(|id| *id != victim).collect();
    for other in &others {
        world.cut(victim, *other);
    }
    let moved = |w: &mut World| {
        others.iter().all(|id| {
            let partitions = &w.node(*id).unwrap().image().topic("metrics").unwrap().partitions;
            partitions.values().all(|p| p.leader >= 0 && p.leader != victim && !p.isr.contains(&victim))
        })
    };
    assert!(world.run_until(limit_ms, moved), "not within {limit_ms} ms");
    (world.now_ns - begun) / MS
}

#[test]
fn a_broker_in_a_black_hole_is_replaced_within_the_bound_of_its_session() {
    let bound = ms(settings().silent_broker_bound_ms());
    for seed in 0..30 {
        let mut world = at_rest(seed);
        world.run_ms(seed * 13);
        let victim = another(&world, active(&world));
        // Ten milliseconds for the messages themselves.
        let took = black_hole(&mut world, victim, bound + 10);
        assert!(took >= 900, "nothing but silence told of it: {took} ms");
        let leader = world.leader("metrics", 0).unwrap();
        assert_ne!(leader, victim);
        assert_eq!(world.produce("metrics", 0, -1, b"on", 500).map(|(error, _)| error), Some(ErrorCode::NONE));
    }
}

#[test]
fn an_active_controller_in_a_black_hole_is_replaced_within_the_bound_of_an_election_and_a_session() {
    let bound = ms(settings().silent_controller_bound_ms());
    for seed in 0..30 {
        let mut world = at_rest(seed);
        world.run_ms(seed * 13);
        let victim = active(&world);
        black_hole(&mut world, victim, bound + 20);
        assert_eq!(world.produce("metrics", 0, -1, b"on", 500).map(|(error, _)| error), Some(ErrorCode::NONE));
    }
}

/// The broker that coordinates a group, once there is one.
fn coordinator(world: &mut World, group: &str) -> Party {
    let body = FindCoordinatorRequest { coordinator_keys: vec![group.to_owned()], ..FindCoordinatorRequest::default() };
    for _ in 0..100 {
        let answer = world.query(1, 4, &body, 1_000).expect("an answer");
        if answer.coordinators[0].error_code == 0 {
            return answer.coordinators[0].node_id;
        }
        world.run_ms(20);
    }
    panic!("nobody coordinates {group}");
}

#[test]
fn a_coordinator_that_was_not_run_expels_no_member_and_one_that_was_does() {
    let mut world = at_rest(71);
    let broker = coordinator(&mut world, "g");
    let beat = |member_epoch| ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: "m".to_owned(),
        member_epoch,
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let join = ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["metrics".to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..beat(0)
    };
    let ask = |world: &mut World, body: &ConsumerGroupHeartbeatRequest| {
        let answer = world.query(broker, 1, body, 1_000).expect("an answer");
        (ErrorCode(answer.error_code), answer.member_epoch)
    };
    // The new coordinator may still be reading its log.
    let mut joined = ask(&mut world, &join);
    for _ in 0..50 {
        if joined.0 == ErrorCode::NONE {
            break;
        }
        world.run_ms(20);
        joined = ask(&mut world, &join);
    }
    let (error, epoch) = joined;
    assert_eq!((error, epoch > 0), (ErrorCode::NONE, true));
    // Its session is a second; the whole machine stands still for two.
    for id in 1..=3 {
        world.pause(id);
    }
    world.run_ms(2_000);
    for id in 1..=3 {
        world.resume(id);
    }
    world.run_ms(100);
    assert_eq!(ask(&mut world, &beat(epoch)).0, ErrorCode::NONE, "it is still a member");
    world.run_ms(1_500);
    assert_eq!(ask(&mut world, &beat(epoch)).0, ErrorCode::UNKNOWN_MEMBER_ID, "now it was silent");
}
