//! `[[timeline]]`: steps, their conditions and targets, and whether each can happen at all.

use super::MAX_WAIT_S;
use super::reader::{At, Section, listed, shorten};
use crate::error::did_you_mean;
use crate::model::{Action, Condition, Controllers, Member, Step, Target, Topology, When, Workload};
use crate::{schema, text};

const MAX_STEPS: usize = 500;
const NODE_KEYS: &[&str] = &["target"];
const MEMBER_KEYS: &[&str] = &["group", "member"];
/// Every key that says what a step does.
const ACTION_KEYS: &[&str] = &[
    "target",
    "groups",
    "from",
    "between",
    "delay_ms",
    "jitter_ms",
    "kb_per_s",
    "step",
    "group",
    "member",
    "for_s",
    "every_s",
    "kinds",
];
const CHAOS_KINDS: &[&str] = &["kill", "stop", "pause"];

/// What `do` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Do {
    Kill,
    Stop,
    Pause,
    Resume,
    Start,
    StartWiped,
    StartReformatted,
    Partition,
    Isolate,
    SlowLink,
    Mend,
    MemberJoin,
    MemberLeave,
    MemberCrash,
    MemberStall,
    Chaos,
}

const DO: &[(&str, Do)] = &[
    ("kill", Do::Kill),
    ("stop", Do::Stop),
    ("pause", Do::Pause),
    ("resume", Do::Resume),
    ("start", Do::Start),
    ("start-wiped", Do::StartWiped),
    ("start-reformatted", Do::StartReformatted),
    ("partition", Do::Partition),
    ("isolate", Do::Isolate),
    ("slow-link", Do::SlowLink),
    ("mend", Do::Mend),
    ("member-join", Do::MemberJoin),
    ("member-leave", Do::MemberLeave),
    ("member-crash", Do::MemberCrash),
    ("member-stall", Do::MemberStall),
    ("chaos", Do::Chaos),
];

/// What [`Action::takes_nodes_away`] holds for, for messages.
const TAKES_AWAY: &str = "kill, stop, pause, partition or isolate";

/// What is known while the steps are read one after the other.
pub(super) struct Reading<'r> {
    pub(super) topology: &'r Topology,
    workload: &'r Workload,
    pub(super) steps: Vec<Step>,
    /// Members that are there at this point of the file.
    present: Vec<Member>,
    last_at_s: f64,
    /// Ids of steps that are wrong themselves: naming one, or building on what it would have done, is no second mistake.
    pub(super) broken: Vec<String>,
}

/// The steps, and the ids of those that are wrong.
pub(super) fn read(root: &Section<'_>, topology: &Topology, workload: &Workload) -> (Vec<Step>, Vec<String>) {
    let members = |group: &crate::model::Group| {
        let of_group = |member: &String| Member { group: group.name.clone(), member: member.clone() };
        group.members.iter().map(of_group).collect::<Vec<_>>()
    };
    let present = workload.groups.iter().flat_map(members).collect();
    let mut reading = Reading { topology, workload, steps: Vec::new(), present, last_at_s: 0.0, broken: Vec::new() };
    for table in root.children("timeline", &schema::STEP, MAX_STEPS).unwrap_or_default() {
        if let Some(step) = reading.step(&table) {
            reading.steps.push(step);
        }
    }
    (reading.steps, reading.broken)
}

impl Reading<'_> {
    fn step(&mut self, section: &Section<'_>) -> Option<Step> {
        if !section.has("id") {
            section.problem("id", "the step has no `id`; give it one, such as id = \"kill-2\"");
        }
        let id = section.name("id").map(|at| at.value);
        if let Some(id) = id.as_ref().filter(|id| self.steps.iter().any(|earlier| earlier.id == **id)) {
            section.problem("id", format!("there is already a step `{id}`"));
        }
        let when = self.when(section);
        let action = self.action(section);
        match (when, action) {
            (Some(when), Some(action)) => Some(Step { id: id?, when, action }),
            _ => {
                self.broken.extend(id);
                None
            }
        }
    }

    fn when(&mut self, section: &Section<'_>) -> Option<When> {
        match (section.has("at_s"), section.has("on")) {
            (true, true) => {
                section.refuse("on", "cannot stand beside `at_s`; keep one of them");
                None
            }
            (false, false) => {
                section.problem("at_s", "the step has neither `at_s` nor `on`; say when it happens");
                None
            }
            (true, false) => {
                for key in ["after_s", "not_before_s", "after_step"] {
                    section.refuse(key, "belongs to `on`, not to `at_s`");
                }
                let at = self.time(section, "at_s")?;
                if at.value < self.last_at_s {
                    let earlier = self.last_at_s;
                    let message = format!(
                        "`at_s` is {}, but a step above it happens at {earlier}: steps stand in the order in which they \
                         happen",
                        at.value
                    );
                    section.problems.at(&at, message);
                }
                self.last_at_s = at.value.max(self.last_at_s);
                Some(When::At { at_s: at.value })
            }
            (false, true) => self.when_on(section),
        }
    }

    /// A time within the run.
    fn time(&self, section: &Section<'_>, key: &str) -> Option<At<f64>> {
        let at = section.number(key, 0.0..=super::MAX_DURATION_S)?;
        let (said, limit) = self.workload.limit_s();
        if at.value > limit {
            let message = format!("`{key}` is {}, after load has ended; allowed: 0 to {said} = {limit}", at.value);
            section.problems.at(&at, message);
            return None;
        }
        Some(at)
    }

    fn when_on(&self, section: &Section<'_>) -> Option<When> {
        let after_s = section.number("after_s", 0.0..=MAX_WAIT_S).map_or(0.0, |at| at.value);
        let not_before_s = if section.has("not_before_s") { self.time(section, "not_before_s")?.value } else { 0.0 };
        let after_step = match section.text("after_step") {
            Some(step) => Some(self.earlier_step(section, &step)?.id.clone()),
            None => None,
        };
        let on = section.text("on")?;
        let Some(condition) = text::condition(&on.value) else {
            let first = on.value.split_whitespace().next().unwrap_or_default().to_owned();
            let words = ["isr-full", "leaders-known", "group-stable", "step-done", "fenced"];
            let hint = did_you_mean(&first, words);
            let shown = shorten(&on.value);
            let message = format!("\"{shown}\" is no condition; allowed: {}{hint}", text::CONDITION_FORMS);
            section.problems.at(&on, message);
            return None;
        };
        self.check_condition(section, &on, &condition)?;
        let unanchored = matches!(condition, Condition::IsrFull | Condition::LeadersKnown)
            && after_step.is_none()
            && not_before_s == 0.0;
        if unanchored {
            let message = format!(
                "`{condition}` holds as soon as load starts; say from when it counts: after_step = \"STEP\" or not_before_s"
            );
            section.problems.at(&on, message);
        }
        Some(When::On { condition, after_s, not_before_s, after_step })
    }

    fn check_condition(&self, section: &Section<'_>, on: &At<String>, condition: &Condition) -> Option<()> {
        match condition {
            Condition::IsrFull | Condition::LeadersKnown => Some(()),
            Condition::GroupStable { group } => self.group(section, on, group).map(|_| ()),
            Condition::StepDone { step } => self
                .earlier_step(section, &At { value: step.clone(), span: on.span.clone(), path: on.path.clone() })
                .map(|_| ()),
            Condition::Fenced { step } => {
                let at = At { value: step.clone(), span: on.span.clone(), path: on.path.clone() };
                let earlier = self.earlier_step(section, &at)?;
                let hits = earlier.action.takes_nodes_away();
                if !hits {
                    section.problems.at(on, format!("`{step}` takes no broker away; name a {TAKES_AWAY}"));
                }
                hits.then_some(())
            }
        }
    }

    pub(super) fn earlier_step(&self, section: &Section<'_>, name: &At<String>) -> Option<&Step> {
        let found = self.steps.iter().find(|step| step.id == name.value);
        if found.is_none() && !self.broken.contains(&name.value) {
            let ids = || self.steps.iter().map(|step| step.id.as_str());
            let hint = did_you_mean(&name.value, ids());
            let shown = shorten(&name.value);
            let list = listed(ids());
            section.problems.at(name, format!("there is no step `{shown}` above this one; steps above: {list}{hint}"));
        }
        found
    }

    fn group(&self, section: &Section<'_>, at: &At<String>, group: &str) -> Option<&crate::model::Group> {
        let found = self.workload.groups.iter().find(|known| known.name == group);
        if found.is_none() {
            let names = || self.workload.groups.iter().map(|known| known.name.as_str());
            let hint = did_you_mean(group, names());
            let shown = shorten(group);
            let list = listed(names());
            section.problems.at(at, format!("there is no group `{shown}`; the groups are: {list}{hint}"));
        }
        found
    }

    fn action(&mut self, section: &Section<'_>) -> Option<Action> {
        if !section.has("do") {
            let words = listed(DO.iter().map(|(word, _)| word));
            section.problem("do", format!("the step has no `do`; allowed: {words}"));
        }
        let what = section.word("do", DO)?;
        let mut takes: Vec<&str> = match what {
            Do::MemberJoin | Do::MemberLeave | Do::MemberCrash => MEMBER_KEYS.to_vec(),
            Do::MemberStall => [MEMBER_KEYS, &["for_s"]].concat(),
            Do::Chaos => vec!["for_s", "every_s", "kinds"],
            Do::Partition => vec!["groups"],
            Do::Isolate => vec!["target", "from"],
            Do::SlowLink => vec!["between", "delay_ms", "jitter_ms", "kb_per_s"],
            Do::Mend => vec!["step"],
            _ => NODE_KEYS.to_vec(),
        };
        takes.sort_unstable();
        let word = DO.iter().find(|(_, known)| *known == what).map_or("", |(word, _)| word);
        for key in ACTION_KEYS {
            if !takes.contains(key) {
                section.refuse(key, &format!("does not belong to do = \"{word}\", which takes: {}", takes.join(", ")));
            }
        }
        match what {
            Do::Kill => self.hit(section).map(Action::Kill),
            Do::Stop => self.hit(section).map(Action::Stop),
            Do::Pause => self.hit(section).map(Action::Pause),
            Do::Resume => self.heal(section, "resume").map(Action::Resume),
            Do::Start => self.heal(section, "start").map(Action::Start),
            Do::StartWiped => self.heal(section, "start-wiped").map(Action::StartWiped),
            Do::StartReformatted => self.heal(section, "start-reformatted").map(Action::StartReformatted),
            Do::Partition => self.partition(section),
            Do::Isolate => self.isolate(section),
            Do::SlowLink => self.slow_link(section),
            Do::Mend => self.mend(section),
            Do::MemberJoin => self.joins(section).map(Action::MemberJoin),
            Do::MemberLeave => self.goes(section).map(Action::MemberLeave),
            Do::MemberCrash => self.goes(section).map(Action::MemberCrash),
            Do::MemberStall => self.stalls(section),
            Do::Chaos => self.chaos(section),
        }
    }

    fn hit(&self, section: &Section<'_>) -> Option<Target> {
        let (target, _) = self.target(section)?;
        Some(target)
    }

    pub(super) fn target(&self, section: &Section<'_>) -> Option<(Target, At<String>)> {
        if !section.has("target") {
            section.problem("target", format!("the step has no `target`; allowed: {}", text::TARGET_FORMS));
        }
        let at = section.text("target")?;
        let Some(target) = text::target(&at.value) else {
            let shown = shorten(&at.value);
            section.problems.at(&at, format!("\"{shown}\" is no target; allowed: {}", text::TARGET_FORMS));
            return None;
        };
        self.check_target(section, &at, &target)?;
        Some((target, at))
    }

    /// Whether what a target names is there.
    pub(super) fn check_target(&self, section: &Section<'_>, at: &At<String>, target: &Target) -> Option<()> {
        let wrong = match target {
            Target::Node(id) => self.check_node(*id),
            Target::Leader { topic, partition } | Target::Followers { topic, partition } => {
                check_partition(self.topology, topic, *partition)
            }
            Target::VictimOf(step) => {
                let reference = At { value: step.clone(), span: at.span.clone(), path: at.path.clone() };
                let earlier = self.earlier_step(section, &reference)?;
                let hits = earlier.action.takes_nodes_away();
                (!hits).then(|| format!("`{step}` takes no node away; name a {TAKES_AWAY}"))
            }
            Target::ActiveController | Target::RandomBroker | Target::EveryBroker => None,
        };
        match wrong {
            Some(wrong) => {
                section.problems.at(at, wrong);
                None
            }
            None => Some(()),
        }
    }

    fn check_node(&self, id: i32) -> Option<String> {
        let brokers = self.topology.brokers as i32;
        let controllers = match self.topology.controllers {
            Controllers::Combined => 0,
            Controllers::Separate(nodes) => nodes as i32,
        };
        let first = text::FIRST_CONTROLLER_ID;
        if (1..=brokers).contains(&id) || (first..first + controllers).contains(&id) {
            return None;
        }
        let others = match controllers {
            0 => " and are the controllers too".to_owned(),
            1 => format!(", the controller is {first}"),
            many => format!(", the controllers are {first} to {}", first + many - 1),
        };
        Some(format!("there is no node {id}; the brokers are 1 to {brokers}{others}"))
    }

    /// A start or resume: of something that an earlier step took away.
    fn heal(&self, section: &Section<'_>, word: &str) -> Option<Target> {
        let (target, at) = self.target(section)?;
        let resume = word == "resume";
        let undone = |action: &Action| match action {
            Action::Pause(hit) if resume => Some(hit.clone()),
            Action::Kill(hit) | Action::Stop(hit) if !resume => Some(hit.clone()),
            _ => None,
        };
        let verbs = if resume { "paused" } else { "killed or stopped" };
        // A step above that is wrong itself may be the one that is missed.
        let sound = self.broken.is_empty();
        let wrong = match &target {
            Target::Node(id) => {
                // A target that is resolved at run time may have hit this node, so it is given the benefit of the doubt.
                let hit = |step: &Step| undone(&step.action).is_some_and(|t| !matches!(t, Target::Node(n) if n != *id));
                (sound && !self.steps.iter().any(hit)).then(|| format!("no step above has {verbs} node {id}"))
            }
            Target::VictimOf(step) => {
                let earlier = self.steps.iter().find(|s| s.id == *step)?;
                undone(&earlier.action).is_none().then(|| format!("`{step}` has not {verbs} anything"))
            }
            Target::EveryBroker => {
                let any = self.steps.iter().any(|step| undone(&step.action).is_some());
                (sound && !any).then(|| format!("no step above has {verbs} a broker"))
            }
            _ => Some(format!(
                "a node that is down leads and follows nothing; allowed for \"{word}\": \"broker 2\", \"controller 101\", \
                 \"victim of STEP\", \"every broker\""
            )),
        };
        if let Some(wrong) = wrong {
            section.problems.at(&at, wrong);
            return None;
        }
        Some(target)
    }

    fn member(&self, section: &Section<'_>) -> Option<(Member, At<String>)> {
        let group = match section.text("group") {
            Some(at) => self.group(section, &at, &at.value)?.name.clone(),
            None if self.workload.groups.len() == 1 => self.workload.groups[0].name.clone(),
            None => {
                let names = listed(self.workload.groups.iter().map(|group| &group.name));
                section.problem("group", format!("the step has no `group`; the groups are: {names}"));
                return None;
            }
        };
        if !section.has("member") {
            section.problem("member", "the step has no `member`; name one, such as member = \"B\"");
        }
        let member = section.name("member")?;
        Some((Member { group, member: member.value.clone() }, member))
    }

    fn joins(&mut self, section: &Section<'_>) -> Option<Member> {
        let (member, at) = self.member(section)?;
        if self.present.contains(&member) {
            let message = format!("`{}` is a member of `{}` already", member.member, member.group);
            section.problems.at(&at, message);
            return None;
        }
        self.present.push(member.clone());
        Some(member)
    }

    fn present_member(&self, section: &Section<'_>) -> Option<Member> {
        let (member, at) = self.member(section)?;
        // A join above that is wrong itself may be the one that is missed.
        if !self.present.contains(&member) && self.broken.is_empty() {
            let there = self.present.iter().filter(|m| m.group == member.group).map(|m| &m.member);
            let message = format!("`{member}` is not there at this point; members then: {}", listed(there));
            section.problems.at(&at, message);
            return None;
        }
        Some(member)
    }

    fn goes(&mut self, section: &Section<'_>) -> Option<Member> {
        let member = self.present_member(section)?;
        self.present.retain(|present| *present != member);
        Some(member)
    }

    fn stalls(&self, section: &Section<'_>) -> Option<Action> {
        let member = self.present_member(section);
        let for_s = positive(section, "for_s");
        Some(Action::MemberStall { member: member?, for_s: for_s? })
    }

    fn chaos(&self, section: &Section<'_>) -> Option<Action> {
        let for_s = positive(section, "for_s");
        let every_s = section.number("every_s", 1.0..=MAX_WAIT_S).map_or(10.0, |at| at.value);
        let mut kinds: Vec<String> = Vec::new();
        match section.texts("kinds", CHAOS_KINDS.len()) {
            None => kinds = CHAOS_KINDS.iter().map(|kind| (*kind).to_owned()).collect(),
            Some(named) => {
                for kind in named {
                    if !CHAOS_KINDS.contains(&kind.value.as_str()) || kinds.contains(&kind.value) {
                        let shown = shorten(&kind.value);
                        let allowed = CHAOS_KINDS.join(", ");
                        section.problems.at(&kind, format!("`{shown}` here; allowed, each once: {allowed}"));
                    }
                    kinds.push(kind.value);
                }
                if kinds.is_empty() {
                    section.problem("kinds", format!("`kinds` is empty; allowed: {}", CHAOS_KINDS.join(", ")));
                }
            }
        }
        Some(Action::Chaos { for_s: for_s?, every_s, kinds })
    }
}

/// A duration above zero that must be there.
fn positive(section: &Section<'_>, key: &str) -> Option<f64> {
    if !section.has(key) {
        section.problem(key, format!("the step has no `{key}`; say for how many seconds"));
    }
    let at = section.number(key, 0.0..=MAX_WAIT_S)?;
    if at.value <= 0.0 {
        section.problems.at(&at, format!("`{key}` must be above 0"));
        return None;
    }
    Some(at.value)
}

/// Why there is no such partition; `None` if there is.
pub(super) fn check_partition(topology: &Topology, topic: &str, partition: i32) -> Option<String> {
    let Some(known) = topology.topics.iter().find(|known| known.name == topic) else {
        let names = || topology.topics.iter().map(|known| known.name.as_str());
        let hint = did_you_mean(topic, names());
        return Some(format!("there is no topic `{}`; the topics are: {}{hint}", shorten(topic), listed(names())));
    };
    let last = known.partitions - 1;
    (partition > last).then(|| format!("`{topic}` has no partition {partition}; its partitions are 0 to {last}"))
}
