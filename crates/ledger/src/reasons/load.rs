//! Reasons in the load: what producers noticed, why messages waited, failed or were lost.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_scenario::guarantee::derive_under;
use metricstream_scenario::measures::Measure;
use metricstream_scenario::model::Claim;

use crate::claims::cluster::{fewest_voters, isr_text};
use crate::claims::load::{longest, sent_and_acked, window};
use crate::claims::{Facts, name};
use crate::measure::steps::StepSeen;
use crate::measure::windows::Sign;
use crate::result::Loss;
use crate::verdict::observed_failures;

use super::{all_of, at, counted, few, gap};

/// Why the guarantees with ids of this kind are given, or are not.
pub(super) fn guaranteed(facts: &Facts<'_>, kind: &str) -> String {
    let guarantees = derive_under(facts.scenario, &observed_failures(facts.measured));
    let of_kind = guarantees.into_iter().filter(|guarantee| guarantee.id.starts_with(kind));
    let mut all: Vec<String> = of_kind.map(|guarantee| guarantee.why).collect();
    all.dedup();
    all.join("; ")
}

/// What was lost and why; the same for every claim on it, so only the first says it.
pub(super) fn lost(facts: &Facts<'_>, claim: &Claim) -> String {
    let guarantee = guaranteed(facts, "durability-");
    let causes = causes(facts.losses);
    if causes.is_empty() {
        return guarantee;
    }
    let on_losses =
        |claim: &&Claim| matches!(Measure::from_id(&claim.measure), Some(Measure::Lost | Measure::LostPredicted));
    match facts.scenario.claims.iter().find(on_losses).filter(|first| first.id != claim.id) {
        Some(first) => format!("the losses told with the claim \"{}\"", first.text),
        None => format!("{}; {guarantee}", few(&causes)),
    }
}

/// Losses with the same cause together, in their order.
fn causes(losses: &[Loss]) -> Vec<String> {
    let mut by_cause: Vec<Vec<&Loss>> = Vec::new();
    for loss in losses {
        match by_cause.iter_mut().find(|rows| rows[0].happened() == loss.happened()) {
            Some(rows) => rows.push(loss),
            None => by_cause.push(vec![loss]),
        }
    }
    let text = |rows: &Vec<&Loss>| match rows.as_slice() {
        [only] => format!("{} lost: {}", only.count, only.cause),
        many => {
            let partitions: BTreeSet<(&str, i32)> = many.iter().map(|loss| (&*loss.topic, loss.partition)).collect();
            format!(
                "{} lost in {} of {}: {}",
                many.iter().map(|loss| loss.count).sum::<u64>(),
                counted(many.len() as u64, "range", "ranges"),
                counted(partitions.len() as u64, "partition", "partitions"),
                many[0].happened()
            )
        }
    };
    by_cause.iter().map(text).collect()
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
    let (sent, acked) = sent_and_acked(facts, claim, step).unwrap_or_default();
    let rest = sent.saturating_sub(acked);
    if rest == 0 {
        return format!(
            "{} acknowledged; retries bridge an outage for as long as message.timeout.ms",
            all_of(sent, "send was", "sends were")
        );
    }
    let told = format!("{rest} of {} not acknowledged", counted(sent, "send was", "sends were"));
    let open = window(facts, claim).map_or(0, |window| window.open);
    let stands = facts.measured.unavailability.iter().any(|row| row.op == "write" && row.open);
    let open_told = format!("{told}; {} still open when the run ended", counted(open, "was", "were"));
    match (open, stands) {
        (0, _) => format!("{told}; {}", gap::unavailable(facts, "write", step, None)),
        // On their way while nothing stood still: no outage is the reason.
        (open, false) if open == rest => open_told,
        _ => format!("{open_told}; {}", gap::unavailable(facts, "write", step, None)),
    }
}

pub(super) fn notice(facts: &Facts<'_>, claim: &Claim, step: &StepSeen) -> String {
    let threshold_ms = facts.measured.write_threshold_us / 1_000;
    match window(facts, claim).and_then(|window| window.sign) {
        Some((at_us, Sign::Failed)) => {
            format!("the first sign: a client reported a send as failed or unknown at {}", at(at_us))
        }
        Some((at_us, Sign::Learned)) => format!("the first sign: a client had learned another leader by {}", at(at_us)),
        Some((at_us, Sign::Late)) => {
            format!(
                "the first sign: a send was unanswered for {threshold_ms} ms at {}, which is what counts as late here, not \
                 an error of the client's; {}",
                at(at_us),
                gap::unavailable(facts, "write", Some(step), None)
            )
        }
        None => {
            let window = window(facts, claim);
            let (sent, open) = window.map_or((0, 0), |window| (window.sent, window.not_acked));
            let bridged = match (sent, open) {
                (0, _) => "nothing was sent in the window".to_owned(),
                (_, 0) => "retries and the other brokers bridged it".to_owned(),
                (sent, open) => {
                    format!("{open} of {} still open when the run ended", counted(sent, "send was", "sends were"))
                }
            };
            format!("no send failed, none waited {threshold_ms} ms, and no client learned another leader: {bridged}")
        }
    }
}

pub(super) fn go_on(facts: &Facts<'_>, claim: &Claim, step: &StepSeen) -> String {
    let Some(window) = window(facts, claim) else { return "no sends were counted".to_owned() };
    if window.not_acked > 0 {
        let standing = standing_still(facts, step);
        let sent = counted(window.sent, "send in the window was", "sends in the window were");
        return format!("{} of {sent} not acknowledged; {standing}", window.not_acked);
    }
    let silent = facts.scenario.workload.producers.len().saturating_sub(window.producers.len());
    if silent > 0 {
        let (who, they) = if silent == 1 { ("producer", "it") } else { ("producers", "they") };
        return format!(
            "{silent} {who} had nothing acknowledged that {they} sent in the window; {}",
            standing_still(facts, step)
        );
    }
    format!(
        "{} acknowledged, the slowest after {:.1} s",
        all_of(window.sent, "send in the window was", "sends in the window were"),
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
    let voters = fewest_voters(facts, step, None);
    let mut why = held_up(facts, facts.end_us(step) - 1, None);
    if voters.up * 2 <= voters.of {
        why.insert(0, format!("{} of {} voters up: no controller could change anything", voters.up, voters.of));
    }
    if why.is_empty() { gap::unavailable(facts, "write", Some(step), None) } else { why.join("; ") }
}

/// What keeps partitions, or one of them, from acknowledging at a moment: each cause with all that it concerns.
pub(super) fn held_up(facts: &Facts<'_>, at_us: i64, of: Option<&str>) -> Vec<String> {
    let mut causes: BTreeMap<HeldUp, Vec<String>> = BTreeMap::new();
    let is_down = |node: i32| facts.measured.steps.is_down(node, at_us);
    for row in facts.state_at(at_us) {
        let partition = name(row);
        if of.is_some_and(|of| of != partition) {
            continue;
        }
        let topic = facts.scenario.topology.topics.iter().find(|topic| topic.name == row.state.topic);
        let least = topic.map_or(1, |topic| usize::from(topic.min_insync_replicas.unsigned_abs()));
        let cause = match row.state.leader {
            leader if leader < 0 => HeldUp::NoLeader,
            leader if is_down(leader) => HeldUp::LeaderDown(leader),
            _ if row.state.isr.len() < least => HeldUp::BelowMinimum(isr_text(&row.state.isr), least),
            _ => match row.state.isr.iter().find(|node| is_down(**node)) {
                Some(dead) => HeldUp::DeadInIsr(*dead),
                None => continue,
            },
        };
        causes.entry(cause).or_default().push(partition);
    }
    causes.into_iter().map(|(cause, partitions)| cause.text(&few(&partitions))).collect()
}

/// Why a partition does not acknowledge.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HeldUp {
    NoLeader,
    LeaderDown(i32),
    /// The ISR and `min.insync.replicas`.
    BelowMinimum(String, usize),
    DeadInIsr(i32),
}

impl HeldUp {
    fn text(&self, partitions: &str) -> String {
        match self {
            Self::NoLeader => format!("{partitions} had no leader"),
            Self::LeaderDown(node) => format!("broker {node}, which was down, still led {partitions}"),
            Self::BelowMinimum(isr, least) => {
                format!("the ISR {isr} of {partitions} was below min.insync.replicas = {least}")
            }
            Self::DeadInIsr(node) => format!("broker {node}, which was down, was still in the ISR of {partitions}"),
        }
    }
}

pub(super) fn slow(facts: &Facts<'_>, step: Option<&StepSeen>) -> String {
    if longest(facts, "write", step, None).is_none() {
        return format!("writes never stood still for {} ms", facts.measured.write_threshold_us / 1_000);
    }
    format!("sends waited while writes stood still: {}", gap::unavailable(facts, "write", step, None))
}
