//! InitProducerId (22), versions 0 to 5: an id for an idempotent producer, of this broker's block. While a block is on its way
//! the request waits. A producer that brings an id gets another one, as in Kafka: only those with a transactional id keep
//! theirs. Deliberately missing: transactions; a transactional id is refused with the fatal error that every client knows.

use metricstream_wire::ErrorCode;
use metricstream_wire::api::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::Parked;
use crate::node::{Incoming, Node, ReplyTo};
use crate::time::Now;

/// How long a producer waits before it is told to ask again.
const PATIENCE_MS: i64 = 5_000;

/// A producer that waits for a block of ids.
#[derive(Debug)]
pub(crate) struct ParkedInitProducerId {
    pub(crate) to: ReplyTo,
}

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<InitProducerIdRequest>(now, &mut incoming) else { return };
    let to = incoming.to;
    if body.transactional_id.is_some() {
        return answer(node, &to, Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
    }
    if (body.producer_id == -1) != (body.producer_epoch == -1) {
        return answer(node, &to, Err(ErrorCode::INVALID_REQUEST));
    }
    match node.next_producer_id() {
        Some(id) => answer(node, &to, Ok(id)),
        None => {
            let Some(broker) = &mut node.broker else { return };
            let parked = Parked::InitProducerId(ParkedInitProducerId { to });
            broker.waiting.park(parked, Vec::new(), now.after_ms(PATIENCE_MS));
        }
    }
}

/// A block has come: whoever waits gets an id of it.
pub(crate) fn block_came(node: &mut Node) {
    let Some(broker) = &node.broker else { return };
    for wait in broker.waiting.find(|parked| matches!(parked, Parked::InitProducerId(_))) {
        let Some(id) = node.next_producer_id() else { return };
        let parked = node.broker.as_mut().and_then(|broker| broker.waiting.take(wait));
        if let Some(Parked::InitProducerId(parked)) = parked {
            answer(node, &parked.to, Ok(id));
        }
    }
}

/// No controller gave a block in time.
pub(crate) fn out_of_time(node: &mut Node, parked: &ParkedInitProducerId) {
    answer(node, &parked.to, Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
}

fn answer(node: &mut Node, to: &ReplyTo, result: Result<i64, ErrorCode>) {
    let body = InitProducerIdResponse {
        error_code: super::code(&result),
        producer_id: result.unwrap_or(-1),
        producer_epoch: if result.is_ok() { 0 } else { -1 },
        ..InitProducerIdResponse::default()
    };
    node.respond::<InitProducerIdRequest>(to, &body);
}
