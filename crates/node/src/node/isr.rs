//! ISRs that leaders want, on their way to the controller and back.

use bytes::Bytes;
use metricstream_wire::ErrorCode;

use super::{Expect, Node};
use crate::api;
use crate::broker::{Moved, Role};
use crate::controller::{AlterPartitions, PartitionWish};
use crate::image::PartitionId;
use crate::io::{Event, Output};
use crate::net::peers::Channel;
use crate::time::Now;

/// Between attempts; Kafka's.
const RETRY_MS: i64 = 50;

impl Node {
    /// Looks for lag, and sends the proposals that wait. Whether anything was sent.
    pub(super) fn run_isr(&mut self, now: Now) -> bool {
        let Some(broker) = &mut self.broker else { return false };
        if self.judges {
            broker.look_for_lag(&self.config.settings, now);
        }
        broker.clean(&self.config.settings, now, &mut self.out);
        if broker.alter_in_flight || broker.proposals.is_empty() {
            return false;
        }
        let Some(epoch) = broker.lifecycle.epoch else { return false };
        let Some((leader, at)) = self.controller_address() else { return false };
        let Some(broker) = &mut self.broker else { return false };
        let mut wishes = Vec::new();
        let mut asked = Vec::new();
        for id in std::mem::take(&mut broker.proposals) {
            let Some(replica) = broker.replicas.get_mut(&id) else { continue };
            let (topic, leader_epoch) = (replica.topic.clone(), replica.leader_epoch);
            let Role::Leader(leading) = &mut replica.role else { continue };
            let Some(proposal) = leading.take_proposal(epoch, now) else {
                // It waits for its time, or is under way.
                if leading.proposal_due().is_some() {
                    broker.proposals.insert(id);
                }
                continue;
            };
            let members = proposal.isr.iter().map(|(r, _)| *r).collect();
            self.out.push(Output::Event(Event::IsrProposed { topic, partition: id.1, isr: members }));
            asked.push(id);
            wishes.push(PartitionWish {
                topic: id.0,
                partition: id.1,
                leader_epoch,
                partition_epoch: leading.partition_epoch(),
                isr: proposal.isr,
                recovering: false,
            });
        }
        if wishes.is_empty() {
            return false;
        }
        let wish = AlterPartitions { broker: self.config.node_id, broker_epoch: epoch, wishes };
        let deadline = now.after_ms(self.config.settings.broker_session_timeout_ms.max(100));
        let to = (leader, &at, Channel::Controller);
        let frame = api::alter_partition::frame(&wish);
        broker.alter_in_flight = true;
        if self.peers.send(to, frame, Expect::AlterPartitions(asked.clone()), deadline, &mut self.out).is_err() {
            self.isr_failed(now, &asked);
        }
        true
    }

    pub(super) fn isr_answered(&mut self, now: Now, asked: &[PartitionId], frame: Bytes) {
        let Ok(altered) = api::alter_partition::read_answer(frame) else { return self.isr_failed(now, asked) };
        let Some(broker) = &mut self.broker else { return };
        broker.alter_in_flight = false;
        for one in altered {
            let id = (one.topic, one.partition);
            let Some(replica) = broker.replicas.get_mut(&id) else { continue };
            let error = match one.result {
                Ok(partition) => {
                    replica.accepted(&partition);
                    ErrorCode::NONE
                }
                Err(error) => error,
            };
            if let Role::Leader(leading) = &mut replica.role {
                leading.answered(error, now.after_ms(RETRY_MS));
                if leading.proposal_due().is_some() {
                    broker.proposals.insert(id);
                }
            }
            let moved = replica.advance(&self.image, &self.config.flaws, now, &mut self.out);
            broker.moved(id, moved.and(Moved::default()));
        }
    }

    /// Nobody knows what became of them: they are sent again.
    pub(super) fn isr_failed(&mut self, now: Now, asked: &[PartitionId]) {
        let Some(broker) = &mut self.broker else { return };
        broker.alter_in_flight = false;
        for id in asked {
            if let Some(replica) = broker.replicas.get_mut(id)
                && let Role::Leader(leading) = &mut replica.role
            {
                leading.answered(ErrorCode::NOT_CONTROLLER, now.after_ms(RETRY_MS));
                if leading.proposal_due().is_some() {
                    broker.proposals.insert(*id);
                }
            }
        }
    }
}
