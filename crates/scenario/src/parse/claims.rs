//! `[[claims]]`: whether each names a measure, what the measure needs, and a value of its type.

use super::MAX_WAIT_S;
use super::reader::{At, Section, describe, listed, number_of, shorten};
use super::timeline::check_partition;
use crate::error::did_you_mean;
use crate::measures::{self, Measure, Need, OfKind, Spec, ValueType};
use crate::model::{Action, Claim, ClaimValue, Step, Topology, Workload};
use crate::{schema, text};

const MAX_CLAIMS: usize = 200;
const OPS: &[(&str, &str)] = &[("<=", "<="), (">=", ">="), ("==", "==")];

struct Known<'k> {
    topology: &'k Topology,
    workload: &'k Workload,
    timeline: &'k [Step],
    /// Ids of steps that are wrong themselves.
    broken: &'k [String],
}

pub(super) fn read(
    root: &Section<'_>,
    topology: &Topology,
    workload: &Workload,
    (timeline, broken): (&[Step], &[String]),
) -> Vec<Claim> {
    let known = Known { topology, workload, timeline, broken };
    let mut claims: Vec<Claim> = Vec::new();
    for table in root.children("claims", &schema::CLAIM, MAX_CLAIMS).unwrap_or_default() {
        if !table.has("id") {
            table.problem("id", "the claim has no `id`; give it one");
        }
        let id = table.name("id").map(|at| at.value);
        if let Some(id) = id.as_ref().filter(|id| claims.iter().any(|earlier| earlier.id == **id)) {
            table.problem("id", format!("there is already a claim `{id}`"));
        }
        let claim = known.claim(&table, id.clone().unwrap_or_default());
        claims.extend(claim.filter(|_| id.is_some()));
    }
    claims
}

impl Known<'_> {
    fn claim(&self, section: &Section<'_>, id: String) -> Option<Claim> {
        if !section.has("measure") {
            section.problem("measure", "the claim has no `measure`; docs/scenario.md lists them");
        }
        let name = section.text("measure")?;
        let Some(measure) = Measure::from_id(&name.value) else {
            let ids = || measures::ALL.iter().map(|spec| spec.id);
            let hint = did_you_mean(&name.value, ids());
            let all = ids().collect::<Vec<_>>().join(", ");
            let shown = shorten(&name.value);
            section.problems.at(&name, format!("there is no measure `{shown}`; allowed: {all}{hint}"));
            return None;
        };
        let spec = measure.spec();
        let step = self.step(section, spec);
        let of = self.of(section, spec);
        needed(section, "after_s", spec.after, spec, "how long after the step it looks");
        let after_s = section.number("after_s", 0.0..=MAX_WAIT_S).map(|at| at.value);
        let op = section.word("op", OPS).unwrap_or_else(|| spec.default_op()).to_owned();
        if spec.value != ValueType::Number && op != "==" {
            section.problem("op", format!("`{}` is {}; allowed: \"==\"", spec.id, spec.value_form()));
        }
        let value = read_value(section, spec);
        let text = section.text("text").map_or_else(|| id.clone(), |at| at.value);
        Some(Claim { id, text, measure: spec.id.to_owned(), step, of, after_s, op, value: value? })
    }

    fn step(&self, section: &Section<'_>, spec: &Spec) -> Option<String> {
        needed(section, "step", spec.step, spec, "the id of a step");
        let at = section.text("step")?;
        let ids = || self.timeline.iter().map(|step| step.id.as_str());
        let Some(step) = self.timeline.iter().find(|step| step.id == at.value) else {
            if self.broken.contains(&at.value) {
                return None;
            }
            let hint = did_you_mean(&at.value, ids());
            let shown = shorten(&at.value);
            section.problems.at(&at, format!("there is no step `{shown}`; the steps are: {}{hint}", listed(ids())));
            return None;
        };
        let starts = matches!(
            step.action,
            Action::Start(_)
                | Action::StartWiped(_)
                | Action::StartReformatted(_)
                | Action::Resume(_)
                | Action::Mend { .. }
        );
        if spec.measure == Measure::CaughtUp && !starts {
            section
                .problems
                .at(&at, format!("`{}` is about a start, resume or mend, which `{}` is not", spec.id, at.value));
        }
        Some(at.value)
    }

    fn of(&self, section: &Section<'_>, spec: &Spec) -> Option<String> {
        let form = match spec.of {
            OfKind::Nothing => "nothing",
            OfKind::Partition => "a partition, such as \"metrics-0\"",
            OfKind::Group => "a group, such as \"group-1\"",
            OfKind::Member => "a member, such as \"group-1/A\"",
        };
        needed(section, "of", spec.of_need, spec, form);
        let at = section.text("of")?;
        let wrong = match spec.of {
            OfKind::Nothing => None,
            OfKind::Partition => match text::partition(&at.value) {
                Some((topic, partition)) => check_partition(self.topology, &topic, partition),
                None => Some(format!("\"{}\" here; wanted: {form}", shorten(&at.value))),
            },
            OfKind::Group => self.check_group(&at.value),
            OfKind::Member => self.check_member(&at, form),
        };
        if let Some(wrong) = wrong {
            section.problems.at(&at, wrong);
        }
        Some(at.value)
    }

    fn check_group(&self, group: &str) -> Option<String> {
        let names = || self.workload.groups.iter().map(|known| known.name.as_str());
        let hint = did_you_mean(group, names());
        let missing = !names().any(|name| name == group);
        missing.then(|| format!("there is no group `{}`; the groups are: {}{hint}", shorten(group), listed(names())))
    }

    fn check_member(&self, at: &At<String>, form: &str) -> Option<String> {
        let Some(member) = text::member(&at.value) else {
            return Some(format!("\"{}\" here; wanted: {form}", shorten(&at.value)));
        };
        if let Some(wrong) = self.check_group(&member.group) {
            return Some(wrong);
        }
        let mut there: Vec<String> = Vec::new();
        for group in self.workload.groups.iter().filter(|group| group.name == member.group) {
            there.extend(group.members.iter().cloned());
        }
        for step in self.timeline {
            if let Action::MemberJoin(joined) = &step.action
                && joined.group == member.group
            {
                there.push(joined.member.clone());
            }
        }
        let missing = !there.contains(&member.member);
        missing.then(|| format!("`{}` has no member `{}`; its members: {}", member.group, member.member, listed(there)))
    }
}

/// Reports a key that the measure needs and does not have, or has and does not take.
fn needed(section: &Section<'_>, key: &str, need: Need, spec: &Spec, form: &str) {
    match need {
        Need::Required if !section.has(key) => {
            section.problem(key, format!("`{}` needs `{key}`: {form}", spec.id));
        }
        Need::Never if section.has(key) => {
            section.refuse(key, &format!("does not belong to the measure `{}`", spec.id));
        }
        _ => {}
    }
}

fn read_value(section: &Section<'_>, spec: &Spec) -> Option<ClaimValue> {
    if !section.has("value") {
        section.problem("value", format!("the claim has no `value`; wanted: {}", spec.value_form()));
    }
    let at = section.any("value")?;
    let as_text = at.value.as_str();
    let value = match spec.value {
        ValueType::Bool => at.value.as_bool().map(ClaimValue::Bool),
        ValueType::Number => number_of(at.value).map(ClaimValue::Number),
        ValueType::Isr => as_text.and_then(text::isr).map(ClaimValue::Text),
        ValueType::Assignment => as_text.and_then(text::assignment).map(ClaimValue::Text),
        ValueType::Word => as_text.map(|word| ClaimValue::Text(word.to_owned())),
    };
    if value.is_none() {
        let message = format!("`value` is {}; `{}` wants {}", describe(at.value), spec.id, spec.value_form());
        section.problems.at(&at, message);
    }
    value
}
