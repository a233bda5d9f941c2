//! One TCP connection: frames in, parts out. Reading stops when the node wants it to, and when too many bytes are on their
//! way to it; a reader that takes nothing for too long is cut.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use metricstream_node::io::{Closed, ConnId, Input};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::link::{Lane, Links, Party};

/// The smallest piece in which bytes on their way to a node are counted.
pub(crate) const PERMIT_BYTES: usize = 1024;
/// Slices that one write takes.
const SLICES_MAX: usize = 64;

/// What reaches a node's task.
pub(crate) enum ToNode {
    Input(Input, Option<OwnedSemaphorePermit>),
    Command(crate::driver::Command),
}

/// A node's end of a connection.
pub(crate) struct Handle {
    pub(crate) frames: mpsc::UnboundedSender<Vec<Bytes>>,
    pub(crate) reading: watch::Sender<bool>,
    pub(crate) tasks: Vec<tokio::task::AbortHandle>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The writer ends by itself when it has sent what it has; the reader has nobody to read for.
        if let Some(reader) = self.tasks.first() {
            reader.abort();
        }
    }
}

/// What a connection needs of its surroundings.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) links: Links,
    pub(crate) to_node: mpsc::Sender<ToNode>,
    /// Bytes that may be on their way to the node at once, in [`PERMIT_BYTES`].
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) request_bytes_max: usize,
    /// Whoever takes nothing for this long is cut.
    pub(crate) slow_reader: Duration,
    pub(crate) own: Party,
}

/// Serves a connection until either side ends it. Link rules apply here if `shaped`: at one end of each link only.
pub(crate) fn serve(stream: TcpStream, conn: ConnId, peer: Party, shaped: bool, around: &Surroundings) -> Handle {
    let _ = stream.set_nodelay(true);
    let (from, to) = stream.into_split();
    let (frames, queue) = mpsc::unbounded_channel();
    let (reading, may_read) = watch::channel(true);
    let lane = |from, to| shaped.then(|| Lane::new(around.links.clone(), from, to));
    let reader = Reader { conn, from, may_read, lane: lane(peer, around.own), around: around.clone() };
    let (lane, to_node) = (lane(around.own, peer), around.to_node.clone());
    let writer = Writer { conn, to, queue, lane, to_node, slow_reader: around.slow_reader };
    let reader = tokio::spawn(reader.run()).abort_handle();
    let writer = tokio::spawn(writer.run()).abort_handle();
    Handle { frames, reading, tasks: vec![reader, writer] }
}

struct Reader {
    conn: ConnId,
    from: OwnedReadHalf,
    may_read: watch::Receiver<bool>,
    lane: Option<Lane>,
    around: Surroundings,
}

impl Reader {
    async fn run(mut self) {
        let mut resets = self.around.links.watch_resets();
        let ends = self.lane.as_ref().map(Lane::ends);
        let why = loop {
            tokio::select! {
                read = self.next() => match read {
                    Ok(Some((bytes, permit))) => {
                        let input = Input::Frame { conn: self.conn, bytes };
                        if self.around.to_node.send(ToNode::Input(input, Some(permit))).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => break Closed::ByPeer,
                    Err(why) => break why,
                },
                Ok(()) = resets.changed() => {
                    let hit = ends.is_some_and(|ends| resets.borrow_and_update().1.contains(&ends));
                    if hit {
                        break Closed::ByPeer;
                    }
                }
            }
        };
        if let Some(lane) = &self.lane {
            // That a connection ended is news like any other: it does not get through a cut.
            lane.pass().await;
        }
        let _ = self.around.to_node.send(ToNode::Input(Input::Closed { conn: self.conn, why }, None)).await;
    }

    /// The next frame; none at the end of the stream.
    async fn next(&mut self) -> Result<Option<(BytesMut, OwnedSemaphorePermit)>, Closed> {
        if self.may_read.wait_for(|may| *may).await.is_err() {
            return Ok(None);
        }
        let Ok(length) = self.from.read_i32().await else { return Ok(None) };
        let Some(length) = usize::try_from(length).ok().filter(|n| *n <= self.around.request_bytes_max) else {
            return Err(Closed::ByDriver);
        };
        let permits = u32::try_from(length / PERMIT_BYTES + 1).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.around.in_flight).acquire_many_owned(permits).await;
        let Ok(permit) = permit else { return Ok(None) };
        let mut frame = BytesMut::with_capacity(length);
        let mut rest = (&mut self.from).take(length as u64);
        while frame.len() < length {
            match rest.read_buf(&mut frame).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
        if let Some(lane) = &mut self.lane {
            if let Some(at) = lane.arrival(length) {
                sleep_until(at).await;
            }
            lane.pass().await;
        }
        Ok(Some((frame, permit)))
    }
}

struct Writer {
    conn: ConnId,
    to: OwnedWriteHalf,
    queue: mpsc::UnboundedReceiver<Vec<Bytes>>,
    lane: Option<Lane>,
    to_node: mpsc::Sender<ToNode>,
    slow_reader: Duration,
}

impl Writer {
    async fn run(mut self) {
        let mut delayed: VecDeque<(Option<Instant>, Vec<Bytes>)> = VecDeque::new();
        let mut open = true;
        while open || !delayed.is_empty() {
            // Whatever is there already goes out with one write.
            let next = delayed.front().map(|(at, _)| *at);
            tokio::select! {
                biased;
                frame = self.queue.recv(), if open => match frame {
                    Some(frame) => {
                        let size = frame.iter().map(Bytes::len).sum();
                        let at = self.lane.as_mut().and_then(|lane| lane.arrival(size));
                        delayed.push_back((at, frame));
                        while let Ok(frame) = self.queue.try_recv() {
                            let size = frame.iter().map(Bytes::len).sum();
                            let at = self.lane.as_mut().and_then(|lane| lane.arrival(size));
                            delayed.push_back((at, frame));
                        }
                        if delayed.front().is_some_and(|(at, _)| at.is_none_or(|at| at <= Instant::now()))
                            && !self.flush(&mut delayed).await {
                            return;
                        }
                    }
                    None => open = false,
                },
                () = wait(next), if next.is_some() => if !self.flush(&mut delayed).await {
                    return;
                },
            }
        }
        let _ = self.to.shutdown().await;
    }

    /// Writes what has arrived at its time; false where the other side takes it no more.
    async fn flush(&mut self, delayed: &mut VecDeque<(Option<Instant>, Vec<Bytes>)>) -> bool {
        if let Some(lane) = &self.lane {
            lane.pass().await;
        }
        let now = Instant::now();
        let mut ready: VecDeque<Bytes> = VecDeque::new();
        while delayed.front().is_some_and(|(at, _)| at.is_none_or(|at| at <= now)) {
            ready.extend(delayed.pop_front().into_iter().flat_map(|(_, frame)| frame));
        }
        let total: usize = ready.iter().map(Bytes::len).sum();
        let written = timeout(self.slow_reader, write_all(&mut self.to, ready)).await;
        match written {
            Ok(Ok(())) => {
                let sent = Input::Sent { conn: self.conn, bytes: total };
                self.to_node.send(ToNode::Input(sent, None)).await.is_ok()
            }
            Ok(Err(_)) => false,
            Err(_) => {
                let cut = Input::Closed { conn: self.conn, why: Closed::ByDriver };
                let _ = self.to_node.send(ToNode::Input(cut, None)).await;
                false
            }
        }
    }
}

async fn wait(at: Option<Option<Instant>>) {
    match at {
        Some(Some(at)) => sleep_until(at).await,
        Some(None) => {}
        None => std::future::pending().await,
    }
}

async fn write_all(to: &mut OwnedWriteHalf, mut parts: VecDeque<Bytes>) -> std::io::Result<()> {
    while !parts.is_empty() {
        let mut written = {
            let slices: Vec<IoSlice<'_>> = parts.iter().take(SLICES_MAX).map(|b| IoSlice::new(b)).collect();
            to.write_vectored(&slices).await?
        };
        if written == 0 && parts.iter().any(|b| !b.is_empty()) {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = parts.front_mut() {
            if first.len() > written {
                first.advance(written);
                break;
            }
            written -= first.len();
            parts.pop_front();
        }
    }
    Ok(())
}
