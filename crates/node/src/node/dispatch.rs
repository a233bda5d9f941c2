//! From a frame to the handler of its API, and from an answer to the connection that waits for it.

use bytes::{Bytes, BytesMut};
use metricstream_wire::api::envelope::{EnvelopeRequest, EnvelopeResponse};
use metricstream_wire::frame::{self, Request, RequestHeader};
use metricstream_wire::{ErrorCode, Reader};

use super::{Expect, Node};
use crate::api;
use crate::io::{ConnId, Listener, Output};
use crate::net::inbound::RequestRef;
use crate::time::Now;

/// Where an answer goes, and in which version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    request: RequestRef,
    /// Version of the request that is answered.
    pub(crate) version: i16,
    correlation_id: i32,
    /// The envelope that it came in: version and correlation id (KIP-590).
    envelope: Option<(i16, i32)>,
}

impl ReplyTo {
    /// The connection that waits.
    pub(crate) fn conn(&self) -> ConnId {
        self.request.conn
    }
}

/// A request whose header has been read.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Where the answer goes.
    pub(crate) to: ReplyTo,
    /// API key, version, correlation id, client id.
    pub(crate) header: RequestHeader,
    /// Through which door it came.
    pub(crate) listener: Listener,
    /// The whole frame, for those that need its bytes.
    pub(crate) frame: Bytes,
    /// What follows the header.
    pub(crate) rest: Reader,
}

impl Incoming {
    /// How the client calls itself.
    pub(crate) fn client_id(&self) -> &str {
        self.header.client_id.as_deref().unwrap_or_default()
    }
}

impl Node {
    /// A request came from a client, a broker or a voter.
    pub(super) fn request(&mut self, now: Now, conn: ConnId, bytes: BytesMut) {
        let Some(listener) = self.inbound.listener(conn) else { return };
        let frame = bytes.freeze();
        let mut rest = Reader::new(frame.clone());
        let Ok(header) = RequestHeader::read(&mut rest) else { return self.drop_connection(now, conn) };
        let Some(request) = self.inbound.request(conn, &mut self.out) else { return };
        let (version, correlation_id) = (header.api_version, header.correlation_id);
        let to = ReplyTo { request, version, correlation_id, envelope: None };
        api::dispatch(self, now, Incoming { to, header, listener, frame, rest });
    }

    /// A request that a broker passed on for its client.
    pub(crate) fn unwrap_envelope(&mut self, now: Now, incoming: Incoming, envelope: EnvelopeRequest) {
        let frame = envelope.request_data;
        let mut rest = Reader::new(frame.clone());
        let header = match RequestHeader::read(&mut rest) {
            Ok(header) if self.is_active_controller() => Ok(header),
            // The broker that passed it on looks for the one that is.
            Ok(_) => Err(ErrorCode::NOT_CONTROLLER),
            Err(_) => Err(ErrorCode::INVALID_REQUEST),
        };
        let header = match header {
            Ok(header) => header,
            Err(error) => {
                let refused = EnvelopeResponse { error_code: error.0, ..EnvelopeResponse::default() };
                return self.respond::<EnvelopeRequest>(&incoming.to, &refused);
            }
        };
        let outer = incoming.to;
        let to = ReplyTo {
            request: outer.request,
            version: header.api_version,
            correlation_id: header.correlation_id,
            envelope: Some((outer.version, outer.correlation_id)),
        };
        api::dispatch(self, now, Incoming { to, header, listener: Listener::Controller, frame, rest });
    }

    /// Reads the body of a request. What cannot be read ends the connection, as Kafka does.
    pub(crate) fn body<R: Request>(&mut self, now: Now, incoming: &mut Incoming) -> Option<R> {
        let rest = std::mem::replace(&mut incoming.rest, Reader::new(Bytes::new()));
        match frame::request_body::<R>(&incoming.header, rest) {
            Ok(body) => Some(body),
            Err(_) => {
                self.drop_connection(now, incoming.to.conn());
                None
            }
        }
    }

    /// Answers a request.
    pub(crate) fn respond<R: Request>(&mut self, to: &ReplyTo, body: &R::Response) {
        let parts = match to.envelope {
            None => frame::response_parts::<R>(body, to.version, to.correlation_id),
            Some((version, correlation_id)) => frame::response_bytes::<R>(body, to.version, to.correlation_id)
                .and_then(|inner| {
                    let envelope = EnvelopeResponse { response_data: Some(inner.slice(4..)), error_code: 0 };
                    frame::response_parts::<EnvelopeRequest>(&envelope, version, correlation_id)
                }),
        };
        match parts {
            Ok(parts) => self.inbound.answer(to.request, Some(parts), &mut self.out),
            Err(error) => {
                self.say(crate::io::Level::Error, format!("an answer could not be written: {error}"));
                self.out.push(Output::Close { conn: to.conn() });
            }
        }
    }

    /// Answers with a frame that another node wrote, but for the correlation id.
    pub(crate) fn respond_raw(&mut self, to: &ReplyTo, without_length: &[u8]) {
        let mut frame = BytesMut::with_capacity(without_length.len() + 4);
        frame.extend_from_slice(&i32::try_from(without_length.len()).unwrap_or(i32::MAX).to_be_bytes());
        frame.extend_from_slice(without_length);
        frame[4..8].copy_from_slice(&to.correlation_id.to_be_bytes());
        let parts = vec![metricstream_wire::parts::Part::Bytes(frame.freeze())];
        self.inbound.answer(to.request, Some(parts), &mut self.out);
    }

    /// A request that wants no answer (acks=0) is done.
    pub(crate) fn respond_nothing(&mut self, to: &ReplyTo) {
        self.inbound.answer(to.request, None, &mut self.out);
    }

    /// Ends a connection whose bytes make no sense, or that asks for what is not spoken.
    pub(crate) fn drop_connection(&mut self, now: Now, conn: ConnId) {
        self.out.push(Output::Close { conn });
        self.closed(now, conn);
    }

    /// The answer of another node.
    pub(super) fn answered(&mut self, now: Now, conn: ConnId, frame: Bytes) {
        let correlation = frame.first_chunk::<4>().map(|b| i32::from_be_bytes(*b));
        let Some(expect) = correlation.and_then(|c| self.peers.answered(conn, c)) else {
            return self.drop_connection(now, conn);
        };
        match expect {
            Expect::Quorum(id, version) => self.quorum_answered(now, conn, id, version, frame),
            Expect::Registration => self.registered(now, frame),
            Expect::Heartbeat => self.beaten(now, frame),
            Expect::AlterPartitions(asked) => self.isr_answered(now, &asked, frame),
            Expect::ProducerIds => self.producer_ids_answered(frame),
            Expect::Forwarded(one) => self.forwarded(now, *one, frame),
            Expect::AutoCreated(name) => self.topic_made(&name, Some(frame)),
            Expect::ReplicaFetch(leader) => self.fetched(now, leader, frame),
        }
    }

    /// What was expected of a node will not come.
    pub(super) fn failed(&mut self, now: Now, expected: Vec<Expect>) {
        for expect in expected {
            match expect {
                Expect::Quorum(id, _) => self.quorum.on_failed(now, &mut self.out, id),
                Expect::Registration | Expect::Heartbeat => self.controller_failed(now),
                Expect::AlterPartitions(asked) => self.isr_failed(now, &asked),
                Expect::ProducerIds => self.producer_ids_failed(),
                Expect::Forwarded(one) => api::forward::failed(self, now, *one),
                Expect::AutoCreated(name) => self.topic_made(&name, None),
                Expect::ReplicaFetch(leader) => self.fetch_failed(now, leader),
            }
        }
    }
}
