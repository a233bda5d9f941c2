//! Histories by hand: one topic of two partitions, a group, a producer with one lane per partition.

use std::path::Path;

use crate::accounting::Accounting;
use crate::header::{Expected, Header};
use crate::history::{LaneId, Outcome, Record, Tp};
use crate::ledger::Ledger;
use crate::store::HistoryWriter;
use crate::timeline::{Clock, PartitionState, TimelineEvent, What};

/// The lane pinned to partition 0.
pub(super) const LANE: LaneId = LaneId { incarnation: 1, lane: 0 };
/// The lane pinned to partition 1.
pub(super) const OTHER: LaneId = LaneId { incarnation: 1, lane: 1 };
/// Partition 0.
pub(super) const TP: Tp = Tp { topic: 0, partition: 0 };

/// A history in the making; time goes on by a millisecond with each record.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) header: Header,
    pub(super) records: Vec<Record>,
    pub(super) timeline: Vec<TimelineEvent>,
}

impl Script {
    /// Durability is guaranteed, the producer idempotent.
    pub(super) fn new() -> Self {
        let guarantee =
            Expected { durable: true, why: "acks=all, min.insync.replicas=2".into(), ..Expected::default() };
        let header = Header::new(7, &[("metrics", 2)], &["group-1"], guarantee);
        let script = Self { header, records: Vec::new(), timeline: Vec::new() };
        script.lanes(true)
    }

    /// Ten messages sent, acknowledged, delivered to member 1 and committed.
    pub(super) fn ten() -> Self {
        Self::new().assigned(1, 0).sent(10).ok(0, 10, 0).delivered(1, 0, 10, 0).committed(1, 10)
    }

    /// The same up to the acknowledgements.
    pub(super) fn ten_acked() -> Self {
        Self::new().sent(10).ok(0, 10, 0)
    }

    pub(super) fn lanes(mut self, idempotent: bool) -> Self {
        self.records.retain(|record| !matches!(record, Record::Lane { .. }));
        for (partition, lane) in [(0, LANE), (1, OTHER)] {
            self.records.insert(0, Record::Lane { lane, topic: 0, partition: Some(partition), idempotent });
        }
        self
    }

    /// Nothing is guaranteed.
    pub(super) fn not_durable(mut self) -> Self {
        self.header.guarantee.durable = false;
        self.header.guarantee.why = "acks=1".into();
        self
    }

    pub(super) fn now(&self) -> i64 {
        (self.records.len() + self.timeline.len()) as i64 * 1_000
    }

    pub(super) fn push(mut self, record: Record) -> Self {
        self.records.push(record);
        self
    }

    pub(super) fn sent(self, up_to_seq: u64) -> Self {
        let at_us = self.now();
        self.push(Record::Sent { at_us, lane: LANE, up_to_seq })
    }

    fn outcome(self, first_seq: u64, count: u32, outcome: Outcome) -> Self {
        let at_us = self.now();
        self.push(Record::Outcome { at_us, lane: LANE, first_seq, count, outcome })
    }

    pub(super) fn ok(self, first_seq: u64, count: u32, base_offset: i64) -> Self {
        self.outcome(first_seq, count, Outcome::Ok { tp: TP, base_offset })
    }

    pub(super) fn fail(self, first_seq: u64, count: u32) -> Self {
        self.outcome(first_seq, count, Outcome::Fail)
    }

    pub(super) fn unknown(self, first_seq: u64, count: u32) -> Self {
        self.outcome(first_seq, count, Outcome::Unknown)
    }

    pub(super) fn logged(self, first_seq: u64, count: u32, base_offset: i64) -> Self {
        self.push(Record::Logged { tp: TP, base_offset, lane: LANE, first_seq, count })
    }

    pub(super) fn delivered(self, member: u32, first_seq: u64, count: u32, base_offset: i64) -> Self {
        let at_us = self.now();
        self.push(Record::Delivered { at_us, group: 0, member, tp: TP, base_offset, lane: LANE, first_seq, count })
    }

    pub(super) fn committed(self, member: u32, offset: i64) -> Self {
        let at_us = self.now();
        self.push(Record::Committed { at_us, group: 0, member, tp: TP, offset })
    }

    pub(super) fn assigned(self, member: u32, offset: i64) -> Self {
        let at_us = self.now();
        self.push(Record::Assigned { at_us, group: 0, member, generation: 1, partitions: vec![(TP, offset)] })
    }

    pub(super) fn revoked(self, member: u32) -> Self {
        let at_us = self.now();
        self.push(Record::Revoked { at_us, group: 0, member, lost: false, partitions: vec![TP] })
    }

    pub(super) fn seek(self, member: u32, offset: i64) -> Self {
        let at_us = self.now();
        self.push(Record::Seek { at_us, group: 0, member, tp: TP, offset })
    }

    pub(super) fn high_watermark(self, epoch: i32, offset: i64) -> Self {
        let at_us = self.now();
        self.push(Record::HighWatermark { at_us, tp: TP, epoch, offset })
    }

    /// The audit's end: partition 0 has these bounds, the group this commit.
    pub(super) fn audited(self, start: i64, end: i64, commit: i64) -> Self {
        let at_us = self.now();
        self.push(Record::Bounds { tp: TP, bounds: Some((start, end)) })
            .push(Record::FinalCommit { group: 0, tp: TP, offset: commit })
            .push(Record::AuditDone { at_us })
    }

    pub(super) fn event(mut self, what: What) -> Self {
        let at_us = self.now();
        self.timeline.push(TimelineEvent { at_us, error_us: 0, clock: Clock::Controller, what, cause: None });
        self
    }

    /// The controller's log: this leader at this epoch of partition 0.
    pub(super) fn leader(self, leader: i32, leader_epoch: i32, isr: &[i32]) -> Self {
        self.event(What::Partition(PartitionState {
            topic: "metrics".into(),
            partition: 0,
            replicas: vec![1, 2, 3],
            isr: isr.to_vec(),
            elr: Vec::new(),
            leader,
            leader_epoch,
            partition_epoch: leader_epoch,
        }))
    }

    pub(super) fn fault(self, kind: &str, node: i32) -> Self {
        self.event(What::Fault {
            id: format!("{kind}-{node}"),
            kind: kind.into(),
            target: format!("broker {node}"),
            nodes: vec![node],
            active_controller: false,
        })
    }

    pub(super) fn account(&self) -> Accounting {
        let mut ledger = Ledger::new(self.header.clone());
        self.records.iter().for_each(|record| ledger.apply(record));
        ledger.finish(&self.timeline)
    }

    /// As `check` does it when a first pass cannot keep a single run.
    pub(super) fn account_in_two_passes(&self) -> Accounting {
        let mut first = Ledger::with_budget(self.header.clone(), 0);
        self.records.iter().for_each(|record| first.apply(record));
        let accounting = first.finish(&self.timeline);
        let Some(suspects) = &accounting.suspects else { return accounting };
        let mut second = Ledger::focused(self.header.clone(), suspects);
        self.records.iter().for_each(|record| second.apply(record));
        second.finish(&self.timeline)
    }

    /// Writes a run directory.
    pub(super) fn store(&self, run: &Path) {
        let folder = run.join(crate::check::HISTORY_DIR);
        std::fs::create_dir_all(&folder).expect("folder");
        let file = std::fs::File::create(folder.join("run.mshist")).expect("file");
        let mut writer = HistoryWriter::new(file, &self.header).expect("header");
        self.records.iter().for_each(|record| writer.write(record).expect("record"));
        writer.finish().expect("end");
        let lines: Vec<String> = self.timeline.iter().map(|e| serde_json::to_string(e).expect("json") + "\n").collect();
        std::fs::write(run.join(crate::check::TIMELINE_FILE), lines.concat()).expect("timeline");
    }

    /// Whether the two have nearly the same records and events.
    pub(super) fn differs_little_from(&self, other: &Self) -> bool {
        let text = |record: &Record| {
            // A record more moves every later time; that is no difference.
            let text = format!("{record:?}");
            text.split("at_us: ").map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit())).collect::<String>()
        };
        let of = |script: &Self| -> Vec<String> {
            let events = script.timeline.iter().map(|event| format!("{:?}", event.what));
            script.records.iter().map(text).chain(events).collect()
        };
        let (mine, mut theirs) = (of(self), of(other));
        let only_mine = mine.iter().filter(|record| match theirs.iter().position(|other| other == *record) {
            Some(at) => {
                theirs.remove(at);
                false
            }
            None => true,
        });
        let only_mine = only_mine.count();
        only_mine + theirs.len() <= 8
    }
}
