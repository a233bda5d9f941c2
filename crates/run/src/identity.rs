//! The identity that every message value carries, so that each can be accounted for.
//!
//! Layout, little endian: magic `MS` (2), version (1), reserved (1), run id (8), incarnation (4), lane (4),
//! sequence (8), intended send time in µs (8), actual send time in µs (8), CRC32C of everything else (4), filler.

use metricstream_ledger::history::{Alien, LaneId, MessageId};

const MAGIC: [u8; 2] = *b"MS";
const VERSION: u8 = 1;
const CRC_AT: usize = 44;

/// The smallest value that can carry an identity, bytes.
pub const MIN_VALUE_SIZE_BYTES: usize = 48;

/// What one message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The run it belongs to.
    pub run_id: u64,
    /// Lane and sequence.
    pub id: MessageId,
    /// When the open-loop schedule wanted it sent, µs on the run's clock.
    pub intended_us: i64,
    /// When it was handed to the client, µs on the run's clock.
    pub sent_us: i64,
}

impl Identity {
    /// Writes the identity into `value` and seals it with the CRC of the whole value.
    ///
    /// # Panics
    /// If `value` is shorter than [`MIN_VALUE_SIZE_BYTES`]: a scenario with such a size does not validate.
    pub fn seal(&self, value: &mut [u8]) {
        assert!(value.len() >= MIN_VALUE_SIZE_BYTES, "message too small for its identity");
        value[0..2].copy_from_slice(&MAGIC);
        value[2] = VERSION;
        value[3] = 0;
        value[4..12].copy_from_slice(&self.run_id.to_le_bytes());
        value[12..16].copy_from_slice(&self.id.lane.incarnation.to_le_bytes());
        value[16..20].copy_from_slice(&self.id.lane.lane.to_le_bytes());
        value[20..28].copy_from_slice(&self.id.seq.to_le_bytes());
        value[28..36].copy_from_slice(&self.intended_us.to_le_bytes());
        value[36..44].copy_from_slice(&self.sent_us.to_le_bytes());
        let crc = crc_without_itself(value);
        value[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the identity of a value that belongs to run `run_id`.
    ///
    /// # Errors
    /// [`Alien::BadCrc`] if the value is short, of another format or damaged; [`Alien::ForeignRun`] if it is
    /// sound but belongs to another run.
    pub fn open(value: &[u8], run_id: u64) -> Result<Self, Alien> {
        if value.len() < MIN_VALUE_SIZE_BYTES || value[0..2] != MAGIC || value[2] != VERSION {
            return Err(Alien::BadCrc);
        }
        if le_u32(value, CRC_AT) != crc_without_itself(value) {
            return Err(Alien::BadCrc);
        }
        let found = Self {
            run_id: le_u64(value, 4),
            id: MessageId {
                lane: LaneId { incarnation: le_u32(value, 12), lane: le_u32(value, 16) },
                seq: le_u64(value, 20),
            },
            intended_us: le_u64(value, 28) as i64,
            sent_us: le_u64(value, 36) as i64,
        };
        if found.run_id == run_id { Ok(found) } else { Err(Alien::ForeignRun) }
    }
}

fn crc_without_itself(value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&value[..CRC_AT]), &value[CRC_AT + 4..])
}

fn le_u32(bytes: &[u8], at: usize) -> u32 {
    let mut le = [0; 4];
    le.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(le)
}

fn le_u64(bytes: &[u8], at: usize) -> u64 {
    let mut le = [0; 8];
    le.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(le)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Identity {
        Identity {
            run_id: 7,
            id: MessageId { lane: LaneId { incarnation: 3, lane: 5 }, seq: 1 << 40 },
            intended_us: -12,
            sent_us: 99,
        }
    }

    #[test]
    fn a_sealed_value_opens_as_what_it_was() {
        for size in [MIN_VALUE_SIZE_BYTES, 100, 4096] {
            let mut value = vec![0xAB; size];
            sample().seal(&mut value);
            assert_eq!(Identity::open(&value, 7), Ok(sample()));
            assert_eq!(Identity::open(&value, 8), Err(Alien::ForeignRun));
        }
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let mut value = vec![1; 64];
        sample().seal(&mut value);
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 0x10;
            // The reserved byte is under the CRC too, so nothing may pass.
            assert_eq!(Identity::open(&damaged, 7), Err(Alien::BadCrc), "byte {at}");
        }
        assert_eq!(Identity::open(&value[..47], 7), Err(Alien::BadCrc));
    }
}
