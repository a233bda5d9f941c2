//! Placeholder.
use super::Node;
use crate::image::{PartitionId, Touched};
use crate::io::ConnId;
use crate::time::Now;
#[derive(Debug, Default)]
pub(crate) struct Coordinating;
impl Node {
    pub(super) fn run_groups(&mut self, _now: Now) -> bool {
        false
    }
    pub(super) fn groups_deposed(&mut self, _now: Now, _id: PartitionId) {}
    pub(super) fn groups_committed(&mut self, _now: Now, _id: PartitionId) {}
    pub(super) fn forget_group_tokens(&mut self, _conn: ConnId) {}
    pub(super) fn groups_see_topics(&mut self, _now: Now, _touched: &Touched) {}
    pub(super) fn coordinator_changed(&mut self, _now: Now, _id: PartitionId, _leads: bool) {}
}
