//! The front door over real sockets, with a log of this program that does what a story wants of it.
#![allow(missing_docs)]

mod client;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{Answer, Client, PATIENCE, batch, sample};
use metricstream_ingest::{Appended, Ended, Limits, Log, MetricLimits, Rate, Receipt, Records, Refused, Server, Tls};
use tokio::sync::oneshot;

/// What a log does with what it is given.
#[derive(Debug, Clone, PartialEq)]
enum Mood {
    Acknowledges,
    /// Tells no outcome until the mood changes.
    Waits,
    /// Nothing is taken.
    Refuses(Refused),
    /// Takes everything and acknowledges so many of each batch.
    AcknowledgesOnly(Appended),
    /// Forgets what it was given.
    Forgets,
}

#[derive(Debug)]
struct Told {
    mood: Mood,
    records: Vec<(String, String)>,
    waiting: Vec<(oneshot::Sender<Appended>, u32)>,
}

#[derive(Debug)]
struct TestLog(Mutex<Told>);

impl TestLog {
    fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Told { mood, records: Vec::new(), waiting: Vec::new() })))
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().expect("no panic inside")
    }

    fn acknowledge_all(&self) {
        let mut told = self.told();
        told.mood = Mood::Acknowledges;
        for (waiting, count) in told.waiting.drain(..) {
            // A client that went away waits no more.
            let _ = waiting.send(Appended { acknowledged: count, ..Appended::default() });
        }
    }
}

impl Log for TestLog {
    fn append(&self, key: &str, records: Records) -> Result<Receipt, Refused> {
        let mut told = self.told();
        if let Mood::Refuses(refused) = &told.mood {
            return Err(refused.clone());
        }
        let text = |record: &[u8]| (key.to_owned(), String::from_utf8(record.to_vec()).expect("UTF-8"));
        told.records.extend(records.iter().map(text));
        let (tell, receipt) = oneshot::channel();
        let acknowledged = u32::try_from(records.len()).expect("few");
        match told.mood.clone() {
            Mood::Waits => told.waiting.push((tell, acknowledged)),
            Mood::AcknowledgesOnly(appended) => drop(tell.send(appended)),
            Mood::Forgets => {}
            _ => drop(tell.send(Appended { acknowledged, ..Appended::default() })),
        }
        Ok(receipt)
    }

    fn ready(&self) -> Result<(), String> {
        match &self.told().mood {
            Mood::Refuses(refused) => Err(refused.to_string()),
            _ => Ok(()),
        }
    }
}

/// A server in a runtime of its own.
struct Running {
    at: SocketAddr,
    log: Arc<TestLog>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<Ended>>,
}

impl Running {
    fn start(mood: Mood, limits: Limits, tls: Option<Tls>) -> Self {
        let log = TestLog::new(mood);
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let of_server = Arc::clone(&log);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let any = "127.0.0.1:0".parse().expect("an address");
                let server = Server::bind(any, tls, limits).await.expect("a port");
                tell.send(server.local_addr().expect("bound")).expect("somebody waits");
                server.serve(of_server, async { drop(stopped.await) }).await
            })
        });
        let at = told.recv_timeout(PATIENCE).expect("it listens");
        Self { at, log, stop: Some(stop), thread: Some(thread) }
    }

    fn with(mood: Mood) -> Self {
        Self::start(mood, Limits::default(), None)
    }

    fn client(&self) -> Client {
        Client::connect(self.at)
    }

    /// Asks it to stop, and does not wait.
    fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    fn ended(mut self) -> Ended {
        self.ask_to_stop();
        self.thread.take().expect("once").join().expect("no panic")
    }

    #[track_caller]
    fn wait_for_records(&self, count: usize) {
        wait_for(&format!("{count} records"), || self.log.told().records.len() >= count);
    }
}

#[track_caller]
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_metric_is_accepted_and_is_in_the_log_under_its_client() {
    let server = Running::with(Mood::Acknowledges);
    let mut client = server.client();
    let body = r#"{"metrics":[{"name":"cpu","value":0.75,"type":"gauge","timestamp":1700000000000}]}"#;
    assert_eq!(client.post("sensor-7", body).expect(202).body, r#"{"accepted":1}"#);
    // The connection stays, and the id may come without a scheme.
    let answer = client.request("POST", "/metrics", "Authorization: sensor-8\r\n", batch("b", 2).as_bytes());
    assert_eq!(answer.expect(202).json()["accepted"], 2);
    let records = server.log.told().records.clone();
    assert_eq!(
        records[0],
        ("sensor-7".into(), r#"{"name":"cpu","value":0.75,"type":"gauge","timestamp":1700000000000}"#.into())
    );
    assert_eq!(records.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["sensor-7", "sensor-8", "sensor-8"]);
}

#[test]
fn there_is_no_202_before_the_acknowledgement() {
    let server = Running::with(Mood::Waits);
    let mut client = server.client();
    let head = format!("POST /metrics HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nContent-Length: {}\r\n\r\n", 58);
    let body = r#"{"metrics":[{"name":"cpu","value":0.75,"type":"gauge"}]}  "#;
    client.send(format!("{head}{body}").as_bytes()).expect("sent");
    server.wait_for_records(1);
    let text = server.client().get("/stats").expect(200).body;
    assert_eq!(sample(&text, "metricstream_ingest_http_requests_total{code=\"202\"}"), 0.0);
    assert_eq!(sample(&text, "metricstream_ingest_requests_open"), 1.0);
    server.log.acknowledge_all();
    client.read().expect("an answer").expect(202);
    let text = server.client().get("/stats").expect(200).body;
    assert_eq!(sample(&text, "metricstream_ingest_http_requests_total{code=\"202\"}"), 1.0);
    assert_eq!(sample(&text, "metricstream_ingest_metrics_total{outcome=\"acknowledged\"}"), 1.0);
}

#[test]
fn what_the_log_does_not_acknowledge_is_503_with_what_is_known() {
    let appended = Appended { acknowledged: 1, not_written: 1, unknown: 1, why: Some("timed out".into()) };
    let server = Running::with(Mood::AcknowledgesOnly(appended));
    let answer = server.client().post("a", &batch("a", 3)).expect(503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let error = &answer.json()["error"];
    assert_eq!((&error["acknowledged"], &error["not_written"], &error["unknown"]), (&1.into(), &1.into(), &1.into()));
    assert!(error["message"].as_str().is_some_and(|m| m.contains("timed out")), "{error}");
    for (mood, part) in [(Refused::Full, "slower"), (Refused::Closed("gone".into()), "gone")] {
        server.log.told().mood = Mood::Refuses(mood);
        let answer = server.client().post("a", &batch("a", 3)).expect(503);
        assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("unavailable", Some("1")));
        assert!(answer.body.contains(part), "{answer:?}");
        let unready = server.client().get("/readyz").expect(503);
        assert!(unready.body.contains(part) && unready.header("retry-after").is_some(), "{unready:?}");
        server.client().get("/healthz").expect(200);
    }
    server.log.told().mood = Mood::Acknowledges;
    server.client().get("/readyz").expect(200);
}

#[test]
fn a_log_that_never_tells_is_waited_for_no_longer_than_the_deadline() {
    let limits = Limits { ack_timeout: Duration::from_millis(100), ..Limits::default() };
    for mood in [Mood::Waits, Mood::Forgets] {
        let server = Running::start(mood, limits.clone(), None);
        let answer = server.client().post("a", &batch("a", 2)).expect(503);
        assert_eq!(answer.code(), "not_acknowledged");
        assert_eq!(answer.json()["error"]["unknown"], 2);
    }
}

#[test]
fn bad_requests_are_told_what_is_wrong_and_the_connection_goes_on() {
    let server = Running::with(Mood::Acknowledges);
    let mut client = server.client();
    let auth = "Authorization: Bearer a\r\n";
    let one = batch("a", 1);
    let cases: [(&str, &str, &str, &str, u16, &str); 8] = [
        ("POST", "/metrics", auth, "{\"metrics\":[", 400, "malformed_json"),
        ("POST", "/metrics", auth, "{\"metrics\":[{\"name\":\"a\",\"value\":NaN}]}", 400, "malformed_json"),
        ("POST", "/metrics", auth, "{\"metrics\":[{\"name\":\"a.b\"}]}", 400, "invalid_metric"),
        ("POST", "/metrics", "", &one, 401, "no_client_id"),
        ("POST", "/metrics", "Authorization: Basic YTpi\r\n", &one, 401, "no_client_id"),
        ("POST", "/metrics", "Authorization: a\r\nContent-Encoding: gzip\r\n", &one, 415, "encoding_not_understood"),
        ("GET", "/metrics", auth, "", 405, "wrong_method"),
        ("POST", "/nowhere", auth, &one, 404, "no_such_path"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = client.request(method, path, headers, body.as_bytes());
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path} {headers}{body}");
    }
    assert_eq!(client.request("GET", "/metrics", "", b"").header("allow"), Some("POST"));
    assert_eq!(client.request("POST", "/healthz", "", b"").expect(405).header("allow"), Some("GET, HEAD"));
    assert_eq!(client.request("POST", "/metrics", "", b"{}").header("www-authenticate"), Some("Bearer"));
    client.post("a", &one).expect(202);
    assert_eq!(server.log.told().records.len(), 1, "nothing of what was refused is in the log");
}

#[test]
fn bodies_and_batches_are_bounded() {
    let metric = MetricLimits { batch_max: 10, ..MetricLimits::default() };
    let server = Running::start(Mood::Acknowledges, Limits { metric, ..Limits::default() }, None);
    server.client().post("a", &batch("a", 10)).expect(202);
    let answer = server.client().post("a", &batch("a", 11)).expect(413);
    assert_eq!(answer.code(), "batch_too_large");

    // A client that does not ask first, and reads the answer only after its 10 MB.
    let huge = "x".repeat(10_000_000);
    assert_eq!(server.client().post("a", &huge).expect(413).code(), "body_too_large");
    // One that asks first is answered at once, and is not told to send.
    let mut asking = server.client();
    let head = "POST /metrics HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nExpect: 100-continue\r\n";
    asking.send(format!("{head}Content-Length: 10000000\r\n\r\n").as_bytes()).expect("sent");
    assert_eq!(asking.read().expect("an answer").expect(413).code(), "body_too_large");
    assert!(asking.is_closed());
    // One that does not say how much it will send.
    let mut chunked = server.client();
    let head = "POST /metrics HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    chunked.send(head.as_bytes()).expect("sent");
    let chunk = format!("{:x}\r\n{}\r\n", 100_000, "x".repeat(100_000));
    for _ in 0..20 {
        chunked.send(chunk.as_bytes()).expect("still read");
    }
    chunked.send(b"0\r\n\r\n").expect("still read");
    assert_eq!(chunked.read().expect("an answer").expect(413).code(), "body_too_large");

    let mut headers = server.client();
    let head = format!("X-Filler: {}\r\n", "x".repeat(17_000));
    let answer = headers.try_request("POST", "/metrics", &head, b"{}").expect("an answer");
    assert_eq!(answer.status, 431);
    server.client().post("a", &batch("a", 1)).expect(202);
}

#[test]
fn a_chunked_body_is_read_like_any_other() {
    let server = Running::with(Mood::Acknowledges);
    let mut client = server.client();
    client
        .send(b"POST /metrics HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("sent");
    for part in batch("a", 3).as_bytes().chunks(7) {
        client.send(format!("{:x}\r\n", part.len()).as_bytes()).expect("sent");
        client.send(part).expect("sent");
        client.send(b"\r\n").expect("sent");
    }
    client.send(b"0\r\n\r\n").expect("sent");
    assert_eq!(client.read().expect("an answer").expect(202).json()["accepted"], 3);
}

#[test]
fn slow_senders_are_ended_and_hold_nobody_up() {
    let (head_timeout, body_timeout) = (Duration::from_millis(300), Duration::from_millis(300));
    let limits = Limits { head_timeout, body_timeout, ..Limits::default() };
    let server = Running::start(Mood::Acknowledges, limits, None);
    let mut slow_heads: Vec<Client> = (0..50).map(|_| server.client()).collect();
    for client in &mut slow_heads {
        client.send(b"POST /metrics HTTP/1.1\r\nHost: t\r\nAuthor").expect("sent");
    }
    let mut slow_body = server.client();
    let head = "POST /metrics HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nContent-Length: 1000\r\n\r\n{\"metrics\"";
    slow_body.send(head.as_bytes()).expect("sent");
    server.client().post("b", &batch("b", 1)).expect(202);
    let answer = slow_body.read().expect("an answer").expect(408);
    assert_eq!((answer.code().as_str(), answer.header("connection")), ("too_slow", Some("close")));
    assert!(slow_body.is_closed());
    for mut client in slow_heads {
        assert!(client.is_closed() || client.read().is_ok_and(|answer| answer.status == 408));
    }
    let text = server.client().get("/stats").body;
    assert_eq!(sample(&text, "metricstream_ingest_http_requests_total{code=\"408\"}"), 1.0);
}

#[test]
fn bodies_have_a_bound_together_and_small_ones_go_on_once_there_is_room() {
    let limits = Limits { bodies_max_bytes: 1_000, ..Limits::default() };
    let server = Running::start(Mood::Acknowledges, limits, None);
    let mut half = server.client();
    let head = "POST /metrics HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nContent-Length: 1800\r\n\r\n";
    half.send(format!("{head}{}", " ".repeat(900)).as_bytes()).expect("sent");
    wait_for("no room", || {
        let answer = server.client().post("b", &batch("b", 5));
        answer.status == 503 && answer.code() == "unavailable" && answer.header("retry-after") == Some("1")
    });
    drop(half);
    wait_for("room", || server.client().post("b", &batch("b", 5)).status == 202);
}

#[test]
fn a_client_over_its_rate_is_told_when_to_come_and_others_are_served() {
    let rate = Some(Rate { metrics_per_s: 0.5, burst: 10.0 });
    let server = Running::start(Mood::Acknowledges, Limits { rate, ..Limits::default() }, None);
    let mut client = server.client();
    client.post("greedy", &batch("a", 9)).expect(202);
    let answer = client.post("greedy", &batch("a", 5)).expect(429);
    assert_eq!(answer.code(), "rate_limited");
    let wait_s: u64 = answer.header("retry-after").and_then(|s| s.parse().ok()).expect("seconds");
    assert!((1..=10).contains(&wait_s), "{wait_s}");
    // Bad requests cost as well, whatever they are.
    for _ in 0..3 {
        client.post("greedy", "no JSON");
    }
    client.post("greedy", "no JSON").expect(429);
    client.post("modest", &batch("a", 1)).expect(202);
    assert_eq!(server.log.told().records.len(), 10, "of a batch that is refused nothing is in the log");
}

#[test]
fn connections_are_bounded_and_the_one_too_many_is_told() {
    let limits = Limits { connections_max: 4, ..Limits::default() };
    let server = Running::start(Mood::Acknowledges, limits, None);
    let mut held: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for client in &mut held {
        client.get("/healthz").expect(200);
    }
    let answer = server.client().get("/healthz").expect(503);
    assert_eq!((answer.header("retry-after"), answer.code().as_str()), (Some("1"), "unavailable"));
    held.pop();
    wait_for("a place", || server.client().try_post("a", &batch("a", 1)).is_ok_and(|answer| answer.status == 202));
}

#[test]
fn clients_that_reconnect_for_ever_leave_nothing_behind() {
    let server = Running::with(Mood::Acknowledges);
    for number in 0..2_000 {
        let mut client = server.client();
        match number % 4 {
            0 => drop(client.send(b"POST /metrics HT")),
            1 => drop(client.send(b"\x16\x03\x01garbage\r\n\r\n")),
            2 => drop(client.try_post(&format!("client-{number}"), &batch("a", 1)).expect("an answer").expect(202)),
            _ => {}
        }
    }
    let mut client = server.client();
    wait_for("the others to be gone", || {
        sample(&client.get("/stats").expect(200).body, "metricstream_ingest_connections") <= 1.0
    });
    assert_eq!(server.log.told().records.len(), 500);
}

#[test]
fn a_client_that_goes_away_takes_nothing_with_it() {
    let server = Running::with(Mood::Waits);
    let mut client = server.client();
    let body = batch("a", 5);
    let head =
        format!("POST /metrics HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(format!("{head}{body}").as_bytes()).expect("sent");
    server.wait_for_records(5);
    drop(client);
    server.log.acknowledge_all();
    server.client().post("b", &batch("b", 1)).expect(202);
    assert_eq!(server.log.told().records.len(), 6);
}

#[test]
fn a_stop_answers_what_was_taken_and_takes_nothing_more() {
    let mut server = Running::with(Mood::Waits);
    let mut open: Vec<Client> = (0..10).map(|_| server.client()).collect();
    let body = batch("a", 1);
    let request = format!(
        "POST /metrics HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for client in &mut open {
        client.send(request.as_bytes()).expect("sent");
    }
    server.wait_for_records(10);
    let mut idle = server.client();
    idle.get("/readyz").expect(200);
    server.ask_to_stop();
    assert!(idle.is_closed(), "an idle connection is closed");
    wait_for("the port to be free", || Client::try_connect(server.at).is_err());
    server.log.acknowledge_all();
    for client in &mut open {
        let answer = client.read().expect("an answer").expect(202);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(client.is_closed());
    }
    assert_eq!(server.ended(), Ended { broken_off: 0 });
}

#[test]
fn a_stop_waits_no_longer_than_its_deadline() {
    let limits = Limits { drain_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = Running::start(Mood::Waits, limits, None);
    let mut client = server.client();
    client
        .send(b"POST /metrics HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nContent-Length: 100\r\n\r\n{")
        .expect("sent");
    wait_for("the request", || sample(&server.client().get("/stats").body, "metricstream_ingest_requests_open") >= 1.0);
    assert_eq!(server.ended(), Ended { broken_off: 1 });
    assert!(client.read().is_err(), "no answer, and above all no 202");
}

#[test]
fn many_requests_in_one_packet_are_answered_in_order() {
    let server = Running::with(Mood::Acknowledges);
    let mut client = server.client();
    let request = |count| {
        let body = batch("a", count);
        let length = body.len();
        format!("POST /metrics HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    client.send((1..=20).map(request).collect::<String>().as_bytes()).expect("sent");
    for count in 1..=20 {
        assert_eq!(client.read().expect("an answer").expect(202).json()["accepted"], count);
    }
}

#[test]
fn every_path_of_the_description_is_there() {
    let server = Running::with(Mood::Acknowledges);
    let api = server.client().get("/openapi.json").expect(200).json();
    assert_eq!(api["openapi"], "3.1.0");
    let paths = api["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 5);
    for (path, methods) in paths {
        for (method, described) in methods.as_object().expect("methods") {
            let answer: Answer =
                server.client().request(&method.to_uppercase(), path, "Authorization: a\r\n", batch("a", 1).as_bytes());
            assert!(!described["responses"][answer.status.to_string()].is_null(), "{method} {path}: {answer:?}");
        }
    }
}

#[test]
fn over_tls_it_is_the_same_door() {
    let file = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name);
    let tls = Tls::from_pem(&file("certificate.pem"), &file("key.pem")).expect("a pair");
    let server = Running::start(Mood::Acknowledges, Limits::default(), Some(tls));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answer = runtime.block_on(over_tls(server.at, &file("certificate.pem"))).expect("an answer over TLS");
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.ends_with("{\"accepted\":1}"), "{answer}");
    // Whoever does not speak TLS learns nothing, and ends nothing.
    assert!(server.client().try_post("a", &batch("a", 1)).is_err());
    runtime.block_on(over_tls(server.at, &file("certificate.pem"))).expect("an answer over TLS");
    let wrong = Tls::from_pem(&file("key.pem"), &file("key.pem")).expect_err("no certificate");
    assert!(wrong.to_string().contains("key.pem has no PEM certificate"), "{wrong}");
}

/// One request that closes its connection; the server's certificate must be the one that is named.
async fn over_tls(at: SocketAddr, certificate: &std::path::Path) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).expect("a certificate")).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(at).await?;
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let body = batch("a", 1);
    let head = "POST /metrics HTTP/1.1\r\nHost: t\r\nAuthorization: a\r\nConnection: close\r\n";
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
