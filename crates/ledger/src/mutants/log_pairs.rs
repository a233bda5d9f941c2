//! Pairs about the log: what the audit finds.

use super::Pair;
use super::script::{LANE, OTHER, Script, TP};
use crate::accounting::Judgement::{Counted, Violation};
use crate::anomaly::AnomalyKind;
use crate::history::{Alien, Record};
use crate::timeline::What;

pub(super) fn pairs() -> Vec<Pair> {
    let mut all = lost();
    all.extend(wrong_messages());
    all.extend(positions());
    all.extend(cluster());
    all
}

fn lost() -> Vec<Pair> {
    vec![
        Pair {
            kind: AnomalyKind::Lost,
            verdict: Violation,
            fails: ("the acknowledged tail is truncated", Script::ten_acked().logged(0, 9, 0).audited(0, 9, 0)),
            passes: (
                "the truncated message's outcome was unknown",
                Script::new().sent(10).ok(0, 9, 0).unknown(9, 1).logged(0, 9, 0).audited(0, 9, 0),
            ),
        },
        Pair {
            kind: AnomalyKind::Lost,
            verdict: Violation,
            fails: ("a hole at the log's start", Script::ten_acked().logged(3, 7, 3).audited(0, 10, 0)),
            passes: ("retention moved the log's start", Script::ten_acked().logged(3, 7, 3).audited(3, 10, 0)),
        },
        Pair {
            kind: AnomalyKind::Lost,
            verdict: Violation,
            fails: (
                "the topic is gone at the audit",
                Script::ten_acked().push(Record::Bounds { tp: TP, bounds: None }).push(Record::AuditDone { at_us: 9 }),
            ),
            passes: (
                "the topic is gone, and nothing was guaranteed",
                Script::ten_acked()
                    .push(Record::Bounds { tp: TP, bounds: None })
                    .push(Record::AuditDone { at_us: 9 })
                    .not_durable(),
            ),
        },
    ]
}

fn wrong_messages() -> Vec<Pair> {
    let alien = |why| Record::Alien { group: None, tp: TP, offset: 10, why };
    let foreign = Script::ten_acked().logged(0, 10, 0).push(alien(Alien::ForeignRun)).audited(0, 11, 0);
    let mut shared = foreign.clone();
    shared.header.topics[0].shared = true;
    let misplaced = Record::Logged { tp: TP, base_offset: 10, lane: OTHER, first_seq: 0, count: 1 };
    let sent_there = Record::Sent { at_us: 1, lane: OTHER, up_to_seq: 1 };
    let there = TP.partition + 1;
    let placed = Record::Logged {
        tp: crate::history::Tp { topic: 0, partition: there },
        base_offset: 10,
        lane: OTHER,
        first_seq: 0,
        count: 1,
    };
    vec![
        Pair {
            kind: AnomalyKind::UnknownSurvived,
            verdict: Counted,
            fails: (
                "a send of unknown outcome is in the log",
                Script::new().sent(1).unknown(0, 1).logged(0, 1, 0).audited(0, 1, 0),
            ),
            passes: ("it is not in the log", Script::new().sent(1).unknown(0, 1).audited(0, 0, 0)),
        },
        Pair {
            kind: AnomalyKind::Phantom,
            verdict: Violation,
            fails: ("a failed send is in the log", Script::new().sent(1).fail(0, 1).logged(0, 1, 0).audited(0, 1, 0)),
            passes: ("a failed send is not in the log", Script::new().sent(1).fail(0, 1).audited(0, 0, 0)),
        },
        Pair {
            kind: AnomalyKind::Phantom,
            verdict: Violation,
            fails: (
                "a message is in the log that was never sent",
                Script::ten_acked().logged(0, 11, 0).audited(0, 11, 0),
            ),
            passes: (
                "it was sent, and nothing more is known of it",
                Script::ten_acked().sent(11).logged(0, 11, 0).audited(0, 11, 0),
            ),
        },
        Pair {
            kind: AnomalyKind::Alien,
            verdict: Violation,
            fails: ("a value of another run", foreign),
            passes: ("the same in a topic that others write to", shared),
        },
        Pair {
            kind: AnomalyKind::Alien,
            verdict: Violation,
            fails: (
                "a value with a bad CRC",
                Script::ten_acked().logged(0, 10, 0).push(alien(Alien::BadCrc)).audited(0, 11, 0),
            ),
            passes: ("a control marker in its place", Script::ten_acked().logged(0, 10, 0).audited(0, 11, 0)),
        },
        Pair {
            kind: AnomalyKind::Alien,
            verdict: Violation,
            fails: (
                "a message of a lane that is pinned to the other partition",
                Script::ten_acked().push(sent_there.clone()).logged(0, 10, 0).push(misplaced).audited(0, 11, 0).push(
                    Record::Bounds { tp: crate::history::Tp { topic: 0, partition: there }, bounds: Some((0, 11)) },
                ),
            ),
            passes: (
                "the same in its own partition",
                Script::ten_acked().push(sent_there).logged(0, 10, 0).push(placed).audited(0, 11, 0).push(
                    Record::Bounds { tp: crate::history::Tp { topic: 0, partition: there }, bounds: Some((0, 11)) },
                ),
            ),
        },
    ]
}

fn positions() -> Vec<Pair> {
    let duplicate = || Script::ten_acked().logged(0, 10, 0).logged(4, 2, 10).audited(0, 12, 0);
    vec![
        Pair {
            kind: AnomalyKind::DuplicateInLog,
            verdict: Violation,
            fails: ("an idempotent producer's messages twice", duplicate()),
            passes: ("another producer's messages twice", duplicate().lanes(false)),
        },
        Pair {
            kind: AnomalyKind::DuplicateInLog,
            verdict: Violation,
            fails: (
                "one message at two offsets",
                Script::ten_acked().logged(0, 10, 0).logged(9, 1, 10).audited(0, 11, 0),
            ),
            passes: (
                "the audit reads one offset twice",
                Script::ten_acked().logged(0, 10, 0).logged(9, 1, 9).audited(0, 11, 0),
            ),
        },
        Pair {
            kind: AnomalyKind::Reorder,
            verdict: Violation,
            fails: (
                "message 4 behind message 9",
                Script::new()
                    .sent(10)
                    .ok(0, 4, 0)
                    .ok(5, 5, 4)
                    .ok(4, 1, 9)
                    .logged(0, 4, 0)
                    .logged(5, 5, 4)
                    .logged(4, 1, 9)
                    .audited(0, 10, 0),
            ),
            passes: (
                "only its acknowledgement comes late",
                Script::new()
                    .sent(10)
                    .ok(0, 4, 0)
                    .ok(5, 5, 5)
                    .ok(4, 1, 4)
                    .logged(0, 4, 0)
                    .logged(4, 1, 4)
                    .logged(5, 5, 5)
                    .audited(0, 10, 0),
            ),
        },
        Pair {
            kind: AnomalyKind::AckOffsetMismatch,
            verdict: Violation,
            fails: ("acknowledged at 0–9, logged at 1–10", Script::ten_acked().logged(0, 10, 1).audited(0, 11, 0)),
            passes: (
                "acknowledged and logged at 1–10",
                Script::new().sent(10).ok(0, 10, 1).logged(0, 10, 1).audited(0, 11, 0),
            ),
        },
        Pair {
            kind: AnomalyKind::AckOffsetMismatch,
            verdict: Violation,
            fails: (
                "two acknowledgements with their offsets swapped",
                Script::new().sent(10).ok(0, 5, 5).ok(5, 5, 0).logged(0, 10, 0).audited(0, 10, 0),
            ),
            passes: (
                "two acknowledgements out of order",
                Script::new().sent(10).ok(5, 5, 5).ok(0, 5, 0).logged(0, 10, 0).audited(0, 10, 0),
            ),
        },
        Pair {
            kind: AnomalyKind::InconsistentOffset,
            verdict: Violation,
            fails: (
                "the group was given message 5 where the log has message 6",
                Script::new()
                    .assigned(1, 0)
                    .sent(7)
                    .ok(0, 5, 0)
                    .unknown(5, 1)
                    .ok(6, 1, 5)
                    .delivered(1, 0, 6, 0)
                    .logged(0, 5, 0)
                    .logged(6, 1, 5)
                    .audited(0, 6, 5),
            ),
            passes: (
                "the group was given message 6 there too",
                Script::new()
                    .assigned(1, 0)
                    .sent(7)
                    .ok(0, 5, 0)
                    .unknown(5, 1)
                    .ok(6, 1, 5)
                    .delivered(1, 0, 5, 0)
                    .delivered(1, 6, 1, 5)
                    .logged(0, 5, 0)
                    .logged(6, 1, 5)
                    .audited(0, 6, 5),
            ),
        },
    ]
}

fn cluster() -> Vec<Pair> {
    let done = |script: Script| script.logged(0, 10, 0).audited(0, 10, 10);
    let deleted = What::TopicDeleted { topic: "metrics".into() };
    vec![
        Pair {
            kind: AnomalyKind::EpochRegression,
            verdict: Violation,
            fails: (
                "the controller's log goes from leader epoch 3 to 2",
                done(Script::ten()).leader(1, 3, &[1, 2, 3]).leader(2, 2, &[1, 2, 3]),
            ),
            passes: (
                "the topic was made anew between",
                done(Script::ten()).leader(1, 3, &[1, 2, 3]).event(deleted).leader(2, 2, &[1, 2, 3]),
            ),
        },
        Pair {
            kind: AnomalyKind::EpochRegression,
            verdict: Violation,
            fails: (
                "a client sees leader epoch 3, then 2",
                done(Script::ten().high_watermark(3, 10).high_watermark(2, 10)),
            ),
            passes: (
                "a client sees leader epoch 2, then 3",
                done(Script::ten().high_watermark(2, 10).high_watermark(3, 10)),
            ),
        },
        Pair {
            kind: AnomalyKind::CommittedOffsetLost,
            verdict: Violation,
            fails: (
                "the high watermark goes back within a leader epoch",
                done(Script::ten().high_watermark(3, 10).high_watermark(3, 8)),
            ),
            passes: (
                "a new leader reports a lower high watermark for a while",
                done(Script::ten().high_watermark(3, 10).high_watermark(4, 8)),
            ),
        },
        Pair {
            kind: AnomalyKind::CommittedOffsetLost,
            verdict: Violation,
            fails: (
                "a delivered message is gone at the audit",
                Script::new()
                    .assigned(1, 0)
                    .sent(10)
                    .ok(0, 9, 0)
                    .unknown(9, 1)
                    .delivered(1, 0, 10, 0)
                    .logged(0, 9, 0)
                    .audited(0, 9, 9),
            ),
            passes: (
                "retention took it",
                Script::new()
                    .assigned(1, 0)
                    .sent(10)
                    .ok(0, 9, 0)
                    .unknown(9, 1)
                    .delivered(1, 0, 10, 0)
                    .audited(10, 10, 9),
            ),
        },
    ]
}

#[test]
fn a_loss_is_told_by_offset_epoch_and_fault() {
    let script = Script::ten_acked()
        .leader(2, 6, &[2, 1, 3])
        .ok(10, 5, 10)
        .fault("kill", 2)
        .leader(1, 7, &[1, 3])
        .ok(15, 5, 12)
        .sent(20)
        .logged(0, 12, 0)
        .logged(15, 5, 12)
        .audited(0, 17, 0)
        .not_durable();
    let accounting = script.account();
    let [loss] = accounting.losses.as_slice() else { panic!("{:#?}", accounting.losses) };
    assert_eq!((loss.first_offset, loss.last_offset, loss.count), (Some(12), Some(14), 3));
    assert_eq!((loss.epoch, loss.fault.as_deref(), loss.predicted), (Some(7), Some("kill-2"), true));
    assert_eq!(
        loss.cause,
        "offsets 12–14 of metrics-0 were truncated at epoch 7 (leader 2 → 1), after the kill of broker 2"
    );
    assert_eq!((accounting.counts.lost, accounting.counts.lost_predicted), (3, 3));
    let ranges = &accounting.of(AnomalyKind::Lost).next().expect("lost").ranges;
    assert_eq!((ranges[0].lane, ranges[0].first_seq, ranges[0].last_seq), (Some(LANE), Some(12), Some(14)));
}

#[test]
fn faults_beyond_the_budget_make_a_loss_predicted() {
    let run = |script: Script| {
        let mut script = script.logged(0, 9, 0).audited(0, 9, 0);
        script.header.guarantee.max_unclean = Some(1);
        script.account()
    };
    let restarted = |script: Script, broker: i32| {
        script
            .event(What::BrokerRegistered { broker, broker_epoch: 9 })
            .event(What::BrokerUnfenced { broker, broker_epoch: 9 })
    };
    let killed = Script::ten_acked().leader(1, 0, &[1, 2, 3]).fault("kill", 1).leader(2, 1, &[2, 3]);
    let one = run(killed.clone());
    assert!(!one.losses[0].predicted && one.durable, "one of one tolerated: {one:#?}");
    let two = run(killed.clone().fault("kill", 2).leader(3, 2, &[3]));
    assert!(two.losses[0].predicted && !two.durable, "two at once: {two:#?}");
    assert!(two.durable_why.starts_with("2 replicas unclean in one recovery window, 1 tolerated"));
    assert!(one.durable_why.ends_with(", 1 of 1 tolerated failures"), "{}", one.durable_why);
    let mut untold = Script::ten_acked().logged(0, 10, 0).audited(0, 10, 0);
    untold.header.guarantee.max_unclean = Some(1);
    untold.header.guarantee.why = "min.insync.replicas=2, 0 of 1 tolerated failures".to_owned();
    let why = untold.account().durable_why;
    assert_eq!(why, "min.insync.replicas=2", "without a timeline nobody knows how many failed");
    let healed = restarted(killed, 1).leader(2, 1, &[2, 3, 1]).fault("kill", 2).leader(3, 2, &[3, 1]);
    assert!(!run(healed).losses[0].predicted, "one after the other, with full recovery between");
}
