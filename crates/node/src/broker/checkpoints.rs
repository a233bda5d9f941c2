//! What a broker writes down beside its logs, in Kafka's own forms: high watermarks (`replication-offset-checkpoint`),
//! whose a folder is (`partition.metadata`), whose the store is (`meta.properties`), and that it shut down in order
//! (`.kafka_cleanshutdown`).

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use metricstream_wire::Uuid;

use super::Replica;
use crate::config::Settings;
use crate::image::PartitionId;
use crate::io::{FileId, Outputs, StorageAction};
use crate::time::{Now, Ns};

/// Kafka's name of the file of high watermarks.
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// Kafka's name of the file that says whose a partition's folder is.
pub const PARTITION_METADATA: &str = "partition.metadata";
/// Kafka's name of the file that says whose the store is.
pub const META_PROPERTIES: &str = "meta.properties";
/// Kafka's name of the file that is there after a shutdown in order.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// An id as Kafka writes it: base64 for URLs without padding.
#[must_use]
pub fn uuid_text(id: Uuid) -> String {
    let mut text = String::with_capacity(22);
    for chunk in id.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(BASE64[(bits >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

/// The id that was written so.
#[must_use]
pub fn uuid_of(text: &str) -> Option<Uuid> {
    let mut id = [0; 16];
    let mut bits = 0_u32;
    let mut have = 0;
    let mut bytes = id.iter_mut();
    for byte in text.bytes() {
        let value = BASE64.iter().position(|b| *b == byte)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        have += 6;
        if have >= 8 {
            have -= 8;
            *bytes.next()? = u8::try_from(bits >> have & 0xff).ok()?;
        }
    }
    (text.len() == 22).then_some(id)
}

/// The content of `partition.metadata`.
#[must_use]
pub fn partition_metadata(topic: Uuid) -> Bytes {
    format!("version: 0\ntopic_id: {}", uuid_text(topic)).into()
}

/// Whose a folder is, as its `partition.metadata` says.
#[must_use]
pub fn topic_of(partition_metadata: &[u8]) -> Option<Uuid> {
    let text = std::str::from_utf8(partition_metadata).ok()?;
    text.lines().find_map(|line| line.strip_prefix("topic_id: ")).and_then(|id| uuid_of(id.trim()))
}

/// The content of `meta.properties`.
#[must_use]
pub fn meta_properties(cluster_id: &str, node_id: i32, directory: Uuid) -> Bytes {
    let directory = uuid_text(directory);
    format!("version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory}\n").into()
}

/// A line's value in a properties file.
#[must_use]
pub fn property<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::trim)
}

/// The content of `.kafka_cleanshutdown`.
#[must_use]
pub fn clean_shutdown(broker_epoch: i64) -> Bytes {
    format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}").into()
}

/// The broker epoch in it.
#[must_use]
pub fn clean_epoch(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once("\"brokerEpoch\":")?;
    rest.trim_end_matches(|c: char| !c.is_ascii_digit()).trim().parse().ok()
}

/// High watermarks as they were written out: `0`, how many, and `topic partition offset` a line.
#[must_use]
pub fn high_watermarks(text: &[u8]) -> BTreeMap<(String, i32), i64> {
    let Ok(text) = std::str::from_utf8(text) else { return BTreeMap::new() };
    let line = |line: &str| {
        let mut words = line.split(' ');
        let topic = words.next()?.to_owned();
        Some(((topic, words.next()?.parse().ok()?), words.next()?.parse().ok()?))
    };
    text.lines().skip(2).filter_map(line).collect()
}

/// The file of high watermarks, and when it is written next.
#[derive(Debug)]
pub struct HighWatermarks {
    file: FileId,
    next_at: Ns,
    written: String,
}

impl HighWatermarks {
    /// Opens the file.
    #[must_use]
    pub fn open(settings: &Settings, now: Now, out: &mut Outputs) -> Self {
        let next_at = now.after_ms(settings.replica_high_watermark_checkpoint_interval_ms);
        Self { file: out.open(HIGH_WATERMARKS.to_owned()), next_at, written: String::new() }
    }

    /// Whether its time has come.
    #[must_use]
    pub const fn is_due(&self, now: Now) -> bool {
        now.reached(self.next_at)
    }

    /// When it comes.
    #[must_use]
    pub const fn due_at(&self) -> Ns {
        self.next_at
    }

    /// Writes them if they changed.
    pub fn write(
        &mut self,
        replicas: &BTreeMap<PartitionId, Replica>,
        settings: &Settings,
        now: Now,
        out: &mut Outputs,
    ) {
        self.next_at = now.after_ms(settings.replica_high_watermark_checkpoint_interval_ms.max(1));
        self.write_now(replicas, out);
    }

    /// The same, without another time.
    pub fn write_now(&mut self, replicas: &BTreeMap<PartitionId, Replica>, out: &mut Outputs) {
        let mut text = format!("0\n{}\n", replicas.len());
        for replica in replicas.values() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{} {} {}", replica.topic, replica.id.1, replica.high_watermark);
        }
        if text != self.written {
            self.written.clone_from(&text);
            out.written(self.file, StorageAction::Replace { bytes: text.into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        // The id of the metadata topic.
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(uuid_text(one), "AAAAAAAAAAAAAAAAAAAAAQ");
        let id: Uuid = std::array::from_fn(|n| u8::try_from(n * 17 % 256).expect("a byte"));
        assert_eq!(uuid_of(&uuid_text(id)), Some(id));
        assert_eq!((uuid_of("short"), uuid_of("AAAAAAAAAAAAAAAAAAAA!Q")), (None, None));
        assert_eq!(topic_of(&partition_metadata(id)), Some(id));
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(clean_epoch(&clean_shutdown(42)), Some(42));
        let text = "0\n2\nmetrics 0 17\n__consumer_offsets 3 4\n";
        let read = high_watermarks(text.as_bytes());
        assert_eq!(read[&("metrics".to_owned(), 0)], 17);
        assert_eq!(read[&("__consumer_offsets".to_owned(), 3)], 4);
        let meta = meta_properties("abc", 3, [7; 16]);
        let meta = std::str::from_utf8(&meta).expect("text");
        assert_eq!((property(meta, "cluster.id"), property(meta, "node.id")), (Some("abc"), Some("3")));
        assert_eq!(property(meta, "directory.id").and_then(uuid_of), Some([7; 16]));
    }
}
