//! Hostile input for every decoder of this crate: valid encodings, damaged in the ways that hurt. Behind the feature
//! `sample`, for tests and long runs; what counts allocations or time is the caller's. Nothing here panics unless a
//! decoder does, or does not read back what its own encoder writes.

use std::fmt::{Debug, Write as _};
use std::ops::RangeInclusive;

use bytes::{BufMut, Bytes, BytesMut};

use crate::batch_builder::{BatchBuilder, NewRecord};
use crate::control_record::{self, ControlRecord};
use crate::frame::{Request, RequestHeader, request, request_body};
use crate::group_record::{self, GroupRecord};
use crate::metadata_record::{self, MetadataRecord};
use crate::primitives::{Context, Reader, Wire};
use crate::record_batch::{Batch, BatchHeader, CHECKED_FROM, HEADER_BYTES, PREFIX_BYTES};
use crate::sample::{Random, Sample};

/// How many inputs are made of one valid encoding.
const DAMAGES_OF_ONE: u64 = 16;

/// A decoder, and where valid input for it comes from.
pub struct Target {
    /// What it decodes.
    pub name: String,
    valid: Box<dyn Fn(&mut Random) -> BytesMut>,
    decode: Box<dyn Fn(Bytes) -> bool>,
}

impl Target {
    /// From what makes valid input, and what decodes input and says whether it took it.
    pub fn new(
        name: &str,
        valid: impl Fn(&mut Random) -> BytesMut + 'static,
        decode: impl Fn(Bytes) -> bool + 'static,
    ) -> Self {
        Self { name: name.to_owned(), valid: Box::new(valid), decode: Box::new(decode) }
    }
}

/// What became of the inputs of a [`feed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Inputs tried.
    pub inputs: u64,
    /// Of those, how many the decoder took.
    pub taken: u64,
}

/// Names the input that a decoder panicked at.
struct Culprit<'a> {
    target: &'a Target,
    seed: u64,
    input: &'a Bytes,
}

impl Drop for Culprit<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut hex = String::new();
            self.input.iter().take(4096).for_each(|byte| write!(hex, "{byte:02x}").expect("a String takes it"));
            eprintln!("{} (seed {}) fails at {} bytes: {hex}", self.target.name, self.seed, self.input.len());
        }
    }
}

/// Feeds `inputs` damaged inputs, which `seed` decides, to a decoder. `watch` is given each input and what decodes it,
/// so that it can measure what that does; it must call it once.
pub fn feed(target: &Target, seed: u64, inputs: u64, mut watch: impl FnMut(&Bytes, &mut dyn FnMut())) -> Fed {
    let mut random = Random::new(seed);
    let mut valid = BytesMut::new();
    let mut taken = 0;
    for nth in 0..inputs {
        if nth % DAMAGES_OF_ONE == 0 {
            valid = (target.valid)(&mut random);
        }
        let input = damaged(&valid, &mut random);
        let culprit = Culprit { target, seed, input: &input };
        let copy = input.clone();
        watch(&input, &mut || taken += u64::from((target.decode)(copy.clone())));
        drop(culprit);
    }
    Fed { inputs, taken }
}

/// Lengths and counts that lie, as they are written in plain and in flexible versions.
const LIES: &[&[u8]] = &[
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00],
    &[0x00, 0xff, 0xff, 0xff],
    &[0x7f, 0xff],
    &[0xff, 0xfe],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0xff, 0xff, 0x7f],
    &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
];

/// Damages a valid encoding, in one to three places.
fn damaged(valid: &[u8], random: &mut Random) -> Bytes {
    let mut bytes = BytesMut::with_capacity(valid.len() + 64);
    bytes.extend_from_slice(valid);
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = random.bits() as u8,
            3 => bytes.truncate(at),
            4 | 5 => {
                let lie = LIES[random.below(LIES.len())];
                let end = bytes.len().min(at + lie.len());
                bytes[at..end].copy_from_slice(&lie[..end - at]);
            }
            6 => {
                let rest = bytes.split_off(at);
                (0..random.below(8)).for_each(|_| bytes.put_u8(random.bits() as u8));
                bytes.extend_from_slice(&rest);
            }
            _ => {
                let mut rest = bytes.split_off(at);
                let gone = random.below(rest.len().min(16) + 1);
                bytes.extend_from_slice(&rest.split_off(gone));
            }
        }
    }
    bytes.freeze()
}

/// Every decoder: both messages of each API in all their versions, frames, batches, and the records of each log.
#[must_use]
pub fn targets() -> Vec<Target> {
    macro_rules! messages {
        ($($key:literal $module:ident $request:ident $response:ident;)*) => {
            vec![$(messages_of::<crate::api::$module::$request>(stringify!($request), stringify!($response)),)*]
        };
    }
    let mut targets: Vec<Target> = crate::for_each_api!(messages).into_iter().flatten().collect();
    targets.push(frames());
    targets.push(batches("record batches", false));
    targets.push(batches("record batches whose checksum holds", true));
    targets.push(metadata_records());
    targets.push(control_records());
    targets.push(group_records());
    targets
}

fn messages_of<R>(request: &str, response: &str) -> [Target; 2]
where
    R: Request + Sample + PartialEq + Debug,
    R::Response: Sample + PartialEq + Debug,
{
    let context = |version| R::context(version).expect("of the declared versions");
    [message::<R>(request, R::VERSIONS, context), message::<R::Response>(response, R::VERSIONS, context)]
}

/// The first byte of the input says which version it is of.
fn message<T>(name: &str, versions: RangeInclusive<i16>, context: fn(i16) -> Context) -> Target
where
    T: Wire + Sample + PartialEq + Debug,
{
    let low = *versions.start();
    let count = versions.count();
    let valid = move |random: &mut Random| {
        let nth = random.below(count);
        let context = context(low + nth as i16);
        let mut out = BytesMut::with_capacity(256);
        out.put_u8(nth as u8);
        T::sample(random, context).encode(&mut out, context);
        out
    };
    let decode = move |input: Bytes| {
        let Some(first) = input.first() else { return false };
        let context = context(low + (usize::from(*first) % count) as i16);
        let Ok(read) = T::decode(&mut Reader::new(input.slice(1..)), context, "message") else { return false };
        comes_back(&read, context);
        true
    };
    Target::new(name, valid, decode)
}

/// What was taken can be written, and is then read as the same.
fn comes_back<T: Wire + PartialEq + Debug>(read: &T, context: Context) {
    let mut out = BytesMut::new();
    read.encode(&mut out, context);
    let mut from = Reader::new(out.freeze());
    assert_eq!(T::decode(&mut from, context, "message").as_ref(), Ok(read), "{context:?}");
    from.finish().expect("to the end");
}

/// Whole request frames, read as a server reads them: by what their header says.
fn frames() -> Target {
    fn valid_of<R: Request + Sample>(random: &mut Random) -> BytesMut {
        let version = R::VERSIONS.start() + random.below(R::VERSIONS.count()) as i16;
        let context = R::context(version).expect("of the declared versions");
        let frame = request(&R::sample(random, context), version, 7, "fuzz").expect("of the declared versions");
        BytesMut::from(&frame[4..])
    }
    macro_rules! makers {
        ($($key:literal $module:ident $request:ident $response:ident;)*) => {
            vec![$(valid_of::<crate::api::$module::$request> as fn(&mut Random) -> BytesMut,)*]
        };
    }
    fn decode(input: Bytes) -> bool {
        let mut from = Reader::new(input);
        let Ok(header) = RequestHeader::read(&mut from) else { return false };
        macro_rules! read {
            ($($key:literal $module:ident $request:ident $response:ident;)*) => {
                match header.api_key {
                    $($key => request_body::<crate::api::$module::$request>(&header, from).is_ok(),)*
                    _ => false,
                }
            };
        }
        crate::for_each_api!(read)
    }
    let makers = crate::for_each_api!(makers);
    let valid = move |random: &mut Random| makers[random.below(makers.len())](random);
    Target::new("request frames", valid, decode)
}

fn a_batch(random: &mut Random) -> Bytes {
    let context = Context { version: 0, flexible: false };
    let mut batch = BatchBuilder::new();
    if random.once_in(2) {
        batch = batch.producer(random.below(5000) as i64, 0, random.below(1000) as i32);
    }
    if random.once_in(8) {
        batch = batch.control();
    }
    for _ in 0..=random.below(4) {
        let (key, value) = (Option::<Bytes>::sample(random, context), Option::<Bytes>::sample(random, context));
        let header = (String::sample(random, context), Option::<Bytes>::sample(random, context));
        let headers = [(&header.0[..], header.1.as_deref())];
        batch.push(NewRecord {
            timestamp_ms: random.below(1 << 40) as i64,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: if random.once_in(2) { &headers } else { &[] },
        });
    }
    batch.build(random.below(1 << 40) as i64, random.below(100) as i32)
}

/// One or two batches. Where `mended`, length and checksum of the first are made to fit, so that damage reaches the
/// records.
fn batches(name: &str, mended: bool) -> Target {
    let valid = |random: &mut Random| {
        let mut log = BytesMut::from(&a_batch(random)[..]);
        if random.once_in(2) {
            log.extend_from_slice(&a_batch(random));
        }
        log
    };
    let decode = move |input: Bytes| {
        let mut log = if mended { mend(input) } else { input };
        let _ = BatchHeader::of_produced(&log);
        let mut taken = false;
        while let Ok(Some(batch)) = Batch::next(&mut log) {
            let Ok(records) = batch.iter() else { continue };
            for record in records {
                let Ok(record) = record else { break };
                taken = true;
                if batch.is_control() {
                    let _ = ControlRecord::decode(record.key, record.value);
                }
            }
        }
        taken
    };
    Target::new(name, valid, decode)
}

fn mend(input: Bytes) -> Bytes {
    if input.len() < HEADER_BYTES {
        return input;
    }
    let mut batch = BytesMut::from(&input[..]);
    let length = (batch.len() - PREFIX_BYTES) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

fn metadata_records() -> Target {
    let valid = |random: &mut Random| BytesMut::from(&metadata_record::any(random)[..]);
    let decode = |input| match MetadataRecord::decode(input) {
        Ok(MetadataRecord::Other(_)) | Err(_) => false,
        Ok(record) => {
            // The version that it was of is not kept; the highest has every field.
            assert_eq!(MetadataRecord::decode(record.encode()), Ok(record));
            true
        }
    };
    Target::new("metadata records", valid, decode)
}

/// Key and value in one input: the key's length leads, as a byte.
fn joined(key: &[u8], value: &[u8]) -> BytesMut {
    let mut both = BytesMut::with_capacity(1 + key.len() + value.len());
    both.put_u8(u8::try_from(key.len()).unwrap_or(u8::MAX));
    both.put_slice(key);
    both.put_slice(value);
    both
}

fn split(mut input: Bytes) -> (Bytes, Bytes) {
    if input.is_empty() {
        return (input.clone(), input);
    }
    let length = usize::from(input.split_to(1)[0]).min(input.len());
    (input.split_to(length), input)
}

fn control_records() -> Target {
    let valid = |random: &mut Random| {
        let (key, value) = control_record::any(random);
        joined(&key, &value)
    };
    let decode = |input| {
        let (key, value) = split(input);
        match ControlRecord::decode(Some(key), Some(value)) {
            Ok(ControlRecord::Other(_)) | Err(_) => false,
            Ok(record) => {
                let (key, value) = record.encode();
                assert_eq!(ControlRecord::decode(Some(key), Some(value)), Ok(record));
                true
            }
        }
    };
    Target::new("control records", valid, decode)
}

fn group_records() -> Target {
    let valid = |random: &mut Random| {
        let (key, value) = group_record::any(random);
        joined(&key, &value)
    };
    let decode = |input| {
        let (key, value) = split(input);
        match GroupRecord::decode(key, Some(value)) {
            Ok(GroupRecord::Other(_)) | Err(_) => false,
            Ok(record) => {
                // What only old versions carry is not in the highest.
                let (key, value) = record.encode();
                assert!(GroupRecord::decode(key, value).is_ok(), "{record:?}");
                true
            }
        }
    };
    Target::new("group records", valid, decode)
}
