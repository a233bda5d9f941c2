//! JUnit XML: one suite per run, one case per guarantee and per claim.
//!
//! A breached guarantee is a failure; a claim that does not hold is one only under `--strict`. An inconclusive run is an
//! error: CI must not take "we do not know" for "it works".

use std::fmt::Write;

use metricstream_ledger::result::{ClaimRow, GuaranteeRow, Measured, RunResult, Verdict};

use crate::text::number;

enum Outcome {
    Passed,
    Failed(String),
    Errored(String),
    Skipped(String),
}

struct Case {
    class: &'static str,
    name: String,
    outcome: Outcome,
    out: String,
}

/// The file's text. `strict`: claims too must hold.
pub fn render(result: &RunResult, strict: bool) -> String {
    let mut cases: Vec<Case> = result.guarantees.iter().map(guarantee).collect();
    cases.extend(result.claims.iter().map(|row| claim(row, strict)));
    cases.extend(verdict(result, &cases));
    let count = |of: fn(&Outcome) -> bool| cases.iter().filter(|case| of(&case.outcome)).count();
    let totals = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\"",
        cases.len(),
        count(|o| matches!(o, Outcome::Failed(_))),
        count(|o| matches!(o, Outcome::Errored(_))),
        count(|o| matches!(o, Outcome::Skipped(_))),
        if result.duration_s.is_finite() { result.duration_s.max(0.0) } else { 0.0 },
    );
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, "<testsuites name=\"metricstream\" {totals}>");
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" timestamp=\"{}\" {totals}>",
        escape(&result.scenario),
        escape(&result.started_at)
    );
    properties(&mut xml, result);
    for case in &cases {
        write_case(&mut xml, &result.scenario, case);
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn properties(xml: &mut String, result: &RunResult) {
    let verdict = match result.verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Inconclusive => "inconclusive",
    };
    let seed = result.seed.to_string();
    xml.push_str("    <properties>\n");
    let profile = result.profile.as_deref().map(|profile| ("profile", profile));
    let named =
        [("verdict", verdict), ("engine", &*result.engine)].into_iter().chain(profile).chain([("seed", &*seed)]);
    for (name, value) in named {
        let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{}\"/>", escape(value));
    }
    for (name, value) in &result.versions {
        let _ = writeln!(xml, "      <property name=\"version.{}\" value=\"{}\"/>", escape(name), escape(value));
    }
    xml.push_str("    </properties>\n");
}

fn guarantee(row: &GuaranteeRow) -> Case {
    let outcome = match row.held {
        Some(true) => Outcome::Passed,
        Some(false) => Outcome::Failed(row.evidence.clone()),
        None => Outcome::Skipped(row.evidence.clone()),
    };
    Case { class: "guarantee", name: format!("{}: {}", row.id, row.text), outcome, out: row.evidence.clone() }
}

fn claim(row: &ClaimRow, strict: bool) -> Case {
    let measured = match &row.measured {
        Some(Measured::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(Measured::Number(n)) => number(*n),
        Some(Measured::Text(text)) => text.clone(),
        None => "not measured".to_owned(),
    };
    let told = format!("expected {}{}, measured {measured}{}: {}", row.expected, unit(row), unit_if(row), row.reason);
    let outcome = match row.held {
        Some(true) => Outcome::Passed,
        Some(false) if strict => Outcome::Failed(told.clone()),
        None if strict => Outcome::Errored(told.clone()),
        Some(false) => Outcome::Skipped(format!("the claim does not hold: {told}")),
        None => Outcome::Skipped(told.clone()),
    };
    Case { class: "claim", name: format!("{}: {}", row.id, row.text), outcome, out: told }
}

fn unit(row: &ClaimRow) -> String {
    if row.unit.is_empty() { String::new() } else { format!(" {}", row.unit) }
}

fn unit_if(row: &ClaimRow) -> String {
    if matches!(row.measured, Some(Measured::Number(_))) { unit(row) } else { String::new() }
}

/// The verdict as a case of its own where no other case says it: inconclusive, or failed for another reason.
fn verdict(result: &RunResult, cases: &[Case]) -> Option<Case> {
    let reasons = if result.reasons.is_empty() { "no reason was given".to_owned() } else { result.reasons.join("; ") };
    let failed = cases.iter().any(|case| matches!(case.outcome, Outcome::Failed(_) | Outcome::Errored(_)));
    let outcome = match result.verdict {
        Verdict::Inconclusive => Outcome::Errored(reasons.clone()),
        Verdict::Fail if !failed => Outcome::Failed(reasons.clone()),
        // Without any case a suite would be empty, and some readers take that for an error.
        Verdict::Pass if cases.is_empty() => Outcome::Passed,
        Verdict::Fail | Verdict::Pass => return None,
    };
    Some(Case { class: "run", name: "verdict".to_owned(), outcome, out: reasons })
}

fn write_case(xml: &mut String, scenario: &str, case: &Case) {
    let _ =
        write!(xml, "    <testcase classname=\"{}.{}\" name=\"{}\"", escape(scenario), case.class, escape(&case.name));
    let (tag, message) = match &case.outcome {
        Outcome::Passed => ("", ""),
        Outcome::Failed(message) => ("failure", message.as_str()),
        Outcome::Errored(message) => ("error", message.as_str()),
        Outcome::Skipped(message) => ("skipped", message.as_str()),
    };
    xml.push_str(">\n");
    if !tag.is_empty() {
        let _ = writeln!(xml, "      <{tag} message=\"{}\"/>", escape(message));
    }
    let _ = writeln!(xml, "      <system-out>{}</system-out>", escape(&case.out));
    xml.push_str("    </testcase>\n");
}

/// XML 1.0 allows neither most control characters nor U+FFFE and U+FFFF, not even escaped.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\r' => out.push_str("&#13;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}
