//! The nodes' log files. Nodes tell of themselves from their own tasks, which must not wait for a disk: a thread writes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use metricstream_cluster::{Event, Level};

use crate::error::EngineError;

/// Lines that may wait for the disk; more are dropped, and counted.
const LINES_MAX: usize = 16_384;

/// All log files of a cluster.
#[derive(Debug)]
pub(super) struct NodeLogs {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
enum Line {
    /// Node, and what is written.
    Of(i32, String),
    /// Everything before this is to be on disk when it is answered.
    Flush(SyncSender<()>),
}

impl NodeLogs {
    /// Opens the files to be appended to, by node and name.
    ///
    /// # Errors
    /// If one cannot be made.
    pub(super) fn open(folder: &Path, names: impl Iterator<Item = (i32, String)>) -> Result<Self, EngineError> {
        std::fs::create_dir_all(folder).map_err(EngineError::io("create", folder))?;
        let mut files = BTreeMap::new();
        for (id, name) in names {
            let path = folder.join(name);
            let file = OpenOptions::new().create(true).append(true).open(&path);
            files.insert(id, BufWriter::new(file.map_err(EngineError::io("create", &path))?));
        }
        let (lines, waiting) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let thread = std::thread::Builder::new().name("node-logs".to_owned());
        let writer = thread.spawn(move || write(files, &waiting, &lost)).map_err(EngineError::io("write", folder))?;
        Ok(Self { lines, dropped, writer: Mutex::new(Some(writer)) })
    }

    /// What a node tells of itself, where it is worth a line.
    pub(super) fn event(&self, id: i32, event: &Event) {
        if let Some((level, text)) = told(event) {
            self.line(id, level, &text);
        }
    }

    /// One line.
    pub(super) fn line(&self, id: i32, level: &str, text: &str) {
        let line = format!("{:.3} {level:<5} {text}\n", jiff::Timestamp::now());
        if self.lines.try_send(Line::Of(id, line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Comes back when all that was said is written.
    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.lines.send(Line::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }
}

impl Drop for NodeLogs {
    fn drop(&mut self) {
        self.flush();
        // The thread ends when no sender is left, which is now: it is not waited for.
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn write(mut files: BTreeMap<i32, BufWriter<File>>, lines: &Receiver<Line>, dropped: &AtomicU64) {
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(line) = next {
            match line {
                // A full disk costs the log, never the cluster.
                Line::Of(id, text) => drop(files.get_mut(&id).map(|file| file.write_all(text.as_bytes()))),
                Line::Flush(done) => {
                    files.values_mut().for_each(|file| drop(file.flush()));
                    let _ = done.send(());
                }
            }
            next = lines.try_recv().ok();
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        for file in files.values_mut() {
            if lost > 0 {
                let _ = writeln!(file, "{lost} lines of the nodes were dropped: the disk did not keep up");
            }
            let _ = file.flush();
        }
    }
}

/// The line of an event; high watermarks move too often for one.
fn told(event: &Event) -> Option<(&'static str, String)> {
    let text = match event {
        Event::BecameLeader { topic, partition, leader_epoch, start_offset } => {
            format!("leads {topic}-{partition} in epoch {leader_epoch} from offset {start_offset}")
        }
        Event::BecameFollower { topic, partition, leader_epoch, leader } => {
            format!("follows {leader} for {topic}-{partition} in epoch {leader_epoch}")
        }
        Event::HighWatermark { .. } => return None,
        Event::Truncated { topic, partition, offset } => format!("truncated {topic}-{partition} to offset {offset}"),
        Event::IsrProposed { topic, partition, isr } => format!("proposes the ISR {isr:?} for {topic}-{partition}"),
        Event::QuorumRole { role, epoch, leader } => match leader {
            Some(leader) => format!("quorum: {role} in epoch {epoch}, the leader is {leader}"),
            None => format!("quorum: {role} in epoch {epoch}, no leader is known"),
        },
        Event::ControllerActive { epoch } => format!("is the active controller in epoch {epoch}"),
        Event::Fenced { fenced } => (if *fenced { "is fenced" } else { "is unfenced" }).to_owned(),
        Event::Log { level, text } => {
            let word = match level {
                Level::Debug => return None,
                Level::Info => "INFO",
                Level::Warn => "WARN",
                Level::Error => "ERROR",
            };
            return Some((word, text.clone()));
        }
    };
    Some(("INFO", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_tells_stands_in_its_own_file_in_order() {
        let dir = tempfile::tempdir().expect("a folder");
        let names = [1, 2].map(|id| (id, format!("broker-{id}.log"))).into_iter();
        let logs = NodeLogs::open(dir.path(), names).expect("writable");
        for epoch in 1..=200 {
            logs.event(1, &Event::ControllerActive { epoch });
        }
        logs.event(2, &Event::HighWatermark { topic: "t".into(), partition: 0, leader_epoch: 0, offset: 1 });
        logs.event(2, &Event::Log { level: Level::Warn, text: "slow".into() });
        logs.flush();
        let text = |id: i32| std::fs::read_to_string(dir.path().join(format!("broker-{id}.log"))).expect("a log");
        let first = text(1);
        assert_eq!(first.lines().count(), 200);
        assert!(first.lines().zip(1..).all(|(line, epoch)| line.ends_with(&format!("in epoch {epoch}"))), "{first}");
        let second = text(2);
        assert!(second.lines().count() == 1 && second.contains("WARN  slow"), "{second}");
    }
}
