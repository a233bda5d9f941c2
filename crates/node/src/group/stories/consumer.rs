//! Groups of the new protocol (KIP-848).

use std::collections::BTreeSet;

use super::classic::joining;
use super::*;
use crate::group::consumer::{MemberView, Parts, each};
use crate::group::records::Group;

pub(super) fn join_of(group: &str, member: &str) -> GroupRequest {
    GroupRequest::ConsumerGroupHeartbeat(joins(group, member))
}

pub(super) fn joins(group: &str, member: &str) -> ConsumerGroupHeartbeat {
    ConsumerGroupHeartbeat {
        client: Client { id: "app".to_owned(), host: "/127.0.0.1".to_owned() },
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch: 0,
        rebalance_timeout_ms: Some(30_000),
        subscribed_topics: Some(vec!["orders".to_owned()]),
        owned: Some(Vec::new()),
        member_chooses_id: true,
        ..ConsumerGroupHeartbeat::default()
    }
}

pub(super) fn beat_of(group: &str, member: &str, epoch: i32) -> GroupRequest {
    GroupRequest::ConsumerGroupHeartbeat(beats(group, member, epoch, None))
}

pub(super) fn beats(group: &str, member: &str, epoch: i32, owned: Option<PartitionsById>) -> ConsumerGroupHeartbeat {
    ConsumerGroupHeartbeat {
        client: Client { id: "app".to_owned(), host: "/127.0.0.1".to_owned() },
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch: epoch,
        owned,
        member_chooses_id: true,
        ..ConsumerGroupHeartbeat::default()
    }
}

/// A group's epoch, that of its target, and its members.
pub(super) type View = (i32, i32, BTreeMap<String, MemberView>);

impl World {
    fn tell(&mut self, beat: ConsumerGroupHeartbeat) -> ConsumerGroupHeartbeatAnswer {
        match self.get(GroupRequest::ConsumerGroupHeartbeat(beat)) {
            GroupAnswer::ConsumerGroupHeartbeat(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn view(&self, group: &str) -> View {
        let partition = partition_for(group, OFFSETS_PARTITIONS).expect("there");
        match self.groups.shards.get(&partition).and_then(|shard| shard.group(group)) {
            Some(Group::Consumer(group)) => group.view(),
            _ => (0, 0, BTreeMap::new()),
        }
    }

    fn orders(&self, partitions: &[i32]) -> PartitionsById {
        if partitions.is_empty() { Vec::new() } else { vec![(self.topics.id("orders"), partitions.to_vec())] }
    }
}

#[test]
fn the_second_member_gets_its_part_only_after_the_first_has_let_it_go() {
    let mut world = World::new();
    let a = world.tell(joins("g", "a"));
    assert_eq!((a.error, a.member_epoch, a.heartbeat_interval_ms), (ErrorCode::NONE, 1, 5_000));
    assert_eq!(a.assignment, Some(world.orders(&[0, 1, 2, 3])));
    world.pass_ms(2_000);
    let b = world.tell(joins("g", "b"));
    assert_eq!((b.member_epoch, b.assignment), (2, Some(Vec::new())), "nothing is free");
    // a is told to let go and stays in its epoch until it says that it did.
    let told = world.tell(beats("g", "a", 1, None));
    assert_eq!((told.member_epoch, told.assignment), (1, Some(world.orders(&[0, 1]))));
    assert_eq!(world.tell(beats("g", "b", 2, None)).assignment, None);
    let told = world.tell(beats("g", "a", 1, Some(world.orders(&[0, 1, 2, 3]))));
    assert_eq!((told.member_epoch, told.assignment), (1, None), "it has not let go");
    assert_eq!(world.state_of("g"), "Reconciling");
    let told = world.tell(beats("g", "a", 1, Some(world.orders(&[0, 1]))));
    assert_eq!((told.member_epoch, told.assignment), (2, None));
    let told = world.tell(beats("g", "b", 2, None));
    assert_eq!((told.member_epoch, told.assignment), (2, Some(world.orders(&[2, 3]))));
    assert_eq!(world.state_of("g"), "Stable");
}

#[test]
fn with_the_flaw_of_double_ownership_it_gets_its_part_at_once() {
    let flaws = Flaws { double_ownership: true, ..Flaws::default() };
    let mut world = World::with(Settings::default(), flaws);
    world.tell(joins("g", "a"));
    world.pass_ms(2_000);
    assert_eq!(world.tell(joins("g", "b")).assignment, Some(world.orders(&[2, 3])));
}

#[test]
fn what_a_member_leaves_behind_goes_to_the_others() {
    let mut world = World::new();
    world.tell(joins("g", "a"));
    world.pass_ms(2_000);
    world.tell(joins("g", "b"));
    let left = world.tell(beats("g", "a", -1, None));
    assert_eq!((left.error, left.member_epoch), (ErrorCode::NONE, -1));
    world.pass_ms(2_000);
    let told = world.tell(beats("g", "b", 2, None));
    assert_eq!((told.member_epoch, told.assignment), (3, Some(world.orders(&[0, 1, 2, 3]))));
    assert_eq!(world.tell(beats("g", "a", 1, None)).error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_crashed_member_is_fenced_when_its_session_is_over() {
    let mut world = World::new();
    world.tell(joins("g", "a"));
    world.pass_ms(2_000);
    world.tell(joins("g", "b"));
    let mut epoch = 2;
    for _ in 0..9 {
        world.pass_ms(5_000);
        epoch = world.tell(beats("g", "b", epoch, None)).member_epoch;
    }
    assert_eq!(world.view("g").2["b"].1, Parts::from([(world.topics.id("orders"), (0..4).collect())]));
    assert_eq!(world.tell(beats("g", "a", 1, None)).error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_that_does_not_let_go_in_time_is_fenced_though_it_beats() {
    let mut world = World::new();
    world.tell(joins("g", "a"));
    world.pass_ms(2_000);
    world.tell(joins("g", "b"));
    let all = world.orders(&[0, 1, 2, 3]);
    for _ in 0..6 {
        assert_eq!(world.tell(beats("g", "a", 1, Some(all.clone()))).error, ErrorCode::NONE);
        world.pass_ms(5_000);
    }
    assert_eq!(world.tell(beats("g", "a", 1, Some(all))).error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_that_missed_its_answer_is_believed_and_one_that_is_far_off_is_fenced() {
    let mut world = World::new();
    world.tell(joins("g", "a"));
    world.topics.set("orders", 5);
    world.pass_ms(2_000);
    let told = world.tell(beats("g", "a", 1, None));
    assert_eq!((told.member_epoch, told.assignment), (2, Some(world.orders(&[0, 1, 2, 3, 4]))));
    // The answer was lost: it says the epoch before, and what it owned then.
    let told = world.tell(beats("g", "a", 1, Some(world.orders(&[0, 1, 2, 3]))));
    assert_eq!((told.error, told.member_epoch), (ErrorCode::NONE, 2));
    assert_eq!(world.tell(beats("g", "a", 7, None)).error, ErrorCode::FENCED_MEMBER_EPOCH);
    assert_eq!(world.tell(beats("g", "a", 1, None)).error, ErrorCode::FENCED_MEMBER_EPOCH);
    assert_eq!(world.tell(joins("g", "a")).assignment, Some(world.orders(&[0, 1, 2, 3, 4])), "it may join again");
}

#[test]
fn a_static_member_that_is_away_for_a_while_finds_its_partitions_again() {
    let mut world = World::new();
    let fixed = |member: &str| ConsumerGroupHeartbeat { instance_id: Some("i".into()), ..joins("g", member) };
    world.tell(fixed("a"));
    assert_eq!(world.tell(fixed("b")).error, ErrorCode::UNRELEASED_INSTANCE_ID);
    let away = ConsumerGroupHeartbeat { instance_id: Some("i".into()), ..beats("g", "a", -2, None) };
    assert_eq!(world.tell(away).member_epoch, -2);
    let epoch = world.view("g").0;
    world.pass_ms(20_000);
    let back = world.tell(fixed("b"));
    assert_eq!((back.error, back.assignment), (ErrorCode::NONE, Some(world.orders(&[0, 1, 2, 3]))));
    assert_eq!(world.view("g").0, epoch, "nobody else had to move");
    let old = ConsumerGroupHeartbeat { instance_id: Some("i".into()), ..beats("g", "a", 1, None) };
    assert_eq!(world.tell(old).error, ErrorCode::FENCED_INSTANCE_ID);
    world.fail_over();
    assert_eq!(world.view("g").2.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn topics_that_come_and_grow_are_assigned_at_the_next_heartbeat() {
    let mut world = World::new();
    let both = Some(vec!["later".to_owned(), "orders".to_owned()]);
    world.tell(ConsumerGroupHeartbeat { subscribed_topics: both, ..joins("g", "a") });
    world.topics.set("unrelated", 9);
    world.pass_ms(2_000);
    assert_eq!(world.tell(beats("g", "a", 1, None)).member_epoch, 1, "a topic that nobody reads moves nothing");
    world.topics.set("later", 1);
    let told = world.tell(beats("g", "a", 1, None));
    let later = (world.topics.id("later"), vec![0]);
    assert_eq!(told.member_epoch, 2);
    assert!(told.assignment.expect("it changed").contains(&later));
}

#[test]
fn assignments_are_not_computed_more_often_than_the_interval_allows() {
    let mut world = World::new();
    world.tell(joins("g", "a"));
    world.pass_ms(400);
    let b = world.tell(joins("g", "b"));
    assert_eq!(world.view("g").0, 2);
    assert_eq!((world.view("g").1, b.member_epoch), (1, 1), "the target is still that of the first epoch");
    world.pass_ms(600);
    assert_eq!(world.view("g").1, 2, "time alone brought it up to date");
    assert_eq!(world.tell(beats("g", "b", 1, None)).member_epoch, 2);
}

#[test]
fn a_group_survives_its_coordinator_in_the_middle_of_a_rebalance() {
    let mut world = World::new();
    world.tell(joins("g", "a"));
    world.pass_ms(2_000);
    world.tell(joins("g", "b"));
    world.tell(beats("g", "a", 1, None));
    let before = world.view("g");
    world.fail_over();
    assert_eq!(world.view("g"), before);
    world.pass_ms(29_000);
    assert_eq!(world.tell(beats("g", "a", 1, Some(world.orders(&[0, 1])))).member_epoch, 2);
    assert_eq!(world.tell(beats("g", "b", 2, None)).assignment, Some(world.orders(&[2, 3])));
}

#[test]
fn members_commit_in_their_epoch_only() {
    let mut world = World::new();
    world.tell(joins("g", "a"));
    assert_eq!(world.commit_offset(commit_of("g", "a", 1, 5)), ErrorCode::NONE);
    assert_eq!(world.commit_offset(commit_of("g", "a", 0, 6)), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(world.commit_offset(commit_of("g", "z", 1, 6)), ErrorCode::UNKNOWN_MEMBER_ID);
    let old = OffsetCommit { knows_member_epochs: false, ..commit_of("g", "a", 1, 6) };
    assert_eq!(world.commit_offset(old), ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(world.offset_of("g"), 5);
    let asks = |member_epoch| {
        let member_id = Some("a".to_owned());
        let one = OffsetFetchGroup { group_id: "g".to_owned(), member_id, member_epoch, topics: None };
        GroupRequest::OffsetFetch(OffsetFetch { groups: vec![one], require_stable: false })
    };
    for (epoch, error) in [(1, ErrorCode::NONE), (2, ErrorCode::STALE_MEMBER_EPOCH)] {
        let GroupAnswer::OffsetFetch(groups) = world.get(asks(epoch)) else { panic!("not offsets") };
        assert_eq!(groups[0].error, error);
    }
}

#[test]
fn a_heartbeat_that_makes_no_sense_is_refused_with_its_reason() {
    let mut world = World::new();
    let change = |change: fn(&mut ConsumerGroupHeartbeat)| {
        let mut beat = joins("g", "a");
        change(&mut beat);
        beat
    };
    for (beat, error) in [
        (change(|b| b.group_id = " ".into()), ErrorCode::INVALID_REQUEST),
        (change(|b| b.member_id = String::new()), ErrorCode::INVALID_REQUEST),
        (change(|b| b.owned = None), ErrorCode::INVALID_REQUEST),
        (change(|b| b.rebalance_timeout_ms = None), ErrorCode::INVALID_REQUEST),
        (change(|b| b.subscribed_topics = None), ErrorCode::INVALID_REQUEST),
        (change(|b| b.member_epoch = -3), ErrorCode::INVALID_REQUEST),
        (change(|b| b.member_epoch = -2), ErrorCode::INVALID_REQUEST),
        (change(|b| b.instance_id = Some(String::new())), ErrorCode::INVALID_REQUEST),
        (change(|b| b.server_assignor = Some("mine".into())), ErrorCode::UNSUPPORTED_ASSIGNOR),
        (change(|b| b.subscribed_regex = Some("ord.*".into())), ErrorCode::INVALID_REGULAR_EXPRESSION),
        (change(|b| b.member_epoch = 3), ErrorCode::GROUP_ID_NOT_FOUND),
    ] {
        let answer = world.tell(beat);
        assert_eq!(answer.error, error, "{:?}", answer.message);
        assert!(answer.message.is_some_and(|why| !why.is_empty()));
    }
    assert!(world.groups.is_empty());
}

#[test]
fn an_empty_group_may_change_its_protocol_and_one_with_members_may_not() {
    let mut world = World::new();
    let a = world.stable_alone("g");
    world.commit_offset(commit_of("g", &a, 1, 5));
    assert_eq!(world.tell(joins("g", "c")).error, ErrorCode::GROUP_ID_NOT_FOUND);
    world.get(GroupRequest::LeaveGroup(LeaveGroup { group_id: "g".into(), members: vec![(a, None)] }));
    assert_eq!(world.tell(joins("g", "c")).member_epoch, 1);
    assert_eq!(world.offset_of("g"), 5, "offsets stay");
    let token = world.ask(joining("g", "", None));
    assert_eq!(answer_of!(world, token, JoinGroup).error, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    world.fail_over();
    assert_eq!(world.view("g").0, 1);
    world.tell(beats("g", "c", -1, None));
    world.stable_alone("g");
    world.fail_over();
    assert_eq!((world.state_of("g").as_str(), world.offset_of("g")), ("Stable", 5));
}

#[test]
fn a_change_of_protocol_that_could_not_be_written_leaves_the_group_of_the_old_kind() {
    let mut world = World::new();
    let a = world.stable_alone("g");
    world.get(GroupRequest::LeaveGroup(LeaveGroup { group_id: "g".into(), members: vec![(a, None)] }));
    world.refuses = Some(ErrorCode::NOT_ENOUGH_REPLICAS);
    assert_eq!(world.tell(joins("g", "c")).error, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    world.refuses = None;
    let GroupAnswer::DescribeGroups(seen) = world.get(GroupRequest::DescribeGroups { groups: vec!["g".into()] }) else {
        panic!("not a description")
    };
    assert_eq!((seen[0].error, seen[0].state), (ErrorCode::NONE, "Empty"));
}

#[test]
fn who_joins_an_empty_group_of_the_other_kind_is_answered_though_the_change_could_not_be_written() {
    let mut world = World::new();
    world.tell(joins("g", "c"));
    world.tell(beats("g", "c", -1, None));
    world.refuses = Some(ErrorCode::NOT_ENOUGH_REPLICAS);
    let token = world.ask(joining("g", "", Some("i")));
    assert_eq!(answer_of!(world, token, JoinGroup).error, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    world.refuses = None;
    assert_eq!(world.view("g").0, 2, "it is the consumer group that it was");
    world.stable_alone("g");
}

#[test]
fn tools_see_what_each_member_has_and_is_to_have() {
    let mut world = World::new();
    let range = Some("range".to_owned());
    world.tell(ConsumerGroupHeartbeat { server_assignor: range, ..joins("g", "a") });
    world.pass_ms(2_000);
    world.tell(joins("g", "b"));
    let groups = vec!["g".to_owned(), "none".to_owned()];
    let GroupAnswer::ConsumerGroupDescribe(seen) = world.get(GroupRequest::ConsumerGroupDescribe { groups }) else {
        panic!("not a description")
    };
    let group = &seen[0];
    assert_eq!((group.state, group.group_epoch, group.assignment_epoch), ("Reconciling", 2, 2));
    assert_eq!(group.assignor, "range");
    let of = |nth: usize| (&group.members[nth].assignment, &group.members[nth].target[0].partitions);
    assert_eq!((of(0).0[0].partitions.len(), of(0).1.as_slice()), (4, &[0, 1][..]));
    assert_eq!((of(1).0.len(), of(1).1.as_slice()), (0, &[2, 3][..]));
    assert_eq!(group.members[1].target[0].topic, "orders");
    assert_eq!(seen[1].error, ErrorCode::GROUP_ID_NOT_FOUND);
    let owners: BTreeSet<_> = world.view("g").2.values().flat_map(|m| each(&m.1).collect::<Vec<_>>()).collect();
    assert_eq!(owners.len(), 4);
}
