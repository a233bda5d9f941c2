//! Load on librdkafka: producers, consumer-group members and the audit reader.
//!
//! The only crate that links librdkafka. It never knows which engine runs: it gets bootstrap addresses.
