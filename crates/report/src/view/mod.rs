//! The view model: everything that the end of a run says, in order, as plain data without width or colour.
//!
//! Which facts are worth a line is decided in this module and below it; how they are laid out is
//! [`crate::terminal`]'s business, and may one day be a page's.

mod checks;
mod groups;
mod numbers;
pub(crate) mod outages;
mod partitions;
#[cfg(test)]
mod tests;

use metricstream_ledger::result::{RunResult, Verdict};
use metricstream_ledger::timeline::TimelineEvent;
use metricstream_scenario::{Controllers, Scenario};

use crate::story;
use crate::text::count;

/// What a line means, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Neither.
    #[default]
    Plain,
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// Not wrong, and worth a look.
    Warn,
    /// Of less weight.
    Faint,
}

/// One line of the story.
#[derive(Debug, Clone, PartialEq)]
pub struct StoryLine {
    /// Seconds on the run's clock.
    pub at_s: f64,
    /// Whether it follows from the line above rather than being an event of its own.
    pub indent: bool,
    /// Colour.
    pub tone: Tone,
    /// What happened.
    pub text: String,
}

/// Whether something held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// ✓
    Held,
    /// ✗
    Broken,
    /// Could not be said.
    Unknown,
    /// Does not apply.
    Void,
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A paragraph.
    Text {
        /// Colour.
        tone: Tone,
        /// Whether it belongs to the paragraph above.
        indent: bool,
        /// The text.
        text: String,
    },
    /// One thing that was checked.
    Check {
        /// Whether it held.
        mark: Mark,
        /// What was checked.
        text: String,
        /// Measured value, may be empty.
        value: String,
        /// Why, may be empty.
        note: String,
    },
    /// A table.
    Table(Grid),
}

impl Block {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text { tone: Tone::Plain, indent: false, text: text.into() }
    }

    pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self::Text { tone, indent: false, text: text.into() }
    }

    pub(crate) fn under(text: impl Into<String>) -> Self {
        Self::Text { tone: Tone::Plain, indent: true, text: text.into() }
    }
}

/// A table. Every row has as many cells as the head.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grid {
    /// Column names.
    pub head: Vec<String>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
    /// Whether all columns but the first are numbers, set to the right.
    pub numbers: bool,
}

/// A part of the report under one label.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Shown at the left; empty for one that takes the whole width.
    pub label: String,
    /// What it says.
    pub blocks: Vec<Block>,
}

/// Everything that is said at the end of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The scenario's name.
    pub scenario: String,
    /// Engine, topology, settings: the rest of the first line.
    pub header: Vec<String>,
    /// What happened, in order.
    pub story: Vec<StoryLine>,
    /// Lines of the story that were left out at [`View::story`]'s middle.
    pub story_left_out: usize,
    /// Everything else, in order; empty sections are not there.
    pub sections: Vec<Section>,
    /// The verdict.
    pub verdict: Verdict,
    /// What it comes to, in one line.
    pub verdict_text: String,
}

impl View {
    /// Builds it. `events` is the run's timeline, in the order of its file; they are sorted by time here.
    pub fn new(result: &RunResult, events: &[TimelineEvent], scenario: &Scenario) -> Self {
        let (story, story_left_out) = story::tell(result, events, scenario);
        let sections = [
            partitions::table(result),
            numbers::messages(result),
            checks::losses(result),
            checks::anomalies(result),
            numbers::latency(result),
            numbers::throughput(result),
            outages::unavailability(result),
            numbers::failovers(result),
            numbers::recovery(result),
            groups::rebalances(result),
            groups::catch_up(result),
            checks::claims(result),
            checks::guarantees(result),
            checks::not_measured(result),
            checks::reasons(result),
        ];
        Self {
            scenario: result.scenario.clone(),
            header: header(result, scenario),
            story,
            story_left_out,
            sections: sections.into_iter().filter(|section| !section.blocks.is_empty()).collect(),
            verdict: result.verdict,
            verdict_text: checks::verdict_text(result),
        }
    }
}

pub(crate) fn section(label: &str, blocks: Vec<Block>) -> Section {
    Section { label: label.to_owned(), blocks }
}

/// Topics that the header names; more are counted.
const HEADER_TOPICS_MAX: usize = 3;

fn header(result: &RunResult, scenario: &Scenario) -> Vec<String> {
    let mut parts = vec![match result.versions.get("kafka") {
        Some(version) => format!("{} {version}", result.engine),
        None => result.engine.clone(),
    }];
    parts.extend(topology_parts(scenario));
    parts.extend(result.profile.as_ref().map(|profile| format!("profile {profile}")));
    parts.push(format!("seed {}", result.seed));
    parts
}

/// Brokers, topics and acknowledgement as the header and the scenario's description show them.
pub(crate) fn topology_parts(scenario: &Scenario) -> Vec<String> {
    let topology = &scenario.topology;
    let mut parts = vec![count(topology.brokers as usize, "broker", "brokers")];
    if let Controllers::Separate(n) = topology.controllers {
        parts.push(count(n as usize, "controller", "controllers"));
    }
    for topic in topology.topics.iter().take(HEADER_TOPICS_MAX) {
        parts.push(format!(
            "{} {}×RF {}, min.isr {}",
            topic.name, topic.partitions, topic.replication_factor, topic.min_insync_replicas
        ));
    }
    if topology.topics.len() > HEADER_TOPICS_MAX {
        let more = topology.topics.len() - HEADER_TOPICS_MAX;
        parts.push(format!("{} more", count(more, "topic", "topics")));
    }
    let mut acks: Vec<String> = scenario.workload.producers.iter().map(|p| acks_of(scenario, p)).collect();
    acks.sort();
    acks.dedup();
    parts.extend(acks);
    parts
}

fn acks_of(scenario: &Scenario, producer: &metricstream_scenario::Producer) -> String {
    let config = scenario.producer_config(producer);
    let acks = ["acks", "request.required.acks"].iter().find_map(|name| config.get(*name));
    match acks.map_or("all", String::as_str) {
        "-1" | "all" => "acks=all".to_owned(),
        other => format!("acks={other}"),
    }
}
