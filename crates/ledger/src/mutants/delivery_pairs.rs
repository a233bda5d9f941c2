//! Pairs about delivery: what groups are given and what they commit.

use super::Pair;
use super::script::{Script, TP};
use crate::accounting::Judgement::{Expected, Violation};
use crate::anomaly::AnomalyKind;
use crate::timeline::What;

pub(super) fn pairs() -> Vec<Pair> {
    let mut all = polls();
    all.extend(redelivery());
    all.extend(commits());
    all.extend(truncated_below_a_member());
    all.extend(ownership());
    all
}

fn done(script: Script) -> Script {
    script.logged(0, 10, 0).audited(0, 10, 10)
}

fn polls() -> Vec<Pair> {
    let gap = |next: u64| {
        // Offset 4 is a control marker, or a message.
        let script =
            Script::new().assigned(1, 0).sent(10).delivered(1, 0, 4, 0).delivered(1, next, 5, 5).committed(1, 10);
        script.unknown(0, 10).logged(0, 4, 0)
    };
    vec![
        Pair {
            kind: AnomalyKind::LostToGroup,
            verdict: Violation,
            fails: (
                "message 9 was never delivered, the group committed 10",
                done(Script::new().assigned(1, 0).sent(10).ok(0, 10, 0).delivered(1, 0, 9, 0).committed(1, 9)),
            ),
            passes: (
                "message 9 was never delivered, the group committed 9",
                Script::new()
                    .assigned(1, 0)
                    .sent(10)
                    .ok(0, 10, 0)
                    .delivered(1, 0, 9, 0)
                    .committed(1, 9)
                    .logged(0, 10, 0)
                    .audited(0, 10, 9),
            ),
        },
        Pair {
            kind: AnomalyKind::LostToGroup,
            verdict: Violation,
            fails: (
                "the group began at 0 and was given nothing below 4",
                done(Script::new().assigned(1, 0).sent(10).ok(0, 10, 0).delivered(1, 4, 6, 4).committed(1, 10)),
            ),
            passes: (
                "the group began at 4",
                done(Script::new().assigned(1, 4).sent(10).ok(0, 10, 0).delivered(1, 4, 6, 4).committed(1, 10)),
            ),
        },
        Pair {
            kind: AnomalyKind::SkippedPoll,
            verdict: Violation,
            fails: ("the position jumps over a message", gap(5).logged(4, 6, 4).audited(0, 10, 10)),
            passes: ("the position jumps over a control marker", gap(4).logged(4, 5, 5).audited(0, 10, 10)),
        },
        Pair {
            kind: AnomalyKind::NonMonotonicPoll,
            verdict: Violation,
            fails: ("a member is given offset 8 again", done(Script::ten().delivered(1, 8, 1, 8))),
            passes: ("it had sought offset 8", done(Script::ten().seek(1, 8).delivered(1, 8, 1, 8))),
        },
        Pair {
            kind: AnomalyKind::Reorder,
            verdict: Violation,
            fails: (
                "the group is given the log's second half first",
                done(
                    Script::new()
                        .assigned(1, 0)
                        .sent(10)
                        .ok(0, 10, 0)
                        .delivered(1, 5, 5, 5)
                        .revoked(1)
                        .assigned(2, 0)
                        .delivered(2, 0, 5, 0)
                        .committed(2, 5),
                ),
            ),
            passes: (
                "it is given the halves in the log's order",
                done(
                    Script::new()
                        .assigned(1, 0)
                        .sent(10)
                        .ok(0, 10, 0)
                        .delivered(1, 0, 5, 0)
                        .revoked(1)
                        .assigned(2, 5)
                        .delivered(2, 5, 5, 5)
                        .committed(2, 5),
                ),
            ),
        },
    ]
}

fn redelivery() -> Vec<Pair> {
    let taken_over = |commit: i64, from: u64| {
        let first = Script::new().assigned(1, 0).sent(10).ok(0, 10, 0).delivered(1, 0, 10, 0).committed(1, commit);
        let second = first.revoked(1).assigned(2, from as i64);
        if from == 10 { second } else { second.delivered(2, from, (10 - from) as u32, from as i64) }
    };
    vec![
        Pair {
            kind: AnomalyKind::RedeliveryAllowed,
            verdict: Expected,
            fails: ("the next owner begins at commit 6 although 10 were delivered", done(taken_over(6, 6))),
            passes: ("all were committed", done(taken_over(10, 10))),
        },
        Pair {
            kind: AnomalyKind::RedeliveryBeyondCommit,
            verdict: Violation,
            fails: ("the next owner begins at 5 although 6 were committed", done(taken_over(6, 5))),
            passes: ("the next owner begins at the commit", done(taken_over(6, 6))),
        },
    ]
}

fn commits() -> Vec<Pair> {
    let owned = || Script::new().assigned(1, 0).sent(10).ok(0, 10, 0);
    vec![
        Pair {
            kind: AnomalyKind::CommitFault,
            verdict: Violation,
            fails: ("the commit goes from 10 to 7", done(Script::ten().committed(1, 7))),
            passes: ("the member had sought 7", done(Script::ten().seek(1, 7).committed(1, 7))),
        },
        Pair {
            kind: AnomalyKind::CommitFault,
            verdict: Violation,
            fails: (
                "commit 10 after 9 messages were delivered",
                owned()
                    .delivered(1, 0, 9, 0)
                    .committed(1, 10)
                    .delivered(1, 9, 1, 9)
                    .logged(0, 10, 0)
                    .audited(0, 10, 10),
            ),
            passes: (
                "commit 10 after 9 messages and a control marker",
                Script::new()
                    .assigned(1, 0)
                    .sent(9)
                    .ok(0, 9, 0)
                    .delivered(1, 0, 9, 0)
                    .committed(1, 10)
                    .logged(0, 9, 0)
                    .audited(0, 10, 10),
            ),
        },
        Pair {
            kind: AnomalyKind::CommitFault,
            verdict: Violation,
            fails: (
                "a former owner commits after the next one took over",
                done(owned().delivered(1, 0, 10, 0).revoked(1).assigned(2, 0).committed(1, 10)),
            ),
            passes: (
                "a former owner's commit is heard of before the next one took over",
                done(owned().delivered(1, 0, 10, 0).revoked(1).committed(1, 10).assigned(2, 10)),
            ),
        },
    ]
}

/// Where an unclean leader may lead, the log is truncated from 10 to 6 below a member and filled up again with others.
fn truncated_below_a_member() -> Vec<Pair> {
    let set_back = |script: Script| {
        let before = script.assigned(1, 0).sent(20).ok(0, 10, 0).delivered(1, 0, 10, 0).committed(1, 10);
        before.leader(3, 1, &[3]).ok(10, 10, 6).delivered(1, 10, 2, 6)
    };
    let audited = |script: Script| script.logged(0, 6, 0).logged(10, 10, 6).audited(0, 16, 16);
    let read_on = |script: Script| audited(script.delivered(1, 12, 8, 8).committed(1, 16));
    let unclean = || {
        let mut script = Script::new().not_durable();
        script.header.guarantee.committed_durable = Some(false);
        script.header.guarantee.offsets_durable = Some(true);
        script.header.guarantee.why = "unclean.leader.election.enable=true".into();
        script
    };
    vec![
        Pair {
            kind: AnomalyKind::CommitFault,
            verdict: Violation,
            fails: (
                "truncated from 10 to 6 by an unclean leader, a member at 8 commits 12, where it never was",
                read_on(set_back(unclean()).committed(1, 12)),
            ),
            passes: ("it commits 10 once more, its position before", read_on(set_back(unclean()).committed(1, 10))),
        },
        Pair {
            kind: AnomalyKind::CommitFault,
            verdict: Expected,
            fails: (
                "truncated from 10 to 6 by an unclean leader, a member at 8 commits 10, its position before",
                read_on(set_back(unclean()).committed(1, 10)),
            ),
            passes: ("it commits next when it has read up to 16", read_on(set_back(unclean()))),
        },
        Pair {
            kind: AnomalyKind::CommitFault,
            verdict: Violation,
            fails: (
                "truncated from 10 to 6 by an unclean leader, a member at 8 commits 5, below the truncation",
                read_on(set_back(unclean()).committed(1, 5)),
            ),
            passes: ("it commits 8, its position", read_on(set_back(unclean()).committed(1, 8))),
        },
    ]
}

fn ownership() -> Vec<Pair> {
    let owned = || Script::new().assigned(1, 0).sent(10).ok(0, 10, 0).delivered(1, 0, 4, 0);
    let both = |script: Script| script.assigned(2, 4).delivered(1, 4, 2, 4).delivered(2, 4, 6, 4).committed(2, 10);
    let stall = What::Member { group: "group-1".into(), member: "member 1".into(), change: "stall".into() };
    vec![
        Pair {
            kind: AnomalyKind::DualOwnership,
            verdict: Violation,
            fails: ("two owners deliver by turns", done(both(owned()))),
            passes: ("one of them had been stalled", done(both(owned().event(stall)))),
        },
        Pair {
            kind: AnomalyKind::DualOwnership,
            verdict: Violation,
            fails: (
                "an owner delivers on after the next one took over",
                done(owned().assigned(2, 4).delivered(1, 4, 1, 4).delivered(2, 4, 6, 4).committed(2, 10)),
            ),
            passes: (
                "it gave the partition up before",
                done(owned().delivered(1, 4, 1, 4).revoked(1).assigned(2, 4).delivered(2, 4, 6, 4).committed(2, 10)),
            ),
        },
    ]
}

#[test]
fn a_group_that_skips_and_comes_back_is_told_by_offset() {
    let script = done(Script::new().assigned(1, 0).sent(10).ok(0, 10, 0).delivered(1, 0, 3, 0).delivered(1, 6, 4, 6));
    let accounting = script.account();
    let skipped = accounting.of(AnomalyKind::SkippedPoll).next().expect("skipped");
    assert_eq!((skipped.count, skipped.ranges[0].first_offset, skipped.ranges[0].last_offset), (3, Some(3), Some(5)));
    let lost = accounting.of(AnomalyKind::LostToGroup).next().expect("lost to group");
    assert_eq!((lost.count, lost.ranges[0].first_seq, lost.ranges[0].last_offset), (3, Some(3), Some(5)));
    assert_eq!(lost.partition, Some(TP.partition));
    assert_eq!(accounting.counts.lost_to_group, 3);
}

#[test]
fn disorder_of_the_log_is_not_the_groups() {
    let script = Script::new()
        .lanes(false)
        .assigned(1, 0)
        .sent(10)
        .ok(0, 5, 5)
        .ok(5, 5, 0)
        .delivered(1, 5, 5, 0)
        .delivered(1, 0, 5, 5)
        .logged(5, 5, 0)
        .logged(0, 5, 5)
        .audited(0, 10, 10);
    let accounting = script.account();
    let found: Vec<_> = accounting.of(AnomalyKind::Reorder).map(|a| (a.group.as_deref(), a.count, a.verdict)).collect();
    assert_eq!(found, [(None, 5, Expected)]);
    assert_eq!((accounting.counts.reordered, accounting.counts.displacement_max), (5, 9));
}

/// What an unclean election did to a slow machine: the member had read 363 of the new messages when its old position was
/// committed once more, and its commits then follow it from below.
#[test]
fn the_same_set_back_is_a_violation_where_no_unclean_leader_may_lead() {
    let set_back = |script: Script| {
        let before =
            script.assigned(1, 0).sent(24_000).ok(0, 12_005, 0).delivered(1, 0, 12_005, 0).committed(1, 12_005);
        let after = before.ok(12_005, 10_000, 9_986).delivered(1, 12_005, 363, 9_986).committed(1, 12_005);
        let on = after.delivered(1, 12_368, 637, 10_349).committed(1, 10_986).delivered(1, 13_005, 9_000, 10_986);
        on.committed(1, 19_986).logged(0, 9_986, 0).logged(12_005, 10_000, 9_986).audited(0, 19_986, 19_986)
    };
    let faults = |script: Script| -> Vec<(u64, crate::accounting::Judgement)> {
        let accounting = script.account();
        accounting.of(AnomalyKind::CommitFault).map(|fault| (fault.count, fault.verdict)).collect()
    };
    let mut unclean = Script::new().not_durable();
    unclean.header.guarantee.committed_durable = Some(false);
    assert_eq!(faults(set_back(unclean.clone())), [(1_656, Expected), (1_019, Expected)]);
    // It is about the log: whether the group's own offsets are safe says nothing of it.
    unclean.header.guarantee.offsets_durable = Some(false);
    assert_eq!(faults(set_back(unclean)), [(1_656, Expected), (1_019, Expected)]);
    let mut clean = Script::new();
    clean.header.guarantee.committed_durable = Some(true);
    assert_eq!(faults(set_back(clean)), [(1_656, Violation), (1_019, Violation)]);
}
