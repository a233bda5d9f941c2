//! Files on a disk, in the layout that Kafka has: a folder for each partition, segments named by their first offset.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use metricstream_node::io::{Completion, Disk, Durability, FileId, StorageAction, StorageFailure, StorageOp, Stored};

use super::is_quorum;
use crate::ClusterError;

/// An open file and its path relative to the node's folder.
#[derive(Debug)]
struct Open {
    path: String,
    file: File,
}

/// A node's store under a folder.
#[derive(Debug)]
pub(crate) struct FileStore {
    root: PathBuf,
    open: Mutex<BTreeMap<FileId, Arc<Mutex<Open>>>>,
}

impl FileStore {
    /// Under this folder, which is made if it is not there.
    pub(crate) fn new(root: PathBuf) -> Result<Self, ClusterError> {
        fs::create_dir_all(&root).map_err(|source| ClusterError::Store { path: root.clone(), source })?;
        Ok(Self { root, open: Mutex::new(BTreeMap::new()) })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FileId, Arc<Mutex<Open>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An open file. Others can be worked on while this one is.
    fn entry(&self, file: FileId) -> Result<Arc<Mutex<Open>>, StorageFailure> {
        let missing = || StorageFailure { path: format!("file {}", file.0), why: "it is not open".to_owned() };
        self.lock().get(&file).cloned().ok_or_else(missing)
    }

    pub(crate) fn operate(&self, op: StorageOp) -> Option<Completion> {
        let StorageOp { id, file, action, durability } = op;
        let result = self.act(file, action, durability);
        // Without an id only a failure is told, under a number that nobody waits for.
        let id = match (id, &result) {
            (None, Err(_)) => Some(metricstream_node::io::OpId(0)),
            (id, _) => id,
        };
        id.map(|id| Completion { id, file, result })
    }

    fn act(&self, file: FileId, action: StorageAction, durability: Durability) -> Result<Stored, StorageFailure> {
        if let StorageAction::Open { path } = action {
            let handle = self.open_file(&path).map_err(|error| failure(&path, &error))?;
            self.lock().insert(file, Arc::new(Mutex::new(Open { path, file: handle })));
            return Ok(Stored::Done);
        }
        let entry = self.entry(file)?;
        let mut entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(action, StorageAction::Delete | StorageAction::Close) {
            self.lock().remove(&file);
            if action == StorageAction::Delete {
                self.delete(&entry.path).map_err(|error| failure(&entry.path, &error))?;
            }
            return Ok(Stored::Done);
        }
        let done = self.change(&mut entry, action, durability);
        done.map_err(|error| failure(&entry.path, &error))
    }

    fn open_file(&self, path: &str) -> std::io::Result<File> {
        let path = self.root.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        OpenOptions::new().read(true).append(true).create(true).open(path)
    }

    fn delete(&self, path: &str) -> std::io::Result<()> {
        let path = self.root.join(path);
        fs::remove_file(&path)?;
        // The last file of a partition takes its folder along.
        if let Some(folder) = path.parent().filter(|folder| *folder != self.root) {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    fn change(&self, entry: &mut Open, action: StorageAction, durability: Durability) -> std::io::Result<Stored> {
        match action {
            StorageAction::Append { bytes } => write_all(&mut entry.file, &bytes)?,
            StorageAction::Replace { bytes } => {
                let path = self.root.join(&entry.path);
                let beside = path.with_extension("tmp");
                let mut fresh = File::create(&beside)?;
                fresh.write_all(&bytes)?;
                if durability == Durability::Synced {
                    fresh.sync_all()?;
                }
                fs::rename(&beside, &path)?;
                entry.file = self.open_file(&entry.path)?;
                if durability == Durability::Synced
                    && let Some(folder) = path.parent()
                {
                    File::open(folder)?.sync_all()?;
                }
                return Ok(Stored::Done);
            }
            StorageAction::Truncate { size_bytes } => entry.file.set_len(size_bytes)?,
            StorageAction::Read { position, len } => return read_piece(&entry.file, position, len).map(Stored::Bytes),
            StorageAction::Sync => entry.file.sync_data()?,
            StorageAction::Open { .. } | StorageAction::Delete | StorageAction::Close => {}
        }
        if durability == Durability::Synced {
            entry.file.sync_data()?;
        }
        Ok(Stored::Done)
    }

    pub(crate) fn piece(&self, file: FileId, position: u64, len: u32) -> Result<Bytes, StorageFailure> {
        let entry = self.entry(file)?;
        let entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
        read_piece(&entry.file, position, len).map_err(|error| failure(&entry.path, &error))
    }

    pub(crate) fn forget_ids(&self) {
        self.lock().clear();
    }

    pub(crate) fn wipe(&self, keep_quorum: bool) -> Result<(), StorageFailure> {
        for (path, _) in self.list()? {
            if !(keep_quorum && is_quorum(&path)) {
                self.delete(&path).map_err(|error| failure(&path, &error))?;
            }
        }
        Ok(())
    }
}

fn failure(path: &str, error: &std::io::Error) -> StorageFailure {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let remedy = match error.kind() {
        StorageFull | QuotaExceeded => ": make room on its disk, then start the node again",
        PermissionDenied | ReadOnlyFilesystem => ": let this user write there, or give another data directory",
        _ => "",
    };
    StorageFailure { path: path.to_owned(), why: format!("{error}{remedy}") }
}

fn write_all(file: &mut File, bytes: &[Bytes]) -> std::io::Result<()> {
    if let [one] = bytes {
        return file.write_all(one);
    }
    let mut slices: Vec<IoSlice<'_>> = bytes.iter().map(|b| IoSlice::new(b)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        match file.write_vectored(rest)? {
            0 => return Err(std::io::ErrorKind::WriteZero.into()),
            n => IoSlice::advance_slices(&mut rest, n),
        }
    }
    Ok(())
}

fn read_piece(file: &File, position: u64, len: u32) -> std::io::Result<Bytes> {
    let size = file.metadata()?.len();
    let len = u64::from(len).min(size.saturating_sub(position));
    let mut piece = BytesMut::zeroed(usize::try_from(len).unwrap_or(0));
    file.read_exact_at(&mut piece, position)?;
    Ok(piece.freeze())
}

impl Disk for FileStore {
    fn list(&self) -> Result<Vec<(String, u64)>, StorageFailure> {
        let mut files = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let shown = folder.display().to_string();
            for entry in fs::read_dir(&folder).map_err(|error| failure(&shown, &error))? {
                let entry = entry.map_err(|error| failure(&shown, &error))?;
                let kind = entry.metadata().map_err(|error| failure(&shown, &error))?;
                let path = entry.path();
                if kind.is_dir() {
                    folders.push(path);
                } else if path.extension().is_none_or(|e| e != "tmp") {
                    files.push((relative(&self.root, &path), kind.len()));
                }
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    fn read(&self, path: &str, position: u64, len: u32) -> Result<Bytes, StorageFailure> {
        let file = File::open(self.root.join(path)).map_err(|error| failure(path, &error))?;
        read_piece(&file, position, len).map_err(|error| failure(path, &error))
    }
}

fn relative(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).components();
    parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect::<Vec<_>>().join("/")
}
