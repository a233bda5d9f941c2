//! DeleteTopics (20), versions 1 to 6: by name, from version 6 on also by id. A broker passes it on; the active controller
//! answers when it is committed. Brokers may lag behind that for a moment.

use std::collections::BTreeSet;

use metricstream_wire::api::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use metricstream_wire::{ErrorCode, Uuid};

use crate::controller::{Controller, Decision};
use crate::node::{Incoming, Node};
use crate::time::Now;

/// From this version on clients know that deletion can be switched off.
const TELLS_DISABLED_FROM: i16 = 3;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let version = incoming.header.api_version;
    let Some(body) = node.body::<DeleteTopicsRequest>(now, &mut incoming) else { return };
    let named = body.topic_names.into_iter().map(|name| DeleteTopicState { name: Some(name), topic_id: [0; 16] });
    let asked: Vec<DeleteTopicState> = named.chain(body.topics).collect();
    let decision = node.active().map(|controller| decide(controller, &asked, version));
    let to = incoming.to;
    let answer = move |node: &mut Node, _: Now, result: Result<Vec<DeletableTopicResult>, ErrorCode>| {
        let responses = result.unwrap_or_else(|error| asked.iter().map(|t| refused(t, error, None)).collect());
        let body = DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() };
        node.respond::<DeleteTopicsRequest>(&to, &body);
    };
    match decision {
        Ok(decision) => node.decided(now, decision, answer),
        Err(error) => answer(node, now, Err(error)),
    }
}

/// Each is judged by itself; none is deleted twice.
fn decide(controller: &Controller, asked: &[DeleteTopicState], version: i16) -> Decision<Vec<DeletableTopicResult>> {
    let mut decision = Decision { records: Vec::new(), answer: Vec::new() };
    let mut seen = BTreeSet::new();
    for topic in asked {
        let deleted = find(controller, topic).and_then(|(id, name)| {
            if !seen.insert(id) {
                return Err((ErrorCode::INVALID_REQUEST, Some("the topic is named twice".to_owned())));
            }
            let deleted = controller.delete_topic(id).map_err(|error| (told(error, version), None))?;
            decision.records.extend(deleted.records);
            Ok((id, name))
        });
        decision.answer.push(match deleted {
            Ok((topic_id, name)) => {
                DeletableTopicResult { name: Some(name), topic_id, ..DeletableTopicResult::default() }
            }
            Err((error, text)) => refused(topic, error, text),
        });
    }
    decision
}

fn told(error: ErrorCode, version: i16) -> ErrorCode {
    if error == ErrorCode::TOPIC_DELETION_DISABLED && version < TELLS_DISABLED_FROM {
        return ErrorCode::INVALID_REQUEST;
    }
    error
}

fn find(controller: &Controller, topic: &DeleteTopicState) -> Result<(Uuid, String), (ErrorCode, Option<String>)> {
    let image = controller.image();
    match (&topic.name, topic.topic_id) {
        (Some(name), [0, ..]) if topic.topic_id == [0; 16] => {
            let known = image.topic(name).ok_or((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None))?;
            Ok((known.id, name.clone()))
        }
        (None, id) if id != [0; 16] => {
            let known = image.topics.get(&id).ok_or((ErrorCode::UNKNOWN_TOPIC_ID, None))?;
            Ok((id, known.name.clone()))
        }
        _ => Err((ErrorCode::INVALID_REQUEST, Some("either a name or an id is wanted".to_owned()))),
    }
}

fn refused(topic: &DeleteTopicState, error: ErrorCode, text: Option<String>) -> DeletableTopicResult {
    DeletableTopicResult {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        error_code: error.0,
        error_message: text,
    }
}
