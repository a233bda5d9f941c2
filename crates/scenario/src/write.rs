//! A scenario as TOML again, every default written out: what `parse` reads back to an equal value.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::librdkafka::is_secret;
use crate::model::{
    Action, Claim, ClaimValue, Controllers, Group, GroupProtocol, IsolatedFrom, Member, Producer, Scenario, Step,
    Topic, When,
};
use crate::text::sides;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// The scenario as a file.
pub fn to_toml(scenario: &Scenario) -> String {
    let mut out = Out(String::new());
    out.set("schema", scenario.schema);
    out.set("name", text(&scenario.name));
    out.set("description", prose(&scenario.description));
    out.head("[topology]");
    let topology = &scenario.topology;
    out.set("brokers", topology.brokers);
    out.set(
        "controllers",
        match topology.controllers {
            Controllers::Combined => text("combined"),
            Controllers::Separate(nodes) => nodes.to_string(),
        },
    );
    out.set("profile", text(topology.profile.word()));
    out.config("broker_config", &topology.broker_config);
    topology.topics.iter().for_each(|topic| out.topic(topic));
    out.head("[workload]");
    let workload = &scenario.workload;
    out.set_some("duration_s", workload.duration_s.map(number));
    out.set("settle_s", number(workload.settle_s));
    out.set_some("max_duration_s", workload.max_duration_s.map(number));
    // Left out, these two would mean the defaults.
    if workload.producers.is_empty() {
        out.set("producers", "[]");
    }
    if workload.groups.is_empty() {
        out.set("groups", "[]");
    }
    workload.producers.iter().for_each(|producer| out.producer(producer));
    workload.groups.iter().for_each(|group| out.group(group));
    scenario.timeline.iter().for_each(|step| out.step(step));
    out.head("[settle]");
    let settle = &scenario.settle;
    out.set("isr_full_s", number(settle.isr_full_s));
    out.set("drain_s", number(settle.drain_s));
    out.set("group_catch_up_s", number(settle.group_catch_up_s));
    out.set("heal", settle.heal);
    out.head("[baseline]");
    out.set("tolerance_percent", number(percent(scenario.baseline.tolerance)));
    if !scenario.baseline.thresholds.is_empty() {
        let each = scenario.baseline.thresholds.iter();
        let each: Vec<String> =
            each.map(|(name, share)| format!("{} = {}", text(name), number(percent(*share)))).collect();
        out.set("thresholds", format!("{{ {} }}", each.join(", ")));
    }
    scenario.claims.iter().for_each(|claim| out.claim(claim));
    out.0
}

/// The same scenario with every secret of its settings replaced by [`REDACTED`].
#[must_use]
pub fn redacted(scenario: &Scenario) -> Scenario {
    let mut shown = scenario.clone();
    redact(&mut shown.topology.broker_config);
    shown.topology.topics.iter_mut().for_each(|topic| redact(&mut topic.config));
    shown.workload.producers.iter_mut().for_each(|producer| redact(&mut producer.config));
    shown.workload.groups.iter_mut().for_each(|group| redact(&mut group.config));
    shown
}

/// Replaces the secrets of one map of settings.
pub fn redact(config: &mut BTreeMap<String, String>) {
    for (name, value) in config.iter_mut() {
        if is_secret(name) {
            REDACTED.clone_into(value);
        }
    }
}

/// Text as a TOML string.
fn text(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

/// A paragraph as a TOML string whose lines people can read; a line that goes on ends with a backslash.
fn prose(value: &str) -> String {
    /// Columns of a line, without what ends it.
    const WIDTH: usize = 76;
    // Where a break would lose a space, or a character wants an escape, it stays on one line.
    let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    if value.chars().count() <= WIDTH / 2 || value.split(' ').any(str::is_empty) || !value.chars().all(plain) {
        return text(value);
    }
    let mut out = "\"\"\"\n".to_owned();
    let mut used = 0;
    for word in value.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > WIDTH {
            out.push_str(" \\\n");
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += length;
    }
    out + "\"\"\""
}

/// A number as a TOML float; `Debug` keeps every bit and always has a point or an exponent.
fn number(value: f64) -> String {
    format!("{value:?}")
}

/// A share as the percentage that a file has; such that reading it gives the share again.
fn percent(share: f64) -> f64 {
    (share * 100.0 * 1e9).round() / 1e9
}

fn texts(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|value| text(value)).collect::<Vec<_>>().join(", "))
}

struct Out(String);

impl Out {
    fn head(&mut self, title: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "\n{title}");
    }

    fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn set_some(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    fn config(&mut self, key: &str, config: &BTreeMap<String, String>) {
        if config.is_empty() {
            return;
        }
        let entries: Vec<String> =
            config.iter().map(|(name, value)| format!("{} = {}", text(name), text(value))).collect();
        self.set(key, format!("{{ {} }}", entries.join(", ")));
    }

    fn topic(&mut self, topic: &Topic) {
        self.head("[[topology.topics]]");
        self.set("name", text(&topic.name));
        self.set("partitions", topic.partitions);
        self.set("replication_factor", topic.replication_factor);
        self.set("min_insync_replicas", topic.min_insync_replicas);
        if !topic.replicas.is_empty() {
            self.set("replicas", format!("{:?}", topic.replicas));
        }
        self.config("config", &topic.config);
    }

    fn producer(&mut self, producer: &Producer) {
        self.head("[[workload.producers]]");
        self.set("name", text(&producer.name));
        self.set("topic", text(&producer.topic));
        self.set("rate_per_s", producer.rate_per_s.map_or_else(|| text("unthrottled"), number));
        self.set("message_size_bytes", producer.message_size_bytes);
        self.set_some("keys", producer.keys);
        self.config("config", &producer.config);
    }

    fn group(&mut self, group: &Group) {
        self.head("[[workload.groups]]");
        self.set("name", text(&group.name));
        self.set("topics", texts(&group.topics));
        self.set(
            "protocol",
            text(match group.protocol {
                GroupProtocol::Classic => "classic",
                GroupProtocol::Consumer => "consumer",
            }),
        );
        self.set("assignor", text(&group.assignor));
        self.set("members", texts(&group.members));
        self.config("config", &group.config);
    }

    fn step(&mut self, step: &Step) {
        self.head("[[timeline]]");
        self.set("id", text(&step.id));
        match &step.when {
            When::At { at_s } => self.set("at_s", number(*at_s)),
            When::On { condition, after_s, not_before_s, after_step } => {
                self.set("on", text(&condition.to_string()));
                self.set("after_s", number(*after_s));
                self.set("not_before_s", number(*not_before_s));
                self.set_some("after_step", after_step.as_deref().map(text));
            }
        }
        self.set("do", text(step.action.word()));
        match &step.action {
            Action::Kill(target)
            | Action::Stop(target)
            | Action::Pause(target)
            | Action::Resume(target)
            | Action::Start(target)
            | Action::StartWiped(target)
            | Action::StartReformatted(target) => self.set("target", text(&target.to_string())),
            Action::Partition { groups } => {
                let groups: Vec<String> = groups.iter().map(|group| sides(group)).collect();
                self.set("groups", texts(&groups));
            }
            Action::Isolate { target, from } => {
                self.set("target", text(&target.to_string()));
                self.set("from", text(if *from == IsolatedFrom::All { "all" } else { "nodes" }));
            }
            Action::SlowLink { between, delay_ms, jitter_ms, kb_per_s } => {
                let between: Vec<String> = between.iter().map(ToString::to_string).collect();
                self.set("between", texts(&between));
                self.set("delay_ms", number(*delay_ms));
                self.set("jitter_ms", number(*jitter_ms));
                self.set_some("kb_per_s", kb_per_s.map(number));
            }
            Action::Mend { step } => self.set_some("step", step.as_deref().map(text)),
            Action::MemberJoin(member) | Action::MemberLeave(member) | Action::MemberCrash(member) => {
                self.member(member);
            }
            Action::MemberStall { member, for_s } => {
                self.member(member);
                self.set("for_s", number(*for_s));
            }
            Action::Chaos { for_s, every_s, kinds } => {
                self.set("for_s", number(*for_s));
                self.set("every_s", number(*every_s));
                self.set("kinds", texts(kinds));
            }
        }
    }

    fn member(&mut self, member: &Member) {
        self.set("group", text(&member.group));
        self.set("member", text(&member.member));
    }

    fn claim(&mut self, claim: &Claim) {
        self.head("[[claims]]");
        self.set("id", text(&claim.id));
        self.set("text", text(&claim.text));
        self.set("measure", text(&claim.measure));
        self.set_some("step", claim.step.as_deref().map(text));
        self.set_some("of", claim.of.as_deref().map(text));
        self.set_some("after_s", claim.after_s.map(number));
        self.set("op", text(&claim.op));
        match &claim.value {
            ClaimValue::Bool(yes) => self.set("value", yes),
            ClaimValue::Number(value) => self.set("value", number(*value)),
            ClaimValue::Text(value) => self.set("value", text(value)),
        }
    }
}
