//! What load generators tell while they work, and the bounded channel that carries it and measures how long it held a
//! client up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use metricstream_ledger::history::{Record, Tp};
use metricstream_ledger::sample::{ClientSample, DeliverySample, SendSample};
use tokio::sync::mpsc;

/// Something that happened at the clients. Batches, never single messages.
#[derive(Debug, Clone, PartialEq)]
pub enum LoadEvent {
    /// Facts for the history, in an order that the ledger accepts: a send before its outcome.
    Records(Vec<Record>),
    /// Times of sends.
    Sends(Vec<SendSample>),
    /// Times of deliveries.
    Deliveries(Vec<DeliverySample>),
    /// A client's statistics.
    Client(ClientSample),
    /// All that a member owns now; also when only the generation is new.
    Assignment {
        /// When.
        at_us: i64,
        /// `group.id`.
        group: String,
        /// Member name within the scenario.
        member: String,
        /// Generation or member epoch that it was told last, −1 if none.
        generation: i32,
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
    /// A client heard of trouble after a second or more without: the first error of a bout.
    Trouble {
        /// When.
        at_us: i64,
        /// Which client.
        client: String,
        /// What it said.
        error: String,
    },
}

/// The sending end of the channel. Clones share the measure of back-pressure.
#[derive(Debug, Clone)]
pub(crate) struct EventSink {
    tx: mpsc::Sender<LoadEvent>,
    blocked_us: Arc<AtomicU64>,
}

impl EventSink {
    pub(crate) fn new(tx: mpsc::Sender<LoadEvent>) -> Self {
        Self { tx, blocked_us: Arc::default() }
    }

    /// Sends from a thread of its own, never from a task; waits while the channel is full. A receiver that is gone takes
    /// nothing more, and the load goes on until it is told to end.
    pub(crate) fn send(&self, event: LoadEvent) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.tx.try_send(event) {
            let from = Instant::now();
            let _receiver_gone = self.tx.blocking_send(event);
            let waited_us = u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.blocked_us.fetch_add(waited_us, Ordering::Relaxed);
        }
    }

    /// How long clients were held up because nobody took their events, µs over all threads.
    pub(crate) fn blocked_us(&self) -> u64 {
        self.blocked_us.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_channel_holds_the_sender_up_and_says_for_how_long() {
        let (tx, mut rx) = mpsc::channel(1);
        let sink = EventSink::new(tx);
        sink.send(LoadEvent::SendingEnded);
        assert_eq!(sink.blocked_us(), 0);
        let other = sink.clone();
        let sender = std::thread::spawn(move || other.send(LoadEvent::Records(Vec::new())));
        let from = Instant::now();
        while !sender.is_finished() && from.elapsed().as_millis() < 100 {
            std::thread::yield_now();
        }
        assert!(!sender.is_finished(), "a full channel must hold its sender");
        assert_eq!(rx.blocking_recv(), Some(LoadEvent::SendingEnded));
        sender.join().expect("the sender ends");
        assert!(sink.blocked_us() > 0);
        assert_eq!(rx.blocking_recv(), Some(LoadEvent::Records(Vec::new())));
        // Nobody listens: nothing waits.
        drop(rx);
        sink.send(LoadEvent::SendingEnded);
        sink.send(LoadEvent::SendingEnded);
    }
}
