//! Reasons in the load: what producers noticed, why messages waited, failed or were lost.

use metricstream_scenario::guarantee::derive_under;
use metricstream_scenario::measures::Measure;
use metricstream_scenario::model::Claim;

use crate::claims::cluster::{fewest_voters, isr_text};
use crate::claims::load::{longest, window};
use crate::claims::{Facts, name};
use crate::measure::steps::StepSeen;
use crate::measure::windows::Sign;
use crate::verdict::observed_failures;

use super::{at, few, gap};

/// Why the guarantees with ids of this kind are given, or are not.
pub(super) fn guaranteed(facts: &Facts<'_>, kind: &str) -> String {
    let guarantees = derive_under(facts.scenario, &observed_failures(facts.measured));
    let of_kind = guarantees.into_iter().filter(|guarantee| guarantee.id.starts_with(kind));
    let mut all: Vec<String> = of_kind.map(|guarantee| guarantee.why).collect();
    all.dedup();
    all.join("; ")
}

pub(super) fn lost(facts: &Facts<'_>) -> String {
    let guarantee = guaranteed(facts, "durability-");
    let causes: Vec<String> = facts
        .losses
        .iter()
        .map(|loss| {
            let first = loss.first_offset.map_or_else(String::new, |first| format!(" from offset {first}"));
            format!("{} of {}-{}{first}: {}", loss.count, loss.topic, loss.partition, loss.cause)
        })
        .collect();
    if causes.is_empty() { guarantee } else { format!("{}; {guarantee}", few(&causes)) }
}

pub(super) fn of_group(facts: &Facts<'_>, group: Option<&str>, measure: Measure) -> String {
    let kind = if measure == Measure::Redelivered { "redelivery" } else { "lost-to-group" };
    let rows = facts
        .anomalies
        .iter()
        .filter(|row| row.kind.starts_with(kind) && group.is_none_or(|group| row.group.as_deref() == Some(group)));
    let mut evidence: Vec<String> = rows.map(|row| row.evidence.clone()).collect();
    evidence.dedup();
    if !evidence.is_empty() {
        return few(&evidence);
    }
    guaranteed(facts, if measure == Measure::Redelivered { "commits-" } else { "delivery-" })
}

pub(super) fn success(facts: &Facts<'_>, claim: &Claim, step: Option<&StepSeen>) -> String {
    let (sent, acked) = match (step, facts.messages, window(facts, claim)) {
        (None, Some(messages), _) => (messages.sent, messages.acked),
        (_, _, Some(window)) => (window.sent, window.acked),
        _ => (0, 0),
    };
    let rest = sent.saturating_sub(acked);
    if rest == 0 {
        return format!(
            "all {sent} sends were acknowledged; retries bridge an outage for as long as message.timeout.ms"
        );
    }
    format!("{rest} of {sent} sends were not acknowledged; {}", gap::unavailable(facts, "write", step, None))
}

pub(super) fn notice(facts: &Facts<'_>, claim: &Claim, step: &StepSeen) -> String {
    let threshold_ms = facts.measured.write_threshold_us / 1_000;
    match window(facts, claim).and_then(|window| window.sign) {
        Some((at_us, Sign::Failed)) => format!("a client reported a send as failed or unknown at {}", at(at_us)),
        Some((at_us, Sign::Learned)) => format!("a client learned another leader by {}", at(at_us)),
        Some((at_us, Sign::Late)) => {
            format!(
                "a send was unanswered for {threshold_ms} ms at {}; {}",
                at(at_us),
                gap::unavailable(facts, "write", Some(step), None)
            )
        }
        None => format!(
            "no send failed, none waited {threshold_ms} ms, and no client learned another leader: \
             retries and the other brokers bridged it"
        ),
    }
}

pub(super) fn go_on(facts: &Facts<'_>, claim: &Claim, step: &StepSeen) -> String {
    let Some(window) = window(facts, claim) else { return "no sends were counted".to_owned() };
    if window.not_acked > 0 {
        let standing = standing_still(facts, step);
        return format!(
            "{} of {} sends in the window were not acknowledged; {standing}",
            window.not_acked, window.sent
        );
    }
    let silent = facts.scenario.workload.producers.len().saturating_sub(window.producers.len());
    if silent > 0 {
        return format!(
            "{silent} producers had nothing acknowledged that they sent in the window; {}",
            standing_still(facts, step)
        );
    }
    format!(
        "all {} sends in the window were acknowledged, the slowest after {:.1} s",
        window.sent,
        window.longest_wait_us.unwrap_or(0) as f64 / 1e6
    )
}

pub(super) fn accepted(facts: &Facts<'_>, claim: &Claim, step: &StepSeen) -> String {
    match window(facts, claim).and_then(|window| window.accepted_us) {
        Some(at_us) => format!("the first that was sent and acknowledged there was acknowledged at {}", at(at_us)),
        None => standing_still(facts, step),
    }
}

/// What keeps writes from being acknowledged in the step's window.
fn standing_still(facts: &Facts<'_>, step: &StepSeen) -> String {
    let end_us = facts.end_us(step) - 1;
    let voters = fewest_voters(facts, step, None);
    let mut why = Vec::new();
    for row in facts.state_at(end_us) {
        let partition = name(row);
        let topic = facts.scenario.topology.topics.iter().find(|topic| topic.name == row.state.topic);
        let least = topic.map_or(1, |topic| usize::from(topic.min_insync_replicas.unsigned_abs()));
        let leader = row.state.leader;
        if leader < 0 {
            why.push(format!("{partition} had no leader"));
        } else if facts.measured.steps.is_down(leader, end_us) {
            why.push(format!("{partition} was still led by broker {leader}, which was down"));
        } else if row.state.isr.len() < least {
            let isr = isr_text(&row.state.isr);
            why.push(format!("the ISR {isr} of {partition} was below min.insync.replicas = {least}"));
        } else if let Some(dead) = row.state.isr.iter().find(|node| facts.measured.steps.is_down(**node, end_us)) {
            why.push(format!("broker {dead}, which was down, was still in the ISR of {partition}"));
        }
    }
    if voters.up * 2 <= voters.of {
        why.insert(0, format!("{} of {} voters up: no controller could change anything", voters.up, voters.of));
    }
    if why.is_empty() { gap::unavailable(facts, "write", Some(step), None) } else { few(&why) }
}

pub(super) fn slow(facts: &Facts<'_>, step: Option<&StepSeen>) -> String {
    if longest(facts, "write", step, None).is_none() {
        return format!("writes never stood still for {} ms", facts.measured.write_threshold_us / 1_000);
    }
    format!("sends waited while writes stood still: {}", gap::unavailable(facts, "write", step, None))
}
