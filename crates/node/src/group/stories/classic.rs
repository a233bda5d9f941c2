//! Groups of the classic protocol.

use super::*;

impl World {
    /// A member asks to join as clients since KIP-394 do. Gives its id and the parked request.
    pub(super) fn join_new(&mut self, group: &str) -> (String, Token) {
        let asked = self.ask(joining(group, "", None));
        let answer = answer_of!(self, asked, JoinGroup);
        assert_eq!(answer.error, ErrorCode::MEMBER_ID_REQUIRED);
        let token = self.ask(joining(group, &answer.member_id, None));
        (answer.member_id, token)
    }

    fn beat(&mut self, group: &str, member: &str, generation: i32) -> ErrorCode {
        let beat =
            Heartbeat { group_id: group.to_owned(), generation, member_id: member.to_owned(), instance_id: None };
        match self.get(GroupRequest::Heartbeat(beat)) {
            GroupAnswer::Heartbeat(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, group: &str, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let members = members.iter().map(|(id, i)| ((*id).to_owned(), i.map(str::to_owned))).collect();
        match self.get(GroupRequest::LeaveGroup(LeaveGroup { group_id: group.to_owned(), members })) {
            GroupAnswer::LeaveGroup(answer) => answer.members.into_iter().map(|(_, _, error)| error).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// One member that is stable alone, in generation 1.
    pub(super) fn stable_alone(&mut self, group: &str) -> String {
        let (id, token) = self.join_new(group);
        self.pass_ms(3_000);
        let joined = answer_of!(self, token, JoinGroup);
        assert_eq!((joined.error, joined.generation, joined.leader.as_str()), (ErrorCode::NONE, 1, id.as_str()));
        let token = self.ask(syncing(group, &id, 1, &[(&id, "all")]));
        assert_eq!(answer_of!(self, token, SyncGroup).assignment, bytes("all"));
        id
    }
}

pub(super) fn joining(group: &str, member: &str, instance: Option<&str>) -> GroupRequest {
    GroupRequest::JoinGroup(JoinGroup {
        client: Client { id: "app".to_owned(), host: "/127.0.0.1".to_owned() },
        group_id: group.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member.to_owned(),
        instance_id: instance.map(str::to_owned),
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), bytes(member))],
        require_known_member_id: instance.is_none() && member.is_empty(),
        supports_skipping_assignment: true,
    })
}

pub(super) fn syncing(group: &str, member: &str, generation: i32, assignments: &[(&str, &str)]) -> GroupRequest {
    GroupRequest::SyncGroup(SyncGroup {
        group_id: group.to_owned(),
        generation,
        member_id: member.to_owned(),
        instance_id: None,
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: assignments.iter().map(|(id, part)| ((*id).to_owned(), bytes(part))).collect(),
    })
}

#[test]
fn two_members_join_sync_and_beat_and_when_one_leaves_the_other_forms_a_new_generation() {
    let mut world = World::new();
    let (a, joining_a) = world.join_new("g");
    world.pass_ms(1_000);
    let (b, joining_b) = world.join_new("g");
    world.pass_ms(1_999);
    assert!(!world.is_answered(joining_a), "the group waits three seconds for more");
    world.pass_ms(3_001);
    let (of_a, of_b) = (answer_of!(world, joining_a, JoinGroup), answer_of!(world, joining_b, JoinGroup));
    assert_eq!((of_a.generation, of_a.members.len(), of_a.leader.as_str()), (1, 2, a.as_str()));
    assert_eq!((of_b.generation, of_b.members.len(), of_b.leader.as_str()), (1, 0, a.as_str()));
    assert_eq!(of_a.protocol_name.as_deref(), Some("range"));

    let sync_b = world.ask(syncing("g", &b, 1, &[]));
    assert!(!world.is_answered(sync_b), "the leader has not assigned");
    let sync_a = world.ask(syncing("g", &a, 1, &[(&a, "0,1"), (&b, "2,3")]));
    assert_eq!(answer_of!(world, sync_a, SyncGroup).assignment, bytes("0,1"));
    assert_eq!(answer_of!(world, sync_b, SyncGroup).assignment, bytes("2,3"));
    assert_eq!((world.beat("g", &a, 1), world.beat("g", &b, 1)), (ErrorCode::NONE, ErrorCode::NONE));
    assert_eq!(world.state_of("g"), "Stable");

    assert_eq!(world.leave("g", &[(&a, None)]), [ErrorCode::NONE]);
    assert_eq!(world.beat("g", &b, 1), ErrorCode::REBALANCE_IN_PROGRESS);
    let joining_b = world.ask(joining("g", &b, None));
    let of_b = answer_of!(world, joining_b, JoinGroup);
    assert_eq!((of_b.generation, of_b.leader.as_str(), of_b.members.len()), (2, b.as_str(), 1));
    assert_eq!(world.beat("g", &a, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.beat("g", &b, 1), ErrorCode::ILLEGAL_GENERATION);
}

#[test]
fn a_crash_is_noticed_when_the_session_is_over() {
    let mut world = World::new();
    let a = world.stable_alone("g");
    let (b, joining_b) = world.join_new("g");
    assert_eq!(world.beat("g", &a, 1), ErrorCode::REBALANCE_IN_PROGRESS);
    let joining_a = world.ask(joining("g", &a, None));
    assert_eq!(answer_of!(world, joining_a, JoinGroup).generation, 2);
    assert_eq!(answer_of!(world, joining_b, JoinGroup).generation, 2);
    let sync_b = world.ask(syncing("g", &b, 2, &[]));
    world.ask(syncing("g", &a, 2, &[(&a, "0"), (&b, "1")]));
    assert_eq!(answer_of!(world, sync_b, SyncGroup).assignment, bytes("1"));
    // From here on b is silent.
    for _ in 0..3 {
        world.pass_ms(3_000);
        assert_eq!(world.beat("g", &a, 2), ErrorCode::NONE);
    }
    world.pass_ms(1_000);
    assert_eq!(world.beat("g", &a, 2), ErrorCode::REBALANCE_IN_PROGRESS);
    let joining_a = world.ask(joining("g", &a, None));
    assert_eq!(answer_of!(world, joining_a, JoinGroup).members.len(), 1);
    assert_eq!(world.commit_offset(commit_of("g", &b, 2, 9)), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn cooperative_members_rebalance_twice_and_keep_reading_in_between() {
    let mut world = World::new();
    let a = world.stable_alone("g");
    let (b, joining_b) = world.join_new("g");
    let joining_a = world.ask(joining("g", &a, None));
    let (of_a, _) = (answer_of!(world, joining_a, JoinGroup), answer_of!(world, joining_b, JoinGroup));
    assert_eq!(of_a.members.len(), 2);
    // First a only lets go, and commits what it has read.
    let sync_b = world.ask(syncing("g", &b, 2, &[]));
    world.ask(syncing("g", &a, 2, &[(&a, "0"), (&b, "")]));
    assert_eq!(answer_of!(world, sync_b, SyncGroup).assignment, bytes(""));
    assert_eq!(world.commit_offset(commit_of("g", &a, 2, 5)), ErrorCode::NONE);
    // Then it joins again, and b is given what is free. Being the leader its join starts a rebalance.
    let joining_a = world.ask(joining("g", &a, None));
    assert_eq!(world.commit_offset(commit_of("g", &b, 2, 6)), ErrorCode::NONE, "joining members may still commit");
    let joining_b = world.ask(joining("g", &b, None));
    assert_eq!(answer_of!(world, joining_a, JoinGroup).generation, 3);
    assert_eq!(answer_of!(world, joining_b, JoinGroup).generation, 3);
    assert_eq!(world.commit_offset(commit_of("g", &a, 3, 7)), ErrorCode::REBALANCE_IN_PROGRESS, "not yet assigned");
    let sync_b = world.ask(syncing("g", &b, 3, &[]));
    world.ask(syncing("g", &a, 3, &[(&a, "0"), (&b, "1")]));
    assert_eq!(answer_of!(world, sync_b, SyncGroup).assignment, bytes("1"));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_former_self() {
    let mut world = World::new();
    let token = world.ask(joining("g", "", Some("i")));
    world.pass_ms(3_000);
    let first = answer_of!(world, token, JoinGroup);
    world.ask(syncing("g", &first.member_id, 1, &[(&first.member_id, "all")]));
    // It restarts: the bytes of its metadata are the same, its id is not known to it.
    let again = world.ask(joining("g", "", Some("i")));
    let second = answer_of!(world, again, JoinGroup);
    assert_eq!((second.error, second.generation, second.skip_assignment), (ErrorCode::NONE, 1, true));
    assert_ne!(second.member_id, first.member_id);
    let token = world.ask(syncing("g", &second.member_id, 1, &[]));
    assert_eq!(answer_of!(world, token, SyncGroup).assignment, bytes("all"));
    let beat = |id: &str| {
        let (group_id, member_id) = ("g".to_owned(), id.to_owned());
        GroupRequest::Heartbeat(Heartbeat { group_id, generation: 1, member_id, instance_id: Some("i".into()) })
    };
    assert_eq!(world.get(beat(&first.member_id)), GroupAnswer::Heartbeat(ErrorCode::FENCED_INSTANCE_ID));
    assert_eq!(world.get(beat(&second.member_id)), GroupAnswer::Heartbeat(ErrorCode::NONE));
    // An administrator removes it by its instance.
    assert_eq!(world.leave("g", &[("", Some("i")), ("", Some("j"))]), [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID]);
    assert_eq!(world.state_of("g"), "Empty");
}

#[test]
fn a_member_that_does_not_come_back_in_time_is_left_behind() {
    let mut world = World::new();
    let a = world.stable_alone("g");
    let (_, joining_b) = world.join_new("g");
    // a goes on beating but never joins again.
    for _ in 0..20 {
        world.pass_ms(3_000);
        world.beat("g", &a, 1);
    }
    let of_b = answer_of!(world, joining_b, JoinGroup);
    assert_eq!((of_b.generation, of_b.members.len()), (2, 1));
    assert_eq!(world.beat("g", &a, 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_that_never_asks_for_its_part_is_removed() {
    let mut world = World::new();
    let (a, joining_a) = world.join_new("g");
    let (b, joining_b) = world.join_new("g");
    world.pass_ms(6_000);
    assert_eq!(answer_of!(world, joining_a, JoinGroup).generation, 1);
    assert_eq!(answer_of!(world, joining_b, JoinGroup).generation, 1);
    world.ask(syncing("g", &a, 1, &[(&a, "0"), (&b, "1")]));
    for _ in 0..21 {
        world.pass_ms(3_000);
        world.beat("g", &a, 1);
        world.beat("g", &b, 1);
    }
    assert_eq!(world.beat("g", &b, 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_with_other_protocols_or_an_impossible_session_is_refused() {
    let mut world = World::new();
    world.stable_alone("g");
    let with = |change: fn(&mut JoinGroup)| {
        let GroupRequest::JoinGroup(mut join) = joining("g", "", None) else { panic!() };
        change(&mut join);
        GroupRequest::JoinGroup(join)
    };
    for (change, error) in [
        ((|j| j.protocols[0].0 = "sticky".into()) as fn(&mut JoinGroup), ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        (|j| j.protocol_type = "connect".into(), ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        (|j| j.session_timeout_ms = 1, ErrorCode::INVALID_SESSION_TIMEOUT),
        (|j| j.group_id = String::new(), ErrorCode::INVALID_GROUP_ID),
        (|j| j.member_id = "made up".into(), ErrorCode::UNKNOWN_MEMBER_ID),
    ] {
        let token = world.ask(with(change));
        assert_eq!(answer_of!(world, token, JoinGroup).error, error);
    }
}

#[test]
fn a_full_group_refuses_one_more() {
    let settings = Settings { group_max_size: 1, ..Settings::default() };
    let mut world = World::with(settings, Flaws::default());
    world.stable_alone("g");
    let token = world.ask(joining("g", "", None));
    assert_eq!(answer_of!(world, token, JoinGroup).error, ErrorCode::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn a_stable_group_survives_its_coordinator_and_its_members_have_a_whole_session() {
    let mut world = World::new();
    let a = world.stable_alone("g");
    world.pass_ms(9_000);
    world.fail_over();
    world.pass_ms(9_000);
    assert_eq!(world.beat("g", &a, 1), ErrorCode::NONE);
    let token = world.ask(syncing("g", &a, 1, &[]));
    assert_eq!(answer_of!(world, token, SyncGroup).assignment, bytes("all"));
    world.pass_ms(10_000);
    assert_eq!(world.state_of("g"), "Empty");
}

#[test]
fn a_rebalance_that_a_coordinator_took_with_it_is_begun_again_from_the_last_generation() {
    let mut world = World::new();
    let a = world.stable_alone("g");
    let (_, joining_b) = world.join_new("g");
    world.fail_over();
    assert_eq!(answer_of!(world, joining_b, JoinGroup).error, ErrorCode::NOT_COORDINATOR);
    assert_eq!(world.beat("g", &a, 1), ErrorCode::NONE, "nobody told the new one of b");
    let (_, joining_b) = world.join_new("g");
    let joining_a = world.ask(joining("g", &a, None));
    assert_eq!(answer_of!(world, joining_a, JoinGroup).generation, 2);
    assert_eq!(answer_of!(world, joining_b, JoinGroup).generation, 2);
}

#[test]
fn tools_see_a_group_with_its_members_and_delete_it_only_when_it_is_empty() {
    let mut world = World::new();
    let a = world.stable_alone("g");
    let groups = vec!["g".to_owned(), "none".to_owned()];
    let GroupAnswer::DescribeGroups(seen) = world.get(GroupRequest::DescribeGroups { groups: groups.clone() }) else {
        panic!("not a description")
    };
    assert_eq!((seen[0].state, seen[0].protocol.as_str(), seen[0].members.len()), ("Stable", "range", 1));
    assert_eq!(seen[0].members[0].assignment, bytes("all"));
    assert_eq!(seen[1].error, ErrorCode::GROUP_ID_NOT_FOUND);
    let delete = |world: &mut World| world.get(GroupRequest::DeleteGroups { groups: groups.clone() });
    let refused =
        vec![("g".to_owned(), ErrorCode::NON_EMPTY_GROUP), ("none".to_owned(), ErrorCode::GROUP_ID_NOT_FOUND)];
    assert_eq!(delete(&mut world), GroupAnswer::DeleteGroups(refused));
    let list = |states: &[&str], types: &[&str]| {
        let all = |of: &[&str]| of.iter().map(|s| (*s).to_owned()).collect();
        GroupRequest::ListGroups(ListGroups { states: all(states), types: all(types) })
    };
    for (states, types, found) in
        [(&["stable"][..], &["Classic"][..], 1), (&["Empty"], &[], 0), (&[], &["consumer"], 0)]
    {
        let GroupAnswer::ListGroups(seen) = world.get(list(states, types)) else { panic!("not a list") };
        assert_eq!(seen.groups.len(), found, "{states:?} {types:?}");
    }
    world.leave("g", &[(&a, None)]);
    let GroupAnswer::DeleteGroups(results) = delete(&mut world) else { panic!("not results") };
    assert_eq!(results[0].1, ErrorCode::NONE);
    world.fail_over();
    assert!(world.groups.is_empty(), "its tombstone was written");
}
