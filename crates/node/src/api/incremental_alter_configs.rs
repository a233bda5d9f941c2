//! IncrementalAlterConfigs (44), versions 0 and 1: alters some settings of a resource and leaves the others (KIP-339). A broker
//! passes it on; the active controller answers when it is committed.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::alter_configs::{decide, told};
use crate::controller::{AlterOp, ConfigChange, ConfigResult};
use crate::image::Resource;
use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<IncrementalAlterConfigsRequest>(now, &mut incoming) else { return };
    let changes: Vec<(Resource, Vec<ConfigChange>)> = body.resources.iter().map(wanted).collect();
    let decision = node.active().map(|controller| decide(controller, &changes, false, body.validate_only));
    let to = incoming.to;
    let answer = move |node: &mut Node, _: Now, result: Result<Vec<ConfigResult>, ErrorCode>| {
        let results = result.unwrap_or_else(|error| changes.iter().map(|_| Err((error, String::new()))).collect());
        let responses = changes.into_iter().zip(results).map(|((resource, _), result)| {
            let (error_code, error_message) = told(result);
            let (resource_type, resource_name) = resource;
            AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
        });
        let responses = responses.collect();
        let body = IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() };
        node.respond::<IncrementalAlterConfigsRequest>(&to, &body);
    };
    match decision {
        Ok(decision) => node.decided(now, decision, answer),
        Err(error) => answer(node, now, Err(error)),
    }
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
