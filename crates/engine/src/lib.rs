//! Clusters that can be started, broken on purpose and observed.
//!
//! The ledger, the load and the report are unknown here: an engine emits its own typed observations.
