//! AlterPartition (56), versions 2 and 3: a leader asks the active controller for another ISR (KIP-497, KIP-903).

use bytes::Bytes;
use metricstream_wire::api::alter_partition::{
    AlterPartitionPartition, AlterPartitionPartitionResult, AlterPartitionRequest, AlterPartitionResponse,
    AlterPartitionTopic, AlterPartitionTopicResult, BrokerState,
};
use metricstream_wire::{ErrorCode, frame};

use crate::controller::{AlterPartitions, Altered, PartitionWish};
use crate::image::Partition;
use crate::node::{Incoming, Node};
use crate::time::Now;

const VERSION: i16 = 3;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<AlterPartitionRequest>(now, &mut incoming) else { return };
    let mut wishes = Vec::new();
    for topic in &body.topics {
        wishes.extend(topic.partitions.iter().map(|p| PartitionWish {
            topic: topic.topic_id,
            partition: p.partition_index,
            leader_epoch: p.leader_epoch,
            partition_epoch: p.partition_epoch,
            isr: members(p),
            recovering: p.leader_recovery_state == 1,
        }));
    }
    let wish = AlterPartitions { broker: body.broker_id, broker_epoch: body.broker_epoch, wishes };
    let decision = node.active().and_then(|c| c.alter_partitions(&wish));
    let to = incoming.to;
    let answer = move |node: &mut Node, _: Now, result: Result<Vec<Altered>, ErrorCode>| {
        let body = AlterPartitionResponse {
            error_code: super::code(&result),
            topics: result.unwrap_or_default().into_iter().map(topic_result).collect(),
            ..AlterPartitionResponse::default()
        };
        node.respond::<AlterPartitionRequest>(&to, &body);
    };
    match decision {
        Ok(decision) => node.decided(now, decision, answer),
        Err(error) => answer(node, now, Err(error)),
    }
}

fn members(p: &AlterPartitionPartition) -> Vec<(i32, i64)> {
    let plain = p.new_isr.iter().map(|id| (*id, -1));
    plain.chain(p.new_isr_with_epochs.iter().map(|s| (s.broker_id, s.broker_epoch))).collect()
}

fn topic_result(altered: Altered) -> AlterPartitionTopicResult {
    let code = super::code(&altered.result);
    let partition = match altered.result {
        Ok(now) => AlterPartitionPartitionResult {
            partition_index: altered.partition,
            error_code: 0,
            leader_id: now.leader,
            leader_epoch: now.leader_epoch,
            isr: now.isr,
            leader_recovery_state: i8::from(now.recovering),
            partition_epoch: now.partition_epoch,
        },
        Err(_) => AlterPartitionPartitionResult {
            partition_index: altered.partition,
            error_code: code,
            ..AlterPartitionPartitionResult::default()
        },
    };
    AlterPartitionTopicResult { topic_id: altered.topic, partitions: vec![partition] }
}

/// What this leader asks.
pub(crate) fn frame(wish: &AlterPartitions) -> impl FnOnce(i32) -> Bytes + use<> {
    let topic = |w: &PartitionWish| AlterPartitionTopic {
        topic_id: w.topic,
        partitions: vec![AlterPartitionPartition {
            partition_index: w.partition,
            leader_epoch: w.leader_epoch,
            new_isr_with_epochs: w
                .isr
                .iter()
                .map(|(broker_id, broker_epoch)| BrokerState { broker_id: *broker_id, broker_epoch: *broker_epoch })
                .collect(),
            leader_recovery_state: i8::from(w.recovering),
            partition_epoch: w.partition_epoch,
            ..AlterPartitionPartition::default()
        }],
    };
    let body = AlterPartitionRequest {
        broker_id: wish.broker,
        broker_epoch: wish.broker_epoch,
        topics: wish.wishes.iter().map(topic).collect(),
    };
    let client_id = wish.broker.to_string();
    move |correlation| frame::request(&body, VERSION, correlation, &client_id).expect("a version that is declared")
}

/// What the controller decided. Replicas are not told here: those of the answer are empty.
pub(crate) fn read_answer(bytes: Bytes) -> Result<Vec<Altered>, ErrorCode> {
    let (_, body) =
        frame::response::<AlterPartitionRequest>(bytes, VERSION).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
    if body.error_code != 0 {
        return Err(ErrorCode(body.error_code));
    }
    let mut all = Vec::new();
    for topic in body.topics {
        all.extend(topic.partitions.into_iter().map(|p| Altered {
            topic: topic.topic_id,
            partition: p.partition_index,
            result: match p.error_code {
                0 => Ok(Partition {
                    isr: p.isr,
                    leader: p.leader_id,
                    leader_epoch: p.leader_epoch,
                    partition_epoch: p.partition_epoch,
                    recovering: p.leader_recovery_state == 1,
                    ..Partition::default()
                }),
                error => Err(ErrorCode(error)),
            },
        }));
    }
    Ok(all)
}
