//! Groups, in both protocols.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use metricstream_cluster::Cluster;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::support::{DEADLINE, PROTOCOLS, admin, consumer, fast, leader, options, producer, read, send, until};

/// What members own, by partition; polls all of them so that they take part.
fn owned(members: &[&BaseConsumer]) -> Vec<BTreeSet<i32>> {
    let assigned = |member: &&BaseConsumer| {
        let _ = member.poll(Duration::from_millis(5));
        let list = member.assignment().expect("an assignment");
        list.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect()
    };
    members.iter().map(assigned).collect()
}

/// Polls members until together they own all of 0..6, each partition once, and each member as many as is said.
#[track_caller]
fn until_owned(members: &[&BaseConsumer], sizes: &[usize]) {
    let begun = Instant::now();
    loop {
        let owned = owned(members);
        let all: BTreeSet<i32> = owned.iter().flatten().copied().collect();
        if owned.iter().map(BTreeSet::len).eq(sizes.iter().copied()) && all == (0..6).collect() {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "wanted {sizes:?}, they own {owned:?}");
    }
}

async fn filled(per_partition: u32) -> Cluster {
    let cluster = fast().topic("t", 6, 3).start().await.expect("a cluster");
    let producer = producer(&cluster, &[]);
    for partition in 0..6 {
        send(&producer, "t", partition, 0..per_partition).await;
    }
    cluster
}

fn committed(cluster: &Cluster, group: &str) -> Vec<Offset> {
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_range("t", 0, 5);
    let asked = consumer(cluster, group, &[]).committed_offsets(wanted, DEADLINE).expect("committed offsets");
    asked.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::offset).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_reads_everything_commits_and_its_next_member_goes_on_there() {
    for protocol in PROTOCOLS {
        let (cluster, group) = (filled(10).await, protocol[0].1);
        assert_eq!(committed(&cluster, group), [Offset::Invalid; 6], "{group}: nothing yet");
        let member = consumer(&cluster, group, protocol);
        member.subscribe(&["t"]).expect("subscribed");
        assert_eq!(read(&member, 60).len(), 60);
        member.commit_consumer_state(CommitMode::Sync).expect("committed");
        drop(member);
        assert_eq!(committed(&cluster, group), [Offset::Offset(10); 6], "{group}");
        send(&producer(&cluster, &[]), "t", 3, 10..11).await;
        let member = consumer(&cluster, group, protocol);
        member.subscribe(&["t"]).expect("subscribed");
        let news: Vec<(i32, i64)> = read(&member, 1).into_keys().collect();
        assert_eq!(news, [(3, 10)], "{group}: only what is new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_listed_with_its_members_and_is_deleted_when_they_are_gone() {
    let cluster = filled(1).await;
    let member = consumer(&cluster, "listed", &[("client.id", "somebody")]);
    member.subscribe(&["t"]).expect("subscribed");
    until_owned(&[&member], &[6]);
    let looker = consumer(&cluster, "looker", &[]);
    let listed = looker.fetch_group_list(Some("listed"), DEADLINE).expect("groups");
    let group = &listed.groups()[0];
    assert_eq!((group.name(), group.state(), group.protocol_type()), ("listed", "Stable", "consumer"));
    let members: Vec<&str> = group.members().iter().map(|m| m.client_id()).collect();
    assert_eq!(members, ["somebody"]);
    let refused = admin(&cluster).delete_groups(&["listed"], &options()).await.expect("an answer");
    assert_eq!(refused, vec![Err(("listed".to_owned(), RDKafkaErrorCode::NonEmptyGroup))]);
    drop(member);
    let gone = until("the group to be empty and deleted", || async {
        let answer = admin(&cluster).delete_groups(&["listed"], &options()).await.expect("an answer");
        answer[0].is_ok().then_some(answer)
    });
    assert_eq!(gone.await, vec![Ok("listed".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_a_topic_and_one_inherits_when_the_other_leaves() {
    let cluster = filled(1).await;
    for protocol in PROTOCOLS {
        let group = protocol[0].1;
        let first = consumer(&cluster, group, protocol);
        first.subscribe(&["t"]).expect("subscribed");
        until_owned(&[&first], &[6]);
        let second = consumer(&cluster, group, protocol);
        second.subscribe(&["t"]).expect("subscribed");
        until_owned(&[&first, &second], &[3, 3]);
        drop(second);
        until_owned(&[&first], &[6]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cooperative_members_share_a_topic_too() {
    let cluster = filled(1).await;
    let more = [("partition.assignment.strategy", "cooperative-sticky"), ("heartbeat.interval.ms", "100")];
    let first = consumer(&cluster, "coop", &more);
    first.subscribe(&["t"]).expect("subscribed");
    until_owned(&[&first], &[6]);
    let second = consumer(&cluster, "coop", &more);
    second.subscribe(&["t"]).expect("subscribed");
    until_owned(&[&first, &second], &[3, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_outlives_its_coordinator_with_its_offsets() {
    for protocol in PROTOCOLS {
        let (cluster, group) = (filled(5).await, protocol[0].1);
        let member = consumer(&cluster, group, protocol);
        member.subscribe(&["t"]).expect("subscribed");
        assert_eq!(read(&member, 30).len(), 30);
        member.commit_consumer_state(CommitMode::Sync).expect("committed");
        cluster.wait_isr_full(DEADLINE).await.expect("in sync");
        let coordinator = leader(&cluster, "__consumer_offsets", coordinates(group)).await;
        cluster.kill(coordinator).await.expect("killed");
        assert_eq!(committed(&cluster, group), [Offset::Offset(5); 6], "{group}: kept");
        let producer = producer(&cluster, &[]);
        for partition in 0..6 {
            send(&producer, "t", partition, 5..6).await;
        }
        let news: Vec<(i32, i64)> = read(&member, 6).into_keys().collect();
        assert_eq!(news, (0..6).map(|p| (p, 5)).collect::<Vec<_>>(), "{group}: goes on where it was");
        member.commit_consumer_state(CommitMode::Sync).expect("committed with the new coordinator");
        assert_eq!(committed(&cluster, group), [Offset::Offset(6); 6], "{group}");
    }
}

/// The partition of `__consumer_offsets` that a group is kept in: Java's hash of its name, of the default 50.
fn coordinates(group: &str) -> i32 {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & 0x7fff_ffff) % 50
}
