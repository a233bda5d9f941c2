//! From a result and its timeline to what a person or a CI system reads.
//!
//! [`view`] decides what is worth saying, [`terminal`] how wide it is; [`live`] does both while a run goes on; [`json`] and
//! [`junit`] are for machines.
//! Nothing here reads a file, knows an engine, or draws on a terminal by itself: everything
//! returns text, and text that comes from outside has lost its control characters.

pub mod json;
pub mod junit;
pub mod live;
mod story;
mod tally;
pub mod terminal;
pub mod text;
pub mod view;
