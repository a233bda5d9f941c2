//! The text forms of targets, conditions and members, both ways: what people write and what is printed.
//! Whether what they name exists is checked by the parser, not here.

use std::fmt;

use crate::model::{Action, Condition, Member, Side, Target};

/// What a target may look like, for messages.
pub const TARGET_FORMS: &str = "\"broker 2\", \"controller 101\", \"leader of metrics-0\", \"followers of metrics-0\", \
                                \"active controller\", \"random broker\", \"every broker\", \"victim of STEP\"";
/// What a condition may look like, for messages.
pub const CONDITION_FORMS: &str =
    "\"isr-full\", \"leaders-known\", \"group-stable GROUP\", \"step-done STEP\", \"fenced STEP\"";

/// The first id of controllers that are nodes of their own.
pub const FIRST_CONTROLLER_ID: i32 = 101;

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(id) if *id >= FIRST_CONTROLLER_ID => write!(f, "controller {id}"),
            Self::Node(id) => write!(f, "broker {id}"),
            Self::Leader { topic, partition } => write!(f, "leader of {topic}-{partition}"),
            Self::Followers { topic, partition } => write!(f, "followers of {topic}-{partition}"),
            Self::ActiveController => f.write_str("active controller"),
            Self::RandomBroker => f.write_str("random broker"),
            Self::EveryBroker => f.write_str("every broker"),
            Self::VictimOf(step) => write!(f, "victim of {step}"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IsrFull => f.write_str("isr-full"),
            Self::LeadersKnown => f.write_str("leaders-known"),
            Self::GroupStable { group } => write!(f, "group-stable {group}"),
            Self::StepDone { step } => write!(f, "step-done {step}"),
            Self::Fenced { step } => write!(f, "fenced {step}"),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(target) => target.fmt(f),
            Self::Clients => f.write_str("clients"),
            Self::Others => f.write_str("others"),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.member)
    }
}

impl Action {
    /// The word that a file has for it after `do`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Start(_) => "start",
            Self::StartWiped(_) => "start-wiped",
            Self::StartReformatted(_) => "start-reformatted",
            Self::Partition { .. } => "partition",
            Self::Isolate { .. } => "isolate",
            Self::SlowLink { .. } => "slow-link",
            Self::Mend { .. } => "mend",
            Self::MemberJoin(_) => "member-join",
            Self::MemberLeave(_) => "member-leave",
            Self::MemberCrash(_) => "member-crash",
            Self::MemberStall { .. } => "member-stall",
            Self::Chaos { .. } => "chaos",
        }
    }

    /// The nodes that it is about, if it is about nodes.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Kill(target)
            | Self::Stop(target)
            | Self::Pause(target)
            | Self::Resume(target)
            | Self::Start(target)
            | Self::StartWiped(target)
            | Self::StartReformatted(target)
            | Self::Isolate { target, .. } => Some(target),
            _ => None,
        }
    }
}

/// Reads a target; `None` if it has none of [`TARGET_FORMS`]. Runs of spaces count as one.
pub fn target(text: &str) -> Option<Target> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["broker", id] => node_id(id, |id| id < FIRST_CONTROLLER_ID),
        ["controller", id] => node_id(id, |_| true),
        ["leader", "of", tp] => partition(tp).map(|(topic, partition)| Target::Leader { topic, partition }),
        ["followers", "of", tp] => partition(tp).map(|(topic, partition)| Target::Followers { topic, partition }),
        ["active", "controller"] => Some(Target::ActiveController),
        ["random", "broker"] => Some(Target::RandomBroker),
        ["every", "broker"] => Some(Target::EveryBroker),
        ["victim", "of", step] => Some(Target::VictimOf(step.to_owned())),
        _ => None,
    }
}

/// Reads an end of links; `None` if it is neither a target nor `clients` nor `others`.
pub fn side(text: &str) -> Option<Side> {
    match text.trim() {
        "clients" => Some(Side::Clients),
        "others" => Some(Side::Others),
        text => target(text).map(Side::Nodes),
    }
}

/// A group of a partition: its sides, separated by commas.
pub fn sides(group: &[Side]) -> String {
    group.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn node_id(text: &str, allowed: impl Fn(i32) -> bool) -> Option<Target> {
    text.parse().ok().filter(|id| *id >= 0 && allowed(*id)).map(Target::Node)
}

/// Reads a condition; `None` if it has none of [`CONDITION_FORMS`].
pub fn condition(text: &str) -> Option<Condition> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["isr-full"] => Some(Condition::IsrFull),
        ["leaders-known"] => Some(Condition::LeadersKnown),
        ["group-stable", group] => Some(Condition::GroupStable { group: group.to_owned() }),
        ["step-done", step] => Some(Condition::StepDone { step: step.to_owned() }),
        ["fenced", step] => Some(Condition::Fenced { step: step.to_owned() }),
        _ => None,
    }
}

/// Splits `metrics-0` into topic and partition.
pub fn partition(text: &str) -> Option<(String, i32)> {
    let (topic, index) = text.rsplit_once('-')?;
    let plain = !topic.is_empty() && !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
    if plain { index.parse().ok().map(|index| (topic.to_owned(), index)) } else { None }
}

/// Splits `group-1/A` into group and member.
pub fn member(text: &str) -> Option<Member> {
    let (group, member) = text.split_once('/')?;
    if group.is_empty() || member.is_empty() {
        return None;
    }
    Some(Member { group: group.to_owned(), member: member.to_owned() })
}

/// Brings `[2, 1,3]` into the form in which in-sync replicas are measured: `[1,2,3]`, ids ascending.
pub fn isr(text: &str) -> Option<String> {
    let mut ids: Vec<i32> = Vec::new();
    for word in list_items(text)? {
        ids.push(word.parse().ok().filter(|id| *id >= 0)?);
    }
    ids.sort_unstable();
    ids.dedup();
    Some(format!("[{}]", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")))
}

/// Brings `[P2, P0]` into the form in which assignments are measured: `[P0,P2]`, or `[logs-P0,metrics-P1]` for
/// groups of several topics; topics in alphabetical order, partitions ascending.
pub fn assignment(text: &str) -> Option<String> {
    let mut owned: Vec<(String, i32)> = Vec::new();
    for word in list_items(text)? {
        let (topic, index) = match word.rsplit_once("-P") {
            Some((topic, index)) if !topic.is_empty() => (topic.to_owned(), index),
            _ => (String::new(), word.strip_prefix('P')?),
        };
        owned.push((topic, index.parse().ok().filter(|index| *index >= 0)?));
    }
    owned.sort();
    owned.dedup();
    Some(format_assignment(&owned))
}

/// Writes an assignment in its measured form. Topics are left empty for groups of one topic.
pub fn format_assignment(owned: &[(String, i32)]) -> String {
    let one = |(topic, index): &(String, i32)| {
        if topic.is_empty() { format!("P{index}") } else { format!("{topic}-P{index}") }
    };
    format!("[{}]", owned.iter().map(one).collect::<Vec<_>>().join(","))
}

fn list_items(text: &str) -> Option<impl Iterator<Item = &str>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    Some(inner.split(',').map(str::trim).filter(move |_| !inner.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_back_what_they_print() {
        for text in [
            "broker 2",
            "controller 101",
            "leader of metrics-0",
            "followers of my-topic-12",
            "active controller",
            "random broker",
            "every broker",
            "victim of kill-2",
        ] {
            assert_eq!(target(text).map(|t| t.to_string()).as_deref(), Some(text));
        }
        for wrong in ["", "broker", "broker x", "broker -1", "leader of metrics", "leader metrics-0", "leader of -0"] {
            assert_eq!(target(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn conditions_read_back_what_they_print() {
        for text in ["isr-full", "leaders-known", "group-stable g", "step-done a", "fenced a"] {
            assert_eq!(condition(text).map(|c| c.to_string()).as_deref(), Some(text));
        }
        for wrong in ["", "isr full", "group-stable", "fenced a b"] {
            assert_eq!(condition(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lists_are_brought_into_one_form() {
        assert_eq!(isr(" [2, 1,3]").as_deref(), Some("[1,2,3]"));
        assert_eq!(isr("[]").as_deref(), Some("[]"));
        assert_eq!(isr("[1;2]"), None);
        assert_eq!(assignment("[P10,P2]").as_deref(), Some("[P2,P10]"));
        assert_eq!(assignment("[m-P1, a-b-P0]").as_deref(), Some("[a-b-P0,m-P1]"));
        assert_eq!(assignment("[0]"), None);
    }
}
