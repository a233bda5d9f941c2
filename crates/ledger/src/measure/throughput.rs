//! Acknowledged and delivered messages per second, by phase, and which side limited them.
//!
//! One bucket per second of the run's clock; only seconds that lie wholly in a phase count, and those of the warm-up do
//! not. The rule for `limited_by` is in [`limit`].

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

#[derive(Debug, Clone, Copy, Default)]
struct Second {
    intended: u64,
    acked: u64,
    delivered: u64,
    acked_bytes: u64,
    clients: Clients,
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

/// The buckets.
#[derive(Debug, Default)]
pub struct Rates {
    seconds: Vec<Second>,
    scheduled: bool,
    pub(crate) dropped: u64,
}

impl Rates {
    /// `scheduled`: whether every producer has a rate.
    pub fn new(scheduled: bool) -> Self {
        Self { seconds: Vec::new(), scheduled, dropped: 0 }
    }

    fn second(&mut self, at_us: i64) -> Option<&mut Second> {
        let index = usize::try_from(at_us.div_euclid(SECOND_US)).ok()?;
        if index >= SECONDS_MAX {
            self.dropped += 1;
            return None;
        }
        if index >= self.seconds.len() {
            self.seconds.resize(index + 1, Second::default());
        }
        self.seconds.get_mut(index)
    }

    /// A send.
    pub fn send(&mut self, sample: &SendSample) {
        if let Some(second) = self.second(sample.intended_us) {
            second.intended += 1;
        }
        if sample.end == SendEnd::Acked
            && let Some(second) = self.second(sample.done_us)
        {
            second.acked += 1;
            second.acked_bytes += u64::from(sample.size_bytes);
        }
    }

    /// A delivery.
    pub fn delivery(&mut self, sample: &DeliverySample) {
        if let Some(second) = self.second(sample.delivered_us) {
            second.delivered += 1;
        }
    }

    /// What a client said of itself.
    pub fn client(&mut self, sample: &ClientSample) {
        let Some(second) = self.second(sample.at_us) else { return };
        let clients = &mut second.clients;
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

    fn whole_seconds(&self, from_us: i64, to_us: i64) -> Option<std::ops::Range<usize>> {
        let first = usize::try_from((from_us + SECOND_US - 1).div_euclid(SECOND_US)).ok()?;
        let end = usize::try_from(to_us.div_euclid(SECOND_US)).ok()?.min(self.seconds.len());
        (first < end).then_some(first..end)
    }

    /// One row per phase in which load was offered; `load_end_us` is where it ended.
    pub(crate) fn rows(&self, phases: &Phases, load_end_us: i64, not_measured: &mut Vec<String>) -> Vec<Throughput> {
        let mut rows = Vec::new();
        for (index, phase) in phases.names().into_iter().enumerate() {
            let (from_us, to_us) = phases.bounds(index, load_end_us);
            if from_us >= load_end_us {
                continue;
            }
            // A first phase that is hardly longer than the warm-up would be left with nothing.
            let from_us = if index == 0 && to_us > 2 * WARM_UP_US { WARM_UP_US } else { from_us };
            let range = self.whole_seconds(from_us, to_us.min(load_end_us));
            let seconds = range.and_then(|range| self.seconds.get(range)).unwrap_or_default();
            if seconds.is_empty() {
                not_measured.push(format!("throughput of `{phase}`: the phase holds no whole second under load"));
                rows.push(Throughput {
                    phase,
                    acked_per_s: None,
                    delivered_per_s: None,
                    mb_per_s: None,
                    limited_by: None,
                });
                continue;
            }
            let (mut sum, mut clients) = (Second::default(), Clients::default());
            for second in seconds {
                sum.intended += second.intended;
                sum.acked += second.acked;
                sum.delivered += second.delivered;
                sum.acked_bytes += second.acked_bytes;
                clients.add(&second.clients);
            }
            let per_s = |count: u64| count as f64 / seconds.len() as f64;
            let limited_by = limit(self.scheduled, sum.intended, sum.acked, &clients);
            if limited_by.is_none() {
                not_measured.push(format!("limited_by of `{phase}`: the clients gave no statistics in it"));
            }
            rows.push(Throughput {
                phase,
                acked_per_s: Some(per_s(sum.acked)),
                delivered_per_s: Some(per_s(sum.delivered)),
                mb_per_s: Some(per_s(sum.acked_bytes) / 1e6),
                limited_by: limited_by.map(str::to_owned),
            });
        }
        rows
    }
}
