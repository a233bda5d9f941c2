//! What a producer has to tell, gathered into batches: outcomes merged into runs, one sample per send. No client and no
//! thread lives here.

use metricstream_ledger::history::{LaneId, MessageId, Outcome, Record, TopicIndex, Tp};
use metricstream_ledger::sample::{SendEnd, SendSample};
use metricstream_run::identity::Identity;

/// A batch is told when it holds this many sends, at the latest.
pub(super) const BATCH_MAX: usize = 4096;

const NO_RUN: u32 = u32::MAX;

/// How one send ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) identity: Identity,
    /// −1 if it is not known.
    pub(super) partition: i32,
    /// −1 if it was not reported.
    pub(super) offset: i64,
    pub(super) done_us: i64,
    pub(super) size_bytes: u32,
    pub(super) outcome: SendEnd,
    /// The client gave it up because the load ended: censored rather than answered.
    pub(super) given_up: bool,
}

/// Batches in the making.
#[derive(Debug)]
pub(super) struct Outbox {
    producer: u32,
    topic: TopicIndex,
    incarnation: u32,
    /// Per lane: the record of this batch that its last outcome went into.
    last_run: Vec<u32>,
    /// Per lane: one past the highest sequence that a record said was sent.
    told_sent: Vec<u64>,
    /// Number of the next message over all lanes that no record has called sent yet.
    told_taken: u64,
    sent: Vec<Record>,
    outcomes: Vec<Record>,
    samples: Vec<SendSample>,
}

impl Outbox {
    /// `lanes` are the records that announce the lanes, one each; they are told first.
    pub(super) fn new(producer: u32, topic: TopicIndex, incarnation: u32, lanes: Vec<Record>) -> Self {
        Self {
            producer,
            topic,
            incarnation,
            last_run: vec![NO_RUN; lanes.len()],
            told_sent: vec![0; lanes.len()],
            told_taken: 0,
            sent: lanes,
            outcomes: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Whether the batch should be told now.
    pub(super) fn is_full(&self) -> bool {
        self.samples.len() >= BATCH_MAX
    }

    /// Whether some record says that the message was sent.
    pub(super) fn told(&self, id: MessageId) -> bool {
        self.told_sent.get(id.lane.lane as usize).is_some_and(|told| id.seq < *told)
    }

    /// The send of `ended` is over.
    pub(super) fn ended(&mut self, ended: &Ended) {
        let id = ended.identity.id;
        let lane = id.lane.lane as usize;
        if id.lane.incarnation != self.incarnation || lane >= self.last_run.len() {
            return;
        }
        let tp = Tp { topic: self.topic, partition: ended.partition };
        let end = if ended.given_up { SendEnd::Open } else { ended.outcome };
        self.samples.push(SendSample {
            producer: self.producer,
            tp,
            intended_us: ended.identity.intended_us,
            sent_us: ended.identity.sent_us,
            done_us: ended.done_us,
            size_bytes: ended.size_bytes,
            end,
        });
        // An outcome may come before the sending thread has published the send.
        if id.seq >= self.told_sent[lane] {
            let at_us = ended.identity.sent_us;
            self.told_sent[lane] = id.seq + 1;
            self.sent.push(Record::Sent { at_us, lane: id.lane, up_to_seq: id.seq + 1 });
        }
        let outcome = match ended.outcome {
            SendEnd::Acked => Outcome::Ok { tp, base_offset: ended.offset },
            SendEnd::Failed => Outcome::Fail,
            SendEnd::Unknown | SendEnd::Open => Outcome::Unknown,
        };
        if let Some(last) = self.outcomes.get_mut(self.last_run[lane] as usize)
            && extend(last, id.seq, outcome, ended.done_us)
        {
            return;
        }
        self.last_run[lane] = u32::try_from(self.outcomes.len()).unwrap_or(NO_RUN);
        let (at_us, first_seq) = (ended.done_us, id.seq);
        self.outcomes.push(Record::Outcome { at_us, lane: id.lane, first_seq, count: 1, outcome });
    }

    /// The sending thread has handed over `taken` messages, round the lanes, the last of them at `at_us`.
    pub(super) fn taken(&mut self, taken: u64, at_us: i64) {
        let lanes = self.told_sent.len() as u64;
        // Of each lane only the newest send counts, so no more than one round is looked at.
        for number in self.told_taken.max(taken.saturating_sub(lanes))..taken {
            let (lane, seq) = ((number % lanes) as usize, number / lanes);
            if seq >= self.told_sent[lane] {
                self.told_sent[lane] = seq + 1;
                let lane = LaneId { incarnation: self.incarnation, lane: lane as u32 };
                self.sent.push(Record::Sent { at_us, lane, up_to_seq: seq + 1 });
            }
        }
        self.told_taken = self.told_taken.max(taken);
    }

    /// Takes the batch: records, sends before outcomes, and samples.
    pub(super) fn take(&mut self) -> (Vec<Record>, Vec<SendSample>) {
        for record in &self.outcomes {
            if let Record::Outcome { lane, .. } = record {
                self.last_run[lane.lane as usize] = NO_RUN;
            }
        }
        let capacity = self.samples.len();
        let mut records = std::mem::take(&mut self.sent);
        records.append(&mut self.outcomes);
        (records, std::mem::replace(&mut self.samples, Vec::with_capacity(capacity)))
    }
}

/// Makes `run` longer by one send if it continues it.
fn extend(run: &mut Record, seq: u64, outcome: Outcome, done_us: i64) -> bool {
    let Record::Outcome { at_us, first_seq, count, outcome: of_run, .. } = run else {
        return false;
    };
    let continues = *first_seq + u64::from(*count) == seq
        && match (*of_run, outcome) {
            (Outcome::Ok { tp, base_offset }, Outcome::Ok { tp: next_tp, base_offset: next }) => {
                let expected = if base_offset < 0 { -1 } else { base_offset + i64::from(*count) };
                tp == next_tp && expected == next
            }
            (of_run, next) => of_run == next,
        };
    if continues {
        *count += 1;
        *at_us = done_us;
    }
    continues
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(lane: u32, seq: u64, offset: i64, outcome: SendEnd) -> Ended {
        let id = MessageId { lane: LaneId { incarnation: 9, lane }, seq };
        Ended {
            identity: Identity { run_id: 1, id, intended_us: 5, sent_us: 6 },
            partition: lane as i32,
            offset,
            done_us: 100 + seq as i64,
            size_bytes: 100,
            outcome,
            given_up: false,
        }
    }

    fn outbox(lanes: u32) -> Outbox {
        let lane =
            |lane| Record::Lane { lane: LaneId { incarnation: 9, lane }, topic: 3, partition: None, idempotent: true };
        Outbox::new(0, 3, 9, (0..lanes).map(lane).collect())
    }

    fn outcomes(records: &[Record]) -> Vec<(u32, u64, u32, Outcome)> {
        let of = |record: &Record| match record {
            Record::Outcome { lane, first_seq, count, outcome, .. } => Some((lane.lane, *first_seq, *count, *outcome)),
            _ => None,
        };
        records.iter().filter_map(of).collect()
    }

    fn ok(partition: i32, base_offset: i64) -> Outcome {
        Outcome::Ok { tp: Tp { topic: 3, partition }, base_offset }
    }

    #[test]
    fn consecutive_outcomes_of_a_lane_are_one_record_though_lanes_take_turns() {
        let mut outbox = outbox(2);
        for seq in 0..4 {
            outbox.ended(&ended(0, seq, 10 + seq as i64, SendEnd::Acked));
            outbox.ended(&ended(1, seq, 50 + seq as i64, SendEnd::Acked));
        }
        let (records, samples) = outbox.take();
        assert_eq!(outcomes(&records), [(0, 0, 4, ok(0, 10)), (1, 0, 4, ok(1, 50))]);
        assert_eq!(samples.len(), 8);
        assert!(matches!(samples[0], SendSample { intended_us: 5, sent_us: 6, done_us: 100, .. }));
        // The next batch begins its own runs.
        outbox.ended(&ended(0, 4, 14, SendEnd::Acked));
        assert_eq!(outcomes(&outbox.take().0), [(0, 4, 1, ok(0, 14))]);
    }

    #[test]
    fn a_gap_in_sequence_or_offset_or_another_outcome_begins_a_new_run() {
        let mut outbox = outbox(1);
        for (seq, offset, outcome) in [
            (0, 10, SendEnd::Acked),
            (1, 12, SendEnd::Acked),
            (2, -1, SendEnd::Acked),
            (3, -1, SendEnd::Acked),
            (5, -1, SendEnd::Acked),
            (6, -1, SendEnd::Failed),
            (7, -1, SendEnd::Failed),
            (8, -1, SendEnd::Unknown),
        ] {
            outbox.ended(&ended(0, seq, offset, outcome));
        }
        let wanted = [
            (0, 0, 1, ok(0, 10)),
            (0, 1, 1, ok(0, 12)),
            (0, 2, 2, ok(0, -1)),
            (0, 5, 1, ok(0, -1)),
            (0, 6, 2, Outcome::Fail),
            (0, 8, 1, Outcome::Unknown),
        ];
        assert_eq!(outcomes(&outbox.take().0), wanted);
    }

    #[test]
    fn a_send_is_told_before_its_outcome_and_once() {
        let sent = |records: &[Record]| -> Vec<(u32, u64)> {
            let of = |record: &Record| match record {
                Record::Sent { lane, up_to_seq, .. } => Some((lane.lane, *up_to_seq)),
                _ => None,
            };
            records.iter().filter_map(of).collect()
        };
        let mut outbox = outbox(3);
        // Five messages went out: lanes 0 1 2 0 1; the outcome of the fifth came before they were published.
        outbox.ended(&ended(1, 1, 7, SendEnd::Acked));
        outbox.taken(5, 42);
        let (records, _) = outbox.take();
        assert_eq!(sent(&records), [(1, 2), (2, 1), (0, 2)]);
        assert!(matches!(records.first(), Some(Record::Lane { .. })));
        assert!(matches!(records.last(), Some(Record::Outcome { .. })));
        outbox.taken(5, 43);
        assert_eq!(sent(&outbox.take().0), []);
        outbox.taken(1000, 44);
        assert_eq!(sent(&outbox.take().0).len(), 3, "one record a lane, however many sends");
    }

    #[test]
    fn what_was_given_up_at_the_end_is_open_for_timing_and_unknown_for_the_ledger() {
        let mut outbox = outbox(1);
        outbox.ended(&Ended { given_up: true, ..ended(0, 0, -1, SendEnd::Unknown) });
        let (records, samples) = outbox.take();
        assert_eq!(outcomes(&records), [(0, 0, 1, Outcome::Unknown)]);
        assert_eq!(samples[0].end, SendEnd::Open);
        // What belongs to nobody here is left out.
        outbox.ended(&ended(7, 0, 0, SendEnd::Acked));
        assert_eq!(outbox.take(), (Vec::new(), Vec::new()));
    }
}
