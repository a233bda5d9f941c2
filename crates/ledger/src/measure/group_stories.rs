//! Stories of consumer groups: who joins, leaves, crashes or stalls, and what must be measured of it.

use std::fmt::Write;

use crate::timeline::What;

use super::stories::{MS, S, event, fault, feed, healed, load, scenario, tp};
use super::*;

fn owns(at_us: i64, member: &str, generation: i32, partitions: &[i32]) -> TimelineEvent {
    let partitions = partitions.iter().map(|index| format!("metrics-{index}")).collect();
    event(at_us, What::Assignment { group: "group-1".into(), member: member.into(), generation, partitions })
}

fn member(at_us: i64, step: &str, member: &str, change: &str) -> TimelineEvent {
    let what = What::Member { group: "group-1".into(), member: member.into(), change: change.into() };
    TimelineEvent { cause: Some(step.into()), ..event(at_us, what) }
}

/// The rows as a table.
fn table(measured: &Measured) -> String {
    let mut table = String::new();
    for row in &measured.rebalances {
        let step = row.step.as_deref().unwrap_or("-");
        let _ = writeln!(
            table,
            "{} [{step}] at {} took {:?} noticed {:?} unmoved paused {:?}",
            row.trigger, row.at_s, row.duration_s, row.detection_s, row.unmoved_paused_share
        );
        for member in &row.members {
            let _ = writeln!(table, "  {}: {} → {}", member.id, member.before.join(" "), member.after.join(" "));
        }
        for pause in &row.pauses {
            let _ = writeln!(table, "  {} moved={} {:?}", pause.partition, pause.moved, pause.pause_s);
        }
    }
    table
}

/// Deliveries of the load, by whom `owner` says at that time; none while it says nobody, then all at once.
fn delivered(owner: impl Fn(i32, i64) -> Option<u32>) -> Vec<DeliverySample> {
    let (_, mut deliveries) = load(30 * S, (0, 0));
    for sample in &mut deliveries {
        while owner(sample.tp.partition, sample.delivered_us).is_none() {
            sample.delivered_us += 10 * MS;
        }
        sample.member = owner(sample.tp.partition, sample.delivered_us).unwrap_or(0);
    }
    deliveries
}

fn told(events: &[TimelineEvent], deliveries: &[DeliverySample]) -> Measured {
    let mut measurements = Measurements::new(&scenario());
    let (sends, _) = load(30 * S, (0, 0));
    feed(&mut measurements, events, &sends, deliveries);
    measurements.finish(40 * S)
}

#[test]
fn a_member_joins_eagerly_and_leaves_again() {
    let events = [
        owns(3 * S, "A", 1, &[0, 1, 2]),
        member(5 * S, "join-b", "B", "join"),
        owns(6 * S, "A", 1, &[]),
        owns(6_100 * MS, "A", 2, &[0, 2]),
        owns(6_101 * MS, "B", 2, &[1]),
        // B gives its partition up, and only then is it gone.
        owns(15 * S, "B", 2, &[]),
        member(15_020 * MS, "leave-b", "B", "leave"),
        owns(16_500 * MS, "A", 2, &[]),
        owns(16_510 * MS, "A", 3, &[0, 1, 2]),
    ];
    let deliveries = delivered(|partition, at_us| match at_us {
        at_us if at_us < 3 * S => None,
        at_us if (6 * S..6_110 * MS).contains(&at_us) => None,
        at_us if (15 * S..16_520 * MS).contains(&at_us) && partition == 1 => None,
        at_us if (16_500 * MS..16_520 * MS).contains(&at_us) => None,
        at_us if (6_110 * MS..16_520 * MS).contains(&at_us) && partition == 1 => Some(2),
        _ => Some(1),
    });
    let wanted = "\
group start [-] at 0 took Some(3.0) noticed Some(3.0) unmoved paused None
  A:  → metrics-0 metrics-1 metrics-2
member-join B [join-b] at 5 took Some(1.101) noticed Some(1.0) unmoved paused Some(0.0)
  A: metrics-0 metrics-1 metrics-2 → metrics-0 metrics-2
  B:  → metrics-1
  metrics-0 moved=false Some(0.113)
  metrics-1 moved=true Some(0.113)
  metrics-2 moved=false Some(0.113)
member-leave B [leave-b] at 15 took Some(1.51) noticed Some(1.5) unmoved paused Some(0.0)
  A: metrics-0 metrics-2 → metrics-0 metrics-1 metrics-2
  B: metrics-1 → 
  metrics-0 moved=false Some(0.0)
  metrics-1 moved=true Some(1.523)
  metrics-2 moved=false Some(0.0)
";
    let measured = told(&events, &deliveries);
    assert_eq!(table(&measured), wanted);
    let owned = |at_us| measured.ownership.owned_at("group-1", "B", at_us).into_iter().collect::<Vec<_>>();
    assert_eq!(owned(10 * S), ["metrics-1"]);
    assert_eq!(owned(20 * S), Vec::<String>::new());
}

#[test]
fn cooperative_members_move_what_moves_and_nothing_else_pauses() {
    let events = [
        owns(3 * S, "A", 1, &[0, 1, 2]),
        member(5 * S, "join-b", "B", "join"),
        // First generation: B has nothing yet, everything is owned once, and yet it is not over.
        owns(7_000 * MS, "B", 2, &[]),
        owns(7_005 * MS, "A", 2, &[0, 2]),
        owns(7_100 * MS, "B", 3, &[1]),
        owns(7_101 * MS, "A", 3, &[0, 2]),
    ];
    let deliveries = delivered(|partition, at_us| match (partition, at_us) {
        (1, at_us) if (7_005 * MS..7_400 * MS).contains(&at_us) => None,
        (1, at_us) if at_us >= 7_400 * MS => Some(2),
        _ => Some(1),
    });
    let measured = told(&events, &deliveries);
    let row = &measured.rebalances[1];
    assert_eq!(
        (row.trigger.as_str(), row.duration_s, row.unmoved_paused_share),
        ("member-join B", Some(2.1), Some(0.0))
    );
    let pauses: Vec<_> = row.pauses.iter().map(|pause| (pause.moved, pause.pause_s)).collect();
    assert_eq!(pauses, [(false, Some(0.0)), (true, Some(0.393)), (false, Some(0.0))]);
}

#[test]
fn a_crashed_member_is_noticed_when_its_session_ends() {
    let mut events = vec![
        owns(3 * S, "A", 1, &[0, 2]),
        member(2 * S, "join-b", "B", "join"),
        owns(3 * S, "B", 1, &[1]),
        member(10 * S, "crash-b", "B", "crash"),
        owns(17 * S, "A", 1, &[]),
        owns(17_010 * MS, "A", 2, &[0, 1, 2]),
    ];
    events.sort_by_key(|event| event.at_us);
    let deliveries = delivered(|partition, at_us| match partition {
        1 if at_us < 10 * S => Some(2),
        1 if at_us < 17_050 * MS => None,
        _ if (17 * S..17_050 * MS).contains(&at_us) => None,
        _ => Some(1),
    });
    let measured = told(&events, &deliveries);
    let row = &measured.rebalances[1];
    assert_eq!((row.trigger.as_str(), row.step.as_deref()), ("member-crash B", Some("crash-b")));
    assert_eq!((row.duration_s, row.detection_s), (Some(7.01), Some(7.0)));
    let paused = row.pauses.iter().find(|pause| pause.partition == "metrics-1").expect("a pause");
    assert!(paused.moved && paused.pause_s > Some(7.0) && paused.pause_s < Some(7.1), "{paused:?}");
    // The reads of partition 1 were unavailable for as long.
    let read = measured.unavailability.iter().find(|row| row.op == "read").expect("a window");
    assert_eq!((read.partition, read.fault.as_deref()), (1, Some("crash-b")));
    assert_eq!(measured.group_gaps[0].partition, "metrics-1");
}

#[test]
fn a_stalled_member_loses_what_it_has_and_gets_it_back_unasked() {
    let mut events = vec![
        owns(3 * S, "A", 1, &[0, 2]),
        member(2 * S, "join-b", "B", "join"),
        owns(3 * S, "B", 1, &[1]),
        member(10 * S, "stall-b", "B", "stall"),
        owns(16 * S, "A", 1, &[]),
        owns(16_010 * MS, "A", 2, &[0, 1, 2]),
        // B comes back from its slow poll, hears that it lost its partition, and joins anew.
        owns(22 * S, "B", -1, &[]),
        owns(23 * S, "A", 2, &[]),
        owns(23_010 * MS, "A", 3, &[0, 2]),
        owns(23_010 * MS, "B", 3, &[1]),
    ];
    events.sort_by_key(|event| event.at_us);
    let measured = told(&events, &[]);
    let rows: Vec<_> = measured.rebalances.iter().map(|row| (row.trigger.as_str(), row.at_s, row.duration_s)).collect();
    assert_eq!(rows[1..], [("member-stall B", 10.0, Some(6.01)), ("member-stall B ended", 22.0, Some(1.01))]);
    assert!(measured.rebalances[1].pauses.iter().all(|pause| pause.pause_s.is_none()), "nothing was delivered");
}

#[test]
fn what_members_do_while_they_are_stopped_is_no_rebalance() {
    let events = [
        owns(3 * S, "A", 1, &[0, 1, 2]),
        event(31 * S, What::Phase { name: "audit".into() }),
        owns(35 * S, "A", 1, &[]),
    ];
    let measured = told(&events, &[]);
    assert_eq!(measured.rebalances.len(), 1);
    assert_eq!(measured.ownership.owned_at("group-1", "A", 40 * S).len(), 3);
    assert_eq!(measured.ownership.first_sign_us(None, 10 * S, 40 * S), None);
}

#[test]
fn without_reports_the_history_tells_who_owned_what() {
    let mut measurements = Measurements::new(&scenario());
    let assigned = |at_us, member, partitions: &[i32]| Record::Assigned {
        at_us,
        group: 0,
        member,
        generation: 1,
        partitions: partitions.iter().map(|index| (tp(*index), -1)).collect(),
    };
    measurements.record(&assigned(3 * S, 1, &[0, 1, 2]));
    let revoked = Record::Revoked { at_us: 8 * S, group: 0, member: 1, lost: false, partitions: vec![tp(1)] };
    measurements.record(&revoked);
    measurements.record(&assigned(9 * S, 2, &[1]));
    let measured = measurements.finish(20 * S);
    let rows: Vec<_> = measured.rebalances.iter().map(|row| (row.trigger.as_str(), row.at_s, row.duration_s)).collect();
    assert_eq!(rows, [("group start", 0.0, Some(3.0)), ("unknown", 8.0, Some(1.0))]);
    assert_eq!(measured.rebalances[1].members[1].after, ["metrics-1"]);
}

#[test]
fn a_backlog_is_worked_off_after_the_heal() {
    // Nobody reads from 10 s to 16 s; what piled up is read in the two seconds that follow.
    let (sends, mut deliveries) = load(30 * S, (0, 0));
    for sample in deliveries.iter_mut().filter(|sample| (10 * S..18 * S).contains(&sample.intended_us)) {
        sample.delivered_us = 16 * S + (sample.intended_us - 10 * S) / 5 + 3 * MS;
    }
    let mut measurements = Measurements::new(&scenario());
    feed(
        &mut measurements,
        &[fault(10 * S, "pause-1", "pause", &[1]), healed(16 * S, "pause-1", "resume-1", &[1])],
        &sends,
        &deliveries,
    );
    let measured = measurements.finish(30 * S);
    let row = &measured.catch_up[0];
    assert_eq!((row.group.as_str(), row.fault.as_str(), row.peak_lag), ("group-1", "pause-1", 1_800));
    // Lag is known at the end of each second: it is gone at the end of the one that begins at 17 s.
    assert_eq!((row.duration_s, row.drain_per_s), (Some(2.0), Some(900.0)));
    assert!(row.ideal_s > Some(1.4) && row.ideal_s < Some(1.6), "{row:?}");
    // Reads stood still until 16.003 s, and all was normal when the lag was gone.
    assert_eq!(measured.abnormal.normal_from_us(10 * S, 30 * S), Some((17 * S, Some(normal::Trouble::Lag))));
}

#[test]
fn a_fault_in_the_warm_up_leaves_no_baseline_and_nothing_is_said_of_catching_up() {
    // The group is given its first message at once; it is warm at 2 s, and three seconds more make a baseline.
    let (sends, mut deliveries) = load(30 * S, (0, 0));
    for sample in deliveries.iter_mut().filter(|sample| (2 * S..6 * S).contains(&sample.intended_us)) {
        sample.delivered_us = sample.delivered_us.max(6 * S);
    }
    let told = |at_us| {
        let events = [fault(at_us, "kill-2", "kill", &[2]), healed(7 * S, "kill-2", "start-2", &[2])];
        let mut measurements = Measurements::new(&scenario());
        feed(&mut measurements, &events, &sends, &deliveries);
        let measured = measurements.finish(30 * S);
        let why: Vec<String> =
            measured.not_measured.iter().filter(|line| line.starts_with("catch_up")).cloned().collect();
        (measured.catch_up[0].clone(), why.join("; "))
    };
    let needed = ["came in the warm-up", "came 2 s after the warm-up and 3 s are needed"];
    for (at_us, needed) in [2 * S, 4_500 * MS].into_iter().zip(needed) {
        let (row, why) = told(at_us);
        assert_eq!((row.baseline_lag, row.duration_s, row.drain_per_s, row.ideal_s), (None, None, None, None));
        assert!(row.peak_lag > 1_000, "{row:?}");
        assert_eq!(why, format!("catch_up of group-1: no baseline, the first fault {needed}"));
    }
    let (row, why) = told(5_500 * MS);
    assert!(row.baseline_lag.is_some() && row.duration_s.is_some() && why.is_empty(), "{row:?}, {why}");
}

#[test]
fn what_the_loss_of_a_disk_takes_from_a_group_is_not_laid_on_the_groups_start() {
    // Owned before the load began; the only broker is killed and comes back with an empty disk, the topic is gone.
    let mut events = vec![
        owns(-S, "A", 1, &[0, 1, 2]),
        owns(S, "A", 1, &[0, 1, 2]),
        fault(6 * S, "kill-1", "kill", &[1]),
        fault(8 * S, "start-1", "start-reformatted", &[1]),
        owns(8_300 * MS, "A", 1, &[]),
        owns(9 * S, "A", 1, &[]),
    ];
    let wanted = "\
start-1 [start-1] at 8 took None noticed Some(0.3) unmoved paused None
  A: metrics-0 metrics-1 metrics-2 → 
  metrics-0 moved=true None
  metrics-1 moved=true None
  metrics-2 moved=true None
";
    assert_eq!(table(&told(&events, &[])), wanted);
    // It comes back, in two goes: the second is counted from when it showed, and none is the start's.
    events.extend([owns(12 * S, "A", 2, &[0, 1, 2]), owns(14 * S, "A", 3, &[]), owns(15 * S, "A", 4, &[0, 1, 2])]);
    let of = |events: &[TimelineEvent]| -> Vec<(String, f64, Option<f64>)> {
        let measured = told(events, &[]);
        measured.rebalances.into_iter().map(|row| (row.trigger, row.at_s, row.duration_s)).collect()
    };
    assert_eq!(of(&events), [("start-1".into(), 8.0, Some(4.0)), ("start-1".into(), 14.0, Some(1.0))]);
    // A group that had nothing yet when the load began is told as before, and without a fault nobody knows.
    events.retain(|event| event.at_us >= 0 && !matches!(event.what, What::Fault { .. }));
    let wanted = [
        ("group start".into(), 0.0, Some(1.0)),
        ("unknown".into(), 8.3, Some(3.7)),
        ("unknown".into(), 14.0, Some(1.0)),
    ];
    assert_eq!(of(&events), wanted);
}
