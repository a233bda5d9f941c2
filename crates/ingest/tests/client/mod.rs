//! A small HTTP/1.1 client on a bare socket, so that tests can send what no client library would.
#![allow(dead_code, missing_docs, unreachable_pub)] // Every test program uses its own part of this.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Nothing that is waited for takes longer, or the test has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The code of an error.
    #[track_caller]
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no code: {self:?}")).to_owned()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).expect("a connection")
    }

    pub fn try_connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one answer; an error if the connection ends first.
    pub fn read(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, line.clone());
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let mut body = vec![0; length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    pub fn try_request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.send(&[head.as_bytes(), body].concat())?;
        self.read()
    }

    #[track_caller]
    pub fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.try_request(method, path, headers, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, "", b"")
    }

    /// `POST /metrics` of a client.
    pub fn try_post(&mut self, client: &str, body: &str) -> io::Result<Answer> {
        self.try_request("POST", "/metrics", &format!("Authorization: Bearer {client}\r\n"), body.as_bytes())
    }

    #[track_caller]
    pub fn post(&mut self, client: &str, body: &str) -> Answer {
        self.try_post(client, body).unwrap_or_else(|e| panic!("POST /metrics: {e}"))
    }

    /// Whether the server closes the connection, and sends nothing more.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.fill_buf(), Ok([]) | Err(_))
    }
}

/// A body with these many metrics: `name` 0, 1, …
pub fn batch(name: &str, count: usize) -> String {
    let metric = |value| format!("{{\"name\":\"{name}\",\"value\":{value},\"type\":\"gauge\"}}");
    format!("{{\"metrics\":[{}]}}", (0..count).map(metric).collect::<Vec<_>>().join(","))
}

/// The value of a sample in Prometheus' text.
#[track_caller]
pub fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(found, _)| found == name));
    let value = line.and_then(|line| line.rsplit_once(' ')).and_then(|(_, value)| value.parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
}
