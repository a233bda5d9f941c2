//! What compaction does to a record batch: the borders of its records, and the batch with fewer of them. Headers, checksums
//! and what a leader patches are the business of the wire crate; codecs belong to neither.

use bytes::{Buf, BufMut, BytesMut};
use metricstream_wire::WireError;
use metricstream_wire::record_batch::{BatchHeader, Compression, HEADER_BYTES, PREFIX_BYTES};

/// The checksum covers everything from the attributes on.
const CHECKED_FROM: usize = 21;
/// The base timestamp is the time from which on tombstones and markers may go (KIP-534).
const DELETE_HORIZON: i16 = 0x40;

/// One record inside a batch without compression, undecoded but for what compaction and time look-ups ask of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawRecord<'a> {
    /// All of it, its length included.
    pub(super) whole: &'a [u8],
    /// Attributes; Kafka has none yet.
    attributes: u8,
    /// Milliseconds after the batch's base timestamp.
    pub(super) timestamp_delta_ms: i64,
    /// What follows the timestamp delta.
    rest: &'a [u8],
    /// Offset after the batch's base offset.
    pub(super) offset_delta: i32,
    /// Key.
    pub(super) key: Option<&'a [u8]>,
    /// A record without a value is a tombstone.
    pub(super) has_value: bool,
}

/// The records of a batch without compression, in order.
#[derive(Debug)]
pub(super) struct RawRecords<'a> {
    from: &'a [u8],
    left: i32,
}

impl<'a> RawRecords<'a> {
    /// Those of `batch`, which is whole and not compressed.
    pub(super) fn of(header: &BatchHeader, batch: &'a [u8]) -> Self {
        Self { from: &batch[HEADER_BYTES..header.size_bytes()], left: header.records_count }
    }
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let left = self.from.len();
        let record = take_record(&mut self.from);
        let record = record.ok_or_else(|| WireError::Short { what: "record", needed: left + 1, left });
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

fn take_record<'a>(from: &mut &'a [u8]) -> Option<RawRecord<'a>> {
    let all = *from;
    let length = usize::try_from(varlong(from)?).ok()?;
    let mut body = from.get(..length)?;
    let whole = &all[..all.len() - from.len() + length];
    from.advance(length);
    let attributes = *body.first()?;
    body.advance(1);
    let timestamp_delta_ms = varlong(&mut body)?;
    let rest = body;
    let offset_delta = i32::try_from(varlong(&mut body)?).ok()?;
    let key = nullable(&mut body)?;
    let has_value = nullable(&mut body)?.is_some();
    Some(RawRecord { whole, attributes, timestamp_delta_ms, rest, offset_delta, key, has_value })
}

#[allow(clippy::option_option)] // Outside: whether it could be read; inside: whether it is null.
fn nullable<'a>(from: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varlong(from)?;
    if length == -1 {
        return Some(None);
    }
    let length = usize::try_from(length).ok()?;
    let bytes = from.get(..length)?;
    from.advance(length);
    Some(Some(bytes))
}

/// A zigzag varint of up to 64 bits.
fn varlong(from: &mut &[u8]) -> Option<i64> {
    let mut raw = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *from.first()?;
        from.advance(1);
        raw |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()));
        }
    }
    None
}

fn put_varlong(out: &mut BytesMut, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while raw >= 0x80 {
        out.put_u8((raw & 0x7f) as u8 | 0x80);
        raw >>= 7;
    }
    out.put_u8((raw & 0x7f) as u8);
}

/// The batch with only those records; its offsets, sequence and producer stay, so that a gap is left where records
/// were. With a delete horizon, it takes the base timestamp's place and timestamps are written relative to it.
pub(super) fn with_records(
    header: &BatchHeader,
    batch: &[u8],
    kept: &[RawRecord<'_>],
    new_horizon_ms: Option<i64>,
) -> BytesMut {
    let mut out = BytesMut::with_capacity(header.size_bytes() + kept.len() * 4);
    out.extend_from_slice(&batch[..HEADER_BYTES]);
    let base = new_horizon_ms.unwrap_or(header.base_timestamp_ms);
    let mut body = BytesMut::new();
    for record in kept {
        if new_horizon_ms.is_none() {
            out.extend_from_slice(record.whole);
            continue;
        }
        let timestamp_ms = header.base_timestamp_ms.saturating_add(record.timestamp_delta_ms);
        body.clear();
        body.put_u8(record.attributes);
        put_varlong(&mut body, timestamp_ms.saturating_sub(base));
        body.extend_from_slice(record.rest);
        put_varlong(&mut out, body.len() as i64);
        out.extend_from_slice(&body);
    }
    let horizon = if new_horizon_ms.is_some() { DELETE_HORIZON } else { 0 };
    let latest = kept.iter().map(|r| header.base_timestamp_ms.saturating_add(r.timestamp_delta_ms)).max();
    let max_timestamp_ms = latest.filter(|_| !header.is_log_append_time()).unwrap_or(header.max_timestamp_ms);
    let length = i32::try_from(out.len() - PREFIX_BYTES).expect("a cleaned batch is below 2 GiB");
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[21..23].copy_from_slice(&(header.attributes | horizon).to_be_bytes());
    out[27..35].copy_from_slice(&base.to_be_bytes());
    out[35..43].copy_from_slice(&max_timestamp_ms.to_be_bytes());
    let count = i32::try_from(kept.len()).expect("fewer records than before");
    out[57..61].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&out[CHECKED_FROM..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Puts the first two records of a batch in each other's place, if the batch is not compressed and both are of one size,
/// and makes the checksum fit: a seeded flaw.
pub(super) fn swap_first_records(header: &BatchHeader, batch: &mut [u8]) {
    if header.compression() != Compression::None {
        return;
    }
    // Behind its offset, which stays where it is, a record says nothing of its place.
    let tail = |record: RawRecord<'_>| record.rest.len() - varlong_bytes(record.rest);
    let mut records = RawRecords::of(header, batch).filter_map(Result::ok).map(|r| (r.whole.len(), tail(r)));
    let (Some((first, first_tail)), Some((second, second_tail))) = (records.next(), records.next()) else { return };
    if first_tail != second_tail {
        return;
    }
    let first_end = HEADER_BYTES + first;
    let (before, behind) = batch.split_at_mut(first_end);
    before[first_end - first_tail..].swap_with_slice(&mut behind[second - second_tail..second]);
    let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// How many bytes a varint takes.
fn varlong_bytes(mut from: &[u8]) -> usize {
    let before = from.len();
    varlong(&mut from).map_or(0, |_| before - from.len())
}

/// Changes the last value of a batch without compression and without headers, and makes the checksum fit: a seeded flaw.
pub(super) fn change_last_value(header: &BatchHeader, batch: &mut [u8]) {
    let plain = header.compression() == Compression::None && header.records_count > 0;
    // A record ends with its value and the count of its headers.
    if plain && batch.len() > HEADER_BYTES + 2 && batch.last() == Some(&0) {
        let at = batch.len() - 2;
        batch[at] ^= 1;
        let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

/// From when on a batch's tombstones and markers may be dropped.
pub(super) fn delete_horizon_ms(header: &BatchHeader) -> Option<i64> {
    header.has_delete_horizon().then_some(header.base_timestamp_ms)
}
