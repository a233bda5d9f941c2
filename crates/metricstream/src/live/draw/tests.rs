//! What stands on the screen, cell by cell, at three moments and two sizes.

use metricstream_ledger::timeline::{Clock, PartitionState, TimelineEvent, What};
use metricstream_report::live::{Counts, Live, Moment, frame};
use metricstream_scenario::{builtin, parse};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;

fn at(at_s: f64, what: What) -> TimelineEvent {
    TimelineEvent { at_us: (at_s * 1e6) as i64, error_us: 0, clock: Clock::Monotonic, what, cause: None }
}

fn partition(index: i32, replicas: [i32; 3], leader: i32, isr: &[i32], epoch: i32) -> What {
    What::Partition(PartitionState {
        topic: "metrics".into(),
        partition: index,
        replicas: replicas.to_vec(),
        isr: isr.to_vec(),
        elr: Vec::new(),
        leader,
        leader_epoch: epoch,
        partition_epoch: epoch,
    })
}

fn replicas(index: i32) -> [i32; 3] {
    let first = index % 3;
    [first + 1, (first + 1) % 3 + 1, (first + 2) % 3 + 1]
}

fn owns(member: &str, generation: i32, indices: &[i32]) -> What {
    let partitions = indices.iter().map(|i| format!("metrics-{i}")).collect();
    What::Assignment { group: "group-1".into(), member: member.into(), generation, partitions }
}

/// Counters of 1,000 messages a second, of which none is acknowledged between `stop_s` and `go_s`.
fn load(live: &mut Live, until_s: f64, stop_s: f64, go_s: f64) {
    for step in 0..=(until_s * 2.0) as u64 {
        let at_s = step as f64 / 2.0;
        let sent = (at_s * 1_000.0) as u64;
        let acked = if at_s > stop_s && at_s < go_s { (stop_s * 1_000.0) as u64 } else { sent };
        live.counts(Counts {
            at_us: (at_s * 1e6) as i64,
            sent,
            acked,
            open: sent - acked,
            delivered: acked,
            lags: vec![Some(12)],
            ..Counts::default()
        });
    }
}

/// A cluster at its second 0, of three brokers and the scenario's partitions, and a group that has what it wants.
fn ready(scenario: &str, members: &[(&str, &[i32])]) -> Live {
    let scenario = parse(builtin::find(scenario).expect("built in").text).expect("it parses");
    let mut live = Live::new(&scenario, "kafka", 7);
    live.event(&at(-7.0, What::Controller { node: 1, epoch: 2 }));
    for broker in 1..=3 {
        live.event(&at(-6.5, What::BrokerUnfenced { broker, broker_epoch: 10 }));
    }
    for index in 0..scenario.topology.topics[0].partitions {
        let replicas = replicas(index);
        live.event(&at(-6.0, partition(index, replicas, replicas[0], &replicas, 0)));
    }
    for (member, indices) in members {
        live.event(&at(-1.0, owns(member, 1, indices)));
    }
    live.event(&at(0.0, What::ClusterReady { bootstrap: "127.0.0.1:9092".into(), took_ms: 5_100 }));
    live.event(&at(0.0, What::Phase { name: "healthy".into() }));
    live
}

fn healthy() -> (Live, f64) {
    let mut live = ready("broker-failure", &[("A", &[0, 1, 2]), ("B", &[3, 4, 5])]);
    load(&mut live, 7.5, 99.0, 99.0);
    (live, 7.5)
}

fn broker_down() -> (Live, f64) {
    let (mut live, _) = healthy();
    let (id, target, nodes) = ("kill-2".into(), "broker 2".into(), vec![2]);
    live.event(&at(10.0, What::Fault { id, kind: "kill".into(), target, nodes, active_controller: false }));
    live.event(&at(10.0, What::Phase { name: "broker 2 down".into() }));
    live.event(&at(18.6, What::BrokerFenced { broker: 2, broker_epoch: 10 }));
    for index in 0..6 {
        let replicas = replicas(index);
        let leader = if replicas[0] == 2 { 3 } else { replicas[0] };
        let isr: Vec<i32> = replicas.into_iter().filter(|id| *id != 2).collect();
        live.event(&at(18.61, partition(index, replicas, leader, &isr, 1)));
    }
    load(&mut live, 19.0, 10.0, 99.0);
    (live, 19.0)
}

fn rebalancing() -> (Live, f64) {
    let mut live = ready("group-rebalance", &[("A", &[0, 1, 2])]);
    let mut joined = at(5.0, What::Member { group: "group-1".into(), member: "B".into(), change: "join".into() });
    joined.cause = Some("join-B".into());
    live.event(&joined);
    live.event(&at(5.3, owns("A", 1, &[])));
    load(&mut live, 5.5, 99.0, 99.0);
    (live, 5.5)
}

/// The screen after a frame.
fn screen((live, at_s): (Live, f64), width: u16, height: u16, colour: bool) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a backend in memory");
    let now = Moment { since_begin_s: 0.0, at_us: Some((at_s * 1e6) as i64) };
    let laid_out = frame(&live, now, usize::from(width), usize::from(height));
    terminal.draw(|frame| rows(&laid_out, colour, frame.area(), frame.buffer_mut())).expect("it draws");
    terminal.backend().clone()
}

#[test]
fn a_healthy_cluster_at_both_sizes() {
    insta::assert_snapshot!("healthy_80x24", screen(healthy(), 80, 24, true));
    insta::assert_snapshot!("healthy_60x20", screen(healthy(), 60, 20, true));
}

#[test]
fn a_broker_that_is_down_at_both_sizes() {
    insta::assert_snapshot!("broker_down_80x24", screen(broker_down(), 80, 24, true));
    insta::assert_snapshot!("broker_down_60x20", screen(broker_down(), 60, 20, true));
}

#[test]
fn a_group_that_rebalances_at_both_sizes() {
    insta::assert_snapshot!("rebalancing_80x24", screen(rebalancing(), 80, 24, true));
    insta::assert_snapshot!("rebalancing_60x20", screen(rebalancing(), 60, 20, true));
}

#[test]
fn no_color_takes_every_colour_and_no_word() {
    let (coloured, plain) = (screen(broker_down(), 80, 24, true), screen(broker_down(), 80, 24, false));
    let colours = |backend: &TestBackend| {
        let cells = backend.buffer().content().iter();
        cells.filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert!(colours(&coloured) > 0);
    assert_eq!(colours(&plain), 0);
    assert_eq!(coloured.to_string(), plain.to_string());
}
