//! Produce and fetch requests that wait: looked at when something moved on one of their partitions, sent away when its
//! leader is another one, answered as they are when their time is over.

use super::Node;
use crate::api;
use crate::broker::waiting::WaitId;
use crate::io::ConnId;
use crate::time::Now;

impl Node {
    /// Looks at whatever may be answered now. Whether anything was.
    pub(super) fn run_parked(&mut self, now: Now) -> bool {
        let mut moved = false;
        loop {
            let Some(broker) = &mut self.broker else { return moved };
            let stirred = std::mem::take(&mut broker.stirred);
            let deposed = std::mem::take(&mut broker.deposed);
            if stirred.is_empty() && deposed.is_empty() {
                break;
            }
            moved = true;
            let mut ids: Vec<WaitId> =
                deposed.iter().chain(stirred.keys()).flat_map(|id| broker.waiting.watching(*id)).collect();
            ids.sort_unstable();
            ids.dedup();
            for id in deposed {
                self.groups_deposed(id);
            }
            for (id, what) in stirred {
                if what.high_watermark {
                    self.groups_committed(now, id);
                }
            }
            for id in ids {
                api::look_again(self, now, id);
            }
        }
        while let Some(id) = self.broker.as_ref().and_then(|broker| broker.waiting.expired(now)) {
            api::out_of_time(self, now, id);
            moved = true;
        }
        moved
    }

    /// The client is gone: nothing of it waits any more.
    pub(super) fn forget_parked(&mut self, conn: ConnId) {
        self.forget_quorum_tokens(conn);
        self.forget_group_tokens(conn);
        self.forwards.forget(conn);
        self.departed.forget(conn);
        let Some(broker) = &mut self.broker else { return };
        for id in broker.waiting.find(|parked| parked.conn() == conn) {
            broker.waiting.take(id);
        }
    }
}
