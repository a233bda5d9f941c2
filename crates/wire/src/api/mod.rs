//! One file per API: its request and response as Kafka 4.1 declares them, in the versions that this product speaks.

pub mod allocate_producer_ids;
pub mod alter_partition;
pub mod api_versions;
pub mod assign_replicas_to_dirs;
pub mod begin_quorum_epoch;
pub mod broker_heartbeat;
pub mod broker_registration;
pub mod controller_registration;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_quorum;
pub mod end_quorum_epoch;
pub mod envelope;
pub mod fetch;
pub mod fetch_snapshot;
pub mod metadata;
pub mod unregister_broker;
pub mod vote;
pub mod write_txn_markers;

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
            27 write_txn_markers WriteTxnMarkersRequest WriteTxnMarkersResponse;
            52 vote VoteRequest VoteResponse;
            53 begin_quorum_epoch BeginQuorumEpochRequest BeginQuorumEpochResponse;
            54 end_quorum_epoch EndQuorumEpochRequest EndQuorumEpochResponse;
            55 describe_quorum DescribeQuorumRequest DescribeQuorumResponse;
            56 alter_partition AlterPartitionRequest AlterPartitionResponse;
            58 envelope EnvelopeRequest EnvelopeResponse;
            59 fetch_snapshot FetchSnapshotRequest FetchSnapshotResponse;
            60 describe_cluster DescribeClusterRequest DescribeClusterResponse;
            62 broker_registration BrokerRegistrationRequest BrokerRegistrationResponse;
            63 broker_heartbeat BrokerHeartbeatRequest BrokerHeartbeatResponse;
            64 unregister_broker UnregisterBrokerRequest UnregisterBrokerResponse;
            67 allocate_producer_ids AllocateProducerIdsRequest AllocateProducerIdsResponse;
            70 controller_registration ControllerRegistrationRequest ControllerRegistrationResponse;
            73 assign_replicas_to_dirs AssignReplicasToDirsRequest AssignReplicasToDirsResponse;
        }
    };
}
