//! The names of `result.json` are a contract: everything that reads it relies on them. Here they are as they were agreed,
//! and held against what is written and against docs/result.md.

use std::path::Path;

use serde_json::Value;

use crate::history::{LaneId, Outcome, Record, Tp};
use crate::measure::stories::{MS, S, broker_2_killed, event, load, scenario};
use crate::measure::{Measurements, stories};
use crate::result::RunResult;
use crate::timeline::What;
use crate::verdict::{Meta, assemble};
use crate::{Expected, Header, Ledger};

const TOP: &str =
    "schema scenario engine profile seed started_at duration_s versions config verdict reasons not_measured";

/// Lists and objects, with the names of their rows.
const NAMES: &[(&str, &str)] = &[
    ("phases", "name from_s to_s"),
    (
        "messages",
        "sent acked failed unknown in_log lost lost_predicted phantom alien duplicates redelivered reordered lost_to_group \
         unknown_survived success_rate",
    ),
    ("losses", "topic partition first_offset last_offset count predicted cause epoch fault"),
    ("guarantees", "id text held evidence"),
    ("claims", "id text expected measured unit held reason"),
    ("faults", "id at_s kind target active_controller healed_at_s"),
    ("unavailability", "topic partition op from_s duration_s resolution_ms fault"),
    ("failovers", "topic partition from to epoch fault_s fenced_s elected_s learned_s first_ack_s fault"),
    ("isr", "topic partition at_s replicas isr leader leader_epoch partition_epoch"),
    ("rebalances", "group protocol trigger at_s duration_s members pauses"),
    ("recovery", "broker restarted_s caught_up_s isr_full_s"),
    ("latency", "phase kind acks p50_ms p90_ms p99_ms p999_ms max_ms count open"),
    ("throughput", "phase acked_per_s delivered_per_s mb_per_s limited_by"),
    ("isr_outages", "topic partition fault before smallest after"),
    ("catch_up", "group fault healed_s duration_s drain_per_s ideal_s"),
    ("anomalies", "kind topic partition group count verdict evidence"),
];

/// A run in which a bit of everything happens.
fn result(audited: bool) -> RunResult {
    let mut scenario = scenario();
    let claim = "name='x'\n[[claims]]\nid='none'\nmeasure='lost'\nvalue=0";
    scenario.claims = metricstream_scenario::parse(claim).expect("sound").claims;
    let mut events = broker_2_killed();
    for (at_us, generation, owned) in [(-S, 1, ["metrics-0", "metrics-1"]), (12 * S, 2, ["metrics-0", "metrics-2"])] {
        let (group, member) = ("group-1".to_owned(), "A".to_owned());
        let partitions = owned.iter().map(|name| (*name).to_owned()).collect();
        events.push(event(at_us, What::Assignment { group, member, generation, partitions }));
    }
    events.push(event(12 * S - 1, What::Member { group: "group-1".into(), member: "A".into(), change: "join".into() }));
    events.sort_by_key(|event| event.at_us);
    let guarantee = Expected { durable: true, why: "acks=all".into(), ..Expected::default() };
    let mut ledger = Ledger::new(Header::new(1, &[("metrics", 3)], &["group-1"], guarantee));
    let (tp, lane) = (Tp { topic: 0, partition: 0 }, LaneId { incarnation: 0, lane: 0 });
    let ok = Outcome::Ok { tp, base_offset: 0 };
    let mut records = vec![
        Record::Lane { lane, topic: 0, partition: Some(0), idempotent: true },
        Record::Sent { at_us: 1, lane, up_to_seq: 10 },
        Record::Outcome { at_us: 2, lane, first_seq: 0, count: 10, outcome: ok },
    ];
    if audited {
        records.extend([
            Record::Logged { tp, base_offset: 0, lane, first_seq: 0, count: 8 },
            Record::Bounds { tp, bounds: Some((0, 8)) },
            Record::AuditDone { at_us: 3 },
        ]);
    }
    records.iter().for_each(|record| ledger.apply(record));
    let accounting = ledger.finish(&events);
    let mut measurements = Measurements::new(&scenario);
    let (sends, deliveries) = load(30 * S, (10 * S, 18_800 * MS));
    stories::feed(&mut measurements, &events, &sends, &deliveries);
    assemble(&scenario, measurements.finish(35 * S), Some(&accounting), &events, Meta::default())
}

/// The first row, or the object itself.
fn row<'v>(json: &'v Value, field: &str) -> &'v Value {
    match &json[field] {
        Value::Array(rows) => rows.first().unwrap_or_else(|| panic!("this run shows no {field}")),
        other => other,
    }
}

#[test]
fn every_agreed_name_is_in_the_file_and_in_its_description() {
    let json = serde_json::to_value(result(true)).expect("JSON");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/result.md");
    let page = std::fs::read_to_string(path).expect("docs/result.md");
    for name in TOP.split(' ') {
        assert!(json.get(name).is_some(), "{name} is missing");
        assert!(page.contains(&format!("`{name}`")), "docs/result.md lacks `{name}`");
    }
    for (field, names) in NAMES {
        let row = row(&json, field);
        let (_, section) =
            page.split_once(&format!("## `{field}`")).unwrap_or_else(|| panic!("no section for {field}"));
        let section = section.split("\n## ").next().unwrap_or_default();
        for name in names.split(' ') {
            assert!(row.get(name).is_some(), "{field}[].{name} is missing");
        }
        // And whatever more is written is described too.
        for name in row.as_object().expect("an object").keys() {
            assert!(section.contains(&format!("`{name}`")), "docs/result.md, {field}, lacks `{name}`");
        }
    }
    for name in ["id", "before", "after"] {
        assert!(json.pointer(&format!("/rebalances/0/members/0/{name}")).is_some(), "members[].{name} is missing");
    }
    assert_eq!(serde_json::from_value::<RunResult>(json).expect("reads back"), result(true));
}

#[test]
fn what_was_not_audited_is_null_with_a_reason_and_never_0() {
    let json = serde_json::to_value(result(false)).expect("JSON");
    assert_eq!(json["verdict"], "inconclusive");
    assert_eq!((json["messages"]["sent"].as_u64(), json["messages"]["acked"].as_u64()), (Some(10), Some(10)));
    for name in ["in_log", "lost", "lost_predicted", "phantom", "alien", "duplicates", "reordered", "unknown_survived"]
    {
        assert_eq!(json["messages"][name], Value::Null, "{name}");
    }
    let why = json["not_measured"].as_array().expect("a list").iter().filter_map(Value::as_str);
    assert!(why.clone().any(|line| line.starts_with("messages") && line.contains("audit")), "{json:#}");
    let claim = row(&json, "claims");
    assert_eq!((&claim["measured"], &claim["held"]), (&Value::Null, &Value::Null));
    assert!(claim["reason"].as_str().is_some_and(|reason| reason.contains("audit")), "{claim:#}");
    let back: RunResult = serde_json::from_value(json).expect("reads back");
    assert!(!back.messages.audited);
}
