//! Producers, group members and the audit reader, on librdkafka: the one crate that links it.
//!
//! It gets bootstrap addresses and never learns which engine is behind them. What it sees leaves as [`LoadEvent`]s.

pub mod audit;
pub mod clock;
pub mod config;
pub mod event;
pub mod group;
mod load;
pub mod member;
mod producer;
mod runs;
pub mod tools;

pub use event::{LoadEvent, Progress};
pub use rdkafka::ClientConfig;

pub use load::{Load, LoadError, LoadPlan};
