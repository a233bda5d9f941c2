//! Acknowledged and delivered messages per second, by phase, and which side limited them.
//!
//! Messages are counted in the phase in which they were acknowledged (delivered), without the warm-up; those of them that
//! were intended before it, in an outage say, are its backlog. The rule for `limited_by` is in [`limit`].

use crate::result::Throughput;
use crate::sample::{ClientSample, DeliverySample, SendEnd, SendSample};

use super::gaps::{GAP_MIN_US, WARM_UP_US};
use super::phases::Phases;

/// Most samples of clients: one a second of one client for eleven days.
const SAMPLES_MAX: usize = 1_000_000;
const SECOND_US: i64 = 1_000_000;
/// A schedule that gets this share of what it wants limits itself.
const SCHEDULE_SHARE: f64 = 0.98;
/// From this share of a core on, the client's process is the limit.
const BUSY_CPU_SHARE: f64 = 0.85;
/// A condition holds in a phase if it holds in this share of the samples.
const MOST: f64 = 0.8;

/// Messages of one phase.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    intended: u64,
    acked: u64,
    /// Of `acked`: intended in an earlier phase.
    backlog: u64,
    delivered: u64,
    /// Of `delivered`: intended in an earlier phase.
    delivered_backlog: u64,
    acked_bytes: u64,
    /// Intended early enough in the phase that it should have been acknowledged in it, and what was.
    due: u64,
    met: u64,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.intended += other.intended;
        self.acked += other.acked;
        self.backlog += other.backlog;
        self.delivered += other.delivered;
        self.delivered_backlog += other.delivered_backlog;
        self.acked_bytes += other.acked_bytes;
        self.due += other.due;
        self.met += other.met;
    }
}

/// What the clients said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clients {
    samples: u32,
    with_cpu: u32,
    busy: u32,
    waiting_for_answers: u32,
    queueing: u32,
    queue_full: u32,
}

impl Clients {
    fn add(&mut self, said: &Said) {
        self.samples += 1;
        self.with_cpu += u32::from(said.busy.is_some());
        self.busy += u32::from(said.busy == Some(true));
        self.waiting_for_answers += u32::from(said.waiting_for_answers);
        self.queueing += u32::from(said.queueing);
        self.queue_full += u32::from(said.queue_full);
    }
}

/// One sample of a client, reduced to what the rule asks.
#[derive(Debug, Clone, Copy)]
struct Said {
    at_us: i64,
    /// `None`: the processor time is not known.
    busy: Option<bool>,
    waiting_for_answers: bool,
    queueing: bool,
    queue_full: bool,
}

/// The rule, in this order:
/// 1. `schedule`: every producer has a rate, and ≥ 98 % of what it wanted in the phase was acknowledged in it. What it
///    wanted less than 250 ms before the phase ended need not have been: else the last few messages before a fault would
///    speak for all of a short phase. What was acknowledged of earlier phases does not count;
/// 2. `client`: its process used ≥ 85 % of a core in ≥ 80 % of its samples;
/// 3. `cluster`: ≥ 80 % of the samples had requests on the wire unanswered while messages queued behind them, or nothing
///    at all was acknowledged;
/// 4. `client`: its queue was not what waited (the generator did not hand over), or it was and the wire stood idle.
///
/// `None` if there are no samples to tell by.
pub(crate) fn limit(scheduled: bool, (due, met): (u64, u64), acked: u64, clients: &Clients) -> Option<&'static str> {
    if scheduled && due > 0 && met as f64 >= SCHEDULE_SHARE * due as f64 {
        return Some("schedule");
    }
    if clients.samples == 0 {
        return None;
    }
    let most = |count: u32, of: u32| of > 0 && f64::from(count) >= MOST * f64::from(of);
    if most(clients.busy, clients.with_cpu) {
        return Some("client");
    }
    let saturated = most(clients.waiting_for_answers, clients.samples)
        && (most(clients.queueing, clients.samples) || most(clients.queue_full, clients.samples));
    if saturated || acked == 0 {
        return Some("cluster");
    }
    Some("client")
}

/// The counts.
#[derive(Debug, Default)]
pub struct Rates {
    /// By phase; those of the warm-up apart.
    phases: Vec<Count>,
    warm_up: Count,
    said: Vec<Said>,
    scheduled: bool,
    pub(crate) dropped: u64,
}

impl Rates {
    /// `scheduled`: whether every producer has a rate.
    pub fn new(scheduled: bool) -> Self {
        Self { scheduled, ..Self::default() }
    }

    fn count(&mut self, phase: usize, at_us: i64) -> &mut Count {
        if phase == 0 && at_us < WARM_UP_US {
            return &mut self.warm_up;
        }
        if phase >= self.phases.len() {
            self.phases.resize(phase + 1, Count::default());
        }
        &mut self.phases[phase]
    }

    /// A send; `phases` as far as they are known, which is further than its end.
    pub fn send(&mut self, sample: &SendSample, phases: &Phases) {
        let (intended_us, done_us) = (sample.intended_us, sample.done_us);
        let acked = sample.end == SendEnd::Acked;
        let (wanted_in, done_in) = (phases.at(intended_us), phases.at(done_us));
        let due = phases.at(intended_us.saturating_add(GAP_MIN_US)) == wanted_in;
        let count = self.count(wanted_in, intended_us);
        count.intended += 1;
        count.due += u64::from(due);
        count.met += u64::from(due && acked && done_in == wanted_in);
        if !acked {
            return;
        }
        // The warm-up is left out with all that was wanted in it; who has no rate wants nothing at any time.
        let warm = self.scheduled && done_in == 0 && intended_us < WARM_UP_US;
        let count = self.count(done_in, if warm { intended_us } else { done_us });
        count.acked += 1;
        count.backlog += u64::from(done_in != wanted_in);
        count.acked_bytes += u64::from(sample.size_bytes);
    }

    /// A delivery.
    pub fn delivery(&mut self, sample: &DeliverySample, phases: &Phases) {
        let (intended_us, delivered_us) = (sample.intended_us, sample.delivered_us);
        let phase = phases.at(delivered_us);
        let warm = self.scheduled && phase == 0 && intended_us < WARM_UP_US;
        let late = phases.at(intended_us) != phase;
        let count = self.count(phase, if warm { intended_us } else { delivered_us });
        count.delivered += 1;
        count.delivered_backlog += u64::from(late);
    }

    /// What a client said of itself.
    pub fn client(&mut self, sample: &ClientSample) {
        if self.said.len() >= SAMPLES_MAX {
            self.dropped += 1;
            return;
        }
        self.said.push(Said {
            at_us: sample.at_us,
            busy: sample.cpu_share.map(|share| share >= BUSY_CPU_SHARE),
            waiting_for_answers: sample.in_flight > 0,
            queueing: sample.queued > 0,
            // Nine tenths: an unthrottled producer lets the queue drain a little before it fills it again.
            queue_full: sample.queue_limit > 0 && sample.queued * 10 >= sample.queue_limit * 9,
        });
    }

    /// What clients said in a stretch of time: queues are as they were at the moment of a sample.
    fn clients(&self, from_us: i64, to_us: i64) -> Clients {
        let mut sum = Clients::default();
        self.said.iter().filter(|said| (from_us..to_us).contains(&said.at_us)).for_each(|said| sum.add(said));
        sum
    }

    /// One row per phase in which load was offered; `load_end_us` is where it ended.
    pub(crate) fn rows(&self, phases: &Phases, load_end_us: i64, not_measured: &mut Vec<String>) -> Vec<Throughput> {
        let mut rows = Vec::new();
        for (index, phase) in phases.names().into_iter().enumerate() {
            let (from_us, to_us) = phases.bounds(index, load_end_us);
            if from_us >= load_end_us {
                continue;
            }
            let to_us = to_us.min(load_end_us);
            let mut count = self.phases.get(index).copied().unwrap_or_default();
            // A first phase that is hardly longer than the warm-up would be left with nothing.
            let warm_up_counts = index == 0 && to_us <= 2 * WARM_UP_US;
            let from_us = if index > 0 || warm_up_counts { from_us } else { WARM_UP_US };
            if warm_up_counts {
                count.add(&self.warm_up);
            }
            if to_us - from_us < SECOND_US {
                not_measured.push(format!("throughput of `{phase}`: less than a second of it is under load"));
                rows.push(Throughput { phase, ..Throughput::default() });
                continue;
            }
            let length_s = (to_us - from_us) as f64 / SECOND_US as f64;
            let per_s = |count: u64| count as f64 / length_s;
            let clients = self.clients(from_us, to_us);
            let limited_by = limit(self.scheduled, (count.due, count.met), count.acked, &clients);
            if limited_by.is_none() {
                not_measured.push(format!("limited_by of `{phase}`: the clients gave no statistics in it"));
            }
            rows.push(Throughput {
                phase,
                offered_per_s: self.scheduled.then(|| per_s(count.intended)),
                acked_per_s: Some(per_s(count.acked)),
                backlog_per_s: Some(per_s(count.backlog)),
                delivered_per_s: Some(per_s(count.delivered)),
                delivered_backlog_per_s: Some(per_s(count.delivered_backlog)),
                mb_per_s: Some(per_s(count.acked_bytes) / 1e6),
                limited_by: limited_by.map(str::to_owned),
            });
        }
        rows
    }
}
