//! What a member and its parent say to each other: a job and commands as JSON lines one way, frames the other way.
//!
//! A frame is its kind (1 byte), its length (4, little endian) and its body. Deliveries are many and of fixed size;
//! everything else is rare and JSON.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use metricstream_ledger::history::{Alien, LaneId, MessageId, Tp};
use serde::{Deserialize, Serialize};

/// What a member is to do. It may hold secrets, so it travels by a pipe and never as an argument.
#[derive(Clone, Serialize, Deserialize)]
pub struct Job {
    /// librdkafka's settings, all of them.
    pub config: BTreeMap<String, String>,
    /// Topics to subscribe to, and their indices in the scenario.
    pub topics: BTreeMap<String, u16>,
    /// The run whose messages these are.
    pub run_id: u64,
    /// CLOCK_MONOTONIC at the run's 0, nanoseconds.
    pub origin_ns: i64,
}

/// A command to a member, one JSON line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Leave the group and end.
    Leave,
    /// Stay in one slow poll for so long.
    Stall {
        /// Microseconds.
        for_us: u64,
    },
    /// So many frames of deliveries are recorded: only what is in them may be committed.
    Recorded {
        /// Since the member began.
        frames: u64,
    },
}

/// Topic index and partition, as they travel.
pub type Place = (u16, i32);

/// Something that a member says; one JSON object, framed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "kebab-case")]
#[allow(missing_docs)] // As in `Record`, with places for partitions.
pub enum Said {
    /// Gained partitions and where reading starts (−1: not known), perhaps none, at a generation.
    Assigned { at_us: i64, generation: i32, partitions: Vec<(u16, i32, i64)> },
    /// Gave partitions up, or lost them.
    Revoked { at_us: i64, lost: bool, partitions: Vec<Place> },
    /// A commit was accepted: topic index, partition, next offset.
    Committed { at_us: i64, offsets: Vec<(u16, i32, i64)> },
    /// A value that is no message of this run.
    Alien { topic: u16, partition: i32, offset: i64, why: AlienKind },
    /// The client reported an error that it goes on from.
    Trouble { at_us: i64, error: String },
    /// It cannot be a member at all; nothing follows.
    Failed { error: String },
    /// It left in order; nothing follows.
    Left { at_us: i64 },
}

/// [`Alien`] as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // As in `Alien`.
pub enum AlienKind {
    BadCrc,
    ForeignRun,
    WrongPartition,
}

impl From<Alien> for AlienKind {
    fn from(why: Alien) -> Self {
        match why {
            Alien::BadCrc => Self::BadCrc,
            Alien::ForeignRun => Self::ForeignRun,
            Alien::WrongPartition => Self::WrongPartition,
        }
    }
}

impl From<AlienKind> for Alien {
    fn from(why: AlienKind) -> Self {
        match why {
            AlienKind::BadCrc => Self::BadCrc,
            AlienKind::ForeignRun => Self::ForeignRun,
            AlienKind::WrongPartition => Self::WrongPartition,
        }
    }
}

/// One delivery: fixed size, little endian, many to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // As in `DeliverySample`.
pub struct Delivery {
    pub tp: Tp,
    pub offset: i64,
    pub id: MessageId,
    pub intended_us: i64,
    pub delivered_us: i64,
    pub size_bytes: u32,
}

/// Bytes of a [`Delivery`].
const DELIVERY_BYTES: usize = 50;
const FRAME_DELIVERIES: u8 = b'D';
const FRAME_SAID: u8 = b'S';
/// The largest frame that is read: a member's assignment of 100,000 partitions fits.
const FRAME_MAX_BYTES: usize = 16 * 1024 * 1024;

impl Delivery {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tp.topic.to_le_bytes());
        out.extend_from_slice(&self.tp.partition.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.id.lane.incarnation.to_le_bytes());
        out.extend_from_slice(&self.id.lane.lane.to_le_bytes());
        out.extend_from_slice(&self.id.seq.to_le_bytes());
        out.extend_from_slice(&self.intended_us.to_le_bytes());
        out.extend_from_slice(&self.delivered_us.to_le_bytes());
        out.extend_from_slice(&self.size_bytes.to_le_bytes());
    }

    fn get(from: &[u8; DELIVERY_BYTES]) -> Self {
        fn at<const N: usize>(from: &[u8; DELIVERY_BYTES], place: usize) -> [u8; N] {
            let mut part = [0; N];
            part.copy_from_slice(&from[place..place + N]);
            part
        }
        let tp = Tp { topic: u16::from_le_bytes(at(from, 0)), partition: i32::from_le_bytes(at(from, 2)) };
        let lane = LaneId { incarnation: u32::from_le_bytes(at(from, 14)), lane: u32::from_le_bytes(at(from, 18)) };
        Self {
            tp,
            offset: i64::from_le_bytes(at(from, 6)),
            id: MessageId { lane, seq: u64::from_le_bytes(at(from, 22)) },
            intended_us: i64::from_le_bytes(at(from, 30)),
            delivered_us: i64::from_le_bytes(at(from, 38)),
            size_bytes: u32::from_le_bytes(at(from, 46)),
        }
    }
}

/// A frame as the parent reads it.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Deliveries, in order.
    Deliveries(Vec<Delivery>),
    /// Anything else.
    Said(Said),
}

/// Reads the next frame; `None` at the end, also in the middle of a frame: that is how a crash looks.
///
/// # Errors
/// If what comes is no frame.
pub fn read_frame(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    if !fill(from, &mut head)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("a member's frame: {what}"));
    if length > FRAME_MAX_BYTES {
        return Err(bad("too long"));
    }
    let mut body = vec![0; length];
    if !fill(from, &mut body)? {
        return Ok(None);
    }
    match head[0] {
        FRAME_SAID => serde_json::from_slice(&body).map(|said| Some(Frame::Said(said))).map_err(io::Error::other),
        FRAME_DELIVERIES => {
            let (entries, rest) = body.as_chunks::<DELIVERY_BYTES>();
            if !rest.is_empty() {
                return Err(bad("cut deliveries"));
            }
            Ok(Some(Frame::Deliveries(entries.iter().map(Delivery::get).collect())))
        }
        _ => Err(bad("of an unknown kind")),
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// Writes what was said and hands it to the system: it survives the writer from then on.
pub(super) fn write_said(out: &mut impl Write, said: &Said) -> io::Result<()> {
    write_frame(out, FRAME_SAID, &serde_json::to_vec(said)?)
}

/// Writes encoded deliveries, likewise.
pub(super) fn write_deliveries(out: &mut impl Write, body: &[u8]) -> io::Result<()> {
    write_frame(out, FRAME_DELIVERIES, body)
}

fn write_frame(out: &mut impl Write, kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    out.write_all(&[kind])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(body)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_a_cut_one_is_the_end() {
        let delivery = Delivery {
            tp: Tp { topic: 1, partition: 2 },
            offset: 3,
            id: MessageId { lane: LaneId { incarnation: 4, lane: 5 }, seq: 6 },
            intended_us: -7,
            delivered_us: 8,
            size_bytes: 9,
        };
        let mut bytes = Vec::new();
        delivery.put(&mut bytes);
        assert_eq!(bytes.len(), DELIVERY_BYTES);
        let mut stream = Vec::new();
        write_deliveries(&mut stream, &bytes).unwrap();
        let all = [
            Said::Assigned { at_us: 1, generation: 3, partitions: vec![(0, 1, -1), (0, 2, 70)] },
            Said::Revoked { at_us: 1, lost: true, partitions: vec![(0, 2)] },
            Said::Alien { topic: 1, partition: 2, offset: 3, why: Alien::ForeignRun.into() },
            Said::Failed { error: "no".into() },
        ];
        for said in &all {
            write_said(&mut stream, said).unwrap();
        }
        let mut whole = stream.as_slice();
        assert_eq!(read_frame(&mut whole).unwrap(), Some(Frame::Deliveries(vec![delivery])));
        for said in all {
            assert_eq!(read_frame(&mut whole).unwrap(), Some(Frame::Said(said)));
        }
        assert_eq!(read_frame(&mut whole).unwrap(), None);
        for cut in 1..DELIVERY_BYTES + 5 {
            assert_eq!(read_frame(&mut &stream[..cut]).unwrap(), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_and_allocates_nothing_large() {
        for bad in [&b"X\x01\0\0\0z"[..], b"D\x01\0\0\0z", b"S\x01\0\0\0z", b"S\xff\xff\xff\xff"] {
            assert!(read_frame(&mut &bad[..]).is_err(), "{bad:?}");
        }
    }
}
