//! OffsetForLeaderEpoch (23), versions 2 to 4: where an epoch ended in the leader's log, by which a client finds out whether
//! what it read is still there (KIP-320). Both epochs are answered from one and the same state of this replica, so that
//! quick changes of leaders give an error or an end that holds, and no client asks in circles.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

use super::find_replica;
use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<OffsetForLeaderEpochRequest>(now, &mut incoming) else { return };
    let topics = body.topics.into_iter().map(|topic| OffsetForLeaderTopicResult {
        partitions: topic.partitions.iter().map(|p| told(node, &topic.topic, p)).collect(),
        topic: topic.topic,
    });
    let answer = OffsetForLeaderEpochResponse { topics: topics.collect(), ..OffsetForLeaderEpochResponse::default() };
    node.respond::<OffsetForLeaderEpochRequest>(&incoming.to, &answer);
}

fn told(node: &Node, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let unknown = EpochEndOffset { partition: asked.partition, ..EpochEndOffset::default() };
    match end(node, topic, asked) {
        Ok((leader_epoch, end_offset)) => EpochEndOffset { leader_epoch, end_offset, ..unknown },
        Err(error) => EpochEndOffset { error_code: error.0, ..unknown },
    }
}

fn end(node: &Node, topic: &str, asked: &OffsetForLeaderPartition) -> Result<(i32, i64), ErrorCode> {
    let (_, replica) = find_replica(node, topic, asked.partition)?;
    replica.check_epoch(asked.current_leader_epoch, &node.config.flaws)?;
    replica.leading()?;
    let end = replica.log.end_offset_for_epoch(asked.leader_epoch);
    Ok((end.epoch, end.end_offset))
}
