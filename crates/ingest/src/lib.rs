//! The front door of the metrics stream: metrics come in over HTTP, and leave as keyed records for a replicated log.
//!
//! A client is answered 202 only once every one of its metrics is acknowledged, so that no 202 is ever lost. Everything
//! that grows is bounded: bodies, batches, names, connections, what is known of clients. Which log it is, the crate does
//! not know: it hands records to a [`Log`].

mod client_id;
mod door;
mod limits;
mod log;
mod metric;
mod rate;
mod refusal;
mod server;
mod stats;
mod tls;

pub use client_id::CLIENT_ID_MAX_BYTES;
pub use limits::{
    Limits, MetricLimits, NAME_MAX_BYTES, RETRY_AFTER_MAX_S, RETRY_AFTER_S, Rate, TIMESTAMP_MAX_MS, TIMESTAMP_MIN_MS,
};
pub use log::{Appended, Log, Receipt, Records, Refused};
pub use rate::CLIENTS_KNOWN_MAX;
pub use server::{Ended, Server};
pub use tls::{Tls, TlsError};

/// What the front door understands and answers, as OpenAPI 3.1; served at `/openapi.json`.
pub const OPENAPI: &str = include_str!("openapi.json");
