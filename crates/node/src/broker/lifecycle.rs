//! What a broker knows of its own standing with the controller.

use crate::controller::Heartbeat;
use crate::image;
use crate::time::{Now, Ns};

/// A broker's standing.
#[derive(Debug)]
pub struct Lifecycle {
    /// Epoch of its registration in this life.
    pub epoch: Option<i64>,
    /// Epoch that it had when it last shut down in order; −1 if it did not.
    pub previous_epoch: i64,
    /// As the controller said last.
    pub fenced: bool,
    /// A controlled shutdown is under way.
    pub leaving: bool,
    /// A registration or heartbeat is not answered yet.
    pub in_flight: bool,
    /// When the next is due.
    pub next_at: Ns,
    /// Its own registration lies in the metadata that it has.
    knows_itself: bool,
    /// Something came meanwhile of which the answer that is under way knows nothing yet.
    again: bool,
}

impl Lifecycle {
    /// A broker that starts.
    #[must_use]
    pub const fn new(previous_epoch: i64) -> Self {
        Self {
            epoch: None,
            previous_epoch,
            fenced: true,
            leaving: false,
            in_flight: false,
            next_at: 0,
            knows_itself: false,
            again: false,
        }
    }

    /// Whether the controller counts on it.
    #[must_use]
    pub const fn is_unfenced(&self) -> bool {
        !self.fenced && self.epoch.is_some()
    }

    /// Hand everything over and end.
    pub const fn begin_shutdown(&mut self, now: Now) {
        self.leaving = true;
        self.hurry(now);
    }

    /// The next request is due now, or as soon as the one under way is answered: not only after another wait.
    pub const fn hurry(&mut self, now: Now) {
        self.next_at = now.monotonic_ns;
        self.again = self.in_flight;
    }

    /// A request was answered or is lost; the next is due after `wait_ms`, unless something came meanwhile.
    pub fn answered(&mut self, now: Now, wait_ms: i64) {
        self.in_flight = false;
        self.next_at = if std::mem::take(&mut self.again) { now.monotonic_ns } else { now.after_ms(wait_ms) };
    }

    /// The metadata tells of this broker.
    pub fn metadata_shows(&mut self, own: &image::Broker, offset: i64, now: Now) {
        if self.epoch == Some(own.epoch) && offset >= own.epoch && !self.knows_itself {
            self.knows_itself = true;
            self.hurry(now);
        }
    }

    /// The next heartbeat.
    #[must_use]
    pub fn beat(&self, broker: i32, metadata_offset: i64) -> Heartbeat {
        Heartbeat {
            broker,
            broker_epoch: self.epoch.unwrap_or(-1),
            metadata_offset,
            want_fence: !self.knows_itself,
            want_shutdown: self.leaving,
        }
    }
}
