//! ListPartitionReassignments (46), version 0: replicas are not moved here, so there are never any.

use metricstream_wire::api::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use crate::node::{Incoming, Node};
use crate::time::Now;

pub(crate) fn handle(node: &mut Node, now: Now, mut incoming: Incoming) {
    if node.body::<ListPartitionReassignmentsRequest>(now, &mut incoming).is_none() {
        return;
    }
    let error_code = super::code(&node.active().map(|_| ()));
    let answer = ListPartitionReassignmentsResponse { error_code, ..ListPartitionReassignmentsResponse::default() };
    node.respond::<ListPartitionReassignmentsRequest>(&incoming.to, &answer);
}
