//! AlterConfigs (33), versions 0 to 2: puts new settings in the place of all that a resource has of its own; clients that can
//! use IncrementalAlterConfigs. A broker passes it on; the active controller answers when it is committed.

use std::collections::BTreeSet;

use metricstream_wire::ErrorCode;
use metricstream_wire::api::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

use crate::controller::{AlterOp, ConfigChange, ConfigResult, Controller, Decision};
use crate::image::Resource;
use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<AlterConfigsRequest>(now, &mut incoming) else { return };
    let changes: Vec<(Resource, Vec<ConfigChange>)> = body.resources.iter().map(wanted).collect();
    let decision = node.active().map(|controller| decide(controller, &changes, true, body.validate_only));
    let to = incoming.to;
    let answer = move |node: &mut Node, _: Now, result: Result<Vec<ConfigResult>, ErrorCode>| {
        let results = result.unwrap_or_else(|error| changes.iter().map(|_| Err((error, String::new()))).collect());
        let responses = changes.into_iter().zip(results).map(|((resource, _), result)| {
            let (error_code, error_message) = told(result);
            let (resource_type, resource_name) = resource;
            AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
        });
        let body = AlterConfigsResponse { responses: responses.collect(), ..AlterConfigsResponse::default() };
        node.respond::<AlterConfigsRequest>(&to, &body);
    };
    match decision {
        Ok(decision) => node.decided(now, decision, answer),
        Err(error) => answer(node, now, Err(error)),
    }
}

fn wanted(resource: &AlterConfigsResource) -> (Resource, Vec<ConfigChange>) {
    let set = |c: &metricstream_wire::api::alter_configs::AlterableConfig| ConfigChange {
        name: c.name.clone(),
        op: AlterOp::Set,
        value: c.value.clone(),
    };
    ((resource.resource_type, resource.resource_name.clone()), resource.configs.iter().map(set).collect())
}

/// Each resource is judged by itself; one that is named twice is not altered.
pub(crate) fn decide(
    controller: &Controller,
    changes: &[(Resource, Vec<ConfigChange>)],
    replace: bool,
    validate_only: bool,
) -> Decision<Vec<ConfigResult>> {
    let mut decision = Decision { records: Vec::new(), answer: Vec::new() };
    let mut seen = BTreeSet::new();
    for (resource, changes) in changes {
        let altered = if seen.insert(resource) {
            controller.alter_configs(resource, changes, replace)
        } else {
            Err((ErrorCode::INVALID_REQUEST, "the resource is named twice".to_owned()))
        };
        decision.answer.push(altered.map(|altered| decision.records.extend(altered.records)));
    }
    if validate_only {
        decision.records.clear();
    }
    decision
}

/// Error code and text.
pub(crate) fn told(result: ConfigResult) -> (i16, Option<String>) {
    match result {
        Ok(()) => (0, None),
        Err((error, text)) => (error.0, Some(text).filter(|text| !text.is_empty())),
    }
}
