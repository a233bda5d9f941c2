//! ListConfigResources (74), versions 0 and 1: what has settings, or may have (KIP-1142). Version 0 asks for client metrics
//! only, of which there are none here.

use std::collections::BTreeSet;

use metricstream_wire::ErrorCode;
use metricstream_wire::api::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use crate::image::{BROKER_RESOURCE, GROUP_RESOURCE, Image, TOPIC_RESOURCE};
use crate::node::{Incoming, Node};
use crate::time::Now;

const BROKER_LOGGER_RESOURCE: i8 = 8;
const CLIENT_METRICS_RESOURCE: i8 = 16;
const ALL: [i8; 5] = [TOPIC_RESOURCE, BROKER_RESOURCE, BROKER_LOGGER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE];

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let version = incoming.header.api_version;
    let Some(body) = node.body::<ListConfigResourcesRequest>(now, &mut incoming) else { return };
    let mut wanted: BTreeSet<i8> = body.resource_types.into_iter().collect();
    if version == 0 {
        wanted = [CLIENT_METRICS_RESOURCE].into();
    } else if wanted.is_empty() {
        wanted = ALL.into();
    }
    let unknown = wanted.iter().any(|kind| !ALL.contains(kind));
    let answer = ListConfigResourcesResponse {
        error_code: if unknown { ErrorCode::UNSUPPORTED_VERSION.0 } else { 0 },
        config_resources: if unknown {
            Vec::new()
        } else {
            wanted.into_iter().flat_map(|kind| names(&node.image, kind)).collect()
        },
        ..ListConfigResourcesResponse::default()
    };
    node.respond::<ListConfigResourcesRequest>(&incoming.to, &answer);
}

fn names(image: &Image, resource_type: i8) -> Vec<ConfigResource> {
    let names: Vec<String> = match resource_type {
        TOPIC_RESOURCE => image.names.keys().cloned().collect(),
        BROKER_RESOURCE | BROKER_LOGGER_RESOURCE => image.brokers.keys().map(i32::to_string).collect(),
        kind => image.configs.keys().filter(|(of, _)| *of == kind).map(|(_, name)| name.clone()).collect(),
    };
    names.into_iter().map(|resource_name| ConfigResource { resource_name, resource_type }).collect()
}
