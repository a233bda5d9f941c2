//! Connections: accepted, bounded in number and time, and ended in order.

mod patient;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::door::{Door, router};
use crate::limits::{Limits, RETRY_AFTER_S};
use crate::log::Log;
use crate::refusal::Refusal;
use crate::stats::{Lasting, count};
use crate::tls::Tls;
use patient::Patient;

/// How long to leave the listener alone that gave no connection: there may be no file descriptors left.
const AGAIN: Duration = Duration::from_millis(50);
/// How long one connection that is too many may take to read that.
const FAREWELL: Duration = Duration::from_secs(1);
/// The largest head of a request, bytes; a larger one is answered 431.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// How much of requests is read ahead on a connection, bytes.
const BUFFER_MAX_BYTES: usize = 64 * 1024;

/// A front door that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    tls: Option<Tls>,
    limits: Limits,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Connections that were closed in the middle of a request: the deadline came first. None of these was answered.
    pub broken_off: usize,
}

impl Server {
    /// Listens at the address; requests wait until [`serve`](Self::serve).
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(address: SocketAddr, tls: Option<Tls>, limits: Limits) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, tls, limits })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` comes true; then takes nothing more, answers what it took, and closes.
    pub async fn serve(self, log: Arc<dyn Log>, stop: impl Future<Output = ()>) -> Ended {
        let drain = self.limits.drain_timeout;
        let slots = Arc::new(Semaphore::new(self.limits.connections_max));
        let door = Arc::new(Door::new(log, self.limits));
        let app = router(Arc::clone(&door));
        let graceful = GracefulShutdown::new();
        let refusals = Arc::new(Semaphore::new(FAREWELLS_MAX));
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut stop => break,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            count(&door.stats.connections_total);
            // Answers are small and must not wait for more.
            let _ = stream.set_nodelay(true);
            if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                let connection = Connection { door: Arc::clone(&door), app: app.clone(), watcher: graceful.watcher() };
                tokio::spawn(connection.run(stream, self.tls.clone(), slot));
            } else {
                count(&door.stats.connections_refused);
                if let Ok(slot) = Arc::clone(&refusals).try_acquire_owned() {
                    tokio::spawn(refuse(stream, self.tls.is_none(), slot));
                }
            }
        }
        drop(self.listener);
        door.stop();
        let watched = graceful.count();
        let drained = tokio::time::timeout(drain, graceful.shutdown()).await.is_ok();
        let open = door.stats.open.load(std::sync::atomic::Ordering::Acquire);
        Ended { broken_off: if drained { 0 } else { watched.min(usize::try_from(open).unwrap_or(usize::MAX)) } }
    }
}

/// Connections that are told at a time that they are too many; others are closed without a word.
const FAREWELLS_MAX: usize = 64;

/// Tells a connection that there are too many.
async fn refuse(mut stream: TcpStream, plain: bool, _slot: OwnedSemaphorePermit) {
    if !plain {
        return;
    }
    let body = Refusal::Unavailable { why: "too many connections are open".to_owned() }.json();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: {RETRY_AFTER_S}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let telling = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // What was sent meanwhile is read, or the answer is lost with the connection.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(FAREWELL, telling).await;
}

/// One connection.
struct Connection {
    door: Arc<Door>,
    app: Router,
    watcher: Watcher,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<Tls>, _slot: OwnedSemaphorePermit) {
        let door = Arc::clone(&self.door);
        let _counted = Lasting::begin(&door.stats.connections);
        match tls {
            None => self.converse(stream).await,
            Some(tls) => match tokio::time::timeout(door.limits.head_timeout, tls.0.accept(stream)).await {
                Ok(Ok(stream)) => self.converse(stream).await,
                Ok(Err(error)) => tracing::debug!(%error, "no TLS connection came about"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            },
        }
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let limits = &self.door.limits;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout);
        http.max_header_size(HEAD_MAX_BYTES).max_buf_size(BUFFER_MAX_BYTES);
        let stream = TokioIo::new(Patient::new(stream, limits.write_timeout));
        let connection = http.serve_connection(stream, TowerToHyperService::new(self.app));
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%error, "a connection broke off");
        }
    }
}
