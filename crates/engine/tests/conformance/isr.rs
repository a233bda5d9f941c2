//! What the controller accepts of an ISR that a leader asks for: the request itself (AlterPartition), sent in the leader's
//! name to the controller's own listener.

use metricstream_engine::admin;
use metricstream_wire::ErrorCode;
use metricstream_wire::api::alter_partition::{
    AlterPartitionPartition, AlterPartitionRequest, AlterPartitionTopic, BrokerState,
};

use crate::clients::create;
use crate::cluster::{Cluster, fresh};
use crate::wire::Wire;

/// Broker epochs with the members (KIP-903).
const VERSION: i16 = 3;

/// Asks in a broker's name, which it says is in this epoch, for an ISR of partition 0: the code of the whole answer, and
/// that of the partition.
async fn propose(
    cluster: &Cluster,
    topic: &str,
    from: (i32, i64),
    isr: &[(i32, i64)],
) -> (ErrorCode, Option<ErrorCode>) {
    let told = admin::metadata(cluster.at(from.0), Some(&[topic.to_owned()])).await.expect("an answer");
    let now = cluster.partition(topic, 0).expect("there");
    let member =
        |(broker_id, broker_epoch): &(i32, i64)| BrokerState { broker_id: *broker_id, broker_epoch: *broker_epoch };
    let wish = AlterPartitionPartition {
        leader_epoch: now.leader_epoch,
        partition_epoch: now.partition_epoch,
        new_isr_with_epochs: isr.iter().map(member).collect(),
        ..Default::default()
    };
    let topics = vec![AlterPartitionTopic { topic_id: told.topics[0].topic_id, partitions: vec![wish] }];
    let request = AlterPartitionRequest { broker_id: from.0, broker_epoch: from.1, topics };
    let mut controller = Wire::to(cluster, cluster.controller().await).await;
    let answer = controller.call(&request, VERSION).await;
    let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
    (ErrorCode(answer.error_code), partition.map(|partition| ErrorCode(partition.error_code)))
}

pub(crate) async fn an_isr_with_a_replica_of_a_former_life_is_refused(cluster: &mut Cluster) {
    let topic = fresh("lives");
    create(cluster, &topic, 1, 3, &[]).await;
    cluster.in_sync(&topic).await;
    let epoch = |id: i32| cluster.engine.image().brokers[&id].broker_epoch;
    let leader = cluster.leader(&topic, 0).await;
    let restarted = cluster.others(&[leader])[0];
    let former = epoch(restarted);
    cluster.kill(restarted).await;
    cluster.fenced(restarted).await;
    cluster.start_node(restarted).await;
    cluster.unfenced(restarted).await;
    cluster.in_sync(&topic).await;
    assert!(epoch(restarted) > former, "each life has an epoch of its own");

    let before = cluster.partition(&topic, 0).expect("there");
    let present: Vec<(i32, i64)> = before.isr.iter().map(|id| (*id, epoch(*id))).collect();
    let with_former = |(id, now): &(i32, i64)| (*id, if *id == restarted { former } else { *now });
    let stale: Vec<(i32, i64)> = present.iter().map(with_former).collect();
    let own = (leader, epoch(leader));
    let partition = |code| (ErrorCode::NONE, Some(code));
    assert_eq!(propose(cluster, &topic, own, &stale).await, partition(ErrorCode::INELIGIBLE_REPLICA));
    let of_the_past = (ErrorCode::STALE_BROKER_EPOCH, None);
    assert_eq!(propose(cluster, &topic, (leader, own.1 - 1), &present).await, of_the_past);
    assert_eq!(propose(cluster, &topic, (restarted, former), &present).await, of_the_past);
    let mut not_leading = propose(cluster, &topic, (restarted, epoch(restarted)), &present).await;
    assert_eq!(not_leading.1.take(), Some(ErrorCode::INVALID_REQUEST), "it does not lead");
    assert_eq!(cluster.partition(&topic, 0).expect("there"), before, "nothing of it changed the partition");
    // The same with everybody's present epoch, and with none told, is what there is already.
    assert_eq!(propose(cluster, &topic, own, &present).await, partition(ErrorCode::NONE));
    let untold: Vec<(i32, i64)> = present.iter().map(|(id, _)| (*id, -1)).collect();
    assert_eq!(propose(cluster, &topic, own, &untold).await, partition(ErrorCode::NONE));
}
