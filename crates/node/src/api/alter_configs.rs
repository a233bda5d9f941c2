//! AlterConfigs (33), versions 0 to 2: puts new settings in the place of all that a resource has of its own; clients that can
//! use IncrementalAlterConfigs. A broker passes it on; the active controller answers when it is committed.

use std::collections::BTreeSet;

use metricstream_wire::ErrorCode;
use metricstream_wire::api::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use metricstream_wire::frame::Request;

use crate::controller::{AlterOp, ConfigChange, ConfigResult, Controller, Decision};
use crate::image::Resource;
use crate::node::{Incoming, Node, ReplyTo};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<AlterConfigsRequest>(now, &mut incoming) else { return };
    let changes = body.resources.iter().map(wanted).collect();
    alter::<AlterConfigsRequest>(node, now, incoming.to, changes, (true, body.validate_only), |told| {
        let response = |told: Told| AlterConfigsResourceResponse {
            error_code: told.error_code,
            error_message: told.error_message,
            resource_type: told.resource.0,
            resource_name: told.resource.1,
        };
        let responses = told.into_iter().map(response).collect();
        AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }
    });
}

/// What became of one resource.
pub(crate) struct Told {
    pub(crate) resource: Resource,
    pub(crate) error_code: i16,
    pub(crate) error_message: Option<String>,
}

/// What both APIs do: they decide on all resources, and answer when that is committed. `replace` puts the new settings in
/// the place of all old ones.
pub(crate) fn alter<R: Request + 'static>(
    node: &mut Node,
    now: Now,
    to: ReplyTo,
    changes: Vec<(Resource, Vec<ConfigChange>)>,
    (replace, validate_only): (bool, bool),
    response: impl FnOnce(Vec<Told>) -> R::Response + Send + 'static,
) {
    let decision = node.active().map(|controller| decide(controller, &changes, replace, validate_only));
    let answer = move |node: &mut Node, _: Now, result: Result<Vec<ConfigResult>, ErrorCode>| {
        let results = result.unwrap_or_else(|error| changes.iter().map(|_| Err((error, String::new()))).collect());
        let told = changes.into_iter().zip(results).map(|((resource, _), result)| told(resource, result));
        node.respond::<R>(&to, &response(told.collect()));
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
fn decide(
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

fn told(resource: Resource, result: ConfigResult) -> Told {
    let (error_code, error_message) = match result {
        Ok(()) => (0, None),
        Err((error, text)) => (error.0, Some(text).filter(|text| !text.is_empty())),
    };
    Told { resource, error_code, error_message }
}
