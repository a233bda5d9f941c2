//! One file per API: its request and response as Kafka 4.1 declares them, in the versions that this product speaks.

pub mod api_versions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_quorum;
pub mod fetch;
pub mod fetch_snapshot;
pub mod metadata;

/// Calls `$each!` with every API declared here, in the order of their keys: `key module Request Response;` each. What
/// has to do something for all of them (a server's dispatch, tests) names none of them a second time.
#[macro_export]
macro_rules! for_each_api {
    ($each:ident) => {
        $each! {
            1 fetch FetchRequest FetchResponse;
            3 metadata MetadataRequest MetadataResponse;
            18 api_versions ApiVersionsRequest ApiVersionsResponse;
            19 create_topics CreateTopicsRequest CreateTopicsResponse;
            20 delete_topics DeleteTopicsRequest DeleteTopicsResponse;
            55 describe_quorum DescribeQuorumRequest DescribeQuorumResponse;
            59 fetch_snapshot FetchSnapshotRequest FetchSnapshotResponse;
            60 describe_cluster DescribeClusterRequest DescribeClusterResponse;
        }
    };
}
