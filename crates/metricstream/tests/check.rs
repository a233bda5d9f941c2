//! `check`, as a user runs it: on run directories, their history folders, files of both forms; sound, false, cut, foreign.
#![allow(missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Said, finish, metricstream};
use metricstream_ledger::jsonl::JsonlReader;
use metricstream_ledger::{Header, HistoryWriter};
use serde_json::Value;

fn check(path: &Path, more: &[&str]) -> Said {
    let mut args = vec!["check", path.to_str().unwrap()];
    args.extend(more);
    finish(&mut metricstream(&args), Duration::from_secs(60))
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// The example in MetricStream's own form, many times over, so that it has more than one block.
fn compact(path: &Path) -> Vec<u8> {
    let text = std::fs::read(example("history.jsonl")).unwrap();
    let mut reader = JsonlReader::new(text.as_slice()).unwrap();
    let header: Header = reader.header().clone();
    let mut writer = HistoryWriter::new(Vec::new(), &header).unwrap();
    while let Some(record) = reader.read().unwrap() {
        writer.write(&record).unwrap();
        // A kill of the writer leaves whole blocks: here each record is one.
        writer.flush().unwrap();
    }
    let bytes = writer.finish().unwrap();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, &bytes).unwrap();
    bytes
}

/// What was printed as if the terminal were wide: where lines break is not what these stories are about.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_sound_history_passes_and_a_hand_made_false_one_fails_with_exit_1() {
    let good = check(&example("history.jsonl"), &[]).expect(0);
    assert!(good.stdout.contains("0 lost") && good.stdout.ends_with("PASS\n"), "{}", good.stdout);
    let bad = check(&example("history-false.jsonl"), &[]).expect(1);
    for part in ["violation lost metrics-0: 10", "offsets 90–99 of metrics-0", "acks=all", "FAIL"] {
        assert!(unwrapped(&bad.stdout).contains(part), "`{part}` is not in:\n{}", bad.stdout);
    }
    assert_eq!(bad.stderr, "", "a verdict is no error");
}

#[test]
fn json_is_one_document_and_nothing_else() {
    let said = check(&example("history-false.jsonl"), &["--format", "json"]).expect(1);
    let json: Value = serde_json::from_str(&said.stdout).expect("one document");
    assert_eq!((json["verdict"].as_str(), json["messages"]["lost"].as_u64()), (Some("fail"), Some(10)));
    assert_eq!(json["guarantee"]["durable"], true);
    assert_eq!(json["losses"][0]["first_offset"], 90);
}

#[test]
fn the_guarantee_can_be_stated_with_flags() {
    let file = example("history-false.jsonl");
    let weak = check(&file, &["--acks", "1", "--min-insync-replicas", "1"]).expect(0);
    assert!(unwrapped(&weak.stdout).contains("10 lost (10 of them predicted)"), "{}", weak.stdout);
    check(&file, &["--acks", "all", "--min-insync-replicas", "2", "--unclean-election"]).expect(0);
    check(&file, &["--acks", "all", "--min-insync-replicas", "2"]).expect(1);
    let half = check(&file, &["--acks", "all"]).expect(2);
    assert!(half.stderr.contains("--min-insync-replicas"), "{}", half.stderr);
}

#[test]
fn a_run_directory_its_history_folder_and_its_file_say_the_same() {
    let run = tempfile::tempdir().unwrap();
    let file = run.path().join("history/history.mshist");
    compact(&file);
    std::fs::write(run.path().join("events.jsonl"), "").unwrap();
    let first = check(run.path(), &[]).expect(0).stdout;
    for path in [run.path().join("history"), file] {
        assert_eq!(check(&path, &[]).expect(0).stdout, first, "{}", path.display());
    }
}

#[test]
fn a_history_cut_in_the_middle_is_judged_up_to_there_and_inconclusive() {
    let run = tempfile::tempdir().unwrap();
    let file = run.path().join("history.mshist");
    let whole = compact(&file);
    for share in [0.55, 0.8, 0.99] {
        std::fs::write(&file, &whole[..(whole.len() as f64 * share) as usize]).unwrap();
        let said = check(&file, &[]).expect(4);
        assert!(said.stdout.contains("cut off at byte") && said.stdout.contains("INCONCLUSIVE"), "{}", said.stdout);
        assert!(!said.stdout.contains("0 lost"), "what was not audited is not called sound:\n{}", said.stdout);
    }
    let jsonl = run.path().join("cut.jsonl");
    let text = std::fs::read_to_string(example("history.jsonl")).unwrap();
    std::fs::write(&jsonl, &text[..text.len() - 10]).unwrap();
    let said = check(&jsonl, &[]).expect(4);
    assert!(said.stdout.contains("line 23 is cut off"), "{}", said.stdout);
}

#[test]
fn what_is_no_history_or_of_another_version_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str, content: &[u8], parts: &[&str]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let said = check(&path, &[]).expect(2);
        for part in parts.iter().chain(&[name]) {
            assert!(said.stderr.contains(part), "`{part}` is not in: {}", said.stderr);
        }
        assert_eq!(said.stderr.lines().count(), 1, "one message: {}", said.stderr);
        assert_eq!(said.stdout, "");
    };
    let mut other = compact(&dir.path().join("sound.mshist"));
    other[8] = 9;
    refused("other.mshist", &other, &["layout 9", "use the version of metricstream that wrote it"]);
    refused("other.jsonl", b"{\"header\":{\"schema\":7,\"runs\":[]}}\n", &["schema 7", "use the version"]);
    refused("no.jsonl", b"{\"hello\":1}\n", &["line 1", "docs/history.md"]);
    refused("empty.jsonl", b"", &["not a history"]);
    let text = std::fs::read_to_string(example("history.jsonl")).unwrap();
    let header = text.lines().next().unwrap();
    let silent = header.replace(
        ",\"guarantee\":{\"durable\":true,\"max_unclean\":1,\"why\":\"acks=all, min.insync.replicas=2, no unclean election\"}",
        "",
    );
    assert_ne!(header, silent);
    refused("silent.jsonl", format!("{silent}\n").as_bytes(), &["states no guarantee", "--acks all"]);
    let nothing = dir.path().join("nothing");
    std::fs::create_dir(&nothing).unwrap();
    let said = check(&nothing, &[]).expect(2);
    assert!(said.stderr.contains("give a run directory"), "{}", said.stderr);
}

#[test]
fn a_line_that_is_wrong_is_named_and_what_was_before_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrong.jsonl");
    let text = std::fs::read_to_string(example("history-false.jsonl")).unwrap();
    for (from, to, part) in [
        (
            "\"type\":\"audit-done\",\"at_us\":60000",
            "\"type\":\"audit-done\",\"at\":60000",
            "line 23: unknown field `at`",
        ),
        (
            "\"topic\":\"metrics\",\"partition\":1,\"bounds\"",
            "\"topic\":\"logs\",\"partition\":1,\"bounds\"",
            "\"logs\" is not in",
        ),
        (
            "\"group-1\",\"topic\":\"metrics\",\"partition\":1,\"offset\":40",
            "\"g\",\"topic\":\"metrics\",\"partition\":1,\"offset\":40",
            "group \"g\"",
        ),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text, "{from}");
        std::fs::write(&path, wrong).unwrap();
        let said = check(&path, &[]);
        // What was read shows a violation or not; either way the damage is named.
        assert!(matches!(said.code(), 1 | 4), "{}\n{}", said.stdout, said.stderr);
        assert!(said.stdout.contains(part), "`{part}` is not in:\n{}", said.stdout);
    }
}
