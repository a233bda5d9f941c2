//! Bodies and what becomes of them: one table of what is accepted, one of what is refused, and random ones.

use super::*;
use serde_json::{Value, json};

const LIMITS: MetricLimits = MetricLimits { batch_max: 3, labels_max: 2, label_value_max_bytes: 8 };
const RECEIVED_MS: i64 = 1_764_064_800_000;

fn read(body: &str) -> Result<Vec<String>, Refusal> {
    let records = parse(body.as_bytes(), &LIMITS, RECEIVED_MS)?;
    let text = |record: &[u8]| String::from_utf8(record.to_vec()).expect("UTF-8");
    Ok(records.iter().map(text).collect())
}

/// A body with one metric.
fn one(metric: &str) -> String {
    format!("{{\"metrics\":[{metric}]}}")
}

#[test]
fn a_metric_becomes_one_record_with_its_fields_in_order() {
    let body = one(r#"{"name":"cpu","value":0.75,"type":"gauge"}"#);
    let record = r#"{"name":"cpu","value":0.75,"type":"gauge","timestamp":1764064800000}"#;
    assert_eq!(read(&body), Ok(vec![record.to_owned()]));
    let body = one(
        r#" {"timestamp":1700000000000, "labels":{"host":"a\"\u00e9","zone":""}, "type":"counter", "value":7, "name":"a:b"} "#,
    );
    let record =
        r#"{"name":"a:b","value":7,"type":"counter","labels":{"host":"a\"é","zone":""},"timestamp":1700000000000}"#;
    assert_eq!(read(&body), Ok(vec![record.to_owned()]));
}

#[test]
fn a_batch_keeps_its_order() {
    let metric = |name: &str| format!("{{\"name\":\"{name}\",\"value\":1,\"type\":\"histogram\"}}");
    let records = read(&one(&["c", "a", "b"].map(metric).join(","))).expect("sound");
    let names = records.iter().map(|record| serde_json::from_str::<Value>(record).expect("JSON")["name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["c", "a", "b"]);
}

#[test]
fn values_are_written_as_they_were_read() {
    for value in
        ["0", "-1", "18446744073709551615", "-9223372036854775808", "0.1", "1e-7", "123456.789", "-0.0", "1e300"]
    {
        let records = read(&one(&format!("{{\"name\":\"x\",\"value\":{value},\"type\":\"gauge\"}}"))).expect(value);
        let written: Value = serde_json::from_str(&records[0]).expect("JSON");
        let (sent, kept) = (value.parse::<f64>().expect("a number"), written["value"].as_f64().expect("a number"));
        assert_eq!(sent.to_bits(), kept.to_bits(), "{value} became {}", written["value"]);
        if !value.contains(['.', 'e']) {
            assert_eq!(written["value"].to_string(), value);
        }
    }
}

/// Code, metric, field, and a part of the message.
type Wanted<'a> = (&'a str, Option<usize>, Option<&'a str>, &'a str);

#[track_caller]
fn refused(body: &str, (code, metric, field, part): Wanted<'_>) {
    let refusal = read(body).expect_err(body);
    let said: Value = serde_json::from_str(&refusal.json()).expect("JSON");
    let error = &said["error"];
    assert_eq!(error["code"], code, "{body}: {said}");
    assert_eq!(error["metric"], json!(metric), "{body}: {said}");
    assert_eq!(error["field"], json!(field), "{body}: {said}");
    assert!(error["message"].as_str().is_some_and(|m| m.contains(part)), "`{part}` for {body}: {said}");
}

#[test]
fn what_is_no_json_is_refused_where_it_breaks() {
    let first = r#"{"name":"a","value":1,"type":"gauge"}"#;
    let cases: [(&str, Wanted<'_>); 9] = [
        ("", ("malformed_json", None, None, "EOF")),
        ("{", ("malformed_json", None, None, "line 1")),
        ("{\"metrics\":[", ("malformed_json", Some(0), None, "EOF")),
        (&one("{\"name\":\"x\",\"value\":NaN}"), ("malformed_json", Some(0), Some("value"), "NaN and Infinity")),
        (&one("{\"name\":\"x\",\"value\":-Infinity}"), ("malformed_json", Some(0), Some("value"), "NaN")),
        (&one(&format!("{first},{{\"value\":1e999}}")), ("malformed_json", Some(1), Some("value"), "out of range")),
        (&one("{\"name\":\"x\u{1}\"}"), ("malformed_json", Some(0), Some("name"), "control character")),
        (&one(&format!("{first},")), ("malformed_json", Some(1), None, "trailing comma")),
        (&format!("{} x", one(first)), ("malformed_json", None, None, "trailing characters")),
    ];
    for (body, wanted) in cases {
        refused(body, wanted);
    }
    let not_text = [b"{\"metrics\":[{\"name\":\"".as_slice(), &[0xff, 0xfe], b"\"}]}"].concat();
    let refusal = parse(&not_text, &LIMITS, RECEIVED_MS).expect_err("no UTF-8");
    assert_eq!((refusal.code(), refusal.status().as_u16()), ("malformed_json", 400), "{refusal}");
}

#[test]
fn what_is_json_and_no_metric_is_refused_by_index_and_field() {
    let cases: [(&str, Wanted<'_>); 15] = [
        ("[]", ("invalid_metric", None, None, "an object")),
        ("{}", ("invalid_metric", None, None, "`metrics` is missing")),
        (r#"{"metric":[]}"#, ("invalid_metric", None, None, "unknown field `metric`")),
        (r#"{"metrics":[]}"#, ("invalid_metric", None, Some("metrics"), "empty")),
        (r#"{"metrics":{}}"#, ("invalid_metric", None, Some("metrics"), "a list of metrics")),
        (&one("7"), ("invalid_metric", Some(0), None, "a metric: an object")),
        (&one("{}"), ("invalid_metric", Some(0), Some("name"), "missing")),
        (&one(r#"{"name":"a","type":"gauge"}"#), ("invalid_metric", Some(0), Some("value"), "missing")),
        (&one(r#"{"name":"a","value":1}"#), ("invalid_metric", Some(0), Some("type"), "missing")),
        (&one(r#"{"name":7}"#), ("invalid_metric", Some(0), Some("name"), "expected text")),
        (&one(r#"{"value":"0.75"}"#), ("invalid_metric", Some(0), Some("value"), "without quotes")),
        (&one(r#"{"value":null}"#), ("invalid_metric", Some(0), Some("value"), "expected a finite number")),
        (&one(r#"{"type":"summary"}"#), ("invalid_metric", Some(0), Some("type"), "no type `summary`")),
        (&one(r#"{"lables":{}}"#), ("invalid_metric", Some(0), Some("lables"), "no such field")),
        (&one(r#"{"name":"a","name":"b"}"#), ("invalid_metric", Some(0), Some("name"), "twice")),
    ];
    for (body, wanted) in cases {
        refused(body, wanted);
    }
    let negative = one(r#"{"name":"a","type":"counter","value":-0.5}"#);
    refused(&negative, ("invalid_metric", Some(0), Some("value"), "never negative"));
}

#[test]
fn names_and_labels_are_those_of_prometheus_and_bounded() {
    let name = |name: &str| one(&format!("{{\"name\":{}}}", Value::from(name)));
    let long = "n".repeat(NAME_MAX_BYTES + 1);
    for (text, part) in [
        ("", "empty"),
        ("9lives", "digit"),
        ("cpu.load", "'.' in it"),
        ("température", "'é'"),
        (&long, "201 bytes; 200"),
    ] {
        refused(&name(text), ("invalid_metric", Some(0), Some("name"), part));
    }
    let cases: [(&str, &str, &str); 7] = [
        (r#"["a"]"#, "labels", "an object of texts"),
        (r#"{"a:b":""}"#, "labels", "':' in it"),
        (r#"{"__name__":""}"#, "labels", "two underscores"),
        (r#"{"a":1}"#, "labels.a", "expected text"),
        (r#"{"a":"","a":""}"#, "labels.a", "twice"),
        (r#"{"a":"123456789"}"#, "labels.a", "9 bytes; 8 at most"),
        (r#"{"a":"","b":"","c":""}"#, "labels", "more than 2 labels"),
    ];
    for (labels, field, part) in cases {
        refused(&one(&format!("{{\"labels\":{labels}}}")), ("invalid_metric", Some(0), Some(field), part));
    }
}

#[test]
fn timestamps_are_milliseconds() {
    for (timestamp, part) in [
        ("1700000000", "not in seconds"),
        ("-1", "before 1973"),
        ("99999999999999999999", "whole number"),
        ("18446744073709551615", "9999"),
        ("1700000000000.5", "whole number"),
        ("\"2026-11-25\"", "without quotes"),
    ] {
        let body = one(&format!("{{\"timestamp\":{timestamp}}}"));
        refused(&body, ("invalid_metric", Some(0), Some("timestamp"), part));
    }
}

#[test]
fn a_batch_is_bounded_before_the_rest_of_it_is_read() {
    let metric = r#"{"name":"a","value":1,"type":"gauge"}"#;
    assert_eq!(read(&one(&[metric; 3].join(","))).map(|records| records.len()), Ok(3));
    let refusal = read(&one(&[metric; 4].join(","))).expect_err("too many");
    assert_eq!(refusal, Refusal::BatchTooLarge { max: 3 });
    // What follows is looked at no more.
    let endless = format!("{{\"metrics\":[{},{},{{}}, this is not read", metric, [metric; 2].join(","));
    assert_eq!(read(&endless), Err(Refusal::BatchTooLarge { max: 3 }));
}

#[test]
fn deep_nesting_is_refused_at_once() {
    for open in ["[", "{\"a\":", "[[{\"metrics\":"] {
        let refusal = read(&one(&format!("{{\"value\":{}", open.repeat(100_000)))).expect_err("refused");
        assert_eq!(refusal.status(), 400, "{refusal}");
    }
}

/// Bodies with one byte changed, at every place: each is read or refused, and what is read is made of whole records.
#[test]
fn a_damaged_body_never_makes_half_a_record() {
    let body = one(
        r#"{"name":"cpu","value":-0.5e1,"type":"gauge","labels":{"h":"é"},"timestamp":1700000000000},{"name":"b","value":1,"type":"counter"}"#,
    );
    let (mut read_count, mut refused_count) = (0, 0);
    for at in 0..body.len() {
        for byte in [0, b'"', b'{', b'}', b'[', b',', b':', b'9', b'a', b'\\', 0x80, 0xff] {
            let mut damaged = body.clone().into_bytes();
            damaged[at] = byte;
            match parse(&damaged, &LIMITS, RECEIVED_MS) {
                Ok(records) => {
                    read_count += 1;
                    for record in records.iter() {
                        let value: Value = serde_json::from_slice(record).expect("a record is JSON");
                        assert!(value["name"].is_string() && value["value"].is_number(), "{value}");
                    }
                }
                Err(refusal) => {
                    refused_count += 1;
                    assert_eq!(refusal.status(), 400, "{refusal}");
                }
            }
        }
    }
    assert!(read_count > 0 && refused_count > 100, "{read_count} read, {refused_count} refused");
}
