//! Committed offsets.

use super::*;

const DAY_MS: i64 = 86_400_000;

#[test]
fn offsets_survive_their_coordinator_and_with_the_flaw_they_do_not() {
    let mut world = World::new();
    let a = world.stable_alone("g");
    assert_eq!(world.commit_offset(commit_of("g", &a, 1, 41)), ErrorCode::NONE);
    assert_eq!(world.commit_offset(commit_of("g", &a, 1, 42)), ErrorCode::NONE);
    world.fail_over();
    assert_eq!(world.offset_of("g"), 42);
    world.flaws.forget_group_offsets = true;
    world.fail_over();
    assert_eq!(world.offset_of("g"), -1);
    world.flaws = Flaws { begin_beyond_commit: true, ..Flaws::default() };
    world.fail_over();
    assert_eq!(world.offset_of("g"), 45, "whoever goes on there leaves three out");
}

#[test]
fn nobody_outside_the_generation_commits() {
    let mut world = World::new();
    let a = world.stable_alone("g");
    for (member, generation, error) in [
        (a.as_str(), 2, ErrorCode::ILLEGAL_GENERATION),
        (a.as_str(), 0, ErrorCode::ILLEGAL_GENERATION),
        ("other", 1, ErrorCode::UNKNOWN_MEMBER_ID),
        ("", -1, ErrorCode::UNKNOWN_MEMBER_ID),
    ] {
        assert_eq!(world.commit_offset(commit_of("g", member, generation, 9)), error, "{member} {generation}");
    }
    assert_eq!(world.offset_of("g"), -1);
    assert_eq!(world.commit_offset(commit_of("nobody", "m", 1, 9)), ErrorCode::ILLEGAL_GENERATION);
}

#[test]
fn who_is_no_member_commits_to_a_group_without_members() {
    let mut world = World::new();
    assert_eq!(world.commit_offset(commit_of("tool", "", -1, 7)), ErrorCode::NONE);
    assert_eq!((world.offset_of("tool"), world.state_of("tool").as_str()), (7, "Empty"));
    world.fail_over();
    assert_eq!(world.offset_of("tool"), 7);
    assert_eq!(world.commit_offset(commit_of("tool", "", -1, 3)), ErrorCode::NONE, "it may set it back");
    assert_eq!(world.offset_of("tool"), 3);
}

#[test]
fn of_an_unknown_group_the_offset_is_minus_one_and_that_is_no_error() {
    assert_eq!(World::new().offset_of("never heard of"), -1);
}

#[test]
fn offsets_of_several_groups_are_told_together_in_the_order_asked() {
    let mut world = World::new();
    for (nth, group) in (1..).zip(["a", "b", "c"]) {
        world.commit_offset(commit_of(group, "", -1, nth));
    }
    let all =
        |group: &str| OffsetFetchGroup { group_id: group.to_owned(), member_id: None, member_epoch: -1, topics: None };
    let groups = ["c", "none", "a"].map(all).to_vec();
    let fetch = GroupRequest::OffsetFetch(OffsetFetch { groups, require_stable: false });
    let GroupAnswer::OffsetFetch(told) = world.get(fetch) else { panic!("not offsets") };
    let ids: Vec<&str> = told.iter().map(|g| g.group_id.as_str()).collect();
    assert_eq!(ids, ["c", "none", "a"]);
    let offset = &told[0].topics[0].1[0];
    assert_eq!((offset.offset, offset.leader_epoch, offset.metadata.as_str()), (3, 3, "m"));
    assert!(told[1].topics.is_empty());
}

#[test]
fn what_cannot_be_committed_is_refused_by_partition_and_the_rest_is_taken() {
    let mut world = World::new();
    let mut commit = commit_of("g", "", -1, 5);
    let new = |partition, metadata: String| NewOffset { partition, offset: 1, leader_epoch: -1, metadata };
    commit.topics[0].1.push(new(1, "x".repeat(4_097)));
    commit.topics[0].1.push(new(4, String::new()));
    commit.topics.push(("nowhere".to_owned(), vec![new(0, String::new())]));
    let GroupAnswer::OffsetCommit(answer) = world.get(GroupRequest::OffsetCommit(commit)) else { panic!() };
    let errors: Vec<ErrorCode> = answer.topics.iter().flat_map(|(_, ps)| ps.iter().map(|(_, e)| *e)).collect();
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(errors, [ErrorCode::NONE, ErrorCode::OFFSET_METADATA_TOO_LARGE, unknown, unknown]);
    assert_eq!(world.offset_of("g"), 5);
}

#[test]
fn offsets_are_kept_while_the_group_lives_and_for_seven_days_afterwards() {
    let mut world = World::new();
    let a = world.stable_alone("g");
    world.commit_offset(commit_of("g", &a, 1, 5));
    let leave = LeaveGroup { group_id: "g".to_owned(), members: vec![(a, None)] };
    world.get(GroupRequest::LeaveGroup(leave));
    world.pass_ms(7 * DAY_MS - 600_000);
    assert_eq!(world.offset_of("g"), 5);
    world.pass_ms(1_200_000);
    assert_eq!(world.offset_of("g"), -1);
    world.fail_over();
    assert!(world.groups.is_empty(), "the group went with its last offset");
}

#[test]
fn an_old_client_says_how_long_its_offsets_are_kept() {
    let mut world = World::new();
    world.commit_offset(OffsetCommit { retention_time_ms: Some(1_200_000), ..commit_of("old", "", -1, 5) });
    world.fail_over();
    world.pass_ms(600_000);
    assert_eq!(world.offset_of("old"), 5);
    world.pass_ms(1_200_000);
    assert_eq!(world.offset_of("old"), -1);
}

#[test]
fn an_offset_is_deleted_on_request_and_when_its_topic_goes() {
    let mut world = World::new();
    world.commit_offset(commit_of("a", "", -1, 5));
    world.commit_offset(commit_of("b", "", -1, 6));
    let topics = vec![("orders".to_owned(), vec![0, 9])];
    let delete = GroupRequest::OffsetDelete(OffsetDelete { group_id: "a".to_owned(), topics: topics.clone() });
    let errors = vec![(0, ErrorCode::NONE), (9, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)];
    let deleted = OffsetDeleteAnswer { error: ErrorCode::NONE, topics: vec![("orders".to_owned(), errors)] };
    assert_eq!(world.get(delete), GroupAnswer::OffsetDelete(deleted));
    assert_eq!((world.offset_of("a"), world.offset_of("b")), (-1, 6));
    let delete = GroupRequest::OffsetDelete(OffsetDelete { group_id: "none".to_owned(), topics });
    let none = OffsetDeleteAnswer { error: ErrorCode::GROUP_ID_NOT_FOUND, topics: Vec::new() };
    assert_eq!(world.get(delete), GroupAnswer::OffsetDelete(none));
    let at = At { now: world.now, topics: &world.topics };
    world.groups.topics_deleted(&["orders".to_owned()], at);
    world.settle();
    world.fail_over();
    assert_eq!(world.offset_of("b"), -1);
}
