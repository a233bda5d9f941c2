//! What clients of old and new versions say and hear about groups.

use bytes::{Bytes, BytesMut};
use metricstream_wire::api as wire;
use metricstream_wire::frame::Request;
use metricstream_wire::{ErrorCode, Reader, Wire as _};

use super::*;
use crate::group::{
    ClassicDescription, Client, FetchedOffset, GroupAnswer, GroupRequest, JoinGroupAnswer, LeaveGroupAnswer,
    OffsetFetchGroup, OffsetFetchGroupAnswer,
};

fn joining(version: i16, instance: Option<&str>) -> crate::group::JoinGroup {
    let request = wire::join_group::JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10,
        rebalance_timeout_ms: 20,
        group_instance_id: instance.map(str::to_owned),
        protocols: vec![wire::join_group::JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::new() }],
        ..Default::default()
    };
    match join_group::decode(request, version, Client::default()) {
        GroupRequest::JoinGroup(join) => join,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_version_of_join_group_has_one_timeout_and_the_fourth_asks_for_a_known_member() {
    assert_eq!(joining(0, None).rebalance_timeout_ms, 10);
    assert_eq!(joining(1, None).rebalance_timeout_ms, 20);
    assert!(!joining(3, None).require_known_member_id && joining(4, None).require_known_member_id);
    assert!(!joining(5, Some("i")).require_known_member_id, "a static member is known by its instance");
    assert!(!joining(8, None).supports_skipping_assignment && joining(9, None).supports_skipping_assignment);
}

#[test]
fn a_refused_join_has_no_null_in_versions_that_cannot_carry_one() {
    let refused = || JoinGroupAnswer::refused(ErrorCode::MEMBER_ID_REQUIRED, "m");
    assert_eq!(join_group::encode(refused(), 6).protocol_name, Some(String::new()));
    assert_eq!(join_group::encode(refused(), 7).protocol_name, None);
    assert_eq!(join_group::encode(refused(), 7).error_code, 79);
}

#[test]
fn one_member_that_leaves_hears_of_its_error_in_the_place_that_its_version_has() {
    let answer = || LeaveGroupAnswer {
        error: ErrorCode::NONE,
        members: vec![("m".to_owned(), None, ErrorCode::UNKNOWN_MEMBER_ID)],
    };
    assert_eq!(leave_group::encode(answer(), 2).error_code, 25);
    let many = leave_group::encode(answer(), 3);
    assert_eq!((many.error_code, many.members[0].error_code), (0, 25));
    let old = wire::leave_group::LeaveGroupRequest { member_id: "m".into(), ..Default::default() };
    let GroupRequest::LeaveGroup(leave) = leave_group::decode(old, 1) else { panic!("not a LeaveGroup") };
    assert_eq!(leave.members, [("m".to_owned(), None)]);
}

#[test]
fn a_retention_time_counts_only_in_the_versions_that_have_it() {
    let kept = |version, retention_time_ms| {
        let request = wire::offset_commit::OffsetCommitRequest { retention_time_ms, ..Default::default() };
        let GroupRequest::OffsetCommit(commit) = offset_commit::decode(request, version) else { panic!() };
        (commit.retention_time_ms, commit.knows_member_epochs)
    };
    assert_eq!(kept(4, 60_000), (Some(60_000), false));
    assert_eq!(kept(4, -1), (None, false));
    assert_eq!(kept(9, -1), (None, true));
}

#[test]
fn offsets_of_one_group_and_of_many_are_asked_for_in_the_form_of_the_version() {
    let request = wire::offset_fetch::OffsetFetchRequest { group_id: "old".into(), topics: None, ..Default::default() };
    let GroupRequest::OffsetFetch(fetch) = offset_fetch::decode(request, 7) else { panic!() };
    let all = OffsetFetchGroup { group_id: "old".into(), member_id: None, member_epoch: -1, topics: None };
    assert_eq!(fetch.groups, [all]);

    let failed = || OffsetFetchGroupAnswer {
        group_id: "g".into(),
        error: ErrorCode::NOT_COORDINATOR,
        topics: vec![("t".into(), vec![FetchedOffset::none(0, ErrorCode::NOT_COORDINATOR)])],
    };
    let old = offset_fetch::encode(vec![failed()], 1);
    assert_eq!(old.topics[0].partitions[0].error_code, 16);
    let new = offset_fetch::encode(vec![failed(), failed()], 8);
    assert_eq!((new.groups.len(), new.groups[1].error_code, new.groups[1].topics.len()), (2, 16, 0));
}

#[test]
fn a_group_that_is_not_there_is_dead_and_from_version_six_on_an_error() {
    let absent = || vec![ClassicDescription::refused("g", ErrorCode::GROUP_ID_NOT_FOUND)];
    let (old, new) = (describe_groups::encode(absent(), 5), describe_groups::encode(absent(), 6));
    assert_eq!((old.groups[0].error_code, old.groups[0].group_state.as_str()), (0, "Dead"));
    assert_eq!((new.groups[0].error_code, new.groups[0].group_state.as_str()), (69, "Dead"));
}

#[test]
fn a_consumer_groups_assignment_carries_topic_ids_both_ways() {
    let owned = vec![wire::consumer_group_heartbeat::TopicPartitions { topic_id: [7; 16], partitions: vec![1, 2] }];
    let request = wire::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest {
        topic_partitions: Some(owned),
        ..Default::default()
    };
    let decoded = consumer_group_heartbeat::decode(request, 1, Client::default());
    let GroupRequest::ConsumerGroupHeartbeat(beat) = decoded else { panic!() };
    assert_eq!(beat.owned, Some(vec![([7; 16], vec![1, 2])]));
    assert_eq!((beat.rebalance_timeout_ms, beat.member_chooses_id), (None, true));
    let answer = crate::group::ConsumerGroupHeartbeatAnswer { assignment: beat.owned, ..Default::default() };
    let response = consumer_group_heartbeat::encode(answer, 1);
    assert_eq!(response.assignment.expect("given").topic_partitions[0].partitions, [1, 2]);
}

/// An answer is written in a version and read again.
fn written_and_read<R: Request>(answer: impl Fn(i16) -> R::Response) {
    for version in R::VERSIONS {
        let context = R::context(version).expect("declared");
        let mut bytes = BytesMut::new();
        answer(version).encode(&mut bytes, context);
        let mut from = Reader::new(bytes.freeze());
        R::Response::decode(&mut from, context, "answer").unwrap_or_else(|e| panic!("{} v{version}: {e}", R::KEY));
        from.finish().unwrap_or_else(|e| panic!("{} v{version}: {e}", R::KEY));
    }
}

#[test]
fn what_is_refused_can_be_written_in_every_version() {
    let (error, group) = (ErrorCode::NOT_COORDINATOR, "g".to_owned());
    let refused = |request: GroupRequest| request.refused(error);
    macro_rules! refuses {
        ($request:ty, $kind:ident, $module:ident, $asked:expr) => {
            written_and_read::<$request>(|version| match refused(GroupRequest::$kind($asked)) {
                GroupAnswer::$kind(answer) => $module::encode(answer, version),
                other => panic!("{other:?}"),
            });
        };
        ($request:ty, $kind:ident, $module:ident) => {
            written_and_read::<$request>(|version| {
                match refused(GroupRequest::$kind { groups: vec![group.clone(); 2] }) {
                    GroupAnswer::$kind(answer) => $module::encode(answer, version),
                    other => panic!("{other:?}"),
                }
            });
        };
    }
    refuses!(wire::join_group::JoinGroupRequest, JoinGroup, join_group, Default::default());
    refuses!(wire::sync_group::SyncGroupRequest, SyncGroup, sync_group, Default::default());
    refuses!(wire::heartbeat::HeartbeatRequest, Heartbeat, heartbeat, Default::default());
    refuses!(wire::leave_group::LeaveGroupRequest, LeaveGroup, leave_group, Default::default());
    refuses!(wire::offset_commit::OffsetCommitRequest, OffsetCommit, offset_commit, Default::default());
    refuses!(wire::offset_fetch::OffsetFetchRequest, OffsetFetch, offset_fetch, Default::default());
    refuses!(wire::offset_delete::OffsetDeleteRequest, OffsetDelete, offset_delete, Default::default());
    refuses!(wire::list_groups::ListGroupsRequest, ListGroups, list_groups, Default::default());
    refuses!(wire::describe_groups::DescribeGroupsRequest, DescribeGroups, describe_groups);
    refuses!(wire::delete_groups::DeleteGroupsRequest, DeleteGroups, delete_groups);
    refuses!(
        wire::consumer_group_describe::ConsumerGroupDescribeRequest,
        ConsumerGroupDescribe,
        consumer_group_describe
    );
    refuses!(
        wire::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest,
        ConsumerGroupHeartbeat,
        consumer_group_heartbeat,
        Default::default()
    );
}
