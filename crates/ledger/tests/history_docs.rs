//! docs/history.md is true: its examples are judged as it says, and it lists every record with exactly its fields.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use metricstream_ledger::history::{Alien, LaneId, Outcome, Record, Tp};
use metricstream_ledger::jsonl::{JsonlReader, JsonlWriter};
use metricstream_ledger::result::Verdict;
use metricstream_ledger::{
    AnomalyKind, CheckError, Exception, Expected, Header, Judgement, Named, check, check_against,
};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    std::fs::read_to_string(root().join("docs/history.md")).expect("docs/history.md")
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().expect("an object").keys().cloned().collect()
}

#[test]
fn the_examples_are_judged_as_the_page_says() {
    let good = check(&root().join("examples/history.jsonl")).expect("checked");
    assert_eq!(good.verdict(), Verdict::Pass);
    assert_eq!((good.accounting.counts.acked, good.accounting.counts.lost, good.records), (140, 0, 22));
    let bad = check(&root().join("examples/history-false.jsonl")).expect("checked");
    assert_eq!(bad.verdict(), Verdict::Fail);
    let loss = &bad.accounting.losses[0];
    assert_eq!((loss.first_offset, loss.last_offset, loss.count, loss.predicted), (Some(90), Some(99), 10, false));
    let violations: Vec<AnomalyKind> = bad.accounting.violations().map(|anomaly| anomaly.kind).collect();
    assert_eq!(violations, [AnomalyKind::Lost], "it is false in one way only");
}

#[test]
fn the_example_shows_nearly_every_record_and_the_page_every_field() {
    let header = Header::new(1, &[("metrics", 2)], &["g"], Expected::of_settings(true, 2, false));
    let mut writer = JsonlWriter::new(Vec::new(), &header).expect("header");
    for record in one_of_each() {
        writer.write(&record).expect("record");
    }
    let text = String::from_utf8(writer.finish().expect("end")).expect("UTF-8");
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let value: Value = serde_json::from_str(line).expect("JSON");
        let name = value["type"].as_str().expect("a type").to_owned();
        let mut fields = keys(&value);
        fields.remove("type");
        written.entry(name).or_default().extend(fields);
    }
    let page = document();
    let rows = page
        .split("## The records")
        .nth(1)
        .expect("the records")
        .lines()
        .filter(|l| l.starts_with("| `") && !l.contains("| says |"));
    let listed: BTreeMap<String, BTreeSet<String>> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").collect();
            let name = cells[0].trim_matches(['|', ' ', '`']).to_owned();
            (name, cells[1].split(", ").map(|field| field.trim_matches('`').to_owned()).collect())
        })
        .collect();
    assert_eq!(listed, written);
    let example = std::fs::read_to_string(root().join("examples/history.jsonl")).expect("the example");
    let shown = listed.keys().filter(|name| example.contains(&format!("\"type\":\"{name}\""))).count();
    assert!(shown >= 12, "the example shows {shown} of {} kinds of record", listed.len());
}

#[test]
fn the_page_lists_every_field_of_the_header_and_its_samples_are_headers() {
    let mut header = Header::new(1, &[("metrics", 2)], &["g"], Expected::of_settings(true, 2, false));
    header.producers.push(Named { incarnation: 1, name: "p".to_owned() });
    let (topic, incarnation) = (Some("metrics".to_owned()), Some(1));
    header.guarantee.exceptions.push(Exception {
        topic,
        incarnation,
        durable: false,
        max_unclean: Some(1),
        why: "acks=1".to_owned(),
    });
    let json = serde_json::to_value(&header).expect("JSON");
    let page = document();
    let parts =
        [&json, &json["topics"][0], &json["producers"][0], &json["guarantee"], &json["guarantee"]["exceptions"][0]];
    for field in parts.into_iter().flat_map(keys) {
        assert!(page.contains(&format!("`{field}`")), "docs/history.md does not list `{field}`");
    }
    let samples: Vec<&str> = page.split("```jsonl\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!samples.is_empty());
    for sample in samples {
        JsonlReader::new(sample.as_bytes()).unwrap_or_else(|error| panic!("{sample}\n{error}"));
    }
}

#[test]
fn a_history_without_a_guarantee_is_judged_by_the_one_that_is_stated_for_it() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("other-tool.jsonl");
    let text = std::fs::read_to_string(root().join("examples/history-false.jsonl")).expect("the example");
    let (header, records) = text.split_once('\n').expect("two lines");
    let mut header: Value = serde_json::from_str(header).expect("JSON");
    header["header"].as_object_mut().expect("an object").remove("guarantee");
    std::fs::write(&path, format!("{header}\n{records}")).expect("written");
    let refused = check(&path).expect_err("nothing is stated");
    assert!(matches!(refused, CheckError::NoGuarantee { .. }));
    assert!(refused.to_string().contains("--acks"), "{refused}");
    let judged = |guarantee| check_against(&path, Some(guarantee)).expect("checked");
    assert_eq!(judged(Expected::of_settings(true, 2, false)).verdict(), Verdict::Fail);
    // With acks=1, or where a replica that lacks messages may lead, the same loss was to be expected.
    for weaker in [Expected::of_settings(false, 2, false), Expected::of_settings(true, 2, true)] {
        let checked = judged(weaker);
        assert_eq!(checked.verdict(), Verdict::Pass);
        assert!(checked.accounting.of(AnomalyKind::Lost).all(|anomaly| anomaly.verdict == Judgement::Expected));
        assert_eq!(checked.accounting.counts.lost_predicted, 10);
    }
}

#[test]
fn another_version_is_named_even_if_its_header_has_other_fields() {
    let line = "{\"header\":{\"schema\":2,\"clusters\":[]}}\n";
    let error = JsonlReader::new(line.as_bytes()).expect_err("another version").to_string();
    assert!(error.contains("history schema 2; this build reads 1"), "{error}");
}

fn one_of_each() -> Vec<Record> {
    let (tp, lane) = (Tp { topic: 0, partition: 0 }, LaneId { incarnation: 1, lane: 0 });
    let outcome = |outcome| Record::Outcome { at_us: 1, lane, first_seq: 0, count: 2, outcome };
    let (at_us, group, member, count) = (1, 0, 1, 2);
    vec![
        Record::Lane { lane, topic: 0, partition: Some(0), idempotent: true },
        Record::Sent { at_us, lane, up_to_seq: 6 },
        outcome(Outcome::Ok { tp, base_offset: 0 }),
        outcome(Outcome::Fail),
        outcome(Outcome::Unknown),
        Record::Logged { tp, base_offset: 0, lane, first_seq: 0, count },
        Record::Delivered { at_us, group, member, tp, base_offset: 0, lane, first_seq: 0, count },
        Record::Committed { at_us, group, member, tp, offset: 2 },
        Record::Assigned { at_us, group, member, generation: 1, partitions: vec![(tp, 0)] },
        Record::Revoked { at_us, group, member, lost: false, partitions: vec![tp] },
        Record::Seek { at_us, group, member, tp, offset: 0 },
        Record::Alien { group: Some(0), tp, offset: 0, why: Alien::BadCrc },
        Record::HighWatermark { at_us, tp, epoch: 0, offset: 2 },
        Record::Bounds { tp, bounds: Some((0, 2)) },
        Record::FinalCommit { group, tp, offset: 2 },
        Record::AuditDone { at_us },
    ]
}
