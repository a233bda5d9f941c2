//! What a run intends: topology, workload, a timeline of faults, and expectations.
//!
//! Plain data and its TOML form. How a fault is carried out is unknown here, and so is any clock.

pub mod model;

pub use model::*;
