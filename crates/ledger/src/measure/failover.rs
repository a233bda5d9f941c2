//! Failovers, split: fault, fenced by the controller, leader epoch bumped, client learned, first acknowledgement.
//!
//! Beside each stands the bound that the configuration predicts. The time at which a client learned is known to the
//! interval of its statistics only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use metricstream_scenario::model::{Controllers, Scenario, Topology};
use metricstream_scenario::timers::{self, Bound, Event};

use crate::history::Tp;
use crate::result::Failover;
use crate::sample::ClientSample;
use crate::timeline::{TimelineEvent, What};

use super::isr::Change;
use super::steps::{Class, StepSeen, Steps, keeps_its_life};
use super::{Names, seconds};

/// Acknowledgements are remembered this long, so that an election that is reported late finds its first one.
const REMEMBER_US: i64 = 30_000_000;
/// And thinned to one per slot, so that memory does not follow the rate.
const SLOT_US: i64 = 10_000;
/// Most elections, broker events and changes of a client's belief that are kept.
const KEPT_MAX: usize = 50_000;
/// Ids from here on are controllers of their own.
const FIRST_CONTROLLER: i32 = 101;
/// How often the controller gives leadership back to the preferred replicas; in seconds, unlike other clocks.
const BALANCE: &str = "leader.imbalance.check.interval.seconds";

/// What the controller said of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerChange {
    /// Registered, with a new epoch.
    Registered,
    /// Fenced.
    Fenced,
    /// Unfenced.
    Unfenced,
    /// In controlled shutdown.
    ShuttingDown,
}

/// One change of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerEvent {
    /// When.
    pub at_us: i64,
    /// ± this.
    pub error_us: i64,
    /// Which.
    pub broker: i32,
    /// What.
    pub change: BrokerChange,
}

#[derive(Debug, Clone)]
struct Election {
    tp: Tp,
    from: i32,
    to: i32,
    epoch: i32,
    /// The new leader is the first of the assigned replicas.
    preferred: bool,
    /// There was none for a while before: nobody that was up might lead.
    waited: bool,
    at_us: i64,
    error_us: i64,
    first_ack_us: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Learned {
    at_us: i64,
    tp: Tp,
    leader: i32,
}

/// Everything that failovers are made of.
#[derive(Debug, Default)]
pub struct Failovers {
    elections: Vec<Election>,
    last_leader: BTreeMap<Tp, i32>,
    /// Partitions that have no leader.
    leaderless: BTreeSet<Tp>,
    brokers: Vec<BrokerEvent>,
    /// When which node became the active controller, and its epoch.
    controllers: Vec<(i64, i32, i32)>,
    believed: BTreeMap<(u32, Tp), i32>,
    learned: Vec<Learned>,
    acks: BTreeMap<Tp, VecDeque<i64>>,
    /// Elections that wait for their first acknowledgement.
    pending: BTreeMap<Tp, Vec<usize>>,
    pub(crate) dropped: u64,
}

impl Failovers {
    /// Takes note of an event that is not a partition's.
    pub fn observe(&mut self, event: &TimelineEvent, names: &Names) {
        let (broker, change) = match &event.what {
            What::BrokerRegistered { broker, .. } => (*broker, BrokerChange::Registered),
            What::BrokerFenced { broker, .. } => (*broker, BrokerChange::Fenced),
            What::BrokerUnfenced { broker, .. } => (*broker, BrokerChange::Unfenced),
            What::BrokerShuttingDown { broker, .. } => (*broker, BrokerChange::ShuttingDown),
            What::ClientLearned { topic, partition, leader } => {
                if let Some(tp) = names.tp(topic, *partition) {
                    self.learn(Learned { at_us: event.at_us, tp, leader: *leader });
                }
                return;
            }
            What::Controller { node, epoch } => {
                // One that says again what is known is no change; the same node elected again begins anew.
                let known = |(_, last, of): &(i64, i32, i32)| last == node && of >= epoch;
                if self.controllers.len() < KEPT_MAX && !self.controllers.last().is_some_and(known) {
                    self.controllers.push((event.at_us, *node, *epoch));
                }
                return;
            }
            _ => return,
        };
        if self.brokers.len() < KEPT_MAX {
            self.brokers.push(BrokerEvent { at_us: event.at_us, error_us: event.error_us, broker, change });
        } else {
            self.dropped += 1;
        }
    }

    /// A partition changed: perhaps it has another leader.
    pub fn partition(&mut self, change: &Change, names: &Names) {
        let state = &change.now.state;
        let Some(tp) = names.tp(&state.topic, state.partition) else { return };
        if state.leader < 0 {
            self.leaderless.insert(tp);
            return;
        }
        let waited = self.leaderless.remove(&tp);
        let from = self.last_leader.insert(tp, state.leader);
        let Some(from) = from.filter(|from| *from != state.leader) else { return };
        if self.elections.len() >= KEPT_MAX {
            self.dropped += 1;
            return;
        }
        let at_us = change.now.at_us;
        let seen = self.acks.get(&tp).and_then(|acks| acks.iter().find(|ack| **ack >= at_us)).copied();
        if seen.is_none() {
            self.pending.entry(tp).or_default().push(self.elections.len());
        }
        self.elections.push(Election {
            tp,
            from,
            to: state.leader,
            epoch: state.leader_epoch,
            preferred: state.replicas.first() == Some(&state.leader),
            waited,
            at_us,
            error_us: change.now.error_us,
            first_ack_us: seen,
        });
    }

    /// An acknowledgement, in the order of time.
    pub fn ack(&mut self, tp: Tp, done_us: i64) {
        if let Some(pending) = self.pending.get_mut(&tp) {
            pending.retain(|index| match self.elections.get_mut(*index) {
                Some(election) if done_us >= election.at_us => {
                    election.first_ack_us = Some(done_us);
                    false
                }
                other => other.is_some(),
            });
            if pending.is_empty() {
                self.pending.remove(&tp);
            }
        }
        let acks = self.acks.entry(tp).or_default();
        if acks.back().is_none_or(|last| done_us >= last + SLOT_US) {
            acks.push_back(done_us);
            while acks.front().is_some_and(|first| done_us - first > REMEMBER_US) {
                acks.pop_front();
            }
        }
    }

    /// What a client believes.
    pub fn client(&mut self, sample: &ClientSample) {
        for (tp, leader) in &sample.leaders {
            let before = self.believed.insert((sample.producer, *tp), *leader);
            if *leader >= 0 && before.is_some_and(|before| before != *leader) {
                self.learn(Learned { at_us: sample.at_us, tp: *tp, leader: *leader });
            }
        }
    }

    fn learn(&mut self, learned: Learned) {
        if self.learned.len() < KEPT_MAX {
            self.learned.push(learned);
        } else {
            self.dropped += 1;
        }
    }

    /// What the controller said of brokers, in order.
    pub fn brokers(&self) -> &[BrokerEvent] {
        &self.brokers
    }

    /// When a client first learned another leader, at or after `from_us`.
    pub fn first_learned_us(&self, from_us: i64) -> Option<i64> {
        self.learned.iter().map(|learned| learned.at_us).filter(|at_us| *at_us >= from_us).min()
    }

    /// The rows of the result.
    pub(crate) fn rows(&self, scenario: &Scenario, steps: &Steps, names: &Names) -> Vec<Failover> {
        let broker_config = timers::effective_broker_config(&scenario.topology);
        let mut rows: Vec<Failover> = Vec::with_capacity(self.elections.len());
        for (index, election) in self.elections.iter().enumerate() {
            let elected_us = election.at_us + election.error_us;
            let next_us =
                self.elections[index + 1..].iter().find(|e| e.tp == election.tp).map_or(i64::MAX, |e| e.at_us);
            // A fault explains an election only while the broker was down: otherwise it is a preferred election.
            let fault = steps
                .preceding_on(election.from, elected_us)
                .filter(|fault| elected_us < absent_until_us(steps, &self.brokers, fault, election.from));
            let fenced_us = fault.and_then(|fault| {
                let fenced = |event: &&BrokerEvent| {
                    event.broker == election.from
                        && event.change == BrokerChange::Fenced
                        && event.at_us + event.error_us + fault.error_us >= fault.at_us
                        && event.at_us <= elected_us + event.error_us
                };
                self.brokers.iter().find(fenced).map(|event| event.at_us)
            });
            let learned_us = self.learned.iter().filter(|learned| {
                learned.tp == election.tp
                    && learned.leader == election.to
                    && (election.at_us - election.error_us..next_us).contains(&learned.at_us)
            });
            let first_ack_us = election.first_ack_us.filter(|at_us| *at_us < next_us);
            // Statistics come at intervals: whom the new leader has acknowledged had learned of it by then.
            let told = !self.learned.is_empty() || !self.believed.is_empty();
            let learned_us = learned_us.map(|learned| learned.at_us).chain(first_ack_us.filter(|_| told)).min();
            let bound =
                fault.and_then(|fault| self.predicted(fault, election.at_us, (scenario, steps), &broker_config));
            rows.push(Failover {
                topic: names.topic(election.tp.topic),
                partition: election.tp.partition,
                from: election.from,
                to: election.to,
                epoch: (election.epoch >= 0).then_some(election.epoch),
                fault_s: fault.map(|fault| seconds(fault.at_us)),
                fenced_s: fenced_us.map(seconds),
                elected_s: Some(seconds(election.at_us)),
                learned_s: learned_us.map(seconds),
                first_ack_s: first_ack_us.map(seconds),
                fault: fault.map(|fault| fault.id.clone()),
                predicted: match &bound {
                    Some(bound) if election.waited => Some(format!(
                        "≤ {:.1} s until it was fenced, {}; then nobody that was up might lead",
                        bound.max_s, bound.timer
                    )),
                    Some(bound) => Some(format!("≤ {:.1} s, {}", bound.max_s, bound.timer)),
                    None if fault.is_none() && election.preferred => {
                        let every_s = timers::effective_ms(BALANCE, &broker_config);
                        Some(format!("preferred leader election, {BALANCE} = {every_s}"))
                    }
                    None => None,
                },
                predicted_max_s: bound.filter(|_| !election.waited).map(|bound| bound.max_s),
            });
        }
        rows
    }

    /// The latest time at which the configuration lets the election be.
    fn predicted(
        &self,
        fault: &StepSeen,
        elected_us: i64,
        (scenario, steps): (&Scenario, &Steps),
        config: &BTreeMap<String, String>,
    ) -> Option<Bound> {
        let mut bound = timers::predict(bound_of(fault, scenario)?, config, &BTreeMap::new());
        let since_s = |at_us: i64| (at_us - fault.at_us) as f64 / 1e6;
        match counted_from(fault, elected_us, &self.controllers, scenario, steps) {
            CountedFrom::Fault | CountedFrom::Term { foreseen: true, .. } => {}
            CountedFrom::Able(able_us) => {
                bound.max_s += since_s(able_us);
                bound.timer =
                    format!("{}, counted from {:.1} s: no controller could act before", bound.timer, seconds(able_us));
            }
            CountedFrom::Term { active_us, node, .. } => {
                let session = timers::predict(Event::SessionCountedAnew, config, &BTreeMap::new());
                bound.max_s = since_s(active_us) + session.max_s;
                bound.timer =
                    format!("{}, counted anew by node {node}, active since {:.1} s", session.timer, seconds(active_us));
            }
        }
        Some(bound)
    }
}

/// From when on the clocks run that take out a node which was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CountedFrom {
    /// From the fault.
    Fault,
    /// From then on, because no controller could act before.
    Able(i64),
    /// From when `node` became the active controller: it gives every broker a whole session. `foreseen`: the fault took
    /// the former one, and the prediction for that has it in it.
    Term { active_us: i64, node: i32, foreseen: bool },
}

/// From when on the clocks of `fault` ran, if the controller acted on it at `out_us`. `controllers` says when which node became
/// active, and its epoch.
pub(crate) fn counted_from(
    fault: &StepSeen,
    out_us: i64,
    controllers: &[(i64, i32, i32)],
    scenario: &Scenario,
    steps: &Steps,
) -> CountedFrom {
    let event = bound_of(fault, scenario);
    if event == Some(Event::ControlledShutdown) {
        return CountedFrom::Fault;
    }
    let able_us = able_us(fault, out_us, controllers, scenario, steps);
    let from_able = if able_us > fault.at_us { CountedFrom::Able(able_us) } else { CountedFrom::Fault };
    let Some((active_us, node, _)) = counted_anew(controllers, fault.at_us, out_us) else { return from_able };
    // Closed connections may tell a new controller too, at once.
    if let Some(event @ (Event::ActiveConnectionsClosed | Event::ConnectionsClosed)) = event {
        let config = timers::effective_broker_config(&scenario.topology);
        let most_s = timers::predict(event, &config, &BTreeMap::new()).max_s;
        let unhindered = event == Event::ActiveConnectionsClosed && able_us == fault.at_us;
        if unhindered || (out_us - able_us) as f64 / 1e6 <= most_s {
            return from_able;
        }
    }
    let foreseen = event == Some(Event::CombinedActiveKilled) && able_us == fault.at_us;
    CountedFrom::Term { active_us, node, foreseen }
}

/// From when on a controller could act on the fault: most voters were up, and so was the one that had been active, unless
/// it was hit itself.
fn able_us(
    fault: &StepSeen,
    until_us: i64,
    controllers: &[(i64, i32, i32)],
    scenario: &Scenario,
    steps: &Steps,
) -> i64 {
    let active = controllers.iter().rfind(|(at_us, ..)| *at_us <= fault.at_us).map(|(_, node, _)| *node);
    let active = active.filter(|node| !fault.nodes.contains(node));
    let voters = voters(&scenario.topology);
    let can_act = |at_us: &i64| {
        let up = voters.iter().filter(|node| !steps.is_down(**node, *at_us)).count();
        up * 2 > voters.len() && active.is_none_or(|node| !steps.is_down(node, *at_us))
    };
    let heals = steps.all().iter().filter(|step| step.class == Class::Heal).map(|step| step.at_us);
    let later = heals.filter(|at_us| (fault.at_us..until_us).contains(at_us));
    std::iter::once(fault.at_us).chain(later).find(can_act).unwrap_or(fault.at_us)
}

/// The nodes that elect the active controller.
pub(crate) fn voters(topology: &Topology) -> Vec<i32> {
    match topology.controllers {
        Controllers::Combined => (1..).take(topology.brokers as usize).collect(),
        Controllers::Separate(count) => (FIRST_CONTROLLER..).take(count as usize).collect(),
    }
}

/// The last controller that became active after a fault and before `until_us`: it counts every session from its own
/// beginning.
fn counted_anew(controllers: &[(i64, i32, i32)], fault_us: i64, until_us: i64) -> Option<(i64, i32, i32)> {
    let before = controllers.iter().filter(|(at_us, ..)| *at_us <= fault_us).map(|(.., epoch)| *epoch).max();
    let later = |(at_us, _, epoch): &&(i64, i32, i32)| {
        (fault_us + 1..until_us).contains(at_us) && before.is_none_or(|before| *epoch > before)
    };
    controllers.iter().rfind(later).copied()
}

/// Until when `node` is out of the cluster by a fault. A process that was started again is back when the controller unfences
/// it, and not before: the session of its former life may end after the start, and its registration takes away what it
/// still led. One that lived on sends heartbeats again at once; it is back when it was resumed or reached.
pub(crate) fn absent_until_us(steps: &Steps, brokers: &[BrokerEvent], fault: &StepSeen, node: i32) -> i64 {
    let Some(back) = steps.back_step(fault, node) else { return i64::MAX };
    // Where nothing is known of brokers (metadata was polled), the start is all that there is.
    if !brokers.iter().any(|event| event.broker == node && event.at_us >= fault.at_us - fault.error_us) {
        return back.at_us;
    }
    let since = |change: BrokerChange| {
        let of_node = brokers.iter().filter(move |event| event.broker == node && event.change == change);
        of_node.map(|event| event.at_us).filter(|at_us| *at_us >= back.at_us).min()
    };
    let unfenced_us = since(BrokerChange::Unfenced).unwrap_or(i64::MAX);
    let registered = since(BrokerChange::Registered).is_some_and(|at_us| at_us <= unfenced_us);
    if keeps_its_life(&back.kind) && !registered { back.at_us } else { unfenced_us }
}

/// Which of the predictable events a fault is.
pub(crate) fn bound_of(fault: &StepSeen, scenario: &Scenario) -> Option<Event> {
    let combined = scenario.topology.controllers == Controllers::Combined;
    let controllers_only = !fault.nodes.is_empty() && fault.nodes.iter().all(|node| *node >= FIRST_CONTROLLER);
    let evidence = timers::closed_connections_count(&scenario.topology.broker_config);
    match fault.kind.as_str() {
        // A process that is gone closes its connections; one that stands still or is cut off does not.
        "kill" if evidence && fault.active_controller && (combined || controllers_only) => {
            Some(Event::ActiveConnectionsClosed)
        }
        "kill" if evidence && !controllers_only => Some(Event::ConnectionsClosed),
        "kill" | "pause" | "partition" | "isolate" if controllers_only => {
            fault.active_controller.then_some(Event::ActiveControllerKilled)
        }
        "kill" | "pause" | "partition" | "isolate" if combined && fault.active_controller => {
            Some(Event::CombinedActiveKilled)
        }
        "kill" => Some(Event::BrokerKilled),
        "pause" | "partition" | "isolate" => Some(Event::BrokerPaused),
        "stop" if !controllers_only => Some(Event::ControlledShutdown),
        _ => None,
    }
}
