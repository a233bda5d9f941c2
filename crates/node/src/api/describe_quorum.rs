//! DescribeQuorum (55), versions 0 to 2: the quorum as its leader sees it. A broker passes it on. Voters have no directory
//! ids here, since the set of voters does not change.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, QuorumListener, QuorumNode, QuorumPartitionState, QuorumTopic,
    QuorumTopicState, ReplicaState,
};

use super::quorum::{LISTENER, TOPIC};
use crate::node::{Incoming, Node};
use crate::quorum;
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<DescribeQuorumRequest>(now, &mut incoming) else { return };
    let topics = body.topics.iter().map(|topic| told(node, now, topic)).collect();
    let listener = |voter: &crate::config::Voter| QuorumListener {
        name: LISTENER.to_owned(),
        host: voter.at.host.clone(),
        port: voter.at.port,
    };
    let voters = node.config.voters.iter();
    let nodes = voters.map(|voter| QuorumNode { node_id: voter.id, listeners: vec![listener(voter)] }).collect();
    let answer = DescribeQuorumResponse { topics, nodes, ..DescribeQuorumResponse::default() };
    node.respond::<DescribeQuorumRequest>(&incoming.to, &answer);
}

fn told(node: &Node, now: Now, topic: &QuorumTopic) -> QuorumTopicState {
    let partitions = topic.partitions.iter().map(|p| {
        if topic.topic_name == TOPIC && p.partition_index == 0 {
            described(node, now)
        } else {
            refused(p.partition_index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        }
    });
    QuorumTopicState { topic_name: topic.topic_name.clone(), partitions: partitions.collect() }
}

fn refused(partition_index: i32, error: ErrorCode) -> QuorumPartitionState {
    QuorumPartitionState {
        partition_index,
        error_code: error.0,
        error_message: Some(error.to_string()),
        leader_id: -1,
        leader_epoch: -1,
        high_watermark: -1,
        ..QuorumPartitionState::default()
    }
}

fn described(node: &Node, now: Now) -> QuorumPartitionState {
    let quorum = match node.quorum.describe(now) {
        Ok(quorum) => quorum,
        Err(current) => {
            return QuorumPartitionState {
                leader_id: super::quorum::leader_id(current.leader_id),
                leader_epoch: current.leader_epoch,
                ..refused(0, ErrorCode::NOT_LEADER_OR_FOLLOWER)
            };
        }
    };
    QuorumPartitionState {
        leader_id: quorum.leader_id,
        leader_epoch: quorum.leader_epoch,
        high_watermark: quorum.high_watermark,
        current_voters: quorum.voters.iter().map(replica).collect(),
        observers: quorum.observers.iter().map(replica).collect(),
        ..QuorumPartitionState::default()
    }
}

fn replica(state: &quorum::ReplicaState) -> ReplicaState {
    ReplicaState {
        replica_id: state.replica_id,
        log_end_offset: state.log_end_offset,
        last_fetch_timestamp: state.last_fetch_ms,
        last_caught_up_timestamp: state.last_caught_up_ms,
        ..ReplicaState::default()
    }
}
