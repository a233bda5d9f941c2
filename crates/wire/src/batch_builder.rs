//! Writes record batches of magic 2 without compression: for the metadata log, `__consumer_offsets` and tests. What
//! producers send is never built anew.

use bytes::{BufMut, Bytes, BytesMut};

use crate::primitives::{put_uvarint, put_uvarlong};
use crate::record_batch::{CHECKED_FROM, CONTROL, HEADER_BYTES, MAGIC, PREFIX_BYTES, TRANSACTIONAL, assign};

/// What a record is to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
    /// Headers: keys and values.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// A batch that is being written.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    bytes: BytesMut,
    attributes: i16,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    count: i32,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty one, of no producer, outside of transactions.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = BytesMut::with_capacity(512);
        bytes.put_bytes(0, HEADER_BYTES);
        Self {
            bytes,
            attributes: 0,
            base_timestamp_ms: -1,
            max_timestamp_ms: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 0,
        }
    }

    /// Of an idempotent producer.
    #[must_use]
    pub fn producer(self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        Self { producer_id, producer_epoch, base_sequence, ..self }
    }

    /// Part of a transaction.
    #[must_use]
    pub fn transactional(self) -> Self {
        Self { attributes: self.attributes | TRANSACTIONAL, ..self }
    }

    /// Of control records.
    #[must_use]
    pub fn control(self) -> Self {
        Self { attributes: self.attributes | CONTROL, ..self }
    }

    /// Appends a record.
    pub fn push(&mut self, record: NewRecord<'_>) {
        if self.count == 0 {
            self.base_timestamp_ms = record.timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(record.timestamp_ms);
        let delta_ms = record.timestamp_ms - self.base_timestamp_ms;
        let length = varlong_bytes(delta_ms) + self.record_bytes(&record);
        put_varint(&mut self.bytes, i32_of(length));
        self.bytes.put_u8(0);
        put_varlong(&mut self.bytes, delta_ms);
        put_varint(&mut self.bytes, self.count);
        put_nullable(&mut self.bytes, record.key);
        put_nullable(&mut self.bytes, record.value);
        put_varint(&mut self.bytes, i32_of(record.headers.len()));
        for (key, value) in record.headers {
            put_nullable(&mut self.bytes, Some(key.as_bytes()));
            put_nullable(&mut self.bytes, *value);
        }
        self.count += 1;
    }

    /// Bytes of a record behind its length, without its timestamp.
    fn record_bytes(&self, record: &NewRecord<'_>) -> usize {
        let headers: usize = record
            .headers
            .iter()
            .map(|(key, value)| nullable_bytes(Some(key.as_bytes())) + nullable_bytes(*value))
            .sum();
        1 + varint_bytes(self.count)
            + nullable_bytes(record.key)
            + nullable_bytes(record.value)
            + varint_bytes(i32_of(record.headers.len()))
            + headers
    }

    /// Records in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes that it has now.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The batch, at its place in a log; a producer, which knows none, gives 0 and −1.
    ///
    /// # Panics
    /// If it is empty.
    #[must_use]
    pub fn build(mut self, base_offset: i64, partition_leader_epoch: i32) -> Bytes {
        assert!(self.count > 0, "a batch has at least one record");
        let length = i32_of(self.bytes.len() - PREFIX_BYTES);
        let mut header = &mut self.bytes[8..HEADER_BYTES];
        header.put_i32(length);
        header.put_i32(partition_leader_epoch);
        header.put_i8(MAGIC);
        header.put_u32(0);
        header.put_i16(self.attributes);
        header.put_i32(self.count - 1);
        header.put_i64(self.base_timestamp_ms);
        header.put_i64(self.max_timestamp_ms);
        header.put_i64(self.producer_id);
        header.put_i16(self.producer_epoch);
        header.put_i32(self.base_sequence);
        header.put_i32(self.count);
        assign(&mut self.bytes, base_offset, partition_leader_epoch);
        let crc = crc32c::crc32c(&self.bytes[CHECKED_FROM..]);
        self.bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        self.bytes.freeze()
    }
}

fn i32_of(n: usize) -> i32 {
    i32::try_from(n).expect("a batch of ours is below 2 GiB")
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn put_varint(out: &mut BytesMut, value: i32) {
    put_uvarint(out, ((value << 1) ^ (value >> 31)).cast_unsigned());
}

fn put_varlong(out: &mut BytesMut, value: i64) {
    put_uvarlong(out, zigzag(value));
}

fn varint_bytes(value: i32) -> usize {
    varlong_bytes(i64::from(value))
}

fn varlong_bytes(value: i64) -> usize {
    let bits = (u64::BITS - zigzag(value).leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

fn put_nullable(out: &mut BytesMut, value: Option<&[u8]>) {
    put_varint(out, value.map_or(-1, |bytes| i32_of(bytes.len())));
    out.put_slice(value.unwrap_or_default());
}

fn nullable_bytes(value: Option<&[u8]>) -> usize {
    value.map_or(1, |bytes| varint_bytes(i32_of(bytes.len())) + bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record_batch::{Batch, BatchHeader, RefusedBatch, assign_append_time};

    fn three_records() -> BatchBuilder {
        let mut batch = BatchBuilder::new().producer(4000, 2, i32::MAX - 1);
        let headers = [("trace", Some(&b"abc"[..])), ("empty", None)];
        batch.push(NewRecord { timestamp_ms: 1000, key: Some(b"k"), value: Some(b"v"), headers: &headers });
        batch.push(NewRecord { timestamp_ms: 1 << 40, key: None, value: Some(&[1; 300]), ..Default::default() });
        batch.push(NewRecord { timestamp_ms: 900, key: Some(b"gone"), value: None, ..Default::default() });
        batch
    }

    #[test]
    fn what_was_built_is_read_back_with_headers_and_timestamps() {
        let size_bytes = three_records().size_bytes();
        let mut bytes = three_records().build(70, 5);
        assert_eq!(bytes.len(), size_bytes);
        let batch = Batch::next(&mut bytes).unwrap().unwrap();
        assert!(bytes.is_empty());
        assert_eq!((batch.base_offset, batch.next_offset(), batch.partition_leader_epoch), (70, 73, 5));
        assert_eq!((batch.base_timestamp_ms, batch.max_timestamp_ms), (1000, 1 << 40));
        assert_eq!((batch.producer_id, batch.producer_epoch, batch.last_sequence()), (4000, 2, 0), "sequences wrap");
        let records = batch.records().unwrap();
        assert_eq!(
            records.iter().map(|r| (r.offset, r.timestamp_ms)).collect::<Vec<_>>(),
            [(70, 1000), (71, 1 << 40), (72, 900)]
        );
        assert_eq!(records[0].headers[0].key, "trace");
        assert_eq!(records[0].headers[1].value, None);
        assert_eq!((records[2].key.as_deref(), records[2].value.as_deref()), (Some(&b"gone"[..]), None));
    }

    #[test]
    fn a_leader_gives_a_batch_its_place_in_the_same_bytes_and_the_checksum_still_holds() {
        let sent = three_records().build(0, -1);
        let place = sent.as_ptr();
        let mut batch = sent.try_into_mut().expect("nobody else holds it");
        assign(&mut batch, 5_000_000_000, 7);
        let batch = Batch::from_patched(batch).unwrap();
        assert_eq!(batch.bytes().as_ptr(), place);
        batch.check_crc(batch.bytes()).unwrap();
        assert_eq!((batch.base_offset, batch.partition_leader_epoch), (5_000_000_000, 7));
        let mut bytes = batch.into_bytes().try_into_mut().unwrap();
        assign_append_time(&mut bytes, 77);
        let batch = Batch::from_patched(bytes).unwrap();
        batch.check_crc(batch.bytes()).unwrap();
        assert!(batch.records().unwrap().iter().all(|r| r.timestamp_ms == 77));
    }

    /// A produced batch with some bytes of its header changed and the checksum made to fit.
    fn changed(at: usize, bytes: &[u8]) -> BytesMut {
        let mut batch = BytesMut::from(&three_records().build(0, -1)[..]);
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    }

    #[test]
    fn a_leader_takes_a_sound_batch_and_refuses_what_a_producer_may_not_write() {
        let sound = three_records().build(0, -1);
        assert_eq!(BatchHeader::of_produced(&sound).map(|h| h.records_count), Ok(3));
        let corrupt = |bytes: &[u8]| matches!(BatchHeader::of_produced(bytes), Err(RefusedBatch::Corrupt(_)));
        let invalid = |bytes: &[u8]| matches!(BatchHeader::of_produced(bytes), Err(RefusedBatch::Invalid(_)));
        assert!(invalid(&[]) && invalid(&sound[..60]) && invalid(&sound[..sound.len() - 1]), "no whole batch");
        let mut flipped = BytesMut::from(&sound[..]);
        flipped[100] ^= 1;
        assert!(corrupt(&flipped));
        assert!(invalid(&changed(16, &[1])) && corrupt(&changed(16, &[3])), "magic 1 and 3");
        assert!(corrupt(&changed(8, &[0, 0, 0, 9])), "shorter than a header");
        assert!(invalid(&[&sound[..], &sound[..]].concat()), "two batches");
        assert!(invalid(&changed(21, &[0, CONTROL as u8])), "a control batch");
        assert!(invalid(&changed(23, &[0, 0, 0, 9])), "ten offsets, three records");
        assert!(invalid(&changed(53, &[0xff; 4])), "a producer id without a sequence");
        let many = [200_000_000_i32 - 1, 200_000_000].map(i32::to_be_bytes);
        let mut many_records = changed(23, &many[0]);
        many_records[57..61].copy_from_slice(&many[1]);
        let crc = crc32c::crc32c(&many_records[CHECKED_FROM..]);
        many_records[17..21].copy_from_slice(&crc.to_be_bytes());
        assert!(invalid(&many_records), "more records than bytes");
    }

    #[test]
    fn an_empty_delta_and_the_largest_ones_take_the_bytes_that_were_counted_for_them() {
        for value in [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN] {
            let mut out = BytesMut::new();
            put_varlong(&mut out, value);
            assert_eq!(out.len(), varlong_bytes(value), "{value}");
            assert_eq!(crate::Reader::new(out.freeze()).varlong("value"), Ok(value));
        }
    }
}
