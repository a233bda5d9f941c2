//! Clean histories of the model give no violation; each bug gives one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::model::{Bug, Model};
use crate::accounting::{Accounting, Judgement};
use crate::anomaly::AnomalyKind;
use crate::ledger::Ledger;

const STEPS: u32 = 400;
const SEEDS: u64 = 60;

fn account(model: &Model) -> Accounting {
    let mut ledger = Ledger::new(model.header.clone());
    model.records.iter().for_each(|record| ledger.apply(record));
    ledger.finish(&model.timeline)
}

/// Which violations a bug shows as, over many seeds, and in how many of them.
pub(super) fn shown_by(bug: Bug) -> BTreeMap<AnomalyKind, u32> {
    let mut shown = BTreeMap::new();
    for seed in 0..SEEDS {
        let accounting = account(&Model::run(seed, STEPS, Some(bug)));
        let mut kinds: Vec<AnomalyKind> = accounting.violations().map(|anomaly| anomaly.kind).collect();
        kinds.dedup();
        kinds.into_iter().for_each(|kind| *shown.entry(kind).or_default() += 1);
    }
    shown
}

/// The anomaly that names what the bug does.
pub(super) fn named(bug: Bug) -> AnomalyKind {
    match bug {
        Bug::AckBeforeReplicating => AnomalyKind::Lost,
        Bug::ForgetDeduplication => AnomalyKind::DuplicateInLog,
        Bug::CommitBeforeProcessing => AnomalyKind::LostToGroup,
        Bug::TruncateBelowHighWatermark => AnomalyKind::Lost,
        Bug::FailThoughAppended => AnomalyKind::Phantom,
        Bug::AckOtherOffset => AnomalyKind::AckOffsetMismatch,
        Bug::AppendOutOfOrder => AnomalyKind::Reorder,
        Bug::SkipOnTakeover => AnomalyKind::LostToGroup,
        Bug::IgnoreCommitOnTakeover => AnomalyKind::RedeliveryBeyondCommit,
        Bug::OldOwnerGoesOn => AnomalyKind::DualOwnership,
        Bug::CorruptOnAppend => AnomalyKind::Alien,
        Bug::ReuseEpoch => AnomalyKind::EpochRegression,
    }
}

#[test]
fn each_bug_is_caught_by_its_name() {
    for bug in Bug::ALL {
        let mut fired = 0;
        for seed in 0..SEEDS {
            let model = Model::run(seed, STEPS, Some(bug));
            fired += u32::from(model.fired > 0);
            if model.fired == 0 {
                assert_eq!(account(&model).violations().next(), None, "{bug:?}, seed {seed}: it did nothing");
            }
        }
        let caught = shown_by(bug).get(&named(bug)).copied().unwrap_or(0);
        assert!(fired > SEEDS as u32 / 2, "{bug:?} did something in {fired} runs only");
        assert!(caught * 10 >= fired * 8, "{bug:?}: caught as {:?} in {caught} of {fired} runs", named(bug));
    }
}

#[test]
fn the_model_shows_what_is_allowed_too() {
    let (mut redelivered, mut survived, mut unknown) = (0, 0, 0);
    for seed in 0..SEEDS {
        let accounting = account(&Model::run(seed, STEPS, None));
        redelivered += accounting.counts.redelivered;
        survived += accounting.counts.unknown_survived;
        unknown += accounting.counts.unknown;
        let allowed = accounting.anomalies.iter().all(|anomaly| anomaly.verdict != Judgement::Violation);
        assert!(allowed, "seed {seed}: {:#?}", accounting.violations().collect::<Vec<_>>());
    }
    assert!(redelivered > 1_000 && survived > 1_000 && unknown > survived, "{redelivered} {survived} {unknown}");
}

proptest! {
    #[test]
    fn clean_histories_give_no_violation(seed in any::<u64>(), steps in 0..1_500_u32) {
        let model = Model::run(seed, steps, None);
        let accounting = account(&model);
        prop_assert_eq!(accounting.violations().next(), None);
        prop_assert_eq!(&accounting.inconclusive, &[]);
        prop_assert_eq!(accounting.counts.lost, 0);
        prop_assert_eq!(&accounting.losses, &[]);
    }

    #[test]
    fn without_detail_the_verdict_is_the_same(seed in any::<u64>(), bug in 0..Bug::ALL.len()) {
        let model = Model::run(seed, STEPS, Some(Bug::ALL[bug]));
        let whole = account(&model);
        let mut first = Ledger::with_budget(model.header.clone(), 5);
        model.records.iter().for_each(|record| first.apply(record));
        let coarse = first.finish(&model.timeline);
        let narrowed = match &coarse.suspects {
            None => coarse,
            Some(suspects) => {
                let mut second = Ledger::focused(model.header.clone(), suspects);
                model.records.iter().for_each(|record| second.apply(record));
                second.finish(&model.timeline)
            }
        };
        prop_assert_eq!(narrowed, whole);
    }
}
