//! What stands on a node's disk before it first starts, and what is taken away from it by a fault. Files only.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::EngineError;
use crate::kafka::config::{Listener, meta_properties, property, server_properties};
use crate::kafka::install::{Installed, TempFolder, lock};
use crate::kafka::java::Java;
use crate::kafka::{entropy, last_lines};
use crate::spec::Role;

/// Who a folder belongs to.
const META: &str = "meta.properties";
/// The feature levels of a new cluster; without it KIP-848, transactions v2 and eligible leader replicas stay off.
const BOOTSTRAP: &str = "bootstrap.checkpoint";
/// The quorum's log, the only partition that a wipe spares.
const METADATA_LOG: &str = "__cluster_metadata-0";

/// The contents of `bootstrap.checkpoint`: a function of Kafka's version alone, so its tool is run once and remembered.
pub(crate) fn bootstrap_checkpoint(java: &Java, kafka: &Installed) -> Result<Vec<u8>, EngineError> {
    fs::create_dir_all(&kafka.derived).map_err(EngineError::io("create", &kafka.derived))?;
    // The name holds the version: what is derived from KAFKA_HOME may change under us.
    let kept = kafka.derived.join(format!("{BOOTSTRAP}-{}", kafka.version));
    let _lock = lock(&kafka.derived.join("bootstrap.lock"))?;
    if let Some(bytes) = fs::read(&kept).ok().filter(|bytes| !bytes.is_empty()) {
        return Ok(bytes);
    }
    let work = TempFolder::new(&kafka.derived, "formatting")?;
    let bytes = run_storage_tool(java, kafka, &work.0)?;
    let fresh = work.0.join("kept");
    fs::write(&fresh, &bytes).map_err(EngineError::io("write", &fresh))?;
    fs::rename(&fresh, &kept).map_err(EngineError::io("move to", &kept))?;
    Ok(bytes)
}

fn run_storage_tool(java: &Java, kafka: &Installed, work: &Path) -> Result<Vec<u8>, EngineError> {
    let data = work.join("data");
    let node = Listener { id: 1, role: Role::Combined, broker_port: Some(1), controller_port: Some(2) };
    let text = server_properties(&node, &[node], &data, &BTreeMap::new())?;
    let file = work.join("server.properties");
    fs::write(&file, text).map_err(EngineError::io("write", &file))?;
    let out = Command::new(&java.program)
        .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-cp", &kafka.class_path()?])
        .args(["kafka.tools.StorageTool", "format", "-t", &random_id()?, "-c"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| EngineError::Spawn { program: java.program.clone(), source })?;
    if !out.status.success() {
        let said = format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        return Err(EngineError::Format { detail: format!("{}: {}", out.status, last_lines(&said, 6)) });
    }
    let made = data.join(BOOTSTRAP);
    fs::read(&made).map_err(EngineError::io("read", made))
}

/// A random id as Kafka writes them: a version 4 UUID in URL-safe base 64, never beginning with a dash.
pub(crate) fn random_id() -> Result<String, EngineError> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = entropy::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let number = u128::from_be_bytes(bytes);
    // 128 bits are 21 digits of 6 bits and one of 2, padded with zeros.
    let digit = |at: u32| {
        let six = if at < 21 { (number >> (122 - 6 * at)) & 63 } else { (number << 4) & 63 };
        char::from(DIGITS[six as usize])
    };
    let id: String = (0..22).map(digit).collect();
    Ok(if id.starts_with('-') { id.replacen('-', "A", 1) } else { id })
}

/// Prepares the folder of a node: formats it, or takes it as it is if it belongs to this node of this cluster.
pub(crate) fn prepare(data: &Path, cluster_id: &str, node: i32, bootstrap: &[u8]) -> Result<(), EngineError> {
    match identity(data)? {
        // Never delete what is not a node's.
        None if fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some()) => Err(EngineError::ForeignData {
            folder: data.into(),
            found: format!("files but no {META}"),
            wanted: "an empty folder or one that Kafka has formatted".into(),
        }),
        None => format(data, cluster_id, node, bootstrap),
        Some((cluster, id)) if cluster == cluster_id && id == node.to_string() => Ok(()),
        Some((cluster, id)) => Err(EngineError::ForeignData {
            folder: data.into(),
            found: format!("node {id} of cluster {cluster}"),
            wanted: format!("node {node} of cluster {cluster_id}"),
        }),
    }
}

/// Cluster id and node id of a formatted folder.
pub(crate) fn identity(data: &Path) -> Result<Option<(String, String)>, EngineError> {
    let path = data.join(META);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EngineError::io("read", path)(error)),
    };
    match (property(&text, "cluster.id"), property(&text, "node.id")) {
        (Some(cluster), Some(node)) => Ok(Some((cluster.to_owned(), node.to_owned()))),
        _ => Err(EngineError::ForeignData {
            folder: data.into(),
            found: format!("a {META} without cluster.id and node.id"),
            wanted: "a folder that Kafka has formatted".into(),
        }),
    }
}

/// A new disk: whatever was there is gone.
pub(crate) fn format(data: &Path, cluster_id: &str, node: i32, bootstrap: &[u8]) -> Result<(), EngineError> {
    if data.exists() {
        fs::remove_dir_all(data).map_err(EngineError::io("empty", data))?;
    }
    fs::create_dir_all(data).map_err(EngineError::io("create", data))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = data.join(name);
        fs::write(&path, bytes).map_err(EngineError::io("write", path))
    };
    write(BOOTSTRAP, bootstrap)?;
    write(META, meta_properties(cluster_id, node, &random_id()?).as_bytes())
}

/// Deletes every partition log and what Kafka remembers of them, the mark of a clean shutdown too; the node's identity
/// and the metadata log stay.
pub(crate) fn wipe(data: &Path) -> Result<(), EngineError> {
    let entries = fs::read_dir(data).map_err(EngineError::io("read", data))?;
    let paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    for path in paths {
        let spared =
            [META, BOOTSTRAP, METADATA_LOG].iter().any(|name| path.file_name().is_some_and(|file| file == *name));
        if !spared {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(EngineError::io("remove", path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_as_kafka_writes_them_and_differ() {
        let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| random_id().expect("random")).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert!(id.len() == 22 && !id.starts_with('-'), "{id}");
            assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{id}");
            // Two bits of the last digit are data, the rest is padding.
            assert!(id.ends_with(['A', 'Q', 'g', 'w']), "{id}");
        }
    }

    #[test]
    fn a_wipe_spares_identity_and_metadata_log_and_a_format_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("node-2");
        assert_eq!(identity(&data).expect("readable"), None);
        prepare(&data, "cluster", 2, b"levels").expect("formatted");
        let read = |name: &str| fs::read_to_string(data.join(name)).expect("there");
        let before = read(META);
        for partition in ["metrics-0", METADATA_LOG, "__consumer_offsets-3"] {
            fs::create_dir(data.join(partition)).expect("made");
            fs::write(data.join(partition).join("00000000000000000000.log"), "records").expect("written");
        }
        fs::write(data.join(".kafka_cleanshutdown"), "{}").expect("written");
        wipe(&data).expect("wiped");
        let mut left: Vec<_> = fs::read_dir(&data).expect("read").map(|e| e.expect("read").file_name()).collect();
        left.sort();
        assert_eq!(left, [METADATA_LOG, BOOTSTRAP, META]);
        assert_eq!(read(META), before);

        // The same cluster finds its data again, another one is refused.
        prepare(&data, "cluster", 2, b"levels").expect("its own");
        assert!(data.join(METADATA_LOG).exists());
        let error = prepare(&data, "other", 2, b"levels").expect_err("foreign").to_string();
        assert!(error.contains("node 2 of cluster cluster") && error.contains("of cluster other"), "{error}");

        format(&data, "cluster", 2, b"levels").expect("formatted");
        assert!(!data.join(METADATA_LOG).exists());
        assert_eq!(identity(&data).expect("readable"), Some(("cluster".into(), "2".into())));
        assert_ne!(read(META), before, "a new disk has a new directory id");
        assert_eq!(read(BOOTSTRAP), "levels");
        fs::write(data.join(META), "version=1\n").expect("written");
        assert!(matches!(identity(&data), Err(EngineError::ForeignData { .. })));
        fs::remove_file(data.join(META)).expect("removed");
        assert!(matches!(prepare(&data, "cluster", 2, b"levels"), Err(EngineError::ForeignData { .. })));
        assert_eq!(read(BOOTSTRAP), "levels", "what is not known to be a node's is not touched");
    }
}
