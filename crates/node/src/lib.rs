//! A Kafka node as sans-IO state machines. Bytes, connections opened and closed, storage results and the time come in as
//! data ([`io::Input`]); what the node wants done comes out as one ordered queue ([`io::Output`]).
//!
//! Nothing here knows a socket, a thread, a file handle, a clock or ambient randomness: the same seed, the same store and
//! the same inputs give byte-identical outputs. Only the modules of `api` name versioned wire structures; inside, types
//! are version-free.

mod api;
pub mod broker;
pub mod config;
pub mod controller;
pub mod flaws;
pub mod group;
pub mod image;
pub mod io;
pub mod log;
mod net;
mod node;
pub mod quorum;
#[cfg(test)]
pub(crate) mod testing;
pub mod time;

pub use node::{BootError, Node};
