//! What a configuration promises. A breach of a guarantee that applies is a violation; the same finding where the
//! guarantee does not apply was to be expected. Whether anything was breached is the ledger's business.

use std::collections::{BTreeMap, BTreeSet};

use crate::librdkafka::is_true;
use crate::model::{Action, Condition, Controllers, Group, Producer, Scenario, Target, Topic, When};
use crate::text::FIRST_CONTROLLER_ID;
use crate::timers::effective_broker_config;

/// What a guarantee is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuaranteeKind {
    /// Every value read is one that was sent to that place, sound, and not one that definitely failed; leader epochs
    /// only rise. No configuration takes this away.
    Integrity,
    /// What was read at an offset of the topic stays there, for every observer, and high watermarks hold.
    Consistency {
        /// Topic name.
        topic: String,
    },
    /// Nothing acknowledged is lost.
    Durability {
        /// Topic name.
        topic: String,
    },
    /// No message of the producer is in the log twice.
    NoDuplicates {
        /// Producer name.
        producer: String,
    },
    /// Each lane of the producer is in the log in the order in which it was sent.
    Order {
        /// Producer name.
        producer: String,
    },
    /// Every message in the log below the group's commit was delivered to it.
    Delivery {
        /// Group name.
        group: String,
    },
    /// Nothing below the group's commit is delivered to it again, and commits never go back.
    Commits {
        /// Group name.
        group: String,
    },
    /// No two live members of the group own one partition.
    Ownership {
        /// Group name.
        group: String,
    },
}

/// One guarantee, and whether the configuration gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarantee {
    /// Stable id: `durability-metrics`.
    pub id: String,
    /// What it is about.
    pub kind: GuaranteeKind,
    /// For people.
    pub text: String,
    /// Whether the configuration gives it under the planned (or observed) faults.
    pub applies: bool,
    /// Why it does, or what takes it away.
    pub why: String,
}

/// The failures that durability has to survive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// The most brokers whose process died uncleanly or whose disk was lost within one recovery window, which ends when
    /// every ISR is full again.
    pub in_one_window: u32,
    /// The steps that cause them.
    pub steps: Vec<String>,
}

/// The guarantees of a scenario under the faults that its timeline plans.
pub fn derive(scenario: &Scenario) -> Vec<Guarantee> {
    derive_under(scenario, &planned_failures(scenario))
}

/// The guarantees of a scenario under failures that were observed; the ledger knows when each ISR was full again.
pub fn derive_under(scenario: &Scenario, failures: &Failures) -> Vec<Guarantee> {
    let view = View { scenario, failures, broker: effective_broker_config(&scenario.topology) };
    let mut all = vec![Guarantee {
        id: "integrity".to_owned(),
        kind: GuaranteeKind::Integrity,
        text: "every value read is one that was sent there".to_owned(),
        applies: true,
        why: "every value carries its identity and a checksum; no configuration takes this away".to_owned(),
    }];
    for topic in &scenario.topology.topics {
        all.push(view.consistency(topic));
        if view.producers_of(topic).next().is_some() {
            all.push(view.durability(topic));
        }
    }
    for producer in &scenario.workload.producers {
        all.push(view.no_duplicates(producer));
        all.push(view.order(producer));
    }
    for group in &scenario.workload.groups {
        all.push(view.delivery(group));
        all.push(view.commits(group));
        all.push(view.ownership(group));
    }
    all
}

struct View<'s> {
    scenario: &'s Scenario,
    failures: &'s Failures,
    broker: BTreeMap<String, String>,
}

fn guarantee(id: String, kind: GuaranteeKind, text: String, verdict: Result<String, String>) -> Guarantee {
    let applies = verdict.is_ok();
    let why = verdict.unwrap_or_else(|why| why);
    Guarantee { id, kind, text, applies, why }
}

impl View<'_> {
    fn producers_of<'t>(&'t self, topic: &'t Topic) -> impl Iterator<Item = &'t Producer> {
        self.scenario.workload.producers.iter().filter(|producer| producer.topic == topic.name)
    }

    fn topic(&self, name: &str) -> Option<&Topic> {
        self.scenario.topology.topics.iter().find(|topic| topic.name == name)
    }

    /// Whether the log of the topic keeps what is below its high watermark; otherwise why not.
    fn log_keeps(&self, topic: &Topic) -> Result<String, String> {
        let unclean = "unclean.leader.election.enable";
        if topic.config.get(unclean).or_else(|| self.broker.get(unclean)).is_some_and(|value| is_true(value)) {
            return Err(format!("{unclean}=true: a replica that lacks acknowledged messages may lead"));
        }
        self.within_budget(topic.min_insync_replicas)
    }

    fn within_budget(&self, min_insync: i16) -> Result<String, String> {
        let tolerated = u32::from(min_insync.unsigned_abs()).saturating_sub(1);
        let Failures { in_one_window: planned, steps } = self.failures;
        if *planned > tolerated {
            let plural = if *planned == 1 { "" } else { "s" };
            let by = if steps.is_empty() { String::new() } else { format!(" ({})", steps.join(", ")) };
            return Err(format!(
                "{planned} failure{plural}{by}, {tolerated} tolerated: min.insync.replicas={min_insync} promises no more than \
                 {min_insync} copies"
            ));
        }
        Ok(format!("min.insync.replicas={min_insync}, {planned} of {tolerated} tolerated failures"))
    }

    fn consistency(&self, topic: &Topic) -> Guarantee {
        let name = topic.name.clone();
        guarantee(
            format!("consistency-{name}"),
            GuaranteeKind::Consistency { topic: name.clone() },
            format!("what was read at an offset of {name} stays there"),
            self.log_keeps(topic),
        )
    }

    fn durability(&self, topic: &Topic) -> Guarantee {
        let name = topic.name.clone();
        let weak = self.producers_of(topic).find_map(|producer| {
            let acks = self.scenario.producer_config(producer).remove("acks").unwrap_or_default();
            let all = acks == "all" || acks == "-1";
            (!all).then(|| format!("{} sends with acks={acks}: acknowledged before it is replicated", producer.name))
        });
        let compacted = topic.config.get("cleanup.policy").or_else(|| self.broker.get("log.cleanup.policy"));
        let verdict = match (weak, compacted.filter(|policy| policy.contains("compact"))) {
            (Some(weak), _) => Err(weak),
            (None, Some(policy)) => Err(format!("cleanup.policy={policy}: older values of a key are removed")),
            (None, None) => self.log_keeps(topic).map(|kept| format!("acks=all, no unclean election, {kept}")),
        };
        guarantee(
            format!("durability-{name}"),
            GuaranteeKind::Durability { topic: name.clone() },
            format!("nothing acknowledged in {name} is lost"),
            verdict,
        )
    }

    /// Whether the producer's idempotence holds: it rests on a log that keeps what it was told.
    fn idempotent(&self, producer: &Producer) -> Result<String, String> {
        if !self.scenario.producer_config(producer).get("enable.idempotence").is_some_and(|value| is_true(value)) {
            return Err("enable.idempotence=false: a retry may write again".to_owned());
        }
        match self.topic(&producer.topic).map(|topic| self.log_keeps(topic)) {
            Some(Err(why)) => Err(why),
            _ => Ok("enable.idempotence=true".to_owned()),
        }
    }

    fn no_duplicates(&self, producer: &Producer) -> Guarantee {
        let name = producer.name.clone();
        guarantee(
            format!("no-duplicates-{name}"),
            GuaranteeKind::NoDuplicates { producer: name.clone() },
            format!("no message of {name} is in the log twice"),
            self.idempotent(producer),
        )
    }

    fn order(&self, producer: &Producer) -> Guarantee {
        let name = producer.name.clone();
        let config = self.scenario.producer_config(producer);
        let in_flight = config.get("max.in.flight.requests.per.connection").map_or("1000000", String::as_str);
        let asked = config.get("enable.idempotence").is_some_and(|value| is_true(value));
        let verdict = match self.idempotent(producer) {
            Ok(why) => Ok(why),
            Err(_) if config.get("retries").is_some_and(|retries| retries == "0") => {
                Ok("retries=0: nothing is written later than it was sent".to_owned())
            }
            Err(_) if in_flight == "1" => Ok("one request in flight".to_owned()),
            Err(why) if asked => Err(why),
            Err(why) => Err(format!("{why}; with {in_flight} requests in flight a later one may be written first")),
        };
        guarantee(
            format!("order-{name}"),
            GuaranteeKind::Order { producer: name.clone() },
            format!("each lane of {name} is in the log in the order in which it was sent"),
            verdict,
        )
    }

    fn delivery(&self, group: &Group) -> Guarantee {
        let name = group.name.clone();
        let config = self.scenario.group_config(group);
        let reset = config.get("auto.offset.reset").map_or("earliest", String::as_str);
        let early = matches!(reset, "earliest" | "smallest" | "beginning");
        let broken = group.topics.iter().filter_map(|topic| self.topic(topic)).find_map(|t| self.log_keeps(t).err());
        let verdict = match broken {
            _ if !early => Err(format!("auto.offset.reset={reset}: a member without a commit skips what is there")),
            Some(why) => Err(why),
            None => Ok("offsets are committed only after delivery was recorded".to_owned()),
        };
        guarantee(
            format!("delivery-{name}"),
            GuaranteeKind::Delivery { group: name.clone() },
            format!("every message below its commit was delivered to {name}"),
            verdict,
        )
    }

    fn commits(&self, group: &Group) -> Guarantee {
        let name = group.name.clone();
        let unclean = "unclean.leader.election.enable";
        let min_insync = self.broker.get("min.insync.replicas").and_then(|text| text.parse().ok()).unwrap_or(1);
        let verdict = if self.broker.get(unclean).is_some_and(|value| is_true(value)) {
            Err(format!("{unclean}=true holds for __consumer_offsets too"))
        } else {
            self.within_budget(min_insync).map(|kept| format!("__consumer_offsets: {kept}"))
        };
        guarantee(
            format!("commits-{name}"),
            GuaranteeKind::Commits { group: name.clone() },
            format!("nothing below its commit is delivered to {name} again"),
            verdict,
        )
    }

    fn ownership(&self, group: &Group) -> Guarantee {
        let name = group.name.clone();
        let stalled = self.scenario.timeline.iter().find_map(|step| match &step.action {
            Action::MemberStall { member, .. } if member.group == name => Some((&step.id, &member.member)),
            _ => None,
        });
        let verdict = match stalled {
            Some((step, member)) => {
                Err(format!("{member} does not poll ({step}): it cannot be told that it lost a partition"))
            }
            None => Ok("members give partitions up before others own them, and none is made to stall".to_owned()),
        };
        guarantee(
            format!("ownership-{name}"),
            GuaranteeKind::Ownership { group: name.clone() },
            format!("no two live members of {name} own one partition"),
            verdict,
        )
    }
}

/// Counts the unclean failures that the timeline plans. Where it cannot be known whether two steps hit one broker, two
/// are counted; a recovery window ends only where a step waits for every ISR to be full.
pub fn planned_failures(scenario: &Scenario) -> Failures {
    let mut plan = Plan { scenario, victims: BTreeMap::new() };
    let mut worst = Failures::default();
    let mut failed: BTreeSet<String> = BTreeSet::new();
    let mut steps: Vec<String> = Vec::new();
    for step in &scenario.timeline {
        if matches!(step.when, When::On { condition: Condition::IsrFull, .. }) {
            failed.clear();
            steps.clear();
        }
        let before = failed.len();
        failed.extend(plan.unclean(&step.id, &step.action));
        if failed.len() > before {
            steps.push(step.id.clone());
        }
        let brokers = scenario.topology.brokers;
        let now = u32::try_from(failed.len()).unwrap_or(u32::MAX).min(brokers);
        if now > worst.in_one_window {
            worst = Failures { in_one_window: now, steps: steps.clone() };
        }
    }
    worst
}

struct Plan<'s> {
    scenario: &'s Scenario,
    /// What each earlier step may have hit, under labels.
    victims: BTreeMap<String, Vec<String>>,
}

impl Plan<'_> {
    /// The brokers (as labels) that the action makes lose their process uncleanly, or their disk.
    fn unclean(&mut self, id: &str, action: &Action) -> Vec<String> {
        match action {
            Action::Kill(target) => {
                let hit = self.labels(id, target);
                self.victims.insert(id.to_owned(), hit.clone());
                hit
            }
            Action::Stop(target) | Action::Pause(target) | Action::Isolate { target, .. } => {
                let hit = self.labels(id, target);
                self.victims.insert(id.to_owned(), hit);
                Vec::new()
            }
            Action::StartWiped(target) | Action::StartReformatted(target) => self.labels(id, target),
            // Chaos never takes the last live in-sync replica of a partition, so whatever it does counts as one failure.
            Action::Chaos { kinds, .. } if kinds.iter().any(|kind| kind == "kill") => vec![format!("{id}#0")],
            _ => Vec::new(),
        }
    }

    fn labels(&self, id: &str, target: &Target) -> Vec<String> {
        let topology = &self.scenario.topology;
        match target {
            Target::Node(node) if *node >= FIRST_CONTROLLER_ID => Vec::new(),
            Target::Node(node) => vec![format!("broker {node}")],
            Target::ActiveController if topology.controllers != Controllers::Combined => Vec::new(),
            Target::Leader { .. } | Target::RandomBroker | Target::ActiveController => vec![format!("{id}#0")],
            Target::Followers { topic, .. } => {
                let factor = topology.topics.iter().find(|t| t.name == *topic).map_or(1, |t| t.replication_factor);
                (1..factor).map(|nth| format!("{id}#{nth}")).collect()
            }
            Target::EveryBroker => (1..=topology.brokers).map(|node| format!("broker {node}")).collect(),
            Target::VictimOf(step) => self.victims.get(step).cloned().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn applies(text: &str, id: &str) -> (bool, String) {
        let scenario = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
        let found = derive(&scenario).into_iter().find(|g| g.id == id).unwrap_or_else(|| panic!("no {id}"));
        (found.applies, found.why)
    }

    const KILL: &str = "[[timeline]]\nid = 'a'\nat_s = 1\ndo = 'kill'\ntarget = 'broker 1'\n";

    #[test]
    fn one_kill_is_within_the_budget_of_two_in_sync() {
        let (holds, why) = applies(&format!("name = 'x'\n{KILL}"), "durability-metrics");
        assert!(holds);
        assert_eq!(why, "acks=all, no unclean election, min.insync.replicas=2, 1 of 1 tolerated failures");
    }

    #[test]
    fn each_thing_that_takes_durability_away_is_named() {
        let topic = |line: &str| format!("name='x'\n{KILL}[[topology.topics]]\nname='metrics'\n{line}\n");
        let cases = [
            (topic("min_insync_replicas=1"), "1 failure (a), 0 tolerated"),
            (topic("config={'unclean.leader.election.enable'=true}"), "unclean.leader.election.enable=true"),
            (topic("config={'cleanup.policy'='compact'}"), "cleanup.policy=compact"),
            (format!("name='x'\n{KILL}[[workload.producers]]\nconfig={{acks=1}}"), "sends with acks=1"),
            (
                format!("name='x'\n{KILL}{}", KILL.replace("'a'", "'b'").replace("r 1", "r 2")),
                "2 failures (a, b), 1 tolerated",
            ),
        ];
        for (text, reason) in cases {
            let (holds, why) = applies(&text, "durability-metrics");
            assert!(!holds && why.contains(reason), "{why}");
        }
    }

    #[test]
    fn a_recovery_window_ends_when_the_isr_is_full_and_one_broker_counts_once() {
        let again = "[[timeline]]\nid='b'\non='isr-full'\nafter_step='up'\ndo='kill'\ntarget='broker 2'\n";
        let up = "[[timeline]]\nid='up'\nat_s=5\ndo='start-wiped'\ntarget='victim of a'\n";
        let (holds, why) = applies(&format!("name='x'\n{KILL}{up}{again}"), "durability-metrics");
        assert!(holds, "{why}");
        let at_once = again.replace("on='isr-full'\nafter_step='up'", "at_s=6");
        assert!(!applies(&format!("name='x'\n{KILL}{up}{at_once}"), "durability-metrics").0);
    }

    #[test]
    fn a_paused_or_stopped_broker_and_a_controller_of_its_own_cost_nothing() {
        for step in ["do='pause'\ntarget='followers of metrics-0'", "do='stop'\ntarget='every broker'"] {
            assert!(applies(&format!("name='x'\n[[timeline]]\nid='a'\nat_s=1\n{step}"), "durability-metrics").0);
        }
        let text =
            "name='x'\ntopology.controllers=3\n[[timeline]]\nid='a'\nat_s=1\ndo='kill'\ntarget='active controller'";
        assert_eq!(planned_failures(&parse(text).expect("sound")), Failures::default());
    }

    #[test]
    fn duplicates_and_order_rest_on_idempotence() {
        let plain = "name='x'\n[[workload.producers]]\nconfig={'enable.idempotence'=false}";
        assert!(!applies(plain, "no-duplicates-producer-1").0 && !applies(plain, "order-producer-1").0);
        let single = "name='x'\n[[workload.producers]]\nconfig={'enable.idempotence'=false,'max.in.flight'=1}";
        assert!(!applies(single, "no-duplicates-producer-1").0 && applies(single, "order-producer-1").0);
        assert!(applies("name='x'", "order-producer-1").0);
    }

    #[test]
    fn groups_lose_guarantees_to_latest_and_to_stalls() {
        let latest = "name='x'\n[[workload.groups]]\nconfig={'auto.offset.reset'='latest'}";
        assert!(!applies(latest, "delivery-group-1").0 && applies(latest, "commits-group-1").0);
        let stall = "name='x'\n[[timeline]]\nid='s'\nat_s=1\ndo='member-stall'\nmember='A'\nfor_s=5";
        assert!(!applies(stall, "ownership-group-1").0 && applies("name='x'", "ownership-group-1").0);
    }
}
