//! One node: its roles joined to its connections, its store and the time. What each part decides is decided elsewhere;
//! here it is told what happened and what comes of it goes where it belongs.
//!
//! * [`boot`]: from a store to a node. [`dispatch`]: frames to handlers, and answers back. [`quorum_io`]: the quorum's
//!   messages. [`office`]: the active controller's records and answers. [`metadata`]: what committed records change.
//! * [`running`]: the time on which it lives. [`lifecycle`]: registration and heartbeats. [`replication`]: fetching from
//!   leaders. [`isr`]: proposals to the controller. [`parked`]: produce and fetch requests that wait. [`departed`]: what
//!   clients are told of brokers that have just died.

use std::collections::BTreeMap;

use bytes::BytesMut;
use metricstream_wire::Uuid;
use rand_chacha::ChaCha8Rng;

use crate::broker::Broker;
use crate::config::NodeConfig;
use crate::image::Image;
use crate::io::{Closed, ConnId, Event, Input, Level, Output, Outputs};
use crate::net::inbound::InboundConnections;
use crate::net::peers::Peers;
use crate::quorum::Quorum;
use crate::time::{MS, Now, Ns};

mod boot;
mod coordinating;
mod departed;
pub(crate) mod dispatch;
mod isr;
mod lifecycle;
mod metadata;
mod office;
mod parked;
mod producer_ids;
mod quorum_io;
mod replication;
mod running;
#[cfg(test)]
mod stories;

pub use boot::BootError;
pub(crate) use coordinating::Coordinating;
pub(crate) use departed::Departed;
pub(crate) use dispatch::{Incoming, ReplyTo};
pub(crate) use office::Office;
use quorum_io::QuorumTokens;
pub(crate) use replication::BROKER_LISTENER;
use running::RunningTime;

/// Being away for so long is told.
const AWAY_WORTH_TELLING_NS: Ns = 100 * MS;

/// What a node waits for from another one.
#[derive(Debug)]
pub(crate) enum Expect {
    Quorum(crate::quorum::RequestId, i16),
    Registration,
    Heartbeat,
    AlterPartitions(Vec<crate::image::PartitionId>),
    ProducerIds,
    /// The answer goes to the client that sent the request.
    Forwarded(Box<crate::api::forward::Forwarded>),
    /// A topic that somebody asked for and that is being made; nobody waits.
    AutoCreated(String),
    ReplicaFetch(i32),
}

/// A Kafka node.
#[derive(Debug)]
pub struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) out: Outputs,
    pub(crate) random: ChaCha8Rng,
    /// The id of its store.
    directory: Uuid,
    pub(crate) inbound: InboundConnections,
    pub(crate) peers: Peers<Expect>,
    pub(crate) quorum: Quorum,
    quorum_tokens: QuorumTokens,
    pub(crate) forwards: crate::api::forward::Forwards,
    /// What is committed.
    pub(crate) image: Image,
    pub(crate) office: Option<Office>,
    pub(crate) broker: Option<Broker>,
    /// Bytes of metadata records since the last snapshot, and when it was taken.
    snapshot_at: Ns,
    last_timestamp_ms: i64,
    time: RunningTime,
    /// Whether those may be judged now whose time is over: all that came before has been taken in.
    judges: bool,
    /// Nodes that refused the last attempt to connect to them, and when: they may have died with the office, and whoever
    /// takes it has had no connection of theirs that could end.
    refused_at: BTreeMap<i32, Ns>,
    pub(crate) departed: Departed,
    halted: bool,
}

impl Node {
    /// Takes something in. Deadlines are looked at with [`Input::Timer`] only, which the driver gives when nothing else is
    /// waiting: what is in its queues may be what is waited for.
    pub fn handle(&mut self, now: Now, input: Input) {
        if self.halted {
            return;
        }
        let now = self.run_at(now);
        self.judges = matches!(input, Input::Timer);
        match input {
            Input::Accepted { conn, listener } => self.inbound.opened(conn, listener),
            Input::Connected { conn } => {
                if let Some((peer, _)) = self.peers.peer(conn) {
                    self.refused_at.remove(&peer);
                    self.departed.lives(peer);
                }
                self.peers.connected(conn, &mut self.out);
            }
            Input::Frame { conn, bytes } => self.frame(now, conn, bytes),
            Input::Closed { conn, why } => {
                if why == Closed::Refused {
                    self.refused(now, conn);
                }
                self.closed(now, conn);
            }
            // Nothing follows from it but that more is read.
            Input::Sent { conn, bytes } => return self.inbound.sent(conn, bytes, &mut self.out),
            Input::Stored(done) => self.stored(now, &done),
            Input::Timer => {}
        }
        self.settle(now);
    }

    /// What is to be done, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        self.out.take()
    }

    /// Begins a controlled shutdown: leaderships are handed over, then [`Output::Halt`] comes with no reason.
    pub fn shut_down(&mut self, now: Now) {
        let now = self.run_at(now);
        self.judges = false;
        match &mut self.broker {
            Some(broker) => broker.lifecycle.begin_shutdown(now),
            None => self.end(now),
        }
        self.settle(now);
    }

    /// The committed image, for tests and views.
    #[must_use]
    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// The broker's part, for tests and views.
    #[must_use]
    pub const fn broker(&self) -> Option<&Broker> {
        self.broker.as_ref()
    }

    /// Whether this node is the active controller.
    #[must_use]
    pub const fn is_active_controller(&self) -> bool {
        self.office.is_some()
    }

    /// The leader of the quorum as this node knows it.
    #[must_use]
    pub fn controller(&self) -> Option<i32> {
        self.quorum.current().leader_id
    }

    fn frame(&mut self, now: Now, conn: ConnId, bytes: BytesMut) {
        if self.peers.is_ours(conn) {
            self.answered(now, conn, bytes.freeze());
        } else {
            self.request(now, conn, bytes);
        }
    }

    /// Nobody listens where a node was: evidence of its death, for the active controller or whoever becomes it soon.
    fn refused(&mut self, now: Now, conn: ConnId) {
        let Some((peer, _)) = self.peers.peer(conn) else { return };
        self.refused_at.insert(peer, now.monotonic_ns);
        self.departed.ended(now, peer);
        if let Some(office) = &mut self.office {
            office.controller.disconnected(peer, now);
        }
    }

    fn closed(&mut self, now: Now, conn: ConnId) {
        if let Some((peer, expected)) = self.peers.closed(conn) {
            self.departed.ended(now, peer);
            self.failed(now, expected);
            self.quorum.on_disconnect(now, &mut self.out, peer);
            return;
        }
        let broker = self.inbound.closed(conn);
        self.forget_parked(conn);
        if let (Some(broker), Some(office)) = (broker, &mut self.office) {
            office.controller.disconnected(broker, now);
        }
    }

    fn stored(&mut self, now: Now, done: &crate::io::Completion) {
        if self.quorum.on_stored(now, &mut self.out, done) || done.result.is_ok() && self.groups_stored(now, done) {
            return;
        }
        if let Err(failure) = &done.result {
            self.halt(&format!("the store failed: {failure}"));
        } else if let (Some((id, place)), Ok(result)) =
            (self.broker.as_mut().and_then(|broker| broker.reads.remove(&done.id)), &done.result)
        {
            crate::api::list_offsets::stored(self, id, place, result);
        } else if let Some(broker) = &mut self.broker {
            broker.stored(done, &mut self.out);
        }
    }

    /// Everything that follows from what was taken in, until nothing more does; then when to be woken.
    fn settle(&mut self, now: Now) {
        if self.judges {
            self.overdue(now);
            self.quorum.on_timer(now, &mut self.out);
        }
        loop {
            let outputs = self.quorum.take();
            let mut moved = !outputs.is_empty();
            for output in outputs {
                self.quorum_output(now, output);
            }
            moved |= self.run_office(now);
            moved |= self.run_lifecycle(now);
            moved |= self.run_producer_ids(now);
            moved |= self.run_isr(now);
            moved |= self.run_fetchers(now);
            moved |= self.run_parked(now);
            moved |= self.run_departed(now);
            moved |= self.run_groups(now);
            moved |= self.run_forwards(now);
            if !moved || self.halted {
                break;
            }
        }
        self.maybe_snapshot(now);
        let next = self.next_timer();
        if !self.halted
            && let Some(wake) = self.time.wake(now, next)
        {
            self.out.push(Output::WakeAt(wake));
        }
    }

    /// The node's own time. That it was away for long is worth a line: whoever reads why others missed it will look for it.
    fn run_at(&mut self, told: Now) -> Now {
        let (now, late) = self.time.at(told);
        if late >= AWAY_WORTH_TELLING_NS {
            self.say(Level::Warn, format!("was not run for {} ms, which count for nobody's silence", late / MS));
        }
        now
    }

    fn next_timer(&self) -> Ns {
        let controller_known = self.controller_address().is_some();
        let mut next = self.quorum.next_timer().min(self.forwards.next_timer(controller_known));
        next = next.min(self.peers.next_deadline().unwrap_or(Ns::MAX)).min(self.departed.next_timer());
        if let Some(office) = &self.office {
            next = next.min(office.controller.next_timer());
        }
        if let Some(broker) = &self.broker {
            next = next.min(broker.next_timer(controller_known));
        }
        next
    }

    /// The connections whose answers are overdue are given up.
    fn overdue(&mut self, now: Now) {
        while let Some(expected) = self.peers.overdue(now, &mut self.out) {
            self.failed(now, expected);
        }
    }

    pub(crate) fn halt(&mut self, why: &str) {
        if !self.halted {
            self.halted = true;
            self.out.push(Output::Halt { why: why.to_owned() });
        }
    }

    /// The end of a controlled shutdown.
    fn end(&mut self, now: Now) {
        self.quorum.shut_down(now, &mut self.out);
        for output in self.quorum.take() {
            self.quorum_output(now, output);
        }
        if let Some(broker) = &mut self.broker {
            broker.close(&mut self.out);
        }
        self.halt("");
    }

    pub(crate) fn say(&mut self, level: Level, text: String) {
        self.out.push(Output::Event(Event::Log { level, text }));
    }

    /// Every setting of this node, and the flaws that are on; for views.
    #[must_use]
    pub fn settings(&self) -> BTreeMap<&'static str, String> {
        self.config.settings.all()
    }

    /// Flaws that are switched on.
    #[must_use]
    pub fn flaws(&self) -> Vec<&'static str> {
        self.config.flaws.on()
    }
}
