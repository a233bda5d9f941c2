//! The quorum's messages on their way: requests of others to the state machine and back, its own to other voters.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Expect, Incoming, Node, ReplyTo};
use crate::api;
use crate::io::{ConnId, Event, Level, Output};
use crate::net::peers::Channel;
use crate::quorum::{Answer, QuorumOutput, Request, RequestId, RoleName, Token};
use crate::time::Now;

/// Requests that the quorum has in hand.
#[derive(Debug, Default)]
pub(super) struct QuorumTokens {
    next: u64,
    waiting: BTreeMap<Token, (ReplyTo, i16)>,
}

/// A parked fetch of the metadata log is answered within its wait; beyond that the connection is given up.
const FETCH_GRACE_MS: i64 = 500;

impl Node {
    /// A request to the quorum, of another voter, a broker or an observer.
    pub(crate) fn ask_quorum(&mut self, now: Now, incoming: &Incoming, request: Request) {
        let token = Token(self.quorum_tokens.next);
        self.quorum_tokens.next += 1;
        self.quorum_tokens.waiting.insert(token, (incoming.to.clone(), incoming.header.api_key));
        self.quorum.handle(now, &mut self.out, token, request);
    }

    /// Requests whose connection is gone are forgotten.
    pub(super) fn forget_quorum_tokens(&mut self, conn: ConnId) {
        let gone = self.quorum_tokens.waiting.iter().filter(|(_, (to, _))| to.conn() == conn);
        for token in gone.map(|(token, _)| *token).collect::<Vec<_>>() {
            self.quorum_tokens.waiting.remove(&token);
            self.quorum.forget(token);
        }
    }

    pub(super) fn quorum_output(&mut self, now: Now, output: QuorumOutput) {
        match output {
            QuorumOutput::Request { to, id, request } => self.send_quorum(now, to, id, &request),
            QuorumOutput::Answer { token, answer } => {
                if let Some((to, _)) = self.quorum_tokens.waiting.remove(&token) {
                    api::quorum::respond(self, &to, answer);
                }
            }
            QuorumOutput::Committed(committed) => self.metadata_committed(now, committed),
            QuorumOutput::LoadSnapshot(snapshot) => self.metadata_loaded(now, snapshot),
            QuorumOutput::RoleChanged { role, epoch, leader } => {
                if role != RoleName::Leader {
                    self.leave_office(now);
                }
                self.out.push(Output::Event(Event::QuorumRole { role: role.as_str(), epoch, leader }));
                self.controller_changed(now);
            }
            QuorumOutput::Active { epoch } => self.take_office(now, epoch),
            QuorumOutput::SnapshotTaken { id } => {
                self.say(Level::Info, format!("metadata snapshot at offset {} epoch {} taken", id.offset, id.epoch));
            }
        }
    }

    fn send_quorum(&mut self, now: Now, to: i32, id: RequestId, request: &Request) {
        let Some(at) = self.config.voters.iter().find(|v| v.id == to).map(|v| v.at.clone()) else { return };
        let channel = if request.is_fetch() { Channel::MetadataFetch } else { Channel::Quorum };
        let settings = &self.config.settings;
        let wait_ms = match request {
            Request::Fetch(fetch) => fetch.max_wait_ms + FETCH_GRACE_MS,
            _ => 0,
        };
        let deadline = now.after_ms(settings.quorum_request_timeout_ms + wait_ms);
        let context = api::quorum::Context {
            cluster_id: &self.config.cluster_id,
            node_id: self.config.node_id,
            listener: self.config.controller_listener.as_ref(),
        };
        let version = api::quorum::version(request);
        let frame = |correlation| api::quorum::frame(&context, request, correlation);
        let sent = self.peers.send((to, &at, channel), frame, Expect::Quorum(id, version), deadline, &mut self.out);
        if sent.is_err() {
            self.quorum.on_failed(now, &mut self.out, id);
        }
    }

    pub(super) fn quorum_answered(&mut self, now: Now, conn: ConnId, id: RequestId, key: i16, frame: Bytes) {
        match api::quorum::read_answer(key, frame) {
            Some(answer) => {
                let answer: Answer = answer;
                self.quorum.on_response(now, &mut self.out, id, answer);
            }
            None => {
                self.quorum.on_failed(now, &mut self.out, id);
                self.drop_connection(now, conn);
            }
        }
    }

    /// A snapshot of the metadata is taken when enough has come since the last one, or enough time has passed.
    pub(super) fn maybe_snapshot(&mut self, now: Now) {
        let settings = &self.config.settings;
        let bytes = u64::try_from(settings.metadata_snapshot_bytes).unwrap_or(u64::MAX);
        let since = self.quorum.bytes_since_snapshot();
        let interval = u64::try_from(settings.metadata_snapshot_interval_ms).unwrap_or(u64::MAX);
        let aged = interval > 0 && since > 0 && now.since_ms(self.snapshot_at) >= interval;
        if (since < bytes && !aged) || self.image.offset < 0 {
            return;
        }
        self.snapshot_at = now.monotonic_ns;
        let records: Vec<Bytes> =
            self.image.to_records().iter().map(metricstream_wire::metadata_record::MetadataRecord::encode).collect();
        let id = crate::quorum::OffsetAndEpoch { epoch: self.image.epoch, offset: self.image.offset + 1 };
        let stamp = self.last_timestamp_ms;
        self.quorum.take_snapshot(&mut self.out, id, stamp, &records);
    }
}
