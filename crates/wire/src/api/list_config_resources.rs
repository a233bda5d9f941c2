//! ListConfigResources (74): names of what can have configs; only client metrics in version 0. Versions 0 and 1.

structure! {
    /// The question; no types ask for all.
    ListConfigResourcesRequest {
        resource_types: Vec<i8> [1];
    }
}
structure! {
    /// The answer.
    ListConfigResourcesResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        config_resources: Vec<ConfigResource> [0];
    }
}
structure! {
    /// A resource.
    ConfigResource {
        resource_name: String [0];
        resource_type: i8 [1] = 16;
    }
}
api!(74, versions 0 to 1, flexible 0, ListConfigResourcesRequest, ListConfigResourcesResponse);
