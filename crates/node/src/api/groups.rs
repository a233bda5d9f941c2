//! What the group coordinator answers (8, 9, 11–16, 42, 47, 68, 69): each API's own file reads and writes it; here they are
//! joined to the coordinator.

use metricstream_wire::api::consumer_group_describe::ConsumerGroupDescribeRequest;
use metricstream_wire::api::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use metricstream_wire::api::delete_groups::DeleteGroupsRequest;
use metricstream_wire::api::describe_groups::DescribeGroupsRequest;
use metricstream_wire::api::heartbeat::HeartbeatRequest;
use metricstream_wire::api::join_group::JoinGroupRequest;
use metricstream_wire::api::leave_group::LeaveGroupRequest;
use metricstream_wire::api::list_groups::ListGroupsRequest;
use metricstream_wire::api::offset_commit::OffsetCommitRequest;
use metricstream_wire::api::offset_delete::OffsetDeleteRequest;
use metricstream_wire::api::offset_fetch::OffsetFetchRequest;
use metricstream_wire::api::sync_group::SyncGroupRequest;

use crate::group::{Client, GroupAnswer};
use crate::node::{Incoming, Node, ReplyTo};
use crate::time::Now;

/// Who asks, as groups are described with it. Every client of an embedded cluster is on this machine.
fn client(incoming: &Incoming) -> Client {
    Client { id: incoming.client_id().to_owned(), host: "/127.0.0.1".to_owned() }
}

macro_rules! handlers {
    ($($name:ident: $request:ident $(, $client:ident)?;)*) => {$(
        pub(crate) fn $name(node: &mut Node, now: Now, mut incoming: Incoming) {
            let version = incoming.header.api_version;
            let Some(body) = node.body::<$request>(now, &mut incoming) else { return };
            let request = super::$name::decode(body, version $(, $client(&incoming))?);
            node.ask_groups(now, incoming.to, request);
        }
    )*};
}

handlers! {
    offset_commit: OffsetCommitRequest;
    offset_fetch: OffsetFetchRequest;
    join_group: JoinGroupRequest, client;
    heartbeat: HeartbeatRequest;
    leave_group: LeaveGroupRequest;
    sync_group: SyncGroupRequest;
    describe_groups: DescribeGroupsRequest;
    list_groups: ListGroupsRequest;
    delete_groups: DeleteGroupsRequest;
    offset_delete: OffsetDeleteRequest;
    consumer_group_heartbeat: ConsumerGroupHeartbeatRequest, client;
    consumer_group_describe: ConsumerGroupDescribeRequest;
}

/// Answers a request that the coordinator had in hand.
pub(crate) fn respond(node: &mut Node, to: &ReplyTo, answer: GroupAnswer) {
    macro_rules! send {
        ($module:ident, $request:ident, $answer:expr) => {
            node.respond::<$request>(to, &super::$module::encode($answer, to.version))
        };
    }
    match answer {
        GroupAnswer::JoinGroup(a) => send!(join_group, JoinGroupRequest, a),
        GroupAnswer::SyncGroup(a) => send!(sync_group, SyncGroupRequest, a),
        GroupAnswer::Heartbeat(a) => send!(heartbeat, HeartbeatRequest, a),
        GroupAnswer::LeaveGroup(a) => send!(leave_group, LeaveGroupRequest, a),
        GroupAnswer::OffsetCommit(a) => send!(offset_commit, OffsetCommitRequest, a),
        GroupAnswer::OffsetFetch(a) => send!(offset_fetch, OffsetFetchRequest, a),
        GroupAnswer::OffsetDelete(a) => send!(offset_delete, OffsetDeleteRequest, a),
        GroupAnswer::DescribeGroups(a) => send!(describe_groups, DescribeGroupsRequest, a),
        GroupAnswer::ListGroups(a) => send!(list_groups, ListGroupsRequest, a),
        GroupAnswer::DeleteGroups(a) => send!(delete_groups, DeleteGroupsRequest, a),
        GroupAnswer::ConsumerGroupHeartbeat(a) => send!(consumer_group_heartbeat, ConsumerGroupHeartbeatRequest, a),
        GroupAnswer::ConsumerGroupDescribe(a) => send!(consumer_group_describe, ConsumerGroupDescribeRequest, a),
    }
}
