//! IncrementalAlterConfigs (44). Versions 0 and 1.

structure! {
    /// The request.
    IncrementalAlterConfigsRequest {
        resources: Vec<AlterConfigsResource> [0];
        validate_only: bool [0];
    }
}
structure! {
    /// A resource and what changes.
    AlterConfigsResource {
        resource_type: i8 [0];
        resource_name: String [0];
        configs: Vec<AlterableConfig> [0];
    }
}
structure! {
    /// One change: operation 0 sets, 1 deletes, 2 appends to a list, 3 takes out of one.
    AlterableConfig {
        name: String [0];
        config_operation: i8 [0];
        value: Option<String> [0];
    }
}
structure! {
    /// The answer.
    IncrementalAlterConfigsResponse {
        throttle_time_ms: i32 [0];
        responses: Vec<AlterConfigsResourceResponse> [0];
    }
}
structure! {
    /// What became of one resource.
    AlterConfigsResourceResponse {
        error_code: i16 [0];
        error_message: Option<String> [0];
        resource_type: i8 [0];
        resource_name: String [0];
    }
}
api!(44, versions 0 to 1, flexible 1, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse);
