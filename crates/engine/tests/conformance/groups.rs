//! Groups, in both protocols.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use metricstream_wire::ErrorCode;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::clients::{admin, consumer, create, options, producer, read, send};
use crate::cluster::{Cluster, DEADLINE, fresh, until};
use crate::members::{Classic, Consuming};
use crate::wire::coordinator;

/// The two protocols of groups, as settings.
const PROTOCOLS: [&[(&str, &str)]; 2] =
    [&[("group.protocol", "classic"), ("heartbeat.interval.ms", "100")], &[("group.protocol", "consumer")]];

/// What a member owns; polls it, so that it takes part.
fn owned(member: &BaseConsumer) -> BTreeSet<i32> {
    let _ = member.poll(Duration::from_millis(5));
    let list = member.assignment().expect("an assignment");
    list.elements().iter().map(TopicPartitionListElem::partition).collect()
}

/// Polls members until together they own all of 0..6, each partition once, and each member as many as is said.
#[track_caller]
fn until_owned(members: &[&BaseConsumer], sizes: &[usize]) {
    let begun = Instant::now();
    loop {
        let owned: Vec<BTreeSet<i32>> = members.iter().map(|member| owned(member)).collect();
        let all: BTreeSet<i32> = owned.iter().flatten().copied().collect();
        let whole = sizes.iter().sum::<usize>() < 6 || all == (0..6).collect();
        if owned.iter().map(BTreeSet::len).eq(sizes.iter().copied()) && whole {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "wanted {sizes:?}, they own {owned:?}");
    }
}

/// A topic of six partitions with so many records in each.
async fn filled(cluster: &Cluster, per_partition: u32) -> String {
    let topic = fresh("t");
    create(cluster, &topic, 6, 3, &[]).await;
    let producer = producer(cluster, &[]);
    for partition in 0..6 {
        send(&producer, &topic, partition, 0..per_partition).await;
    }
    topic
}

fn member(cluster: &Cluster, group: &str, topic: &str, more: &[(&str, &str)]) -> BaseConsumer {
    let member = consumer(cluster, group, more);
    member.subscribe(&[topic]).expect("subscribed");
    member
}

fn committed(cluster: &Cluster, group: &str, topic: &str) -> Vec<Offset> {
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_range(topic, 0, 5);
    let (looker, begun) = (consumer(cluster, group, &[]), Instant::now());
    let asked = loop {
        match looker.committed_offsets(wanted.clone(), DEADLINE) {
            Ok(asked) => break asked,
            // This client gives the first broker's word that it is not, or not yet, the coordinator to its caller.
            Err(error) if is_about_coordinators(&error) && begun.elapsed() < DEADLINE => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(error) => panic!("committed offsets: {error}"),
        }
    };
    asked.elements().iter().map(TopicPartitionListElem::offset).collect()
}

fn is_about_coordinators(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
        )
    )
}

pub(crate) async fn a_group_reads_everything_commits_and_its_next_member_goes_on_there(cluster: &mut Cluster) {
    for protocol in PROTOCOLS {
        let (topic, group) = (filled(cluster, 10).await, fresh(protocol[0].1));
        assert_eq!(committed(cluster, &group, &topic), [Offset::Invalid; 6], "{group}: nothing yet");
        let first = member(cluster, &group, &topic, protocol);
        assert_eq!(read(&first, 60).len(), 60);
        first.commit_consumer_state(CommitMode::Sync).expect("committed");
        drop(first);
        assert_eq!(committed(cluster, &group, &topic), [Offset::Offset(10); 6], "{group}");
        send(&producer(cluster, &[]), &topic, 3, 10..11).await;
        let next = member(cluster, &group, &topic, protocol);
        let news: Vec<(i32, i64)> = read(&next, 1).into_keys().collect();
        assert_eq!(news, [(3, 10)], "{group}: only what is new");
    }
}

pub(crate) async fn a_group_is_listed_with_its_members_and_is_deleted_when_they_are_gone(cluster: &mut Cluster) {
    let (topic, listed) = (filled(cluster, 1).await, fresh("listed"));
    let somebody = member(cluster, &listed, &topic, &[("client.id", "somebody")]);
    until_owned(&[&somebody], &[6]);
    let looker = consumer(cluster, "looker", &[]);
    let told = looker.fetch_group_list(Some(&listed), DEADLINE).expect("groups");
    let group = &told.groups()[0];
    assert_eq!((group.name(), group.state(), group.protocol_type()), (&*listed, "Stable", "consumer"));
    let members: Vec<&str> = group.members().iter().map(|m| m.client_id()).collect();
    assert_eq!(members, ["somebody"]);
    let refused = admin(cluster).delete_groups(&[&listed], &options()).await.expect("an answer");
    assert_eq!(refused, vec![Err((listed.clone(), RDKafkaErrorCode::NonEmptyGroup))]);
    drop(somebody);
    let gone = until("the group to be empty and deleted", || async {
        let answer = admin(cluster).delete_groups(&[&listed], &options()).await.expect("an answer");
        answer[0].is_ok().then_some(answer)
    });
    assert_eq!(gone.await, vec![Ok(listed.clone())]);
}

pub(crate) async fn two_members_share_a_topic_and_one_inherits_when_the_other_leaves(cluster: &mut Cluster) {
    let topic = filled(cluster, 1).await;
    for protocol in PROTOCOLS {
        let group = fresh(protocol[0].1);
        let first = member(cluster, &group, &topic, protocol);
        until_owned(&[&first], &[6]);
        let second = member(cluster, &group, &topic, protocol);
        until_owned(&[&first, &second], &[3, 3]);
        drop(second);
        until_owned(&[&first], &[6]);
    }
}

pub(crate) async fn cooperative_members_share_a_topic_too(cluster: &mut Cluster) {
    let (topic, coop) = (filled(cluster, 1).await, fresh("coop"));
    let more = [("partition.assignment.strategy", "cooperative-sticky"), ("heartbeat.interval.ms", "100")];
    let first = member(cluster, &coop, &topic, &more);
    until_owned(&[&first], &[6]);
    let second = member(cluster, &coop, &topic, &more);
    until_owned(&[&first, &second], &[3, 3]);
}

pub(crate) async fn what_a_member_owned_that_crashed_is_read_by_the_others(cluster: &mut Cluster) {
    let topic = filled(cluster, 1).await;
    for protocol in PROTOCOLS {
        let (name, group) = (protocol[0].1, fresh(protocol[0].1));
        let survivor = member(cluster, &group, &topic, protocol);
        until_owned(&[&survivor], &[6]);
        let at = coordinator(cluster, &group).await;
        // It takes its share as any member does, and is never heard of again.
        let joining = {
            let (to, group, topic) = (cluster.at(at), group.clone(), topic.clone());
            tokio::spawn(async move {
                match name {
                    "classic" => Classic::new(to, &group).await.owns(&topic).await,
                    _ => Consuming::new(to, &group).await.owns(&topic, 3).await,
                }
            })
        };
        // A member lets go, and says so, only where it is polled.
        while !joining.is_finished() {
            owned(&survivor);
        }
        let share = joining.await.expect("it joined");
        assert_eq!(share.len(), 3, "{name}: {share:?}");
        until_owned(&[&survivor], &[6]);
        send(&producer(cluster, &[]), &topic, share[0], 1..2).await;
        let begun = Instant::now();
        while !read(&survivor, 1).contains_key(&(share[0], 1)) {
            assert!(begun.elapsed() < DEADLINE, "{name}: what the dead member owned is not read");
        }
    }
}

pub(crate) async fn members_of_the_past_are_fenced(cluster: &mut Cluster) {
    let topic = filled(cluster, 1).await;
    let group = fresh("classic");
    let mut classic = Classic::new(cluster.at(coordinator(cluster, &group).await), &group).await;
    assert_eq!(classic.owns(&topic).await.len(), 6);
    assert_eq!(classic.heartbeat(0).await, ErrorCode::NONE);
    assert_eq!(classic.heartbeat(-1).await, ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(classic.commit(&topic, -1).await, ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(classic.commit(&topic, 0).await, ErrorCode::NONE);
    classic.is_nobody();
    assert_eq!(classic.heartbeat(0).await, ErrorCode::UNKNOWN_MEMBER_ID);

    let group = fresh("consumer");
    let mut consuming = Consuming::new(cluster.at(coordinator(cluster, &group).await), &group).await;
    assert_eq!(consuming.owns(&topic, 6).await.len(), 6);
    assert_eq!(consuming.heartbeat(0).await, ErrorCode::NONE);
    assert_eq!(consuming.heartbeat(5).await, ErrorCode::FENCED_MEMBER_EPOCH);
    consuming.is_nobody();
    assert_eq!(consuming.heartbeat(0).await, ErrorCode::UNKNOWN_MEMBER_ID);
}

pub(crate) async fn a_group_outlives_its_coordinator_with_its_offsets(cluster: &mut Cluster) {
    let topic = filled(cluster, 5).await;
    // One coordinator for a group of each protocol, so that one death is enough.
    let mut groups = [fresh("classic"), fresh("consumer")];
    let victim = coordinator(cluster, &groups[0]).await;
    while coordinator(cluster, &groups[1]).await != victim {
        groups[1] = fresh("consumer");
    }
    let members: Vec<BaseConsumer> =
        PROTOCOLS.iter().zip(&groups).map(|(protocol, group)| member(cluster, group, &topic, protocol)).collect();
    for member in &members {
        assert_eq!(read(member, 30).len(), 30);
        member.commit_consumer_state(CommitMode::Sync).expect("committed");
    }
    cluster.in_sync("__consumer_offsets").await;
    cluster.kill(victim).await;
    let producer = producer(cluster, &[]);
    for (member, group) in members.iter().zip(&groups) {
        assert_eq!(committed(cluster, group, &topic), [Offset::Offset(5); 6], "{group}: kept");
        assert_ne!(coordinator(cluster, group).await, victim);
        assert_eq!(member.assignment().expect("an assignment").count(), 6, "{group}");
    }
    for partition in 0..6 {
        send(&producer, &topic, partition, 5..6).await;
    }
    for (member, group) in members.iter().zip(&groups) {
        let news: Vec<(i32, i64)> = read(member, 6).into_keys().collect();
        assert_eq!(news, (0..6).map(|p| (p, 5)).collect::<Vec<_>>(), "{group}: goes on where it was");
        member.commit_consumer_state(CommitMode::Sync).expect("committed with the new coordinator");
        assert_eq!(committed(cluster, group, &topic), [Offset::Offset(6); 6], "{group}");
    }
}
