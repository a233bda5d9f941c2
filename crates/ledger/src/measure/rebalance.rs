//! Rebalances: trigger to every partition owned once, the pause of each partition, who owned what before and after.
//!
//! Ownership is what members reported; a member that left or crashed owns nothing, and one that stalls owns what nobody
//! else was given. All of it is computed at the end, from a log that is bounded.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_scenario::model::{Group, GroupProtocol, Scenario};

use crate::history::{Record, Tp};
use crate::result::{MemberChange, Pause, Rebalance};
use crate::sample::DeliverySample;
use crate::timeline::{TimelineEvent, What};

use super::steps::{Class, StepSeen, Steps};
use super::{Names, seconds};

/// Most entries of each log.
const LOG_MAX: usize = 100_000;
/// Shorter gaps of a partition that stays with its member are not kept.
const PAUSE_MIN_US: i64 = 50_000;
/// A step that nobody noticed for longer, session and heartbeats included, set off nothing.
const CAUSE_US: i64 = 60_000_000;
/// A member that leaves reports that it owns nothing at most this long before it is gone.
const LEAVING_US: i64 = 30_000_000;

/// What happened in a group.
#[derive(Debug, Clone, PartialEq)]
enum Entry {
    /// All that the member owns now.
    Owns { member: String, generation: i32, partitions: BTreeSet<String> },
    /// A member's client was heard to revoke or assign.
    Sign { member: u32, partitions: BTreeSet<String>, gained: bool, generation: i32 },
    /// A member came, went, crashed or stalled.
    Change { member: String, change: String, step: Option<String> },
}

/// The time between two deliveries of one partition to one group.
#[derive(Debug, Clone, Copy)]
struct Handover {
    group: u16,
    tp: Tp,
    from_us: i64,
    to_us: i64,
    moved: bool,
}

#[derive(Debug, Clone, Copy)]
struct LastDelivery {
    at_us: i64,
    member: u32,
}

/// Everything that rebalances are made of.
#[derive(Debug, Default)]
pub struct Rebalances {
    log: Vec<(i64, String, Entry)>,
    last: BTreeMap<(u16, Tp), LastDelivery>,
    handovers: Vec<Handover>,
    /// Groups are looked at until the audit begins: then members are only stopped.
    audit_us: Option<i64>,
    pub(crate) dropped: u64,
}

/// When something was seen in each group, and who owned what: for claims.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ownership {
    /// Group, time, member, and all that it owned from then on; empty when it was gone.
    owned: Vec<(String, i64, String, BTreeSet<String>)>,
    /// Group and time of every revocation and assignment.
    signs: Vec<(String, i64)>,
    /// When groups ceased to be looked at.
    end_us: i64,
}

impl Ownership {
    /// What the member owned at `at_us`.
    pub fn owned_at(&self, group: &str, member: &str, at_us: i64) -> BTreeSet<String> {
        let at_us = at_us.min(self.end_us);
        let of_member = |(of, since_us, who, _): &&(String, i64, String, BTreeSet<String>)| {
            of == group && who == member && *since_us <= at_us
        };
        self.owned.iter().rfind(of_member).map(|(.., partitions)| partitions.clone()).unwrap_or_default()
    }

    /// The first revocation or assignment in the group (any, if `None`) from `from_us` to `end_us`.
    pub fn first_sign_us(&self, group: Option<&str>, from_us: i64, end_us: i64) -> Option<i64> {
        let fits = |(of, at_us): &&(String, i64)| {
            group.is_none_or(|group| of == group) && (from_us..end_us.min(self.end_us)).contains(at_us)
        };
        self.signs.iter().filter(fits).map(|(_, at_us)| *at_us).min()
    }
}

impl Rebalances {
    /// Takes note of an event.
    pub fn observe(&mut self, event: &TimelineEvent) {
        let (group, entry) = match &event.what {
            What::Assignment { group, member, generation, partitions } => {
                let partitions = partitions.iter().cloned().collect();
                (group, Entry::Owns { member: member.clone(), generation: *generation, partitions })
            }
            What::Member { group, member, change } => {
                let (member, change) = (member.clone(), change.clone());
                (group, Entry::Change { member, change, step: event.cause.clone() })
            }
            What::Phase { name } if name == "audit" => {
                self.audit_us = self.audit_us.or(Some(event.at_us));
                return;
            }
            _ => return,
        };
        self.push(event.at_us, group.clone(), entry);
    }

    /// Takes note of an assignment or revocation in the history.
    pub fn record(&mut self, record: &Record, names: &Names) {
        let named = |tps: Vec<Tp>| tps.into_iter().map(|tp| names.name_of(tp)).collect();
        let (at_us, group, entry) = match record {
            Record::Assigned { at_us, group, member, generation, partitions } => {
                let partitions = named(partitions.iter().map(|(tp, _)| *tp).collect());
                (at_us, group, Entry::Sign { member: *member, partitions, gained: true, generation: *generation })
            }
            Record::Revoked { at_us, group, member, partitions, .. } => {
                let partitions = named(partitions.clone());
                (at_us, group, Entry::Sign { member: *member, partitions, gained: false, generation: -1 })
            }
            _ => return,
        };
        self.push(*at_us, names.group(*group), entry);
    }

    fn push(&mut self, at_us: i64, group: String, entry: Entry) {
        if self.log.len() < LOG_MAX {
            self.log.push((at_us, group, entry));
        } else {
            self.dropped += 1;
        }
    }

    /// A delivery, in the order of time.
    pub fn delivery(&mut self, sample: &DeliverySample) {
        let now = LastDelivery { at_us: sample.delivered_us, member: sample.member };
        let Some(last) = self.last.insert((sample.group, sample.tp), now) else { return };
        let moved = last.member != sample.member;
        // Only while there was backlog: before it was intended, the message could not be delivered.
        let from_us = last.at_us.max(sample.intended_us.min(sample.delivered_us));
        if !moved && sample.delivered_us - from_us < PAUSE_MIN_US {
            return;
        }
        if self.handovers.len() >= LOG_MAX {
            self.dropped += 1;
            return;
        }
        let (group, tp, to_us) = (sample.group, sample.tp, sample.delivered_us);
        self.handovers.push(Handover { group, tp, from_us, to_us, moved });
    }

    /// The rows of the result, and who owned what.
    pub(crate) fn finish(
        &mut self,
        scenario: &Scenario,
        names: &Names,
        steps: &Steps,
        threshold_us: i64,
        end_us: i64,
    ) -> (Vec<Rebalance>, Ownership) {
        // Members that report late must not change the order of what happened.
        self.log.sort_by_key(|(at_us, ..)| *at_us);
        let end_us = self.audit_us.unwrap_or(end_us).min(end_us);
        let (mut rows, mut ownership) = (Vec::new(), Ownership { end_us, ..Ownership::default() });
        for (index, group) in scenario.workload.groups.iter().enumerate() {
            let entries = self.log.iter().filter(|(at_us, of, _)| *of == group.name && *at_us < end_us);
            let entries: Vec<(i64, &Entry)> = entries.map(|(at_us, _, entry)| (*at_us, entry)).collect();
            let all = partitions_of(group, scenario);
            let mut story = Story::new(group, &all, &entries, steps, end_us);
            story.tell();
            ownership.owned.append(&mut story.owned);
            ownership.signs.append(&mut story.signs);
            for episode in story.episodes {
                rows.push(self.row(group, index as u16, names, &all, episode, threshold_us));
            }
        }
        (rows, ownership)
    }

    fn row(
        &self,
        group: &Group,
        index: u16,
        names: &Names,
        all: &BTreeSet<String>,
        episode: Episode,
        threshold_us: i64,
    ) -> Rebalance {
        let mut pauses = Vec::new();
        let (mut unmoved, mut unmoved_paused) = (0_u32, 0_u32);
        let owner = |owned: &Owned, partition: &String| {
            owned.iter().find(|(_, partitions)| partitions.contains(partition)).map(|(member, _)| member.clone())
        };
        for partition in all {
            let (before, after) = (owner(&episode.before, partition), owner(&episode.after, partition));
            let moved = before.is_some() && before != after;
            let of_partition = self.handovers.iter().filter(|handover| {
                handover.group == index
                    && names.name_of(handover.tp) == *partition
                    && handover.to_us >= episode.at_us
                    && handover.from_us < episode.end_us
            });
            let fits = of_partition.filter(|handover| !moved || handover.moved);
            let longest_us = fits.map(|handover| handover.to_us - handover.from_us).max();
            let delivered = self.last.keys().any(|(of, tp)| *of == index && names.name_of(*tp) == *partition);
            // Nothing long enough to be kept is no pause; a partition that moved and was not read again has no end.
            let pause_us = if moved || !delivered { longest_us } else { Some(longest_us.unwrap_or(0)) };
            if before.is_some() && !moved {
                unmoved += 1;
                unmoved_paused += u32::from(pause_us.is_some_and(|us| us > threshold_us));
            }
            if before.is_some() {
                pauses.push(Pause { partition: partition.clone(), moved, pause_s: pause_us.map(seconds) });
            }
        }
        let members: BTreeSet<&String> = episode.before.keys().chain(episode.after.keys()).collect();
        let list = |owned: &Owned, member: &String| {
            let mut list: Vec<String> = owned.get(member).into_iter().flatten().cloned().collect();
            list.sort_by_key(|name| sort_key(name));
            list
        };
        let changes = members.into_iter().map(|member| MemberChange {
            id: member.clone(),
            before: list(&episode.before, member),
            after: list(&episode.after, member),
        });
        Rebalance {
            group: group.name.clone(),
            protocol: if group.protocol == GroupProtocol::Classic { "classic" } else { "consumer" }.to_owned(),
            trigger: episode.trigger,
            step: episode.step,
            at_s: seconds(episode.at_us),
            duration_s: episode.done_us.map(|done| seconds(done - episode.at_us)),
            detection_s: episode.noticed_us.map(|noticed| seconds(noticed - episode.at_us)),
            members: changes.collect(),
            pauses,
            unmoved_paused_share: (unmoved > 0).then(|| f64::from(unmoved_paused) / f64::from(unmoved)),
        }
    }
}

/// Topic and partition number, so that 10 comes after 9.
pub(crate) fn sort_key(name: &str) -> (String, i64) {
    match name.rsplit_once('-') {
        Some((topic, number)) => (topic.to_owned(), number.parse().unwrap_or(i64::MAX)),
        None => (name.to_owned(), -1),
    }
}

/// `topic-partition` of all that the group reads.
fn partitions_of(group: &Group, scenario: &Scenario) -> BTreeSet<String> {
    let topics = scenario.topology.topics.iter().filter(|topic| group.topics.contains(&topic.name));
    topics.flat_map(|topic| (0..topic.partitions).map(|index| format!("{}-{index}", topic.name))).collect()
}

type Owned = BTreeMap<String, BTreeSet<String>>;

/// One rebalance.
#[derive(Debug)]
struct Episode {
    trigger: String,
    step: Option<String>,
    at_us: i64,
    /// Until when pauses belong to it.
    end_us: i64,
    noticed_us: Option<i64>,
    done_us: Option<i64>,
    before: Owned,
    after: Owned,
}

/// Why ownership is expected to change.
#[derive(Debug, Clone)]
struct Trigger {
    at_us: i64,
    text: String,
    step: Option<String>,
    member: Option<String>,
    change: String,
}

/// Goes through one group's log and tells its rebalances.
struct Story<'a> {
    all: &'a BTreeSet<String>,
    entries: &'a [(i64, &'a Entry)],
    steps: &'a Steps,
    triggers: Vec<Trigger>,
    end_us: i64,
    /// Whether members report all that they own; otherwise the history's records have to do.
    reported: bool,
    live: Owned,
    waited_for: BTreeSet<String>,
    stalled: BTreeSet<String>,
    /// The member that was heard of again after a stall.
    back: Option<String>,
    episodes: Vec<Episode>,
    owned: Vec<(String, i64, String, BTreeSet<String>)>,
    signs: Vec<(String, i64)>,
    group: String,
}

impl<'a> Story<'a> {
    fn new(
        group: &Group,
        all: &'a BTreeSet<String>,
        entries: &'a [(i64, &'a Entry)],
        steps: &'a Steps,
        end_us: i64,
    ) -> Self {
        let mut triggers = Vec::new();
        if !group.members.is_empty() {
            let text = "group start".to_owned();
            triggers.push(Trigger { at_us: 0, text, step: None, member: None, change: String::new() });
        }
        for (at_us, entry) in entries {
            let Entry::Change { member, change, step } = entry else { continue };
            let known = || {
                let of_member = format!("{}/{member}", group.name);
                steps
                    .all()
                    .iter()
                    .find(|step| step.at_us == *at_us && step.target == of_member)
                    .map(|step| step.id.clone())
            };
            let at_us = if change.contains("leave") { leaving_since(entries, member, *at_us) } else { *at_us };
            triggers.push(Trigger {
                at_us,
                text: format!("member-{change} {member}"),
                step: step.clone().or_else(known),
                member: Some(member.clone()),
                change: change.clone(),
            });
        }
        Self {
            all,
            entries,
            steps,
            triggers,
            end_us,
            reported: entries.iter().any(|(_, entry)| matches!(entry, Entry::Owns { .. })),
            live: Owned::new(),
            waited_for: group.members.iter().cloned().collect(),
            stalled: BTreeSet::new(),
            back: None,
            episodes: Vec::new(),
            owned: Vec::new(),
            signs: Vec::new(),
            group: group.name.clone(),
        }
    }

    fn tell(&mut self) {
        let triggers = std::mem::take(&mut self.triggers);
        let mut next = 0;
        for (index, trigger) in triggers.iter().enumerate() {
            let until_us = triggers.get(index + 1).map_or(self.end_us, |next| next.at_us);
            // What came before the first trigger is of no rebalance that we could name.
            while let Some((at_us, entry)) = self.entries.get(next).filter(|(at_us, _)| *at_us < trigger.at_us) {
                self.apply(*at_us, entry);
                next += 1;
            }
            let before = self.live.clone();
            self.begin(trigger);
            let stop = self.entries.iter().skip(next).take_while(|(at_us, _)| *at_us < until_us).count() + next;
            self.window(trigger, before, (next, stop), until_us);
            next = stop;
        }
        for (at_us, entry) in self.entries.iter().skip(next) {
            self.apply(*at_us, entry);
        }
    }

    fn begin(&mut self, trigger: &Trigger) {
        let Some(member) = &trigger.member else { return };
        if trigger.change.contains("leave") || trigger.change.contains("crash") {
            self.live.remove(member);
            self.waited_for.remove(member);
            self.owned.push((self.group.clone(), trigger.at_us, member.clone(), BTreeSet::new()));
        } else if trigger.change.contains("stall") {
            self.stalled.insert(member.clone());
        } else {
            self.waited_for.insert(member.clone());
        }
    }

    /// The rebalances between one trigger and the next.
    fn window(&mut self, trigger: &Trigger, before: Owned, (from, to): (usize, usize), until_us: i64) {
        let mut episode = Episode {
            trigger: trigger.text.clone(),
            step: trigger.step.clone(),
            at_us: trigger.at_us,
            end_us: until_us,
            noticed_us: None,
            done_us: None,
            before,
            after: Owned::new(),
        };
        // Where everybody had something before the load began, the start sets nothing off: what comes has another cause.
        let started = trigger.member.is_none() && self.is_whole() && self.is_spread();
        // The first whole moment in which everybody has something counts; if there is none, the last whole moment.
        let (mut spread, mut changed) = (started, false);
        for (at_us, entry) in self.entries.iter().take(to).skip(from) {
            let nothing_yet = started && !changed;
            if episode.noticed_us.is_none() && !nothing_yet && is_notice(entry, trigger) {
                episode.noticed_us = Some(*at_us);
            }
            let was = self.live.clone();
            if !self.apply(*at_us, entry) {
                continue;
            }
            let back = self.back.take();
            if spread && (was != self.live || back.is_some()) {
                // Whole and spread already, and yet it changes: another rebalance, which no member's step set off.
                let next = self.unasked(*at_us, back, &episode, was.clone());
                let mut done = std::mem::replace(&mut episode, next);
                (done.after, done.end_us) = (was, episode.at_us.max(done.at_us));
                if !nothing_yet {
                    self.episodes.push(done);
                }
                spread = false;
            } else if nothing_yet {
                continue;
            }
            changed = true;
            if !spread && self.is_whole() {
                spread = self.is_spread();
                episode.done_us = Some(*at_us);
            }
        }
        episode.after = self.live.clone();
        // A first assignment that nobody was waiting for did not happen.
        if changed || trigger.member.is_some() || episode.noticed_us.is_some() {
            self.episodes.push(episode);
        }
    }

    /// A rebalance that shows first at `at_us`, after `last`, and that no step of a member set off: a stalled member that is
    /// `back` did, or else what was done to a node since. It is counted from that step if it is the first to follow it.
    fn unasked(&self, at_us: i64, back: Option<String>, last: &Episode, before: Owned) -> Episode {
        let of_nodes = self.steps.all().iter().filter(|step| matches!(step.class, Class::Fault | Class::Heal));
        let latest = of_nodes.filter(|step| step.at_us <= at_us).max_by_key(|step| step.at_us);
        let again = |step: &&StepSeen| last.step.as_ref() == Some(&step.id);
        let cause = latest.filter(|step| {
            back.is_none() && at_us - step.at_us <= CAUSE_US && (step.at_us >= last.at_us || again(step))
        });
        let trigger = match (back, cause) {
            (Some(member), _) => format!("member-stall {member} ended"),
            (None, Some(step)) => step.id.clone(),
            (None, None) => "unknown".to_owned(),
        };
        Episode {
            trigger,
            step: cause.map(|step| step.id.clone()),
            at_us: cause.filter(|step| !again(step)).map_or(at_us, |step| step.at_us),
            end_us: last.end_us,
            noticed_us: Some(at_us),
            done_us: None,
            before,
            after: Owned::new(),
        }
    }

    /// Whether the entry said what a member owns.
    fn apply(&mut self, at_us: i64, entry: &Entry) -> bool {
        let (member, partitions) = match entry {
            Entry::Owns { member, partitions, .. } => (member.clone(), partitions.clone()),
            Entry::Sign { member, partitions, gained, .. } => {
                self.signs.push((self.group.clone(), at_us));
                if self.reported {
                    return false;
                }
                let member = format!("member-{member}");
                let mut owned = self.live.get(&member).cloned().unwrap_or_default();
                if *gained {
                    owned.extend(partitions.iter().cloned());
                } else {
                    owned.retain(|partition| !partitions.contains(partition));
                }
                (member, owned)
            }
            Entry::Change { .. } => return false,
        };
        if self.reported {
            self.signs.push((self.group.clone(), at_us));
        }
        self.waited_for.remove(&member);
        if self.stalled.remove(&member) {
            self.back = Some(member.clone());
        }
        // A member that stands still does not say that it lost what others were given.
        for other in &self.stalled {
            if let Some(owned) = self.live.get_mut(other) {
                owned.retain(|partition| !partitions.contains(partition));
            }
        }
        self.owned.push((self.group.clone(), at_us, member.clone(), partitions.clone()));
        self.live.insert(member, partitions);
        true
    }

    /// Whether every partition is owned once and everybody has reported.
    fn is_whole(&self) -> bool {
        let mut owners: BTreeMap<&String, u32> = BTreeMap::new();
        for partition in self.live.values().flatten() {
            *owners.entry(partition).or_default() += 1;
        }
        let waiting = self.reported && !self.waited_for.is_empty();
        !waiting && self.all.iter().all(|partition| owners.get(partition) == Some(&1))
    }

    /// Whether every member that moves has something, as far as there is enough.
    fn is_spread(&self) -> bool {
        let moving = self.live.iter().filter(|(member, _)| !self.stalled.contains(*member));
        let with_some = moving.clone().filter(|(_, owned)| !owned.is_empty()).count();
        let of_stalled = self.stalled.iter().any(|member| self.live.get(member).is_some_and(|owned| !owned.is_empty()));
        !of_stalled && with_some >= moving.count().min(self.all.len())
    }
}

/// Whether this entry shows that somebody noticed: not the leaver's own farewell.
fn is_notice(entry: &Entry, trigger: &Trigger) -> bool {
    match entry {
        Entry::Owns { member, .. } => {
            let own_farewell = trigger.change.contains("leave") && trigger.member.as_ref() == Some(member);
            !own_farewell
        }
        Entry::Sign { .. } => !trigger.change.contains("leave"),
        Entry::Change { .. } => false,
    }
}

/// A member that leaves gives its partitions up before it is gone: since when.
fn leaving_since(entries: &[(i64, &Entry)], leaver: &str, gone_us: i64) -> i64 {
    let last_word =
        entries.iter().rev().filter(|(at_us, _)| *at_us <= gone_us).find_map(|(at_us, entry)| match entry {
            Entry::Owns { member, partitions, .. } if member == leaver => Some((*at_us, partitions.is_empty())),
            _ => None,
        });
    match last_word {
        Some((at_us, true)) if gone_us - at_us < LEAVING_US => at_us,
        _ => gone_us,
    }
}
