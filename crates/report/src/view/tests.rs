//! Stories of a report: what a result says must be read in it, once, in plain words and within eighty columns.

use metricstream_ledger::result::RunResult;
use metricstream_scenario::{builtin, parse};
use serde_json::{Value, json};

use super::View;
use crate::terminal::{Options, render};
use crate::text::columns;

/// Broker 2 led one of two partitions and was killed at 10 s; it was fenced at 19.2 s and both went on.
fn killed() -> Value {
    let isr = |partition: i32, at_s: f64, leader: i32, isr: &[i32], epoch: i32| {
        json!({"topic": "metrics", "partition": partition, "at_s": at_s, "replicas": [1, 2, 3], "isr": isr,
               "leader": leader, "leader_epoch": epoch, "partition_epoch": epoch, "error_ms": 1.0, "clock": "controller"})
    };
    let stopped = |partition: i32, cause: &str| {
        json!({"topic": "metrics", "partition": partition, "op": "write", "from_s": 10.0, "duration_s": 9.3,
               "resolution_ms": 6.0, "fault": "kill-2", "open": false, "cause": cause, "held_s": 9.2,
               "timer": "broker.session.timeout.ms = 9000", "delay_ms": 0.0})
    };
    let latency = |phase: &str, kind: &str, max_ms: f64| {
        json!({"phase": phase, "kind": kind, "acks": "all", "p50_ms": 5.6, "p90_ms": 7.0, "p99_ms": 9.5, "p999_ms": 24.0,
               "max_ms": max_ms, "count": 9_000, "open": 0})
    };
    let claim = |id: &str, held: bool| json!({"id": id, "text": id, "expected": "<= 3", "measured": 9.2, "unit": "s", "held": held, "reason": "why"});
    json!({
        "schema": 1, "scenario": "broker-failure", "description": "", "engine": "embedded", "profile": "apache", "seed": 7,
        "started_at": "2026-01-01T00:00:00Z", "duration_s": 40.0, "versions": {}, "config": {}, "verdict": "pass",
        "reasons": ["every guarantee that applies held"],
        "phases": [{"name": "healthy", "from_s": 0.0, "to_s": 10.0}, {"name": "broker 2 down", "from_s": 10.0, "to_s": 20.0}],
        "messages": {"sent": 20_000, "acked": 20_000, "failed": 0, "unknown": 0, "in_log": 20_000, "lost": 0,
            "lost_predicted": 0, "phantom": 0, "alien": 0, "duplicates": 0, "redelivered": 0, "reordered": 0,
            "lost_to_group": 0, "unknown_survived": 0, "success_rate": 1.0},
        "losses": [], "anomalies": [], "guarantees": [],
        "claims": [claim("a", true), claim("b", false), claim("c", false)],
        "faults": [{"id": "kill-2", "at_s": 10.0, "kind": "kill", "target": "broker 2", "nodes": [2],
            "active_controller": false, "healed_at_s": 20.0}],
        "unavailability": [stopped(0, "leader"), stopped(1, "isr")],
        "failovers": [{"topic": "metrics", "partition": 0, "from": 2, "to": 3, "epoch": 1, "fault_s": 10.0, "fenced_s": 19.2,
            "elected_s": 19.2, "learned_s": 19.3, "first_ack_s": 19.3, "fault": "kill-2",
            "predicted": "≤ 10.1 s, broker.session.timeout.ms = 9000", "predicted_max_s": 10.1}],
        "isr": [isr(0, -3.0, 2, &[2, 3, 1], 0), isr(1, -3.0, 1, &[1, 2, 3], 0), isr(0, 19.2, 3, &[3, 1], 1),
            isr(1, 19.2, 1, &[1, 3], 1)],
        "rebalances": [], "recovery": [],
        "latency": [latency("healthy", "response", 9_320.0), latency("healthy", "service", 9_310.0),
            latency("healthy", "delay", 12.0), latency("healthy", "end_to_end", 9_330.0)],
        "throughput": [
            {"phase": "healthy", "offered_per_s": 1_000.0, "acked_per_s": 999.6, "backlog_per_s": 0.0,
             "delivered_per_s": 1_000.0, "mb_per_s": 0.204_812_34, "limited_by": "schedule"},
            {"phase": "broker 2 down", "offered_per_s": 1_000.0, "acked_per_s": 1_072.3, "backlog_per_s": 72.3,
             "delivered_per_s": 2_414.4, "delivered_backlog_per_s": 1_414.0, "mb_per_s": 0.000_1, "limited_by": "cluster"}],
        "not_measured": [],
    })
}

fn report(result: Value) -> String {
    let result: RunResult = serde_json::from_value(result).expect("a result");
    let scenario = parse(builtin::find("broker-failure").expect("it is built in").text).expect("it parses");
    let view = View::new(&result, &[], &scenario);
    let text = render(&view, &Options { width: 80, colour: false, run_dir: None });
    for line in text.lines() {
        assert!(columns(line) <= 80, "{} columns: {line}", columns(line));
    }
    text
}

/// The same text without the breaks of its lines.
fn flowing(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_verdict_names_what_did_not_hold_and_the_setting_that_decided() {
    let text = flowing(&report(killed()));
    let wanted = "PASS nothing lost; 2 of 3 claims did not hold; writes stopped for 9.3 s: \
                  broker.session.timeout.ms = 9000 decided";
    assert!(text.ends_with(wanted), "{text}");
    // An election later than predicted was decided by something else.
    let mut late = killed();
    late["failovers"][0]["predicted_max_s"] = json!(9.0);
    assert!(!flowing(&report(late)).contains("decided"));
}

#[test]
fn why_writes_stop_where_the_dead_broker_led_nothing_is_said_once() {
    let text = flowing(&report(killed()));
    let why = "broker 2 led 1 of the 2 partitions, yet all of them stood still: with acks=all a leader waits for every \
               replica in the ISR, and broker 2 stayed in it for 9.2 s (broker.session.timeout.ms = 9000)";
    assert_eq!(text.matches(why).count(), 1, "{text}");
    let mut weak = killed();
    weak["unavailability"][1]["cause"] = json!(null);
    assert!(!flowing(&report(weak)).contains("yet all of them stood still"));
}

#[test]
fn the_timer_that_is_named_is_the_one_that_decided() {
    let mut quick = killed();
    for row in quick["unavailability"].as_array_mut().expect("rows") {
        row["timer"] = json!("metricstream.fence.after.disconnect.ms = 9000");
    }
    quick["failovers"][0]["predicted"] = json!("≤ 9.3 s, metricstream.fence.after.disconnect.ms = 9000");
    let text = flowing(&report(quick));
    assert!(text.contains("stayed in it for 9.2 s (metricstream.fence.after.disconnect.ms = 9000)"), "{text}");
    assert!(text.ends_with("metricstream.fence.after.disconnect.ms = 9000 decided"), "{text}");
    assert!(!text.contains("session.timeout"), "{text}");
}

/// Fenced at once; what came of it is told by the rows.
fn fenced_at_once(rows: Value) -> Value {
    let mut quick = killed();
    for (name, at_s) in [("fenced_s", 10.002), ("elected_s", 10.002), ("learned_s", 10.8), ("first_ack_s", 10.8)] {
        quick["failovers"][0][name] = json!(at_s);
    }
    quick["failovers"][0]["predicted"] = json!("≤ 0.1 s, metricstream.fence.after.disconnect.ms = 0");
    quick["failovers"][0]["predicted_max_s"] = json!(0.1);
    for nth in [2, 3] {
        quick["isr"][nth]["at_s"] = json!(10.002);
    }
    quick["unavailability"] = rows;
    quick["latency"][0]["max_ms"] = json!(810.0);
    quick
}

fn window(partition: i32, from_s: f64, duration_s: f64) -> Value {
    json!({"topic": "metrics", "partition": partition, "op": "write", "from_s": from_s, "duration_s": duration_s,
           "resolution_ms": 6.0, "fault": null, "open": false, "cause": null, "held_s": null, "timer": null,
           "delay_ms": 0.0})
}

/// Of the partition that broker 2 led, after its kill at 10 s.
fn of_the_kill(duration_s: f64, held_s: f64) -> Value {
    let mut row = window(0, 9.998, duration_s);
    (row["fault"], row["cause"], row["held_s"]) = (json!("kill-2"), json!("leader"), json!(held_s));
    row
}

#[test]
fn a_stall_after_the_dead_broker_was_fenced_is_told_apart_and_without_its_reason() {
    let text =
        flowing(&report(fenced_at_once(json!([of_the_kill(0.8, 0.004), window(0, 11.7, 0.9), window(1, 11.7, 0.9)]))));
    let told = "writes after kill-2, when nothing stood in the way: 2 partitions without an acknowledgement, for up to 0.9 s \
                at 11.7 s; no fault of this run explains it";
    assert!(text.contains(told), "{text}");
    assert!(text.contains("writes: 1 partition, longest 0.8 s"), "{text}");
    for wrong in ["all of them stood still", "session.timeout", "overloaded", "decided"] {
        assert!(!text.contains(wrong), "{wrong}: {text}");
    }
    let end = "writes stopped for 0.8 s: another leader stood after 2 ms, clients went on to it 0.8 s later; and for 0.9 s \
               after kill-2, unexplained";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn what_came_before_any_fault_has_its_own_line_and_no_part_in_the_outage() {
    let rows = json!([window(0, 1.2, 0.9), window(1, 1.21, 0.7), of_the_kill(0.8, 0.004)]);
    let mut early = fenced_at_once(rows);
    early["latency"][0]["max_ms"] = json!(905.0);
    let text = flowing(&report(early.clone()));
    let told = "writes before any fault: 2 partitions without an acknowledgement, for up to 0.9 s at 1.2 s; no fault of this \
                run explains it";
    assert!(text.contains(told), "{text}");
    assert!(text.contains("writes: 1 partition, longest 0.8 s") && text.contains(" 0.8 s; 0.9 s* "), "{text}");
    assert!(text.contains("writes stop on partition 0 ") || text.contains("writes stop on metrics-0"), "{text}");
    assert!(text.ends_with("and for 0.9 s before any fault, unexplained"), "{text}");
    let slowest = "the slowest of `healthy` waited through 0.9 s without an acknowledgement at 1.2 s, before any fault";
    assert!(
        text.contains(slowest) || text.contains("waited through the outage that followed, or through 0.9 s"),
        "{text}"
    );
    assert!(!text.contains("overloaded"), "{text}");
    // The generator was late too: that is the machine.
    early["unavailability"][0]["delay_ms"] = json!(700.0);
    let text = flowing(&report(early));
    let machine = "the load generator itself was up to 0.7 s late then: this machine was overloaded, and the figures of this \
                   run are to be read with that in mind";
    assert_eq!(text.matches(machine).count(), 1, "{text}");
    assert!(text.ends_with("and for 0.9 s before any fault: this machine was overloaded"), "{text}");
}

#[test]
fn the_slowest_of_a_phase_are_blamed_on_what_they_waited_for() {
    let footnote = |healthy_max_ms: f64, rows: Value| {
        let mut result = fenced_at_once(rows);
        result["latency"][0]["max_ms"] = json!(healthy_max_ms);
        flowing(&report(result))
    };
    let followed = "the last ones of `healthy` waited through the outage that followed";
    // Who waited 2.4 s did not wait for an outage of 0.8 s.
    let stalled = footnote(2_400.0, json!([window(0, 1.2, 2.4), of_the_kill(0.8, 0.004)]));
    assert!(
        stalled.contains("the slowest of `healthy` waited through 2.4 s without an acknowledgement at 1.2 s"),
        "{stalled}"
    );
    assert!(!stalled.contains(followed), "{stalled}");
    let twin = footnote(805.0, json!([window(0, 1.2, 0.3), of_the_kill(0.8, 0.004)]));
    assert!(twin.contains(followed), "{twin}");
    assert!(
        twin.contains("others of it waited through 0.3 s without an acknowledgement at 1.2 s, before any fault"),
        "{twin}"
    );
    assert!(!footnote(805.0, json!([of_the_kill(0.8, 0.004)])).contains("others of it"));
}

#[test]
fn what_lasts_on_when_the_dead_follower_has_left_the_isr_is_said_to_have_no_reason() {
    let mut row = of_the_kill(0.9, 0.004);
    (row["partition"], row["cause"]) = (json!(1), json!("isr"));
    let text = flowing(&report(fenced_at_once(json!([of_the_kill(0.8, 0.004), row.clone()]))));
    let told = "after kill-2: 1 partition went on standing still for up to 0.9 s when nothing stood in the way any longer; \
                nothing in the cluster explains that";
    assert!(text.contains(told) && !text.contains("yet all of them"), "{text}");
    // The twin: the follower was in the ISR for all of it.
    row["held_s"] = json!(0.89);
    let text = flowing(&report(fenced_at_once(json!([of_the_kill(0.8, 0.004), row]))));
    assert!(text.contains("yet all of them") && !text.contains("nothing in the cluster explains"), "{text}");
}

#[test]
fn a_run_without_a_fault_blames_none_and_slow_links_are_not_cleared() {
    let mut steady = fenced_at_once(json!([window(0, 5.0, 0.9)]));
    (steady["faults"], steady["failovers"]) = (json!([]), json!([]));
    let text = flowing(&report(steady.clone()));
    assert!(
        text.contains("writes without any fault: 1 partition") && text.contains("nothing of this run explains it"),
        "{text}"
    );
    assert!(text.ends_with("writes stopped for 0.9 s without any fault, which nothing of the run explains"), "{text}");
    steady["faults"] = json!([{"id": "slow", "at_s": 0.0, "kind": "slow-link", "target": "", "nodes": [],
        "active_controller": false, "healed_at_s": null}]);
    let text = flowing(&report(steady));
    assert!(text.contains("unless the slow links of slow do"), "{text}");
}

#[test]
fn an_outage_that_was_open_at_the_end_is_told_as_at_least_so_long() {
    let mut cut = killed();
    for row in cut["unavailability"].as_array_mut().expect("rows") {
        row["open"] = json!(true);
    }
    let text = flowing(&report(cut));
    assert!(text.contains("longest ≥ 9.3 s"), "{text}");
    assert!(text.contains("2 still open when the load ended"), "{text}");
    assert!(text.contains("writes stopped for ≥ 9.3 s"), "{text}");
}

#[test]
fn an_audit_that_was_not_finished_is_said_once_and_not_with_every_guarantee() {
    let why = "the audit was not finished: what is missing from the log is not known";
    let mut cut = killed();
    let row = |id: &str| json!({"id": id, "text": id, "held": null, "evidence": format!("{why}; because of {id}")});
    cut["guarantees"] = json!([row("one"), row("two"), row("three")]);
    cut["verdict"] = json!("inconclusive");
    cut["reasons"] = json!(["interrupted while the timeline ran", why]);
    cut["not_measured"] = json!([format!("messages, what only the audit can find: {why}")]);
    let text = flowing(&report(cut));
    assert_eq!(text.matches(why).count(), 1, "{text}");
    assert!(text.contains("because of two") && text.contains("interrupted while the timeline ran"), "{text}");
}

#[test]
fn latencies_show_their_parts_and_say_when_they_waited_through_the_next_phase() {
    let text = report(killed());
    let row = text.lines().find(|line| line.contains(" / 9,310")).expect("the parts of a response");
    assert!(row.contains("healthy") && row.contains("5.6 / 9.5 / 12") && row.contains("5.6 / 9.5 / 9,310"), "{row}");
    assert!(flowing(&text).contains("the last ones of `healthy` waited through the outage that followed"), "{text}");
    // A phase of which one part is not known shows the other.
    let mut cut = killed();
    cut["latency"].as_array_mut().expect("rows").retain(|row| row["kind"] != "delay");
    let parts = report(cut);
    let row = parts.lines().find(|line| line.contains(" / 9,310")).expect("the part that is known");
    assert!(row.contains("–") && row.contains("5.6 / 9.5 / 9,310"), "{row}");
    let mut quick = killed();
    quick["latency"][0]["max_ms"] = json!(30.0);
    assert!(!flowing(&report(quick)).contains("waited through the outage"));
}

#[test]
fn throughput_has_few_digits_and_tells_what_came_late() {
    let text = report(killed());
    let row = |phase: &str| {
        let at = text.find("per second").expect("the table");
        let row = text[at..].lines().find(|line| line.contains(phase)).expect("the phase");
        row.split_whitespace().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("healthy"), "1,000 1,000 1,000 0.2 schedule");
    assert_eq!(row("broker 2 down"), "1,000 1,072 2,414 0 cluster");
    let late = "broker 2 down: 72 of the 1,072 acked and 1,414 of the 2,414 delivered were wanted in an earlier phase";
    assert!(flowing(&text).contains(late), "{text}");
    assert!(!flowing(&text).contains("healthy: 0 of"), "{text}");
}

#[test]
fn all_of_the_sends_are_acknowledged_or_it_is_not_said() {
    let mut cut = killed();
    cut["messages"]["success_rate"] = json!(21_278.0 / 21_285.0);
    let text = flowing(&report(cut));
    assert!(text.contains("99.96 % acknowledged"), "{text}");
    assert!(flowing(&report(killed())).contains("100 % acknowledged"));
}

#[test]
fn the_claim_and_the_messages_say_the_same_share() {
    let mut cut = killed();
    let rate = 25_371.0 / 27_989.0;
    cut["messages"]["success_rate"] = json!(rate);
    cut["claims"] = json!([{"id": "success", "text": "99 % succeed", "expected": ">= 0.99", "measured": rate,
        "unit": "share", "held": false, "reason": "why"}]);
    let text = flowing(&report(cut));
    assert_eq!((text.matches("90.64 %").count(), text.matches("90.65 %").count()), (2, 0), "{text}");
}

#[test]
fn where_no_baseline_was_measured_nobody_says_that_the_group_did_not_catch_up() {
    let mut cut = killed();
    let row = json!({"group": "group-1", "fault": "kill-2", "healed_s": 20.0, "baseline_lag": null, "peak_lag": 1_580,
        "duration_s": null, "drain_per_s": null, "ideal_s": null});
    let why = "no baseline, the first fault came in the warm-up";
    cut["catch_up"] = json!([row]);
    cut["not_measured"] = json!([format!("catch_up of group-1: {why}")]);
    let text = flowing(&report(cut.clone()));
    let told = format!("1,580 behind at most, when it had caught up was not measured: {why}");
    assert!(text.contains(&told) && !text.contains("not caught up"), "{text}");
    assert_eq!(text.matches(why).count(), 2, "{text}");
    // The near twin: with a baseline it is known that it did not.
    cut["catch_up"][0]["baseline_lag"] = json!(250.0);
    cut["not_measured"] = json!([]);
    assert!(flowing(&report(cut)).contains("1,580 behind at most, not caught up"));
}

#[test]
fn a_partition_of_three_replicas_is_one_line_of_eighty_columns() {
    let mut run = killed();
    // Broker 2 comes back; reads stood still too, twice.
    let back = |partition: i32, leader: i32, isr: &[i32], epoch: i32| {
        json!({"topic": "metrics", "partition": partition, "at_s": 23.4, "replicas": [1, 2, 3], "isr": isr,
               "leader": leader, "leader_epoch": epoch, "partition_epoch": epoch + 1, "error_ms": 1.0, "clock": "controller"})
    };
    let rows = run["isr"].as_array_mut().expect("rows");
    rows.extend([back(0, 3, &[3, 1, 2], 1), back(1, 1, &[1, 3, 2], 1)]);
    let stopped = |op: &str, from_s: f64| {
        json!({"topic": "metrics", "partition": 0, "op": op, "from_s": from_s, "duration_s": 10.3, "resolution_ms": 6.0,
               "fault": "kill-2", "open": op == "read"})
    };
    let gaps = run["unavailability"].as_array_mut().expect("rows");
    gaps.extend([stopped("write", 25.0), stopped("read", 10.0), stopped("read", 25.0)]);
    let text = report(run);
    let at = text.lines().position(|line| line.starts_with("partition  leader")).expect("the table");
    let rows: Vec<&str> = text.lines().skip(at).take(3).collect();
    let wanted = [
        "partition  leader  ISR                        epoch  no writes    no reads",
        "0          2 → 3   [2,3,1] → [3,1] → [3,1,2]  0 → 1  19.6 s in 2  ≥ 20.6 s in 2",
        "1          1       [1,2,3] → [1,3] → [1,3,2]  0 → 1  9.3 s        –",
    ];
    assert_eq!(rows, wanted);
    assert!(flowing(&text).contains("ISR: before → smallest → at the end, in Kafka's own order"), "{text}");
}

#[test]
fn what_went_for_one_reason_is_told_once_with_its_sum() {
    let mut run = killed();
    let loss = |partition: i32, cause: String| {
        json!({"topic": "metrics", "partition": partition, "first_offset": 0, "last_offset": 999, "count": 1_000,
               "predicted": true, "cause": cause, "epoch": null, "fault": "start-1"})
    };
    let gone = "gone: topic absent at the audit, after the restart with a new disk of broker 1";
    let mut losses: Vec<Value> = (0..6)
        .map(|partition| loss(partition, format!("offsets 0–999 of metrics-{partition} were lost: {gone}")))
        .collect();
    losses.push(loss(7, "offsets 0–999 of metrics-7 were truncated at epoch 4".to_owned()));
    run["losses"] = json!(losses);
    let anomaly = |partition: i32| {
        json!({"kind": "committed-offset-lost", "topic": "metrics", "partition": partition, "group": "group-1",
               "count": 1_000, "verdict": "expected", "evidence": "1000 offsets are gone"})
    };
    run["anomalies"] = json!((0..6).map(anomaly).collect::<Vec<_>>());
    let text = flowing(&report(run));
    let told = format!("6,000 messages in 6 ranges: {gone}, step start-1 (predicted: outside the guarantee)");
    assert!(text.contains(&told) && text.matches(gone).count() == 1, "{text}");
    assert!(text.contains("metrics-0 offsets 0–999 (1,000), metrics-1 offsets 0–999 (1,000)"), "{text}");
    let alone = "metrics-7 offsets 0–999, 1,000 messages: truncated at epoch 4, step start-1";
    assert!(text.contains(alone), "{text}");
    let anomalies = "6,000 × committed-offset-lost on 6 partitions of metrics in group-1, expected; metrics-0: 1000 offsets are gone";
    assert!(text.contains(anomalies) && text.matches("1000 offsets are gone").count() == 1, "{text}");
}
