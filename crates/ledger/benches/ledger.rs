//! Speed of the ledger: message-level operations per second on one core, and the check of a stored history.
//!
//! One message is four operations: sent, acknowledged, delivered, found in the log. What must hold is 10 M operations
//! per second, and 10 M messages checked in 3 s; `crates/ledger/tests/size.rs` holds the memory.

use std::fs::File;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use metricstream_ledger::history::{LaneId, Outcome, Record, Tp};
use metricstream_ledger::{Expected, Header, HistoryWriter, Ledger};

const PARTITIONS: i32 = 6;
const OPERATIONS: u64 = 4;

fn header() -> Header {
    let guarantee = Expected { durable: true, why: "acks=all".into(), ..Expected::default() };
    Header::new(1, &[("metrics", PARTITIONS)], &["group-1"], guarantee)
}

/// A clean history of so many messages in runs of `run`; deliveries follow the acknowledgements, the audit comes last.
fn history(messages: u64, run: u32, mut each: impl FnMut(&Record)) {
    let rounds = messages / u64::from(run) / PARTITIONS as u64;
    let place = |partition: i32| (LaneId { incarnation: 1, lane: partition as u32 }, Tp { topic: 0, partition });
    for partition in 0..PARTITIONS {
        let (lane, tp) = place(partition);
        each(&Record::Lane { lane, topic: 0, partition: Some(partition), idempotent: true });
        each(&Record::Assigned { at_us: 0, group: 0, member: 1, generation: 1, partitions: vec![(tp, 0)] });
    }
    for round in 0..rounds {
        let (first_seq, base_offset, at_us) =
            (round * u64::from(run), (round * u64::from(run)) as i64, round as i64 * 500);
        for partition in 0..PARTITIONS {
            let (lane, tp) = place(partition);
            each(&Record::Sent { at_us, lane, up_to_seq: first_seq + u64::from(run) });
            let outcome = Outcome::Ok { tp, base_offset };
            each(&Record::Outcome { at_us, lane, first_seq, count: run, outcome });
            each(&Record::Delivered { at_us, group: 0, member: 1, tp, base_offset, lane, first_seq, count: run });
        }
        if round % 1_000 == 0 {
            (0..PARTITIONS).for_each(|partition| {
                let (_, tp) = place(partition);
                each(&Record::Committed { at_us, group: 0, member: 1, tp, offset: base_offset + i64::from(run) });
            });
        }
    }
    let end = (rounds * u64::from(run)) as i64;
    for partition in 0..PARTITIONS {
        let (lane, tp) = place(partition);
        for round in 0..rounds {
            let first_seq = round * u64::from(run);
            each(&Record::Logged { tp, base_offset: first_seq as i64, lane, first_seq, count: run });
        }
        each(&Record::Bounds { tp, bounds: Some((0, end)) });
        each(&Record::FinalCommit { group: 0, tp, offset: end });
    }
    each(&Record::AuditDone { at_us: rounds as i64 * 500 });
}

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    for run in [1, 10, 100] {
        let messages = 600_000;
        let mut records = Vec::new();
        history(messages, run, |record| records.push(record.clone()));
        group.throughput(Throughput::Elements(messages * OPERATIONS));
        group.sample_size(10).bench_function(format!("operations, runs of {run}"), |bencher| {
            bencher.iter_batched_ref(
                || Ledger::new(header()),
                |ledger| records.iter().for_each(|record| ledger.apply(black_box(record))),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check");
    for run in [1, 20] {
        let messages = 10_000_000;
        group.throughput(Throughput::Elements(messages));
        group.sample_size(10).bench_function(format!("10 M messages, runs of {run}"), |bencher| {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("run.mshist");
            let mut writer = HistoryWriter::new(File::create(&path).expect("file"), &header()).expect("header");
            history(messages, run, |record| writer.write(record).expect("record"));
            writer.finish().expect("end");
            bencher.iter(|| {
                let checked = metricstream_ledger::check(&path).expect("checked");
                assert_eq!(checked.accounting.violations().count(), 0);
                checked.records
            });
        });
    }
    group.finish();
}

criterion_group!(benches, apply, check);
criterion_main!(benches);
