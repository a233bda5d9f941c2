//! The metadata observer: reads `__cluster_metadata` as an observer of the quorum does, and tells what the controller
//! committed and when it wrote it. Nothing at or above the high watermark is told.
//!
//! [`image`] is what the log says; [`follow`] the talk with controllers; [`poll`] the poor man's way where no controller
//! can be read.

mod follow;
mod image;
mod poll;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

pub(crate) use follow::{FETCH_VERSION as METADATA_FETCH_VERSION, TOPIC_ID as METADATA_TOPIC_ID};
pub use image::{BrokerImage, Image, PartitionImage};

use crate::observation::{Observation, ObservedAt};
use crate::remote::MetadataSource;

/// A running observer; it ends when this is dropped.
#[derive(Debug)]
pub struct Observer {
    task: AbortHandle,
    image: watch::Receiver<Arc<Image>>,
}

impl Observer {
    /// Reads the metadata log from these controllers (id and address of their listener) and sends what it sees.
    #[must_use]
    pub fn follow(controllers: Vec<(i32, SocketAddr)>, seen: mpsc::Sender<Observation>) -> Self {
        let (tx, image) = watch::channel(Arc::new(Image::default()));
        let task = tokio::spawn(follow::run(controllers, seen, tx)).abort_handle();
        Self { task, image }
    }

    /// As [`follow`](Self::follow), of a cluster that is older than its observer: what the log says up to now is told as
    /// one state, and only then each change.
    #[must_use]
    pub fn attach(controllers: Vec<(i32, SocketAddr)>, seen: mpsc::Sender<Observation>) -> Self {
        let (tx, image) = watch::channel(Arc::new(Image::default()));
        let task = tokio::spawn(follow::attach(controllers, seen, tx)).abort_handle();
        Self { task, image }
    }

    /// Asks for metadata every `every`: what is seen is late by up to that, and says so.
    #[must_use]
    pub fn poll(source: Arc<dyn MetadataSource>, every: Duration, seen: mpsc::Sender<Observation>) -> Self {
        let (tx, image) = watch::channel(Arc::new(Image::default()));
        let task = tokio::spawn(poll::run(source, every, seen, tx)).abort_handle();
        Self { task, image }
    }

    /// What is known now.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.image.borrow().clone()
    }

    /// To be told of every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Image>> {
        self.image.clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Maps a controller's wall clock, in whole milliseconds, to this process's monotonic clock. Both run on one machine, so
/// the wall clocks are one; what remains is the rounding to a millisecond and a step of the clock between the two reads.
fn controller_time(timestamp_ms: i64) -> ObservedAt {
    let before = Instant::now();
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let after = Instant::now();
    let read = after - before;
    let then = Duration::from_micros(u64::try_from(timestamp_ms).unwrap_or(0).saturating_mul(1000) + 500);
    let middle = before + read / 2;
    let at = match wall.checked_sub(then) {
        Some(ago) => middle.checked_sub(ago).unwrap_or(middle),
        None => middle + (then - wall).min(Duration::from_secs(1)),
    };
    ObservedAt::Controller { at, error: Duration::from_micros(500) + read }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controllers_clock_is_mapped_within_its_stated_error() {
        let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let now = Instant::now();
        let ObservedAt::Controller { at, error } = controller_time(i64::try_from(now_ms).unwrap() - 2_000) else {
            panic!("the controller's clock");
        };
        let ago = now - at;
        // The two reads above are not one moment either: half a second is generous to a machine that stalls.
        assert!(ago.abs_diff(Duration::from_secs(2)) < Duration::from_millis(500), "{ago:?}");
        assert!(error >= Duration::from_micros(500));
    }
}
