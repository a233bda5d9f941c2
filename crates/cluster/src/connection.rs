//! One TCP connection: frames in, parts out. Reading stops when the node wants it to, and when too many bytes are on their
//! way to it; a reader that takes nothing for too long is cut.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use metricstream_node::io::{Closed, ConnId, Input};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::link::{Lane, Links, Party};

/// The smallest piece in which bytes on their way to a node are counted.
pub(crate) const PERMIT_BYTES: usize = 1024;
/// Slices that one write takes.
const SLICES_MAX: usize = 64;
/// Read ahead of a frame: its length and, where it is small, all of it come with one call. What is larger is read straight
/// into its own buffer.
const READ_AHEAD_BYTES: usize = 4096;

/// What reaches a node's task.
pub(crate) enum ToNode {
    Input(Input, Option<OwnedSemaphorePermit>),
    Command(crate::driver::Command),
}

/// A node's end of a connection.
pub(crate) struct Handle {
    frames: mpsc::UnboundedSender<Vec<Bytes>>,
    pub(crate) reading: watch::Sender<bool>,
    reader: tokio::task::AbortHandle,
    to: Arc<OwnedWriteHalf>,
    /// Frames that the writer has and has not written.
    waiting: Arc<AtomicUsize>,
    /// Where the link may have rules.
    shaped: Option<Lane>,
    /// Who is at the other end.
    pub(crate) peer: Party,
}

impl Handle {
    /// Sends a frame. Where nothing waits before it and no rule of the link says otherwise it goes out here and now, which
    /// spares a task's turn; what the socket does not take is the writer's. Gives the bytes that are gone already.
    pub(crate) fn send(&self, frame: Vec<Bytes>) -> usize {
        let mut frame = VecDeque::from(frame);
        let total: usize = frame.iter().map(Bytes::len).sum();
        // Only here are frames added, so that none can get in between.
        let alone = self.waiting.load(Ordering::Acquire) == 0;
        if alone && self.shaped.as_ref().is_none_or(Lane::is_as_made) {
            // What is wrong with the connection its writer finds too.
            let _ = write_now(&self.to, &mut frame);
        }
        let left: usize = frame.iter().map(Bytes::len).sum();
        if left > 0 {
            self.waiting.fetch_add(1, Ordering::AcqRel);
            let _ = self.frames.send(frame.into());
        }
        total - left
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The writer ends by itself when it has sent what it has; the reader has nobody to read for.
        self.reader.abort();
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
    let (from, to) = (BufReader::with_capacity(READ_AHEAD_BYTES, from), Arc::new(to));
    let waiting = Arc::new(AtomicUsize::new(0));
    let (frames, queue) = mpsc::unbounded_channel();
    let (reading, may_read) = watch::channel(true);
    let lane = |from, to| shaped.then(|| Lane::new(around.links.clone(), from, to));
    let reader = Reader { conn, from, may_read, lane: lane(peer, around.own), around: around.clone() };
    let writer = Writer {
        conn,
        to: Arc::clone(&to),
        queue,
        waiting: Arc::clone(&waiting),
        lane: lane(around.own, peer),
        to_node: around.to_node.clone(),
        slow_reader: around.slow_reader,
    };
    let reader = tokio::spawn(reader.run()).abort_handle();
    tokio::spawn(writer.run());
    Handle { frames, reading, reader, to, waiting, shaped: lane(around.own, peer), peer }
}

struct Reader {
    conn: ConnId,
    from: BufReader<OwnedReadHalf>,
    may_read: watch::Receiver<bool>,
    lane: Option<Lane>,
    around: Surroundings,
}

impl Reader {
    async fn run(mut self) {
        let mut resets = self.around.links.watch_resets();
        let ends = self.lane.as_ref().map(Lane::ends);
        let (conn, to_node) = (self.conn, self.around.to_node.clone());
        let why = 'frames: loop {
            let mut next = std::pin::pin!(self.next());
            // Begun once: a frame of which a part has been read must not be lost to the news of other links.
            let read = loop {
                tokio::select! {
                    read = &mut next => break read,
                    Ok(()) = resets.changed() => {
                        if ends.is_some_and(|ends| resets.borrow_and_update().1.contains(&ends)) {
                            break 'frames Closed::ByPeer;
                        }
                    }
                }
            };
            match read {
                Ok(Some((bytes, permit))) => {
                    let input = Input::Frame { conn, bytes };
                    if to_node.send(ToNode::Input(input, Some(permit))).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break Closed::ByPeer,
                Err(why) => break why,
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
    to: Arc<OwnedWriteHalf>,
    queue: mpsc::UnboundedReceiver<Vec<Bytes>>,
    waiting: Arc<AtomicUsize>,
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
        // Its other holder is gone, so the connection is shut down when this one is.
    }

    /// Writes what has arrived at its time; false where the other side takes it no more.
    async fn flush(&self, delayed: &mut VecDeque<(Option<Instant>, Vec<Bytes>)>) -> bool {
        if let Some(lane) = &self.lane {
            lane.pass().await;
        }
        let now = Instant::now();
        let mut ready: VecDeque<Bytes> = VecDeque::new();
        let mut frames = 0;
        while delayed.front().is_some_and(|(at, _)| at.is_none_or(|at| at <= now)) {
            ready.extend(delayed.pop_front().into_iter().flat_map(|(_, frame)| frame));
            frames += 1;
        }
        let total: usize = ready.iter().map(Bytes::len).sum();
        let written = timeout(self.slow_reader, write_all(&self.to, ready)).await;
        match written {
            Ok(Ok(())) => {
                self.waiting.fetch_sub(frames, Ordering::AcqRel);
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

async fn write_all(to: &OwnedWriteHalf, mut parts: VecDeque<Bytes>) -> std::io::Result<()> {
    while !write_now(to, &mut parts)? {
        to.writable().await?;
    }
    Ok(())
}

/// Writes what the socket takes at once; whether that was all.
fn write_now(to: &OwnedWriteHalf, parts: &mut VecDeque<Bytes>) -> std::io::Result<bool> {
    while !parts.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts.iter()) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        let mut written = match to.try_write_vectored(&slices[..count]) {
            Ok(written) => written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
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
    Ok(true)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A node's end of a connection, what reaches its node, and the other end.
    async fn connection(links: &Links) -> (Handle, mpsc::Receiver<ToNode>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let other = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
        let (own, _) = listener.accept().await.expect("a connection");
        let (to_node, inbox) = mpsc::channel(64);
        let in_flight = Arc::new(Semaphore::new(1_024));
        let slow_reader = Duration::from_secs(10);
        let around =
            Surroundings { links: links.clone(), to_node, in_flight, request_bytes_max: 1 << 20, slow_reader, own: 1 };
        (serve(own, ConnId(1), 2, true, &around), inbox, other)
    }

    /// Bytes that the node is told of as sent.
    async fn told(inbox: &mut mpsc::Receiver<ToNode>, bytes_min: usize) -> usize {
        let mut all = 0;
        while all < bytes_min {
            match inbox.recv().await {
                Some(ToNode::Input(Input::Sent { bytes, .. }, _)) => all += bytes,
                _ => panic!("the connection ended"),
            }
        }
        all
    }

    #[tokio::test]
    async fn frames_keep_their_order_whether_the_socket_takes_them_at_once_or_not() {
        let (handle, mut inbox, mut other) = connection(&Links::new(1)).await;
        let frames: Vec<Vec<u8>> = [(1, 10), (2, 8 << 20), (3, 10), (4, 8 << 20), (5, 10)]
            .map(|(byte, size): (u8, usize)| vec![byte; size])
            .into();
        let wanted: Vec<u8> = frames.concat();
        let parts = |frame: &Vec<u8>| vec![Bytes::copy_from_slice(&frame[..1]), Bytes::copy_from_slice(&frame[1..])];
        let at_once: Vec<usize> = frames.iter().map(|frame| handle.send(parts(frame))).collect();
        assert_eq!(at_once[0], 10, "an idle socket takes a small frame");
        assert!(at_once[1] < 8 << 20, "nobody reads: no socket takes so much");
        assert_eq!(at_once[2..], [0, 0, 0], "what comes behind it waits");
        let mut read = vec![0; wanted.len()];
        other.read_exact(&mut read).await.expect("all of it");
        assert!(read == wanted, "bytes of one frame were among those of another");
        let left = wanted.len() - at_once.iter().sum::<usize>();
        // The part of the second frame that went at once was told by the call.
        assert_eq!(told(&mut inbox, left).await, left);
        assert_eq!(handle.send(parts(&frames[0])), 10, "and the socket is idle again");
    }

    #[tokio::test]
    async fn nothing_goes_past_a_cut_or_a_delay_at_once() {
        let links = Links::new(1);
        let (handle, mut inbox, mut other) = connection(&links).await;
        links.change(1, 2, |rule| rule.cut = true);
        assert_eq!(handle.send(vec![Bytes::from_static(b"first")]), 0);
        links.mend();
        assert_eq!(handle.send(vec![Bytes::from_static(b"second")]), 0, "the first waits before it, mended or not");
        let mut read = [0; 11];
        other.read_exact(&mut read).await.expect("both");
        assert_eq!(&read, b"firstsecond");
        assert_eq!(told(&mut inbox, 11).await, 11);
        links.change(1, 2, |rule| rule.delay = Duration::from_millis(1));
        assert_eq!(handle.send(vec![Bytes::from_static(b"late")]), 0);
    }

    #[tokio::test]
    async fn a_frame_that_is_half_read_survives_the_reset_of_another_link() {
        use tokio::io::AsyncWriteExt;
        let links = Links::new(1);
        let (_handle, mut inbox, mut other) = connection(&links).await;
        other.write_all(&[0, 0, 0, 6, b'h', b'a', b'l']).await.expect("it is open");
        // The reader has it before the news comes.
        tokio::task::yield_now().await;
        links.reset(2, 3);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        other.write_all(b"ves").await.expect("it is open");
        match inbox.recv().await {
            Some(ToNode::Input(Input::Frame { bytes, .. }, _)) => assert_eq!(&bytes[..], b"halves"),
            _ => panic!("the frame is lost"),
        }
        links.reset(1, 2);
        let end = inbox.recv().await;
        assert!(matches!(end, Some(ToNode::Input(Input::Closed { why: Closed::ByPeer, .. }, _))));
    }
}
