//! A broker's standing with the controller: it registers, beats, is unfenced when it knows its own registration, and
//! leaves in order.

use bytes::Bytes;
use metricstream_wire::ErrorCode;

use super::{Expect, Node};
use crate::api;
use crate::config::Address;
use crate::io::{Event, Level, Output};
use crate::net::peers::Channel;
use crate::time::Now;

/// Beats of a broker that is leaving; Kafka's.
const LEAVING_BEAT_MS: i64 = 50;
/// Between attempts to reach a controller; Kafka's.
const RETRY_MS: i64 = 50;

impl Node {
    /// The active controller's address as the quorum knows it.
    pub(crate) fn controller_address(&self) -> Option<(i32, Address)> {
        let leader = self.quorum.current().leader_id?;
        self.config.voters.iter().find(|v| v.id == leader).map(|v| (leader, v.at.clone()))
    }

    /// Sends what is due. Whether anything was.
    pub(super) fn run_lifecycle(&mut self, now: Now) -> bool {
        let Some(broker) = &self.broker else { return false };
        let lifecycle = &broker.lifecycle;
        if lifecycle.in_flight || !now.reached(lifecycle.next_at) {
            return false;
        }
        let Some((leader, at)) = self.controller_address() else {
            self.put_off(now, RETRY_MS);
            return false;
        };
        let Some(broker) = &mut self.broker else { return false };
        let timeout = self.config.settings.broker_session_timeout_ms.max(100);
        let deadline = now.after_ms(timeout);
        let to = (leader, &at, Channel::Controller);
        let sent = if broker.lifecycle.epoch.is_none() {
            let frame = api::broker_registration::frame(&self.config, self.directory, broker.lifecycle.previous_epoch);
            self.peers.send(to, frame, Expect::Registration, deadline, &mut self.out)
        } else {
            let frame = api::broker_heartbeat::frame(&broker.lifecycle.beat(self.config.node_id, self.image.offset));
            self.peers.send(to, frame, Expect::Heartbeat, deadline, &mut self.out)
        };
        if sent.is_ok() {
            broker.lifecycle.in_flight = true;
        } else {
            self.put_off(now, RETRY_MS);
        }
        true
    }

    fn put_off(&mut self, now: Now, ms: i64) {
        if let Some(broker) = &mut self.broker {
            broker.lifecycle.answered(now, ms);
        }
    }

    /// Another controller may be the active one, or is active now: what was asked before is asked again.
    pub(super) fn controller_changed(&mut self, now: Now) {
        // The old one may be in a black hole: what it was passed on for clients goes to the new one.
        if let Some(leader) = self.quorum.current().leader_id {
            while let Some(expected) = self.peers.leave(Channel::Forward, leader, &mut self.out) {
                self.failed(now, expected);
            }
        }
        if let Some(broker) = &mut self.broker
            && !broker.lifecycle.is_unfenced()
        {
            broker.lifecycle.hurry(now);
        }
    }

    /// The controller could not be reached or did not answer.
    pub(super) fn controller_failed(&mut self, now: Now) {
        self.put_off(now, RETRY_MS);
    }

    pub(super) fn registered(&mut self, now: Now, frame: Bytes) {
        let answer = api::broker_registration::read_answer(frame);
        let interval = self.config.settings.broker_heartbeat_interval_ms;
        let Some(broker) = &mut self.broker else { return };
        match answer {
            Ok(epoch) => {
                broker.lifecycle.answered(now, RETRY_MS.min(interval));
                // The first beat that can unfence it is the one after its metadata shows it; that wakes it.
                broker.lifecycle.epoch = Some(epoch);
                if let Some(own) = self.image.brokers.get(&self.config.node_id)
                    && own.epoch == epoch
                {
                    broker.lifecycle.metadata_shows(own, self.image.offset, now);
                }
            }
            Err(ErrorCode::NOT_CONTROLLER | ErrorCode::NONE) => broker.lifecycle.answered(now, RETRY_MS),
            Err(ErrorCode::INCONSISTENT_CLUSTER_ID) => {
                self.halt("the controllers belong to another cluster (INCONSISTENT_CLUSTER_ID)");
            }
            Err(error) => {
                broker.lifecycle.answered(now, interval.min(500));
                self.say(Level::Info, format!("not registered yet: {error}"));
            }
        }
    }

    pub(super) fn beaten(&mut self, now: Now, frame: Bytes) {
        let answer = api::broker_heartbeat::read_answer(frame);
        let interval = self.config.settings.broker_heartbeat_interval_ms;
        let Some(broker) = &mut self.broker else { return };
        match answer {
            Ok(answer) => {
                let was = broker.lifecycle.fenced;
                broker.lifecycle.fenced = answer.fenced;
                let soon = if broker.lifecycle.leaving {
                    LEAVING_BEAT_MS.min(interval)
                } else if answer.fenced {
                    // Unfencing waits for this node's own metadata; that wakes it.
                    interval.min(RETRY_MS)
                } else {
                    interval
                };
                broker.lifecycle.answered(now, soon);
                if was != answer.fenced {
                    self.out.push(Output::Event(Event::Fenced { fenced: answer.fenced }));
                }
                if answer.shut_down && broker.lifecycle.leaving {
                    self.end(now);
                }
            }
            Err(ErrorCode::STALE_BROKER_EPOCH | ErrorCode::BROKER_ID_NOT_REGISTERED) => {
                broker.lifecycle.epoch = None;
                broker.lifecycle.answered(now, 0);
            }
            Err(_) => broker.lifecycle.answered(now, RETRY_MS),
        }
    }
}
