//! AlterConfigs (33): sets all of a resource's configs at once; [`super::incremental_alter_configs`] has taken its
//! place. Versions 0 to 2.

structure! {
    /// The request.
    AlterConfigsRequest {
        resources: Vec<AlterConfigsResource> [0];
        validate_only: bool [0];
    }
}
structure! {
    /// A resource and all of its configs.
    AlterConfigsResource {
        resource_type: i8 [0];
        resource_name: String [0];
        configs: Vec<AlterableConfig> [0];
    }
}
structure! {
    /// One setting.
    AlterableConfig {
        name: String [0];
        value: Option<String> [0];
    }
}
structure! {
    /// The answer.
    AlterConfigsResponse {
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
api!(33, versions 0 to 2, flexible 2, AlterConfigsRequest, AlterConfigsResponse);
