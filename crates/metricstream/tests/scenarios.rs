//! Every built-in scenario, run on real Apache Kafka as a user runs it; each test asserts the event that the scenario
//! exists to show. Timers are Kafka's own: the bounds are generous where a machine may be slow, and never the point.
#![allow(missing_docs)]

mod common;

use common::{kafka_can_run, run};
use serde_json::{Value, json};

fn ids(list: &Value) -> Vec<i64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_i64).collect()
}

#[test]
fn broker_failure_moves_leaders_after_the_session_timeout_and_loses_nothing() {
    if !kafka_can_run() {
        return;
    }
    let t = run("broker-failure", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let moved = t.rows("failovers");
    assert!(!moved.is_empty(), "broker 2 led partitions: they must have moved");
    for failover in moved.iter().filter(|f| f["from"] == 2) {
        assert_ne!(failover["to"], 2);
        let took = failover["elected_s"].as_f64().unwrap() - failover["fault_s"].as_f64().unwrap();
        assert!((1.0..25.0).contains(&took), "elected {took} s after the kill");
    }
    let writes = t.rows("unavailability").iter().filter(|u| u["op"] == "write" && u["fault"] == "kill-2");
    let stopped: std::collections::BTreeSet<_> = writes.filter_map(|u| u["partition"].as_i64()).collect();
    assert_eq!(stopped.len(), 6, "acks=all stops on every partition, led by the victim or not");
    let claim = t.claim("leaders");
    assert_eq!(claim["held"], false, "{claim:#}");
    assert!(claim["reason"].as_str().unwrap().contains("session"), "{claim:#}");
    assert!(t.rows("recovery").iter().any(|r| r["broker"] == 2 && r["isr_full_s"].is_number()));
    let last: Vec<&Value> = (0..6).filter_map(|p| t.rows("isr").iter().rfind(|r| r["partition"] == p)).collect();
    assert!(last.iter().all(|r| ids(&r["isr"]).len() == 3), "every ISR is full at the end: {last:?}");
}

#[test]
fn cascading_failure_leaves_one_leader_that_refuses_what_it_cannot_replicate() {
    if !kafka_can_run() {
        return;
    }
    let t = run("cascading-failure", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let smallest = t.rows("isr").iter().map(|r| ids(&r["isr"]).len()).min();
    assert_eq!(smallest, Some(1), "one broker was left");
    let open = t.rows("unavailability").iter().filter(|u| u["op"] == "write");
    let longest = open.filter_map(|u| u["duration_s"].as_f64()).fold(0.0, f64::max);
    assert!(longest > 5.0, "with min.insync.replicas=2 the last broker refuses; longest gap {longest} s");
}

#[test]
fn with_min_insync_replicas_1_the_last_broker_accepts_and_stands_alone() {
    if !kafka_can_run() {
        return;
    }
    let t = run("cascading-failure-min-isr-1", &[]);
    t.every_claim_is_answered();
    assert_eq!(t.num("/messages/lost"), t.num("/messages/lost_predicted"));
    assert_eq!(t.said.code(), 0, "{}", t.said.stdout);
    let smallest = t.rows("isr").iter().map(|r| ids(&r["isr"]).len()).min();
    assert_eq!(smallest, Some(1));
}

#[test]
fn on_combined_nodes_the_quorum_itself_is_lost() {
    if !kafka_can_run() {
        return;
    }
    let t = run("cascading-failure-combined", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let claim = t.rows("claims").iter().find(|c| c["id"].as_str().is_some_and(|i| i.contains("quorum")));
    let claim = claim.expect("a claim about the quorum");
    assert_eq!(claim["measured"], json!(false), "two of three voters are gone: {claim:#}");
}

#[test]
fn replication_factor_2_is_no_odd_number_and_still_has_its_use() {
    if !kafka_can_run() {
        return;
    }
    let t = run("cascading-failure-rf-2", &[]);
    t.every_claim_is_answered();
    assert!(t.rows("isr").iter().all(|r| ids(&r["replicas"]).len() == 2));
    assert_eq!(t.num("/messages/lost"), t.num("/messages/lost_predicted"));
    assert_eq!(t.said.code(), 0, "{}", t.said.stdout);
}

/// Assignments of a member in the rebalance that `trigger` set off.
fn after(t: &common::Trial, trigger: &str, member: &str) -> Vec<String> {
    let rebalance = t.rows("rebalances").iter().find(|r| r["trigger"].as_str().is_some_and(|x| x.contains(trigger)));
    let rebalance = rebalance.unwrap_or_else(|| panic!("no rebalance by {trigger}: {:#}", t.result["rebalances"]));
    let member = rebalance["members"].as_array().unwrap().iter().find(|m| m["id"] == member);
    let list = member.map_or(&Value::Null, |m| &m["after"]);
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn joins_and_leaves(scenario: &str, with_b: [&[&str]; 2]) {
    if !kafka_can_run() {
        return;
    }
    let t = run(scenario, &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    assert_eq!(after(&t, "join", "A"), with_b[0], "{:#}", t.result["rebalances"]);
    assert_eq!(after(&t, "join", "B"), with_b[1], "{:#}", t.result["rebalances"]);
    assert_eq!(after(&t, "leave", "A").len(), 3, "A has all again: {:#}", t.result["rebalances"]);
    assert_eq!(t.num("/messages/lost_to_group"), 0.0);
    for rebalance in t.rows("rebalances") {
        assert!(rebalance["duration_s"].as_f64().is_some_and(|d| d >= 0.0), "{rebalance:#}");
    }
}

#[test]
fn group_rebalance_range() {
    joins_and_leaves("group-rebalance", [&["metrics-0", "metrics-1"], &["metrics-2"]]);
}

#[test]
fn group_rebalance_roundrobin() {
    joins_and_leaves("group-rebalance-roundrobin", [&["metrics-0", "metrics-2"], &["metrics-1"]]);
}

#[test]
fn group_rebalance_cooperative_sticky_moves_one_partition_of_three() {
    if !kafka_can_run() {
        return;
    }
    let t = run("group-rebalance-cooperative-sticky", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    assert_eq!(after(&t, "join", "A").len(), 2);
    assert_eq!(after(&t, "join", "B").len(), 1);
    assert_eq!(after(&t, "leave", "A").len(), 3);
}

#[test]
fn group_rebalance_by_the_coordinator_kip_848() {
    if !kafka_can_run() {
        return;
    }
    let t = run("group-rebalance-consumer", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    assert_eq!(after(&t, "join", "A").len(), 2);
    assert_eq!(after(&t, "join", "B").len(), 1);
    assert_eq!(after(&t, "leave", "A").len(), 3);
    assert!(t.rows("rebalances").iter().all(|r| r["protocol"] == "consumer"));
}

#[test]
fn six_partitions_by_roundrobin_alternate_between_two_members() {
    if !kafka_can_run() {
        return;
    }
    let t = run("group-rebalance-six", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let last = t.rows("rebalances").last().expect("a rebalance");
    let of = |id: &str| last["members"].as_array().unwrap().iter().find(|m| m["id"] == id).unwrap()["after"].clone();
    assert_eq!(of("A"), json!(["metrics-0", "metrics-2", "metrics-4"]), "{last:#}");
    assert_eq!(of("B"), json!(["metrics-1", "metrics-3", "metrics-5"]), "{last:#}");
}

#[test]
fn a_member_that_crashes_is_only_missed_after_its_session() {
    if !kafka_can_run() {
        return;
    }
    let t = run("group-rebalance-crash", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let crash = t.rows("rebalances").iter().find(|r| r["trigger"].as_str().is_some_and(|x| x.contains("crash")));
    let crash = crash.expect("a rebalance by the crash");
    assert!(crash["duration_s"].as_f64().unwrap() > 3.0, "nobody can know before the session ends: {crash:#}");
    assert_eq!(after(&t, "crash", "A").len(), 6, "all are its own now: {crash:#}");
}

#[test]
fn a_member_that_stalls_in_one_poll_loses_its_partitions() {
    if !kafka_can_run() {
        return;
    }
    let t = run("group-rebalance-stall", &[]);
    t.every_claim_is_answered();
    assert_eq!(t.said.code(), 0, "{}", t.said.stdout);
    let stall = t.rows("rebalances").iter().find(|r| r["trigger"].as_str().is_some_and(|x| x.contains("stall")));
    assert!(stall.is_some(), "{:#}", t.result["rebalances"]);
}

#[test]
fn a_single_broker_whose_disk_is_lost_takes_everything_with_it() {
    if !kafka_can_run() {
        return;
    }
    let t = run("single-broker", &[]);
    t.every_claim_is_answered();
    assert_eq!(t.said.code(), 0, "the loss is predicted: {}", t.said.stdout);
    assert!(t.num("/messages/lost") > 0.0);
    assert_eq!(t.num("/messages/lost"), t.num("/messages/lost_predicted"));
    let loss = t.rows("losses").first().expect("a row of losses");
    assert!(loss["cause"].as_str().is_some_and(|c| !c.is_empty()), "{loss:#}");
}

#[test]
fn acks_1_loses_its_acknowledged_tail_in_ten_of_ten_runs() {
    if !kafka_can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("runs");
    let args = ["run", "acks-1", "--engine", "kafka", "--repeat", "10", "--out", out.to_str().unwrap()];
    let said = common::finish(&mut common::metricstream(&args), std::time::Duration::from_secs(1200));
    let said = said.expect(0);
    let mut trials = 0;
    for entry in std::fs::read_dir(&out).unwrap().flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path().join("result.json")) else { continue };
        let result: Value = serde_json::from_str(&text).unwrap();
        let lost = result["messages"]["lost"].as_u64().unwrap();
        assert!(lost > 0, "trial {} lost nothing", entry.path().display());
        assert_eq!(result["messages"]["lost_predicted"].as_u64(), Some(lost));
        for loss in result["losses"].as_array().unwrap() {
            assert!(loss["first_offset"].is_i64() && loss["last_offset"].is_i64(), "{loss:#}");
            assert!(loss["epoch"].is_i64() && loss["fault"].is_string(), "attributed: {loss:#}");
        }
        trials += 1;
    }
    assert_eq!(trials, 10, "{}", said.stdout);
}

#[test]
fn controller_failure_elects_another_one() {
    if !kafka_can_run() {
        return;
    }
    let t = run("controller-failure", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    assert!(t.rows("faults").iter().any(|f| f["active_controller"] == true), "{:#}", t.result["faults"]);
}

#[test]
fn a_rolling_restart_loses_nothing_and_hardly_stops() {
    if !kafka_can_run() {
        return;
    }
    let t = run("rolling-restart", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let stops = t.rows("faults").iter().filter(|f| f["kind"] == "stop").count();
    assert_eq!(stops, 3);
}

#[test]
fn a_paused_broker_keeps_clients_waiting() {
    if !kafka_can_run() {
        return;
    }
    let t = run("paused-broker", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    assert!(t.rows("faults").iter().any(|f| f["kind"] == "pause"));
    assert!(t.rows("failovers").iter().any(|f| f["fenced_s"].is_number()), "{:#}", t.result["failovers"]);
}

#[test]
fn an_unclean_election_loses_what_only_the_old_leader_had() {
    if !kafka_can_run() {
        return;
    }
    let t = run("unclean-election", &[]);
    t.every_claim_is_answered();
    assert_eq!(t.said.code(), 0, "the loss is predicted: {}", t.said.stdout);
    assert!(t.num("/messages/lost") > 0.0, "{:#}", t.result["messages"]);
    assert_eq!(t.num("/messages/lost"), t.num("/messages/lost_predicted"));
}

#[test]
fn chaos_is_decided_by_its_seed_and_the_ledger_stays_clean() {
    if !kafka_can_run() {
        return;
    }
    // Half as long as the scenario: a few faults show what many do.
    let t = run("chaos", &["--set", "timeline.0.for_s=30", "--set", "workload.duration_s=48"]);
    t.every_claim_is_answered();
    assert_eq!(t.said.code(), 0, "{}", t.said.stdout);
    assert!(t.rows("faults").len() >= 2, "{:#}", t.result["faults"]);
    assert_eq!(t.num("/messages/lost"), t.num("/messages/lost_predicted"));
}

#[test]
fn the_named_reason_follows_the_setting_that_decides() {
    if !kafka_can_run() {
        return;
    }
    let reason = |ms: &str| {
        let set = format!("topology.broker_config.\"broker.session.timeout.ms\"={ms}");
        // The claim is answered long before the load of the scenario would end.
        let t = run("broker-failure", &["--set", &set, "--set", "workload.duration_s=34"]);
        let claim = t.claim("leaders").clone();
        (claim["measured"].as_f64().unwrap(), claim["reason"].as_str().unwrap().to_owned())
    };
    let (short, why_short) = reason("4500");
    let (long, why_long) = reason("15000");
    assert!(short + 4.0 < long, "{short} s and {long} s");
    assert!(why_short.contains("broker.session.timeout.ms") && why_short.contains("4500"), "{why_short}");
    assert!(why_long.contains("15000"), "{why_long}");
}
