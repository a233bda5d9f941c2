//! What a partition remembers of idempotent producers (KIP-98): the last five batches of each, by which a retry is told
//! from a new batch. Never stored: rebuilt from the log at recovery and after truncation, and carried by followers. The
//! rules are those of Kafka 4.1's `ProducerAppendInfo` and `ProducerStateEntry`.

use std::collections::BTreeMap;

use metricstream_wire::record_batch::BatchHeader;

use super::error::AppendError;

/// Batches remembered of each producer: as many as a client may have under way.
const BATCHES_KEPT: usize = 5;
/// Producers remembered. Kafka has no such limit; without one, a client that makes up ids fills the memory.
const PRODUCERS_MAX: usize = 100_000;

/// A batch that a producer appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducedBatch {
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub first_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Its latest timestamp, milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// One producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    /// Its epoch.
    pub epoch: i16,
    /// The latest timestamp of its last batch.
    pub last_timestamp_ms: i64,
    /// Offset of the last record that it wrote, markers included.
    pub last_offset: i64,
    batches: Vec<ProducedBatch>,
}

impl ProducerState {
    /// Its last batches, oldest first; at most five.
    #[must_use]
    pub fn batches(&self) -> &[ProducedBatch] {
        &self.batches
    }

    /// The last sequence of its epoch; −1 if there is none.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        self.batches.last().map_or(-1, |b| b.last_sequence)
    }
}

/// What a batch is to its producer's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is to be appended.
    New,
    /// It was appended already.
    Duplicate(ProducedBatch),
}

/// All producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: BTreeMap<i64, ProducerState>,
}

impl ProducerStates {
    /// Every producer that is remembered, by id.
    #[must_use]
    pub fn all(&self) -> &BTreeMap<i64, ProducerState> {
        &self.producers
    }

    /// Whether a client's batch may be appended. With no state of its producer any first sequence is accepted.
    ///
    /// # Errors
    /// [`AppendError::InvalidProducerEpoch`], [`AppendError::OutOfOrderSequence`].
    pub fn check(&self, header: &BatchHeader) -> Result<Standing, AppendError> {
        let Some(known) = self.producers.get(&header.producer_id) else { return Ok(Standing::New) };
        if let Some(batch) = known.find(header) {
            return Ok(Standing::Duplicate(*batch));
        }
        self.check_epoch(header)?;
        let last = if header.producer_epoch == known.epoch { known.last_sequence() } else { -1 };
        if header.base_sequence == (last.wrapping_add(1) & i32::MAX) {
            return Ok(Standing::New);
        }
        Err(AppendError::OutOfOrderSequence { producer_id: header.producer_id, found: header.base_sequence, last })
    }

    /// Whether the batch's producer has not been fenced by a later epoch: all that is asked of batches that no client sent.
    ///
    /// # Errors
    /// [`AppendError::InvalidProducerEpoch`].
    pub fn check_epoch(&self, header: &BatchHeader) -> Result<(), AppendError> {
        match self.producers.get(&header.producer_id) {
            Some(known) if header.producer_epoch < known.epoch => Err(AppendError::InvalidProducerEpoch {
                producer_id: header.producer_id,
                found: header.producer_epoch,
                current: known.epoch,
            }),
            _ => Ok(()),
        }
    }

    /// Remembers a batch that is in the log now, whoever put it there.
    pub fn appended(&mut self, header: &BatchHeader) {
        if !header.has_producer_id() {
            return;
        }
        let last_offset = header.last_offset();
        let state = self.producers.entry(header.producer_id).or_insert_with(|| ProducerState {
            epoch: header.producer_epoch,
            last_timestamp_ms: header.max_timestamp_ms,
            last_offset,
            batches: Vec::new(),
        });
        if state.epoch != header.producer_epoch {
            state.epoch = header.producer_epoch;
            state.batches.clear();
        }
        state.last_timestamp_ms = header.max_timestamp_ms;
        state.last_offset = last_offset;
        // A control batch has no sequence. One that stands in the log twice (only a seeded flaw does that) counts once.
        if !header.is_control() && header.base_sequence >= 0 && state.find(header).is_none() {
            if state.batches.len() == BATCHES_KEPT {
                state.batches.remove(0);
            }
            state.batches.push(ProducedBatch {
                first_sequence: header.base_sequence,
                last_sequence: header.last_sequence(),
                first_offset: header.base_offset,
                last_offset,
                timestamp_ms: header.max_timestamp_ms,
            });
        }
        if self.producers.len() > PRODUCERS_MAX {
            self.forget_oldest();
        }
    }

    /// Forgets who has been silent for too long, by record timestamps, as Kafka does.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, p| now_ms.saturating_sub(p.last_timestamp_ms) < expiration_ms);
    }

    /// Forgets everybody.
    pub fn clear(&mut self) {
        self.producers.clear();
    }

    /// A quarter goes at once, so that this is rare.
    fn forget_oldest(&mut self) {
        let mut offsets: Vec<i64> = self.producers.values().map(|p| p.last_offset).collect();
        let (_, border, _) = offsets.select_nth_unstable(PRODUCERS_MAX / 4);
        let border = *border;
        self.producers.retain(|_, p| p.last_offset > border);
    }
}

impl ProducerState {
    fn find(&self, header: &BatchHeader) -> Option<&ProducedBatch> {
        let wanted = (header.base_sequence, header.last_sequence());
        let same = |b: &&ProducedBatch| (b.first_sequence, b.last_sequence) == wanted;
        self.batches.iter().filter(|_| header.producer_epoch == self.epoch).find(same)
    }
}
