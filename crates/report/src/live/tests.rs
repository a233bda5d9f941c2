//! Stories of runs, and what the view shows of them.

use metricstream_ledger::timeline::{Clock, PartitionState, TimelineEvent, What};
use metricstream_scenario::{Scenario, builtin, parse};

use super::*;
use crate::text::columns;

fn scenario(name: &str, change: impl Fn(&str) -> String) -> Scenario {
    parse(&change(builtin::find(name).expect("built in").text)).expect("it parses")
}

fn at(at_s: f64, what: What) -> TimelineEvent {
    TimelineEvent { at_us: (at_s * 1e6) as i64, error_us: 0, clock: Clock::Monotonic, what, cause: None }
}

fn partition(index: i32, leader: i32, isr: &[i32], partition_epoch: i32) -> What {
    What::Partition(PartitionState {
        topic: "metrics".into(),
        partition: index,
        replicas: vec![1, 2, 3],
        isr: isr.to_vec(),
        elr: Vec::new(),
        leader,
        leader_epoch: partition_epoch,
        partition_epoch,
    })
}

fn moment(at_s: f64) -> Moment {
    Moment { since_begin_s: 0.0, at_us: Some((at_s * 1e6) as i64) }
}

/// Three brokers, `partitions` partitions, ready at 0.
fn ready(partitions: i32) -> Live {
    let scenario =
        scenario("broker-failure", |text| text.replace("partitions = 6", &format!("partitions = {partitions}")));
    let mut live = Live::new(&scenario, "kafka", 7);
    live.event(&at(-6.0, What::Controller { node: 1, epoch: 3 }));
    for broker in 1..=3 {
        live.event(&at(-5.0, What::BrokerRegistered { broker, broker_epoch: 10 }));
        live.event(&at(-4.0, What::BrokerUnfenced { broker, broker_epoch: 10 }));
    }
    for index in 0..partitions {
        live.event(&at(-3.0, partition(index, 1 + index % 3, &[1, 2, 3], 0)));
    }
    live.event(&at(0.0, What::ClusterReady { bootstrap: "127.0.0.1:9092".into(), took_ms: 5_000 }));
    live
}

fn kill_2(live: &mut Live) {
    let (id, target, nodes) = ("kill-2".into(), "broker 2".into(), vec![2]);
    live.event(&at(10.0, What::Fault { id, kind: "kill".into(), target, nodes, active_controller: false }));
    live.event(&at(10.0, What::Phase { name: "broker 2 down".into() }));
}

fn text(live: &Live, at_s: f64, width: usize, height: usize) -> String {
    frame(live, moment(at_s), width, height).iter().map(|row| row.text().trim_end().to_owned() + "\n").collect()
}

#[test]
fn a_broker_that_is_killed_is_told_with_what_it_led_and_what_comes_next() {
    let mut live = ready(6);
    assert!(text(&live, 5.0, 80, 24).contains("1 up, controller   2 up   3 up"));
    kill_2(&mut live);
    let killed = text(&live, 12.0, 80, 24);
    assert!(killed.contains("2 killed   3 up"), "{killed}");
    assert!(killed.contains("12.0 s, until healed   broker 2 down"), "{killed}");
    assert!(killed.contains("✓   10.0  broker 2 killed (SIGKILL)"), "{killed}");
    assert!(killed.contains("·   20.0  start broker 2 in 8.0 s"), "{killed}");
    live.event(&at(18.6, What::BrokerFenced { broker: 2, broker_epoch: 10 }));
    live.event(&at(18.6, partition(1, 3, &[1, 3], 1)));
    live.event(&at(18.6, partition(4, -1, &[], 1)));
    let moved = text(&live, 19.0, 80, 24);
    assert!(moved.contains("2 killed, fenced"), "{moved}");
    assert!(moved.contains("1: 3 [1,3] *") && moved.contains("4: none [] *"), "{moved}");
    assert!(moved.contains("0: 1 [1,2,3]   "), "no mark where nothing changed:\n{moved}");
}

#[test]
fn a_broker_that_was_started_is_up_when_the_controller_unfences_this_life_of_it() {
    let mut live = ready(6);
    kill_2(&mut live);
    let nodes = vec![2];
    live.event(&at(20.0, What::Healed { id: "kill-2".into(), by: "start-2".into(), kind: "start".into(), nodes }));
    assert!(text(&live, 20.5, 80, 24).contains("2 starting"));
    live.event(&at(24.0, What::BrokerRegistered { broker: 2, broker_epoch: 50 }));
    // News of the life before says nothing of this one.
    live.event(&at(24.1, What::BrokerUnfenced { broker: 2, broker_epoch: 10 }));
    assert!(text(&live, 24.5, 80, 24).contains("2 starting"));
    live.event(&at(25.0, What::BrokerUnfenced { broker: 2, broker_epoch: 50 }));
    assert!(text(&live, 25.5, 80, 24).contains("2 up"));
}

#[test]
fn a_killed_controller_is_not_shown_as_active_and_its_successor_is() {
    let mut live = ready(6);
    let (id, target, nodes) = ("kill-2".into(), "active controller".into(), vec![1]);
    live.event(&at(10.0, What::Fault { id, kind: "kill".into(), target, nodes, active_controller: true }));
    assert!(!text(&live, 10.5, 80, 24).contains("controller   "));
    live.event(&at(12.0, What::Controller { node: 3, epoch: 4 }));
    assert!(text(&live, 12.5, 80, 24).contains("3 up, controller"));
}

#[test]
fn members_are_shown_with_what_they_own_and_leave_with_it() {
    let mut live = ready(6);
    let owns = |member: &str, indices: &[i32]| What::Assignment {
        group: "group-1".into(),
        member: member.into(),
        generation: 1,
        partitions: indices.iter().map(|i| format!("metrics-{i}")).collect(),
    };
    assert!(text(&live, 1.0, 80, 24).contains("group-1     A joining   B joining"));
    live.event(&at(2.0, owns("A", &[0, 1, 2])));
    live.event(&at(2.0, owns("B", &[3, 4, 5])));
    live.counts(Counts { at_us: 2_000_000, lags: vec![Some(1_234)], ..Counts::default() });
    assert!(text(&live, 3.0, 80, 24).contains("group-1     lag 1,234   A [0,1,2]   B [3,4,5]"));
    live.event(&at(5.0, What::Member { group: "group-1".into(), member: "B".into(), change: "leave".into() }));
    live.event(&at(6.0, owns("A", &[0, 1, 2, 3, 4, 5])));
    assert!(text(&live, 7.0, 80, 24).contains("lag 1,234   A [0,1,2,3,4,5]\n"));
}

#[test]
fn writes_that_stop_are_seen_in_rate_and_curve() {
    let mut live = ready(6);
    for (step, acked) in (0..).zip([0, 500, 1_000, 1_500, 1_500, 1_500, 1_500]) {
        let sent = step * 500;
        let at_us = i64::try_from(step).unwrap() * 500_000;
        live.counts(Counts { at_us, sent, acked, open: sent - acked, ..Counts::default() });
    }
    let stopped = text(&live, 3.0, 80, 24);
    assert!(stopped.contains("messages    3,000 sent   1,500 acked   1,500 open\n"), "{stopped}");
    assert!(stopped.contains("per second  1,000 sent   0 acked   0 delivered\n"), "{stopped}");
    assert!(stopped.contains("acked/s     ▄▄▄···  at most 1,000; 0.5 s each\n"), "{stopped}");
}

#[test]
fn where_partitions_do_not_fit_those_in_trouble_are_shown_and_the_rest_counted() {
    let mut live = ready(64);
    kill_2(&mut live);
    live.event(&at(18.6, partition(63, 3, &[1, 3], 1)));
    live.event(&at(18.6, partition(40, -1, &[], 1)));
    let small = text(&live, 19.0, 60, 20);
    assert!(small.contains("63: 3 [1,3] *") && small.contains("40: none [] *"), "{small}");
    assert!(small.contains("more"), "{small}");
    assert_eq!(small.lines().filter(|line| line.contains("start broker 2")).count(), 1, "{small}");
    // Where there is room, all of them.
    let large = text(&live, 19.0, 140, 50);
    assert!(large.contains("62: 3 [1,2,3]") && !large.contains("more"), "{large}");
}

#[test]
fn no_size_is_overrun_and_the_newest_line_is_the_last_to_go() {
    let mut live = ready(24);
    kill_2(&mut live);
    live.event(&at(11.0, What::Note { text: "a rather long note ".repeat(20) }));
    live.event(&at(11.5, What::Note { text: "the newest".into() }));
    for (width, height) in [(80, 24), (60, 20), (60, 16), (40, 10), (20, 5), (200, 60), (1, 1), (0, 0)] {
        let rows = frame(&live, moment(12.0), width, height);
        assert!(rows.len() <= height, "{} rows of {height}", rows.len());
        for row in &rows {
            assert!(columns(&row.text()) <= width, "{width}: {}", row.text());
        }
        if height >= 16 && width >= 60 {
            assert!(rows.last().unwrap().text().contains("the newest"), "{width}×{height}");
        }
    }
}

#[test]
fn where_it_is_narrow_the_hint_how_to_end_it_is_the_last_to_go() {
    let mut live = ready(6);
    kill_2(&mut live);
    let row = |live: &Live, width: usize| frame(live, moment(12.0), width, 24)[1].text();
    let row_80 = "| 12.0 s, until healed   broker 2 down                   Ctrl-C ends it in order";
    assert_eq!(row(&live, 80), row_80);
    assert_eq!(row(&live, 60), "| 12.0 s   broker 2 down             Ctrl-C ends it in order");
    assert_eq!(row(&live, 42), "| 12.0 s   broker 2 down    Ctrl-C ends it");
    assert_eq!(row(&live, 30), "| 12.0 s   broker 2 down");
    live.event(&at(11.0, What::Phase { name: "catch-up".into() }));
    assert_eq!(row(&live, 60), "| 12.0 s   waiting for the groups…   Ctrl-C ends it in order");
}

#[test]
fn before_load_it_says_what_is_being_done_and_then_when_load_starts() {
    let scenario = scenario("broker-failure", str::to_owned);
    let mut live = Live::new(&scenario, "kafka", 7);
    live.doing("starting 3 brokers");
    let early = Moment { since_begin_s: 4.2, at_us: None };
    let rows: Vec<String> = frame(&live, early, 80, 24).iter().map(Row::text).collect();
    assert!(rows[1].contains("starting 3 brokers  4 s"), "{rows:#?}");
    assert!(rows.iter().any(|row| row.contains("1 starting   2 starting   3 starting")), "{rows:#?}");
    assert!(text(&live, -2.5, 80, 24).contains("load starts in 2.5 s"));
}

#[test]
fn many_partitions_that_change_at_once_are_one_line() {
    let mut live = ready(6);
    for index in 0..6 {
        let leader = if index % 3 == 1 { 3 } else { 1 + index % 3 };
        live.event(&at(18.6, partition(index, leader, &[1, 3], 1)));
    }
    let tail = text(&live, 18.7, 80, 24);
    assert_eq!(tail.matches("   18.6  ").count(), 1, "{tail}");
    assert!(tail.contains("partitions 1,4: leader 2 → 3; ISR [1,2,3] → [1,3] everywhere"), "{tail}");
}

#[test]
fn where_load_has_a_duration_time_counts_against_it_and_else_the_bar_never_fills_before_its_end() {
    let full = |live: &Live, at_s: f64| {
        let bar = frame(live, moment(at_s), 80, 24).swap_remove(2).text();
        !bar.contains('─')
    };
    let mut live = ready(6);
    assert!(!full(&live, 30.0) && !full(&live, 500.0), "nobody knows how long it takes");
    live.event(&at(501.0, What::Phase { name: "drain".into() }));
    assert!(full(&live, 501.0));
    assert!(!text(&live, 501.0, 80, 24).contains("until healed"));
    let fixed = scenario("broker-failure", |text| text.replace("settle_s = 5.0", "duration_s = 45"));
    let mut live = Live::new(&fixed, "kafka", 7);
    live.event(&at(0.0, What::ClusterReady { bootstrap: "127.0.0.1:9092".into(), took_ms: 5_000 }));
    assert!(text(&live, 12.0, 80, 24).contains("12.0 of 45 s"));
    assert!(full(&live, 45.0) && !full(&live, 44.0));
}
