//! The ledger: takes records, keeps bounded state, and accounts for every message at the end.
//!
//! It only routes: state lives in `lanes`, `offsets` and `group`, the judging in `anomaly`.

use std::collections::{BTreeMap, BTreeSet};

use crate::accounting::{Accounting, Findings, Inconclusive, Spot, Tally, topic_name};
use crate::anomaly::alien::Aliens;
use crate::anomaly::committed_lost::HighWater;
use crate::anomaly::epoch_regression::EpochWatch;
use crate::anomaly::{ack_offset, judge};
use crate::attribution::{Guarantee, Story};
use crate::bitmap::{CHUNK, pieces};
use crate::group::{Delivery, GroupPlace};
use crate::header::{Header, Invalid};
use crate::history::{Alien, LaneId, Outcome, Record, Tp};
use crate::lanes::{Lane, Lanes};
use crate::offsets::{BLOCK, Compared, Observer, factor};
use crate::runs::{ACK_MERGE_US, BUDGET, BUDGET_FOCUSED, Budget, Run, RunList, Suspects};
use crate::timeline::TimelineEvent;

/// One partition.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) tp: Tp,
    /// Whether anything was acknowledged or logged here.
    pub(crate) used: bool,
    /// What the audit reader saw.
    pub(crate) log: Observer,
    /// Blocks of which the audit read an offset twice.
    pub(crate) reread_blocks: BTreeSet<u64>,
    pub(crate) bounds: Option<Option<(i64, i64)>>,
    pub(crate) aliens: Aliens,
    pub(crate) epochs: EpochWatch,
    pub(crate) high_water: HighWater,
    pub(crate) groups: Vec<GroupPlace>,
    focus: BTreeSet<u64>,
}

/// Accounts for the messages of one run.
#[derive(Debug, Clone)]
pub struct Ledger {
    header: Header,
    /// Number of the first partition of each topic.
    first_places: Vec<u32>,
    places: Vec<Place>,
    lanes: Lanes,
    budget: Budget,
    /// Chunks of lanes of which a second pass keeps detail.
    focus: Option<BTreeMap<LaneId, BTreeSet<u64>>>,
    audited: bool,
    rejected: u64,
    rejected_first: Option<Invalid>,
}

impl Ledger {
    /// A ledger for the history that begins with this header.
    pub fn new(header: Header) -> Self {
        Self::with_budget(header, BUDGET)
    }

    /// A ledger for a second pass, which keeps detail only of what a first one suspected.
    pub fn focused(header: Header, suspects: &Suspects) -> Self {
        let mut ledger = Self::with_budget(header, BUDGET_FOCUSED);
        let mut chunks = BTreeMap::<LaneId, BTreeSet<u64>>::new();
        for (lane, chunk) in &suspects.chunks {
            chunks.entry(*lane).or_default().insert(*chunk);
        }
        for (tp, block) in &suspects.blocks {
            if let Some(place) = ledger.place_number(*tp) {
                ledger.places[place as usize].focus.insert(*block);
            }
        }
        ledger.focus = Some(chunks);
        ledger
    }

    pub(crate) fn with_budget(header: Header, most: usize) -> Self {
        let (mut first_places, mut places) = (Vec::new(), Vec::new());
        for (topic, info) in header.topics.iter().enumerate() {
            first_places.push(places.len() as u32);
            places.extend((0..info.partitions).map(|partition| Place {
                tp: Tp { topic: topic as u16, partition },
                used: false,
                log: Observer::default(),
                reread_blocks: BTreeSet::new(),
                bounds: None,
                aliens: Aliens::default(),
                epochs: EpochWatch::default(),
                high_water: HighWater::default(),
                groups: vec![GroupPlace::default(); header.groups.len()],
                focus: BTreeSet::new(),
            }));
        }
        Self {
            header,
            first_places,
            places,
            lanes: Lanes::new(),
            budget: Budget::new(most),
            focus: None,
            audited: false,
            rejected: 0,
            rejected_first: None,
        }
    }

    /// The header that the ledger was made with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Takes one record. One that the header does not allow is left out and told at the end.
    pub fn apply(&mut self, record: &Record) {
        if let Err(invalid) = self.header.validate_record(record) {
            return self.reject(invalid);
        }
        match record {
            Record::Lane { lane, topic, partition, idempotent } => {
                let place = partition.and_then(|partition| self.place_number(Tp { topic: *topic, partition }));
                if let Some(lane) = self.lane(*lane) {
                    lane.place = place.or(lane.place);
                    lane.idempotent = *idempotent;
                }
            }
            Record::Sent { lane, up_to_seq, .. } => {
                if let Some(lane) = self.lane(*lane) {
                    lane.sent = lane.sent.max(*up_to_seq);
                }
            }
            Record::Outcome { at_us, lane, first_seq, count, outcome } => {
                self.outcome(*at_us, *lane, *first_seq, *count, *outcome);
            }
            Record::Logged { tp, base_offset, lane, first_seq, count } => {
                self.logged(*tp, *base_offset, *lane, *first_seq, *count);
            }
            Record::Delivered { at_us, group, member, tp, base_offset, lane, first_seq, count } => {
                let delivery = Delivery {
                    at_us: *at_us,
                    member: *member,
                    base: *base_offset,
                    count: *count,
                    lane: *lane,
                    seq: *first_seq,
                };
                self.delivered(*tp, usize::from(*group), &delivery);
            }
            Record::AuditDone { .. } => self.audited = true,
            other => self.event(other),
        }
    }

    /// Records that are about partitions and groups, not about messages.
    fn event(&mut self, record: &Record) {
        match record {
            Record::Committed { at_us, group, member, tp, offset } => {
                self.group_place(*tp, *group).committed(*at_us, *member, *offset);
            }
            Record::Assigned { at_us, group, member, partitions, .. } => {
                for (tp, offset) in partitions {
                    self.group_place(*tp, *group).assigned(*at_us, *member, *offset);
                }
            }
            Record::Revoked { at_us, group, member, partitions, .. } => {
                for tp in partitions {
                    self.group_place(*tp, *group).revoked(*at_us, *member);
                }
            }
            Record::Seek { group, member, tp, offset, .. } => self.group_place(*tp, *group).seek(*member, *offset),
            Record::Alien { group, tp, offset, why } => {
                let place = self.place_mut(*tp);
                match group {
                    Some(group) => place.groups[usize::from(*group)].alien(*offset),
                    None => place.log.see_alien(*offset as u64),
                }
                place.aliens.add(*group, *why, 1, Spot::offsets(*offset as u64, *offset as u64 + 1));
            }
            Record::HighWatermark { tp, epoch, offset, .. } => {
                let place = self.place_mut(*tp);
                place.epochs.see(*epoch, *offset);
                place.high_water.see(*epoch, *offset);
            }
            Record::Bounds { tp, bounds } => self.place_mut(*tp).bounds = Some(*bounds),
            Record::FinalCommit { group, tp, offset } => {
                self.group_place(*tp, *group).final_commit = Some(*offset).filter(|offset| *offset >= 0);
            }
            Record::Lane { .. }
            | Record::Sent { .. }
            | Record::Outcome { .. }
            | Record::Logged { .. }
            | Record::Delivered { .. }
            | Record::AuditDone { .. } => {}
        }
    }

    fn outcome(&mut self, at_us: i64, id: LaneId, first: u64, count: u32, outcome: Outcome) {
        let groups = self.header.groups.len();
        let ok = match outcome {
            Outcome::Ok { tp, base_offset } => self.place_number(tp).map(|place| (place, base_offset)),
            Outcome::Fail | Outcome::Unknown => None,
        };
        let Some(number) = self.lane_number(id) else { return };
        let lane = self.lanes.get_mut(number);
        lane.sent = lane.sent.max(first + u64::from(count));
        match (outcome, ok) {
            (Outcome::Ok { .. }, Some((place, offset))) => {
                lane.place.get_or_insert(place);
                lane.ack(first, count, offset, place, groups);
                self.places[place as usize].used = true;
                let run = Run { seq: first, offset, count, place, at_us };
                self.keep(number, run, |lane| &mut lane.acks, ACK_MERGE_US);
            }
            (Outcome::Fail, _) => lane.fail(first, count, groups),
            _ => {}
        }
    }

    fn logged(&mut self, tp: Tp, base: i64, id: LaneId, first: u64, count: u32) {
        let Some(number) = self.place_number(tp) else { return };
        let groups = self.header.groups.len();
        // Offsets that the audit reads again say nothing new.
        let place = &mut self.places[number as usize];
        let (mut again, reread) = (Vec::new(), &mut place.reread_blocks);
        place.used = true;
        place.log.see(base as u64, count, factor(id, first, base), |from, to| {
            again.push((from, to));
            reread.extend(from / BLOCK..=(to - 1) / BLOCK);
        });
        let Some(lane_number) = self.lane_number(id) else { return };
        let lane = self.lanes.get_mut(lane_number);
        let misplaced = *lane.place.get_or_insert(number) != number;
        let mut at = base as u64;
        for (from, to) in again.into_iter().chain([(base as u64 + u64::from(count), 0)]) {
            if from > at {
                let seq = first + (at - base as u64);
                lane.log(seq, (from - at) as u32, at as i64, number, groups);
            }
            at = to;
        }
        if misplaced {
            let spot = Spot::messages(id, first, first + u64::from(count), Some(base));
            self.places[number as usize].aliens.add(None, Alien::WrongPartition, u64::from(count), spot);
        }
        let run = Run { seq: first, offset: base, count, place: number, at_us: 0 };
        self.keep(lane_number, run, |lane| &mut lane.logged, 0);
    }

    fn delivered(&mut self, tp: Tp, group: usize, delivery: &Delivery) {
        let Some(number) = self.place_number(tp) else { return };
        let groups = self.header.groups.len();
        self.places[number as usize].groups[group].delivered(delivery);
        let Some(lane_number) = self.lane_number(delivery.lane) else { return };
        let lane = self.lanes.get_mut(lane_number);
        lane.deliver(group, delivery.seq, delivery.count, delivery.base, groups);
        if lane.delivered.len() <= group {
            lane.delivered.resize_with(group + 1, Default::default);
        }
        let run = Run { seq: delivery.seq, offset: delivery.base, count: delivery.count, place: number, at_us: 0 };
        self.keep(lane_number, run, |lane| &mut lane.delivered[group], 0);
    }

    /// Keeps detail, unless there is too much of it or it is not asked for.
    #[inline]
    fn keep(&mut self, number: usize, run: Run, list: impl Fn(&mut Lane) -> &mut RunList, merge_us: i64) {
        if self.budget.overflowed || (self.focus.is_some() && !self.in_focus(self.lanes.all()[number].id, &run)) {
            return;
        }
        let grew = list(self.lanes.get_mut(number)).push(run, merge_us);
        if grew && self.budget.grew() {
            self.lanes.all_mut().iter_mut().for_each(Lane::forget_detail);
        }
    }

    fn in_focus(&self, id: LaneId, run: &Run) -> bool {
        let Some(focus) = &self.focus else { return true };
        let chunks = |set: &BTreeSet<u64>| {
            let (first, last) = (run.seq / u64::from(CHUNK), (run.end_seq() - 1) / u64::from(CHUNK));
            set.range(first..=last).next().is_some()
        };
        let blocks = || {
            let Ok(offset) = u64::try_from(run.offset) else { return false };
            let last = (offset + u64::from(run.count) - 1) / BLOCK;
            self.places[run.place as usize].focus.range(offset / BLOCK..=last).next().is_some()
        };
        focus.get(&id).is_some_and(chunks) || blocks()
    }

    fn lane(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.lane_number(id).map(|number| self.lanes.get_mut(number))
    }

    #[inline]
    fn lane_number(&mut self, id: LaneId) -> Option<usize> {
        let number = self.lanes.number(id);
        if number.is_none() {
            self.reject(Invalid::Lanes { max: crate::lanes::LANES_MAX });
        }
        number
    }

    fn reject(&mut self, invalid: Invalid) {
        self.rejected += 1;
        self.rejected_first.get_or_insert(invalid);
    }

    fn place_number(&self, tp: Tp) -> Option<u32> {
        let first = self.first_places.get(usize::from(tp.topic))?;
        Some(first + u32::try_from(tp.partition).ok()?)
    }

    /// The record was validated: its partition exists.
    fn place_mut(&mut self, tp: Tp) -> &mut Place {
        let number = self.first_places[usize::from(tp.topic)] as usize + tp.partition as usize;
        &mut self.places[number]
    }

    fn group_place(&mut self, tp: Tp, group: u16) -> &mut GroupPlace {
        &mut self.place_mut(tp).groups[usize::from(group)]
    }

    /// Bytes that the ledger has allocated for messages.
    pub fn allocated_bytes(&self) -> usize {
        let lanes: usize = self.lanes.all().iter().map(Lane::allocated_bytes).sum();
        let places = self.places.iter().map(|place| {
            let groups: usize = place.groups.iter().map(GroupPlace::allocated_bytes).sum();
            place.log.allocated_bytes() + groups
        });
        lanes + places.sum::<usize>()
    }

    /// Chunks of 65,536 sequences that hold bitmaps, and those that collapsed into markers.
    pub fn open_and_collapsed(&self) -> (usize, usize) {
        let each = self.lanes.all().iter().map(Lane::open_and_collapsed);
        each.fold((0, 0), |sum, lane| (sum.0 + lane.0, sum.1 + lane.1))
    }

    /// Accounts for everything that was taken so far, in the light of the timeline.
    pub fn finish(&self, timeline: &[TimelineEvent]) -> Accounting {
        let story = Story::new(timeline);
        let guarantee = Guarantee::new(&self.header, &story);
        let view = View {
            header: &self.header,
            lanes: &self.lanes,
            places: &self.places,
            story: &story,
            guarantee: &guarantee,
            audited: self.audited,
            detail_dropped: self.budget.overflowed,
            focus: self.focus.as_ref(),
        };
        let mut out = Findings::new(&self.header);
        if !self.audited {
            out.inconclusive.push(Inconclusive::NoAudit);
        }
        if let Some(first) = &self.rejected_first {
            out.inconclusive.push(Inconclusive::Rejected { count: self.rejected, first: first.clone() });
        }
        view.count(&mut out);
        judge(&view, &mut out);
        let suspects = (self.budget.overflowed && self.focus.is_none()).then(|| view.suspects());
        let (durable, durable_why) = guarantee.overall();
        out.anomalies
            .sort_by(|a, b| (a.kind, &a.topic, a.partition, &a.group).cmp(&(b.kind, &b.topic, b.partition, &b.group)));
        Accounting {
            counts: out.counts,
            anomalies: out.anomalies,
            losses: out.losses,
            inconclusive: out.inconclusive,
            durable,
            durable_why,
            suspects: suspects.filter(|suspects| !suspects.is_empty()),
        }
    }
}

/// What the judges look at.
pub(crate) struct View<'a> {
    pub(crate) header: &'a Header,
    pub(crate) lanes: &'a Lanes,
    pub(crate) places: &'a [Place],
    pub(crate) story: &'a Story,
    pub(crate) guarantee: &'a Guarantee<'a>,
    pub(crate) audited: bool,
    /// The runs were too many: offsets are not known from this pass.
    pub(crate) detail_dropped: bool,
    focus: Option<&'a BTreeMap<LaneId, BTreeSet<u64>>>,
}

impl View<'_> {
    pub(crate) fn groups(&self) -> usize {
        self.header.groups.len()
    }

    pub(crate) fn place(&self, number: u32) -> &Place {
        &self.places[number as usize]
    }

    pub(crate) fn topic(&self, tp: Tp) -> String {
        topic_name(self.header, tp)
    }

    /// Every group on every partition.
    pub(crate) fn group_places(&self) -> impl Iterator<Item = (&Place, usize, &GroupPlace)> {
        let each = |place| move |(group, state)| (place, group, state);
        self.places.iter().flat_map(move |place: &Place| place.groups.iter().enumerate().map(each(place)))
    }

    pub(crate) fn has_final_commit(&self, group: usize) -> bool {
        self.places.iter().any(|place| place.groups.get(group).is_some_and(|state| state.final_commit.is_some()))
    }

    /// The parts of a range of sequences of which this pass kept detail.
    pub(crate) fn focused_seqs(&self, lane: LaneId, from: u64, to: u64, mut each: impl FnMut(u64, u64)) {
        let Some(focus) = self.focus else { return each(from, to) };
        for (chunk, a, b, at) in pieces(from, to - from) {
            if focus.get(&lane).is_some_and(|chunks| chunks.contains(&chunk)) {
                each(at, at + u64::from(b - a));
            }
        }
    }

    /// The parts of a range of offsets of which this pass kept detail.
    pub(crate) fn focused_offsets(&self, place: u32, from: u64, to: u64, mut each: impl FnMut(u64, u64)) {
        if self.focus.is_none() {
            return each(from, to);
        }
        let focus = &self.place(place).focus;
        for block in focus.range(from / BLOCK..=(to - 1) / BLOCK) {
            each(from.max(block * BLOCK), to.min((block + 1) * BLOCK));
        }
    }

    fn count(&self, out: &mut Findings<'_>) {
        let counts = &mut out.counts;
        for lane in self.lanes.sorted() {
            counts.sent += lane.sent;
            lane.each_chunk(self.groups(), |_, chunk| {
                counts.acked += u64::from(chunk.acked.ones());
                counts.in_log += u64::from(chunk.in_log.ones());
                let failed = |i| (chunk.failed.word(i) & !chunk.acked.word(i)).count_ones();
                if !chunk.failed.is_empty() {
                    counts.failed += u64::from((0..CHUNK as usize / 64).map(failed).sum::<u32>());
                }
            });
        }
        counts.unknown = counts.sent - counts.acked - counts.failed;
    }

    fn suspects(&self) -> Suspects {
        let mut suspects = Suspects { chunks: ack_offset::suspects(self).into_iter().collect(), ..Suspects::default() };
        for place in self.places {
            for state in &place.groups {
                let blocks = &mut suspects.blocks;
                place.log.compare(&state.seen, |block, compared| {
                    if matches!(compared, Compared::Different | Compared::Partly) {
                        blocks.insert((place.tp, block));
                    }
                });
                let repeated = state.repeated_blocks.iter().chain(&place.reread_blocks);
                blocks.extend(repeated.map(|block| (place.tp, *block)));
            }
        }
        suspects
    }
}

/// Tallies by partition.
#[derive(Debug, Default)]
pub(crate) struct PerPlace {
    tallies: BTreeMap<u32, Tally>,
}

impl PerPlace {
    pub(crate) fn add(&mut self, place: u32, count: u64, spot: Spot) {
        self.tallies.entry(place).or_default().add(count, spot);
    }

    /// Counts without a place in it.
    pub(crate) fn count_more(&mut self, place: u32, count: u64) {
        self.tallies.entry(place).or_default().count += count;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Tally)> {
        self.tallies.iter().map(|(place, tally)| (*place, tally))
    }
}

/// Splits `[from, to)` by the runs (sorted by sequence) that cover it; what none covers comes with `None`. Where runs
/// overlap the first counts.
pub(crate) fn locate((from, to): (u64, u64), runs: &[Run], mut each: impl FnMut(u64, u64, Option<Run>)) {
    let mut at = from;
    // Runs hardly ever overlap, so a run that begins well before can be found by its end.
    let first = runs.partition_point(|run| run.end_seq() <= from);
    for run in runs[first..].iter().take_while(|run| run.seq < to) {
        let Some(part) = run.clip(at, to) else { continue };
        if part.seq > at {
            each(at, part.seq, None);
        }
        each(part.seq, part.end_seq(), Some(part));
        at = part.end_seq();
    }
    if at < to {
        each(at, to, None);
    }
}
