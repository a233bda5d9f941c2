//! The mutants of the ledger on the running cluster: every flaw of `docs/flaws.md` that a client can see is switched on in a
//! short scenario of the folder `flaws`, and the run fails with its anomaly; without it the same run passes.
#![allow(missing_docs)]

mod common;

use std::thread;

use common::{Trial, run_on};

/// Runs a scenario of the folder with these flaws.
fn trial(scenario: &str, flaws: &[&str]) -> Trial {
    let file = format!("{}/tests/flaws/{scenario}.toml", env!("CARGO_MANIFEST_DIR"));
    let mut options = vec!["--engine", "embedded"];
    options.extend(flaws.iter().flat_map(|flaw| ["--flaw", flaw]));
    run_on(&file, &options)
}

/// The scenario's own run is clean, and with each flaw it is a violation that names the anomaly; all runs at once.
#[track_caller]
fn shown(scenario: &str, flaws: &[(&str, &str)]) {
    let trials = thread::scope(|scope| {
        let begin = |flaw: Option<&str>| {
            let flaws: Vec<String> = flaw.into_iter().map(str::to_owned).collect();
            scope.spawn(move || trial(scenario, &flaws.iter().map(String::as_str).collect::<Vec<_>>()))
        };
        let clean = begin(None);
        let flawed: Vec<_> = flaws.iter().map(|(flaw, anomaly)| (*flaw, *anomaly, begin(Some(*flaw)))).collect();
        let flawed = flawed.into_iter().map(|(flaw, anomaly, run)| (flaw, anomaly, run.join().expect("it ran")));
        let flawed: Vec<_> = flawed.collect();
        (clean.join().expect("it ran"), flawed)
    });
    let (clean, flawed) = trials;
    clean.passed_without_loss();
    let violations = |t: &Trial| -> Vec<String> {
        let rows = t.rows("anomalies").iter().filter(|row| row["verdict"] == "violation");
        rows.filter_map(|row| row["kind"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(violations(&clean), [""; 0], "without a flaw");
    for (flaw, anomaly, t) in flawed {
        let found = violations(&t);
        assert_eq!(t.said.code(), 1, "{flaw}: {found:?}; {}\n{}", t.said.stdout, t.said.stderr);
        assert_eq!(t.text("/verdict"), "fail", "{flaw}: {:#}", t.result["reasons"]);
        assert!(found.iter().any(|kind| kind == anomaly), "{flaw}: {anomaly} is not in {found:?}");
        assert!(t.said.stdout.contains(anomaly), "{flaw}: the report does not say {anomaly}:\n{}", t.said.stdout);
        assert_eq!(t.result["config"][format!("flaw {flaw}")], "on");
        assert!(documented(flaw, anomaly, scenario), "docs/flaws.md: {flaw} is shown as `{anomaly}` in `{scenario}`");
    }
}

/// Whether the table of the flaws says so.
fn documented(flaw: &str, anomaly: &str, scenario: &str) -> bool {
    let row = format!("| `{flaw}` |");
    let end = format!("| `{anomaly}` in `{scenario}` |");
    table().any(|line| line.starts_with(&row) && line.ends_with(&end))
}

fn table() -> impl Iterator<Item = &'static str> {
    include_str!("../../../docs/flaws.md").lines().filter(|line| line.starts_with("| `"))
}

#[test]
fn with_nothing_broken_a_cluster_shows_what_it_does_wrong_in_every_answer() {
    shown(
        "steady",
        &[
            ("skip-a-batch", "skipped-poll"),
            ("wrong-ack-offset", "ack-offset-mismatch"),
            ("refuse-after-append", "phantom"),
            ("change-a-value", "alien"),
        ],
    );
}

#[test]
fn a_new_leader_has_every_batch_and_an_epoch_of_its_own() {
    shown(
        "leader-killed",
        &[("truncate-below-high-watermark", "lost"), ("elect-in-the-old-epoch", "epoch-regression")],
    );
}

#[test]
fn a_batch_keeps_the_order_of_its_records() {
    shown("batches", &[("swap-records", "reorder")]);
}

#[test]
fn what_a_dead_leader_alone_had_was_neither_acknowledged_nor_read() {
    shown(
        "slow-followers",
        &[("acknowledge-before-replication", "lost"), ("read-uncommitted-tail", "non-monotonic-poll")],
    );
}

#[test]
fn what_is_sent_again_after_a_cut_is_there_once() {
    shown("answers-held", &[("forget-deduplication", "duplicate-in-log")]);
}

#[test]
fn a_group_goes_on_where_it_committed_though_its_coordinator_restarts() {
    shown(
        "coordinator-restarts",
        &[("forget-group-offsets", "redelivery-beyond-commit"), ("begin-beyond-commit", "lost-to-group")],
    );
}

#[test]
fn a_partition_is_let_go_before_another_member_gets_it() {
    shown("member-joins", &[("double-ownership", "dual-ownership")]);
}

#[test]
fn the_last_replica_does_not_lead_with_an_empty_disk() {
    shown("last-one-wiped", &[("last-replica-standing", "lost")]);
}

#[test]
fn a_follower_keeps_what_lies_above_its_high_watermark() {
    shown("cut-at-high-watermark", &[("truncate-to-high-watermark", "lost")]);
}

#[test]
fn every_flaw_that_clients_see_by_the_table_is_run_here() {
    let here = include_str!("flaws.rs");
    for line in table().filter(|line| !line.ends_with("| – |")) {
        let flaw = line.split('`').nth(1).expect("a flaw's word");
        assert!(here.contains(&format!("(\"{flaw}\", ")), "no run of {flaw}");
    }
    assert!(table().count() >= 20, "the table is read");
}
