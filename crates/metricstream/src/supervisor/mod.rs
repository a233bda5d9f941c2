//! Clusters that stay: the process that owns one, and how other terminals talk to it.

pub(crate) mod protocol;
pub(crate) mod server;
