//! Connections as a node sees them: those that others made ([`inbound`]), whose answers leave in the order of their
//! requests, and those that it made to other nodes ([`peers`]), whose answers are told by what they were expected for.
//! No bytes of any message are understood here beyond correlation ids.

pub(crate) mod inbound;
pub(crate) mod peers;
