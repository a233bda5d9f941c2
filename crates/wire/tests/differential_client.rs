//! Every message in every version, as random values, beside an independent codec: what ours writes the other reads to the
//! end, what the other then writes is byte for byte the same, and ours reads it as the value that it was. Versions that the
//! other does not know yet make the round trip through ours alone.
#![allow(missing_docs)]

use std::fmt::Debug;
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message};
use metricstream_wire::api::consumer_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use metricstream_wire::frame::Request;
use metricstream_wire::sample::{Random, Sample};
use metricstream_wire::{Context, Reader, Wire, api, for_each_api};

/// Random values per message and version.
const SAMPLES: u64 = 200;

fn written(value: &impl Wire, context: Context) -> Bytes {
    let mut out = BytesMut::new();
    value.encode(&mut out, context);
    out.freeze()
}

fn read<T: Wire>(bytes: Bytes, context: Context) -> T {
    let mut from = Reader::new(bytes);
    let value = T::decode(&mut from, context, "message").expect("ours reads it");
    from.finish().expect("to the end");
    value
}

/// The bytes as the other codec understands them and writes them again.
fn through_theirs<Theirs: Decodable + Encodable>(bytes: &Bytes, version: i16) -> Result<Bytes, String> {
    let mut rest = bytes.clone();
    let value = Theirs::decode(&mut rest, version).map_err(|e| format!("theirs cannot read ours: {e}"))?;
    if !rest.is_empty() {
        return Err(format!("theirs leaves {} bytes", rest.len()));
    }
    let mut again = BytesMut::new();
    value.encode(&mut again, version).map_err(|e| format!("theirs cannot write what it read: {e}"))?;
    Ok(again.freeze())
}

/// Compares the codecs over one message; returns how many values both have seen.
fn compare<Ours, Theirs>(versions: RangeInclusive<i16>, flexible_from: i16) -> u64
where
    Ours: Wire + Sample + PartialEq + Debug,
    Theirs: Decodable + Encodable + Message,
{
    let known = Theirs::VERSIONS;
    let mut compared = 0;
    for version in versions {
        let context = Context { version, flexible: version >= flexible_from };
        for nth in 0..SAMPLES {
            let value = Ours::sample(&mut Random::new(nth), context);
            let bytes = written(&value, context);
            assert!(bytes.len() >= Ours::least_bytes(context), "version {version}: shorter than its least: {value:?}");
            if (known.min..=known.max).contains(&version) {
                let again = through_theirs::<Theirs>(&bytes, version);
                assert_eq!(again, Ok(bytes.clone()), "version {version}: {value:?}");
                compared += 1;
            }
            assert_eq!(read::<Ours>(bytes, context), value, "version {version}");
        }
    }
    compared
}

macro_rules! a_test_each {
    ($($key:literal $module:ident $request:ident $response:ident;)*) => {$(
        #[test]
        fn $module() {
            use api::$module::{$request as Question, $response as Answer};
            assert_eq!(Question::KEY, $key);
            let asked = compare::<Question, theirs::$request>(Question::VERSIONS, Question::FLEXIBLE_FROM);
            let answered = compare::<Answer, theirs::$response>(Question::VERSIONS, Question::FLEXIBLE_FROM);
            // No message is here that the other does not know in one version at least.
            assert!(asked >= SAMPLES && answered >= SAMPLES, "{asked} requests and {answered} responses compared");
        }
    )*};
}

mod every_version_is_the_same_bytes_as_of {
    use super::*;

    for_each_api!(a_test_each);

    #[test]
    fn consumer_protocol() {
        let subscriptions =
            compare::<ConsumerProtocolSubscription, theirs::ConsumerProtocolSubscription>(0..=3, i16::MAX);
        let assignments = compare::<ConsumerProtocolAssignment, theirs::ConsumerProtocolAssignment>(0..=3, i16::MAX);
        assert_eq!((subscriptions, assignments), (4 * SAMPLES, 4 * SAMPLES));
    }
}

/// The versions beyond those of the other codec: a change of either shows here.
#[test]
fn only_versions_newer_than_the_other_codec_go_uncompared() {
    let mut uncompared = Vec::new();
    macro_rules! gather {
        ($($key:literal $module:ident $request:ident $response:ident;)*) => {$(
            let known = <theirs::$request as Message>::VERSIONS;
            for version in api::$module::$request::VERSIONS.filter(|v| !(known.min..=known.max).contains(v)) {
                uncompared.push(($key, version));
            }
        )*};
    }
    for_each_api!(gather);
    assert_eq!(uncompared, [(2, 11), (8, 10), (9, 10), (35, 5)]);
}
