//! Brokers: registration, heartbeats, sessions, fencing, controlled shutdown (KIP-631, KIP-841, KIP-903, KIP-966).

use metricstream_wire::metadata_record::{
    BrokerEndpoint, BrokerFeature, BrokerRegistrationChange, MetadataRecord, RegisterBroker, UnregisterBroker,
};
use metricstream_wire::{ErrorCode, Uuid};

use super::{Controller, Decision};
use crate::image::{Broker, Endpoint, Partition};
use crate::time::{Now, Ns};

/// What the active controller knows of a broker's liveness. It lives and dies with the office.
#[derive(Debug, Clone)]
pub(super) struct Session {
    last_contact: Ns,
    /// When its disconnection counts as its death.
    pub(super) gone_at: Option<Ns>,
    metadata_offset: i64,
    /// The end of the log when it asked to shut down; it may go when every active broker knows that much.
    shutdown_offset: Option<i64>,
}

impl Session {
    pub(super) const fn new(now: Now) -> Self {
        Self { last_contact: now.monotonic_ns, gone_at: None, metadata_offset: -1, shutdown_offset: None }
    }
}

/// A broker that comes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct Registration {
    pub broker: i32,
    pub cluster_id: String,
    pub incarnation: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<String>,
    pub features: Vec<(String, i16, i16)>,
    pub directories: Vec<Uuid>,
    /// The epoch that it had when it shut down in order; −1 if it did not.
    pub previous_epoch: i64,
}

/// A broker's sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct Heartbeat {
    pub broker: i32,
    pub broker_epoch: i64,
    pub metadata_offset: i64,
    pub want_fence: bool,
    pub want_shutdown: bool,
}

/// What a broker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // Kafka's own terms.
pub struct BeatAnswer {
    pub caught_up: bool,
    pub fenced: bool,
    pub shut_down: bool,
}

/// What a heartbeat leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Fenced,
    Unfenced,
    ControlledShutdown,
    ShutDownNow,
}

impl Controller {
    /// A broker is who it says if it knows its epoch.
    pub(super) fn check_epoch(&self, broker: i32, epoch: i64) -> Result<&Broker, ErrorCode> {
        let known = self.image.brokers.get(&broker).ok_or(ErrorCode::STALE_BROKER_EPOCH)?;
        if known.epoch == epoch { Ok(known) } else { Err(ErrorCode::STALE_BROKER_EPOCH) }
    }

    /// Registers a broker; the answer is its epoch, the offset of its record, which will be `next_offset`.
    ///
    /// # Errors
    /// `INCONSISTENT_CLUSTER_ID`; `DUPLICATE_BROKER_REGISTRATION` while another process of this id has a live session.
    pub fn register_broker(
        &mut self,
        wish: &Registration,
        cluster_id: &str,
        next_offset: i64,
        now: Now,
    ) -> Result<Decision<i64>, ErrorCode> {
        if wish.cluster_id != cluster_id {
            return Err(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        let before = self.image.brokers.get(&wish.broker);
        if let Some(before) = before {
            if before.incarnation == wish.incarnation {
                // A retry whose answer was lost.
                let epoch = before.epoch;
                self.touch(wish.broker, now);
                return Ok(Decision::only(epoch));
            }
            if !before.fenced && self.has_session(wish.broker, now) {
                return Err(ErrorCode::DUPLICATE_BROKER_REGISTRATION);
            }
        }
        let unclean = before.is_some_and(|b| b.epoch != wish.previous_epoch) && !self.flaws.last_replica_standing;
        let record = RegisterBroker {
            broker_id: wish.broker,
            incarnation_id: wish.incarnation,
            broker_epoch: next_offset,
            end_points: wish.endpoints.iter().map(endpoint).collect(),
            features: wish.features.iter().map(feature).collect(),
            rack: wish.rack.clone(),
            fenced: true,
            log_dirs: wish.directories.clone(),
            ..RegisterBroker::default()
        };
        let mut records = vec![MetadataRecord::RegisterBroker(record)];
        if before.is_some() {
            let id = wish.broker;
            let touches = |p: &Partition| p.isr.contains(&id) || unclean && p.elr.contains(&id);
            records.extend(self.change_where(
                touches,
                |change| if unclean { change.unclean_shutdown(id) } else { change.without(id) },
                |r| r != id && self.image.is_active(r),
            ));
        }
        self.sessions.insert(wish.broker, Session::new(now));
        Ok(Decision { records, answer: next_offset })
    }

    /// Takes a broker out for good.
    ///
    /// # Errors
    /// If it is not registered.
    pub fn unregister_broker(&self, broker: i32) -> Result<Decision<()>, ErrorCode> {
        let known = self.image.brokers.get(&broker).ok_or(ErrorCode::BROKER_ID_NOT_REGISTERED)?;
        let id = broker;
        let mut records = self.change_where(
            |p| p.leader == id || p.isr.contains(&id) || p.elr.contains(&id),
            // Nobody will ever hear of it again.
            |change| change.unclean_shutdown(id),
            |r| r != id && self.image.is_active(r),
        );
        let record = UnregisterBroker { broker_id: broker, broker_epoch: known.epoch };
        records.push(MetadataRecord::UnregisterBroker(record));
        Ok(Decision { records, answer: () })
    }

    /// A broker's heartbeat.
    ///
    /// # Errors
    /// If it is not registered or its epoch is another one's: then it must register again.
    pub fn heartbeat(
        &mut self,
        beat: Heartbeat,
        next_offset: i64,
        now: Now,
    ) -> Result<Decision<BeatAnswer>, ErrorCode> {
        let known = self.check_epoch(beat.broker, beat.broker_epoch)?;
        let (fenced, leaving, epoch) = (known.fenced, known.in_controlled_shutdown, known.epoch);
        self.touch(beat.broker, now);
        if let Some(session) = self.sessions.get_mut(&beat.broker) {
            session.metadata_offset = beat.metadata_offset;
        }
        let caught_up = beat.metadata_offset >= epoch;
        let next = self.next_state(&beat, fenced, leaving, caught_up);
        let mut records = Vec::new();
        match next {
            Next::Unfenced if fenced => {
                records.push(changed(beat.broker, epoch, -1, false));
                records.extend(self.unfence(beat.broker));
            }
            Next::Fenced | Next::ShutDownNow if !fenced => records = self.fence(beat.broker),
            Next::ControlledShutdown if !leaving => {
                records.push(changed(beat.broker, epoch, 0, true));
                records.extend(self.hand_over(beat.broker));
                let end = next_offset + i64::try_from(records.len()).unwrap_or(0) - 1;
                self.sessions.entry(beat.broker).and_modify(|s| s.shutdown_offset = Some(end));
            }
            Next::ControlledShutdown => records = self.hand_over(beat.broker),
            _ => {}
        }
        let fenced = matches!(next, Next::Fenced | Next::ShutDownNow);
        Ok(Decision { records, answer: BeatAnswer { caught_up, fenced, shut_down: next == Next::ShutDownNow } })
    }

    fn next_state(&self, beat: &Heartbeat, fenced: bool, leaving: bool, caught_up: bool) -> Next {
        if fenced {
            return match (beat.want_shutdown, beat.want_fence) {
                (true, _) => Next::ShutDownNow,
                (false, false) if caught_up => Next::Unfenced,
                _ => Next::Fenced,
            };
        }
        if leaving {
            let ends = self.sessions.get(&beat.broker).and_then(|s| s.shutdown_offset).unwrap_or(-1);
            let done = !self.leads_anything(beat.broker) && self.lowest_active_offset(beat.broker) >= ends;
            return if done { Next::ShutDownNow } else { Next::ControlledShutdown };
        }
        match (beat.want_fence, beat.want_shutdown) {
            (true, true) => Next::ShutDownNow,
            (true, false) => Next::Fenced,
            (false, true) if self.leads_anything(beat.broker) => Next::ControlledShutdown,
            (false, true) => Next::ShutDownNow,
            (false, false) => Next::Unfenced,
        }
    }

    /// What every active broker but this one is known to know of the metadata.
    fn lowest_active_offset(&self, but: i32) -> i64 {
        let others = self.image.brokers.values().filter(|b| b.id != but && b.is_active());
        others.filter_map(|b| self.sessions.get(&b.id)).map(|s| s.metadata_offset).min().unwrap_or(i64::MAX)
    }

    fn leads_anything(&self, broker: i32) -> bool {
        self.image.partitions().any(|(_, _, p)| p.leader == broker)
    }

    /// A connection on which this broker spoke is gone: evidence of its death, where that is configured.
    pub fn disconnected(&mut self, broker: i32, now: Now) {
        let patience = self.settings.fence_after_disconnect_ms;
        let unfenced = self.image.brokers.get(&broker).is_some_and(|b| !b.fenced);
        if patience >= 0 && unfenced {
            self.sessions.entry(broker).and_modify(|s| s.gone_at = Some(now.after_ms(patience)));
        }
    }

    fn touch(&mut self, broker: i32, now: Now) {
        let session = self.sessions.entry(broker).or_insert_with(|| Session::new(now));
        session.last_contact = now.monotonic_ns;
        session.gone_at = None;
    }

    fn has_session(&self, broker: i32, now: Now) -> bool {
        self.sessions.get(&broker).is_some_and(|s| !self.is_over(s, now))
    }

    fn is_over(&self, session: &Session, now: Now) -> bool {
        let timeout = u64::try_from(self.settings.broker_session_timeout_ms).unwrap_or(0);
        now.since_ms(session.last_contact) >= timeout || session.gone_at.is_some_and(|at| now.reached(at))
    }

    /// An unfenced broker that is to be fenced now. Silence is looked for at intervals, as Kafka does.
    pub(super) fn silent_broker(&self, now: Now) -> Option<i32> {
        let looking = now.reached(self.next_expiry_look);
        let over = |s: &Session| s.gone_at.is_some_and(|at| now.reached(at)) || looking && self.is_over(s, now);
        let unfenced = self.image.brokers.values().filter(|b| !b.fenced);
        unfenced.map(|b| b.id).find(|id| self.sessions.get(id).is_none_or(over))
    }

    /// Fences a broker: it leaves every ISR, and what it led gets another leader, all at once.
    pub(super) fn fence(&self, broker: i32) -> Vec<MetadataRecord> {
        let Some(known) = self.image.brokers.get(&broker) else { return Vec::new() };
        let mut records = Vec::new();
        if !known.fenced {
            records.push(changed(broker, known.epoch, 1, false));
        }
        records.extend(self.hand_over(broker));
        records
    }

    /// Takes a broker out of every ISR and leadership.
    fn hand_over(&self, broker: i32) -> Vec<MetadataRecord> {
        self.change_where(
            |p| p.leader == broker || p.isr.contains(&broker),
            |change| change.without(broker),
            |r| r != broker && self.image.is_active(r),
        )
    }

    /// What waited for this broker gets a leader.
    fn unfence(&self, broker: i32) -> Vec<MetadataRecord> {
        self.change_where(|p| p.leader < 0, |change| change, |r| r == broker || self.image.is_active(r))
    }
}

/// Fenced: 1 yes, −1 no, 0 as it was.
fn changed(broker_id: i32, broker_epoch: i64, fenced: i8, leaving: bool) -> MetadataRecord {
    MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChange {
        broker_id,
        broker_epoch,
        fenced,
        in_controlled_shutdown: i8::from(leaving),
        ..BrokerRegistrationChange::default()
    })
}

fn endpoint(e: &Endpoint) -> BrokerEndpoint {
    BrokerEndpoint { name: e.name.clone(), host: e.host.clone(), port: e.port, security_protocol: e.security_protocol }
}

fn feature((name, low, high): &(String, i16, i16)) -> BrokerFeature {
    BrokerFeature { name: name.clone(), min_supported_version: *low, max_supported_version: *high }
}
