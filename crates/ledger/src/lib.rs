//! What happened: the history of a run, its checkers, measurements and verdict.
//!
//! Kafka clients, runtimes and the engine that ran are unknown here; time comes in as data.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod accounting;
pub mod anomaly;
mod attribution;
pub mod bitmap;
pub mod check;
pub mod claims;
pub mod compare;
#[cfg(test)]
mod contract;
mod exactness;
mod group;
pub mod header;
pub mod history;
pub mod jsonl;
mod lanes;
pub mod ledger;
pub mod measure;
#[cfg(test)]
mod mutants;
mod offsets;
mod reasons;
pub mod result;
mod runs;
pub mod sample;
pub mod store;
pub mod timeline;
pub mod verdict;

pub use accounting::{Accounting, Anomaly, Counts, Inconclusive, Judgement, Loss};
pub use anomaly::AnomalyKind;
pub use check::{CheckError, Checked, check, check_against};
pub use header::{Exception, Expected, Header, Named, TopicInfo};
pub use ledger::Ledger;
pub use runs::Suspects;
pub use store::{HistoryReader, HistoryWriter, StoreError, WriteError};
