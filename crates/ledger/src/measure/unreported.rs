//! Sends whose outcome nobody reported: what a run that is cut short leaves open.
//!
//! A load generator gives the times of a send once its outcome is known or it was given up. A run that is interrupted
//! is over before that; its history still says that the messages were sent, and when, batch by batch. How open sends
//! count is decided elsewhere.

use std::collections::BTreeMap;

use crate::history::{LaneId, Record, Tp};
use crate::sample::{SendEnd, SendSample};

/// Most sends that are given back; more are counted.
const GIVEN_MAX: usize = 1_000_000;

/// Sequences that were sent from `from_us` to `to_us`, one after the other; the map's key is the first of them.
#[derive(Debug, Clone, Copy)]
struct Batch {
    /// One past the last sequence.
    end: u64,
    from_us: i64,
    to_us: i64,
}

impl Batch {
    /// When sequence `seq` was sent, if `first` is the batch's first: evenly over its time.
    fn sent_us(&self, first: u64, seq: u64) -> i64 {
        let (nth, of) = ((seq + 1 - first) as f64, (self.end - first) as f64);
        self.to_us - ((self.to_us - self.from_us) as f64 * (1.0 - nth / of)) as i64
    }

    /// What is left of it between two sequences.
    fn part(&self, first: u64, from: u64, end: u64) -> Self {
        let before_us = if from > first { self.sent_us(first, from - 1) } else { self.from_us };
        Self { end, from_us: before_us, to_us: self.sent_us(first, end - 1) }
    }
}

#[derive(Debug, Default)]
struct Lane {
    topic: u16,
    partition: Option<i32>,
    /// Sequences below this were sent, the last of them then.
    sent: u64,
    sent_us: Option<i64>,
    open: BTreeMap<u64, Batch>,
}

impl Lane {
    fn sent(&mut self, at_us: i64, up_to_seq: u64) {
        if up_to_seq > self.sent {
            let from_us = self.sent_us.unwrap_or(at_us).min(at_us);
            self.open.insert(self.sent, Batch { end: up_to_seq, from_us, to_us: at_us });
            self.sent = up_to_seq;
        }
        self.sent_us = Some(at_us);
    }

    fn ended(&mut self, from: u64, end: u64) {
        while let Some((first, batch)) = self.open.range(..end).next_back().map(|(first, batch)| (*first, *batch)) {
            if batch.end <= from {
                return;
            }
            self.open.remove(&first);
            if batch.end > end {
                self.open.insert(end, batch.part(first, end, batch.end));
            }
            if first < from {
                self.open.insert(first, batch.part(first, first, from));
                return;
            }
        }
    }
}

/// Every lane's sends that have no outcome yet.
#[derive(Debug, Default)]
pub(crate) struct Unreported {
    lanes: BTreeMap<LaneId, Lane>,
    /// Sends that found no room when they were asked for.
    pub(crate) dropped: u64,
}

impl Unreported {
    /// Takes note of what was sent and of what became of it.
    pub(crate) fn record(&mut self, record: &Record) {
        match record {
            Record::Lane { lane, topic, partition, .. } => {
                let known = self.lanes.entry(*lane).or_default();
                (known.topic, known.partition) = (*topic, *partition);
            }
            Record::Sent { at_us, lane, up_to_seq } => {
                self.lanes.entry(*lane).or_default().sent(*at_us, *up_to_seq);
            }
            Record::Outcome { lane, first_seq, count, .. } => {
                let end = first_seq.saturating_add(u64::from(*count));
                self.lanes.entry(*lane).or_default().ended(*first_seq, end);
            }
            _ => {}
        }
    }

    /// The sends that are still open when the run ends at `end_us`: right-censored there. Their incarnation is the index
    /// of their producer, as a run has it. They are given once.
    pub(crate) fn take(&mut self, end_us: i64) -> Vec<SendSample> {
        let mut samples = Vec::new();
        for (id, lane) in std::mem::take(&mut self.lanes) {
            let tp = Tp { topic: lane.topic, partition: lane.partition.unwrap_or(-1) };
            for (first, batch) in lane.open {
                for seq in first..batch.end {
                    if samples.len() >= GIVEN_MAX {
                        self.dropped += batch.end - seq;
                        break;
                    }
                    let sent_us = batch.sent_us(first, seq);
                    let done_us = end_us.max(sent_us);
                    let (producer, intended_us, end) = (id.incarnation, sent_us, SendEnd::Open);
                    samples.push(SendSample { producer, tp, intended_us, sent_us, done_us, size_bytes: 0, end });
                }
            }
        }
        samples.sort_by_key(|sample| (sample.sent_us, sample.producer, sample.tp));
        samples
    }
}
