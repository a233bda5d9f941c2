//! A store in memory for the tests of this crate. It outlives the node as a page cache does; a loss of power takes it back
//! to what was synced.

pub(crate) mod client;
pub(crate) mod load;
pub(crate) mod oracle;
pub(crate) mod world;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::io::{
    Completion, Disk, Durability, FileId, FileRange, Output, Outputs, Part, StorageAction, StorageFailure, StorageOp,
    Stored,
};

/// Files in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore {
    /// What the page cache has, by path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// What is on the disk: files as they were when last synced.
    synced: BTreeMap<String, Vec<u8>>,
    open: BTreeMap<FileId, String>,
    /// Every operation fails from now on: the disk is full.
    pub(crate) full: bool,
}

impl MemoryStore {
    /// Applies the storage operations among the outputs, in order; gives the completions that were wanted, and the other
    /// outputs.
    pub(crate) fn apply(&mut self, out: &mut Outputs) -> (Vec<Completion>, Vec<Output>) {
        let (mut completions, mut others) = (Vec::new(), Vec::new());
        for output in out.take() {
            match output {
                Output::Storage(op) => completions.extend(self.operate(op)),
                other => others.push(other),
            }
        }
        (completions, others)
    }

    /// Applies one operation.
    pub(crate) fn operate(&mut self, op: StorageOp) -> Option<Completion> {
        let StorageOp { id, file, action, durability } = op;
        let result = self.act(file, action, durability);
        if id.is_none() {
            assert!(result.is_ok() || self.full, "{file:?}: {result:?}");
        }
        id.map(|id| Completion { id, file, result })
    }

    fn act(&mut self, file: FileId, action: StorageAction, durability: Durability) -> Result<Stored, StorageFailure> {
        if let StorageAction::Open { path } = action {
            self.files.entry(path.clone()).or_default();
            assert!(self.open.insert(file, path).is_none(), "{file:?} was open");
            return Ok(Stored::Done);
        }
        let path = self.open.get(&file).unwrap_or_else(|| panic!("{file:?} is not open")).clone();
        if self.full && matches!(action, StorageAction::Append { .. } | StorageAction::Replace { .. }) {
            return Err(StorageFailure { path, why: "no space left on device".into() });
        }
        let content = self.files.get_mut(&path).unwrap_or_else(|| panic!("{path} is gone"));
        match action {
            StorageAction::Open { .. } => unreachable!("answered above"),
            StorageAction::Append { bytes } => bytes.iter().for_each(|b| content.extend_from_slice(b)),
            StorageAction::Replace { bytes } => *content = bytes.to_vec(),
            StorageAction::Truncate { size_bytes } => content.truncate(usize::try_from(size_bytes).expect("in memory")),
            StorageAction::Read { position, len } => return Ok(Stored::Bytes(piece(content, position, len))),
            StorageAction::Sync => {}
            StorageAction::Delete => {
                self.files.remove(&path);
                self.open.remove(&file);
            }
            StorageAction::Close => {
                self.open.remove(&file);
            }
        }
        if durability == Durability::Synced {
            match self.files.get(&path) {
                Some(content) => self.synced.insert(path, content.clone()),
                None => self.synced.remove(&path),
            };
        }
        Ok(Stored::Done)
    }

    /// The node is gone; its files are as it left them.
    pub(crate) fn kill(&mut self) {
        self.open.clear();
    }

    /// The machine is gone; its files are as they were when last synced.
    pub(crate) fn lose_power(&mut self) {
        self.kill();
        self.files.clone_from(&self.synced);
    }

    /// What a driver would send for these parts.
    pub(crate) fn resolve(&self, parts: &[Part]) -> Bytes {
        let mut whole = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(bytes) => whole.extend_from_slice(bytes),
                Part::File(FileRange { file, position, len_bytes: len }) => {
                    let bytes = piece(&self.files[&self.open[&FileId(*file)]], *position, *len);
                    assert_eq!(bytes.len(), *len as usize, "{part:?} is longer than its file");
                    whole.extend_from_slice(&bytes);
                }
            }
        }
        whole.into()
    }
}

fn piece(content: &[u8], position: u64, len: u32) -> Bytes {
    let from = usize::try_from(position).expect("in memory").min(content.len());
    let to = content.len().min(from + len as usize);
    Bytes::copy_from_slice(&content[from..to])
}

impl Disk for MemoryStore {
    fn list(&self) -> Result<Vec<(String, u64)>, StorageFailure> {
        Ok(self.files.iter().map(|(path, content)| (path.clone(), content.len() as u64)).collect())
    }

    fn read(&self, path: &str, position: u64, len: u32) -> Result<Bytes, StorageFailure> {
        let missing = || StorageFailure { path: path.into(), why: "no such file".into() };
        self.files.get(path).map(|content| piece(content, position, len)).ok_or_else(missing)
    }
}
