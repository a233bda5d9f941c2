//! TxnOffsetCommit (28), versions 0 to 5: there are no transactions. Not advertised; whoever asks all the same is refused with
//! a fatal error, for each partition that it names.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
};

use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<TxnOffsetCommitRequest>(now, &mut incoming) else { return };
    let topics = body.topics.into_iter().map(refused).collect();
    let answer = TxnOffsetCommitResponse { topics, ..TxnOffsetCommitResponse::default() };
    node.respond::<TxnOffsetCommitRequest>(&incoming.to, &answer);
}

fn refused(topic: TxnOffsetCommitRequestTopic) -> TxnOffsetCommitResponseTopic {
    let error_code = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.0;
    let partitions = topic.partitions.iter().map(|p| p.partition_index);
    TxnOffsetCommitResponseTopic {
        name: topic.name,
        partitions: partitions
            .map(|partition_index| TxnOffsetCommitResponsePartition { partition_index, error_code })
            .collect(),
    }
}
