//! Members of groups that speak the protocol themselves, to do what no client does: fall silent, and live in the past.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use metricstream_engine::client::Connection;
use metricstream_wire::ErrorCode;
use metricstream_wire::api::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, TopicPartitions};
use metricstream_wire::api::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, Embedded, TopicPartition,
};
use metricstream_wire::api::heartbeat::HeartbeatRequest;
use metricstream_wire::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use metricstream_wire::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use metricstream_wire::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use crate::cluster::{DEADLINE, fresh};

/// Sessions of members that are about to die, milliseconds: the least that the suite's brokers of Apache Kafka allow.
const SESSION_MS: i32 = 3_000;
const AGAIN: Duration = Duration::from_millis(50);

/// A member of the classic protocol.
pub(crate) struct Classic {
    to: Connection,
    group: String,
    member: String,
    generation: i32,
}

impl Classic {
    /// Connects to the group's coordinator.
    pub(crate) async fn new(to: SocketAddr, group: &str) -> Self {
        let to = Connection::open(to, DEADLINE).await.expect("connected");
        Self { to, group: group.to_owned(), member: String::new(), generation: -1 }
    }

    async fn join(&mut self, topic: &str) -> JoinGroupResponse {
        let subscription = ConsumerProtocolSubscription { topics: vec![topic.to_owned()], ..Default::default() };
        let metadata = subscription.to_bytes(0).expect("a version of the protocol");
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: 30_000,
            member_id: self.member.clone(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata }],
            ..Default::default()
        };
        self.to.call(&request, 6, DEADLINE).await.expect("an answer")
    }

    /// Joins, and returns which partitions of a topic are its own in the first generation that it lives to see stable.
    pub(crate) async fn owns(&mut self, topic: &str) -> Vec<i32> {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < DEADLINE, "no generation became stable");
            let joined = self.join(topic).await;
            self.member = joined.member_id.clone();
            match ErrorCode(joined.error_code) {
                ErrorCode::NONE => {}
                ErrorCode::MEMBER_ID_REQUIRED | ErrorCode::REBALANCE_IN_PROGRESS => continue,
                code => panic!("joining: {code}"),
            }
            self.generation = joined.generation_id;
            if let Some(own) = self.sync(topic, &joined).await {
                return own;
            }
        }
    }

    /// Gets its share; gives all to itself where it leads, which it does only where it is alone.
    async fn sync(&mut self, topic: &str, joined: &JoinGroupResponse) -> Option<Vec<i32>> {
        let mut assignments = Vec::new();
        if joined.leader == self.member {
            assert_eq!(joined.members.len(), 1, "it is alone");
            let all = TopicPartition { topic: topic.to_owned(), partitions: (0..6).collect() };
            let all = ConsumerProtocolAssignment { assigned_partitions: vec![all], user_data: None };
            let assignment = all.to_bytes(0).expect("a version of the protocol");
            assignments.push(SyncGroupRequestAssignment { member_id: self.member.clone(), assignment });
        }
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member.clone(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments,
            ..Default::default()
        };
        let synced = self.to.call(&request, 5, DEADLINE).await.expect("an answer");
        match ErrorCode(synced.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::REBALANCE_IN_PROGRESS => return None,
            code => panic!("syncing: {code}"),
        }
        let assigned = ConsumerProtocolAssignment::from_bytes(synced.assignment).expect("an assignment");
        Some(assigned.assigned_partitions.into_iter().flat_map(|of| of.partitions).collect())
    }

    /// A sign of life of so many generations later.
    pub(crate) async fn heartbeat(&mut self, later: i32) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation + later,
            member_id: self.member.clone(),
            ..Default::default()
        };
        ErrorCode(self.to.call(&request, 4, DEADLINE).await.expect("an answer").error_code)
    }

    /// Commits offset 1 of partition 0, of so many generations later.
    pub(crate) async fn commit(&mut self, topic: &str, later: i32) -> ErrorCode {
        let partition = OffsetCommitRequestPartition { committed_offset: 1, ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: self.generation + later,
            member_id: self.member.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: topic.to_owned(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        let told = self.to.call(&request, 8, DEADLINE).await.expect("an answer");
        ErrorCode(told.topics[0].partitions[0].error_code)
    }

    /// From now on it claims to be somebody who never joined.
    pub(crate) fn is_nobody(&mut self) {
        self.member = "nobody".to_owned();
    }
}

/// A member of the protocol of KIP-848.
pub(crate) struct Consuming {
    to: Connection,
    group: String,
    member: String,
    epoch: i32,
    owned: Vec<TopicPartitions>,
}

impl Consuming {
    /// Connects to the group's coordinator.
    pub(crate) async fn new(to: SocketAddr, group: &str) -> Self {
        let to = Connection::open(to, DEADLINE).await.expect("connected");
        Self { to, group: group.to_owned(), member: fresh("member"), epoch: 0, owned: Vec::new() }
    }

    /// Joins, and returns which partitions are its own as soon as these are so many.
    pub(crate) async fn owns(&mut self, topic: &str, count: usize) -> Vec<i32> {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < DEADLINE, "it owns {:?}", self.owned);
            let joining = self.epoch == 0;
            let request = ConsumerGroupHeartbeatRequest {
                group_id: self.group.clone(),
                member_id: self.member.clone(),
                member_epoch: self.epoch,
                rebalance_timeout_ms: 30_000,
                subscribed_topic_names: joining.then(|| vec![topic.to_owned()]),
                topic_partitions: Some(self.owned.clone()),
                ..Default::default()
            };
            let told = self.to.call(&request, 1, DEADLINE).await.expect("an answer");
            assert_eq!(ErrorCode(told.error_code), ErrorCode::NONE, "{:?}", told.error_message);
            self.epoch = told.member_epoch;
            let all: Vec<i32> = self.owned.iter().flat_map(|of| of.partitions.clone()).collect();
            match told.assignment.map(|assignment| assignment.topic_partitions) {
                Some(other) if other != self.owned => self.owned = other,
                // What it has was said to the coordinator, which wants nothing else.
                _ if all.len() == count => return all,
                _ => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// A sign of life of so many epochs later.
    pub(crate) async fn heartbeat(&mut self, later: i32) -> ErrorCode {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: self.member.clone(),
            member_epoch: self.epoch + later,
            ..Default::default()
        };
        ErrorCode(self.to.call(&request, 1, DEADLINE).await.expect("an answer").error_code)
    }

    /// From now on it claims to be somebody who never joined.
    pub(crate) fn is_nobody(&mut self) {
        self.member = fresh("nobody");
    }
}
