//! AllocateProducerIds (67), version 0: a block of producer ids for a broker (KIP-730).

use bytes::Bytes;
use metricstream_wire::api::allocate_producer_ids::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
use metricstream_wire::{ErrorCode, frame};

use crate::node::{Incoming, Node};
use crate::time::Now;

const VERSION: i16 = 0;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<AllocateProducerIdsRequest>(now, &mut incoming) else { return };
    let decision = node.active().and_then(|c| c.allocate_producer_ids(body.broker_id, body.broker_epoch));
    let to = incoming.to;
    let answer = move |node: &mut Node, _: Now, result: Result<(i64, i32), ErrorCode>| {
        let (first, count) = result.unwrap_or((0, 0));
        let body = AllocateProducerIdsResponse {
            error_code: super::code(&result),
            producer_id_start: first,
            producer_id_len: count,
            ..AllocateProducerIdsResponse::default()
        };
        node.respond::<AllocateProducerIdsRequest>(&to, &body);
    };
    match decision {
        Ok(decision) => node.decided(now, decision, answer),
        Err(error) => answer(node, now, Err(error)),
    }
}

/// Asks for a block.
pub(crate) fn frame(broker_id: i32, broker_epoch: i64) -> impl FnOnce(i32) -> Bytes {
    let body = AllocateProducerIdsRequest { broker_id, broker_epoch };
    move |correlation| {
        frame::request(&body, VERSION, correlation, &broker_id.to_string()).expect("a version that is declared")
    }
}

/// The first id and how many.
pub(crate) fn read_answer(bytes: Bytes) -> Result<(i64, i32), ErrorCode> {
    let (_, body) =
        frame::response::<AllocateProducerIdsRequest>(bytes, VERSION).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
    match body.error_code {
        0 => Ok((body.producer_id_start, body.producer_id_len)),
        error => Err(ErrorCode(error)),
    }
}
