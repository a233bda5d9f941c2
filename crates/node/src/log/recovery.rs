//! Opening a log from what its store has. The last segment with bytes is cut at the first batch that is torn or fails its
//! checksum, as Kafka does; damage anywhere else is an error that names the place, for people to decide.

use bytes::Bytes;
use metricstream_wire::record_batch::{BatchHeader, HEADER_BYTES};

use super::cache::Cache;
use super::compaction::Compaction;
use super::segment::{self, Segment};
use super::{EPOCH_CHECKPOINT, EpochCache, Log, LogConfig, LogError, ProducerStates, START_CHECKPOINT};
use crate::io::{Disk, Event, Level, Output, Outputs, StorageAction};
use crate::time::Now;

/// Read at once.
const CHUNK_BYTES: u64 = 1 << 20;
/// A checkpoint is some lines of text.
const CHECKPOINT_BYTES_MAX: u32 = 16 << 20;

/// What the store has of one log.
#[derive(Debug, Default)]
struct Found {
    /// Base offsets and sizes, ascending.
    segments: Vec<(i64, u64)>,
    epochs: Option<EpochCache>,
    start_offset: Option<i64>,
}

impl Log {
    /// Recovers what the store has in `folder` (such as `metrics-0`), or begins an empty log there.
    ///
    /// # Errors
    /// If the store cannot be read, or a file is damaged where Kafka would not cut it.
    pub fn open(
        folder: &str,
        config: LogConfig,
        disk: &dyn Disk,
        now: Now,
        out: &mut Outputs,
    ) -> Result<Self, LogError> {
        let found = Found::look(folder, disk)?;
        let mut cut = None;
        let mut scanned: Vec<(i64, Vec<BatchHeader>)> = Vec::new();
        let last = found.segments.iter().rposition(|(_, size)| *size > 0);
        let mut end = 0;
        for (n, (base_offset, size_bytes)) in found.segments.iter().copied().enumerate() {
            let path = segment::path(folder, base_offset);
            if base_offset < end {
                let why = format!("it begins before offset {end}, where the segment before it ends");
                return Err(LogError::Malformed { path, why });
            }
            let (headers, damage) = scan(disk, &path, base_offset, size_bytes)?;
            if let Some((position, why)) = damage {
                if Some(n) != last {
                    return Err(LogError::Damaged { path, position, why });
                }
                cut = Some((n, position, why));
            }
            end = headers.last().map_or(base_offset, BatchHeader::next_offset);
            scanned.push((base_offset, headers));
        }
        // Nothing was wrong: from here on operations are put out.
        let mut log = Self {
            folder: folder.to_owned(),
            cache: Cache::new(config.cache_bytes),
            compaction: Compaction::default(),
            config,
            segments: Vec::new(),
            start_offset: 0,
            end_offset: 0,
            epochs: found.epochs.clone().unwrap_or_default(),
            producers: ProducerStates::default(),
            epoch_file: found.epochs.is_some().then(|| out.open(format!("{folder}/{EPOCH_CHECKPOINT}"))),
            start_file: found.start_offset.is_some().then(|| out.open(format!("{folder}/{START_CHECKPOINT}"))),
        };
        for (base_offset, headers) in scanned {
            let file = out.open(segment::path(folder, base_offset));
            let mut segment = Segment::new(folder, base_offset, file, now.wall_ms);
            segment.set_batches(headers);
            log.segments.push(segment);
        }
        if let Some((n, size_bytes, why)) = cut {
            let path = segment::path(folder, log.segments[n].base_offset);
            let text = format!("{path}: cut at byte {size_bytes} of {}: {why}", found.segments[n].1);
            out.push(Output::Event(Event::Log { level: Level::Warn, text }));
            log.operate(log.segments[n].file, StorageAction::Truncate { size_bytes }, out);
            // Empty ones that begin behind what was cut: left there, they would make a hole.
            let count = log.segments.len();
            log.remove_segments(n + 1, count, out);
        }
        log.recover_offsets(found.start_offset, now, out);
        log.recover_state(now, out);
        Ok(log)
    }

    fn recover_offsets(&mut self, start_offset: Option<i64>, now: Now, out: &mut Outputs) {
        if self.segments.is_empty() {
            self.new_segment(start_offset.unwrap_or(0), now, out);
        }
        self.end_offset = self.active().next_offset();
        self.start_offset = self.segments[0].base_offset.max(start_offset.unwrap_or(0));
        if self.start_offset > self.end_offset {
            // As Kafka: what lies before the start is of no use.
            self.truncate_fully_and_start_at(self.start_offset, now, out);
        }
    }

    /// Epochs and producers follow from the batches; the checkpoint adds epochs that have none.
    fn recover_state(&mut self, now: Now, out: &mut Outputs) {
        let before = self.epochs.clone();
        self.epochs.truncate_from_end(self.end_offset);
        for batch in self.segments.iter().flat_map(|s| &s.batches) {
            let BatchHeader { partition_leader_epoch: epoch, base_offset, .. } = batch.header;
            if self.epochs.epoch_at(base_offset) != Some(epoch) {
                self.epochs.assign(epoch, base_offset);
            }
        }
        self.epochs.truncate_from_start(self.start_offset);
        if self.epochs != before {
            self.save_epochs(out);
        }
        self.rebuild_producers();
        self.producers.expire(now.wall_ms, self.config.producer_id_expiration_ms);
    }
}

impl Found {
    fn look(folder: &str, disk: &dyn Disk) -> Result<Self, LogError> {
        let mut found = Self::default();
        for (path, size_bytes) in disk.list()? {
            let Some(name) = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) else { continue };
            match name {
                EPOCH_CHECKPOINT => {
                    let epochs = EpochCache::parse(&text(disk, &path)?);
                    found.epochs = Some(epochs.map_err(|why| LogError::Malformed { path, why })?);
                }
                START_CHECKPOINT => {
                    let offset = parse_start(&text(disk, &path)?);
                    let why = "a log start offset checkpoint is expected".to_owned();
                    found.start_offset = Some(offset.ok_or(LogError::Malformed { path, why })?);
                }
                _ => match segment::base_offset_of(name) {
                    Some(Ok(base_offset)) => found.segments.push((base_offset, size_bytes)),
                    Some(Err(why)) => return Err(LogError::Malformed { path, why }),
                    None => {}
                },
            }
        }
        found.segments.sort_unstable();
        Ok(found)
    }
}

fn text(disk: &dyn Disk, path: &str) -> Result<String, LogError> {
    let bytes = disk.read(path, 0, CHECKPOINT_BYTES_MAX)?;
    // An empty one is what is left of a file that was only just made.
    if bytes.is_empty() {
        return Ok("0\n0\n".to_owned());
    }
    let malformed = |_| LogError::Malformed { path: path.to_owned(), why: "it is no text".to_owned() };
    String::from_utf8(bytes.to_vec()).map_err(malformed)
}

/// The one offset of a `log-start-offset-checkpoint`; 0 if it has no line.
fn parse_start(text: &str) -> Option<i64> {
    let mut lines = text.lines();
    let (version, count) = (lines.next()?, lines.next()?);
    match (version, count, lines.next()) {
        ("0", "0", None) => Some(0),
        ("0", "1", Some(line)) => line.rsplit(' ').next()?.parse().ok().filter(|offset| *offset >= 0),
        _ => None,
    }
}

/// The position of what is no sound batch, and what is wrong with it.
type Damage = (u64, String);

/// The headers of a segment's sound batches, up to the first that is not.
fn scan(
    disk: &dyn Disk,
    path: &str,
    base_offset: i64,
    size_bytes: u64,
) -> Result<(Vec<BatchHeader>, Option<Damage>), LogError> {
    let mut headers: Vec<BatchHeader> = Vec::new();
    let mut window = Window { disk, path, size_bytes, from: 0, bytes: Bytes::new() };
    let mut position = 0;
    while position < size_bytes {
        let least = headers.last().map_or(base_offset, BatchHeader::next_offset);
        match window.batch(position, least)? {
            Ok(header) => {
                position += header.size_bytes() as u64;
                headers.push(header);
            }
            Err(why) => return Ok((headers, Some((position, why)))),
        }
    }
    Ok((headers, None))
}

/// Reads a file a chunk at a time.
struct Window<'a> {
    disk: &'a dyn Disk,
    path: &'a str,
    size_bytes: u64,
    from: u64,
    bytes: Bytes,
}

impl Window<'_> {
    /// The batch at a position, whose base offset is at least `least`; the inner error says what is there instead.
    fn batch(&mut self, position: u64, least: i64) -> Result<Result<BatchHeader, String>, LogError> {
        let head = self.at(position, HEADER_BYTES as u64)?;
        let header = match BatchHeader::read(&head) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(Err("a batch is cut within its header".to_owned())),
            Err(why) => return Ok(Err(why.to_string())),
        };
        if header.base_offset < least {
            return Ok(Err(format!("a batch of offset {} where {least} is the next", header.base_offset)));
        }
        if self.size_bytes - position < header.size_bytes() as u64 {
            return Ok(Err(format!("a batch of {} bytes is cut", header.size_bytes())));
        }
        let batch = self.at(position, header.size_bytes() as u64)?;
        Ok(header.check_crc(&batch).map(|()| header).map_err(|why| why.to_string()))
    }

    /// So many bytes from a position on, or what the file has of them.
    fn at(&mut self, position: u64, len: u64) -> Result<Bytes, LogError> {
        let has = |from: u64, bytes: &Bytes| from <= position && position + len <= from + bytes.len() as u64;
        if !has(self.from, &self.bytes) {
            let wanted = len.max(CHUNK_BYTES).min(self.size_bytes - position);
            self.bytes = self.disk.read(self.path, position, u32::try_from(wanted).unwrap_or(u32::MAX))?;
            self.from = position;
        }
        let start = usize::try_from(position - self.from).expect("within the window");
        let end = self.bytes.len().min(start + usize::try_from(len).expect("a batch"));
        Ok(self.bytes.slice(start..end))
    }
}
