//! How long offsets are kept (KIP-211): while their group lives and for `offsets.retention.minutes` afterwards. A group
//! without members and without offsets goes too.

use super::Shard;
use crate::group::records::Group;
use crate::group::work::{Desk, Work};

const MINUTE_MS: i64 = 60_000;

impl Shard {
    /// One look at one group.
    pub(super) fn expire(&mut self, id: &str, desk: &Desk<'_>, work: &mut Work) {
        let kept_ms = desk.settings.offsets_retention_minutes.saturating_mul(MINUTE_MS);
        let now_ms = desk.now.wall_ms;
        let group = self.state.groups.get(id);
        self.state.offsets.forget(
            id,
            |topic, _, offset| {
                if let Some(expires_ms) = offset.expire_timestamp_ms {
                    return now_ms >= expires_ms && !group.is_some_and(|g| subscribes(g, topic));
                }
                let since_ms = match group {
                    Some(Group::Classic(classic)) => classic.offsets_count_from(topic, offset.commit_timestamp_ms),
                    Some(Group::Consumer(consumer)) if consumer.subscribes_to(topic) => None,
                    Some(Group::Consumer(_)) | None => Some(offset.commit_timestamp_ms),
                };
                since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= kept_ms)
            },
            work,
        );
        let empty = match self.state.groups.get(id) {
            Some(Group::Classic(group)) => group.is_empty(),
            Some(Group::Consumer(group)) => group.is_empty(),
            None => false,
        };
        if empty && self.state.offsets.of(id).is_none() {
            self.state.remove_group(id, work);
        }
    }
}

fn subscribes(group: &Group, topic: &str) -> bool {
    match group {
        Group::Classic(group) => group.subscribes_to(topic),
        Group::Consumer(group) => group.subscribes_to(topic),
    }
}
