//! One kill of the independent gap check, on real Apache Kafka, as a developer runs it.

use std::io::Write;
use std::process::Command;

use metricstream_engine::kafka::{Java, Wanted};

/// Whether real Apache Kafka can run here; without it the test says that it is skipped, and fails where that is forbidden.
fn kafka_can_run() -> bool {
    let say = |text: &str| drop(writeln!(std::io::stderr(), "{text}"));
    let found = Java::find().and_then(|_| Wanted::from_env(None).find_or_install(&say));
    let Err(why) = found else { return true };
    assert!(std::env::var_os("METRICSTREAM_REQUIRE_ALL").is_none(), "this test must not be skipped: {why}");
    say(&format!("SKIPPED: one kill of the gap check: {why}"));
    false
}

#[test]
fn a_plain_producer_sees_the_gap_that_the_run_reports() {
    if !kafka_can_run() {
        return;
    }
    let out = tempfile::tempdir().expect("a folder");
    // One kill, and not the median of five: a busy machine may delay one of the two clients by a retry's backoff.
    let said = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["gap-check", "--kills", "1", "--tolerance-percent", "25", "--out"])
        .arg(out.path())
        .output()
        .expect("it starts");
    let (figures, trouble) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    let terminal = std::fs::read_to_string(out.path().join("kill-1/terminal.txt")).unwrap_or_default();
    assert!(said.status.success(), "{figures}{trouble}{terminal}");
    // The figures are those of a kill: longer than half of broker.session.timeout.ms = 9000, and not of a healthy run.
    let row = figures.lines().find(|line| line.trim_start().starts_with("1 ")).expect("a row");
    let seconds: Vec<f64> = row.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    assert!(seconds[0] > 4.5 && seconds[2] > 4.5, "{row}");
}
