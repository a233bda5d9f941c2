//! What a broker passes on to the active controller for its clients, in an Envelope (58, KIP-590): the client's frame as it
//! came, and the controller's answer back with the client's own correlation id.

use bytes::Bytes;
use metricstream_wire::api::envelope::{EnvelopeRequest, EnvelopeResponse};
use metricstream_wire::frame;

use crate::net::peers::Channel;
use crate::node::{Expect, Incoming, Node, ReplyTo};
use crate::time::Now;

const VERSION: i16 = 0;
/// Kafka's `request.timeout.ms` between brokers and the controller.
const PATIENCE_MS: i64 = 30_000;

/// A request's way to the controller and back.
pub(crate) fn forward(node: &mut Node, now: Now, incoming: Incoming) {
    let Some((leader, at)) = node.controller_address() else {
        return refuse(node, &incoming.to);
    };
    let body = EnvelopeRequest {
        request_data: incoming.frame.clone(),
        request_principal: None,
        client_host_address: Bytes::from_static(&[127, 0, 0, 1]),
    };
    let client_id = node.config.node_id.to_string();
    let write =
        |correlation| frame::request(&body, VERSION, correlation, &client_id).expect("a version that is declared");
    let expect = Expect::Forwarded(incoming.to, incoming.header.api_key);
    let deadline = now.after_ms(PATIENCE_MS);
    let sent = node.peers.send((leader, &at, Channel::Forward), write, expect, deadline, &mut node.out);
    if let Err(Expect::Forwarded(to, _)) = sent {
        refuse(node, &to);
    }
}

impl Node {
    /// The controller's answer to what was passed on.
    pub(crate) fn forwarded(&mut self, to: &ReplyTo, _key: i16, bytes: Bytes) {
        let answer = frame::response::<EnvelopeRequest>(bytes, VERSION);
        match answer {
            Ok((_, EnvelopeResponse { response_data: Some(inner), error_code: 0 })) if inner.len() >= 4 => {
                self.respond_raw(to, &inner);
            }
            _ => refuse(self, to),
        }
    }
}

/// The controller cannot be reached: the client's connection ends, which every client takes for a reason to try again.
pub(crate) fn forward_failed(node: &mut Node, to: &ReplyTo, _key: i16) {
    refuse(node, to);
}

fn refuse(node: &mut Node, to: &ReplyTo) {
    node.out.push(crate::io::Output::Close { conn: to.conn() });
}
