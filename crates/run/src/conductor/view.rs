//! What the conductor knows of the cluster: node states from its own faults, everything else from observations.
//! Answers conditions. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_ledger::timeline::{PartitionState, What};
use metricstream_scenario::{Controllers, Group, GroupProtocol, Scenario};

use super::message::FaultKind;

/// At most this many things are named of what a wait lacks.
const NAMED_MAX: usize = 4;

/// What was last done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// Running.
    Up,
    /// Killed, its process is gone.
    Killed,
    /// Stopped in a controlled way.
    Stopped,
    /// Its process stands still.
    Paused,
}

impl NodeState {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Killed => "killed",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
        }
    }

    /// Whether `kind` can be done to a node in this state.
    pub(super) const fn allows(self, kind: FaultKind) -> bool {
        match kind {
            FaultKind::Kill => matches!(self, Self::Up | Self::Paused),
            FaultKind::Stop | FaultKind::Pause => matches!(self, Self::Up),
            FaultKind::Resume => matches!(self, Self::Paused),
            FaultKind::Start | FaultKind::StartWiped | FaultKind::StartReformatted => {
                matches!(self, Self::Killed | Self::Stopped)
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) state: NodeState,
    /// A fault on it was asked for and not yet answered.
    pub(super) busy: bool,
    /// Links cut it off from others.
    pub(super) cut_off: bool,
    fenced: bool,
    /// The newest broker epoch seen; −1 if none.
    epoch: i64,
    /// It went down with this epoch: what is known of it is stale until it registers with a newer one.
    stale_up_to_epoch: Option<i64>,
}

impl Node {
    /// Whether it runs, undisturbed, and what is known of it is of its present life.
    fn in_service(&self) -> bool {
        self.state == NodeState::Up && !self.busy && !self.cut_off && self.stale_up_to_epoch.is_none()
    }
}

impl Node {
    /// Why it is not in service, for people.
    fn away(&self) -> &'static str {
        if self.cut_off && self.state == NodeState::Up { "cut off" } else { "down" }
    }
}

/// An assignment as a member reported it: generation and partitions.
type Assignment = (i32, Vec<String>);

#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) nodes: BTreeMap<i32, Node>,
    brokers: BTreeSet<i32>,
    voters: BTreeSet<i32>,
    /// The scenario's topics and their partition counts.
    topics: BTreeMap<String, i32>,
    partitions: BTreeMap<(String, i32), PartitionState>,
    controller: Option<i32>,
    groups: BTreeMap<String, Group>,
    /// Members that are present, and what they own, once they reported it.
    members: BTreeMap<(String, String), Option<Assignment>>,
}

impl View {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let topology = &scenario.topology;
        let brokers: BTreeSet<i32> = (1..).take(topology.brokers as usize).collect();
        let voters = match topology.controllers {
            Controllers::Combined => brokers.clone(),
            Controllers::Separate(count) => (101..).take(count as usize).collect(),
        };
        let node = Node {
            state: NodeState::Up,
            busy: false,
            cut_off: false,
            fenced: true,
            epoch: -1,
            stale_up_to_epoch: None,
        };
        let groups = &scenario.workload.groups;
        Self {
            nodes: brokers.union(&voters).map(|id| (*id, node.clone())).collect(),
            brokers,
            voters,
            topics: topology.topics.iter().map(|topic| (topic.name.clone(), topic.partitions)).collect(),
            partitions: BTreeMap::new(),
            controller: None,
            groups: groups.iter().map(|group| (group.name.clone(), group.clone())).collect(),
            members: groups
                .iter()
                .flat_map(|group| group.members.iter().map(|member| ((group.name.clone(), member.clone()), None)))
                .collect(),
        }
    }

    /// The engine says that every broker is unfenced.
    pub(super) fn ready(&mut self) {
        for node in self.nodes.values_mut() {
            node.fenced = false;
        }
    }

    pub(super) fn learn(&mut self, what: &What) {
        match what {
            What::BrokerRegistered { broker, broker_epoch } => self.learn_broker(*broker, *broker_epoch, None),
            What::BrokerFenced { broker, broker_epoch } => self.learn_broker(*broker, *broker_epoch, Some(true)),
            What::BrokerUnfenced { broker, broker_epoch } => self.learn_broker(*broker, *broker_epoch, Some(false)),
            What::Partition(state) if self.topics.contains_key(&state.topic) => {
                let key = (state.topic.clone(), state.partition);
                // Observers may overlap; an older state must not undo a newer one. Polled states have no epoch.
                let newer = self
                    .partitions
                    .get(&key)
                    .is_none_or(|known| state.partition_epoch < 0 || state.partition_epoch >= known.partition_epoch);
                if newer {
                    self.partitions.insert(key, state.clone());
                }
            }
            What::TopicDeleted { topic } => self.partitions.retain(|(name, _), _| name != topic),
            What::Controller { node, .. } => self.controller = self.nodes.contains_key(node).then_some(*node),
            What::Assignment { group, member, generation, partitions } => {
                if let Some(assignment) = self.members.get_mut(&(group.clone(), member.clone())) {
                    *assignment = Some((*generation, partitions.clone()));
                }
            }
            _ => {}
        }
    }

    fn learn_broker(&mut self, broker: i32, broker_epoch: i64, fenced: Option<bool>) {
        let Some(node) = self.nodes.get_mut(&broker) else { return };
        if node.stale_up_to_epoch.is_some_and(|stale| broker_epoch > stale) {
            node.stale_up_to_epoch = None;
        }
        // A broker that registers anew is fenced until the controller says otherwise.
        let anew = fenced.is_none() && broker_epoch > node.epoch;
        node.fenced = fenced.unwrap_or(node.fenced || anew);
        node.epoch = node.epoch.max(broker_epoch);
    }

    /// A fault was carried out.
    pub(super) fn hit(&mut self, kind: FaultKind, ids: &[i32]) {
        for id in ids {
            let Some(node) = self.nodes.get_mut(id) else { continue };
            node.state = match kind {
                FaultKind::Kill => NodeState::Killed,
                FaultKind::Stop => NodeState::Stopped,
                FaultKind::Pause => NodeState::Paused,
                FaultKind::Resume | FaultKind::Start | FaultKind::StartWiped | FaultKind::StartReformatted => {
                    NodeState::Up
                }
            };
            if matches!(kind, FaultKind::Kill | FaultKind::Stop) && node.epoch >= 0 {
                node.stale_up_to_epoch = Some(node.epoch);
            }
        }
    }

    /// Nodes are about to start on new disks. If every voter is among them, it is a new cluster, whose epochs begin anew
    /// and in which no topic is left.
    pub(super) fn forget_if_reformatted(&mut self, ids: &[i32]) {
        if self.voters.iter().all(|voter| ids.contains(voter)) {
            self.partitions.clear();
            self.controller = None;
            for node in self.nodes.values_mut().filter(|node| node.epoch >= 0) {
                node.epoch = -1;
                node.stale_up_to_epoch = Some(-1);
            }
        }
    }

    pub(super) fn set_busy(&mut self, ids: &[i32], busy: bool) {
        for id in ids {
            if let Some(node) = self.nodes.get_mut(id) {
                node.busy = busy;
            }
        }
    }

    pub(super) fn has_member(&self, group: &str, member: &str) -> bool {
        self.members.contains_key(&(group.to_owned(), member.to_owned()))
    }

    pub(super) fn has_members(&self, group: &str) -> bool {
        self.members.keys().any(|(of, _)| of == group)
    }

    pub(super) fn add_member(&mut self, group: &str, member: &str) {
        self.members.insert((group.to_owned(), member.to_owned()), None);
    }

    pub(super) fn remove_member(&mut self, group: &str, member: &str) {
        self.members.remove(&(group.to_owned(), member.to_owned()));
    }

    pub(super) const fn controller(&self) -> Option<i32> {
        self.controller
    }

    pub(super) const fn brokers(&self) -> &BTreeSet<i32> {
        &self.brokers
    }

    pub(super) fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionState> {
        self.partitions.get(&(topic.to_owned(), partition))
    }

    pub(super) fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// `broker 2` or `controller 101`.
    pub(super) fn name(&self, id: i32) -> String {
        if self.brokers.contains(&id) || !self.voters.contains(&id) {
            format!("broker {id}")
        } else {
            format!("controller {id}")
        }
    }

    /// `broker 2`, `brokers 1,3 + controller 101`.
    pub(super) fn names(&self, ids: &[i32]) -> String {
        let (controllers, brokers): (Vec<i32>, Vec<i32>) =
            ids.iter().partition(|id| self.voters.contains(id) && !self.brokers.contains(id));
        let many = |ids: &[i32], one: &str| match ids {
            [] => None,
            [id] => Some(format!("{one} {id}")),
            _ => Some(format!("{one}s {}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))),
        };
        let parts = [many(&brokers, "broker"), many(&controllers, "controller")];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" + ")
    }

    /// Nodes that are not up.
    pub(super) fn broken(&self) -> Vec<(i32, NodeState)> {
        self.nodes.iter().filter(|(_, node)| node.state != NodeState::Up).map(|(id, node)| (*id, node.state)).collect()
    }

    /// `brokers 1,2 down, broker 3 paused`; `None` if all are up.
    pub(super) fn broken_text(&self) -> Option<String> {
        let mut by_state: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (id, state) in self.broken() {
            let state = if state == NodeState::Paused { "paused" } else { "down" };
            by_state.entry(state).or_default().push(id);
        }
        let parts: Vec<String> = by_state.iter().map(|(state, ids)| format!("{} {state}", self.names(ids))).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// What the condition "ISR full" lacks; empty if it holds. A broker that was restarted counts again once it
    /// registered: before, the metadata is that of its former life.
    pub(super) fn isr_full_lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        for id in &self.brokers {
            let Some(node) = self.nodes.get(id) else { continue };
            if node.state != NodeState::Up {
                lacks.push(format!("broker {id} is {}", node.state.as_str()));
            } else if node.busy || node.stale_up_to_epoch.is_some() {
                lacks.push(format!("broker {id} has not registered again"));
            } else if node.fenced {
                lacks.push(format!("broker {id} is fenced"));
            }
        }
        self.each_partition(|topic, index, state| match state {
            None => lacks.push(format!("{topic}-{index} is not known")),
            Some(state) if !same_members(&state.isr, &state.replicas) => {
                lacks.push(format!("{topic}-{index} has ISR {:?} of {:?}", state.isr, state.replicas));
            }
            Some(_) => {}
        });
        lacks
    }

    /// What the condition "leaders known" lacks. A leader that is known to be down is none.
    pub(super) fn leaders_known_lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        self.each_partition(|topic, index, state| match state {
            None => lacks.push(format!("{topic}-{index} is not known")),
            Some(state) => match self.nodes.get(&state.leader) {
                Some(node) if node.in_service() => {}
                Some(node) => {
                    lacks.push(format!("{topic}-{index} has leader {}, which is {}", state.leader, node.away()))
                }
                // Brokers of a cluster that is not ours have ids of their own, and are nobody's target.
                None if state.leader >= 0 => {}
                None => lacks.push(format!("{topic}-{index} has no leader")),
            },
        });
        lacks
    }

    fn each_partition(&self, mut visit: impl FnMut(&str, i32, Option<&PartitionState>)) {
        for (topic, count) in &self.topics {
            for index in 0..*count {
                visit(topic, index, self.partition(topic, index));
            }
        }
    }

    /// What the condition "group stable" lacks.
    pub(super) fn group_stable_lacks(&self, name: &str) -> Vec<String> {
        let Some(group) = self.groups.get(name) else { return vec![format!("there is no group {name}")] };
        let mut lacks = Vec::new();
        let mut owners: BTreeMap<&str, u32> = BTreeMap::new();
        let mut generations = BTreeSet::new();
        let (mut present, mut idle) = (0, 0);
        for ((_, member), assignment) in self.members.iter().filter(|((of, _), _)| of == name) {
            present += 1;
            match assignment {
                None => lacks.push(format!("{member} has no assignment yet")),
                Some((generation, partitions)) => {
                    generations.insert(*generation);
                    idle += usize::from(partitions.is_empty());
                    for partition in partitions {
                        *owners.entry(partition).or_default() += 1;
                    }
                }
            }
        }
        let mut total = 0;
        for topic in &group.topics {
            for index in 0..self.topics.get(topic).copied().unwrap_or(0) {
                total += 1;
                let owned = owners.get(format!("{topic}-{index}").as_str()).copied().unwrap_or(0);
                if owned != 1 {
                    lacks.push(format!("{topic}-{index} has {owned} owners"));
                }
            }
        }
        match group.protocol {
            GroupProtocol::Classic if generations.len() > 1 => {
                lacks.push(format!("members are at generations {generations:?}"));
            }
            // A member whose assignment did not change need not report the newer epoch. But the coordinator leaves
            // nobody without partitions while there are enough, so a newcomer that has none is still waiting.
            GroupProtocol::Consumer if generations.len() > 1 && idle > 0 && total >= present => {
                lacks.push("a member has no partitions yet".to_owned());
            }
            _ => {}
        }
        lacks
    }

    /// What the condition "fenced" lacks for the brokers among `ids`.
    pub(super) fn fenced_lacks(&self, ids: &[i32]) -> Vec<String> {
        let mut brokers = ids.iter().filter(|id| self.brokers.contains(id)).peekable();
        if brokers.peek().is_none() {
            return vec!["the step hit no broker".to_owned()];
        }
        let unfenced = |id: &&i32| self.nodes.get(*id).is_some_and(|node| !node.fenced);
        brokers.filter(unfenced).map(|id| format!("broker {id} is not fenced")).collect()
    }

    /// Whether taking `id` down leaves a cluster that heals when its nodes come back: a majority of voters, a broker,
    /// and a live in-sync replica of every partition that has several. Where there is no majority to spare, one node
    /// at a time.
    pub(super) fn can_spare(&self, id: i32) -> bool {
        let serving = |id: &i32| self.nodes.get(id).is_some_and(Node::in_service);
        if !serving(&id) {
            return false;
        }
        let others_serve = self.nodes.keys().all(|other| *other == id || serving(other));
        if self.voters.contains(&id) && self.voters.len() <= 2 {
            return others_serve;
        }
        let voters_left = self.voters.iter().filter(|voter| **voter != id && serving(voter)).count();
        if self.voters.contains(&id) && voters_left <= self.voters.len() / 2 {
            return false;
        }
        if !self.brokers.contains(&id) {
            return true;
        }
        if self.brokers.len() == 1 {
            return others_serve;
        }
        let replica_left = self.partitions.values().all(|state| {
            state.replicas.len() == 1 || state.isr.iter().any(|replica| *replica != id && serving(replica))
        });
        replica_left && self.brokers.iter().any(|broker| *broker != id && serving(broker))
    }
}

fn same_members(left: &[i32], right: &[i32]) -> bool {
    left.iter().collect::<BTreeSet<_>>() == right.iter().collect::<BTreeSet<_>>()
}

/// The first few of what is missing, and how many more.
pub(super) fn some_of(lacks: &[String]) -> String {
    let mut text = lacks.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if lacks.len() > NAMED_MAX {
        text.push_str(&format!(", and {} more", lacks.len() - NAMED_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(brokers: i32, protocol: GroupProtocol) -> View {
        let node = Node {
            state: NodeState::Up,
            busy: false,
            cut_off: false,
            fenced: false,
            epoch: -1,
            stale_up_to_epoch: None,
        };
        let group = Group {
            name: "g".into(),
            topics: vec!["t".into()],
            protocol,
            assignor: "uniform".into(),
            members: Vec::new(),
            config: BTreeMap::new(),
        };
        View {
            nodes: (1..=brokers).map(|id| (id, node.clone())).collect(),
            brokers: (1..=brokers).collect(),
            voters: (1..=brokers).collect(),
            topics: BTreeMap::from([("t".to_owned(), 2)]),
            partitions: BTreeMap::new(),
            controller: None,
            groups: BTreeMap::from([("g".to_owned(), group)]),
            members: BTreeMap::new(),
        }
    }

    fn partition(index: i32, isr: &[i32], leader: i32, partition_epoch: i32) -> What {
        What::Partition(PartitionState {
            topic: "t".into(),
            partition: index,
            replicas: vec![1, 2],
            isr: isr.to_vec(),
            elr: Vec::new(),
            leader,
            leader_epoch: 0,
            partition_epoch,
        })
    }

    fn owns(member: &str, generation: i32, indexes: &[i32]) -> What {
        What::Assignment {
            group: "g".into(),
            member: member.into(),
            generation,
            partitions: indexes.iter().map(|index| format!("t-{index}")).collect(),
        }
    }

    #[test]
    fn an_older_state_does_not_undo_a_newer_one() {
        let mut view = view(2, GroupProtocol::Classic);
        view.learn(&partition(0, &[1, 2], 1, 3));
        assert_eq!(view.isr_full_lacks(), ["t-1 is not known"]);
        view.learn(&partition(1, &[2, 1], 2, 3));
        assert!(view.isr_full_lacks().is_empty() && view.leaders_known_lacks().is_empty());
        view.learn(&partition(0, &[1], -1, 2));
        assert!(view.isr_full_lacks().is_empty());
        view.learn(&partition(0, &[1], -1, 4));
        assert_eq!(view.isr_full_lacks(), ["t-0 has ISR [1] of [1, 2]"]);
        assert_eq!(view.leaders_known_lacks(), ["t-0 has no leader"]);
        view.learn(&What::TopicDeleted { topic: "t".into() });
        assert_eq!(view.isr_full_lacks().len(), 2);
    }

    #[test]
    fn a_leader_that_went_down_is_none_until_another_is_known() {
        let mut view = view(2, GroupProtocol::Classic);
        view.learn(&partition(0, &[1, 2], 1, 0));
        view.learn(&partition(1, &[1, 2], 2, 0));
        view.hit(FaultKind::Kill, &[1]);
        assert_eq!(view.leaders_known_lacks(), ["t-0 has leader 1, which is down"]);
        view.learn(&partition(0, &[2], 2, 1));
        assert!(view.leaders_known_lacks().is_empty());
    }

    #[test]
    fn a_classic_group_is_stable_at_one_generation() {
        let mut view = view(2, GroupProtocol::Classic);
        view.add_member("g", "A");
        view.learn(&owns("A", 1, &[0, 1]));
        assert!(view.group_stable_lacks("g").is_empty());
        view.add_member("g", "B");
        assert_eq!(view.group_stable_lacks("g"), ["B has no assignment yet"]);
        view.learn(&owns("B", 2, &[1]));
        assert_eq!(view.group_stable_lacks("g").len(), 2, "two owners, two generations");
        view.learn(&owns("A", 2, &[0]));
        assert!(view.group_stable_lacks("g").is_empty());
        view.remove_member("g", "B");
        assert_eq!(view.group_stable_lacks("g"), ["t-1 has 0 owners"]);
        view.learn(&owns("B", 3, &[1]));
        assert!(!view.group_stable_lacks("g").is_empty(), "B is gone, whatever still comes from it");
    }

    #[test]
    fn a_consumer_group_waits_for_whoever_is_still_to_be_given_partitions() {
        let mut view = view(2, GroupProtocol::Consumer);
        view.add_member("g", "A");
        view.add_member("g", "B");
        view.learn(&owns("A", 1, &[0, 1]));
        view.learn(&owns("B", 2, &[]));
        assert_eq!(view.group_stable_lacks("g"), ["a member has no partitions yet"]);
        view.learn(&owns("A", 2, &[0]));
        view.learn(&owns("B", 3, &[1]));
        assert!(view.group_stable_lacks("g").is_empty(), "A need not report the epoch of B's gain");
    }

    #[test]
    fn a_cluster_on_a_new_disk_begins_with_new_epochs() {
        let mut view = view(1, GroupProtocol::Classic);
        view.learn(&What::BrokerRegistered { broker: 1, broker_epoch: 500 });
        view.learn(&What::BrokerUnfenced { broker: 1, broker_epoch: 500 });
        view.learn(&partition(0, &[1, 2], 1, 9));
        view.hit(FaultKind::Kill, &[1]);
        view.forget_if_reformatted(&[1]);
        view.hit(FaultKind::StartReformatted, &[1]);
        assert!(view.isr_full_lacks().contains(&"broker 1 has not registered again".to_owned()));
        view.learn(&What::BrokerRegistered { broker: 1, broker_epoch: 4 });
        view.learn(&What::BrokerUnfenced { broker: 1, broker_epoch: 4 });
        assert_eq!(view.isr_full_lacks(), ["t-0 is not known", "t-1 is not known"]);
    }
}
