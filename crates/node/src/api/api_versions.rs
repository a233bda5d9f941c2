//! ApiVersions (18), versions 0 to 4: what is served here, and the features that the cluster has. A version that is not
//! known is answered in version 0 with the range of this API (KIP-511). Below version 4 features whose lowest level is 0
//! are left out (KAFKA-17492).

use metricstream_wire::ErrorCode;
use metricstream_wire::api::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeature, SupportedFeature,
};

use super::{SERVED, is_served, produce};
use crate::controller::FEATURES;
use crate::io::Listener;
use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) const KEY: i16 = 18;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let version = incoming.header.api_version;
    if node.body::<ApiVersionsRequest>(now, &mut incoming).is_none() {
        return;
    }
    let low = |name: &str, level: i16| if name == "metadata.version" { level } else { 0 };
    let supported = FEATURES.iter().filter(|(name, level)| version >= 4 || low(name, *level) > 0);
    let finalized = node.image.features.iter().filter(|(_, level)| **level > 0);
    let body = ApiVersionsResponse {
        api_keys: keys(incoming.listener),
        supported_features: supported
            .map(|(name, level)| SupportedFeature {
                name: (*name).to_owned(),
                min_version: low(name, *level),
                max_version: *level,
            })
            .collect(),
        finalized_features_epoch: node.image.offset.max(0),
        finalized_features: finalized
            .map(|(name, level)| FinalizedFeature {
                name: name.clone(),
                max_version_level: *level,
                min_version_level: *level,
            })
            .collect(),
        ..ApiVersionsResponse::default()
    };
    node.respond::<ApiVersionsRequest>(&incoming.to, &body);
}

fn keys(listener: Listener) -> Vec<ApiVersion> {
    let served = SERVED.iter().filter(|s| s.advertised && (is_served(s, listener) || s.forwarded));
    served
        .map(|s| ApiVersion {
            api_key: s.key,
            // Old clients take the absence of Produce 0 for an ancient broker, and drop compression.
            min_version: if s.key == produce::KEY { 0 } else { s.low },
            max_version: s.high,
        })
        .collect()
}

/// Any client can read this.
pub(crate) fn unsupported(node: &mut Node, incoming: &Incoming) {
    let mut to = incoming.to.clone();
    to.version = 0;
    let own = keys(incoming.listener).into_iter().filter(|k| k.api_key == KEY).collect();
    let body = ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION.0,
        api_keys: own,
        ..ApiVersionsResponse::default()
    };
    node.respond::<ApiVersionsRequest>(&to, &body);
}
