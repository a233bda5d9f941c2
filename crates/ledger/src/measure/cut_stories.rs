//! Stories of a log that is cut: both followers stand still while they count as in sync, the leader is killed, one of
//! them leads without the acknowledged tail.

use metricstream_scenario::model::Controllers;

use super::stories::{MS, S, event, fault, healed, load, partition, scenario, tp};
use super::*;
use crate::history::{LaneId, Outcome};
use crate::timeline::What;

/// Followers paused at 10 s, leader 1 of metrics-0 killed at 11.5 s, followers resumed at 12 s; node 3 becomes the active
/// controller at 13.8 s, gives broker 1 a whole session and fences it at 22.8 s.
fn events() -> Vec<TimelineEvent> {
    let mut events: Vec<TimelineEvent> = vec![
        event(-4 * S, What::Controller { node: 2, epoch: 1 }),
        partition(-3 * S, 0, 1, &[1, 2, 3], 0, 0),
        fault(10 * S, "pause-followers", "pause", &[2, 3]),
        fault(11_500 * MS, "kill-leader", "kill", &[1]),
    ];
    let TimelineEvent { what: What::Healed { id, by, nodes, .. }, .. } =
        healed(12 * S, "pause-followers", "resume-followers", &[2, 3])
    else {
        unreachable!("it is what it was made as")
    };
    events.push(event(12 * S, What::Healed { id, by, kind: "resume".into(), nodes }));
    events.push(event(13_800 * MS, What::Controller { node: 3, epoch: 2 }));
    events.push(event(22_800 * MS, What::BrokerFenced { broker: 1, broker_epoch: 1 }));
    events.push(partition(22_800 * MS, 0, 2, &[2, 3], 1, 1));
    events.push(healed(24 * S, "kill-leader", "start-leader", &[1]));
    events.push(event(25 * S, What::BrokerUnfenced { broker: 1, broker_epoch: 2 }));
    events.push(partition(25_100 * MS, 0, 2, &[2, 3, 1], 1, 2));
    events
}

fn acked(at_us: i64, first_seq: u64, base_offset: i64) -> Record {
    let outcome = Outcome::Ok { tp: tp(0), base_offset };
    Record::Outcome { at_us, lane: LaneId { incarnation: 0, lane: 0 }, first_seq, count: 1, outcome }
}

/// Messages of metrics-0 that were acknowledged between 10 s and 11.5 s are cut off; those from then on wait for the new
/// leader, who acknowledges them from 23 s on, at the same offsets again.
fn measured(cut_is_told: bool) -> Measured {
    const CUT: std::ops::Range<i64> = 1_000..1_150;
    let mut measurements = Measurements::new(&scenario());
    let (sends, deliveries) = load(30 * S, (11_500 * MS, 23 * S));
    let sends: Vec<_> = sends.into_iter().filter(|sample| sample.tp == tp(0)).collect();
    let deliveries: Vec<_> = deliveries
        .into_iter()
        .filter(|sample| sample.tp == tp(0) && !CUT.contains(&sample.offset))
        .map(|sample| {
            let shift = if sample.offset >= CUT.end { CUT.end - CUT.start } else { 0 };
            DeliverySample { offset: sample.offset - shift, ..sample }
        })
        .collect();
    let mut all = events();
    all.sort_by_key(|event| event.at_us);
    // The election is known before the first acknowledgement of the new leader, as records come.
    let (before, after): (Vec<_>, Vec<_>) = all.into_iter().partition(|event| event.at_us < 23 * S);
    stories::feed(&mut measurements, &before, &[], &[]);
    if cut_is_told {
        (0..1_150).for_each(|nth| measurements.record(&acked(nth * 10 * MS + 2 * MS, nth as u64, nth)));
        measurements.backlogs.new_leader(tp(0));
        (1_150..3_000)
            .for_each(|nth| measurements.record(&acked(23 * S + nth, nth as u64, nth - (CUT.end - CUT.start))));
    }
    stories::feed(&mut measurements, &after, &sends, &deliveries);
    measurements.finish(35 * S)
}

#[test]
fn what_a_new_leader_cuts_off_is_no_backlog_for_ever() {
    let row = |measured: &Measured| {
        measured.catch_up.iter().find(|row| row.fault == "kill-leader").cloned().expect("a row for the kill")
    };
    let blind = row(&measured(false));
    assert_eq!(blind.duration_s, None, "without the offsets the lost messages look like a backlog: {blind:?}");
    let told = row(&measured(true));
    assert!(told.duration_s.is_some_and(|took| took <= 2.0), "{told:?}");
}

#[test]
fn who_was_resumed_before_leaving_an_isr_is_not_called_caught_up() {
    let measured = measured(true);
    let rows = |broker| measured.recovery.iter().find(move |row| row.broker == broker).expect("a row");
    for follower in [2, 3] {
        let row = rows(follower);
        assert_eq!((row.restarted_s, row.never_left, row.caught_up_s, row.isr_full_s), (12.0, true, None, None));
        let why = format!("recovery of broker {follower} at 12.0 s");
        assert!(measured.not_measured.iter().any(|line| line.starts_with(&why)), "{:?}", measured.not_measured);
    }
    let leader = rows(1);
    assert_eq!((leader.never_left, leader.caught_up_s, leader.isr_full_s), (false, Some(25.1), Some(25.1)));
}

#[test]
fn a_controller_that_took_over_in_between_is_part_of_the_prediction() {
    let measured = measured(true);
    let row = measured.failovers.iter().find(|row| row.fault.as_deref() == Some("kill-leader")).expect("a failover");
    // 2.3 s until it was active, then a whole session and its eighth.
    assert!(row.predicted_max_s.is_some_and(|most| (most - 12.425).abs() < 1e-9), "{row:?}");
    let text = row.predicted.as_deref().expect("a prediction");
    assert!(text.contains("node 3, active since 13.8 s") && text.contains("session.timeout.ms = 9000"), "{text}");
    assert!(row.elected_s.expect("elected") - row.fault_s.expect("a fault") < 12.425);
}

/// The failover after the kill, where the controllers became active like this: when, node, epoch.
fn failover(controllers: &[(i64, i32, i32)], settings: &[(&str, &str)]) -> result::Failover {
    let mut scenario = scenario();
    scenario.topology.controllers = Controllers::Combined;
    scenario.topology.broker_config.extend(settings.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    let mut all = events();
    all.retain(|event| !matches!(event.what, What::Controller { .. }));
    for (at_us, node, epoch) in controllers {
        all.push(event(*at_us, What::Controller { node: *node, epoch: *epoch }));
    }
    all.sort_by_key(|event| event.at_us);
    if let Some((_, active, _)) = controllers.iter().rfind(|(at_us, ..)| *at_us <= 10 * S) {
        for event in &mut all {
            if let What::Fault { nodes, active_controller, .. } = &mut event.what {
                *active_controller = nodes.contains(active);
            }
        }
    }
    let mut measurements = Measurements::new(&scenario);
    stories::feed(&mut measurements, &all, &[], &[]);
    let measured = measurements.finish(35 * S);
    measured.failovers.into_iter().find(|row| row.fault.as_deref() == Some("kill-leader")).expect("a failover")
}

#[test]
fn a_paused_controller_that_is_elected_once_more_counts_every_session_anew() {
    // A paused follower was the active controller and is so again, at another epoch.
    let row = failover(&[(-4 * S, 3, 1), (13_800 * MS, 3, 3)], &[]);
    let wanted = "≤ 12.4 s, broker.session.timeout.ms = 9000, counted anew by node 3, active since 13.8 s";
    assert_eq!(row.predicted.as_deref(), Some(wanted));
    assert!(row.predicted_max_s.is_some_and(|most| (most - 12.425).abs() < 1e-9), "{row:?}");
    // It was never away: it counts on when it is resumed.
    let row = failover(&[(-4 * S, 3, 1)], &[]);
    let wanted = "≤ 10.6 s, broker.session.timeout.ms = 9000, counted from 12.0 s: no controller could act before";
    assert_eq!(row.predicted.as_deref(), Some(wanted));
}

#[test]
fn a_controller_that_dies_while_its_followers_stand_still_has_no_successor_until_they_are_back() {
    let evidence = [("metricstream.fence.after.disconnect.ms", "0"), ("broker.session.timeout.ms", "1000")];
    let row = failover(&[(-4 * S, 1, 1), (13_800 * MS, 2, 2)], &evidence);
    let wanted = "≤ 3.4 s, broker.session.timeout.ms = 1000, counted anew by node 2, active since 13.8 s";
    assert_eq!(row.predicted.as_deref(), Some(wanted));
    // Whoever follows may have been told by the same closed connections.
    let quick = [("metricstream.fence.after.disconnect.ms", "0"), ("metricstream.elect.after.disconnect.ms", "11000")];
    let row = failover(&[(-4 * S, 1, 1), (22_790 * MS, 2, 2)], &quick);
    let wanted =
        "≤ 23.6 s, metricstream.elect.after.disconnect.ms = 11000, counted from 12.0 s: no controller could act before";
    assert_eq!(row.predicted.as_deref(), Some(wanted));
    let row = failover(&[(-4 * S, 1, 1), (13_800 * MS, 2, 2)], &[]);
    assert!(row.predicted.is_some_and(|text| text.starts_with("≤ 12.4 s, ")));
}

#[test]
fn an_election_that_waited_for_somebody_who_may_lead_was_not_late() {
    // Broker 1 alone was in sync when it was killed; broker 2 is started at 24 s and led at once.
    let state = |at_us, leader, epoch| partition(at_us, 0, leader, &[1], epoch, epoch);
    let events = [
        state(-3 * S, 1, 0),
        fault(10 * S, "kill-leader", "kill", &[1]),
        event(18 * S, What::BrokerFenced { broker: 1, broker_epoch: 1 }),
        state(18 * S, -1, 1),
        partition(24 * S, 0, 2, &[2], 2, 2),
    ];
    let of = |events: &[TimelineEvent]| {
        let mut measurements = Measurements::new(&scenario());
        stories::feed(&mut measurements, events, &[], &[]);
        let row = measurements.finish(35 * S).failovers.remove(0);
        (row.predicted.expect("a prediction"), row.predicted_max_s)
    };
    let wanted = "≤ 10.1 s until it was fenced, broker.session.timeout.ms = 9000; then nobody that was up might lead";
    assert_eq!(of(&events), (wanted.to_owned(), None));
    // The near twin: where there was always a leader it is late.
    let led = [events[0].clone(), events[1].clone(), events[4].clone()];
    assert_eq!(of(&led), ("≤ 10.1 s, broker.session.timeout.ms = 9000".to_owned(), Some(10.125)));
}

#[test]
fn a_phase_between_two_seconds_has_its_throughput_too() {
    let measured = measured(true);
    let row = |name: &str| measured.throughput.iter().find(|row| row.phase == name).cloned().expect("the phase");
    // 10.0–11.5 s: 100/s were acknowledged.
    let paused = row("brokers 2, 3 paused");
    assert!(paused.acked_per_s.is_some_and(|rate| (rate - 100.0).abs() < 1.0), "{paused:?}");
    // 11.5–12.0 s is too short to say anything of it.
    let short = row("broker 1 down, brokers 2, 3 paused");
    assert_eq!((short.acked_per_s, short.limited_by.as_deref()), (None, None));
    assert!(
        measured.not_measured.iter().any(|line| line.contains("less than a second")),
        "{:?}",
        measured.not_measured
    );
}
