//! IncrementalAlterConfigs (44), versions 0 and 1: alters some settings of a resource and leaves the others (KIP-339). A broker
//! passes it on; the active controller answers when it is committed.

use metricstream_wire::api::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::alter_configs::{Told, alter};
use crate::controller::{AlterOp, ConfigChange};
use crate::image::Resource;
use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<IncrementalAlterConfigsRequest>(now, &mut incoming) else { return };
    let changes = body.resources.iter().map(wanted).collect();
    alter::<IncrementalAlterConfigsRequest>(node, now, incoming.to, changes, (false, body.validate_only), |told| {
        let response = |told: Told| AlterConfigsResourceResponse {
            error_code: told.error_code,
            error_message: told.error_message,
            resource_type: told.resource.0,
            resource_name: told.resource.1,
        };
        let responses = told.into_iter().map(response).collect();
        IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
    });
}

fn wanted(resource: &AlterConfigsResource) -> (Resource, Vec<ConfigChange>) {
    let changes = resource.configs.iter().map(change).collect();
    ((resource.resource_type, resource.resource_name.clone()), changes)
}

fn change(config: &AlterableConfig) -> ConfigChange {
    let op = match config.config_operation {
        0 => AlterOp::Set,
        1 => AlterOp::Delete,
        2 => AlterOp::Append,
        3 => AlterOp::Subtract,
        _ => AlterOp::Unknown,
    };
    ConfigChange { name: config.name.clone(), op, value: config.value.clone() }
}
