//! Changes of many partitions told as one: who leads now, which ISR became which.

use std::collections::BTreeMap;

use metricstream_ledger::timeline::PartitionState;

use crate::tally::{Names, nodes, same_set, sorted};
use crate::text::{ids, ranges};
use crate::view::Tone;

/// Changes that follow each other this closely belong together.
const NEXT_WITHIN_US: i64 = 500_000;
/// And no group is longer than this, or a slow catch-up would hide its own length.
const GROUP_MAX_US: i64 = 2_000_000;
/// Partitions whose new leaders are listed in order.
const LEADERS_LISTED_MAX: usize = 6;
/// Different ISR changes that one line spells out.
const ISR_CHANGES_MAX: usize = 3;

/// One partition's net change within a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// When the first event of it came.
    pub(crate) at_us: i64,
    pub(crate) before: PartitionState,
    pub(crate) after: PartitionState,
}

/// Gathers partition events into groups.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coalesced {
    first: BTreeMap<(String, i32), PartitionState>,
    now: BTreeMap<(String, i32), PartitionState>,
    group: Vec<Change>,
    last_us: i64,
}

impl Coalesced {
    /// Takes an event, and gives back the group that it does not belong to any more.
    pub(crate) fn push(&mut self, at_us: i64, state: &PartitionState) -> Option<Vec<Change>> {
        let key = (state.topic.clone(), state.partition);
        let before = self.now.insert(key.clone(), state.clone());
        // The story begins with what load found; what set-up did is no change.
        if at_us < 0 {
            self.first.insert(key, state.clone());
            return None;
        }
        let Some(before) = before else {
            self.first.insert(key, state.clone());
            return None;
        };
        let done = self.flush_if(at_us);
        self.last_us = at_us;
        let same =
            |change: &&mut Change| change.before.topic == state.topic && change.before.partition == state.partition;
        match self.group.iter_mut().find(same) {
            Some(change) => change.after = state.clone(),
            None => self.group.push(Change { at_us, before, after: state.clone() }),
        }
        done
    }

    fn flush_if(&mut self, at_us: i64) -> Option<Vec<Change>> {
        let start = self.group.first()?.at_us;
        let apart = at_us.saturating_sub(self.last_us) > NEXT_WITHIN_US;
        if apart || at_us.saturating_sub(start) > GROUP_MAX_US { self.flush() } else { None }
    }

    /// Ends the group if it began before this time.
    pub(crate) fn flush_before(&mut self, at_us: i64) -> Option<Vec<Change>> {
        if self.last_us < at_us { self.flush() } else { None }
    }

    /// The group that is not ended yet.
    pub(crate) fn pending(&self) -> &[Change] {
        &self.group
    }

    /// Ends the group.
    pub(crate) fn flush(&mut self) -> Option<Vec<Change>> {
        if self.group.is_empty() { None } else { Some(std::mem::take(&mut self.group)) }
    }

    /// The leaders at the start of load: `1: 0,3  2: 1,4  3: 2,5`.
    pub(crate) fn first_leaders(&self, names: &Names) -> String {
        /// More topics than this are not spelt out.
        const TOPICS_MAX: usize = 3;
        let mut led: BTreeMap<&str, BTreeMap<i32, Vec<i32>>> = BTreeMap::new();
        for ((topic, partition), state) in &self.first {
            led.entry(topic).or_default().entry(state.leader).or_default().push(*partition);
        }
        let topics = led.len();
        if topics > TOPICS_MAX {
            return String::new();
        }
        let of_topic = |(topic, leaders): (&str, BTreeMap<i32, Vec<i32>>)| {
            let name = if topics == 1 && names.knows(topic) { String::new() } else { format!("{topic} ") };
            let leaders: Vec<String> = leaders
                .iter()
                .map(|(leader, partitions)| {
                    let leader = if *leader < 0 { "none".to_owned() } else { leader.to_string() };
                    format!("{leader}:\u{a0}{}", ranges(partitions))
                })
                .collect();
            format!("{name}{}", leaders.join("  "))
        };
        led.into_iter().map(of_topic).collect::<Vec<_>>().join("; ")
    }
}

/// One line for a group; `None` if nothing changed that is worth one.
pub(crate) fn tell(group: &[Change], names: &Names) -> Option<(Tone, String)> {
    let mut parts = leaders(group, names);
    parts.extend(isrs(group, names));
    if parts.is_empty() {
        return None;
    }
    let leaderless = group.iter().any(|change| change.after.leader < 0 && change.before.leader >= 0);
    let shrank = group.iter().any(|change| change.after.isr.len() < change.before.isr.len());
    let grew = group.iter().any(|change| change.after.isr.len() > change.before.isr.len());
    let tone = match (leaderless || shrank, grew) {
        (true, _) => Tone::Bad,
        (false, true) => Tone::Good,
        (false, false) => Tone::Plain,
    };
    Some((tone, parts.join("; ")))
}

fn key(change: &Change) -> (String, i32) {
    (change.after.topic.clone(), change.after.partition)
}

/// `partitions 1,4: leader 2 → 3, 1`.
fn leaders(group: &[Change], names: &Names) -> Vec<String> {
    let mut by_old: BTreeMap<i32, Vec<&Change>> = BTreeMap::new();
    for change in group.iter().filter(|change| change.before.leader != change.after.leader) {
        by_old.entry(change.before.leader).or_default().push(change);
    }
    let name = |leader: i32| if leader < 0 { "none".to_owned() } else { leader.to_string() };
    let mut parts = Vec::new();
    for (old, mut changes) in by_old {
        changes.sort_by_key(|change| key(change));
        let which = names.list(&changes.iter().map(|change| key(change)).collect::<Vec<_>>());
        let new: Vec<i32> = changes.iter().map(|change| change.after.leader).collect();
        let distinct = sorted(&new);
        let to = if distinct.len() == 1 {
            name(new[0])
        } else if new.len() <= LEADERS_LISTED_MAX {
            new.iter().map(|leader| name(*leader)).collect::<Vec<_>>().join(", ")
        } else {
            let led = |leader: &i32| new.iter().filter(|other| *other == leader).count();
            distinct.iter().map(|leader| format!("{} ({})", name(*leader), led(leader))).collect::<Vec<_>>().join(", ")
        };
        parts.push(format!("{which}: leader {} → {to}", name(old)));
    }
    parts
}

/// `ISR [2,1,3] → [1,3] everywhere`; where orders differ, as sets.
fn isrs(group: &[Change], names: &Names) -> Vec<String> {
    let changed: Vec<&Change> =
        group.iter().filter(|change| !same_set(&change.before.isr, &change.after.isr)).collect();
    let mut by_sets: BTreeMap<(Vec<i32>, Vec<i32>), Vec<&Change>> = BTreeMap::new();
    for change in &changed {
        by_sets.entry((sorted(&change.before.isr), sorted(&change.after.isr))).or_default().push(change);
    }
    if by_sets.len() > ISR_CHANGES_MAX {
        return vec![who_moved(&changed, names)];
    }
    let mut parts = Vec::new();
    for ((before, after), changes) in by_sets {
        let same_order =
            changes.iter().all(|c| c.before.isr == changes[0].before.isr && c.after.isr == changes[0].after.isr);
        let (before, after) =
            if same_order { (&changes[0].before.isr, &changes[0].after.isr) } else { (&before, &after) };
        let which: Vec<_> = changes.iter().map(|change| key(change)).collect();
        let place = if which.len() >= names.total() && names.total() > 1 {
            " everywhere".to_owned()
        } else {
            format!(" on {}", names.list(&which))
        };
        parts.push(format!("ISR {} → {}{place}", ids(before), ids(after)));
    }
    parts
}

/// Where every partition has other replicas: `broker 2 out of the ISR of 12 partitions`.
fn who_moved(changes: &[&Change], names: &Names) -> String {
    let mut moved: BTreeMap<(bool, i32), Vec<(String, i32)>> = BTreeMap::new();
    for change in changes {
        for id in change.before.isr.iter().filter(|id| !change.after.isr.contains(id)) {
            moved.entry((false, *id)).or_default().push(key(change));
        }
        for id in change.after.isr.iter().filter(|id| !change.before.isr.contains(id)) {
            moved.entry((true, *id)).or_default().push(key(change));
        }
    }
    let told = moved.iter().map(|((back, id), which)| {
        let way = if *back { "into" } else { "out of" };
        let place = if which.len() >= names.total() { "every partition".to_owned() } else { names.list(which) };
        format!("{} {way} the ISR of {place}", nodes(&[*id]))
    });
    told.collect::<Vec<_>>().join("; ")
}
