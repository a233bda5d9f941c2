//! A history as JSON lines, a form that any tool can write: the header on the first line, then one record each.
//!
//! Described in docs/history.md. Topics and groups go by name, so that a line can be read by itself.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use crate::header::{HISTORY_SCHEMA, Header, Invalid};
use crate::history::{Alien, LaneId, Outcome, Record, Tp};

/// Longest line that is read, bytes.
pub(crate) const LINE_MAX: u64 = 16 * 1024 * 1024;

/// Why a JSON-lines history cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum JsonlError {
    /// A line is no record.
    #[error("line {line}: {source}; docs/history.md lists the records and their fields")]
    Syntax {
        /// Line, from 1.
        line: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// A line names a topic that the header does not.
    #[error("line {line}: topic {name:?} is not in the header")]
    Topic {
        /// Line, from 1.
        line: u64,
        /// The name.
        name: String,
    },
    /// A line names a group that the header does not.
    #[error("line {line}: group {name:?} is not in the header")]
    Group {
        /// Line, from 1.
        line: u64,
        /// The name.
        name: String,
    },
    /// A number is out of range.
    #[error("line {line}: {source}")]
    Invalid {
        /// Line, from 1.
        line: u64,
        /// Why.
        source: Invalid,
    },
    /// The file is empty.
    #[error("line 1: no header; the first line is {{\"header\": …}}, see docs/history.md")]
    NoHeader,
    /// The last line is cut off.
    #[error("line {line} is cut off, after {records} readable records")]
    Cut {
        /// Line, from 1.
        line: u64,
        /// Readable records.
        records: u64,
    },
    /// A line without end.
    #[error("line {line} is longer than {LINE_MAX} bytes")]
    TooLong {
        /// Line, from 1.
        line: u64,
    },
    /// The file cannot be read or written.
    #[error("line {line}: {source}")]
    Io {
        /// Line, from 1.
        line: u64,
        /// Why.
        source: std::io::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    header: Header,
}

/// Incarnation and lane.
type LaneText = (u32, u32);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Where {
    topic: String,
    partition: i32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    topic: String,
    partition: i32,
    #[serde(default = "unknown")]
    offset: i64,
}

fn unknown() -> i64 {
    -1
}

fn unknown_epoch() -> i32 {
    -1
}

fn one() -> u32 {
    1
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Why {
    BadCrc,
    ForeignRun,
    WrongPartition,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
enum Line {
    Lane {
        lane: LaneText,
        topic: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partition: Option<i32>,
        #[serde(default)]
        idempotent: bool,
    },
    Sent {
        #[serde(default)]
        at_us: i64,
        lane: LaneText,
        up_to_seq: u64,
    },
    Ok {
        #[serde(default)]
        at_us: i64,
        lane: LaneText,
        first_seq: u64,
        #[serde(default = "one")]
        count: u32,
        topic: String,
        partition: i32,
        #[serde(default = "unknown")]
        base_offset: i64,
    },
    Fail {
        #[serde(default)]
        at_us: i64,
        lane: LaneText,
        first_seq: u64,
        #[serde(default = "one")]
        count: u32,
    },
    Unknown {
        #[serde(default)]
        at_us: i64,
        lane: LaneText,
        first_seq: u64,
        #[serde(default = "one")]
        count: u32,
    },
    Logged {
        topic: String,
        partition: i32,
        base_offset: i64,
        lane: LaneText,
        first_seq: u64,
        #[serde(default = "one")]
        count: u32,
    },
    Delivered {
        #[serde(default)]
        at_us: i64,
        group: String,
        member: u32,
        topic: String,
        partition: i32,
        base_offset: i64,
        lane: LaneText,
        first_seq: u64,
        #[serde(default = "one")]
        count: u32,
    },
    Committed {
        #[serde(default)]
        at_us: i64,
        group: String,
        member: u32,
        topic: String,
        partition: i32,
        offset: i64,
    },
    Assigned {
        #[serde(default)]
        at_us: i64,
        group: String,
        member: u32,
        #[serde(default = "unknown_epoch")]
        generation: i32,
        partitions: Vec<From>,
    },
    Revoked {
        #[serde(default)]
        at_us: i64,
        group: String,
        member: u32,
        #[serde(default)]
        lost: bool,
        partitions: Vec<Where>,
    },
    Seek {
        #[serde(default)]
        at_us: i64,
        group: String,
        member: u32,
        topic: String,
        partition: i32,
        offset: i64,
    },
    Alien {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
        topic: String,
        partition: i32,
        offset: i64,
        why: Why,
    },
    HighWatermark {
        #[serde(default)]
        at_us: i64,
        topic: String,
        partition: i32,
        #[serde(default = "unknown_epoch")]
        epoch: i32,
        offset: i64,
    },
    Bounds {
        topic: String,
        partition: i32,
        /// Log start and end; absent: the topic is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bounds: Option<(i64, i64)>,
    },
    FinalCommit {
        group: String,
        topic: String,
        partition: i32,
        offset: i64,
    },
    AuditDone {
        #[serde(default)]
        at_us: i64,
    },
}

/// Reads a JSON-lines history.
#[derive(Debug)]
pub struct JsonlReader<R> {
    inner: R,
    header: Header,
    names: Names,
    text: String,
    line: u64,
    records: u64,
    done: bool,
}

/// Indices by name.
#[derive(Debug)]
struct Names {
    topics: BTreeMap<String, u16>,
    groups: BTreeMap<String, u16>,
    line: u64,
}

impl Names {
    fn of(header: &Header) -> Self {
        let index = |names: &mut dyn Iterator<Item = &String>| {
            // `Header::validate` bounds the number of names.
            names.enumerate().map(|(index, name)| (name.clone(), index as u16)).collect()
        };
        Self {
            topics: index(&mut header.topics.iter().map(|topic| &topic.name)),
            groups: index(&mut header.groups.iter()),
            line: 0,
        }
    }

    fn topic(&self, name: String) -> Result<u16, JsonlError> {
        self.topics.get(&name).copied().ok_or(JsonlError::Topic { line: self.line, name })
    }

    fn tp(&self, topic: String, partition: i32) -> Result<Tp, JsonlError> {
        Ok(Tp { topic: self.topic(topic)?, partition })
    }

    fn group(&self, name: String) -> Result<u16, JsonlError> {
        self.groups.get(&name).copied().ok_or(JsonlError::Group { line: self.line, name })
    }
}

impl<R: BufRead> JsonlReader<R> {
    /// Reads the header line.
    ///
    /// # Errors
    /// [`JsonlError`] if the first line is no header of this version.
    pub fn new(mut inner: R) -> Result<Self, JsonlError> {
        let mut text = String::new();
        if read_line(&mut inner, &mut text, 1)? == 0 {
            return Err(JsonlError::NoHeader);
        }
        let syntax = |source| JsonlError::Syntax { line: 1, source };
        // The version first: another one may have other fields.
        let said: serde_json::Value = serde_json::from_str(&text).map_err(syntax)?;
        match said.pointer("/header/schema").and_then(serde_json::Value::as_u64).map(u32::try_from) {
            Some(Ok(found)) if found != HISTORY_SCHEMA => {
                return Err(JsonlError::Invalid { line: 1, source: Invalid::Schema { found } });
            }
            _ => {}
        }
        let HeaderLine { header } = serde_json::from_str(&text).map_err(syntax)?;
        header.validate().map_err(|source| JsonlError::Invalid { line: 1, source })?;
        let names = Names::of(&header);
        Ok(Self { inner, header, names, text, line: 1, records: 0, done: false })
    }

    /// The history's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next record; `None` after the last. After an error there is nothing more.
    ///
    /// # Errors
    /// [`JsonlError`] with the line.
    pub fn read(&mut self) -> Result<Option<Record>, JsonlError> {
        while !self.done {
            self.text.clear();
            self.line += 1;
            self.names.line = self.line;
            // Whatever goes wrong now is the end, unless the line turns out well.
            self.done = true;
            if read_line(&mut self.inner, &mut self.text, self.line)? == 0 {
                return Ok(None);
            }
            if self.text.trim().is_empty() {
                self.done = false;
                continue;
            }
            let parsed: Line = match serde_json::from_str(&self.text) {
                Ok(parsed) => parsed,
                Err(_) if !self.text.ends_with('\n') => {
                    return Err(JsonlError::Cut { line: self.line, records: self.records });
                }
                Err(source) => return Err(JsonlError::Syntax { line: self.line, source }),
            };
            let record = self.names.record(parsed)?;
            let invalid = |source| JsonlError::Invalid { line: self.line, source };
            self.header.validate_record(&record).map_err(invalid)?;
            self.done = false;
            self.records += 1;
            return Ok(Some(record));
        }
        Ok(None)
    }
}

fn read_line(inner: &mut impl BufRead, text: &mut String, line: u64) -> Result<usize, JsonlError> {
    let read = inner.by_ref().take(LINE_MAX).read_line(text).map_err(|source| JsonlError::Io { line, source })?;
    let too_long = read as u64 == LINE_MAX && !text.ends_with('\n');
    if too_long { Err(JsonlError::TooLong { line }) } else { Ok(read) }
}

fn lane_id((incarnation, lane): LaneText) -> LaneId {
    LaneId { incarnation, lane }
}

impl Names {
    fn record(&self, line: Line) -> Result<Record, JsonlError> {
        Ok(match line {
            Line::Lane { lane, topic, partition, idempotent } => {
                Record::Lane { lane: lane_id(lane), topic: self.topic(topic)?, partition, idempotent }
            }
            Line::Sent { at_us, lane, up_to_seq } => Record::Sent { at_us, lane: lane_id(lane), up_to_seq },
            Line::Ok { at_us, lane, first_seq, count, topic, partition, base_offset } => {
                let outcome = Outcome::Ok { tp: self.tp(topic, partition)?, base_offset };
                Record::Outcome { at_us, lane: lane_id(lane), first_seq, count, outcome }
            }
            Line::Fail { at_us, lane, first_seq, count } => {
                Record::Outcome { at_us, lane: lane_id(lane), first_seq, count, outcome: Outcome::Fail }
            }
            Line::Unknown { at_us, lane, first_seq, count } => {
                Record::Outcome { at_us, lane: lane_id(lane), first_seq, count, outcome: Outcome::Unknown }
            }
            Line::Logged { topic, partition, base_offset, lane, first_seq, count } => {
                let tp = self.tp(topic, partition)?;
                Record::Logged { tp, base_offset, lane: lane_id(lane), first_seq, count }
            }
            Line::Delivered { at_us, group, member, topic, partition, base_offset, lane, first_seq, count } => {
                let (group, tp, lane) = (self.group(group)?, self.tp(topic, partition)?, lane_id(lane));
                Record::Delivered { at_us, group, member, tp, base_offset, lane, first_seq, count }
            }
            other => self.event(other)?,
        })
    }

    fn event(&self, line: Line) -> Result<Record, JsonlError> {
        Ok(match line {
            Line::Committed { at_us, group, member, topic, partition, offset } => {
                Record::Committed { at_us, group: self.group(group)?, member, tp: self.tp(topic, partition)?, offset }
            }
            Line::Seek { at_us, group, member, topic, partition, offset } => {
                Record::Seek { at_us, group: self.group(group)?, member, tp: self.tp(topic, partition)?, offset }
            }
            Line::Assigned { at_us, group, member, generation, partitions } => {
                let each = |from: From| Ok((self.tp(from.topic, from.partition)?, from.offset));
                let partitions = partitions.into_iter().map(each).collect::<Result<_, JsonlError>>()?;
                Record::Assigned { at_us, group: self.group(group)?, member, generation, partitions }
            }
            Line::Revoked { at_us, group, member, lost, partitions } => {
                let each = |at: Where| self.tp(at.topic, at.partition);
                let partitions = partitions.into_iter().map(each).collect::<Result<_, JsonlError>>()?;
                Record::Revoked { at_us, group: self.group(group)?, member, lost, partitions }
            }
            Line::Alien { group, topic, partition, offset, why } => {
                let why = match why {
                    Why::BadCrc => Alien::BadCrc,
                    Why::ForeignRun => Alien::ForeignRun,
                    Why::WrongPartition => Alien::WrongPartition,
                };
                let group = group.map(|group| self.group(group)).transpose()?;
                Record::Alien { group, tp: self.tp(topic, partition)?, offset, why }
            }
            Line::HighWatermark { at_us, topic, partition, epoch, offset } => {
                Record::HighWatermark { at_us, tp: self.tp(topic, partition)?, epoch, offset }
            }
            Line::Bounds { topic, partition, bounds } => Record::Bounds { tp: self.tp(topic, partition)?, bounds },
            Line::FinalCommit { group, topic, partition, offset } => {
                Record::FinalCommit { group: self.group(group)?, tp: self.tp(topic, partition)?, offset }
            }
            Line::AuditDone { at_us } => Record::AuditDone { at_us },
            // `record` takes the others.
            Line::Lane { .. }
            | Line::Sent { .. }
            | Line::Ok { .. }
            | Line::Fail { .. }
            | Line::Unknown { .. }
            | Line::Logged { .. }
            | Line::Delivered { .. } => return self.record(line),
        })
    }
}

/// Writes a history as JSON lines.
#[derive(Debug)]
pub struct JsonlWriter<W> {
    inner: W,
    header: Header,
    line: u64,
}

impl<W: Write> JsonlWriter<W> {
    /// Writes the header line.
    ///
    /// # Errors
    /// [`JsonlError`] if the header is unusable or cannot be written.
    pub fn new(inner: W, header: &Header) -> Result<Self, JsonlError> {
        header.validate().map_err(|source| JsonlError::Invalid { line: 1, source })?;
        let mut writer = Self { inner, header: header.clone(), line: 0 };
        writer.put(&HeaderLine { header: header.clone() })?;
        Ok(writer)
    }

    /// Writes a record.
    ///
    /// # Errors
    /// [`JsonlError`] if the record is not one that the header allows, or cannot be written.
    pub fn write(&mut self, record: &Record) -> Result<(), JsonlError> {
        let invalid = |source| JsonlError::Invalid { line: self.line + 1, source };
        self.header.validate_record(record).map_err(invalid)?;
        let line = self.line_of(record);
        self.put(&line)
    }

    /// Flushes and gives the output back.
    ///
    /// # Errors
    /// [`JsonlError::Io`].
    pub fn finish(mut self) -> Result<W, JsonlError> {
        self.inner.flush().map_err(|source| JsonlError::Io { line: self.line, source })?;
        Ok(self.inner)
    }

    fn put(&mut self, value: &impl Serialize) -> Result<(), JsonlError> {
        self.line += 1;
        let line = self.line;
        let mut text = serde_json::to_vec(value).map_err(|source| JsonlError::Syntax { line, source })?;
        text.push(b'\n');
        self.inner.write_all(&text).map_err(|source| JsonlError::Io { line, source })
    }

    fn at(&self, tp: Tp) -> (String, i32) {
        (crate::accounting::topic_name(&self.header, tp), tp.partition)
    }

    fn group(&self, group: u16) -> String {
        self.header.groups.get(usize::from(group)).cloned().unwrap_or_default()
    }

    fn line_of(&self, record: &Record) -> Line {
        let text = |lane: LaneId| (lane.incarnation, lane.lane);
        match *record {
            Record::Lane { lane, topic, partition, idempotent } => {
                let (topic, _) = self.at(Tp { topic, partition: 0 });
                Line::Lane { lane: text(lane), topic, partition, idempotent }
            }
            Record::Sent { at_us, lane, up_to_seq } => Line::Sent { at_us, lane: text(lane), up_to_seq },
            Record::Outcome { at_us, lane, first_seq, count, outcome } => {
                let lane = text(lane);
                match outcome {
                    Outcome::Ok { tp, base_offset } => {
                        let (topic, partition) = self.at(tp);
                        Line::Ok { at_us, lane, first_seq, count, topic, partition, base_offset }
                    }
                    Outcome::Fail => Line::Fail { at_us, lane, first_seq, count },
                    Outcome::Unknown => Line::Unknown { at_us, lane, first_seq, count },
                }
            }
            Record::Logged { tp, base_offset, lane, first_seq, count } => {
                let (topic, partition) = self.at(tp);
                Line::Logged { topic, partition, base_offset, lane: text(lane), first_seq, count }
            }
            Record::Delivered { at_us, group, member, tp, base_offset, lane, first_seq, count } => {
                let ((topic, partition), group, lane) = (self.at(tp), self.group(group), text(lane));
                Line::Delivered { at_us, group, member, topic, partition, base_offset, lane, first_seq, count }
            }
            _ => self.event_line(record),
        }
    }

    fn event_line(&self, record: &Record) -> Line {
        match record {
            Record::Committed { at_us, group, member, tp, offset } => {
                let ((topic, partition), group) = (self.at(*tp), self.group(*group));
                Line::Committed { at_us: *at_us, group, member: *member, topic, partition, offset: *offset }
            }
            Record::Seek { at_us, group, member, tp, offset } => {
                let ((topic, partition), group) = (self.at(*tp), self.group(*group));
                Line::Seek { at_us: *at_us, group, member: *member, topic, partition, offset: *offset }
            }
            Record::Assigned { at_us, group, member, generation, partitions } => {
                let each = |(tp, offset): &(Tp, i64)| {
                    let (topic, partition) = self.at(*tp);
                    From { topic, partition, offset: *offset }
                };
                let (group, partitions) = (self.group(*group), partitions.iter().map(each).collect());
                Line::Assigned { at_us: *at_us, group, member: *member, generation: *generation, partitions }
            }
            Record::Revoked { at_us, group, member, lost, partitions } => {
                let each = |tp: &Tp| {
                    let (topic, partition) = self.at(*tp);
                    Where { topic, partition }
                };
                let (group, partitions) = (self.group(*group), partitions.iter().map(each).collect());
                Line::Revoked { at_us: *at_us, group, member: *member, lost: *lost, partitions }
            }
            Record::Alien { group, tp, offset, why } => {
                let why = match why {
                    Alien::BadCrc => Why::BadCrc,
                    Alien::ForeignRun => Why::ForeignRun,
                    Alien::WrongPartition => Why::WrongPartition,
                };
                let ((topic, partition), group) = (self.at(*tp), group.map(|group| self.group(group)));
                Line::Alien { group, topic, partition, offset: *offset, why }
            }
            Record::HighWatermark { at_us, tp, epoch, offset } => {
                let (topic, partition) = self.at(*tp);
                Line::HighWatermark { at_us: *at_us, topic, partition, epoch: *epoch, offset: *offset }
            }
            Record::Bounds { tp, bounds } => {
                let (topic, partition) = self.at(*tp);
                Line::Bounds { topic, partition, bounds: *bounds }
            }
            Record::FinalCommit { group, tp, offset } => {
                let ((topic, partition), group) = (self.at(*tp), self.group(*group));
                Line::FinalCommit { group, topic, partition, offset: *offset }
            }
            Record::AuditDone { at_us } => Line::AuditDone { at_us: *at_us },
            // `line_of` takes the others.
            Record::Lane { .. }
            | Record::Sent { .. }
            | Record::Outcome { .. }
            | Record::Logged { .. }
            | Record::Delivered { .. } => self.line_of(record),
        }
    }
}
