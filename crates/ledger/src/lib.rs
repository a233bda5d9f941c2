//! What happened: the history of a run, its checkers, measurements and verdict.
//!
//! Kafka clients, runtimes and the engine that ran are unknown here; time comes in as data.

pub mod history;
pub mod measure;
pub mod result;
pub mod sample;
pub mod timeline;
