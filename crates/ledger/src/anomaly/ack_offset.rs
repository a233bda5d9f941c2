//! Ack-offset mismatch: the offset in the acknowledgement is not one at which the log has the message.

use crate::accounting::{Findings, Spot};
use crate::anomaly::{AnomalyKind, violation_if};
use crate::bitmap::CHUNK;
use crate::ledger::{PerPlace, View};
use crate::reasons::counted;
use crate::runs::subtract;

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    let mut tallies = PerPlace::default();
    for lane in view.lanes.sorted() {
        let mut suspect = false;
        lane.each_chunk(view.groups(), |_, chunk| suspect |= !chunk.acked.is_empty() && !chunk.acks_agree());
        if !suspect {
            continue;
        }
        let logged = lane.runs_where(view.groups(), |_, c, i| c.in_log.word(i));
        for run in subtract(&lane.acks, &lane.logged) {
            // What is not in the log at all is lost, not misplaced.
            let first = logged.partition_point(|(_, end)| *end <= run.seq);
            for (from, to) in logged[first..].iter().take_while(|(from, _)| *from < run.end_seq()) {
                let Some(part) = run.clip(*from, *to) else { continue };
                view.focused_seqs(lane.id, part.seq, part.end_seq(), |from, to| {
                    let offset = part.offset + (from - part.seq) as i64;
                    tallies.add(run.place, to - from, Spot::messages(lane.id, from, to, Some(offset)));
                });
            }
        }
    }
    for (place, tally) in tallies.iter() {
        let tp = view.place(place).tp;
        let (guaranteed, why) = view.guarantee.durable(None, tp);
        out.report(AnomalyKind::AckOffsetMismatch, (tp, None), tally, violation_if(guaranteed), || {
            format!(
                "{} in the log, at other offsets than acknowledged ({why})",
                counted(tally.count, "message is", "messages are")
            )
        });
    }
}

/// Chunks of 65,536 sequences of which dropped detail may hide a mismatch or a loss.
pub(crate) fn suspects(view: &View<'_>) -> Vec<(crate::history::LaneId, u64)> {
    let mut found = Vec::new();
    for lane in view.lanes.sorted() {
        lane.each_chunk(view.groups(), |index, chunk| {
            let acks = !chunk.acked.is_empty() && !chunk.acks_agree();
            let missing =
                |group| (0..CHUNK as usize / 64).any(|i| chunk.in_log.word(i) & !chunk.delivered(group).word(i) != 0);
            if acks || (0..view.groups()).any(|group| view.has_final_commit(group) && missing(group)) {
                found.push((lane.id, index));
            }
        });
    }
    found
}
