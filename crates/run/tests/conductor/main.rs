//! Whole runs, told by hand-made events in virtual time.

mod healed;
mod links;
mod world;

use std::collections::BTreeSet;

use metricstream_ledger::timeline::{Clock, TimelineEvent, What};
use metricstream_run::conductor::{self, Conductor, End, Event, Shortfall};
use metricstream_scenario::{Action, Condition, Controllers, Scenario, Step, Target};
use proptest::prelude::*;
use world::{Mute, S, World, at, kill_and_start, leader_of, member, on, three_brokers};

#[test]
fn a_broker_fails_and_is_started_again() {
    let world = World::new(&three_brokers(kill_and_start()), 7, &[]).run();
    let wanted = [
        "0.00 ready",
        "0.00 phase healthy",
        "10.01 kill-2: kill broker 2 [2]",
        "10.01 phase broker 2 down",
        "20.01 start-2: start [2] heals kill-2",
        "20.01 phase recovering",
        "27.00 phase healed",
        "30.00 phase drain",
        "31.00 phase catch-up",
        "32.00 phase audit",
    ];
    assert_eq!(world.story(), wanted);
    assert_eq!(world.orders(), ["start-load", "drain", "groups", "audit", "finish"]);
    assert_eq!(world.ended(), (End::Complete, Vec::new()));
}

#[test]
fn isr_full_again_is_not_the_isr_of_a_broker_that_has_not_come_back() {
    let again = |step: &str, then: &str, target| on(then, Condition::IsrFull, Some(step), Action::Stop(target));
    let timeline = vec![
        at("stop-1", 1.0, Action::Stop(Target::Node(1))),
        at("start-1", 2.0, Action::Start(Target::Node(1))),
        again("start-1", "stop-2", Target::Node(2)),
    ];
    let world = World::new(&three_brokers(timeline), 7, &[]).run();
    // Started at 2.01 (the ISR in the metadata is that of before), registered at 4, caught up at 9.
    assert!(world.story().contains(&"9.01 stop-2: stop broker 2 [2]".to_owned()), "{:#?}", world.story());
    // Nothing starts it again but the end of the run.
    assert!(world.story().iter().any(|line| line.ends_with("settle: start [2] heals stop-2")));
    assert_eq!(world.broken(), [0; 0]);
}

#[test]
fn a_target_that_names_nothing_is_told_and_the_run_goes_on() {
    let timeline = vec![
        at("kill-0", 5.0, Action::Kill(leader_of(0))),
        at("kill-0-again", 6.0, Action::Kill(leader_of(0))),
        at("start-3", 7.0, Action::Start(Target::Node(3))),
        at("pause-9", 8.0, Action::Pause(leader_of(9))),
        at("resume", 9.0, Action::Resume(Target::VictimOf("pause-9".into()))),
        on("never", Condition::Fenced { step: "pause-9".into() }, None, Action::Kill(Target::Node(3))),
        at("join-twice", 10.0, Action::MemberJoin(member("A"))),
        at("leave", 11.0, Action::MemberLeave(member("Z"))),
    ];
    let world = World::new(&three_brokers(timeline), 7, &[]).run();
    let failed: Vec<String> = world.story().into_iter().filter(|line| line.contains("failed")).collect();
    let wanted = [
        "6.00 kill-0-again failed: `kill leader of metrics-0` is not possible: broker 1 is killed",
        "7.00 start-3 failed: `start broker 3` is not possible: broker 3 is up",
        "8.00 pause-9 failed: `pause leader of metrics-9` is not possible: nothing is known of metrics-9",
        "8.00 never failed: `fenced pause-9` can no longer hold: step pause-9 was not carried out",
        "9.00 resume failed: `resume victim of pause-9` is not possible: step pause-9 was not carried out",
        "10.00 join-twice failed: `member-join g/A` is not possible: it is a member already",
        "11.00 leave failed: `member-leave g/Z` is not possible: it is not a member",
    ];
    assert_eq!(failed, wanted);
    let (end, shortfalls) = world.ended();
    assert_eq!((end, shortfalls.len()), (End::Complete, 7));
    assert!(shortfalls.iter().all(Shortfall::is_inconclusive));
    assert!(world.story().contains(&"5.01 kill-0: kill leader of metrics-0 = broker 1 [1], active controller".into()));
    assert_eq!(world.orders(), ["start-load", "drain", "groups", "audit", "finish"]);
    assert_eq!(world.broken(), [0; 0]);
}

/// `mutes` say what the world withholds; the run must end, complete, and name `wanted`.
fn ends_and_names(timeline: Vec<Step>, mutes: &[Mute], wanted: &[&str]) -> World {
    let world = World::new(&three_brokers(timeline), 7, mutes).run();
    let (end, shortfalls) = world.ended();
    let texts: Vec<String> = shortfalls.iter().map(ToString::to_string).collect();
    assert_eq!(texts, wanted, "{:#?}", world.story());
    if mutes.contains(&Mute::Ready) {
        assert_eq!(end, End::NeverReady);
    } else {
        assert_eq!(end, End::Complete);
        assert!(world.orders().ends_with(&["audit", "finish"]), "{:?}", world.orders());
    }
    world
}

#[test]
fn a_condition_that_never_holds_is_given_up_and_named() {
    let join = || at("join", 5.0, Action::MemberJoin(member("B")));
    let stable = Condition::GroupStable { group: "g".into() };
    let timeline = vec![join(), on("kill", stable, Some("join"), Action::Kill(Target::Node(2)))];
    ends_and_names(timeline.clone(), &[], &[]);
    let world = ends_and_names(
        timeline,
        &[Mute::Assignments],
        &["step kill: `group-stable g` did not hold within 90 s of load start; missing: A has no assignment yet, \
           B has no assignment yet, metrics-0 has 0 owners, metrics-1 has 0 owners, and 1 more"],
    );
    assert!(world.story().iter().any(|line| line.starts_with("90.00 kill failed: ")));
    assert!(world.ended().1.iter().all(Shortfall::is_inconclusive));
}

#[test]
fn no_wait_is_without_an_end() {
    let kill = || vec![at("kill-2", 10.0, Action::Kill(Target::Node(2)))];
    ends_and_names(kill(), &[Mute::Ready], &["the cluster was not ready within 300 s; its nodes' logs say why"]);
    ends_and_names(
        kill(),
        &[Mute::Faults],
        &["step kill-2: the engine did not say within 120 s whether `kill broker 2` was carried out"],
    );
    ends_and_names(kill(), &[Mute::FaultsFail], &["step kill-2: no such process"]);
    let world = ends_and_names(
        kill(),
        &[Mute::CatchUp],
        &["not every ISR was full 60 s after the timeline's end; missing: broker 2 is fenced, metrics-0 has ISR \
           [1, 3] of [1, 2, 3], metrics-1 has ISR [3, 1] of [1, 2, 3], metrics-2 has ISR [3, 1] of [1, 2, 3]"],
    );
    assert!(!world.ended().1.iter().any(Shortfall::is_inconclusive));
    let stopped = "load went on 20 s after it should have ended and was stopped: what the schedule still owed was not \
                   sent";
    let world = ends_and_names(kill(), &[Mute::LoadEnd], &[stopped]);
    assert_eq!(world.orders(), ["start-load", "stop-load", "drain", "groups", "audit", "finish"]);
    ends_and_names(Vec::new(), &[Mute::LoadEnd, Mute::StopLoad], &[stopped, "producers did not stop within 30 s"]);
    let world = ends_and_names(
        Vec::new(),
        &[Mute::Drain, Mute::Groups, Mute::Audit],
        &[
            "the load did not say within 20 s how many sends are still open",
            "groups g had not read to the end after settle.group_catch_up_s = 25",
            "the audit was not finished within 180 s",
        ],
    );
    assert_eq!(world.ended().1.iter().filter(|shortfall| shortfall.is_inconclusive()).count(), 1);
}

#[test]
fn what_settle_leaves_broken_is_named_and_audited_all_the_same() {
    let mut scenario = three_brokers(vec![at("kill-2", 10.0, Action::Kill(Target::Node(2)))]);
    scenario.settle.heal = false;
    let world = World::new(&scenario, 7, &[]).run();
    assert_eq!(world.broken(), [2]);
    let left = Shortfall::LeftBroken { nodes: "broker 2".into() };
    assert_eq!(world.ended(), (End::Complete, vec![left]));
    assert!(world.now_us < 40 * S, "it does not wait for an ISR that cannot be full");
}

#[test]
fn an_interrupted_run_heals_stops_and_finishes_wherever_it_is() {
    let timeline = || {
        vec![
            at("pause-3", 8.0, Action::Pause(Target::Node(3))),
            at("kill-2", 10.0, Action::Kill(Target::Node(2))),
            at("chaos", 12.0, Action::Chaos { for_s: 10.0, every_s: 2.0, kinds: vec!["kill".into()] }),
        ]
    };
    let doings = [
        (-2.0, "the cluster started"),
        (0.0, "the timeline ran"),
        (8.005, "the timeline ran"), // while the pause is being carried out
        (9.0, "the timeline ran"),
        (15.0, "the timeline ran"),
        (30.005, "the cluster was being healed"),
        (32.0, "waiting for full ISRs"),
        (37.5, "waiting for outstanding sends"),
        (38.5, "groups read to the end"),
        (39.5, "the audit ran"),
    ];
    for (at_s, doing) in doings {
        for mutes in [&[][..], &[Mute::StopLoad, Mute::LoadEnd]] {
            let late = at_s > 37.0;
            if late && !mutes.is_empty() {
                continue; // Such a run is elsewhere by then.
            }
            let mut world = World::new(&three_brokers(timeline()), 7, mutes);
            let at_us = (at_s * 1e6) as i64;
            world.inject(at_us, Event::Interrupted);
            let world = world.run();
            let doing = doing.to_owned();
            assert_eq!(world.ended(), (End::Interrupted, vec![Shortfall::Interrupted { doing }]), "at {at_s} s");
            assert_eq!(world.broken(), [0; 0], "at {at_s} s: {:#?}", world.story());
            assert!(world.now_us <= at_us + 15 * S, "at {at_s} s");
            // Wherever load had begun, the timeline says why sends are open at its end.
            let said = world.story().iter().any(|line| line.contains("phase interrupted"));
            assert_eq!(said, at_s >= 0.0, "at {at_s} s: {:#?}", world.story());
            let stops = world.orders().contains(&"stop-load");
            let load_runs = (0.0..30.0).contains(&at_s) || (at_s >= 0.0 && !mutes.is_empty());
            assert_eq!(stops, load_runs, "at {at_s} s: {:?}", world.orders());
        }
    }
}

#[test]
fn a_second_interruption_waits_for_nothing() {
    let timeline = vec![at("kill-2", 10.0, Action::Kill(Target::Node(2)))];
    let mut world = World::new(&three_brokers(timeline), 7, &[Mute::LoadEnd, Mute::StopLoad]);
    world.inject(11 * S, Event::Interrupted);
    world.inject(11 * S + 1000, Event::Interrupted);
    let world = world.run();
    assert_eq!((world.ended().0, world.now_us), (End::Interrupted, 11 * S + 1000));
}

#[test]
fn followers_paused_then_the_leader_killed_and_all_healed_by_their_own_steps() {
    let followers = Target::Followers { topic: "metrics".into(), partition: 0 };
    let timeline = vec![
        at("pause", 5.0, Action::Pause(followers)),
        at("kill", 6.0, Action::Kill(leader_of(0))),
        // Killed while paused: only a start brings it back, and it heals both.
        at("kill-paused", 7.0, Action::Kill(Target::Node(2))),
        at("resume", 8.0, Action::Resume(Target::VictimOf("pause".into()))),
        at("start", 9.0, Action::StartWiped(Target::EveryBroker)),
    ];
    let world = World::new(&three_brokers(timeline), 7, &[]).run();
    let wanted = [
        "5.01 pause: pause followers of metrics-0 = brokers 2,3 [2, 3]",
        "5.01 phase brokers 2,3 paused",
        "6.01 kill: kill leader of metrics-0 = broker 1 [1], active controller",
        "6.01 phase broker 1 down, brokers 2,3 paused",
        "7.01 kill-paused: kill broker 2 [2]",
        "7.01 phase brokers 1,2 down, broker 3 paused",
        "8.01 resume: resume [3] heals pause",
        "8.01 phase brokers 1,2 down",
        "9.01 start: start-wiped every broker = brokers 1,2 [1, 2], active controller",
        "9.01 start: start-wiped [2] heals pause",
        "9.01 start: start-wiped [1] heals kill",
        "9.01 start: start-wiped [2] heals kill-paused",
        "9.01 phase recovering",
    ];
    assert_eq!(world.story()[2..15], wanted);
    assert_eq!(world.ended(), (End::Complete, Vec::new()));
}

#[test]
fn members_come_and_go_at_stable_groups() {
    let stable = || Condition::GroupStable { group: "g".into() };
    let timeline = vec![
        on("join", stable(), None, Action::MemberJoin(member("B"))),
        on("stall", stable(), Some("join"), Action::MemberStall { member: member("A"), for_s: 2.5 }),
        on("crash", stable(), Some("stall"), Action::MemberCrash(member("A"))),
        on("leave", stable(), Some("crash"), Action::MemberLeave(member("B"))),
    ];
    let world = World::new(&three_brokers(timeline), 7, &[]).run();
    let wanted = [
        "3.01 g/B join",
        "6.01 g/A stall",
        "6.02 g/A crash", // A stall changes no assignment at once.
        "9.02 g/B leave",
    ];
    let seen: Vec<String> = world.story().into_iter().filter(|line| line.contains("g/")).collect();
    assert_eq!(seen, wanted);
}

#[test]
fn a_start_waits_for_the_stop_that_is_not_yet_answered() {
    let timeline =
        vec![at("start-2", 10.005, Action::Start(Target::Node(2))), at("stop-2", 10.0, Action::Stop(Target::Node(2)))];
    let world = World::new(&three_brokers(timeline), 7, &[]).run();
    assert!(world.story().contains(&"10.02 start-2: start [2] heals stop-2".to_owned()), "{:#?}", world.story());
}

#[test]
fn the_driver_is_not_asked_to_drain_before_its_load_has_ended() {
    // A load that still owes messages when the timeline is over.
    let mut world = World::new(&three_brokers(Vec::new()), 7, &[Mute::LoadEnd]);
    world.inject(41 * S, Event::LoadEnded);
    let world = world.run();
    let drain = world.actions.iter().find(|(_, action)| matches!(action, conductor::Action::Drain { .. }));
    assert_eq!(drain.map(|(at_us, _)| *at_us), Some(41 * S));
    assert_eq!(world.ended(), (End::Complete, Vec::new()));
}

fn chaos_of(kinds: &[&str], for_s: f64, every_s: f64) -> Scenario {
    let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let mut scenario = three_brokers(vec![at("chaos", 1.0, Action::Chaos { for_s, every_s, kinds })]);
    scenario.workload.duration_s = Some(for_s + 2.0);
    scenario
}

#[test]
fn chaos_never_takes_a_quorum_down_and_heals_what_it_broke() {
    let scenario = chaos_of(&["kill", "stop", "pause"], 600.0, 15.0);
    for seed in 0..20 {
        let world = World::new(&scenario, seed, &[]).run();
        let mut down = 0;
        let mut faults = 0;
        for (_, action) in &world.actions {
            if let conductor::Action::Fault { kind, nodes, .. } = action {
                assert_eq!(nodes.len(), 1);
                down += if kind.heals() { -1 } else { 1 };
                faults += i32::from(!kind.heals());
                assert!((0..=1).contains(&down), "{:#?}", world.story());
            }
        }
        assert_eq!((down, world.broken()), (0, Vec::new()));
        assert!(faults >= 20, "{faults} faults in 600 s, one in 15 s on average");
        assert_eq!(world.ended(), (End::Complete, Vec::new()));
        // All is healed by chaos itself, nothing is left to the end of the run.
        assert!(!world.story().iter().any(|line| line.contains("settle")));
    }
}

#[test]
fn chaos_meets_controllers_of_their_own_and_keeps_their_majority() {
    let mut scenario = chaos_of(&["kill", "pause"], 600.0, 10.0);
    scenario.topology.controllers = Controllers::Separate(3);
    let mut hit = BTreeSet::new();
    for seed in 0..5 {
        let world = World::new(&scenario, seed, &[]).run();
        let mut down = BTreeSet::new();
        for (_, action) in &world.actions {
            if let conductor::Action::Fault { kind, nodes, .. } = action {
                for id in nodes {
                    assert!(if kind.heals() { down.remove(id) } else { down.insert(*id) });
                }
                hit.extend(nodes.iter().copied());
                assert!(down.iter().filter(|id| **id > 100).count() <= 1, "{down:?}");
                assert!(down.iter().filter(|id| **id < 100).count() <= 2, "{down:?}");
            }
        }
        assert_eq!((down, world.broken()), (BTreeSet::new(), Vec::new()));
    }
    assert_eq!(hit, BTreeSet::from([1, 2, 3, 101, 102, 103]));
}

#[test]
fn random_brokers_are_live_ones_drawn_from_the_seed() {
    let timeline = vec![
        at("kill-1", 1.0, Action::Kill(Target::RandomBroker)),
        at("kill-2", 2.0, Action::Kill(Target::RandomBroker)),
        at("kill-3", 3.0, Action::Kill(Target::RandomBroker)),
        at("kill-4", 4.0, Action::Kill(Target::RandomBroker)),
        at("start", 5.0, Action::Start(Target::VictimOf("kill-2".into()))),
    ];
    let scenario = three_brokers(timeline);
    let drawn = |seed| {
        let world = World::new(&scenario, seed, &[]).run();
        let why =
            "kill-4 failed: `kill random broker` is not possible: broker 1 is killed, broker 2 is killed, broker 3";
        assert!(world.story().iter().any(|line| line.contains(why)));
        let hit = |(_, action): &(i64, conductor::Action)| match action {
            conductor::Action::Fault { step, nodes, .. } if !step.contains('/') => Some(nodes[0]),
            _ => None,
        };
        world.actions.iter().filter_map(hit).collect::<Vec<i32>>()
    };
    let orders: BTreeSet<Vec<i32>> = (0..60).map(drawn).collect();
    assert_eq!(orders.len(), 6, "every order of three brokers is drawn: {orders:?}");
    for order in &orders {
        assert_eq!((order[..3].iter().sum::<i32>(), order[3]), (6, order[1]));
    }
    assert_eq!(drawn(3), drawn(3));
}

#[test]
fn chaos_on_a_single_broker_and_chaos_of_no_kind() {
    let mut single = chaos_of(&["kill"], 100.0, 10.0);
    single.topology.brokers = 1;
    let world = World::new(&single, 1, &[]).run();
    assert!(world.story().iter().any(|line| line.contains("chaos/1: kill random node = broker 1")));
    assert_eq!(world.broken(), [0; 0]);

    let world = World::new(&chaos_of(&["drop"], 10.0, 1.0), 1, &[]).run();
    assert!(world.story().iter().any(|line| line.contains("`drop` is not one of kill, stop, pause")));
    assert!(world.ended().1[0].is_inconclusive());
}

/// Every action of `conductor` to these events.
fn replay(scenario: &Scenario, seed: u64, events: &[(i64, Event)]) -> Vec<conductor::Action> {
    let mut conductor = Conductor::new(scenario, seed);
    let mut out = Vec::new();
    for (at_us, event) in events {
        conductor.observe(*at_us, event, &mut out);
    }
    out
}

fn any_event() -> impl Strategy<Value = Event> {
    let step =
        prop_oneof![Just("kill"), Just("start"), Just("chaos"), Just("chaos/1"), Just("settle/start/2"), Just("?")];
    let step = || step.clone().prop_map(str::to_owned);
    let seen = |what| Event::Timeline(TimelineEvent { at_us: 0, error_us: 0, clock: Clock::Polled, what, cause: None });
    prop_oneof![
        4 => Just(Event::Tick),
        1 => Just(Event::ClusterReady { bootstrap: String::new(), took_ms: 1 }),
        2 => (step(), prop::collection::vec(-1..5, 0..3), any::<i32>())
            .prop_map(|(step, nodes, at)| Event::FaultDone { step, nodes, at_us: at.into() }),
        1 => step().prop_map(|step| Event::FaultFailed { step, error: "no".into() }),
        1 => (step(), any::<i32>()).prop_map(|(step, at)| Event::MemberDone { step, at_us: at.into() }),
        1 => Just(Event::LoadEnded),
        1 => any::<u64>().prop_map(|open| Event::Drained { open }),
        1 => Just(Event::GroupsCaughtUp { behind: vec!["g".into()] }),
        1 => any::<bool>().prop_map(|ok| Event::AuditFinished { ok, why: None }),
        1 => Just(Event::Interrupted),
        2 => (0..5, -1i64..300).prop_map(move |(broker, broker_epoch)| {
            seen(What::BrokerRegistered { broker, broker_epoch })
        }),
        2 => (0..5, -1i64..300).prop_map(move |(broker, broker_epoch)| seen(What::BrokerFenced { broker, broker_epoch })),
        2 => (0..5).prop_map(move |node| seen(What::Controller { node, epoch: 1 })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_seed_and_events_give_the_same_actions(seed: u64) {
        let mut scenario = chaos_of(&["kill", "stop", "pause"], 200.0, 10.0);
        scenario.timeline.push(at("random", 50.0, Action::Kill(Target::RandomBroker)));
        let world = World::new(&scenario, seed, &[]).run();
        let first: Vec<conductor::Action> = world.actions.into_iter().map(|(_, action)| action).collect();
        prop_assert_eq!(&replay(&scenario, seed, &world.events), &first);
        // And the seed is what it depends on: another one draws other faults.
        prop_assert_ne!(&replay(&scenario, seed ^ 1, &world.events), &first);
    }

    #[test]
    fn no_sequence_of_events_breaks_it(
        seed: u64,
        events in prop::collection::vec((0i64..400_000_000, any_event()), 0..200),
        sorted: bool,
    ) {
        let mut scenario = chaos_of(&["kill", "pause"], 60.0, 5.0);
        scenario.timeline.push(at("kill", 3.0, Action::Kill(Target::ActiveController)));
        scenario.timeline.push(on("start", Condition::Fenced { step: "kill".into() }, None, Action::Start(Target::VictimOf("kill".into()))));
        let mut events = events;
        if sorted {
            events.sort_by_key(|(at_us, _)| *at_us);
        }
        let out = replay(&scenario, seed, &events);
        prop_assert_eq!(&replay(&scenario, seed, &events), &out);
        // At most one finish, and nothing after it.
        let finish = out.iter().position(|action| matches!(action, conductor::Action::Finish { .. }));
        prop_assert!(finish.is_none_or(|at| at + 1 == out.len()));
    }
}
