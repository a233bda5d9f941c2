//! CreatePartitions (37), versions 0 to 3: more partitions for topics. A broker passes it on; the active controller answers
//! when it is committed.

use std::collections::BTreeSet;

use metricstream_wire::ErrorCode;
use metricstream_wire::api::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

use crate::controller::{Controller, Decision};
use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<CreatePartitionsRequest>(now, &mut incoming) else { return };
    let decision = node.active().map(|controller| {
        let mut decision = decide(controller, &body.topics);
        if body.validate_only {
            decision.records.clear();
        }
        decision
    });
    let to = incoming.to;
    let answer = move |node: &mut Node, _: Now, result: Result<Vec<CreatePartitionsTopicResult>, ErrorCode>| {
        let refused = |error| body.topics.iter().map(|t| told(&t.name, error, None)).collect();
        let results = result.unwrap_or_else(refused);
        let body = CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() };
        node.respond::<CreatePartitionsRequest>(&to, &body);
    };
    match decision {
        Ok(decision) => node.decided(now, decision, answer),
        Err(error) => answer(node, now, Err(error)),
    }
}

fn decide(controller: &mut Controller, topics: &[CreatePartitionsTopic]) -> Decision<Vec<CreatePartitionsTopicResult>> {
    let mut decision = Decision { records: Vec::new(), answer: Vec::new() };
    let mut seen = BTreeSet::new();
    for topic in topics {
        if !seen.insert(topic.name.as_str()) {
            let text = "the topic is named twice".to_owned();
            decision.answer.push(told(&topic.name, ErrorCode::INVALID_REQUEST, Some(text)));
            continue;
        }
        let assignments: Option<Vec<Vec<i32>>> =
            topic.assignments.as_ref().map(|all| all.iter().map(|a| a.broker_ids.clone()).collect());
        match controller.create_partitions(&topic.name, topic.count, assignments.as_deref()) {
            Ok(made) => {
                decision.records.extend(made.records);
                decision.answer.push(told(&topic.name, ErrorCode::NONE, None));
            }
            Err((error, text)) => decision.answer.push(told(&topic.name, error, Some(text))),
        }
    }
    decision
}

fn told(name: &str, error: ErrorCode, error_message: Option<String>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult { name: name.to_owned(), error_code: error.0, error_message }
}
