//! The conductor of a run, sans-IO, and the pure parts of every load generator.
//!
//! No runtime, no Kafka client, no process: time and randomness come in as data.

pub mod conductor;
pub mod identity;
pub mod schedule;
