//! Links are slowed, cut and mended: the engine is always told the whole.

use metricstream_run::conductor::{Action, End, LinkKind, LinkRule, Party};
use metricstream_scenario::{Action as Do, Condition, IsolatedFrom, Side, Target};

use crate::world::{World, at, leader_of, on, three_brokers};

fn slow(a: Side, b: Side, delay_ms: f64) -> Do {
    Do::SlowLink { between: vec![a, b], delay_ms, jitter_ms: 0.0, kb_per_s: Some(2.0) }
}

fn node(id: i32) -> Side {
    Side::Nodes(Target::Node(id))
}

/// What the engine was told, in order.
fn told(world: &World) -> Vec<(&str, LinkKind, &[LinkRule])> {
    let links = |(_, action): &'_ (i64, Action)| matches!(action, Action::Links { .. });
    let told = world.actions.iter().filter(|entry| links(entry));
    told.filter_map(|(_, action)| match action {
        Action::Links { step, kind, rules } => Some((step.as_str(), *kind, rules.as_slice())),
        _ => None,
    })
    .collect()
}

#[test]
fn a_leader_that_is_isolated_from_nodes_is_fenced_and_mended_by_its_step() {
    let cut = Do::Isolate { target: leader_of(0), from: IsolatedFrom::Nodes };
    let mend = Do::Mend { step: Some("cut".into()) };
    let fenced = Condition::Fenced { step: "cut".into() };
    let world = World::new(&three_brokers(vec![at("cut", 5.0, cut), on("mend", fenced, None, mend)]), 1, &[]).run();
    assert_eq!(world.ended(), (End::Complete, Vec::new()));
    let told = told(&world);
    assert_eq!(
        told.iter().map(|(step, kind, _)| (*step, *kind)).collect::<Vec<_>>(),
        [("cut", LinkKind::Isolate), ("mend", LinkKind::Mend)]
    );
    let pairs: Vec<(Party, Party)> = told[0].2.iter().map(|rule| (rule.from, rule.to)).collect();
    let of = |from, to| (Party::Node(from), Party::Node(to));
    assert_eq!(pairs, [of(1, 2), of(1, 3), of(2, 1), of(3, 1)], "clients still reach it");
    assert!(told[0].2.iter().all(|rule| rule.cut) && told[1].2.is_empty());
    let story = world.story();
    assert!(story.contains(&"5.01 cut: isolate leader of metrics-0 = broker 1 [1], active controller".to_owned()));
    assert!(story.contains(&"5.01 phase broker 1 cut off".to_owned()), "{story:#?}");
    assert!(story.contains(&"14.01 mend: mend [1] heals cut".to_owned()), "{story:#?}");
}

#[test]
fn what_one_step_did_stays_when_another_is_undone_and_the_end_mends_the_rest() {
    let groups = vec![vec![node(3)], vec![Side::Others, Side::Clients]];
    let timeline = vec![
        at("zones", 0.0, slow(node(3), Side::Clients, 3.0)),
        at("slower", 1.0, slow(Side::Clients, node(3), 5.0)),
        at("cut", 5.0, Do::Partition { groups }),
        at("mend", 8.0, Do::Mend { step: Some("cut".into()) }),
        at("quick", 9.0, Do::Mend { step: Some("zones".into()) }),
        at("cut-2", 20.0, Do::Isolate { target: Target::Node(2), from: IsolatedFrom::All }),
    ];
    let world = World::new(&three_brokers(timeline), 1, &[]).run();
    assert_eq!(world.ended(), (End::Complete, Vec::new()));
    let told = told(&world);
    let to_clients = |rules: &[LinkRule]| {
        *rules.iter().find(|rule| (rule.from, rule.to) == (Party::Node(3), Party::Clients)).expect("a rule")
    };
    let slow = LinkRule {
        from: Party::Node(3),
        to: Party::Clients,
        cut: false,
        delay_us: 5_000,
        jitter_us: 0,
        bytes_per_s: Some(2_048),
    };
    assert_eq!(to_clients(told[1].2), slow, "the slowest counts");
    assert_eq!(to_clients(told[2].2), LinkRule { cut: true, ..slow });
    assert_eq!(told[2].2.len(), 6, "3 to and from 1, 2 and clients");
    assert_eq!(to_clients(told[3].2), slow, "mended, and slow as before");
    let last = told.last().expect("the end");
    assert_eq!((last.0, last.1, last.2.len()), ("settle/mend", LinkKind::Mend, 2), "slow links are how the cluster is");
    assert_eq!(to_clients(last.2), slow);
    let story = world.story();
    let cut = "5.01 cut: partition broker 3 | others, clients = broker 3 | brokers 1,2 + clients [3]";
    assert!(story.contains(&cut.to_owned()), "{story:#?}");
    assert!(story.iter().any(|line| line.ends_with("quick: mend-slow [] heals zones")), "{story:#?}");
    assert!(story.iter().any(|line| line.ends_with("settle: mend [2] heals cut-2")), "{story:#?}");
    assert!(!story.iter().any(|line| line.contains("slow") && line.contains("phase")), "slow is not broken");
}

#[test]
fn ends_that_overlap_or_are_empty_when_the_step_is_due_fail_it_with_the_reason() {
    let overlap = vec![vec![node(1)], vec![Side::Nodes(leader_of(0))]];
    let nobody = vec![vec![Side::Nodes(Target::EveryBroker)], vec![Side::Others]];
    let timeline = vec![
        at("overlap", 1.0, Do::Partition { groups: overlap }),
        at("nobody", 2.0, Do::Partition { groups: nobody }),
        at("mended", 3.0, Do::Isolate { target: Target::Node(2), from: IsolatedFrom::All }),
        at("mend", 4.0, Do::Mend { step: None }),
        at("again", 5.0, Do::Mend { step: Some("mended".into()) }),
    ];
    let world = World::new(&three_brokers(timeline), 1, &[]).run();
    let (_, shortfalls) = world.ended();
    let texts: Vec<String> = shortfalls.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3, "{texts:#?}");
    assert!(texts[0].contains("broker 1 would be at both ends"), "{texts:#?}");
    assert!(texts[1].contains("there are no others"), "{texts:#?}");
    assert!(texts[2].contains("nothing that `mended` did"), "{texts:#?}");
    assert!(shortfalls.iter().all(metricstream_run::conductor::Shortfall::is_inconclusive));
}
