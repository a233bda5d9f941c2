//! The stories of the built-in scenarios, one function each, told of whichever engine they are given. Each asserts the event
//! that its scenario exists to show. Bounds on times are generous where a machine may be slow, and never the point.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Running, Trial, kafka_can_run, metricstream, run_on};

/// What a story is told of.
pub struct On {
    pub engine: &'static str,
    pub profile: &'static str,
}

impl On {
    pub const KAFKA: Self = Self { engine: "kafka", profile: "apache" };
    pub const EMBEDDED: Self = Self { engine: "embedded", profile: "apache" };
    pub const EMBEDDED_FAST: Self = Self { engine: "embedded", profile: "fast" };

    /// Whether the engine can run here; the embedded cluster can anywhere.
    pub fn can_run(&self) -> bool {
        self.engine == "embedded" || kafka_can_run()
    }

    /// Whether failover takes tens of milliseconds, not Kafka's own time.
    pub fn fast(&self) -> bool {
        self.profile == "fast"
    }

    pub fn options(&self) -> [&'static str; 4] {
        ["--engine", self.engine, "--profile", self.profile]
    }

    #[track_caller]
    pub fn run(&self, scenario: &str, more: &[&str]) -> Trial {
        run_on(scenario, &[&self.options()[..], more].concat())
    }
}

fn ids(list: &Value) -> Vec<i64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_i64).collect()
}

pub fn broker_failure_moves_leaders_after_the_session_timeout_and_loses_nothing(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("broker-failure", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let moved = t.rows("failovers");
    assert!(moved.iter().any(|f| f["fault"] == "kill-2"), "broker 2 led partitions: they must have moved");
    for failover in moved.iter().filter(|f| f["from"] == 2) {
        assert_ne!(failover["to"], 2);
        let took = failover["elected_s"].as_f64().unwrap() - failover["fault_s"].as_f64().unwrap();
        let bounds = if on.fast() { 0.0..5.0 } else { 1.0..25.0 };
        assert!(bounds.contains(&took), "elected {took} s after the kill");
    }
    let writes = t.rows("unavailability").iter().filter(|u| u["op"] == "write" && u["fault"] == "kill-2");
    let stopped: std::collections::BTreeSet<_> = writes.filter_map(|u| u["partition"].as_i64()).collect();
    assert!(
        on.fast() || stopped.len() == 6,
        "acks=all stops on every partition, led by the victim or not: {stopped:?}"
    );
    let claim = t.claim("leaders");
    assert_eq!(claim["held"], on.fast(), "3 s are too short for Kafka's own timers: {claim:#}");
    assert!(on.fast() || claim["reason"].as_str().unwrap().contains("session"), "{claim:#}");
    assert!(t.rows("recovery").iter().any(|r| r["broker"] == 2 && r["isr_full_s"].is_number()));
    let last: Vec<&Value> = (0..6).filter_map(|p| t.rows("isr").iter().rfind(|r| r["partition"] == p)).collect();
    assert!(last.iter().all(|r| ids(&r["isr"]).len() == 3), "every ISR is full at the end: {last:?}");
}

pub fn cascading_failure_leaves_one_leader_that_refuses_what_it_cannot_replicate(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("cascading-failure", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let smallest = t.rows("isr").iter().map(|r| ids(&r["isr"]).len()).min();
    assert_eq!(smallest, Some(1), "one broker was left");
    let open = t.rows("unavailability").iter().filter(|u| u["op"] == "write");
    let longest = open.filter_map(|u| u["duration_s"].as_f64()).fold(0.0, f64::max);
    let alone_s = if on.fast() { 1.5 } else { 5.0 };
    assert!(longest > alone_s, "with min.insync.replicas=2 the last broker refuses; longest gap {longest} s");
}

pub fn with_min_insync_replicas_1_the_last_broker_accepts_and_stands_alone(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("cascading-failure-min-isr-1", &[]);
    t.every_claim_is_answered();
    assert_eq!(t.num("/messages/lost"), t.num("/messages/lost_predicted"));
    assert_eq!(t.said.code(), 0, "{}", t.said.stdout);
    let smallest = t.rows("isr").iter().map(|r| ids(&r["isr"]).len()).min();
    assert_eq!(smallest, Some(1));
}

pub fn on_combined_nodes_the_quorum_itself_is_lost(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("cascading-failure-combined", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let claim = t.rows("claims").iter().find(|c| c["id"].as_str().is_some_and(|i| i.contains("quorum")));
    let claim = claim.expect("a claim about the quorum");
    assert_eq!(claim["measured"], json!(false), "two of three voters are gone: {claim:#}");
}

pub fn replication_factor_2_is_no_odd_number_and_still_has_its_use(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("cascading-failure-rf-2", &[]);
    t.every_claim_is_answered();
    assert!(t.rows("isr").iter().all(|r| ids(&r["replicas"]).len() == 2));
    assert_eq!(t.num("/messages/lost"), t.num("/messages/lost_predicted"));
    assert_eq!(t.said.code(), 0, "{}", t.said.stdout);
}

/// Assignments of a member in the rebalance that `trigger` set off.
fn after(t: &Trial, trigger: &str, member: &str) -> Vec<String> {
    let rebalance = t.rows("rebalances").iter().find(|r| r["trigger"].as_str().is_some_and(|x| x.contains(trigger)));
    let rebalance = rebalance.unwrap_or_else(|| panic!("no rebalance by {trigger}: {:#}", t.result["rebalances"]));
    let member = rebalance["members"].as_array().unwrap().iter().find(|m| m["id"] == member);
    let list = member.map_or(&Value::Null, |m| &m["after"]);
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn joins_and_leaves(on: &On, scenario: &str, with_b: [&[&str]; 2]) {
    if !on.can_run() {
        return;
    }
    let t = on.run(scenario, &[]);
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

pub fn group_rebalance_range(on: &On) {
    joins_and_leaves(on, "group-rebalance", [&["metrics-0", "metrics-1"], &["metrics-2"]]);
}

pub fn group_rebalance_roundrobin(on: &On) {
    joins_and_leaves(on, "group-rebalance-roundrobin", [&["metrics-0", "metrics-2"], &["metrics-1"]]);
}

pub fn group_rebalance_cooperative_sticky_moves_one_partition_of_three(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("group-rebalance-cooperative-sticky", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    assert_eq!(after(&t, "join", "A").len(), 2);
    assert_eq!(after(&t, "join", "B").len(), 1);
    assert_eq!(after(&t, "leave", "A").len(), 3);
}

pub fn group_rebalance_by_the_coordinator_kip_848(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("group-rebalance-consumer", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    assert_eq!(after(&t, "join", "A").len(), 2);
    assert_eq!(after(&t, "join", "B").len(), 1);
    assert_eq!(after(&t, "leave", "A").len(), 3);
    assert!(t.rows("rebalances").iter().all(|r| r["protocol"] == "consumer"));
}

pub fn six_partitions_by_roundrobin_alternate_between_two_members(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("group-rebalance-six", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let last = t.rows("rebalances").last().expect("a rebalance");
    let of = |id: &str| last["members"].as_array().unwrap().iter().find(|m| m["id"] == id).unwrap()["after"].clone();
    assert_eq!(of("A"), json!(["metrics-0", "metrics-2", "metrics-4"]), "{last:#}");
    assert_eq!(of("B"), json!(["metrics-1", "metrics-3", "metrics-5"]), "{last:#}");
}

pub fn a_member_that_crashes_is_only_missed_after_its_session(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("group-rebalance-crash", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let crash = t.rows("rebalances").iter().find(|r| r["trigger"].as_str().is_some_and(|x| x.contains("crash")));
    let crash = crash.expect("a rebalance by the crash");
    assert!(crash["duration_s"].as_f64().unwrap() > 3.0, "nobody can know before the session ends: {crash:#}");
    assert_eq!(after(&t, "crash", "A").len(), 6, "all are its own now: {crash:#}");
}

pub fn a_member_that_stalls_in_one_poll_loses_its_partitions(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("group-rebalance-stall", &[]);
    t.every_claim_is_answered();
    assert_eq!(t.said.code(), 0, "{}", t.said.stdout);
    let stall = t.rows("rebalances").iter().find(|r| r["trigger"].as_str().is_some_and(|x| x.contains("stall")));
    assert!(stall.is_some(), "{:#}", t.result["rebalances"]);
}

pub fn a_single_broker_whose_disk_is_lost_takes_everything_with_it(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("single-broker", &[]);
    t.every_claim_is_answered();
    assert_eq!(t.said.code(), 0, "the loss is predicted: {}", t.said.stdout);
    assert!(t.num("/messages/lost") > 0.0);
    assert_eq!(t.num("/messages/lost"), t.num("/messages/lost_predicted"));
    assert_eq!(t.claim("everything-gone")["held"], true, "{:#}", t.claim("everything-gone"));
    let loss = t.rows("losses").first().expect("a row of losses");
    assert!(loss["cause"].as_str().is_some_and(|c| !c.is_empty()), "{loss:#}");
}

pub fn acks_1_loses_its_acknowledged_tail_in_ten_of_ten_runs(on: &On) {
    if !on.can_run() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Several clusters of the embedded engine at once are none too many.
    let (at_once, each) = if on.engine == "embedded" { (5, "2") } else { (1, "10") };
    let start = |nth: u32| {
        let (out, seed) = (dir.path().join(nth.to_string()), (100 * nth).to_string());
        let mut args = vec!["run", "acks-1", "--repeat", each, "--seed", &seed, "--out", out.to_str().unwrap()];
        args.extend(on.options());
        Running::start(&mut metricstream(&args))
    };
    let running: Vec<Running> = (1..=at_once).map(start).collect();
    for run in running {
        run.finish(Duration::from_secs(1200)).expect(0);
    }
    let mut trials = 0;
    let folders = (1..=at_once).map(|nth| std::fs::read_dir(dir.path().join(nth.to_string())).unwrap());
    for entry in folders.flatten().flatten() {
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
    assert_eq!(trials, 10);
}

pub fn controller_failure_elects_another_one(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("controller-failure", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    assert!(t.rows("faults").iter().any(|f| f["active_controller"] == true), "{:#}", t.result["faults"]);
}

pub fn a_rolling_restart_loses_nothing_and_hardly_stops(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("rolling-restart", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let stops = t.rows("faults").iter().filter(|f| f["kind"] == "stop").count();
    assert_eq!(stops, 3);
}

pub fn a_paused_broker_keeps_clients_waiting(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("paused-broker", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    assert!(t.rows("faults").iter().any(|f| f["kind"] == "pause"));
    assert!(t.rows("failovers").iter().any(|f| f["fenced_s"].is_number()), "{:#}", t.result["failovers"]);
}

pub fn an_unclean_election_loses_what_only_the_old_leader_had(on: &On) {
    if !on.can_run() {
        return;
    }
    let t = on.run("unclean-election", &[]);
    t.every_claim_is_answered();
    assert_eq!(t.said.code(), 0, "the loss is predicted: {}", t.said.stdout);
    assert!(t.num("/messages/lost") > 0.0, "{:#}", t.result["messages"]);
    assert_eq!(t.num("/messages/lost"), t.num("/messages/lost_predicted"));
}

pub fn chaos_is_decided_by_its_seed_and_the_ledger_stays_clean(on: &On) {
    if !on.can_run() {
        return;
    }
    // Half as long as the scenario: a few faults show what many do. The fast profile has a short one of its own.
    let shorter = ["--set", "timeline.0.for_s=30", "--set", "workload.duration_s=48"];
    let t = on.run("chaos", if on.fast() { &[] } else { &shorter });
    t.every_claim_is_answered();
    assert_eq!(t.said.code(), 0, "{}", t.said.stdout);
    assert!(t.rows("faults").len() >= 2, "{:#}", t.result["faults"]);
    assert_eq!(t.num("/messages/lost"), t.num("/messages/lost_predicted"));
}

pub fn the_named_reason_follows_the_setting_that_decides(on: &On) {
    if !on.can_run() {
        return;
    }
    if on.fast() {
        // There a closed connection decides, before any session ends.
        return;
    }
    let reason = |ms: &str| {
        let set = format!("topology.broker_config.\"broker.session.timeout.ms\"={ms}");
        let t = on.run("broker-failure", &["--set", &set]);
        let claim = t.claim("leaders").clone();
        (claim["measured"].as_f64().unwrap(), claim["reason"].as_str().unwrap().to_owned())
    };
    let (short, why_short) = reason("4500");
    let (long, why_long) = reason("15000");
    assert!(short + 4.0 < long, "{short} s and {long} s");
    assert!(why_short.contains("broker.session.timeout.ms") && why_short.contains("4500"), "{why_short}");
    assert!(why_long.contains("15000"), "{why_long}");
}

/// A cut is fenced as silence is, nobody reaches across it, and what returns catches up; slow links are seen in the numbers.
pub fn a_leader_that_is_cut_off_is_replaced_and_loses_nothing_that_was_acknowledged(on: &On) {
    let t = on.run("network-partition", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    let cut = t.rows("faults").iter().find(|f| f["kind"] == "isolate").expect("the cut");
    let hit = ids(&cut["nodes"])[0];
    assert!(cut["healed_at_s"].is_number(), "{cut:#}");
    let moved = t.rows("failovers").iter().filter(|f| f["from"] == hit && f["fault"] == "cut");
    assert!(moved.clone().count() > 0 && moved.clone().all(|f| f["to"] != hit), "{:#}", t.result["failovers"]);
    assert!(t.rows("recovery").iter().any(|r| r["broker"] == hit && r["isr_full_s"].is_number()));
}

pub fn three_zones_are_slow_and_one_of_them_is_lost_and_comes_back(on: &On) {
    let t = on.run("three-zones", &[]);
    t.passed_without_loss();
    t.every_claim_is_answered();
    assert_eq!(t.rows("faults").iter().filter(|f| f["kind"] == "slow-link").count(), 5);
    // The nearest in-sync replica is 1 ms away each way, so no acknowledgement can be quicker than 2 ms.
    let healthy = t.rows("latency").iter().find(|r| r["phase"] == "healthy" && r["kind"] == "response");
    let p50_ms = healthy.expect("a healthy phase")["p50_ms"].as_f64().expect("measured");
    assert!(p50_ms >= 2.0, "acknowledged after {p50_ms} ms across zones that are 1 ms apart");
    assert_eq!(t.claim("isr-during")["measured"], "[1,2]");
}

/// A story and its name.
pub type Story = (&'static str, fn(&On));

/// Tells stories of the embedded cluster, many at once: they wait far more than they work. All are told; those that fail are
/// named at the end. `METRICSTREAM_STORIES` tells those only whose `profile::name` contains it.
pub fn tell_together(stories: Vec<(&'static On, Story)>) {
    const AT_ONCE: usize = 8;
    let only = std::env::var("METRICSTREAM_STORIES").unwrap_or_default();
    let title = |on: &On, name: &str| format!("{}::{name}", on.profile);
    let wanted: VecDeque<_> = stories.into_iter().filter(|(on, (name, _))| title(on, name).contains(&only)).collect();
    assert!(!wanted.is_empty(), "no story is called {only}");
    let (queue, failed) = (Mutex::new(wanted), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let tell = || {
            while let Some((on, (name, story))) = { queue.lock().expect("whole").pop_front() } {
                let begun = Instant::now();
                // What it says of its failure is printed as any test's is.
                let held = std::panic::catch_unwind(|| story(on)).is_ok();
                let title = title(on, name);
                let took_s = begun.elapsed().as_secs();
                eprintln!("story {title} ... {} ({took_s} s)", if held { "ok" } else { "FAILED" });
                if !held {
                    failed.lock().expect("whole").push(title);
                }
            }
        };
        for _ in 0..AT_ONCE {
            scope.spawn(tell);
        }
    });
    let failed = failed.into_inner().expect("whole");
    assert!(failed.is_empty(), "stories that do not hold: {failed:#?}");
}

/// Hands every story that any engine can tell to a macro, the longest first.
#[macro_export]
macro_rules! every_story {
    ($then:ident $on:expr) => {
        $crate::$then! { $on;
            acks_1_loses_its_acknowledged_tail_in_ten_of_ten_runs
            the_named_reason_follows_the_setting_that_decides
            a_member_that_crashes_is_only_missed_after_its_session
            a_member_that_stalls_in_one_poll_loses_its_partitions
            chaos_is_decided_by_its_seed_and_the_ledger_stays_clean
            a_paused_broker_keeps_clients_waiting
            broker_failure_moves_leaders_after_the_session_timeout_and_loses_nothing
            cascading_failure_leaves_one_leader_that_refuses_what_it_cannot_replicate
            with_min_insync_replicas_1_the_last_broker_accepts_and_stands_alone
            on_combined_nodes_the_quorum_itself_is_lost
            replication_factor_2_is_no_odd_number_and_still_has_its_use
            group_rebalance_range
            group_rebalance_roundrobin
            group_rebalance_cooperative_sticky_moves_one_partition_of_three
            group_rebalance_by_the_coordinator_kip_848
            six_partitions_by_roundrobin_alternate_between_two_members
            a_single_broker_whose_disk_is_lost_takes_everything_with_it
            controller_failure_elects_another_one
            a_rolling_restart_loses_nothing_and_hardly_stops
            an_unclean_election_loses_what_only_the_old_leader_had
        }
    };
}

/// One test for each story, told of `$on`.
#[macro_export]
macro_rules! stories {
    ($on:expr; $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $crate::common::stories::$name(&$on);
        })*
    };
}

/// The stories as a list, to be told of `$on`.
#[macro_export]
macro_rules! story_list {
    ($on:expr; $($name:ident)*) => {
        [$((&$on, (stringify!($name), $crate::common::stories::$name as fn(&$crate::common::stories::On)))),*]
    };
}
