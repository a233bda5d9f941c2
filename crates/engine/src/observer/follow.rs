//! Following the metadata log over its leaders: Fetch with replica id −1 at a controller listener, snapshots first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use metricstream_wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData, SnapshotId};
use metricstream_wire::api::fetch_snapshot::{FetchSnapshotRequest, PartitionSnapshotRequest, TopicSnapshotRequest};
use metricstream_wire::control_record::ControlRecord;
use metricstream_wire::metadata_record::MetadataRecord;
use metricstream_wire::record_batch::Batch;
use metricstream_wire::{ErrorCode, Uuid, WireError};
use tokio::sync::{mpsc, watch};

use super::controller_time;
use super::image::Image;
use crate::client::{ClientError, Connection};
use crate::observation::{Observation, Observed, ObservedAt};

const CONNECT: Duration = Duration::from_millis(500);
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// A controller that is paused holds its connections open: it is left after this.
const ANSWER: Duration = Duration::from_millis(1_500);
/// Between two looks at records that are not committed yet, and before another controller is tried.
const AGAIN: Duration = Duration::from_millis(10);
const AFTER_FAILURE: Duration = Duration::from_millis(50);
const FETCH_BYTES: i32 = 8 * 1024 * 1024;
const SNAPSHOT_MAX_BYTES: usize = 256 * 1024 * 1024;
pub(crate) const FETCH_VERSION: i16 = 13;
const TOPIC: &str = "__cluster_metadata";
/// The fixed id of `__cluster_metadata` (`Uuid.METADATA_TOPIC_ID`).
pub(crate) const TOPIC_ID: Uuid = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Why one talk with a controller ended. All of these are tried again; the observer itself never fails.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the metadata log: {0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Refused(ErrorCode),
    #[error("an answer without the metadata log")]
    Empty,
    #[error("another leader: {0}")]
    Elsewhere(i32),
    #[error("nobody listens to the observer")]
    Closed,
}

struct Follower {
    controllers: Vec<(i32, SocketAddr)>,
    seen: mpsc::Sender<Observation>,
    image: watch::Sender<Arc<Image>>,
    known: Image,
    /// Where to read on, and the epoch of the batch before: never negative, 0 at the start.
    offset: i64,
    last_epoch: i32,
    /// The epoch of the quorum as last heard.
    epoch: i32,
    leader: Option<i32>,
    /// When a controller answered last: how late what a snapshot tells may be.
    heard: Instant,
    /// Since when it reads what was there before it and is told as one state at the end of that.
    attaching_since: Option<Instant>,
}

/// Follows until nobody listens, from the cluster's first word on.
pub(super) async fn run(
    controllers: Vec<(i32, SocketAddr)>,
    seen: mpsc::Sender<Observation>,
    image: watch::Sender<Arc<Image>>,
) {
    follow(controllers, seen, image, None).await;
}

/// Follows until nobody listens; what was before is told as one state.
pub(super) async fn attach(
    controllers: Vec<(i32, SocketAddr)>,
    seen: mpsc::Sender<Observation>,
    image: watch::Sender<Arc<Image>>,
) {
    follow(controllers, seen, image, Some(Instant::now())).await;
}

async fn follow(
    controllers: Vec<(i32, SocketAddr)>,
    seen: mpsc::Sender<Observation>,
    image: watch::Sender<Arc<Image>>,
    attaching_since: Option<Instant>,
) {
    let mut follower = Follower {
        attaching_since,
        controllers,
        seen,
        image,
        known: Image::default(),
        offset: 0,
        last_epoch: 0,
        epoch: 0,
        leader: None,
        heard: Instant::now(),
    };
    let mut turn = 0_usize;
    while !follower.controllers.is_empty() {
        let nth = follower.leader.and_then(|id| follower.controllers.iter().position(|(c, _)| *c == id));
        let (id, address) = follower.controllers[nth.unwrap_or(turn % follower.controllers.len())];
        turn += 1;
        let Err(trouble) = follower.talk(id, address).await;
        tracing::debug!(controller = id, %trouble, "metadata observer moves on");
        match trouble {
            Trouble::Closed => return,
            // Go there at once, unless that is where we just were.
            Trouble::Elsewhere(leader) if leader >= 0 && leader != id => follower.leader = Some(leader),
            _ => {
                follower.leader = None;
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

impl Follower {
    /// Reads from one controller until that fails.
    async fn talk(&mut self, id: i32, address: SocketAddr) -> Result<std::convert::Infallible, Trouble> {
        let mut connection = Connection::open(address, CONNECT).await?;
        loop {
            let answer = self.fetch(&mut connection).await?;
            let code = ErrorCode(answer.error_code);
            let named = &answer.current_leader;
            match code {
                ErrorCode::NONE => {}
                ErrorCode::FENCED_LEADER_EPOCH | ErrorCode::UNKNOWN_LEADER_EPOCH if named.leader_epoch >= 0 => {
                    let news = self.epoch != named.leader_epoch;
                    self.epoch = named.leader_epoch;
                    if named.leader_id == id && news {
                        continue;
                    }
                    return Err(Trouble::Elsewhere(named.leader_id));
                }
                ErrorCode::NOT_LEADER_OR_FOLLOWER => {
                    self.epoch = self.epoch.max(named.leader_epoch);
                    return Err(Trouble::Elsewhere(named.leader_id));
                }
                other => return Err(Trouble::Refused(other)),
            }
            self.leader = Some(id);
            if answer.snapshot_id.end_offset >= 0 {
                self.snapshot(&mut connection, id, &answer.snapshot_id).await?;
            } else if !self.take(&answer).await? {
                tokio::time::sleep(AGAIN).await;
            }
            self.heard = Instant::now();
        }
    }

    async fn fetch(&self, connection: &mut Connection) -> Result<PartitionData, Trouble> {
        let request = FetchRequest {
            max_wait_ms: i32::try_from(FETCH_WAIT.as_millis()).unwrap_or(500),
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            topics: vec![FetchTopic {
                topic_id: TOPIC_ID,
                partitions: vec![FetchPartition {
                    partition: 0,
                    current_leader_epoch: self.epoch,
                    fetch_offset: self.offset,
                    last_fetched_epoch: self.last_epoch,
                    partition_max_bytes: FETCH_BYTES,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = connection.call(&request, FETCH_VERSION, ANSWER).await?;
        if answer.error_code != 0 {
            return Err(Trouble::Refused(ErrorCode(answer.error_code)));
        }
        let topic = answer.responses.into_iter().next().ok_or(Trouble::Empty)?;
        topic.partitions.into_iter().next().ok_or(Trouble::Empty)
    }

    /// Takes the committed batches of an answer in. Whether there is reason to ask again at once: not if all that came
    /// is not committed yet, which a fetch answers without waiting.
    async fn take(&mut self, answer: &PartitionData) -> Result<bool, Trouble> {
        let mut rest = answer.records.clone().unwrap_or_default().into_bytes();
        let idle = rest.is_empty();
        let mut taken = false;
        while let Some(batch) = Batch::next(&mut rest)? {
            if batch.next_offset() > answer.high_watermark {
                break;
            }
            if batch.base_offset >= self.offset || batch.next_offset() > self.offset {
                self.batch(&batch).await?;
                self.offset = batch.next_offset();
                self.last_epoch = batch.partition_leader_epoch;
                taken = true;
            }
        }
        self.end_attaching(answer.high_watermark).await?;
        if taken && self.attaching_since.is_none() {
            self.image.send_replace(Arc::new(self.known.clone()));
        }
        Ok(taken || idle)
    }

    /// Once all is read that was there when it came, that is told as one state.
    async fn end_attaching(&mut self, high_watermark: i64) -> Result<(), Trouble> {
        let Some(since) = self.attaching_since.filter(|_| high_watermark > 0 && self.offset >= high_watermark) else {
            return Ok(());
        };
        self.attaching_since = None;
        let mut seen = self.known.differences(&Image::default());
        seen.extend(self.known.controller.map(|(node, epoch)| Observed::Controller { node, epoch }));
        self.image.send_replace(Arc::new(self.known.clone()));
        self.tell(ObservedAt::Polled { at: Instant::now(), error: since.elapsed() }, seen).await
    }

    async fn batch(&mut self, batch: &Batch) -> Result<(), Trouble> {
        for record in batch.records()? {
            let mut seen = Vec::new();
            let at = controller_time(record.timestamp_ms);
            if batch.is_control() {
                if let ControlRecord::LeaderChange(change) = ControlRecord::decode(record.key, record.value)? {
                    let node = change.leader_id;
                    let controller = (node, batch.partition_leader_epoch);
                    if self.known.controller != Some(controller) {
                        self.known.controller = Some(controller);
                        seen.push(Observed::Controller { node, epoch: controller.1 });
                    }
                }
            } else if let Some(value) = record.value {
                self.known.apply(MetadataRecord::decode(value)?, &mut seen);
            }
            self.tell(at, seen).await?;
        }
        Ok(())
    }

    async fn tell(&self, at: ObservedAt, seen: Vec<Observed>) -> Result<(), Trouble> {
        if self.attaching_since.is_some() {
            return Ok(());
        }
        for what in seen {
            self.seen.send(Observation { at, what }).await.map_err(|_| Trouble::Closed)?;
        }
        Ok(())
    }

    /// Reads a snapshot of `leader` whole, and tells what is different from what was known before.
    async fn snapshot(&mut self, connection: &mut Connection, leader: i32, id: &SnapshotId) -> Result<(), Trouble> {
        let mut bytes = BytesMut::new();
        loop {
            let position = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            let piece = self.snapshot_piece(connection, id, position).await?;
            let size = usize::try_from(piece.0).ok().filter(|n| *n <= SNAPSHOT_MAX_BYTES);
            let size = size.ok_or(WireError::Range { what: "size of a snapshot", value: piece.0 })?;
            if piece.1.is_empty() && bytes.len() < size {
                return Err(Trouble::Empty);
            }
            bytes.extend_from_slice(&piece.1);
            if bytes.len() >= size {
                break;
            }
        }
        let mut rest = bytes.freeze();
        let mut image = Image::default();
        // A snapshot does not say who leads: the node that answers for it, in the epoch that it was asked in.
        image.controller = Some((leader, self.epoch));
        while let Some(batch) = Batch::next(&mut rest)? {
            if batch.is_control() {
                continue;
            }
            for value in batch.records()?.into_iter().filter_map(|r| r.value) {
                image.apply(MetadataRecord::decode(value)?, &mut Vec::new());
            }
        }
        let at = ObservedAt::Polled { at: Instant::now(), error: self.heard.elapsed() };
        let seen = image.differences(&self.known);
        self.known = image;
        self.offset = id.end_offset;
        self.last_epoch = id.epoch;
        self.tell(at, seen).await?;
        if self.attaching_since.is_none() {
            self.image.send_replace(Arc::new(self.known.clone()));
        }
        Ok(())
    }

    /// Size of the whole and one piece.
    async fn snapshot_piece(
        &self,
        connection: &mut Connection,
        id: &SnapshotId,
        position: i64,
    ) -> Result<(i64, Bytes), Trouble> {
        let request = FetchSnapshotRequest {
            max_bytes: FETCH_BYTES,
            topics: vec![TopicSnapshotRequest {
                name: TOPIC.to_owned(),
                partitions: vec![PartitionSnapshotRequest {
                    partition: 0,
                    current_leader_epoch: self.epoch,
                    snapshot_id: id.clone(),
                    position,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let answer = connection.call(&request, 0, ANSWER).await?;
        if answer.error_code != 0 {
            return Err(Trouble::Refused(ErrorCode(answer.error_code)));
        }
        let topic = answer.topics.into_iter().next().ok_or(Trouble::Empty)?;
        let piece = topic.partitions.into_iter().next().ok_or(Trouble::Empty)?;
        if piece.error_code != 0 {
            return Err(Trouble::Refused(ErrorCode(piece.error_code)));
        }
        Ok((piece.size, piece.unaligned_records.into_bytes()))
    }
}
