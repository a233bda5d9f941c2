//! ElectLeaders (43), versions 0 to 2: elections that somebody asks for (KIP-460): of the preferred leaders, or of whoever lives.
//! Version 0 knows only the former. A broker passes it on; the active controller answers when it is committed.

use std::collections::BTreeSet;

use metricstream_wire::ErrorCode;
use metricstream_wire::api::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult, TopicPartitions,
};

use crate::controller::{Controller, Decision, ElectionKind};
use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<ElectLeadersRequest>(now, &mut incoming) else { return };
    let kind = match body.election_type {
        0 => Ok(ElectionKind::Preferred),
        1 => Ok(ElectionKind::Unclean),
        _ => Err(ErrorCode::INVALID_REQUEST),
    };
    let asked = body.topic_partitions;
    let decision = kind.and_then(|kind| node.active().map(|controller| decide(controller, kind, asked.as_deref())));
    let to = incoming.to;
    let answer = move |node: &mut Node, _: Now, result: Result<Vec<ReplicaElectionResult>, ErrorCode>| {
        let error_code = super::code(&result);
        // Version 0 has no place for an error of the whole.
        let each = |t: TopicPartitions| ReplicaElectionResult {
            partition_result: t.partitions.iter().map(|p| told(*p, Err(ErrorCode(error_code)))).collect(),
            topic: t.topic,
        };
        let results = result.unwrap_or_else(|_| asked.unwrap_or_default().into_iter().map(each).collect());
        let body =
            ElectLeadersResponse { error_code, replica_election_results: results, ..ElectLeadersResponse::default() };
        node.respond::<ElectLeadersRequest>(&to, &body);
    };
    match decision {
        Ok(decision) => node.decided(now, decision, answer),
        Err(error) => answer(node, now, Err(error)),
    }
}

fn decide(
    controller: &Controller,
    kind: ElectionKind,
    asked: Option<&[TopicPartitions]>,
) -> Decision<Vec<ReplicaElectionResult>> {
    let everything = |controller: &Controller| -> Vec<TopicPartitions> {
        let topics = controller.image().topics.values();
        topics
            .map(|t| TopicPartitions { topic: t.name.clone(), partitions: t.partitions.keys().copied().collect() })
            .collect()
    };
    let all = asked.is_none();
    let wanted = asked.map_or_else(|| everything(controller), <[TopicPartitions]>::to_vec);
    let mut decision = Decision { records: Vec::new(), answer: Vec::new() };
    let mut seen = BTreeSet::new();
    for topic in wanted {
        let mut partition_result = Vec::new();
        for partition in topic.partitions {
            if !seen.insert((topic.topic.clone(), partition)) {
                continue;
            }
            let elected = controller.elect(kind, &topic.topic, partition);
            // Who asks for everything is not told of partitions that are as they should be.
            if all && matches!(elected, Err(ErrorCode::ELECTION_NOT_NEEDED)) {
                continue;
            }
            partition_result.push(told(partition, elected.map(|elected| decision.records.extend(elected.records))));
        }
        if !partition_result.is_empty() {
            decision.answer.push(ReplicaElectionResult { topic: topic.topic, partition_result });
        }
    }
    decision
}

fn told(partition_id: i32, result: Result<(), ErrorCode>) -> PartitionResult {
    let error_message = result.err().map(|error| match error {
        ErrorCode::ELECTION_NOT_NEEDED => "the partition has the leader that it should have".to_owned(),
        ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE => "the preferred replica is not in sync".to_owned(),
        ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE => "no replica lives".to_owned(),
        other => other.to_string(),
    });
    PartitionResult { partition_id, error_code: super::code(&result), error_message }
}
