//! ApiVersions (18): what a node speaks. Versions 0 to 4.

structure! {
    /// The question.
    ApiVersionsRequest {
        client_software_name: String [3];
        client_software_version: String [3];
    }
}
structure! {
    /// The answer.
    ApiVersionsResponse {
        error_code: i16 [0];
        api_keys: Vec<ApiVersion> [0];
        throttle_time_ms: i32 [1];
        supported_features: Vec<SupportedFeature> [3 tag 0];
        finalized_features_epoch: i64 [3 tag 1] = -1;
        finalized_features: Vec<FinalizedFeature> [3 tag 2];
        zk_migration_ready: bool [3 tag 3];
    }
}
structure! {
    /// One API.
    ApiVersion {
        api_key: i16 [0];
        min_version: i16 [0];
        max_version: i16 [0];
    }
}
structure! {
    /// A feature that the node could have.
    SupportedFeature {
        name: String [3];
        min_version: i16 [3];
        max_version: i16 [3];
    }
}
structure! {
    /// A feature that the cluster has.
    FinalizedFeature {
        name: String [3];
        max_version_level: i16 [3];
        min_version_level: i16 [3];
    }
}
api!(18, versions 0 to 4, flexible 3, ApiVersionsRequest, ApiVersionsResponse);
