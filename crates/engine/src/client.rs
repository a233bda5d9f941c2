//! One connection to one node, for the few requests that observing and preparing a cluster takes. Clients under test
//! are librdkafka; this is not one of them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use metricstream_wire::WireError;
use metricstream_wire::frame::{self, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The largest answer that is read, bytes.
const FRAME_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens, or the connection broke.
    #[error("{address}: {source}")]
    Io {
        /// Whom we talked to.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// No answer in time.
    #[error("{address} did not answer within {waited_ms} ms")]
    TimedOut {
        /// Whom we talked to.
        address: SocketAddr,
        /// How long it was waited for.
        waited_ms: u128,
    },
    /// An answer that is none.
    #[error("{address} answered something that is no answer: {source}")]
    Wire {
        /// Whom we talked to.
        address: SocketAddr,
        /// What is wrong with it.
        source: WireError,
    },
}

/// A connection. After an error it is to be dropped.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    correlation_id: i32,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nothing listens there, or not in time.
    pub async fn open(address: SocketAddr, patience: Duration) -> Result<Self, ClientError> {
        match timeout(patience, TcpStream::connect(address)).await {
            Err(_) => Err(ClientError::TimedOut { address, waited_ms: patience.as_millis() }),
            Ok(Err(source)) => Err(ClientError::Io { address, source }),
            Ok(Ok(stream)) => {
                // Small requests, each waiting for its answer: never held back for company.
                stream.set_nodelay(true).map_err(|source| ClientError::Io { address, source })?;
                Ok(Self { address, stream, correlation_id: 0 })
            }
        }
    }

    /// Whom it leads to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// If the connection breaks, the answer is late, or is none.
    pub async fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        patience: Duration,
    ) -> Result<R::Response, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        let address = self.address;
        let wire = |source| ClientError::Wire { address, source };
        let bytes = frame::request(request, version, self.correlation_id, "metricstream").map_err(wire)?;
        let answer = match timeout(patience, self.exchange(bytes)).await {
            Err(_) => {
                return Err(ClientError::TimedOut { address, waited_ms: patience.as_millis() });
            }
            Ok(answer) => answer.map_err(|source| ClientError::Io { address, source })?,
        };
        let (correlation_id, body) = frame::response::<R>(answer, version).map_err(wire)?;
        if correlation_id != self.correlation_id {
            return Err(wire(WireError::Range { what: "correlation id", value: i64::from(correlation_id) }));
        }
        Ok(body)
    }

    async fn exchange(&mut self, request: Bytes) -> io::Result<Bytes> {
        self.stream.write_all(&request).await?;
        let length = self.stream.read_i32().await?;
        let length = usize::try_from(length).ok().filter(|n| *n <= FRAME_MAX_BYTES);
        let length =
            length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer of impossible length"))?;
        // Grown as the bytes come: a length alone reserves nothing.
        let mut answer = BytesMut::with_capacity(length.min(64 * 1024));
        while answer.len() < length {
            let left = length - answer.len();
            let mut part = (&mut self.stream).take(left as u64);
            if part.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(answer.freeze())
    }
}
