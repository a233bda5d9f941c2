//! Stories: a run told as events and samples, and what must be measured of it.

use std::collections::BTreeMap;

use metricstream_scenario::model::{
    Baseline, Controllers, Group, GroupProtocol, Producer, Profile, Scenario, Settle, Topic, Topology, Workload,
};

use crate::timeline::{Clock, PartitionState, What};

use super::*;

pub(crate) const S: i64 = 1_000_000;
pub(crate) const MS: i64 = 1_000;

/// Three brokers, `metrics` with three partitions, one producer at 300/s, group-1 with member A.
pub(crate) fn scenario() -> Scenario {
    Scenario {
        schema: 1,
        name: "story".into(),
        description: "A story.".into(),
        topology: Topology {
            brokers: 3,
            controllers: Controllers::Separate(1),
            profile: Profile::Apache,
            broker_config: BTreeMap::new(),
            topics: vec![Topic {
                name: "metrics".into(),
                partitions: 3,
                replication_factor: 3,
                min_insync_replicas: 2,
                replicas: Vec::new(),
                config: BTreeMap::new(),
            }],
        },
        workload: Workload {
            duration_s: Some(30.0),
            settle_s: 5.0,
            max_duration_s: None,
            producers: vec![Producer {
                name: "p".into(),
                topic: "metrics".into(),
                rate_per_s: Some(300.0),
                message_size_bytes: 100,
                keys: None,
                config: BTreeMap::new(),
            }],
            groups: vec![Group {
                name: "group-1".into(),
                topics: vec!["metrics".into()],
                protocol: GroupProtocol::Classic,
                assignor: "roundrobin".into(),
                members: vec!["A".into()],
                config: BTreeMap::new(),
            }],
        },
        timeline: Vec::new(),
        settle: Settle { isr_full_s: 60.0, drain_s: 10.0, group_catch_up_s: 30.0, heal: true },
        baseline: Baseline::default(),
        claims: Vec::new(),
    }
}

pub(crate) fn event(at_us: i64, what: What) -> TimelineEvent {
    TimelineEvent { at_us, error_us: 0, clock: Clock::Controller, what, cause: None }
}

pub(crate) fn fault(at_us: i64, id: &str, kind: &str, nodes: &[i32]) -> TimelineEvent {
    let what = What::Fault {
        id: id.into(),
        kind: kind.into(),
        target: format!("broker {}", nodes[0]),
        nodes: nodes.to_vec(),
        active_controller: false,
    };
    event(at_us, what)
}

pub(crate) fn healed(at_us: i64, id: &str, by: &str, nodes: &[i32]) -> TimelineEvent {
    event(at_us, What::Healed { id: id.into(), by: by.into(), kind: "start".into(), nodes: nodes.to_vec() })
}

/// Partition `partition` with this leader, ISR, leader epoch and partition epoch; replicas as round-robin gives them.
pub(crate) fn partition(
    at_us: i64,
    partition: i32,
    leader: i32,
    isr: &[i32],
    epoch: i32,
    version: i32,
) -> TimelineEvent {
    let replicas = (0..3).map(|nth| (partition + nth) % 3 + 1).collect();
    let state = PartitionState {
        topic: "metrics".into(),
        partition,
        replicas,
        isr: isr.to_vec(),
        elr: Vec::new(),
        leader,
        leader_epoch: epoch,
        partition_epoch: version,
    };
    event(at_us, What::Partition(state))
}

pub(crate) fn tp(partition: i32) -> Tp {
    Tp { topic: 0, partition }
}

/// Every intended send of the schedule (100/s for each partition), acknowledged 2 ms after it, or, if it falls into
/// `stall`, 2 ms after the stall; delivered 1 ms later.
pub(crate) fn load(duration_us: i64, stall: (i64, i64)) -> (Vec<SendSample>, Vec<DeliverySample>) {
    let (mut sends, mut deliveries) = (Vec::new(), Vec::new());
    for nth in 0..duration_us / (10 * MS) {
        let intended_us = nth * 10 * MS;
        let free_us = if (stall.0..stall.1).contains(&intended_us) { stall.1 } else { intended_us };
        let done_us = free_us + 2 * MS;
        for partition in 0..3 {
            sends.push(SendSample {
                producer: 0,
                tp: tp(partition),
                intended_us,
                sent_us: intended_us,
                done_us,
                size_bytes: 100,
                end: SendEnd::Acked,
            });
            deliveries.push(DeliverySample {
                group: 0,
                member: 1,
                tp: tp(partition),
                offset: nth,
                intended_us,
                delivered_us: done_us + MS,
                size_bytes: 100,
            });
        }
    }
    (sends, deliveries)
}

/// Broker 2 is killed at 10 s, fenced at 18.6 s, started at 20 s, back in every ISR at 26.1 s.
pub(crate) fn broker_2_killed() -> Vec<TimelineEvent> {
    let full = [[1, 2, 3], [2, 3, 1], [3, 1, 2]];
    let mut events: Vec<TimelineEvent> =
        (0..3).map(|p| partition(-3 * S, p, full[p as usize][0], &full[p as usize], 0, 0)).collect();
    events.push(fault(10 * S, "kill-2", "kill", &[2]));
    events.push(event(18_600 * MS, What::BrokerFenced { broker: 2, broker_epoch: 7 }));
    events.push(partition(18_600 * MS, 0, 1, &[1, 3], 0, 1));
    events.push(partition(18_600 * MS, 1, 3, &[3, 1], 1, 1));
    events.push(partition(18_600 * MS, 2, 3, &[3, 1], 0, 1));
    events.push(healed(20 * S, "kill-2", "start-2", &[2]));
    events.push(event(25 * S, What::BrokerRegistered { broker: 2, broker_epoch: 9 }));
    events.push(event(25_500 * MS, What::BrokerUnfenced { broker: 2, broker_epoch: 9 }));
    events.push(partition(26 * S, 0, 1, &[1, 3, 2], 0, 2));
    events.push(partition(26 * S, 1, 3, &[3, 1, 2], 1, 2));
    events.push(partition(26_100 * MS, 2, 3, &[3, 1, 2], 0, 2));
    events
}

/// Feeds events and samples as they would come: in the order of time, events half a second late.
pub(crate) fn feed(
    measurements: &mut Measurements,
    events: &[TimelineEvent],
    sends: &[SendSample],
    deliveries: &[DeliverySample],
) {
    let (mut events, mut sends, mut deliveries) = (events.iter().peekable(), sends.to_vec(), deliveries.to_vec());
    sends.sort_by_key(|sample| sample.done_us);
    deliveries.sort_by_key(|sample| sample.delivered_us);
    let (mut sends, mut deliveries) = (sends.as_slice(), deliveries.as_slice());
    let mut now_us = -5 * S;
    while events.peek().is_some() || !sends.is_empty() || !deliveries.is_empty() {
        now_us += 100 * MS;
        while let Some(event) = events.next_if(|event| event.at_us + 500 * MS <= now_us) {
            measurements.timeline(event);
        }
        let (ripe, rest) = sends.split_at(sends.partition_point(|sample| sample.done_us <= now_us));
        measurements.sends(ripe);
        sends = rest;
        let (ripe, rest) = deliveries.split_at(deliveries.partition_point(|sample| sample.delivered_us <= now_us));
        measurements.deliveries(ripe);
        deliveries = rest;
    }
}

pub(crate) fn measured(events: &[TimelineEvent], stall: (i64, i64)) -> Measured {
    let mut measurements = Measurements::new(&scenario());
    let (sends, deliveries) = load(30 * S, stall);
    feed(&mut measurements, events, &sends, &deliveries);
    measurements.finish(35 * S)
}

#[test]
fn a_killed_broker_as_a_table() {
    let measured = measured(&broker_2_killed(), (10 * S, 18_800 * MS));
    let mut table = String::new();
    for phase in &measured.phases {
        table += &format!("phase {} {:.1}–{:.1}\n", phase.name, phase.from_s, phase.to_s);
    }
    for row in &measured.unavailability {
        let fault = row.fault.as_deref().unwrap_or("-");
        table += &format!(
            "{} {}-{} {:.3}+{:.3} ±{} {fault} open={}\n",
            row.op, row.topic, row.partition, row.from_s, row.duration_s, row.resolution_ms, row.open
        );
    }
    for row in &measured.failovers {
        table += &format!(
            "failover {}-{} {}→{} epoch {} t0 {:?} t1 {:?} t2 {} t4 {:?} {}\n",
            row.topic,
            row.partition,
            row.from,
            row.to,
            row.epoch.unwrap_or(-1),
            row.fault_s,
            row.fenced_s,
            row.elected_s.unwrap_or(-1.0),
            row.first_ack_s,
            row.predicted.as_deref().unwrap_or("-")
        );
    }
    for row in &measured.isr_outages {
        table += &format!(
            "isr {}-{} {:?}→{:?}→{:?} shrunk after {:?}, full after {:?}\n",
            row.topic, row.partition, row.before, row.smallest, row.after, row.shrunk_after_s, row.full_after_s
        );
    }
    for row in &measured.recovery {
        table += &format!("recovery {row:?}\n");
    }
    for row in measured.latency.iter().filter(|row| row.kind == "response") {
        let (p50, max) = (row.p50_ms.unwrap_or(-1.0), row.max_ms.unwrap_or(-1.0));
        table += &format!(
            "response {} {} n={} open={} p50 {p50:.0} max {max:.0}\n",
            row.phase, row.acks, row.count, row.open
        );
    }
    for row in &measured.throughput {
        table += &format!("{} {:?} {:?} {:?}\n", row.phase, row.acked_per_s, row.mb_per_s, row.limited_by);
    }
    assert!(table == include_str!("stories/killed.txt"), "\n{table}");
}

#[test]
fn a_stall_of_two_seconds_cannot_hide_in_an_open_loop() {
    let measured = measured(&[], (12 * S, 14 * S));
    let response = measured.latency.iter().find(|row| row.kind == "response").expect("a row");
    assert_eq!((response.phase.as_str(), response.count, response.max_ms), ("healthy", 9_000, Some(2_002.0)));
    // 200 of 3,000 sends of each partition waited: p90 does not see them, p99 does.
    assert!(response.p90_ms < Some(3.0) && response.p99_ms > Some(1_600.0), "{response:?}");
    assert_eq!(measured.unavailability.len(), 6);
    assert!(measured.unavailability.iter().all(|row| row.fault.is_none() && !row.open));
}

#[test]
fn what_never_was_acknowledged_is_open_and_slower_than_everything() {
    let mut measurements = Measurements::new(&scenario());
    let (mut sends, _) = load(10 * S, (0, 0));
    for sample in sends.iter_mut().filter(|sample| sample.intended_us >= 8 * S) {
        (sample.end, sample.done_us) = (SendEnd::Open, 10 * S);
    }
    feed(&mut measurements, &[fault(8 * S, "kill-all", "kill", &[1, 2, 3])], &sends, &[]);
    let measured = measurements.finish(12 * S);
    let down = measured.latency.iter().find(|row| row.phase == "brokers 1, 2, 3 down" && row.kind == "response");
    let down = down.expect("a row");
    assert_eq!((down.count, down.open, down.p50_ms, down.max_ms), (0, 600, None, None));
    assert_eq!(measured.unavailability.len(), 3);
    for row in &measured.unavailability {
        assert!(row.open && row.fault.as_deref() == Some("kill-all"), "{row:?}");
        assert!((row.from_s - 7.992).abs() < 1e-9 && (row.duration_s - 1.998).abs() < 1e-9, "{row:?}");
    }
}

#[test]
fn a_pause_of_the_schedule_is_no_outage() {
    // Every fifth second only is anything intended.
    let (sends, _) = load(20 * S, (0, 0));
    let sends: Vec<SendSample> = sends.into_iter().filter(|sample| sample.intended_us % (5 * S) < S).collect();
    let mut measurements = Measurements::new(&scenario());
    feed(&mut measurements, &[], &sends, &[]);
    assert_eq!(measurements.finish(20 * S).unavailability, []);
}

#[test]
fn a_late_report_splits_what_looked_like_a_gap() {
    let mut gaps = Gaps::of_writes();
    let key = (ANY, tp(0));
    for at_us in [0, 10 * MS, 1_000 * MS] {
        gaps.came(key, at_us, at_us.min(20 * MS), true);
    }
    assert_eq!(gaps.outages(key).map(|gap| gap.length_us()).collect::<Vec<_>>(), [990 * MS]);
    gaps.came(key, 300 * MS, 20 * MS, true);
    assert_eq!(gaps.outages(key).map(|gap| gap.length_us()).collect::<Vec<_>>(), [290 * MS, 700 * MS]);
}

#[test]
fn memory_does_not_follow_a_flood() {
    let mut measurements = Measurements::new(&scenario());
    for nth in 0..2_000_i64 {
        let at_us = nth; // A thousand messages a millisecond.
        let sample = SendSample {
            producer: 0,
            tp: tp(0),
            intended_us: at_us,
            sent_us: at_us,
            done_us: at_us + 5,
            size_bytes: 100,
            end: SendEnd::Acked,
        };
        measurements.sends(&[sample; 1_000]);
        assert!(measurements.held_sends.len() <= HELD_MAX + 1_000);
    }
    let rows = measurements.finish(S).latency;
    assert_eq!(rows.iter().find(|row| row.kind == "response").map(|row| row.count), Some(2_000_000));
}

#[test]
fn the_limiting_side_is_told_both_ways() {
    let client = |cpu_share, in_flight, queued| {
        let mut rates = throughput::Rates::new(false);
        let (sends, _) = load(10 * S, (0, 0));
        sends.iter().for_each(|sample| rates.send(sample, &phases::Phases::default()));
        for second in 0..10 {
            rates.client(&ClientSample {
                producer: 0,
                at_us: second * S,
                interval_us: S,
                queued,
                queue_limit: 100_000,
                leaders: Vec::new(),
                in_flight,
                cpu_share,
            });
        }
        rates.rows(&phases::Phases::default(), 10 * S, &mut Vec::new())[0].limited_by.clone()
    };
    assert_eq!(client(Some(0.97), 500, 100_000).as_deref(), Some("client"));
    assert_eq!(client(Some(0.20), 500, 100_000).as_deref(), Some("cluster"));
    assert_eq!(client(None, 500, 100_000).as_deref(), Some("cluster"));
    // The wire stands idle while messages wait in the queue.
    assert_eq!(client(Some(0.20), 0, 100_000).as_deref(), Some("client"));
    // Nothing waits: the generator does not hand over.
    assert_eq!(client(Some(0.20), 500, 0).as_deref(), Some("client"));
    let none = throughput::Clients::default();
    assert_eq!(throughput::limit(true, (1_000, 990), 990, &none), Some("schedule"));
    assert_eq!(throughput::limit(true, (1_000, 900), 900, &none), None);
}

#[test]
fn without_acknowledgements_nothing_is_called_an_outage() {
    let mut scenario = scenario();
    scenario.workload.producers[0].config.insert("acks".into(), "0".into());
    let mut measurements = Measurements::new(&scenario);
    let (mut sends, _) = load(10 * S, (0, 0));
    sends.iter_mut().for_each(|sample| sample.end = SendEnd::Unknown);
    feed(&mut measurements, &[], &sends, &[]);
    let measured = measurements.finish(12 * S);
    assert_eq!(measured.unavailability, []);
    assert!(measured.not_measured.iter().any(|line| line.contains("acks=0 has no acknowledgement")));
    let row = measured.latency.iter().find(|row| row.kind == "response").expect("a row");
    assert_eq!((row.acks.as_str(), row.count, row.open), ("0", 0, 3_000));
}

#[test]
fn leadership_that_is_given_back_is_a_preferred_election_and_no_failover() {
    let mut events = broker_2_killed();
    events.push(partition(29 * S, 1, 2, &[3, 1, 2], 2, 3));
    let measured = measured(&events, (10 * S, 18_800 * MS));
    let back = &measured.failovers[1];
    assert_eq!((back.from, back.to, back.fault.as_deref(), back.predicted_max_s), (3, 2, None, None));
    let wanted = "preferred leader election, leader.imbalance.check.interval.seconds = 300";
    assert_eq!(back.predicted.as_deref(), Some(wanted));
}

/// What a client says once a second that takes `leader` for that of `metrics-1`.
fn believing(at_us: i64, leader: i32) -> ClientSample {
    ClientSample {
        producer: 0,
        at_us,
        interval_us: S,
        queued: 0,
        queue_limit: 100_000,
        leaders: vec![(tp(1), leader)],
        in_flight: 0,
        cpu_share: None,
    }
}

#[test]
fn a_client_learns_within_the_interval_of_its_statistics() {
    let mut measurements = Measurements::new(&scenario());
    broker_2_killed().iter().for_each(|event| measurements.timeline(event));
    for (at_us, leader) in [(18 * S, 2), (19 * S, 3), (20 * S, 3)] {
        measurements.client(&believing(at_us, leader));
    }
    let measured = measurements.finish(35 * S);
    assert_eq!(measured.failovers[0].learned_s, Some(19.0));
    assert!(!measured.not_measured.iter().any(|line| line.contains("learned_s")));
}

#[test]
fn who_was_acknowledged_by_a_new_leader_had_learned_of_it() {
    let mut measurements = Measurements::new(&scenario());
    let (sends, deliveries) = load(30 * S, (10 * S, 18_800 * MS));
    for (at_us, leader) in [(18 * S, 2), (19 * S, 3)] {
        measurements.client(&believing(at_us, leader));
    }
    feed(&mut measurements, &broker_2_killed(), &sends, &deliveries);
    let measured = measurements.finish(35 * S);
    // The statistics said so at 19 s; the new leader acknowledged 200 ms after its election.
    let row = &measured.failovers[0];
    assert_eq!((row.learned_s, row.first_ack_s), (Some(18.802), Some(18.802)));
}

#[test]
fn a_session_that_ends_after_the_start_still_ends_by_the_fault() {
    // Started again 100 ms before the controller fences its former life; it registers at 25 s.
    let mut events = broker_2_killed();
    let start = events.iter_mut().find(|event| matches!(event.what, What::Healed { .. })).expect("a start");
    start.at_us = 18_500 * MS;
    events.sort_by_key(|event| event.at_us);
    let measured = measured(&events, (10 * S, 18_800 * MS));
    let row = &measured.failovers[0];
    assert_eq!((row.from, row.fault.as_deref(), row.fault_s), (2, Some("kill-2"), Some(10.0)));
    assert_eq!(row.fenced_s, Some(18.6));
}

#[test]
fn an_election_within_the_error_of_the_fault_follows_it() {
    // Closed connections are evidence of a death: the election may be stamped before the kill is recorded.
    let mut killed = fault(10 * S, "kill-2", "kill", &[2]);
    killed.error_us = MS;
    let events = vec![
        partition(-3 * S, 1, 2, &[2, 3, 1], 0, 0),
        event(10 * S - 800, What::BrokerFenced { broker: 2, broker_epoch: 7 }),
        partition(10 * S - 800, 1, 3, &[3, 1], 1, 1),
        killed,
    ];
    let measured = measured(&events, (10 * S, 10_100 * MS));
    let row = &measured.failovers[0];
    assert_eq!((row.fault.as_deref(), row.fenced_s), (Some("kill-2"), Some(9.9992)));
}

#[test]
fn what_piled_up_in_the_warm_up_is_no_throughput_of_the_healthy_phase() {
    // Nothing is acknowledged until 3 s, as when a cluster is cold: 900 messages come at once.
    let measured = measured(&[], (0, 3 * S));
    let row = &measured.throughput[0];
    assert_eq!(row.offered_per_s.map(f64::round), Some(300.0));
    assert!(row.acked_per_s.is_some_and(|rate| rate < 301.0), "{row:?}");
    assert!(row.delivered_per_s.is_some_and(|rate| rate < 301.0), "{row:?}");
    assert_eq!(row.limited_by.as_deref(), Some("schedule"));
}

#[test]
fn what_an_outage_left_is_told_apart_where_it_is_acknowledged() {
    let measured = measured(&broker_2_killed(), (10 * S, 20_500 * MS));
    let row = |phase: &str| measured.throughput.iter().find(|row| row.phase == phase).expect("the phase");
    let back = row("broker 2 back");
    // 20.0–26.1 s: 300/s of its own, and 3,000 messages of the ten seconds before.
    assert_eq!((back.acked_per_s, back.backlog_per_s), (Some(4_830.0 / 6.1), Some(3_000.0 / 6.1)));
    assert_eq!(back.offered_per_s.map(f64::round), Some(300.0));
    assert_eq!(back.delivered_backlog_per_s, back.backlog_per_s);
    assert_eq!(row("healthy").backlog_per_s, Some(0.0));
    assert_eq!(row("healed").backlog_per_s, Some(0.0));
}

#[test]
fn the_last_messages_before_a_fault_do_not_speak_for_a_short_phase() {
    // 2–5 s are healthy; what is wanted in their last 100 ms, 3 % of it, waits for the end of the outage.
    let mut measurements = Measurements::new(&scenario());
    let (sends, deliveries) = load(20 * S, (4_900 * MS, 13_800 * MS));
    for second in 0..20 {
        measurements.client(&ClientSample {
            producer: 0,
            at_us: second * S + 200 * MS,
            interval_us: S,
            queued: 500,
            queue_limit: 100_000,
            leaders: Vec::new(),
            in_flight: 100,
            cpu_share: Some(0.1),
        });
    }
    let events = [partition(-3 * S, 1, 2, &[2, 3, 1], 0, 0), fault(5 * S, "kill-2", "kill", &[2])];
    feed(&mut measurements, &events, &sends, &deliveries);
    let measured = measurements.finish(25 * S);
    assert_eq!(measured.throughput[0].phase, "healthy");
    assert_eq!(measured.throughput[0].limited_by.as_deref(), Some("schedule"));
}
