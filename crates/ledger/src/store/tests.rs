//! The compact form, whole, cut and damaged.

use proptest::prelude::*;

use super::*;
use crate::header::{Expected, Header};
use crate::history::{Alien, LaneId, Outcome, Record, Tp};

fn header() -> Header {
    let guarantee = Expected { durable: true, why: "acks=all".into(), ..Expected::default() };
    Header::new(77, &[("metrics", 6), ("other", 1)], &["g", "h"], guarantee)
}

fn written(records: &[Record]) -> Vec<u8> {
    let mut writer = HistoryWriter::new(Vec::new(), &header()).expect("header");
    for record in records {
        writer.write(record).expect("record");
    }
    writer.finish().expect("end")
}

/// Everything readable, and why it ended.
fn read(bytes: &[u8]) -> (Vec<Record>, Option<StoreError>) {
    let mut records = Vec::new();
    let mut reader = match HistoryReader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (records, Some(error)),
    };
    loop {
        match reader.read() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return (records, None),
            Err(error) => {
                assert!(matches!(reader.read(), Ok(None)), "nothing comes after an error");
                return (records, Some(error));
            }
        }
    }
}

pub(super) fn any_record() -> impl Strategy<Value = Record> {
    let tp = (0..2_u16, 0..6_i32).prop_map(|(topic, partition)| Tp { topic, partition });
    let lane = (0..3_u32, 0..3_u32).prop_map(|(incarnation, lane)| LaneId { incarnation, lane });
    let outcome = prop_oneof![
        (tp.clone(), -1..1_000_i64).prop_map(|(tp, base_offset)| Outcome::Ok { tp, base_offset }),
        Just(Outcome::Fail),
        Just(Outcome::Unknown),
    ];
    let time = -1_000_000..10_000_000_000_i64;
    let (group, member) = (0..2_u16, any::<u32>());
    let (seq, offset, count) = (0..1_u64 << 50, 0..1_i64 << 50, 1..u32::MAX);
    prop_oneof![
        (lane.clone(), 0..2_u16, prop::option::of(0..6), any::<bool>())
            .prop_map(|(lane, topic, partition, idempotent)| { Record::Lane { lane, topic, partition, idempotent } }),
        (time.clone(), lane.clone(), seq.clone()).prop_map(|(at_us, lane, up_to_seq)| Record::Sent {
            at_us,
            lane,
            up_to_seq
        }),
        (time.clone(), lane.clone(), seq.clone(), count.clone(), outcome).prop_map(
            |(at_us, lane, first_seq, count, outcome)| Record::Outcome { at_us, lane, first_seq, count, outcome }
        ),
        (tp.clone(), offset.clone(), lane.clone(), seq.clone(), count.clone()).prop_map(
            |(tp, base_offset, lane, first_seq, count)| Record::Logged { tp, base_offset, lane, first_seq, count }
        ),
        (time.clone(), group.clone(), member, tp.clone(), offset.clone(), lane, seq, count).prop_map(
            |(at_us, group, member, tp, base_offset, lane, first_seq, count)| Record::Delivered {
                at_us,
                group,
                member,
                tp,
                base_offset,
                lane,
                first_seq,
                count
            }
        ),
        (time.clone(), group.clone(), member, tp.clone(), offset.clone(), any::<bool>()).prop_map(
            |(at_us, group, member, tp, offset, seek)| if seek {
                Record::Seek { at_us, group, member, tp, offset }
            } else {
                Record::Committed { at_us, group, member, tp, offset }
            }
        ),
        (time.clone(), group.clone(), member, -1..9_i32, prop::collection::vec((tp.clone(), -1..99_i64), 0..4))
            .prop_map(|(at_us, group, member, generation, partitions)| Record::Assigned {
                at_us,
                group,
                member,
                generation,
                partitions
            }),
        (time.clone(), group.clone(), member, any::<bool>(), prop::collection::vec(tp.clone(), 0..4)).prop_map(
            |(at_us, group, member, lost, partitions)| Record::Revoked { at_us, group, member, lost, partitions }
        ),
        (prop::option::of(group.clone()), tp.clone(), offset.clone(), 0..3).prop_map(|(group, tp, offset, why)| {
            let why = [Alien::BadCrc, Alien::ForeignRun, Alien::WrongPartition][why as usize];
            Record::Alien { group, tp, offset, why }
        }),
        (time.clone(), tp.clone(), -1..9_i32, offset.clone())
            .prop_map(|(at_us, tp, epoch, offset)| Record::HighWatermark { at_us, tp, epoch, offset }),
        (tp.clone(), prop::option::of((0..9_i64, 9..99_i64))).prop_map(|(tp, bounds)| Record::Bounds { tp, bounds }),
        (group, tp, offset).prop_map(|(group, tp, offset)| Record::FinalCommit { group, tp, offset }),
        time.prop_map(|at_us| Record::AuditDone { at_us }),
    ]
}

fn some_records() -> Vec<Record> {
    let tp = Tp { topic: 0, partition: 3 };
    let lane = LaneId { incarnation: 1, lane: 3 };
    (0..40_000_u64)
        .map(|i| Record::Logged { tp, base_offset: i as i64 * 3, lane, first_seq: i * 2, count: 1 + (i % 2) as u32 })
        .collect()
}

#[test]
fn a_history_cut_anywhere_says_where_and_keeps_what_was_before() {
    let records = some_records();
    let whole = written(&records);
    assert!(whole.len() > 3 * BLOCK_BYTES / 2, "several blocks");
    let (back, error) = read(&whole);
    assert!(error.is_none() && back == records);
    let mut lengths = std::collections::BTreeSet::new();
    for cut in (0..whole.len()).step_by(997).chain([whole.len() - 1]) {
        let (back, error) = read(&whole[..cut]);
        let error = error.expect("a cut history is not whole");
        match (cut, error) {
            (..8, StoreError::NotAHistory) | (_, StoreError::Cut { .. }) => {}
            (_, other) => panic!("cut at {cut}: {other}"),
        }
        assert_eq!(back, records[..back.len()], "cut at {cut}");
        lengths.insert(back.len());
    }
    assert!(lengths.len() >= 3, "whole blocks before the cut are kept: {lengths:?}");
}

#[test]
fn every_damaged_byte_is_noticed() {
    let records = &some_records()[..50];
    let whole = written(records);
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        let (back, error) = read(&damaged);
        assert!(error.is_some(), "byte {at}");
        assert!(back.is_empty() || back == records, "byte {at}");
    }
}

#[test]
fn another_version_is_named() {
    let mut bytes = written(&[]);
    bytes[8] = 9;
    let error = read(&bytes).1.expect("other version");
    assert_eq!(
        error.to_string(),
        "history layout 9; this build reads 1: use the version of metricstream that wrote it"
    );
    let mut longer = written(&[]);
    longer.push(0);
    assert!(matches!(read(&longer).1, Some(StoreError::Corrupt { .. })));
}

#[test]
fn flushed_records_survive_a_kill() {
    let records = &some_records()[..10];
    let mut file = Vec::new();
    let mut writer = HistoryWriter::new(&mut file, &header()).expect("header");
    for record in &records[..7] {
        writer.write(record).expect("record");
    }
    writer.flush().expect("flush");
    writer.write(&records[7]).expect("record");
    // What a killed process leaves: no end block, the last record never written out.
    drop(writer);
    let (back, error) = read(&file);
    assert_eq!(back, records[..7]);
    assert!(matches!(error, Some(StoreError::Cut { records: 7, .. })), "{error:?}");
}

/// A disk that fills up.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 < bytes.len() {
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_that_says_how_much_is_safe() {
    let mut writer = HistoryWriter::new(Full(100_000), &header()).expect("header");
    let error = some_records().iter().find_map(|record| writer.write(record).err()).expect("full");
    assert!(matches!(error, WriteError::Io { records: 1.., bytes: 60_000.., .. }), "{error}");
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(records in prop::collection::vec(any_record(), 0..200)) {
        let (back, error) = read(&written(&records));
        prop_assert!(error.is_none(), "{:?}", error);
        prop_assert_eq!(back, records);
    }

    #[test]
    fn wild_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut input = codec::Input::new(&bytes);
        let mut context = codec::Context::default();
        while input.left() > 0 && context.decode(&mut input).is_ok() {}
    }

    #[test]
    fn json_lines_say_the_same(records in prop::collection::vec(any_record(), 0..50)) {
        let header = header();
        let records: Vec<Record> = records.into_iter().filter(|r| header.validate_record(r).is_ok()).collect();
        let mut writer = crate::jsonl::JsonlWriter::new(Vec::new(), &header).expect("header");
        for record in &records {
            writer.write(record).expect("record");
        }
        let bytes = writer.finish().expect("end");
        let mut reader = crate::jsonl::JsonlReader::new(bytes.as_slice()).expect("header");
        prop_assert_eq!(reader.header(), &header);
        for record in &records {
            let back = reader.read().expect("line");
            prop_assert_eq!(back.as_ref(), Some(record));
        }
        prop_assert!(reader.read().expect("end").is_none());
    }
}
