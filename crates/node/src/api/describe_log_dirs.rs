//! DescribeLogDirs (35), versions 1 to 4: sizes of the replicas on this broker. A node does not know where its store lies, nor
//! how much room there is: the directory has the node's name, and both sizes are told as unknown (−1, KIP-827).

use std::collections::BTreeMap;

use metricstream_wire::api::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<DescribeLogDirsRequest>(now, &mut incoming) else { return };
    let asked = |topic: &str, partition: i32| {
        body.topics
            .as_ref()
            .is_none_or(|topics| topics.iter().any(|t| t.topic == topic && t.partitions.contains(&partition)))
    };
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for replica in node.broker.iter().flat_map(|broker| broker.replicas.values()) {
        if asked(&replica.topic, replica.id.1) {
            topics.entry(replica.topic.clone()).or_default().push(DescribeLogDirsPartition {
                partition_index: replica.id.1,
                partition_size: i64::try_from(replica.log.size_bytes()).unwrap_or(i64::MAX),
                offset_lag: (replica.high_watermark - replica.log.end_offset()).max(0),
                ..DescribeLogDirsPartition::default()
            });
        }
    }
    let topics = topics.into_iter().map(|(name, partitions)| DescribeLogDirsTopic { name, partitions }).collect();
    let directory = DescribeLogDirsResult {
        log_dir: format!("node-{}", node.config.node_id),
        topics,
        ..DescribeLogDirsResult::default()
    };
    let answer = DescribeLogDirsResponse { results: vec![directory], ..DescribeLogDirsResponse::default() };
    node.respond::<DescribeLogDirsRequest>(&incoming.to, &answer);
}
