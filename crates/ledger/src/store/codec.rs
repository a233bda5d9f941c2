//! Records as bytes: a tag with flags for what continues from the record before, then varints.
//!
//! A block begins without memory of the one before, so each can be read alone.

use crate::history::{Alien, LaneId, Outcome, Record, Tp};

const LANE: u8 = 0;
const SENT: u8 = 1;
const OK: u8 = 2;
const FAIL: u8 = 3;
const UNKNOWN: u8 = 4;
const LOGGED: u8 = 5;
const DELIVERED: u8 = 6;
const COMMITTED: u8 = 7;
const ASSIGNED: u8 = 8;
const REVOKED: u8 = 9;
const SEEK: u8 = 10;
const ALIEN: u8 = 11;
const HIGH_WATERMARK: u8 = 12;
const BOUNDS: u8 = 13;
const FINAL_COMMIT: u8 = 14;
const AUDIT_DONE: u8 = 15;

/// Same lane as the last record of its tag.
const SAME_LANE: u8 = 0x10;
/// Same partition (and group and member).
const SAME_TP: u8 = 0x20;
/// The sequence continues.
const NEXT_SEQ: u8 = 0x40;
/// The offset continues.
const NEXT_OFFSET: u8 = 0x80;

/// Partitions that one assignment may list.
const PARTITIONS_MAX: u64 = 1 << 20;

/// What the last record of a tag said.
#[derive(Debug, Clone, Copy)]
struct Last {
    lane: LaneId,
    tp: Tp,
    group: u16,
    member: u32,
    next_seq: u64,
    next_offset: i64,
}

const NOTHING: Last = Last {
    lane: LaneId { incarnation: 0, lane: 0 },
    tp: Tp { topic: 0, partition: 0 },
    group: 0,
    member: 0,
    next_seq: 0,
    next_offset: 0,
};

/// The state that writer and reader of a block share.
#[derive(Debug, Clone)]
pub(super) struct Context {
    last: [Last; 16],
    at_us: i64,
}

impl Default for Context {
    fn default() -> Self {
        Self { last: [NOTHING; 16], at_us: 0 }
    }
}

/// A run of messages, for the three tags that have one.
struct Messages {
    lane: LaneId,
    tp: Option<Tp>,
    reader: (u16, u32),
    seq: u64,
    offset: i64,
    count: u32,
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_tp(out: &mut Vec<u8>, tp: Tp) {
    put(out, u64::from(tp.topic));
    put_signed(out, i64::from(tp.partition));
}

fn put_lane(out: &mut Vec<u8>, lane: LaneId) {
    put(out, u64::from(lane.incarnation));
    put(out, u64::from(lane.lane));
}

fn put_reader(out: &mut Vec<u8>, group: u16, member: u32) {
    put(out, u64::from(group));
    put(out, u64::from(member));
}

impl Context {
    fn put_time(&mut self, out: &mut Vec<u8>, at_us: i64) {
        put_signed(out, at_us.wrapping_sub(self.at_us));
        self.at_us = at_us;
    }

    fn put_messages(&mut self, out: &mut Vec<u8>, tag: u8, at_us: Option<i64>, run: &Messages) {
        let last = self.last[usize::from(tag)];
        let mut flags = 0;
        let with_tp = run.tp.is_some();
        let tp = run.tp.unwrap_or(last.tp);
        flags |= if run.lane == last.lane { SAME_LANE } else { 0 };
        flags |= if tp == last.tp && run.reader == (last.group, last.member) { SAME_TP } else { 0 };
        flags |= if run.seq == last.next_seq { NEXT_SEQ } else { 0 };
        flags |= if run.offset == last.next_offset { NEXT_OFFSET } else { 0 };
        out.push(tag | flags);
        if let Some(at_us) = at_us {
            self.put_time(out, at_us);
        }
        if flags & SAME_LANE == 0 {
            put_lane(out, run.lane);
        }
        if with_tp && flags & SAME_TP == 0 {
            put_tp(out, tp);
            if tag == DELIVERED {
                put_reader(out, run.reader.0, run.reader.1);
            }
        }
        if flags & NEXT_SEQ == 0 {
            put_signed(out, run.seq.wrapping_sub(last.next_seq) as i64);
        }
        if with_tp && flags & NEXT_OFFSET == 0 {
            put_signed(out, run.offset.wrapping_sub(last.next_offset));
        }
        put(out, u64::from(run.count));
        self.advance(tag, run, tp);
    }

    fn advance(&mut self, tag: u8, run: &Messages, tp: Tp) {
        let offset = if run.offset < 0 { run.offset } else { run.offset.wrapping_add(i64::from(run.count)) };
        self.last[usize::from(tag)] = Last {
            lane: run.lane,
            tp,
            group: run.reader.0,
            member: run.reader.1,
            next_seq: run.seq.wrapping_add(u64::from(run.count)),
            next_offset: offset,
        };
    }

    /// Appends one record.
    pub(super) fn encode(&mut self, out: &mut Vec<u8>, record: &Record) {
        match record {
            Record::Lane { lane, topic, partition, idempotent } => {
                out.push(LANE);
                put_lane(out, *lane);
                put(out, u64::from(*topic));
                put_signed(out, partition.map_or(-1, i64::from));
                out.push(u8::from(*idempotent));
            }
            Record::Sent { at_us, lane, up_to_seq } => {
                let run = Messages { lane: *lane, tp: None, reader: (0, 0), seq: *up_to_seq, offset: 0, count: 0 };
                self.put_messages(out, SENT, Some(*at_us), &run);
            }
            Record::Outcome { at_us, lane, first_seq, count, outcome } => {
                let (tag, tp, offset) = match outcome {
                    Outcome::Ok { tp, base_offset } => (OK, Some(*tp), *base_offset),
                    Outcome::Fail => (FAIL, None, 0),
                    Outcome::Unknown => (UNKNOWN, None, 0),
                };
                let run = Messages { lane: *lane, tp, reader: (0, 0), seq: *first_seq, offset, count: *count };
                self.put_messages(out, tag, Some(*at_us), &run);
            }
            Record::Logged { tp, base_offset, lane, first_seq, count } => {
                let (seq, offset) = (*first_seq, *base_offset);
                let run = Messages { lane: *lane, tp: Some(*tp), reader: (0, 0), seq, offset, count: *count };
                self.put_messages(out, LOGGED, None, &run);
            }
            Record::Delivered { at_us, group, member, tp, base_offset, lane, first_seq, count } => {
                let (seq, offset) = (*first_seq, *base_offset);
                let run =
                    Messages { lane: *lane, tp: Some(*tp), reader: (*group, *member), seq, offset, count: *count };
                self.put_messages(out, DELIVERED, Some(*at_us), &run);
            }
            other => self.encode_event(out, other),
        }
    }

    fn encode_event(&mut self, out: &mut Vec<u8>, record: &Record) {
        match record {
            Record::Committed { at_us, group, member, tp, offset } => {
                self.put_position(out, COMMITTED, *at_us, (*group, *member), *tp, *offset);
            }
            Record::Seek { at_us, group, member, tp, offset } => {
                self.put_position(out, SEEK, *at_us, (*group, *member), *tp, *offset);
            }
            Record::Assigned { at_us, group, member, generation, partitions } => {
                out.push(ASSIGNED);
                self.put_time(out, *at_us);
                put_reader(out, *group, *member);
                put_signed(out, i64::from(*generation));
                put(out, partitions.len() as u64);
                for (tp, offset) in partitions {
                    put_tp(out, *tp);
                    put_signed(out, *offset);
                }
            }
            Record::Revoked { at_us, group, member, lost, partitions } => {
                out.push(REVOKED);
                self.put_time(out, *at_us);
                put_reader(out, *group, *member);
                out.push(u8::from(*lost));
                put(out, partitions.len() as u64);
                partitions.iter().for_each(|tp| put_tp(out, *tp));
            }
            Record::Alien { group, tp, offset, why } => {
                out.push(ALIEN);
                put_signed(out, group.map_or(-1, i64::from));
                put_tp(out, *tp);
                put_signed(out, *offset);
                out.push(*why as u8);
            }
            Record::HighWatermark { at_us, tp, epoch, offset } => {
                out.push(HIGH_WATERMARK);
                self.put_time(out, *at_us);
                put_tp(out, *tp);
                put_signed(out, i64::from(*epoch));
                put_signed(out, *offset);
            }
            Record::Bounds { tp, bounds } => {
                out.push(BOUNDS);
                put_tp(out, *tp);
                out.push(u8::from(bounds.is_some()));
                if let Some((start, end)) = bounds {
                    put_signed(out, *start);
                    put_signed(out, *end);
                }
            }
            Record::FinalCommit { group, tp, offset } => {
                out.push(FINAL_COMMIT);
                put(out, u64::from(*group));
                put_tp(out, *tp);
                put_signed(out, *offset);
            }
            Record::AuditDone { at_us } => {
                out.push(AUDIT_DONE);
                self.put_time(out, *at_us);
            }
            Record::Lane { .. }
            | Record::Sent { .. }
            | Record::Outcome { .. }
            | Record::Logged { .. }
            | Record::Delivered { .. } => {}
        }
    }

    fn put_position(&mut self, out: &mut Vec<u8>, tag: u8, at_us: i64, of: (u16, u32), tp: Tp, offset: i64) {
        out.push(tag);
        self.put_time(out, at_us);
        put_reader(out, of.0, of.1);
        put_tp(out, tp);
        put_signed(out, offset);
    }
}

/// Bytes of a block that are still to be read.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
}

/// What is wrong with a block's content.
pub(super) type Wrong = &'static str;

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Wrong> {
        let (first, rest) = self.bytes.split_first().ok_or("a record ends too early")?;
        self.bytes = rest;
        Ok(*first)
    }

    #[inline]
    fn get(&mut self) -> Result<u64, Wrong> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number has more than 64 bits")
    }

    #[inline]
    fn signed(&mut self) -> Result<i64, Wrong> {
        let value = self.get()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Wrong> {
        T::try_from(self.get()?).map_err(|_| "a number does not fit its field")
    }

    fn small_signed<T: TryFrom<i64>>(&mut self) -> Result<T, Wrong> {
        T::try_from(self.signed()?).map_err(|_| "a number does not fit its field")
    }

    fn flag(&mut self) -> Result<bool, Wrong> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("a flag is neither 0 nor 1"),
        }
    }

    fn tp(&mut self) -> Result<Tp, Wrong> {
        Ok(Tp { topic: self.small()?, partition: self.small_signed()? })
    }

    fn lane(&mut self) -> Result<LaneId, Wrong> {
        Ok(LaneId { incarnation: self.small()?, lane: self.small()? })
    }

    fn list_len(&mut self) -> Result<usize, Wrong> {
        let len = self.get()?;
        // Each entry takes two bytes at least, so a wild length cannot make us allocate.
        let fits = len <= PARTITIONS_MAX && len <= self.bytes.len() as u64;
        if fits { Ok(len as usize) } else { Err("a list is longer than its block") }
    }
}

impl Context {
    fn time(&mut self, input: &mut Input<'_>) -> Result<i64, Wrong> {
        self.at_us = self.at_us.wrapping_add(input.signed()?);
        Ok(self.at_us)
    }

    #[inline]
    fn messages(&mut self, input: &mut Input<'_>, tag: u8, flags: u8, with_tp: bool) -> Result<Messages, Wrong> {
        let last = self.last[usize::from(tag)];
        let lane = if flags & SAME_LANE == 0 { input.lane()? } else { last.lane };
        let (mut tp, mut reader) = (last.tp, (last.group, last.member));
        if with_tp && flags & SAME_TP == 0 {
            tp = input.tp()?;
            if tag == DELIVERED {
                reader = (input.small()?, input.small()?);
            }
        }
        let mut seq = last.next_seq;
        if flags & NEXT_SEQ == 0 {
            seq = seq.wrapping_add(input.signed()? as u64);
        }
        let mut offset = last.next_offset;
        if with_tp && flags & NEXT_OFFSET == 0 {
            offset = offset.wrapping_add(input.signed()?);
        }
        let run = Messages { lane, tp: Some(tp), reader, seq, offset, count: input.small()? };
        self.advance(tag, &run, tp);
        Ok(run)
    }

    /// Reads one record.
    #[inline]
    pub(super) fn decode(&mut self, input: &mut Input<'_>) -> Result<Record, Wrong> {
        let head = input.byte()?;
        let (tag, flags) = (head & 0x0F, head & 0xF0);
        match tag {
            SENT => {
                let at_us = self.time(input)?;
                let run = self.messages(input, tag, flags, false)?;
                Ok(Record::Sent { at_us, lane: run.lane, up_to_seq: run.seq })
            }
            OK | FAIL | UNKNOWN => {
                let at_us = self.time(input)?;
                let run = self.messages(input, tag, flags, tag == OK)?;
                let outcome = match (tag, run.tp) {
                    (OK, Some(tp)) => Outcome::Ok { tp, base_offset: run.offset },
                    (FAIL, _) => Outcome::Fail,
                    _ => Outcome::Unknown,
                };
                Ok(Record::Outcome { at_us, lane: run.lane, first_seq: run.seq, count: run.count, outcome })
            }
            LOGGED => {
                let run = self.messages(input, tag, flags, true)?;
                let tp = self.last[usize::from(tag)].tp;
                let Messages { lane, seq: first_seq, offset: base_offset, count, .. } = run;
                Ok(Record::Logged { tp, base_offset, lane, first_seq, count })
            }
            DELIVERED => {
                let at_us = self.time(input)?;
                let run = self.messages(input, tag, flags, true)?;
                let tp = self.last[usize::from(tag)].tp;
                let Messages { lane, reader: (group, member), seq: first_seq, offset: base_offset, count, .. } = run;
                Ok(Record::Delivered { at_us, group, member, tp, base_offset, lane, first_seq, count })
            }
            _ if flags != 0 => Err("a record has flags that its kind has not"),
            _ => self.decode_event(input, tag),
        }
    }

    fn decode_event(&mut self, input: &mut Input<'_>, tag: u8) -> Result<Record, Wrong> {
        match tag {
            LANE => {
                let (lane, topic) = (input.lane()?, input.small()?);
                let partition: i32 = input.small_signed()?;
                let partition = Some(partition).filter(|partition| *partition >= 0);
                Ok(Record::Lane { lane, topic, partition, idempotent: input.flag()? })
            }
            COMMITTED | SEEK => {
                let (at_us, group, member) = (self.time(input)?, input.small()?, input.small()?);
                let (tp, offset) = (input.tp()?, input.signed()?);
                Ok(if tag == SEEK {
                    Record::Seek { at_us, group, member, tp, offset }
                } else {
                    Record::Committed { at_us, group, member, tp, offset }
                })
            }
            ASSIGNED => {
                let (at_us, group, member) = (self.time(input)?, input.small()?, input.small()?);
                let generation = input.small_signed()?;
                let len = input.list_len()?;
                let partitions = (0..len).map(|_| Ok((input.tp()?, input.signed()?))).collect::<Result<_, Wrong>>()?;
                Ok(Record::Assigned { at_us, group, member, generation, partitions })
            }
            REVOKED => {
                let (at_us, group, member) = (self.time(input)?, input.small()?, input.small()?);
                let lost = input.flag()?;
                let len = input.list_len()?;
                let partitions = (0..len).map(|_| input.tp()).collect::<Result<_, Wrong>>()?;
                Ok(Record::Revoked { at_us, group, member, lost, partitions })
            }
            ALIEN => {
                let group = match input.signed()? {
                    -1 => None,
                    group => Some(u16::try_from(group).map_err(|_| "a number does not fit its field")?),
                };
                let (tp, offset) = (input.tp()?, input.signed()?);
                let why = match input.byte()? {
                    0 => Alien::BadCrc,
                    1 => Alien::ForeignRun,
                    2 => Alien::WrongPartition,
                    _ => return Err("an alien of no known kind"),
                };
                Ok(Record::Alien { group, tp, offset, why })
            }
            HIGH_WATERMARK => {
                let (at_us, tp) = (self.time(input)?, input.tp()?);
                Ok(Record::HighWatermark { at_us, tp, epoch: input.small_signed()?, offset: input.signed()? })
            }
            BOUNDS => {
                let tp = input.tp()?;
                let bounds = if input.flag()? { Some((input.signed()?, input.signed()?)) } else { None };
                Ok(Record::Bounds { tp, bounds })
            }
            FINAL_COMMIT => {
                let (group, tp) = (input.small()?, input.tp()?);
                Ok(Record::FinalCommit { group, tp, offset: input.signed()? })
            }
            _ => Ok(Record::AuditDone { at_us: self.time(input)? }),
        }
    }
}
