//! Assignors held to what they promise: everything has one owner, counts are even, nothing moves for nothing.

use proptest::prelude::*;

use super::*;

fn topic(nth: u8) -> Uuid {
    [nth + 1; 16]
}

fn spec(topics: &[i32], members: &[(&str, &[u8])]) -> Spec {
    let wants = |of: &[u8]| Subscriber { wants: of.iter().map(|t| topic(*t)).collect(), ..Subscriber::default() };
    Spec {
        topics: (0..).zip(topics).map(|(nth, count)| (topic(nth), *count)).collect(),
        members: members.iter().map(|(id, of)| ((*id).to_owned(), wants(of))).collect(),
    }
}

fn count(parts: &Parts) -> usize {
    parts.values().map(BTreeSet::len).sum()
}

/// Every partition that somebody wants has exactly one owner, who wants it.
fn check_whole(spec: &Spec, assigned: &BTreeMap<String, Parts>) {
    let mut owners: BTreeMap<(Uuid, i32), usize> = BTreeMap::new();
    for (id, parts) in assigned {
        for (topic, partitions) in parts {
            assert!(spec.members[id].wants.contains(topic), "{id} does not want {topic:?}");
            partitions.iter().for_each(|p| *owners.entry((*topic, *p)).or_default() += 1);
        }
    }
    for (topic, partitions) in &spec.topics {
        let wanted = spec.members.values().any(|m| m.wants.contains(topic));
        for partition in 0..*partitions {
            assert_eq!(owners.remove(&(*topic, partition)).unwrap_or(0), usize::from(wanted), "{topic:?}-{partition}");
        }
    }
    assert!(owners.is_empty(), "partitions that are not there: {owners:?}");
}

/// Nobody has a partition that somebody else with at least two fewer wants.
fn check_balanced(spec: &Spec, assigned: &BTreeMap<String, Parts>) {
    for (rich, parts) in assigned {
        for (poor, fewer) in assigned {
            let movable = parts.iter().any(|(t, ps)| !ps.is_empty() && spec.members[poor].wants.contains(t));
            assert!(
                !movable || count(parts) <= count(fewer) + 1,
                "{rich} has {}, {poor} {}",
                count(parts),
                count(fewer)
            );
        }
    }
}

fn with(mut spec: Spec, has: &BTreeMap<String, Parts>) -> Spec {
    for (id, member) in &mut spec.members {
        member.has = has.get(id).cloned().unwrap_or_default();
    }
    spec
}

fn kept(before: &BTreeMap<String, Parts>, after: &BTreeMap<String, Parts>) -> usize {
    let of = |id: &String, topic: &Uuid| after.get(id).and_then(|p| p.get(topic)).cloned().unwrap_or_default();
    before.iter().flat_map(|(id, parts)| parts.iter().map(move |(t, ps)| ps.intersection(&of(id, t)).count())).sum()
}

#[test]
fn range_gives_the_same_partitions_of_topics_that_are_cut_alike() {
    let assigned = assign(RANGE, &spec(&[5, 5], &[("a", &[0, 1]), ("b", &[0, 1])]));
    assert_eq!(assigned["a"], Parts::from([(topic(0), (0..3).collect()), (topic(1), (0..3).collect())]));
    assert_eq!(assigned["b"], Parts::from([(topic(0), (3..5).collect()), (topic(1), (3..5).collect())]));
}

#[test]
fn range_keeps_the_place_of_a_static_member_that_comes_back_under_another_id() {
    let mut one = spec(&[4], &[("b", &[0]), ("z", &[0])]);
    one.members.get_mut("z").expect("there").instance_id = Some("i".to_owned());
    assert_eq!(assign(RANGE, &one)["z"][&topic(0)], BTreeSet::from([0, 1]));
}

#[test]
fn uniform_moves_no_more_than_a_newcomer_needs() {
    let two = spec(&[6], &[("a", &[0]), ("b", &[0])]);
    let before = assign(UNIFORM, &two);
    let three = with(spec(&[6], &[("a", &[0]), ("b", &[0]), ("c", &[0])]), &before);
    let after = assign(UNIFORM, &three);
    assert_eq!((count(&after["a"]), count(&after["b"]), count(&after["c"])), (2, 2, 2));
    assert_eq!(kept(&before, &after), 4);
}

#[test]
fn uniform_gives_the_parts_of_one_that_is_gone_to_the_others_and_moves_nothing_else() {
    let three = spec(&[7, 2], &[("a", &[0, 1]), ("b", &[0, 1]), ("c", &[0, 1])]);
    let before = assign(UNIFORM, &three);
    let mut two = with(spec(&[7, 2], &[("a", &[0, 1]), ("b", &[0, 1])]), &before);
    let after = assign(UNIFORM, &two);
    assert_eq!(kept(&before, &after), count(&before["a"]) + count(&before["b"]));
    two = with(two, &after);
    assert_eq!(assign(UNIFORM, &two), after, "nothing changed, so nothing moves");
}

#[test]
fn a_member_that_wants_nothing_gets_nothing_and_one_that_wants_a_topic_alone_gets_it_all() {
    for name in [UNIFORM, RANGE] {
        let assigned = assign(name, &spec(&[3, 4], &[("a", &[]), ("b", &[0, 1]), ("c", &[0])]));
        assert_eq!((count(&assigned["a"]), count(&assigned["b"]) + count(&assigned["c"])), (0, 7));
        assert_eq!(assigned["b"][&topic(1)].len(), 4);
    }
    assert!(assign(UNIFORM, &Spec::default()).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_partition_is_assigned_once_and_the_counts_are_even(
        topics in prop::collection::vec(0_i32..9, 1..5),
        wants in prop::collection::vec(prop::collection::btree_set(0_u8..5, 0..5), 0..7),
        later in prop::collection::vec(prop::collection::btree_set(0_u8..5, 0..5), 0..7),
    ) {
        let known = u8::try_from(topics.len()).expect("few");
        let make = |wants: &[BTreeSet<u8>], first: usize| {
            let mut spec = spec(&topics, &[]);
            for (nth, of) in wants.iter().enumerate() {
                let wants = of.iter().filter(|t| **t < known).map(|t| topic(*t)).collect();
                spec.members.insert(format!("m{}", nth + first), Subscriber { wants, ..Subscriber::default() });
            }
            spec
        };
        let before = make(&wants, 0);
        let range = assign(RANGE, &before);
        check_whole(&before, &range);
        let first = assign(UNIFORM, &before);
        check_whole(&before, &first);
        check_balanced(&before, &first);
        // Others come and go, and nothing of what was is believed unless it is still right.
        let after = with(make(&later, 2), &first);
        let second = assign(UNIFORM, &after);
        check_whole(&after, &second);
        check_balanced(&after, &second);
        prop_assert_eq!(assign(UNIFORM, &with(after, &second)), second);
    }
}
