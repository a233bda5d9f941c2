//! Steps that slow, cut and mend links: from what a scenario names to rules for each direction, which of them are open,
//! and what all of them come to. The engine is always told the whole, so that one may be undone while another stays.

use std::collections::{BTreeMap, BTreeSet};

use metricstream_ledger::timeline::What;
use metricstream_scenario::text::sides;
use metricstream_scenario::{Action as StepAction, IsolatedFrom, Side, Step};

use super::Conductor;
use super::faults::{Asked, Owner};
use super::message::{Action, LinkKind, LinkRule, Party};
use super::steps::Progress;
use super::target::{Unresolved, resolve, step_rng};

/// What a step did to links.
#[derive(Debug, Clone)]
pub(super) struct OpenLinks {
    id: String,
    kind: LinkKind,
    nodes: Vec<i32>,
    rules: Vec<LinkRule>,
}

/// What was asked of the engine.
#[derive(Debug, Clone)]
pub(super) struct LinksAsked {
    pub(super) kind: LinkKind,
    pub(super) target: String,
    /// Nodes that are said to be hit.
    nodes: Vec<i32>,
    rules: Vec<LinkRule>,
    /// Steps that are undone by it.
    undone: Vec<String>,
    active_controller: bool,
}

/// What one direction is like.
#[derive(Debug, Clone, Copy)]
struct Shape {
    cut: bool,
    delay_us: i64,
    jitter_us: i64,
    bytes_per_s: Option<u64>,
}

const CUT: Shape = Shape { cut: true, delay_us: 0, jitter_us: 0, bytes_per_s: None };

impl Conductor {
    /// Begins a step about links that is due; whether it could, be it to fail.
    pub(super) fn begin_links(&mut self, index: usize, step: &Step, out: &mut Vec<Action>) -> bool {
        match self.wanted_links(step) {
            Err(Unresolved::Busy) => return false,
            Err(Unresolved::Never(why)) => self.unresolved(index, step, why, out),
            Ok(asked) => {
                self.steps[index] = Progress::Running;
                self.ask_links(&step.id, asked, Owner::Step(index), out);
            }
        }
        true
    }

    /// Has every cut mended at the end of the run, once; whether that was asked for. Slow links are how the cluster is.
    pub(super) fn ask_to_mend(&mut self, out: &mut Vec<Action>) -> bool {
        if self.cut_off().is_empty() || std::mem::replace(&mut self.mend_tried, true) {
            return false;
        }
        let asked = self.mending(|open| open.kind != LinkKind::SlowLink, "every cut".to_owned());
        self.ask_links("settle/mend", asked, Owner::Settle, out);
        true
    }

    fn ask_links(&mut self, id: &str, asked: LinksAsked, owner: Owner, out: &mut Vec<Action>) {
        let stay = self.open_links.iter().filter(|open| !asked.undone.contains(&open.id));
        let rules = whole(stay.flat_map(|open| open.rules.iter()).chain(&asked.rules));
        out.push(Action::Links { step: id.to_owned(), kind: asked.kind, rules });
        self.ask(id, Asked::Links(asked), owner);
    }

    pub(super) fn links_done(&mut self, id: &str, at_us: i64, out: &mut Vec<Action>) {
        let Some(operation) = self.operations.remove(id) else { return };
        let Asked::Links(asked) = operation.what else { return };
        let nodes = asked.nodes.clone();
        self.fault_at_us = Some(at_us);
        if asked.kind == LinkKind::Mend {
            let (undone, stay) = std::mem::take(&mut self.open_links)
                .into_iter()
                .partition(|open: &OpenLinks| asked.undone.contains(&open.id));
            self.open_links = stay;
            let by = if operation.owner == Owner::Settle { "settle" } else { id };
            let undone: Vec<OpenLinks> = undone;
            for open in undone {
                // Nodes behind slow links were never away.
                let (kind, nodes) = match open.kind {
                    LinkKind::SlowLink => ("mend-slow".to_owned(), Vec::new()),
                    _ => (asked.kind.to_string(), open.nodes),
                };
                self.emit(at_us, What::Healed { id: open.id, by: by.to_owned(), kind, nodes }, None, out);
            }
        } else {
            // Slow is not broken.
            self.any_fault |= asked.kind != LinkKind::SlowLink;
            let LinksAsked { kind, target, nodes, rules, active_controller, .. } = asked;
            let told = What::Fault {
                id: id.to_owned(),
                kind: kind.to_string(),
                target,
                nodes: nodes.clone(),
                active_controller,
            };
            self.open_links.push(OpenLinks { id: id.to_owned(), kind, nodes, rules });
            self.emit(at_us, told, None, out);
        }
        let cut_off = self.cut_off();
        for (id, node) in &mut self.view.nodes {
            node.cut_off = cut_off.contains(id);
        }
        if let (Owner::Step(index), false) = (operation.owner, operation.expired) {
            self.steps[index] = Progress::Done { at_us, nodes };
        }
    }

    /// Nodes that links cut off.
    pub(super) fn cut_off(&self) -> BTreeSet<i32> {
        let cuts = self.open_links.iter().filter(|open| open.kind != LinkKind::SlowLink);
        cuts.flat_map(|open| open.nodes.iter().copied()).collect()
    }

    /// What is broken: nodes that are not up, and those that are cut off. `None` if nothing is.
    pub(super) fn broken_text(&self) -> Option<String> {
        let cut_off: Vec<i32> = self.cut_off().into_iter().collect();
        let cut_off = (!cut_off.is_empty()).then(|| format!("{} cut off", self.view.names(&cut_off)));
        let parts: Vec<String> = self.view.broken_text().into_iter().chain(cut_off).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn wanted_links(&self, step: &Step) -> Result<LinksAsked, Unresolved> {
        match &step.action {
            StepAction::Partition { groups } => {
                let ends = self.ends(step, groups)?;
                let mut rules = Vec::new();
                for (nth, left) in ends.iter().enumerate() {
                    for right in &ends[nth + 1..] {
                        join(left, right, CUT, &mut rules);
                    }
                }
                let target = format!("{} = {}", groups_text(groups), self.ends_text(&ends));
                Ok(self.breaking(LinkKind::Partition, target, outside_the_largest(&ends), rules))
            }
            StepAction::Isolate { target, from } => {
                let ends = self.ends(step, &[vec![Side::Nodes(target.clone())]])?;
                let hit = nodes_of(ends.iter().flatten());
                let all = self.view.nodes.keys().map(|id| Party::Node(*id));
                let clients = (*from == IsolatedFrom::All).then_some(Party::Clients);
                let all: Vec<Party> = all.chain(clients).collect();
                let mut rules = Vec::new();
                for id in &hit {
                    let others: Vec<Party> = all.iter().copied().filter(|party| *party != Party::Node(*id)).collect();
                    join(&[Party::Node(*id)], &others, CUT, &mut rules);
                }
                let text = super::target::target_text(&self.view, target, &hit);
                Ok(self.breaking(LinkKind::Isolate, text, hit, rules))
            }
            StepAction::SlowLink { between, delay_ms, jitter_ms, kb_per_s } => {
                let groups: Vec<Vec<Side>> = between.iter().map(|side| vec![side.clone()]).collect();
                let parties: Vec<Party> = self.ends(step, &groups)?.concat();
                let shape = Shape {
                    cut: false,
                    delay_us: (delay_ms * 1e3).round() as i64,
                    jitter_us: (jitter_ms * 1e3).round() as i64,
                    bytes_per_s: kb_per_s.map(|kb| ((kb * 1024.0).round() as u64).max(1)),
                };
                let mut rules = Vec::new();
                for (nth, party) in parties.iter().enumerate() {
                    join(&[*party], &parties[nth + 1..], shape, &mut rules);
                }
                let target = format!("{}: {}", sides(between), shape_text(*delay_ms, *jitter_ms, *kb_per_s));
                Ok(self.breaking(LinkKind::SlowLink, target, nodes_of(parties.iter()), rules))
            }
            StepAction::Mend { step: Some(id) } if self.open_links.iter().all(|open| open.id != *id) => {
                Err(Unresolved::Never(format!("nothing that `{id}` did to links is left to be mended")))
            }
            StepAction::Mend { step: Some(id) } => Ok(self.mending(|open| open.id == *id, id.clone())),
            StepAction::Mend { step: None } => Ok(self.mending(|_| true, "every link".to_owned())),
            _ => Err(Unresolved::Never("it is not about links".to_owned())),
        }
    }

    fn breaking(&self, kind: LinkKind, target: String, nodes: Vec<i32>, rules: Vec<LinkRule>) -> LinksAsked {
        let active_controller = self.view.controller().is_some_and(|id| nodes.contains(&id));
        LinksAsked { kind, target, nodes, rules, undone: Vec::new(), active_controller }
    }

    /// Undoes what those steps did to links that are meant.
    fn mending(&self, meant: impl Fn(&OpenLinks) -> bool, target: String) -> LinksAsked {
        let meant: Vec<&OpenLinks> = self.open_links.iter().filter(|open| meant(open)).collect();
        let undone: Vec<String> = meant.iter().map(|open| open.id.clone()).collect();
        let nodes: BTreeSet<i32> = meant.iter().flat_map(|open| open.nodes.iter().copied()).collect();
        let nodes = nodes.into_iter().collect();
        LinksAsked { kind: LinkKind::Mend, target, nodes, rules: Vec::new(), undone, active_controller: false }
    }

    /// The parties of each group; nobody is in two.
    fn ends(&self, step: &Step, groups: &[Vec<Side>]) -> Result<Vec<Vec<Party>>, Unresolved> {
        let mut rng = step_rng(self.seed, &step.id);
        let mut ends: Vec<Vec<Party>> = vec![Vec::new(); groups.len()];
        let mut named = BTreeSet::new();
        for (group, end) in groups.iter().zip(&mut ends) {
            for side in group {
                let parties: Vec<Party> = match side {
                    Side::Others => continue,
                    Side::Clients => vec![Party::Clients],
                    Side::Nodes(target) => {
                        let victims = |id: &str| match self.progress(id) {
                            Some(Progress::Done { nodes, .. }) => Some(nodes.clone()),
                            _ => None,
                        };
                        // A node that is down has links all the same, once it is back.
                        let found = resolve(&self.view, target, &|_| true, &mut rng, victims)?;
                        found.into_iter().map(Party::Node).collect()
                    }
                };
                for party in parties {
                    if !named.insert(party) {
                        let who = self.party_text(party);
                        return Err(Unresolved::Never(format!("{who} would be at both ends")));
                    }
                    end.push(party);
                }
            }
        }
        let others: Vec<Party> =
            self.view.nodes.keys().map(|id| Party::Node(*id)).filter(|party| !named.contains(party)).collect();
        for (_, end) in groups.iter().zip(&mut ends).filter(|(group, _)| group.contains(&Side::Others)) {
            end.extend(&others);
        }
        if ends.iter().any(Vec::is_empty) {
            return Err(Unresolved::Never("one end has nobody: there are no others".to_owned()));
        }
        Ok(ends)
    }

    fn party_text(&self, party: Party) -> String {
        match party {
            Party::Node(id) => self.view.name(id),
            Party::Clients => "clients".to_owned(),
        }
    }

    /// `broker 1 + clients | brokers 2,3`.
    fn ends_text(&self, ends: &[Vec<Party>]) -> String {
        let one = |end: &Vec<Party>| {
            let nodes = nodes_of(end.iter());
            let nodes = (!nodes.is_empty()).then(|| self.view.names(&nodes));
            let clients = end.contains(&Party::Clients).then(|| "clients".to_owned());
            nodes.into_iter().chain(clients).collect::<Vec<_>>().join(" + ")
        };
        ends.iter().map(one).collect::<Vec<_>>().join(" | ")
    }
}

/// The groups of a partition as a scenario has them.
pub(super) fn groups_text(groups: &[Vec<Side>]) -> String {
    groups.iter().map(|group| sides(group)).collect::<Vec<_>>().join(" | ")
}

/// `2 ms + up to 1 ms, 100 kB/s`.
fn shape_text(delay_ms: f64, jitter_ms: f64, kb_per_s: Option<f64>) -> String {
    let jitter = if jitter_ms > 0.0 { format!(" + up to {jitter_ms} ms") } else { String::new() };
    let limit = kb_per_s.map_or_else(String::new, |kb| format!(", {kb} KiB/s"));
    format!("{delay_ms} ms{jitter}{limit}")
}

/// One rule for each direction between every two of them.
fn join(left: &[Party], right: &[Party], shape: Shape, rules: &mut Vec<LinkRule>) {
    let Shape { cut, delay_us, jitter_us, bytes_per_s } = shape;
    for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
        for (from, to) in [(a, b), (b, a)] {
            rules.push(LinkRule { from, to, cut, delay_us, jitter_us, bytes_per_s });
        }
    }
}

/// What several rules come to in each direction: cut by one is cut, and the slowest counts.
fn whole<'r>(rules: impl Iterator<Item = &'r LinkRule>) -> Vec<LinkRule> {
    let mut all: BTreeMap<(Party, Party), LinkRule> = BTreeMap::new();
    for rule in rules {
        let sum = all.entry((rule.from, rule.to)).or_insert(*rule);
        sum.cut |= rule.cut;
        sum.delay_us = sum.delay_us.max(rule.delay_us);
        sum.jitter_us = sum.jitter_us.max(rule.jitter_us);
        sum.bytes_per_s = match (sum.bytes_per_s, rule.bytes_per_s) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    all.into_values().collect()
}

fn nodes_of<'p>(parties: impl Iterator<Item = &'p Party>) -> Vec<i32> {
    let ids = parties.filter_map(|party| match party {
        Party::Node(id) => Some(*id),
        Party::Clients => None,
    });
    ids.collect::<BTreeSet<i32>>().into_iter().collect()
}

/// Who is said to be hit by a partition: whoever is not in its largest group; of two equally large ones the later stays.
fn outside_the_largest(ends: &[Vec<Party>]) -> Vec<i32> {
    let stays = (0..ends.len()).max_by_key(|nth| nodes_of(ends[*nth].iter()).len());
    let hit = ends.iter().enumerate().filter(|(nth, _)| Some(*nth) != stays);
    nodes_of(hit.flat_map(|(_, end)| end.iter()))
}
