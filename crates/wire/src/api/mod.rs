//! One file per API: its request and response as Kafka 4.1 declares them, in the versions that this product speaks.

pub mod api_versions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_quorum;
pub mod fetch;
pub mod fetch_snapshot;
pub mod metadata;
