//! DescribeConfigs (32). Versions 1 to 4.

structure! {
    /// The question.
    DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource> [0];
        include_synonyms: bool [1];
        include_documentation: bool [3];
    }
}
structure! {
    /// A resource: type 2 is a topic, 4 a broker, 8 a logger, 16 client metrics, 32 a group. No list of keys asks for
    /// all.
    DescribeConfigsResource {
        resource_type: i8 [0];
        resource_name: String [0];
        configuration_keys: Option<Vec<String>> [0];
    }
}
structure! {
    /// The answer.
    DescribeConfigsResponse {
        throttle_time_ms: i32 [0];
        results: Vec<DescribeConfigsResult> [0];
    }
}
structure! {
    /// A resource.
    DescribeConfigsResult {
        error_code: i16 [0];
        error_message: Option<String> [0];
        resource_type: i8 [0];
        resource_name: String [0];
        configs: Vec<DescribeConfigsResourceResult> [0];
    }
}
structure! {
    /// One setting, and where it comes from.
    DescribeConfigsResourceResult {
        name: String [0];
        value: Option<String> [0];
        read_only: bool [0];
        config_source: i8 [1] = -1;
        is_sensitive: bool [0];
        synonyms: Vec<DescribeConfigsSynonym> [1];
        config_type: i8 [3];
        documentation: Option<String> [3];
    }
}
structure! {
    /// A place that could set it, first the one that does.
    DescribeConfigsSynonym {
        name: String [1];
        value: Option<String> [1];
        source: i8 [1];
    }
}
api!(32, versions 1 to 4, flexible 4, DescribeConfigsRequest, DescribeConfigsResponse);
