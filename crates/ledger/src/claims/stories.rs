//! Stories of claims: what was measured, whether it held, and the reason that was found.

use std::fmt::Write;

use metricstream_scenario::measures::{ALL, Need, OfKind, ValueType};
use metricstream_scenario::model::{Controllers, GroupProtocol};

use crate::measure::Measurements;
use crate::measure::stories::{MS, S, broker_2_killed, event, fault, feed, healed, load, partition, scenario};
use crate::sample::{DeliverySample, SendEnd, SendSample};
use crate::timeline::PartitionState;

use super::*;

/// A claim that nobody need hold: `measure [step] [of] [+after] op value`.
fn claim(measure: &str, step: &str, of: &str, after_s: Option<f64>, op: &str, value: ClaimValue) -> Claim {
    let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let id = format!("{measure}-{step}-{of}");
    Claim {
        text: id.clone(),
        id,
        measure: measure.into(),
        step: named(step),
        of: named(of),
        after_s,
        op: op.into(),
        value,
    }
}

fn number(value: f64) -> ClaimValue {
    ClaimValue::Number(value)
}

fn text(value: &str) -> ClaimValue {
    ClaimValue::Text(value.into())
}

struct Story {
    scenario: Scenario,
    events: Vec<TimelineEvent>,
    sends: Vec<SendSample>,
    deliveries: Vec<DeliverySample>,
}

impl Story {
    fn new(events: Vec<TimelineEvent>, stall: (i64, i64)) -> Self {
        let (sends, deliveries) = load(30 * S, stall);
        Self { scenario: scenario(), events, sends, deliveries }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.scenario.topology.broker_config.insert(name.into(), value.into());
        self
    }

    fn answer(mut self, claims: Vec<Claim>) -> Vec<ClaimRow> {
        self.scenario.claims = claims;
        let mut measurements = Measurements::new(&self.scenario);
        self.events.sort_by_key(|event| event.at_us);
        feed(&mut measurements, &self.events, &self.sends, &self.deliveries);
        let measured = measurements.finish(40 * S);
        let sent = self.sends.len() as u64;
        let acked = self.sends.iter().filter(|sample| sample.end == SendEnd::Acked).count() as u64;
        let messages = Messages { sent, acked, in_log: acked, ..Messages::default() };
        answer(&Facts {
            left_out: &[],
            polled: None,
            scenario: &self.scenario,
            measured: &measured,
            messages: Some(&messages),
            anomalies: &[],
            losses: &[],
            timeline: &self.events,
        })
    }
}

fn table(rows: &[ClaimRow]) -> String {
    let mut table = String::new();
    for row in rows {
        let held = match row.held {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "?",
        };
        let measured = match &row.measured {
            Some(result::Measured::Bool(value)) => value.to_string(),
            Some(result::Measured::Number(value)) => value.to_string(),
            Some(result::Measured::Text(value)) => value.clone(),
            None => "-".to_owned(),
        };
        let _ = writeln!(table, "{held} {} {}: {measured}\n    {}", row.id, row.expected, row.reason);
    }
    table
}

fn assert_table(rows: &[ClaimRow], wanted: &str) {
    let table = table(rows);
    assert!(table == wanted, "\n{table}");
}

/// Broker 2 killed, with the coordinator of group-1 on it.
fn killed() -> Story {
    let mut events = broker_2_killed();
    let offsets = |at_us, index: i32, leader, epoch| {
        event(
            at_us,
            What::Partition(PartitionState {
                topic: "__consumer_offsets".into(),
                partition: index,
                replicas: vec![2, 3, 1],
                isr: vec![2, 3, 1],
                elr: Vec::new(),
                leader,
                leader_epoch: epoch,
                partition_epoch: epoch,
            }),
        )
    };
    events.extend((0..4).map(|index| offsets(-2 * S, index, 2, 0)));
    events.extend((0..4).map(|index| offsets(18_600 * MS, index, 3, 1)));
    let owned = (0..3).map(|index| format!("metrics-{index}")).collect();
    let assignment = What::Assignment { group: "group-1".into(), member: "A".into(), generation: 1, partitions: owned };
    events.push(event(S, assignment));
    Story::new(events, (10 * S, 18_800 * MS))
}

#[test]
fn a_killed_broker_is_answered_claim_by_claim() {
    let rows = killed().answer(vec![
        claim("producers_notice_s", "kill-2", "", None, "<=", number(1.0)),
        claim("producers_continue", "kill-2", "", None, "==", ClaimValue::Bool(true)),
        claim("election_start_s", "kill-2", "", None, "<=", number(2.0)),
        claim("new_leaders_s", "kill-2", "", None, "<=", number(3.0)),
        claim("isr_before", "kill-2", "metrics-1", None, "==", text("[2,1,3]")),
        claim("isr_during", "kill-2", "metrics-1", None, "==", text("[3,1]")),
        claim("isr_during", "kill-2", "metrics-2", Some(2.0), "==", text("[3,1]")),
        claim("isr_after", "", "metrics-1", None, "==", text("[1,2,3]")),
        claim("group_rebalanced", "kill-2", "group-1", None, "==", ClaimValue::Bool(true)),
        claim("consumers_pause_s", "kill-2", "", None, "<=", number(1.0)),
        claim("caught_up_s", "start-2", "", None, "<=", number(1.0)),
        claim("all_normal_s", "start-2", "", None, "<=", number(5.0)),
        claim("success_rate", "", "", None, ">=", number(0.99)),
        claim("write_unavailable_s", "kill-2", "", None, "<=", number(9.0)),
        claim("only_leader", "kill-2", "", Some(1.0), "==", text("3")),
        claim("dead_leader_partitions", "kill-2", "", Some(1.0), "==", number(1.0)),
        claim("lost", "", "", None, "==", number(0.0)),
    ]);
    assert_table(&rows, include_str!("stories/killed.txt"));
}

#[test]
fn another_session_timeout_is_another_measurement_and_another_reason() {
    // The same kill with a session of 3 s, fenced after 2.8 s.
    let events = vec![
        partition(-3 * S, 0, 2, &[2, 3, 1], 0, 0),
        fault(10 * S, "kill-2", "kill", &[2]),
        event(12_800 * MS, What::BrokerFenced { broker: 2, broker_epoch: 7 }),
        partition(12_800 * MS, 0, 3, &[3, 1], 1, 1),
    ];
    let claims = || vec![claim("new_leaders_s", "kill-2", "", None, "<=", number(3.0))];
    let story = || Story::new(events.clone(), (10 * S, 13 * S));
    let short =
        story().set("broker.session.timeout.ms", "3000").set("broker.heartbeat.interval.ms", "500").answer(claims());
    assert_eq!(short[0].held, Some(true));
    assert!(short[0].reason.contains("broker.session.timeout.ms = 3000"), "{}", short[0].reason);
    // With the default no timer explains 2.8 s, and that is said.
    let default = story().answer(claims());
    assert!(
        default[0].reason.contains("no timer fits 2.8 s: broker.session.timeout.ms = 9000"),
        "{}",
        default[0].reason
    );
}

#[test]
fn a_controlled_shutdown_needs_no_timer() {
    let events = vec![
        partition(-3 * S, 0, 2, &[2, 3, 1], 0, 0),
        fault(10 * S, "stop-2", "stop", &[2]),
        event(10_080 * MS, What::BrokerShuttingDown { broker: 2, broker_epoch: 7 }),
        partition(10_100 * MS, 0, 3, &[3, 1], 1, 1),
    ];
    let rows = Story::new(events, (0, 0)).answer(vec![
        claim("fenced_s", "stop-2", "", None, "<=", number(1.0)),
        claim("new_leaders_s", "stop-2", "", None, "<=", number(1.0)),
        claim("isr_during", "stop-2", "metrics-0", None, "==", text("[1,3]")),
    ]);
    assert!(
        rows.iter().all(|row| row.held == Some(true) && row.reason.contains("no timer decides")),
        "{}",
        table(&rows)
    );
}

#[test]
fn a_new_active_controller_gives_every_broker_a_whole_session() {
    let mut killed = fault(10 * S, "kill-2", "kill", &[2]);
    if let What::Fault { active_controller, .. } = &mut killed.what {
        *active_controller = true;
    }
    let events = vec![
        event(-3 * S, What::Controller { node: 2, epoch: 1 }),
        partition(-3 * S, 0, 2, &[2, 3, 1], 0, 0),
        killed,
        event(12_100 * MS, What::Controller { node: 3, epoch: 2 }),
        event(21_900 * MS, What::BrokerFenced { broker: 2, broker_epoch: 7 }),
        partition(21_900 * MS, 0, 3, &[3, 1], 1, 1),
    ];
    let mut story = Story::new(events, (10 * S, 22 * S));
    story.scenario.topology.controllers = Controllers::Combined;
    let rows = story.answer(vec![
        claim("controller_changed", "kill-2", "", None, "==", ClaimValue::Bool(true)),
        claim("controller_failover_s", "kill-2", "", None, "<=", number(3.0)),
        claim("new_leaders_s", "kill-2", "", None, "<=", number(3.0)),
        claim("quorum_available", "kill-2", "", None, "==", ClaimValue::Bool(true)),
    ]);
    assert!(rows[1].reason.contains("controller.quorum.fetch.timeout.ms = 2000"), "{}", rows[1].reason);
    assert!(rows[2].reason.contains("node 3 became the active controller at 12.1 s"), "{}", rows[2].reason);
    assert!(rows[3].reason.contains("2 of 3 voters up"), "{}", rows[3].reason);
    assert_eq!(rows.iter().map(|row| row.held).collect::<Vec<_>>(), [Some(true), Some(true), Some(false), Some(true)]);
}

#[test]
fn a_fencing_that_waited_for_a_controller_is_counted_from_when_one_could_act() {
    // The active controller stands still when broker 2 is killed, and goes on counting when it is resumed.
    let events = vec![
        event(-3 * S, What::Controller { node: 3, epoch: 1 }),
        partition(-3 * S, 0, 2, &[2, 3, 1], 0, 0),
        fault(9 * S, "pause-3", "pause", &[3]),
        fault(10 * S, "kill-2", "kill", &[2]),
        healed(14 * S, "pause-3", "resume-3", &[3]),
        event(22 * S, What::BrokerFenced { broker: 2, broker_epoch: 7 }),
        partition(22 * S, 0, 3, &[3, 1], 1, 1),
    ];
    let mut story = Story::new(events, (10 * S, 22_100 * MS));
    story.scenario.topology.controllers = Controllers::Combined;
    let rows = story.answer(vec![claim("fenced_s", "kill-2", "", None, "<=", number(12.0))]);
    let wanted = "broker 2 fenced at +12.0 s, before 14.0 s no controller could act: from then on \
                  broker.session.timeout.ms = 9000 (7.0–10.1 s predicted)";
    assert_eq!(rows[0].reason, wanted);
}

#[test]
fn an_isr_below_its_minimum_refuses_writes_until_it_has_grown() {
    // Brokers 2 and 3 die; the ISR is [1], min.insync.replicas is 2; broker 3 comes back.
    let events = vec![
        partition(-3 * S, 0, 1, &[1, 2, 3], 0, 0),
        fault(10 * S, "kill-2", "kill", &[2]),
        fault(10_100 * MS, "kill-3", "kill", &[3]),
        event(18_600 * MS, What::BrokerFenced { broker: 2, broker_epoch: 7 }),
        event(18_700 * MS, What::BrokerFenced { broker: 3, broker_epoch: 8 }),
        partition(18_600 * MS, 0, 1, &[1, 3], 0, 1),
        partition(18_700 * MS, 0, 1, &[1], 0, 2),
        healed(20 * S, "kill-3", "start-3", &[3]),
        event(25 * S, What::BrokerUnfenced { broker: 3, broker_epoch: 9 }),
        partition(26 * S, 0, 1, &[1, 3], 0, 3),
    ];
    let rows = Story::new(events, (10 * S, 26_100 * MS)).answer(vec![
        claim("write_unavailable_s", "kill-2", "metrics-0", None, "<=", number(1.0)),
        claim("writes_accepted", "kill-3", "metrics-0", None, "==", ClaimValue::Bool(true)),
        claim("leaders_distinct", "kill-3", "", Some(9.0), "==", number(1.0)),
    ]);
    assert!(
        rows[0].reason.contains("the ISR [1] was below min.insync.replicas = 2 until 26.0 s"),
        "{}",
        rows[0].reason
    );
    assert!(
        rows[1].reason.contains("the ISR [1] of metrics-0 was below min.insync.replicas = 2"),
        "{}",
        rows[1].reason
    );
    assert_eq!((rows[1].held, rows[2].held), (Some(false), Some(true)));
}

#[test]
fn a_client_that_waits_longer_than_the_cluster_is_named_with_its_timer() {
    // A paused follower: the ISR shrank at 18.6 s, and yet the client waited a minute for its silent connection.
    let mut story = Story::new(
        vec![
            partition(-3 * S, 0, 2, &[2, 3, 1], 0, 0),
            fault(10 * S, "pause-2", "pause", &[2]),
            event(18_600 * MS, What::BrokerFenced { broker: 2, broker_epoch: 7 }),
            partition(18_600 * MS, 0, 3, &[3, 1], 1, 1),
        ],
        (10 * S, 24_700 * MS),
    );
    story.scenario.workload.producers[0].config.insert("socket.timeout.ms".into(), "6000".into());
    let rows = story.answer(vec![claim("write_unavailable_s", "pause-2", "metrics-0", None, "<=", number(10.0))]);
    let reason = &rows[0].reason;
    assert!(reason.contains("broker 2 until broker 3 took over at 18.6 s"), "{reason}");
    assert!(reason.contains("broker.session.timeout.ms = 9000"), "{reason}");
    assert!(reason.contains("socket.timeout.ms = 6000 is as long"), "{reason}");
}

#[test]
fn members_are_explained_by_their_own_timers() {
    let member = |at_us, step: &str, change: &str| {
        let what = What::Member { group: "group-1".into(), member: "B".into(), change: change.into() };
        TimelineEvent { cause: Some(step.into()), ..event(at_us, what) }
    };
    let owns = |at_us, member: &str, generation, partitions: &[i32]| {
        let partitions = partitions.iter().map(|index| format!("metrics-{index}")).collect();
        event(at_us, What::Assignment { group: "group-1".into(), member: member.into(), generation, partitions })
    };
    let events = vec![
        owns(S, "A", 1, &[0, 1, 2]),
        member(5 * S, "join-b", "join"),
        owns(6 * S, "A", 1, &[]),
        owns(6_100 * MS, "A", 2, &[0, 2]),
        owns(6_100 * MS, "B", 2, &[1]),
        member(10 * S, "crash-b", "crash"),
        owns(17 * S, "A", 2, &[]),
        owns(17_100 * MS, "A", 3, &[0, 1, 2]),
    ];
    let claims = || {
        vec![
            claim("assignment", "join-b", "group-1/A", None, "==", text("[P0,P2]")),
            claim("assignment", "join-b", "group-1/B", Some(0.5), "==", text("[P1]")),
            claim("rebalance_duration_s", "join-b", "", None, "<=", number(3.0)),
            claim("rebalance_at_s", "crash-b", "", None, "<=", number(3.0)),
            claim("rebalance_duration_s", "crash-b", "", None, "<=", number(10.0)),
            claim("assignment", "crash-b", "group-1/B", None, "==", text("[]")),
        ]
    };
    let story = |session_ms: &str| {
        let mut story = Story::new(events.clone(), (0, 0));
        story.scenario.workload.groups[0].config.insert("session.timeout.ms".into(), session_ms.into());
        story
    };
    let rows = story("7000").answer(claims());
    let held: Vec<_> = rows.iter().map(|row| row.held).collect();
    assert_eq!(held, [Some(true), Some(false), Some(true), Some(false), Some(true), Some(true)], "{}", table(&rows));
    assert!(rows[1].reason.contains("was not over then"), "{}", rows[1].reason);
    assert!(rows[2].reason.contains("heartbeat.interval.ms = 3000"), "{}", rows[2].reason);
    assert!(rows[4].reason.contains("session.timeout.ms = 7000"), "{}", rows[4].reason);
    let rows = story("45000").answer(claims());
    assert!(rows[4].reason.contains("no timer fits 7.0 s: session.timeout.ms = 45000"), "{}", rows[4].reason);
    // Another protocol, another timer.
    let mut story = story("45000");
    story.scenario.workload.groups[0].protocol = GroupProtocol::Consumer;
    story.scenario.workload.groups[0].config.clear();
    let rows = story.set("group.consumer.session.timeout.ms", "7000").answer(claims());
    assert!(rows[4].reason.contains("group.consumer.session.timeout.ms = 7000"), "{}", rows[4].reason);
}

#[test]
fn no_measure_of_the_list_comes_out_null() {
    let mut claims = Vec::new();
    for spec in ALL {
        let step = match spec.id {
            "caught_up_s" => "start-2",
            _ if spec.step == Need::Never => "",
            _ => "kill-2",
        };
        let of = match spec.of {
            _ if spec.of_need != Need::Required => "",
            OfKind::Partition => "metrics-1",
            OfKind::Group => "group-1",
            OfKind::Member => "group-1/A",
            OfKind::Nothing => "",
        };
        let value = match spec.value {
            ValueType::Bool => ClaimValue::Bool(true),
            ValueType::Number => number(1.0),
            ValueType::Isr => text("[1]"),
            ValueType::Assignment => text("[P0]"),
            ValueType::Word => text("none"),
        };
        claims.push(claim(spec.id, step, of, (spec.after == Need::Required).then_some(1.0), "==", value));
    }
    let mut story = killed();
    story.events.push(event(-3 * S, What::Controller { node: 101, epoch: 1 }));
    let rows = story.answer(claims);
    assert_eq!(rows.len(), ALL.len());
    for (row, spec) in rows.iter().zip(ALL) {
        assert!(row.measured.is_some() && row.held.is_some(), "{}", table(std::slice::from_ref(row)));
        assert!(!row.reason.is_empty(), "{} has no reason", spec.id);
        let fits = match (&row.measured, spec.value) {
            (Some(result::Measured::Text(text)), _) if text == NEVER => true,
            (Some(result::Measured::Bool(_)), ValueType::Bool)
            | (Some(result::Measured::Number(_)), ValueType::Number)
            | (Some(result::Measured::Text(_)), ValueType::Isr | ValueType::Assignment | ValueType::Word) => true,
            _ => false,
        };
        assert!(fits, "{}: {:?}", spec.id, row.measured);
    }
}

#[test]
fn a_step_that_was_not_carried_out_is_the_only_null() {
    let failed = What::FaultFailed { id: "kill-9".into(), error: "there is no node 9".into() };
    let story = Story::new(vec![event(10 * S, failed)], (0, 0));
    let rows = story.answer(vec![claim("fenced_s", "kill-9", "", None, "<=", number(1.0))]);
    assert_eq!((rows[0].held, rows[0].measured.clone()), (None, None));
    assert_eq!(rows[0].reason, "step kill-9 was not carried out: there is no node 9");
}

#[test]
fn an_unclean_election_is_seen_and_named() {
    let events = vec![
        partition(-3 * S, 0, 1, &[1], 0, 0),
        fault(10 * S, "kill-1", "kill", &[1]),
        partition(18 * S, 0, -1, &[1], 1, 1),
        partition(19 * S, 0, 2, &[2], 2, 2),
    ];
    let rows = Story::new(events, (10 * S, 19 * S)).answer(vec![
        claim("unclean_elections", "", "", None, "==", number(0.0)),
        claim("leaderless_partitions", "kill-1", "", Some(8.5), "==", number(1.0)),
    ]);
    assert!(rows[0].held == Some(false) && rows[0].reason.contains("metrics-0 → 2 at 19.0 s"), "{}", rows[0].reason);
    assert_eq!(rows[1].held, Some(true));
}
