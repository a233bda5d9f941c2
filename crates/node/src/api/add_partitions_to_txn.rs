//! AddPartitionsToTxn (24), versions 0 to 5: there are no transactions. Not advertised; whoever asks all the same is refused
//! with a fatal error, for each partition that it names.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult,
};

use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<AddPartitionsToTxnRequest>(now, &mut incoming) else { return };
    let of_transaction = body.transactions.into_iter().map(|t| AddPartitionsToTxnResult {
        transactional_id: t.transactional_id,
        topic_results: t.topics.into_iter().map(refused).collect(),
    });
    let answer = AddPartitionsToTxnResponse {
        results_by_transaction: of_transaction.collect(),
        results_by_topic_v3_and_below: body.v3_and_below_topics.into_iter().map(refused).collect(),
        ..AddPartitionsToTxnResponse::default()
    };
    node.respond::<AddPartitionsToTxnRequest>(&incoming.to, &answer);
}

fn refused(topic: AddPartitionsToTxnTopic) -> AddPartitionsToTxnTopicResult {
    let partition_error_code = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.0;
    let one = |partition_index| AddPartitionsToTxnPartitionResult { partition_index, partition_error_code };
    AddPartitionsToTxnTopicResult {
        name: topic.name,
        results_by_partition: topic.partitions.into_iter().map(one).collect(),
    }
}
