//! Stories of one log: what a partition's files and answers look like, whatever happened to it.

mod appending;
mod compacting;
mod idempotence;
mod reading;
mod recovering;
mod retaining;
mod schedules;
mod truncating;

use bytes::{Bytes, BytesMut};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use metricstream_wire::record_batch::Batch;

use super::{AppendError, Appended, Log, LogConfig, LogError, Origin};
use crate::config::Settings;
use crate::flaws::Flaws;
use crate::io::{Event, Output, Outputs};
use crate::testing::MemoryStore;
use crate::time::Now;

/// A log, its store, and a clock that the story moves.
pub(super) struct Story {
    pub(super) log: Log,
    pub(super) store: MemoryStore,
    pub(super) out: Outputs,
    pub(super) now: Now,
    pub(super) flaws: Flaws,
    /// What the log said of itself.
    pub(super) said: Vec<String>,
}

/// Small segments and no cache, so that every read goes through the store.
pub(super) fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 300, cache_bytes: 0, ..defaults() }
}

pub(super) fn defaults() -> LogConfig {
    LogConfig::of(&Settings::default(), &Default::default()).expect("defaults")
}

impl Story {
    pub(super) fn new(config: LogConfig) -> Self {
        let (store, mut out, now) =
            (MemoryStore::default(), Outputs::default(), Now { monotonic_ns: 0, wall_ms: 1_000 });
        let log = Log::open("metrics-0", config, &store, now, &mut out).expect("an empty store");
        let mut story = Self { log, store, out, now, flaws: Flaws::default(), said: Vec::new() };
        story.settle();
        story
    }

    /// Applies operations until nothing more is wanted.
    pub(super) fn settle(&mut self) {
        loop {
            let (completions, others) = self.store.apply(&mut self.out);
            for output in others {
                let Output::Event(Event::Log { text, .. }) = output else { panic!("{output:?}") };
                self.said.push(text);
            }
            if completions.is_empty() {
                return;
            }
            for completion in completions {
                self.log.stored(&completion, &mut self.out);
            }
        }
    }

    /// The node is killed and starts again from the store.
    pub(super) fn reopen(&mut self) -> Result<(), LogError> {
        self.store.kill();
        self.out = Outputs::default();
        let config = self.log.config().clone();
        self.log = Log::open("metrics-0", config, &self.store, self.now, &mut self.out)?;
        self.settle();
        Ok(())
    }

    pub(super) fn produce(&mut self, batch: Bytes, epoch: i32) -> Result<Appended, AppendError> {
        let batch = BytesMut::from(&batch[..]);
        let done = self.log.append_as_leader(batch, epoch, Origin::Client, &self.flaws, self.now, &mut self.out);
        self.settle();
        done
    }

    /// Appends one batch of plain records.
    pub(super) fn append(&mut self, count: usize, epoch: i32) -> Appended {
        self.produce(batch(count, self.now.wall_ms), epoch).expect("a sound batch")
    }

    pub(super) fn follow(&mut self, records: &Bytes) -> Result<Appended, AppendError> {
        let done = self.log.append_as_follower(records, self.now, &mut self.out);
        self.settle();
        done
    }

    pub(super) fn truncate_to(&mut self, offset: i64) {
        self.log.truncate_to(offset, self.now, &mut self.out);
        self.settle();
    }

    pub(super) fn clean(&mut self, high_watermark: i64) {
        self.log.clean(self.now, high_watermark, &mut self.out);
        self.settle();
    }

    /// All bytes from an offset on, as a follower would get them.
    pub(super) fn bytes_from(&self, offset: i64) -> Bytes {
        let read = self.log.read(offset, self.log.end_offset(), usize::MAX, true).expect("in range");
        let bytes = self.store.resolve(&read.parts);
        assert_eq!(bytes.len(), read.size_bytes);
        bytes
    }

    /// Offsets, keys and values of all records from an offset's batch on.
    pub(super) fn records_from(&self, offset: i64) -> Vec<(i64, Option<String>, Option<String>)> {
        let text = |bytes: Option<Bytes>| bytes.map(|b| String::from_utf8(b.to_vec()).expect("text"));
        let records = batches(self.bytes_from(offset)).into_iter().flat_map(|b| b.records().expect("plain"));
        records.map(|r| (r.offset, text(r.key), text(r.value))).collect()
    }

    /// Epochs and where they begin.
    pub(super) fn epochs(&self) -> Vec<(i32, i64)> {
        self.log.epochs().entries().iter().map(|e| (e.epoch, e.start_offset)).collect()
    }

    /// Files of the log with their sizes.
    pub(super) fn files(&self) -> Vec<(&str, usize)> {
        self.store.files.iter().map(|(path, content)| (path.as_str(), content.len())).collect()
    }

    /// What every log must be at any time (invariant 9 of the simulator): offsets ascend, epochs do not go back, the epoch
    /// cache agrees with the batches, and the index with the files.
    pub(super) fn check(&self) {
        let log = &self.log;
        let (mut offset, mut epoch) = (0, -1);
        for batch in log.batches() {
            let header = &batch.header;
            assert!(header.base_offset >= offset && header.partition_leader_epoch >= epoch, "{header:?}");
            (offset, epoch) = (header.next_offset(), header.partition_leader_epoch);
            let seen = header.base_offset.max(log.start_offset());
            if seen >= header.next_offset() {
                continue; // Deleted, though its segment is still there.
            }
            assert_eq!(log.epochs().epoch_at(seen), Some(epoch), "at {seen}: {:?}", self.epochs());
        }
        assert!(offset <= log.end_offset() && log.start_offset() <= log.end_offset());
        assert!(self.epochs().windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1), "{:?}", self.epochs());
        let checkpoint = self.store.files.get("metrics-0/leader-epoch-checkpoint");
        assert_eq!(checkpoint.map_or(&b"0\n0\n"[..], |text| text), log.epochs().to_text().as_bytes());
        assert!(log.cache.first_offset().is_none_or(|first| first >= log.segments[0].base_offset));
        let segments = self.store.files.iter().filter(|(path, _)| path.ends_with(".log"));
        assert_eq!(segments.clone().count(), log.segment_count());
        let content: Vec<u8> = segments.flat_map(|(_, content)| content.clone()).collect();
        assert_eq!(content.len() as u64, log.size_bytes());
        let read = self.bytes_from(log.start_offset());
        assert!(content.ends_with(&read), "what is read from memory is what the files have");
        let found: Vec<_> = batches(content.into()).iter().map(|b| *b.header()).collect();
        assert_eq!(found, log.batches().map(|b| b.header).collect::<Vec<_>>());
    }
}

/// A producer's batch of so many records without keys.
pub(super) fn batch(count: usize, timestamp_ms: i64) -> Bytes {
    let mut batch = BatchBuilder::new();
    for n in 0..count {
        batch.push(NewRecord { timestamp_ms, value: Some(format!("value {n}").as_bytes()), ..Default::default() });
    }
    batch.build(0, -1)
}

/// An idempotent producer's batch.
pub(super) fn sequenced(producer_id: i64, epoch: i16, sequence: i32, count: usize, timestamp_ms: i64) -> Bytes {
    let mut batch = BatchBuilder::new().producer(producer_id, epoch, sequence);
    for _ in 0..count {
        batch.push(NewRecord { timestamp_ms, value: Some(b"v"), ..Default::default() });
    }
    batch.build(0, -1)
}

/// All batches, each with a sound checksum.
pub(super) fn batches(mut bytes: Bytes) -> Vec<Batch> {
    let mut batches = Vec::new();
    while let Some(batch) = Batch::next(&mut bytes).expect("a sound batch") {
        batches.push(batch);
    }
    assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
    batches
}
