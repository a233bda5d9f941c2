//! What is answered at which path, and the way of one `POST /metrics` from its head to its 202.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, StatusCode};

use crate::client_id::{client_id, short};
use crate::limits::Limits;
use crate::log::{Appended, Log};
use crate::metric::parse;
use crate::rate::RateLimiter;
use crate::refusal::{JSON, Refusal};
use crate::stats::{Lasting, Stats};

/// How much of a body that is too large is read all the same, so that its sender hears why instead of a broken connection.
const DISCARDED_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How long that may take.
const DISCARD: Duration = Duration::from_secs(2);
/// How much longer than the acknowledgement's deadline the log is waited for: librdkafka looks for it once a second.
const GRACE: Duration = Duration::from_secs(2);

/// What all requests share.
pub(crate) struct Door {
    log: Arc<dyn Log>,
    pub(crate) limits: Limits,
    rate: Option<RateLimiter>,
    pub(crate) stats: Stats,
    stopping: AtomicBool,
    /// Bytes of all bodies that are being received or read.
    bodies_bytes: AtomicUsize,
    begun: Instant,
}

/// What one body takes of the memory for all.
struct Room<'a> {
    door: &'a Door,
    bytes: usize,
}

impl Room<'_> {
    fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let all = self.door.bodies_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.bytes += bytes;
        if all <= self.door.limits.bodies_max_bytes {
            return Ok(());
        }
        Err(Refusal::Unavailable { why: "too many bodies are being received at this moment".to_owned() })
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.door.bodies_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Door {
    pub(crate) fn new(log: Arc<dyn Log>, limits: Limits) -> Self {
        let rate = limits.rate.map(RateLimiter::new);
        Self {
            log,
            limits,
            rate,
            stats: Stats::default(),
            stopping: AtomicBool::new(false),
            bodies_bytes: AtomicUsize::new(0),
            begun: Instant::now(),
        }
    }

    /// From now on nothing is taken any more; what was taken is still answered.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn ready(&self) -> Result<(), Refusal> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Refusal::Stopping);
        }
        self.log.ready().map_err(|why| Refusal::Unavailable { why })
    }

    /// Takes metrics out of a client's bucket.
    fn take(&self, client: &str, metrics: usize) -> Result<(), Refusal> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.take(client, metrics, self.begun.elapsed())
            .map_err(|retry_after_s| Refusal::RateLimited { metrics_per_s: rate.rate().metrics_per_s, retry_after_s })
    }
}

/// Every path.
pub(crate) fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/metrics", post(metrics))
        .route("/healthz", get(|State(door): State<Arc<Door>>| async move { answered(&door, text("ok\n")) }))
        .route("/readyz", get(readyz))
        .route("/stats", get(stats))
        .route("/openapi.json", get(openapi))
        .fallback(|State(door): State<Arc<Door>>| async move { answered(&door, Refusal::NoSuchPath.into_response()) })
        .method_not_allowed_fallback(wrong_method)
        .with_state(door)
}

/// Counts an answer.
fn answered(door: &Door, response: Response) -> Response {
    door.stats.answered(response.status());
    response
}

fn text(text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

async fn wrong_method(State(door): State<Arc<Door>>, request: Request) -> Response {
    let allow = if request.uri().path() == "/metrics" { "POST" } else { "GET, HEAD" };
    let method = short(request.method().as_str());
    answered(&door, Refusal::WrongMethod { method, allow }.into_response())
}

async fn readyz(State(door): State<Arc<Door>>) -> Response {
    let response = door.ready().map_or_else(IntoResponse::into_response, |()| text("ready\n"));
    answered(&door, response)
}

async fn stats(State(door): State<Arc<Door>>) -> Response {
    let ready = door.ready().is_ok();
    let mut response = text(door.stats.prometheus(ready));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    answered(&door, response)
}

async fn openapi(State(door): State<Arc<Door>>) -> Response {
    let mut response = text(crate::OPENAPI);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    answered(&door, response)
}

async fn metrics(State(door): State<Arc<Door>>, request: Request) -> Response {
    let begun = Instant::now();
    let _open = Lasting::begin(&door.stats.open);
    let response = match accept(&door, request).await {
        Ok(count) => {
            door.stats.accepted_after(begun.elapsed());
            accepted(count)
        }
        Err(refusal) => refusal.into_response(),
    };
    answered(&door, response)
}

fn accepted(count: u32) -> Response {
    let mut response = Response::new(Body::from(format!("{{\"accepted\":{count}}}")));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// How many metrics of the request the log has acknowledged: all, or the request is refused.
async fn accept(door: &Door, request: Request) -> Result<u32, Refusal> {
    let (head, body) = request.into_parts();
    let checked = checked_head(door, &head.headers, &body);
    let client = match checked {
        Ok(client) => client,
        Err(refusal) => {
            discard(&head.headers, body).await;
            return Err(refusal);
        }
    };
    let mut room = Room { door, bytes: 0 };
    let body = whole_body(&mut room, &head.headers, body).await?;
    door.stats.body_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    let records = parse(&body, &door.limits.metric, now_ms())?;
    drop(body);
    drop(room);
    // The first was taken with the head.
    if records.len() > 1 {
        door.take(client, records.len() - 1)?;
    }
    if door.stopping.load(Ordering::Acquire) {
        return Err(Refusal::Stopping);
    }
    let sent = u32::try_from(records.len()).unwrap_or(u32::MAX);
    let receipt =
        door.log.append(client, records).map_err(|refused| Refusal::Unavailable { why: refused.to_string() })?;
    // The log keeps the deadline itself; this is for one that does not.
    let waited = tokio::time::timeout(door.limits.ack_timeout + GRACE, receipt).await;
    let outcome = waited.ok().and_then(Result::ok);
    let appended = outcome.unwrap_or_else(|| Appended { unknown: sent, ..Appended::default() });
    let add = |counter: &AtomicU64, count: u32| counter.fetch_add(u64::from(count), Ordering::Relaxed);
    add(&door.stats.metrics_acknowledged, appended.acknowledged);
    add(&door.stats.metrics_not_written, appended.not_written);
    add(&door.stats.metrics_unknown, appended.unknown);
    if appended.acknowledged == sent { Ok(sent) } else { Err(Refusal::NotAcknowledged(appended)) }
}

/// What can be refused before the body is read. The client, and one metric out of its bucket: a request is never free.
fn checked_head<'h>(door: &Door, headers: &'h HeaderMap, body: &Body) -> Result<&'h str, Refusal> {
    if door.stopping.load(Ordering::Acquire) {
        return Err(Refusal::Stopping);
    }
    let client = client_id(headers)?;
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return Err(Refusal::Encoding { encoding: short(&String::from_utf8_lossy(encoding.as_bytes())) });
    }
    door.take(client, 1)?;
    let max_bytes = door.limits.body_max_bytes;
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(Refusal::BodyTooLarge { max_bytes });
    }
    Ok(client)
}

/// The body, within its bounds of size and time.
async fn whole_body(room: &mut Room<'_>, headers: &HeaderMap, mut body: Body) -> Result<Bytes, Refusal> {
    let wait = room.door.limits.body_timeout;
    match tokio::time::timeout(wait, gather(&mut body, room)).await {
        Ok(Err(refusal @ (Refusal::BodyTooLarge { .. } | Refusal::Unavailable { .. }))) => {
            discard(headers, body).await;
            Err(refusal)
        }
        Ok(gathered) => gathered,
        Err(_) => Err(Refusal::TooSlow { waited_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) }),
    }
}

async fn gather(body: &mut Body, room: &mut Room<'_>) -> Result<Bytes, Refusal> {
    let max_bytes = room.door.limits.body_max_bytes;
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::BrokenBody { why: error.to_string() })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > max_bytes {
            return Err(Refusal::BodyTooLarge { max_bytes });
        }
        room.grow(data.len())?;
        // Most bodies come in one piece, which is then not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if !first.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads on for a while what nobody wants: a client that is still sending does not read an answer, and one whose connection
/// is closed under it never sees it. A client that asked first is not told to send.
async fn discard(headers: &HeaderMap, mut body: Body) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let reading = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > DISCARDED_MAX_BYTES {
                break;
            }
        }
    };
    // In time or not: then the answer follows.
    let _ = tokio::time::timeout(DISCARD, reading).await;
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
