//! Producers, group members and the audit reader, on librdkafka: the one crate that links it.
//!
//! It gets bootstrap addresses and never learns which engine is behind them. What it sees leaves as [`LoadEvent`]s.

pub mod audit;
mod caught_up;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod event;
mod group;
pub mod keyed;
mod load;
pub mod member;
mod native;
mod producer;
mod progress;
mod runs;
pub mod tools;

pub use event::LoadEvent;
pub use load::{FIRST_MEMBER_INCARNATION, Load, LoadError, LoadPlan};
pub use progress::Progress;
pub use rdkafka::ClientConfig;
