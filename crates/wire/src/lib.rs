//! Kafka's bytes: primitives, frames, record batches, one declaration per message, and the records of the metadata log
//! and of `__consumer_offsets`.
//!
//! No clocks, no IO, no cluster state. Bytes that come in are hostile until they are decoded: every length is bounded by
//! the bytes that remain, nothing is allocated that the frame does not justify, and no input makes this crate panic.

#[macro_use]
mod declare;
pub mod api;
pub mod batch_builder;
pub mod control_record;
pub mod error_code;
pub mod frame;
#[cfg(feature = "sample")]
pub mod fuzz;
pub mod group_record;
pub mod metadata_record;
pub mod parts;
pub mod primitives;
pub mod record_batch;
pub mod records;
#[cfg(feature = "sample")]
pub mod sample;

pub use error_code::ErrorCode;
pub use primitives::{Context, Reader, TaggedOption, Uuid, Wire, WireError};
