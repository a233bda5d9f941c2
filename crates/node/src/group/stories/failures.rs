//! What is promised when the log does not take it, takes it late, or is elsewhere.

use super::classic::{joining, syncing};
use super::consumer::{beat_of, join_of};
use super::*;

#[test]
fn an_answer_waits_until_its_record_is_committed_and_so_does_one_that_only_read_it() {
    let mut world = World::new();
    world.holds_commits = true;
    let commit = world.ask(GroupRequest::OffsetCommit(commit_of("g", "", -1, 5)));
    let one = OffsetFetchGroup { group_id: "g".to_owned(), member_id: None, member_epoch: -1, topics: None };
    let fetch = world.ask(GroupRequest::OffsetFetch(OffsetFetch { groups: vec![one], require_stable: false }));
    assert!(!world.is_answered(commit) && !world.is_answered(fetch));
    assert_eq!(world.offset_of_other_group(), -1, "another group has nothing to wait for");
    world.commit_and_settle();
    assert_eq!(answer_of!(world, commit, OffsetCommit).topics[0].1[0].1, ErrorCode::NONE);
    assert_eq!(answer_of!(world, fetch, OffsetFetch)[0].topics[0].1[0].offset, 5);
}

impl World {
    fn offset_of_other_group(&mut self) -> i64 {
        self.offset_of("other")
    }
}

#[test]
fn a_commit_that_its_replicas_do_not_take_in_time_is_refused_so_that_the_client_tries_again() {
    let mut world = World::new();
    world.holds_commits = true;
    let token = world.ask(GroupRequest::OffsetCommit(commit_of("g", "", -1, 5)));
    world.pass_ms(4_999);
    assert!(!world.is_answered(token));
    world.pass_ms(1);
    let error = answer_of!(world, token, OffsetCommit).topics[0].1[0].1;
    assert_eq!(error, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    // It may be committed yet, and then it counts.
    world.commit_and_settle();
    assert_eq!(world.offset_of("g"), 5);
}

#[test]
fn an_append_that_the_owner_gives_up_is_answered_and_not_undone() {
    let mut world = World::new();
    world.tokens += 1;
    let token = Token(world.tokens);
    let at = At { now: world.now, topics: &world.topics };
    world.groups.handle(token, GroupRequest::OffsetCommit(commit_of("g", "", -1, 5)), at);
    let [GroupOutput::Append { ticket, .. }] = &world.groups.take()[..] else { panic!("not an append") };
    world.groups.appended(*ticket, Ok(0), at);
    world.groups.failed(*ticket, ErrorCode::NOT_LEADER_OR_FOLLOWER, at);
    world.settle();
    assert_eq!(answer_of!(world, token, OffsetCommit).topics[0].1[0].1, ErrorCode::NOT_COORDINATOR);
}

#[test]
fn a_refused_append_leaves_everything_as_it_was() {
    let mut world = World::new();
    world.commit_offset(commit_of("g", "", -1, 5));
    world.refuses = Some(ErrorCode::NOT_ENOUGH_REPLICAS);
    assert_eq!(world.commit_offset(commit_of("g", "", -1, 6)), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(world.commit_offset(commit_of("new", "", -1, 6)), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!((world.offset_of("g"), world.offset_of("new")), (5, -1));
    let token = world.ask(joining("c", "", None));
    assert_eq!(answer_of!(world, token, JoinGroup).error, ErrorCode::MEMBER_ID_REQUIRED);
    let GroupAnswer::ConsumerGroupHeartbeat(answer) = world.get(join_of("k", "m1")) else { panic!("not a heartbeat") };
    assert_eq!(answer.error, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert!(world.groups.is_empty(), "no group came to be");
    world.refuses = None;
    let GroupAnswer::ConsumerGroupHeartbeat(answer) = world.get(join_of("k", "m1")) else { panic!("not a heartbeat") };
    assert_eq!((answer.error, answer.member_epoch), (ErrorCode::NONE, 1));
}

#[test]
fn a_generation_that_could_not_be_written_is_begun_again() {
    let mut world = World::new();
    let (a, token) = world.join_new("g");
    world.pass_ms(3_000);
    assert_eq!(answer_of!(world, token, JoinGroup).generation, 1);
    world.refuses = Some(ErrorCode::NOT_ENOUGH_REPLICAS);
    let token = world.ask(syncing("g", &a, 1, &[(&a, "all")]));
    assert_eq!(answer_of!(world, token, SyncGroup).error, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    world.refuses = None;
    assert_eq!(world.state_of("g"), "PreparingRebalance");
    let token = world.ask(joining("g", &a, None));
    assert_eq!(answer_of!(world, token, JoinGroup).generation, 2);
}

#[test]
fn a_member_that_could_not_be_fenced_is_a_member_still_and_is_fenced_later() {
    let mut world = World::new();
    world.get(join_of("k", "m1"));
    world.refuses = Some(ErrorCode::NOT_ENOUGH_REPLICAS);
    world.pass_ms(46_000);
    assert_eq!(world.state_of("k"), "Stable");
    world.refuses = None;
    world.pass_ms(45_000);
    assert_eq!(world.state_of("k"), "Empty");
}

#[test]
fn while_a_coordinator_loads_and_after_it_resigned_nobody_is_served() {
    let mut world = World::new();
    let commit = || GroupRequest::OffsetCommit(commit_of("g", "", -1, 5));
    let partition = partition_for("g", OFFSETS_PARTITIONS).expect("there");
    world.holds_commits = true;
    let parked = world.ask(commit());
    world.groups.resigned(partition);
    world.settle();
    let error_of = |answer: GroupAnswer| match answer {
        GroupAnswer::OffsetCommit(answer) => answer.topics[0].1[0].1,
        other => panic!("{other:?}"),
    };
    assert_eq!(error_of(world.answer(parked)), ErrorCode::NOT_COORDINATOR);
    assert_eq!(error_of(world.get(commit())), ErrorCode::NOT_COORDINATOR);
    assert!(world.groups.elected(partition, 7));
    assert_eq!(error_of(world.get(commit())), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    let GroupAnswer::ListGroups(list) = world.get(GroupRequest::ListGroups(ListGroups::default())) else { panic!() };
    assert_eq!(list.error, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, "part of a list is no list");
    assert_eq!(world.groups.led().iter().filter(|(_, _, loaded)| !loaded).count(), 1);
    assert!(!world.groups.elected(partition, 8), "a new epoch alone needs no loading");
}

#[test]
fn requests_that_come_while_an_append_is_untold_wait_for_it() {
    let mut world = World::new();
    let at = At { now: world.now, topics: &world.topics };
    world.groups.handle(Token(1), GroupRequest::OffsetCommit(commit_of("g", "", -1, 5)), at);
    world.groups.handle(Token(2), GroupRequest::OffsetCommit(commit_of("g", "", -1, 6)), at);
    let [GroupOutput::Append { partition, ticket, .. }] = world.groups.take()[..] else { panic!("not one append") };
    world.groups.appended(ticket, Err(ErrorCode::MESSAGE_TOO_LARGE), at);
    let outputs = world.groups.take();
    let [GroupOutput::Answer { token: Token(1), answer }, GroupOutput::Append { ticket, .. }] = &outputs[..] else {
        panic!("the second did not follow")
    };
    let GroupAnswer::OffsetCommit(answer) = answer else { panic!("{answer:?}") };
    assert_eq!(answer.topics[0].1[0].1, ErrorCode::INVALID_COMMIT_OFFSET_SIZE);
    let ticket = *ticket;
    world.groups.appended(ticket, Ok(0), at);
    world.groups.committed(partition, 1, at);
    let [GroupOutput::Answer { token: Token(2), .. }] = world.groups.take()[..] else { panic!("no answer") };
}

#[test]
fn a_record_that_cannot_be_read_does_not_keep_a_coordinator_from_loading() {
    let mut world = World::new();
    world.commit_offset(commit_of("g", "", -1, 5));
    for log in world.logs.values_mut() {
        let mut batch = BatchBuilder::new();
        for key in [&b""[..], b"\0\x01junk", b"\x7f\xff"] {
            batch.push(NewRecord { timestamp_ms: 1, key: Some(key), value: Some(b"\xff"), headers: &[] });
        }
        log.batches.push((log.end + 2, batch.build(log.end, 1)));
        log.end += 3;
        log.high_watermark = log.end;
    }
    world.fail_over();
    assert_eq!(world.offset_of("g"), 5);
    let GroupAnswer::ConsumerGroupHeartbeat(answer) = world.get(beat_of("g", "m", 3)) else { panic!() };
    assert_eq!(answer.error, ErrorCode::GROUP_ID_NOT_FOUND);
}
