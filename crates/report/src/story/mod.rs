//! The story of a run: the timeline told in few lines. What happens to many partitions at once is one line.
//!
//! Only the telling is here: every time, cause and number comes from the timeline or the result.

mod partitions;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet};

use metricstream_ledger::result::{RunResult, Unavailability};
use metricstream_ledger::timeline::{TimelineEvent, What};
use metricstream_scenario::Scenario;

use crate::tally::{Names, nodes, shared_topic, short_assignment};
use crate::text::{count, seconds};
use crate::view::outages::explained;
use crate::view::{StoryLine, Tone};

pub(crate) use partitions::{Change, Coalesced, tell as tell_changes};

/// Lines that are told; a long chaos run has more, and they are in `events.jsonl`.
const LINES_MAX: usize = 80;
/// Windows of unavailability that begin (or end) within this of each other are one.
const TOGETHER_S: f64 = 1.0;

/// Tells it. The second value is how many lines were left out in the middle.
pub(crate) fn tell(result: &RunResult, events: &[TimelineEvent], scenario: &Scenario) -> (Vec<StoryLine>, usize) {
    let mut teller = Teller {
        result,
        names: Names::new(scenario),
        steps: scenario.timeline.iter().map(|step| step.id.as_str()).collect(),
        told_faults: events.iter().filter_map(|event| Some((event.at_us, fault_id(&event.what)?))).collect(),
        controller: None,
        lines: Vec::new(),
    };
    teller.events(events);
    teller.unavailability();
    teller.recovery();
    teller.rebalances();
    let mut lines = teller.lines;
    // Within the tenth of a second that is shown, a fault comes before what it did: the last acknowledgement before it was
    // a little earlier.
    let tenth = |line: &StoryLine| (line.at_s * 10.0).round();
    lines.sort_by(|(a, rank_a), (b, rank_b)| {
        let faults_first = (*rank_a != Rank::Fault).cmp(&(*rank_b != Rank::Fault));
        let exactly = a.at_s.total_cmp(&b.at_s).then(rank_a.cmp(rank_b));
        tenth(a).total_cmp(&tenth(b)).then(faults_first).then(exactly)
    });
    let mut lines: Vec<StoryLine> = lines.into_iter().map(|(line, _)| line).collect();
    let left_out = lines.len().saturating_sub(LINES_MAX);
    if left_out > 0 {
        lines.drain(LINES_MAX / 2..LINES_MAX / 2 + left_out);
    }
    (lines, left_out)
}

fn fault_id(what: &What) -> Option<&str> {
    if let What::Fault { id, .. } = what { Some(id) } else { None }
}

/// Which of several lines at one time comes first: cause before effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Fault,
    Stops,
    Fenced,
    Partitions,
    Effect,
    Resumes,
    Normal,
}

struct Teller<'a> {
    result: &'a RunResult,
    names: Names,
    steps: BTreeSet<&'a str>,
    told_faults: BTreeSet<(i64, &'a str)>,
    controller: Option<i32>,
    lines: Vec<(StoryLine, Rank)>,
}

impl<'a> Teller<'a> {
    fn line(&mut self, at_s: f64, rank: Rank, tone: Tone, text: String) {
        self.lines.push((StoryLine { at_s, indent: false, tone, text }, rank));
    }

    fn effect(&mut self, at_s: f64, rank: Rank, tone: Tone, text: String) {
        self.lines.push((StoryLine { at_s, indent: true, tone, text }, rank));
    }

    fn events(&mut self, events: &'a [TimelineEvent]) {
        let mut events: Vec<&TimelineEvent> = events.iter().collect();
        events.sort_by_key(|event| event.at_us);
        let mut changes = Coalesced::default();
        let mut healed: BTreeMap<(i64, &str), (&str, Vec<i32>)> = BTreeMap::new();
        let mut ready = None;
        for event in &events {
            let at_s = event.at_us as f64 / 1e6;
            match &event.what {
                What::Partition(state) if self.names.knows(&state.topic) => {
                    if let Some(group) = changes.push(event.at_us, state) {
                        self.partitions(&group);
                    }
                }
                What::Healed { by, kind, nodes, .. } => {
                    let told = healed.entry((event.at_us, by)).or_insert((kind, Vec::new()));
                    told.1.extend(nodes);
                }
                What::ClusterReady { took_ms, .. } => ready = Some((at_s, *took_ms)),
                _ => {}
            }
            if breaks_groups(&event.what)
                && let Some(group) = changes.flush_before(event.at_us)
            {
                self.partitions(&group);
            }
            self.event(at_s, event);
        }
        if let Some(group) = changes.flush() {
            self.partitions(&group);
        }
        if let Some((at_s, took_ms)) = ready {
            let took = seconds(took_ms as f64 / 1_000.0);
            let leaders = changes.first_leaders(&self.names);
            let leaders = if leaders.is_empty() { leaders } else { format!("; leaders {leaders}") };
            self.line(at_s, Rank::Fault, Tone::Plain, format!("cluster ready ({took}){leaders}"));
        }
        for ((at_us, by), (kind, ids)) in healed {
            if !self.told_faults.contains(&(at_us, by)) {
                let text = words::healed(kind, by, &ids, &self.result.engine);
                self.line(at_us as f64 / 1e6, Rank::Fault, Tone::Good, text);
            }
        }
    }

    fn event(&mut self, at_s: f64, event: &TimelineEvent) {
        let set_up = event.at_us < 0;
        match &event.what {
            What::Fault { kind, target, nodes, active_controller, .. } => {
                let text = words::fault(kind, target, nodes, *active_controller, &self.result.engine);
                self.line(at_s, Rank::Fault, Tone::Bad, text);
            }
            What::FaultFailed { id, error } => {
                self.line(at_s, Rank::Fault, Tone::Bad, format!("{id} could not be carried out: {error}"));
            }
            What::BrokerFenced { broker, .. } if !set_up => {
                let why = self.why_fenced(*broker, at_s, event.cause.as_deref());
                self.line(at_s, Rank::Fenced, Tone::Bad, format!("broker {broker} fenced{why}"));
            }
            What::BrokerUnfenced { broker, .. } if !set_up => {
                self.line(at_s, Rank::Fenced, Tone::Good, format!("broker {broker} unfenced"));
            }
            What::BrokerShuttingDown { broker, .. } if !set_up => {
                self.line(at_s, Rank::Fenced, Tone::Plain, format!("broker {broker} in controlled shutdown"));
            }
            What::TopicDeleted { topic } => {
                self.line(at_s, Rank::Effect, Tone::Bad, format!("topic {topic} deleted"));
            }
            What::Controller { node, epoch } => {
                let before = self.controller.replace(*node);
                if !set_up && before != Some(*node) {
                    let from = before.map(|before| format!("{before} → ")).unwrap_or_default();
                    let text = format!("active controller {from}{node} (epoch {epoch})");
                    self.line(at_s, Rank::Fenced, Tone::Plain, text);
                }
            }
            What::Member { group, member, change } if !set_up => {
                let tone = if matches!(change.as_str(), "crash" | "stall") { Tone::Bad } else { Tone::Plain };
                let text = format!("{group}: member {member} {}", words::member_change(change));
                self.line(at_s, Rank::Fault, tone, text);
            }
            // The fault that ended it has a line of its own.
            What::Note { text } if words::tells_expected_end(text) => {}
            What::Note { text } if !set_up => self.line(at_s, Rank::Effect, Tone::Faint, text.clone()),
            // Told from the result, where they are joined: acknowledgements, assignments. Or not worth a line.
            _ => {}
        }
    }

    fn partitions(&mut self, group: &[Change]) {
        let Some(first) = group.first() else { return };
        if let Some((tone, text)) = partitions::tell(group, &self.names) {
            self.line(first.at_us as f64 / 1e6, Rank::Partitions, tone, text);
        }
    }

    /// The timer that the timeline names, or else what was predicted for the failover that this fencing began.
    fn why_fenced(&self, broker: i32, at_s: f64, cause: Option<&str>) -> String {
        if let Some(cause) = cause {
            return words::fenced_cause(cause, self.steps.contains(cause));
        }
        let of_this = |row: &&metricstream_ledger::result::Failover| {
            row.from == broker && row.fenced_s.is_some_and(|fenced| (fenced - at_s).abs() < 0.001)
        };
        let Some(row) = self.result.failovers.iter().find(of_this) else { return String::new() };
        let after = row.fault_s.map(|fault| format!(" {} after the fault", seconds(at_s - fault))).unwrap_or_default();
        let predicted = row.predicted.as_ref().map(|text| format!(" (predicted {text})")).unwrap_or_default();
        format!("{after}{predicted}")
    }

    fn unavailability(&mut self) {
        for (op, stops, resumes) in
            [("write", "writes stop", "acknowledged again"), ("read", "reads stop", "delivered again")]
        {
            let rows = |with_reason: bool| {
                let of_op = self.result.unavailability.iter().filter(move |row| row.op == op);
                of_op.filter(move |row| explained(row) == with_reason)
            };
            let open: Vec<&Unavailability> = rows(true).chain(rows(false)).filter(|row| row.open).collect();
            for (with_reason, why) in [(true, ""), (false, "; no fault explains it")] {
                let starts = together(rows(with_reason), |row| row.from_s);
                let ends = together(rows(with_reason).filter(|row| !row.open), |row| row.from_s + row.duration_s);
                for group in starts {
                    let (which, n) = self.which(&group);
                    let all = self.names.total();
                    let some = if n >= all && all > 0 { format!("{all} of {all} partitions") } else { which };
                    // A gap begins with the last answer before the fault that it is of: told after it, as its effect.
                    let cause_s =
                        group.iter().filter_map(|row| self.fault_s(row.fault.as_deref()?, row.from_s)).reduce(f64::min);
                    let at_s = cause_s.map_or(group[0].from_s, |cause_s| cause_s.max(group[0].from_s));
                    self.effect(at_s, Rank::Stops, Tone::Bad, format!("{stops} on {some}{why}"));
                }
                for group in ends {
                    let (which, n) = self.which(&group);
                    let end_s = group.last().map_or(0.0, |row| row.from_s + row.duration_s);
                    let some = if n >= self.names.total() && n > 0 { "every partition".to_owned() } else { which };
                    self.effect(end_s, Rank::Resumes, Tone::Good, format!("{resumes} on {some}"));
                }
            }
            if !open.is_empty() {
                let end_s = open.iter().map(|row| row.from_s + row.duration_s).fold(f64::MIN, f64::max);
                let text = format!("not {resumes} on {} when the run ended", self.which(&open).0);
                self.line(end_s, Rank::Resumes, Tone::Bad, text);
            }
        }
    }

    /// When the fault was, if that was at once after `from_s`.
    fn fault_s(&self, id: &str, from_s: f64) -> Option<f64> {
        let fault = self.result.faults.iter().find(|fault| fault.id == id)?;
        (from_s..from_s + TOGETHER_S).contains(&fault.at_s).then_some(fault.at_s)
    }

    fn which(&self, rows: &[&Unavailability]) -> (String, usize) {
        let mut which: Vec<(String, i32)> = rows.iter().map(|row| (row.topic.clone(), row.partition)).collect();
        which.sort();
        which.dedup();
        (self.names.list(&which), which.len())
    }

    fn recovery(&mut self) {
        let mut full: Vec<f64> = Vec::new();
        for row in &self.result.recovery {
            if let Some(at_s) = row.caught_up_s {
                self.line(at_s, Rank::Normal, Tone::Good, format!("{} caught up", nodes(&[row.broker])));
            }
            full.extend(row.isr_full_s);
        }
        full.sort_by(f64::total_cmp);
        full.dedup();
        for at_s in full {
            self.line(at_s, Rank::Normal, Tone::Good, "every ISR full".to_owned());
        }
    }

    fn rebalances(&mut self) {
        /// Members whose change is part of the line.
        const MEMBERS_MAX: usize = 4;
        for row in self.result.rebalances.iter().filter(|row| row.at_s >= 0.0) {
            let Some(took) = row.duration_s else {
                let text = format!("{}: not every partition was owned again ({})", row.group, row.trigger);
                self.line(row.at_s, Rank::Effect, Tone::Bad, text);
                continue;
            };
            let topic = shared_topic(row.members.iter().flat_map(|m| m.before.iter().chain(&m.after)));
            let moved: Vec<String> = row
                .members
                .iter()
                .filter(|member| member.before != member.after)
                .map(|member| {
                    let [before, after] = [&member.before, &member.after].map(|owned| short_assignment(owned, topic));
                    format!("{} {before} → {after}", member.id)
                })
                .collect();
            let told = match moved.len() {
                0 => "; nobody's partitions changed".to_owned(),
                1..=MEMBERS_MAX => format!("; {}", moved.join(", ")),
                n => format!("; {} own others now", count(n, "member", "members")),
            };
            let text = format!("{} rebalanced in {}{told}", row.group, seconds(took));
            self.effect(row.at_s + took, Rank::Effect, Tone::Plain, text);
        }
    }
}

/// Events that stand between two changes of partitions, so that these are not one.
fn breaks_groups(what: &What) -> bool {
    matches!(what, What::Fault { .. } | What::Healed { .. } | What::BrokerFenced { .. } | What::BrokerUnfenced { .. })
}

/// Groups rows whose times lie close together, in order of time.
fn together<'r>(
    rows: impl Iterator<Item = &'r Unavailability>,
    at: fn(&Unavailability) -> f64,
) -> Vec<Vec<&'r Unavailability>> {
    let mut rows: Vec<&Unavailability> = rows.collect();
    rows.sort_by(|a, b| at(a).total_cmp(&at(b)));
    let mut groups: Vec<Vec<&Unavailability>> = Vec::new();
    for row in rows {
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(|last| at(row) - at(last) <= TOGETHER_S) => group.push(row),
            _ => groups.push(vec![row]),
        }
    }
    groups
}
