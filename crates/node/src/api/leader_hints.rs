//! Who leads partitions that the wrong node was asked for, and where those leaders listen (KIP-951): the same in Produce and
//! in Fetch, but for the structures that it is told in.

use std::collections::BTreeMap;

use crate::image::PartitionId;
use crate::node::Node;

/// The leaders that one answer names.
#[derive(Debug, Default)]
pub(crate) struct LeaderHints {
    /// Host, port and rack by node id.
    endpoints: BTreeMap<i32, (String, u16, Option<String>)>,
}

impl LeaderHints {
    /// Who leads now, and in which epoch; its endpoint is noted. Told only where both are known.
    pub(crate) fn leader(&mut self, node: &Node, id: PartitionId) -> Option<(i32, i32)> {
        let partition = node.image.partition(id)?;
        let leader = node.image.brokers.get(&partition.leader).filter(|b| !b.fenced)?;
        let at = node.broker_address(leader.id)?;
        self.endpoints.insert(leader.id, (at.host, at.port, leader.rack.clone()));
        Some((leader.id, partition.leader_epoch))
    }

    /// The endpoints, made of node id, host, port and rack.
    pub(crate) fn endpoints<T>(self, make: impl Fn(i32, String, i32, Option<String>) -> T) -> Vec<T> {
        let endpoints = self.endpoints.into_iter();
        endpoints.map(|(node_id, (host, port, rack))| make(node_id, host, i32::from(port), rack)).collect()
    }
}
