//! Links between nodes, and between nodes and their clients: delayed, throttled, cut one way or both, reset. What a cut
//! holds back arrives when it is mended, as TCP retransmits; a reset ends connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;

/// An end of a link: a node, or all clients.
pub(crate) type Party = i32;
/// All clients together.
pub(crate) const CLIENTS: Party = 0;

/// What a link does, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule {
    /// Every byte arrives at least this much later.
    pub delay: Duration,
    /// And up to this much more, drawn for each frame.
    pub jitter: Duration,
    /// Bytes that get through in a second; 0: no limit.
    pub bytes_per_s: u64,
    /// Nothing gets through, and nobody is told.
    pub cut: bool,
}

#[derive(Debug)]
struct State {
    rules: BTreeMap<(Party, Party), Rule>,
    random: ChaCha8Rng,
}

/// How many resets there were, and between whom the last one was.
pub(crate) type Resets = (u64, Vec<(Party, Party)>);

/// All links of a cluster.
#[derive(Debug, Clone)]
pub struct Links {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
    reset: Arc<watch::Sender<Resets>>,
}

impl Links {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State { rules: BTreeMap::new(), random: ChaCha8Rng::seed_from_u64(seed) };
        Self {
            state: Arc::new(Mutex::new(state)),
            changed: Arc::new(watch::Sender::new(0)),
            reset: Arc::new(watch::Sender::new((0, Vec::new()))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what happens to bytes from `from` to `to`; nodes by their ids, 0 for all clients.
    pub fn set(&self, from: i32, to: i32, rule: Rule) {
        if rule == Rule::default() {
            self.lock().rules.remove(&(from, to));
        } else {
            self.lock().rules.insert((from, to), rule);
        }
        self.changed.send_modify(|n| *n += 1);
    }

    /// Changes the rule of one direction.
    pub fn change(&self, from: i32, to: i32, change: impl FnOnce(&mut Rule)) {
        let mut rule = self.rule(from, to);
        change(&mut rule);
        self.set(from, to, rule);
    }

    /// The rule of one direction.
    #[must_use]
    pub fn rule(&self, from: i32, to: i32) -> Rule {
        self.lock().rules.get(&(from, to)).copied().unwrap_or_default()
    }

    /// Nothing gets through between the two groups, either way.
    pub fn cut(&self, a: &[i32], b: &[i32]) {
        for (x, y) in a.iter().flat_map(|x| b.iter().map(move |y| (*x, *y))) {
            self.change(x, y, |rule| rule.cut = true);
            self.change(y, x, |rule| rule.cut = true);
        }
    }

    /// Every cut is mended; delays and limits stay.
    pub fn mend(&self) {
        for rule in self.lock().rules.values_mut() {
            rule.cut = false;
        }
        self.changed.send_modify(|n| *n += 1);
    }

    /// Every link is as it was made.
    pub fn clear(&self) {
        self.lock().rules.clear();
        self.changed.send_modify(|n| *n += 1);
    }

    /// Every link as these rules say, by sender and receiver; one that is not among them is as it was made.
    pub fn replace(&self, rules: BTreeMap<(i32, i32), Rule>) {
        self.lock().rules = rules;
        self.changed.send_modify(|n| *n += 1);
    }

    /// Ends the connections between two parties at once.
    pub fn reset(&self, a: i32, b: i32) {
        self.reset.send_modify(|(n, pairs)| {
            *n += 1;
            *pairs = vec![(a, b), (b, a)];
        });
    }

    pub(crate) fn watch_resets(&self) -> watch::Receiver<Resets> {
        let mut resets = self.reset.subscribe();
        resets.mark_unchanged();
        resets
    }

    fn delay(&self, rule: &Rule) -> Duration {
        let jitter = u64::try_from(rule.jitter.as_nanos()).unwrap_or(u64::MAX);
        if jitter == 0 { rule.delay } else { rule.delay + Duration::from_nanos(self.lock().random.next_u64() % jitter) }
    }

    /// Waits while the direction is cut.
    pub(crate) async fn pass(&self, from: Party, to: Party) {
        if !self.rule(from, to).cut {
            return;
        }
        let mut changed = self.changed.subscribe();
        while self.rule(from, to).cut {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// When what is sent in one direction of one connection arrives: in order, late, no faster than the link.
#[derive(Debug)]
pub(crate) struct Lane {
    links: Links,
    from: Party,
    to: Party,
    last: Option<Instant>,
}

impl Lane {
    pub(crate) fn new(links: Links, from: Party, to: Party) -> Self {
        Self { links, from, to, last: None }
    }

    /// When a frame of this size that is handed in now arrives; `None` at once.
    pub(crate) fn arrival(&mut self, bytes: usize) -> Option<Instant> {
        let rule = self.links.rule(self.from, self.to);
        if rule == Rule::default() && self.last.is_none() {
            return None;
        }
        let now = Instant::now();
        let mut at = now + self.links.delay(&rule);
        if let Some(last) = self.last {
            at = at.max(last);
        }
        if rule.bytes_per_s > 0 {
            at += Duration::from_secs_f64(bytes as f64 / rule.bytes_per_s as f64);
        }
        self.last = (at > now).then_some(at);
        self.last
    }

    /// Whether the link does nothing in this direction now. Of what was delayed before, whoever delays it knows.
    pub(crate) fn is_as_made(&self) -> bool {
        self.links.rule(self.from, self.to) == Rule::default()
    }

    /// Waits while the direction is cut.
    pub(crate) async fn pass(&self) {
        self.links.pass(self.from, self.to).await;
    }

    pub(crate) const fn ends(&self) -> (Party, Party) {
        (self.from, self.to)
    }
}
