//! UpdateFeatures (57). Versions 0 to 2.

structure! {
    /// The request.
    UpdateFeaturesRequest {
        timeout_ms: i32 [0] = 60_000;
        feature_updates: Vec<FeatureUpdateKey> [0];
        validate_only: bool [1];
    }
}
structure! {
    /// A feature and its new level. Upgrade type 1 upgrades only, 2 may downgrade safely, 3 unsafely.
    FeatureUpdateKey {
        feature: String [0];
        max_version_level: i16 [0];
        allow_downgrade: bool [0 to 0];
        upgrade_type: i8 [1] = 1;
    }
}
structure! {
    /// The answer.
    UpdateFeaturesResponse {
        throttle_time_ms: i32 [0];
        error_code: i16 [0];
        error_message: Option<String> [0];
        results: Vec<UpdatableFeatureResult> [0 to 1];
    }
}
structure! {
    /// What became of one feature.
    UpdatableFeatureResult {
        feature: String [0];
        error_code: i16 [0];
        error_message: Option<String> [0];
    }
}
api!(57, versions 0 to 2, flexible 0, UpdateFeaturesRequest, UpdateFeaturesResponse);
