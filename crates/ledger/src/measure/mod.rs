//! Measurements: what a run's samples and timeline add up to, in one pass and in bounded memory.
//!
//! Each quantity has a file of its own; its definition is in docs/result.md. What was believed of them (claims) and why
//! they are as they are (reasons) is decided elsewhere.

pub mod catch_up;
pub mod failover;
pub mod gaps;
mod held;
pub mod isr;
pub mod late;
pub mod latency;
pub mod normal;
pub(crate) mod obstacles;
pub mod phases;
pub mod rebalance;
pub mod recovery;
pub mod steps;
pub mod throughput;
pub mod unavailability;
mod unreported;
pub mod windows;

#[cfg(test)]
mod cut_stories;
#[cfg(test)]
mod group_stories;
#[cfg(test)]
mod interrupted_stories;
#[cfg(test)]
pub(crate) mod stories;

use std::collections::BTreeMap;

use metricstream_scenario::model::Scenario;

use crate::history::{Record, Tp};
use crate::result;
use crate::sample::{ClientSample, DeliverySample, SendEnd, SendSample};
use crate::timeline::TimelineEvent;

use gaps::{ANY, Gap, Gaps};
use held::Held;
use isr::Cluster;

/// Samples wait this long before they are counted: what the timeline says of their moment may come later than they.
const HOLD_US: i64 = 2_000_000;
/// Most samples of each kind that wait; beyond it the oldest half is counted at once.
const HELD_MAX: usize = 262_144;

/// How often samples that have waited are counted.
const RELEASE_EVERY_US: i64 = 200_000;

/// Microseconds as seconds.
pub(crate) fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

/// The scenario's names for indices.
#[derive(Debug, Clone)]
pub struct Names {
    topics: Vec<String>,
    partitions: Vec<i32>,
    groups: Vec<String>,
}

impl Names {
    fn new(scenario: &Scenario) -> Self {
        Self {
            topics: scenario.topology.topics.iter().map(|topic| topic.name.clone()).collect(),
            partitions: scenario.topology.topics.iter().map(|topic| topic.partitions).collect(),
            groups: scenario.workload.groups.iter().map(|group| group.name.clone()).collect(),
        }
    }

    /// The topic's name.
    pub fn topic(&self, index: u16) -> String {
        self.topics.get(usize::from(index)).cloned().unwrap_or_else(|| format!("topic#{index}"))
    }

    /// The group's name.
    pub fn group(&self, index: u16) -> String {
        self.groups.get(usize::from(index)).cloned().unwrap_or_else(|| format!("group#{index}"))
    }

    /// `topic-partition`.
    pub fn name_of(&self, tp: Tp) -> String {
        format!("{}-{}", self.topic(tp.topic), tp.partition)
    }

    /// The partition with this name.
    pub fn tp(&self, topic: &str, partition: i32) -> Option<Tp> {
        let index = self.topics.iter().position(|name| name == topic)?;
        Some(Tp { topic: u16::try_from(index).ok()?, partition })
    }

    /// Whether the scenario has this partition.
    fn knows(&self, tp: Tp) -> bool {
        let partitions = self.partitions.get(usize::from(tp.topic));
        partitions.is_some_and(|partitions| (0..*partitions).contains(&tp.partition))
    }
}

/// The measurements of a run that goes on.
///
/// Indices in samples and records count the scenario's own lists: topics as in `topology.topics`, producers and groups
/// as in `workload`.
#[derive(Debug)]
pub struct Measurements {
    scenario: Scenario,
    names: Names,
    /// The acks settings that there are; of each producer, and of each topic (that of its producers if they agree), the
    /// index of its own.
    settings: Vec<String>,
    acks: Vec<usize>,
    topic_acks: Vec<usize>,
    now_us: i64,
    released_us: i64,
    held_sends: Held<SendSample>,
    held_deliveries: Held<DeliverySample>,
    steps: steps::Steps,
    phases: phases::Phases,
    cluster: Cluster,
    failovers: failover::Failovers,
    latency: latency::LatencyBook,
    rates: throughput::Rates,
    writes: Gaps,
    reads: Gaps,
    backlogs: catch_up::Backlogs,
    unreported: unreported::Unreported,
    late: late::Late,
    rebalances: rebalance::Rebalances,
    windows: windows::Windows,
    /// As it was when samples were last released: it costs a walk through the baseline.
    write_threshold_us: i64,
    /// Whether any client gave statistics.
    first_client: bool,
    /// Samples of partitions that the scenario does not have.
    strange: u64,
    last_intended_us: Option<i64>,
}

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs)] // The rows are those of the result; docs/result.md explains each.
pub struct Measured {
    pub end_us: i64,
    pub load_end_us: i64,
    pub phases: Vec<result::Phase>,
    pub faults: Vec<result::FaultRow>,
    pub latency: Vec<result::Latency>,
    pub throughput: Vec<result::Throughput>,
    pub unavailability: Vec<result::Unavailability>,
    pub failovers: Vec<result::Failover>,
    pub isr: Vec<result::IsrRow>,
    pub isr_outages: Vec<result::IsrOutage>,
    pub rebalances: Vec<result::Rebalance>,
    pub recovery: Vec<result::Recovery>,
    pub catch_up: Vec<result::CatchUp>,
    pub not_measured: Vec<String>,
    /// The least gap of writes and of reads that counts as unavailability.
    pub write_threshold_us: i64,
    pub read_threshold_us: i64,
    /// What claims are answered from, beside the rows.
    pub steps: steps::Steps,
    pub late: late::Late,
    pub windows: Vec<windows::WindowStats>,
    pub ownership: rebalance::Ownership,
    pub group_gaps: Vec<GroupGap>,
    pub abnormal: normal::Abnormal,
    /// Of each committed state, µs: what rows say in seconds.
    pub committed: Vec<isr::Committed>,
    pub brokers: Vec<failover::BrokerEvent>,
}

/// A time over the threshold in which a group was given nothing of a partition although there was something.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupGap {
    /// `group.id`.
    pub group: String,
    /// `topic-partition`.
    pub partition: String,
    /// When.
    pub gap: Gap,
}

impl Measurements {
    /// Of a run of this scenario.
    pub fn new(scenario: &Scenario) -> Self {
        let producers = &scenario.workload.producers;
        let acks: Vec<String> = producers.iter().map(|producer| acks_of(&scenario.producer_config(producer))).collect();
        let topics = &scenario.topology.topics;
        let topic_acks = topics.iter().map(|topic| {
            let mut of_topic: Vec<&str> =
                producers.iter().zip(&acks).filter(|(p, _)| p.topic == topic.name).map(|(_, a)| a.as_str()).collect();
            of_topic.sort_unstable();
            of_topic.dedup();
            if let [one] = of_topic.as_slice() { (*one).to_owned() } else { "mixed".to_owned() }
        });
        let topic_acks: Vec<String> = topic_acks.collect();
        let mut settings: Vec<String> = acks.iter().chain(&topic_acks).cloned().collect();
        settings.sort();
        settings.dedup();
        let index = |acks: &str| settings.iter().position(|setting| setting == acks).unwrap_or(usize::MAX);
        let partitions = topics.iter().map(|topic| (topic.name.clone(), topic.partitions)).collect::<BTreeMap<_, _>>();
        let names = Names::new(scenario);
        Self {
            backlogs: catch_up::Backlogs::new(scenario),
            unreported: unreported::Unreported::default(),
            late: late::Late::default(),
            rebalances: rebalance::Rebalances::default(),
            windows: windows::Windows::new(scenario, &names),
            names,
            topic_acks: topic_acks.iter().map(|acks| index(acks)).collect(),
            acks: acks.iter().map(|acks| index(acks)).collect(),
            settings: settings.clone(),
            write_threshold_us: gaps::GAP_MIN_US,
            first_client: false,
            now_us: i64::MIN,
            released_us: i64::MIN,
            held_sends: Held::default(),
            held_deliveries: Held::default(),
            steps: steps::Steps::new(scenario),
            phases: phases::Phases::default(),
            cluster: Cluster::new(partitions),
            failovers: failover::Failovers::default(),
            latency: latency::LatencyBook::default(),
            rates: throughput::Rates::new(producers.iter().all(|producer| producer.rate_per_s.is_some())),
            writes: Gaps::of_writes(),
            reads: Gaps::of_reads(),
            strange: 0,
            last_intended_us: None,
            scenario: scenario.clone(),
        }
    }

    /// An event of the timeline.
    pub fn timeline(&mut self, event: &TimelineEvent) {
        self.steps.observe(event);
        self.windows.refresh(&self.steps);
        self.rebalances.observe(event);
        let change = self.cluster.observe(event);
        if let Some(change) = &change {
            self.failovers.partition(change, &self.names);
            let before = change.before.as_ref().map(|before| before.leader_epoch);
            let state = &change.now.state;
            if before.is_some_and(|before| state.leader_epoch > before)
                && let Some(tp) = self.names.tp(&state.topic, state.partition)
            {
                self.backlogs.new_leader(tp);
            }
        }
        self.failovers.observe(event, &self.names);
        self.phases.observe(event, self.cluster.is_full());
        self.advance(event.at_us);
    }

    /// Sends whose outcome is known, or that were still open at the end of load.
    pub fn sends(&mut self, samples: &[SendSample]) {
        if let Some(latest_us) = self.held_sends.extend(samples) {
            self.advance(latest_us);
        }
    }

    /// Deliveries to group members.
    pub fn deliveries(&mut self, samples: &[DeliverySample]) {
        if let Some(latest_us) = self.held_deliveries.extend(samples) {
            self.advance(latest_us);
        }
    }

    /// A client's periodic statistics.
    pub fn client(&mut self, sample: &ClientSample) {
        self.first_client = true;
        self.failovers.client(sample);
        self.rates.client(sample);
        self.late.client(sample);
        self.advance(sample.at_us);
    }

    /// A record of the history: assignments, revocations, what was sent, and what acknowledgements and the audit say of
    /// the logs' ends.
    pub fn record(&mut self, record: &Record) {
        self.unreported.record(record);
        self.rebalances.record(record, &self.names);
        self.backlogs.record(record);
    }

    fn advance(&mut self, at_us: i64) {
        self.now_us = self.now_us.max(at_us);
        let ripe_us = self.now_us.saturating_sub(HOLD_US);
        // Looking through what waits has its price: not for every sample.
        if ripe_us >= self.released_us.saturating_add(RELEASE_EVERY_US) {
            self.released_us = ripe_us;
            self.release_sends(ripe_us);
            self.release_deliveries(ripe_us);
        }
        // A flood must not fill memory: what waits longest is counted with what is known by now.
        if self.held_sends.len() > HELD_MAX
            && let Some(median_us) = self.held_sends.median_us()
        {
            self.release_sends(median_us);
        }
        if self.held_deliveries.len() > HELD_MAX
            && let Some(median_us) = self.held_deliveries.median_us()
        {
            self.release_deliveries(median_us);
        }
    }

    fn release_sends(&mut self, ripe_us: i64) {
        let mut ripe = self.held_sends.take(ripe_us);
        ripe.sort_by_key(|sample| (sample.done_us, sample.intended_us));
        self.write_threshold_us = self.writes.threshold_us();
        for sample in &ripe {
            self.count_send(sample);
        }
    }

    fn release_deliveries(&mut self, ripe_us: i64) {
        let mut ripe = self.held_deliveries.take(ripe_us);
        ripe.sort_by_key(|sample| (sample.delivered_us, sample.tp, sample.offset));
        for sample in &ripe {
            self.count_delivery(sample);
        }
    }

    /// Whether nothing was broken yet at `at_us`.
    fn is_baseline(&self, at_us: i64) -> bool {
        self.steps.first_fault_us().is_none_or(|fault_us| at_us < fault_us)
    }

    fn count_send(&mut self, sample: &SendSample) {
        self.latency.send(self.phases.at(sample.intended_us), self.acks_index(sample), sample);
        self.late.send(sample);
        self.count_outcome(sample);
    }

    fn acks_index(&self, sample: &SendSample) -> usize {
        self.acks.get(sample.producer as usize).copied().unwrap_or(usize::MAX)
    }

    /// What became of a send, latency apart.
    fn count_outcome(&mut self, sample: &SendSample) {
        self.last_intended_us = self.last_intended_us.max(Some(sample.intended_us));
        let acks = self.acks_index(sample);
        self.rates.send(sample, &self.phases);
        self.windows.send(sample, self.write_threshold_us);
        // The partition of a keyed message that was never acknowledged is not known.
        if sample.tp.partition < 0 {
            return;
        }
        if !self.names.knows(sample.tp) {
            self.strange += 1;
            return;
        }
        if sample.end == SendEnd::Acked {
            let baseline = self.is_baseline(sample.done_us);
            self.writes.came((ANY, sample.tp), sample.done_us, sample.intended_us, baseline);
            self.failovers.ack(sample.tp, sample.done_us);
            self.backlogs.send(sample);
        } else if self.settings.get(acks).is_none_or(|acks| acks != "0") {
            // Without acknowledgements there are no gaps between them.
            self.writes.unanswered((ANY, sample.tp), sample.intended_us);
        }
    }

    fn count_delivery(&mut self, sample: &DeliverySample) {
        if !self.names.knows(sample.tp) {
            self.strange += 1;
            return;
        }
        let acks = self.topic_acks.get(usize::from(sample.tp.topic)).copied().unwrap_or(usize::MAX);
        self.latency.delivery(self.phases.at(sample.intended_us), acks, sample);
        self.rates.delivery(sample, &self.phases);
        self.backlogs.delivery(sample);
        self.rebalances.delivery(sample);
        let baseline = self.is_baseline(sample.delivered_us);
        self.reads.came((ANY, sample.tp), sample.delivered_us, sample.intended_us, baseline);
        if self.names.groups.len() > 1 {
            self.reads.came((sample.group, sample.tp), sample.delivered_us, sample.intended_us, baseline);
        }
    }

    /// The run ended at `end_us`: everything that was measured.
    pub fn finish(&mut self, end_us: i64) -> Measured {
        self.release_sends(i64::MAX);
        self.release_deliveries(i64::MAX);
        // What was sent and never heard of, as when the run was interrupted, waited for at least so long.
        for sample in self.unreported.take(end_us) {
            self.latency.unreported(self.phases.at(sample.sent_us), self.acks_index(&sample));
            self.count_outcome(&sample);
        }
        self.backlogs.settle();
        let load_end_us = self.last_intended_us.unwrap_or(0).min(end_us);
        let mut not_measured = Vec::new();
        let throughput = self.rates.rows(&self.phases, load_end_us, &mut not_measured);
        let (steps, names) = (&self.steps, &self.names);
        let read_threshold_us = self.reads.threshold_us();
        let (rebalances, ownership) = self.rebalances.finish(&self.scenario, names, steps, read_threshold_us, end_us);
        let judge = unavailability::Judge {
            scenario: &self.scenario,
            names,
            steps,
            cluster: obstacles::Evidence::new(self.cluster.committed(), steps, self.failovers.brokers()),
            rebalances: &rebalances,
            late: &self.late,
        };
        let of_writes = (&self.writes, unavailability::Ends::Load(load_end_us));
        let of_reads = (&self.reads, unavailability::Ends::Run(end_us, &self.writes));
        let unavailability = unavailability::windows(&judge, of_writes, of_reads);
        let catch_up =
            self.backlogs.rows(steps, |index| names.group(u16::try_from(index).unwrap_or(ANY)), &mut not_measured);
        let first_learned_us = |from_us| self.failovers.first_learned_us(from_us);
        let brokers = self.failovers.brokers();
        self.tell_limits(&mut not_measured);
        Measured {
            end_us,
            load_end_us,
            phases: self.phases.rows(end_us),
            faults: steps.fault_rows(),
            latency: self.latency.rows(&self.phases.names(), &self.settings),
            throughput,
            unavailability,
            failovers: self.failovers.rows(&self.scenario, steps, names),
            isr: self.cluster.rows(),
            isr_outages: self.cluster.outages(steps),
            rebalances,
            recovery: recovery::rows(&self.cluster, brokers, steps, end_us, &mut not_measured),
            catch_up,
            not_measured,
            write_threshold_us: self.writes.threshold_us(),
            read_threshold_us,
            steps: steps.clone(),
            late: self.late.clone(),
            windows: self.windows.finish(first_learned_us),
            ownership,
            group_gaps: self.group_gaps(end_us),
            abnormal: self.abnormal(load_end_us, end_us),
            committed: self.cluster.committed().to_vec(),
            brokers: brokers.to_vec(),
        }
    }

    /// Gaps of each group; where there is one only, reads by any are its own.
    fn group_gaps(&self, end_us: i64) -> Vec<GroupGap> {
        let one = self.names.groups.len() == 1;
        let mut all = Vec::new();
        for (group, tp) in self.reads.series().keys().filter(|(group, _)| (*group == ANY) == one) {
            let open = unavailability::Ends::Run(end_us, &self.writes).open(&self.reads, (*group, *tp));
            let (group_name, partition) = (self.names.group(if one { 0 } else { *group }), self.names.name_of(*tp));
            for gap in self.reads.outages((*group, *tp)).chain(open) {
                all.push(GroupGap { group: group_name.clone(), partition: partition.clone(), gap });
            }
        }
        all
    }

    fn abnormal(&self, load_end_us: i64, end_us: i64) -> normal::Abnormal {
        let ends = [
            (&self.writes, unavailability::Ends::Load(load_end_us)),
            (&self.reads, unavailability::Ends::Run(end_us, &self.writes)),
        ];
        let of = |(gaps, ends): (&Gaps, unavailability::Ends<'_>)| -> Vec<Gap> {
            gaps.series().keys().filter(|(group, _)| *group == ANY).filter_map(|key| ends.open(gaps, *key)).collect()
        };
        normal::Abnormal::new(&normal::Evidence {
            cluster: &self.cluster,
            brokers: self.failovers.brokers(),
            gaps: [&self.writes, &self.reads],
            open: ends.into_iter().flat_map(of).collect(),
            lags: &self.backlogs.lags(&self.steps),
            load_end_us,
            end_us,
        })
    }

    /// What did not fit, or could not be known, is said.
    fn tell_limits(&self, not_measured: &mut Vec<String>) {
        let counts = [
            ("phases", self.phases.dropped, "boundaries beyond the first 64 phases belong to the last"),
            ("faults", self.steps.dropped, "steps beyond the first 10,000"),
            ("isr", self.cluster.dropped, "changes beyond the first 100,000"),
            ("failovers", self.failovers.dropped, "events beyond the first 50,000"),
            ("rebalances", self.rebalances.dropped, "events beyond the first 100,000"),
            ("throughput", self.rates.dropped, "samples of clients beyond the first 1,000,000"),
            ("unavailability", self.writes.dropped + self.reads.dropped, "gaps beyond the first 100,000"),
            ("unavailability.delay_ms", self.late.dropped, "stretches beyond the first 10,000"),
            ("sends", self.unreported.dropped, "without an outcome, beyond the first 1,000,000"),
            ("samples", self.strange, "of partitions that the scenario does not have"),
        ];
        for (field, count, what) in counts.iter().filter(|(_, count, _)| *count > 0) {
            not_measured.push(format!("{field}: {count} left out, {what}"));
        }
        if self.cluster.committed().is_empty() {
            not_measured.push("isr, failovers, recovery: no change of a partition was observed".to_owned());
        }
        if !self.first_client {
            not_measured.push("failovers.learned_s: no client gave statistics".to_owned());
        }
        for (producer, acks) in self.scenario.workload.producers.iter().zip(&self.acks) {
            if self.settings.get(*acks).is_some_and(|acks| acks == "0") {
                let name = &producer.name;
                not_measured.push(format!("latency, unavailability of {name}: acks=0 has no acknowledgement"));
            }
        }
    }
}

/// The acks setting in librdkafka's spelling of a producer's effective configuration.
fn acks_of(config: &BTreeMap<String, String>) -> String {
    let set = config.get("acks").or_else(|| config.get("request.required.acks"));
    match set.map(String::as_str) {
        None | Some("-1" | "all") => "all".to_owned(),
        Some(other) => other.to_owned(),
    }
}
