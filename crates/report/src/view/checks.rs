//! What was lost and why, which claims and guarantees held, and what the run comes to.

use metricstream_ledger::result::{AnomalyRow, ClaimRow, GuaranteeRow, Loss, Measured, RunResult, Verdict};

use super::{Block, Mark, Section, Tone, groups, outages, section};
use crate::text::{NO_BREAK, count, number, percent, seconds, thousands, thousands_signed};

/// Lost ranges and anomalies that are shown.
const ROWS_MAX: usize = 12;
/// Claims, guarantees and reasons that are shown.
const CHECKS_MAX: usize = 100;

pub(super) fn losses(result: &RunResult) -> Section {
    // Ranges that went for one reason are told together.
    let mut causes: Vec<Vec<&Loss>> = Vec::new();
    for row in &result.losses {
        let same = |a: &Loss| {
            (a.happened(), a.predicted, a.epoch, &a.fault) == (row.happened(), row.predicted, row.epoch, &row.fault)
        };
        match causes.iter_mut().find(|rows| same(rows[0])) {
            Some(rows) => rows.push(row),
            None => causes.push(vec![row]),
        }
    }
    let mut blocks = Vec::new();
    for rows in causes.iter().take(ROWS_MAX) {
        lost_together(rows, &mut blocks);
    }
    if causes.len() > ROWS_MAX {
        let left: Vec<&Loss> = causes[ROWS_MAX..].iter().flatten().copied().collect();
        let ranges = count(left.len(), "more range", "more ranges");
        let text = format!("… {ranges} with {} messages in result.json", thousands(sum(&left)));
        blocks.push(Block::toned(Tone::Faint, text));
    }
    section("lost", blocks)
}

fn sum(rows: &[&Loss]) -> u64 {
    rows.iter().fold(0, |sum, loss| sum.saturating_add(loss.count))
}

fn lost_together(rows: &[&Loss], blocks: &mut Vec<Block>) {
    let Some(first) = rows.first() else { return };
    let (tone, judged) =
        if first.predicted { (Tone::Warn, "predicted: outside the guarantee") } else { (Tone::Bad, "a violation") };
    let mut text = match rows {
        [only] => format!("{}, {} {}", place(only), thousands(only.count), messages(only.count)),
        many => format!("{} {} in {}", thousands(sum(many)), messages(sum(many)), count(many.len(), "range", "ranges")),
    };
    let happened = first.happened();
    text += &format!(": {happened}");
    // The cause is the ledger's sentence; what it leaves out is added.
    if let Some(epoch) = first.epoch.filter(|_| !happened.contains("epoch")) {
        text += &format!(", leader epoch {epoch}");
    }
    if let Some(fault) = first.fault.as_deref().filter(|fault| !happened.contains(fault)) {
        text += &format!(", step {fault}");
    }
    blocks.push(Block::toned(tone, format!("{text} ({judged})")));
    if rows.len() > 1 {
        let mut each: Vec<String> =
            rows.iter().take(ROWS_MAX).map(|row| format!("{} ({})", place(row), thousands(row.count))).collect();
        if rows.len() > ROWS_MAX {
            each.push(format!("{} more in result.json", rows.len() - ROWS_MAX));
        }
        blocks.push(Block::under(each.join(", ")));
    }
}

fn messages(n: u64) -> &'static str {
    if n == 1 { "message" } else { "messages" }
}

/// `metrics-0 offsets 6,013–7,506`.
fn place(row: &Loss) -> String {
    let offsets = match (row.first_offset, row.last_offset) {
        (Some(first), Some(last)) if first != last => {
            format!(" offsets {}–{}", thousands_signed(first), thousands_signed(last))
        }
        (Some(only), _) | (None, Some(only)) => format!(" offset {}", thousands_signed(only)),
        (None, None) => String::new(),
    };
    format!("{}-{}{offsets}", row.topic, row.partition)
}

/// Anomalies of as many partitions are told by the first of them.
const ALIKE_MIN: usize = 3;

pub(super) fn anomalies(result: &RunResult) -> Section {
    // What was lost has its own section, with causes.
    let mut kinds: Vec<Vec<&AnomalyRow>> = Vec::new();
    for row in result.anomalies.iter().filter(|row| row.count > 0 && row.kind != "lost") {
        let of = |row: &AnomalyRow| (row.kind.clone(), row.verdict.clone(), row.topic.clone(), row.group.clone());
        match kinds.iter_mut().find(|rows| of(rows[0]) == of(row)) {
            Some(rows) => rows.push(row),
            None => kinds.push(vec![row]),
        }
    }
    // A few are told one by one.
    let mut told: Vec<Vec<&AnomalyRow>> = Vec::new();
    for rows in kinds {
        if rows.len() < ALIKE_MIN {
            told.extend(rows.into_iter().map(|row| vec![row]));
        } else {
            told.push(rows);
        }
    }
    told.sort_by_key(|rows| rows[0].verdict != "violation");
    let left_out = told.iter().skip(ROWS_MAX).map(Vec::len).sum::<usize>();
    let mut blocks: Vec<Block> = told.iter().take(ROWS_MAX).map(|rows| alike(rows)).collect();
    if left_out > 0 {
        blocks.push(Block::toned(Tone::Faint, format!("… {left_out} more in result.json")));
    }
    section("anomalies", blocks)
}

/// One anomaly, or those of several partitions.
fn alike(rows: &[&AnomalyRow]) -> Block {
    let row = rows[0];
    let tone = if row.verdict == "violation" { Tone::Bad } else { Tone::Plain };
    let one = match (&row.topic, row.partition) {
        (Some(topic), Some(partition)) => format!("{topic}-{partition}"),
        (Some(topic), None) => topic.clone(),
        _ => String::new(),
    };
    let several = rows.len() > 1;
    let place = match &row.topic {
        None => String::new(),
        Some(topic) if several => format!(" on {} of {topic}", count(rows.len(), "partition", "partitions")),
        Some(_) => format!(" on {one}"),
    };
    let group = row.group.as_ref().map(|group| format!(" in {group}")).unwrap_or_default();
    let evidence = match row.evidence.as_str() {
        "" => String::new(),
        evidence if several => format!("; {one}: {evidence}"),
        evidence => format!(": {evidence}"),
    };
    let all = rows.iter().fold(0_u64, |sum, row| sum.saturating_add(row.count));
    Block::toned(tone, format!("{} × {}{place}{group}, {}{evidence}", thousands(all), row.kind, row.verdict))
}

fn mark(held: Option<bool>) -> Mark {
    match held {
        Some(true) => Mark::Held,
        Some(false) => Mark::Broken,
        None => Mark::Unknown,
    }
}

pub(super) fn claims(result: &RunResult) -> Section {
    let blocks = result
        .claims
        .iter()
        .take(CHECKS_MAX)
        .map(|row| Block::Check {
            mark: mark(row.held),
            text: row.text.clone(),
            value: measured(row),
            note: claim_note(row),
        })
        .collect();
    section("claims", blocks)
}

fn claim_note(row: &ClaimRow) -> String {
    if row.held != Some(false) {
        return row.reason.clone();
    }
    // A claim's text says what it expects of a number; for the rest it may not.
    let expected = match &row.measured {
        // What never happened is no value that could be compared.
        Some(Measured::Text(text)) if text != "never" => format!("expected {}", row.expected.trim_start_matches("== ")),
        _ => String::new(),
    };
    [expected, row.reason.clone()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A claim's measured value with its unit.
pub(crate) fn measured(row: &ClaimRow) -> String {
    match &row.measured {
        None => "–".to_owned(),
        Some(Measured::Bool(true)) => "yes".to_owned(),
        Some(Measured::Bool(false)) => "no".to_owned(),
        Some(Measured::Text(text)) => text.clone(),
        Some(Measured::Number(n)) if row.unit == "s" => exact_enough(row, *n),
        Some(Measured::Number(n)) if row.unit == "share" => percent(*n),
        Some(Measured::Number(n)) if row.unit.is_empty() => number(*n),
        Some(Measured::Number(n)) => format!("{}\u{a0}{}", number(*n), row.unit),
    }
}

/// A time with as many digits as it takes to tell it from the expected one: "3.0 s" would not say why "<= 3" is not held.
fn exact_enough(row: &ClaimRow, measured_s: f64) -> String {
    let short = seconds(measured_s);
    let expected = row.expected.trim_start_matches(['<', '>', '=', ' ']).parse::<f64>();
    match expected {
        Ok(expected_s) if row.held == Some(false) && short == seconds(expected_s) => {
            let with = |digits: usize| format!("{measured_s:.digits$}");
            let told = (2..6).map(with).find(|text| text.parse::<f64>().is_ok_and(|told| told != expected_s));
            format!("{}{NO_BREAK}s", told.unwrap_or_else(|| with(6)))
        }
        _ => short,
    }
}

pub(super) fn guarantees(result: &RunResult) -> Section {
    let unjudged = if result.verdict == Verdict::Inconclusive { Mark::Unknown } else { Mark::Void };
    let shared = unjudged_because(&result.guarantees, &result.reasons);
    let mut blocks: Vec<Block> = shared
        .map(|why| Block::toned(Tone::Warn, format!("where a ? stands, it could not be judged: {why}")))
        .into_iter()
        .collect();
    blocks.extend(result.guarantees.iter().take(CHECKS_MAX).map(|row| {
        let own = shared.and_then(|why| row.evidence.strip_prefix(why)).map(|rest| rest.trim_start_matches("; "));
        Block::Check {
            mark: row.held.map_or(unjudged, |held| mark(Some(held))),
            text: row.text.clone(),
            value: String::new(),
            note: own.unwrap_or(&row.evidence).to_owned(),
        }
    }));
    section("guarantees", blocks)
}

/// The reason of the verdict for which several guarantees could not be judged: said once, not with each of them.
fn unjudged_because<'r>(rows: &[GuaranteeRow], reasons: &'r [String]) -> Option<&'r str> {
    let unjudged = |why: &&String| {
        rows.iter().filter(|row| row.held.is_none() && row.evidence.starts_with(why.as_str())).count() > 1
    };
    reasons.iter().find(unjudged).map(String::as_str)
}

pub(super) fn not_measured(result: &RunResult) -> Section {
    // What makes the verdict inconclusive is said with it.
    let said = |text: &&String| !result.reasons.iter().any(|reason| text.ends_with(reason.as_str()));
    let line = |text: &String| Block::toned(Tone::Warn, text.clone());
    section("unmeasured", result.not_measured.iter().filter(said).take(CHECKS_MAX).map(line).collect())
}

/// The reasons, where the last line or the guarantees do not say them already.
pub(super) fn reasons(result: &RunResult) -> Section {
    let said = usize::from(result.verdict != Verdict::Pass);
    let with_guarantees = unjudged_because(&result.guarantees, &result.reasons);
    let tone = if result.verdict == Verdict::Pass { Tone::Plain } else { Tone::Bad };
    let line = |text: &String| Block::toned(tone, text.clone());
    section(
        "reasons",
        result
            .reasons
            .iter()
            .skip(said)
            .filter(|reason| Some(reason.as_str()) != with_guarantees)
            .take(CHECKS_MAX)
            .map(line)
            .collect(),
    )
}

pub(super) fn verdict_text(result: &RunResult) -> String {
    let mut parts = Vec::new();
    match (result.verdict, result.reasons.first()) {
        (Verdict::Inconclusive, reason) => {
            parts.push(reason.cloned().unwrap_or_else(|| "the audit could not be finished".to_owned()));
        }
        (Verdict::Fail, Some(reason)) => parts.push(reason.clone()),
        (Verdict::Fail | Verdict::Pass, _) => parts.push(lost(result)),
    }
    parts.extend(claims_told(result));
    parts.extend(stopped(result));
    if !result.left_out.is_empty() {
        let faults = count(result.left_out.len(), "step", "steps");
        parts.push(format!("{faults} left out as asked ({})", result.left_out.join(", ")));
    }
    parts.join("; ")
}

/// `4 of 12 claims did not hold, 2 not measured`.
fn claims_told(result: &RunResult) -> Option<String> {
    let number_of = |held: Option<bool>| result.claims.iter().filter(|row| row.held == held).count();
    let (broken, unknown) = (number_of(Some(false)), number_of(None));
    let all = count(result.claims.len(), "claim", "claims");
    let text = match (result.claims.len(), broken, unknown) {
        (0, ..) => return None,
        (1, 0, 0) => "the claim held".to_owned(),
        (_, 0, 0) => format!("all {all} held"),
        (_, 0, unknown) => format!("no claim was wrong, {unknown} of {all} not measured"),
        (_, broken, 0) => format!("{broken} of {all} did not hold"),
        (_, broken, unknown) => format!("{broken} of {all} did not hold, {unknown} not measured"),
    };
    Some(text)
}

fn lost(result: &RunResult) -> String {
    let m = &result.messages;
    match (m.lost, m.lost_predicted) {
        (0, _) if m.acked == 0 => "nothing was acknowledged, so nothing could be lost".to_owned(),
        (0, _) => "nothing lost".to_owned(),
        (lost, predicted) if predicted >= lost => format!("{} lost, outside the guarantee", thousands(lost)),
        (lost, _) => format!("{} acknowledged messages lost", thousands(lost)),
    }
}

fn stopped(result: &RunResult) -> Option<String> {
    if let Some(told) = outages::writes_stopped(result) {
        return Some(told);
    }
    let pause = groups::longest_pause_s(result)?;
    Some(format!("longest pause of a partition {}", seconds(pause)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(expected: &str, measured: Measured, unit: &str, held: bool) -> ClaimRow {
        let (id, text, reason) = ("c".to_owned(), "a claim".to_owned(), "why".to_owned());
        let (expected, measured, unit) = (expected.to_owned(), Some(measured), unit.to_owned());
        ClaimRow { id, text, expected, measured, unit, held: Some(held), reason }
    }

    #[test]
    fn a_time_that_misses_by_little_shows_by_how_much() {
        let shown = |time, held| measured(&row("<= 3", Measured::Number(time), "s", held));
        assert_eq!(shown(3.043, false), "3.04\u{a0}s");
        assert_eq!(shown(3.000_2, false), "3.0002\u{a0}s");
        assert_eq!(shown(2.96, true), "3.0\u{a0}s");
        assert_eq!(shown(8.64, false), "8.6\u{a0}s");
    }

    #[test]
    fn shares_are_percentages_and_only_all_of_it_is_100() {
        let shown = |share| measured(&row(">= 0.99", Measured::Number(share), "share", true));
        assert_eq!(shown(1.0), "100\u{a0}%");
        assert_eq!(shown(0.999_999), "99.99\u{a0}%");
        assert_eq!(shown(0.5), "50\u{a0}%");
        assert_eq!(shown(0.0), "0\u{a0}%");
    }

    #[test]
    fn what_was_expected_is_said_where_it_is_no_number() {
        let text = |text: &str| Measured::Text(text.to_owned());
        assert_eq!(claim_note(&row("== [P0,P2]", text("[P0,P1]"), "", false)), "expected [P0,P2]; why");
        assert_eq!(claim_note(&row("<= 4", text("never"), "s", false)), "why");
        assert_eq!(claim_note(&row("<= 4", Measured::Number(9.0), "s", false)), "why");
    }
}
