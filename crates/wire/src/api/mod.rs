//! One file per API: its request and response, in the versions that this product can read and write. What a broker of ours
//! advertises may be less.

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod allocate_producer_ids;
pub mod alter_configs;
pub mod alter_partition;
pub mod alter_partition_reassignments;
pub mod api_versions;
pub mod assign_replicas_to_dirs;
pub mod begin_quorum_epoch;
pub mod broker_heartbeat;
pub mod broker_registration;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod consumer_protocol;
pub mod controller_registration;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod elect_leaders;
pub mod end_quorum_epoch;
pub mod end_txn;
pub mod envelope;
pub mod fetch;
pub mod fetch_snapshot;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;
pub mod txn_offset_commit;
pub mod unregister_broker;
pub mod update_features;
pub mod vote;
pub mod write_txn_markers;

/// Calls `$each!` with every API declared here, in the order of their keys: `key module Request Response;` each. What
/// has to do something for all of them (a server's dispatch, tests) names none of them a second time.
#[macro_export]
macro_rules! for_each_api {
    ($each:ident) => {
        $each! {
            0 produce ProduceRequest ProduceResponse;
            1 fetch FetchRequest FetchResponse;
            2 list_offsets ListOffsetsRequest ListOffsetsResponse;
            3 metadata MetadataRequest MetadataResponse;
            8 offset_commit OffsetCommitRequest OffsetCommitResponse;
            9 offset_fetch OffsetFetchRequest OffsetFetchResponse;
            10 find_coordinator FindCoordinatorRequest FindCoordinatorResponse;
            11 join_group JoinGroupRequest JoinGroupResponse;
            12 heartbeat HeartbeatRequest HeartbeatResponse;
            13 leave_group LeaveGroupRequest LeaveGroupResponse;
            14 sync_group SyncGroupRequest SyncGroupResponse;
            15 describe_groups DescribeGroupsRequest DescribeGroupsResponse;
            16 list_groups ListGroupsRequest ListGroupsResponse;
            18 api_versions ApiVersionsRequest ApiVersionsResponse;
            19 create_topics CreateTopicsRequest CreateTopicsResponse;
            20 delete_topics DeleteTopicsRequest DeleteTopicsResponse;
            21 delete_records DeleteRecordsRequest DeleteRecordsResponse;
            22 init_producer_id InitProducerIdRequest InitProducerIdResponse;
            23 offset_for_leader_epoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
            24 add_partitions_to_txn AddPartitionsToTxnRequest AddPartitionsToTxnResponse;
            25 add_offsets_to_txn AddOffsetsToTxnRequest AddOffsetsToTxnResponse;
            26 end_txn EndTxnRequest EndTxnResponse;
            27 write_txn_markers WriteTxnMarkersRequest WriteTxnMarkersResponse;
            28 txn_offset_commit TxnOffsetCommitRequest TxnOffsetCommitResponse;
            32 describe_configs DescribeConfigsRequest DescribeConfigsResponse;
            33 alter_configs AlterConfigsRequest AlterConfigsResponse;
            35 describe_log_dirs DescribeLogDirsRequest DescribeLogDirsResponse;
            37 create_partitions CreatePartitionsRequest CreatePartitionsResponse;
            42 delete_groups DeleteGroupsRequest DeleteGroupsResponse;
            43 elect_leaders ElectLeadersRequest ElectLeadersResponse;
            44 incremental_alter_configs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
            45 alter_partition_reassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse;
            46 list_partition_reassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
            47 offset_delete OffsetDeleteRequest OffsetDeleteResponse;
            52 vote VoteRequest VoteResponse;
            53 begin_quorum_epoch BeginQuorumEpochRequest BeginQuorumEpochResponse;
            54 end_quorum_epoch EndQuorumEpochRequest EndQuorumEpochResponse;
            55 describe_quorum DescribeQuorumRequest DescribeQuorumResponse;
            56 alter_partition AlterPartitionRequest AlterPartitionResponse;
            57 update_features UpdateFeaturesRequest UpdateFeaturesResponse;
            58 envelope EnvelopeRequest EnvelopeResponse;
            59 fetch_snapshot FetchSnapshotRequest FetchSnapshotResponse;
            60 describe_cluster DescribeClusterRequest DescribeClusterResponse;
            61 describe_producers DescribeProducersRequest DescribeProducersResponse;
            62 broker_registration BrokerRegistrationRequest BrokerRegistrationResponse;
            63 broker_heartbeat BrokerHeartbeatRequest BrokerHeartbeatResponse;
            64 unregister_broker UnregisterBrokerRequest UnregisterBrokerResponse;
            67 allocate_producer_ids AllocateProducerIdsRequest AllocateProducerIdsResponse;
            68 consumer_group_heartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
            69 consumer_group_describe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse;
            70 controller_registration ControllerRegistrationRequest ControllerRegistrationResponse;
            73 assign_replicas_to_dirs AssignReplicasToDirsRequest AssignReplicasToDirsResponse;
            74 list_config_resources ListConfigResourcesRequest ListConfigResourcesResponse;
            75 describe_topic_partitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
        }
    };
}
