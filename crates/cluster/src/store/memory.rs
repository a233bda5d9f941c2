//! Files in memory: lists of the pieces that were appended, shared with whoever sends them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use metricstream_node::io::{Completion, Disk, FileId, StorageAction, StorageFailure, StorageOp, Stored};

use super::is_quorum;

/// A file's content: pieces with the position of each.
#[derive(Debug, Default)]
struct Content {
    pieces: Vec<(u64, Bytes)>,
    size: u64,
}

impl Content {
    fn append(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            let at = self.size;
            self.size += bytes.len() as u64;
            self.pieces.push((at, bytes));
        }
    }

    fn truncate(&mut self, size: u64) {
        while let Some((at, bytes)) = self.pieces.last_mut() {
            if *at >= size {
                self.pieces.pop();
                continue;
            }
            let keep = usize::try_from(size - *at).unwrap_or(usize::MAX);
            bytes.truncate(keep);
            break;
        }
        self.size = self.size.min(size);
    }

    fn piece(&self, position: u64, len: u32) -> Bytes {
        let end = self.size.min(position + u64::from(len));
        let first = self.pieces.partition_point(|(at, bytes)| at + bytes.len() as u64 <= position);
        let mut found = self.pieces[first..].iter().take_while(|(at, _)| *at < end).map(|(at, bytes)| {
            let from = usize::try_from(position.saturating_sub(*at)).unwrap_or(usize::MAX).min(bytes.len());
            let to = usize::try_from(end - at).unwrap_or(usize::MAX).min(bytes.len());
            bytes.slice(from..to)
        });
        let Some(one) = found.next() else { return Bytes::new() };
        let mut rest = found.peekable();
        if rest.peek().is_none() {
            return one;
        }
        let mut whole = BytesMut::from(&one[..]);
        rest.for_each(|bytes| whole.extend_from_slice(&bytes));
        whole.freeze()
    }
}

#[derive(Debug, Default)]
struct Files {
    by_path: BTreeMap<String, Content>,
    open: BTreeMap<FileId, String>,
}

/// A node's store in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    files: Mutex<Files>,
}

impl MemoryStore {
    fn lock(&self) -> std::sync::MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn operate(&self, op: StorageOp) -> Option<Completion> {
        let StorageOp { id, file, action, .. } = op;
        let result = self.lock().act(file, action);
        id.map(|id| Completion { id, file, result })
    }

    pub(crate) fn piece(&self, file: FileId, position: u64, len: u32) -> Result<Bytes, StorageFailure> {
        let files = self.lock();
        let content = files.open.get(&file).and_then(|path| files.by_path.get(path));
        content.map(|content| content.piece(position, len)).ok_or_else(|| gone(file))
    }

    pub(crate) fn forget_ids(&self) {
        self.lock().open.clear();
    }

    pub(crate) fn wipe(&self, keep_quorum: bool) {
        self.lock().by_path.retain(|path, _| keep_quorum && is_quorum(path));
    }
}

fn gone(file: FileId) -> StorageFailure {
    StorageFailure { path: format!("file {}", file.0), why: "it is not open".to_owned() }
}

impl Files {
    fn act(&mut self, file: FileId, action: StorageAction) -> Result<Stored, StorageFailure> {
        if let StorageAction::Open { path } = action {
            self.by_path.entry(path.clone()).or_default();
            self.open.insert(file, path);
            return Ok(Stored::Done);
        }
        let path = self.open.get(&file).ok_or_else(|| gone(file))?;
        match action {
            StorageAction::Delete => {
                self.by_path.remove(path);
                self.open.remove(&file);
                return Ok(Stored::Done);
            }
            StorageAction::Close => {
                self.open.remove(&file);
                return Ok(Stored::Done);
            }
            _ => {}
        }
        let content = self.by_path.get_mut(path).ok_or_else(|| gone(file))?;
        match action {
            StorageAction::Append { bytes } => bytes.into_iter().for_each(|b| content.append(b)),
            StorageAction::Replace { bytes } => {
                *content = Content::default();
                content.append(bytes);
            }
            StorageAction::Truncate { size_bytes } => content.truncate(size_bytes),
            StorageAction::Read { position, len } => return Ok(Stored::Bytes(content.piece(position, len))),
            StorageAction::Sync | StorageAction::Open { .. } | StorageAction::Delete | StorageAction::Close => {}
        }
        Ok(Stored::Done)
    }
}

impl Disk for MemoryStore {
    fn list(&self) -> Result<Vec<(String, u64)>, StorageFailure> {
        Ok(self.lock().by_path.iter().map(|(path, content)| (path.clone(), content.size)).collect())
    }

    fn read(&self, path: &str, position: u64, len: u32) -> Result<Bytes, StorageFailure> {
        let files = self.lock();
        let content = files.by_path.get(path);
        let missing = || StorageFailure { path: path.to_owned(), why: "there is no such file".to_owned() };
        content.map(|content| content.piece(position, len)).ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_found_across_the_seams_and_cut_with_the_file() {
        let mut content = Content::default();
        for text in ["abc", "de", "", "fghi"] {
            content.append(Bytes::from_static(text.as_bytes()));
        }
        assert_eq!(content.piece(1, 6), "bcdefg");
        assert_eq!(content.piece(3, 2), "de");
        assert_eq!(content.piece(7, 100), "hi");
        assert_eq!(content.piece(9, 1), "");
        content.truncate(4);
        assert_eq!((content.piece(0, 100), content.size), (Bytes::from_static(b"abcd"), 4));
        content.truncate(3);
        content.append(Bytes::from_static(b"X"));
        assert_eq!(content.piece(0, 100), "abcX");
    }
}
