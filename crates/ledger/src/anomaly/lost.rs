//! Lost: acknowledged, and not in the audited log, at or above its start; the truncated tail too. Each lost range is
//! joined with the election that truncated it and the fault behind that.

use crate::accounting::{Findings, Inconclusive, Judgement, LOSSES_MAX, Loss, Spot, Tally, offsets_text, topic_name};
use crate::anomaly::{AnomalyKind, violation_if};
use crate::attribution::Cause;
use crate::history::LaneId;
use crate::ledger::{PerPlace, View, locate};
use crate::reasons::counted;

/// Pieces kept for sorting; beyond them only counts go on.
const PIECES_MAX: usize = 262_144;

/// A lost range of one lane, with its cause.
#[derive(Debug, Clone)]
struct Piece {
    place: u32,
    offset: Option<i64>,
    count: u64,
    lane: LaneId,
    seq: u64,
    predicted: bool,
    cause: usize,
}

/// Place, cause and whether it was predicted: what one row of losses has in common.
type Class = (u32, usize, bool);

/// Adjoining pieces of one class; the end is exclusive.
struct Row {
    class: Class,
    offsets: Option<(i64, i64)>,
    count: u64,
}

#[derive(Default)]
struct Collected {
    pieces: Vec<Piece>,
    /// What did not fit.
    rest: std::collections::BTreeMap<Class, u64>,
    causes: Vec<Cause>,
    unjudged: PerPlace,
}

pub(crate) fn judge(view: &View<'_>, out: &mut Findings<'_>) {
    view.places.iter().filter(|place| view.audited && place.bounds.is_none() && place.used).for_each(|place| {
        let topic = topic_name(view.header, place.tp);
        out.inconclusive.push(Inconclusive::NotAudited { topic, partition: place.tp.partition });
    });
    if !view.audited {
        return;
    }
    let mut collected = Collected::default();
    for lane in view.lanes.sorted() {
        let lost = lane.runs_where(view.groups(), |_, c, i| c.acked.word(i) & !c.in_log.word(i));
        if lost.is_empty() {
            continue;
        }
        let acks = lane.acks.by_seq();
        for (from, to) in lost {
            locate((from, to), &acks, |seq, end, run| {
                if let Some(place) = run.map(|run| run.place).or(lane.place) {
                    let at_us = run.map_or(0, |run| run.at_us);
                    let piece = Piece {
                        place,
                        offset: run.map(|run| run.offset).filter(|offset| *offset >= 0),
                        count: end - seq,
                        lane: lane.id,
                        seq,
                        predicted: false,
                        cause: 0,
                    };
                    take(view, piece, at_us, &mut collected, out);
                }
            });
        }
    }
    report(view, collected, out);
}

/// Decides what one piece is.
fn take(view: &View<'_>, mut piece: Piece, at_us: i64, into: &mut Collected, out: &mut Findings<'_>) {
    let place = view.place(piece.place);
    let absent = match place.bounds {
        None => return, // said already: not audited
        Some(None) => true,
        Some(Some((start, _))) => {
            match piece.offset {
                Some(offset) if offset < start => {
                    let expired = piece.count.min((start - offset) as u64);
                    out.counts.expired += expired;
                    if expired == piece.count {
                        return;
                    }
                    piece.offset = Some(start);
                    piece.seq += expired;
                    piece.count -= expired;
                }
                None if start > 0 => {
                    let spot = Spot::messages(piece.lane, piece.seq, piece.seq + piece.count, None);
                    return into.unjudged.add(piece.place, piece.count, spot);
                }
                _ => {}
            }
            false
        }
    };
    let topic = topic_name(view.header, place.tp);
    if view.header.topics.iter().any(|info| info.name == topic && info.compacted) {
        let spot = Spot::messages(piece.lane, piece.seq, piece.seq + piece.count, piece.offset);
        return into.unjudged.add(piece.place, piece.count, spot);
    }
    let (durable, _) = view.guarantee.durable(Some(piece.lane.incarnation), place.tp);
    piece.predicted = !durable;
    out.counts.lost += piece.count;
    out.counts.lost_predicted += if piece.predicted { piece.count } else { 0 };
    let cause = view.story.explain(&topic, place.tp.partition, at_us, absent);
    piece.cause = into.causes.iter().position(|known| *known == cause).unwrap_or_else(|| {
        into.causes.push(cause);
        into.causes.len() - 1
    });
    if into.pieces.len() < PIECES_MAX {
        into.pieces.push(piece);
    } else {
        *into.rest.entry((piece.place, piece.cause, piece.predicted)).or_default() += piece.count;
    }
}

fn report(view: &View<'_>, mut collected: Collected, out: &mut Findings<'_>) {
    collected.pieces.sort_by_key(|p| (p.place, p.predicted, p.offset.is_none(), p.offset, p.lane, p.seq));
    let mut violations = PerPlace::default();
    let mut predictions = PerPlace::default();
    for piece in &collected.pieces {
        let spot = Spot::messages(piece.lane, piece.seq, piece.seq + piece.count, piece.offset);
        let tallies = if piece.predicted { &mut predictions } else { &mut violations };
        tallies.add(piece.place, piece.count, spot);
    }
    let mut rows: Vec<Row> = Vec::new();
    for piece in &collected.pieces {
        let offsets = piece.offset.map(|offset| (offset, offset + piece.count as i64));
        let class = (piece.place, piece.cause, piece.predicted);
        if let Some(last) = rows.last_mut()
            && last.class == class
            && adjoin(last.offsets, offsets)
        {
            last.offsets = last.offsets.zip(offsets).map(|(a, b)| (a.0, b.1));
            last.count += piece.count;
        } else if rows.len() < LOSSES_MAX {
            rows.push(Row { class, offsets, count: piece.count });
        } else {
            *collected.rest.entry(class).or_default() += piece.count;
        }
    }
    rows.extend(collected.rest.iter().map(|(class, count)| Row { class: *class, offsets: None, count: *count }));
    for Row { class: (place, cause, predicted), offsets, count } in rows {
        let tp = view.place(place).tp;
        let cause = &collected.causes[cause];
        out.losses.push(Loss {
            topic: topic_name(view.header, tp),
            partition: tp.partition,
            first_offset: offsets.map(|(first, _)| first),
            last_offset: offsets.map(|(_, end)| end - 1),
            count,
            predicted,
            cause: sentence(&view.header.name_of(tp), offsets, count, &cause.text),
            epoch: cause.epoch,
            fault: cause.fault.clone(),
        });
    }
    let mut anomalies = |tallies: &PerPlace, verdict: Judgement| {
        for (place, tally) in tallies.iter() {
            let tp = view.place(place).tp;
            out.report(AnomalyKind::Lost, (tp, None), tally, verdict, || evidence(view, place, tally, verdict));
        }
    };
    anomalies(&violations, violation_if(true));
    anomalies(&predictions, violation_if(false));
    for (place, tally) in collected.unjudged.iter() {
        out.report(AnomalyKind::Lost, (view.place(place).tp, None), tally, Judgement::Counted, || {
            format!(
                "{} acknowledged messages are not in the log; whether compaction or retention took them is not known",
                tally.count
            )
        });
    }
}

fn adjoin(a: Option<(i64, i64)>, b: Option<(i64, i64)>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.1 == b.0,
        (None, None) => true,
        _ => false,
    }
}

/// `offsets 1203–1288 of metrics-3 were truncated at epoch 7, after the kill of broker 2`
fn sentence(name: &str, offsets: Option<(i64, i64)>, count: u64, cause: &str) -> String {
    let was = |one: bool| if one { "was" } else { "were" };
    let (what, was) = match offsets {
        Some((first, end)) => (offsets_text(first, end - 1), was(end - first == 1)),
        None => (format!("{} at unreported offsets", counted(count, "message", "messages")), was(count == 1)),
    };
    let lead = if cause.starts_with("truncated") { "" } else { "lost: " };
    if lead.is_empty() {
        format!("{what} of {name} {was} {cause}")
    } else {
        format!("{what} of {name} {was} {lead}{cause}")
    }
}

fn evidence(view: &View<'_>, place: u32, tally: &Tally, verdict: Judgement) -> String {
    let state = view.place(place);
    let of = tally.spots.first().and_then(|spot| spot.lane).map(|lane| lane.incarnation);
    let (_, why) = view.guarantee.durable(of, state.tp);
    let log = match state.bounds {
        Some(Some((start, end))) => format!("the audited log is {start}–{end}"),
        _ => "the topic is absent at the audit".to_owned(),
    };
    let guarantee = if verdict == Judgement::Violation { "guaranteed" } else { "not guaranteed" };
    format!(
        "{} not in the log; {log}; durability is {guarantee}: {why}",
        counted(tally.count, "acknowledged message is", "acknowledged messages are")
    )
}
