//! Stores of nodes. They outlive their nodes, as a page cache or a disk outlives a process: in memory ([`memory`]), or as
//! files in Kafka's own layout ([`file`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use metricstream_node::io::{Completion, Disk, FileId, StorageFailure, StorageOp};

mod file;
mod memory;

pub(crate) use file::FileStore;
pub(crate) use memory::MemoryStore;

/// Where a cluster keeps what its nodes store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreKind {
    /// In this process's memory, gone with the cluster.
    Memory,
    /// Under this folder, one folder a node.
    Files(PathBuf),
}

/// One node's store.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    Memory(Arc<MemoryStore>),
    Files(Arc<FileStore>),
}

impl Store {
    /// Carries an operation out. What is to be synced may take a while; what is written is written when this returns.
    pub(crate) fn operate(&self, op: StorageOp) -> Option<Completion> {
        match self {
            Self::Memory(store) => store.operate(op),
            Self::Files(store) => store.operate(op),
        }
    }

    /// Whether this operation may block for longer than a write to the page cache does.
    pub(crate) fn blocks(&self, op: &StorageOp) -> bool {
        matches!(self, Self::Files(_)) && op.durability == metricstream_node::io::Durability::Synced
    }

    /// A piece of a file, for sending.
    pub(crate) fn piece(&self, file: FileId, position: u64, len: u32) -> Result<Bytes, StorageFailure> {
        match self {
            Self::Memory(store) => store.piece(file, position, len),
            Self::Files(store) => store.piece(file, position, len),
        }
    }

    /// The node is gone: its file ids mean nothing any more.
    pub(crate) fn forget_ids(&self) {
        match self {
            Self::Memory(store) => store.forget_ids(),
            Self::Files(store) => store.forget_ids(),
        }
    }

    /// Everything is gone: another disk. With `keep_quorum` the metadata log and the vote stay.
    pub(crate) fn wipe(&self, keep_quorum: bool) -> Result<(), StorageFailure> {
        match self {
            Self::Memory(store) => {
                store.wipe(keep_quorum);
                Ok(())
            }
            Self::Files(store) => store.wipe(keep_quorum),
        }
    }

    /// Its folder, where it has one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Memory(_) => None,
            Self::Files(store) => Some(store.root()),
        }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        match self {
            Self::Memory(store) => &**store,
            Self::Files(store) => &**store,
        }
    }
}

/// What is wrong with a store, and in which folder the files are that it names.
pub(crate) fn placed(why: String, store: &Store) -> String {
    match store.folder() {
        Some(folder) => format!("{why} (in {})", folder.display()),
        None => why,
    }
}

/// What stays when only the partitions' logs are wiped.
pub(crate) fn is_quorum(path: &str) -> bool {
    path.starts_with("__cluster_metadata-") || path == "meta.properties"
}
