//! A follower's side of replication: fetches to leaders, and what their answers do to the logs.

use std::collections::BTreeSet;

use bytes::Bytes;
use metricstream_wire::ErrorCode;

use super::{Expect, Node};
use crate::api::fetch::{self, CopiedPartition};
use crate::broker::following::SentFetch;
use crate::broker::{Moved, Replica, Role};
use crate::config::Address;
use crate::image::PartitionId;
use crate::io::Level;
use crate::net::peers::Channel;
use crate::time::Now;

/// The name of the listener that brokers use among themselves.
pub(crate) const BROKER_LISTENER: &str = "PLAINTEXT";

impl Node {
    /// Where a broker listens for other brokers.
    pub(crate) fn broker_address(&self, broker: i32) -> Option<Address> {
        let endpoint = self.image.brokers.get(&broker)?.endpoints.iter().find(|e| e.name == BROKER_LISTENER)?;
        Some(Address { host: endpoint.host.clone(), port: endpoint.port })
    }

    /// Asks every leader that can be asked. Whether any was.
    pub(super) fn run_fetchers(&mut self, now: Now) -> bool {
        let mut moved = false;
        while let Some((leader, wanted)) = self.broker.as_mut().and_then(|broker| broker.fetchers.next(now)) {
            moved = true;
            let Some(at) = self.broker_address(leader) else {
                self.fetch_failed(now, leader);
                continue;
            };
            let once = self.config.flaws.truncate_once_by_own_epoch;
            let Some(broker) = &mut self.broker else { break };
            let wanted: Vec<SentFetch> = wanted
                .iter()
                .filter_map(|id| broker.replicas.get(id))
                .map(|replica| SentFetch {
                    id: replica.id,
                    leader_epoch: replica.leader_epoch,
                    offset: replica.log.end_offset(),
                    last_epoch: if once && replica.compared_in == replica.leader_epoch {
                        -1
                    } else {
                        replica.log.last_epoch().unwrap_or(-1)
                    },
                    log_start: replica.log.start_offset(),
                })
                .collect();
            let Some(following) = broker.fetchers.following(leader) else { break };
            let ask = following.ask(wanted);
            let epoch = broker.lifecycle.epoch.unwrap_or(-1);
            let settings = &self.config.settings;
            let deadline = now.after_ms(settings.replica_socket_timeout_ms.max(settings.replica_fetch_wait_max_ms * 2));
            let frame = fetch::follower_frame(settings, self.config.node_id, epoch, &ask);
            let expect = Expect::ReplicaFetch(leader);
            if self.peers.send((leader, &at, Channel::Replica), frame, expect, deadline, &mut self.out).is_err() {
                self.fetch_failed(now, leader);
            }
        }
        moved
    }

    pub(super) fn fetch_failed(&mut self, now: Now, leader: i32) {
        let backoff = now.after_ms(self.config.settings.replica_fetch_backoff_ms);
        if let Some(broker) = &mut self.broker {
            broker.fetchers.failed(leader, backoff);
        }
    }

    pub(super) fn fetched(&mut self, now: Now, leader: i32, frame: Bytes) {
        let answer = fetch::read_follower_answer(frame);
        let Some(broker) = &mut self.broker else { return };
        let Some(following) = broker.fetchers.following(leader) else { return };
        let copied = match answer {
            Ok((session_id, copied)) => {
                following.answered(session_id);
                copied
            }
            Err(error) if fetch::is_of_the_session(error) => {
                // Nothing is wrong with the leader: it is asked for everything at once.
                following.refused(error);
                return broker.fetchers.answered(leader);
            }
            Err(_) => return self.fetch_failed(now, leader),
        };
        if self.config.flaws.truncate_once_by_own_epoch {
            // What is not told of has been compared as well.
            let told: BTreeSet<PartitionId> = copied.iter().map(|one| one.id).collect();
            for sent in following.all().filter(|sent| !told.contains(&sent.id)) {
                if let Some(replica) = broker.replicas.get_mut(&sent.id) {
                    replica.compared_in = sent.leader_epoch;
                }
            }
        }
        broker.fetchers.answered(leader);
        for one in copied {
            self.copied(now, leader, one);
        }
    }

    /// One partition of a leader's answer.
    fn copied(&mut self, now: Now, leader: i32, got: CopiedPartition) {
        let backoff = now.after_ms(self.config.settings.replica_fetch_backoff_ms);
        let Some(broker) = &mut self.broker else { return };
        let Some(following) = broker.fetchers.following(leader) else { return };
        let Some(asked) = following.sent(got.id) else { return };
        let replica = broker.replicas.get_mut(&asked.id);
        let fits = |replica: &&mut Replica| {
            let follows = matches!(replica.role, Role::Follower { leader: now } if now == leader);
            follows && replica.leader_epoch == asked.leader_epoch && replica.log.end_offset() == asked.offset
        };
        let Some(replica) = replica.filter(fits) else {
            // The answer to a question of another epoch, or of before a truncation, is worth nothing; and as the leader
            // counts it as told, it would not tell it again.
            return following.begin_anew();
        };
        let flaws = &self.config.flaws;
        match got.error {
            ErrorCode::NONE => replica.compared_in = asked.leader_epoch,
            ErrorCode::OFFSET_OUT_OF_RANGE if got.log_start > asked.offset => {
                replica.start_over(got.log_start, now, &mut self.out);
                return;
            }
            ErrorCode::OFFSET_OUT_OF_RANGE if got.log_end >= 0 && got.log_end < asked.offset => {
                // An unclean leader has less: the common part is what epochs say, at most its end.
                replica.diverged(replica.leader_epoch, got.log_end, flaws, now, &mut self.out);
                return;
            }
            _ => {
                broker.fetchers.delay(asked.id, backoff);
                return;
            }
        }
        if let Some((epoch, end_offset)) = got.diverging {
            replica.diverged(epoch, end_offset, flaws, now, &mut self.out);
            return;
        }
        match replica.copied(got.records, got.high_watermark, got.log_start, now, &mut self.out) {
            Ok(true) => broker.moved(asked.id, Moved { high_watermark: true, ..Moved::default() }),
            Ok(false) => {}
            Err(error) => {
                broker.fetchers.delay(asked.id, backoff);
                let name = format!("{}-{}", replica.topic, asked.id.1);
                self.say(Level::Error, format!("{name}: what leader {leader} sent cannot be appended: {error}"));
            }
        }
    }
}
