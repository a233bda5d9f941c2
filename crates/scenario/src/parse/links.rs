//! The steps of `[[timeline]]` that are about links between nodes, and between nodes and their clients.

use super::reader::{At, Section, shorten};
use super::timeline::Reading;
use crate::model::{Action, IsolatedFrom, Side};
use crate::text;

const MAX_GROUPS: usize = 16;
const MAX_SIDES: usize = 64;
const MAX_DELAY_MS: f64 = 60_000.0;
const FROM: &[(&str, IsolatedFrom)] = &[("all", IsolatedFrom::All), ("nodes", IsolatedFrom::Nodes)];

impl Reading<'_> {
    pub(super) fn partition(&self, section: &Section<'_>) -> Option<Action> {
        if !section.has("groups") {
            let message = "the step has no `groups`; such as groups = [\"broker 1, clients\", \"others\"]";
            section.problem("groups", message);
        }
        let mut groups = Vec::new();
        let mut sound = true;
        for group in section.texts("groups", MAX_GROUPS)? {
            let mut sides = Vec::new();
            for part in group.value.split(',') {
                let part = At { value: part.trim().to_owned(), span: group.span.clone(), path: group.path.clone() };
                match self.side(section, &part) {
                    Some(side) => sides.push(side),
                    None => sound = false,
                }
            }
            groups.push(sides);
        }
        let all: Vec<&Side> = groups.iter().flatten().collect();
        self.check_sides(section, "groups", groups.len(), &all);
        sound.then_some(Action::Partition { groups })
    }

    pub(super) fn isolate(&self, section: &Section<'_>) -> Option<Action> {
        let (target, _) = self.target(section)?;
        let from = if section.has("from") { section.word("from", FROM)? } else { IsolatedFrom::All };
        Some(Action::Isolate { target, from })
    }

    pub(super) fn slow_link(&self, section: &Section<'_>) -> Option<Action> {
        if !section.has("between") {
            let message = "the step has no `between`; such as between = [\"broker 1\", \"broker 2\"]";
            section.problem("between", message);
        }
        let mut between = Vec::new();
        let mut sound = true;
        for side in section.texts("between", MAX_SIDES)? {
            match self.side(section, &side) {
                Some(side) => between.push(side),
                None => sound = false,
            }
        }
        self.check_sides(section, "between", between.len(), &between.iter().collect::<Vec<_>>());
        let ms = |key: &str| section.number(key, 0.0..=MAX_DELAY_MS).map_or(0.0, |at| at.value);
        let (delay_ms, jitter_ms) = (ms("delay_ms"), ms("jitter_ms"));
        let kb_per_s = section.number("kb_per_s", 1.0..=1e7).map(|at| at.value);
        if !["delay_ms", "jitter_ms", "kb_per_s"].into_iter().any(|key| section.has(key)) {
            section.problem("delay_ms", "the link is not slow; give it `delay_ms`, `jitter_ms` or `kb_per_s`");
        }
        sound.then_some(Action::SlowLink { between, delay_ms, jitter_ms, kb_per_s })
    }

    pub(super) fn mend(&self, section: &Section<'_>) -> Option<Action> {
        let Some(at) = section.text("step") else {
            let any = self.steps.iter().any(|step| step.action.is_of_links());
            if !section.has("step") && !any && self.broken.is_empty() {
                section.problem("do", "no step above does anything to links");
            }
            return Some(Action::Mend { step: None });
        };
        let earlier = self.earlier_step(section, &at)?;
        if !earlier.action.is_of_links() || matches!(earlier.action, Action::Mend { .. }) {
            let message = format!("`{}` does nothing to links; name a partition, isolate or slow-link", at.value);
            section.problems.at(&at, message);
            return None;
        }
        Some(Action::Mend { step: Some(at.value) })
    }

    fn side(&self, section: &Section<'_>, at: &At<String>) -> Option<Side> {
        let Some(side) = text::side(&at.value) else {
            let (shown, forms) = (shorten(&at.value), text::TARGET_FORMS);
            let message = format!("\"{shown}\" is no end of a link; allowed: \"clients\", \"others\", {forms}");
            section.problems.at(at, message);
            return None;
        };
        if let Side::Nodes(target) = &side {
            self.check_target(section, at, target)?;
        }
        Some(side)
    }

    /// Two ends at least, and none of them twice.
    fn check_sides(&self, section: &Section<'_>, key: &str, ends: usize, all: &[&Side]) {
        if section.has(key) && ends < 2 {
            section.problem(key, format!("`{key}` names {ends}; a link has two ends"));
        }
        if let Some(twice) = all.iter().enumerate().find(|(nth, side)| all[..*nth].contains(side)) {
            section.problem(key, format!("`{key}` names \"{}\" twice", twice.1));
        }
    }
}
