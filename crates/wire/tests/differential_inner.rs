//! What lies in logs, beside an independent codec: control records and record batches, random ones in every version that
//! both know. What ours writes the other reads to the end, and what the other writes ours reads.
#![allow(missing_docs)]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use kafka_protocol::records::{self, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions};
use metricstream_wire::batch_builder::{BatchBuilder, NewRecord};
use metricstream_wire::control_record as control;
use metricstream_wire::record_batch::{Batch, Record};
use metricstream_wire::sample::{Random, Sample};
use metricstream_wire::{Context, Reader, Wire};

const SAMPLES: u64 = 400;

fn same<Ours, Theirs>(context: Context)
where
    Ours: Wire + Sample + PartialEq + std::fmt::Debug,
    Theirs: Decodable + Encodable,
{
    same_after::<Ours, Theirs>(context, |_| {});
}

fn same_after<Ours, Theirs>(context: Context, change: impl Fn(&mut Ours))
where
    Ours: Wire + Sample + PartialEq + std::fmt::Debug,
    Theirs: Decodable + Encodable,
{
    let version = context.version;
    for seed in 0..SAMPLES {
        let mut ours = Ours::sample(&mut Random::new(seed), context);
        change(&mut ours);
        let mut written = BytesMut::new();
        ours.encode(&mut written, context);
        let written = written.freeze();
        let mut rest = written.clone();
        let read = Theirs::decode(&mut rest, version)
            .unwrap_or_else(|e| panic!("version {version}: theirs cannot read ours: {e}\n{ours:?}"));
        assert!(rest.is_empty(), "version {version}: theirs left {} bytes of {ours:?}", rest.len());
        let mut again = BytesMut::new();
        read.encode(&mut again, version).expect("theirs writes what it read");
        assert_eq!(written, again, "version {version}: {ours:?}");
        let mut from = Reader::new(written);
        assert_eq!(Ours::decode(&mut from, context, "message"), Ok(ours));
        from.finish().expect("ours reads to the end");
    }
}

#[test]
fn control_records_are_the_same_bytes() {
    let flexible = |version| Context { version, flexible: true };
    for version in 0..=1 {
        // The other codec goes by the version that the message itself names.
        same_after::<control::LeaderChange, theirs::LeaderChangeMessage>(flexible(version), |ours| {
            ours.version = version
        });
    }
    same::<control::SnapshotHeader, theirs::SnapshotHeaderRecord>(flexible(0));
    same::<control::SnapshotFooter, theirs::SnapshotFooterRecord>(flexible(0));
    same::<control::KRaftVersion, theirs::KRaftVersionRecord>(flexible(0));
    same_after::<control::KRaftVoters, theirs::VotersRecord>(flexible(0), |ours| ours.version = 0);
}

/// What one batch is built from.
struct Plan {
    base_offset: i64,
    producer: (i64, i16, i32),
    transactional: bool,
    records: Vec<PlannedRecord>,
}

/// Timestamp, key, value, headers.
type PlannedRecord = (i64, Option<Bytes>, Option<Bytes>, Vec<(String, Option<Bytes>)>);

fn plan(random: &mut Random) -> Plan {
    let plain = Context { version: 0, flexible: false };
    let record = |random: &mut Random, nth: usize| {
        // The other codec takes the least timestamp for the base, Kafka and we the first.
        let timestamp_ms = 1_700_000_000_000 + (nth * random.below(100_000)) as i64;
        let headers = (0..random.below(3)).map(|n| (format!("h{n}"), Sample::sample(random, plain))).collect();
        (timestamp_ms, Sample::sample(random, plain), Sample::sample(random, plain), headers)
    };
    let idempotent = random.once_in(2);
    Plan {
        base_offset: random.below(1 << 40) as i64,
        producer: if idempotent { (random.below(1 << 30) as i64, 3, random.below(1000) as i32) } else { (-1, -1, -1) },
        transactional: idempotent && random.once_in(2),
        records: (0..=random.below(6)).map(|nth| record(random, nth)).collect(),
    }
}

fn build(plan: &Plan) -> Bytes {
    let (id, epoch, sequence) = plan.producer;
    let mut batch = BatchBuilder::new().producer(id, epoch, sequence);
    if plan.transactional {
        batch = batch.transactional();
    }
    for (timestamp_ms, key, value, headers) in &plan.records {
        let headers: Vec<_> = headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        batch.push(NewRecord {
            timestamp_ms: *timestamp_ms,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &headers,
        });
    }
    batch.build(plan.base_offset, 9)
}

#[test]
fn batches_are_read_by_the_other_codec_as_they_were_built_and_ours_reads_what_it_writes_of_them() {
    for seed in 0..SAMPLES {
        let plan = plan(&mut Random::new(seed));
        let mut built = build(&plan);
        let read = RecordBatchDecoder::decode(&mut built.clone()).expect("theirs reads ours").records;
        assert_eq!(read.len(), plan.records.len());
        for (nth, (theirs, (timestamp_ms, key, value, headers))) in read.iter().zip(&plan.records).enumerate() {
            assert_eq!((theirs.offset, theirs.timestamp), (plan.base_offset + nth as i64, *timestamp_ms));
            assert_eq!((&theirs.key, &theirs.value), (key, value));
            assert_eq!((theirs.producer_id, theirs.producer_epoch), (plan.producer.0, plan.producer.1));
            assert_eq!((theirs.partition_leader_epoch, theirs.transactional), (9, plan.transactional));
            let theirs: Vec<_> = theirs.headers.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
            assert_eq!(&theirs, headers);
        }
        let mut theirs = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: records::Compression::None };
        RecordBatchEncoder::encode(&mut theirs, &read, &options).expect("theirs writes what it read");
        let records = |bytes: &mut Bytes| -> Vec<Record> {
            Batch::next(bytes).expect("sound").expect("whole").records().expect("not compressed")
        };
        assert_eq!(records(&mut theirs.freeze()), records(&mut built), "seed {seed}");
    }
}
