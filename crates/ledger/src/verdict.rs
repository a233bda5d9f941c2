//! The result of a run put together: guarantees judged, claims answered, the verdict and its reasons.
//!
//! A violated guarantee fails the run; strictly, so does a claim that did not hold; what could not be audited is
//! inconclusive. How anything was found is told elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_scenario::guarantee::{Failures, Guarantee, GuaranteeKind, derive_under};
use metricstream_scenario::librdkafka::is_true;
use metricstream_scenario::model::{Producer, Scenario, Workload};
use metricstream_scenario::timers::effective_broker_config;

use crate::accounting::{Accounting, Anomaly, Inconclusive, Judgement};
use crate::anomaly::AnomalyKind;
use crate::attribution::promise;
use crate::claims::{self, Facts};
use crate::exactness;
use crate::header::{Exception, Expected, Named};
use crate::measure::Measured;
use crate::reasons;
use crate::result::{AnomalyRow, ClaimRow, GuaranteeRow, Loss, Messages, RunResult, SCHEMA, Verdict};
use crate::timeline::TimelineEvent;

/// What a run says of itself beside what was measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Meta {
    /// Engine's name.
    pub engine: String,
    /// Whether somebody else runs the cluster: then it has none of our profiles.
    pub foreign: bool,
    /// `metricstream`, `kafka`, `librdkafka`, `java`, where known.
    pub versions: BTreeMap<String, String>,
    /// Seed of the run.
    pub seed: u64,
    /// RFC 3339, when load started.
    pub started_at: String,
    /// Every effective setting, secrets redacted.
    pub config: BTreeMap<String, String>,
    /// Whether claims too must hold.
    pub strict: bool,
    /// Why the run cannot be judged, beside what the accounting says: what it fell short of.
    pub inconclusive: Vec<String>,
    /// Steps that were left out, because the user asked for it.
    pub left_out: Vec<String>,
    /// Why the metadata log was not read, if it was not: metadata was polled then.
    pub polled: Option<String>,
    /// What else is not known, as `field: reason`.
    pub not_measured: Vec<String>,
}

/// Puts the result together. Without `accounting` nothing was audited.
pub fn assemble(
    scenario: &Scenario,
    measured: Measured,
    accounting: Option<&Accounting>,
    timeline: &[TimelineEvent],
    meta: Meta,
) -> RunResult {
    let measured = match &meta.polled {
        Some(why) => exactness::withhold(measured, why),
        None => measured,
    };
    let (messages, anomalies, losses) = accounting.map_or_else(Default::default, rows_of);
    let facts = Facts {
        scenario,
        measured: &measured,
        // Without an audit the log is not known: nothing that it lacks is lost.
        messages: accounting
            .filter(|accounting| !accounting.inconclusive.contains(&Inconclusive::NoAudit))
            .map(|_| &messages),
        anomalies: &anomalies,
        losses: &losses,
        timeline,
        left_out: &meta.left_out,
        polled: meta.polled.as_deref(),
    };
    let claims = claims::answer(&facts);
    let unavailability = reasons::with_timers(&facts);
    let guarantees = judge(&derive_under(scenario, &observed_failures(&measured)), scenario, accounting);
    let (verdict, reasons) = decide(accounting, &guarantees, &claims, &meta);
    let mut not_measured = measured.not_measured;
    if accounting.is_none() {
        not_measured.push("messages, losses, anomalies: nothing was audited".to_owned());
    } else if let Some(why) = accounting.and_then(|accounting| accounting.inconclusive.first()) {
        not_measured.push(format!("messages, what only the audit can find: {why}"));
    }
    not_measured.extend(meta.not_measured);
    RunResult {
        schema: SCHEMA,
        scenario: scenario.name.clone(),
        description: scenario.description.clone(),
        engine: meta.engine,
        profile: (!meta.foreign).then(|| scenario.topology.profile.word().to_owned()),
        seed: meta.seed,
        started_at: meta.started_at,
        duration_s: crate::measure::seconds(measured.end_us),
        versions: meta.versions,
        config: meta.config,
        verdict,
        reasons,
        phases: measured.phases,
        messages,
        losses,
        anomalies,
        guarantees,
        claims,
        faults: measured.faults,
        unavailability,
        failovers: measured.failovers,
        isr: measured.isr,
        rebalances: measured.rebalances,
        recovery: measured.recovery,
        latency: measured.latency,
        throughput: measured.throughput,
        isr_outages: measured.isr_outages,
        catch_up: measured.catch_up,
        left_out: meta.left_out,
        not_measured,
    }
}

/// The accounting as rows of the result.
pub fn rows_of(accounting: &Accounting) -> (Messages, Vec<AnomalyRow>, Vec<Loss>) {
    let counts = &accounting.counts;
    let messages = Messages {
        sent: counts.sent,
        acked: counts.acked,
        failed: counts.failed,
        unknown: counts.unknown,
        in_log: counts.in_log,
        lost: counts.lost,
        lost_predicted: counts.lost_predicted,
        phantom: counts.phantom,
        alien: counts.alien,
        duplicates: counts.duplicates,
        redelivered: counts.redelivered,
        reordered: counts.reordered,
        lost_to_group: counts.lost_to_group,
        unknown_survived: counts.unknown_survived,
        success_rate: (counts.sent > 0).then(|| counts.acked as f64 / counts.sent as f64),
        audited: accounting.inconclusive.is_empty(),
    };
    let anomaly = |anomaly: &Anomaly| AnomalyRow {
        kind: anomaly.kind.as_str().to_owned(),
        topic: anomaly.topic.clone(),
        partition: anomaly.partition,
        group: anomaly.group.clone(),
        count: anomaly.count,
        verdict: anomaly.verdict.as_str().to_owned(),
        evidence: anomaly.evidence.clone(),
    };
    let loss = |loss: &crate::accounting::Loss| Loss {
        topic: loss.topic.clone(),
        partition: loss.partition,
        first_offset: loss.first_offset,
        last_offset: loss.last_offset,
        count: loss.count,
        predicted: loss.predicted,
        cause: loss.cause.clone(),
        epoch: loss.epoch,
        fault: loss.fault.clone(),
    };
    (messages, accounting.anomalies.iter().map(anomaly).collect(), accounting.losses.iter().map(loss).collect())
}

/// The unclean failures that were seen: the most brokers killed or wiped before every ISR was full again.
pub fn observed_failures(measured: &Measured) -> Failures {
    let mut worst = Failures::default();
    let mut failed: BTreeMap<i32, i64> = BTreeMap::new();
    let mut steps: Vec<String> = Vec::new();
    let recovered = |node: i32, since_us: i64, by_us: i64| {
        measured.recovery.iter().any(|row| {
            let full_us = row.isr_full_s.map(|full_s| (full_s * 1e6) as i64);
            row.broker == node
                && row.restarted_s * 1e6 >= since_us as f64 - 1.0
                && full_us.is_some_and(|at_us| at_us <= by_us)
        })
    };
    for step in measured.steps.all() {
        let unclean = step.kind == "kill" || step.kind == "start-wiped" || step.kind == "start-reformatted";
        let brokers: BTreeSet<i32> = claims::cluster::brokers_hit(step).collect();
        if !unclean || brokers.is_empty() {
            continue;
        }
        if failed.iter().all(|(node, since_us)| recovered(*node, *since_us, step.at_us)) {
            failed.clear();
            steps.clear();
        }
        failed.extend(brokers.into_iter().map(|node| (node, step.at_us)));
        steps.push(step.id.clone());
        let now = u32::try_from(failed.len()).unwrap_or(u32::MAX);
        if now > worst.in_one_window {
            worst = Failures { in_one_window: now, steps: steps.clone() };
        }
    }
    worst
}

/// What a history's header says is guaranteed: the configuration's promises, before any fault is counted. `producers` names
/// the incarnations, so that those with weaker settings are excepted.
pub fn expected(scenario: &Scenario, producers: &[Named]) -> Expected {
    let broker = effective_broker_config(&scenario.topology);
    let of_producer = |producer: &Producer| {
        let alone = Scenario {
            workload: Workload { producers: vec![producer.clone()], ..scenario.workload.clone() },
            ..scenario.clone()
        };
        let id = format!("durability-{}", producer.topic);
        let given = derive_under(&alone, &Failures::default()).into_iter().find(|guarantee| guarantee.id == id);
        let topic = scenario.topology.topics.iter().find(|topic| topic.name == producer.topic);
        let max_unclean = topic.map(|topic| u32::from(topic.min_insync_replicas.unsigned_abs()).saturating_sub(1));
        let (durable, why) =
            given.map_or_else(Default::default, |given| (given.applies, promise(&given.why).to_owned()));
        (durable, max_unclean, why)
    };
    let mut all = scenario.workload.producers.iter().map(|producer| (producer, of_producer(producer)));
    let Some((_, first)) = all.next() else {
        return Expected { why: "nothing is sent".to_owned(), ..Expected::default() };
    };
    let mut exceptions = Vec::new();
    for (producer, (durable, max_unclean, why)) in all.filter(|(_, other)| (other.0, other.1) != (first.0, first.1)) {
        for named in producers.iter().filter(|named| named.name == producer.name) {
            let (topic, incarnation) = (Some(producer.topic.clone()), Some(named.incarnation));
            exceptions.push(Exception { topic, incarnation, durable, max_unclean, why: why.clone() });
        }
    }
    let unclean = "unclean.leader.election.enable";
    let may = |config: &BTreeMap<String, String>| config.get(unclean).map(|value| is_true(value));
    let cluster_may = may(&broker).unwrap_or(false);
    Expected {
        durable: first.0,
        committed_durable: Some(
            !scenario.topology.topics.iter().any(|topic| may(&topic.config).unwrap_or(cluster_may)),
        ),
        offsets_durable: Some(!cluster_may),
        max_unclean: first.1,
        why: first.2,
        exceptions,
    }
}

/// Whether each guarantee held.
fn judge(guarantees: &[Guarantee], scenario: &Scenario, accounting: Option<&Accounting>) -> Vec<GuaranteeRow> {
    guarantees.iter().map(|guarantee| judge_one(guarantee, scenario, accounting)).collect()
}

fn judge_one(guarantee: &Guarantee, scenario: &Scenario, accounting: Option<&Accounting>) -> GuaranteeRow {
    let row = |held, evidence| GuaranteeRow { id: guarantee.id.clone(), text: guarantee.text.clone(), held, evidence };
    let Some(accounting) = accounting else {
        return row(None, format!("nothing was audited; {}", guarantee.why));
    };
    let found: Vec<&Anomaly> =
        accounting.anomalies.iter().filter(|anomaly| concerns(&guarantee.kind, anomaly, scenario)).collect();
    let violations: Vec<&Anomaly> =
        found.iter().copied().filter(|anomaly| anomaly.verdict == Judgement::Violation).collect();
    let told = |(sum, first, several): (String, &Anomaly, bool)| {
        format!("{sum}{} {}", if several { ", the first:" } else { ":" }, first.evidence)
    };
    let violations: Vec<String> = sums(&violations).into_iter().map(told).collect();
    if !violations.is_empty() {
        return row(Some(false), format!("{}; {}", violations.join("; "), guarantee.why));
    }
    if !guarantee.applies {
        let seen: Vec<String> = sums(&found).into_iter().map(|(sum, ..)| sum).collect();
        let seen = if seen.is_empty() { "nothing of it was seen".to_owned() } else { seen.join(", ") };
        return row(None, format!("not given: {}; {seen}", guarantee.why));
    }
    match accounting.inconclusive.first() {
        Some(why) => row(None, format!("{why}; {}", guarantee.why)),
        None => row(Some(true), guarantee.why.clone()),
    }
}

/// The anomalies of each kind together, as `9998 lost in 6 partitions`; with the first of them, and whether there are more.
fn sums<'a>(found: &[&'a Anomaly]) -> Vec<(String, &'a Anomaly, bool)> {
    let mut kinds: BTreeMap<AnomalyKind, Vec<&Anomaly>> = BTreeMap::new();
    for anomaly in found {
        kinds.entry(anomaly.kind).or_default().push(anomaly);
    }
    let sum = |(kind, rows): (AnomalyKind, Vec<&'a Anomaly>)| {
        let first = *rows.first()?;
        let places: BTreeSet<_> = rows.iter().map(|row| (&row.topic, row.partition)).collect();
        let count: u64 = rows.iter().map(|row| row.count).sum();
        let mut text = format!("{count} {}", kind.as_str());
        if places.len() > 1 {
            text += &format!(" in {} partitions", places.len());
        }
        Some((text, first, rows.len() > 1))
    };
    kinds.into_iter().filter_map(sum).collect()
}

/// Whether an anomaly speaks against a guarantee. Anomalies know their topic and group, not their producer: one of a
/// topic concerns every producer that writes there.
fn concerns(kind: &GuaranteeKind, anomaly: &Anomaly, scenario: &Scenario) -> bool {
    let of_topic = |topic: &String| anomaly.topic.as_ref() == Some(topic);
    let of_group = |group: &String| anomaly.group.as_ref() == Some(group);
    let of_producer = |name: &String| {
        let producers = &scenario.workload.producers;
        producers.iter().find(|producer| producer.name == *name).is_some_and(|producer| of_topic(&producer.topic))
    };
    match (kind, anomaly.kind) {
        (GuaranteeKind::Integrity, AnomalyKind::Phantom | AnomalyKind::Alien | AnomalyKind::EpochRegression) => true,
        (
            GuaranteeKind::Consistency { topic },
            AnomalyKind::InconsistentOffset | AnomalyKind::CommittedOffsetLost | AnomalyKind::AckOffsetMismatch,
        )
        | (GuaranteeKind::Durability { topic }, AnomalyKind::Lost) => of_topic(topic),
        (GuaranteeKind::NoDuplicates { producer }, AnomalyKind::DuplicateInLog)
        | (GuaranteeKind::Order { producer }, AnomalyKind::Reorder) => of_producer(producer),
        (GuaranteeKind::Delivery { group }, AnomalyKind::LostToGroup | AnomalyKind::SkippedPoll)
        | (
            GuaranteeKind::Commits { group },
            AnomalyKind::RedeliveryBeyondCommit | AnomalyKind::CommitFault | AnomalyKind::NonMonotonicPoll,
        )
        | (GuaranteeKind::Ownership { group }, AnomalyKind::DualOwnership) => of_group(group),
        _ => false,
    }
}

fn decide(
    accounting: Option<&Accounting>,
    guarantees: &[GuaranteeRow],
    claims: &[ClaimRow],
    meta: &Meta,
) -> (Verdict, Vec<String>) {
    let mut reasons = Vec::new();
    for row in guarantees.iter().filter(|row| row.held == Some(false)) {
        reasons.push(format!("guarantee {} violated: {}", row.id, row.evidence));
    }
    // A violation that belongs to no guarantee of the scenario is a violation all the same.
    if reasons.is_empty() {
        for anomaly in accounting.into_iter().flat_map(Accounting::violations) {
            reasons.push(format!("{} {}: {}", anomaly.count, anomaly.kind.as_str(), anomaly.evidence));
        }
    }
    if meta.strict {
        for row in claims.iter().filter(|row| row.held == Some(false)) {
            reasons.push(format!("claim {} did not hold: {} expected; {}", row.id, row.expected, row.reason));
        }
    }
    let failed = !reasons.is_empty();
    let mut unknown: Vec<String> = meta.inconclusive.clone();
    match accounting {
        None => unknown.push("nothing was audited".to_owned()),
        Some(accounting) => unknown.extend(accounting.inconclusive.iter().map(ToString::to_string)),
    }
    if meta.strict {
        let open = claims.iter().filter(|row| row.held.is_none());
        unknown.extend(open.map(|row| format!("claim {} could not be measured: {}", row.id, row.reason)));
    }
    let verdict = match (failed, unknown.is_empty()) {
        (true, _) => Verdict::Fail,
        (false, false) => Verdict::Inconclusive,
        (false, true) => Verdict::Pass,
    };
    reasons.extend(unknown);
    if verdict == Verdict::Pass {
        reasons.push("every guarantee that applies held".to_owned());
    }
    if !meta.left_out.is_empty() {
        let steps = meta.left_out.join(", ");
        reasons.push(format!("left out, as was asked: {steps}; of what they would have done this run says nothing"));
    }
    (verdict, reasons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::Counts;
    use crate::measure::stories::{MS, S, broker_2_killed, healed, measured, scenario};
    use metricstream_scenario::model::{Claim, ClaimValue};

    fn accounting(anomalies: Vec<Anomaly>) -> Accounting {
        Accounting {
            counts: Counts { sent: 9_000, acked: 9_000, in_log: 9_000, ..Counts::default() },
            anomalies,
            losses: Vec::new(),
            inconclusive: Vec::new(),
            durable: true,
            durable_why: String::new(),
            suspects: None,
        }
    }

    fn lost(verdict: Judgement) -> Anomaly {
        Anomaly {
            kind: AnomalyKind::Lost,
            topic: Some("metrics".into()),
            partition: Some(1),
            group: None,
            ranges: Vec::new(),
            count: 12,
            verdict,
            evidence: "offsets 5–16".into(),
        }
    }

    fn run(accounting: Option<&Accounting>, meta: Meta) -> RunResult {
        let events = broker_2_killed();
        let mut scenario = scenario();
        scenario.claims.push(Claim {
            id: "quick".into(),
            text: "new leaders by 3 s".into(),
            measure: "new_leaders_s".into(),
            step: Some("kill-2".into()),
            of: None,
            after_s: None,
            op: "<=".into(),
            value: ClaimValue::Number(3.0),
        });
        assemble(&scenario, measured(&events, (10 * S, 18_800 * MS)), accounting, &events, meta)
    }

    fn durability(result: &RunResult) -> &GuaranteeRow {
        result.guarantees.iter().find(|row| row.id == "durability-metrics").expect("a row")
    }

    #[test]
    fn a_clean_run_passes_though_a_claim_does_not_hold() {
        let result = run(Some(&accounting(Vec::new())), Meta::default());
        assert_eq!((result.verdict, result.claims[0].held), (Verdict::Pass, Some(false)));
        assert_eq!(result.messages.success_rate, Some(1.0));
        let row = durability(&result);
        assert_eq!(row.held, Some(true));
        // The kill that was seen is counted, though the scenario planned none.
        assert!(row.evidence.contains("1 of 1 tolerated failures"), "{}", row.evidence);
    }

    #[test]
    fn strictly_a_claim_fails_the_run_and_is_named() {
        let result = run(Some(&accounting(Vec::new())), Meta { strict: true, ..Meta::default() });
        assert_eq!(result.verdict, Verdict::Fail);
        assert!(
            result.reasons[0].starts_with("claim quick did not hold: <= 3 expected; metrics-1 → 3"),
            "{:?}",
            result.reasons
        );
    }

    #[test]
    fn a_violation_fails_and_a_predicted_loss_does_not() {
        let violated = run(Some(&accounting(vec![lost(Judgement::Violation)])), Meta::default());
        assert_eq!((violated.verdict, durability(&violated).held), (Verdict::Fail, Some(false)));
        assert!(
            violated.reasons[0].contains("durability-metrics violated: 12 lost: offsets 5–16"),
            "{:?}",
            violated.reasons
        );
        let predicted = run(Some(&accounting(vec![lost(Judgement::Expected)])), Meta::default());
        assert_eq!(predicted.verdict, Verdict::Pass);
    }

    #[test]
    fn one_loss_in_many_partitions_is_told_as_a_sum_and_with_one_claim_only() {
        let of = |partition| Anomaly { partition: Some(partition), ..lost(Judgement::Violation) };
        let mut accounting = accounting((0..6).map(of).collect());
        let loss = |partition| crate::accounting::Loss {
            topic: "metrics".into(),
            partition,
            first_offset: Some(0),
            last_offset: Some(11),
            count: 12,
            predicted: false,
            cause: format!("offsets 0–11 of metrics-{partition} were lost: gone: topic absent at the audit"),
            epoch: None,
            fault: None,
        };
        accounting.losses = (0..6).map(loss).collect();
        let mut scenario = scenario();
        let claim = "name='x'\n[[claims]]\nid='none'\ntext='nothing is lost'\nmeasure='lost'\nvalue=0\n\
                     [[claims]]\nid='all'\nmeasure='lost'\nop='>='\nvalue=70";
        scenario.claims = metricstream_scenario::parse(claim).expect("sound").claims;
        let result = assemble(&scenario, measured(&[], (0, 0)), Some(&accounting), &[], Meta::default());
        let row = durability(&result);
        assert!(row.evidence.starts_with("72 lost in 6 partitions, the first: offsets 5–16; "), "{}", row.evidence);
        let reasons: Vec<&str> = result.claims.iter().map(|row| row.reason.as_str()).collect();
        let told = "72 lost in 6 ranges of 6 partitions: gone: topic absent at the audit; ";
        assert!(reasons[0].starts_with(told), "{reasons:?}");
        assert_eq!(reasons[1], "the losses told with the claim \"nothing is lost\"");
        // Of one range it is said which.
        accounting.losses.truncate(1);
        let result = assemble(&scenario, measured(&[], (0, 0)), Some(&accounting), &[], Meta::default());
        let only = "12 lost: offsets 0–11 of metrics-0 were lost: gone: topic absent at the audit; ";
        assert!(result.claims[0].reason.starts_with(only), "{}", result.claims[0].reason);
    }

    #[test]
    fn what_was_polled_fills_nothing_that_promises_exactness() {
        let meta = Meta { polled: Some("metadata was polled".into()), ..Meta::default() };
        let result = run(Some(&accounting(Vec::new())), meta);
        assert_eq!(result.verdict, Verdict::Pass);
        let row = &result.claims[0];
        assert_eq!((row.held, &row.measured, row.reason.as_str()), (None, &None, "metadata was polled"));
        assert!(!result.failovers.is_empty() && !result.isr.is_empty() && !result.recovery.is_empty());
        assert!(result.failovers.iter().all(|row| {
            row.elected_s.is_none() && row.fenced_s.is_none() && row.first_ack_s.is_none() && row.predicted.is_none()
        }));
        assert!(result.recovery.iter().all(|row| row.caught_up_s.is_none() && row.isr_full_s.is_none()));
        assert!(result.isr_outages.is_empty());
        for field in ["failovers", "recovery", "isr_outages"] {
            assert!(
                result.not_measured.iter().any(|line| line.contains(field) && line.contains("metadata was polled")),
                "{field}: {:?}",
                result.not_measured
            );
        }
        // The near twin: with the log read, all of it is there.
        let exact = run(Some(&accounting(Vec::new())), Meta::default());
        assert!(exact.claims[0].held.is_some() && exact.failovers[0].elected_s.is_some());
        assert!(!exact.isr_outages.is_empty());
    }

    #[test]
    fn steps_that_were_left_out_are_named_in_the_verdict_and_their_claims_are_open() {
        let mut scenario = scenario();
        scenario.claims.push(Claim {
            id: "quick".into(),
            text: "new leaders by 3 s".into(),
            measure: "new_leaders_s".into(),
            step: Some("kill-2".into()),
            of: None,
            after_s: None,
            op: "<=".into(),
            value: ClaimValue::Number(3.0),
        });
        let meta = Meta { left_out: vec!["kill-2".into()], ..Meta::default() };
        let clean = accounting(Vec::new());
        let result = assemble(&scenario, measured(&[], (0, 0)), Some(&clean), &[], meta);
        assert_eq!((result.verdict, &result.left_out), (Verdict::Pass, &vec!["kill-2".to_owned()]));
        assert_eq!((result.claims[0].held, result.claims[0].reason.contains("was left out")), (None, true));
        assert!(result.reasons.iter().any(|reason| reason.starts_with("left out, as was asked: kill-2")));
    }

    #[test]
    fn what_was_not_audited_is_inconclusive_and_never_zero_without_a_word() {
        let result = run(None, Meta::default());
        assert_eq!((result.verdict, durability(&result).held), (Verdict::Inconclusive, None));
        assert!(result.not_measured.iter().any(|line| line.contains("nothing was audited")));
        let meta = Meta { inconclusive: vec!["interrupted".into()], ..Meta::default() };
        let result = run(Some(&accounting(Vec::new())), meta);
        assert_eq!(
            (result.verdict, result.reasons.as_slice()),
            (Verdict::Inconclusive, ["interrupted".to_owned()].as_slice())
        );
    }

    #[test]
    fn failures_count_together_until_every_isr_is_full_again() {
        let kill = |at_us, id: &str, node| crate::measure::stories::fault(at_us, id, "kill", &[node]);
        let mut events = broker_2_killed();
        events.push(kill(28 * S, "kill-3", 3));
        let one = observed_failures(&measured(&events, (0, 0)));
        assert_eq!((one.in_one_window, one.steps), (1, vec!["kill-2".to_owned()]));
        // Before broker 2 was back in every ISR, at 26.1 s, the second is one too many.
        events.pop();
        events.push(kill(25 * S, "kill-3", 3));
        events.push(healed(27 * S, "kill-3", "start-3", &[3]));
        events.sort_by_key(|event| event.at_us);
        let two = observed_failures(&measured(&events, (0, 0)));
        assert_eq!((two.in_one_window, two.steps), (2, vec!["kill-2".to_owned(), "kill-3".to_owned()]));
    }

    #[test]
    fn the_header_says_what_the_configuration_promises_and_to_whom() {
        let mut scenario = scenario();
        let weak = Producer { name: "weak".into(), ..scenario.workload.producers[0].clone() };
        scenario.workload.producers.push(weak);
        scenario.workload.producers[1].config.insert("acks".into(), "1".into());
        scenario.workload.producers[1].config.insert("enable.idempotence".into(), "false".into());
        let named = [("p", 1), ("weak", 2)].map(|(name, incarnation)| Named { incarnation, name: name.into() });
        let found = expected(&scenario, &named);
        assert_eq!((found.durable, found.max_unclean, found.committed_durable), (true, Some(1), Some(true)));
        // How many failures come is not known when the header is written.
        assert_eq!(found.why, "acks=all, no unclean election, min.insync.replicas=2");
        assert_eq!(found.exceptions.len(), 1);
        assert_eq!((found.exceptions[0].incarnation, found.exceptions[0].durable), (Some(2), false));
        assert!(found.exceptions[0].why.contains("acks=1"), "{}", found.exceptions[0].why);
        scenario.topology.topics[0].config.insert("unclean.leader.election.enable".into(), "true".into());
        let found = expected(&scenario, &named);
        assert_eq!((found.durable, found.committed_durable, found.offsets_durable), (false, Some(false), Some(true)));
        // Both are weak now, and for nobody is it otherwise.
        assert_eq!(found.exceptions, []);
    }

    #[test]
    fn every_field_of_the_result_is_explained_in_its_document() {
        let mut full = run(Some(&accounting(vec![lost(Judgement::Expected)])), Meta::default());
        full.losses.push(Loss {
            topic: String::new(),
            partition: 0,
            first_offset: None,
            last_offset: None,
            count: 0,
            predicted: true,
            cause: String::new(),
            epoch: None,
            fault: None,
        });
        full.rebalances.push(crate::result::Rebalance {
            group: String::new(),
            protocol: String::new(),
            trigger: String::new(),
            step: None,
            at_s: 0.0,
            duration_s: None,
            detection_s: None,
            members: vec![crate::result::MemberChange { id: String::new(), before: Vec::new(), after: Vec::new() }],
            pauses: vec![crate::result::Pause { partition: String::new(), moved: false, pause_s: None }],
            unmoved_paused_share: None,
        });
        full.left_out.push("kill-2".into());
        let document = include_str!("../../../docs/result.md");
        let json = serde_json::to_value(&full).expect("json");
        let top = json.as_object().expect("an object");
        for (name, value) in top {
            assert!(document.contains(&format!("`{name}`")), "{name} is not in docs/result.md");
            let rows = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            // Maps by version or setting have names that are data.
            if name == "versions" || name == "config" {
                continue;
            }
            assert!(
                value.as_array().is_none_or(|rows| !rows.is_empty()) || name == "not_measured",
                "{name} has no row to look at"
            );
            for row in rows {
                explained(document, name, &row);
            }
        }
    }

    fn explained(document: &str, of: &str, value: &serde_json::Value) {
        let Some(fields) = value.as_object() else { return };
        let section =
            document.split("\n## ").find(|section| section.starts_with(&format!("`{of}`"))).unwrap_or_default();
        for (name, value) in fields {
            assert!(section.contains(&format!("`{name}`")), "{of}.{name} is not in its section of docs/result.md");
            for row in value.as_array().into_iter().flatten().filter_map(serde_json::Value::as_object) {
                for name in row.keys() {
                    assert!(section.contains(&format!("`{name}`")), "{of}[].{name} is not in its section");
                }
            }
        }
    }

    #[test]
    fn the_result_survives_its_own_file() {
        let result = run(Some(&accounting(vec![lost(Judgement::Expected)])), Meta::default());
        let json = serde_json::to_string_pretty(&result).expect("json");
        assert_eq!(serde_json::from_str::<RunResult>(&json).expect("back"), result);
    }
}
