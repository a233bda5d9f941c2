//! What load generators tell while they work.

use std::sync::atomic::{AtomicU64, Ordering};

use metricstream_ledger::history::{Record, Tp};
use metricstream_ledger::sample::{ClientSample, DeliverySample, SendSample};

/// Something that happened at the clients.
#[derive(Debug, Clone, PartialEq)]
pub enum LoadEvent {
    /// Facts for the history, in the order of their happening.
    Records(Vec<Record>),
    /// Times of sends.
    Sends(Vec<SendSample>),
    /// Times of deliveries.
    Deliveries(Vec<DeliverySample>),
    /// A client's statistics.
    Client(ClientSample),
    /// All that a member owns now.
    Assignment {
        /// When.
        at_us: i64,
        /// `group.id`.
        group: String,
        /// Member name within the scenario.
        member: String,
        /// Everything that it owns.
        owned: Vec<Tp>,
    },
    /// Every producer has handed over what its schedule wanted, or was stopped.
    SendingEnded,
    /// A member's process ended without being asked to.
    MemberEnded {
        /// When it was noticed.
        at_us: i64,
        /// `group.id`.
        group: String,
        /// Member name.
        member: String,
        /// Its last words.
        why: String,
    },
    /// A client reported an error that its library goes on from.
    Trouble {
        /// When.
        at_us: i64,
        /// Which client.
        client: String,
        /// What it said.
        error: String,
    },
}

/// Counts for a live view; cheap to read at any time.
#[derive(Debug, Default)]
pub struct Progress {
    pub(crate) sent: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) delivered: AtomicU64,
}

impl Progress {
    /// Messages handed to the client library.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Messages acknowledged.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Messages that definitely failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Messages whose outcome will not be known.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// Deliveries, over all groups.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
