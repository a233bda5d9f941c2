//! The ledger's memory: bounded by the window in flight, and known even when nothing collapses.

use metricstream_ledger::history::{LaneId, Outcome, Record, Tp};
use metricstream_ledger::{Expected, Header, Ledger};

const LANE: LaneId = LaneId { incarnation: 1, lane: 0 };
const TP: Tp = Tp { topic: 0, partition: 0 };

fn ledger() -> Ledger {
    let guarantee = Expected { durable: true, why: "acks=all".into(), ..Expected::default() };
    let mut ledger = Ledger::new(Header::new(1, &[("metrics", 1)], &["group-1"], guarantee));
    ledger.apply(&Record::Lane { lane: LANE, topic: 0, partition: Some(0), idempotent: false });
    ledger.apply(&Record::Assigned { at_us: 0, group: 0, member: 1, generation: 1, partitions: vec![(TP, 0)] });
    ledger
}

fn ack(ledger: &mut Ledger, first_seq: u64, count: u32, base_offset: i64) {
    let outcome = Outcome::Ok { tp: TP, base_offset };
    ledger.apply(&Record::Outcome { at_us: first_seq as i64, lane: LANE, first_seq, count, outcome });
}

fn read(ledger: &mut Ledger, first_seq: u64, count: u32, base_offset: i64) {
    let (at_us, lane) = (first_seq as i64, LANE);
    ledger.apply(&Record::Delivered { at_us, group: 0, member: 1, tp: TP, base_offset, lane, first_seq, count });
    ledger.apply(&Record::Logged { tp: TP, base_offset, lane, first_seq, count });
}

#[test]
fn a_hundred_million_messages_with_holes_everywhere_fit_in_90_mb() {
    const MESSAGES: u64 = 100_000_000;
    const BATCH: u64 = 1_000;
    let mut ledger = ledger();
    for batch in 0..MESSAGES / BATCH {
        let first = batch * BATCH;
        // A control marker after each batch leaves a hole in the offsets, a failed send one in the sequences.
        let offset = (batch * (BATCH + 1)) as i64;
        ledger.apply(&Record::Outcome { at_us: 0, lane: LANE, first_seq: first, count: 1, outcome: Outcome::Fail });
        ack(&mut ledger, first + 1, BATCH as u32 - 1, offset);
        read(&mut ledger, first + 1, BATCH as u32 - 1, offset);
        if batch % 50 == 0 {
            ledger.apply(&Record::Logged {
                tp: TP,
                base_offset: offset + 999,
                lane: LANE,
                first_seq: first + 1,
                count: 1,
            });
        }
    }
    let (open, collapsed) = ledger.open_and_collapsed();
    assert_eq!((open, collapsed), (MESSAGES.div_ceil(65_536) as usize, 0), "nothing collapsed");
    let bytes = ledger.allocated_bytes();
    assert!(bytes <= 90_000_000, "{bytes} bytes");
    assert!(bytes >= 60_000_000, "{bytes} bytes: the bitmaps were not counted");
    println!("100 M messages, nothing collapsed: {:.1} MB", bytes as f64 / 1e6);
}

#[test]
fn a_hundred_million_messages_without_trouble_collapse() {
    let mut ledger = ledger();
    let mut bytes_max = 0;
    for batch in 0..100_000_u64 {
        ack(&mut ledger, batch * 1_000, 1_000, batch as i64 * 1_000);
        if let Some(behind) = batch.checked_sub(10) {
            read(&mut ledger, behind * 1_000, 1_000, behind as i64 * 1_000);
        }
        if batch % 1_000 == 0 {
            bytes_max = bytes_max.max(ledger.allocated_bytes());
        }
    }
    let (open, collapsed) = ledger.open_and_collapsed();
    assert!(open <= 2 && collapsed >= 1_524, "{open} open, {collapsed} collapsed");
    assert!(bytes_max < 1_500_000, "{bytes_max} bytes");
    println!("100 M messages, all well: {:.1} MB", bytes_max as f64 / 1e6);
}
