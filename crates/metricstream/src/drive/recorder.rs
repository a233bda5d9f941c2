//! Everything that a run leaves behind, while it goes on: the history and the timeline on disk, the ledger and the
//! measurements in memory. A disk that fails costs the files, never what was measured.

use std::fs::File;
use std::io::BufWriter;

use anyhow::Context;
use metricstream_ledger::history::{Record, Tp};
use metricstream_ledger::measure::Measurements;
use metricstream_ledger::store::EXTENSION;
use metricstream_ledger::timeline::{Clock, TimelineEvent, What};
use metricstream_ledger::verdict::expected;
use metricstream_ledger::{Accounting, Header, HistoryWriter, Ledger, Named, TopicInfo};
use metricstream_load::LoadEvent;
use metricstream_scenario::Scenario;

use crate::rundir::RunDir;

/// What a history says of its run.
pub(crate) struct About<'a> {
    pub(crate) run_id: u64,
    pub(crate) seed: u64,
    /// RFC 3339, the wall clock when load starts.
    pub(crate) started_at: String,
    /// Whether others may write to a topic.
    pub(crate) is_shared: &'a (dyn Fn(&str) -> bool + Sync),
}

/// What a run leaves behind.
pub(crate) struct Recorder {
    pub(crate) dir: RunDir,
    pub(crate) timeline: Vec<TimelineEvent>,
    pub(crate) measurements: Measurements,
    ledger: Ledger,
    history: HistoryWriter<BufWriter<File>>,
    topics: Vec<String>,
    /// The first failure of the disk.
    pub(crate) disk: Option<String>,
    audited: bool,
}

impl Recorder {
    /// Opens the history.
    pub(crate) fn open(dir: RunDir, scenario: &Scenario, about: &About<'_>) -> anyhow::Result<Self> {
        let header = header(scenario, about);
        let path = dir.path().join("history").join(format!("history.{EXTENSION}"));
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let history = HistoryWriter::new(BufWriter::new(file), &header)?;
        Ok(Self {
            dir,
            timeline: Vec::new(),
            measurements: Measurements::new(scenario),
            ledger: Ledger::new(header),
            history,
            topics: scenario.topology.topics.iter().map(|t| t.name.clone()).collect(),
            disk: None,
            audited: false,
        })
    }

    /// One event of the timeline.
    pub(crate) fn event(&mut self, event: TimelineEvent) {
        self.measurements.timeline(&event);
        if self.disk.is_none()
            && let Err(error) = self.dir.event(&event)
        {
            self.disk = Some(format!("events.jsonl: {error}"));
        }
        self.timeline.push(event);
    }

    /// What the load told; the timeline's form of it, where it has one.
    pub(crate) fn load(&mut self, event: LoadEvent) -> Option<TimelineEvent> {
        let own = |at_us, what| Some(TimelineEvent { at_us, error_us: 0, clock: Clock::Monotonic, what, cause: None });
        match event {
            LoadEvent::Records(records) => {
                records.iter().for_each(|record| self.record(record));
                None
            }
            LoadEvent::Sends(samples) => {
                self.measurements.sends(&samples);
                None
            }
            LoadEvent::Deliveries(samples) => {
                self.measurements.deliveries(&samples);
                None
            }
            LoadEvent::Client(sample) => {
                self.measurements.client(&sample);
                None
            }
            LoadEvent::Assignment { at_us, group, member, generation, owned } => {
                let name = |tp: &Tp| format!("{}-{}", self.topics[usize::from(tp.topic)], tp.partition);
                let partitions = owned.iter().map(name).collect();
                own(at_us, What::Assignment { group, member, generation, partitions })
            }
            LoadEvent::MemberEnded { at_us, group, member, why } => {
                own(at_us, What::Note { text: format!("member {member} of {group} ended by itself: {why}") })
            }
            // Client libraries talk a lot while a cluster is broken; the trace log has it.
            LoadEvent::Trouble { client, error, .. } => {
                tracing::debug!(client, error, "client trouble");
                None
            }
            LoadEvent::SendingEnded => None,
        }
    }

    fn record(&mut self, record: &Record) {
        self.audited |= matches!(record, Record::AuditDone { .. });
        self.ledger.apply(record);
        self.measurements.record(record);
        if self.disk.is_none()
            && let Err(error) = self.history.write(record)
        {
            self.disk = Some(format!("history: {error}"));
        }
    }

    /// Pushes the history to the system, so that it outlives this process.
    pub(crate) fn flush(&mut self) {
        if self.disk.is_none()
            && let Err(error) = self.history.flush()
        {
            self.disk = Some(format!("history: {error}"));
        }
    }

    /// What the ledger says.
    pub(crate) fn account(&mut self) -> Accounting {
        if self.disk.is_none()
            && let Err(error) = self.history.end()
        {
            self.disk = Some(format!("history: {error}"));
        }
        let accounting = self.ledger.finish(&self.timeline);
        // Detail that did not fit into memory is in the history; without it the counts stand, without offsets.
        match metricstream_ledger::check::narrow(self.dir.path(), &accounting, &self.timeline) {
            Ok(Some(narrowed)) => narrowed,
            Ok(None) | Err(_) => accounting,
        }
    }
}

fn header(scenario: &Scenario, about: &About<'_>) -> Header {
    let compacted =
        |t: &metricstream_scenario::Topic| t.config.get("cleanup.policy").is_some_and(|p| p.contains("compact"));
    // Producers are numbered in the scenario's order.
    let producers: Vec<Named> = (0_u32..)
        .zip(&scenario.workload.producers)
        .map(|(incarnation, p)| Named { incarnation, name: p.name.clone() })
        .collect();
    Header {
        schema: metricstream_ledger::header::HISTORY_SCHEMA,
        run_id: about.run_id,
        topics: scenario
            .topology
            .topics
            .iter()
            .map(|t| TopicInfo {
                name: t.name.clone(),
                partitions: t.partitions,
                compacted: compacted(t),
                shared: (about.is_shared)(&t.name),
            })
            .collect(),
        groups: scenario.workload.groups.iter().map(|g| g.name.clone()).collect(),
        members: Vec::new(),
        guarantee: expected(scenario, &producers),
        producers,
        started_at: about.started_at.clone(),
        scenario: scenario.name.clone(),
        seed: about.seed,
    }
}
