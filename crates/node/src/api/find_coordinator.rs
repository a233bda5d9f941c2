//! FindCoordinator (10), versions 0 to 6: which broker coordinates a group; one key until version 3, many from 4 on. There
//! are no coordinators of transactions and share groups: asking for one is refused for good. The first question has
//! `__consumer_offsets` made.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

use crate::group::{OFFSETS_TOPIC, partition_for};
use crate::node::{Incoming, Node};
use crate::time::Now;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let version = incoming.header.api_version;
    let Some(body) = node.body::<FindCoordinatorRequest>(now, &mut incoming) else { return };
    let many = version >= 4;
    let keys = if many { body.coordinator_keys } else { vec![body.key] };
    let mut found: Vec<Coordinator> = keys.into_iter().map(|key| find(node, now, key, body.key_type)).collect();
    let answer = if many {
        FindCoordinatorResponse { coordinators: found, ..FindCoordinatorResponse::default() }
    } else {
        let one = found.pop().unwrap_or_default();
        FindCoordinatorResponse {
            error_code: one.error_code,
            error_message: one.error_message,
            node_id: one.node_id,
            host: one.host,
            port: one.port,
            ..FindCoordinatorResponse::default()
        }
    };
    node.respond::<FindCoordinatorRequest>(&incoming.to, &answer);
}

fn find(node: &mut Node, now: Now, key: String, key_type: i8) -> Coordinator {
    let refused = |key: String, error: ErrorCode, why: &str| Coordinator {
        key,
        node_id: -1,
        host: String::new(),
        port: -1,
        error_code: error.0,
        error_message: Some(why.to_owned()),
    };
    match key_type {
        GROUP => {}
        TRANSACTION => {
            let error = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
            return refused(key, error, "this cluster has no transactions");
        }
        _ => return refused(key, ErrorCode::INVALID_REQUEST, "this cluster coordinates nothing of that type"),
    }
    if key.is_empty() {
        return refused(key, ErrorCode::INVALID_GROUP_ID, "the group id is empty");
    }
    let later = "the coordinator is not available";
    let Some(topic) = node.image.topic(OFFSETS_TOPIC) else {
        node.make_topic(now, OFFSETS_TOPIC);
        return refused(key, ErrorCode::COORDINATOR_NOT_AVAILABLE, later);
    };
    let partitions = i32::try_from(topic.partitions.len()).unwrap_or(0);
    let leader = partition_for(&key, partitions).and_then(|p| topic.partitions.get(&p)).map_or(-1, |p| p.leader);
    let up = node.image.brokers.get(&leader).is_some_and(|b| !b.fenced);
    match node.broker_address(leader).filter(|_| up) {
        Some(at) => Coordinator {
            key,
            node_id: leader,
            host: at.host,
            port: i32::from(at.port),
            error_code: 0,
            error_message: None,
        },
        None => refused(key, ErrorCode::COORDINATOR_NOT_AVAILABLE, later),
    }
}
