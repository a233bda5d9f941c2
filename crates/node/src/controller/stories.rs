//! What the active controller decides, as Kafka 4.1 does: golden tables of registrations, heartbeats, ISRs and topics.

use std::collections::BTreeMap;

use metricstream_wire::ErrorCode;

use super::{
    AlterOp, AlterPartitions, BeatAnswer, ConfigChange, Controller, Decision, ElectionKind, Heartbeat, NewTopic,
    PartitionWish, Registration,
};
use crate::config::Settings;
use crate::flaws::Flaws;
use crate::image::{Endpoint, Image, Partition, TOPIC_RESOURCE};
use crate::time::{MS, Now};

const CLUSTER: &str = "cluster";

/// A controller whose decisions are committed at once.
struct Desk {
    controller: Controller,
    now: Now,
}

impl Desk {
    fn new(settings: &[(&str, &str)]) -> Self {
        let mut all = Settings::default();
        for (name, value) in settings {
            all.set(name, value).expect(name);
        }
        let now = Now { monotonic_ns: MS, wall_ms: 0 };
        let mut desk = Self { controller: Controller::activate(Image::empty(), all, Flaws::default(), 7, now), now };
        let first = desk.controller.first_records();
        desk.controller.applied(&first, 0, 1, now);
        desk
    }

    fn next_offset(&self) -> i64 {
        self.controller.image().offset + 1
    }

    fn commit<T>(&mut self, decision: Decision<T>) -> T {
        let base = self.next_offset();
        self.controller.applied(&decision.records, base, 1, self.now);
        decision.answer
    }

    fn pass(&mut self, ms: u64) {
        self.now.monotonic_ns += ms * MS;
        loop {
            let records = self.controller.on_timer(self.now);
            if records.is_empty() {
                return;
            }
            self.commit(Decision { records, answer: () });
        }
    }

    fn register(&mut self, broker: i32, life: u8, previous_epoch: i64) -> Result<i64, ErrorCode> {
        let wish = Registration {
            broker,
            cluster_id: CLUSTER.into(),
            incarnation: [life; 16],
            endpoints: vec![Endpoint {
                name: "PLAINTEXT".into(),
                host: "127.0.0.1".into(),
                port: 9_092,
                security_protocol: 0,
            }],
            rack: None,
            features: Vec::new(),
            directories: Vec::new(),
            previous_epoch,
        };
        let offset = self.next_offset();
        let decision = self.controller.register_broker(&wish, CLUSTER, offset, self.now)?;
        Ok(self.commit(decision))
    }

    fn beat(&mut self, broker: i32, offset: i64, fence: bool, shutdown: bool) -> Result<BeatAnswer, ErrorCode> {
        let broker_epoch = self.controller.image().brokers.get(&broker).map_or(-1, |b| b.epoch);
        let beat =
            Heartbeat { broker, broker_epoch, metadata_offset: offset, want_fence: fence, want_shutdown: shutdown };
        let next = self.next_offset();
        let decision = self.controller.heartbeat(beat, next, self.now)?;
        Ok(self.commit(decision))
    }

    /// Registers and unfences.
    fn with_brokers(settings: &[(&str, &str)], brokers: &[i32]) -> Self {
        let mut desk = Self::new(settings);
        for broker in brokers {
            let epoch = desk.register(*broker, 1, -1).expect("new");
            assert!(!desk.beat(*broker, epoch, false, false).expect("known").fenced);
        }
        desk
    }

    fn make(&mut self, name: &str, replicas: &[&[i32]]) {
        let assignments = (0..).zip(replicas.iter().map(|r| r.to_vec())).collect();
        let topic =
            NewTopic { name: name.into(), partitions: -1, replication_factor: -1, assignments, ..NewTopic::default() };
        let decision = self.controller.create_topics(&[topic], false);
        let made = self.commit(decision);
        assert_eq!(made[0].error, ErrorCode::NONE, "{:?}", made[0].message);
    }

    fn partition(&self, topic: &str, index: i32) -> &Partition {
        &self.controller.image().topic(topic).expect("made").partitions[&index]
    }

    /// `leader isr elr`.
    fn drawn(&self) -> String {
        let p = self.partition("metrics", 0);
        format!("{} {:?} {:?}", p.leader, p.isr, p.elr)
    }

    fn epoch(&self, broker: i32) -> i64 {
        self.controller.image().brokers[&broker].epoch
    }
}

#[test]
fn a_brokers_epoch_is_the_offset_of_its_registration_and_a_retry_gets_the_same() {
    let mut desk = Desk::new(&[]);
    let offset = desk.next_offset();
    assert_eq!(desk.register(1, 1, -1), Ok(offset));
    assert_eq!(desk.register(1, 1, -1), Ok(offset));
    assert!(desk.controller.image().brokers[&1].fenced);
}

#[test]
fn another_life_of_a_broker_waits_for_the_session_of_the_one_before() {
    let mut desk = Desk::with_brokers(&[], &[1, 2]);
    assert_eq!(desk.register(1, 2, -1), Err(ErrorCode::DUPLICATE_BROKER_REGISTRATION));
    desk.pass(8_000);
    assert_eq!(desk.register(1, 2, -1), Err(ErrorCode::DUPLICATE_BROKER_REGISTRATION));
    desk.pass(3_000);
    assert!(desk.register(1, 2, -1).is_ok(), "the session is over");
}

#[test]
fn a_broker_is_unfenced_only_when_it_knows_its_own_registration() {
    let mut desk = Desk::new(&[]);
    let epoch = desk.register(1, 1, -1).unwrap();
    let table = [
        // metadata offset, wants to stay fenced: caught up, fenced.
        (epoch - 1, false, (false, true)),
        (epoch, true, (true, true)),
        (epoch, false, (true, false)),
        (epoch + 5, true, (true, true)),
    ];
    for (offset, fence, (caught_up, fenced)) in table {
        let answer = desk.beat(1, offset, fence, false).unwrap();
        assert_eq!((answer.caught_up, answer.fenced, answer.shut_down), (caught_up, fenced, false), "{offset} {fence}");
        assert_eq!(desk.controller.image().brokers[&1].fenced, fenced);
    }
}

#[test]
fn a_heartbeat_of_another_life_or_of_nobody_is_stale() {
    let mut desk = Desk::with_brokers(&[], &[1]);
    let next = desk.next_offset();
    for (broker, broker_epoch) in [(1, desk.epoch(1) + 1), (9, 0)] {
        let beat = Heartbeat { broker, broker_epoch, metadata_offset: 0, want_fence: false, want_shutdown: false };
        let now = desk.now;
        assert_eq!(desk.controller.heartbeat(beat, next, now), Err(ErrorCode::STALE_BROKER_EPOCH));
        assert_eq!(
            desk.controller.allocate_producer_ids(broker, broker_epoch).map(|_| ()),
            Err(ErrorCode::STALE_BROKER_EPOCH)
        );
    }
}

#[test]
fn a_silent_broker_is_fenced_and_leaves_every_isr() {
    let mut desk = Desk::with_brokers(&[("min.insync.replicas", "2")], &[1, 2, 3]);
    desk.make("metrics", &[&[1, 2, 3]]);
    for _ in 0..4 {
        desk.pass(3_000);
        for broker in [2, 3] {
            let offset = desk.next_offset();
            desk.beat(broker, offset, false, false).unwrap();
        }
    }
    assert!(desk.controller.image().brokers[&1].fenced);
    assert_eq!(desk.drawn(), "2 [2, 3] []");
}

#[test]
fn the_last_in_sync_replicas_stay_eligible_unless_they_come_back_unclean() {
    for (clean, drawn) in [(true, "-1 [] [2, 1]"), (false, "-1 [] [2]")] {
        let mut desk = Desk::with_brokers(&[("min.insync.replicas", "2")], &[1, 2]);
        desk.make("metrics", &[&[1, 2]]);
        let epoch = desk.epoch(1);
        desk.pass(12_000);
        assert_eq!(desk.drawn(), "-1 [] [2, 1]".replace("2, 1", &order(&desk)), "both are silent");
        desk.register(1, 2, if clean { epoch } else { -1 }).unwrap();
        let mut elr = desk.partition("metrics", 0).elr.clone();
        elr.sort_unstable_by_key(|id| -id);
        assert_eq!(format!("-1 [] {elr:?}"), drawn, "clean: {clean}");
    }
}

/// Eligible replicas as they are, for a text.
fn order(desk: &Desk) -> String {
    let ids: Vec<String> = desk.partition("metrics", 0).elr.iter().map(i32::to_string).collect();
    assert_eq!(ids.len(), 2);
    ids.join(", ")
}

#[test]
fn a_broker_that_leaves_hands_its_leaderships_over_and_goes_when_all_know() {
    let mut desk = Desk::with_brokers(&[], &[1, 2]);
    desk.make("metrics", &[&[1, 2]]);
    let answer = desk.beat(1, desk.next_offset() - 1, false, true).unwrap();
    assert_eq!((answer.fenced, answer.shut_down), (false, false));
    assert!(desk.controller.image().brokers[&1].in_controlled_shutdown);
    assert_eq!(desk.drawn(), "2 [2] []");
    let last = desk.next_offset() - 1;
    assert!(!desk.beat(1, last, false, true).unwrap().shut_down, "the other does not know yet");
    desk.beat(2, last, false, false).unwrap();
    let answer = desk.beat(1, last, false, true).unwrap();
    assert_eq!((answer.fenced, answer.shut_down), (true, true));
    assert!(desk.controller.image().brokers[&1].fenced);
}

#[test]
fn a_broker_that_leads_nothing_may_go_at_once() {
    let mut desk = Desk::with_brokers(&[], &[1, 2]);
    desk.make("metrics", &[&[1, 2]]);
    let answer = desk.beat(2, desk.next_offset() - 1, false, true).unwrap();
    assert!(answer.shut_down);
    assert_eq!(desk.drawn(), "1 [1] []");
}

#[test]
fn an_unregistered_broker_is_in_no_isr_and_not_eligible() {
    let mut desk = Desk::with_brokers(&[("min.insync.replicas", "3")], &[1, 2, 3]);
    desk.make("metrics", &[&[1, 2, 3]]);
    let fenced = desk.beat(3, 0, true, false).unwrap();
    assert!(fenced.fenced);
    assert_eq!(desk.drawn(), "1 [1, 2] [3]");
    for broker in [3, 2] {
        let decision = desk.controller.unregister_broker(broker).unwrap();
        desk.commit(decision);
    }
    assert_eq!(desk.drawn(), "1 [1] []");
    assert_eq!(desk.controller.unregister_broker(3).map(|_| ()), Err(ErrorCode::BROKER_ID_NOT_REGISTERED));
}

#[test]
fn a_golden_table_of_isr_changes() {
    let mut desk = Desk::with_brokers(&[], &[1, 2, 3, 4]);
    desk.make("metrics", &[&[1, 2, 3]]);
    desk.beat(3, 0, true, false).unwrap();
    assert_eq!(desk.drawn(), "1 [1, 2] []");
    let (topic, epochs) = (desk.controller.image().names["metrics"], [1, 2, 3].map(|b| (b, desk.epoch(b))));
    let now = desk.partition("metrics", 0).clone();
    let wish = |isr: &[(i32, i64)]| PartitionWish {
        topic,
        partition: 0,
        leader_epoch: now.leader_epoch,
        partition_epoch: now.partition_epoch,
        isr: isr.to_vec(),
        recovering: false,
    };
    let good = wish(&epochs[..1]);
    let table: Vec<(i32, PartitionWish, ErrorCode)> = vec![
        (1, PartitionWish { topic: [9; 16], ..good.clone() }, ErrorCode::UNKNOWN_TOPIC_ID),
        (1, PartitionWish { partition: 7, ..good.clone() }, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (1, PartitionWish { leader_epoch: now.leader_epoch + 1, ..good.clone() }, ErrorCode::NOT_CONTROLLER),
        (1, PartitionWish { partition_epoch: now.partition_epoch + 1, ..good.clone() }, ErrorCode::NOT_CONTROLLER),
        (1, PartitionWish { leader_epoch: now.leader_epoch - 1, ..good.clone() }, ErrorCode::FENCED_LEADER_EPOCH),
        (2, good.clone(), ErrorCode::INVALID_REQUEST),
        (
            1,
            PartitionWish { partition_epoch: now.partition_epoch - 1, ..good.clone() },
            ErrorCode::INVALID_UPDATE_VERSION,
        ),
        (1, wish(&[epochs[1]]), ErrorCode::INVALID_REQUEST),
        (1, wish(&[epochs[0], epochs[0]]), ErrorCode::INVALID_REQUEST),
        (1, wish(&[epochs[0], (4, -1)]), ErrorCode::INVALID_REQUEST),
        (1, PartitionWish { recovering: true, ..good.clone() }, ErrorCode::INVALID_REQUEST),
        (1, wish(&epochs), ErrorCode::INELIGIBLE_REPLICA),
        (1, wish(&[epochs[0], (2, epochs[1].1 + 1)]), ErrorCode::INELIGIBLE_REPLICA),
        (1, wish(&[epochs[0], (2, -1)]), ErrorCode::NONE),
        (1, good, ErrorCode::NONE),
    ];
    for (broker, wish, error) in table {
        let all = AlterPartitions { broker, broker_epoch: desk.epoch(broker), wishes: vec![wish.clone()] };
        let decision = desk.controller.alter_partitions(&all).expect("its epoch is right");
        let got = decision.answer[0].result.clone().err().unwrap_or(ErrorCode::NONE);
        assert_eq!(got, error, "broker {broker}: {wish:?}");
        assert_eq!(decision.records.len(), usize::from(error.is_none() && wish.isr.len() == 1), "{wish:?}");
    }
    let stale = AlterPartitions { broker: 1, broker_epoch: -1, wishes: Vec::new() };
    assert_eq!(desk.controller.alter_partitions(&stale).map(|_| ()), Err(ErrorCode::STALE_BROKER_EPOCH));
}

#[test]
fn elections_on_request_are_needed_and_possible_or_refused() {
    let mut desk = Desk::with_brokers(&[], &[1, 2]);
    desk.make("metrics", &[&[1, 2]]);
    let elect = |desk: &mut Desk, kind, topic: &str, partition| {
        let decision = desk.controller.elect(kind, topic, partition)?;
        desk.commit(decision);
        Ok(())
    };
    let (preferred, unclean) = (ElectionKind::Preferred, ElectionKind::Unclean);
    assert_eq!(elect(&mut desk, preferred, "none", 0), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(elect(&mut desk, preferred, "metrics", 9), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(elect(&mut desk, preferred, "metrics", 0), Err(ErrorCode::ELECTION_NOT_NEEDED));
    assert_eq!(elect(&mut desk, unclean, "metrics", 0), Err(ErrorCode::ELECTION_NOT_NEEDED));
    desk.beat(1, 0, true, false).unwrap();
    assert_eq!(desk.drawn(), "2 [2] []");
    assert_eq!(elect(&mut desk, preferred, "metrics", 0), Err(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE));
    desk.beat(2, 0, true, false).unwrap();
    assert_eq!(desk.drawn(), "-1 [] [2]");
    assert_eq!(elect(&mut desk, unclean, "metrics", 0), Err(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE));
    let known = desk.next_offset();
    desk.beat(1, known, false, false).unwrap();
    assert_eq!(desk.drawn(), "-1 [] [2]", "it is not eligible");
    assert_eq!(elect(&mut desk, unclean, "metrics", 0), Ok(()));
    assert_eq!(desk.drawn(), "1 [1] []");
    assert!(desk.partition("metrics", 0).recovering);
}

#[test]
fn a_golden_table_of_topics() {
    let mut desk = Desk::with_brokers(&[], &[1, 2, 3]);
    desk.make("some.topic", &[&[1]]);
    let assigned =
        |replicas: &[&[i32]]| -> BTreeMap<i32, Vec<i32>> { (0..).zip(replicas.iter().map(|r| r.to_vec())).collect() };
    let long = "x".repeat(250);
    let of = |name: &str, partitions, replication_factor, assignments| NewTopic {
        name: name.into(),
        partitions,
        replication_factor,
        assignments,
        ..NewTopic::default()
    };
    let none = BTreeMap::new;
    let replicas = ErrorCode::INVALID_REPLICA_ASSIGNMENT;
    let table = [
        (of("", 1, 1, none()), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (of("..", 1, 1, none()), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (of("a b", 1, 1, none()), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (of(&long, 1, 1, none()), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (of("some.topic", 1, 1, none()), ErrorCode::TOPIC_ALREADY_EXISTS),
        (of("some_topic", 1, 1, none()), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (of("a", 0, 1, none()), ErrorCode::INVALID_PARTITIONS),
        (of("a", 1, 0, none()), ErrorCode::INVALID_REPLICATION_FACTOR),
        (of("a", 1, 4, none()), ErrorCode::INVALID_REPLICATION_FACTOR),
        (of("a", 1, -1, assigned(&[&[1]])), ErrorCode::INVALID_REQUEST),
        (of("a", -1, 1, assigned(&[&[1]])), ErrorCode::INVALID_REQUEST),
        (of("a", -1, -1, assigned(&[&[1, 1]])), replicas),
        (of("a", -1, -1, assigned(&[&[1, 2], &[1]])), replicas),
        (of("a", -1, -1, assigned(&[&[9]])), replicas),
        (of("a", -1, -1, [(1, vec![1])].into()), replicas),
        (of("a", -1, -1, assigned(&[&[1, 2], &[2, 3]])), ErrorCode::NONE),
        (of("a", 7, 3, none()), ErrorCode::NONE),
    ];
    for (topic, error) in table {
        let decision = desk.controller.create_topics(std::slice::from_ref(&topic), true);
        assert_eq!(decision.answer[0].error, error, "{topic:?}: {:?}", decision.answer[0].message);
        assert!(decision.records.is_empty());
    }
}

#[test]
fn new_partitions_are_spread_and_not_put_on_brokers_that_leave() {
    let mut desk = Desk::with_brokers(&[], &[1, 2, 3]);
    desk.make("metrics", &[&[3, 1]]);
    desk.beat(3, desk.next_offset() - 1, false, true).unwrap();
    assert!(desk.controller.image().brokers[&3].in_controlled_shutdown);
    let topic = NewTopic { name: "t".into(), partitions: 4, replication_factor: 2, ..NewTopic::default() };
    let decision = desk.controller.create_topics(&[topic], false);
    assert_eq!(desk.commit(decision)[0].error, ErrorCode::NONE);
    let leaders: Vec<i32> = (0..4).map(|p| desk.partition("t", p).leader).collect();
    assert!(leaders == [1, 2, 1, 2] || leaders == [2, 1, 2, 1], "{leaders:?}");
}

#[test]
fn another_minimum_of_in_sync_replicas_ends_eligibility() {
    let mut desk = Desk::with_brokers(&[("min.insync.replicas", "2")], &[1, 2]);
    desk.make("metrics", &[&[1, 2]]);
    desk.beat(2, 0, true, false).unwrap();
    assert_eq!(desk.drawn(), "1 [1] [2]");
    let before = desk.partition("metrics", 0).partition_epoch;
    let change =
        |name: &str, value: &str| ConfigChange { name: name.into(), op: AlterOp::Set, value: Some(value.into()) };
    let resource = (TOPIC_RESOURCE, "metrics".to_owned());
    let decision = desk.controller.alter_configs(&resource, &[change("retention.ms", "5")], false).unwrap();
    desk.commit(decision);
    assert_eq!(desk.drawn(), "1 [1] [2]");
    let decision = desk.controller.alter_configs(&resource, &[change("min.insync.replicas", "1")], false).unwrap();
    desk.commit(decision);
    assert_eq!(desk.drawn(), "1 [1] []", "with one in sync, what it commits the other does not have");
    assert_eq!(desk.partition("metrics", 0).partition_epoch, before + 1);
}
