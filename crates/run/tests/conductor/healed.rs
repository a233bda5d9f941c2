//! Load without a duration: until the timeline is through and all is normal again, and a while longer.

use metricstream_run::conductor::{Action as Order, End, Event, Shortfall};
use metricstream_scenario::{Action, Condition, Scenario, Step, Target};

use crate::world::{Mute, S, World, at, kill_and_start, member, on, three_brokers};

fn until_healed(timeline: Vec<Step>) -> Scenario {
    let mut scenario = three_brokers(timeline);
    scenario.workload.duration_s = None;
    scenario
}

/// When load was told to end, and when that was said, seconds.
fn load_end(world: &World) -> (f64, f64) {
    let told = world.actions.iter().filter_map(|(told_us, order)| match order {
        Order::EndLoad { at_us } => Some((*at_us as f64 / 1e6, *told_us as f64 / 1e6)),
        _ => None,
    });
    let told: Vec<(f64, f64)> = told.collect();
    assert_eq!(told.len(), 1, "load ends once: {:#?}", world.orders());
    told[0]
}

#[test]
fn load_goes_on_until_all_is_normal_and_a_while_longer() {
    let world = World::new(&until_healed(kill_and_start()), 7, &[]).run();
    let wanted = [
        "0.00 ready",
        "0.00 phase healthy",
        "10.01 kill-2: kill broker 2 [2]",
        "10.01 phase broker 2 down",
        "20.01 start-2: start [2] heals kill-2",
        "20.01 phase recovering",
        "27.00 phase healed",
        "32.00 phase drain",
        "33.00 phase catch-up",
        "34.00 phase audit",
    ];
    assert_eq!(world.story(), wanted);
    assert_eq!(load_end(&world), (32.0, 27.0));
    assert_eq!(world.orders(), ["start-load", "end-load", "drain", "groups", "audit", "finish"]);
    assert_eq!(world.ended(), (End::Complete, Vec::new()));
}

#[test]
fn groups_have_to_be_stable_too() {
    let world = World::new(&until_healed(vec![at("join", 5.0, Action::MemberJoin(member("B")))]), 7, &[]).run();
    // The group settles 3 s after it was joined.
    assert_eq!(load_end(&world), (13.0, 8.0));
    assert_eq!(world.ended(), (End::Complete, Vec::new()));
    // A group that nobody is left in has nothing to settle.
    let world = World::new(&until_healed(vec![at("leave", 5.0, Action::MemberLeave(member("A")))]), 7, &[]).run();
    assert!(load_end(&world).0 < 13.0, "{:?}", load_end(&world));
}

#[test]
fn what_the_timeline_leaves_broken_has_to_be_noticed_and_is_healed_at_the_end() {
    let world = World::new(&until_healed(vec![at("kill-2", 10.0, Action::Kill(Target::Node(2)))]), 7, &[]).run();
    // Fenced after 9 s.
    assert_eq!(load_end(&world), (24.0, 19.0));
    assert!(world.story().contains(&"24.01 settle: start [2] heals kill-2".to_owned()), "{:#?}", world.story());
    assert_eq!((world.ended(), world.broken()), ((End::Complete, Vec::new()), Vec::new()));
}

#[test]
fn what_never_heals_ends_at_the_limit_is_named_and_audited() {
    let world = World::new(&until_healed(kill_and_start()), 7, &[Mute::CatchUp]).run();
    let (end_s, told_s) = load_end(&world);
    assert_eq!((end_s, told_s), (200.01, 200.01), "180 s after the last step");
    let (end, shortfalls) = world.ended();
    assert_eq!(end, End::Complete);
    assert!(matches!(shortfalls[0], Shortfall::NotHealed { load_s, .. } if load_s == 200.01), "{shortfalls:?}");
    assert!(matches!(shortfalls[1], Shortfall::IsrNotFull { .. }) && shortfalls.len() == 2, "{shortfalls:?}");
    let text = shortfalls[0].to_string();
    assert!(text.contains("load ended after 200.01 s") && text.contains("broker 2 is fenced"), "{text}");
    assert!(!shortfalls.iter().any(Shortfall::is_inconclusive), "a finding about the cluster");
    assert!(world.story().iter().any(|line| line.starts_with("200.01 note: load ended after")), "{:#?}", world.story());
    assert!(world.orders().ends_with(&["audit", "finish"]), "{:?}", world.orders());

    let mut limited = until_healed(kill_and_start());
    limited.workload.max_duration_s = Some(25.0);
    let world = World::new(&limited, 7, &[]).run();
    assert_eq!(load_end(&world), (25.0, 25.0));
    assert!(matches!(world.ended().1[..], [Shortfall::NotHealed { .. }]), "{:?}", world.ended());
    // A timeline that is not through then goes on without load, as it does after a duration.
    limited.workload.max_duration_s = Some(15.0);
    let world = World::new(&limited, 7, &[]).run();
    assert_eq!(load_end(&world), (15.0, 15.0));
    assert!(world.story().contains(&"20.01 start-2: start [2] heals kill-2".to_owned()), "{:#?}", world.story());
}

#[test]
fn a_condition_is_waited_for_as_long_after_the_step_before_it() {
    let again = on("stop-1", Condition::IsrFull, Some("start-2"), Action::Stop(Target::Node(1)));
    let mut timeline = kill_and_start();
    timeline.push(again);
    let world = World::new(&until_healed(timeline.clone()), 7, &[Mute::CatchUp]).run();
    let failed = world.story().into_iter().find(|line| line.contains("stop-1 failed")).expect("given up");
    assert!(failed.starts_with("200.01 stop-1 failed: `isr-full` did not hold within 200.01 s"), "{failed}");
    // A step whose time is to come keeps what waits for it waiting.
    let mut late = vec![at("kill-2", 400.0, Action::Kill(Target::Node(2)))];
    late.push(on("start-2", Condition::Fenced { step: "kill-2".into() }, None, Action::Start(Target::Node(2))));
    let world = World::new(&until_healed(late), 7, &[]).run();
    assert!(world.story().iter().any(|line| line.starts_with("409.0") && line.contains("start-2: start")));
    assert_eq!(world.ended(), (End::Complete, Vec::new()));
}

#[test]
fn load_that_ended_by_itself_is_not_told_to() {
    let mut world = World::new(&until_healed(kill_and_start()), 7, &[Mute::LoadEnd]);
    world.inject(12 * S, Event::LoadEnded);
    let world = world.run();
    assert!(!world.orders().contains(&"end-load"), "{:?}", world.orders());
    assert_eq!(world.ended(), (End::Complete, Vec::new()));
    assert!(world.story().contains(&"20.01 start-2: start [2] heals kill-2".to_owned()), "the timeline goes on");
}
