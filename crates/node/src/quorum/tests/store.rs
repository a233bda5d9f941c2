//! A disk that outlives its node. What was written is in the page cache and survives the process; a power loss keeps what
//! was synced, and of the rest as much as the disk happened to have taken, in order.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::io::{Disk, FileId, StorageAction, StorageFailure, StorageOp, Stored};

type Files = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Default)]
pub(super) struct Store {
    cached: Files,
    durable: Files,
    /// Taken by the page cache, not by the disk yet.
    between: VecDeque<(String, StorageAction)>,
    names: BTreeMap<FileId, String>,
}

impl Store {
    /// Takes an operation into the page cache.
    pub(super) fn take(&mut self, op: &StorageOp) -> Stored {
        if let StorageAction::Open { path } = &op.action {
            self.names.insert(op.file, path.clone());
        }
        let path = self.names[&op.file].clone();
        if let StorageAction::Read { position, len } = op.action {
            return Stored::Bytes(read(&self.cached, &path, position, len));
        }
        apply(&mut self.cached, &path, &op.action);
        self.between.push_back((path, op.action.clone()));
        Stored::Done
    }

    pub(super) fn taken(&self) -> usize {
        self.between.len()
    }

    /// The disk has all but the last `left` operations.
    pub(super) fn sync_all_but(&mut self, left: usize) {
        while self.between.len() > left {
            if let Some((path, action)) = self.between.pop_front() {
                apply(&mut self.durable, &path, &action);
            }
        }
    }

    pub(super) fn part(&self, file: FileId, position: u64, len: u32) -> Bytes {
        read(&self.cached, &self.names[&file], position, len)
    }

    /// The node's process is gone; with the power, the page cache too.
    pub(super) fn process_ends(&mut self, power_lost: Option<usize>) {
        self.names.clear();
        match power_lost {
            None => {
                self.sync_all_but(0);
            }
            Some(left) => {
                self.sync_all_but(left);
                self.between.clear();
                self.cached = self.durable.clone();
            }
        }
    }

    pub(super) fn wipe(&mut self) {
        *self = Self::default();
    }
}

fn read(files: &Files, path: &str, position: u64, len: u32) -> Bytes {
    let file = files.get(path).map_or(&[][..], Vec::as_slice);
    let from = usize::try_from(position).unwrap().min(file.len());
    let to = (from + len as usize).min(file.len());
    Bytes::copy_from_slice(&file[from..to])
}

fn apply(files: &mut Files, path: &str, action: &StorageAction) {
    match action {
        StorageAction::Open { .. } => {
            files.entry(path.to_owned()).or_default();
        }
        StorageAction::Append { bytes } => {
            let file = files.entry(path.to_owned()).or_default();
            bytes.iter().for_each(|b| file.extend_from_slice(b));
        }
        StorageAction::Replace { bytes } => {
            files.insert(path.to_owned(), bytes.to_vec());
        }
        StorageAction::Truncate { size_bytes } => {
            let file = files.entry(path.to_owned()).or_default();
            file.truncate(usize::try_from(*size_bytes).unwrap());
        }
        StorageAction::Delete => {
            files.remove(path);
        }
        StorageAction::Read { .. } | StorageAction::Sync | StorageAction::Close => {}
    }
}

impl Disk for Store {
    fn list(&self) -> Result<Vec<(String, u64)>, StorageFailure> {
        Ok(self.cached.iter().map(|(path, file)| (path.clone(), file.len() as u64)).collect())
    }

    fn read(&self, path: &str, position: u64, len: u32) -> Result<Bytes, StorageFailure> {
        Ok(read(&self.cached, path, position, len))
    }
}
