//! A hand-made world around the conductor: it answers actions with events as a small cluster would, in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_ledger::timeline::{Clock, PartitionState, TimelineEvent, What};
use metricstream_run::conductor::{Action, Conductor, End, Event, FaultKind, LinkRule, Party, Shortfall};
use metricstream_scenario as scenario;
use scenario::{
    Baseline, Condition, Controllers, Group, GroupProtocol, Member, Producer, Profile, Scenario, Settle, Step, Target,
    Topic, Topology, When, Workload,
};

pub(crate) const S: i64 = 1_000_000;

/// How long the world takes for things.
const SIGNAL_US: i64 = 10_000;
const FENCED_US: i64 = 9 * S;
const REGISTERED_US: i64 = 2 * S;
const CAUGHT_UP_US: i64 = 5 * S;

pub(crate) fn at(id: &str, at_s: f64, action: scenario::Action) -> Step {
    Step { id: id.into(), when: When::At { at_s }, action }
}

pub(crate) fn on(id: &str, condition: Condition, after_step: Option<&str>, action: scenario::Action) -> Step {
    let after_step = after_step.map(str::to_owned);
    Step { id: id.into(), when: When::On { condition, after_s: 0.0, not_before_s: 0.0, after_step }, action }
}

/// Broker 2 is killed after ten seconds and started again at twenty.
pub(crate) fn kill_and_start() -> Vec<Step> {
    vec![
        at("kill-2", 10.0, scenario::Action::Kill(Target::Node(2))),
        at("start-2", 20.0, scenario::Action::Start(Target::VictimOf("kill-2".into()))),
    ]
}

pub(crate) fn leader_of(partition: i32) -> Target {
    Target::Leader { topic: "metrics".into(), partition }
}

pub(crate) fn member(name: &str) -> Member {
    Member { group: "g".into(), member: name.into() }
}

/// Three combined brokers, one topic of three partitions, 30 s of load, one group of member A.
pub(crate) fn three_brokers(timeline: Vec<Step>) -> Scenario {
    let topic = Topic {
        name: "metrics".into(),
        partitions: 3,
        replication_factor: 3,
        min_insync_replicas: 2,
        replicas: Vec::new(),
        config: BTreeMap::new(),
    };
    let producer = Producer {
        name: "p".into(),
        topic: "metrics".into(),
        rate_per_s: Some(1000.0),
        message_size_bytes: 200,
        keys: None,
        config: BTreeMap::new(),
    };
    let group = Group {
        name: "g".into(),
        topics: vec!["metrics".into()],
        protocol: GroupProtocol::Classic,
        assignor: "range".into(),
        members: vec!["A".into()],
        config: BTreeMap::new(),
    };
    Scenario {
        schema: scenario::SCHEMA,
        name: "story".into(),
        description: String::new(),
        topology: Topology {
            brokers: 3,
            controllers: Controllers::Combined,
            profile: Profile::Apache,
            broker_config: BTreeMap::new(),
            topics: vec![topic],
        },
        workload: Workload {
            duration_s: Some(30.0),
            settle_s: 5.0,
            max_duration_s: None,
            producers: vec![producer],
            groups: vec![group],
        },
        timeline,
        settle: Settle { isr_full_s: 60.0, drain_s: 20.0, group_catch_up_s: 25.0, heal: true },
        baseline: Baseline::default(),
        claims: Vec::new(),
    }
}

/// What the world does not answer or carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mute {
    Ready,
    Faults,
    FaultsFail,
    LoadEnd,
    StopLoad,
    Drain,
    Groups,
    Audit,
    /// Restarted brokers never catch up.
    CatchUp,
    /// Members report no assignment.
    Assignments,
}

/// What happens at some time.
#[derive(Debug, Clone)]
enum Due {
    Event(Event),
    Fence(i32),
    Register(i32),
    CatchUp(i32),
}

pub(crate) struct World {
    pub(crate) conductor: Conductor,
    pub(crate) now_us: i64,
    pub(crate) events: Vec<(i64, Event)>,
    pub(crate) actions: Vec<(i64, Action)>,
    mutes: BTreeSet<Mute>,
    queue: BTreeMap<(i64, u64), Due>,
    queued: u64,
    epochs: BTreeMap<i32, i64>,
    down: BTreeSet<i32>,
    paused: BTreeSet<i32>,
    fenced: BTreeSet<i32>,
    isr: BTreeMap<i32, Vec<i32>>,
    partition_epoch: i32,
    members: BTreeSet<String>,
    generation: i32,
    load_s: Option<f64>,
}

impl World {
    pub(crate) fn new(scenario: &Scenario, seed: u64, mutes: &[Mute]) -> Self {
        let brokers: Vec<i32> = (1..=scenario.topology.brokers as i32).collect();
        let rotated = |first: i32| {
            let mut ids = brokers.clone();
            let by = first as usize % ids.len();
            ids.rotate_left(by);
            ids
        };
        let mut world = Self {
            conductor: Conductor::new(scenario, seed),
            now_us: -5 * S,
            events: Vec::new(),
            actions: Vec::new(),
            mutes: mutes.iter().copied().collect(),
            queue: BTreeMap::new(),
            queued: 0,
            epochs: brokers.iter().map(|id| (*id, i64::from(*id))).collect(),
            down: BTreeSet::new(),
            paused: BTreeSet::new(),
            fenced: BTreeSet::new(),
            isr: (0..3).map(|index| (index, rotated(index))).collect(),
            partition_epoch: 0,
            members: BTreeSet::new(),
            generation: 0,
            load_s: scenario.workload.duration_s,
        };
        for broker in brokers {
            world.seen(What::BrokerRegistered { broker, broker_epoch: i64::from(broker) });
            world.seen(What::BrokerUnfenced { broker, broker_epoch: i64::from(broker) });
        }
        world.seen(What::Controller { node: 1, epoch: 1 });
        world.report_partitions();
        if !world.mutes(Mute::Ready) {
            world.after(5 * S, Due::Event(Event::ClusterReady { bootstrap: "127.0.0.1:9092".into(), took_ms: 5000 }));
        } else {
            world.after(0, Due::Event(Event::Tick));
        }
        world
    }

    fn mutes(&self, mute: Mute) -> bool {
        self.mutes.contains(&mute)
    }

    fn after(&mut self, us: i64, due: Due) {
        self.queued += 1;
        self.queue.insert((self.now_us + us, self.queued), due);
    }

    pub(crate) fn inject(&mut self, at_us: i64, event: Event) {
        self.queued += 1;
        self.queue.insert((at_us, self.queued), Due::Event(event));
    }

    fn seen(&mut self, what: What) {
        let event = TimelineEvent { at_us: self.now_us, error_us: 0, clock: Clock::Controller, what, cause: None };
        self.after(0, Due::Event(Event::Timeline(event)));
    }

    /// Runs to the end. A run that waits for nothing and is not finished hangs, and so does one that lasts a day.
    pub(crate) fn run(mut self) -> Self {
        while !self.conductor.finished() {
            assert!(self.now_us < 86_400 * S, "a day passed: {:#?}", self.conductor);
            let queued = self.queue.first_key_value().map(|(key, _)| *key);
            let wake_us = self.conductor.next_wake_us();
            match (queued, wake_us) {
                (Some((at_us, _)), wake) if wake.is_none_or(|wake_us| at_us <= wake_us) => {
                    self.now_us = self.now_us.max(at_us);
                    if let Some((_, due)) = self.queue.pop_first() {
                        self.happens(due);
                    }
                }
                (_, Some(wake_us)) => {
                    assert!(wake_us > self.now_us, "a wake-up in the past");
                    self.now_us = wake_us;
                    self.tell(Event::Tick);
                }
                (_, None) => panic!("hangs at {} s: {:#?}", self.now_us / S, self.conductor),
            }
        }
        self
    }

    fn happens(&mut self, due: Due) {
        match due {
            Due::Event(event) => self.tell(event),
            // Controllers on nodes of their own hold no partitions and are not fenced.
            Due::Fence(id) | Due::Register(id) | Due::CatchUp(id) if !self.epochs.contains_key(&id) => {}
            Due::Fence(id) if self.down.contains(&id) || self.paused.contains(&id) => {
                self.fenced.insert(id);
                self.tell_seen(What::BrokerFenced { broker: id, broker_epoch: self.epochs[&id] });
                self.shrink(id);
            }
            Due::Register(id) => {
                *self.epochs.entry(id).or_default() += 100;
                self.fenced.insert(id);
                self.tell_seen(What::BrokerRegistered { broker: id, broker_epoch: self.epochs[&id] });
                self.shrink(id);
                if !self.mutes(Mute::CatchUp) {
                    self.after(CAUGHT_UP_US, Due::CatchUp(id));
                }
            }
            Due::CatchUp(id) if !self.down.contains(&id) && !self.paused.contains(&id) => {
                if self.fenced.remove(&id) {
                    self.tell_seen(What::BrokerUnfenced { broker: id, broker_epoch: self.epochs[&id] });
                }
                for isr in self.isr.values_mut().filter(|isr| !isr.contains(&id)) {
                    isr.push(id);
                }
                self.report_partitions();
            }
            Due::Fence(_) | Due::CatchUp(_) => {}
        }
    }

    fn shrink(&mut self, id: i32) {
        for isr in self.isr.values_mut().filter(|isr| isr.len() > 1) {
            isr.retain(|replica| *replica != id);
        }
        self.report_partitions();
    }

    fn report_partitions(&mut self) {
        self.partition_epoch += 1;
        for (partition, isr) in self.isr.clone() {
            let leader = isr.iter().copied().find(|id| !self.fenced.contains(id)).unwrap_or(-1);
            self.seen(What::Partition(PartitionState {
                topic: "metrics".into(),
                partition,
                replicas: self.epochs.keys().copied().collect(),
                isr,
                elr: Vec::new(),
                leader,
                leader_epoch: self.partition_epoch,
                partition_epoch: self.partition_epoch,
            }));
        }
    }

    fn tell_seen(&mut self, what: What) {
        let event = TimelineEvent { at_us: self.now_us, error_us: 0, clock: Clock::Controller, what, cause: None };
        self.tell(Event::Timeline(event));
    }

    fn tell(&mut self, event: Event) {
        let mut out = Vec::new();
        self.conductor.observe(self.now_us, &event, &mut out);
        self.events.push((self.now_us, event));
        for action in out {
            self.actions.push((self.now_us, action.clone()));
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::StartLoad { .. } => {
                self.members.insert("A".into());
                self.rebalance();
                if let Some(load_s) = self.load_s.filter(|_| !self.mutes(Mute::LoadEnd)) {
                    self.after((load_s * 1e6) as i64, Due::Event(Event::LoadEnded));
                }
            }
            Action::EndLoad { at_us } => {
                assert!(self.load_s.is_none() && at_us >= self.now_us, "an end that was known");
                if !self.mutes(Mute::LoadEnd) {
                    self.after(at_us - self.now_us, Due::Event(Event::LoadEnded));
                }
            }
            Action::Fault { step, kind, nodes, .. } => self.fault(step, kind, nodes),
            Action::Links { step, rules, .. } => self.links(step, &rules),
            Action::MemberJoin { step, member } => {
                self.members.insert(member.member);
                self.member_changed(step);
            }
            Action::MemberLeave { step, member } | Action::MemberCrash { step, member } => {
                self.members.remove(&member.member);
                self.member_changed(step);
            }
            Action::MemberStall { step, .. } => self.member_changed(step),
            Action::StopLoad if !self.mutes(Mute::StopLoad) => self.after(S, Due::Event(Event::LoadEnded)),
            Action::Drain { .. } if !self.mutes(Mute::Drain) => self.after(S, Due::Event(Event::Drained { open: 0 })),
            Action::WaitGroups { .. } if !self.mutes(Mute::Groups) => {
                self.after(S, Due::Event(Event::GroupsCaughtUp { behind: Vec::new() }));
            }
            Action::Audit { .. } if !self.mutes(Mute::Audit) => {
                self.after(S, Due::Event(Event::AuditFinished { ok: true, why: None }));
            }
            _ => {}
        }
    }

    fn member_changed(&mut self, step: String) {
        if self.mutes(Mute::Faults) {
            return;
        }
        let at_us = self.now_us + SIGNAL_US;
        self.after(SIGNAL_US, Due::Event(Event::MemberDone { step, at_us }));
        self.rebalance();
    }

    fn rebalance(&mut self) {
        self.generation += 1;
        if self.mutes(Mute::Assignments) {
            return;
        }
        let members: Vec<String> = self.members.iter().cloned().collect();
        for (nth, member) in members.iter().enumerate() {
            let mine = (0..3).filter(|index| index % members.len() == nth);
            let what = What::Assignment {
                group: "g".into(),
                member: member.clone(),
                generation: self.generation,
                partitions: mine.map(|index| format!("metrics-{index}")).collect(),
            };
            let at_us = self.now_us + 3 * S;
            let event = TimelineEvent { at_us, error_us: 0, clock: Clock::Monotonic, what, cause: None };
            self.after(3 * S, Due::Event(Event::Timeline(event)));
        }
    }

    fn fault(&mut self, step: String, kind: FaultKind, nodes: Vec<i32>) {
        if self.mutes(Mute::Faults) {
            return;
        }
        if self.mutes(Mute::FaultsFail) {
            let error = "no such process".to_owned();
            return self.after(SIGNAL_US, Due::Event(Event::FaultFailed { step, error }));
        }
        for id in &nodes {
            match kind {
                FaultKind::Kill => {
                    assert!(self.down.insert(*id), "broker {id} is down already");
                    self.paused.remove(id);
                    self.after(FENCED_US, Due::Fence(*id));
                }
                FaultKind::Stop => {
                    assert!(!self.paused.contains(id) && self.down.insert(*id), "broker {id} is not up");
                    self.after(SIGNAL_US / 2, Due::Fence(*id));
                }
                FaultKind::Pause => {
                    assert!(!self.down.contains(id) && self.paused.insert(*id), "broker {id} is not up");
                    self.after(FENCED_US, Due::Fence(*id));
                }
                FaultKind::Resume => {
                    assert!(self.paused.remove(id), "broker {id} is not paused");
                    self.after(S, Due::CatchUp(*id));
                }
                FaultKind::Start | FaultKind::StartWiped | FaultKind::StartReformatted => {
                    assert!(self.down.remove(id), "broker {id} is not down");
                    self.after(REGISTERED_US, Due::Register(*id));
                }
            }
        }
        let at_us = self.now_us + SIGNAL_US;
        self.after(SIGNAL_US, Due::Event(Event::FaultDone { step, nodes, at_us }));
    }

    /// Whoever no other node reaches stands still, as far as the cluster can tell.
    fn links(&mut self, step: String, rules: &[LinkRule]) {
        if self.mutes(Mute::Faults) {
            return;
        }
        let nodes: Vec<i32> = self.epochs.keys().copied().collect();
        for id in &nodes {
            let cut = |other: &i32| {
                rules.iter().any(|rule| rule.cut && (rule.from, rule.to) == (Party::Node(*id), Party::Node(*other)))
            };
            if nodes.iter().filter(|other| *other != id).all(cut) {
                self.paused.insert(*id);
                self.after(FENCED_US, Due::Fence(*id));
            } else if self.paused.remove(id) {
                self.after(S, Due::CatchUp(*id));
            }
        }
        let at_us = self.now_us + SIGNAL_US;
        self.after(SIGNAL_US, Due::Event(Event::FaultDone { step, nodes: Vec::new(), at_us }));
    }

    /// The timeline that the conductor wrote, one line each.
    pub(crate) fn story(&self) -> Vec<String> {
        let line = |event: &TimelineEvent| {
            let text = match &event.what {
                What::ClusterReady { .. } => "ready".to_owned(),
                What::Phase { name } => format!("phase {name}"),
                What::Fault { id, kind, target, nodes, active_controller } => {
                    let controller = if *active_controller { ", active controller" } else { "" };
                    format!("{id}: {kind} {target} {nodes:?}{controller}")
                }
                What::Healed { id, by, kind, nodes } => format!("{by}: {kind} {nodes:?} heals {id}"),
                What::FaultFailed { id, error } => format!("{id} failed: {error}"),
                What::Member { group, member, change } => format!("{group}/{member} {change}"),
                What::Note { text } => format!("note: {text}"),
                other => panic!("the conductor does not tell of {other:?}"),
            };
            format!("{:.2} {text}", event.at_us as f64 / 1e6)
        };
        let emitted = |(_, action): &(i64, Action)| match action {
            Action::Emit(event) => Some(line(event)),
            _ => None,
        };
        self.actions.iter().filter_map(emitted).collect()
    }

    pub(crate) fn ended(&self) -> (End, Vec<Shortfall>) {
        let finish = self.actions.iter().find_map(|(_, action)| match action {
            Action::Finish { end, shortfalls } => Some((*end, shortfalls.clone())),
            _ => None,
        });
        finish.expect("a finished run")
    }

    /// Names of the actions that order the end of a run.
    pub(crate) fn orders(&self) -> Vec<&'static str> {
        let name = |(_, action): &(i64, Action)| match action {
            Action::StartLoad { .. } => Some("start-load"),
            Action::EndLoad { .. } => Some("end-load"),
            Action::StopLoad => Some("stop-load"),
            Action::Drain { .. } => Some("drain"),
            Action::WaitGroups { .. } => Some("groups"),
            Action::Audit { .. } => Some("audit"),
            Action::Finish { .. } => Some("finish"),
            _ => None,
        };
        self.actions.iter().filter_map(name).collect()
    }

    /// Nodes that are not up at the end.
    pub(crate) fn broken(&self) -> Vec<i32> {
        self.down.union(&self.paused).copied().collect()
    }
}
