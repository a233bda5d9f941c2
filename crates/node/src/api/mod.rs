//! The only modules that name versioned wire structures, one file per API key: the versions that are spoken, what is
//! deliberately missing, and how a request becomes the node's own and an answer the wire's.

pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod consumer_protocol;
pub mod delete_groups;
pub mod describe_groups;
pub mod heartbeat;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod sync_group;

/// A small slice that outlives its request is copied, so that it does not keep the whole frame in memory.
fn own(bytes: &bytes::Bytes) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(bytes)
}

#[cfg(test)]
mod group_tests;
