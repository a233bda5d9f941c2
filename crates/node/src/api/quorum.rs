//! The quorum's requests and answers, each by the file of its API.

use bytes::Bytes;

use super::{begin_quorum_epoch, end_quorum_epoch, fetch, fetch_snapshot, vote};
use crate::config::Address;
use crate::node::{Node, ReplyTo};
use crate::quorum::{Answer, Request};

/// The topic whose one partition the quorum replicates.
pub(crate) const TOPIC: &str = "__cluster_metadata";
/// Its id, the same in every cluster.
pub(crate) const TOPIC_ID: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// The name of the listener of controllers.
pub(crate) const LISTENER: &str = "CONTROLLER";

/// What every request of the quorum names.
pub(crate) struct Context<'a> {
    pub(crate) cluster_id: &'a str,
    pub(crate) node_id: i32,
    /// Where this node's controller listens, if it has one.
    pub(crate) listener: Option<&'a Address>,
}

impl Context<'_> {
    /// How this node calls itself in requests to others.
    pub(crate) fn client_id(&self) -> String {
        format!("raft-client-{}", self.node_id)
    }
}

/// Which API a request is of: by it the answer is read.
pub(crate) const fn version(request: &Request) -> i16 {
    match request {
        Request::Vote(_) => vote::KEY,
        Request::BeginEpoch(_) => begin_quorum_epoch::KEY,
        Request::EndEpoch(_) => end_quorum_epoch::KEY,
        Request::Fetch(_) => fetch::KEY,
        Request::FetchSnapshot(_) => fetch_snapshot::KEY,
    }
}

/// A request as a frame.
pub(crate) fn frame(context: &Context<'_>, request: &Request, correlation: i32) -> Bytes {
    match request {
        Request::Vote(request) => vote::frame(context, request, correlation),
        Request::BeginEpoch(request) => begin_quorum_epoch::frame(context, request, correlation),
        Request::EndEpoch(request) => end_quorum_epoch::frame(context, request, correlation),
        Request::Fetch(request) => fetch::metadata_frame(context, request, correlation),
        Request::FetchSnapshot(request) => fetch_snapshot::frame(context, request, correlation),
    }
}

/// The answer to a request of an API; `None` where the bytes are no such answer.
pub(crate) fn read_answer(key: i16, frame: Bytes) -> Option<Answer> {
    match key {
        vote::KEY => vote::read_answer(frame),
        begin_quorum_epoch::KEY => begin_quorum_epoch::read_answer(frame),
        end_quorum_epoch::KEY => end_quorum_epoch::read_answer(frame),
        fetch::KEY => fetch::read_metadata_answer(frame),
        fetch_snapshot::KEY => fetch_snapshot::read_answer(frame),
        _ => None,
    }
}

/// Answers a request that the quorum had in hand.
pub(crate) fn respond(node: &mut Node, to: &ReplyTo, answer: Answer) {
    match answer {
        Answer::Vote(answer) => vote::respond(node, to, &answer),
        Answer::BeginEpoch(answer) => begin_quorum_epoch::respond(node, to, &answer),
        Answer::EndEpoch(answer) => end_quorum_epoch::respond(node, to, &answer),
        Answer::Fetch(answer) => fetch::respond_metadata(node, to, answer),
        Answer::FetchSnapshot(answer) => fetch_snapshot::respond(node, to, answer),
    }
}

/// A leader on the wire: −1 where nobody is known.
pub(crate) fn leader_id(leader: Option<i32>) -> i32 {
    leader.unwrap_or(-1)
}

/// A leader from the wire.
pub(crate) fn leader_of(id: i32) -> Option<i32> {
    (id >= 0).then_some(id)
}
