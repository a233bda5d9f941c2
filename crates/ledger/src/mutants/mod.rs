//! The checker's own test: for each anomaly histories that must be flagged and near twins that must not, and a small
//! model of a cluster whose bugs can be switched on.
//!
//! The pairs and the bugs are also the matrix of docs/anomalies.md, which a test here keeps current.

mod delivery_pairs;
mod log_pairs;
mod matrix;
mod model;
mod model_tests;
mod script;

use crate::accounting::{Accounting, Judgement};
use crate::anomaly::AnomalyKind;
use script::Script;

/// A history that must be flagged and a near twin that must not.
struct Pair {
    kind: AnomalyKind,
    /// How the first is judged.
    verdict: Judgement,
    fails: (&'static str, Script),
    passes: (&'static str, Script),
}

fn pairs() -> Vec<Pair> {
    log_pairs::pairs().into_iter().chain(delivery_pairs::pairs()).collect()
}

fn flagged(accounting: &Accounting, kind: AnomalyKind, verdict: Judgement) -> bool {
    accounting.of(kind).any(|anomaly| anomaly.verdict == verdict)
}

#[test]
fn every_anomaly_is_flagged_and_its_near_twin_is_not() {
    for pair in pairs() {
        let bad = pair.fails.1.account();
        let (kind, verdict) = (pair.kind, pair.verdict);
        assert!(flagged(&bad, kind, verdict), "{}: {bad:#?}", pair.fails.0);
        assert_eq!(bad.inconclusive, [], "{}", pair.fails.0);
        let good = pair.passes.1.account();
        assert!(!flagged(&good, kind, verdict), "{}: {good:#?}", pair.passes.0);
        assert_eq!(good.violations().next(), None, "{}", pair.passes.0);
        assert_eq!(good.inconclusive, [], "{}", pair.passes.0);
        assert!(pair.fails.1.differs_little_from(&pair.passes.1), "{}: the twin is not near", pair.fails.0);
    }
}

#[test]
fn no_anomaly_is_without_a_pair() {
    let with: std::collections::BTreeSet<AnomalyKind> = pairs().iter().map(|pair| pair.kind).collect();
    assert_eq!(with.into_iter().collect::<Vec<_>>(), AnomalyKind::ALL);
}

#[test]
fn every_pair_says_the_same_when_its_detail_does_not_fit() {
    for pair in pairs() {
        for (name, script) in [pair.fails, pair.passes] {
            assert_eq!(script.account_in_two_passes(), script.account(), "{name}");
        }
    }
}

#[test]
fn every_pair_says_the_same_from_disk() {
    let folder = tempfile::tempdir().expect("folder");
    for (number, pair) in pairs().into_iter().enumerate() {
        for (name, script) in [pair.fails, pair.passes] {
            let run = folder.path().join(format!("{number}-{}", name.len()));
            script.store(&run);
            let checked = crate::check(&run).expect("checked");
            assert_eq!(checked.accounting, script.account(), "{name}");
            assert!(checked.damage.is_empty() && checked.records > 0);
        }
    }
}
