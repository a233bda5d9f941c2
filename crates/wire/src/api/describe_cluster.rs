//! DescribeCluster (60). Versions 0 to 2.

structure! {
    /// The question; endpoint type 1 asks for brokers, 2 for controllers (KIP-919).
    DescribeClusterRequest {
        include_cluster_authorized_operations: bool [0];
        endpoint_type: i8 [1] = 1;
        include_fenced_brokers: bool [2];
    }
}
structure! {
    /// The answer.
    DescribeClusterResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        error_message: Option<String> [0];
        endpoint_type: i8 [1] = 1;
        cluster_id: String [0];
        controller_id: i32 [0] = -1;
        brokers: Vec<DescribeClusterBroker> [0];
        cluster_authorized_operations: i32 [0] = i32::MIN;
    }
}
structure! {
    /// A node.
    DescribeClusterBroker {
        broker_id: i32 [0];
        host: String [0];
        port: i32 [0];
        rack: Option<String> [0];
        is_fenced: bool [2];
    }
}
api!(60, versions 0 to 2, flexible 0, DescribeClusterRequest, DescribeClusterResponse);
