//! What a run intends: topology, workload, a timeline of faults, and expectations.
//!
//! Plain data and its TOML form. How a fault is carried out is unknown here, and so is any clock.

pub mod builtin;
pub mod error;
pub mod explain;
mod faults;
pub mod guarantee;
pub mod kafka_config;
pub mod librdkafka;
mod load_time;
pub mod measures;
pub mod model;
pub mod overrides;
mod parse;
mod profiles;
pub mod schema;
pub mod text;
pub mod timers;
pub mod write;

pub use error::{Origin, ScenarioError, ScenarioErrors};
pub use explain::explain;
pub use guarantee::{Guarantee, GuaranteeKind};
pub use librdkafka::{effective_group_config, effective_producer_config};
pub use load_time::{DEFAULT_DURATION_S, DEFAULT_SETTLE_S, FAULT_DEADLINE_S, HEALED_LIMIT_S};
pub use model::*;
pub use parse::{MAX_DURATION_S, MAX_FILE_BYTES, parse};
pub use timers::effective_broker_config;
pub use write::{redacted, to_toml};
