//! CreateTopics (19), versions 2 to 7: a broker passes it on; the active controller answers when the topics are committed.
//! Brokers may lag behind that for a moment. The settings that a topic got are not told in the answer.

use bytes::Bytes;
use metricstream_wire::api::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use metricstream_wire::{ErrorCode, frame};

use crate::controller::{NewTopic, TopicResult};
use crate::node::{Incoming, Node};
use crate::time::Now;

const VERSION: i16 = 7;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<CreateTopicsRequest>(now, &mut incoming) else { return };
    let topics: Vec<NewTopic> = body.topics.iter().map(wanted).collect();
    let decision = node.active().map(|c| c.create_topics(&topics, body.validate_only));
    let to = incoming.to;
    let answer = move |node: &mut Node, _: Now, result: Result<Vec<TopicResult>, ErrorCode>| {
        let results = result.unwrap_or_else(|error| topics.iter().map(|t| refused(&t.name, error)).collect());
        let topics = results.into_iter().map(told).collect();
        node.respond::<CreateTopicsRequest>(&to, &CreateTopicsResponse { topics, ..CreateTopicsResponse::default() });
    };
    match decision {
        Ok(decision) => node.decided(now, decision, answer),
        Err(error) => answer(node, now, Err(error)),
    }
}

fn wanted(topic: &CreatableTopic) -> NewTopic {
    NewTopic {
        name: topic.name.clone(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments.iter().map(|a| (a.partition_index, a.broker_ids.clone())).collect(),
        configs: topic.configs.iter().filter_map(|c| Some((c.name.clone(), c.value.clone()?))).collect(),
    }
}

fn refused(name: &str, error: ErrorCode) -> TopicResult {
    TopicResult { name: name.to_owned(), id: [0; 16], partitions: -1, replication_factor: -1, error, message: None }
}

fn told(result: TopicResult) -> CreatableTopicResult {
    CreatableTopicResult {
        name: result.name,
        topic_id: result.id,
        error_code: result.error.0,
        error_message: result.message,
        num_partitions: result.partitions,
        replication_factor: result.replication_factor,
        ..CreatableTopicResult::default()
    }
}

/// A broker has one topic made.
pub(crate) fn frame(broker: i32, topic: &NewTopic, timeout_ms: i64) -> impl FnOnce(i32) -> Bytes + use<> {
    let configs = topic.configs.iter();
    let wish = CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        assignments: Vec::new(),
        configs: configs
            .map(|(name, value)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) })
            .collect(),
    };
    let timeout_ms = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
    let body = CreateTopicsRequest { topics: vec![wish], timeout_ms, validate_only: false };
    move |correlation| {
        frame::request(&body, VERSION, correlation, &broker.to_string()).expect("a version that is declared")
    }
}

/// What became of that one.
pub(crate) fn read_answer(bytes: Bytes) -> Result<(), (ErrorCode, String)> {
    let (_, body) = frame::response::<CreateTopicsRequest>(bytes, VERSION)
        .map_err(|error| (ErrorCode::UNKNOWN_SERVER_ERROR, error.to_string()))?;
    match body.topics.into_iter().next() {
        Some(topic) if topic.error_code != 0 => {
            Err((ErrorCode(topic.error_code), topic.error_message.unwrap_or_default()))
        }
        _ => Ok(()),
    }
}
