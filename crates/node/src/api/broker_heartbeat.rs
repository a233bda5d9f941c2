//! BrokerHeartbeat (63), versions 0 and 1: a broker's sign of life, and what it is told (KIP-631). Offline log directories
//! are not told: a node has one store, and ends with it.

use bytes::Bytes;
use metricstream_wire::api::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use metricstream_wire::{ErrorCode, frame};

use super::note_broker;
use crate::controller::{BeatAnswer, Heartbeat};
use crate::node::{Incoming, Node};
use crate::time::Now;

const VERSION: i16 = 1;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    let Some(body) = node.body::<BrokerHeartbeatRequest>(now, &mut incoming) else { return };
    note_broker(node, &incoming.to, body.broker_id);
    let beat = Heartbeat {
        broker: body.broker_id,
        broker_epoch: body.broker_epoch,
        metadata_offset: body.current_metadata_offset,
        want_fence: body.want_fence,
        want_shutdown: body.want_shut_down,
    };
    let next = node.next_metadata_offset();
    let decision = node.active().and_then(|c| c.heartbeat(beat, next, now));
    let to = incoming.to;
    let answer = move |node: &mut Node, _: Now, result: Result<BeatAnswer, ErrorCode>| {
        let told = result.unwrap_or_else(|_| BeatAnswer { fenced: true, ..BeatAnswer::default() });
        let body = BrokerHeartbeatResponse {
            error_code: super::code(&result),
            is_caught_up: told.caught_up,
            is_fenced: told.fenced,
            should_shut_down: told.shut_down,
            ..BrokerHeartbeatResponse::default()
        };
        node.respond::<BrokerHeartbeatRequest>(&to, &body);
    };
    match decision {
        // A mere sign of life waits for nothing: a controller that cannot commit still keeps its brokers' sessions.
        Ok(decision) if decision.records.is_empty() => answer(node, now, Ok(decision.answer)),
        Ok(decision) => node.decided(now, decision, answer),
        Err(error) => answer(node, now, Err(error)),
    }
}

/// This broker's own heartbeat.
pub(crate) fn frame(beat: &Heartbeat) -> impl FnOnce(i32) -> Bytes + use<> {
    let body = BrokerHeartbeatRequest {
        broker_id: beat.broker,
        broker_epoch: beat.broker_epoch,
        current_metadata_offset: beat.metadata_offset,
        want_fence: beat.want_fence,
        want_shut_down: beat.want_shutdown,
        ..BrokerHeartbeatRequest::default()
    };
    let client_id = beat.broker.to_string();
    move |correlation| frame::request(&body, VERSION, correlation, &client_id).expect("a version that is declared")
}

/// What this broker is told.
pub(crate) fn read_answer(bytes: Bytes) -> Result<BeatAnswer, ErrorCode> {
    let (_, body) =
        frame::response::<BrokerHeartbeatRequest>(bytes, VERSION).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
    match body.error_code {
        0 => Ok(BeatAnswer { caught_up: body.is_caught_up, fenced: body.is_fenced, shut_down: body.should_shut_down }),
        error => Err(ErrorCode(error)),
    }
}
