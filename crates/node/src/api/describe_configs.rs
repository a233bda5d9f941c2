//! DescribeConfigs (32), versions 1 to 4: settings of topics, of this node and of groups, with where each value comes from
//! (KIP-226). Deliberately missing: loggers, and client metrics.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use crate::config::describe::{self, Described};
use crate::image::{BROKER_RESOURCE, GROUP_RESOURCE, TOPIC_RESOURCE};
use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<DescribeConfigsRequest>(now, &mut incoming) else { return };
    let told = |resource: &DescribeConfigsResource| {
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..DescribeConfigsResult::default()
        };
        match settings(node, resource.resource_type, &resource.resource_name) {
            Ok(all) => {
                let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
                let asked = all.into_iter().filter(|one| keys.is_none_or(|keys| keys.contains(&one.name)));
                let (synonyms, documentation) = (body.include_synonyms, body.include_documentation);
                result.configs = asked.map(|one| shown(one, synonyms, documentation)).collect();
            }
            Err((error, text)) => {
                result.error_code = error.0;
                result.error_message = Some(text);
            }
        }
        result
    };
    let results = body.resources.iter().map(told).collect();
    let answer = DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() };
    node.respond::<DescribeConfigsRequest>(&incoming.to, &answer);
}

fn settings(node: &Node, kind: i8, name: &str) -> Result<Vec<Described>, (ErrorCode, String)> {
    let own = || node.image.configs.get(&(kind, name.to_owned())).cloned().unwrap_or_default();
    match kind {
        TOPIC_RESOURCE if !crate::controller::is_topic_name(name) => {
            Err((ErrorCode::INVALID_TOPIC_EXCEPTION, "no topic can have this name".to_owned()))
        }
        TOPIC_RESOURCE if node.image.topic(name).is_none() => {
            Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("the topic '{name}' does not exist")))
        }
        TOPIC_RESOURCE => Ok(describe::topic(&node.config.settings, &own())),
        // What holds for all brokers, as far as it was altered: nothing is.
        BROKER_RESOURCE if name.is_empty() => Ok(Vec::new()),
        BROKER_RESOURCE if name.parse() == Ok(node.config.node_id) => Ok(describe::node(&node.config)),
        BROKER_RESOURCE => {
            let text = format!("this is node {}, which knows only its own settings", node.config.node_id);
            Err((ErrorCode::INVALID_REQUEST, text))
        }
        GROUP_RESOURCE => Ok(describe::group(&node.config.settings, &own())),
        other => Err((ErrorCode::INVALID_REQUEST, format!("resource type {other} has no settings here"))),
    }
}

fn shown(one: Described, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
    let synonym = |(name, value, source): (String, String, describe::Source)| DescribeConfigsSynonym {
        name,
        value: Some(value),
        source: source as i8,
    };
    DescribeConfigsResourceResult {
        name: one.name,
        value: Some(one.value),
        read_only: one.read_only,
        config_source: one.source as i8,
        is_sensitive: false,
        synonyms: if synonyms { one.synonyms.into_iter().map(synonym).collect() } else { Vec::new() },
        config_type: one.kind as i8,
        documentation: one.documentation.filter(|_| documentation),
    }
}
