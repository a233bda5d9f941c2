//! Acknowledged and delivered messages per second, by phase, and which side limited them.
//!
//! Messages are counted in the phase in which they were acknowledged (delivered), without the warm-up; what clients said of
//! themselves by the second. The rule for `limited_by` is in [`limit`].

use crate::result::Throughput;
use crate::sample::{ClientSample, DeliverySample, SendEnd, SendSample};

use super::gaps::WARM_UP_US;
use super::phases::Phases;

/// Most seconds; a longer run keeps its first days.
const SECONDS_MAX: usize = 7 * 86_400;
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
    delivered: u64,
    acked_bytes: u64,
}

/// What the clients said in one second.
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
    fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.with_cpu += other.with_cpu;
        self.busy += other.busy;
        self.waiting_for_answers += other.waiting_for_answers;
        self.queueing += other.queueing;
        self.queue_full += other.queue_full;
    }
}

/// The rule, in this order:
/// 1. `schedule`: every producer has a rate, and ≥ 98 % of what it wanted was acknowledged;
/// 2. `client`: its process used ≥ 85 % of a core in ≥ 80 % of its samples;
/// 3. `cluster`: ≥ 80 % of the samples had requests on the wire unanswered while messages queued behind them, or nothing
///    at all was acknowledged;
/// 4. `client`: its queue was not what waited (the generator did not hand over), or it was and the wire stood idle.
///
/// `None` if there are no samples to tell by.
pub(crate) fn limit(scheduled: bool, intended: u64, acked: u64, clients: &Clients) -> Option<&'static str> {
    if scheduled && intended > 0 && acked as f64 >= SCHEDULE_SHARE * intended as f64 {
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
    seconds: Vec<Clients>,
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

    fn second(&mut self, at_us: i64) -> Option<&mut Clients> {
        let index = usize::try_from(at_us.div_euclid(SECOND_US)).ok()?;
        if index >= SECONDS_MAX {
            self.dropped += 1;
            return None;
        }
        if index >= self.seconds.len() {
            self.seconds.resize(index + 1, Clients::default());
        }
        self.seconds.get_mut(index)
    }

    /// A send; `phases` as far as they are known, which is further than its end.
    pub fn send(&mut self, sample: &SendSample, phases: &Phases) {
        self.count(phases.at(sample.intended_us), sample.intended_us).intended += 1;
        if sample.end == SendEnd::Acked {
            let count = self.count(phases.at(sample.done_us), sample.done_us);
            count.acked += 1;
            count.acked_bytes += u64::from(sample.size_bytes);
        }
    }

    /// A delivery.
    pub fn delivery(&mut self, sample: &DeliverySample, phases: &Phases) {
        self.count(phases.at(sample.delivered_us), sample.delivered_us).delivered += 1;
    }

    /// What a client said of itself.
    pub fn client(&mut self, sample: &ClientSample) {
        let Some(clients) = self.second(sample.at_us) else { return };
        clients.samples += 1;
        if let Some(share) = sample.cpu_share {
            clients.with_cpu += 1;
            clients.busy += u32::from(share >= BUSY_CPU_SHARE);
        }
        clients.waiting_for_answers += u32::from(sample.in_flight > 0);
        clients.queueing += u32::from(sample.queued > 0);
        // Nine tenths: an unthrottled producer lets the queue drain a little before it fills it again.
        clients.queue_full += u32::from(sample.queue_limit > 0 && sample.queued * 10 >= sample.queue_limit * 9);
    }

    /// What clients said in the seconds that lie for the most part in a phase.
    fn clients(&self, from_us: i64, to_us: i64) -> Clients {
        let second = |us: i64| usize::try_from((us + SECOND_US / 2).div_euclid(SECOND_US)).unwrap_or(0);
        let to = second(to_us).min(self.seconds.len());
        let mut sum = Clients::default();
        self.seconds.get(second(from_us).min(to)..to).unwrap_or_default().iter().for_each(|one| sum.add(one));
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
                count.intended += self.warm_up.intended;
                count.acked += self.warm_up.acked;
                count.delivered += self.warm_up.delivered;
                count.acked_bytes += self.warm_up.acked_bytes;
            }
            if to_us - from_us < SECOND_US {
                not_measured.push(format!("throughput of `{phase}`: less than a second of it is under load"));
                rows.push(Throughput {
                    phase,
                    acked_per_s: None,
                    delivered_per_s: None,
                    mb_per_s: None,
                    limited_by: None,
                });
                continue;
            }
            let length_s = (to_us - from_us) as f64 / SECOND_US as f64;
            let per_s = |count: u64| count as f64 / length_s;
            let clients = self.clients(from_us, to_us);
            let limited_by = limit(self.scheduled, count.intended, count.acked, &clients);
            if limited_by.is_none() {
                not_measured.push(format!("limited_by of `{phase}`: the clients gave no statistics in it"));
            }
            rows.push(Throughput {
                phase,
                acked_per_s: Some(per_s(count.acked)),
                delivered_per_s: Some(per_s(count.delivered)),
                mb_per_s: Some(per_s(count.acked_bytes) / 1e6),
                limited_by: limited_by.map(str::to_owned),
            });
        }
        rows
    }
}
