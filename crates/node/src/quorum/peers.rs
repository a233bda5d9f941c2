//! One request under way to each voter, its deadline, and the wait before the next one.

use std::collections::BTreeMap;

use super::RequestId;
use crate::time::Ns;

#[derive(Debug, Default)]
struct Peer {
    under_way: Option<(RequestId, Ns)>,
    not_before: Ns,
}

#[derive(Debug)]
pub(super) struct Peers {
    peers: BTreeMap<i32, Peer>,
    last_id: u64,
}

impl Peers {
    pub(super) fn new(voters: &[i32], me: i32) -> Self {
        let peers = voters.iter().filter(|v| **v != me).map(|v| (*v, Peer::default())).collect();
        Self { peers, last_id: 0 }
    }

    /// Forgets what is under way and every wait: the role that asked is over.
    pub(super) fn reset(&mut self) {
        for peer in self.peers.values_mut() {
            *peer = Peer::default();
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = i32> + '_ {
        self.peers.keys().copied()
    }

    pub(super) fn is_free(&self, id: i32, now: Ns) -> bool {
        self.peers.get(&id).is_some_and(|p| p.under_way.is_none() && p.not_before <= now)
    }

    pub(super) fn any_under_way(&self) -> bool {
        self.peers.values().any(|p| p.under_way.is_some())
    }

    /// Notes a request that is given up at `deadline`.
    pub(super) fn sent(&mut self, to: i32, deadline: Ns) -> RequestId {
        self.last_id += 1;
        let id = RequestId(self.last_id);
        self.peers.get_mut(&to).expect("requests go to voters").under_way = Some((id, deadline));
        id
    }

    /// Whose request this was, if it is still under way.
    pub(super) fn answered(&mut self, id: RequestId) -> Option<i32> {
        let (to, peer) = self.peers.iter_mut().find(|(_, p)| p.under_way.is_some_and(|(n, _)| n == id))?;
        peer.under_way = None;
        Some(*to)
    }

    pub(super) fn drop_request(&mut self, to: i32) -> bool {
        self.peers.get_mut(&to).is_some_and(|p| p.under_way.take().is_some())
    }

    pub(super) fn wait_until(&mut self, to: i32, at: Ns) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.not_before = at;
        }
    }

    /// Those whose requests were not answered in time; they are free again.
    pub(super) fn expired(&mut self, now: Ns) -> Vec<i32> {
        let late = |p: &Peer| p.under_way.is_some_and(|(_, deadline)| deadline <= now);
        let ids: Vec<i32> = self.peers.iter().filter(|(_, p)| late(p)).map(|(id, _)| *id).collect();
        for id in &ids {
            self.drop_request(*id);
        }
        ids
    }

    /// When each is given up, or may be asked again; the latter only where that lies after `polled`.
    pub(super) fn deadlines(&self, polled: Ns) -> impl Iterator<Item = Ns> + '_ {
        self.peers.values().filter_map(move |p| match p.under_way {
            Some((_, deadline)) => Some(deadline),
            None => Some(p.not_before).filter(|at| *at > polled),
        })
    }
}
