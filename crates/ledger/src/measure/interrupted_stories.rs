//! Stories of a run that is interrupted in the middle of an outage: what is open is told as open, and as at least so long.

use metricstream_scenario::model::{Claim, ClaimValue};

use super::stories::{MS, S, event, fault, feed, healed, load, partition, scenario, tp};
use super::*;
use crate::claims::{Facts, answer};
use crate::history::{LaneId, Outcome};
use crate::result::ClaimRow;
use crate::timeline::What;

/// When the load was stopped, and broker 2 started again to leave things in order.
const CUT: i64 = 14 * S;

/// Broker 2 is killed at 10 s; the run is interrupted at 14 s, before the controller has fenced it.
fn events() -> Vec<TimelineEvent> {
    let full = [[1, 2, 3], [2, 3, 1], [3, 1, 2]];
    let mut events: Vec<TimelineEvent> =
        (0..3).map(|p| partition(-3 * S, p, full[p as usize][0], &full[p as usize], 0, 0)).collect();
    events.push(fault(10 * S, "kill-2", "kill", &[2]));
    events.push(healed(CUT, "kill-2", "settle", &[2]));
    events.push(event(CUT, What::Phase { name: "interrupted".into() }));
    events
}

fn lane(partition: i32) -> LaneId {
    LaneId { incarnation: 0, lane: partition as u32 }
}

/// The scenario's claims, where no audit was made.
fn answered(scenario: &Scenario, measured: &Measured, timeline: &[TimelineEvent]) -> Vec<ClaimRow> {
    answer(&Facts {
        scenario,
        measured,
        messages: None,
        anomalies: &[],
        losses: &[],
        timeline,
        left_out: &[],
        polled: None,
    })
}

fn claim(measure: &str, step: Option<&str>, op: &str, value: ClaimValue) -> Claim {
    Claim {
        id: measure.into(),
        text: measure.into(),
        measure: measure.into(),
        step: step.map(str::to_owned),
        of: None,
        after_s: None,
        op: op.into(),
        value,
    }
}

/// 100/s for each of three partitions, acknowledged until the kill; what was sent from then on is only in the history.
fn interrupted() -> (Measured, Vec<ClaimRow>) {
    let mut scenario = scenario();
    scenario.claims = vec![
        claim("success_rate", None, ">=", ClaimValue::Number(0.99)),
        Claim { id: "some".into(), ..claim("success_rate", None, ">=", ClaimValue::Number(0.7)) },
        Claim { id: "none".into(), ..claim("success_rate", None, "<=", ClaimValue::Number(0.7)) },
        claim("producers_notice_s", Some("kill-2"), "<=", ClaimValue::Number(1.0)),
        claim("producers_continue", Some("kill-2"), "==", ClaimValue::Bool(true)),
        claim("write_unavailable_s", Some("kill-2"), "<=", ClaimValue::Number(9.0)),
    ];
    let mut measurements = Measurements::new(&scenario);
    for nth in 0..3 {
        let partition = Some(nth);
        measurements.record(&Record::Lane { lane: lane(nth), topic: 0, partition, idempotent: true });
    }
    let (sends, deliveries) = load(CUT, (10 * S, 100 * S));
    let (sends, _): (Vec<_>, Vec<_>) = sends.into_iter().partition(|sample| sample.intended_us < 10 * S);
    let deliveries: Vec<_> = deliveries.into_iter().filter(|sample| sample.intended_us < 10 * S).collect();
    // Told every 100 ms: ten more of each lane, the last of them now.
    for turn in 1..=CUT / (100 * MS) {
        let at_us = turn * 100 * MS - 10 * MS;
        for nth in 0..3 {
            let lane = lane(nth);
            measurements.record(&Record::Sent { at_us, lane, up_to_seq: turn as u64 * 10 });
            if at_us < 10 * S {
                let outcome = Outcome::Ok { tp: tp(nth), base_offset: turn * 10 - 10 };
                let first_seq = turn as u64 * 10 - 10;
                measurements.record(&Record::Outcome { at_us, lane, first_seq, count: 10, outcome });
            }
        }
    }
    let events = events();
    feed(&mut measurements, &events, &sends, &deliveries);
    let measured = measurements.finish(15 * S);
    let rows = answered(&scenario, &measured, &events);
    (measured, rows)
}

#[test]
fn an_outage_that_is_open_at_the_end_of_load_is_told_as_open() {
    let (measured, _) = interrupted();
    let open: Vec<_> = measured.unavailability.iter().filter(|row| row.op == "write").collect();
    assert_eq!(open.len(), 3, "{open:#?}");
    for row in open {
        assert!(row.open && row.fault.as_deref() == Some("kill-2"), "{row:?}");
        assert!((row.from_s - 10.0).abs() < 0.02 && (row.duration_s - 4.0).abs() < 0.02, "{row:?}");
    }
    let latency = |phase: &str, kind: &str| {
        measured.latency.iter().find(|row| row.phase == phase && row.kind == kind).cloned().expect("a row")
    };
    let down = latency("broker 2 down", "response");
    assert_eq!((down.count, down.open, down.p50_ms), (0, 1_200, None));
    assert_eq!(latency("healthy", "response").open, 0);
    // When they were wanted nobody told: a delay of 0 would be made up.
    let delay = measured.latency.iter().find(|row| row.phase == "broker 2 down" && row.kind == "delay");
    assert_eq!(delay, None);
    let throughput = measured.throughput.iter().find(|row| row.phase == "broker 2 down").expect("a row");
    assert_eq!(throughput.acked_per_s, Some(0.0));
}

#[test]
fn sends_that_nobody_answered_are_no_success_and_nothing_bridged_them() {
    let (_, rows) = interrupted();
    let row = |id: &str| rows.iter().find(|row| row.id == id).cloned().expect("a claim");
    let success = row("success_rate");
    assert_eq!((success.held, success.measured), (None, None), "those that were open might have been acknowledged");
    let why = "3000 of 4200 sends were acknowledged when the run was interrupted, and 1200 still open: those would have decided";
    assert_eq!(success.reason, why);
    let notice = row("producers_notice_s");
    assert_eq!(notice.held, Some(true), "an unanswered send is a sign: {notice:?}");
    let go_on = row("producers_continue");
    let why = "1200 of 1200 sends in the window were still open when the run was interrupted, and none had failed";
    assert_eq!((go_on.held, go_on.reason.as_str()), (None, why));
    for row in &rows {
        assert!(!row.reason.contains("bridged") && !row.reason.contains("1 producers"), "{}", row.reason);
    }
    let unavailable = row("write_unavailable_s").reason;
    assert!(unavailable.contains("when the load ended, and had not gone on by then"), "{unavailable}");
    assert!(unavailable.contains("broker 2, which was down"), "what was in the way is named: {unavailable}");
    assert!(!unavailable.contains("went on when settle"), "{unavailable}");
}

#[test]
fn what_was_open_when_the_run_was_interrupted_decides_only_where_it_could() {
    let (_, rows) = interrupted();
    let row = |id: &str| rows.iter().find(|row| row.id == id).cloned().expect("a claim");
    // 3000 of 4200 is more than 0.7 already, whatever became of the others.
    assert_eq!(row("some").held, Some(true));
    let missed = row("none");
    assert_eq!((missed.held, missed.measured), (Some(false), Some(result::Measured::Number(3_000.0 / 4_200.0))));
    assert!(missed.reason.starts_with("1200 of 4200 sends were not acknowledged"), "{}", missed.reason);
    // What failed before is missed for good: all that was open would not have been enough.
    let mut scenario = scenario();
    scenario.claims = vec![claim("success_rate", None, ">=", ClaimValue::Number(0.99))];
    let answers = |failed: usize, events: &[TimelineEvent]| {
        let (mut sends, deliveries) = load(CUT, (0, 0));
        sends.iter_mut().take(failed).for_each(|sample| sample.end = SendEnd::Failed);
        sends.iter_mut().rev().take(30).for_each(|sample| sample.end = SendEnd::Open);
        let mut measurements = Measurements::new(&scenario);
        feed(&mut measurements, events, &sends, &deliveries);
        let measured = measurements.finish(15 * S);
        answered(&scenario, &measured, events).remove(0)
    };
    let held = |failed, events: &[TimelineEvent]| answers(failed, events).held;
    assert_eq!([13, 42, 43].map(|failed| held(failed, &events())), [None, None, Some(false)]);
    assert_eq!(held(12, &events()), Some(true));
    // Of a run that went on to its end nobody would have waited longer.
    assert_eq!(held(13, &events()[..3]), Some(false));
}

#[test]
fn nothing_is_said_of_catching_up_where_nothing_came_after_the_heal() {
    let (measured, _) = interrupted();
    assert_eq!(measured.catch_up, []);
    let why = "catch_up of group-1 after kill-2: nothing was acknowledged or delivered after the heal";
    assert!(measured.not_measured.iter().any(|line| line.starts_with(why)), "{:?}", measured.not_measured);
}

#[test]
fn outcomes_may_come_in_any_order_and_only_what_has_none_is_open() {
    let mut open = unreported::Unreported::default();
    open.record(&Record::Lane { lane: lane(1), topic: 0, partition: Some(1), idempotent: true });
    open.record(&Record::Sent { at_us: S, lane: lane(1), up_to_seq: 1 });
    open.record(&Record::Sent { at_us: 2 * S, lane: lane(1), up_to_seq: 11 });
    for (first_seq, count) in [(8, 2), (0, 3), (4, 1)] {
        let outcome = Outcome::Unknown;
        open.record(&Record::Outcome { at_us: 3 * S, lane: lane(1), first_seq, count, outcome });
    }
    let samples = open.take(9 * S);
    let sent_ms: Vec<i64> = samples.iter().map(|sample| sample.sent_us / MS).collect();
    // Sequences 3, 5, 6, 7 and 10 of those that were sent evenly from 1 s to 2 s.
    assert_eq!(sent_ms, [1_300, 1_500, 1_600, 1_700, 2_000]);
    assert!(samples.iter().all(|sample| sample.end == SendEnd::Open && sample.done_us == 9 * S && sample.tp == tp(1)));
    assert_eq!(open.take(9 * S), []);
}

#[test]
fn what_was_on_its_way_when_the_run_ended_is_not_laid_on_an_outage_that_was_over() {
    let mut scenario = scenario();
    scenario.claims = vec![claim("success_rate", None, ">=", ClaimValue::Number(0.99))];
    let mut measurements = Measurements::new(&scenario);
    let (sends, deliveries) = load(20 * S, (10 * S, 12 * S));
    measurements.record(&Record::Lane { lane: lane(0), topic: 0, partition: Some(0), idempotent: true });
    measurements.record(&Record::Sent { at_us: 20 * S - 10 * MS, lane: lane(0), up_to_seq: 2_000 });
    let outcome = Outcome::Ok { tp: tp(0), base_offset: 0 };
    measurements.record(&Record::Outcome { at_us: 20 * S, lane: lane(0), first_seq: 0, count: 1_998, outcome });
    feed(&mut measurements, &[fault(10 * S, "kill-2", "kill", &[2])], &sends, &deliveries);
    let measured = measurements.finish(20 * S + 10 * MS);
    let rows = answered(&scenario, &measured, &[]);
    assert_eq!(rows[0].reason, "2 of 6002 sends were not acknowledged; 2 were still open when the run ended");
}
