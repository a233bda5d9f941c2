//! Joins what was lost with the timeline: the leader-epoch change that truncated it and the fault behind that; and
//! counts the faults against the guarantee's budget.
//!
//! Which messages were lost is not decided here.

use std::collections::{BTreeMap, BTreeSet};

use crate::header::{Expected, Header};
use crate::history::Tp;
use crate::timeline::{Clock, PartitionState, TimelineEvent, What};

/// A leader epoch and the clock that stamped it; `None` where the topic was deleted.
pub(crate) type SeenEpoch = Option<(Clock, i32)>;

/// A leader or epoch change of a partition.
#[derive(Debug, Clone, Copy)]
struct Election {
    at_us: i64,
    error_us: i64,
    epoch: i32,
    leader: i32,
    /// The last leader that there was.
    before: i32,
}

#[derive(Debug, Clone)]
struct FaultEvent {
    at_us: i64,
    id: String,
    kind: String,
    nodes: Vec<i32>,
}

/// Why messages went.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cause {
    /// Goes on after "offsets … of …": `were truncated at epoch 7, after the kill of broker 2`.
    pub(crate) text: String,
    pub(crate) epoch: Option<i32>,
    pub(crate) fault: Option<String>,
}

/// What of the timeline matters to the ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Story {
    elections: BTreeMap<(String, i32), Vec<Election>>,
    replicas: BTreeMap<(String, i32), BTreeSet<i32>>,
    faults: Vec<FaultEvent>,
    deleted: BTreeMap<String, i64>,
    /// Whether there was a timeline at all: without one nobody knows what failed.
    told: bool,
    /// Sets of nodes that were unclean at once, each time one was added.
    unclean: Vec<BTreeSet<i32>>,
    /// Leader epochs in the order of the timeline; `None` where the topic was deleted.
    epochs: BTreeMap<(String, i32), Vec<SeenEpoch>>,
    /// Members said to stall: group, member, when.
    stalls: Vec<(String, String, i64)>,
}

/// Whether a fault of this kind leaves a node without the end of its logs, or may.
fn is_unclean(kind: &str) -> bool {
    matches!(kind, "kill" | "start-wiped" | "start-reformatted")
}

fn is_start(kind: &str) -> bool {
    matches!(kind, "start" | "start-wiped" | "start-reformatted")
}

impl Story {
    pub(crate) fn new(timeline: &[TimelineEvent]) -> Self {
        let mut events: Vec<&TimelineEvent> = timeline.iter().collect();
        events.sort_by_key(|event| event.at_us);
        let mut story = Self { told: !timeline.is_empty(), ..Self::default() };
        let mut states = BTreeMap::<(String, i32), &PartitionState>::new();
        let mut unclean = BTreeMap::<i32, Recovery>::new();
        for event in events {
            match &event.what {
                What::Fault { id, kind, nodes, .. } => {
                    story.fault(event.at_us, id, kind, nodes, &mut unclean);
                }
                What::Healed { kind, nodes, .. } if is_start(kind) => {
                    nodes.iter().for_each(|node| Recovery::restarted(&mut unclean, *node));
                }
                What::BrokerRegistered { broker, .. } => Recovery::restarted(&mut unclean, *broker),
                What::BrokerUnfenced { broker, .. } => {
                    if let Some(recovery) = unclean.get_mut(broker).filter(|recovery| recovery.restarted) {
                        recovery.unfenced = true;
                    }
                }
                What::Partition(state) => {
                    story.partition(event, state);
                    states.insert((state.topic.clone(), state.partition), state);
                }
                What::TopicDeleted { topic } => {
                    story.deleted.insert(topic.clone(), event.at_us);
                    let of_topic = story.epochs.iter_mut().filter(|((name, _), _)| name == topic);
                    of_topic.for_each(|(_, epochs)| epochs.push(None));
                }
                What::Member { group, member, change } if change.contains("stall") || change.contains("pause") => {
                    story.stalls.push((group.clone(), member.clone(), event.at_us));
                }
                _ => {}
            }
            unclean.retain(|node, recovery| !recovery.is_over(*node, states.values()));
        }
        story
    }

    fn fault(&mut self, at_us: i64, id: &str, kind: &str, nodes: &[i32], unclean: &mut BTreeMap<i32, Recovery>) {
        if nodes.is_empty() {
            return;
        }
        let fault = FaultEvent { at_us, id: id.to_owned(), kind: kind.to_owned(), nodes: nodes.to_vec() };
        self.faults.push(fault);
        if is_unclean(kind) {
            for node in nodes {
                unclean.insert(*node, Recovery { restarted: is_start(kind), unfenced: false });
            }
            self.unclean.push(unclean.keys().copied().collect());
        } else if is_start(kind) {
            nodes.iter().for_each(|node| Recovery::restarted(unclean, *node));
        }
    }

    fn partition(&mut self, event: &TimelineEvent, state: &PartitionState) {
        let key = (state.topic.clone(), state.partition);
        self.replicas.entry(key.clone()).or_default().extend(&state.replicas);
        self.epochs.entry(key.clone()).or_default().push(Some((event.clock, state.leader_epoch)));
        let elections = self.elections.entry(key).or_default();
        let last = elections.last();
        if last.is_none_or(|last| last.epoch != state.leader_epoch || last.leader != state.leader) {
            let before = last.map_or(-1, |last| if last.leader >= 0 { last.leader } else { last.before });
            elections.push(Election {
                at_us: event.at_us,
                error_us: event.error_us,
                epoch: state.leader_epoch,
                leader: state.leader,
                before,
            });
        }
    }

    /// Why messages that were acknowledged at `acked_us` are gone.
    pub(crate) fn explain(&self, topic: &str, partition: i32, acked_us: i64, absent: bool) -> Cause {
        if absent {
            return self.explain_absent(topic);
        }
        let elections = self.elections.get(&(topic.to_owned(), partition)).map_or(&[][..], Vec::as_slice);
        // The first sighting of a partition is no election.
        let election = elections.iter().skip(1).find(|e| e.leader >= 0 && e.at_us + e.error_us >= acked_us);
        let Some(election) = election else {
            let text = if elections.is_empty() { "no leader was observed" } else { "no election followed" };
            let fault = self.faults.iter().rev().find(|fault| fault.at_us >= acked_us && is_unclean(&fault.kind));
            return match fault {
                Some(fault) => Cause {
                    text: format!("after {}; {text}", fault.text()),
                    epoch: None,
                    fault: Some(fault.id.clone()),
                },
                None => Cause { text: format!("for no fault on the timeline; {text}"), epoch: None, fault: None },
            };
        };
        let latest = election.at_us + election.error_us;
        let before = || self.faults.iter().rev().filter(move |fault| fault.at_us <= latest);
        let involved = |fault: &&FaultEvent| {
            let wiped = is_unclean(&fault.kind) && is_start(&fault.kind) && fault.nodes.contains(&election.leader);
            wiped || (!is_start(&fault.kind) && fault.nodes.contains(&election.before))
        };
        let fault = before().find(involved).or_else(|| before().find(|fault| !is_start(&fault.kind)));
        let change = match election.before {
            before if before >= 0 && before != election.leader => format!(" (leader {before} → {})", election.leader),
            _ => String::new(),
        };
        let after =
            fault.map_or_else(|| ", for no fault on the timeline".to_owned(), |f| format!(", after {}", f.text()));
        Cause {
            // Where metadata was polled no epoch is known.
            text: match election.epoch {
                ..0 => format!("truncated at an election{change}{after}"),
                epoch => format!("truncated at epoch {epoch}{change}{after}"),
            },
            epoch: (election.epoch >= 0).then_some(election.epoch),
            fault: fault.map(|fault| fault.id.clone()),
        }
    }

    fn explain_absent(&self, topic: &str) -> Cause {
        let deleted_us = self.deleted.get(topic).copied().unwrap_or(i64::MAX);
        let fault = self.faults.iter().rev().find(|fault| fault.at_us <= deleted_us && is_unclean(&fault.kind));
        let how = if self.deleted.contains_key(topic) { "topic deleted" } else { "topic absent at the audit" };
        let after = fault.map_or_else(String::new, |fault| format!(", after {}", fault.text()));
        Cause { text: format!("gone: {how}{after}"), epoch: None, fault: fault.map(|fault| fault.id.clone()) }
    }

    /// Leader epochs of a partition in the order of the timeline; `None` where the topic was deleted.
    pub(crate) fn epochs(&self, topic: &str, partition: i32) -> &[SeenEpoch] {
        self.epochs.get(&(topic.to_owned(), partition)).map_or(&[], Vec::as_slice)
    }

    /// Whether the timeline says that the member, or where its name is not known any member of the group, stalled
    /// before `until_us`.
    pub(crate) fn stalled(&self, group: &str, member: Option<&str>, until_us: i64) -> bool {
        let is = |name: &str| member.is_none_or(|member| member == name);
        self.stalls.iter().any(|(of, name, at_us)| of == group && is(name) && *at_us <= until_us)
    }

    /// Most replicas of the partition that were unclean in one recovery window.
    fn unclean_max(&self, topic: &str, partition: i32) -> usize {
        let replicas = self.replicas.get(&(topic.to_owned(), partition));
        let counts = self.unclean.iter().map(|nodes| match replicas {
            Some(replicas) => nodes.intersection(replicas).count(),
            None => nodes.len(),
        });
        counts.max().unwrap_or(0)
    }
}

/// What a configuration promises, without the failures that were counted against it when that was written down.
pub(crate) fn promise(why: &str) -> &str {
    match why.rsplit_once(", ") {
        Some((promise, count)) if count.ends_with(" tolerated failures") => promise,
        _ => why,
    }
}

impl FaultEvent {
    fn text(&self) -> String {
        let what = match self.kind.as_str() {
            "start-wiped" => "the restart with wiped logs",
            "start-reformatted" => "the restart with a new disk",
            kind => return format!("the {kind} of {}", self.brokers()),
        };
        format!("{what} of {}", self.brokers())
    }

    fn brokers(&self) -> String {
        let ids: Vec<String> = self.nodes.iter().map(i32::to_string).collect();
        format!("broker{} {}", if ids.len() == 1 { "" } else { "s" }, ids.join(", "))
    }
}

/// How far an unclean node is on its way back.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    restarted: bool,
    unfenced: bool,
}

impl Recovery {
    fn restarted(unclean: &mut BTreeMap<i32, Self>, node: i32) {
        if let Some(recovery) = unclean.get_mut(&node) {
            recovery.restarted = true;
        }
    }

    /// Over when it is unfenced again and in the ISR of every partition that it replicates.
    fn is_over<'a>(self, node: i32, mut states: impl Iterator<Item = &'a &'a PartitionState>) -> bool {
        self.unfenced && states.all(|state| !state.replicas.contains(&node) || state.isr.contains(&node))
    }
}

/// The guarantee, with the faults counted.
#[derive(Debug, Clone)]
pub(crate) struct Guarantee<'a> {
    header: &'a Header,
    story: &'a Story,
}

impl<'a> Guarantee<'a> {
    pub(crate) fn new(header: &'a Header, story: &'a Story) -> Self {
        Self { header, story }
    }

    fn expected(&self) -> &'a Expected {
        &self.header.guarantee
    }

    /// Whether acknowledged messages of this producer in this partition must survive, and why.
    pub(crate) fn durable(&self, incarnation: Option<u32>, tp: Tp) -> (bool, String) {
        let topic = self.topic(tp);
        let exception = self.expected().exceptions.iter().find(|exception| {
            exception.topic.as_deref().is_none_or(|name| name == topic)
                && exception.incarnation.is_none_or(|of| Some(of) == incarnation)
        });
        let (durable, max_unclean, why) = match exception {
            Some(exception) => (exception.durable, exception.max_unclean, &exception.why),
            None => (self.expected().durable, self.expected().max_unclean, &self.expected().why),
        };
        self.within_budget(durable, max_unclean, why, tp)
    }

    /// Whether what was below the high watermark must survive, and why.
    pub(crate) fn committed(&self, tp: Tp) -> (bool, String) {
        match self.expected().committed_durable {
            Some(durable) => {
                let expected = self.expected();
                self.within_budget(durable, expected.max_unclean, &expected.why, tp)
            }
            None => self.durable(None, tp),
        }
    }

    /// Whether committed group offsets must survive.
    pub(crate) fn offsets(&self) -> bool {
        self.expected().offsets_durable.unwrap_or(true)
    }

    /// The guarantee as a whole: that of the worst partition.
    pub(crate) fn overall(&self) -> (bool, String) {
        let expected = self.expected();
        let mut worst = 0;
        for (index, topic) in self.header.topics.iter().enumerate() {
            for partition in 0..topic.partitions {
                let tp = Tp { topic: index as u16, partition };
                let (durable, why) = self.within_budget(expected.durable, expected.max_unclean, &expected.why, tp);
                if !durable {
                    return (durable, why);
                }
                worst = worst.max(self.story.unclean_max(&topic.name, partition));
            }
        }
        // In the words of a run's guarantees, from the same faults; where none are told, of none it is silent.
        let promise = promise(&expected.why);
        match expected.max_unclean.filter(|_| expected.durable && self.story.told) {
            Some(most) => (true, format!("{promise}, {worst} of {most} tolerated failures")),
            None => (expected.durable, promise.to_owned()),
        }
    }

    fn within_budget(&self, durable: bool, max_unclean: Option<u32>, why: &str, tp: Tp) -> (bool, String) {
        if let Some(most) = max_unclean.filter(|_| durable) {
            let unclean = self.story.unclean_max(self.topic(tp), tp.partition);
            if unclean > most as usize {
                let promise = promise(why);
                return (
                    false,
                    format!("{unclean} replicas unclean in one recovery window, {most} tolerated; {promise}"),
                );
            }
        }
        (durable, why.to_owned())
    }

    fn topic(&self, tp: Tp) -> &'a str {
        self.header.topics.get(usize::from(tp.topic)).map_or("", |topic| topic.name.as_str())
    }
}
