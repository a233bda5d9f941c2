//! What a broker passes on to the active controller for its clients, in an Envelope (58, KIP-590): the client's frame as it
//! came, and the controller's answer back with the client's own correlation id.
//!
//! Where no controller is known, the one that was asked is lost, or it says that it is none, the request waits and is passed
//! on again, as in Kafka; what was lost on the way may have been carried out. Only when its time is over the client is told
//! so, with the answer that a node gives which is not the active controller.

use bytes::Bytes;
use metricstream_wire::api::envelope::{EnvelopeRequest, EnvelopeResponse};
use metricstream_wire::{ErrorCode, frame};

use crate::io::{ConnId, Listener};
use crate::net::peers::Channel;
use crate::node::{Expect, Incoming, Node};
use crate::time::{Now, Ns};

const VERSION: i16 = 0;
/// How long a request may take on its way; Kafka's `request.timeout.ms` between brokers and the controller.
const PATIENCE_MS: i64 = 30_000;
/// Between attempts; Kafka's.
const RETRY_MS: i64 = 50;
/// Requests that may wait for a controller; more are refused at once.
const WAITING_MAX: usize = 1_024;

/// A request on its way to the active controller.
#[derive(Debug)]
pub(crate) struct Forwarded {
    incoming: Incoming,
    until: Ns,
}

/// Requests that wait for a controller.
#[derive(Debug, Default)]
pub(crate) struct Forwards {
    /// With the time before which each is not tried again.
    waiting: Vec<(Ns, Forwarded)>,
}

impl Forwards {
    /// Those that may be passed on now, or whose time is over.
    fn take_due(&mut self, now: Now, controller_known: bool) -> Vec<Forwarded> {
        let due = |(not_before, one): &(Ns, Forwarded)| {
            now.reached(one.until) || controller_known && now.reached(*not_before)
        };
        let (due, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(due);
        self.waiting = waiting;
        let due: Vec<(Ns, Forwarded)> = due;
        due.into_iter().map(|(_, one)| one).collect()
    }

    /// When there is one.
    pub(crate) fn next_timer(&self, controller_known: bool) -> Ns {
        let at =
            |(not_before, one): &(Ns, Forwarded)| if controller_known { one.until.min(*not_before) } else { one.until };
        self.waiting.iter().map(at).min().unwrap_or(Ns::MAX)
    }

    /// The client is gone.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        self.waiting.retain(|(_, one)| one.incoming.to.conn() != conn);
    }
}

/// A request begins its way to the controller.
pub(crate) fn forward(node: &mut Node, now: Now, incoming: Incoming) {
    pass_on(node, now, Forwarded { incoming, until: now.after_ms(PATIENCE_MS) });
}

fn pass_on(node: &mut Node, now: Now, one: Forwarded) {
    let Some((leader, at)) = node.controller_address() else {
        return wait(node, now, now.monotonic_ns, one);
    };
    let body = EnvelopeRequest {
        request_data: one.incoming.frame.clone(),
        request_principal: None,
        client_host_address: Bytes::from_static(&[127, 0, 0, 1]),
    };
    let client_id = node.config.node_id.to_string();
    let write =
        |correlation| frame::request(&body, VERSION, correlation, &client_id).expect("a version that is declared");
    let deadline = one.until;
    let expect = Expect::Forwarded(Box::new(one));
    let sent = node.peers.send((leader, &at, Channel::Forward), write, expect, deadline, &mut node.out);
    if let Err(Expect::Forwarded(one)) = sent {
        failed(node, now, *one);
    }
}

/// It goes on when a controller is known, not before a time.
fn wait(node: &mut Node, now: Now, not_before: Ns, one: Forwarded) {
    if now.reached(one.until) || node.forwards.waiting.len() >= WAITING_MAX {
        return refuse(node, now, one);
    }
    node.forwards.waiting.push((not_before, one));
}

/// The controller that was asked is lost, or is none.
pub(crate) fn failed(node: &mut Node, now: Now, one: Forwarded) {
    // Nobody waits for what a client asked that is gone: it is not carried out after the fact.
    if node.inbound.listener(one.incoming.to.conn()).is_some() {
        wait(node, now, now.after_ms(RETRY_MS), one);
    }
}

/// The answer of whoever is not the active controller: `NOT_CONTROLLER` in the form of each API, upon which every client
/// tries again.
fn refuse(node: &mut Node, now: Now, one: Forwarded) {
    super::dispatch(node, now, Incoming { listener: Listener::Controller, ..one.incoming });
}

impl Node {
    /// The controller's answer to what was passed on.
    pub(crate) fn forwarded(&mut self, now: Now, one: Forwarded, bytes: Bytes) {
        match frame::response::<EnvelopeRequest>(bytes, VERSION) {
            Ok((_, EnvelopeResponse { response_data: Some(inner), error_code: 0 })) if inner.len() >= 4 => {
                self.respond_raw(&one.incoming.to, &inner);
            }
            Ok((_, answer)) if answer.error_code == ErrorCode::NOT_CONTROLLER.0 => failed(self, now, one),
            // What cannot be read ends the connection, here as at the controller.
            _ => self.drop_connection(now, one.incoming.to.conn()),
        }
    }

    /// Passes on what waited for a controller. Whether anything did.
    pub(crate) fn run_forwards(&mut self, now: Now) -> bool {
        if self.forwards.waiting.is_empty() {
            return false;
        }
        let known = self.controller_address().is_some();
        let due = self.forwards.take_due(now, known);
        let moved = !due.is_empty();
        for one in due {
            if now.reached(one.until) { refuse(self, now, one) } else { pass_on(self, now, one) }
        }
        moved
    }
}
