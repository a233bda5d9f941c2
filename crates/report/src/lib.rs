//! From a run directory to what a person or a CI system reads.
